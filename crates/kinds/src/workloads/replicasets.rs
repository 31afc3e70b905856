//! Replica sets, and replication controllers, which came before them.

use super::{
    SPEC, STATUS, at_most, not_negative, replicated, selector, selector_stays, template_defaults, template_warnings,
};
use crate::causes::Causes;
use crate::generic::spec_changed;
use crate::print::{self, CONTAINERS, IMAGES, number};
use crate::table::{AGE, Column, NAME, age, column};
use crate::value::{default, is_empty};
use crate::{Revalidation, Strategy};
use api::{Cause, Timestamp};
use serde_json::{Value, json};

/// What both have in common.
const BOTH: Strategy = Strategy {
    validate_status,
    update_revalidates: Revalidation::Twice,
    warnings: template_warnings,
    generation: Some(spec_changed),
    new_status: Some(|| json!({"replicas": 0})),
    ..Strategy::PLAIN
};

pub(crate) static REPLICA_SETS: Strategy = Strategy {
    defaults: |object| {
        if let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) {
            template_defaults(spec);
            default(spec, "replicas", 1);
        }
    },
    validate: |object| Causes::of(|causes| validate(&object["spec"], causes)),
    validate_update: |new, old| Causes::of(|causes| selector_stays(new, old, causes)),
    columns: COLUMNS,
    row: |object, now| row(object, print::selector(&object["spec"]["selector"]), now),
    ..BOTH
};

pub(crate) static REPLICATION_CONTROLLERS: Strategy = Strategy {
    defaults: controller_defaults,
    validate: |object| Causes::of(|causes| validate_controller(&object["spec"], causes)),
    columns: CONTROLLER_COLUMNS,
    row: |object, now| row(object, print::labels(&object["spec"]["selector"]), now),
    orphans_dependents: true,
    ..BOTH
};

fn controller_defaults(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    template_defaults(spec);
    default(spec, "replicas", 1);
    if !is_empty(&labels) {
        if is_empty(&spec["selector"]) {
            spec["selector"] = labels.clone();
        }
        if is_empty(&object["metadata"]["labels"]) {
            object["metadata"]["labels"] = labels;
        }
    }
}

fn validate(spec: &Value, causes: &mut Causes) {
    not_negative(spec, &["replicas", "minReadySeconds"], &SPEC, causes);
    if selector(spec, "deployment", causes) {
        replicated(&spec["selector"], &spec["template"], "ReplicaSet", &SPEC.child("template"), causes);
    } else {
        causes.invalid(&SPEC.child("selector"), &spec["selector"], "invalid label selector");
    }
}

fn validate_controller(spec: &Value, causes: &mut Causes) {
    not_negative(spec, &["minReadySeconds"], &SPEC, causes);
    if is_empty(&spec["selector"]) {
        causes.required(&SPEC.child("selector"), "");
    }
    not_negative(spec, &["replicas"], &SPEC, causes);
    let at = SPEC.child("template");
    if spec["template"].is_null() {
        causes.required(&at, "");
    } else {
        let selector = json!({"matchLabels": spec["selector"]});
        replicated(&selector, &spec["template"], "ReplicationController", &at, causes);
    }
}

fn validate_status(new: &Value, _old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let status = &new["status"];
        let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        not_negative(status, &["replicas"], &STATUS, causes);
        not_negative(status, &parts, &STATUS, causes);
        not_negative(status, &["terminatingReplicas", "observedGeneration"], &STATUS, causes);
        at_most(status, &parts, "replicas", "status.replicas", causes);
        at_most(status, &["availableReplicas"], "readyReplicas", "readyReplicas", causes);
    })
}

const SETS: [&str; 2] = ["io.k8s.api.apps.v1.ReplicaSetSpec", "io.k8s.api.apps.v1.ReplicaSetStatus"];
const CONTROLLERS: [&str; 2] =
    ["io.k8s.api.core.v1.ReplicationControllerSpec", "io.k8s.api.core.v1.ReplicationControllerStatus"];
const COLUMNS: &[Column] = &columns(SETS);
const CONTROLLER_COLUMNS: &[Column] = &columns(CONTROLLERS);

const fn columns([spec, status]: [&'static str; 2]) -> [Column; 8] {
    [
        NAME,
        column("Desired", spec, "replicas").integer(),
        column("Current", status, "replicas").integer(),
        column("Ready", status, "readyReplicas").integer(),
        AGE,
        CONTAINERS.wide(),
        IMAGES.wide(),
        column("Selector", spec, "selector").wide(),
    ]
}

fn row(object: &Value, selector: Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = print::containers(&spec["template"]["spec"]);
    vec![
        object["metadata"]["name"].clone(),
        number(&spec["replicas"]),
        number(&status["replicas"]),
        number(&status["readyReplicas"]),
        age(object, now),
        names,
        images,
        selector,
    ]
}
