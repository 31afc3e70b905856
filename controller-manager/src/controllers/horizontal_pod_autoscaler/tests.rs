//! How many replicas measurements ask for, and how fast they are given.

use super::Behavior;
use super::limits::{Bounds, History, limit};
use super::metrics::{Sample, Samples};
use super::replicas::{Measured, Pod, Target, of_pods, of_value};
use api::Timestamp;
use serde_json::{Value, from_value, json};
use std::time::Duration;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_unix_secs(NOW)
}

fn pod(name: &str, phase: &str) -> Pod {
    let ago = |secs: i64| Timestamp::from_unix_secs(NOW - secs).to_string();
    from_value(json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
        "status": {
            "phase": phase, "startTime": ago(3600),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ago(3500)}],
        },
    }))
    .expect("a pod")
}

/// The replicas that pods with these uses (in thousandths; `None` for no sample) ask for.
fn asked(uses: &[Option<i64>], pending: usize, target: Target) -> Result<i64, String> {
    let name = |i: usize| format!("p{i}");
    let mut pods: Vec<Pod> = (0..uses.len()).map(|i| pod(&name(i), "Running")).collect();
    pods.extend((0..pending).map(|i| pod(&format!("q{i}"), "Pending")));
    let sample = |millis| Sample { millis, at: now(), window_secs: 60 };
    let samples: Samples = uses.iter().enumerate().filter_map(|(i, use_)| Some((name(i), sample((*use_)?)))).collect();
    let current = pods.len() as i64;
    let measured = Measured { pods: &pods, samples, resource: "cpu", container: None, current, now: now() };
    of_pods(measured, target).map(|proposal| proposal.replicas)
}

#[test]
fn replicas_follow_the_use_and_what_is_not_known_dampens() {
    let half = Target::Utilization(50);
    for (uses, pending, target, expected) in [
        (vec![Some(500), Some(500)], 0, half, 2),
        (vec![Some(540), Some(540)], 0, half, 2),
        (vec![Some(1000), Some(1000)], 0, half, 4),
        (vec![Some(100), Some(100), Some(100), Some(100)], 0, half, 1),
        // A pod that is not measured counts as idle when more are asked for,
        (vec![Some(1000), Some(1000), None], 0, half, 4),
        // and as fully used when fewer are.
        (vec![Some(100), Some(100), None], 0, half, 3),
        // So do pods that are not ready yet, when more are asked for.
        (vec![Some(1000), Some(1000)], 2, half, 4),
        (vec![Some(2000), Some(2000)], 0, Target::Average(1000), 4),
    ] {
        assert_eq!(asked(&uses, pending, target), Ok(expected), "{uses:?} {pending}");
    }
    assert!(asked(&[], 0, half).is_err() && asked(&[None], 0, half).is_err());
}

#[test]
fn one_value_is_shared_by_all_pods() {
    for (value, target, per_pod, expected) in [
        (10_000, 5_000, false, 6),
        (5_000, 5_000, false, 3),
        (1_000, 5_000, false, 1),
        (30_000, 5_000, true, 6),
        (15_000, 5_000, true, 3),
    ] {
        assert_eq!(of_value(value, target, per_pod, 3, 3).replicas, expected, "{value} {target} {per_pod}");
    }
}

fn limited(
    desired: i64,
    current: i64,
    behavior: Option<Value>,
    history: &mut History,
) -> (i64, &'static str, &'static str) {
    let behavior: Option<Behavior> = behavior.map(|b| from_value(b).expect("a behavior"));
    let bounds = Bounds { current, min: 2, max: 20 };
    let limited = limit(desired, &bounds, behavior.as_ref(), history, now());
    (limited.replicas, limited.able.1, limited.limited.1)
}

#[test]
fn without_behavior_it_rises_to_twice_as_many_and_falls_after_five_minutes() {
    let fresh = History::default;
    assert_eq!(limited(3, 3, None, &mut fresh()), (3, "ReadyForNewScale", "DesiredWithinRange"));
    assert_eq!(limited(15, 5, None, &mut fresh()), (10, "ReadyForNewScale", "ScaleUpLimit"));
    assert_eq!(limited(30, 15, None, &mut fresh()), (20, "ReadyForNewScale", "TooManyReplicas"));
    assert_eq!(limited(1, 3, None, &mut fresh()), (2, "ReadyForNewScale", "TooFewReplicas"));
    let mut recent = History::of(8, now());
    assert_eq!(limited(3, 8, None, &mut recent), (8, "ScaleDownStabilized", "DesiredWithinRange"));
    let long_ago = Timestamp::from_unix_secs(NOW - 301);
    assert_eq!(limited(3, 8, None, &mut History::of(8, long_ago)).0, 3);
}

#[test]
fn behavior_says_how_fast() {
    let two = json!([{"type": "Pods", "value": 2, "periodSeconds": 60}]);
    let both = json!({"scaleUp": {"policies": two}, "scaleDown": {"policies": two, "stabilizationWindowSeconds": 0}});
    let fresh = History::default;
    assert_eq!(limited(9, 4, Some(both.clone()), &mut fresh()), (6, "ReadyForNewScale", "ScaleUpLimit"));
    assert_eq!(limited(2, 8, Some(both.clone()), &mut fresh()), (6, "ReadyForNewScale", "ScaleDownLimit"));
    let mut history = History::default();
    history.note(4, 6, Timestamp::from_unix_secs(NOW - 30));
    assert_eq!(limited(9, 6, Some(both.clone()), &mut history).0, 6);
    let mut history = History::default();
    history.note(4, 6, now().plus(Duration::ZERO));
    let disabled = json!({"scaleUp": {"selectPolicy": "Disabled"}, "scaleDown": {"selectPolicy": "Disabled"}});
    assert_eq!(limited(9, 4, Some(disabled.clone()), &mut fresh()).0, 4);
    assert_eq!(limited(2, 4, Some(disabled), &mut fresh()).0, 4);
    let default = json!({});
    assert_eq!(limited(20, 5, Some(default), &mut fresh()).0, 10);
    let waits = json!({"scaleUp": {"stabilizationWindowSeconds": 60}});
    assert_eq!(limited(9, 4, Some(waits), &mut History::of(4, now())), (4, "ScaleUpStabilized", "DesiredWithinRange"));
}
