//! Checks of the status of jobs: what a job says of itself must fit together, and does not turn back.

use super::super::{STATUS, not_negative};
use crate::causes::Causes;
use crate::value::{int, is_empty, is_true, list};
use api::{Cause, Timestamp};
use serde_json::Value;
use std::collections::HashSet;

pub(super) fn validate(new_job: &Value, old_job: &Value) -> Vec<Cause> {
    let (new, old) = (&new_job["status"], &old_job["status"]);
    Causes::of(|causes| {
        not_negative(new, &["active", "succeeded", "failed", "ready", "terminating"], &STATUS, causes);
        uncounted(&new["uncountedTerminatedPods"], causes);
        conditions(new, causes);
        finished(new, causes);
        changes(new_job, old_job, causes);
        for (terminal, is_terminal) in
            [("Failed", true), ("Complete", true), ("FailureTarget", false), ("SuccessCriteriaMet", false)]
        {
            if has(old, terminal) && !has(new, terminal) {
                let what = if is_terminal { "the terminal" } else { "the" };
                causes.wrong(&STATUS.child("conditions"), &format!("cannot disable {what} {terminal}=True condition"));
            }
        }
    })
}

fn has(status: &Value, condition: &str) -> bool {
    list(&status["conditions"]).iter().any(|c| c["type"] == condition && c["status"] == "True")
}

/// No pod is waiting to be counted twice.
fn uncounted(uncounted: &Value, causes: &mut Causes) {
    let at = STATUS.child("uncountedTerminatedPods");
    let mut seen = HashSet::new();
    for field in ["succeeded", "failed"] {
        let at = at.child(field);
        for (i, uid) in list(&uncounted[field]).iter().enumerate() {
            if uid == "" {
                causes.invalid(&at.index(i), "", "must not be empty");
            } else if seen.contains(uid) {
                causes.duplicate(&at.index(i), uid);
            }
            seen.insert(uid);
        }
    }
}

fn conditions(status: &Value, causes: &mut Causes) {
    let at = STATUS.child("conditions");
    let complete = has(status, "Complete");
    if complete && has(status, "Failed") {
        causes.wrong(&at, "cannot set Complete=True and Failed=true conditions");
    }
    if complete && has(status, "FailureTarget") {
        causes.wrong(&at, "cannot set Complete=True and FailureTarget=true conditions");
    }
    if has(status, "Failed") && has(status, "SuccessCriteriaMet") {
        causes.wrong(&at, "cannot set Failed=True and SuccessCriteriaMet=true conditions");
    }
    if has(status, "FailureTarget") && has(status, "SuccessCriteriaMet") {
        causes.wrong(&at, "cannot set FailureTarget=True and SuccessCriteriaMet=true conditions");
    }
    if has(status, "Failed") && !has(status, "FailureTarget") {
        causes.wrong(&at, "cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if complete && !has(status, "SuccessCriteriaMet") {
        causes.wrong(&at, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
}

fn finished(status: &Value, causes: &mut Causes) {
    let (complete, failed) = (has(status, "Complete"), has(status, "Failed"));
    let (start, end) = (&status["startTime"], &status["completionTime"]);
    let end_at = STATUS.child("completionTime");
    match (complete, end.is_null()) {
        (true, true) => causes.required(&end_at, "completionTime is required for Complete jobs"),
        (false, false) => {
            causes.invalid(&end_at, end, "cannot set completionTime when there is no Complete=True condition");
        }
        _ => {}
    }
    let time = |value: &Value| value.as_str().and_then(Timestamp::parse);
    if time(end).zip(time(start)).is_some_and(|(end, start)| end < start) {
        causes.invalid(&end_at, end, "must be equal to or after `startTime`");
    }
    if !complete && !failed {
        return;
    }
    if start.is_null() {
        causes.required(&STATUS.child("startTime"), "startTime is required for finished job");
    }
    if let Some(active) = int(&status["active"]).filter(|active| *active > 0) {
        causes.invalid(&STATUS.child("active"), active, "active>0 is invalid for finished job");
    }
    let uncounted = &status["uncountedTerminatedPods"];
    if !is_empty(&uncounted["succeeded"]) || !is_empty(&uncounted["failed"]) {
        let why = "uncountedTerminatedPods needs to be empty for finished job";
        causes.invalid(&STATUS.child("uncountedTerminatedPods"), uncounted, why);
    }
}

fn changes(new_job: &Value, old_job: &Value, causes: &mut Causes) {
    let (new, old) = (&new_job["status"], &old_job["status"]);
    for counter in ["failed", "succeeded"] {
        let count = int(&new[counter]).unwrap_or(0);
        let indexed = counter == "succeeded" && new_job["spec"]["completionMode"] == "Indexed";
        if count < int(&old[counter]).unwrap_or(0) && !indexed {
            causes.invalid(&STATUS.child(counter), count, &format!("cannot decrease the {counter} counter"));
        }
    }
    if !old["startTime"].is_null() && new["startTime"] != old["startTime"] && !is_true(&new_job["spec"]["suspend"]) {
        let why = "field is immutable for unsuspended job once set";
        causes.invalid(&STATUS.child("startTime"), &new["startTime"], why);
    }
    if has(old, "Complete") && has(new, "Complete") && new["completionTime"] != old["completionTime"] {
        causes.immutable(&STATUS.child("completionTime"), &new["completionTime"]);
    }
}
