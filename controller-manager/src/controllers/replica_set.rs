//! Keeps as many pods as a replica set asks for, or a replication controller, which is the same under an older name.

mod plan;
#[cfg(test)]
mod tests;

use self::plan::Plan;
use super::expectations::Expectations;
use super::owner::{Claim, Owner, Recheck};
use super::pod_control::{Failure, PodControl};
use super::pod_owner::{self, PodOwner};
use crate::context::{Account, Context};
use crate::informers::orphans_of;
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Meta, Pod, ReplicaSet, ReplicationController, Selector};
use api::Result;
use client::{Cache, Index, ObjectRef, PODS, WorkQueue};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub const REPLICA_SET: Declaration = Declaration {
    name: "replicaset-controller",
    account: Account::Service("replicaset-controller"),
    make: make::<ReplicaSet>,
};

pub const REPLICATION_CONTROLLER: Declaration = Declaration {
    name: "replicationcontroller-controller",
    account: Account::Service("replication-controller"),
    make: make::<ReplicationController>,
};

/// A kind that keeps a number of pods.
trait Replicated: PodOwner {
    /// Whether its status counts pods that are on their way out.
    const COUNTS_TERMINATING: bool;

    fn set(&self) -> &ReplicaSet;
}

impl PodOwner for ReplicaSet {
    const KIND: &'static str = "ReplicaSet";

    fn metadata(&self) -> &Meta {
        &self.metadata
    }

    fn selector(&self) -> &Selector {
        &self.spec.selector
    }
}

impl Replicated for ReplicaSet {
    const COUNTS_TERMINATING: bool = true;

    fn set(&self) -> &ReplicaSet {
        self
    }
}

impl PodOwner for ReplicationController {
    const KIND: &'static str = "ReplicationController";

    fn metadata(&self) -> &Meta {
        &self.0.metadata
    }

    fn selector(&self) -> &Selector {
        &self.0.spec.selector
    }
}

impl Replicated for ReplicationController {
    const COUNTS_TERMINATING: bool = false;

    fn set(&self) -> &ReplicaSet {
        &self.0
    }
}

struct ReplicaSets<T> {
    context: Context,
    sets: Cache<T>,
    pods: Index<Pod>,
    expectations: Arc<Expectations>,
}

fn make<T: Replicated>(setup: &mut Setup) -> Controller {
    let queue = WorkQueue::new();
    let expectations = Arc::new(Expectations::default());
    let sets = pod_owner::follow::<T>(setup, &expectations, &queue);
    let pods = setup.informers.by_controller::<Pod>();
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(ReplicaSets { context, sets, pods, expectations }))
}

impl<T: Replicated> Reconcile for ReplicaSets<T> {
    fn hash_key(&self, key: &ObjectRef) -> Option<u64> {
        self.sets.get(key).map(|set| set.hash_key())
    }

    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl<T: Replicated> ReplicaSets<T> {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(object) = self.sets.get(key) else { return Ok(None) };
        let set = object.set();
        let unmet = self.expectations.unmet(&set.metadata.uid);
        let owner = object.owner();
        let owned = self.pods.get(&set.metadata.uid);
        let orphans = self.pods.get(&orphans_of(key));
        let (active, inactive): (Vec<_>, Vec<_>) =
            owned.into_iter().chain(orphans).map(|(_, pod)| pod).partition(|p| p.is_active());
        let active = self.claim(key, &owner, active).await?;
        let leaving = |p: &&Arc<Pod>| p.metadata.is_deleting() && !p.is_finished();
        let owned = |p: &&Arc<Pod>| owner.claim(&p.metadata) == Claim::Owned;
        let terminating = T::COUNTS_TERMINATING.then(|| inactive.iter().filter(leaving).filter(owned).count());
        let failed = match unmet {
            None if !set.metadata.is_deleting() => self.manage(key, &object, &active).await,
            None | Some(_) => Ok(()),
        };
        let failure = failed.as_ref().err();
        let now = self.context.now();
        let status = plan::status(set, &active, terminating, failure, now);
        if status != set.status {
            let version = &set.metadata.resource_version;
            let change = |object: &mut serde_json::Value| object["status"] = status.to_value();
            self.context.rewrite(T::RESOURCE, key, version, Some("status"), change).await?;
        }
        failed.map_err(|failure| failure.error)?;
        Ok([unmet, plan::next_available(set, &active, now)].into_iter().flatten().min())
    }

    /// Adopts and releases, and returns the active pods that are the set's in the end.
    async fn claim(&self, key: &ObjectRef, owner: &Owner<'_>, active: Vec<Arc<Pod>>) -> Result<Vec<Arc<Pod>>> {
        let client = self.context.client(key);
        let mut recheck = Recheck::new(&client, key);
        let mut claimed = Vec::with_capacity(active.len());
        for pod in active {
            match owner.settle(&client, &mut recheck, PODS, &pod.metadata).await? {
                Claim::Owned | Claim::Adopt => claimed.push(pod),
                Claim::Release | Claim::None => {}
            }
        }
        Ok(claimed)
    }

    /// Creates what lacks or deletes what is too much.
    async fn manage(&self, key: &ObjectRef, object: &T, active: &[Arc<Pod>]) -> Result<(), Failure> {
        let set = object.set();
        let control = PodControl { context: &self.context, expectations: &self.expectations, about: object.involved() };
        let (reason, (_, done)) = match plan::plan(set, active, || self.on_nodes(key, set), self.context.now()) {
            Plan::Nothing => return Ok(()),
            Plan::Create(count) => {
                let pod = plan::new_pod(set, object.owner().reference());
                ("FailedCreate", control.create(count, |_| Cow::Borrowed(&pod)).await)
            }
            Plan::Delete(victims) => ("FailedDelete", control.delete(&victims).await),
        };
        done.map_err(|error| Failure { reason, error })
    }

    /// How many active pods of the set and of its siblings each node has.
    fn on_nodes(&self, key: &ObjectRef, set: &ReplicaSet) -> HashMap<String, usize> {
        let mut family = vec![set.metadata.uid.clone()];
        if let (Some(parent), Some(tenant)) = (set.metadata.controller(), &key.tenant) {
            let siblings = self.sets.list_namespace(tenant, &key.namespace).into_iter().map(|(_, s)| s);
            let siblings = siblings.filter(|s| s.set().metadata.is_controlled_by(&parent.uid));
            family = siblings.map(|s| s.set().metadata.uid.clone()).collect();
        }
        let mut counts = HashMap::new();
        for (_, pod) in family.iter().flat_map(|uid| self.pods.get(uid)).filter(|(_, pod)| pod.is_active()) {
            *counts.entry(pod.spec.node_name.clone()).or_default() += 1;
        }
        counts
    }
}
