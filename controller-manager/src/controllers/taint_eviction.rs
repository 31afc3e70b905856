//! Makes pods go from nodes whose taints they do not tolerate, or no longer.

use super::disruption::{self, Disruption};
use crate::context::{Account, Context, unless_gone};
use crate::recorder::{Event, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Node, Pod, Taint, Toleration};
use api::{Result, Timestamp};
use client::{Cache, DeleteParams, ObjectRef, PODS, WorkQueue};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "taint-eviction-controller", account: Account::Service("node-controller"), make };

const TAINTED: Disruption = Disruption {
    reason: "DeletionByTaintManager",
    message: "Taint manager: deleting due to NoExecute taint",
    fails: false,
};

struct TaintEviction {
    context: Context,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    /// Since when each pod, by its uid, has been tolerating for a time only.
    tolerating: Arc<Mutex<HashMap<String, Timestamp>>>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let by_node = setup.informers.pods_by_node();
    let nodes = setup.informers.of::<Node>();
    let node_cache = nodes.cache();
    let changed = queue.clone();
    nodes.on_change(move |change| {
        let taints = |node: &Option<Arc<Node>>| node.as_ref().map(|n| evicting(n).cloned().collect::<Vec<_>>());
        if taints(&change.old).unwrap_or_default() != taints(&change.new).unwrap_or_default() {
            for (key, _) in by_node.get(&change.key.name) {
                changed.add(key);
            }
        }
    });
    let pods = setup.informers.of::<Pod>();
    let cache = pods.cache();
    let tolerating: Arc<Mutex<HashMap<String, Timestamp>>> = Arc::default();
    let (changed, forget) = (queue.clone(), tolerating.clone());
    pods.on_change(move |change| match (&change.old, &change.new) {
        (Some(old), None) => drop(forget.lock().unwrap_or_else(PoisonError::into_inner).remove(&old.metadata.uid)),
        (old, Some(new)) if old.as_ref().is_none_or(|o| o.spec != new.spec) && !new.spec.node_name.is_empty() => {
            changed.add(change.key.clone());
        }
        _ => {}
    });
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(TaintEviction { context, pods: cache, nodes: node_cache, tolerating }))
}

fn evicting(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.taints.iter().filter(|t| t.effect == "NoExecute")
}

/// How long a pod may stay in spite of taints that make pods go: `None` for ever.
fn may_stay<'a>(taints: impl Iterator<Item = &'a Taint>, tolerations: &[Toleration]) -> Option<Duration> {
    let mut shortest: Option<Duration> = None;
    for taint in taints {
        let mut matching = tolerations.iter().filter(|t| tolerates(t, taint)).peekable();
        if matching.peek().is_none() {
            return Some(Duration::ZERO);
        }
        for secs in matching.filter_map(|t| t.toleration_seconds) {
            let time = Duration::from_secs(secs.try_into().unwrap_or(0));
            shortest = Some(shortest.map_or(time, |s| s.min(time)));
        }
    }
    shortest
}

pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let Toleration { key, operator, value, effect, .. } = toleration;
    let any_key = key.is_empty() && operator == "Exists";
    (effect.is_empty() || *effect == taint.effect)
        && (any_key || *key == taint.key)
        && match operator.as_str() {
            "Exists" => true,
            "" | "Equal" => *value == taint.value,
            _ => false,
        }
}

impl Reconcile for TaintEviction {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl TaintEviction {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(pod) = self.pods.get(key).filter(|p| !p.metadata.is_deleting()) else { return Ok(None) };
        let Some(node) = self.nodes.get(&ObjectRef::cluster(&pod.spec.node_name)) else { return Ok(None) };
        let now = self.context.now();
        let Some(stays) = may_stay(evicting(&node), &pod.spec.tolerations) else {
            self.tolerating.lock().unwrap_or_else(PoisonError::into_inner).remove(&pod.metadata.uid);
            return Ok(None);
        };
        let since = *self
            .tolerating
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(pod.metadata.uid.clone())
            .or_insert(now);
        let left = stays.saturating_sub(now.since(since));
        if !left.is_zero() {
            return Ok(Some(left));
        }
        self.evict(key, &pod).await?;
        Ok(None)
    }

    async fn evict(&self, key: &ObjectRef, pod: &Pod) -> Result<()> {
        let message = format!("Marking for deletion Pod {}/{}", key.namespace, key.name);
        let (about, reason) = (pod.involved(), "TaintManagerEviction");
        self.context.recorder.record(Event { about, severity: Severity::Normal, reason, message });
        if !disruption::note(&self.context, key, pod, &TAINTED).await? {
            return Ok(());
        }
        let exactly = DeleteParams::of_uid(&pod.metadata.uid);
        unless_gone(self.context.client(key).delete(PODS, &key.namespace, &key.name, &exactly).await).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    /// How long, in seconds, a pod with these tolerations stays on a node with these taints.
    fn stays(taints: Value, tolerations: Value) -> Option<u64> {
        let node: Node = from_value(json!({"spec": {"taints": taints}})).expect("a node");
        let tolerations: Vec<Toleration> = from_value(tolerations).expect("tolerations");
        may_stay(evicting(&node), &tolerations).map(|d| d.as_secs())
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint_that_evicts() {
        let taint = json!([{"key": "x", "value": "v", "effect": "NoExecute"}]);
        assert_eq!(stays(json!([{"key": "x", "effect": "NoSchedule"}]), json!([])), None);
        assert_eq!(stays(taint.clone(), json!([])), Some(0));
        for tolerated in [
            json!([{"key": "x", "operator": "Exists"}]),
            json!([{"key": "x", "operator": "Equal", "value": "v", "effect": "NoExecute"}]),
            json!([{"key": "x", "value": "v"}]),
            json!([{"operator": "Exists"}]),
        ] {
            assert_eq!(stays(taint.clone(), tolerated.clone()), None, "{tolerated}");
        }
        for other in [
            json!([{"key": "x", "value": "w"}]),
            json!([{"key": "y", "operator": "Exists"}]),
            json!([{"key": "x", "operator": "Exists", "effect": "NoSchedule"}]),
        ] {
            assert_eq!(stays(taint.clone(), other.clone()), Some(0), "{other}");
        }
        let for_a_time = json!([
            {"key": "x", "operator": "Exists", "tolerationSeconds": 30},
            {"operator": "Exists", "tolerationSeconds": 20},
        ]);
        assert_eq!(stays(taint.clone(), for_a_time.clone()), Some(20));
        let two = json!([taint[0], {"key": "y", "effect": "NoExecute"}]);
        assert_eq!(stays(two.clone(), json!([{"key": "x", "operator": "Exists"}])), Some(0));
        assert_eq!(stays(two, for_a_time), Some(20));
        assert_eq!(stays(taint, json!([{"operator": "Exists", "tolerationSeconds": -1}])), Some(0));
    }
}
