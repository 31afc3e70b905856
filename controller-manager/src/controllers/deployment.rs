//! Rolls a deployment's pods from one template to the next, through one replica set per template.

mod plan;
mod sets;
mod status;

#[cfg(test)]
mod tests;

use self::plan::{Notice, Observed, Plan, Update};
use self::sets::REVISION;
use super::owner::{Claim, Owner, Recheck};
use super::template;
use crate::context::{Account, Context, unless_gone};
use crate::recorder::{Event, Involved, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Deployment, DeploymentStatus, Pod, ReplicaSet};
use api::selector::{hash_key, ranges};
use api::{Error, Result};
use client::{
    Cache, Change, DEPLOYMENTS, DeleteParams, Index, ListParams, Names, ObjectRef, PODS, REPLICA_SETS, WorkQueue,
};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "deployment-controller", account: Account::Service("deployment-controller"), make };

struct Deployments {
    context: Context,
    deployments: Cache<Deployment>,
    sets: Index<ReplicaSet>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue = WorkQueue::new();
    let deployments = setup.own::<Deployment>();
    let cache = deployments.cache();
    let changed = queue.clone();
    deployments.on_change(move |change| changed.add(change.key.clone()));
    let sets = setup.informers.by_controller::<ReplicaSet>();
    let (changed, known) = (queue.clone(), cache.clone());
    setup.dependents::<ReplicaSet>("Deployment").on_change(move |change| set_changed(change, &known, &changed));
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(Deployments { context, deployments: cache, sets }))
}

/// The deployment that controls a replica set, if it is there.
fn controller_of(set: &ReplicaSet, deployments: &Cache<Deployment>) -> Option<(ObjectRef, Arc<Deployment>)> {
    let reference = set.metadata.controller().filter(|o| o.kind == "Deployment")?;
    let key = set.metadata.sibling(&reference.name);
    let deployment = deployments.get(&key).filter(|d| d.metadata.uid == reference.uid)?;
    Some((key, deployment))
}

/// Queues the deployments that a change of a replica set concerns.
fn set_changed(change: &Change<ReplicaSet>, deployments: &Cache<Deployment>, queue: &WorkQueue<ObjectRef>) {
    for set in [&change.old, &change.new].into_iter().flatten() {
        if let Some((key, _)) = controller_of(set, deployments) {
            queue.add(key);
        }
    }
    let orphan = change.new.as_ref().filter(|s| s.metadata.controller().is_none());
    if let (Some(orphan), Some(tenant)) = (orphan, &change.key.tenant) {
        for (key, deployment) in deployments.list_namespace(tenant, &change.key.namespace) {
            if deployment.spec.selector.matches(&orphan.metadata.labels) {
                queue.add(key);
            }
        }
    }
}

impl Reconcile for Deployments {
    fn hash_key(&self, key: &ObjectRef) -> Option<u64> {
        self.deployments.get(key).map(|deployment| hash_key(&deployment.metadata.uid))
    }

    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl Deployments {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(None) };
        if deployment.spec.selector.is_empty() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.".to_owned();
            self.record(&deployment, Notice { severity: Severity::Warning, reason: "SelectingAll", message });
            return Ok(None);
        }
        let sets = self.claim(key, &deployment).await?;
        let unfinished_pods = match sets::is_rolling(&deployment) {
            true => HashMap::new(),
            false => self.unfinished_pods(key, &sets).await?,
        };
        let now = self.context.now();
        let observed = Observed { deployment: &deployment, sets: &sets, unfinished_pods: &unfinished_pods, now };
        self.carry_out(key, &deployment, plan::plan(&observed)).await
    }

    /// How many pods of each replica set have not ended. A deployment that recreates its pods waits for old ones to be gone,
    /// of which the status of their sets tells; pods belong to the part of who looks at the sets.
    async fn unfinished_pods(&self, key: &ObjectRef, sets: &[Arc<ReplicaSet>]) -> Result<HashMap<String, usize>> {
        let hashes: Vec<_> = sets.iter().map(|set| hash_key(&set.metadata.uid)).map(|hash| (hash, hash)).collect();
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        let owned = ListParams::fields(ranges(Some("ReplicaSet"), &hashes));
        let mut counts: HashMap<String, usize> = sets.iter().map(|set| (set.metadata.uid.clone(), 0)).collect();
        for pod in self.context.client(key).list_as::<Pod>(PODS, &key.namespace, &owned).await?.items {
            let count = pod.metadata.controller().and_then(|owner| counts.get_mut(&owner.uid));
            if let Some(count) = count.filter(|_| !pod.is_finished()) {
                *count += 1;
            }
        }
        Ok(counts)
    }

    /// Adopts and releases, and returns the replica sets that are the deployment's in the end.
    async fn claim(&self, key: &ObjectRef, deployment: &Deployment) -> Result<Vec<Arc<ReplicaSet>>> {
        let owner = owner(deployment);
        let owned = self.sets.get(&deployment.metadata.uid);
        let orphans = self.sets.get(&crate::informers::orphans_of(key));
        let candidates = owned.into_iter().chain(orphans);
        let client = self.context.client(key);
        let mut recheck = Recheck::new(&client, key);
        let mut claimed = Vec::new();
        for (_, set) in candidates {
            match owner.settle(&client, &mut recheck, REPLICA_SETS, &set.metadata).await? {
                Claim::Owned | Claim::Adopt => claimed.push(set),
                Claim::Release | Claim::None => {}
            }
        }
        Ok(claimed)
    }

    async fn carry_out(&self, key: &ObjectRef, deployment: &Deployment, plan: Plan) -> Result<Option<Duration>> {
        let Plan { create, update, delete, revision, status, notices, again } = plan;
        if let Some((name, object)) = create {
            self.create(key, deployment, &name, object).await?;
        }
        for Update { set, target } in update {
            let set_key = set.metadata.key();
            let change = |object: &mut Value| {
                object["spec"]["replicas"] = json!(target.replicas);
                object["spec"]["minReadySeconds"] = json!(target.min_ready_seconds);
                object["metadata"]["annotations"] = json!(target.annotations);
            };
            self.context.rewrite(REPLICA_SETS, &set_key, &set.metadata.resource_version, None, change).await?;
        }
        for notice in notices {
            self.record(deployment, notice);
        }
        let client = self.context.client(key);
        for set in delete {
            let exactly = DeleteParams {
                resource_version: Some(set.metadata.resource_version.clone()),
                ..DeleteParams::of_uid(&set.metadata.uid)
            };
            unless_gone(client.delete(REPLICA_SETS, &key.namespace, &set.metadata.name, &exactly).await)?;
        }
        if revision.is_some() || status != deployment.status {
            self.write_status(key, deployment, revision, &status).await?;
        }
        Ok(again)
    }

    async fn write_status(
        &self,
        key: &ObjectRef,
        deployment: &Deployment,
        revision: Option<String>,
        status: &DeploymentStatus,
    ) -> Result<()> {
        let version = &deployment.metadata.resource_version;
        let change = |object: &mut Value| {
            object["status"] = status.to_value();
            if let Some(revision) = revision {
                object["metadata"]["annotations"][REVISION] = json!(revision);
            }
        };
        self.context.rewrite(DEPLOYMENTS, key, version, Some("status"), change).await.map(drop)
    }

    /// Creates the replica set of the current template. One of the same name that is for another template, or another
    /// owner, is a collision of hashes: the next look tries another.
    async fn create(&self, key: &ObjectRef, deployment: &Deployment, name: &str, mut object: Value) -> Result<()> {
        let client = self.context.client(key);
        object["metadata"]["ownerReferences"] = json!([owner(deployment).reference()]);
        let error = match client.create(REPLICA_SETS, &key.namespace, &object).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if error.is_already_exists() {
            let existing = client.get(REPLICA_SETS, &key.namespace, name).await?;
            let view: ReplicaSet = serde_json::from_value(existing).map_err(Error::internal)?;
            if view.metadata.is_controlled_by(&deployment.metadata.uid)
                && template::same(&view.spec.template, &deployment.spec.template)
            {
                return Ok(());
            }
            let collisions = deployment.status.collision_count.unwrap_or(0).saturating_add(1);
            let status = DeploymentStatus { collision_count: Some(collisions), ..deployment.status.clone() };
            self.write_status(key, deployment, None, &status).await?;
        } else if !super::is_namespace_gone(&error) {
            let message = format!("Failed to create new replica set {name:?}: {error}");
            let status = status::create_failed(deployment, message.clone(), self.context.now());
            self.record(deployment, Notice { severity: Severity::Warning, reason: "ReplicaSetCreateError", message });
            if status != deployment.status {
                self.write_status(key, deployment, None, &status).await?;
            }
        }
        Err(error)
    }

    fn record(&self, deployment: &Deployment, notice: Notice) {
        let about = Involved {
            key: deployment.metadata.key(),
            api_version: DEPLOYMENTS.api_version(),
            kind: "Deployment".to_owned(),
            uid: deployment.metadata.uid.clone(),
        };
        let Notice { severity, reason, message } = notice;
        self.context.recorder.record(Event { about, severity, reason, message });
    }
}

fn owner(deployment: &Deployment) -> Owner<'_> {
    let Deployment { metadata, spec, .. } = deployment;
    Owner { resource: DEPLOYMENTS, kind: "Deployment", metadata, selector: &spec.selector, finalizer: None }
}
