//! Which nodes get a pod of a daemon set, which pods go, and the status. Pure.

use super::fit::{Fit, Place};
use crate::controllers::int_or_percent::{Rounding, scaled};
use crate::controllers::revisions::POD_LABEL;
use crate::recorder::Severity;
use crate::view::{DaemonSet, DaemonSetStatus, Node, Pod};
use api::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The most pods that one look creates, and deletes.
pub const BURST_PODS: usize = 250;

/// Counts the templates that the set has had.
pub const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
/// Tells which of them a pod is of.
pub const GENERATION_LABEL: &str = "pod-template-generation";

/// What a plan is made from.
pub struct Observed<'a> {
    pub set: &'a DaemonSet,
    pub place: &'a Place,
    /// The hash of the current revision.
    pub hash: &'a str,
    pub nodes: &'a [Arc<Node>],
    /// The set's pods.
    pub pods: &'a [Arc<Pod>],
    /// How long the failed pod of a node still stays.
    pub failed_stays: &'a (dyn Fn(&str) -> Duration + Sync),
    pub now: Timestamp,
}

/// Something to tell the user.
#[derive(Debug, PartialEq)]
pub struct Notice {
    pub severity: Severity,
    pub reason: &'static str,
    pub message: String,
}

#[derive(Debug, Default)]
pub struct Plan {
    /// The names of nodes that get a pod.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    pub notices: Vec<Notice>,
    pub again: Option<Duration>,
}

/// The pods of the current template and of another on a node.
type Pair<'a> = (Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>);

type OnNodes<'a> = BTreeMap<&'a str, Vec<&'a Arc<Pod>>>;

/// Pods by node. One that has ended and is on its way out makes room already.
fn on_nodes<'a>(seen: &Observed<'a>) -> OnNodes<'a> {
    let mut found = OnNodes::new();
    for pod in seen.pods.iter().filter(|p| !(p.is_finished() && p.metadata.is_deleting())) {
        found.entry(pod.target_node()).or_default().push(pod);
    }
    for pods in found.values_mut() {
        // The oldest first, and before all those that are on their node already.
        pods.sort_by_key(|p| (p.spec.node_name.is_empty(), p.metadata.creation_timestamp, p.metadata.name.as_str()));
    }
    found
}

pub fn plan(seen: &Observed<'_>) -> Plan {
    let found = on_nodes(seen);
    let mut plan = Plan::default();
    for node in seen.nodes {
        let pods = found.get(node.metadata.name.as_str()).map_or(&[][..], Vec::as_slice);
        manage(seen, node, pods, &mut plan);
    }
    // Pods that are meant for a node that is gone, and that no one can run.
    let known = |name: &str| seen.nodes.binary_search_by(|n| n.metadata.name.as_str().cmp(name)).is_ok();
    let stranded = |p: &&Arc<Pod>| p.spec.node_name.is_empty() && !p.metadata.is_deleting() && !known(p.target_node());
    plan.delete.extend(seen.pods.iter().filter(stranded).cloned());
    if plan.create.is_empty() && plan.delete.is_empty() && seen.set.spec.update_strategy.kind == "RollingUpdate" {
        update(seen, &found, &mut plan);
    }
    plan.create.truncate(BURST_PODS);
    plan.delete.truncate(BURST_PODS);
    let min_ready = min_ready(seen.set);
    let waits = seen.pods.iter().filter_map(|p| p.becomes_available_in(min_ready, seen.now)).filter(|w| !w.is_zero());
    plan.again = waits.chain(plan.again).min();
    plan
}

/// What a node lacks, or has too much.
fn manage(seen: &Observed<'_>, node: &Node, pods: &[&Arc<Pod>], plan: &mut Plan) {
    let fit = seen.place.fit(node);
    match fit {
        Fit::Runs if pods.is_empty() => plan.create.push(node.metadata.name.clone()),
        Fit::No => plan.delete.extend(pods.iter().filter(|p| !p.metadata.is_deleting()).map(|p| (*p).clone())),
        Fit::Runs | Fit::Stays => {
            let mut living = Vec::new();
            for pod in pods.iter().filter(|p| !p.metadata.is_deleting()) {
                if pod.is_finished() {
                    replace_ended(seen, node, pod, plan);
                } else {
                    living.push(*pod);
                }
            }
            if surge(seen, 1) == 0 {
                plan.delete.extend(living.into_iter().skip(1).cloned());
            } else if living.is_empty() && fit == Fit::Runs {
                plan.create.push(node.metadata.name.clone());
            } else if living.len() > 1 {
                plan.delete.extend(surplus_of_surge(seen, &living));
            }
        }
    }
}

fn replace_ended(seen: &Observed<'_>, node: &Node, pod: &Arc<Pod>, plan: &mut Plan) {
    let (namespace, name, node) = (&pod.metadata.namespace, &pod.metadata.name, &node.metadata.name);
    if pod.status.phase == "Failed" {
        let stays = (seen.failed_stays)(node);
        if !stays.is_zero() {
            plan.again = plan.again.into_iter().chain([stays]).min();
            return;
        }
        let message = format!("Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it");
        plan.notices.push(Notice { severity: Severity::Warning, reason: "FailedDaemonPod", message });
    } else {
        let message = format!("Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it");
        plan.notices.push(Notice { severity: Severity::Normal, reason: "SucceededDaemonPod", message });
    }
    plan.delete.push(pod.clone());
}

/// Of several pods on a node that an update may double, those that go: all but one old and one new, and the old one as
/// soon as it is not needed.
fn surplus_of_surge(seen: &Observed<'_>, living: &[&Arc<Pod>]) -> Vec<Arc<Pod>> {
    let (new, old): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) =
        living.iter().copied().partition(|p| p.metadata.labels.get(POD_LABEL).is_some_and(|h| h == seen.hash));
    let mut gone: Vec<Arc<Pod>> = new.iter().skip(1).chain(old.iter().skip(1)).map(|p| (*p).clone()).collect();
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!old.is_ready() || is_available(seen, new))
    {
        gone.push((*old).clone());
    }
    gone
}

/// `None` if there are several of one of them.
fn pair<'a>(seen: &Observed<'_>, pods: &[&'a Arc<Pod>]) -> Option<Pair<'a>> {
    let living = pods.iter().filter(|p| !p.metadata.is_deleting());
    let (new, old): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) = living.copied().partition(|p| is_updated(seen, p));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

/// Replaces pods of another template, as many at a time as may lack, or as may be there beyond one per node.
fn update(seen: &Observed<'_>, found: &OnNodes<'_>, plan: &mut Plan) {
    let fits: BTreeMap<&str, Fit> = seen.nodes.iter().map(|n| (n.metadata.name.as_str(), seen.place.fit(n))).collect();
    let runs = |node: &str| fits.get(node) == Some(&Fit::Runs);
    let wanted = fits.values().filter(|fit| **fit == Fit::Runs).count() as i64;
    let nodes = fits.keys().filter(|n| runs(n) || found.contains_key(*n));
    let surge = surge(seen, wanted);
    let (mut at_once, mut spare, mut available) = (Vec::new(), Vec::new(), 0);
    let mut unsettled = 0;
    let mut leaving = Vec::new();
    for node in nodes {
        let pods = found.get(node).map_or(&[][..], Vec::as_slice);
        let Some((new, old)) = pair(seen, pods) else {
            unsettled += 1;
            continue;
        };
        let well = |pod: Option<&Arc<Pod>>| pod.is_some_and(|p| is_available(seen, p));
        available += i64::from(well(new) || well(old));
        match (new, old) {
            (Some(_), Some(old)) if surge > 0 && well(new) => plan.delete.push(old.clone()),
            (Some(_), Some(_)) => unsettled += 1,
            (Some(_), None) => unsettled += i64::from(surge == 0 && !well(new)),
            (None, None) => unsettled += i64::from(surge == 0),
            (None, Some(old)) if surge == 0 && !well(Some(old)) => {
                at_once.push((*node, old));
                unsettled += 1;
            }
            (None, Some(old)) if surge > 0 && !runs(node) => leaving.push((well(Some(old)), old)),
            (None, Some(old)) if surge > 0 && !well(Some(old)) => at_once.push((*node, old)),
            (None, Some(old)) => spare.push((*node, old)),
        }
    }
    let most = if surge > 0 { surge } else { unavailable(seen, wanted) };
    let room = usize::try_from(most - unsettled).unwrap_or(0);
    let next = at_once.into_iter().chain(spare.into_iter().take(room));
    if surge == 0 {
        plan.delete.extend(next.map(|(_, old)| old.clone()));
        return;
    }
    plan.create.extend(next.map(|(node, _)| node.to_owned()));
    // Where none is put any more, one goes when enough are available elsewhere.
    let mut beyond = usize::try_from(available - wanted).unwrap_or(0);
    for (well, old) in leaving {
        if !well {
            plan.delete.push(old.clone());
        } else if beyond > 0 {
            beyond -= 1;
            plan.delete.push(old.clone());
        }
    }
}

/// How many nodes may have a second pod during an update.
fn surge(seen: &Observed<'_>, wanted: i64) -> i64 {
    let rolling = seen.set.spec.update_strategy.rolling_update.as_ref();
    let is_rolling = seen.set.spec.update_strategy.kind == "RollingUpdate";
    rolling.filter(|_| is_rolling).map_or(0, |r| scaled(&r.max_surge, wanted, Rounding::Up))
}

/// How many nodes may lack a pod during an update: at least one, if none may have two.
fn unavailable(seen: &Observed<'_>, wanted: i64) -> i64 {
    let rolling = seen.set.spec.update_strategy.rolling_update.as_ref();
    rolling.map_or(1, |r| scaled(&r.max_unavailable, wanted, Rounding::Up)).max(1)
}

fn is_updated(seen: &Observed<'_>, pod: &Pod) -> bool {
    let label = |key: &str| pod.metadata.labels.get(key);
    let generation = seen.set.metadata.annotations.get(TEMPLATE_GENERATION);
    label(POD_LABEL).is_some_and(|hash| hash == seen.hash)
        || (generation.is_some() && label(GENERATION_LABEL) == generation)
}

fn min_ready(set: &DaemonSet) -> Duration {
    Duration::from_secs(set.spec.min_ready_seconds.try_into().unwrap_or(0))
}

fn is_available(seen: &Observed<'_>, pod: &Pod) -> bool {
    pod.is_available(min_ready(seen.set), seen.now)
}

/// Counts what is there. `observed` says whether this look has acted on the set as it is.
pub fn status(seen: &Observed<'_>, observed: bool, collisions: i64) -> DaemonSetStatus {
    let found = on_nodes(seen);
    let old = &seen.set.status;
    let mut status = DaemonSetStatus {
        observed_generation: if observed { seen.set.metadata.generation } else { old.observed_generation },
        collision_count: old.collision_count.or((collisions > 0).then_some(0)).map(|c| c.max(collisions)),
        conditions: old.conditions.clone(),
        ..DaemonSetStatus::default()
    };
    for node in seen.nodes {
        let first = found.get(node.metadata.name.as_str()).and_then(|pods| pods.first());
        match (seen.place.fit(node) == Fit::Runs, first) {
            (false, Some(_)) => status.number_misscheduled += 1,
            (false, None) => {}
            (true, None) => status.desired_number_scheduled += 1,
            (true, Some(pod)) => {
                status.desired_number_scheduled += 1;
                status.current_number_scheduled += 1;
                status.number_ready += i64::from(pod.is_ready());
                status.number_available += i64::from(is_available(seen, pod));
                status.updated_number_scheduled += i64::from(is_updated(seen, pod));
            }
        }
    }
    status.number_unavailable = status.desired_number_scheduled - status.number_available;
    status
}

/// The revisions that go: the oldest beyond the limit, but none that a pod is of.
pub fn surplus_revisions(old: usize, limit: Option<i64>) -> usize {
    old.saturating_sub(limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(usize::MAX))
}

/// A pod for a node, to be created: the scheduler binds it to that node alone.
pub fn new_pod(set: &DaemonSet, owner: Value, hash: &str, node: &str) -> Value {
    let template = &set.spec.template;
    let mut metadata = json!({"generateName": format!("{}-", set.metadata.name), "ownerReferences": [owner]});
    for field in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    metadata["labels"][POD_LABEL] = json!(hash);
    if let Some(generation) = set.metadata.annotations.get(TEMPLATE_GENERATION) {
        metadata["labels"][GENERATION_LABEL] = json!(generation);
    }
    let mut spec = template["spec"].clone();
    spec["tolerations"] = super::fit::with_tolerations(&spec);
    spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = json!({
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}],
    });
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

impl DaemonSetStatus {
    /// As it is stored: counts of zero are left out, except where upstream keeps them.
    pub fn to_value(&self) -> Value {
        let mut value = json!({
            "currentNumberScheduled": self.current_number_scheduled,
            "numberMisscheduled": self.number_misscheduled,
            "desiredNumberScheduled": self.desired_number_scheduled,
            "numberReady": self.number_ready,
        });
        let counts = [
            ("observedGeneration", self.observed_generation),
            ("updatedNumberScheduled", self.updated_number_scheduled),
            ("numberAvailable", self.number_available),
            ("numberUnavailable", self.number_unavailable),
        ];
        for (field, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
            value[field] = json!(count);
        }
        if let Some(count) = self.collision_count {
            value["collisionCount"] = json!(count);
        }
        if !self.conditions.is_empty() {
            value["conditions"] = self.conditions.iter().map(crate::view::Condition::to_value).collect();
        }
        value
    }
}
