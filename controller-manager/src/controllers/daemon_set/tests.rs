//! Which pods a daemon set makes and ends, by table.

use super::plan::{plan, status};
use super::*;
use api::Timestamp;
use serde_json::{from_value, json};

const NOW: i64 = 1_800_000_000;

fn set(strategy: Value) -> DaemonSet {
    from_value(json!({
        "metadata": {"namespace": "ns", "name": "ds", "uid": "set", "generation": 4},
        "spec": {"updateStrategy": strategy, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}},
    }))
    .expect("a daemon set")
}

fn rolling(surge: u32, unavailable: u32) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// `n1:new:ready`: its node, its hash and how it is, with a `-` behind if it is being deleted. The oldest come first.
fn pod(index: usize, text: &str) -> Arc<Pod> {
    let (text, deleting) = text.strip_suffix('-').map_or((text, false), |t| (t, true));
    let parts: Vec<&str> = text.split(':').collect();
    let [node, hash, state] = parts[..] else { panic!("three parts") };
    let phase = match state {
        "failed" => "Failed",
        "succeeded" => "Succeeded",
        _ => "Running",
    };
    let created = Timestamp::from_unix_secs(NOW - 3600 + i64::try_from(index).expect("few")).to_string();
    let mut value = json!({
        "metadata": {"namespace": "ns", "name": format!("{index}@{node}"), "uid": format!("{index}"),
            "creationTimestamp": created, "labels": {POD_LABEL: hash}},
        "spec": {"nodeName": node},
        "status": {"phase": phase,
            "conditions": [{"type": "Ready", "status": if state == "ready" { "True" } else { "False" }}]},
    });
    if let Some(name) = node.strip_prefix('?') {
        value["spec"] = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]}}}});
    }
    if deleting {
        value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    Arc::new(from_value(value).expect("a pod"))
}

/// Nodes `n1` to `n3`; of those in `tainted`, new pods are kept off.
fn with_observed<T>(set: &DaemonSet, tainted: &str, pods: &str, then: impl FnOnce(&Observed<'_>) -> T) -> T {
    let node = |name: &str| {
        let taints = if tainted.contains(name) { json!([{"key": "x", "effect": "NoSchedule"}]) } else { json!([]) };
        Arc::new(from_value(json!({"metadata": {"name": name}, "spec": {"taints": taints}})).expect("a node"))
    };
    let nodes: Vec<Arc<Node>> = ["n1", "n2", "n3"].into_iter().map(node).collect();
    let pods: Vec<Arc<Pod>> = pods.split_whitespace().enumerate().map(|(i, text)| pod(i, text)).collect();
    let failed_stays = |node: &str| Duration::from_secs(if node == "n3" { 7 } else { 0 });
    let place = Place::of(&set.spec.template);
    let now = Timestamp::from_unix_secs(NOW);
    let (nodes, pods, failed_stays) = (&nodes, &pods, &failed_stays);
    then(&Observed { set, place: &place, hash: "new", nodes, pods, failed_stays, now })
}

#[track_caller]
fn check(strategy: Value, tainted: &str, pods: &str, expected: &str) {
    let plan = with_observed(&set(strategy), tainted, pods, plan);
    let created = plan.create.iter().map(|node| format!("+{node}"));
    let deleted = plan.delete.iter().map(|pod| format!("-{}", pod.metadata.name));
    assert_eq!(created.chain(deleted).collect::<Vec<_>>().join(" "), expected, "{pods}");
}

#[test]
fn every_node_that_it_is_for_has_one_pod() {
    let one = rolling(0, 1);
    check(one.clone(), "", "", "+n1 +n2 +n3");
    check(one.clone(), "n2", "n1:new:ready", "+n3");
    check(one.clone(), "n2", "n1:new:ready n2:new:ready n3:new:ready", "");
    check(one.clone(), "", "n1:new:ready ?n2:new:pending n3:new:ready", "");
    check(one.clone(), "", "n1:new:ready n2:new:ready n3:new:ready n1:new:ready", "-3@n1");
    check(one.clone(), "", "n1:new:ready n2:new:ready n3:new:ready-", "");
    check(one.clone(), "", "n1:new:ready n2:new:ready n3:new:failed-", "+n3");
    check(one.clone(), "", "n1:new:failed n2:new:succeeded n3:new:failed", "-0@n1 -1@n2");
    check(one, "", "n1:new:ready n2:new:ready n3:new:ready ?gone:new:pending gone:new:ready", "-3@?gone");
}

#[test]
fn an_update_replaces_no_more_pods_than_may_lack() {
    let old = "n1:old:ready n2:old:ready n3:old:ready";
    check(rolling(0, 1), "", old, "-0@n1");
    check(rolling(0, 2), "", old, "-0@n1 -1@n2");
    check(rolling(0, 1), "", "n1:new:unready n2:old:ready n3:old:ready", "");
    check(rolling(0, 1), "", "n1:new:ready n2:old:ready n3:old:ready", "-1@n2");
    check(rolling(0, 1), "", "n1:old:ready n2:old:ready n3:old:unready", "-2@n3");
    check(rolling(0, 1), "", "n1:old:ready n2:old:ready- n3:old:ready", "");
    check(json!({"type": "OnDelete"}), "", old, "");
}

#[test]
fn an_update_that_may_double_pods_ends_the_old_one_when_the_new_one_is_available() {
    let old = "n1:old:ready n2:old:ready n3:old:ready";
    check(rolling(1, 0), "", old, "+n1");
    check(rolling(2, 0), "", old, "+n1 +n2");
    check(rolling(1, 0), "", &format!("{old} n1:new:unready"), "");
    check(rolling(1, 0), "", &format!("{old} n1:new:ready"), "-0@n1");
    check(rolling(1, 0), "", "n1:old:ready n2:old:unready n3:old:ready", "+n2 +n1");
    check(rolling(1, 0), "", "n1:old:unready n1:new:unready n2:old:ready n3:old:ready", "-0@n1");
    check(rolling(1, 0), "n1", "n1:old:unready n2:new:ready n3:new:ready", "-0@n1");
    check(rolling(1, 0), "n1", "n1:old:ready n2:new:ready n3:new:ready", "-0@n1");
    check(rolling(1, 0), "n1", "n1:old:ready n2:new:unready n3:new:ready", "");
}

#[test]
fn the_status_counts_nodes() {
    let set = set(rolling(0, 1));
    let status = with_observed(&set, "n3", "n1:new:ready n2:old:unready n3:new:ready", |seen| status(seen, true, 0));
    let expected = json!({
        "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberMisscheduled": 1, "numberReady": 1,
        "numberAvailable": 1, "numberUnavailable": 1, "updatedNumberScheduled": 1, "observedGeneration": 4,
    });
    assert_eq!(status.to_value(), expected);
}

#[test]
fn a_pod_is_for_one_node_and_endures_what_others_do_not() {
    let pod = plan::new_pod(&set(rolling(0, 1)), json!({"uid": "set"}), "new", "n2");
    assert_eq!(pod["metadata"]["labels"], json!({"a": "b", POD_LABEL: "new"}));
    let view: Pod = from_value(pod).expect("a pod");
    assert_eq!(view.target_node(), "n2");
    assert_eq!(view.spec.tolerations.len(), 6);
}
