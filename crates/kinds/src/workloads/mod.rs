//! Kinds that run pods of a template.

mod cronjobs;
mod daemonsets;
mod deployments;
mod jobs;
mod replicasets;
mod revisions;
mod statefulsets;

use crate::causes::{Causes, Path};
use crate::pods::spec;
use crate::selectors::{label_selector, matches, selects_all};
use crate::value::int;
use serde_json::Value;

pub(crate) use cronjobs::CRON_JOBS;
pub(crate) use daemonsets::DAEMON_SETS;
pub(crate) use deployments::DEPLOYMENTS;
pub(crate) use jobs::JOBS;
pub(crate) use replicasets::{REPLICA_SETS, REPLICATION_CONTROLLERS};
pub(crate) use revisions::{CONTROLLER_REVISIONS, POD_TEMPLATES};
pub(crate) use statefulsets::STATEFUL_SETS;

const SPEC: Path = Path::new("spec");
const STATUS: Path = Path::new("status");

/// Defaults of the pod template in a spec.
fn template_defaults(spec: &mut Value) {
    if let Some(pod_spec) = spec.get_mut("template").and_then(|template| template.get_mut("spec")) {
        crate::pods::defaults::pod_spec(pod_spec);
    }
}

/// What a selector must be that a workload finds its pods by. Answers whether it can be used.
fn selector(spec: &Value, kind: &str, causes: &mut Causes) -> bool {
    let at = SPEC.child("selector");
    let selector = &spec["selector"];
    if selector.is_null() {
        causes.required(&at, "");
        return true;
    }
    let faults = Causes::of(|causes| label_selector(selector, &at, causes));
    let usable = faults.is_empty();
    causes.extend(faults);
    if selects_all(selector) {
        causes.invalid(&at, selector, &format!("empty selector is invalid for {kind}"));
    }
    usable
}

/// The pods of a template must be found by the selector that goes with it.
fn selects_template(selector: &Value, template: &Value, at: &Path, causes: &mut Causes) {
    let labels = &template["metadata"]["labels"];
    if selector.is_null() || !matches(selector, labels) {
        causes.invalid(&at.child("metadata").child("labels"), labels, "`selector` does not match template `labels`");
    }
}

/// Pods that are replaced when they end: they restart always and have no deadline.
fn lasting_pods(template: &Value, kind: &str, at: &Path, causes: &mut Causes) {
    let spec_at = at.child("spec");
    causes.one_of(&spec_at.child("restartPolicy"), &template["spec"]["restartPolicy"], &["Always"]);
    if !template["spec"]["activeDeadlineSeconds"].is_null() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        causes.forbidden(&spec_at.child("activeDeadlineSeconds"), &why);
    }
}

/// A template of lasting pods, with its selector.
fn replicated(selector: &Value, template: &Value, kind: &str, at: &Path, causes: &mut Causes) {
    selects_template(selector, template, at, causes);
    spec::template(template, at, causes);
    lasting_pods(template, kind, at, causes);
}

fn not_negative(value: &Value, fields: &[&str], at: &Path, causes: &mut Causes) {
    for field in fields {
        causes.not_negative(&at.child(field), &value[*field]);
    }
}

/// A count, or a share of one.
pub(crate) fn int_or_percent(value: &Value, at: &Path, causes: &mut Causes) {
    match value.as_str() {
        Some(share) if percent(share).is_none() => causes.invalid(
            at,
            share,
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used \
             for validation is '[0-9]+%')",
        ),
        Some(_) => {}
        None => causes.not_negative(at, value),
    }
}

/// A share of no more than all.
pub(crate) fn at_most_all(value: &Value, at: &Path, causes: &mut Causes) {
    if value.as_str().and_then(percent).is_some_and(|share| share > 100) {
        causes.invalid(at, value, "must not be greater than 100%");
    }
}

fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%').filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))?;
    Some(digits.parse().unwrap_or(i64::MAX))
}

/// The number before a percent sign, or the number.
fn count_or_percent(value: &Value) -> i64 {
    value.as_str().map_or_else(|| int(value).unwrap_or(0), |share| percent(share).unwrap_or(0))
}

/// Counts in a status that cannot exceed another.
fn at_most(status: &Value, fields: &[&str], of: &str, shown: &str, causes: &mut Causes) {
    let limit = int(&status[of]).unwrap_or(0);
    for field in fields {
        let count = int(&status[*field]).unwrap_or(0);
        if count > limit {
            causes.invalid(&STATUS.child(field), count, &format!("cannot be greater than {shown}"));
        }
    }
}

/// The count of collisions of hashes, which never falls.
fn collisions(new: &Value, old: &Value, causes: &mut Causes) {
    let (count, before) = (int(&new["collisionCount"]), int(&old["collisionCount"]));
    if before.is_some_and(|before| count.is_none_or(|count| count < before)) {
        causes.invalid(&STATUS.child("collisionCount"), count.unwrap_or(0), "cannot be decremented");
    }
}

/// A selector that may not change.
fn selector_stays(new: &Value, old: &Value, causes: &mut Causes) {
    if new["spec"]["selector"] != old["spec"]["selector"] {
        causes.immutable(&SPEC.child("selector"), &new["spec"]["selector"]);
    }
}

/// Warnings about the template of a workload.
fn template_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let at = SPEC.child("template");
    crate::pods::template_warnings(&new["spec"]["template"], old.map(|old| &old["spec"]["template"]), &at)
}

/// Whether a rolling update is what a strategy says.
fn is_rolling(strategy: &Value) -> bool {
    strategy["type"] == "RollingUpdate"
}
