//! Makes the jobs of a cron job when they are due, and removes old ones.

mod plan;
mod schedule;
#[cfg(test)]
mod tests;

use self::plan::{Observed, Plan};
use self::schedule::Schedule;
use super::owner::Owner;
use crate::context::{Account, Context, unless_gone};
use crate::recorder::{Event, Involved, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{CronJob, CronJobStatus, Job};
use api::selector::hash_key;
use api::{Result, Timestamp};
use client::{CRON_JOBS, Cache, Change, Client, DeleteParams, Index, JOBS, Names, ObjectRef, Propagation, WorkQueue};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "cronjob-controller", account: Account::Service("cronjob-controller"), make };

struct CronJobs {
    context: Context,
    cron_jobs: Cache<CronJob>,
    jobs: Index<Job>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue = WorkQueue::new();
    let context = setup.context.clone();
    let informer = setup.own::<CronJob>();
    let cache = informer.cache();
    let (changed, now) = (queue.clone(), context.now);
    informer.on_change(move |change| cron_job_changed(change, now(), &changed));
    let jobs = setup.informers.by_controller::<Job>();
    let (changed, known) = (queue.clone(), cache.clone());
    setup.dependents::<Job>("CronJob").on_change(move |change| {
        for job in [&change.old, &change.new].into_iter().flatten() {
            let Some(owner) = job.metadata.controller().filter(|o| o.kind == "CronJob") else { continue };
            let key = job.metadata.sibling(&owner.name);
            if known.get(&key).is_some_and(|c| c.metadata.uid == owner.uid) {
                changed.add(key);
            }
        }
    });
    Controller::new(queue, Arc::new(CronJobs { context, cron_jobs: cache, jobs }))
}

/// A new schedule holds from its next time on: runs that it would have had before are not made up for at once.
fn cron_job_changed(change: &Change<CronJob>, now: Timestamp, queue: &WorkQueue<ObjectRef>) {
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && (&old.spec.schedule, &old.spec.time_zone) != (&new.spec.schedule, &new.spec.time_zone)
        && let Ok(schedule) = Schedule::parse(&new.spec.schedule)
        && let Some(next) = plan::zone(new).and_then(|zone| plan::next_look(&schedule, &zone, now))
    {
        return queue.requeue_after(change.key.clone(), next);
    }
    queue.add(change.key.clone());
}

impl Reconcile for CronJobs {
    fn hash_key(&self, key: &ObjectRef) -> Option<u64> {
        self.cron_jobs.get(key).map(|cron_job| hash_key(&cron_job.metadata.uid))
    }

    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(cron_job) = self.cron_jobs.get(key) else { return Ok(None) };
        self.sync(key, &cron_job).await
    }
}

impl CronJobs {
    async fn sync(&self, key: &ObjectRef, cron_job: &CronJob) -> Result<Option<Duration>> {
        let client = self.context.client(key);
        let jobs: Vec<Arc<Job>> = self.jobs.get(&cron_job.metadata.uid).into_iter().map(|(_, job)| job).collect();
        let unseen = self.unseen(&client, cron_job, &jobs).await?;
        let noted = self.noted(&client, cron_job, &jobs).await?;
        let now = self.context.now();
        let Plan { mut status, notices, start, replace, remove, again } =
            plan::plan(&Observed { cron_job, jobs: &jobs, unseen: &unseen, noted: &noted, now });
        for notice in notices {
            self.record(cron_job, notice.severity, notice.reason, notice.message);
        }
        let started = self.start(&client, cron_job, start, &replace, &mut status).await;
        for job in &remove {
            self.delete(&client, cron_job, &job.metadata.name, &job.metadata.uid).await?;
            status.active.retain(|reference| reference["uid"] != *job.metadata.uid);
        }
        if status != cron_job.status {
            let version = &cron_job.metadata.resource_version;
            let change = |object: &mut Value| object["status"] = status.to_value();
            self.context.rewrite(CRON_JOBS, key, version, Some("status"), change).await?;
        }
        started.map(|()| again)
    }

    /// Of the active jobs that the cache does not show, those that are there.
    async fn unseen(&self, client: &Client, cron_job: &CronJob, jobs: &[Arc<Job>]) -> Result<HashSet<String>> {
        let mut found = HashSet::new();
        for reference in &cron_job.status.active {
            let uid = reference["uid"].as_str().unwrap_or_default();
            if jobs.iter().any(|job| job.metadata.uid == uid) {
                continue;
            }
            let name = reference["name"].as_str().unwrap_or_default();
            if unless_gone(client.get(JOBS, &cron_job.metadata.namespace, name).await)?.is_some() {
                found.insert(uid.to_owned());
            }
        }
        Ok(found)
    }

    /// What the cron job itself says to be active, if there is a job that it does not speak of in the cache.
    async fn noted(&self, client: &Client, cron_job: &CronJob, jobs: &[Arc<Job>]) -> Result<HashSet<String>> {
        let is_known = |job: &Job| cron_job.status.active.iter().any(|r| r["uid"] == *job.metadata.uid);
        if jobs.iter().all(|job| job.finished().is_some() || is_known(job)) {
            return Ok(HashSet::new());
        }
        let live = unless_gone(client.get(CRON_JOBS, &cron_job.metadata.namespace, &cron_job.metadata.name).await)?;
        let active = live.iter().filter_map(|live| live["status"]["active"].as_array()).flatten();
        Ok(active.filter_map(|reference| reference["uid"].as_str()).map(str::to_owned).collect())
    }

    /// Starts a run, and notes it.
    async fn start(
        &self,
        client: &Client,
        cron_job: &CronJob,
        start: Option<Timestamp>,
        replace: &[(String, String)],
        status: &mut CronJobStatus,
    ) -> Result<()> {
        let Some(due) = start else { return Ok(()) };
        for (name, uid) in replace {
            self.delete(client, cron_job, name, uid).await?;
            status.active.retain(|reference| reference["uid"] != **uid);
        }
        let owner = Owner {
            resource: CRON_JOBS,
            kind: "CronJob",
            metadata: &cron_job.metadata,
            selector: &Default::default(),
            finalizer: None,
        };
        let object = plan::new_job(cron_job, owner.reference(), due);
        let namespace = &cron_job.metadata.namespace;
        let job = match client.create(JOBS, namespace, &object).await {
            Ok(job) => {
                let name = job["metadata"]["name"].as_str().unwrap_or_default();
                self.record(cron_job, Severity::Normal, "SuccessfulCreate", format!("Created job {name}"));
                job
            }
            Err(error) if error.is_already_exists() => {
                // Made before, perhaps by this controller, which then could not note it.
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let job = client.get(JOBS, namespace, name).await?;
                let view: Job = serde_json::from_value(job.clone()).map_err(api::Error::internal)?;
                if !view.metadata.is_controlled_by(&cron_job.metadata.uid) {
                    return Ok(());
                }
                job
            }
            Err(error) if super::is_namespace_gone(&error) => return Ok(()),
            Err(error) => {
                self.record(cron_job, Severity::Warning, "FailedCreate", format!("Error creating job: {error}"));
                return Err(error);
            }
        };
        status.active.push(plan::reference(&job));
        status.last_schedule_time = Some(crate::view::Time(due));
        Ok(())
    }

    async fn delete(&self, client: &Client, cron_job: &CronJob, name: &str, uid: &str) -> Result<()> {
        let how = DeleteParams { propagation: Some(Propagation::Background), ..DeleteParams::of_uid(uid) };
        match client.delete(JOBS, &cron_job.metadata.namespace, name, &how).await {
            Ok(()) => {
                self.record(cron_job, Severity::Normal, "SuccessfulDelete", format!("Deleted job {name}"));
                Ok(())
            }
            // Gone already, or another job of the same name: as was wanted.
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => {
                self.record(cron_job, Severity::Warning, "FailedDelete", format!("Deleted job: {error}"));
                Err(error)
            }
        }
    }

    fn record(&self, cron_job: &CronJob, severity: Severity, reason: &'static str, message: String) {
        let about = Involved {
            key: cron_job.metadata.key(),
            api_version: CRON_JOBS.api_version(),
            kind: "CronJob".to_owned(),
            uid: cron_job.metadata.uid.clone(),
        };
        self.context.recorder.record(Event { about, severity, reason, message });
    }
}
