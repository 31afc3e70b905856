//! Storage classes and classes of volume attributes.

use crate::causes::{Causes, Path};
use crate::names;
use crate::table::{AGE, Column, NAME, age, column};
use crate::value::{default, is_empty, is_true, list, members, repeats, text};
use crate::{Revalidation, Strategy};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PARAMETERS_MAX: usize = 512;
const PARAMETER_BYTES_MAX: usize = 256 << 10;

pub(crate) static STORAGE_CLASSES: Strategy = Strategy {
    defaults: |class| {
        default(class, "reclaimPolicy", "Delete");
        default(class, "volumeBindingMode", "Immediate");
    },
    validate: |class| Causes::of(|causes| validate_class(class, causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                if new[field] != old[field] && !(is_empty(&new[field]) && is_empty(&old[field])) {
                    causes.immutable(&Path::new(field), &new[field]);
                }
            }
        })
    },
    update_revalidates: Revalidation::Everything,
    columns: CLASS_COLUMNS,
    row: |class, now| {
        let name = text(&class["metadata"]["name"]);
        let annotations = &class["metadata"]["annotations"];
        let is_default =
            ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
                .iter()
                .any(|annotation| annotations[*annotation] == "true");
        vec![
            json!(if is_default { format!("{name} (default)") } else { name.to_owned() }),
            class["provisioner"].clone(),
            class["reclaimPolicy"].clone(),
            class["volumeBindingMode"].clone(),
            json!(is_true(&class["allowVolumeExpansion"])),
            age(class, now),
        ]
    },
    ..Strategy::PLAIN
};

pub(crate) static VOLUME_ATTRIBUTES_CLASSES: Strategy = Strategy {
    validate: |class| {
        Causes::of(|causes| {
            driver(text(&class["driverName"]), &Path::new("driverName"), causes);
            parameters(&class["parameters"], causes);
            if is_empty(&class["parameters"]) {
                causes.required(&Path::new("parameters"), "must contain at least one key/value pair");
            }
        })
    },
    validate_update: |new, old| {
        Causes::of(|causes| {
            for field in ["driverName", "parameters"].into_iter().filter(|field| new[*field] != old[*field]) {
                causes.forbidden(&Path::new(field), &format!("updates to {field} are forbidden."));
            }
        })
    },
    update_revalidates: Revalidation::Everything,
    columns: &[NAME, column("DriverName", "io.k8s.api.storage.v1.VolumeAttributesClass", "driverName"), AGE],
    row: |class, now| {
        let name = text(&class["metadata"]["name"]);
        let annotation =
            &class["metadata"]["annotations"]["volumeattributesclass.alpha.kubernetes.io/is-default-class"];
        let shown = if annotation == "true" { format!("{name} (default)") } else { name.to_owned() };
        vec![json!(shown), class["driverName"].clone(), age(class, now)]
    },
    ..Strategy::PLAIN
};

fn driver(name: &str, at: &Path, causes: &mut Causes) {
    if name.is_empty() {
        causes.required(at, "");
    } else {
        causes.each_invalid(at, name, names::qualified_name(&name.to_lowercase()));
    }
}

fn parameters(parameters: &Value, causes: &mut Causes) {
    let at = Path::new("parameters");
    if members(parameters).count() > PARAMETERS_MAX {
        return causes.too_long(&at, PARAMETERS_MAX);
    }
    let mut bytes = 0;
    for (key, value) in members(parameters) {
        if key.is_empty() {
            causes.invalid(&at, key, "field can not be empty.");
        }
        bytes += key.len() + text(value).len();
    }
    if bytes > PARAMETER_BYTES_MAX {
        causes.too_long(&at, PARAMETER_BYTES_MAX);
    }
}

fn validate_class(class: &Value, causes: &mut Causes) {
    driver(text(&class["provisioner"]), &Path::new("provisioner"), causes);
    parameters(&class["parameters"], causes);
    if !is_empty(&class["reclaimPolicy"]) {
        causes.one_of(&Path::new("reclaimPolicy"), &class["reclaimPolicy"], &["Delete", "Retain"]);
    }
    match text(&class["volumeBindingMode"]) {
        "" => causes.required(&Path::new("volumeBindingMode"), ""),
        _ => {
            let modes = ["Immediate", "WaitForFirstConsumer"];
            causes.one_of(&Path::new("volumeBindingMode"), &class["volumeBindingMode"], &modes);
        }
    }
    let at = Path::new("allowedTopologies");
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (i, topology) in list(&class["allowedTopologies"]).iter().enumerate() {
        let at = at.index(i);
        let at = at.child("matchLabelExpressions");
        let expressions = list(&topology["matchLabelExpressions"]);
        let repeated_keys = repeats(expressions.iter().map(|expression| text(&expression["key"])));
        for (i, expression) in expressions.iter().enumerate() {
            let at = at.index(i);
            let key = text(&expression["key"]);
            if is_empty(&expression["values"]) {
                causes.required(&at.child("values"), "");
            }
            let values = list(&expression["values"]);
            let repeated = repeats(values);
            for (i, value) in values.iter().enumerate().filter(|(i, _)| repeated.contains(i)) {
                causes.duplicate(&at.child("values").index(i), value);
            }
            causes.each_invalid(&at.child("key"), key, names::label_key(key));
            if repeated_keys.contains(&i) {
                causes.duplicate(&at.child("key"), key);
            }
        }
        if !seen.insert(topology.to_string()) {
            causes.duplicate(&at, "");
        }
    }
}

const CLASS: &str = "io.k8s.api.storage.v1.StorageClass";
const CLASS_COLUMNS: &[Column] = &[
    NAME,
    column("Provisioner", CLASS, "provisioner"),
    column("ReclaimPolicy", CLASS, "reclaimPolicy"),
    column("VolumeBindingMode", CLASS, "volumeBindingMode"),
    column("AllowVolumeExpansion", CLASS, "allowVolumeExpansion"),
    AGE,
];
