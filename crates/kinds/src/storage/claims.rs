//! Persistent volume claims.

use super::{class_of, mode_or_unset, short_modes};
use crate::causes::{Causes, Path};
use crate::golang;
use crate::names;
use crate::print::or_unset;
use crate::resources::quantity;
use crate::selectors::label_selector;
use crate::table::{AGE, Column, NAME, age, column, explained};
use crate::value::{default, is_empty, keep, list, members, remove, set, text};
use crate::{Revalidation, Strategy};
use api::{Quantity, Timestamp};
use serde_json::{Value, json};

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

pub(crate) static CLAIMS: Strategy = Strategy {
    defaults: |claim| {
        if let Some(spec) = claim.get_mut("spec") {
            crate::pods::defaults::claim_spec(spec);
        }
        if claim["status"].is_object() {
            default(&mut claim["status"], "phase", "Pending");
        }
    },
    prepare_create: |claim| {
        if let Some(spec) = claim.get_mut("spec").filter(|spec| spec.is_object()) {
            drop_unknown_source(spec);
            same_sources(spec);
        }
    },
    prepare_update: |new, _| {
        if let Some(spec) = new.get_mut("spec").filter(|spec| spec.is_object()) {
            same_sources(spec);
        }
    },
    validate: |claim| Causes::of(|causes| claim_spec(&claim["spec"], &SPEC, causes)),
    validate_update: |new, old| Causes::of(|causes| change(new, old, causes)),
    validate_status: |new, _| {
        Causes::of(|causes| {
            let at = Path::new("status");
            let at = at.child("capacity");
            for (name, value) in members(&new["status"]["capacity"]) {
                if quantity(value).is_negative() {
                    causes.invalid(&at.key(name), value, "must be a valid resource quantity");
                }
            }
        })
    },
    warnings,
    update_revalidates: Revalidation::Content,
    new_status: Some(|| json!({"phase": "Pending"})),
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

const SPEC: Path = Path::new("spec");

/// Of the core group, only claims can be a source.
fn drop_unknown_source(spec: &mut Value) {
    let source = &spec["dataSource"];
    if !source.is_null() && is_empty(&source["apiGroup"]) && source["kind"] != "PersistentVolumeClaim" {
        remove(spec, "dataSource");
    }
}

/// `dataSource` and `dataSourceRef` say the same, unless the latter names a namespace.
fn same_sources(spec: &mut Value) {
    if !is_empty(&spec["dataSourceRef"]["namespace"]) {
        return;
    }
    let (source, reference) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    match (source.is_null(), reference.is_null()) {
        (false, true) => set(spec, "dataSourceRef", source),
        (true, false) => {
            set(spec, "dataSource", reference);
            default(&mut spec["dataSource"], "apiGroup", Value::Null);
        }
        _ => {}
    }
}

/// A claim that is bound may grow and change its class of attributes; one that is not may get a volume and a class.
fn change(new_claim: &Value, old_claim: &Value, causes: &mut Causes) {
    let (new, old) = (&new_claim["spec"], &old_claim["spec"]);
    let mut rest = new.clone();
    if is_empty(&old["volumeName"]) {
        keep(&mut rest, old, "volumeName");
    }
    if old["storageClassName"].is_null() && class_of(old_claim).is_empty() {
        keep(&mut rest, old, "storageClassName");
    }
    let bound = old_claim["status"]["phase"] == "Bound";
    if bound {
        keep(&mut rest, old, "volumeAttributesClassName");
        if let Some(resources) = rest.get_mut("resources") {
            keep(resources, &old["resources"], "requests");
        }
    }
    if &rest != old {
        let why =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        causes.forbidden(&SPEC, &format!("{why}{}", golang::difference("PersistentVolumeClaimSpec", old, &rest)));
    }
    let (asked, had) =
        (quantity(&new["resources"]["requests"]["storage"]), quantity(&old["resources"]["requests"]["storage"]));
    if bound && asked < had {
        let capacity = quantity(&old_claim["status"]["capacity"]["storage"]);
        let at = SPEC.child("resources");
        let at = at.child("requests");
        if asked <= capacity {
            causes.forbidden(&at.child("storage"), "field can not be less than status.capacity");
        }
    }
    if new["volumeMode"] != old["volumeMode"] {
        causes.immutable(&Path::new("volumeMode"), &new["volumeMode"]);
    }
}

fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    let annotation = "volume.beta.kubernetes.io/storage-class";
    if !is_empty(&new["metadata"]["annotations"][annotation]) {
        warnings.push(format!(
            "metadata.annotations[{annotation}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
    for field in ["requests", "limits"] {
        let storage = &new["spec"]["resources"][field]["storage"];
        if quantity(storage) != Quantity::from_units(quantity(storage).units()) {
            let at = format!("spec.resources.{field}[storage]");
            warnings.push(format!("{at}: fractional byte value {storage} is invalid, must be an integer"));
        }
    }
    warnings
}

const SPEC_OF: &str = "io.k8s.api.core.v1.PersistentVolumeClaimSpec";
const STATUS_OF: &str = "io.k8s.api.core.v1.PersistentVolumeClaimStatus";
const COLUMNS: &[Column] = &[
    NAME,
    column("Status", STATUS_OF, "phase"),
    column("Volume", SPEC_OF, "volumeName"),
    column("Capacity", STATUS_OF, "capacity"),
    column("Access Modes", STATUS_OF, "accessModes"),
    explained("StorageClass", "StorageClass of the pvc"),
    explained("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
    AGE,
    column("VolumeMode", SPEC_OF, "volumeMode").wide(),
];

fn row(claim: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let phase = if claim["metadata"]["deletionTimestamp"].is_null() { text(&status["phase"]) } else { "Terminating" };
    let bound = !is_empty(&spec["volumeName"]);
    let (capacity, modes) = match bound {
        true => (json!(text(&status["capacity"]["storage"])), short_modes(&status["accessModes"])),
        false => (json!(""), json!("")),
    };
    vec![
        claim["metadata"]["name"].clone(),
        json!(phase),
        json!(text(&spec["volumeName"])),
        capacity,
        modes,
        json!(class_of(claim)),
        or_unset(&spec["volumeAttributesClassName"]),
        age(claim, now),
        mode_or_unset(claim),
    ]
}

/// The spec of a claim, also in pods and in stateful sets.
pub(crate) fn claim_spec(spec: &Value, at: &Path, causes: &mut Causes) {
    access_modes(&spec["accessModes"], "at least 1 access mode is required", &at.child("accessModes"), causes);
    label_selector(&spec["selector"], &at.child("selector"), causes);
    let resources = at.child("resources");
    let storage_at = resources.key("storage");
    match &spec["resources"]["requests"]["storage"] {
        Value::Null => causes.required(&storage_at, ""),
        storage => {
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
    if source.is_null() || reference.is_null() {
        return;
    }
    if !is_empty(&reference["namespace"]) {
        causes.invalid(at, source, "may not be specified when dataSourceRef.namespace is specified");
    } else if !["apiGroup", "kind", "name"].into_iter().all(same) {
        causes.invalid(at, json!({}), "must match dataSourceRef");
    }
}

/// How a volume may be mounted. `why` is said where nothing is.
pub(super) fn access_modes(modes: &Value, why: &str, at: &Path, causes: &mut Causes) {
    if is_empty(modes) {
        causes.required(at, why);
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
