//! Deletes jobs that ended as long ago as they say.

use crate::context::{Account, Context, unless_gone};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Condition, Time, View, or_default};
use api::{Result, Timestamp};
use client::{Cache, DeleteParams, JOBS, ObjectRef, Propagation, Resource, WorkQueue};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration = Declaration {
    name: "ttl-after-finished-controller",
    account: Account::Service("ttl-after-finished-controller"),
    make,
};

/// Of a job, when it ended and how long it stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct EndedJob {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    deletion_timestamp: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    ttl_seconds_after_finished: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

impl View for EndedJob {
    const RESOURCE: Resource = JOBS;
}

/// When a job is to go. `None` for one that runs, that stays, or that goes already.
fn until(job: &EndedJob) -> Option<Timestamp> {
    let stays = Duration::from_secs(job.spec.ttl_seconds_after_finished?);
    let ended = |c: &&Condition| matches!(c.kind.as_str(), "Complete" | "Failed") && c.status == "True";
    let ended = job.status.conditions.iter().find(ended)?.last_transition_time.0;
    job.metadata.deletion_timestamp.is_none().then(|| ended.plus(stays))
}

struct Ttl {
    context: Context,
    jobs: Cache<EndedJob>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<EndedJob>();
    let jobs = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| {
        if change.new.as_ref().is_some_and(|job| until(job).is_some()) {
            changed.add(change.key.clone());
        }
    });
    Controller::new(queue, Arc::new(Ttl { context: setup.context.clone(), jobs }))
}

impl Reconcile for Ttl {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let now = self.context.now();
        let Some(at) = self.jobs.get(key).and_then(|job| until(&job)) else { return Ok(None) };
        if now < at {
            return Ok(Some(at.since(now)));
        }
        // It may have been given more time since.
        let client = self.context.client(key);
        let Some(live) = unless_gone(client.get(JOBS, &key.namespace, &key.name).await)? else { return Ok(None) };
        let (uid, version) = (live["metadata"]["uid"].clone(), live["metadata"]["resourceVersion"].clone());
        let still = EndedJob::deserialize(live).ok().and_then(|job| until(&job));
        match still {
            Some(at) if now >= at => {
                let text = |value: serde_json::Value| value.as_str().map(str::to_owned);
                let exactly = DeleteParams {
                    propagation: Some(Propagation::Foreground),
                    uid: text(uid),
                    resource_version: text(version),
                    ..DeleteParams::default()
                };
                unless_gone(client.delete(JOBS, &key.namespace, &key.name, &exactly).await)?;
                Ok(None)
            }
            later => Ok(later.map(|at| at.since(now))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    #[test]
    fn a_job_goes_so_long_after_its_end() {
        let goes = |ttl: Value, kind: &str, status: &str, deleting: bool| {
            let at = "2026-01-01T00:00:00Z";
            let condition = json!({"type": kind, "status": status, "lastTransitionTime": at});
            let job: EndedJob = from_value(json!({
                "metadata": {"deletionTimestamp": deleting.then_some(at)},
                "spec": {"ttlSecondsAfterFinished": ttl}, "status": {"conditions": [condition]},
            }))
            .expect("a job");
            until(&job).map(|at| at.to_string())
        };
        let ten_later = Some("2026-01-01T00:00:10Z".to_owned());
        assert_eq!(goes(json!(10), "Complete", "True", false), ten_later);
        assert_eq!(goes(json!(10), "Failed", "True", false), ten_later);
        assert_eq!(goes(json!(10), "Failed", "False", false), None);
        assert_eq!(goes(json!(10), "Suspended", "True", false), None);
        assert_eq!(goes(Value::Null, "Complete", "True", false), None);
        assert_eq!(goes(json!(10), "Complete", "True", true), None);
    }
}
