//! Cron jobs.

use super::{SPEC, jobs, not_negative};
use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::print::{self, CONTAINERS, IMAGES, or_none, yes_or_no};
use crate::table::{AGE, Column, NAME, age, column, since};
use crate::value::{default, list, text};
use crate::{Revalidation, Strategy};
use api::Timestamp;
use serde_json::{Value, json};

/// The name and eleven characters of its jobs' names fit into a label.
const NAME_BYTES_MAX: usize = 52;

pub(crate) static CRON_JOBS: Strategy = Strategy {
    defaults,
    validate: |object| Causes::of(|causes| validate(&object["spec"], causes)),
    validate_create: |object| {
        Causes::of(|causes| {
            let name = text(&object["metadata"]["name"]);
            if name.len() > NAME_BYTES_MAX {
                let why = format!("must be no more than {NAME_BYTES_MAX} characters");
                causes.invalid(&Path::new("metadata").child("name"), name, &why);
            }
        })
    },
    update_revalidates: Revalidation::Content,
    warnings,
    generation: Some(spec_changed),
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

fn defaults(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    default(spec, "concurrencyPolicy", "Allow");
    default(spec, "suspend", false);
    default(spec, "successfulJobsHistoryLimit", 3);
    default(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = spec.get_mut("jobTemplate").and_then(|template| template.get_mut("spec")) {
        jobs::nested_defaults(job);
    }
}

fn validate(spec: &Value, causes: &mut Causes) {
    schedule(text(&spec["schedule"]), &SPEC.child("schedule"), causes);
    if let Some(zone) = spec["timeZone"].as_str() {
        time_zone(zone, &SPEC.child("timeZone"), causes);
    }
    not_negative(spec, &["startingDeadlineSeconds"], &SPEC, causes);
    causes.one_of(&SPEC.child("concurrencyPolicy"), &spec["concurrencyPolicy"], &["Allow", "Forbid", "Replace"]);
    not_negative(spec, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"], &SPEC, causes);
    jobs::job_spec(&spec["jobTemplate"]["spec"], &SPEC.child("jobTemplate").child("spec"), causes);
}

fn schedule(schedule: &str, at: &Path, causes: &mut Causes) {
    if schedule.is_empty() {
        return causes.required(at, "");
    }
    if schedule.contains("TZ=") {
        return causes.invalid(at, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    }
    if let Err(why) = parse_schedule(schedule) {
        causes.invalid(at, schedule, &why);
    }
}

/// Whether cron understands a schedule: five fields, or a descriptor like `@daily` or `@every 5m`.
fn parse_schedule(schedule: &str) -> Result<(), String> {
    if let Some(descriptor) = schedule.strip_prefix('@') {
        let every = descriptor.strip_prefix("every ").is_some_and(is_duration);
        let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
        return if every || known.contains(&descriptor) {
            Ok(())
        } else {
            Err(format!("unrecognized descriptor: {schedule}"))
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    let bounds: [(u32, u32, u32, &[&str]); 5] =
        [(0, 59, 0, &[]), (0, 23, 0, &[]), (1, 31, 0, &[]), (1, 12, 1, MONTHS), (0, 6, 0, DAYS)];
    fields
        .iter()
        .zip(bounds)
        .try_for_each(|(field, bounds)| field.split(',').try_for_each(|part| cron_part(part, bounds)))
}

/// A number, a range, or a star, with an optional step.
fn cron_part(part: &str, (low, high, first, names): (u32, u32, u32, &[&str])) -> Result<(), String> {
    let number = |text: &str| -> Result<u32, String> {
        let name = names.iter().position(|name| *name == text.to_lowercase());
        let named = name.and_then(|at| u32::try_from(at).ok()).map(|at| at + first);
        named
            .or_else(|| text.parse().ok())
            .ok_or_else(|| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
    };
    let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    let (start, end) = match range.split_once('-') {
        _ if matches!(range, "*" | "?") => (low, high),
        Some((start, end)) => (number(start)?, number(end)?),
        None if step.is_some() => (number(range)?, high),
        None => (number(range)?, number(range)?),
    };
    let step = step.map_or(Ok(1), number)?;
    match () {
        () if start < low => Err(format!("beginning of range ({start}) below minimum ({low}): {part}")),
        () if end > high => Err(format!("end of range ({end}) above maximum ({high}): {part}")),
        () if start > end => Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}")),
        () if step == 0 => Err(format!("step of range should be a positive number: {part}")),
        () => Ok(()),
    }
}

/// A duration as Go writes it: `1h30m`.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"].into_iter().find(|unit| {
            digits
                .strip_prefix(unit)
                .is_some_and(|after| after.is_empty() || after.starts_with(|c: char| c.is_ascii_digit()))
        });
        let Some(unit) = unit.filter(|_| digits.len() < rest.len()) else { return false };
        rest = &digits[unit.len()..];
    }
    !text.is_empty()
}

fn time_zone(zone: &str, at: &Path, causes: &mut Causes) {
    if zone.is_empty() {
        causes.invalid(at, zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("Local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        causes.invalid(at, zone, why);
    } else if jiff::tz::TimeZone::get(zone).is_err() {
        causes.invalid(at, zone, &format!("unknown time zone {zone}"));
    }
}

fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    fn template(object: &Value) -> &Value {
        &object["spec"]["jobTemplate"]["spec"]["template"]
    }
    let job = SPEC.child("jobTemplate");
    let spec = job.child("spec");
    crate::pods::template_warnings(template(new), old.map(template), &spec.child("template"))
}

const SPEC_OF: &str = "io.k8s.api.batch.v1.CronJobSpec";
const STATUS_OF: &str = "io.k8s.api.batch.v1.CronJobStatus";
const COLUMNS: &[Column] = &[
    NAME,
    column("Schedule", SPEC_OF, "schedule"),
    column("Timezone", SPEC_OF, "timeZone"),
    column("Suspend", SPEC_OF, "suspend").boolean(),
    column("Active", STATUS_OF, "active").integer(),
    column("Last Schedule", STATUS_OF, "lastScheduleTime"),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    column("Selector", "io.k8s.api.batch.v1.JobSpec", "selector").wide(),
];

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let job = &spec["jobTemplate"]["spec"];
    let [names, images] = print::containers(&job["template"]["spec"]);
    let last = &status["lastScheduleTime"];
    vec![
        object["metadata"]["name"].clone(),
        spec["schedule"].clone(),
        or_none(&spec["timeZone"]),
        yes_or_no(&spec["suspend"]),
        json!(list(&status["active"]).len()),
        if last.is_null() { json!("<none>") } else { json!(since(last, now)) },
        age(object, now),
        names,
        images,
        print::selector(&job["selector"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_what_cron_understands() {
        for good in
            ["* * * * *", "*/5 0-6,12 1 jan,JUL mon-fri", "0 0 31 12 6", "@daily", "@every 1h30m", "5/10 * ? * *"]
        {
            assert_eq!(parse_schedule(good), Ok(()), "{good}");
        }
        for bad in [
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "5-1 * * * *",
            "*/0 * * * *",
            "x * * * *",
            "@x",
            "@every x",
        ] {
            assert!(parse_schedule(bad).is_err(), "{bad}");
        }
    }
}
