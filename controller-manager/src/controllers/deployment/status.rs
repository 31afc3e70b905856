//! The status of a deployment: its counts and its conditions. Pure.

use super::sets::{Bounds, Sets};
use crate::view::{Condition, Deployment, DeploymentStatus, Time};
use api::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";

const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// A deployment that gives no deadline gives this one.
const NO_DEADLINE: i64 = i32::MAX as i64;

pub fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|c| c.kind == kind)
}

/// Sets a condition. One with the same status and reason stays as it is; one with the same status keeps its time.
fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    if let Some(old) = conditions.iter().find(|c| c.kind == new.kind) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time;
        }
    }
    remove(conditions, &new.kind);
    conditions.push(new);
}

fn remove(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|c| c.kind != kind);
}

fn new(kind: &str, status: &str, reason: &str, message: String, now: Timestamp) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: Time(now),
        last_update_time: Time(now),
        ..Condition::default()
    }
}

fn deadline(deployment: &Deployment) -> Option<Duration> {
    let secs = deployment.spec.progress_deadline_seconds.filter(|&s| s != NO_DEADLINE)?;
    Some(Duration::from_secs(secs.try_into().unwrap_or(0)))
}

/// The conditions, with a pause or its end noted: the clock of the deadline stands still meanwhile.
pub fn with_pause(deployment: &Deployment, now: Timestamp) -> Vec<Condition> {
    let mut conditions = deployment.status.conditions.clone();
    if deadline(deployment).is_none() {
        return conditions;
    }
    let reason = condition(&deployment.status, PROGRESSING).map(|c| c.reason.as_str());
    if reason == Some(TIMED_OUT) {
        return conditions;
    }
    match (deployment.spec.paused, reason == Some(PAUSED)) {
        (true, false) => {
            let message = "Deployment is paused".to_owned();
            set(&mut conditions, new(PROGRESSING, "Unknown", PAUSED, message, now));
        }
        (false, true) => {
            let message = "Deployment is resumed".to_owned();
            set(&mut conditions, new(PROGRESSING, "Unknown", "DeploymentResumed", message, now));
        }
        (true, true) | (false, false) => {}
    }
    conditions
}

/// Notes that the newest replica set was there already, if nothing about progress is noted yet.
pub fn found_newest(status: &mut DeploymentStatus, deployment: &Deployment, name: &str, now: Timestamp) {
    if deadline(deployment).is_some() && condition(status, PROGRESSING).is_none() {
        let message = format!("Found new replica set {name:?}");
        set(&mut status.conditions, new(PROGRESSING, "True", "FoundNewReplicaSet", message, now));
    }
}

pub fn created_newest(status: &mut DeploymentStatus, deployment: &Deployment, name: &str, now: Timestamp) {
    if deadline(deployment).is_some() {
        let message = format!("Created new replica set {name:?}");
        set(&mut status.conditions, new(PROGRESSING, "True", "NewReplicaSetCreated", message, now));
    }
}

/// The status after the newest replica set could not be created.
pub fn create_failed(deployment: &Deployment, message: String, now: Timestamp) -> DeploymentStatus {
    let mut status = deployment.status.clone();
    if deadline(deployment).is_some() {
        set(&mut status.conditions, new(PROGRESSING, "False", "ReplicaSetCreateError", message, now));
    }
    status
}

/// Every pod is of the newest replica set, available, and none is left over.
pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.spec.replicas;
    status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// Counts the pods of all sets, and says whether enough are available.
pub fn count(status: &mut DeploymentStatus, deployment: &Deployment, sets: &Sets, now: Timestamp) {
    let available = sets.total(|s| s.status.available_replicas);
    status.observed_generation = deployment.metadata.generation;
    status.replicas = sets.total(|s| s.status.replicas);
    status.updated_replicas = sets.newest().map_or(0, |s| s.status.replicas);
    status.ready_replicas = sets.total(|s| s.status.ready_replicas);
    status.available_replicas = available;
    status.unavailable_replicas = (sets.total(|s| s.replicas) - available).max(0);
    status.terminating_replicas = sets.all.iter().map(|s| s.status.terminating_replicas).sum();
    let enough = available >= deployment.spec.replicas - Bounds::of(deployment).unavailable;
    let condition = if enough {
        let message = "Deployment has minimum availability.".to_owned();
        new(AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        new(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    };
    set(&mut status.conditions, condition);
}

/// Judges the progress of a rollout since the deployment's last status, and when to judge it again.
pub fn progress(
    status: &mut DeploymentStatus,
    deployment: &Deployment,
    sets: &Sets,
    now: Timestamp,
) -> Option<Duration> {
    match deadline(deployment) {
        None => remove(&mut status.conditions, PROGRESSING),
        Some(deadline) => judge(status, deployment, sets, deadline, now),
    }
    match replica_failure(sets) {
        None => remove(&mut status.conditions, REPLICA_FAILURE),
        Some(failure) => {
            let noted = Condition { last_update_time: failure.last_transition_time, ..failure.clone() };
            set(&mut status.conditions, noted);
        }
    }
    next_judgement(status, deployment, now)
}

fn judge(status: &mut DeploymentStatus, deployment: &Deployment, sets: &Sets, deadline: Duration, now: Timestamp) {
    let current = condition(status, PROGRESSING).cloned();
    let done_before = current.as_ref().is_some_and(|c| c.reason == NEW_SET_AVAILABLE);
    if status.replicas == status.updated_replicas && done_before {
        return;
    }
    let subject = match sets.newest() {
        Some(newest) => format!("ReplicaSet {:?}", newest.name),
        None => format!("Deployment {:?}", deployment.metadata.name),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set(&mut status.conditions, new(PROGRESSING, "True", NEW_SET_AVAILABLE, message, now));
    } else if has_progressed(&deployment.status, status) {
        let mut condition = new(PROGRESSING, "True", "ReplicaSetUpdated", format!("{subject} is progressing."), now);
        if let Some(current) = current.filter(|c| c.status == "True") {
            condition.last_transition_time = current.last_transition_time;
        }
        // The time of the update moves with every progress.
        remove(&mut status.conditions, PROGRESSING);
        status.conditions.push(condition);
    } else if current.is_some_and(|c| has_timed_out(&c, deadline, now)) {
        let message = format!("{subject} has timed out progressing.");
        set(&mut status.conditions, new(PROGRESSING, "False", TIMED_OUT, message, now));
    }
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    new.updated_replicas > old.updated_replicas
        || new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

fn has_timed_out(progressing: &Condition, deadline: Duration, now: Timestamp) -> bool {
    match progressing.reason.as_str() {
        NEW_SET_AVAILABLE => false,
        TIMED_OUT => true,
        _ => now > progressing.last_update_time.0.plus(deadline),
    }
}

/// The failure of the newest set, else of any.
fn replica_failure<'a>(sets: &'a Sets) -> Option<&'a Condition> {
    let failure = |s: &'a super::sets::Set| s.status.conditions.iter().find(|c| c.kind == REPLICA_FAILURE);
    sets.newest().and_then(failure).or_else(|| sets.all.iter().find_map(failure))
}

/// A rollout that stands still is looked at again when its deadline passes.
fn next_judgement(status: &DeploymentStatus, deployment: &Deployment, now: Timestamp) -> Option<Duration> {
    let deadline = deadline(deployment)?;
    let progressing = condition(status, PROGRESSING)?;
    if is_complete(deployment, status) || matches!(progressing.reason.as_str(), TIMED_OUT | NEW_SET_AVAILABLE) {
        return None;
    }
    let passes = progressing.last_update_time.0.plus(deadline);
    Some(passes.since(now) + Duration::from_secs(1))
}

impl DeploymentStatus {
    /// As it is stored: counts of zero are left out, except where upstream keeps them.
    pub fn to_value(&self) -> Value {
        let mut value = json!({});
        let counts = [
            ("observedGeneration", self.observed_generation),
            ("replicas", self.replicas),
            ("updatedReplicas", self.updated_replicas),
            ("readyReplicas", self.ready_replicas),
            ("availableReplicas", self.available_replicas),
            ("unavailableReplicas", self.unavailable_replicas),
        ];
        for (field, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
            value[field] = json!(count);
        }
        let kept = [("terminatingReplicas", self.terminating_replicas), ("collisionCount", self.collision_count)];
        for (field, count) in kept {
            if let Some(count) = count {
                value[field] = json!(count);
            }
        }
        if !self.conditions.is_empty() {
            value["conditions"] = self.conditions.iter().map(Condition::to_value).collect();
        }
        value
    }
}
