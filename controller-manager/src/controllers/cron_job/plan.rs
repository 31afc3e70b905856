//! What a cron job does now: which runs are over, which one is due, and which old jobs go. Pure.

use super::schedule::Schedule;
use crate::recorder::Severity;
use crate::view::{CronJob, CronJobStatus, Job, Time};
use api::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// So many missed runs are told of: something is wrong with the schedule or the clock.
const MISSED_RUNS_MAX: i64 = 100;

/// How long after a run is due it is looked at.
const LOOKS_AFTER: Duration = Duration::from_millis(100);

/// What a plan is made from.
pub struct Observed<'a> {
    pub cron_job: &'a CronJob,
    /// The jobs that it controls.
    pub jobs: &'a [Arc<Job>],
    /// The uids of active jobs that a cache does not show, and that are there.
    pub unseen: &'a HashSet<String>,
    /// The uids of jobs that were noted as active since the cache was.
    pub noted: &'a HashSet<String>,
    pub now: Timestamp,
}

/// Something to tell the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub severity: Severity,
    pub reason: &'static str,
    pub message: String,
}

#[derive(Debug)]
pub struct Plan {
    pub status: CronJobStatus,
    pub notices: Vec<Notice>,
    /// The run that is to be started.
    pub start: Option<Timestamp>,
    /// The names and uids of jobs that go before, because the run replaces them.
    pub replace: Vec<(String, String)>,
    /// Jobs beyond the limits of the history.
    pub remove: Vec<Arc<Job>>,
    pub again: Option<Duration>,
}

fn text<'a>(reference: &'a Value, field: &str) -> &'a str {
    reference[field].as_str().unwrap_or_default()
}

impl Plan {
    fn tell(&mut self, severity: Severity, reason: &'static str, message: String) {
        self.notices.push(Notice { severity, reason, message });
    }

    fn is_active(&self, uid: &str) -> bool {
        self.status.active.iter().any(|reference| text(reference, "uid") == uid)
    }
}

pub fn plan(seen: &Observed<'_>) -> Plan {
    let status = seen.cron_job.status.clone();
    let (notices, replace) = (Vec::new(), Vec::new());
    let mut plan = Plan { status, notices, start: None, replace, remove: surplus(seen), again: None };
    follow(seen, &mut plan);
    if !seen.cron_job.metadata.is_deleting() {
        run(seen, &mut plan);
    }
    plan
}

/// Notes which jobs are over, and which are gone.
fn follow(seen: &Observed<'_>, plan: &mut Plan) {
    for job in seen.jobs {
        let Job { metadata, status, .. } = &**job;
        match (plan.is_active(&metadata.uid), job.finished()) {
            (false, None) if !seen.noted.contains(&metadata.uid) => {
                let message = format!("Saw a job that the controller did not create or forgot: {}", metadata.name);
                plan.tell(Severity::Warning, "UnexpectedJob", message);
            }
            (true, Some(finished)) => {
                plan.status.active.retain(|reference| text(reference, "uid") != metadata.uid);
                let message = format!("Saw completed job: {}, condition: {}", metadata.name, finished.kind);
                plan.tell(Severity::Normal, "SawCompletedJob", message);
            }
            (true, None) | (false, _) => {}
        }
        if job.finished().is_some_and(|c| c.kind == "Complete") {
            plan.status.last_successful_time = plan.status.last_successful_time.max(status.completion_time);
        }
    }
    let known: HashSet<&str> = seen.jobs.iter().map(|job| job.metadata.uid.as_str()).collect();
    let is_there = |uid: &str| known.contains(uid) || seen.unseen.contains(uid);
    let (kept, gone): (Vec<Value>, Vec<Value>) =
        std::mem::take(&mut plan.status.active).into_iter().partition(|r| is_there(text(r, "uid")));
    plan.status.active = kept;
    for reference in gone {
        let message = format!("Active job went missing: {}", text(&reference, "name"));
        plan.tell(Severity::Normal, "MissingJob", message);
    }
}

/// Starts the last run that is due, if there is one and it may.
fn run(seen: &Observed<'_>, plan: &mut Plan) {
    let Observed { cron_job, now, .. } = seen;
    let spec = &cron_job.spec;
    let Some(zone) = zone(cron_job) else {
        let name = spec.time_zone.as_deref().unwrap_or_default();
        let message = format!("invalid timeZone: {name:?}: unknown time zone {name}");
        return plan.tell(Severity::Warning, "UnknownTimeZone", message);
    };
    if spec.suspend == Some(true) {
        return;
    }
    let schedule = match Schedule::parse(&spec.schedule) {
        Ok(schedule) => schedule,
        Err(why) => {
            let message = format!("unparseable schedule: {:?} : {why}", spec.schedule);
            return plan.tell(Severity::Warning, "UnparseableSchedule", message);
        }
    };
    let (due, missed) = match last_due(cron_job, &schedule, &zone, *now) {
        Ok(due) => due,
        Err(why) => {
            let message = format!("invalid schedule: {} : {why}", spec.schedule);
            return plan.tell(Severity::Warning, "InvalidSchedule", message);
        }
    };
    plan.again = next_look(&schedule, &zone, *now);
    let Some(due) = due else { return };
    if missed > MISSED_RUNS_MAX {
        let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.tell(Severity::Warning, "TooManyMissedTimes", message.to_owned());
    }
    if let Some(deadline) = deadline(cron_job)
        && due.plus(deadline) < *now
    {
        let message = format!("Missed scheduled time to start a job: {}", in_words(due));
        return plan.tell(Severity::Warning, "MissSchedule", message);
    }
    let name = job_name(cron_job, due);
    let is_done = cron_job.status.last_schedule_time == Some(Time(due));
    if is_done || plan.status.active.iter().any(|reference| text(reference, "name") == name) {
        return;
    }
    match spec.concurrency_policy.as_str() {
        "Forbid" if !plan.status.active.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            return plan.tell(Severity::Normal, "JobAlreadyActive", message.to_owned());
        }
        "Replace" => {
            let pair = |r: &Value| (text(r, "name").to_owned(), text(r, "uid").to_owned());
            plan.replace = plan.status.active.iter().map(pair).collect();
        }
        _ => {}
    }
    plan.start = Some(due);
}

/// The zone of the schedule; `None` if there is none of its name.
pub fn zone(cron_job: &CronJob) -> Option<TimeZone> {
    match cron_job.spec.time_zone.as_deref() {
        None => Some(TimeZone::UTC),
        Some(name) => TimeZone::get(name).ok(),
    }
}

/// How long until the next run is due, and a moment.
pub fn next_look(schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> Option<Duration> {
    schedule.after(now, zone).map(|next| next.since(now) + LOOKS_AFTER)
}

fn deadline(cron_job: &CronJob) -> Option<Duration> {
    cron_job.spec.starting_deadline_seconds.map(|secs| Duration::from_secs(secs.try_into().unwrap_or(0)))
}

/// The last run that has been due since the one before, and about how many have been.
fn last_due(
    cron_job: &CronJob,
    schedule: &Schedule,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<(Option<Timestamp>, i64), &'static str> {
    const NEVER: &str = "time difference between two schedules is less than 1 second";
    let since = cron_job.status.last_schedule_time.unwrap_or(cron_job.metadata.creation_timestamp).0;
    let earliest = deadline(cron_job).map(|deadline| now.unix_secs() - deadline.as_secs().min(1 << 40) as i64);
    let since = earliest.map_or(since, |secs| since.max(Timestamp::from_unix_secs(secs)));
    let first = schedule.after(since, zone).ok_or(NEVER)?;
    let second = schedule.after(first, zone).ok_or(NEVER)?;
    if now < first {
        return Ok((None, 0));
    }
    if now < second {
        return Ok((Some(first), 0));
    }
    let between = second.unix_secs() - first.unix_secs();
    if between < 1 {
        return Err(NEVER);
    }
    let missed = (now.unix_secs() - first.unix_secs()) / between + 1;
    // Not from the first, which can be long ago, but from about the last but one.
    let mut last = None;
    let mut at = Timestamp::from_unix_secs(first.unix_secs() + (missed - 2) * between);
    while let Some(next) = schedule.after(at, zone).filter(|next| *next <= now) {
        last = Some(next);
        at = next;
    }
    Ok((last, missed))
}

/// Jobs that have ended, the oldest beyond those that are to be kept.
fn surplus(seen: &Observed<'_>) -> Vec<Arc<Job>> {
    let spec = &seen.cron_job.spec;
    let limits = [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    let mut gone = Vec::new();
    for (kind, limit) in limits {
        let Some(keep) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
        let is_it = |job: &&Arc<Job>| job.finished().is_some_and(|c| c.kind == kind);
        let mut ended: Vec<Arc<Job>> = seen.jobs.iter().filter(is_it).cloned().collect();
        ended.sort_by_key(|job| (job.status.start_time.is_none(), job.status.start_time, job.metadata.name.clone()));
        ended.truncate(ended.len().saturating_sub(keep));
        gone.extend(ended);
    }
    gone
}

fn job_name(cron_job: &CronJob, due: Timestamp) -> String {
    format!("{}-{}", cron_job.metadata.name, due.unix_secs() / 60)
}

/// The job of a run, to be created.
pub fn new_job(cron_job: &CronJob, owner: Value, due: Timestamp) -> Value {
    let template = &cron_job.spec.job_template;
    let mut metadata = json!({
        "name": job_name(cron_job, due),
        "namespace": cron_job.metadata.namespace,
        "ownerReferences": [owner],
    });
    for field in ["labels", "annotations"] {
        if !template["metadata"][field].is_null() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    let instant = jiff::Timestamp::from_second(due.unix_secs()).unwrap_or_default();
    let local = zone(cron_job).filter(|zone| *zone != TimeZone::UTC).map(|zone| instant.to_zoned(zone));
    let at = local.map_or_else(|| due.to_string(), |local| local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
    metadata["annotations"][SCHEDULED_AT] = json!(at);
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
}

/// A time as people write it in mails.
fn in_words(time: Timestamp) -> String {
    let instant = jiff::Timestamp::from_second(time.unix_secs()).unwrap_or_default();
    instant.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// How a status speaks of a job.
pub fn reference(job: &Value) -> Value {
    let metadata = &job["metadata"];
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "namespace": metadata["namespace"],
        "resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"],
    })
}

impl CronJobStatus {
    pub fn to_value(&self) -> Value {
        let mut value = json!({});
        if !self.active.is_empty() {
            value["active"] = json!(self.active);
        }
        let times = [("lastScheduleTime", self.last_schedule_time), ("lastSuccessfulTime", self.last_successful_time)];
        for (field, time) in times {
            if let Some(time) = time {
                value[field] = json!(time.0.to_string());
            }
        }
        value
    }
}
