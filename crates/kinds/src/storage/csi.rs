//! CSI drivers, the nodes that run them, their capacities, and attachments of volumes.

use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::golang;
use crate::names;
use crate::pods::sources::csi_driver_name;
use crate::pods::volumes::token_seconds;
use crate::print::{joined, or_unset};
use crate::resources::quantity;
use crate::selectors::label_selector;
use crate::table::{AGE, Column, NAME, age, column};
use crate::value::{default, first_by, int, is_empty, is_true, list, remove, repeats, text};
use crate::{Revalidation, Strategy};
use api::Timestamp;
use serde_json::{Value, json};

const SPEC: Path = Path::new("spec");
const UPDATE_SECONDS_MIN: i64 = 10;
const NODE_ID_BYTES_MAX: usize = 192;

pub(crate) static CSI_DRIVERS: Strategy = Strategy {
    defaults: |driver| {
        if let Some(spec) = driver.get_mut("spec").filter(|spec| spec.is_object()) {
            default(spec, "attachRequired", true);
            for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
                default(spec, field, false);
            }
            default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
            if is_empty(&spec["volumeLifecycleModes"]) {
                spec["volumeLifecycleModes"] = json!(["Persistent"]);
            }
        }
    },
    // Counted from the first change on.
    prepare_create: |driver| remove(&mut driver["metadata"], "generation"),
    generation: Some(spec_changed),
    validate: |driver| Causes::of(|causes| validate_driver(driver, causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            for (field, shown) in
                [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
            {
                if new["spec"][field] != old["spec"][field] {
                    causes.immutable(&SPEC.child(shown), &new["spec"][field]);
                }
            }
        })
    },
    warnings: |driver, _| {
        let spec = &driver["spec"];
        let unset = !is_empty(&spec["tokenRequests"]) && spec["serviceAccountTokenInSecrets"].is_null();
        let why = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent \
                   possible logging of tokens in volume attributes";
        unset.then(|| why.to_owned()).into_iter().collect()
    },
    unconditional_update: false,
    columns: DRIVER_COLUMNS,
    row: driver_row,
    ..Strategy::PLAIN
};

pub(crate) static CSI_NODES: Strategy = Strategy {
    validate: |node| Causes::of(|causes| node_drivers(list(&node["spec"]["drivers"]), causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            let drivers = list(&new["spec"]["drivers"]);
            let by_id = first_by(drivers, |driver| (&driver["name"], &driver["nodeID"]));
            for old in list(&old["spec"]["drivers"]) {
                let same = by_id.get(&(&old["name"], &old["nodeID"]));
                if same.is_some_and(|driver| driver["topologyKeys"] != old["topologyKeys"]) {
                    causes.immutable(&Path::new("spec").child("drivers"), drivers);
                }
            }
        })
    },
    unconditional_update: false,
    columns: &[NAME, column("Drivers", "io.k8s.api.storage.v1.CSINodeSpec", "drivers").integer(), AGE],
    row: |node, now| {
        vec![node["metadata"]["name"].clone(), json!(list(&node["spec"]["drivers"]).len()), age(node, now)]
    },
    ..Strategy::PLAIN
};

pub(crate) static CSI_STORAGE_CAPACITIES: Strategy = Strategy {
    validate: |capacity| {
        Causes::of(|causes| {
            let class = text(&capacity["storageClassName"]);
            causes.each_invalid(&Path::new("storageClassName"), class, names::dns_subdomain(class));
            label_selector(&capacity["nodeTopology"], &Path::new("nodeTopology"), causes);
            if quantity(&capacity["capacity"]).is_negative() {
                causes.invalid(&Path::new("capacity"), &capacity["capacity"], "must be greater than or equal to 0");
            }
        })
    },
    validate_update: |new, old| {
        Causes::of(|causes| {
            for field in ["nodeTopology", "storageClassName"].into_iter().filter(|field| new[*field] != old[*field]) {
                causes.immutable(&Path::new(field), &new[field]);
            }
        })
    },
    unconditional_update: false,
    columns: CAPACITY_COLUMNS,
    row: |capacity, _| {
        let amount = match &capacity["capacity"] {
            Value::Null => json!("<unset>"),
            amount => amount.clone(),
        };
        vec![capacity["metadata"]["name"].clone(), capacity["storageClassName"].clone(), amount]
    },
    ..Strategy::PLAIN
};

pub(crate) static VOLUME_ATTACHMENTS: Strategy = Strategy {
    validate: |attachment| Causes::of(|causes| validate_attachment(&attachment["spec"], causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            if new["spec"] != old["spec"] {
                causes.immutable(&SPEC, golang::shown("VolumeAttachmentSpec", &new["spec"]));
            }
        })
    },
    unconditional_update: false,
    update_revalidates: Revalidation::Everything,
    status_keeps: &["labels", "annotations", "finalizers", "ownerReferences"],
    new_status: Some(|| json!({"attached": false})),
    columns: ATTACHMENT_COLUMNS,
    row: |attachment, now| {
        let spec = &attachment["spec"];
        vec![
            attachment["metadata"]["name"].clone(),
            spec["attacher"].clone(),
            json!(text(&spec["source"]["persistentVolumeName"])),
            spec["nodeName"].clone(),
            json!(is_true(&attachment["status"]["attached"])),
            age(attachment, now),
        ]
    },
    ..Strategy::PLAIN
};

fn validate_driver(driver: &Value, causes: &mut Causes) {
    let spec = &driver["spec"];
    let name = text(&driver["metadata"]["name"]);
    if name.len() > 63 {
        causes.too_long(&Path::new("metadata").child("name"), 63);
    }
    for field in ["attachRequired", "podInfoOnMount", "storageCapacity"].iter().filter(|field| spec[**field].is_null())
    {
        causes.required(&SPEC.child(field), "");
    }
    let requests = list(&spec["tokenRequests"]);
    let at = SPEC.child("tokenRequests");
    let repeated = repeats(requests.iter().map(|request| text(&request["audience"])));
    for (i, request) in requests.iter().enumerate() {
        let at = at.index(i);
        if repeated.contains(&i) {
            causes.duplicate(&at.child("audience"), text(&request["audience"]));
        }
        token_seconds(&request["expirationSeconds"], &at.child("expirationSeconds"), causes);
    }
    causes.one_of(&SPEC.child("fsGroupPolicy"), &spec["fsGroupPolicy"], &["File", "None", "ReadWriteOnceWithFSType"]);
    for mode in list(&spec["volumeLifecycleModes"]) {
        causes.one_of(&SPEC.child("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]);
    }
    if let Some(seconds) =
        int(&spec["nodeAllocatableUpdatePeriodSeconds"]).filter(|seconds| *seconds < UPDATE_SECONDS_MIN)
    {
        let at = SPEC.child("nodeAllocatableUpdatePeriodSeconds");
        causes.invalid(&at, seconds, &format!("must be greater than or equal to {UPDATE_SECONDS_MIN} seconds"));
    }
}

fn node_drivers(drivers: &[Value], causes: &mut Causes) {
    let at = SPEC.child("drivers");
    let repeated = repeats(drivers.iter().map(|driver| &driver["name"]));
    for (i, driver) in drivers.iter().enumerate() {
        let at = at.index(i);
        csi_driver_name(text(&driver["name"]), &at.child("name"), causes);
        match text(&driver["nodeID"]) {
            "" => causes.required(&at.child("nodeID"), ""),
            id if id.len() > NODE_ID_BYTES_MAX => {
                let why = format!("must be {NODE_ID_BYTES_MAX} characters or less");
                causes.invalid(&at.child("nodeID"), id, &why);
            }
            _ => {}
        }
        causes.not_negative(&at.child("allocatable").child("count"), &driver["allocatable"]["count"]);
        if repeated.contains(&i) {
            causes.duplicate(&at.child("name"), &driver["name"]);
        }
        let (keys, keys_at) = (list(&driver["topologyKeys"]), at.child("topologyKeys"));
        let repeated = repeats(keys);
        for (i, key) in keys.iter().enumerate() {
            if repeated.contains(&i) {
                causes.duplicate(&keys_at, key);
            }
            causes.each_invalid(&keys_at, text(key), names::qualified_name(text(key)));
        }
    }
}

fn validate_attachment(spec: &Value, causes: &mut Causes) {
    csi_driver_name(text(&spec["attacher"]), &SPEC.child("attacher"), causes);
    let (source, at) = (&spec["source"], SPEC.child("source"));
    let (inline, name) = (&source["inlineVolumeSpec"], text(&source["persistentVolumeName"]));
    if inline.is_null() == name.is_empty() {
        let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        causes.required(&at, why);
    }
    if source["persistentVolumeName"].is_string() && !name.is_empty() {
        causes.each_invalid(&at.child("persistentVolumeName"), name, names::dns_subdomain(name));
    }
    let node = text(&spec["nodeName"]);
    causes.each_invalid(&SPEC.child("nodeName"), node, names::dns_subdomain(node));
}

const DRIVER: &str = "io.k8s.api.storage.v1.CSIDriverSpec";
const DRIVER_COLUMNS: &[Column] = &[
    NAME,
    column("AttachRequired", DRIVER, "attachRequired").boolean(),
    column("PodInfoOnMount", DRIVER, "podInfoOnMount").boolean(),
    column("StorageCapacity", DRIVER, "storageCapacity").boolean(),
    column("TokenRequests", DRIVER, "tokenRequests"),
    column("RequiresRepublish", DRIVER, "requiresRepublish").boolean(),
    column("Modes", DRIVER, "volumeLifecycleModes"),
    AGE,
];

fn driver_row(driver: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &driver["spec"];
    let audiences = joined(list(&spec["tokenRequests"]).iter().map(|request| text(&request["audience"])));
    let modes = joined(list(&spec["volumeLifecycleModes"]).iter().map(text));
    vec![
        driver["metadata"]["name"].clone(),
        json!(spec["attachRequired"].is_null() || is_true(&spec["attachRequired"])),
        json!(is_true(&spec["podInfoOnMount"])),
        json!(is_true(&spec["storageCapacity"])),
        or_unset(&json!(audiences)),
        json!(is_true(&spec["requiresRepublish"])),
        json!(if modes.is_empty() { "<none>".to_owned() } else { modes }),
        age(driver, now),
    ]
}

const CAPACITY_COLUMNS: &[Column] = &[
    NAME,
    column("StorageClassName", "io.k8s.api.storage.v1.CSIStorageCapacity", "storageClassName"),
    column("Capacity", "io.k8s.api.storage.v1.CSIStorageCapacity", "capacity"),
];

const ATTACHMENT: &str = "io.k8s.api.storage.v1.VolumeAttachmentSpec";
const ATTACHMENT_COLUMNS: &[Column] = &[
    NAME,
    Column { format: "name", ..column("Attacher", ATTACHMENT, "attacher") },
    column("PV", "io.k8s.api.storage.v1.VolumeAttachmentSource", "persistentVolumeName"),
    column("Node", ATTACHMENT, "nodeName"),
    column("Attached", "io.k8s.api.storage.v1.VolumeAttachmentStatus", "attached").boolean(),
    AGE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_names_one_volume() {
        let count = |source: Value| {
            let spec = json!({"attacher": "a.example.com", "nodeName": "n", "source": source});
            Causes::of(|causes| validate_attachment(&spec, causes)).len()
        };
        assert_eq!(count(json!({"persistentVolumeName": "pv"})), 0);
        assert_eq!(count(json!({})), 1);
        assert_eq!(count(json!({"persistentVolumeName": "pv", "inlineVolumeSpec": {}})), 1);
    }
}
