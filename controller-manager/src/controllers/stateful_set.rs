//! Keeps the pods of a stateful set: each with an ordinal, a name and claims of its own, made, ended and updated in order.

mod plan;
mod pods;
#[cfg(test)]
mod tests;

use self::plan::{Observed, Plan, Revision, Step};
use super::owner::{Claim, Recheck};
use super::pod_owner::{self, PodOwner};
use super::revisions::{self, Source};
use crate::context::{Account, Context, unless_gone};
use crate::informers::orphans_of;
use crate::recorder::{Event, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{CLAIMS, Claim as PersistentVolumeClaim, ControllerRevision, Meta, Pod, Selector, StatefulSet};
use api::{Error, Result};
use client::{Cache, DeleteParams, Index, ObjectRef, PODS, STATEFUL_SETS, WorkQueue};
use futures::future::join_all;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "statefulset-controller", account: Account::Service("statefulset-controller"), make };

/// The label of a revision that holds its hash.
const HASH_LABEL: &str = "controller.kubernetes.io/hash";

struct StatefulSets {
    context: Context,
    sets: Cache<StatefulSet>,
    pods: Index<Pod>,
    revisions: Index<ControllerRevision>,
    claims: Cache<PersistentVolumeClaim>,
}

impl PodOwner for StatefulSet {
    const KIND: &'static str = "StatefulSet";

    fn metadata(&self) -> &Meta {
        &self.metadata
    }

    fn selector(&self) -> &Selector {
        &self.spec.selector
    }
}

fn make(setup: &mut Setup) -> Controller {
    let queue = WorkQueue::new();
    // Names say which pods there are: nothing has to be expected.
    let sets = pod_owner::follow::<StatefulSet>(setup, &Arc::default(), &queue);
    let pods = setup.informers.by_controller::<Pod>();
    setup.dependents::<ControllerRevision>(StatefulSet::KIND);
    let revisions = setup.informers.by_controller::<ControllerRevision>();
    let claims = setup.informers.of::<PersistentVolumeClaim>().cache();
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(StatefulSets { context, sets, pods, revisions, claims }))
}

fn revision(source: &ControllerRevision) -> Revision {
    Revision { name: source.metadata.name.clone(), template: revisions::template_of(source) }
}

impl Reconcile for StatefulSets {
    fn hash_key(&self, key: &ObjectRef) -> Option<u64> {
        self.sets.get(key).map(|set| set.hash_key())
    }

    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(set) = self.sets.get(key) else { return Ok(None) };
        self.sync(key, &set).await
    }
}

impl StatefulSets {
    async fn sync(&self, key: &ObjectRef, set: &StatefulSet) -> Result<Option<Duration>> {
        let client = self.context.client(key);
        let pods = self.claim(key, set).await?;
        let known = revisions::claim(&client, &self.revisions, key, &set.owner()).await?;
        let (update, collisions) = self.newest(key, set, &known).await?;
        let current = known.iter().find(|r| r.metadata.name == set.status.current_revision).unwrap_or(&update);
        let (current, update) = (revision(current), revision(&update));
        let owner = set.owner().reference();
        let find = |name: &str| self.claims.get(&set.metadata.sibling(name));
        let now = self.context.now();
        let observed = Observed {
            set,
            current: &current,
            update: &update,
            pods: &pods,
            claims: &find,
            owner: &owner,
            collisions,
            now,
        };
        let Plan { groups, parallel, status, again } = plan::plan(&observed);
        let done = self.carry_out(&observed, groups, parallel).await;
        if status != set.status {
            let version = &set.metadata.resource_version;
            let change = |object: &mut Value| object["status"] = status.to_value();
            self.context.rewrite(STATEFUL_SETS, key, version, Some("status"), change).await?;
        }
        done?;
        let in_use = plan::revisions_in_use(&observed);
        let unused = known.iter().filter(|r| !in_use.contains(r.metadata.name.as_str())).count();
        let keep = set.spec.revision_history_limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let surplus = unused.saturating_sub(keep);
        let gone = revisions::oldest_unused(&known, |r| in_use.contains(r.metadata.name.as_str()), surplus);
        revisions::delete(&client, key, &gone).await?;
        Ok(again)
    }

    /// The revision of the set's template. A set that goes makes none.
    async fn newest(
        &self,
        key: &ObjectRef,
        set: &StatefulSet,
        known: &[Arc<ControllerRevision>],
    ) -> Result<(Arc<ControllerRevision>, i64)> {
        let source = Source {
            owner: set.owner(),
            template: &set.spec.template,
            collisions: set.status.collision_count,
            hash_label: HASH_LABEL,
        };
        revisions::settle(&self.context, key, &source, known).await
    }

    /// Adopts and releases, and returns the pods that are the set's in the end. Others with its labels are not.
    async fn claim(&self, key: &ObjectRef, set: &StatefulSet) -> Result<Vec<Arc<Pod>>> {
        let client = self.context.client(key);
        let owner = set.owner();
        let owned = self.pods.get(&set.metadata.uid).into_iter();
        let mut recheck = Recheck::new(&client, key);
        let mut claimed = Vec::new();
        for (_, pod) in owned.chain(self.pods.get(&orphans_of(key))) {
            if pods::ordinal(&set.metadata.name, &pod.metadata.name).is_none() {
                continue;
            }
            match owner.settle(&client, &mut recheck, PODS, &pod.metadata).await? {
                Claim::Owned | Claim::Adopt => claimed.push(pod),
                Claim::Release | Claim::None => {}
            }
        }
        Ok(claimed)
    }

    /// One step after the other, or of a parallel set one, two, four … at a time, up to the first that fails.
    async fn carry_out(&self, seen: &Observed<'_>, groups: Vec<Vec<Step>>, parallel: bool) -> Result<()> {
        for steps in groups {
            let (mut rest, mut batch) = (&steps[..], 1);
            while !rest.is_empty() {
                let (now, later) = rest.split_at(batch.min(rest.len()));
                join_all(now.iter().map(|step| self.take(seen, step))).await.into_iter().collect::<Result<()>>()?;
                rest = later;
                batch = if parallel { batch * 2 } else { 1 };
            }
        }
        Ok(())
    }

    async fn take(&self, seen: &Observed<'_>, step: &Step) -> Result<()> {
        match step {
            Step::Create { ordinal, revision } => self.create(seen, *ordinal, revision).await,
            Step::Delete(pod) => self.delete(seen.set, pod).await,
            Step::Recreate(pod) => {
                let (severity, reason, what) = match pod.status.phase.as_str() {
                    "Failed" => (Severity::Warning, "RecreatingFailedPod", "failed"),
                    _ => (Severity::Normal, "RecreatingTerminatedPod", "terminated"),
                };
                let Meta { namespace, name, .. } = &seen.set.metadata;
                let pod_name = &pod.metadata.name;
                let message = format!("StatefulSet {namespace}/{name} is recreating {what} Pod {pod_name}");
                self.record(seen.set, severity, reason, message);
                self.delete(seen.set, pod).await
            }
            Step::Supply { ordinal } => self.supply(seen, *ordinal).await,
            Step::Align { ordinal, pod } => {
                let done = self.align(seen, *ordinal, pod).await;
                self.tell(seen.set, "Update", &pod.metadata.name, &done);
                done
            }
            Step::Release { ordinal, pod } => self.own_claims(seen, *ordinal, pod).await,
        }
    }

    async fn create(&self, seen: &Observed<'_>, ordinal: i64, revision: &str) -> Result<()> {
        let set = seen.set;
        let name = pods::name(set, ordinal);
        let supplied = self.supply(seen, ordinal).await;
        if supplied.is_err() {
            self.tell(set, "Create", &name, &supplied);
            return supplied;
        }
        let template = if revision == seen.current.name { &seen.current.template } else { &seen.update.template };
        let pod = pods::new(set, seen.owner.clone(), ordinal, revision, template);
        let client = self.context.client(&set.metadata.key());
        let done = client.create(PODS, &set.metadata.namespace, &pod).await.map(drop);
        match &done {
            // Not seen yet, or of another owner: the next look knows.
            Err(error) if error.is_already_exists() || super::is_namespace_gone(error) => {}
            _ => self.tell(set, "Create", &name, &done),
        }
        done
    }

    /// Makes the claims that the pod of an ordinal lacks, and sees to the owners of the others.
    async fn supply(&self, seen: &Observed<'_>, ordinal: i64) -> Result<()> {
        let set = seen.set;
        let owners = pods::claim_owners(set, seen.owner, ordinal, None);
        let client = self.context.client(&set.metadata.key());
        let pod = pods::name(set, ordinal);
        for claim in pods::claims(set, ordinal, &owners) {
            let name = claim["metadata"]["name"].as_str().unwrap_or_default();
            if let Some(existing) = (seen.claims)(name) {
                if existing.metadata.is_deleting() {
                    let why = format!("pvc {name} is being deleted");
                    return Err(Error::conflict("", "persistentvolumeclaims", name, &why));
                }
                self.own_claim(seen, ordinal, &existing, &owners).await?;
                continue;
            }
            let set_name = &set.metadata.name;
            match client.create(CLAIMS, &set.metadata.namespace, &claim).await {
                Ok(_) => {
                    let message = format!("Create Claim {name} Pod {pod} in StatefulSet {set_name} success");
                    self.record(set, Severity::Normal, "SuccessfulCreate", message);
                }
                Err(error) if error.is_already_exists() => {}
                Err(error) => {
                    let message =
                        format!("Create Claim {name} for Pod {pod} in StatefulSet {set_name} failed error: {error}");
                    self.record(set, Severity::Warning, "FailedCreate", message);
                    return Err(error.with_prefix(&format!("failed to create PVC {name}: ")));
                }
            }
        }
        Ok(())
    }

    async fn align(&self, seen: &Observed<'_>, ordinal: i64, pod: &Pod) -> Result<()> {
        if !pods::is_aligned(seen.set, ordinal, pod) {
            self.supply(seen, ordinal).await?;
            let change = |object: &mut Value| pods::align(seen.set, ordinal, object);
            let version = &pod.metadata.resource_version;
            self.context.rewrite(PODS, &pod.metadata.key(), version, None, change).await?;
        }
        self.own_claims(seen, ordinal, pod).await
    }

    /// Gives the claims of a pod the owners that they have to have.
    async fn own_claims(&self, seen: &Observed<'_>, ordinal: i64, pod: &Pod) -> Result<()> {
        let owners = pods::claim_owners(seen.set, seen.owner, ordinal, Some(pod));
        for (_, name) in pods::claim_names(seen.set, ordinal) {
            if let Some(claim) = (seen.claims)(&name) {
                self.own_claim(seen, ordinal, &claim, &owners).await?;
            }
        }
        Ok(())
    }

    async fn own_claim(
        &self,
        seen: &Observed<'_>,
        ordinal: i64,
        claim: &PersistentVolumeClaim,
        owners: &[Value],
    ) -> Result<()> {
        if !pods::is_owned_wrongly(seen.set, ordinal, claim, owners) {
            return Ok(());
        }
        let key = claim.metadata.key();
        let change = |object: &mut Value| pods::own(seen.set, ordinal, object, owners);
        let version = &claim.metadata.resource_version;
        let rewritten = self.context.rewrite(CLAIMS, &key, version, None, change).await;
        unless_gone(rewritten).map(drop)
    }

    async fn delete(&self, set: &StatefulSet, pod: &Pod) -> Result<()> {
        let client = self.context.client(&set.metadata.key());
        let exactly = DeleteParams::of_uid(&pod.metadata.uid);
        let deleted = client.delete(PODS, &set.metadata.namespace, &pod.metadata.name, &exactly).await;
        match unless_gone(deleted) {
            Ok(None) => Ok(()),
            done => {
                let done = done.map(drop);
                self.tell(set, "Delete", &pod.metadata.name, &done);
                done
            }
        }
    }

    /// Tells the user what was done to a pod.
    fn tell(&self, set: &StatefulSet, verb: &str, pod: &str, done: &Result<()>) {
        let name = &set.metadata.name;
        let (well, ill) = match verb {
            "Create" => ("SuccessfulCreate", "FailedCreate"),
            "Delete" => ("SuccessfulDelete", "FailedDelete"),
            _ => ("SuccessfulUpdate", "FailedUpdate"),
        };
        match done {
            Ok(()) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {name} successful");
                self.record(set, Severity::Normal, well, message);
            }
            Err(error) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {name} failed error: {error}");
                self.record(set, Severity::Warning, ill, message);
            }
        }
    }

    fn record(&self, set: &StatefulSet, severity: Severity, reason: &'static str, message: String) {
        self.context.recorder.record(Event { about: set.involved(), severity, reason, message });
    }
}
