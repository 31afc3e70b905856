//! What a deployment needs next: which replica set to create, to resize, to forget, and what its status is. Pure.
//!
//! ```text
//!   being deleted ──▶ status only
//!   paused, or resized ──▶ scale (in proportion while a rollout is under way)
//!   RollingUpdate ──▶ grow the newest within maxSurge, else shrink the old within maxUnavailable
//!   Recreate ──▶ shrink the old to nothing, wait for their pods to go, then grow the newest
//! ```
//!
//! Invariant: one plan resizes in one direction only, so that the next decides on what came of it.

use super::sets::{Bounds, DESIRED_REPLICAS, MAX_REPLICAS, REVISION, Set, Sets, is_rolling};
use super::status;
use crate::controllers::template::{self, HASH_LABEL};
use crate::recorder::Severity;
use crate::view::{Deployment, DeploymentStatus, ReplicaSet};
use api::Timestamp;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What is known of a deployment.
pub struct Observed<'a> {
    pub deployment: &'a Deployment,
    /// The replica sets that it controls.
    pub sets: &'a [Arc<ReplicaSet>],
    /// How many pods that are not finished each of them has, by its uid. Looked at by `Recreate` only.
    pub unfinished_pods: &'a HashMap<String, usize>,
    pub now: Timestamp,
}

/// An event to tell the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub severity: Severity,
    pub reason: &'static str,
    pub message: String,
}

/// A replica set with what it is to become.
#[derive(Debug)]
pub struct Update {
    pub set: Arc<ReplicaSet>,
    pub target: Set,
}

/// What to do, in this order.
#[derive(Debug)]
pub struct Plan {
    /// The name of a replica set and the set itself, without its owner reference.
    pub create: Option<(String, Value)>,
    pub update: Vec<Update>,
    pub delete: Vec<Arc<ReplicaSet>>,
    /// The revision annotation that the deployment has to have.
    pub revision: Option<String>,
    pub status: DeploymentStatus,
    pub notices: Vec<Notice>,
    /// When to look again even if nothing changes.
    pub again: Option<Duration>,
}

/// Decides. Planning twice on the same view yields the same plan.
pub fn plan(observed: &Observed) -> Plan {
    let Observed { deployment, sets, now, .. } = *observed;
    let conditions = status::with_pause(deployment, now);
    let mut step = Step {
        sets: Sets::of(deployment, sets),
        created: None,
        deleted: Vec::new(),
        status: DeploymentStatus { conditions, ..deployment.status.clone() },
        observed,
    };
    if deployment.metadata.is_deleting() {
        step.status.conditions = deployment.status.conditions.clone();
        step.keep_revision();
        step.count();
        return step.finish(None);
    }
    if deployment.spec.paused || step.sets.is_scaling() {
        step.keep_revision();
        step.sets.scale();
        if deployment.spec.paused {
            step.forget_old_revisions();
        }
        step.count();
        return step.finish(None);
    }
    if is_rolling(deployment) {
        step.roll()
    } else {
        step.recreate()
    }
    step.count();
    let again = status::progress(&mut step.status, deployment, &step.sets, now);
    step.finish(again)
}

/// A plan in the making.
struct Step<'a> {
    observed: &'a Observed<'a>,
    sets: Sets<'a>,
    created: Option<Value>,
    deleted: Vec<Arc<ReplicaSet>>,
    status: DeploymentStatus,
}

impl Step<'_> {
    fn roll(&mut self) {
        self.ensure_newest();
        if self.resize_newest() || self.shrink_old() {
            return;
        }
        self.forget_old_revisions_if_complete();
    }

    fn recreate(&mut self) {
        self.keep_revision();
        let mut shrunk = false;
        for index in self.sets.old() {
            shrunk |= self.sets.resize_if_other(index, 0);
        }
        if shrunk || self.old_pods_remain() {
            return;
        }
        self.ensure_newest();
        self.resize_newest();
        self.forget_old_revisions_if_complete();
    }

    fn old_pods_remain(&self) -> bool {
        let unfinished = |set: &Set| {
            let uid = set.source.as_ref().map(|s| s.metadata.uid.as_str()).unwrap_or_default();
            self.observed.unfinished_pods.get(uid).copied().unwrap_or(0)
        };
        self.sets.old().into_iter().map(|i| &self.sets.all[i]).any(|set| set.status.replicas > 0 || unfinished(set) > 0)
    }

    /// Gives an existing newest set its revision and what it takes over from the deployment.
    fn keep_revision(&mut self) {
        let deployment = self.observed.deployment;
        let revision = self.sets.next_revision();
        let Some(index) = self.sets.newest else { return };
        let newest = &mut self.sets.all[index];
        newest.become_newest(deployment, revision);
        newest.min_ready_seconds = deployment.spec.min_ready_seconds;
        status::found_newest(&mut self.status, deployment, &newest.name, self.observed.now);
    }

    /// As [`Step::keep_revision`], and creates the newest set where it is missing.
    fn ensure_newest(&mut self) {
        if self.sets.newest.is_some() {
            return self.keep_revision();
        }
        let Observed { deployment, now, .. } = *self.observed;
        let hash = template::hash(&deployment.spec.template, deployment.status.collision_count);
        let name = format!("{}-{hash}", deployment.metadata.name);
        let mut newest = Set::new(name, now);
        newest.become_newest(deployment, self.sets.next_revision());
        newest.min_ready_seconds = deployment.spec.min_ready_seconds;
        newest.replicas = self.sets.newest_size(0);
        let wanted = deployment.spec.replicas;
        newest.annotations.insert(DESIRED_REPLICAS.to_owned(), wanted.to_string());
        newest.annotations.insert(MAX_REPLICAS.to_owned(), (wanted + Bounds::of(deployment).surge).to_string());
        if newest.replicas > 0 {
            let message = format!("Scaled up replica set {} from 0 to {}", newest.name, newest.replicas);
            self.sets.notices.push(Notice { severity: Severity::Normal, reason: "ScalingReplicaSet", message });
        }
        status::created_newest(&mut self.status, deployment, &newest.name, now);
        self.created = Some(new_set(deployment, &newest, &hash));
        self.sets.all.push(newest);
        self.sets.newest = Some(self.sets.all.len() - 1);
    }

    /// `true` if the size of the newest changes.
    fn resize_newest(&mut self) -> bool {
        let wanted = self.observed.deployment.spec.replicas;
        let Some(index) = self.sets.newest else { return false };
        let present = self.sets.all[index].replicas;
        let size = if present > wanted { wanted } else { self.sets.newest_size(present) };
        self.sets.resize_if_other(index, size)
    }

    /// Shrinks old sets as far as enough pods stay available: first by pods that are not, then by others.
    fn shrink_old(&mut self) -> bool {
        let old = self.sets.old();
        // The status of a set that was just resized counts pods as available that are about to go.
        let about_to_shrink = |set: &Set| !set.is_settled() || set.status.available_replicas > set.replicas;
        if self.sets.all.iter().any(about_to_shrink) {
            return false;
        }
        let wanted = self.observed.deployment.spec.replicas;
        let least_available = wanted - self.sets.bounds.unavailable;
        let newest_unavailable = self.sets.newest().map_or(0, |s| s.replicas - s.status.available_replicas);
        let may_go = self.sets.total(|s| s.replicas) - least_available - newest_unavailable;
        if may_go <= 0 {
            return false;
        }
        let mut gone = 0;
        for &index in &old {
            let set = &self.sets.all[index];
            let unhealthy = (set.replicas - set.status.available_replicas).clamp(0, may_go - gone);
            let size = set.replicas - unhealthy;
            gone += unhealthy;
            self.sets.resize_if_other(index, size);
        }
        let mut spare = self.sets.total(|s| s.status.available_replicas) - least_available;
        for &index in &old {
            let present = self.sets.all[index].replicas;
            let down = present.clamp(0, spare.max(0));
            spare -= down;
            gone += down;
            self.sets.resize_if_other(index, present - down);
        }
        gone > 0
    }

    fn forget_old_revisions_if_complete(&mut self) {
        if status::is_complete(self.observed.deployment, &self.observed.deployment.status) {
            self.forget_old_revisions();
        }
    }

    /// Deletes the oldest revisions beyond the limit, as far as they are empty.
    fn forget_old_revisions(&mut self) {
        let Some(limit) = self.observed.deployment.spec.revision_history_limit else { return };
        let old = self.sets.old().into_iter().map(|i| &self.sets.all[i]);
        let mut old: Vec<&Set> = old.filter(|s| s.source.as_ref().is_some_and(|s| !s.metadata.is_deleting())).collect();
        let beyond = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|s| s.number(REVISION).unwrap_or(0));
        for set in old.into_iter().take(beyond) {
            let Some(source) = &set.source else { continue };
            if set.status.replicas == 0 && set.replicas == 0 && set.is_settled() {
                self.deleted.push(source.clone());
            }
        }
    }

    fn count(&mut self) {
        status::count(&mut self.status, self.observed.deployment, &self.sets, self.observed.now);
    }

    fn finish(self, again: Option<Duration>) -> Plan {
        let deployment = self.observed.deployment;
        let revision = self.sets.newest().and_then(|s| s.annotations.get(REVISION)).cloned();
        let create = self.created.zip(self.sets.newest()).map(|(object, newest)| (newest.name.clone(), object));
        let changed = self.sets.all.into_iter().filter(Set::is_changed);
        Plan {
            create,
            update: changed.filter_map(|s| Some(Update { set: s.source.clone()?, target: s })).collect(),
            delete: self.deleted,
            revision: revision.filter(|r| deployment.metadata.annotations.get(REVISION) != Some(r)),
            status: self.status,
            notices: self.sets.notices,
            again,
        }
    }
}

/// A replica set for the deployment's template.
fn new_set(deployment: &Deployment, set: &Set, hash: &str) -> Value {
    let mut template = deployment.spec.template.clone();
    template["metadata"]["labels"][HASH_LABEL] = json!(hash);
    let mut selector = deployment.spec.selector.value.clone();
    selector["matchLabels"][HASH_LABEL] = json!(hash);
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": set.name,
            "labels": template["metadata"]["labels"],
            "annotations": set.annotations,
        },
        "spec": {
            "replicas": set.replicas,
            "minReadySeconds": set.min_ready_seconds,
            "selector": selector,
            "template": template,
        },
    })
}
