//! Pods.

mod affinity;
mod containers;
mod create;
pub(crate) mod defaults;
mod handlers;
pub(crate) mod machines;
mod print;
pub(crate) mod qos;
mod resize;
mod security;
pub(crate) mod sources;
pub(crate) mod spec;
mod status;
#[cfg(test)]
mod tests;
mod update;
pub(crate) mod volumes;
mod warnings;

use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::value::{int, is_empty, text};
use crate::{Change, Deletion, Strategy};
use serde_json::Value;

pub(crate) use warnings::{pod as pod_warnings, template as template_warnings};

pub(crate) static PODS: Strategy = Strategy {
    defaults,
    prepare_create: create::prepare,
    prepare_update: update::prepare,
    prepare_status: status::prepare,
    validate,
    validate_create: create::validate,
    validate_update: update::validate,
    validate_status: status::validate,
    warnings: pod_warnings,
    subresources: &[
        ("ephemeralcontainers", Change { prepare: update::prepare_ephemeral, validate: update::validate_ephemeral }),
        ("resize", Change { prepare: resize::prepare, validate: resize::validate }),
    ],
    columns: print::COLUMNS,
    row: print::row,
    row_condition: print::ended,
    generation: Some(spec_changed),
    status_keeps: &["ownerReferences", "deletionTimestamp"],
    deletion: Deletion::Graceful(grace_seconds),
    ..Strategy::PLAIN
};

const SPEC: Path = Path::new("spec");

fn defaults(pod: &mut Value) {
    if pod["spec"].is_object() {
        defaults::pod(pod);
    }
    status::same_addresses(pod);
}

fn validate(pod: &Value) -> Vec<api::Cause> {
    Causes::of(|causes| {
        spec::pod_annotations(pod, &Path::new("metadata").child("annotations"), causes);
        spec::pod_spec(&pod["spec"], true, &SPEC, causes);
    })
}

/// How long a pod may take to end. One that no node runs, or that has ended, goes at once.
fn grace_seconds(pod: &Value, asked: Option<i64>) -> i64 {
    let ended = matches!(text(&pod["status"]["phase"]), "Failed" | "Succeeded");
    if is_empty(&pod["spec"]["nodeName"]) || ended {
        return 0;
    }
    let seconds = asked.or_else(|| int(&pod["spec"]["terminationGracePeriodSeconds"])).unwrap_or(0);
    if seconds < 0 { 1 } else { seconds }
}
