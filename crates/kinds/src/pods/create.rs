//! What becomes of a new pod.

use super::SPEC;
use super::qos;
use crate::causes::Causes;
use crate::value::{default, int, is_empty, list, list_mut, members, set, text};
use api::Cause;
use serde_json::{Value, json};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Phase, quality of service and, for a gated pod, why it is not scheduled; selectors that speak of the pod's own labels.
pub(super) fn prepare(pod: &mut Value) {
    let class = qos::class(&pod["spec"]);
    set(pod, "status", json!({"phase": "Pending", "qosClass": class}));
    if !is_empty(&pod["spec"]["schedulingGates"]) {
        let condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null,
            "lastTransitionTime": pod["metadata"]["creationTimestamp"],
        });
        set(&mut pod["status"], "conditions", json!([condition]));
    }
    positive_grace(pod);
    select_own_labels(pod);
    app_armor_fields(pod);
}

/// What only a new pod may not have.
pub(super) fn validate(pod: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let spec = &pod["spec"];
        if !is_empty(&spec["ephemeralContainers"]) {
            causes.forbidden(&SPEC.child("ephemeralContainers"), "cannot be set on create");
        }
        if !is_empty(&spec["schedulingGates"]) && !is_empty(&spec["nodeName"]) {
            causes.forbidden(&SPEC.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
        }
    })
}

/// A pod cannot end before it is told to.
pub(super) fn positive_grace(pod: &mut Value) {
    if int(&pod["spec"]["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
        set(&mut pod["spec"], "terminationGracePeriodSeconds", 1);
    }
}

/// `matchLabelKeys` stand for the values that this pod has.
fn select_own_labels(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let spec = &mut pod["spec"];
    for constraint in list_mut(spec, "topologySpreadConstraints") {
        add_terms(constraint, &labels);
    }
    for affinity in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.get_mut("affinity").and_then(|a| a.get_mut(affinity)) else { continue };
        for term in list_mut(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            add_terms(term, &labels);
        }
        for weighted in list_mut(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                add_terms(term, &labels);
            }
        }
    }
}

fn add_terms(holder: &mut Value, labels: &Value) {
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in list(&holder[field]).to_vec() {
            let Some(value) = labels.get(text(&key)).filter(|_| holder["labelSelector"].is_object()) else { continue };
            let selector = &mut holder["labelSelector"];
            default(selector, "matchExpressions", json!([]));
            if let Some(terms) = selector["matchExpressions"].as_array_mut() {
                terms.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
}

/// AppArmor profiles were annotations once.
fn app_armor_fields(pod: &mut Value) {
    let annotated: Vec<(String, String)> = members(&pod["metadata"]["annotations"])
        .filter_map(|(key, value)| Some((key.strip_prefix(APP_ARMOR)?.to_owned(), text(value).to_owned())))
        .collect();
    for (name, value) in annotated {
        let profile = match value.as_str() {
            "runtime/default" => json!({"type": "RuntimeDefault"}),
            "unconfined" => json!({"type": "Unconfined"}),
            other => match other.strip_prefix("localhost/") {
                Some(path) => json!({"type": "Localhost", "localhostProfile": path}),
                None => continue,
            },
        };
        for field in ["containers", "initContainers"] {
            for container in list_mut(&mut pod["spec"], field).filter(|c| c["name"] == name) {
                default(container, "securityContext", json!({}));
                default(&mut container["securityContext"], "appArmorProfile", profile.clone());
            }
        }
    }
}
