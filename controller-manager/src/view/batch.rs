//! Jobs and what makes them on a schedule, as controllers see them.

use super::{Condition, Meta, Selector, Time, View, or_default};
use client::Resource;
use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Job {
    pub metadata: Meta,
    pub spec: JobSpec,
    pub status: JobStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    pub parallelism: Option<i64>,
    pub completions: Option<i64>,
    pub completion_mode: Option<String>,
    pub backoff_limit: Option<i64>,
    pub backoff_limit_per_index: Option<i64>,
    pub max_failed_indexes: Option<i64>,
    pub active_deadline_seconds: Option<i64>,
    pub suspend: Option<bool>,
    pub pod_failure_policy: Option<PodFailurePolicy>,
    pub pod_replacement_policy: Option<String>,
    pub success_policy: Option<SuccessPolicy>,
    pub managed_by: Option<String>,
    pub selector: Selector,
    /// The pod template, whole.
    pub template: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodFailurePolicy {
    #[serde(deserialize_with = "or_default")]
    pub rules: Vec<PodFailureRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodFailureRule {
    pub action: String,
    pub on_exit_codes: Option<OnExitCodes>,
    #[serde(deserialize_with = "or_default")]
    pub on_pod_conditions: Vec<OnPodCondition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OnExitCodes {
    pub container_name: Option<String>,
    pub operator: String,
    #[serde(deserialize_with = "or_default")]
    pub values: Vec<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OnPodCondition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SuccessPolicy {
    #[serde(deserialize_with = "or_default")]
    pub rules: Vec<SuccessRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessRule {
    pub succeeded_indexes: Option<String>,
    pub succeeded_count: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    pub active: i64,
    pub ready: Option<i64>,
    pub terminating: Option<i64>,
    pub succeeded: i64,
    pub failed: i64,
    pub start_time: Option<Time>,
    pub completion_time: Option<Time>,
    pub completed_indexes: String,
    pub failed_indexes: Option<String>,
    pub uncounted_terminated_pods: Option<Uncounted>,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

/// The uids of pods that have ended, and that are counted as soon as they are let go.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Uncounted {
    #[serde(deserialize_with = "or_default")]
    pub succeeded: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub failed: Vec<String>,
}

impl View for Job {
    const RESOURCE: Resource = client::JOBS;
}

impl Job {
    /// The condition that says how it ended, if it has.
    pub fn finished(&self) -> Option<&Condition> {
        let ends = |c: &&Condition| matches!(c.kind.as_str(), "Complete" | "Failed") && c.status == "True";
        self.status.conditions.iter().find(ends)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CronJob {
    pub metadata: Meta,
    pub spec: CronJobSpec,
    pub status: CronJobStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobSpec {
    pub schedule: String,
    pub time_zone: Option<String>,
    pub starting_deadline_seconds: Option<i64>,
    pub concurrency_policy: String,
    pub suspend: Option<bool>,
    pub successful_jobs_history_limit: Option<i64>,
    pub failed_jobs_history_limit: Option<i64>,
    /// The job template, whole.
    pub job_template: Value,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobStatus {
    /// References, whole.
    #[serde(deserialize_with = "or_default")]
    pub active: Vec<Value>,
    pub last_schedule_time: Option<Time>,
    pub last_successful_time: Option<Time>,
}

impl View for CronJob {
    const RESOURCE: Resource = client::CRON_JOBS;
}
