//! What a job does next about its pods, and whether it has ended. Pure.

use super::indexes::Indexes;
use super::policy::{self, Failures, Verdict, has_failed, index_of, is_indexed, is_tracked};
use crate::view::{Condition, Job, Pod, Time};
use api::Timestamp;
use std::cmp::{Ordering, Reverse};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// The most pods that one look creates or deletes.
pub const BURST_PODS: usize = 500;

pub const SUCCESS_MET: &str = "SuccessCriteriaMet";
pub const FAILURE_TARGET: &str = "FailureTarget";

/// What a look at a job sees.
pub struct Observed<'a> {
    pub job: &'a Job,
    /// The job's pods.
    pub pods: &'a [Arc<Pod>],
    /// The uids of pods that were let go, which a cache may not show yet.
    pub let_go: &'a HashSet<String>,
    /// The failures since the last success, without those of pods that are not counted yet.
    pub failures: Failures,
    pub now: Timestamp,
}

/// What a look makes of what it sees.
pub struct Look<'a> {
    pub seen: &'a Observed<'a>,
    pub active: Vec<Arc<Pod>>,
    pub terminating: i64,
    pub succeeded: i64,
    pub failed: i64,
    pub failures: Failures,
    /// Indexes that had succeeded before, and now.
    pub known_indexes: Indexes,
    pub indexes: Indexes,
    pub failed_indexes: Option<Indexes>,
    /// Failed pods that are kept, because they count the failures of an index that has no other pod.
    pub kept: HashMap<i64, Arc<Pod>>,
    /// How the job ends, if it does.
    pub ending: Option<Condition>,
    /// When to look again, even if nothing changes.
    pub again: Option<Duration>,
}

/// What is to be done about the number of pods.
#[derive(Clone, Debug, PartialEq)]
pub enum Manage {
    Nothing,
    /// The job ends: all that is active goes, and counts as failed.
    End(Vec<Arc<Pod>>),
    /// These go, and do not count.
    Delete(Vec<Arc<Pod>>),
    Create(usize),
    CreateIndexes(Vec<i64>),
    /// Pods failed: the next comes after a time.
    Wait(Duration),
}

pub fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_probe_time: Time(now),
        last_transition_time: Time(now),
        ..Condition::default()
    }
}

fn has<'a>(job: &'a Job, kind: &str) -> Option<&'a Condition> {
    job.status.conditions.iter().find(|c| c.kind == kind && c.status == "True")
}

impl<'a> Look<'a> {
    pub fn at(seen: &'a Observed<'a>) -> Look<'a> {
        let (job, pods) = (seen.job, seen.pods);
        let active: Vec<_> = pods.iter().filter(|p| p.is_active()).cloned().collect();
        let leaving = |p: &&Arc<Pod>| p.metadata.is_deleting() && !p.is_finished();
        let terminating = pods.iter().filter(leaving).count() as i64;
        let uncounted = job.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let is_new = |p: &&Arc<Pod>, counted: &[String]| {
            let uid = &p.metadata.uid;
            is_tracked(p)
                && !seen.let_go.contains(uid)
                && !counted.contains(uid)
                && (!is_indexed(job) || index_of(job, p).is_some())
        };
        let of = |counted: &[String], ended: &dyn Fn(&Pod) -> bool| -> Vec<&Pod> {
            pods.iter().filter(|p| ended(p) && is_new(p, counted)).map(Arc::as_ref).collect()
        };
        let succeeded = of(&uncounted.succeeded, &|p| p.status.phase == "Succeeded");
        let failed = of(&uncounted.failed, &|p| has_failed(job, p));
        let counted = failed.iter().filter(|p| policy::judge(job, p) != Verdict::Ignore).count();
        let mut look = Look {
            seen,
            active,
            terminating,
            succeeded: job.status.succeeded + (succeeded.len() + uncounted.succeeded.len()) as i64,
            failed: job.status.failed + (counted + uncounted.failed.len()) as i64,
            failures: seen.failures.with(&succeeded, &failed),
            known_indexes: Indexes::default(),
            indexes: Indexes::default(),
            failed_indexes: None,
            kept: HashMap::new(),
            ending: None,
            again: None,
        };
        if is_indexed(job) {
            look.count_indexes();
        }
        look.ending = look.how_it_ends();
        look.again = look.deadline_in();
        look
    }

    fn count_indexes(&mut self) {
        let (job, pods) = (self.seen.job, self.seen.pods);
        let completions = policy::completions(job);
        self.known_indexes = Indexes::parse(&job.status.completed_indexes, completions);
        let done = pods.iter().filter(|p| p.status.phase == "Succeeded" && is_tracked(p));
        self.indexes = self.known_indexes.with(done.filter_map(|p| index_of(job, p)));
        self.succeeded = self.indexes.total();
        let Some(limit) = job.spec.backoff_limit_per_index else { return };
        let failed = |p: &&Arc<Pod>| is_tracked(p) && has_failed(job, p);
        let is_over = |p: &&Arc<Pod>| match policy::judge(job, p) {
            Verdict::FailIndex => true,
            Verdict::Ignore => false,
            Verdict::Count | Verdict::FailJob(_) => policy::index_failures(p).0 >= limit,
        };
        let known = Indexes::parse(job.status.failed_indexes.as_deref().unwrap_or_default(), completions);
        let over = pods.iter().filter(failed).filter(is_over).filter_map(|p| index_of(job, p));
        let failed_indexes = known.with(over);
        let active: HashSet<i64> = self.active.iter().filter_map(|p| index_of(job, p)).collect();
        for pod in pods.iter().filter(failed).filter(|p| !self.seen.let_go.contains(&p.metadata.uid)) {
            let Some(index) = index_of(job, pod) else { continue };
            if active.contains(&index) || failed_indexes.has(index) || self.indexes.has(index) {
                continue;
            }
            let rank = |p: &Pod| (policy::index_failures(p).1, policy::ended_at(p));
            let kept = self.kept.entry(index).or_insert_with(|| pod.clone());
            if rank(kept) <= rank(pod) {
                *kept = pod.clone();
            }
        }
        self.failed_indexes = Some(failed_indexes);
    }

    /// The first of all reasons to end, as far as pods and time give one.
    fn how_it_ends(&self) -> Option<Condition> {
        let (job, now) = (self.seen.job, self.seen.now);
        let failure = |reason: &str, message: &str| Some(condition(FAILURE_TARGET, "True", reason, message, now));
        if let Some(met) = has(job, SUCCESS_MET) {
            return Some(met.clone());
        }
        if let Some(target) = has(job, FAILURE_TARGET) {
            return Some(condition("Failed", "True", &target.reason, &target.message, now));
        }
        let verdicts = self.seen.pods.iter().filter(|p| has_failed(job, p)).map(|p| policy::judge(job, p));
        if job.spec.pod_failure_policy.is_some()
            && let Some(message) = verdicts.into_iter().find_map(|v| match v {
                Verdict::FailJob(message) => Some(message),
                Verdict::Count | Verdict::Ignore | Verdict::FailIndex => None,
            })
        {
            return failure("PodFailurePolicy", &message);
        }
        let limit = job.spec.backoff_limit.unwrap_or(6);
        if self.failed > limit || self.restarts_reach(limit) {
            return failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        if self.deadline_in().is_some_and(|left| left.is_zero()) {
            return failure("DeadlineExceeded", "Job was active longer than specified deadline");
        }
        if let Some(failed) = &self.failed_indexes {
            if job.spec.max_failed_indexes.is_some_and(|most| failed.total() > most) {
                let message = "Job has exceeded the specified maximal number of failed indexes";
                return failure("MaxFailedIndexesExceeded", message);
            }
            if failed.total() > 0 && failed.total() + self.indexes.total() >= policy::completions(job) {
                return failure("FailedIndexes", "Job has failed indexes");
            }
        }
        let message = policy::success(job, &self.indexes).filter(|_| is_indexed(job))?;
        Some(condition(SUCCESS_MET, "True", "SuccessPolicy", &message, now))
    }

    /// Containers that are restarted within their pods count, where pods do that.
    fn restarts_reach(&self, limit: i64) -> bool {
        if self.seen.job.spec.template["spec"]["restartPolicy"] != "OnFailure" {
            return false;
        }
        let waiting = self.seen.pods.iter().filter(|p| matches!(p.status.phase.as_str(), "Running" | "Pending"));
        let statuses =
            waiting.flat_map(|p| p.status.container_statuses.iter().chain(&p.status.init_container_statuses));
        let restarts: i64 = statuses.map(|s| i64::from(s.restart_count)).sum();
        restarts >= limit.max(1)
    }

    /// How long the job may still be active, if that is limited.
    fn deadline_in(&self) -> Option<Duration> {
        let job = self.seen.job;
        let secs = job.spec.active_deadline_seconds.filter(|_| !is_suspended(job))?;
        let start = job.status.start_time?;
        Some(Duration::from_secs(secs.try_into().unwrap_or(0)).saturating_sub(self.seen.now.since(start.0)))
    }

    pub fn ready(&self) -> i64 {
        self.active.iter().filter(|p| p.is_ready()).count() as i64
    }

    /// What to do about the number of pods. `settled` says that all which was asked for before has been seen.
    pub fn manage(&self, settled: bool) -> Manage {
        let job = self.seen.job;
        if self.ending.is_some() {
            return Manage::End(self.active.clone());
        }
        if !settled || job.metadata.is_deleting() {
            return Manage::Nothing;
        }
        let active = self.active.len() as i64;
        let parallelism = job.spec.parallelism.unwrap_or(1);
        let wanted = match job.spec.completions {
            _ if is_suspended(job) => 0,
            Some(completions) => (completions - self.succeeded).min(parallelism).max(0),
            // Once one has succeeded, the others are waited for.
            None if self.succeeded > 0 => active,
            None => parallelism,
        };
        let surplus = self.surplus(usize::try_from(active - wanted).unwrap_or(0));
        if !surplus.is_empty() || is_suspended(job) {
            return if surplus.is_empty() { Manage::Nothing } else { Manage::Delete(surplus) };
        }
        let leaving = if policy::replaces_only_failed(job) { self.terminating } else { 0 };
        let missing = usize::try_from(wanted - leaving - active).unwrap_or(0).min(BURST_PODS);
        if missing == 0 {
            return Manage::Nothing;
        }
        if job.spec.backoff_limit_per_index.is_none() {
            let wait = self.failures.wait(self.seen.now);
            if !wait.is_zero() {
                return Manage::Wait(wait);
            }
        }
        if is_indexed(job) { self.create_indexes(missing) } else { Manage::Create(missing) }
    }

    fn create_indexes(&self, count: usize) -> Manage {
        let job = self.seen.job;
        let leaving = self.seen.pods.iter().filter(|p| p.metadata.is_deleting() && !p.is_finished());
        let leaving = leaving.filter(|_| policy::replaces_only_failed(job)).filter_map(|p| index_of(job, p));
        let active = self.active.iter().filter_map(|p| index_of(job, p));
        let taken = self.indexes.with(active.chain(leaving));
        let taken = taken.union(self.failed_indexes.as_ref().unwrap_or(&Indexes::default()));
        let missing = taken.first_missing(count, policy::completions(job));
        let wait = |index: &i64| {
            self.kept.get(index).map_or(Duration::ZERO, |pod| {
                policy::wait(policy::index_failures(pod).1 + 1, policy::ended_at(pod), self.seen.now)
            })
        };
        let (now, later): (Vec<i64>, Vec<i64>) = missing.into_iter().partition(|index| wait(index).is_zero());
        match (now.is_empty(), later.iter().map(wait).min()) {
            (true, Some(wait)) => Manage::Wait(wait),
            (true, None) => Manage::Nothing,
            (false, _) => Manage::CreateIndexes(now),
        }
    }

    /// The active pods that go: those that share an index or have none of the job's, and more up to `at_least`.
    fn surplus(&self, at_least: usize) -> Vec<Arc<Pod>> {
        let job = self.seen.job;
        let mut left = self.active.clone();
        left.sort_by(|a, b| first_to_go(a, b));
        let mut gone = Vec::new();
        if is_indexed(job) {
            let mut seen = HashSet::new();
            // From the last to go, so that of each index the best stays.
            let (stay, go): (Vec<_>, Vec<_>) =
                left.into_iter().rev().partition(|p| index_of(job, p).is_some_and(|index| seen.insert(index)));
            gone = go;
            left = stay.into_iter().rev().collect();
        }
        let more = at_least.saturating_sub(gone.len());
        gone.extend(left.into_iter().take(more));
        gone.truncate(BURST_PODS);
        gone
    }
}

pub fn is_suspended(job: &Job) -> bool {
    job.spec.suspend == Some(true)
}

/// `Less` is lost more easily: what does not run yet, is not ready, or has been so for a shorter time.
fn first_to_go(a: &Pod, b: &Pod) -> Ordering {
    let phase = |p: &Pod| match p.status.phase.as_str() {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let ready_since = |p: &Pod| p.ready_condition().filter(|c| c.status == "True").map(|c| c.last_transition_time);
    let restarts = |p: &Pod| p.status.container_statuses.iter().map(|s| s.restart_count).max().unwrap_or(0);
    let rank = |p: &Pod| {
        let created = p.metadata.creation_timestamp;
        let placed = !p.spec.node_name.is_empty();
        (placed, phase(p), p.is_ready(), Reverse(ready_since(p)), Reverse(restarts(p)), Reverse(created))
    };
    rank(a).cmp(&rank(b)).then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}
