//! Namespaces.

use crate::causes::{Causes, Path};
use crate::table::{AGE, NAME, age, explained};
use crate::value::{default, is_empty, keep, list, object, set, text};
use crate::{Change, Deletion, NameRule, Strategy};
use serde_json::{Value, json};

/// Every namespace has its name as this label.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const FINALIZER: &str = "kubernetes";

pub(crate) static NAMESPACES: Strategy = Strategy {
    defaults: |namespace| {
        name_label(namespace);
        if namespace["status"].is_object() {
            default(&mut namespace["status"], "phase", "Active");
        }
    },
    prepare_create: |namespace| {
        name_label(namespace);
        add_finalizer(namespace, FINALIZER);
    },
    prepare_update: |new, old| keep(new, old, "spec"),
    prepare_status: |new, _| {
        if object(new, "status").is_some() {
            default(&mut new["status"], "phase", "Active");
        }
    },
    validate_status: |new, _| Causes::of(|causes| phase(new, causes)),
    subresources: &[("finalize", FINALIZE)],
    name_rule: NameRule::DnsLabel,
    new_status: Some(|| json!({"phase": "Active"})),
    deletion: Deletion::Phased,
    columns: &[NAME, explained("Status", "The status of the namespace"), AGE],
    row: |object, now| vec![object["metadata"]["name"].clone(), object["status"]["phase"].clone(), age(object, now)],
    ..Strategy::PLAIN
};

/// Changes `spec.finalizers` alone.
pub(super) const FINALIZE: Change = Change {
    prepare: |new, old| keep(new, old, "status"),
    validate: |new, _| {
        Causes::of(|causes| {
            let at = Path::new("spec");
            let at = at.child("finalizers");
            for (i, finalizer) in list(&new["spec"]["finalizers"]).iter().enumerate() {
                let name = text(finalizer);
                causes.each_invalid(&at.index(i), name, crate::names::qualified_name(name));
                if !name.contains('/') && !matches!(name, "kubernetes" | "arktos" | "orphan" | "foregroundDeletion") {
                    let why = "name is neither a standard finalizer name nor is it fully qualified";
                    causes.invalid(&at.index(i), name, why);
                }
            }
        })
    },
};

fn name_label(namespace: &mut Value) {
    let name = text(&namespace["metadata"]["name"]).to_owned();
    if !name.is_empty() && object(&mut namespace["metadata"], "labels").is_some() {
        set(&mut namespace["metadata"]["labels"], NAME_LABEL, name);
    }
}

/// What has to be gone before the object goes.
pub(super) fn add_finalizer(value: &mut Value, finalizer: &str) {
    if object(value, "spec").is_none() || list(&value["spec"]["finalizers"]).iter().any(|f| f == finalizer) {
        return;
    }
    let mut finalizers = list(&value["spec"]["finalizers"]).to_vec();
    finalizers.push(json!(finalizer));
    set(&mut value["spec"], "finalizers", finalizers);
}

/// The phase says whether the object is going.
fn phase(value: &Value, causes: &mut Causes) {
    let at = Path::new("status");
    let at = at.child("phase");
    let phase = &value["status"]["phase"];
    let going = !is_empty(&value["metadata"]["deletionTimestamp"]);
    if going && phase != "Terminating" {
        causes.invalid(&at, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
    } else if !going && phase != "Active" {
        causes.invalid(&at, phase, "may only be 'Active' if `deletionTimestamp` is empty");
    }
}
