//! Devices, kind by kind.

use super::*;
use crate::Strategy;
use serde_json::json;

#[track_caller]
fn check(strategy: &Strategy, spec: Value, expected: usize) {
    let mut object = json!({"metadata": {"name": "a"}, "spec": spec});
    (strategy.defaults)(&mut object);
    let causes = (strategy.validate)(&object);
    assert_eq!(causes.len(), expected, "{object}: {causes:?}");
}

#[test]
fn a_request_asks_for_devices_of_a_class() {
    let claim = |request: Value| json!({"devices": {"requests": [request]}});
    let one = |fields: Value| {
        let mut request = json!({"name": "r", "exactly": {"deviceClassName": "dc"}});
        for (field, value) in fields.as_object().into_iter().flatten() {
            request["exactly"][field] = value.clone();
        }
        request
    };
    for (request, faults) in [
        (one(json!({})), 0),
        (one(json!({"deviceClassName": "B_"})), 1),
        (one(json!({"allocationMode": "All"})), 0),
        (one(json!({"allocationMode": "All", "count": 2})), 1),
        (one(json!({"allocationMode": "X"})), 1),
        (one(json!({"count": -1})), 1),
        (one(json!({"selectors": [{}]})), 1),
        (one(json!({"tolerations": [{"key": "k", "operator": "Exists", "value": "v"}]})), 1),
        (json!({"name": "r"}), 1),
        (json!({"name": "r", "exactly": {"deviceClassName": "dc"}, "firstAvailable": [{"name": "a"}]}), 1),
        (json!({"name": "r", "firstAvailable": [{"name": "a", "deviceClassName": "dc"}, {"name": "a"}]}), 2),
    ] {
        check(&RESOURCE_CLAIMS, claim(request.clone()), faults);
        check(&RESOURCE_CLAIM_TEMPLATES, json!({"spec": claim(request)}), faults);
    }
    let many: Vec<Value> =
        (0..33).map(|i| json!({"name": format!("r{i}"), "exactly": {"deviceClassName": "dc"}})).collect();
    check(&RESOURCE_CLAIMS, json!({"devices": {"requests": many}}), 1);
}

#[test]
fn constraints_and_configurations_are_of_requests() {
    let claim = |field: &str, value: Value| {
        let request = json!({"name": "r", "firstAvailable": [{"name": "a", "deviceClassName": "dc"}]});
        json!({"devices": {"requests": [request], field: [value]}})
    };
    for (field, value, faults) in [
        ("constraints", json!({"matchAttribute": "d.example.com/numa", "requests": ["r"]}), 0),
        ("constraints", json!({"matchAttribute": "d.example.com/numa", "requests": ["r/a"]}), 0),
        ("constraints", json!({"matchAttribute": "d.example.com/numa", "requests": ["r/b"]}), 1),
        ("constraints", json!({"matchAttribute": "numa"}), 1),
        ("constraints", json!({}), 1),
        ("config", json!({"opaque": {"driver": "d.example.com", "parameters": {}}}), 0),
        ("config", json!({"opaque": {"driver": "", "parameters": "x"}}), 2),
        ("config", json!({}), 1),
    ] {
        check(&RESOURCE_CLAIMS, claim(field, value), faults);
    }
}

#[test]
fn a_claim_is_reserved_after_it_is_allocated() {
    let status = |new: Value, old: Value| {
        let claim = |status: Value| json!({"spec": {"devices": {"requests": [{"name": "r"}]}}, "status": status});
        (RESOURCE_CLAIMS.validate_status)(&claim(new), &claim(old)).len()
    };
    let result = |device: &str| json!({"devices": {"results": [{"request": "r", "driver": "d.example.com", "pool": "p", "device": device}]}});
    let consumer = json!([{"resource": "pods", "name": "p", "uid": "u"}]);
    assert_eq!(status(json!({"allocation": result("d0"), "reservedFor": consumer}), json!({})), 0);
    assert_eq!(status(json!({"allocation": result("B_")}), json!({})), 1);
    assert_eq!(status(json!({"reservedFor": consumer}), json!({})), 1);
    assert_eq!(status(json!({"reservedFor": [{}]}), json!({})), 4);
    assert_eq!(status(json!({"allocation": result("d1")}), json!({"allocation": result("d0")})), 1);
}

#[test]
fn a_claim_tells_its_state() {
    let state = |claim: Value| (RESOURCE_CLAIMS.row)(&claim, api::Timestamp::default())[1].clone();
    assert_eq!(state(json!({})), "pending");
    assert_eq!(state(json!({"status": {"allocation": {}, "reservedFor": [{}]}})), "allocated,reserved");
    assert_eq!(
        state(json!({"metadata": {"deletionTimestamp": "t"}, "status": {"allocation": {}}})),
        "deleted,allocated"
    );
}

#[test]
fn a_slice_is_of_one_place() {
    let slice = |more: Value| {
        let pool = json!({"name": "p", "generation": 1, "resourceSliceCount": 1});
        let mut spec = json!({"driver": "d.example.com", "pool": pool, "nodeName": "n", "devices": [{"name": "d0"}]});
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        spec
    };
    for (more, faults) in [
        (json!({}), 0),
        (json!({"nodeName": null}), 1),
        (json!({"nodeName": null, "allNodes": true}), 0),
        (json!({"allNodes": true}), 1),
        (json!({"pool": {}}), 2),
        (json!({"driver": ""}), 1),
        (json!({"devices": [{"name": "D_"}]}), 1),
        (json!({"devices": [{"name": "d"}, {"name": "d"}]}), 1),
        (json!({"devices": [{"name": "d", "attributes": {"a": {"int": 1}}}]}), 0),
        (json!({"devices": [{"name": "d", "attributes": {"a": {}}}]}), 1),
        (json!({"devices": [{"name": "d", "attributes": {"a": {"int": 1, "bool": true}}}]}), 1),
        (json!({"devices": [{"name": "d", "attributes": {"a b": {"int": 1}}}]}), 1),
        (json!({"devices": [{"name": "d", "attributes": {"a": {"version": "x"}}}]}), 1),
        (json!({"devices": [{"name": "d", "taints": [{"key": "", "effect": "X"}]}]}), 3),
    ] {
        check(&RESOURCE_SLICES, slice(more), faults);
    }
}

#[test]
fn a_class_names_a_resource_of_an_extension() {
    check(&DEVICE_CLASSES, json!({"extendedResourceName": "example.com/gpu"}), 0);
    check(&DEVICE_CLASSES, json!({"extendedResourceName": "nodomain"}), 1);
    check(&DEVICE_CLASSES, json!({"config": [{}], "selectors": [{}]}), 2);
}
