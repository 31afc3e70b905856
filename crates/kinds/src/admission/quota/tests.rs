//! Quotas as writes meet them.

use super::*;
use serde_json::json;

const PODS: Write<'static> = Write { group: "", plural: "pods", subresource: "" };

fn quota(hard: Value, used: Value, spec: Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used}})
}

fn pod(requests: Value, limits: Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}})
}

fn charge(write: Write<'_>, object: &Value, old: Option<&Value>, quota: &Value) -> Result<Option<Value>, String> {
    let demand = Demand::of(write, object, old).expect("a demand");
    demand.charge(quota).map(|used| used.map(Value::Object))
}

#[test]
fn what_fits_is_added_to_what_is_used() {
    let quota =
        quota(json!({"pods": "2", "limits.memory": "1Gi"}), json!({"pods": "0", "limits.memory": "0"}), json!({}));
    let used = charge(PODS, &pod(json!({}), json!({"memory": "512Mi"})), None, &quota);
    assert_eq!(used, Ok(Some(json!({"pods": "1", "limits.memory": "512Mi"}))));
}

#[test]
fn what_does_not_fit_is_refused_with_all_that_is_exceeded() {
    let quota = quota(json!({"pods": "2", "cpu": "1"}), json!({"pods": "1", "cpu": "500m"}), json!({}));
    let refused = charge(PODS, &pod(json!({"cpu": "600m"}), json!({})), None, &quota);
    assert_eq!(refused, Err("exceeded quota: q, requested: cpu=600m, used: cpu=500m, limited: cpu=1".to_owned()));
    let silent = charge(PODS, &pod(json!({}), json!({})), None, &quota);
    assert_eq!(silent, Err("failed quota: q: must specify cpu for: c".to_owned()));
}

#[test]
fn a_quota_that_was_not_counted_yet_refuses() {
    let quota = quota(json!({"pods": "2"}), json!({}), json!({}));
    let refused = charge(PODS, &pod(json!({}), json!({})), None, &quota);
    assert_eq!(refused, Err("status unknown for quota: q, resources: pods".to_owned()));
}

#[test]
fn scopes_choose_the_pods_that_count() {
    let (best_effort, other) = (pod(json!({}), json!({})), pod(json!({"cpu": "1"}), json!({})));
    let of = |spec: Value| quota(json!({"pods": "0"}), json!({"pods": "0"}), spec);
    for (spec, object, counted) in [
        (json!({"scopes": ["BestEffort"]}), &best_effort, true),
        (json!({"scopes": ["BestEffort"]}), &other, false),
        (json!({"scopes": ["NotBestEffort"]}), &other, true),
        (json!({"scopes": ["Terminating"]}), &other, false),
        (json!({"scopes": ["NotTerminating"]}), &other, true),
        (
            json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["x"]}]}}),
            &other,
            false,
        ),
        (
            json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}}),
            &other,
            true,
        ),
    ] {
        assert_eq!(charge(PODS, object, None, &of(spec.clone())).is_err(), counted, "{spec}");
    }
    let config_maps = Write { group: "", plural: "configmaps", subresource: "" };
    let scoped = quota(json!({"configmaps": "0"}), json!({"configmaps": "0"}), json!({"scopes": ["NotTerminating"]}));
    assert_eq!(charge(config_maps, &json!({}), None, &scoped), Ok(None));
}

#[test]
fn an_update_pays_only_for_what_is_more() {
    let services = Write { group: "", plural: "services", subresource: "" };
    let of = |kind: &str| json!({"spec": {"type": kind, "ports": [{"port": 80}, {"port": 81}]}});
    let hard = json!({"services": "1", "services.nodeports": "2"});
    let quota = quota(hard, json!({"services": "1", "services.nodeports": "0"}), json!({}));
    let used = charge(services, &of("NodePort"), Some(&of("ClusterIP")), &quota);
    assert_eq!(used, Ok(Some(json!({"services": "1", "services.nodeports": "2"}))));
    assert_eq!(charge(services, &of("ClusterIP"), Some(&of("NodePort")), &quota), Ok(None));
}

#[test]
fn claims_count_for_their_class() {
    let claims = Write { group: "", plural: "persistentvolumeclaims", subresource: "" };
    let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "2Gi"}}}});
    let of_class = |class: &str| format!("{class}.storageclass.storage.k8s.io/requests.storage");
    let quota_of = |class: &str| quota(json!({of_class(class): "1Gi"}), json!({of_class(class): "0"}), json!({}));
    assert!(charge(claims, &claim, None, &quota_of("fast")).is_err());
    assert_eq!(charge(claims, &claim, None, &quota_of("slow")), Ok(None));
}

#[test]
fn objects_of_any_kind_are_counted_by_name_and_group() {
    let deployments = Write { group: "apps", plural: "deployments", subresource: "" };
    let full = quota(json!({"count/deployments.apps": "0"}), json!({"count/deployments.apps": "0"}), json!({}));
    let refused = charge(deployments, &json!({}), None, &full).expect_err("nothing is allowed");
    assert_eq!(
        refused,
        "exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=0, limited: count/deployments.apps=0"
    );
    assert!(Demand::of(Write { group: "", plural: "events", subresource: "" }, &json!({}), None).is_none());
    assert!(
        Demand::of(Write { group: "", plural: "pods", subresource: "status" }, &json!({}), Some(&json!({}))).is_none()
    );
}
