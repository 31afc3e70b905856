//! How a job counts the pods that have ended, each exactly once: their uids are noted in its status before they lose
//! their finalizer, and turn into counts after. Pure.

use super::plan::{FAILURE_TARGET, Look, Manage, SUCCESS_MET, condition, is_suspended};
use super::policy::{self, Verdict, has_failed, index_of, is_indexed, is_tracked};
use crate::recorder::Severity;
use crate::view::{Condition, Job, JobStatus, Pod, Time, Uncounted};
use api::Timestamp;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// Uids that a status holds at once: some 20 kB.
const UNCOUNTED_PODS_MAX: usize = 500;

/// Why a job fails.
const FAILURES: [&str; 5] =
    ["PodFailurePolicy", "BackoffLimitExceeded", "DeadlineExceeded", "MaxFailedIndexesExceeded", "FailedIndexes"];

/// Something to tell the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub severity: Severity,
    pub reason: &'static str,
    pub message: String,
}

/// What became of a plan about the number of pods.
#[derive(Clone, Copy, Debug, Default)]
pub struct Managed {
    pub created: i64,
    pub deleted: i64,
    pub deleted_ready: i64,
    /// All that was to be deleted was.
    pub whole: bool,
}

/// The first half of a count: the status to write, and the pods to let go then.
#[derive(Debug)]
pub struct Tracking {
    pub status: JobStatus,
    pub let_go: Vec<Arc<Pod>>,
    pub notices: Vec<Notice>,
    ending: Option<Condition>,
    /// There are more pods to count than one status can hold.
    is_partial: bool,
}

/// What to note, after the number of pods was managed. `settled` as in [`Look::manage`].
pub fn track(look: &Look<'_>, manage: &Manage, managed: Managed, settled: bool) -> Tracking {
    let (job, now) = (look.seen.job, look.seen.now);
    let mut status = job.status.clone();
    let mut notices = Vec::new();
    let mut ending = look.ending.clone();
    let mut active = look.active.len() as i64 - managed.deleted + managed.created;
    if matches!(manage, Manage::Wait(_)) {
        // Upstream counts none while it waits.
        active = 0;
    }
    status.ready = Some(look.ready() - managed.deleted_ready);
    status.terminating = Some(look.terminating + managed.deleted);
    if status.start_time.is_none() && !is_suspended(job) {
        status.start_time = Some(Time(now));
    }
    if ending.is_some() {
        if !managed.whole || !settled {
            // Pods that are not seen yet, or would not go, are to be counted first.
            ending = None;
        }
    } else {
        let complete = match job.spec.completions {
            Some(completions) => look.succeeded >= completions,
            None => look.succeeded > 0,
        };
        if complete && active == 0 {
            let message = "Reached expected number of succeeded pods";
            ending = Some(condition(SUCCESS_MET, "True", "CompletionsReached", message, now));
        } else if settled && !job.metadata.is_deleting() {
            suspend_or_resume(job, &mut status, &mut notices, now);
        }
    }
    status.active = active;
    let mut tracking = Tracking { status, let_go: Vec::new(), notices, ending, is_partial: false };
    tracking.note_ended(look);
    if let Some(ending) = &mut tracking.ending {
        // First what it comes to, then, when all is counted, that it has.
        let last = match ending.kind.as_str() {
            FAILURE_TARGET => "Failed",
            SUCCESS_MET => "Complete",
            other => other,
        }
        .to_owned();
        if ending.kind != last && !tracking.status.conditions.iter().any(|c| c.kind == ending.kind) {
            tracking.status.conditions.push(ending.clone());
        }
        *ending = condition(&last, "True", &ending.reason, &ending.message, now);
    }
    tracking
}

fn suspend_or_resume(job: &Job, status: &mut JobStatus, notices: &mut Vec<Notice>, now: Timestamp) {
    let known = status.conditions.iter_mut().find(|c| c.kind == "Suspended");
    let (value, reason, message) = match is_suspended(job) {
        true => ("True", "JobSuspended", "Job suspended"),
        false => ("False", "JobResumed", "Job resumed"),
    };
    let new = condition("Suspended", value, reason, message, now);
    match known {
        Some(known) if known.status == value => return,
        Some(known) => *known = new,
        None if value == "False" => return,
        None => status.conditions.push(new),
    }
    // The time while it is suspended does not count.
    status.start_time = (!is_suspended(job)).then_some(Time(now));
    let reason = if is_suspended(job) { "Suspended" } else { "Resumed" };
    notices.push(Notice { severity: Severity::Normal, reason, message: message.to_owned() });
}

impl Tracking {
    /// Notes the pods that have ended and are not counted yet.
    fn note_ended(&mut self, look: &Look<'_>) {
        let job = look.seen.job;
        let tracked = |p: &&Arc<Pod>| is_tracked(p) && !look.seen.let_go.contains(&p.metadata.uid);
        let held: HashSet<&str> = look.seen.pods.iter().filter(tracked).map(|p| p.metadata.uid.as_str()).collect();
        let mut uncounted = self.status.uncounted_terminated_pods.take().unwrap_or_default();
        count_gone(&mut self.status, &mut uncounted, &held);
        let (before_ok, before_bad): (HashSet<String>, HashSet<String>) =
            (uncounted.succeeded.iter().cloned().collect(), uncounted.failed.iter().cloned().collect());
        let is_failure = self.ending.as_ref().is_some_and(|e| e.kind != SUCCESS_MET);
        let mut pods: Vec<&Arc<Pod>> = look.seen.pods.iter().filter(tracked).collect();
        pods.sort_by_key(|p| index_of(job, p));
        let mut new_indexes = Vec::new();
        for pod in pods {
            let (uid, failed) = (&pod.metadata.uid, has_failed(job, pod));
            if !self.may_go(look, pod, failed) {
                continue;
            }
            self.let_go.push(pod.clone());
            let index = index_of(job, pod);
            let is_ours = !is_indexed(job) || index.is_some();
            if pod.status.phase == "Succeeded" && !before_bad.contains(uid) {
                match index.filter(|_| is_indexed(job)) {
                    Some(index) if !look.known_indexes.has(index) => new_indexes.push(index),
                    Some(_) => {}
                    None if !is_indexed(job) && !before_ok.contains(uid) => uncounted.succeeded.push(uid.clone()),
                    None => {}
                }
            } else if (failed || is_failure) && is_ours && !before_bad.contains(uid) && counts(job, pod, failed) {
                uncounted.failed.push(uid.clone());
            }
            if new_indexes.len() + uncounted.succeeded.len() + uncounted.failed.len() >= UNCOUNTED_PODS_MAX {
                self.is_partial = true;
                break;
            }
        }
        if is_indexed(job) {
            let indexes = look.known_indexes.with(new_indexes);
            self.status.succeeded = indexes.total();
            self.status.completed_indexes = indexes.to_string();
            self.status.failed_indexes = look.failed_indexes.as_ref().map(ToString::to_string);
        }
        self.status.uncounted_terminated_pods = Some(uncounted);
    }

    fn may_go(&self, look: &Look<'_>, pod: &Pod, failed: bool) -> bool {
        let job = look.seen.job;
        if job.metadata.is_deleting() || self.ending.is_some() || pod.status.phase == "Succeeded" {
            return true;
        }
        let is_kept = || {
            let kept = index_of(job, pod).and_then(|index| look.kept.get(&index));
            kept.is_some_and(|kept| kept.metadata.uid == pod.metadata.uid)
        };
        failed && !is_kept()
    }

    /// The second half: the status after these pods were let go, and what to tell if the job has ended with it.
    pub fn finish(self, gone: &HashSet<String>, job: &Job, now: Timestamp) -> (JobStatus, Vec<Notice>) {
        let mut status = self.status;
        let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
        let all: Vec<String> = uncounted.succeeded.iter().chain(&uncounted.failed).cloned().collect();
        let held = all.iter().map(String::as_str).filter(|uid| !gone.contains(*uid)).collect();
        count_gone(&mut status, &mut uncounted, &held);
        let is_counted = uncounted.succeeded.is_empty() && uncounted.failed.is_empty() && !self.is_partial;
        status.uncounted_terminated_pods = Some(uncounted);
        let mut notices = self.notices;
        if let Some(ending) = self.ending
            && is_counted
            && status.terminating == Some(0)
        {
            if ending.kind == "Complete" {
                status.completion_time = Some(Time(now));
                if job.spec.completions.is_some_and(|wanted| status.succeeded > wanted) {
                    let message = "Too many succeeded pods running after completion count reached".to_owned();
                    let reason = "TooManySucceededPods";
                    notices.push(Notice { severity: Severity::Warning, reason, message });
                }
                let message = "Job completed".to_owned();
                notices.push(Notice { severity: Severity::Normal, reason: "Completed", message });
            } else {
                let known = FAILURES.into_iter().find(|reason| *reason == ending.reason);
                let (reason, message) = (known.unwrap_or("Failed"), ending.message.clone());
                notices.push(Notice { severity: Severity::Warning, reason, message });
            }
            status.conditions.push(ending);
        }
        (status, notices)
    }
}

/// A failure that the job's rules ignore does not count.
fn counts(job: &Job, pod: &Pod, failed: bool) -> bool {
    !failed || policy::judge(job, pod) != Verdict::Ignore
}

/// Turns the uids of pods that are not held any more into counts.
fn count_gone(status: &mut JobStatus, uncounted: &mut Uncounted, held: &HashSet<&str>) {
    let take = |uids: &mut Vec<String>| {
        let before = uids.len();
        uids.retain(|uid| held.contains(uid.as_str()));
        (before - uids.len()) as i64
    };
    status.succeeded += take(&mut uncounted.succeeded);
    status.failed += take(&mut uncounted.failed);
}

impl JobStatus {
    /// As it is stored: counts of zero are left out, except where upstream keeps them.
    pub fn to_value(&self) -> Value {
        let mut value = json!({});
        for (field, count) in [("active", self.active), ("succeeded", self.succeeded), ("failed", self.failed)] {
            if count != 0 {
                value[field] = json!(count);
            }
        }
        for (field, count) in [("ready", self.ready), ("terminating", self.terminating)] {
            if let Some(count) = count {
                value[field] = json!(count);
            }
        }
        for (field, time) in [("startTime", self.start_time), ("completionTime", self.completion_time)] {
            if let Some(time) = time {
                value[field] = json!(time.0.to_string());
            }
        }
        if !self.completed_indexes.is_empty() {
            value["completedIndexes"] = json!(self.completed_indexes);
        }
        if let Some(failed) = &self.failed_indexes {
            value["failedIndexes"] = json!(failed);
        }
        if let Some(uncounted) = &self.uncounted_terminated_pods {
            value["uncountedTerminatedPods"] = json!({});
            for (field, uids) in [("succeeded", &uncounted.succeeded), ("failed", &uncounted.failed)] {
                if !uids.is_empty() {
                    value["uncountedTerminatedPods"][field] = json!(uids);
                }
            }
        }
        if !self.conditions.is_empty() {
            value["conditions"] = self.conditions.iter().map(Condition::to_value).collect();
        }
        value
    }
}
