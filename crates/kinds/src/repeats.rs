//! Items of lists that must differ, kind by kind: the later one of two is at fault.

use crate::testing::{create, status, with};
use serde_json::{Value, json};

/// The faults of an object in which items are repeated.
#[track_caller]
fn check(kind: &str, object: Value, expected: &[&str]) {
    assert_eq!(create(kind, &object), expected, "{kind}");
}

fn pod(changes: &[(&str, Value)]) -> Value {
    with(&json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}), changes)
}

#[test]
fn parts_of_a_pod_differ() {
    let container = |name: &str| json!({"name": name, "image": "i"});
    let host = |port: i64, host: i64, ip: &str| json!({"containerPort": port, "hostPort": host, "hostIP": ip});
    for (field, value, expected) in [
        (
            "/spec/containers",
            json!([container("a"), container("b"), container("a")]),
            vec!["Duplicate spec.containers[2].name"],
        ),
        (
            "/spec/initContainers",
            json!([container("c"), container("d")]),
            vec!["Duplicate spec.initContainers[0].name"],
        ),
        (
            "/spec/containers/0/ports",
            json!([{"name": "p", "containerPort": 1}, {"containerPort": 2}, {"containerPort": 3}, {"name": "p", "containerPort": 4}]),
            vec!["Duplicate spec.containers[0].ports[3].name"],
        ),
        (
            "/spec/containers/0/ports",
            json!([host(1, 7, ""), host(2, 7, "1.2.3.4"), host(3, 7, ""), host(4, 8, "")]),
            vec!["Duplicate spec.containers[0].ports[2].hostPort"],
        ),
        (
            "/spec/containers/0/resizePolicy",
            json!([
                {"resourceName": "cpu", "restartPolicy": "NotRequired"}, {"resourceName": "memory", "restartPolicy": "NotRequired"},
                {"resourceName": "cpu", "restartPolicy": "NotRequired"},
            ]),
            vec!["Duplicate spec.containers[0].resizePolicy[2]"],
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]),
            vec!["Duplicate spec.volumes[2].name"],
        ),
        (
            "/spec/schedulingGates",
            json!([{"name": "a"}, {"name": "b"}, {"name": "a"}]),
            vec!["Duplicate spec.schedulingGates[2]"],
        ),
        (
            "/spec/resourceClaims",
            json!([{"name": "r", "resourceClaimName": "x"}, {"name": "r", "resourceClaimName": "y"}]),
            vec!["Duplicate spec.resourceClaims[1].name"],
        ),
        (
            "/spec/securityContext",
            json!({"sysctls": [
                {"name": "kernel.sem", "value": "1"}, {"name": "kernel/sem", "value": "1"}, {"name": "kernel.shm", "value": "1"},
            ]}),
            vec!["Duplicate spec.securityContext.sysctls[1].name"],
        ),
        (
            "/spec/topologySpreadConstraints",
            Value::from(Vec::from(["a", "b", "a", "a", "b"].map(|key| {
                json!({
                    "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 1, "labelSelector": {},
                })
            }))),
            vec![
                "Duplicate spec.topologySpreadConstraints[2].{topologyKey, whenUnsatisfiable}",
                "Duplicate spec.topologySpreadConstraints[4].{topologyKey, whenUnsatisfiable}",
            ],
        ),
        (
            "/spec/affinity",
            json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "t", "labelSelector": {}, "matchLabelKeys": ["a", "b"], "mismatchLabelKeys": ["c", "b"],
            }]}}),
            vec![
                "Invalid spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys[1]",
            ],
        ),
    ] {
        check("Pod", pod(&[(field, value)]), &expected);
    }
}

#[test]
fn a_container_is_resized_once() {
    let old = crate::testing::new("Pod", &pod(&[("/spec/containers/0/env", json!([{"name": "A", "value": "long"}]))]));
    let kind = crate::testing::kind("Pod");
    let mut asked = old.clone();
    asked["spec"]["containers"] = json!([{"name": "c"}, {"name": "c"}, {"name": "c"}]);
    crate::generic::prepare_subresource_update(kind, "resize", &mut asked, &old);
    let with_variables = |asked: &Value| crate::value::list(asked).iter().filter(|c| !c["env"].is_null()).count();
    assert_eq!(with_variables(&asked["spec"]["containers"]), 1, "no copy of the container for each time it is named");
}

#[test]
fn a_container_uses_each_claim_once() {
    let uses = |claims: Value| {
        let claims_of_pod = json!([{"name": "r", "resourceClaimName": "x"}, {"name": "s", "resourceClaimName": "y"}]);
        pod(&[("/spec/resourceClaims", claims_of_pod), ("/spec/containers/0/resources", json!({"claims": claims}))])
    };
    let at = |i: usize| format!("Duplicate spec.containers[0].resources.claims[{i}]");
    check("Pod", uses(json!([{"name": "r", "request": "a"}, {"name": "r", "request": "b"}, {"name": "s"}])), &[]);
    check("Pod", uses(json!([{"name": "r", "request": "a"}, {"name": "r", "request": "a"}])), &[&at(1)]);
    check("Pod", uses(json!([{"name": "r"}, {"name": "r", "request": "a"}])), &[&at(1)]);
    check(
        "Pod",
        uses(json!([{"name": "r", "request": "a"}, {"name": "r"}, {"name": "r", "request": "b"}])),
        &[&at(1), &at(2)],
    );
    check("Pod", uses(json!([{"name": "t"}])), &["NotFound spec.containers[0].resources.claims[0]"]);
}

#[test]
fn mounts_and_devices_have_paths_of_their_own() {
    let claim = |name: &str| json!({"name": name, "persistentVolumeClaim": {"claimName": "x"}});
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    let device = |name: &str, path: &str| json!({"name": name, "devicePath": path});
    let with = |mounts: Value, devices: Value| {
        pod(&[
            ("/spec/volumes", json!([claim("v"), claim("w"), claim("x"), {"name": "e", "emptyDir": {}}])),
            ("/spec/containers/0/volumeMounts", mounts),
            ("/spec/containers/0/volumeDevices", devices),
        ])
    };
    let mounts = json!([mount("v", "/a"), mount("v", "/b"), mount("v", "/a"), mount("none", "/c")]);
    check(
        "Pod",
        with(mounts, json!([])),
        &["Invalid spec.containers[0].volumeMounts[2].mountPath", "NotFound spec.containers[0].volumeMounts[3].name"],
    );
    let devices =
        json!([device("w", "/a"), device("w", "/b"), device("x", "/a"), device("e", "/e"), device("none", "/n")]);
    let at = "spec.containers[0].volumeDevices";
    check(
        "Pod",
        with(json!([]), devices),
        &[
            &format!("Invalid {at}[1].name"),
            &format!("Invalid {at}[2].devicePath"),
            &format!("Invalid {at}[3].name"),
            &format!("NotFound {at}[4].name"),
        ],
    );
    check(
        "Pod",
        with(json!([mount("v", "/a"), mount("w", "/b")]), json!([device("v", "/c"), device("x", "/b")])),
        &[
            "Invalid spec.containers[0].volumeMounts[0].name",
            "Invalid spec.containers[0].volumeMounts[1].mountPath",
            &format!("Invalid {at}[0].name"),
            &format!("Invalid {at}[1].devicePath"),
        ],
    );
}

#[test]
fn ports_of_a_service_differ() {
    let port = |name: &str, port: i64, node: i64| json!({"name": name, "port": port, "nodePort": node});
    let of = |kind: &str, ports: Value| json!({"spec": {"type": kind, "ports": ports}});
    check(
        "Service",
        of("ClusterIP", json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}, {"name": "a", "port": 3}])),
        &["Duplicate spec.ports[2].name"],
    );
    check(
        "Service",
        of("ClusterIP", json!([{"name": "a", "port": 1}, {"name": "b", "port": 1}])),
        &["Duplicate spec.ports[1]"],
    );
    check(
        "Service",
        of("ClusterIP", json!([{"name": "a", "port": 1}, {"name": "b", "port": 1, "protocol": "UDP"}])),
        &[],
    );
    let ports = json!([port("a", 1, 30000), port("b", 2, 0), port("c", 3, 0), port("d", 4, 30000)]);
    check("Service", of("NodePort", ports), &["Invalid spec.ports[3].nodePort"]);
    let mut twice = of("ClusterIP", json!([{"port": 1}]));
    twice["spec"]["ipFamilies"] = json!(["IPv4", "IPv4"]);
    check("Service", twice, &["Duplicate spec.ipFamilies[1]"]);
}

#[test]
fn items_of_other_kinds_differ() {
    for (kind, object, expected) in [
        (
            "StorageClass",
            json!({"provisioner": "a.b/c", "allowedTopologies": [
                {"matchLabelExpressions": [{"key": "k", "values": ["x", "y", "x"]}, {"key": "k", "values": ["x"]}]},
            ]}),
            vec![
                "Duplicate allowedTopologies[0].matchLabelExpressions[0].values[2]",
                "Duplicate allowedTopologies[0].matchLabelExpressions[1].key",
            ],
        ),
        (
            "CSIDriver",
            json!({"spec": {"tokenRequests": [{"audience": "a"}, {"audience": "b"}, {"audience": "a"}]}}),
            vec!["Duplicate spec.tokenRequests[2].audience"],
        ),
        (
            "CSINode",
            json!({"spec": {"drivers": [
                {"name": "d.e", "nodeID": "n", "topologyKeys": ["a", "a"]}, {"name": "d.e", "nodeID": "n", "topologyKeys": ["a"]},
            ]}}),
            vec!["Duplicate spec.drivers[0].topologyKeys", "Duplicate spec.drivers[1].name"],
        ),
        (
            "Node",
            json!({"spec": {"taints": [
                {"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}, {"key": "a", "effect": "NoSchedule"},
            ]}}),
            vec!["Duplicate metadata.taints[2]"],
        ),
        (
            "LimitRange",
            json!({"spec": {"limits": [{"type": "Pod"}, {"type": "Container"}, {"type": "Pod"}]}}),
            vec!["Duplicate spec.limits[2].type"],
        ),
        (
            "RuntimeClass",
            json!({"handler": "h", "scheduling": {"tolerations": [
                {"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}, {"key": "a", "operator": "Exists"},
            ]}}),
            vec!["Duplicate scheduling.tolerations[2]"],
        ),
        (
            "EndpointSlice",
            json!({"addressType": "IPv4", "endpoints": [], "ports": [{"name": "a", "port": 1}, {"port": 2}, {"name": "a", "port": 3}]}),
            vec!["Duplicate ports[2].name"],
        ),
        (
            "Job",
            json!({"spec": {
                "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}},
                "podFailurePolicy": {"rules": [
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 1, 2], "containerName": "c"}},
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1], "containerName": "d"}},
                ]},
            }}),
            vec![
                "Duplicate spec.podFailurePolicy.rules[0].onExitCodes.values[1]",
                "Invalid spec.podFailurePolicy.rules[1].onExitCodes.containerName",
            ],
        ),
        (
            "ValidatingAdmissionPolicyBinding",
            json!({"spec": {"policyName": "p", "validationActions": ["Deny", "Audit", "Deny"]}}),
            vec!["Duplicate spec.validationActions[2]"],
        ),
        (
            "ValidatingAdmissionPolicy",
            json!({"spec": {
                "matchConstraints": {"resourceRules": [{
                    "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "resourceNames": ["a", "b", "a"],
                }]},
                "auditAnnotations": [{"key": "k", "valueExpression": "'x'"}, {"key": "l", "valueExpression": "'x'"}, {"key": "k", "valueExpression": "'x'"}],
                "matchConditions": [{"name": "c", "expression": "true"}, {"name": "d", "expression": "true"}, {"name": "c", "expression": "true"}],
            }}),
            vec![
                "Duplicate spec.matchConstraints.resourceRules[0].resourceNames[2]",
                "Duplicate spec.matchConditions[2].name",
                "Duplicate spec.auditAnnotations[2].key",
            ],
        ),
        (
            "ValidatingWebhookConfiguration",
            json!({"webhooks": Vec::from(["a.b.c", "d.e.f", "a.b.c"].map(|name| json!({
                "name": name, "clientConfig": {"url": "https://x"}, "sideEffects": "None", "admissionReviewVersions": ["v1", "v2", "v1"],
            })))}),
            vec![
                "Invalid webhooks[0].admissionReviewVersions[2]",
                "Invalid webhooks[1].admissionReviewVersions[2]",
                "Invalid webhooks[2].admissionReviewVersions[2]",
                "Duplicate webhooks[2].name",
            ],
        ),
    ] {
        check(kind, object, &expected);
    }
}

#[test]
fn devices_and_requests_for_them_differ() {
    let exactly = json!({"deviceClassName": "c"});
    let alternative = |name: &str| json!({"name": name, "deviceClassName": "c"});
    let requests = json!([
        {"name": "r", "exactly": exactly}, {"name": "s", "firstAvailable": [alternative("x"), alternative("y"), alternative("x")]},
        {"name": "r", "exactly": exactly},
    ]);
    let references = json!(["r", "s/x", "s/z", "t", "r", "s", "r/x", "s/y"]);
    let devices = json!({"requests": requests, "constraints": [{"requests": references, "matchAttribute": "a.b/c"}]});
    check(
        "ResourceClaim",
        json!({"spec": {"devices": devices}}),
        &[
            "Duplicate spec.devices.requests[1].firstAvailable[2]",
            "Duplicate spec.devices.requests[2]",
            "Invalid spec.devices.constraints[0].requests[2]",
            "Invalid spec.devices.constraints[0].requests[3]",
            "Duplicate spec.devices.constraints[0].requests[4]",
            "Invalid spec.devices.constraints[0].requests[6]",
        ],
    );
    let device = |name: &str| json!({"name": name});
    let slice = json!({"spec": {
        "driver": "d.e", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1, "generation": 1},
        "devices": [device("a"), device("b"), device("a")],
    }});
    check("ResourceSlice", slice, &["Duplicate spec.devices[2]"]);
    let old = crate::testing::new(
        "ResourceClaim",
        &json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}}),
    );
    let consumer = |uid: &str| json!({"resource": "pods", "name": "p", "uid": uid});
    let results = ["r", "s"].map(|request| json!({"request": request, "driver": "d.e", "pool": "p", "device": "a"}));
    let found = status(
        "ResourceClaim",
        &old,
        &[
            ("/status/allocation", json!({"devices": {"results": results}})),
            ("/status/reservedFor", json!([consumer("u"), consumer("v"), consumer("u")])),
        ],
    );
    assert_eq!(found, ["Invalid status.allocation.devices.results[1].request", "Duplicate status.reservedFor[2]"]);
}

#[test]
fn items_of_a_status_differ() {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"});
    let budget = crate::testing::new("PodDisruptionBudget", &json!({"spec": {"minAvailable": 1, "selector": {}}}));
    let conditions = json!([condition("A"), condition("B"), condition("A")]);
    let found = status("PodDisruptionBudget", &budget, &[("/status/conditions", conditions)]);
    assert_eq!(found, ["Duplicate status.conditions[2].type"]);
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let job = crate::testing::new("Job", &json!({"spec": {"template": template}}));
    let uncounted = json!({"succeeded": ["a", "b", "a"], "failed": ["b"]});
    let found = status("Job", &job, &[("/status/uncountedTerminatedPods", uncounted)]);
    let at = "status.uncountedTerminatedPods";
    assert_eq!(found, [format!("Duplicate {at}.succeeded[2]"), format!("Duplicate {at}.failed[0]")]);
}
