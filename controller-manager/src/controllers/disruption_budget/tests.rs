//! What a budget allows, by what it asks for and how its pods are.

use super::plan::{Observed, Plan, Scale, plan};
use super::{Budget, Pod};
use api::Timestamp;
use serde_json::{Value, from_value, json};
use std::sync::Arc;

const NOW: i64 = 1_000_000;

fn pod(name: &str, ready: bool, deleting: bool) -> Arc<Pod> {
    let deletion = deleting.then_some("2026-01-01T00:00:00Z");
    let status = if ready { "True" } else { "False" };
    from_value(json!({
        "metadata": {"name": name, "deletionTimestamp": deletion},
        "status": {"conditions": [{"type": "Ready", "status": status}]},
    }))
    .map(Arc::new)
    .expect("a pod")
}

fn budget(spec: Value, disrupted: Value) -> Budget {
    from_value(json!({"metadata": {"generation": 2}, "spec": spec, "status": {"disruptedPods": disrupted}}))
        .expect("a budget")
}

/// Expected, desired, healthy, allowed.
fn outcome(spec: Value, pods: &[Arc<Pod>], expected: i64) -> [i64; 4] {
    let (budget, scale) = (budget(spec, json!({})), Scale { expected, unmanaged: Vec::new() });
    let now = Timestamp::from_unix_secs(NOW);
    let status = plan(&Observed { budget: &budget, pods, scale: &scale, now }).status;
    [status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed]
}

#[test]
fn a_budget_allows_what_is_healthy_beyond_what_has_to_be() {
    let three = [pod("a", true, false), pod("b", true, false), pod("c", true, false)];
    let mixed = [pod("a", true, false), pod("b", false, false), pod("c", true, true)];
    let cases = [
        (json!({"minAvailable": 1}), &three[..], 3, [3, 1, 3, 2]),
        (json!({"minAvailable": 5}), &three[..], 3, [3, 5, 3, 0]),
        (json!({"minAvailable": "50%"}), &three[..], 3, [3, 2, 3, 1]),
        (json!({"minAvailable": "50%"}), &three[..], 5, [5, 3, 3, 0]),
        (json!({"maxUnavailable": 1}), &three[..], 3, [3, 2, 3, 1]),
        (json!({"maxUnavailable": "34%"}), &three[..], 3, [3, 1, 3, 2]),
        (json!({"maxUnavailable": 7}), &three[..], 3, [3, 0, 3, 3]),
        (json!({"maxUnavailable": 1}), &three[..], 0, [0, 0, 3, 0]),
        (json!({"minAvailable": 0}), &mixed[..], 3, [3, 0, 1, 1]),
        (json!({"minAvailable": 0}), &[][..], 0, [0, 0, 0, 0]),
    ];
    for (spec, pods, expected, wanted) in cases {
        assert_eq!(outcome(spec.clone(), pods, expected), wanted, "{spec}");
    }
}

#[test]
fn a_pod_that_was_evicted_counts_as_gone_until_it_is_overdue() {
    let at = |secs: i64| Timestamp::from_unix_secs(NOW - secs).to_string();
    let budget = budget(json!({"minAvailable": 1}), json!({"a": at(10), "b": at(300), "gone": at(1)}));
    let pods = [pod("a", true, false), pod("b", true, false), pod("c", true, false)];
    let now = Timestamp::from_unix_secs(NOW);
    let scale = Scale::default();
    let Plan { status, overdue, again } = plan(&Observed { budget: &budget, pods: &pods, scale: &scale, now });
    assert_eq!(status.current_healthy, 2);
    assert_eq!(status.disrupted_pods.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(overdue.iter().map(|p| p.metadata.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(again.map(|a| a.as_secs()), Some(111));
}

#[test]
fn the_condition_changes_its_time_only_with_its_status() {
    let mut known = budget(json!({"minAvailable": 1}), json!({}));
    let pods = [pod("a", true, false), pod("b", true, false)];
    let look = |budget: &Budget, pods: &[Arc<Pod>], now: i64| {
        let now = Timestamp::from_unix_secs(now);
        plan(&Observed { budget, pods, scale: &Scale::default(), now }).status
    };
    known.status = look(&known, &pods, NOW);
    assert_eq!(known.status.conditions[0]["reason"], "SufficientPods");
    assert_eq!(look(&known, &pods, NOW + 60), known.status);
    let less = look(&known, &pods[..1], NOW + 60);
    assert_eq!(less.conditions[0]["reason"], "InsufficientPods");
    assert_ne!(less.conditions[0]["lastTransitionTime"], known.status.conditions[0]["lastTransitionTime"]);
}
