//! Watches over nodes: says so when one falls silent, and keeps pods away from those that are in trouble.

mod plan;
#[cfg(test)]
mod tests;

use self::plan::{LOOK_AGAIN, Observed, Plan, Zone};
use crate::context::{Account, Context};
use crate::recorder::{Event, Involved, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Condition, Node, NodeLease, Pod, Time};
use api::{Result, Timestamp};
use client::{Cache, Change, Index, NODES, Names, ObjectRef, PODS, PatchType, WorkQueue};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

pub const DECLARATION: Declaration =
    Declaration { name: "node-lifecycle-controller", account: Account::Service("node-controller"), make };

/// From one node of a zone to the next, when several are in trouble: so that a fault of the zone does not empty it.
const BETWEEN_EVICTIONS: Duration = Duration::from_secs(10);

struct Nodes {
    context: Context,
    nodes: Cache<Node>,
    pods: Index<Pod>,
    heard: Arc<Heard>,
    /// When the next node of a zone may be emptied.
    next_eviction: Mutex<HashMap<String, Instant>>,
}

/// When each node was last heard of, by the clock of this process: that of a node may be wrong.
#[derive(Default)]
struct Heard(Mutex<HashMap<String, Timestamp>>);

impl Heard {
    fn at(&self, node: &str) -> Option<Timestamp> {
        self.lock().get(node).copied()
    }

    fn hear(&self, node: &str, now: Timestamp) {
        self.lock().insert(node.to_owned(), now);
    }

    fn forget(&self, node: &str) {
        self.lock().remove(node);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let context = setup.context.clone();
    let (heard, now) = (Arc::new(Heard::default()), context.now);
    let pods = setup.informers.pods_by_node();
    let leases = setup.informers.of::<NodeLease>();
    let hearing = heard.clone();
    leases.on_change(move |change| lease_changed(change, &hearing, now()));
    let nodes = setup.informers.of::<Node>();
    let cache = nodes.cache();
    let (changed, hearing) = (queue.clone(), heard.clone());
    nodes.on_change(move |change| {
        node_changed(change, &hearing, now());
        changed.add(change.key.clone());
    });
    Controller::new(queue, Arc::new(Nodes { context, nodes: cache, pods, heard, next_eviction: Mutex::default() }))
}

fn lease_changed(change: &Change<NodeLease>, heard: &Heard, now: Timestamp) {
    let renewed = |lease: &Option<Arc<NodeLease>>| lease.as_ref().and_then(|l| l.spec.renew_time);
    if renewed(&change.new).is_some() && renewed(&change.new) != renewed(&change.old) {
        heard.hear(&change.key.name, now);
    }
}

fn node_changed(change: &Change<Node>, heard: &Heard, now: Timestamp) {
    let beat = |node: &Node| node.condition("Ready").map(|c| c.last_heartbeat_time);
    match (&change.old, &change.new) {
        (_, None) => heard.forget(&change.key.name),
        (old, Some(node)) => {
            if beat(node).is_some() && old.as_deref().and_then(beat) != beat(node) {
                heard.hear(&change.key.name, now);
            }
        }
    }
}

impl Reconcile for Nodes {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl Nodes {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(node) = self.nodes.get(key) else { return Ok(None) };
        let now = self.context.now();
        let observed = Observed { node: &node, heard: self.heard.at(&key.name), zone: self.zone(&node), now };
        let version = &node.metadata.resource_version;
        if plan::is_silent(&node) {
            self.mark_pods_not_ready(&node, now).await?;
        }
        match plan::plan(&observed) {
            Plan::Nothing { again } => Ok(again),
            Plan::Conditions(conditions) => {
                let change = |object: &mut Value| set_conditions(object, &conditions);
                self.context.rewrite(NODES, key, version, Some("status"), change).await?;
                let message = format!("Node {} status is now: NodeNotReady", key.name);
                self.record(&node, "NodeNotReady", message);
                Ok(None)
            }
            Plan::Taints { mut add, remove } => {
                let evicts = add.iter().any(plan::evicts);
                let wait = evicts.then(|| self.wait_for_turn(&plan::zone_of(&node))).flatten();
                if wait.is_some() {
                    add.retain(|t| !plan::evicts(t));
                }
                if !add.is_empty() || !remove.is_empty() {
                    let change = |object: &mut Value| plan::set_taints(object, &add, &remove, now);
                    self.context.rewrite(NODES, key, version, None, change).await?;
                }
                Ok(Some(wait.unwrap_or(LOOK_AGAIN)))
            }
        }
    }

    /// How the zone of a node fares. Counted only where it matters: for nodes that are not ready.
    fn zone(&self, node: &Node) -> Zone {
        if plan::is_ready(node) {
            return Zone::default();
        }
        let nodes = self.nodes.list();
        Zone::of(node, nodes.iter().map(|(_, node)| &**node))
    }

    /// Takes the zone's turn to empty a node, or tells how long to wait for it.
    fn wait_for_turn(&self, zone: &str) -> Option<Duration> {
        let mut next = self.next_eviction.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let turn = next.get(zone).copied().unwrap_or(now);
        if turn > now {
            return Some(turn - now);
        }
        next.insert(zone.to_owned(), now + BETWEEN_EVICTIONS);
        None
    }

    /// Nobody answers at pods of a silent node, whatever it last said of them.
    async fn mark_pods_not_ready(&self, node: &Node, now: Timestamp) -> Result<()> {
        for (key, pod) in self.pods.get(&node.metadata.name) {
            let Some(ready) = pod.ready_condition().filter(|c| c.status == "True") else { continue };
            let condition = Condition { status: "False".to_owned(), last_transition_time: Time(now), ..ready.clone() };
            let patch = json!({
                "metadata": {"uid": pod.metadata.uid},
                "status": {"conditions": [condition.to_value()]},
            });
            let client = self.context.client(&key);
            let patched =
                client.patch(PODS, &key.namespace, &key.name, PatchType::Strategic, &patch, Some("status")).await;
            match patched {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                Err(_) => {}
                Ok(_) => {
                    let about = pod.involved();
                    let message = "Node is not ready".to_owned();
                    let reason = "NodeNotReady";
                    self.context.recorder.record(Event { about, severity: Severity::Warning, reason, message });
                }
            }
        }
        Ok(())
    }

    fn record(&self, node: &Node, reason: &'static str, message: String) {
        let about = Involved {
            key: node.metadata.key(),
            api_version: NODES.api_version(),
            kind: "Node".to_owned(),
            uid: node.metadata.uid.clone(),
        };
        self.context.recorder.record(Event { about, severity: Severity::Normal, reason, message });
    }
}

/// Puts conditions in the place of those of the same type.
fn set_conditions(object: &mut Value, conditions: &[Condition]) {
    let present = &mut object["status"]["conditions"];
    if !present.is_array() {
        *present = json!([]);
    }
    let Some(present) = present.as_array_mut() else { return };
    for condition in conditions {
        match present.iter_mut().find(|c| c["type"] == *condition.kind) {
            Some(place) => *place = condition.to_value(),
            None => present.push(condition.to_value()),
        }
    }
}
