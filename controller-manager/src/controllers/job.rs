//! Runs the pods of a job until enough have succeeded, or too many have failed.

mod indexes;
mod orphans;
mod plan;
mod pods;
mod policy;
#[cfg(test)]
mod tests;
mod tracking;

use self::orphans::Orphans;
use self::plan::{Look, Manage, Observed};
use self::policy::{FINALIZER, Failures, is_tracked};
use self::tracking::{Managed, Notice, Tracking};
use super::expectations::Expectations;
use super::owner::{Claim, Recheck};
use super::pod_control::{PodControl, controller_of};
use super::pod_owner::{self, PodOwner};
use crate::context::{Account, Context, unless_gone};
use crate::informers::orphans_of;
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Job, JobStatus, Meta, Pod, Selector};
use api::Result;
use client::{Cache, Client, Index, JOBS, ObjectRef, PODS, PatchType, WorkQueue};
use futures::FutureExt;
use futures::future::join_all;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "job-controller", account: Account::Service("job-controller"), make };

/// What `spec.managedBy` names this controller by.
const MANAGED_BY: &str = "kubernetes.io/job-controller";

struct Jobs {
    context: Context,
    jobs: Cache<Job>,
    pods: Index<Pod>,
    expectations: Arc<Expectations>,
    /// Pods that were let go, until the cache shows it: they are not counted twice.
    let_go: Arc<Expectations>,
    /// The failures in a row of each job, by its uid.
    failures: Arc<Mutex<HashMap<String, Failures>>>,
}

impl PodOwner for Job {
    const KIND: &'static str = "Job";
    const FINALIZER: Option<&'static str> = Some(FINALIZER);
    const GATHERS: Duration = Duration::from_secs(1);

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
    let let_go = Arc::new(Expectations::default());
    let failures: Arc<Mutex<HashMap<String, Failures>>> = Arc::default();
    let jobs = pod_owner::follow::<Job>(setup, &expectations, &queue);
    let pods = setup.informers.by_controller::<Pod>();
    let orphans = WorkQueue::new();
    let (forget, forget_failures, of_job, gone) = (let_go.clone(), failures.clone(), pods.clone(), orphans.clone());
    setup.own::<Job>().on_change(move |change| {
        if let Some(old) = change.old.as_ref().filter(|_| change.new.is_none()) {
            forget.forget(&old.metadata.uid);
            forget_failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&old.metadata.uid);
            for (key, _) in of_job.get(&old.metadata.uid).into_iter().filter(|(_, pod)| is_tracked(pod)) {
                gone.add(key);
            }
        }
    });
    let (released, known, lost) = (let_go.clone(), jobs.clone(), orphans.clone());
    setup.dependents::<Pod>(Job::KIND).on_change(move |change| {
        if let Some(old) = change.old.as_ref().filter(|old| is_tracked(old))
            && change.new.as_ref().is_none_or(|new| !is_tracked(new))
            && let Some((_, uid)) = controller_of(old, Job::KIND)
        {
            released.saw_deletion(&uid, &old.metadata.uid);
        }
        if let Some(new) = change.new.as_ref().filter(|new| is_tracked(new) && orphans::may_be(new, &known)) {
            lost.add(new.metadata.key());
        }
    });
    let context = setup.context.clone();
    let pod_cache = setup.dependents::<Pod>(Job::KIND).cache();
    let freeing = Arc::new(Orphans { context: context.clone(), jobs: jobs.clone(), pods: pod_cache });
    let controller = Jobs { context, jobs, pods, expectations, let_go, failures };
    let part = setup.part.clone();
    Controller::new(queue, Arc::new(controller))
        .beside(move |stop| crate::runner::work("job-controller", freeing, orphans, part, stop).boxed())
}

impl Reconcile for Jobs {
    fn hash_key(&self, key: &ObjectRef) -> Option<u64> {
        self.jobs.get(key).map(|job| job.hash_key())
    }

    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(job) = self.jobs.get(key) else { return Ok(None) };
        let is_others = job.spec.managed_by.as_deref().is_some_and(|manager| manager != MANAGED_BY);
        if is_others || job.finished().is_some() {
            self.remembered().remove(&job.metadata.uid);
            return Ok(None);
        }
        self.sync(key, &job).await
    }
}

impl Jobs {
    async fn sync(&self, key: &ObjectRef, job: &Job) -> Result<Option<Duration>> {
        let uid = &job.metadata.uid;
        let unmet = self.expectations.unmet(uid);
        let let_go = self.let_go.deletions(uid);
        let pods = self.claim(key, job).await?;
        let failures = self.remembered().get(uid).copied().unwrap_or_else(|| {
            let counted = |p: &&Arc<Pod>| p.status.phase == "Failed" && !is_tracked(p);
            let succeeded: Vec<&Pod> =
                pods.iter().filter(|p| p.status.phase == "Succeeded" && !is_tracked(p)).map(Arc::as_ref).collect();
            let failed: Vec<&Pod> = pods.iter().filter(counted).map(Arc::as_ref).collect();
            Failures::default().with(&succeeded, &failed)
        });
        let now = self.context.now();
        let seen = Observed { job, pods: &pods, let_go: &let_go, failures, now };
        let look = Look::at(&seen);
        let control = PodControl { context: &self.context, expectations: &self.expectations, about: job.involved() };
        let manage = look.manage(unmet.is_none());
        let (managed, done) = self.manage(&control, &look, &manage).await;
        let tracking = tracking::track(&look, &manage, managed, unmet.is_none());
        self.count(key, job, tracking, &control).await?;
        self.remembered().insert(uid.clone(), look.failures);
        done?;
        let wait = match manage {
            Manage::Wait(wait) => Some(wait),
            _ => None,
        };
        Ok([unmet, look.again, wait].into_iter().flatten().filter(|d| !d.is_zero()).min())
    }

    /// Adopts and releases, and returns the pods that are the job's in the end.
    async fn claim(&self, key: &ObjectRef, job: &Job) -> Result<Vec<Arc<Pod>>> {
        let client = self.context.client(key);
        let owner = job.owner();
        let owned = self.pods.get(&job.metadata.uid).into_iter();
        let mut recheck = Recheck::new(&client, key);
        let mut claimed = Vec::new();
        for (_, pod) in owned.chain(self.pods.get(&orphans_of(key))) {
            match owner.settle(&client, &mut recheck, PODS, &pod.metadata).await? {
                Claim::Owned => claimed.push(pod),
                Claim::Adopt => {
                    let mut adopted = Pod::clone(&pod);
                    adopted.metadata.finalizers.push(FINALIZER.to_owned());
                    claimed.push(Arc::new(adopted));
                }
                Claim::Release | Claim::None => {}
            }
        }
        Ok(claimed)
    }

    /// Creates or deletes pods as planned.
    async fn manage(&self, control: &PodControl<'_>, look: &Look<'_>, manage: &Manage) -> (Managed, Result<()>) {
        let job = look.seen.job;
        let pod = || pods::new(job, job.owner().reference());
        match manage {
            Manage::Nothing | Manage::Wait(_) => (Managed { whole: true, ..Managed::default() }, Ok(())),
            Manage::Create(count) => {
                let pod = pod();
                created(control.create(*count, |_| Cow::Borrowed(&pod)).await)
            }
            Manage::CreateIndexes(indexes) => {
                let pod = pod();
                let of_index = |i: usize| {
                    let index = indexes[i];
                    Cow::Owned(pods::with_index(job, &pod, index, look.kept.get(&index).map(Arc::as_ref)))
                };
                created(control.create(indexes.len(), of_index).await)
            }
            Manage::End(victims) => deleted(victims, control.delete(victims).await),
            Manage::Delete(victims) => {
                // They do not count, however they end.
                let client = self.context.client(&control.about.key);
                self.release(&client, &job.metadata.uid, victims).await;
                deleted(victims, control.delete(victims).await)
            }
        }
    }

    /// Notes what has ended, lets it go, and counts it.
    async fn count(&self, key: &ObjectRef, job: &Job, tracking: Tracking, control: &PodControl<'_>) -> Result<()> {
        let mut version = job.metadata.resource_version.clone();
        let first = tracking.status.clone();
        // What is noted is safe, whatever comes between.
        let notes = first.uncounted_terminated_pods != job.status.uncounted_terminated_pods
            || first.conditions != job.status.conditions
            || first.completed_indexes != job.status.completed_indexes
            || first.failed_indexes != job.status.failed_indexes;
        let mut written = &job.status;
        if notes {
            version = self.write_status(key, &version, &first).await?;
            written = &first;
        }
        let client = self.context.client(key);
        let gone = self.release(&client, &job.metadata.uid, &tracking.let_go).await;
        let whole = gone.len() == tracking.let_go.len();
        let (last, notices) = tracking.finish(&gone, job, self.context.now());
        if last != *written {
            self.write_status(key, &version, &last).await?;
        }
        for Notice { severity, reason, message } in notices {
            let about = control.about.clone();
            self.context.recorder.record(crate::recorder::Event { about, severity, reason, message });
        }
        if whole {
            return Ok(());
        }
        Err(api::Error::conflict("batch", "jobs", &key.name, "some of its pods could not be let go"))
    }

    async fn write_status(&self, key: &ObjectRef, version: &str, status: &JobStatus) -> Result<String> {
        let change = |object: &mut Value| object["status"] = status.to_value();
        let written = self.context.rewrite(JOBS, key, version, Some("status"), change).await?;
        Ok(written["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned())
    }

    /// Takes the finalizer off pods. Returns the uids of those that are without it.
    async fn release(&self, client: &Client, job: &str, pods: &[Arc<Pod>]) -> HashSet<String> {
        self.let_go.expect_deletions(job, pods.iter().map(|p| p.metadata.uid.clone()));
        let released = join_all(pods.iter().map(|pod| let_go(client, pod))).await;
        let mut gone = HashSet::new();
        for (pod, outcome) in pods.iter().zip(released) {
            match outcome {
                Ok(()) => drop(gone.insert(pod.metadata.uid.clone())),
                Err(error) => {
                    tracing::debug!(pod = %pod.metadata.key(), %error, "a pod keeps its finalizer for now");
                    self.let_go.saw_deletion(job, &pod.metadata.uid);
                }
            }
        }
        gone
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<String, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the finalizer off exactly this pod.
async fn let_go(client: &Client, pod: &Pod) -> Result<()> {
    if !is_tracked(pod) {
        return Ok(());
    }
    let Meta { namespace, name, uid, .. } = &pod.metadata;
    let patch = json!({"metadata": {"uid": uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
    match client.patch(PODS, namespace, name, PatchType::Strategic, &patch, None).await {
        // It is gone, and another has its name.
        Err(error) if error.is_conflict() => Ok(()),
        answer => unless_gone(answer).map(drop),
    }
}

fn created((count, done): (usize, Result<()>)) -> (Managed, Result<()>) {
    (Managed { created: count as i64, whole: true, ..Managed::default() }, done)
}

fn deleted(victims: &[Arc<Pod>], (count, done): (usize, Result<()>)) -> (Managed, Result<()>) {
    let whole = done.is_ok();
    let deleted_ready = if whole { victims.iter().filter(|p| p.is_ready()).count() as i64 } else { 0 };
    let deleted = if whole { victims.len() } else { count } as i64;
    (Managed { deleted, deleted_ready, whole, ..Managed::default() }, done)
}
