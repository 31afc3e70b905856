//! What objects use of a quota, and which objects it speaks of.

use super::usage::{Counted, counted, of_claim, of_service, same};
use super::{Amounts, Spec, pods, scopes};
use api::{Quantity, Timestamp};
use serde_json::{Value, from_value, json};
use std::collections::BTreeMap;

fn texts(usage: BTreeMap<String, Quantity>) -> Value {
    usage
        .into_iter()
        .map(|(name, amount)| (name, Value::String(amount.to_string())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn pod(value: Value) -> pods::Pod {
    from_value(value).expect("a pod")
}

fn used(value: Value) -> Value {
    texts(pods::usage(&pod(value), Timestamp::from_unix_secs(1_800_000_000)))
}

#[test]
fn a_pod_uses_what_its_containers_need_together() {
    let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}});
    let sidecar = json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}});
    let cpu = |spec: Value| used(json!({"spec": spec}))["requests.cpu"].clone();
    assert_eq!(cpu(json!({"containers": [container("100m"), container("200m")]})), "300m");
    assert_eq!(cpu(json!({"containers": [container("1")], "initContainers": [container("2"), container("3")]})), "3");
    assert_eq!(cpu(json!({"containers": [container("1")], "initContainers": [sidecar.clone()]})), "1100m");
    assert_eq!(cpu(json!({"containers": [container("1")], "initContainers": [sidecar, container("2")]})), "2100m");
    assert_eq!(cpu(json!({"containers": [container("1")], "overhead": {"cpu": "500m"}})), "1500m");
    assert_eq!(cpu(json!({"containers": [container("1")], "resources": {"requests": {"cpu": "4"}}})), "4");
    let whole = used(json!({"spec": {"containers": [{"resources": {
        "requests": {"memory": "1Gi", "example.com/gpu": "2"}, "limits": {"memory": "2Gi"},
    }}]}}));
    assert_eq!(
        whole,
        json!({"count/pods": "1", "pods": "1", "memory": "1Gi", "requests.memory": "1Gi", "limits.memory": "2Gi",
            "requests.example.com/gpu": "2"})
    );
}

#[test]
fn a_pod_that_is_over_counts_as_an_object_alone() {
    let over = json!({"count/pods": "1"});
    for phase in ["Succeeded", "Failed"] {
        assert_eq!(used(json!({"status": {"phase": phase}})), over);
    }
    let going = |at: &str| json!({"metadata": {"deletionTimestamp": at, "deletionGracePeriodSeconds": 30}});
    assert_eq!(used(going("2020-01-01T00:00:00Z")), over);
    assert_eq!(used(going("2040-01-01T00:00:00Z"))["pods"], "1");
}

#[test]
fn services_and_claims_use_what_they_ask_for() {
    let service = |spec: Value| {
        let used = texts(of_service(&from_value(json!({"spec": spec})).expect("a service")));
        (used["services.nodeports"].clone(), used["services.loadbalancers"].clone())
    };
    let ports = json!([{"port": 1}, {"port": 2, "nodePort": 3}]);
    assert_eq!(service(json!({"type": "ClusterIP", "ports": ports})), (json!("0"), json!("0")));
    assert_eq!(service(json!({"type": "NodePort", "ports": ports})), (json!("2"), json!("0")));
    assert_eq!(service(json!({"type": "LoadBalancer", "ports": ports})), (json!("2"), json!("1")));
    let without = json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false});
    assert_eq!(service(without), (json!("1"), json!("1")));
    let claim = json!({"spec": {"storageClassName": "k", "resources": {"requests": {"storage": "1Gi"}}}});
    let used = texts(of_claim(&from_value(claim).expect("a claim")));
    assert_eq!(used["k.storageclass.storage.k8s.io/requests.storage"], "1Gi");
    assert_eq!(used["persistentvolumeclaims"], "1");
}

#[test]
fn each_resource_is_counted_by_one_kind_or_by_none() {
    let hard: Amounts = [
        "pods",
        "cpu",
        "requests.cpu",
        "limits.memory",
        "requests.example.com/gpu",
        "hugepages-2Mi",
        "services",
        "requests.storage",
        "k.storageclass.storage.k8s.io/persistentvolumeclaims",
        "configmaps",
        "count/deployments.apps",
        "example.com/thing",
    ]
    .map(|name| (name.to_owned(), "1".to_owned()))
    .into();
    let counts: Vec<(Counted, usize)> = counted(&hard).into_iter().map(|(c, names)| (c, names.len())).collect();
    let kind = |name: &str| Counted::Kind(name.to_owned());
    let expected = [
        (Counted::Pods, 6),
        (Counted::Services, 1),
        (Counted::Claims, 2),
        (kind("configmaps"), 1),
        (kind("deployments.apps"), 1),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn scopes_choose_pods() {
    let deadline = json!({"spec": {"activeDeadlineSeconds": 5}});
    let greedy = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}}]}});
    let important = json!({"spec": {"priorityClassName": "high"}});
    let term = json!({"topologyKey": "k", "namespaces": ["x"]});
    let far =
        json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}});
    let matches =
        |spec: Value, of: &Value| scopes::matches(&from_value::<Spec>(spec).expect("a spec"), &pod(of.clone()));
    for (scope, of, expected) in [
        ("Terminating", &deadline, true),
        ("NotTerminating", &deadline, false),
        ("BestEffort", &deadline, true),
        ("BestEffort", &greedy, false),
        ("NotBestEffort", &greedy, true),
        ("PriorityClass", &important, true),
        ("PriorityClass", &greedy, false),
        ("CrossNamespacePodAffinity", &far, true),
        ("CrossNamespacePodAffinity", &greedy, false),
    ] {
        assert_eq!(matches(json!({"scopes": [scope]}), of), expected, "{scope}");
    }
    for (operator, values, expected) in [
        ("In", json!(["high"]), true),
        ("In", json!(["low"]), false),
        ("NotIn", json!(["low"]), true),
        ("Exists", json!([]), true),
        ("DoesNotExist", json!([]), false),
    ] {
        let term = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
        let spec = json!({"scopeSelector": {"matchExpressions": [term]}});
        assert_eq!(matches(spec, &important), expected, "{operator}");
    }
}

#[test]
fn amounts_are_the_same_however_they_are_written() {
    let amounts = |text: &str| Amounts::from([("cpu".to_owned(), text.to_owned())]);
    assert!(same(Some(&amounts("1000m")), &amounts("1")));
    assert!(!same(Some(&amounts("2")), &amounts("1")) && !same(None, &amounts("1")));
}
