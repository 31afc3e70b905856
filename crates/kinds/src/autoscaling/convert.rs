//! Autoscalers of version 1 and of version 2, one from the other.
//!
//! Version 1 knows one target, the use of the CPU. Other metrics, the behavior, and most of the status are JSON in
//! annotations. An annotation that cannot be read is dropped.

use crate::value::{default, int, is_empty, list, members, remove, set, text};
use schema::{FieldValidation, builtin, conform};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

pub(super) const SPEC_ANNOTATIONS: [&str; 2] = [METRICS, BEHAVIOR];
pub(super) const STATUS_ANNOTATIONS: [&str; 2] = [CURRENT_METRICS, CONDITIONS];
pub(super) const ANNOTATIONS: [&str; 4] = [METRICS, BEHAVIOR, CURRENT_METRICS, CONDITIONS];

/// A field of a metric in version 1, and where it is in version 2. `*` is `target` in a spec, `current` in a status.
struct Field {
    v1: &'static str,
    v2: &'static str,
    /// The sides on which version 1 shows 0 for nothing.
    zero: &'static [&'static str],
}

const fn field(v1: &'static str, v2: &'static str) -> Field {
    Field { v1, v2, zero: &[] }
}

const BOTH: &[&str] = &["target", "current"];

/// The sources of metrics, and their fields.
const SOURCES: [(&str, &[Field]); 5] = [
    (
        "object",
        &[
            field("target", "/describedObject"),
            field("metricName", "/metric/name"),
            field("selector", "/metric/selector"),
            Field { zero: BOTH, ..field("*Value", "/*/value") },
            field("averageValue", "/*/averageValue"),
        ],
    ),
    (
        "pods",
        &[
            field("metricName", "/metric/name"),
            field("selector", "/metric/selector"),
            Field { zero: BOTH, ..field("*AverageValue", "/*/averageValue") },
        ],
    ),
    (
        "resource",
        &[
            field("name", "/name"),
            field("*AverageUtilization", "/*/averageUtilization"),
            Field { zero: &["current"], ..field("*AverageValue", "/*/averageValue") },
        ],
    ),
    (
        "containerResource",
        &[
            field("name", "/name"),
            field("container", "/container"),
            field("*AverageUtilization", "/*/averageUtilization"),
            Field { zero: &["current"], ..field("*AverageValue", "/*/averageValue") },
        ],
    ),
    (
        "external",
        &[
            field("metricName", "/metric/name"),
            field("metricSelector", "/metric/selector"),
            Field { zero: &["current"], ..field("*Value", "/*/value") },
            field("*AverageValue", "/*/averageValue"),
        ],
    ),
];

/// The metric that version 1 has a field for.
pub(super) fn cpu_utilization(percent: impl Into<Value>) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent.into()});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// Version 2 of an autoscaler of version 1.
pub(crate) fn to_v2(mut autoscaler: Value) -> Value {
    let read =
        |name: &str| -> Option<Value> { serde_json::from_str(text(&autoscaler["metadata"]["annotations"][name])).ok() };
    let expand_all = |name: &str, side: &str| -> Option<Value> {
        Some(read(name)?.as_array()?.iter().map(|metric| expand(metric, side)).collect())
    };
    let others = expand_all(METRICS, "target").and_then(|metrics| checked("spec", "metrics", metrics));
    let behavior = read(BEHAVIOR).map(|behavior| recased(&behavior, char::to_lowercase));
    let behavior = behavior.and_then(|behavior| checked("spec", "behavior", behavior)).filter(|b| !is_empty(b));
    let current = expand_all(CURRENT_METRICS, "current").and_then(|all| checked("status", "currentMetrics", all));
    let conditions = read(CONDITIONS).and_then(|conditions| checked("status", "conditions", conditions));

    set(&mut autoscaler, "apiVersion", "autoscaling/v2");
    without_annotations(&mut autoscaler, &ANNOTATIONS);
    if let Some(spec) = autoscaler.get_mut("spec").and_then(Value::as_object_mut) {
        let mut metrics: Vec<Value> = others.as_ref().map(list).unwrap_or_default().to_vec();
        metrics.extend(spec.remove("targetCPUUtilizationPercentage").filter(|n| !n.is_null()).map(cpu_utilization));
        if !metrics.is_empty() {
            spec.insert("metrics".to_owned(), metrics.into());
        }
        spec.extend(behavior.map(|behavior| ("behavior".to_owned(), behavior)));
    }
    if let Some(status) = autoscaler.get_mut("status").and_then(Value::as_object_mut) {
        let cpu = status.remove("currentCPUUtilizationPercentage").filter(|percent| !percent.is_null());
        let cpu = cpu.map(|percent| {
            json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}}])
        });
        if status.get("currentReplicas").and_then(int) == Some(0) {
            status.remove("currentReplicas");
        }
        status.insert("currentMetrics".to_owned(), current.or(cpu).unwrap_or(Value::Null));
        status.extend(conditions.map(|conditions| ("conditions".to_owned(), conditions)));
    }
    autoscaler
}

/// Version 1 of an autoscaler of version 2.
pub(crate) fn to_v1(mut autoscaler: Value) -> Value {
    set(&mut autoscaler, "apiVersion", "autoscaling/v1");
    without_annotations(&mut autoscaler, &ANNOTATIONS);
    let mut annotations: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = autoscaler.get_mut("spec").filter(|spec| spec.is_object()) {
        let metrics = spec["metrics"].take();
        let percent = |metric: &Value| utilization(metric, "target").cloned();
        if let Some(percent) = list(&metrics).iter().find_map(percent) {
            set(spec, "targetCPUUtilizationPercentage", percent);
        }
        let others = list(&metrics).iter().filter(|metric| percent(metric).is_none());
        annotations.push((METRICS, others.map(|metric| flatten(metric, "target")).collect()));
        annotations.push((BEHAVIOR, full_behavior(&spec["behavior"])));
        remove(spec, "metrics");
        remove(spec, "behavior");
    }
    if let Some(status) = autoscaler.get_mut("status").filter(|status| status.is_object()) {
        let current = status["currentMetrics"].take();
        if let Some(percent) = list(&current).iter().find_map(|metric| utilization(metric, "current")) {
            set(status, "currentCPUUtilizationPercentage", percent.clone());
        }
        default(status, "currentReplicas", 0);
        annotations.push((CURRENT_METRICS, list(&current).iter().map(|metric| flatten(metric, "current")).collect()));
        annotations.push((CONDITIONS, status["conditions"].take()));
        remove(status, "currentMetrics");
        remove(status, "conditions");
    }
    for (name, value) in annotations.into_iter().filter(|(_, value)| !is_empty(value)) {
        let json = serde_json::to_string(&InOrder(&value)).expect("a JSON value serializes");
        autoscaler["metadata"]["annotations"][name] = json.into();
    }
    autoscaler
}

/// Removes annotations, and their map if nothing is left.
pub(super) fn without_annotations(autoscaler: &mut Value, names: &[&str]) {
    let Some(metadata) = autoscaler.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !names.contains(&name.as_str()));
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

/// A part of an autoscaler of version 2, if it has the form it must have.
fn checked(part: &str, field: &str, value: Value) -> Option<Value> {
    let definitions = builtin();
    let definition = definitions.of_kind("autoscaling", "v2", "HorizontalPodAutoscaler")?;
    let whole = json!({part: {field: value}});
    let mut decoded = conform(definitions, definition, whole, FieldValidation::Ignore).ok()?.value;
    Some(decoded[part][field].take())
}

/// The use of the CPU that a metric targets or tells of.
fn utilization<'a>(metric: &'a Value, side: &str) -> Option<&'a Value> {
    let resource = &metric["resource"];
    let percent = &resource[side]["averageUtilization"];
    (metric["type"] == "Resource" && resource["name"] == "cpu" && !percent.is_null()).then_some(percent)
}

/// A metric of version 1 as version 2 writes it.
fn expand(metric: &Value, side: &str) -> Value {
    let mut expanded = json!({"type": metric["type"]});
    for (source, fields) in SOURCES.into_iter().filter(|(source, _)| metric[*source].is_object()) {
        let mut out = json!({side: {}});
        for field in fields {
            let value = &metric[source][field.v1.replace('*', side)];
            let stands_for_nothing = side == "target" && field.zero.contains(&side) && value == "0";
            if !value.is_null() && !stands_for_nothing {
                put(&mut out, &field.v2.replace('*', side), value.clone());
            }
        }
        if side == "target" {
            let target = &out["target"];
            let has = |field: &str| !target[field].is_null();
            out["target"]["type"] = match source {
                _ if has("averageUtilization") => json!("Utilization"),
                "object" if !has("averageValue") => json!("Value"),
                "external" if has("value") => json!("Value"),
                _ => json!("AverageValue"),
            };
        }
        expanded[source] = out;
    }
    expanded
}

/// A metric of version 2 as version 1 writes it.
fn flatten(metric: &Value, side: &str) -> Value {
    let mut flat = json!({"type": metric["type"]});
    for (source, fields) in SOURCES.into_iter().filter(|(source, _)| metric[*source].is_object()) {
        let mut out = Map::new();
        for field in fields {
            let value = metric[source].pointer(&field.v2.replace('*', side)).filter(|value| !value.is_null()).cloned();
            let zero = || field.zero.contains(&side).then(|| json!("0"));
            out.extend(value.or_else(zero).map(|value| (field.v1.replace('*', side), value)));
        }
        flat[source] = out.into();
    }
    flat
}

/// Sets what a path of fields leads to.
fn put(value: &mut Value, path: &str, to: Value) {
    *path.split('/').skip(1).fold(value, |value, field| &mut value[field]) = to;
}

/// A behavior with everything that may be in it.
fn full_behavior(behavior: &Value) -> Value {
    if behavior.is_null() {
        return Value::Null;
    }
    let mut full = recased(behavior, char::to_uppercase);
    for direction in ["ScaleUp", "ScaleDown"] {
        for field in ["StabilizationWindowSeconds", "SelectPolicy", "Policies", "Tolerance"] {
            default(&mut full[direction], field, Value::Null);
        }
    }
    full
}

/// A value whose fields start with letters of another case.
fn recased<C: Iterator<Item = char>>(value: &Value, case: fn(char) -> C) -> Value {
    match value {
        Value::Object(_) => members(value)
            .map(|(field, value)| {
                let mut letters = field.chars();
                let first = letters.next().into_iter().flat_map(case);
                (first.chain(letters).collect(), recased(value, case))
            })
            .collect::<Map<String, Value>>()
            .into(),
        Value::Array(items) => items.iter().map(|item| recased(item, case)).collect(),
        other => other.clone(),
    }
}

/// A value written with its fields in the order in which upstream declares them.
struct InOrder<'a>(&'a Value);

const ORDER: [&str; 37] = [
    "type",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "target",
    "kind",
    "name",
    "apiVersion",
    "metricName",
    "metricSelector",
    "targetValue",
    "currentValue",
    "targetAverageUtilization",
    "currentAverageUtilization",
    "targetAverageValue",
    "currentAverageValue",
    "selector",
    "averageValue",
    "container",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "ScaleUp",
    "ScaleDown",
    "StabilizationWindowSeconds",
    "SelectPolicy",
    "Policies",
    "Type",
    "Value",
];

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
                let place = |field: &str| ORDER.iter().position(|known| *known == field).unwrap_or(ORDER.len());
                fields.sort_by_key(|(field, _)| place(field));
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (field, value) in fields {
                    map.serialize_entry(field, &InOrder(value))?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    sequence.serialize_element(&InOrder(item))?;
                }
                sequence.end()
            }
            other => other.serialize(serializer),
        }
    }
}
