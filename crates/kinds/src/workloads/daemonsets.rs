//! Daemon sets.

use super::{
    SPEC, STATUS, at_most_all, collisions, count_or_percent, int_or_percent, lasting_pods, not_negative,
    selector_stays, template_defaults, template_warnings,
};
use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::golang;
use crate::pods::spec;
use crate::print::{self, CONTAINERS, IMAGES, number};
use crate::selectors::{label_selector, selects_all};
use crate::table::{AGE, Column, NAME, age, column};
use crate::value::{default, object, set, text};
use crate::{Revalidation, Strategy};
use api::{Cause, Timestamp};
use serde_json::{Value, json};

/// Counts the templates that a daemon set has had. No field of apps/v1 holds it.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

pub(crate) static DAEMON_SETS: Strategy = Strategy {
    defaults,
    prepare_create: |object| set_template_generation(object, 1),
    prepare_update: |new, old| {
        let changed = new["spec"]["template"] != old["spec"]["template"];
        set_template_generation(new, template_generation(old) + i64::from(changed));
    },
    prepare_status: |new, old| {
        let kept = old["metadata"]["annotations"].get(TEMPLATE_GENERATION).filter(|kept| kept.is_string());
        if let Some(kept) = kept
            && object(&mut new["metadata"], "annotations").is_some()
        {
            set(&mut new["metadata"]["annotations"], TEMPLATE_GENERATION, kept.clone());
        }
    },
    validate: |object| Causes::of(|causes| validate(&object["spec"], causes)),
    validate_update: |new, old| Causes::of(|causes| selector_stays(new, old, causes)),
    validate_status,
    update_revalidates: Revalidation::Twice,
    warnings: template_warnings,
    generation: Some(spec_changed),
    new_status: Some(
        || json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}),
    ),
    columns: COLUMNS,
    row,
    hidden_annotations: &[TEMPLATE_GENERATION],
    ..Strategy::PLAIN
};

fn set_template_generation(daemon_set: &mut Value, generation: i64) {
    if object(&mut daemon_set["metadata"], "annotations").is_some() {
        set(&mut daemon_set["metadata"]["annotations"], TEMPLATE_GENERATION, generation.to_string());
    }
}

fn template_generation(daemon_set: &Value) -> i64 {
    text(&daemon_set["metadata"]["annotations"][TEMPLATE_GENERATION]).parse().unwrap_or(0)
}

fn defaults(daemon_set: &mut Value) {
    // Upstream makes the annotation of a field that every object has.
    set_template_generation(daemon_set, template_generation(daemon_set));
    let Some(spec) = daemon_set.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    template_defaults(spec);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "updateStrategy", json!({}));
    let strategy = &mut spec["updateStrategy"];
    default(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" && object(strategy, "rollingUpdate").is_some() {
        default(&mut strategy["rollingUpdate"], "maxUnavailable", 1);
        default(&mut strategy["rollingUpdate"], "maxSurge", 0);
    }
}

fn validate(set: &Value, causes: &mut Causes) {
    let (selector, at) = (&set["selector"], SPEC.child("selector"));
    let faults = Causes::of(|causes| label_selector(selector, &at, causes));
    let usable = faults.is_empty();
    causes.extend(faults);
    let template_at = SPEC.child("template");
    if usable {
        super::selects_template(selector, &set["template"], &template_at, causes);
    }
    if !selector.is_null() && selects_all(selector) {
        causes.invalid(&at, selector, "empty selector is invalid for daemonset");
    }
    spec::template(&set["template"], &template_at, causes);
    lasting_pods(&set["template"], "DaemonSet", &template_at, causes);
    not_negative(set, &["minReadySeconds"], &SPEC, causes);
    update_strategy(&set["updateStrategy"], &SPEC.child("updateStrategy"), causes);
    not_negative(set, &["revisionHistoryLimit"], &SPEC, causes);
}

fn update_strategy(strategy: &Value, at: &Path, causes: &mut Causes) {
    match text(&strategy["type"]) {
        "OnDelete" => {}
        "RollingUpdate" => {
            let (rolling, at) = (&strategy["rollingUpdate"], at.child("rollingUpdate"));
            for field in ["maxUnavailable", "maxSurge"] {
                int_or_percent(&rolling[field], &at.child(field), causes);
                at_most_all(&rolling[field], &at.child(field), causes);
            }
            let has = |field: &str| count_or_percent(&rolling[field]) != 0;
            match (has("maxUnavailable"), has("maxSurge")) {
                (false, false) => causes.required(&at.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
                (true, true) => {
                    let why = "may not be set when maxUnavailable is non-zero";
                    causes.invalid(&at.child("maxSurge"), &rolling["maxSurge"], why);
                }
                _ => {}
            }
        }
        _ => causes.unsupported(at, golang::shown("DaemonSetUpdateStrategy", strategy), &["RollingUpdate", "OnDelete"]),
    }
}

fn validate_status(new: &Value, old: &Value) -> Vec<Cause> {
    let counts = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    Causes::of(|causes| {
        not_negative(&new["status"], &counts, &STATUS, causes);
        collisions(&new["status"], &old["status"], causes);
    })
}

const STATUS_OF: &str = "io.k8s.api.apps.v1.DaemonSetStatus";
const COLUMNS: &[Column] = &[
    NAME,
    column("Desired", STATUS_OF, "desiredNumberScheduled").integer(),
    column("Current", STATUS_OF, "currentNumberScheduled").integer(),
    column("Ready", STATUS_OF, "numberReady").integer(),
    column("Up-to-date", STATUS_OF, "updatedNumberScheduled").integer(),
    column("Available", STATUS_OF, "numberAvailable").integer(),
    column("Node Selector", "io.k8s.api.core.v1.PodSpec", "nodeSelector"),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    column("Selector", "io.k8s.api.apps.v1.DaemonSetSpec", "selector").wide(),
];

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = print::containers(&spec["template"]["spec"]);
    vec![
        object["metadata"]["name"].clone(),
        number(&status["desiredNumberScheduled"]),
        number(&status["currentNumberScheduled"]),
        number(&status["numberReady"]),
        number(&status["updatedNumberScheduled"]),
        number(&status["numberAvailable"]),
        print::labels(&spec["template"]["spec"]["nodeSelector"]),
        age(object, now),
        names,
        images,
        print::selector(&spec["selector"]),
    ]
}
