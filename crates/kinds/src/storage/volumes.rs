//! Persistent volumes.

use super::claims::access_modes;
use super::{class_of, mode_or_unset, short_modes};
use crate::causes::{Causes, Path};
use crate::golang;
use crate::names;
use crate::pods::sources;
use crate::pods::volumes::no_backsteps;
use crate::print::or_unset;
use crate::resources::quantity;
use crate::selectors::node_selector;
use crate::table::{AGE, Column, NAME, age, column, explained};
use crate::value::{default, is_empty, members, object, set, text};
use crate::{Revalidation, Strategy};
use api::{Quantity, Timestamp};
use serde_json::{Value, json};

const SPEC: Path = Path::new("spec");

/// In the order in which the second of two is found to be one too many.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

pub(crate) static VOLUMES: Strategy = Strategy {
    defaults: |volume| {
        if let Some(spec) = volume.get_mut("spec").filter(|spec| spec.is_object()) {
            default(spec, "persistentVolumeReclaimPolicy", "Retain");
            default(spec, "volumeMode", "Filesystem");
            crate::pods::defaults::volume_source(spec);
        }
        if volume["status"].is_object() {
            default(&mut volume["status"], "phase", "Pending");
        }
    },
    prepare_create: |volume| {
        let created = volume["metadata"]["creationTimestamp"].clone();
        set(volume, "status", json!({"phase": "Pending", "lastPhaseTransitionTime": created}));
    },
    prepare_status: |new, _| {
        if object(new, "status").is_some() {
            default(&mut new["status"], "phase", "Pending");
        }
    },
    stamp: |new, old, now| {
        let status = &old["status"];
        let moved = new["status"]["phase"] != status["phase"];
        let time = &new["status"]["lastPhaseTransitionTime"];
        let told = !time.is_null() && *time != status["lastPhaseTransitionTime"];
        if moved && !told && new["status"].is_object() {
            set(&mut new["status"], "lastPhaseTransitionTime", now.to_string());
        }
    },
    validate: |volume| Causes::of(|causes| validate(&volume["spec"], causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            let (new, old) = (&new["spec"], &old["spec"]);
            let source = |spec: &Value| SOURCES.iter().map(|source| spec[*source].clone()).collect::<Vec<_>>();
            if source(new) != source(old) {
                causes.forbidden(&SPEC, "spec.persistentvolumesource is immutable after creation");
            }
            if new["volumeMode"] != old["volumeMode"] {
                causes.immutable(&Path::new("volumeMode"), &new["volumeMode"]);
            }
            let affinity = &new["nodeAffinity"];
            if !old["nodeAffinity"].is_null() && affinity != &old["nodeAffinity"] {
                let why = "field is immutable, except for updating from beta label to GA";
                causes.invalid(&Path::new("nodeAffinity"), golang::shown("VolumeNodeAffinity", affinity), why);
            }
        })
    },
    warnings: |volume, _| {
        let recycled = volume["spec"]["persistentVolumeReclaimPolicy"] == "Recycle";
        let why = "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
                   approach is to use dynamic provisioning.";
        recycled.then(|| why.to_owned()).into_iter().collect()
    },
    update_revalidates: Revalidation::Everything,
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

fn validate(spec: &Value, causes: &mut Causes) {
    access_modes(&spec["accessModes"], "", &SPEC.child("accessModes"), causes);
    capacity(&spec["capacity"], causes);
    if !is_empty(&spec["persistentVolumeReclaimPolicy"]) {
        let at = SPEC.child("persistentVolumeReclaimPolicy");
        causes.one_of(&at, &spec["persistentVolumeReclaimPolicy"], &["Delete", "Recycle", "Retain"]);
    }
    let affinity = SPEC.child("nodeAffinity");
    if !spec["nodeAffinity"].is_null() {
        if spec["nodeAffinity"]["required"].is_null() {
            causes.required(&affinity.child("required"), "must specify required node constraints");
        } else {
            node_selector(&spec["nodeAffinity"]["required"], &affinity.child("required"), causes);
        }
    }
    source(spec, causes);
    let path = text(&spec["hostPath"]["path"]);
    if path.trim_end_matches('/').is_empty() && !path.is_empty() && spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        let at = SPEC.child("persistentVolumeReclaimPolicy");
        causes.forbidden(&at, "may not be 'recycle' for a hostPath mount of '/'");
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let class = text(&spec[field]);
        if !class.is_empty() {
            causes.each_invalid(&SPEC.child(field), class, names::dns_subdomain(class));
        }
    }
    if !spec["volumeMode"].is_null() {
        causes.one_of(&SPEC.child("volumeMode"), &spec["volumeMode"], &["Block", "Filesystem"]);
    }
}

fn capacity(capacity: &Value, causes: &mut Causes) {
    let at = SPEC.child("capacity");
    if is_empty(capacity) {
        causes.required(&at, "");
    }
    if capacity["storage"].is_null() || members(capacity).count() > 1 {
        causes.unsupported(&at, capacity, &["storage"]);
    }
    for (name, amount) in members(capacity).filter(|(name, _)| *name == "storage") {
        if quantity(amount) <= Quantity::ZERO {
            causes.invalid(&at.key(name), amount, "must be greater than zero");
        }
    }
}

/// The one place where the volume is.
fn source(spec: &Value, causes: &mut Causes) {
    let mut count = 0;
    for (name, source) in SOURCES.iter().map(|name| (*name, &spec[*name])).filter(|(_, source)| !source.is_null()) {
        count += 1;
        let at = SPEC.child(name);
        if count > 1 {
            causes.forbidden(&at, "may not specify more than 1 volume type");
            continue;
        }
        match name {
            "local" => {
                match text(&source["path"]) {
                    "" => causes.required(&at.child("path"), ""),
                    path => no_backsteps(path, &at.child("path"), causes),
                }
                if spec["nodeAffinity"].is_null() {
                    causes.required(&SPEC.child("nodeAffinity"), "Local volume requires node affinity");
                }
            }
            "csi" => {
                sources::csi_driver_name(text(&source["driver"]), &at.child("driver"), causes);
                sources::required(source, &["volumeHandle"], &at, causes);
            }
            other => sources::shared(other, source, &at, causes),
        }
    }
    if count == 0 {
        causes.required(&SPEC, "must specify a volume type");
    }
}

const SPEC_OF: &str = "io.k8s.api.core.v1.PersistentVolumeSpec";
const STATUS_OF: &str = "io.k8s.api.core.v1.PersistentVolumeStatus";
const COLUMNS: &[Column] = &[
    NAME,
    column("Capacity", SPEC_OF, "capacity"),
    column("Access Modes", SPEC_OF, "accessModes"),
    column("Reclaim Policy", SPEC_OF, "persistentVolumeReclaimPolicy"),
    column("Status", STATUS_OF, "phase"),
    column("Claim", SPEC_OF, "claimRef"),
    explained("StorageClass", "StorageClass of the pv"),
    explained("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
    column("Reason", STATUS_OF, "reason"),
    AGE,
    column("VolumeMode", SPEC_OF, "volumeMode").wide(),
];

fn row(volume: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&volume["spec"], &volume["status"]);
    let phase = if volume["metadata"]["deletionTimestamp"].is_null() { text(&status["phase"]) } else { "Terminating" };
    let claim = match &spec["claimRef"] {
        Value::Null => String::new(),
        claim => format!("{}/{}", text(&claim["namespace"]), text(&claim["name"])),
    };
    vec![
        volume["metadata"]["name"].clone(),
        json!(text(&spec["capacity"]["storage"])),
        short_modes(&spec["accessModes"]),
        json!(text(&spec["persistentVolumeReclaimPolicy"])),
        json!(phase),
        json!(claim),
        json!(class_of(volume)),
        or_unset(&spec["volumeAttributesClassName"]),
        json!(text(&status["reason"])),
        age(volume, now),
        mode_or_unset(volume),
    ]
}
