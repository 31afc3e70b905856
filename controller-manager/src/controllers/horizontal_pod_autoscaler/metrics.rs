//! What is measured: the three APIs of metrics, as a tenant's API serves them, or not. A source of metrics is whoever
//! serves `metrics.k8s.io`, `custom.metrics.k8s.io` or `external.metrics.k8s.io` there.

use crate::view::{Time, or_default};
use api::{Error, Quantity, Result, Timestamp};
use client::Client;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A measurement of one pod: thousandths, since when, and over how long a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub millis: i64,
    pub at: Timestamp,
    pub window_secs: i64,
}

/// Measurements by the names of pods.
pub type Samples = BTreeMap<String, Sample>;

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Named,
    #[serde(default)]
    timestamp: Time,
    #[serde(default)]
    window: String,
    #[serde(default, deserialize_with = "or_default")]
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    usage: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricValue {
    #[serde(default)]
    described_object: Option<Named>,
    #[serde(default)]
    timestamp: Time,
    #[serde(default)]
    window_seconds: Option<i64>,
    value: String,
}

/// What is said where an API is not served.
fn not_served(error: &Error, what: &str) -> String {
    if error.is_not_found() {
        format!("the server could not find the requested resource (get {what})")
    } else {
        error.message().to_owned()
    }
}

fn seconds(duration: &str) -> i64 {
    let unit = duration.strip_suffix("ms").map(|n| (n, 1000));
    let (number, divisor) = unit.unwrap_or((duration.trim_end_matches('s'), 1));
    number.parse::<f64>().map_or(60, |n| n as i64 / divisor)
}

fn millis(text: &str) -> i64 {
    Quantity::parse(text).map_or(0, Quantity::millis)
}

/// The use of a resource by the pods that a selector matches; of one container, or of all. The error is upstream's text.
pub async fn resource(
    client: &Client,
    namespace: &str,
    selector: &str,
    resource: &str,
    container: Option<&str>,
) -> Result<Samples, String> {
    let query = encode(selector);
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={query}");
    let list: List<PodMetrics> = client.get_path(&path).await.map_err(|error| {
        let why = not_served(&error, "pods.metrics.k8s.io");
        format!(
            "unable to get metrics for resource {resource}: unable to fetch metrics from resource metrics API: {why}"
        )
    })?;
    if list.items.is_empty() {
        return Err(format!(
            "unable to get metrics for resource {resource}: no metrics returned from resource metrics API"
        ));
    }
    let mut samples = Samples::new();
    for pod in list.items {
        let wanted = pod.containers.iter().filter(|c| container.is_none_or(|name| c.name == name));
        let used: Option<Vec<i64>> = wanted.map(|c| c.usage.get(resource).map(|text| millis(text))).collect();
        if let Some(used) = used.filter(|u| !u.is_empty()) {
            let sample = Sample { millis: used.iter().sum(), at: pod.timestamp.0, window_secs: seconds(&pod.window) };
            samples.insert(pod.metadata.name, sample);
        }
    }
    Ok(samples)
}

const NO_CUSTOM: &str =
    "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";

async fn custom(client: &Client, path: &str) -> Result<Vec<MetricValue>, String> {
    let list: Result<List<MetricValue>> = client.get_path(&format!("/apis/custom.metrics.k8s.io/v1beta2/{path}")).await;
    list.map(|list| list.items).map_err(|error| match error.is_not_found() {
        true => NO_CUSTOM.to_owned(),
        false => format!("unable to fetch metrics from custom metrics API: {}", error.message()),
    })
}

/// A metric of each of the pods that a selector matches.
pub async fn of_pods(
    client: &Client,
    namespace: &str,
    selector: &str,
    metric: &str,
    metric_selector: &str,
) -> Result<Samples, String> {
    let (labels, metric_labels) = (encode(selector), encode(metric_selector));
    let path =
        format!("namespaces/{namespace}/pods/*/{metric}?labelSelector={labels}&metricLabelSelector={metric_labels}");
    let values = custom(client, &path).await.map_err(|why| format!("unable to get metric {metric}: {why}"))?;
    let sample = |v: MetricValue| {
        let window_secs = v.window_seconds.unwrap_or(60);
        Some((v.described_object?.name, Sample { millis: millis(&v.value), at: v.timestamp.0, window_secs }))
    };
    Ok(values.into_iter().filter_map(sample).collect())
}

/// A metric of one object, in thousandths.
pub async fn of_object(
    client: &Client,
    namespace: &str,
    object: &Value,
    metric: &str,
    metric_selector: &str,
) -> Result<i64, String> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (kind, name) = (text("kind"), text("name"));
    // Upstream prints the error in the place of the object's name.
    let refuse = |why: String| format!("unable to get metric {metric}: {kind} on {namespace} {name}/{why}");
    let found = super::super::scale::kind(client, text("apiVersion"), kind).await;
    let found = found.map_err(|error| refuse(error.message().to_owned()))?;
    let plural = match &found {
        Some(found) => found.qualified(),
        None => kind.to_lowercase(),
    };
    let path =
        format!("namespaces/{namespace}/{plural}/{name}/{metric}?metricLabelSelector={}", encode(metric_selector));
    let values = custom(client, &path).await.map_err(refuse)?;
    values.first().map(|v| millis(&v.value)).ok_or_else(|| refuse("no metrics returned".to_owned()))
}

/// The sum of an external metric, in thousandths.
pub async fn external(
    client: &Client,
    namespace: &str,
    metric: &str,
    selector: Option<&str>,
) -> Result<Vec<i64>, String> {
    let labels = encode(selector.unwrap_or_default());
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}?labelSelector={labels}");
    let list: List<MetricValue> = client.get_path(&path).await.map_err(|error| {
        let why = not_served(&error, &format!("{metric}.external.metrics.k8s.io"));
        let selector = selector.map_or("nil".to_owned(), |s| format!("&LabelSelector{{{s}}}"));
        format!(
            "unable to get external metric {namespace}/{metric}/{selector}: unable to fetch metrics from external \
             metrics API: {why}"
        )
    })?;
    Ok(list.items.iter().map(|v| millis(&v.value)).collect())
}

/// Percent-encodes a selector for a query.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written_as_the_apis_do() {
        assert_eq!((seconds("30s"), seconds("1m"), seconds("15.5s"), seconds("500ms")), (30, 60, 15, 0));
        assert_eq!(encode("a=b,c in (d)"), "a%3Db%2Cc%20in%20%28d%29");
        assert_eq!((millis("100m"), millis("2"), millis("x")), (100, 2000, 0));
    }
}
