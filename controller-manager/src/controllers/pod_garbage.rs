//! Removes pods that no agent will ever end: those of nodes that are gone, and those that were to end before they had one.

use super::disruption::{self, Disruption};
use crate::context::{Account, Context, unless_gone};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Node, Pod};
use api::{Result, TenantName};
use client::{Cache, DeleteParams, NODES, ObjectRef, PODS, WorkQueue};
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "pod-garbage-collector-controller", account: Account::Service("pod-garbage-collector"), make };

/// How long a node may be gone before its pods are, in case it comes back.
const NODE_MAY_RETURN: Duration = Duration::from_secs(40);

const NODE_GONE: Disruption =
    Disruption { reason: "DeletionByPodGC", message: "PodGC: node no longer exists", fails: true };

struct PodGarbage {
    context: Context,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let by_node = setup.informers.pods_by_node();
    let nodes = setup.informers.of::<Node>();
    let node_cache = nodes.cache();
    let changed = queue.clone();
    nodes.on_change(move |change| {
        if change.new.is_none() {
            for (key, _) in by_node.get(&change.key.name) {
                changed.requeue_after(key, NODE_MAY_RETURN);
            }
        }
    });
    let pods = setup.informers.of::<Pod>();
    let cache = pods.cache();
    let (changed, known) = (queue.clone(), node_cache.clone());
    pods.on_change(move |change| {
        let Some(pod) = &change.new else { return };
        let was_bound = change.old.as_ref().is_some_and(|o| o.spec.node_name == pod.spec.node_name);
        if pod.spec.node_name.is_empty() {
            if pod.metadata.is_deleting() {
                changed.add(change.key.clone());
            }
        } else if !was_bound && known.get(&ObjectRef::cluster(&pod.spec.node_name)).is_none() {
            changed.requeue_after(change.key.clone(), NODE_MAY_RETURN);
        }
    });
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(PodGarbage { context, pods: cache, nodes: node_cache }))
}

impl Reconcile for PodGarbage {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl PodGarbage {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(pod) = self.pods.get(key) else { return Ok(None) };
        let node = &pod.spec.node_name;
        if node.is_empty() {
            if pod.metadata.is_deleting() {
                self.delete(key, &pod).await?;
            }
            return Ok(None);
        }
        if self.nodes.get(&ObjectRef::cluster(node)).is_some() || !self.is_gone(node).await? {
            return Ok(None);
        }
        if !pod.is_finished() {
            disruption::note(&self.context, key, &pod, &NODE_GONE).await?;
        }
        self.delete(key, &pod).await?;
        Ok(None)
    }

    /// Asks the server itself: a cache may not have seen a node yet.
    async fn is_gone(&self, node: &str) -> Result<bool> {
        let client = self.context.clients.of(&TenantName::system(), self.context.account);
        Ok(unless_gone(client.get(NODES, "", node).await)?.is_none())
    }

    async fn delete(&self, key: &ObjectRef, pod: &Pod) -> Result<()> {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::of_uid(&pod.metadata.uid) };
        unless_gone(self.context.client(key).delete(PODS, &key.namespace, &key.name, &at_once).await).map(drop)
    }
}
