//! Sets how many replicas a target has, by what is measured of it.

mod limits;
mod measure;
mod metrics;
mod replicas;
#[cfg(test)]
mod tests;

use self::limits::{Bounds, History};
use super::scale::{self, Scale};
use crate::context::{Account, Context};
use crate::recorder::{Event, Involved, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Condition, Meta, Time, View, or_default};
use api::selector::LabelSelector;
use api::{GroupVersion, Result};
use client::{Cache, Client, ListParams, ObjectRef, PODS, Resource, WorkQueue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub const DECLARATION: Declaration = Declaration {
    name: "horizontal-pod-autoscaler-controller",
    account: Account::Service("horizontal-pod-autoscaler"),
    make,
};

const AUTOSCALERS: Resource =
    Resource { group: "autoscaling", version: "v2", plural: "horizontalpodautoscalers", namespaced: true };

/// How often each target is measured.
const EVERY: Duration = Duration::from_secs(15);

/// When a target is measured that was brought within its bounds, which takes no measuring.
const SOON: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Autoscaler {
    pub metadata: Meta,
    pub spec: Spec,
    pub status: Status,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub scale_target_ref: Target,
    pub min_replicas: Option<i64>,
    pub max_replicas: i64,
    #[serde(deserialize_with = "or_default")]
    pub metrics: Vec<Value>,
    pub behavior: Option<Behavior>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Target {
    pub api_version: String,
    pub kind: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Behavior {
    #[serde(deserialize_with = "or_default")]
    pub scale_up: Rules,
    #[serde(deserialize_with = "or_default")]
    pub scale_down: Rules,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Rules {
    pub stabilization_window_seconds: Option<u64>,
    pub select_policy: Option<String>,
    pub policies: Option<Vec<Policy>>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    #[serde(rename = "type")]
    pub kind: String,
    pub value: i64,
    pub period_seconds: u64,
}

impl Rules {
    /// Kind, value and seconds of each policy; those of `default` where none is given.
    pub fn policies<'a>(
        &'a self,
        default: &'a [(&'static str, i64, u64)],
    ) -> impl Iterator<Item = (&'a str, i64, u64)> {
        let given = self.policies.iter().flatten().map(|p| (p.kind.as_str(), p.value, p.period_seconds));
        let default = default.iter().copied().filter(|_| self.policies.is_none());
        given.chain(default)
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub observed_generation: Option<i64>,
    pub last_scale_time: Option<Time>,
    pub current_replicas: i64,
    pub desired_replicas: i64,
    pub current_metrics: Option<Vec<Value>>,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

impl View for Autoscaler {
    const RESOURCE: Resource = AUTOSCALERS;
}

impl Status {
    fn set(&mut self, kind: &str, holds: bool, reason: &str, message: String, now: Time) {
        let status = if holds { "True" } else { "False" };
        let known = self.conditions.iter().position(|c| c.kind == kind);
        let since = known.map(|i| &self.conditions[i]).filter(|c| c.status == status);
        let condition = Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since.map_or(now, |c| c.last_transition_time),
            ..Condition::default()
        };
        match known {
            Some(place) => self.conditions[place] = condition,
            None => self.conditions.push(condition),
        }
    }

    fn to_value(&self) -> Value {
        let conditions: Vec<Value> = self.conditions.iter().map(Condition::to_value).collect();
        let mut value = json!({"desiredReplicas": self.desired_replicas, "conditions": conditions});
        if self.current_replicas != 0 {
            value["currentReplicas"] = json!(self.current_replicas);
        }
        if let Some(generation) = self.observed_generation {
            value["observedGeneration"] = json!(generation);
        }
        if let Some(at) = self.last_scale_time {
            value["lastScaleTime"] = json!(at.0.to_string());
        }
        if let Some(metrics) = &self.current_metrics {
            value["currentMetrics"] = json!(metrics);
        }
        value
    }
}

/// What is remembered of an autoscaler between looks.
struct Memory {
    history: History,
    /// The selector of its target's pods.
    selector: String,
}

struct Autoscalers {
    context: Context,
    autoscalers: Cache<Autoscaler>,
    remembered: Arc<Mutex<HashMap<ObjectRef, Memory>>>,
    queue: WorkQueue<ObjectRef>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let remembered: Arc<Mutex<HashMap<ObjectRef, Memory>>> = Arc::default();
    let informer = setup.informers.of::<Autoscaler>();
    let autoscalers = informer.cache();
    let (changed, forget) = (queue.clone(), remembered.clone());
    informer.on_change(move |change| match (&change.old, &change.new) {
        (_, None) => drop(forget.lock().unwrap_or_else(PoisonError::into_inner).remove(&change.key)),
        (Some(old), Some(new)) if old.spec == new.spec => {}
        _ => changed.add(change.key.clone()),
    });
    let context = setup.context.clone();
    Controller::new(queue.clone(), Arc::new(Autoscalers { context, autoscalers, remembered, queue }))
}

impl Reconcile for Autoscalers {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(autoscaler) = self.autoscalers.get(key) else { return Ok(None) };
        self.sync(key, &autoscaler).await.map(Some)
    }
}

/// Why a look came to no number. What the user is told is in conditions and events already.
struct Unknown;

impl Autoscalers {
    /// Returns when to look again.
    async fn sync(&self, key: &ObjectRef, autoscaler: &Autoscaler) -> Result<Duration> {
        let client = self.context.client(key);
        let now = Time(self.context.now());
        let mut status = autoscaler.status.clone();
        let Some((kind, mut object)) = self.scale(&client, key, autoscaler, &mut status).await else {
            return self.write(key, autoscaler, &status).await.map(|()| EVERY);
        };
        let message = "the HPA controller was able to get the target's current scale".to_owned();
        status.set("AbleToScale", true, "SucceededGetScale", message, now);
        let scale = Scale::of(&object)?;
        let (current, before) = (scale.spec.replicas, status.desired_replicas);
        let (min, max) = (autoscaler.spec.min_replicas.unwrap_or(1), autoscaler.spec.max_replicas);
        let selector = scale.status.selector.clone();
        if self.remember(key, |memory| std::mem::replace(&mut memory.selector, selector.clone()) != selector, current) {
            self.tell_rivals(key, autoscaler);
        }
        let out_of_bounds = current != 0 && !(min..=max).contains(&current);
        let (desired, reason) = if current == 0 && min != 0 {
            let message = "scaling is disabled since the replica count of the target is zero".to_owned();
            status.set("ScalingActive", false, "ScalingDisabled", message, now);
            status.current_metrics = None;
            (current, String::new())
        } else if current > max {
            (max, "Current number of replicas above Spec.MaxReplicas".to_owned())
        } else if current < min {
            (min, "Current number of replicas below Spec.MinReplicas".to_owned())
        } else {
            let measured = self.measure(&client, key, autoscaler, &scale, &mut status).await?;
            let Ok((proposed, metric)) = measured else {
                (status.current_replicas, status.desired_replicas) = (current, before);
                return self.write(key, autoscaler, &status).await.map(|()| EVERY);
            };
            let reason = match proposed > current {
                true => format!("{metric} above target"),
                false => "All metrics below target".to_owned(),
            };
            let bounds = Bounds { current, min, max };
            let behavior = autoscaler.spec.behavior.as_ref();
            let limited = self.remember(
                key,
                |memory| limits::limit(proposed, &bounds, behavior, &mut memory.history, now.0),
                current,
            );
            let (able, why, message) = limited.able;
            status.set("AbleToScale", able, why, message.to_owned(), now);
            let (holds, why, message) = limited.limited;
            status.set("ScalingLimited", holds, why, message.to_owned(), now);
            (limited.replicas, reason)
        };
        status.current_replicas = current;
        status.desired_replicas = desired;
        if desired != current {
            object["spec"]["replicas"] = json!(desired);
            let updated = client.update_sub(&kind.resource, &key.namespace, "scale", &object).await;
            if let Err(error) = updated {
                let why = error.message().to_owned();
                let message = format!("New size: {desired}; reason: {reason}; error: {why}");
                self.tell(autoscaler, Severity::Warning, "FailedRescale", message);
                let message = format!("the HPA controller was unable to update the target scale: {why}");
                status.set("AbleToScale", false, "FailedUpdateScale", message, now);
                status.desired_replicas = before;
                return self.write(key, autoscaler, &status).await.map(|()| EVERY);
            }
            let message = format!("the HPA controller was able to update the target scale to {desired}");
            status.set("AbleToScale", true, "SucceededRescale", message, now);
            status.last_scale_time = Some(now);
            let message = format!("New size: {desired}; reason: {reason}");
            self.tell(autoscaler, Severity::Normal, "SuccessfulRescale", message);
            self.remember(key, |memory| memory.history.note(current, desired, now.0), current);
        }
        self.write(key, autoscaler, &status).await?;
        Ok(if out_of_bounds { SOON } else { EVERY })
    }

    /// The kind and the scale of the target, or conditions that say why there is none.
    async fn scale(
        &self,
        client: &Client,
        key: &ObjectRef,
        autoscaler: &Autoscaler,
        status: &mut Status,
    ) -> Option<(scale::Kind, Value)> {
        let Target { api_version, kind, name } = &autoscaler.spec.scale_target_ref;
        let why = match scale::kind(client, api_version, kind).await {
            Err(error) => error.message().to_owned(),
            Ok(None) => {
                let group = GroupVersion::parse(api_version).group;
                format!("no matches for kind {kind:?} in group {group:?}")
            }
            Ok(Some(found)) if !found.scales => "the server could not find the requested resource".to_owned(),
            Ok(Some(found)) => match found.get(client, &key.namespace, name).await {
                Ok(scale) => return Some((found, scale)),
                Err(error) => error.message().to_owned(),
            },
        };
        self.tell(autoscaler, Severity::Warning, "FailedGetScale", why.clone());
        let message = format!("the HPA controller was unable to get the target's current scale: {why}");
        status.set("AbleToScale", false, "FailedGetScale", message, Time(self.context.now()));
        None
    }

    /// How many replicas the metrics ask for, and the name of the metric that asks for most.
    async fn measure(
        &self,
        client: &Client,
        key: &ObjectRef,
        autoscaler: &Autoscaler,
        scale: &Scale,
        status: &mut Status,
    ) -> Result<Result<(i64, String), Unknown>> {
        let now = Time(self.context.now());
        let selector = &scale.status.selector;
        let refused = match LabelSelector::parse(selector) {
            _ if selector.is_empty() => Some((
                ("SelectorRequired", "selector is required".to_owned()),
                ("InvalidSelector", "the HPA target's scale is missing a selector".to_owned()),
            )),
            Err(error) => {
                let why = error.message();
                let message = format!("couldn't convert selector into a corresponding internal selector object: {why}");
                Some((("InvalidSelector", message.clone()), ("InvalidSelector", message)))
            }
            Ok(_) => None,
        };
        let listed = ListParams { labels: selector.clone(), ..ListParams::default() };
        let pods = match refused {
            None => client.list_as::<replicas::Pod>(PODS, &key.namespace, &listed).await?.items,
            Some(_) => Vec::new(),
        };
        let refused = refused.or_else(|| {
            let message = self.others(key, selector, &pods)?;
            Some((("AmbiguousSelector", message.clone()), ("AmbiguousSelector", message)))
        });
        if let Some(((event, told), (reason, message))) = refused {
            self.tell(autoscaler, Severity::Warning, event, told.clone());
            status.set("ScalingActive", false, reason, message, now);
            self.tell(autoscaler, Severity::Warning, "FailedComputeMetricsReplicas", told);
            status.current_metrics = None;
            return Ok(Err(Unknown));
        }
        let seen = measure::Seen { client, namespace: &key.namespace, selector, pods: &pods, scale, now: now.0 };
        let specs = &autoscaler.spec.metrics;
        let mut current = vec![json!({"type": ""}); specs.len()];
        let mut best: Option<(i64, String)> = None;
        let mut failures: Vec<measure::Failure> = Vec::new();
        for (spec, current) in specs.iter().zip(&mut current) {
            match measure::metric(&seen, spec).await {
                Ok(found) => {
                    *current = found.current;
                    if best.as_ref().is_none_or(|(most, _)| found.replicas > *most) {
                        best = Some((found.replicas, found.name));
                    }
                }
                Err(failure) => {
                    self.tell(autoscaler, Severity::Warning, failure.reason, failure.why.clone());
                    failures.push(failure);
                }
            }
        }
        status.current_metrics = Some(current);
        let falls = best.as_ref().is_some_and(|(most, _)| *most < scale.spec.replicas);
        match (best, failures.first()) {
            (Some((replicas, name)), first) if first.is_none() || !falls => {
                let message = format!("the HPA was able to successfully calculate a replica count from {name}");
                status.set("ScalingActive", true, "ValidMetricFound", message, now);
                Ok(Ok((replicas, name)))
            }
            (_, Some(first)) => {
                let message = format!("the HPA was unable to compute the replica count: {}", first.why);
                status.set("ScalingActive", false, first.reason, message, now);
                let (count, of) = (failures.len(), specs.len());
                let message =
                    format!("invalid metrics ({count} invalid out of {of}), first error is: {}", first.whole());
                self.tell(autoscaler, Severity::Warning, "FailedComputeMetricsReplicas", message);
                Ok(Err(Unknown))
            }
            (_, None) => Ok(Err(Unknown)),
        }
    }

    /// Has others with the same target look at it: what they may do depends on whether they are alone.
    fn tell_rivals(&self, key: &ObjectRef, autoscaler: &Autoscaler) {
        let Some(tenant) = &key.tenant else { return };
        for (other, rival) in self.autoscalers.list_namespace(tenant, &key.namespace) {
            if other != *key && rival.spec.scale_target_ref == autoscaler.spec.scale_target_ref {
                self.queue.add(other);
            }
        }
    }

    /// What to say if other autoscalers of the namespace speak of the same pods.
    fn others(&self, key: &ObjectRef, selector: &str, pods: &[replicas::Pod]) -> Option<String> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let same_place = |other: &ObjectRef| other.tenant == key.tenant && other.namespace == key.namespace;
        let matches = |memory: &Memory| {
            LabelSelector::parse(&memory.selector)
                .is_ok_and(|s| !s.is_empty() && pods.iter().any(|pod| s.matches(&pod.metadata.labels)))
        };
        let all = remembered.iter().filter(|(other, memory)| same_place(other) && matches(memory));
        let mut names: Vec<String> = all.map(|(other, _)| format!("{}/{}", other.namespace, other.name)).collect();
        names.sort();
        (names.len() > 1)
            .then(|| format!("pods by selector {selector} are controlled by multiple HPAs: [{}]", names.join(" ")))
    }

    fn remember<R>(&self, key: &ObjectRef, change: impl FnOnce(&mut Memory) -> R, current: i64) -> R {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.context.now();
        let fresh = || Memory { history: History::of(current, now), selector: String::new() };
        change(remembered.entry(key.clone()).or_insert_with(fresh))
    }

    async fn write(&self, key: &ObjectRef, autoscaler: &Autoscaler, status: &Status) -> Result<()> {
        if *status == autoscaler.status {
            return Ok(());
        }
        let version = &autoscaler.metadata.resource_version;
        let change = |object: &mut Value| object["status"] = status.to_value();
        let live = self.autoscalers.get(key).filter(|live| live.metadata.uid == autoscaler.metadata.uid);
        let version = live.as_ref().map_or(version, |live| &live.metadata.resource_version);
        self.context.rewrite(AUTOSCALERS, key, version, Some("status"), change).await.map(drop)
    }

    fn tell(&self, autoscaler: &Autoscaler, severity: Severity, reason: &'static str, message: String) {
        let about = Involved {
            key: autoscaler.metadata.key(),
            api_version: "autoscaling/v2".to_owned(),
            kind: "HorizontalPodAutoscaler".to_owned(),
            uid: autoscaler.metadata.uid.clone(),
        };
        self.context.recorder.record(Event { about, severity, reason, message });
    }
}
