//! What autoscalers are refused for, and what they look like.

use super::*;
use serde_json::json;

fn v2(spec: Value) -> Value {
    let mut autoscaler = json!({"apiVersion": "autoscaling/v2", "metadata": {"name": "a"}, "spec": spec, "status": {}});
    autoscaler["spec"]["scaleTargetRef"] = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    autoscaler["spec"]["maxReplicas"] = json!(3);
    autoscaler
}

fn faults(spec: Value) -> Vec<String> {
    let mut autoscaler = v2(spec);
    defaults(&mut autoscaler);
    validate::autoscaler(&autoscaler).into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

fn memory(amount: &str) -> Value {
    let target = json!({"type": "AverageValue", "averageValue": amount});
    json!({"type": "Resource", "resource": {"name": "memory", "target": target}})
}

#[test]
fn what_version_1_cannot_say_survives_in_annotations() {
    let metric = json!({"name": "hits", "selector": {"matchLabels": {"a": "b"}}});
    let metrics = [
        memory("100Mi"),
        json!({"type": "Pods", "pods": {"metric": metric, "target": {"type": "AverageValue", "averageValue": "10"}}}),
        json!({"type": "Object", "object": {
            "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "s"},
            "metric": metric,
            "target": {"type": "Value", "value": "2k"},
        }}),
        json!({"type": "External", "external": {"metric": metric, "target": {"type": "Value", "value": "3"}}}),
        json!({"type": "ContainerResource", "containerResource": {
            "name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 50},
        }}),
        convert::cpu_utilization(60),
    ];
    let mut autoscaler = v2(json!({"metrics": metrics, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}));
    defaults(&mut autoscaler);
    autoscaler["status"] = json!({
        "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}],
        "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {
            "averageUtilization": 40, "averageValue": "1",
        }}}],
        "currentReplicas": 1,
        "desiredReplicas": 2,
    });
    let old = to_v1(autoscaler.clone());
    assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 60);
    assert_eq!(
        old["status"],
        json!({"currentCPUUtilizationPercentage": 40, "currentReplicas": 1, "desiredReplicas": 2})
    );
    assert_eq!(old["metadata"]["annotations"].as_object().map(|annotations| annotations.len()), Some(4));
    assert_eq!(to_v2(old), autoscaler);
}

#[test]
fn annotations_are_written_in_upstreams_order() {
    let mut autoscaler = v2(json!({"metrics": [memory("1Gi")], "behavior": {"scaleUp": {"selectPolicy": "Min"}}}));
    defaults(&mut autoscaler);
    let annotations = &to_v1(autoscaler)["metadata"]["annotations"];
    assert_eq!(
        annotations["autoscaling.alpha.kubernetes.io/metrics"],
        r#"[{"type":"Resource","resource":{"name":"memory","targetAverageValue":"1Gi"}}]"#
    );
    let behavior = annotations["autoscaling.alpha.kubernetes.io/behavior"].as_str().expect("an annotation");
    assert!(behavior.starts_with(r#"{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Min","Policies":["#));
    assert!(behavior.ends_with(r#"[{"Type":"Percent","Value":100,"PeriodSeconds":15}],"Tolerance":null}}"#));
}

#[test]
fn version_1_targets_the_cpu_unless_it_says_otherwise() {
    let metrics = |annotation: &str| {
        let annotations = json!({"autoscaling.alpha.kubernetes.io/metrics": annotation});
        let mut autoscaler = json!({"metadata": {"annotations": annotations}, "spec": {}});
        (AUTOSCALERS_V1.defaults)(&mut autoscaler);
        autoscaler
    };
    for broken in ["", "not json", r#"{"type":"Pods"}"#, r#"[{"type":"Pods","pods":{"metricName":5}}]"#] {
        let autoscaler = metrics(broken);
        assert_eq!(autoscaler["metadata"], json!({}), "{broken}");
        assert_eq!(autoscaler["spec"], json!({"minReplicas": 1, "targetCPUUtilizationPercentage": 80}), "{broken}");
    }
    let pods = r#"[{"type":"Pods","pods":{"metricName":"rps","targetAverageValue":"10"}}]"#;
    let autoscaler = metrics(pods);
    assert_eq!(autoscaler["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"], pods);
    assert_eq!(autoscaler["spec"], json!({"minReplicas": 1}));
}

#[test]
fn a_write_of_the_object_keeps_the_annotations_that_hold_status() {
    let annotated = |current: &str| {
        let annotations = json!({"autoscaling.alpha.kubernetes.io/current-metrics": current, "n": "1"});
        json!({"metadata": {"annotations": annotations}})
    };
    let mut new = annotated("new");
    (AUTOSCALERS_V1.prepare_update)(&mut new, &annotated("old"));
    assert_eq!(new, annotated("old"));
    (AUTOSCALERS_V1.prepare_create)(&mut new);
    assert_eq!(new, json!({"metadata": {"annotations": {"n": "1"}}}));
}

#[test]
fn a_metric_has_the_source_of_its_type() {
    for (metric, expected) in [
        (memory("1Gi"), 0),
        (memory("0"), 1),
        (json!({"type": "X"}), 2),
        (json!({"type": "Resource"}), 1),
        (json!({"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"type": "AverageValue"}}}), 1),
        (json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}), 1),
    ] {
        assert_eq!(faults(json!({"metrics": [metric]})).len(), expected, "{metric}");
    }
    let mut two = memory("1Gi");
    two["pods"] = json!({"metric": {"name": "x"}, "target": {"type": "AverageValue", "averageValue": "1"}});
    let [fault] = faults(json!({"metrics": [two]})).try_into().expect("one cause");
    assert_eq!(fault, "spec.metrics[0].pods: Forbidden: must populate the given metric source only");
}

#[test]
fn scaling_has_policies_and_bounds() {
    for (rules, expected) in [
        (json!({}), 0),
        (json!({"stabilizationWindowSeconds": 3600}), 0),
        (json!({"stabilizationWindowSeconds": 3601}), 1),
        (json!({"policies": []}), 1),
        (json!({"policies": [{"type": "X", "value": 0, "periodSeconds": 1801}]}), 3),
        (json!({"selectPolicy": "X"}), 1),
        (json!({"tolerance": "-1"}), 1),
    ] {
        assert_eq!(faults(json!({"behavior": {"scaleUp": rules}})).len(), expected, "{rules}");
    }
}

#[test]
fn the_first_two_metrics_are_printed() {
    let mut autoscaler = v2(json!({"metrics": [convert::cpu_utilization(60), memory("100Mi"), memory("1")]}));
    autoscaler["status"] = json!({"currentMetrics": [
        {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40}}},
    ]});
    let row = print::row(&autoscaler, Timestamp::default());
    assert_eq!(row[1..3], [json!("Deployment/d"), json!("cpu: 40%/60%, memory: <unknown>/100Mi + 1 more...")]);
}
