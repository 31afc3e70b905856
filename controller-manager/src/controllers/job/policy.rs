//! What a job makes of the ends of its pods: which failures count, what ends the job, and how long to wait before the
//! next pod. Pure.

use super::indexes::Indexes;
use crate::view::{ContainerStatus, Job, OnExitCodes, Pod, PodFailureRule};
use api::Timestamp;
use std::time::Duration;

pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// Waits after failures in a row: doubled with each, up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
const BACKOFF_LONGEST: Duration = Duration::from_secs(600);

/// What a rule about failed pods says about one.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Count,
    Ignore,
    FailIndex,
    /// With what to tell the user.
    FailJob(String),
}

pub fn is_indexed(job: &Job) -> bool {
    job.spec.completion_mode.as_deref() == Some("Indexed")
}

pub fn completions(job: &Job) -> i64 {
    job.spec.completions.unwrap_or(0)
}

/// The completion index of a pod, if it is one of the job's.
pub fn index_of(job: &Job, pod: &Pod) -> Option<i64> {
    let index = pod.metadata.annotations.completion_index.as_deref()?.parse::<i64>().ok()?;
    (0..completions(job)).contains(&index).then_some(index)
}

pub fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().any(|f| f == FINALIZER)
}

/// Whether a pod is replaced only once it has ended, not as soon as it is on its way out.
pub fn replaces_only_failed(job: &Job) -> bool {
    job.spec.pod_replacement_policy.as_deref() == Some("Failed") || job.spec.pod_failure_policy.is_some()
}

pub fn has_failed(job: &Job, pod: &Pod) -> bool {
    match pod.status.phase.as_str() {
        "Failed" => true,
        "Succeeded" => false,
        _ => pod.metadata.is_deleting() && !replaces_only_failed(job),
    }
}

/// What the job's rules say about a failed pod; the first that matches decides.
pub fn judge(job: &Job, pod: &Pod) -> Verdict {
    let rules = job.spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules).enumerate();
    for (at, rule) in rules {
        let Some(what) = what_matches(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" if job.spec.backoff_limit_per_index.is_some() => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(format!("{what} matching FailJob rule at index {at}")),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// In words, why a rule is about a pod.
fn what_matches(rule: &PodFailureRule, pod: &Pod) -> Option<String> {
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    if let Some(codes) = &rule.on_exit_codes {
        let statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
        let (container, code) = statuses.filter_map(|status| exit_code(codes, status)).next()?;
        return Some(format!("Container {container} for pod {namespace}/{name} failed with exit code {code}"));
    }
    let asked = |kind: &str, status: &str| rule.on_pod_conditions.iter().any(|c| c.kind == kind && c.status == status);
    let condition = pod.status.conditions.iter().find(|c| asked(&c.kind, &c.status))?;
    Some(format!("Pod {namespace}/{name} has condition {}", condition.kind))
}

/// The exit code of a container that failed as asked about.
fn exit_code<'a>(asked: &OnExitCodes, status: &'a ContainerStatus) -> Option<(&'a str, i64)> {
    let code = status.state.terminated.as_ref()?.exit_code;
    let named = asked.container_name.as_ref().is_none_or(|name| *name == status.name);
    let listed = asked.values.contains(&code);
    let matches = match asked.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    };
    (named && code != 0 && matches).then_some((status.name.as_str(), code))
}

/// Which rule for success is met.
pub fn success(job: &Job, succeeded: &Indexes) -> Option<String> {
    let rules = &job.spec.success_policy.as_ref()?.rules;
    let met = rules.iter().position(|rule| {
        if succeeded.total() == 0 {
            return false;
        }
        match (&rule.succeeded_indexes, rule.succeeded_count) {
            (Some(text), count) => {
                let wanted = Indexes::parse(text, completions(job));
                wanted.common(succeeded) >= count.unwrap_or_else(|| wanted.total())
            }
            (None, Some(count)) => succeeded.total() >= count,
            (None, None) => false,
        }
    });
    met.map(|at| format!("Matched rules at index {at}"))
}

/// How often an index has failed, as its pod says: those that count, and all.
pub fn index_failures(pod: &Pod) -> (i64, i64) {
    let number = |text: &Option<String>| text.as_deref().and_then(|t| t.parse::<i64>().ok()).unwrap_or(0).max(0);
    let counted = number(&pod.metadata.annotations.index_failures);
    (counted, counted.saturating_add(number(&pod.metadata.annotations.index_ignored_failures)))
}

/// When a pod ended, as well as can be told.
pub fn ended_at(pod: &Pod) -> Timestamp {
    let statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    let ends = statuses.filter_map(|s| s.state.terminated.as_ref()).map(|t| t.finished_at.0);
    let known = |time: &Timestamp| *time != Timestamp::default();
    let unready = || pod.ready_condition().filter(|c| c.status == "False").map(|c| c.last_transition_time.0);
    let deleted = || pod.metadata.deletion_timestamp.map(|t| t.0);
    let ended = ends.max().filter(known).or_else(|| unready().filter(known)).or_else(deleted);
    ended.unwrap_or(pod.metadata.creation_timestamp.0)
}

/// How long to wait after the last of so many failures in a row.
pub fn wait(failures: i64, last: Timestamp, now: Timestamp) -> Duration {
    let Ok(doublings @ 0..) = u32::try_from(failures - 1) else { return Duration::ZERO };
    let wait = BACKOFF_FIRST.saturating_mul(1 << doublings.min(10)).min(BACKOFF_LONGEST);
    wait.saturating_sub(now.since(last))
}

/// The failures since the last success.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Failures {
    pub count: i64,
    pub last: Timestamp,
}

impl Failures {
    /// With pods that ended since.
    pub fn with(self, succeeded: &[&Pod], failed: &[&Pod]) -> Failures {
        let success = succeeded.iter().map(|p| ended_at(p)).max();
        let before = if success.is_some() { Failures::default() } else { self };
        let failed = failed.iter().map(|p| ended_at(p)).filter(|at| success.is_none_or(|success| *at > success));
        failed.fold(before, |all, at| Failures { count: all.count + 1, last: all.last.max(at) })
    }

    pub fn wait(self, now: Timestamp) -> Duration {
        wait(self.count, self.last, now)
    }
}
