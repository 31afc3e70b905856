//! Deployments.

use super::{
    SPEC, STATUS, at_most, at_most_all, collisions, count_or_percent, int_or_percent, is_rolling, not_negative,
    replicated, selector, selector_stays, template_defaults, template_warnings,
};
use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::golang;
use crate::print::{self, CONTAINERS, IMAGES, number};
use crate::table::{AGE, Column, NAME, age, column, explained};
use crate::value::{default, int, object};
use crate::{Revalidation, Strategy};
use api::{Cause, Timestamp};
use serde_json::{Value, json};

pub(crate) static DEPLOYMENTS: Strategy = Strategy {
    defaults,
    validate: |object| Causes::of(|causes| validate(&object["spec"], causes)),
    validate_update: |new, old| Causes::of(|causes| selector_stays(new, old, causes)),
    validate_status,
    update_revalidates: Revalidation::Content,
    warnings: template_warnings,
    generation: Some(|new, old| {
        spec_changed(new, old) || new["metadata"]["annotations"] != old["metadata"]["annotations"]
    }),
    status_keeps: &["labels"],
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

fn defaults(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    template_defaults(spec);
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    default(spec, "strategy", json!({}));
    let strategy = &mut spec["strategy"];
    default(strategy, "type", "RollingUpdate");
    if is_rolling(strategy) {
        object_defaults(strategy);
    }
}

fn object_defaults(strategy: &mut Value) {
    if object(strategy, "rollingUpdate").is_some() {
        for field in ["maxUnavailable", "maxSurge"] {
            default(&mut strategy["rollingUpdate"], field, "25%");
        }
    }
}

fn validate(spec: &Value, causes: &mut Causes) {
    not_negative(spec, &["replicas"], &SPEC, causes);
    if selector(spec, "deployment", causes) {
        replicated(&spec["selector"], &spec["template"], "ReplicaSet", &SPEC.child("template"), causes);
    } else {
        causes.invalid(&SPEC.child("selector"), &spec["selector"], "invalid label selector");
    }
    strategy(&spec["strategy"], &SPEC.child("strategy"), causes);
    not_negative(spec, &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"], &SPEC, causes);
    let ready = int(&spec["minReadySeconds"]).unwrap_or(0);
    if let Some(deadline) = int(&spec["progressDeadlineSeconds"]).filter(|deadline| *deadline <= ready) {
        causes.invalid(&SPEC.child("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds");
    }
}

fn strategy(strategy: &Value, at: &Path, causes: &mut Causes) {
    let (rolling, rolling_at) = (&strategy["rollingUpdate"], at.child("rollingUpdate"));
    match strategy["type"].as_str() {
        Some("Recreate") if !rolling.is_null() => {
            causes.forbidden(&rolling_at, "may not be specified when strategy `type` is 'Recreate'");
        }
        Some("Recreate") => {}
        Some("RollingUpdate") => {
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            let unavailable_at = rolling_at.child("maxUnavailable");
            int_or_percent(unavailable, &unavailable_at, causes);
            int_or_percent(surge, &rolling_at.child("maxSurge"), causes);
            if count_or_percent(unavailable) == 0 && count_or_percent(surge) == 0 {
                causes.invalid(&unavailable_at, unavailable, "may not be 0 when `maxSurge` is 0");
            }
            at_most_all(unavailable, &unavailable_at, causes);
        }
        _ => causes.unsupported(at, golang::shown("DeploymentStrategy", strategy), &["Recreate", "RollingUpdate"]),
    }
}

fn validate_status(new: &Value, old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let (new, old) = (&new["status"], &old["status"]);
        let counts = [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ];
        not_negative(new, &counts, &STATUS, causes);
        let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
        at_most(new, &parts, "replicas", "status.replicas", causes);
        at_most(new, &["availableReplicas"], "readyReplicas", "readyReplicas", causes);
        collisions(new, old, causes);
    })
}

const STATUS_OF: &str = "io.k8s.api.apps.v1.DeploymentStatus";
const COLUMNS: &[Column] = &[
    NAME,
    explained("Ready", "Number of the pod with ready state"),
    column("Up-to-date", STATUS_OF, "updatedReplicas"),
    column("Available", STATUS_OF, "availableReplicas"),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    column("Selector", "io.k8s.api.apps.v1.DeploymentSpec", "selector").wide(),
];

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = print::containers(&spec["template"]["spec"]);
    let selector = match print::selector(&spec["selector"]) {
        Value::String(none) if none == "<none>" => json!(""),
        selector => selector,
    };
    vec![
        object["metadata"]["name"].clone(),
        json!(format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]))),
        number(&status["updatedReplicas"]),
        number(&status["availableReplicas"]),
        age(object, now),
        names,
        images,
        selector,
    ]
}
