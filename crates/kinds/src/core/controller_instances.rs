//! Instances of controllers: Arktos' kind, by which controllers that run more than once share their work.

use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::table::{NAME, column};
use crate::value::{default, text};
use serde_json::{Value, json};

const DEFINITION: &str = "io.k8s.api.core.v1.ControllerInstance";

pub(crate) static CONTROLLER_INSTANCES: Strategy = Strategy {
    defaults: |instance| {
        default(instance, "epoch", 1);
    },
    validate: |instance| {
        Causes::of(|causes| {
            if text(&instance["controllerType"]).is_empty() {
                causes.required(&Path::new("controllerType"), "");
            }
            for field in ["controllerKey", "epoch", "leaseDurationSeconds", "workloadNum"] {
                causes.not_negative(&Path::new(field), &instance[field]);
            }
        })
    },
    // What was taken from an instance stays taken: its epochs only grow.
    validate_update: |new, old| {
        Causes::of(|causes| {
            let epoch = |instance: &Value| instance["epoch"].as_i64().unwrap_or(0);
            if epoch(new) < epoch(old) {
                causes.invalid(&Path::new("epoch"), epoch(new), "must not be less than before");
            }
        })
    },
    columns: &[
        NAME,
        column("ControllerType", DEFINITION, "controllerType"),
        column("UID", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "uid"),
        column("ControllerKey", DEFINITION, "controllerKey"),
        column("WorkloadNum", DEFINITION, "workloadNum"),
        column("IsLocked", DEFINITION, "isLocked"),
    ],
    row: |instance, _| {
        let number = |field: &str| json!(instance[field].as_i64().unwrap_or(0));
        vec![
            instance["metadata"]["name"].clone(),
            json!(text(&instance["controllerType"])),
            instance["metadata"]["uid"].clone(),
            number("controllerKey"),
            number("workloadNum"),
            json!(instance["isLocked"] == true),
        ]
    },
    ..Strategy::PLAIN
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{generic, registry};

    fn created(mut instance: Value) -> Value {
        instance["metadata"] = json!({"name": "replicaset-1", "resourceVersion": "1"});
        (CONTROLLER_INSTANCES.defaults)(&mut instance);
        instance
    }

    #[test]
    fn an_instance_says_what_it_is_and_its_epochs_only_grow() {
        let kind = registry().find("", "v1", "controllerinstances").expect("instances");
        let first = created(json!({"controllerType": "replicaset"}));
        assert_eq!(first["epoch"], 1);
        assert!(generic::validate_create(kind, &first).is_empty());
        assert_eq!(generic::validate_create(kind, &created(json!({}))).len(), 1);
        assert_eq!(generic::validate_create(kind, &created(json!({"controllerType": "a", "epoch": -1}))).len(), 1);
        let later = created(json!({"controllerType": "replicaset", "epoch": 2}));
        assert!(generic::validate_update(kind, &later, &first).is_empty());
        assert_eq!(generic::validate_update(kind, &first, &later).len(), 1);
    }
}
