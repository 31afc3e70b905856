//! What a pod uses of a quota. Pure.

use super::Amounts;
use crate::view::{Time, or_default};
use api::{Quantity, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

type Quantities = BTreeMap<String, Quantity>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    metadata: Metadata,
    pub spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    #[serde(deserialize_with = "or_default")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    init_containers: Vec<Container>,
    /// Of the pod as a whole.
    #[serde(deserialize_with = "or_default")]
    resources: Resources,
    #[serde(deserialize_with = "or_default")]
    overhead: Amounts,
    active_deadline_seconds: Option<i64>,
    pub priority_class_name: String,
    affinity: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    #[serde(deserialize_with = "or_default")]
    resources: Resources,
    restart_policy: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    #[serde(deserialize_with = "or_default")]
    requests: Amounts,
    #[serde(deserialize_with = "or_default")]
    limits: Amounts,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
}

impl Pod {
    pub fn has_deadline(&self) -> bool {
        self.spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0)
    }

    /// Nothing in it asks for, or is limited in, processor or memory.
    pub fn is_best_effort(&self) -> bool {
        let asks = |amounts: &Amounts| {
            let some = |name: &str| amounts.get(name).and_then(|t| Quantity::parse(t)).is_some_and(|q| !q.is_zero());
            some("cpu") || some("memory")
        };
        let of = |resources: &Resources| asks(&resources.requests) || asks(&resources.limits);
        let containers = self.spec.containers.iter().chain(&self.spec.init_containers);
        !of(&self.spec.resources) && !containers.map(|c| &c.resources).any(of)
    }

    /// Whether its affinity speaks of pods in other namespaces.
    pub fn looks_at_other_namespaces(&self) -> bool {
        let speaks = |term: &Value| {
            let named = term["namespaces"].as_array().is_some_and(|n| !n.is_empty());
            named || term["namespaceSelector"].is_object()
        };
        ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
            let affinity = &self.spec.affinity[*kind];
            let list = |field: &str| affinity[field].as_array().cloned().unwrap_or_default();
            let preferred = list("preferredDuringSchedulingIgnoredDuringExecution");
            let required = list("requiredDuringSchedulingIgnoredDuringExecution");
            required.iter().any(speaks) || preferred.iter().any(|p| speaks(&p["podAffinityTerm"]))
        })
    }

    /// It no longer takes anything: it has ended, or nobody ends it in time.
    fn is_over(&self, now: Timestamp) -> bool {
        if matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return true;
        }
        let Metadata { deletion_timestamp, deletion_grace_period_seconds } = &self.metadata;
        match (deletion_timestamp, deletion_grace_period_seconds) {
            (Some(at), Some(grace)) => now > at.0.plus(Duration::from_secs(*grace)),
            _ => false,
        }
    }
}

/// What a pod uses, by the names of a quota's resources.
pub fn usage(pod: &Pod, now: Timestamp) -> Quantities {
    let one = Quantity::from_units(1);
    let mut usage = Quantities::from([("count/pods".to_owned(), one)]);
    if pod.is_over(now) {
        return usage;
    }
    usage.insert("pods".to_owned(), one);
    let requests = total(&pod.spec, |r| &r.requests);
    let mut limits = total(&pod.spec, |r| &r.limits);
    limits.retain(|_, limit| !limit.is_zero());
    let overhead = read(&pod.spec.overhead);
    for (name, amount) in plus(requests, &overhead) {
        let plain = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
        if plain {
            usage.insert(name.clone(), amount);
        }
        if plain || name.contains('/') {
            usage.insert(format!("requests.{name}"), amount);
        }
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            let more = overhead.get(&name).copied().unwrap_or(Quantity::ZERO);
            usage.insert(format!("limits.{name}"), amount.plus(more));
        }
    }
    usage
}

/// What the containers of a pod need together: those that run side by side, or those before them, whichever is more.
fn total(spec: &Spec, of: fn(&Resources) -> &Amounts) -> Quantities {
    let mut sum = Quantities::new();
    for container in &spec.containers {
        sum = plus(sum, &read(of(&container.resources)));
    }
    let (mut beside, mut first) = (Quantities::new(), Quantities::new());
    for container in &spec.init_containers {
        let own = read(of(&container.resources));
        let while_it_runs = if container.restart_policy.as_deref() == Some("Always") {
            sum = plus(sum, &own);
            beside = plus(beside, &own);
            beside.clone()
        } else {
            plus(beside.clone(), &own)
        };
        first = most(first, while_it_runs);
    }
    let mut total = most(sum, first);
    for (name, amount) in read(of(&spec.resources)) {
        total.insert(name, amount);
    }
    total
}

fn read(amounts: &Amounts) -> Quantities {
    amounts.iter().filter_map(|(name, text)| Some((name.clone(), Quantity::parse(text)?))).collect()
}

fn plus(mut sum: Quantities, more: &Quantities) -> Quantities {
    for (name, amount) in more {
        let old = sum.get(name).copied().unwrap_or(Quantity::ZERO);
        sum.insert(name.clone(), old.plus(*amount));
    }
    sum
}

fn most(mut most: Quantities, other: Quantities) -> Quantities {
    for (name, amount) in other {
        let old = most.entry(name).or_insert(amount);
        *old = (*old).max(amount);
    }
    most
}
