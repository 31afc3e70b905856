//! Checks of job specs, and of their changes.

use super::super::{SPEC, not_negative};
use crate::causes::{Causes, Path};
use crate::golang;
use crate::names;
use crate::pods::spec as pods;
use crate::value::{int, is_empty, is_true, keep, list, remove, repeats, text};
use serde_json::Value;
use std::collections::HashSet;

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 << 10;
const INDEXED_PARALLELISM_MAX: i64 = 100_000;

/// A job spec without its selector, of a job or of a cron job.
pub(in super::super) fn job_spec(spec: &Value, at: &Path, causes: &mut Causes) {
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    not_negative(spec, &counts, at, causes);
    if !spec["maxFailedIndexes"].is_null() && spec["backoffLimitPerIndex"].is_null() {
        causes.required(&at.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec["managedBy"].as_str() {
        managed_by(manager, &at.child("managedBy"), causes);
    }
    completion_mode(spec, at, causes);
    if !spec["podFailurePolicy"].is_null() {
        failure_policy(spec, &at.child("podFailurePolicy"), causes);
    }
    success_policy(spec, &at.child("successPolicy"), causes);
    if !spec["podReplacementPolicy"].is_null() {
        let allowed: &[&str] =
            if spec["podFailurePolicy"].is_null() { &["Failed", "TerminatingOrFailed"] } else { &["Failed"] };
        causes.one_of(&at.child("podReplacementPolicy"), &spec["podReplacementPolicy"], allowed);
    }
    let template_at = at.child("template");
    pods::template(&spec["template"], &template_at, causes);
    restart_policy(spec, &template_at, causes);
}

fn managed_by(manager: &str, at: &Path, causes: &mut Causes) {
    let (domain, path) = manager.split_once('/').unwrap_or((manager, ""));
    if path.is_empty() {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        causes.invalid(at, manager, why);
    } else {
        causes.each_invalid(at, domain, names::dns_subdomain(domain));
    }
    if manager.len() > 63 {
        causes.too_long(at, 63);
    }
}

fn completion_mode(spec: &Value, at: &Path, causes: &mut Causes) {
    match spec["completionMode"].as_str() {
        None | Some("NonIndexed") => {}
        Some("Indexed") => {
            if spec["completions"].is_null() {
                causes.required(&at.child("completions"), "when completion mode is Indexed");
            }
            if let Some(parallelism) = int(&spec["parallelism"]).filter(|p| *p > INDEXED_PARALLELISM_MAX) {
                let why =
                    format!("must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed");
                causes.invalid(&at.child("parallelism"), parallelism, &why);
            }
        }
        Some(other) => causes.unsupported(&at.child("completionMode"), other, &["NonIndexed", "Indexed"]),
    }
    let limit = &spec["backoffLimitPerIndex"];
    if spec["completionMode"] != "Indexed" && !limit.is_null() {
        causes.invalid(&at.child("backoffLimitPerIndex"), limit, "requires indexed completion mode");
    }
}

fn restart_policy(spec: &Value, template: &Path, causes: &mut Causes) {
    let at = template.child("spec");
    let at = at.child("restartPolicy");
    match text(&spec["template"]["spec"]["restartPolicy"]) {
        "" | "Always" => causes.required(&at, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        policy => {
            if policy != "OnFailure" {
                causes.unsupported(&at, policy, &["OnFailure", "Never"]);
            } else if !spec["podFailurePolicy"].is_null() {
                causes.invalid(&at, policy, "only \"Never\" is supported when podFailurePolicy is specified");
            }
        }
    }
}

fn failure_policy(spec: &Value, at: &Path, causes: &mut Causes) {
    let (rules, rules_at) = (list(&spec["podFailurePolicy"]["rules"]), at.child("rules"));
    if rules.len() > RULES_MAX {
        causes.too_many(&rules_at, rules.len(), RULES_MAX);
    }
    let pod = &spec["template"]["spec"];
    let containers: HashSet<&str> =
        ["containers", "initContainers"].iter().flat_map(|f| list(&pod[*f])).map(|c| text(&c["name"])).collect();
    for (i, rule) in rules.iter().enumerate() {
        let at = rules_at.index(i);
        match text(&rule["action"]) {
            "" => {
                causes.required(&at.child("action"), "valid values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"")
            }
            "FailIndex" if spec["backoffLimitPerIndex"].is_null() => {
                causes.invalid(&at.child("action"), "FailIndex", "requires the backoffLimitPerIndex to be set");
            }
            "Count" | "FailIndex" | "FailJob" | "Ignore" => {}
            other => causes.unsupported(&at.child("action"), other, &["Count", "FailIndex", "FailJob", "Ignore"]),
        }
        if !rule["onExitCodes"].is_null() {
            exit_codes(&rule["onExitCodes"], &containers, &at.child("onExitCodes"), causes);
        }
        pod_conditions(list(&rule["onPodConditions"]), &at.child("onPodConditions"), causes);
        match (!rule["onExitCodes"].is_null(), !is_empty(&rule["onPodConditions"])) {
            (true, true) => {
                causes.wrong(&at, "specifying both OnExitCodes and OnPodConditions is not supported");
            }
            (false, false) => causes.wrong(&at, "specifying one of OnExitCodes and OnPodConditions is required"),
            _ => {}
        }
    }
}

fn exit_codes(codes: &Value, containers: &HashSet<&str>, at: &Path, causes: &mut Causes) {
    match text(&codes["operator"]) {
        "" => causes.required(&at.child("operator"), "valid values: \"In\", \"NotIn\""),
        "In" | "NotIn" => {}
        other => causes.unsupported(&at.child("operator"), other, &["In", "NotIn"]),
    }
    if let Some(name) = codes["containerName"].as_str().filter(|name| !containers.contains(*name)) {
        let why = "must be one of the container or initContainer names in the pod template";
        causes.invalid(&at.child("containerName"), name, why);
    }
    let (values, at) = (list(&codes["values"]), at.child("values"));
    if values.is_empty() {
        causes.invalid(&at, values, "at least one value is required");
    }
    if values.len() > EXIT_CODES_MAX {
        causes.too_many(&at, values.len(), EXIT_CODES_MAX);
    }
    let repeated = repeats(values);
    for (i, code) in values.iter().enumerate() {
        if code == 0 && codes["operator"] == "In" {
            causes.invalid(&at.index(i), code, "must not be 0 for the In operator");
        }
        if repeated.contains(&i) {
            causes.duplicate(&at.index(i), code);
        }
    }
    if !values.is_sorted_by_key(int) {
        causes.invalid(&at, values, "must be ordered");
    }
}

fn pod_conditions(patterns: &[Value], at: &Path, causes: &mut Causes) {
    if patterns.len() > PATTERNS_MAX {
        causes.too_many(at, patterns.len(), PATTERNS_MAX);
    }
    for (i, pattern) in patterns.iter().enumerate() {
        let at = at.index(i);
        let kind = text(&pattern["type"]);
        causes.each_invalid(&at.child("type"), kind, names::qualified_name(kind));
        match text(&pattern["status"]) {
            "" => causes.required(&at.child("status"), "valid values: \"False\", \"True\", \"Unknown\""),
            "False" | "True" | "Unknown" => {}
            other => causes.unsupported(&at.child("status"), other, &["False", "True", "Unknown"]),
        }
    }
}

fn success_policy(spec: &Value, at: &Path, causes: &mut Causes) {
    let policy = &spec["successPolicy"];
    if policy.is_null() {
        return;
    }
    if spec["completionMode"] != "Indexed" {
        return causes.invalid(at, golang::shown("SuccessPolicy", policy), "requires indexed completion mode");
    }
    let (rules, at) = (list(&policy["rules"]), at.child("rules"));
    if rules.is_empty() {
        causes.required(&at, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_MAX {
        causes.too_many(&at, rules.len(), RULES_MAX);
    }
    let completions = int(&spec["completions"]).unwrap_or(0);
    for (i, rule) in rules.iter().enumerate() {
        let at = at.index(i);
        let (indexes, count) = (&rule["succeededIndexes"], &rule["succeededCount"]);
        if indexes.is_null() && count.is_null() {
            causes.required(&at, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let (count_at, indexes_at) = (at.child("succeededCount"), at.child("succeededIndexes"));
        let mut total = None;
        if let Some(indexes) = indexes.as_str() {
            if indexes.len() > INDEXES_BYTES_MAX {
                causes.too_long(&indexes_at, INDEXES_BYTES_MAX);
            }
            match index_count(indexes, completions) {
                Ok(count) => total = Some(count),
                Err(why) => {
                    causes.invalid(&indexes_at, indexes, &format!("error parsing succeededIndexes: {why}"));
                }
            }
        }
        causes.not_negative(&count_at, count);
        let Some(count) = int(count) else { continue };
        if count > completions {
            let why = format!("must be less than or equal to {completions} (the number of specified completions)");
            causes.invalid(&count_at, count, &why);
        }
        if let Some(total) = total.filter(|total| count > *total) {
            let what = "the number of indexes in the specified succeededIndexes field";
            causes.invalid(&count_at, count, &format!("must be less than or equal to {total} ({what})"));
        }
    }
}

/// How many indexes a text like `1,3-5` names, each below `completions`.
pub(super) fn index_count(indexes: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    for interval in indexes.split(',').filter(|_| !indexes.is_empty()) {
        let bounds: Vec<&str> = interval.split('-').collect();
        if bounds.len() > 2 {
            return Err(format!(
                "the fragment {interval:?} violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        let number = |text: &str| -> Result<i64, String> {
            let number = text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
            if number >= completions { Err(format!("too large index: {text:?}")) } else { Ok(number) }
        };
        let first = number(bounds[0])?;
        if last.is_some_and(|last| first <= last) {
            let before = last.unwrap_or_default();
            return Err(format!("non-increasing order, previous: {before}, current: {first}"));
        }
        let end = bounds.get(1).map_or(Ok(first), |text| number(text))?;
        if bounds.len() == 2 && end <= first {
            return Err(format!("non-increasing order, previous: {first}, current: {end}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// What an update may not change.
pub(super) fn change(new_job: &Value, old_job: &Value, causes: &mut Causes) {
    let (new, old) = (&new_job["spec"], &old_job["spec"]);
    completions(new, old, causes);
    if new["selector"] != old["selector"] {
        causes.immutable(&SPEC.child("selector"), &new["selector"]);
    }
    let mut template = new["template"].clone();
    if is_true(&old["suspend"]) && old_job["status"]["startTime"].is_null() {
        as_before_scheduling(&mut template, &old["template"]);
    }
    if template != old["template"] {
        causes.immutable(&SPEC.child("template"), golang::template("PodSpec", &new["template"]));
    }
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        if new[field] != old[field] {
            let of_type = match field {
                "podFailurePolicy" => golang::shown("PodFailurePolicy", &new[field]),
                "successPolicy" => golang::shown("SuccessPolicy", &new[field]),
                _ => golang::Shown::Plain(new[field].clone()),
            };
            causes.immutable(&SPEC.child(field), of_type);
        }
    }
}

/// An indexed job changes its completions only together with its parallelism.
fn completions(new: &Value, old: &Value, causes: &mut Causes) {
    let at = SPEC.child("completions");
    if new["completions"] == old["completions"] {
        return;
    }
    let either_absent = new["completions"].is_null() || old["completions"].is_null();
    if new["completionMode"] != "Indexed" || either_absent {
        causes.immutable(&at, &new["completions"]);
    } else if new["completions"] != new["parallelism"] || old["completions"] != old["parallelism"] {
        causes.invalid(&at, &new["completions"], "can only be modified in tandem with spec.parallelism");
    }
}

/// Where pods may run can change while none has run.
fn as_before_scheduling(template: &mut Value, old: &Value) {
    for field in ["labels", "annotations"] {
        if let Some(meta) = template.get_mut("metadata") {
            keep(meta, &old["metadata"], field);
        }
    }
    if template.get("metadata").is_some_and(is_empty) && old["metadata"].is_null() {
        remove(template, "metadata");
    }
    if let Some(spec) = template.get_mut("spec") {
        for field in ["nodeSelector", "tolerations", "schedulingGates"] {
            keep(spec, &old["spec"], field);
        }
        if let Some(affinity) = spec.get_mut("affinity") {
            keep(affinity, &old["spec"]["affinity"], "nodeAffinity");
        }
        if spec.get("affinity").is_some_and(is_empty) && old["spec"]["affinity"].is_null() {
            remove(spec, "affinity");
        }
        for field in ["containers", "initContainers"] {
            for (container, old) in crate::value::list_mut(spec, field).zip(list(&old["spec"][field])) {
                keep(container, old, "resources");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::index_count;

    #[test]
    fn indexes_are_counted_and_must_grow() {
        for (indexes, count) in [("", Some(0)), ("1,3-5,7", Some(5)), ("0-9", Some(10))] {
            assert_eq!(index_count(indexes, 10).ok(), count, "{indexes}");
        }
        for bad in ["x", "5-9", "3,2", "3-2", "1-2-3", "10"] {
            assert!(index_count(bad, if bad == "5-9" { 3 } else { 10 }).is_err(), "{bad}");
        }
    }
}
