//! How many replicas measurements ask for. Pure.

use super::metrics::{Sample, Samples};
use crate::view::{Condition, Time, or_default};
use api::{Quantity, Timestamp};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Within this share of its target, a metric asks for nothing.
const TOLERANCE: f64 = 0.1;

/// For so long after its start a pod may use processor only because it starts.
const INITIALIZATION: Duration = Duration::from_secs(5 * 60);

/// A pod that was last not ready within this time of its start has never been ready.
const INITIAL_READINESS: Duration = Duration::from_secs(30);

/// Of a pod, what its measurements are judged by.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub name: String,
    deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    restart_policy: Option<String>,
    resources: Resources,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    #[serde(deserialize_with = "or_default")]
    requests: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    start_time: Option<Time>,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

impl Pod {
    fn ready(&self) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == "Ready")
    }

    pub fn is_running_and_ready(&self) -> bool {
        self.status.phase == "Running" && self.ready().is_some_and(|c| c.status == "True")
    }

    /// What its containers, or one of them, request of a resource, in thousandths.
    fn request(&self, resource: &str, container: Option<&str>) -> Result<i64, String> {
        let stays = self.spec.init_containers.iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let mut sum = 0;
        for own in self.spec.containers.iter().chain(stays).filter(|c| container.is_none_or(|name| c.name == name)) {
            let Some(request) = own.resources.requests.get(resource).and_then(|text| Quantity::parse(text)) else {
                let (name, pod) = (&own.name, &self.metadata.name);
                return Err(format!("missing request for {resource} in container {name} of Pod {pod}"));
            };
            sum += request.millis();
        }
        Ok(sum)
    }
}

/// A proposal and what was measured: the number of replicas, the share of the target in percent, the mean per pod.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Proposal {
    pub replicas: i64,
    pub percent: Option<i64>,
    pub average_millis: i64,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// This share of what pods request, in percent.
    Utilization(i64),
    /// This mean per pod, in thousandths.
    Average(i64),
}

/// What a proposal depends on.
pub struct Measured<'a> {
    pub pods: &'a [Pod],
    pub samples: Samples,
    pub resource: &'a str,
    pub container: Option<&'a str>,
    pub current: i64,
    pub now: Timestamp,
}

/// Pods by what their measurements are worth.
#[derive(Default)]
struct Groups<'a> {
    ready: i64,
    unready: BTreeSet<&'a str>,
    missing: BTreeSet<&'a str>,
    ignored: BTreeSet<&'a str>,
}

fn group<'a>(measured: &Measured<'a>) -> Groups<'a> {
    let mut groups = Groups::default();
    for pod in measured.pods {
        let name = pod.metadata.name.as_str();
        if pod.metadata.deletion_timestamp.is_some() || pod.status.phase == "Failed" {
            groups.ignored.insert(name);
        } else if pod.status.phase == "Pending" {
            groups.unready.insert(name);
        } else if let Some(sample) = measured.samples.get(name) {
            if measured.resource == "cpu" && is_starting(pod, sample, measured.now) {
                groups.unready.insert(name);
            } else {
                groups.ready += 1;
            }
        } else {
            groups.missing.insert(name);
        }
    }
    groups
}

fn is_starting(pod: &Pod, sample: &Sample, now: Timestamp) -> bool {
    let (Some(ready), Some(start)) = (pod.ready(), pod.status.start_time) else { return true };
    let since = ready.last_transition_time.0;
    let is_unready = ready.status == "False";
    if start.0.plus(INITIALIZATION) > now {
        let window = Duration::from_secs(sample.window_secs.unsigned_abs());
        is_unready || sample.at < since.plus(window)
    } else {
        is_unready && start.0.plus(INITIAL_READINESS) > since
    }
}

fn is_within(ratio: f64) -> bool {
    (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio)
}

fn up(value: f64) -> i64 {
    value.ceil() as i64
}

/// How far samples are from the target, and what they come to.
fn judge(samples: &Samples, requests: &BTreeMap<&str, i64>, target: Target) -> Result<(f64, Proposal), String> {
    let count = samples.len().max(1) as i64;
    let total: i64 = samples.values().map(|s| s.millis).sum();
    let average_millis = total / count;
    match target {
        Target::Average(average) => {
            let ratio = average_millis as f64 / average.max(1) as f64;
            Ok((ratio, Proposal { average_millis, ..Proposal::default() }))
        }
        Target::Utilization(wanted) => {
            let known = samples.iter().filter_map(|(name, s)| Some((s.millis, *requests.get(name.as_str())?)));
            let (used, requested) = known.fold((0, 0), |(u, r), (used, requested)| (u + used, r + requested));
            if requested == 0 {
                return Err("no metrics returned matched known pods".to_owned());
            }
            let percent = used * 100 / requested;
            let ratio = percent as f64 / wanted.max(1) as f64;
            Ok((ratio, Proposal { percent: Some(percent), average_millis, ..Proposal::default() }))
        }
    }
}

/// The replicas that measurements of pods ask for. Pods that were not measured count so that they dampen the change.
pub fn of_pods(mut measured: Measured, target: Target) -> Result<Proposal, String> {
    if measured.pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let groups = group(&measured);
    let mut requests: BTreeMap<&str, i64> = BTreeMap::new();
    if matches!(target, Target::Utilization(_)) {
        for pod in measured.pods {
            requests.insert(&pod.metadata.name, pod.request(measured.resource, measured.container)?);
        }
    }
    measured
        .samples
        .retain(|name, _| !groups.ignored.contains(name.as_str()) && !groups.unready.contains(name.as_str()));
    let samples = &mut measured.samples;
    if samples.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let current = measured.current;
    let (ratio, found) = judge(samples, &requests, target)?;
    let rises_with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !rises_with_unready && groups.missing.is_empty() {
        let replicas = if is_within(ratio) { current } else { up(ratio * groups.ready as f64) };
        return Ok(Proposal { replicas, ..found });
    }
    let mut assume = |name: &str, millis: i64| {
        samples.insert(name.to_owned(), Sample { millis, at: measured.now, window_secs: 0 });
    };
    for name in &groups.missing {
        match target {
            _ if ratio > 1.0 => assume(name, 0),
            Target::Average(average) if ratio < 1.0 => assume(name, average),
            Target::Utilization(wanted) if ratio < 1.0 => {
                assume(name, requests.get(name).copied().unwrap_or(0) * wanted.max(100) / 100);
            }
            _ => {}
        }
    }
    if rises_with_unready {
        groups.unready.iter().for_each(|name| assume(name, 0));
    }
    let (adjusted, _) = judge(samples, &requests, target)?;
    let turned = (ratio < 1.0 && adjusted > 1.0) || (ratio > 1.0 && adjusted < 1.0);
    let replicas = up(adjusted * samples.len() as f64);
    let against = (adjusted < 1.0 && replicas > current) || (adjusted > 1.0 && replicas < current);
    let stays = is_within(adjusted) || turned || against;
    Ok(Proposal { replicas: if stays { current } else { replicas }, ..found })
}

/// The replicas that one value asks for, which all pods share: `value` and `target` in thousandths.
pub fn of_value(value: i64, target: i64, per_pod: bool, current: i64, ready: i64) -> Proposal {
    let target = target.max(1) as f64;
    if per_pod {
        let ratio = value as f64 / (target * current.max(1) as f64);
        let replicas = if is_within(ratio) { current } else { up(value as f64 / target) };
        let average_millis = up(value as f64 / current.max(1) as f64);
        return Proposal { replicas, percent: None, average_millis };
    }
    let ratio = value as f64 / target;
    let replicas = match current {
        0 => up(ratio),
        _ if is_within(ratio) => current,
        _ => up(ratio * ready as f64),
    };
    Proposal { replicas, percent: None, average_millis: value }
}
