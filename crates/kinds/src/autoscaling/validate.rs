//! Checks of autoscalers, of version 2.

use crate::causes::{Causes, Path};
use crate::names;
use crate::resources::quantity;
use crate::value::{int, is_empty, list, text};
use api::{Cause, Quantity};
use serde_json::Value;

const SPEC: Path = Path::new("spec");
const STATUS: Path = Path::new("status");
const WINDOW_SECONDS_MAX: i64 = 3600;
const PERIOD_SECONDS_MAX: i64 = 1800;
const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

/// Where each type of metric has its source, in the order in which sources are checked.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

pub(super) fn autoscaler(autoscaler: &Value) -> Vec<Cause> {
    let spec = &autoscaler["spec"];
    Causes::of(|causes| {
        replicas(spec, causes);
        reference(&spec["scaleTargetRef"], false, &SPEC.child("scaleTargetRef"), causes);
        let metrics = SPEC.child("metrics");
        for (i, spec) in list(&spec["metrics"]).iter().enumerate() {
            metric(spec, &metrics.index(i), causes);
        }
        let behavior = SPEC.child("behavior");
        for direction in ["scaleUp", "scaleDown"] {
            let rules = &spec["behavior"][direction];
            if !rules.is_null() {
                scaling(rules, &behavior.child(direction), causes);
            }
        }
    })
}

pub(super) fn status(autoscaler: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        for field in ["currentReplicas", "desiredReplicas"] {
            causes.not_negative(&STATUS.child(field), &autoscaler["status"][field]);
        }
    })
}

fn replicas(spec: &Value, causes: &mut Causes) {
    let (min, max) = (int(&spec["minReplicas"]), int(&spec["maxReplicas"]).unwrap_or(0));
    if let Some(min) = min.filter(|min| *min < 1) {
        causes.invalid(&SPEC.child("minReplicas"), min, "must be greater than or equal to 1");
    }
    let at = SPEC.child("maxReplicas");
    if max < 1 {
        causes.required(&at, "must be set and greater than 0");
    }
    if min.is_some_and(|min| max < min) {
        causes.invalid(&at, max, "must be greater than or equal to `minReplicas`");
    }
}

/// A reference to an object of any kind. Only some may be of the core group, which has no name.
fn reference(reference: &Value, core: bool, at: &Path, causes: &mut Causes) {
    for field in ["kind", "name"] {
        match text(&reference[field]) {
            "" => causes.required(&at.child(field), ""),
            segment => causes.each_invalid(&at.child(field), segment, names::path_segment(segment, false)),
        }
    }
    let version = text(&reference["apiVersion"]);
    let replicated = reference["kind"] == "ReplicationController" && version == "v1";
    let at = at.child("apiVersion");
    match version.matches('/').count() {
        0 if !core && !replicated => causes.invalid(&at, version, "apiVersion must specify API group"),
        0 | 1 => {}
        _ => causes.invalid(&at, version, &format!("unexpected GroupVersion string: {version}")),
    }
}

fn metric(metric: &Value, at: &Path, causes: &mut Causes) {
    let kind = text(&metric["type"]);
    let type_at = at.child("type");
    if kind.is_empty() {
        causes.required(&type_at, "must specify a metric source type");
    }
    let expected = SOURCES.into_iter().find(|(known, _)| *known == kind).map(|(_, source)| source);
    if expected.is_none() {
        causes.unsupported(&type_at, kind, &TYPES);
    }
    let present: Vec<&str> =
        SOURCES.into_iter().map(|(_, source)| source).filter(|source| !metric[*source].is_null()).collect();
    if let Some(first) = present.first() {
        source(first, &metric[*first], &at.child(first), causes);
    }
    match expected {
        None => causes.unsupported(&type_at, kind, &TYPES),
        Some(expected) if !present.contains(&expected) => {
            causes.required(&at.child(expected), "must populate information for the given metric source");
        }
        Some(_) => {}
    }
    if present.len() > 1 {
        for other in present.iter().filter(|source| Some(**source) != expected) {
            causes.forbidden(&at.child(other), "must populate the given metric source only");
        }
    }
}

fn source(name: &str, source: &Value, at: &Path, causes: &mut Causes) {
    let (target, target_at) = (&source["target"], at.child("target"));
    let has = |field: &str| !target[field].is_null();
    if matches!(name, "resource" | "containerResource") {
        if is_empty(&source["name"]) {
            causes.required(&at.child("name"), "must specify a resource name");
        }
        if name == "containerResource" && is_empty(&source["container"]) {
            causes.required(&at.child("container"), "must specify a container");
        }
    } else {
        if name == "object" {
            reference(&source["describedObject"], true, &at.child("describedObject"), causes);
        }
        let metric_at = at.child("metric");
        match text(&source["metric"]["name"]) {
            "" => causes.required(&metric_at.child("name"), "must specify a metric name"),
            name => causes.each_invalid(&metric_at.child("name"), name, names::path_segment(name, false)),
        }
    }
    amounts(target, &target_at, causes);
    let average_at = target_at.child("averageValue");
    match name {
        "pods" if !has("averageValue") || !is_positive(&target["averageValue"]) => {
            causes.required(&average_at, "must specify a positive target averageValue");
        }
        "object" if !has("value") && !has("averageValue") => {
            causes.required(&average_at, "must set either a target value or averageValue");
        }
        "external" if !has("value") && !has("averageValue") => {
            causes.required(&average_at, "must set either a target value for metric or a per-pod target");
        }
        "external" if has("value") && has("averageValue") => {
            let why = "may not set both a target value for metric and a per-pod target";
            causes.forbidden(&target_at.child("value"), why);
        }
        "resource" | "containerResource" if !has("averageUtilization") && !has("averageValue") => {
            let why = "must set either a target raw value or a target utilization";
            causes.required(&target_at.child("averageUtilization"), why);
        }
        "resource" | "containerResource" if has("averageUtilization") && has("averageValue") => {
            causes.forbidden(&average_at, "may not set both a target raw value and a target utilization");
        }
        _ => {}
    }
}

fn amounts(target: &Value, at: &Path, causes: &mut Causes) {
    match text(&target["type"]) {
        "Utilization" | "Value" | "AverageValue" => {}
        other => {
            if other.is_empty() {
                causes.required(&at.child("type"), "must specify a metric target type");
            }
            causes.invalid(&at.child("type"), other, "must be either Utilization, Value, or AverageValue");
        }
    }
    for field in ["value", "averageValue"] {
        if !target[field].is_null() && !is_positive(&target[field]) {
            causes.invalid(&at.child(field), &target[field], "must be positive");
        }
    }
    if let Some(percent) = int(&target["averageUtilization"]).filter(|percent| *percent < 1) {
        causes.invalid(&at.child("averageUtilization"), percent, "must be greater than 0");
    }
}

fn is_positive(amount: &Value) -> bool {
    quantity(amount) > Quantity::ZERO
}

fn scaling(rules: &Value, at: &Path, causes: &mut Causes) {
    let window_at = at.child("stabilizationWindowSeconds");
    match int(&rules["stabilizationWindowSeconds"]) {
        Some(seconds) if seconds < 0 => causes.invalid(&window_at, seconds, "must be greater than or equal to zero"),
        Some(seconds) if seconds > WINDOW_SECONDS_MAX => {
            causes.invalid(&window_at, seconds, &format!("must be less than or equal to {WINDOW_SECONDS_MAX}"));
        }
        _ => {}
    }
    if !rules["selectPolicy"].is_null() {
        causes.one_of(&at.child("selectPolicy"), &rules["selectPolicy"], &["Disabled", "Max", "Min"]);
    }
    let policies = at.child("policies");
    if is_empty(&rules["policies"]) {
        causes.required(&policies, "must specify at least one Policy");
    }
    for (i, policy) in list(&rules["policies"]).iter().enumerate() {
        let at = policies.index(i);
        causes.one_of(&at.child("type"), &policy["type"], &["Percent", "Pods"]);
        for field in ["value", "periodSeconds"] {
            if let Some(number) = int(&policy[field]).filter(|number| *number <= 0) {
                causes.invalid(&at.child(field), number, "must be greater than zero");
            }
        }
        if let Some(seconds) = int(&policy["periodSeconds"]).filter(|seconds| *seconds > PERIOD_SECONDS_MAX) {
            let why = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
            causes.invalid(&at.child("periodSeconds"), seconds, &why);
        }
    }
    if quantity(&rules["tolerance"]).is_negative() {
        causes.invalid(&at.child("tolerance"), &rules["tolerance"], "must be greater than or equal to 0");
    }
}
