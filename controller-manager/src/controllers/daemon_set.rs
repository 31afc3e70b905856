//! Keeps a pod of a daemon set on every node that it is for, and replaces them node by node when the template changes.

mod backoff;
mod fit;
mod plan;
#[cfg(test)]
mod tests;

use self::backoff::Backoff;
use self::fit::{Fit, Place};
use self::plan::{Observed, Plan};
use super::expectations::Expectations;
use super::owner::{Claim, Recheck};
use super::pod_control::PodControl;
use super::pod_owner::{self, PodOwner};
use super::revisions::{self, POD_LABEL, Source};
use crate::context::{Account, Context};
use crate::informers::orphans_of;
use crate::recorder::Severity;
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{ControllerRevision, DaemonSet, Meta, Node, Pod, Selector};
use api::Result;
use client::{Cache, Change, DAEMON_SETS, Index, ObjectRef, PODS, WorkQueue};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "daemonset-controller", account: Account::Service("daemon-set-controller"), make };

struct DaemonSets {
    context: Context,
    sets: Cache<DaemonSet>,
    pods: Index<Pod>,
    revisions: Index<ControllerRevision>,
    nodes: Cache<Node>,
    expectations: Arc<Expectations>,
    backoff: Backoff,
}

impl PodOwner for DaemonSet {
    const KIND: &'static str = "DaemonSet";

    fn metadata(&self) -> &Meta {
        &self.metadata
    }

    fn selector(&self) -> &Selector {
        &self.spec.selector
    }
}

fn make(setup: &mut Setup) -> Controller {
    let queue = WorkQueue::new();
    let expectations = Arc::new(Expectations::default());
    let sets = pod_owner::follow::<DaemonSet>(setup, &expectations, &queue);
    let pods = setup.informers.by_controller::<Pod>();
    setup.dependents::<ControllerRevision>(DaemonSet::KIND);
    let revisions = setup.informers.by_controller::<ControllerRevision>();
    let by_node = setup.informers.pods_by_node();
    let informer = setup.informers.of::<Node>();
    let nodes = informer.cache();
    let (changed, known) = (queue.clone(), sets.clone());
    informer.on_change(move |change| node_changed(change, &known, &by_node, &changed));
    let context = setup.context.clone();
    let backoff = Backoff::default();
    let controller = DaemonSets { context, sets, pods, revisions, nodes, expectations, backoff };
    Controller::new(queue, Arc::new(controller))
}

/// Queues the sets that lack a pod on a node, or have one where none may be. That a node lives still, as it says all the
/// time, is no change, and of one that is gone the pods tell.
fn node_changed(change: &Change<Node>, sets: &Cache<DaemonSet>, pods: &Index<Pod>, queue: &WorkQueue<ObjectRef>) {
    let Some(new) = &change.new else { return };
    let same = |old: &Node| old.metadata.labels == new.metadata.labels && old.spec.taints == new.spec.taints;
    if change.old.as_deref().is_some_and(same) {
        return;
    }
    let here = pods.get(&new.metadata.name);
    let served: HashSet<&str> =
        here.iter().filter_map(|(_, pod)| pod.metadata.controller()).map(|o| o.uid.as_str()).collect();
    for (key, set) in sets.list() {
        match (Place::of(&set.spec.template).fit(new), served.contains(set.metadata.uid.as_str())) {
            (Fit::Runs, false) | (Fit::No, true) => queue.add(key),
            (Fit::Runs, true) | (Fit::No, false) | (Fit::Stays, _) => {}
        }
    }
}

impl Reconcile for DaemonSets {
    fn hash_key(&self, key: &ObjectRef) -> Option<u64> {
        self.sets.get(key).map(|set| set.hash_key())
    }

    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(set) = self.sets.get(key) else { return Ok(None) };
        self.sync(key, &set).await
    }
}

impl DaemonSets {
    async fn sync(&self, key: &ObjectRef, set: &DaemonSet) -> Result<Option<Duration>> {
        let uid = &set.metadata.uid;
        let about = set.involved();
        let control = PodControl { context: &self.context, expectations: &self.expectations, about };
        if set.spec.selector.is_empty() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.".to_owned();
            control.record(Severity::Warning, "SelectingAll", message);
            return Ok(None);
        }
        if set.metadata.is_deleting() {
            return Ok(None);
        }
        let unmet = self.expectations.unmet(uid);
        let client = self.context.client(key);
        let known = revisions::claim(&client, &self.revisions, key, &set.owner()).await?;
        let source = Source {
            owner: set.owner(),
            template: &set.spec.template,
            collisions: set.status.collision_count,
            hash_label: POD_LABEL,
        };
        let (current, collisions) = revisions::settle(&self.context, key, &source, &known).await?;
        let hash = current.metadata.labels.get(POD_LABEL).cloned().unwrap_or_default();
        let pods = self.claim(key, set).await?;
        let nodes: Vec<Arc<Node>> = self.nodes.list().into_iter().map(|(_, node)| node).collect();
        let now = self.context.now();
        let failed_stays = |node: &str| self.backoff.stays(uid, node, now);
        let place = Place::of(&set.spec.template);
        let seen =
            Observed { set, place: &place, hash: &hash, nodes: &nodes, pods: &pods, failed_stays: &failed_stays, now };
        let (done, again) = match unmet {
            Some(left) => (Ok(()), Some(left)),
            None => {
                let plan = plan::plan(&seen);
                let again = plan.again;
                (self.carry_out(&control, set, &hash, plan).await, again)
            }
        };
        let status = plan::status(&seen, unmet.is_none(), collisions);
        if status != set.status {
            let version = &set.metadata.resource_version;
            let change = |object: &mut Value| object["status"] = status.to_value();
            self.context.rewrite(DAEMON_SETS, key, version, Some("status"), change).await?;
        }
        done?;
        let live: HashSet<&str> =
            pods.iter().filter_map(|p| p.metadata.labels.get(POD_LABEL)).map(String::as_str).collect();
        let in_use = |r: &ControllerRevision| {
            let hash = r.metadata.labels.get(POD_LABEL).map_or("", String::as_str);
            r.metadata.uid == current.metadata.uid || live.contains(hash)
        };
        let old = known.iter().filter(|r| r.metadata.uid != current.metadata.uid).count();
        let surplus = plan::surplus_revisions(old, set.spec.revision_history_limit);
        revisions::delete(&client, key, &revisions::oldest_unused(&known, in_use, surplus)).await?;
        Ok(again)
    }

    /// Adopts and releases, and returns the pods that are the set's in the end.
    async fn claim(&self, key: &ObjectRef, set: &DaemonSet) -> Result<Vec<Arc<Pod>>> {
        let client = self.context.client(key);
        let owner = set.owner();
        let owned = self.pods.get(&set.metadata.uid).into_iter();
        let mut recheck = Recheck::new(&client, key);
        let mut claimed = Vec::new();
        for (_, pod) in owned.chain(self.pods.get(&orphans_of(key))) {
            match owner.settle(&client, &mut recheck, PODS, &pod.metadata).await? {
                Claim::Owned | Claim::Adopt => claimed.push(pod),
                Claim::Release | Claim::None => {}
            }
        }
        Ok(claimed)
    }

    async fn carry_out(&self, control: &PodControl<'_>, set: &DaemonSet, hash: &str, plan: Plan) -> Result<()> {
        for notice in plan.notices {
            control.record(notice.severity, notice.reason, notice.message);
        }
        let owner = set.owner().reference();
        let pod = |i: usize| Cow::Owned(plan::new_pod(set, owner.clone(), hash, &plan.create[i]));
        let (_, created) = control.create(plan.create.len(), pod).await;
        let (_, deleted) = control.delete(&plan.delete).await;
        created.and(deleted)
    }
}
