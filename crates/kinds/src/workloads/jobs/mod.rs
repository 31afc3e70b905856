//! Jobs.

mod print;
mod spec;
mod status;

use super::{SPEC, template_defaults, template_warnings};
use crate::Strategy;
use crate::causes::Causes;
use crate::generic::spec_changed;
use crate::selectors::{label_selector, matches};
use crate::value::{default, is_empty, is_true, list_mut, object, text};
use api::Cause;
use serde_json::{Value, json};

pub(super) use spec::job_spec;

pub(crate) static JOBS: Strategy = Strategy {
    defaults,
    prepare_create: generate_selector,
    validate,
    validate_update,
    validate_status: status::validate,
    warnings: template_warnings,
    generation: Some(spec_changed),
    columns: print::COLUMNS,
    row: print::row,
    orphans_dependents: true,
    warns_of_dependents: Some(
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set \
         propagationPolicy=Orphan to suppress this warning",
    ),
    ..Strategy::PLAIN
};

/// Labels of a job's pods: how they were named first, and with a domain. The job's uid, and its name.
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

fn defaults(job: &mut Value) {
    let labels = job["spec"]["template"]["metadata"]["labels"].clone();
    let Some(spec) = job.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    nested_defaults(spec);
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    let unlimited = !spec["backoffLimitPerIndex"].is_null();
    default(spec, "backoffLimit", if unlimited { i64::from(i32::MAX) } else { 6 });
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
    let policy = if spec["podFailurePolicy"].is_null() { "TerminatingOrFailed" } else { "Failed" };
    default(spec, "podReplacementPolicy", policy);
    if !is_empty(&labels) && is_empty(&job["metadata"]["labels"]) {
        job["metadata"]["labels"] = labels;
    }
}

/// Defaults of a job spec that stands in a cron job too.
pub(super) fn nested_defaults(spec: &mut Value) {
    template_defaults(spec);
    let rules = spec.get_mut("podFailurePolicy").into_iter().flat_map(|policy| list_mut(policy, "rules"));
    for condition in rules.flat_map(|rule| list_mut(rule, "onPodConditions")) {
        default(condition, "status", "True");
    }
}

/// A job finds its pods by its uid, unless it says how. Without labels of its own it has those of its pods.
fn generate_selector(job: &mut Value) {
    if is_true(&job["spec"]["manualSelector"]) {
        return;
    }
    let [uid, name] = ["uid", "name"].map(|field| json!(text(&job["metadata"][field])));
    let spec = &mut job["spec"];
    if object(spec, "template").is_none() || object(&mut spec["template"], "metadata").is_none() {
        return;
    }
    let meta = &mut spec["template"]["metadata"];
    let given = meta["labels"].clone();
    if let Some(labels) = object(meta, "labels") {
        for (keys, value) in [(UID_LABELS, &uid), (NAME_LABELS, &name)] {
            for key in keys {
                labels.entry(key).or_insert_with(|| value.clone());
            }
        }
    }
    let labels = meta["labels"].clone();
    if object(spec, "selector").is_some()
        && let Some(labels) = object(&mut spec["selector"], "matchLabels")
    {
        labels.entry(UID_LABELS[1]).or_insert(uid);
    }
    let own = &job["metadata"]["labels"];
    if is_empty(own) || *own == given {
        job["metadata"]["labels"] = labels;
    }
}

fn validate(job: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        generated_selector(job, causes);
        indexed_name(job, causes);
        spec_and_selector(&job["spec"], causes);
    })
}

/// As upstream, what `validate` says of the spec is said once more of an update.
fn validate_update(new: &Value, old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        spec_and_selector(&new["spec"], causes);
        spec::change(new, old, causes);
    })
}

fn spec_and_selector(spec: &Value, causes: &mut Causes) {
    let (selector, at) = (&spec["selector"], SPEC.child("selector"));
    job_spec(spec, &SPEC, causes);
    if selector.is_null() {
        causes.required(&at, "");
    }
    label_selector(selector, &at, causes);
    super::selects_template(selector, &spec["template"], &SPEC.child("template"), causes);
}

/// The labels and the selector that [`generate_selector`] makes are there, and no others.
fn generated_selector(job: &Value, causes: &mut Causes) {
    let spec = &job["spec"];
    if is_true(&spec["manualSelector"]) || spec["selector"].is_null() {
        return;
    }
    let (uid, name) = (text(&job["metadata"]["uid"]), text(&job["metadata"]["name"]));
    let template = SPEC.child("template");
    let meta = template.child("metadata");
    let at = meta.child("labels");
    let labels = &spec["template"]["metadata"]["labels"];
    let expected = [(UID_LABELS, uid), (NAME_LABELS, name)];
    for (keys, value) in expected {
        for key in keys {
            match labels.get(key) {
                None => causes.required(&at.key(key), &format!("must be '{value}'")),
                Some(label) if label != value => causes.invalid(&at.key(key), labels, &format!("must be '{value}'")),
                Some(_) => {}
            }
        }
    }
    let expected: Value =
        expected.iter().flat_map(|(keys, value)| keys.map(|key| (key.to_owned(), json!(value)))).collect();
    if !matches(&spec["selector"], &expected) {
        causes.invalid(&SPEC.child("selector"), &spec["selector"], "`selector` not auto-generated");
    }
}

/// The pods of an indexed job are named after it and their index.
fn indexed_name(job: &Value, causes: &mut Causes) {
    let completions = job["spec"]["completions"].as_i64().unwrap_or(0);
    if job["spec"]["completionMode"] != "Indexed" || completions <= 0 {
        return;
    }
    let name = text(&job["metadata"]["name"]);
    let longest = format!("{name}-{}", completions - 1);
    if !crate::names::dns_label(&longest).is_empty() {
        let why = format!("will not able to create pod with invalid DNS label: {longest}");
        causes.invalid(&crate::causes::Path::new("metadata").child("name"), name, &why);
    }
}
