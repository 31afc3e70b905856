//! One metric of an autoscaler: what it asks for is fetched, judged, and told in the words of its status.

use super::metrics;
use super::replicas::{self, Measured, Pod, Proposal, Target};
use crate::controllers::scale::Scale;
use api::selector::LabelSelector;
use api::{Quantity, Timestamp};
use client::Client;
use serde_json::{Value, json};

/// What every metric of an autoscaler is measured by.
pub struct Seen<'a> {
    pub client: &'a Client,
    pub namespace: &'a str,
    /// Of the target's pods.
    pub selector: &'a str,
    pub pods: &'a [Pod],
    pub scale: &'a Scale,
    pub now: Timestamp,
}

pub struct Found {
    pub replicas: i64,
    /// As events name the metric.
    pub name: String,
    /// An entry of `status.currentMetrics`.
    pub current: Value,
}

/// Why a metric could not be had.
#[derive(Debug)]
pub struct Failure {
    pub reason: &'static str,
    pub why: String,
    /// What was being done.
    doing: String,
}

impl Failure {
    pub fn whole(&self) -> String {
        if self.doing.is_empty() { self.why.clone() } else { format!("{}: {}", self.doing, self.why) }
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn millis(value: &Value) -> Option<i64> {
    Quantity::parse(value.as_str()?).map(Quantity::millis)
}

fn quantity(millis: i64) -> Value {
    json!(Quantity::from_millis(millis).to_string())
}

/// A label selector in its query form.
fn query(selector: &Value) -> String {
    let Ok(parsed) = LabelSelector::from_value(selector) else { return String::new() };
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let equal: Vec<String> =
        equal.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if parsed.is_empty() { String::new() } else { equal.join(",") }
}

/// Measures one entry of `spec.metrics`.
pub async fn metric(seen: &Seen<'_>, spec: &Value) -> Result<Found, Failure> {
    match text(spec, "type") {
        "Resource" => resource(seen, &spec["resource"], None).await,
        "ContainerResource" => {
            let source = &spec["containerResource"];
            resource(seen, source, Some(text(source, "container"))).await
        }
        "Pods" => of_pods(seen, &spec["pods"]).await,
        "Object" => of_object(seen, &spec["object"]).await,
        "External" => external(seen, &spec["external"]).await,
        other => Err(Failure {
            reason: "InvalidMetricSourceType",
            why: format!("unknown metric source type {other:?}"),
            doing: String::new(),
        }),
    }
}

fn measured<'a>(
    seen: &Seen<'a>,
    samples: metrics::Samples,
    resource: &'a str,
    container: Option<&'a str>,
) -> Measured<'a> {
    Measured { pods: seen.pods, samples, resource, container, current: seen.scale.spec.replicas, now: seen.now }
}

async fn resource(seen: &Seen<'_>, source: &Value, container: Option<&str>) -> Result<Found, Failure> {
    let (name, target) = (text(source, "name"), &source["target"]);
    let of = if container.is_some() { "container resource" } else { "resource" };
    let goal = match (target["averageUtilization"].as_i64(), millis(&target["averageValue"])) {
        (_, Some(average)) => Ok((Target::Average(average), "usage")),
        (Some(percent), None) => Ok((Target::Utilization(percent), "utilization")),
        (None, None) => Err("invalid resource metric source: neither an average utilization target nor an average \
                             value (usage) target was set"
            .to_owned()),
    };
    let found = match goal {
        Err(why) => Err(why),
        Ok((goal, what)) => metrics::resource(seen.client, seen.namespace, seen.selector, name, container)
            .await
            .and_then(|samples| replicas::of_pods(measured(seen, samples, name, container), goal))
            .map_err(|why| format!("failed to get {name} {what}: {why}")),
    };
    let reason = if container.is_some() { "FailedGetContainerResourceMetric" } else { "FailedGetResourceMetric" };
    let doing = format!("failed to get {name} {of} metric value");
    let Proposal { replicas, percent, average_millis } = found.map_err(|why| Failure { reason, why, doing })?;
    let mut current = json!({"averageValue": quantity(average_millis)});
    if let Some(percent) = percent {
        current["averageUtilization"] = json!(percent);
    }
    let share = if percent.is_some() { " utilization (percentage of request)" } else { "" };
    let current = match container {
        None => json!({"type": "Resource", "resource": {"name": name, "current": current}}),
        Some(container) => json!({
            "type": "ContainerResource",
            "containerResource": {"name": name, "container": container, "current": current},
        }),
    };
    Ok(Found { replicas, name: format!("{name} {of}{share}"), current })
}

async fn of_pods(seen: &Seen<'_>, source: &Value) -> Result<Found, Failure> {
    let metric = text(&source["metric"], "name");
    let labels = query(&source["metric"]["selector"]);
    let average = millis(&source["target"]["averageValue"]).unwrap_or(0);
    let found = metrics::of_pods(seen.client, seen.namespace, seen.selector, metric, &labels)
        .await
        .and_then(|samples| replicas::of_pods(measured(seen, samples, "", None), Target::Average(average)));
    let doing = "failed to get pods metric value".to_owned();
    let found = found.map_err(|why| Failure { reason: "FailedGetPodsMetric", why, doing })?;
    let current = json!({"metric": source["metric"], "current": {"averageValue": quantity(found.average_millis)}});
    let current = json!({"type": "Pods", "pods": current});
    Ok(Found { replicas: found.replicas, name: format!("pods metric {metric}"), current })
}

/// Judges one value that all pods share, and tells it as the target is told.
fn judge(seen: &Seen<'_>, value: i64, target: &Value) -> Result<(Proposal, Value), String> {
    let ready = seen.pods.iter().filter(|p| p.is_running_and_ready()).count() as i64;
    let replicas = seen.scale.status.replicas;
    if let Some(average) = millis(&target["averageValue"]) {
        let found = replicas::of_value(value, average, true, replicas, ready);
        return Ok((found, json!({"averageValue": quantity(found.average_millis)})));
    }
    let whole =
        millis(&target["value"]).ok_or_else(|| "neither a value nor an average value target was set".to_owned())?;
    let found = replicas::of_value(value, whole, false, seen.scale.spec.replicas, ready);
    Ok((found, json!({"value": quantity(value)})))
}

async fn of_object(seen: &Seen<'_>, source: &Value) -> Result<Found, Failure> {
    let (metric, object) = (text(&source["metric"], "name"), &source["describedObject"]);
    let labels = query(&source["metric"]["selector"]);
    let value = metrics::of_object(seen.client, seen.namespace, object, metric, &labels).await;
    let judged = value.and_then(|value| judge(seen, value, &source["target"]));
    let doing = "failed to get object metric value".to_owned();
    let (found, current) = judged.map_err(|why| Failure { reason: "FailedGetObjectMetric", why, doing })?;
    let current = json!({"metric": source["metric"], "describedObject": object, "current": current});
    let name = format!("{} metric {metric}", text(object, "kind"));
    Ok(Found { replicas: found.replicas, name, current: json!({"type": "Object", "object": current}) })
}

async fn external(seen: &Seen<'_>, source: &Value) -> Result<Found, Failure> {
    let metric = text(&source["metric"], "name");
    let selector = &source["metric"]["selector"];
    let labels = query(selector);
    let labels = selector.is_object().then_some(labels.as_str());
    let values = metrics::external(seen.client, seen.namespace, metric, labels).await;
    let judged = values.and_then(|values| judge(seen, values.iter().sum(), &source["target"]));
    let doing = "failed to get external metric value".to_owned();
    let (found, current) = judged.map_err(|why| Failure { reason: "FailedGetExternalMetric", why, doing })?;
    let current = json!({"metric": source["metric"], "current": current});
    let name = format!("external metric {metric}({})", if labels.is_some() { "&LabelSelector" } else { "nil" });
    Ok(Found { replicas: found.replicas, name, current: json!({"type": "External", "external": current}) })
}
