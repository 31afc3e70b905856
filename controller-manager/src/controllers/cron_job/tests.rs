//! Which run a cron job starts, by table. It is a Thursday, half past noon.

use super::plan::plan;
use super::*;
use serde_json::{from_value, json};

fn now() -> Timestamp {
    Timestamp::parse("2026-01-01T12:30:00Z").expect("a time")
}

fn cron_job(spec: Value, status: Value) -> CronJob {
    let mut value = json!({
        "metadata": {"namespace": "ns", "name": "cron", "uid": "cron", "creationTimestamp": "2026-01-01T09:15:00Z"},
        "spec": {"schedule": "0 * * * *", "concurrencyPolicy": "Allow",
            "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1, "jobTemplate": {"spec": {"x": 1}}},
        "status": status,
    });
    for (field, setting) in spec.as_object().expect("an object") {
        value["spec"][field] = setting.clone();
    }
    from_value(value).expect("a cron job")
}

/// `a:Complete`, `b:Failed`, `c`: its uid and how it ended, if it has.
fn job(index: usize, text: &str) -> Arc<Job> {
    let (uid, ended) = text.split_once(':').map_or((text, None), |(uid, ended)| (uid, Some(ended)));
    let at = format!("2026-01-01T0{index}:00:00Z");
    let mut value = json!({"metadata": {"name": uid, "uid": uid}, "status": {"startTime": at}});
    if let Some(kind) = ended {
        value["status"]["conditions"] = json!([{"type": kind, "status": "True"}]);
        value["status"]["completionTime"] = json!(at);
    }
    Arc::new(from_value(value).expect("a job"))
}

fn planned(cron_job: &CronJob, jobs: &str) -> Plan {
    let jobs: Vec<Arc<Job>> = jobs.split_whitespace().enumerate().map(|(i, text)| job(i, text)).collect();
    let none = HashSet::new();
    plan(&Observed { cron_job, jobs: &jobs, unseen: &none, noted: &none, now: now() })
}

/// The hour and minute of the run that starts, and what is told.
#[track_caller]
fn check(spec: Value, status: Value, jobs: &str, expected: &str) {
    let plan = planned(&cron_job(spec.clone(), status), jobs);
    let start = plan.start.map(|at| at.to_string()[11..16].to_owned());
    let told = plan.notices.iter().map(|notice| notice.reason.to_owned());
    assert_eq!(start.into_iter().chain(told).collect::<Vec<_>>().join(" "), expected, "{spec}");
}

#[test]
fn the_last_run_that_is_due_starts_once() {
    let last = |time: &str| json!({"lastScheduleTime": format!("2026-01-01T{time}:00Z")});
    check(json!({}), json!({}), "", "12:00");
    check(json!({}), last("11:00"), "", "12:00");
    check(json!({}), last("12:00"), "", "");
    check(json!({"schedule": "0 13 * * *"}), json!({}), "", "");
    check(json!({"suspend": true}), json!({}), "", "");
    check(json!({"startingDeadlineSeconds": 60}), json!({}), "", "");
    check(json!({"startingDeadlineSeconds": 3600}), json!({}), "", "12:00");
    check(json!({"schedule": "* * * * *"}), last("09:00"), "", "12:30 TooManyMissedTimes");
    check(json!({"schedule": "@every 50m"}), last("10:05"), "", "11:45");
    check(json!({"schedule": "0 13 * * *", "timeZone": "Europe/Berlin"}), json!({}), "", "12:00");
    check(json!({"timeZone": "Mars/North"}), json!({}), "", "UnknownTimeZone");
    check(json!({"schedule": "x"}), json!({}), "", "UnparseableSchedule");
    check(json!({"schedule": "0 0 30 2 *"}), json!({}), "", "InvalidSchedule");
    let next = planned(&cron_job(json!({}), last("12:00")), "").again.expect("a next time");
    assert_eq!(next, Duration::from_millis(30 * 60 * 1000 + 100));
}

#[test]
fn what_is_active_is_followed_and_may_forbid_a_run_or_give_way() {
    let active = |uid: &str| json!({"active": [{"name": uid, "uid": uid}]});
    check(json!({"concurrencyPolicy": "Forbid"}), active("a"), "a", "JobAlreadyActive");
    check(json!({"concurrencyPolicy": "Forbid"}), active("a"), "a:Complete", "12:00 SawCompletedJob");
    check(json!({"concurrencyPolicy": "Forbid"}), active("a"), "", "12:00 MissingJob");
    check(json!({}), json!({}), "a", "12:00 UnexpectedJob");
    let replacing = planned(&cron_job(json!({"concurrencyPolicy": "Replace"}), active("a")), "a");
    assert_eq!((replacing.replace.len(), replacing.start.is_some()), (1, true));
    let done = planned(&cron_job(json!({}), active("b")), "a b:Complete");
    assert!(done.status.active.is_empty() && done.status.last_successful_time.is_some());
}

#[test]
fn the_oldest_jobs_beyond_the_limits_go() {
    let jobs = "a:Complete b:Failed c:Complete d:Failed e:Complete f";
    let names = |spec: Value| {
        let plan = planned(&cron_job(spec, json!({})), jobs);
        plan.remove.iter().map(|job| job.metadata.name.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(json!({"successfulJobsHistoryLimit": 1})), "a c b");
    assert_eq!(names(json!({"successfulJobsHistoryLimit": null, "failedJobsHistoryLimit": 0})), "b d");
}

#[test]
fn a_job_is_named_after_its_minute_and_says_its_time_in_the_zone() {
    let cron_job = cron_job(json!({"timeZone": "Europe/Berlin"}), json!({}));
    let job = plan::new_job(&cron_job, json!({"uid": "cron"}), now());
    assert_eq!(job["metadata"]["name"], format!("cron-{}", now().unix_secs() / 60));
    let annotation = &job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"];
    assert_eq!(*annotation, "2026-01-01T13:30:00+01:00");
}
