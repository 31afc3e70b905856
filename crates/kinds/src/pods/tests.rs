//! Pods as clients send and change them.

use crate::strategy;
use crate::testing::{cells, create, kind, new, status, subresource, update, with};
use serde_json::{Value, json};

fn pod(changes: &[(&str, Value)]) -> Value {
    with(&json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}), changes)
}

fn made(changes: &[(&str, Value)]) -> Value {
    new("Pod", &pod(changes))
}

#[track_caller]
fn check(field: &str, value: Value, expected: &[&str]) {
    assert_eq!(create("Pod", &pod(&[(field, value.clone())])), expected, "{field} {value}");
}

#[test]
fn a_plain_pod_is_complete() {
    let pod = made(&[]);
    let spec = &pod["spec"];
    assert_eq!(spec["restartPolicy"], "Always");
    assert_eq!(spec["dnsPolicy"], "ClusterFirst");
    assert_eq!(spec["terminationGracePeriodSeconds"], 30);
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    check("/spec/containers/0/image", json!("i:1"), &[]);
}

#[test]
fn containers_have_names_and_images() {
    let c = |name: &str| json!({"name": name, "image": "i"});
    check("/spec/containers", json!([]), &["Required spec.containers"]);
    check("/spec/containers", json!([c("A_")]), &["Invalid spec.containers[0].name"]);
    check("/spec/containers", json!([c("a"), c("a")]), &["Duplicate spec.containers[1].name"]);
    check("/spec/containers/0/image", json!(""), &["Required spec.containers[0].image"]);
    check("/spec/initContainers", json!([c("c")]), &["Duplicate spec.initContainers[0].name"]);
    let pull = "/spec/containers/0/imagePullPolicy";
    check(pull, json!("X"), &["NotSupported spec.containers[0].imagePullPolicy"]);
}

#[test]
fn ports_are_numbers_with_names_of_their_own() {
    let ports = "/spec/containers/0/ports";
    check(ports, json!([{"containerPort": 80, "name": "http"}]), &[]);
    check(ports, json!([{"containerPort": 0}]), &["Required spec.containers[0].ports[0].containerPort"]);
    check(ports, json!([{"containerPort": 65536}]), &["Invalid spec.containers[0].ports[0].containerPort"]);
    let twice = json!([{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]);
    check(ports, twice, &["Duplicate spec.containers[0].ports[1].name"]);
    check(
        ports,
        json!([{"containerPort": 80, "protocol": "X"}]),
        &["NotSupported spec.containers[0].ports[0].protocol"],
    );
}

#[test]
fn variables_have_one_source() {
    let env = "/spec/containers/0/env";
    let from = |source: Value| json!([{"name": "A", "valueFrom": source}]);
    check(env, from(json!({"fieldRef": {"fieldPath": "metadata.name"}})), &[]);
    check(env, from(json!({})), &["Invalid spec.containers[0].env[0].valueFrom"]);
    check(
        env,
        from(json!({"fieldRef": {"fieldPath": "spec.x"}})),
        &["Invalid spec.containers[0].env[0].valueFrom.fieldRef.fieldPath"],
    );
    let key = json!({"configMapKeyRef": {"name": "m", "key": ""}});
    check(env, from(key), &["Required spec.containers[0].env[0].valueFrom.configMapKeyRef.key"]);
    check(env, json!([{"name": "A=B"}]), &["Invalid spec.containers[0].env[0].name"]);
}

#[test]
fn requests_are_within_limits() {
    let resources = "/spec/containers/0/resources";
    check(resources, json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}), &[]);
    check(
        resources,
        json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
        &["Invalid spec.containers[0].resources.requests"],
    );
    check(
        resources,
        json!({"limits": {"cpu": "-1"}}),
        &["Invalid spec.containers[0].resources.limits[cpu]", "Invalid spec.containers[0].resources.requests[cpu]"],
    );
    let gpu = json!({"requests": {"example.com/gpu": "1"}});
    check(resources, gpu, &["Required spec.containers[0].resources.limits"]);
}

#[test]
fn mounts_are_of_volumes_with_one_source() {
    let volume = |source: Value| {
        let mut volume = json!({"name": "v"});
        source.as_object().into_iter().flatten().for_each(|(field, value)| volume[field] = value.clone());
        json!([volume])
    };
    let volumes = "/spec/volumes";
    check(volumes, volume(json!({"emptyDir": {}})), &[]);
    check(
        volumes,
        volume(json!({"emptyDir": {}, "hostPath": {"path": "/x"}})),
        &["Forbidden spec.volumes[0].hostPath"],
    );
    check(volumes, volume(json!({"hostPath": {"path": ""}})), &["Required spec.volumes[0].hostPath.path"]);
    check(volumes, volume(json!({"secret": {}})), &["Required spec.volumes[0].secret.secretName"]);
    check(
        volumes,
        json!([{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]),
        &["Duplicate spec.volumes[1].name"],
    );
    let mount = |name: &str, path: &str| json!([{"name": name, "mountPath": path}]);
    let mounts = "/spec/containers/0/volumeMounts";
    check(mounts, mount("v", "/x"), &["NotFound spec.containers[0].volumeMounts[0].name"]);
    let both = pod(&[(volumes, volume(json!({"emptyDir": {}}))), (mounts, mount("v", ""))]);
    assert_eq!(create("Pod", &both), ["Required spec.containers[0].volumeMounts[0].mountPath"]);
}

#[test]
fn probes_have_one_handler() {
    let probe = "/spec/containers/0/livenessProbe";
    check(probe, json!({"tcpSocket": {"port": 80}}), &[]);
    check(probe, json!({}), &["Required spec.containers[0].livenessProbe"]);
    let two = json!({"tcpSocket": {"port": 80}, "exec": {"command": ["x"]}});
    check(probe, two, &["Forbidden spec.containers[0].livenessProbe.tcpSocket"]);
    let successes = json!({"tcpSocket": {"port": 80}, "successThreshold": 2});
    check(probe, successes, &["Invalid spec.containers[0].livenessProbe.successThreshold"]);
}

#[test]
fn a_pod_says_where_and_how_it_runs() {
    for (field, value, expected) in [
        ("/spec/restartPolicy", json!("X"), &["NotSupported spec.restartPolicy"][..]),
        ("/spec/dnsPolicy", json!("X"), &["NotSupported spec.dnsPolicy"]),
        ("/spec/dnsPolicy", json!("None"), &["Required spec.dnsConfig"]),
        ("/spec/hostname", json!("A_"), &["Invalid spec.hostname"]),
        ("/spec/nodeSelector", json!({"a": "b c"}), &["Invalid spec.nodeSelector"]),
        ("/spec/activeDeadlineSeconds", json!(0), &["Invalid spec.activeDeadlineSeconds"]),
        ("/spec/tolerations", json!([{"key": "k", "operator": "X"}]), &["NotSupported spec.tolerations[0].operator"]),
        ("/spec/schedulingGates", json!([{"name": "g"}, {"name": "g"}]), &["Duplicate spec.schedulingGates[1]"]),
        ("/spec/hostAliases", json!([{"ip": "x"}]), &["Invalid spec.hostAliases[0].ip"]),
        ("/spec/os", json!({"name": "plan9"}), &["NotSupported spec.os.name"]),
    ] {
        check(field, value, expected);
    }
}

#[test]
fn only_some_of_a_pod_can_change() {
    let old = made(&[]);
    assert_eq!(update("Pod", &old, &[("/spec/containers/0/image", json!("j"))]), [""; 0]);
    assert_eq!(update("Pod", &old, &[("/metadata/labels", json!({"a": "b"}))]), [""; 0]);
    assert_eq!(update("Pod", &old, &[("/spec/activeDeadlineSeconds", json!(5))]), [""; 0]);
    let limited = made(&[("/spec/activeDeadlineSeconds", json!(5))]);
    assert_eq!(update("Pod", &limited, &[("/spec/activeDeadlineSeconds", json!(4))]), [""; 0]);
    for longer in [json!(6), Value::Null] {
        let found = update("Pod", &limited, &[("/spec/activeDeadlineSeconds", longer)]);
        assert_eq!(found, ["Invalid spec.activeDeadlineSeconds"]);
    }
    assert_eq!(update("Pod", &old, &[("/spec/nodeName", json!("n"))]), ["Forbidden spec"]);
    assert_eq!(update("Pod", &old, &[("/spec/containers/0/command", json!(["x"]))]), ["Forbidden spec"]);
    let two = json!([{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]);
    assert_eq!(update("Pod", &old, &[("/spec/containers", two)]), ["Forbidden spec.containers"]);
}

#[test]
fn gates_only_open_and_tolerations_only_grow() {
    let gated = made(&[("/spec/schedulingGates", json!([{"name": "g"}]))]);
    assert_eq!(update("Pod", &gated, &[("/spec/schedulingGates", Value::Null)]), [""; 0]);
    let more = json!([{"name": "g"}, {"name": "h"}]);
    assert_eq!(update("Pod", &gated, &[("/spec/schedulingGates", more)]), ["Forbidden spec.schedulingGates[1].name"]);
    let tolerant = made(&[("/spec/tolerations", json!([{"key": "k", "operator": "Exists"}]))]);
    let more = json!([{"key": "k", "operator": "Exists"}, {"key": "l", "operator": "Exists"}]);
    assert_eq!(update("Pod", &tolerant, &[("/spec/tolerations", more)]), [""; 0]);
    assert_eq!(update("Pod", &tolerant, &[("/spec/tolerations", json!([]))]), ["Forbidden spec.tolerations"]);
}

#[test]
fn ephemeral_containers_are_added_by_their_own_way() {
    let old = made(&[]);
    let debugger = |name: &str| json!([{"name": name, "image": "i"}]);
    let add = |changes: &[(&str, Value)]| subresource("Pod", "ephemeralcontainers", &old, changes);
    assert_eq!(add(&[("/spec/ephemeralContainers", debugger("d"))]), [""; 0]);
    assert_eq!(add(&[("/spec/ephemeralContainers", debugger("c"))]), ["Duplicate spec.ephemeralContainers[0].name"]);
    assert_eq!(add(&[("/spec/nodeName", json!("n"))]), [""; 0], "the rest of the pod stays as it is");
    check("/spec/ephemeralContainers", debugger("d"), &["Forbidden spec.ephemeralContainers"]);
}

#[test]
fn a_resize_changes_cpu_and_memory_and_not_the_class() {
    let resources = "/spec/containers/0/resources";
    let old = made(&[(resources, json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}))]);
    let resize = |to: Value| subresource("Pod", "resize", &old, &[(resources, to)]);
    assert_eq!(resize(json!({"requests": {"cpu": "1500m"}, "limits": {"cpu": "2"}})), [""; 0]);
    assert_eq!(
        resize(json!({})),
        [
            "Invalid spec",
            "Forbidden spec.containers[0].resources.limits",
            "Forbidden spec.containers[0].resources.requests",
        ]
    );
}

#[test]
fn the_class_of_a_pod_follows_from_its_resources() {
    let class = |resources: Value| made(&[("/spec/containers/0/resources", resources)])["status"]["qosClass"].clone();
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({})), "BestEffort");
}

#[test]
fn a_status_has_addresses_of_both_families_at_most() {
    let old = made(&[("/spec/nodeName", json!("n"))]);
    let ips = |ips: Value| status("Pod", &old, &[("/status/podIPs", ips), ("/status/podIP", json!("10.0.0.1"))]);
    assert_eq!(ips(json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}])), [""; 0]);
    assert_eq!(ips(json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}])), ["Invalid status.podIPs"]);
    assert_eq!(ips(json!([{"ip": "10.0.0.1"}, {"ip": "x"}])), ["Invalid status.podIPs[1]"]);
    assert_eq!(status("Pod", &old, &[("/spec/nodeName", json!("m"))]), [""; 0], "the spec stays as it is");
}

#[test]
fn a_pod_is_printed_with_what_it_waits_for() {
    let state = |state: Value| json!([{"name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state}]);
    for (status, ready, shown) in [
        (json!({"phase": "Pending"}), "0/1", "Pending"),
        (
            json!({"phase": "Pending", "containerStatuses": state(json!({"waiting": {"reason": "ImagePullBackOff"}}))}),
            "0/1",
            "ImagePullBackOff",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": state(json!({"terminated": {"exitCode": 1}}))}),
            "0/1",
            "ExitCode:1",
        ),
        (
            json!({"phase": "Running", "containerStatuses": [{"name": "c", "ready": true, "state": {"running": {}}}]}),
            "1/1",
            "Running",
        ),
    ] {
        let pod = with(&made(&[]), &[("/status", status.clone())]);
        assert_eq!(cells("Pod", &pod)[1..3], [json!(ready), json!(shown)], "{status}");
    }
    let deleted = with(&made(&[]), &[("/metadata/deletionTimestamp", json!("2026-01-02T03:04:05Z"))]);
    assert_eq!(cells("Pod", &deleted)[2], "Terminating");
}

#[test]
fn a_pod_ends_gracefully_only_where_it_runs() {
    let strategy = strategy(kind("Pod"));
    let crate::Deletion::Graceful(seconds) = strategy.deletion else { panic!("pods end gracefully") };
    let waiting = made(&[]);
    let running = made(&[("/spec/nodeName", json!("n"))]);
    let ended = with(&running, &[("/status/phase", json!("Succeeded"))]);
    assert_eq!([seconds(&waiting, None), seconds(&running, None), seconds(&ended, None)], [0, 30, 0]);
    assert_eq!([seconds(&running, Some(5)), seconds(&running, Some(0)), seconds(&running, Some(-1))], [5, 0, 1]);
}

#[test]
fn likely_mistakes_are_warned_of() {
    let warnings = |changes: &[(&str, Value)]| (strategy(kind("Pod")).warnings)(&made(changes), None);
    assert_eq!(warnings(&[]), [""; 0]);
    let twice = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    assert_eq!(warnings(&[("/spec/containers/0/env", twice)]).len(), 1);
}
