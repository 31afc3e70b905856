//! How many pods a replica set lacks, and which of too many go first. Pure.

use crate::controllers::pod_control::Failure;
use crate::view::{Condition, Pod, ReplicaSet, ReplicaSetStatus, Time};
use api::Timestamp;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The most pods that one look creates or deletes.
pub const BURST_PODS: usize = 500;

/// What is to be done about the number of pods.
#[derive(Debug, PartialEq)]
pub enum Plan {
    Nothing,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

/// Compares the active pods with what the set wants. `on_nodes` tells how many active pods of the set and of its
/// siblings (the replica sets of the same deployment) each node has; it is asked only where pods have to be ranked.
pub fn plan(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    on_nodes: impl FnOnce() -> HashMap<String, usize>,
    now: Timestamp,
) -> Plan {
    let wanted = usize::try_from(set.spec.replicas).unwrap_or(0);
    match active.len().cmp(&wanted) {
        Ordering::Equal => Plan::Nothing,
        Ordering::Less => Plan::Create((wanted - active.len()).min(BURST_PODS)),
        Ordering::Greater => {
            let mut victims = active.to_vec();
            if wanted > 0 {
                let on_node = on_nodes();
                victims.sort_by(|a, b| first_to_go(a, b, &on_node, now));
            }
            victims.truncate((active.len() - wanted).min(BURST_PODS));
            Plan::Delete(victims)
        }
    }
}

/// Orders pods by how little is lost with them: `Less` goes first. A total order: each criterion is a key of one pod
/// alone, and the uid decides last. (Upstream lets the uid decide as soon as two times are of one order of magnitude
/// but not equal, which is no order: three pods can go round in a circle.)
fn first_to_go(a: &Pod, b: &Pod, on_node: &HashMap<String, usize>, now: Timestamp) -> Ordering {
    let crowd = |pod: &Pod| on_node.get(&pod.spec.node_name).copied().unwrap_or(0);
    (!a.spec.node_name.is_empty())
        .cmp(&!b.spec.node_name.is_empty())
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| a.is_ready().cmp(&b.is_ready()))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| crowd(b).cmp(&crowd(a)))
        .then_with(|| magnitude(ready_since(a), now).cmp(&magnitude(ready_since(b), now)))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            let created = |pod: &Pod| magnitude(pod.metadata.creation_timestamp, now);
            created(a).cmp(&created(b))
        })
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn phase_rank(pod: &Pod) -> u8 {
    match pod.status.phase.as_str() {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

/// Zero for what is no cost: only a plain decimal is one.
fn deletion_cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.deletion_cost.as_deref().unwrap_or("0");
    text.parse::<i32>().ok().filter(|cost| cost.to_string() == text).unwrap_or(0)
}

/// No time for a pod that is not ready: those are told apart by their creation.
fn ready_since(pod: &Pod) -> Time {
    let ready = pod.ready_condition().filter(|_| pod.is_ready());
    ready.map(|condition| condition.last_transition_time).unwrap_or_default()
}

/// The most restarts of an ordinary container, then of an initial one.
fn restarts(pod: &Pod) -> (i32, i32) {
    let most = |statuses: &[crate::view::ContainerStatus]| statuses.iter().map(|s| s.restart_count).max().unwrap_or(0);
    (most(&pod.status.container_statuses), most(&pod.status.init_container_statuses))
}

/// The order of magnitude of a time's distance from now, so that what is newer goes first only if it is much newer and
/// no age is favoured among the others. What never happened comes before all.
fn magnitude(time: Time, now: Timestamp) -> i64 {
    if time == Time::default() {
        return i64::MIN;
    }
    now.since(time.0).as_nanos().checked_ilog2().map_or(-1, i64::from)
}

/// When the next ready pod becomes available, if one will by itself.
pub fn next_available(set: &ReplicaSet, active: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let min_ready = min_ready(set);
    active.iter().filter_map(|p| p.becomes_available_in(min_ready, now)).filter(|left| !left.is_zero()).min()
}

fn min_ready(set: &ReplicaSet) -> Duration {
    Duration::from_secs(set.spec.min_ready_seconds.try_into().unwrap_or(0))
}

/// The status that describes what is there. `failure` is that of the last attempt to change it.
pub fn status(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: Option<usize>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let labels = &set.spec.template["metadata"]["labels"];
    let labels: Vec<(&String, &Value)> = labels.as_object().into_iter().flatten().collect();
    let count = |holds: &dyn Fn(&Pod) -> bool| active.iter().filter(|p| holds(p)).count() as i64;
    let fully_labeled =
        |p: &Pod| labels.iter().all(|(k, v)| p.metadata.labels.get(*k).map(String::as_str) == v.as_str());
    let mut conditions = set.status.conditions.clone();
    let known = conditions.iter().position(|c| c.kind == "ReplicaFailure");
    match (failure, known) {
        (Some(failure), None) => conditions.push(Condition {
            kind: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: failure.reason.to_owned(),
            message: failure.error.to_string(),
            last_transition_time: Time(now),
            ..Condition::default()
        }),
        (None, Some(index)) => drop(conditions.remove(index)),
        (Some(_), Some(_)) | (None, None) => {}
    }
    ReplicaSetStatus {
        replicas: active.len() as i64,
        fully_labeled_replicas: count(&fully_labeled),
        ready_replicas: count(&Pod::is_ready),
        available_replicas: count(&|p| p.is_available(min_ready(set), now)),
        terminating_replicas: terminating.map(|count| count as i64),
        observed_generation: set.metadata.generation,
        conditions,
    }
}

impl ReplicaSetStatus {
    /// As it is stored: counts of zero are left out, except where upstream keeps them.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"replicas": self.replicas});
        let optional = [
            ("fullyLabeledReplicas", self.fully_labeled_replicas),
            ("readyReplicas", self.ready_replicas),
            ("availableReplicas", self.available_replicas),
            ("observedGeneration", self.observed_generation),
        ];
        for (field, count) in optional.into_iter().filter(|(_, count)| *count != 0) {
            value[field] = json!(count);
        }
        if let Some(count) = self.terminating_replicas {
            value["terminatingReplicas"] = json!(count);
        }
        if !self.conditions.is_empty() {
            value["conditions"] = self.conditions.iter().map(Condition::to_value).collect();
        }
        value
    }
}

/// A pod of the set, to be created: its template, owned by the set.
pub fn new_pod(set: &ReplicaSet, owner: Value) -> Value {
    let template = &set.spec.template;
    let mut metadata = json!({"generateName": generate_name(&set.metadata.name), "ownerReferences": [owner]});
    for field in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// The set's name and a dash, unless no pod's name could begin so.
fn generate_name(set: &str) -> String {
    let prefix = format!("{set}-");
    if api::is_dns_subdomain(&format!("{prefix}x")) { prefix } else { set.to_owned() }
}

#[cfg(test)]
mod order_tests {
    use super::*;
    use serde_json::json;

    /// Pods of every combination of near and equal times: the sort of the standard library panics on what is no order.
    #[test]
    fn any_number_of_pods_can_be_ranked() {
        let now = Timestamp::from_unix_secs(1_000_000);
        let pod = |i: i64| {
            let at = |ago: i64| Timestamp::from_unix_secs(1_000_000 - ago).to_string();
            let value = json!({
                "metadata": {"uid": format!("{:02}", (i * 37) % 60), "creationTimestamp": at(10 + i % 3)},
                "spec": {"nodeName": "n"},
                "status": {"phase": "Running", "containerStatuses": [{"restartCount": i % 2}],
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(8 + i % 5)}]},
            });
            serde_json::from_value::<Pod>(value).expect("a pod")
        };
        let pods: Vec<Pod> = (0..60).map(pod).collect();
        let order = |a: &Pod, b: &Pod| first_to_go(a, b, &HashMap::new(), now);
        for a in &pods {
            for b in &pods {
                assert_eq!(order(a, b), order(b, a).reverse());
                for c in &pods {
                    let circle =
                        order(a, b) == Ordering::Less && order(b, c) == Ordering::Less && order(a, c) != Ordering::Less;
                    assert!(!circle, "{} {} {}", a.metadata.uid, b.metadata.uid, c.metadata.uid);
                }
            }
        }
    }
}
