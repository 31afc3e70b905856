//! Autoscalers in a table.

use crate::print::number;
use crate::table::age;
use crate::value::{int, list, text};
use api::Timestamp;
use serde_json::{Value, json};

/// How many metrics are shown.
const SHOWN: usize = 2;

/// The cells of an autoscaler of version 2.
pub(super) fn row(autoscaler: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&autoscaler["spec"], &autoscaler["status"]);
    let target = &spec["scaleTargetRef"];
    let min = int(&spec["minReplicas"]).map_or_else(|| "<unset>".to_owned(), |min| min.to_string());
    vec![
        autoscaler["metadata"]["name"].clone(),
        json!(format!("{}/{}", text(&target["kind"]), text(&target["name"]))),
        json!(metrics(list(&spec["metrics"]), list(&status["currentMetrics"]))),
        json!(min),
        number(&spec["maxReplicas"]),
        number(&status["currentReplicas"]),
        age(autoscaler, now),
    ]
}

fn metrics(specs: &[Value], current: &[Value]) -> String {
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let shown: Vec<String> =
        specs.iter().take(SHOWN).enumerate().map(|(i, spec)| metric(spec, current.get(i))).collect();
    let more = if specs.len() > SHOWN { format!(" + {} more...", specs.len() - SHOWN) } else { String::new() };
    shown.join(", ") + &more
}

/// `current/target` of one metric.
fn metric(spec: &Value, current: Option<&Value>) -> String {
    let source = match text(&spec["type"]) {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (spec, current) = (&spec[source], current.map_or(&Value::Null, |current| &current[source]["current"]));
    let target = &spec["target"];
    let shown = |value: &Value, absent: &str| match value.as_str() {
        Some(text) => text.to_owned(),
        None => int(value).map_or_else(|| absent.to_owned(), |percent| format!("{percent}%")),
    };
    let pair = |field: &str, absent: &str| {
        format!("{}/{}", shown(&current[field], "<unknown>"), shown(&target[field], absent))
    };
    let averages = !target["averageValue"].is_null();
    match source {
        "pods" => pair("averageValue", ""),
        "object" | "external" if averages => format!("{} (avg)", pair("averageValue", "")),
        "object" | "external" => pair("value", ""),
        _ => {
            let field = if averages { "averageValue" } else { "averageUtilization" };
            format!("{}: {}", text(&spec["name"]), pair(field, "<auto>"))
        }
    }
}
