//! Nodes and pods as tables; what is expected are the words of upstream's kubelet.

use super::*;
use api::Quantity;
use serde_json::json;

/// A node with two CPUs, 4 GiB of memory, 10 GiB of disk, three slots, four gadgets and some labels.
fn offer() -> Offer {
    let machine = Allocatable {
        cpu: Quantity::from_units(2),
        memory: Quantity::from_bytes(4 << 30),
        ephemeral_storage: Quantity::from_bytes(10 << 30),
    };
    let node = json!({
        "metadata": {"labels": {"disk": "ssd", "generation": "7"}},
        "status": {"allocatable": {"a.example/gadget": "4", "cpu": "64", "memory": "1Ti"}},
    });
    Offer::of("n1", machine, 3, &node)
}

fn pod(spec: Value) -> Arc<Pod> {
    created("2026-01-01T00:00:00Z", "u", spec)
}

fn created(at: &str, uid: &str, spec: Value) -> Arc<Pod> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"tenant": "acme", "namespace": "default", "name": "web", "uid": uid, "creationTimestamp": at},
        "spec": spec,
    }))
    .expect("a pod");
    assert_eq!(pod.unreadable, None);
    Arc::new(pod)
}

fn asks(requests: Value) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
}

/// The reason for which the node does not take a pod beside others, and the message after its first words.
#[track_caller]
fn check(holding: &[Value], spec: Value, expected: Option<(&str, &str)>) {
    let holding: Vec<Arc<Pod>> = holding.iter().cloned().map(pod).collect();
    let decided = admit(&offer(), holding.iter().map(|pod| &**pod), vec![pod(spec.clone())]);
    let [(_, verdict)] = &decided[..] else { panic!("one pod, {} verdicts", decided.len()) };
    let expected = expected.map(|(reason, why)| rejection(reason.to_owned(), why));
    assert_eq!(verdict.clone().err(), expected, "{spec}");
}

#[test]
fn a_pod_for_which_there_is_no_room_is_rejected_in_upstreams_words() {
    check(&[], asks(json!({})), None);
    check(&[], asks(json!({"cpu": "2", "memory": "4Gi", "ephemeral-storage": "10Gi", "a.example/gadget": "4"})), None);
    let why = "Node didn't have enough resource: cpu, requested: 2001, used: 0, capacity: 2000";
    check(&[], asks(json!({"cpu": "2001m", "memory": "5Gi"})), Some(("OutOfcpu", why)));
    let half = asks(json!({"cpu": "1500m", "memory": "1Gi", "ephemeral-storage": "9Gi", "a.example/gadget": 3}));
    let half = std::slice::from_ref(&half);
    let why = "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000";
    check(half, asks(json!({"cpu": "600m"})), Some(("OutOfcpu", why)));
    check(half, asks(json!({"cpu": "500m"})), None);
    let why = "Node didn't have enough resource: memory, requested: 4294967296, used: 1073741824, capacity: 4294967296";
    check(half, asks(json!({"memory": "4Gi"})), Some(("OutOfmemory", why)));
    let why = "Node didn't have enough resource: ephemeral-storage, requested: 2147483648, used: 9663676416, capacity: 10737418240";
    check(half, asks(json!({"ephemeral-storage": "2Gi"})), Some(("OutOfephemeral-storage", why)));
    let why = "Node didn't have enough resource: a.example/gadget, requested: 2, used: 3, capacity: 4";
    check(half, asks(json!({"a.example/gadget": "2"})), Some(("OutOfa.example/gadget", why)));
    let three = [asks(json!({})), asks(json!({})), asks(json!({}))];
    let why = "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3";
    check(&three, asks(json!({"cpu": "9"})), Some(("OutOfpods", why)));
}

#[test]
fn what_the_node_does_not_know_is_somebody_elses_unless_it_is_kubernetes_own() {
    check(&[], asks(json!({"other.example/thing": "1"})), None);
    let why = "Node didn't have enough resource: hugepages-2Mi, requested: 2097152, used: 0, capacity: 0";
    check(&[], asks(json!({"hugepages-2Mi": "2Mi"})), Some(("OutOfhugepages-2Mi", why)));
}

#[test]
fn a_node_that_holds_more_than_it_has_still_takes_what_asks_for_nothing() {
    let over = [asks(json!({"cpu": "50", "memory": "9Ei"}))];
    check(&over, asks(json!({"cpu": "0"})), None);
    let why = "Node didn't have enough resource: cpu, requested: 1, used: 50000, capacity: 2000";
    check(&over, asks(json!({"cpu": "1m"})), Some(("OutOfcpu", why)));
    let most = [asks(json!({"memory": "9223372036854775807"})), asks(json!({"memory": "9223372036854775807"}))];
    let why =
        "Node didn't have enough resource: memory, requested: 1, used: 18446744073709551614, capacity: 4294967296";
    check(&most, asks(json!({"memory": "1"})), Some(("OutOfmemory", why)));
}

#[test]
fn a_pod_asks_for_the_most_that_it_needs_at_any_time() {
    let cpu = |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
    let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "300m"}}});
    let limit =
        json!({"name": "l", "resources": {"limits": {"cpu": "100m", "memory": "1"}, "requests": {"memory": "0"}}});
    let cases = [
        (json!({"containers": [cpu("a", "100m"), cpu("b", "200m")]}), 300),
        (json!({"containers": [cpu("a", "100m")], "initContainers": [cpu("i", "200m"), cpu("j", "150m")]}), 200),
        (json!({"containers": [cpu("a", "100m")], "initContainers": [sidecar, cpu("i", "200m")]}), 500),
        (json!({"containers": [cpu("a", "300m")], "initContainers": [cpu("i", "200m"), sidecar]}), 600),
        (json!({"containers": [limit]}), 100),
        (json!({"containers": [cpu("a", "1")], "resources": {"requests": {"cpu": "400m"}}}), 400),
        (json!({"containers": [cpu("a", "1")], "resources": {"limits": {"cpu": "4"}}}), 1000),
        (json!({"containers": [{"name": "a"}], "resources": {"limits": {"cpu": "4"}}}), 4000),
        (json!({"containers": [cpu("a", "1")], "overhead": {"cpu": "50m"}}), 1050),
        (json!({"containers": [cpu("a", "-1")]}), 0),
    ];
    for (spec, millis) in cases {
        assert_eq!(requests(&pod(spec.clone()).spec).get(CPU).copied().unwrap_or(0), millis, "{spec}");
    }
}

#[test]
fn a_node_that_the_pod_does_not_want_is_not_used() {
    let why = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    let not_wanted = Some(("NodeAffinity", why));
    let term = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    let required = |terms: Value| {
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        json!({"affinity": {"nodeAffinity": required}})
    };
    let name = |operator: &str, name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": operator, "values": [name]}]});
    let yes = term("disk", "In", json!(["hdd", "ssd"]));
    let no = term("disk", "In", json!(["hdd"]));
    let mut both = yes.clone();
    both["matchFields"] = name("In", "n2")["matchFields"].clone();
    let wanted = [
        json!({"nodeSelector": {"disk": "ssd"}}),
        json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}}}),
        required(json!([no, yes])),
        required(json!([term("disk", "NotIn", json!(["hdd"])), no])),
        required(json!([term("none", "NotIn", json!(["hdd"]))])),
        required(json!([term("disk", "Exists", json!([]))])),
        required(json!([term("none", "DoesNotExist", json!([]))])),
        required(json!([term("generation", "Gt", json!(["6"]))])),
        required(json!([term("generation", "Lt", json!(["8"]))])),
        required(json!([name("In", "n1")])),
        required(json!([name("NotIn", "n2")])),
    ];
    wanted.into_iter().for_each(|spec| check(&[], spec, None));
    let unwanted = [
        json!({"nodeSelector": {"disk": "hdd"}}),
        json!({"nodeSelector": {"disk": "ssd", "none": ""}}),
        required(json!([])),
        required(json!([{}])),
        required(json!([no])),
        required(json!([both])),
        required(json!([term("disk", "NotIn", json!(["ssd"]))])),
        required(json!([term("none", "Exists", json!([]))])),
        required(json!([term("disk", "DoesNotExist", json!([]))])),
        required(json!([term("generation", "Gt", json!(["7"]))])),
        required(json!([term("disk", "Lt", json!(["8"]))])),
        required(json!([term("disk", "Future", json!(["ssd"]))])),
        required(json!([name("In", "n2")])),
        required(json!([name("NotIn", "n1")])),
    ];
    unwanted.into_iter().for_each(|spec| check(&[], spec, not_wanted));
}

#[test]
fn room_is_asked_about_before_labels() {
    let mut spec = asks(json!({"cpu": "3"}));
    spec["nodeSelector"] = json!({"disk": "hdd"});
    let why = "Node didn't have enough resource: cpu, requested: 3000, used: 0, capacity: 2000";
    check(&[], spec, Some(("OutOfcpu", why)));
}

#[test]
fn the_older_pod_is_taken_whichever_came_first() {
    let one = || asks(json!({"cpu": "1200m"}));
    let pods = [
        created("2026-01-01T00:00:02Z", "b", one()),
        created("2026-01-01T00:00:01Z", "c", one()),
        created("2026-01-01T00:00:01Z", "a", asks(json!({"cpu": "2500m"}))),
        created("2026-01-01T00:00:03Z", "d", asks(json!({"cpu": "800m"}))),
    ];
    let expected = [("a", false), ("c", true), ("b", false), ("d", true)];
    for turn in 0..pods.len() {
        let mut waiting = pods.to_vec();
        waiting.rotate_left(turn);
        let decided = admit(&offer(), [], waiting);
        let decided: Vec<(&str, bool)> =
            decided.iter().map(|(pod, verdict)| (pod.metadata.uid.as_str(), verdict.is_ok())).collect();
        assert_eq!(decided, expected, "turn {turn}");
    }
}

#[test]
fn a_pod_that_never_runs_takes_no_room() {
    let mut odd = asks(json!({"cpu": "2"}));
    odd["runtimeClassName"] = json!("gvisor");
    check(&[odd.clone()], asks(json!({"cpu": "2"})), None);
    // Its own reason is another's to tell.
    check(&[asks(json!({"cpu": "2"}))], odd, None);
}
