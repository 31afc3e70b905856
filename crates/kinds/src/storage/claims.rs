//! Persistent volume claims.

use crate::causes::{Causes, Path};
use crate::names;
use crate::resources::{amount, quantity};
use crate::selectors::label_selector;
use crate::value::{is_empty, list, text};
use api::Quantity;
use serde_json::Value;

pub(super) const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// The spec of a claim, also in pods and in stateful sets.
pub(crate) fn claim_spec(spec: &Value, at: &Path, causes: &mut Causes) {
    access_modes(&spec["accessModes"], &at.child("accessModes"), causes);
    label_selector(&spec["selector"], &at.child("selector"), causes);
    let resources = at.child("resources");
    let storage_at = resources.key("storage");
    match &spec["resources"]["requests"]["storage"] {
        Value::Null => causes.required(&storage_at, ""),
        storage => {
            amount("storage", storage, &storage_at, causes);
            if quantity(storage) <= Quantity::ZERO {
                causes.invalid(&storage_at, storage, "must be greater than zero");
            }
        }
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let name = text(&spec[field]);
        if !name.is_empty() {
            causes.each_invalid(&at.child(field), name, names::dns_subdomain(name));
        }
    }
    if !spec["volumeMode"].is_null() {
        causes.one_of(&at.child("volumeMode"), &spec["volumeMode"], &["Block", "Filesystem"]);
    }
    let (source, reference) = (&spec["dataSource"], &spec["dataSourceRef"]);
    data_source(source, &at.child("dataSource"), causes);
    data_source(reference, &at.child("dataSourceRef"), causes);
    let same = |field: &str| text(&source[field]) == text(&reference[field]);
    if !source.is_null() && !reference.is_null() && is_empty(&reference["namespace"]) {
        if !["apiGroup", "kind", "name"].into_iter().all(same) {
            causes.invalid(at, source, "must match dataSourceRef");
        }
    } else if !source.is_null() && !reference.is_null() {
        causes.invalid(at, source, "may not be specified when dataSourceRef.namespace is specified");
    }
}

/// How a volume may be mounted.
pub(super) fn access_modes(modes: &Value, at: &Path, causes: &mut Causes) {
    if is_empty(modes) {
        causes.required(at, "at least 1 access mode is required");
    }
    for mode in list(modes).iter().filter(|mode| !ACCESS_MODES.contains(&text(mode))) {
        causes.unsupported(at, mode, &ACCESS_MODES);
    }
    if list(modes).len() > 1 && list(modes).iter().any(|mode| mode == "ReadWriteOncePod") {
        causes.forbidden(at, "may not use ReadWriteOncePod with other access modes");
    }
}

fn data_source(source: &Value, at: &Path, causes: &mut Causes) {
    if source.is_null() {
        return;
    }
    for field in ["name", "kind"].into_iter().filter(|field| is_empty(&source[*field])) {
        causes.required(&at.child(field), "");
    }
    if is_empty(&source["apiGroup"]) && source["kind"] != "PersistentVolumeClaim" {
        causes.invalid(
            at,
            text(&source["kind"]),
            "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        );
    }
}
