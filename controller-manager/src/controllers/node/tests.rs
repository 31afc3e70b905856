//! When a node is silent, and which taints it has.

use super::plan::{GRACE, LOOK_AGAIN, NOT_READY, STARTUP_GRACE, TaintId, UNREACHABLE, plan, set_taints, zone_of};
use super::*;
use serde_json::from_value;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_unix_secs(NOW)
}

fn ago(duration: Duration) -> Timestamp {
    Timestamp::from_unix_secs(NOW - i64::try_from(duration.as_secs()).expect("a short time"))
}

fn node(conditions: &[(&str, &str)], taints: &[TaintId]) -> Node {
    let conditions: Vec<Value> =
        conditions.iter().map(|(kind, status)| json!({"type": kind, "status": status})).collect();
    let taints: Vec<Value> = taints.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
    from_value(json!({
        "metadata": {"name": "n", "creationTimestamp": ago(Duration::from_secs(61)).to_string()},
        "spec": {"taints": taints},
        "status": {"conditions": conditions},
    }))
    .expect("a node")
}

/// A zone in which all is well but for one of many nodes.
const CALM: Zone = Zone { nodes: 10, not_ready: 1, nothing_is_ready: false };

fn planned(node: &Node, heard: Option<Timestamp>, zone: Zone) -> Plan {
    plan(&Observed { node, heard, zone, now: now() })
}

#[test]
fn a_node_that_falls_silent_has_unknown_conditions() {
    let ready = node(&[("Ready", "True"), ("NetworkUnavailable", "False")], &[]);
    let at_the_limit = planned(&ready, Some(ago(GRACE)), CALM);
    assert_eq!(at_the_limit, Plan::Nothing { again: Some(Duration::from_secs(1)) });
    let beyond = ago(GRACE + Duration::from_secs(1));
    let Plan::Conditions(conditions) = planned(&ready, Some(beyond), CALM) else { panic!("it is silent") };
    let texts: Vec<String> = conditions.iter().map(|c| format!("{}={} {}", c.kind, c.status, c.reason)).collect();
    let never = "NodeStatusNeverUpdated";
    let expected = [
        "Ready=Unknown NodeStatusUnknown".to_owned(),
        format!("MemoryPressure=Unknown {never}"),
        format!("DiskPressure=Unknown {never}"),
        format!("PIDPressure=Unknown {never}"),
    ];
    assert_eq!(texts, expected);
}

#[test]
fn a_node_that_never_spoke_is_given_longer() {
    assert!(GRACE < Duration::from_secs(61) && STARTUP_GRACE < Duration::from_secs(61));
    assert!(matches!(planned(&node(&[], &[]), None, CALM), Plan::Conditions(_)));
    let mut young = node(&[], &[]);
    young.metadata.creation_timestamp = Time(ago(STARTUP_GRACE - Duration::from_secs(9)));
    assert_eq!(planned(&young, None, CALM), Plan::Nothing { again: Some(Duration::from_secs(10)) });
}

#[test]
fn a_silent_node_is_said_to_be_so_once() {
    let unknown = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"].map(|kind| (kind, "Unknown"));
    let silent = node(&unknown, &[(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]);
    assert_eq!(planned(&silent, Some(ago(GRACE * 2)), CALM), Plan::Nothing { again: Some(LOOK_AGAIN) });
}

#[track_caller]
fn tainted(node: &Node, zone: Zone, add: &[TaintId], remove: &[TaintId]) {
    let expected = Plan::Taints { add: add.to_vec(), remove: remove.to_vec() };
    assert_eq!(planned(node, Some(now()), zone), expected);
}

#[test]
fn taints_follow_conditions() {
    let (memory, unschedulable) = ("node.kubernetes.io/memory-pressure", "node.kubernetes.io/unschedulable");
    let both = |key| [(key, "NoSchedule"), (key, "NoExecute")];
    tainted(&node(&[("Ready", "False")], &[]), CALM, &both(NOT_READY), &[]);
    tainted(&node(&[("Ready", "Unknown")], &both(NOT_READY)), CALM, &both(UNREACHABLE), &both(NOT_READY));
    tainted(&node(&[("Ready", "True")], &both(UNREACHABLE)), CALM, &[], &both(UNREACHABLE));
    let pressed = node(&[("Ready", "True"), ("MemoryPressure", "True")], &[("mine", "NoExecute")]);
    tainted(&pressed, CALM, &[(memory, "NoSchedule")], &[]);
    let relaxed = node(&[("Ready", "True"), ("MemoryPressure", "Unknown")], &[(memory, "NoSchedule")]);
    tainted(&relaxed, CALM, &[], &[(memory, "NoSchedule")]);
    let mut cordoned = node(&[("Ready", "True")], &[]);
    cordoned.spec.unschedulable = true;
    tainted(&cordoned, CALM, &[(unschedulable, "NoSchedule")], &[]);
    // What only admission has put on a node that never spoke is taken away.
    tainted(&node(&[], &[(NOT_READY, "NoSchedule")]), CALM, &[], &[(NOT_READY, "NoSchedule")]);
}

#[test]
fn pods_stay_while_much_is_down_together() {
    let down = node(&[("Ready", "Unknown")], &[(UNREACHABLE, "NoSchedule")]);
    let zone = |nodes, not_ready| Zone { nodes, not_ready, nothing_is_ready: false };
    let evicted =
        |zone| matches!(planned(&down, Some(now()), zone), Plan::Taints { add, .. } if add.iter().any(plan::evicts));
    assert!(evicted(zone(10, 1)) && evicted(zone(3, 2)) && evicted(zone(10, 5)));
    assert!(!evicted(zone(10, 6)), "most of a small zone");
    assert!(evicted(zone(100, 60)), "most of a large zone");
    assert!(evicted(zone(10, 10)), "a zone that is lost whole");
    let all = Zone { nothing_is_ready: true, ..zone(10, 10) };
    assert!(!evicted(all));
    let tainted_before = node(&[("Ready", "Unknown")], &[(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]);
    tainted(&tainted_before, all, &[], &[(UNREACHABLE, "NoExecute")]);
    assert_eq!(planned(&tainted_before, Some(now()), zone(10, 6)), Plan::Nothing { again: Some(LOOK_AGAIN) });
}

#[test]
fn what_becomes_of_the_pods_of_a_silent_node_is_asked_again_and_again() {
    let unknown = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"].map(|kind| (kind, "Unknown"));
    let mut node = node(&unknown, &[(UNREACHABLE, "NoSchedule")]);
    let looked_again = Plan::Nothing { again: Some(LOOK_AGAIN) };
    let zone = |not_ready| Zone { nodes: 10, not_ready, nothing_is_ready: not_ready == 10 };
    let heard = Some(ago(GRACE * 9));
    assert_eq!(planned(&node, heard, zone(10)), looked_again, "withheld while nothing is ready");
    assert_eq!(planned(&node, heard, zone(6)), looked_again, "withheld while the zone is disrupted");
    let evicting = (UNREACHABLE, "NoExecute");
    assert_eq!(planned(&node, heard, zone(5)), Plan::Taints { add: vec![evicting], remove: vec![] });
    let taint = from_value(json!({"key": evicting.0, "effect": evicting.1})).expect("a taint");
    node.spec.taints.push(taint);
    assert_eq!(planned(&node, heard, zone(5)), looked_again);
    assert_eq!(planned(&node, heard, zone(10)), Plan::Taints { add: vec![], remove: vec![evicting] });
}

#[test]
fn zones_are_counted_apart() {
    let in_zone = |zone: &str, status: &str| {
        let mut node = node(&[("Ready", status)], &[]);
        node.metadata.labels.insert("topology.kubernetes.io/zone".to_owned(), zone.to_owned());
        node
    };
    let all = [in_zone("a", "False"), in_zone("a", "True"), in_zone("b", "Unknown")];
    assert_ne!(zone_of(&all[0]), zone_of(&all[2]));
    let counted = |i: usize| Zone::of(&all[i], all.iter());
    assert_eq!(counted(0), Zone { nodes: 2, not_ready: 1, nothing_is_ready: false });
    assert_eq!(counted(2), Zone { nodes: 1, not_ready: 1, nothing_is_ready: false });
    assert!(Zone::of(&all[2], all[2..].iter()).nothing_is_ready);
}

#[test]
fn taints_of_others_are_kept_as_they_are() {
    let mine = json!({"key": "mine", "effect": "NoSchedule", "value": "v"});
    let mut object = json!({"spec": {"taints": [mine, {"key": NOT_READY, "effect": "NoSchedule"}]}});
    set_taints(&mut object, &[(UNREACHABLE, "NoExecute")], &[(NOT_READY, "NoSchedule")], now());
    let added = json!({"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": now().to_string()});
    assert_eq!(object["spec"]["taints"], json!([mine, added]));
    set_taints(&mut object, &[], &[("mine", "NoSchedule"), (UNREACHABLE, "NoExecute")], now());
    assert_eq!(object["spec"]["taints"], Value::Null);
}

#[test]
fn a_node_is_heard_by_its_lease_or_its_heartbeat() {
    let heard = Heard::default();
    let lease = |renewed: Option<i64>| {
        let time = renewed.map(|secs| Timestamp::from_unix_secs(secs).to_micro_string());
        Some(Arc::new(from_value::<NodeLease>(json!({"spec": {"renewTime": time}})).expect("a lease")))
    };
    let mut at = 0;
    let mut renew = |old: Option<Arc<NodeLease>>, new: Option<Arc<NodeLease>>| {
        at += 1;
        let change = Change { key: ObjectRef::new(&api::TenantName::system(), "kube-node-lease", "n"), old, new };
        lease_changed(&change, &heard, Timestamp::from_unix_secs(at));
        heard.at("n").map_or(0, Timestamp::unix_secs)
    };
    assert_eq!(renew(None, lease(None)), 0);
    assert_eq!(renew(None, lease(Some(100))), 2);
    assert_eq!(renew(lease(Some(100)), lease(Some(100))), 2, "an unrenewed lease is no sign of life");
    assert_eq!(renew(lease(Some(100)), lease(Some(90))), 4, "whatever a node's clock says");
    assert_eq!(renew(lease(Some(90)), None), 4);
    let node = |beat: &str| {
        Some(Arc::new(
            from_value::<Node>(json!({"status": {"conditions": [{"type": "Ready", "lastHeartbeatTime": beat}]}}))
                .expect("a node"),
        ))
    };
    let beat = |old: Option<Arc<Node>>, new: Option<Arc<Node>>, at: i64| {
        node_changed(&Change { key: ObjectRef::cluster("n"), old, new }, &heard, Timestamp::from_unix_secs(at));
        heard.at("n").map_or(0, Timestamp::unix_secs)
    };
    let (first, second) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:10Z");
    assert_eq!(beat(node(first), node(first), 10), 4);
    assert_eq!(beat(node(first), node(second), 11), 11);
    assert_eq!(beat(node(second), None, 12), 0);
}
