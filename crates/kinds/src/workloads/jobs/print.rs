//! What kubectl shows of jobs.

use crate::print::{self, CONTAINERS, IMAGES};
use crate::table::{AGE, Column, NAME, age, column, duration, explained};
use crate::value::{int, list, text};
use api::Timestamp;
use serde_json::{Value, json};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    explained("Status", "Status of the job."),
    column("Completions", "io.k8s.api.batch.v1.JobStatus", "succeeded"),
    explained("Duration", "Time required to complete the job."),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    column("Selector", "io.k8s.api.batch.v1.JobSpec", "selector").wide(),
];

pub(super) fn row(job: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&job["spec"], &job["status"]);
    let succeeded = int(&status["succeeded"]).unwrap_or(0);
    let completions = match (int(&spec["completions"]), int(&spec["parallelism"]).unwrap_or(0)) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let time = |field: &str| Timestamp::parse(text(&status[field]));
    let took = time("startTime")
        .map_or(String::new(), |start| duration(time("completionTime").unwrap_or(now).unix_secs() - start.unix_secs()));
    let [names, images] = print::containers(&spec["template"]["spec"]);
    vec![
        job["metadata"]["name"].clone(),
        json!(state(job)),
        json!(completions),
        json!(took),
        age(job, now),
        names,
        images,
        print::selector(&spec["selector"]),
    ]
}

fn state(job: &Value) -> &'static str {
    let has =
        |name: &str| list(&job["status"]["conditions"]).iter().any(|c| c["type"] == name && c["status"] == "True");
    match () {
        () if has("Complete") => "Complete",
        () if has("Failed") => "Failed",
        () if !job["metadata"]["deletionTimestamp"].is_null() => "Terminating",
        () if has("Suspended") => "Suspended",
        () if has("FailureTarget") => "FailureTarget",
        () if has("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}
