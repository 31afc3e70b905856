//! Horizontal pod autoscalers. They are stored as version 2; version 1 is a view that keeps in annotations what it has no
//! fields for.

mod convert;
mod print;
#[cfg(test)]
mod tests;
mod validate;

pub(crate) use convert::{to_v1, to_v2};

use crate::print::number;
use crate::table::{AGE, Column, NAME, age, column};
use crate::value::{default, is_empty, members, set};
use crate::{Revalidation, Strategy};
use api::Timestamp;
use convert::{ANNOTATIONS, SPEC_ANNOTATIONS, STATUS_ANNOTATIONS, without_annotations};
use serde_json::{Value, json};

/// How busy pods are meant to be if nothing is said.
const UTILIZATION: i64 = 80;

pub(crate) static AUTOSCALERS_V2: Strategy = Strategy {
    defaults,
    validate: validate::autoscaler,
    validate_status: |new, _| validate::status(new),
    update_revalidates: Revalidation::Content,
    new_status: Some(|| json!({"currentMetrics": null, "desiredReplicas": 0})),
    columns: COLUMNS,
    row: print::row,
    ..Strategy::PLAIN
};

pub(crate) static AUTOSCALERS_V1: Strategy = Strategy {
    // What the annotations say is brought into the form that a read shows.
    defaults: |autoscaler| {
        let mut full = to_v2(autoscaler.take());
        defaults(&mut full);
        *autoscaler = to_v1(full);
    },
    prepare_create: |autoscaler| keep_annotations(autoscaler, &Value::Null, &STATUS_ANNOTATIONS),
    prepare_update: |new, old| keep_annotations(new, old, &STATUS_ANNOTATIONS),
    prepare_status: |new, old| keep_annotations(new, old, &SPEC_ANNOTATIONS),
    validate: |autoscaler| validate::autoscaler(&to_v2(autoscaler.clone())),
    validate_status: |new, _| validate::status(new),
    new_status: Some(|| json!({"currentReplicas": 0, "desiredReplicas": 0})),
    row: |autoscaler, now: Timestamp| print::row(&to_v2(autoscaler.clone()), now),
    hidden_annotations: &ANNOTATIONS,
    ..AUTOSCALERS_V2
};

/// Scales are shown as tables, and never stored.
pub(crate) static SCALES: Strategy = Strategy {
    columns: &[
        NAME,
        column("Desired", "io.k8s.api.autoscaling.v1.ScaleSpec", "replicas").integer(),
        column("Available", "io.k8s.api.autoscaling.v1.ScaleStatus", "replicas").integer(),
        AGE,
    ],
    row: |scale, now| {
        let name = scale["metadata"]["name"].clone();
        let count = |part: &str| number(&scale[part]["replicas"]);
        vec![name, count("spec"), count("status"), age(scale, now)]
    },
    ..Strategy::PLAIN
};

const SPEC: &str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec";
const COLUMNS: &[Column] = &[
    NAME,
    column("Reference", SPEC, "scaleTargetRef"),
    column("Targets", SPEC, "metrics"),
    column("MinPods", SPEC, "minReplicas"),
    column("MaxPods", SPEC, "maxReplicas"),
    column("Replicas", "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus", "currentReplicas"),
    AGE,
];

fn defaults(autoscaler: &mut Value) {
    without_annotations(autoscaler, &ANNOTATIONS);
    let Some(spec) = autoscaler.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    default(spec, "minReplicas", 1);
    if is_empty(&spec["metrics"]) {
        set(spec, "metrics", json!([convert::cpu_utilization(UTILIZATION)]));
    }
    if spec["behavior"].is_object() {
        let any = |kind: &str, value: i64| json!({"type": kind, "value": value, "periodSeconds": 15});
        let up = json!({
            "policies": [any("Pods", 4), any("Percent", 100)],
            "selectPolicy": "Max",
            "stabilizationWindowSeconds": 0,
        });
        let down = json!({"policies": [any("Percent", 100)], "selectPolicy": "Max"});
        for (direction, rules) in [("scaleUp", up), ("scaleDown", down)] {
            default(&mut spec["behavior"], direction, json!({}));
            for (field, value) in members(&rules) {
                default(&mut spec["behavior"][direction], field, value.clone());
            }
        }
    }
}

/// Gives `new` the annotations of `old` that hold a part of the object which a request does not change.
fn keep_annotations(new: &mut Value, old: &Value, names: &[&str]) {
    without_annotations(new, names);
    for name in names {
        if let Some(kept) = old["metadata"]["annotations"].get(*name) {
            new["metadata"]["annotations"][*name] = kept.clone();
        }
    }
}
