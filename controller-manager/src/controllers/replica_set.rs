//! Keeps as many pods as a replica set asks for, or a replication controller, which is the same under an older name.

mod expectations;
mod plan;
#[cfg(test)]
mod tests;

use self::expectations::Expectations;
use self::plan::{Failure, Plan};
use super::owner::{Claim, Owner, Recheck};
use crate::context::{Account, Context};
use crate::informers::orphans_of;
use crate::recorder::{Event, Involved, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Pod, ReplicaSet, ReplicationController, View};
use api::{Error, Result};
use client::{Cache, Change, DeleteParams, Index, Names, ObjectRef, PODS, WorkQueue};
use futures::future::join_all;
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
trait Replicated: View {
    const KIND: &'static str;
    /// Whether its status counts pods that are on their way out.
    const COUNTS_TERMINATING: bool;

    fn set(&self) -> &ReplicaSet;
}

impl Replicated for ReplicaSet {
    const KIND: &'static str = "ReplicaSet";
    const COUNTS_TERMINATING: bool = true;

    fn set(&self) -> &ReplicaSet {
        self
    }
}

impl Replicated for ReplicationController {
    const KIND: &'static str = "ReplicationController";
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
    let sets = setup.informers.of::<T>();
    let cache = sets.cache();
    let (changed, expected) = (queue.clone(), expectations.clone());
    sets.on_change(move |change| {
        let uid = |set: &Option<Arc<T>>| set.as_ref().map(|s| s.set().metadata.uid.clone());
        if let Some(gone) = uid(&change.old).filter(|old| uid(&change.new).as_ref() != Some(old)) {
            expected.forget(&gone);
        }
        changed.add(change.key.clone());
    });
    let index = setup.informers.by_controller::<Pod>();
    let (changed, expected, known) = (queue.clone(), expectations.clone(), cache.clone());
    setup.informers.of::<Pod>().on_change(move |change| pod_changed(change, &known, &expected, &changed));
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(ReplicaSets { context, sets: cache, pods: index, expectations }))
}

/// Notes what was expected, and queues the sets that a change of a pod concerns.
fn pod_changed<T: Replicated>(
    change: &Change<Pod>,
    sets: &Cache<T>,
    expectations: &Expectations,
    queue: &WorkQueue<ObjectRef>,
) {
    let owner = |pod: &Pod| {
        let reference = pod.metadata.controller().filter(|o| o.kind == T::KIND)?;
        let key = pod.metadata.sibling(&reference.name);
        Some((key, reference.uid.clone()))
    };
    let (old, new) = (change.old.as_deref(), change.new.as_deref());
    let same = old.zip(new).is_some_and(|(o, n)| o.metadata.uid == n.metadata.uid);
    let owners = [old.and_then(owner), new.and_then(owner)];
    let is_deleting = |pod: Option<&Pod>| pod.is_some_and(|p| p.metadata.is_deleting());
    if let (Some(pod), Some((_, uid))) = (old, &owners[0])
        && (!same || is_deleting(new))
    {
        expectations.saw_deletion(uid, &pod.metadata.uid);
    }
    if let (Some(pod), Some((_, uid))) = (new, &owners[1])
        && !same
    {
        expectations.saw_creations(uid, 1);
        if pod.metadata.is_deleting() {
            expectations.saw_deletion(uid, &pod.metadata.uid);
        }
    }
    for (key, uid) in owners.iter().flatten() {
        if sets.get(key).is_some_and(|set| set.set().metadata.uid == *uid) {
            queue.add(key.clone());
        }
    }
    if let Some(pod) = new.filter(|p| p.metadata.controller().is_none())
        && let Some(tenant) = &change.key.tenant
        && !(same && old.is_some_and(|o| o.metadata.labels == pod.metadata.labels && o.metadata.controller().is_none()))
    {
        for (key, set) in sets.list_namespace(tenant, &change.key.namespace) {
            if set.set().spec.selector.matches(&pod.metadata.labels) {
                queue.add(key);
            }
        }
    }
}

impl<T: Replicated> Reconcile for ReplicaSets<T> {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl<T: Replicated> ReplicaSets<T> {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(set) = self.sets.get(key) else { return Ok(None) };
        let set = set.set();
        let unmet = self.expectations.unmet(&set.metadata.uid);
        let owner = owner::<T>(set);
        let owned = self.pods.get(&set.metadata.uid);
        let orphans = self.pods.get(&orphans_of(key));
        let (active, inactive): (Vec<_>, Vec<_>) =
            owned.into_iter().chain(orphans).map(|(_, pod)| pod).partition(|p| p.is_active());
        let active = self.claim(key, &owner, active).await?;
        let leaving = |p: &&Arc<Pod>| p.metadata.is_deleting() && !p.is_finished();
        let owned = |p: &&Arc<Pod>| owner.claim(&p.metadata) == Claim::Owned;
        let terminating = T::COUNTS_TERMINATING.then(|| inactive.iter().filter(leaving).filter(owned).count());
        let failed = match unmet {
            None if !set.metadata.is_deleting() => self.manage(key, set, &owner, &active).await,
            None | Some(_) => Ok(()),
        };
        let failure = failed.as_ref().err().map(|(failure, _)| failure);
        let now = self.context.now();
        let status = plan::status(set, &active, terminating, failure, now);
        if status != set.status {
            let version = &set.metadata.resource_version;
            let change = |object: &mut serde_json::Value| object["status"] = status.to_value();
            self.context.rewrite(T::RESOURCE, key, version, Some("status"), change).await?;
        }
        if let Err((_, error)) = failed {
            return Err(error);
        }
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
    async fn manage(
        &self,
        key: &ObjectRef,
        set: &ReplicaSet,
        owner: &Owner<'_>,
        active: &[Arc<Pod>],
    ) -> Result<(), (Failure, Error)> {
        match plan::plan(set, active, || self.on_nodes(key, set), self.context.now()) {
            Plan::Nothing => Ok(()),
            Plan::Create(count) => self.create(key, set, owner, count).await,
            Plan::Delete(victims) => self.delete(key, set, &victims).await,
        }
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

    /// Creates one, then two, then four … at a time, so that a refusal that meets all of them costs few requests.
    async fn create(
        &self,
        key: &ObjectRef,
        set: &ReplicaSet,
        owner: &Owner<'_>,
        count: usize,
    ) -> Result<(), (Failure, Error)> {
        let uid = &set.metadata.uid;
        let client = self.context.client(key);
        let pod = plan::new_pod(set, owner.reference());
        self.expectations.expect_creations(uid, count);
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            batch = batch.min(left);
            let created = join_all((0..batch).map(|_| client.create(PODS, &key.namespace, &pod))).await;
            left -= batch;
            let mut failed = None;
            for outcome in created {
                match outcome {
                    Ok(pod) => {
                        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                        self.record(set, Severity::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
                    }
                    Err(error) => {
                        self.expectations.saw_creations(uid, 1);
                        failed = Some(error);
                    }
                }
            }
            if let Some(error) = failed {
                self.expectations.saw_creations(uid, left);
                if super::is_namespace_gone(&error) {
                    return Ok(());
                }
                self.record(set, Severity::Warning, "FailedCreate", format!("Error creating: {error}"));
                return Err((Failure { reason: "FailedCreate", message: error.to_string() }, error));
            }
            batch *= 2;
        }
        Ok(())
    }

    async fn delete(&self, key: &ObjectRef, set: &ReplicaSet, victims: &[Arc<Pod>]) -> Result<(), (Failure, Error)> {
        let uid = &set.metadata.uid;
        let client = self.context.client(key);
        self.expectations.expect_deletions(uid, victims.iter().map(|p| p.metadata.uid.clone()));
        let deletions = victims.iter().map(|pod| {
            let client = client.clone();
            async move {
                let exactly = DeleteParams::of_uid(&pod.metadata.uid);
                (pod, client.delete(PODS, &key.namespace, &pod.metadata.name, &exactly).await)
            }
        });
        let mut failed = None;
        for (pod, outcome) in join_all(deletions).await {
            let name = &pod.metadata.name;
            match outcome {
                Ok(()) => self.record(set, Severity::Normal, "SuccessfulDelete", format!("Deleted pod: {name}")),
                Err(error) => {
                    self.expectations.saw_deletion(uid, &pod.metadata.uid);
                    // Gone already, or another pod of the same name: as was wanted.
                    if !error.is_not_found() && !error.is_conflict() {
                        self.record(set, Severity::Warning, "FailedDelete", format!("Error deleting: {error}"));
                        failed = Some((Failure { reason: "FailedDelete", message: error.to_string() }, error));
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn record(&self, set: &ReplicaSet, severity: Severity, reason: &'static str, message: String) {
        let about = Involved {
            key: set.metadata.key(),
            api_version: T::RESOURCE.api_version(),
            kind: T::KIND.to_owned(),
            uid: set.metadata.uid.clone(),
        };
        self.context.recorder.record(Event { about, severity, reason, message });
    }
}

fn owner<T: Replicated>(set: &ReplicaSet) -> Owner<'_> {
    Owner { resource: T::RESOURCE, kind: T::KIND, metadata: &set.metadata, selector: &set.spec.selector }
}
