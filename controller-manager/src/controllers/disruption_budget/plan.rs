//! How many pods of a budget may go. Pure.

use super::{Budget, Status, scaled};
use crate::view::{Pod, Time};
use api::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// For so long a pod that was evicted may take until it is being deleted.
const DELETION_TIMEOUT: Duration = Duration::from_secs(120);

/// What the owners of pods say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scale {
    /// How many pods they ask for, each owner counted once.
    pub expected: i64,
    /// The names of pods that nobody controls.
    pub unmanaged: Vec<String>,
}

pub struct Observed<'a> {
    pub budget: &'a Budget,
    /// Those that it selects.
    pub pods: &'a [Arc<Pod>],
    pub scale: &'a Scale,
    pub now: Timestamp,
}

pub struct Plan<'a> {
    pub status: Status,
    /// Pods that were evicted and are still not being deleted.
    pub overdue: Vec<&'a Pod>,
    pub again: Option<Duration>,
}

/// Whether the budget speaks of a share of what there should be, or of what may be missing of it.
pub fn needs_scale(budget: &Budget) -> bool {
    budget.spec.max_unavailable.is_some() || budget.spec.min_available.as_ref().is_some_and(Value::is_string)
}

/// How many pods are expected, and how many have to be healthy.
fn demand(observed: &Observed) -> (i64, i64) {
    let Observed { budget, pods, scale, .. } = observed;
    let part = |value: &Value| scaled(value, scale.expected).unwrap_or(scale.expected);
    match (&budget.spec.max_unavailable, &budget.spec.min_available) {
        (Some(max), _) => (scale.expected, (scale.expected - part(max)).max(0)),
        (None, Some(min)) if min.is_string() => (scale.expected, part(min)),
        (None, Some(min)) => (pods.len() as i64, min.as_i64().unwrap_or(0)),
        (None, None) => (0, 0),
    }
}

pub fn plan<'a>(observed: &Observed<'a>) -> Plan<'a> {
    let Observed { budget, pods, now, .. } = *observed;
    let mut overdue = Vec::new();
    let mut again: Option<Duration> = None;
    let mut status = Status { disrupted_pods: [].into(), ..budget.status.clone() };
    let mut healthy = 0;
    for pod in pods.iter().filter(|p| !p.metadata.is_deleting()) {
        let Some(at) = budget.status.disrupted_pods.get(&pod.metadata.name) else {
            healthy += i64::from(pod.is_ready());
            continue;
        };
        let until = at.0.plus(DELETION_TIMEOUT);
        if until < now {
            overdue.push(&**pod);
            healthy += i64::from(pod.is_ready());
        } else {
            status.disrupted_pods.insert(pod.metadata.name.clone(), Time(at.0));
            let wait = until.since(now) + Duration::from_secs(1);
            again = Some(again.map_or(wait, |a| a.min(wait)));
        }
    }
    let (expected, desired) = demand(observed);
    status.expected_pods = expected;
    status.desired_healthy = desired;
    status.current_healthy = healthy;
    status.disruptions_allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    status.observed_generation = budget.metadata.generation;
    let (holds, reason) = match status.disruptions_allowed {
        0 => ("False", "InsufficientPods"),
        _ => ("True", "SufficientPods"),
    };
    set_condition(&mut status.conditions, holds, reason, "", Some(budget.metadata.generation), now);
    Plan { status, overdue, again }
}

/// The status of a budget that cannot be worked out: nothing may go.
pub fn failed(budget: &Budget, why: &str, now: Timestamp) -> Status {
    let mut status = Status { disruptions_allowed: 0, ..budget.status.clone() };
    set_condition(&mut status.conditions, "False", "SyncFailed", why, None, now);
    status
}

fn set_condition(
    conditions: &mut Vec<Value>,
    holds: &str,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let mut condition = json!({
        "type": "DisruptionAllowed", "status": holds, "reason": reason, "message": message,
        "lastTransitionTime": now.to_string(),
    });
    if let Some(generation) = generation {
        condition["observedGeneration"] = json!(generation);
    }
    match conditions.iter_mut().find(|c| c["type"] == condition["type"]) {
        Some(known) => {
            if known["status"] == condition["status"] {
                condition["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}

/// What is said of a budget that selects pods nobody controls.
pub fn unmanaged_message(budget: &Budget) -> String {
    let selector = budget.spec.selector.as_ref().map(|s| printed(&s.value)).unwrap_or_default();
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the \
         status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these \
         pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

/// A label selector as upstream prints it.
fn printed(selector: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels: String = labels.map(|(key, value)| format!("{key}: {},", text(value))).collect();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    let expressions: String = expressions
        .map(|e| {
            let values: Vec<String> = e["values"].as_array().into_iter().flatten().map(text).collect();
            let (key, operator) = (text(&e["key"]), text(&e["operator"]));
            format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},", values.join(" "))
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}
