//! Slices: what devices a driver has, and from which nodes they can be used.

use super::{SPEC, attribute, driver, effect, limited, pool};
use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::golang;
use crate::names;
use crate::selectors::node_selector;
use crate::table::{AGE, Column, NAME, age, column};
use crate::value::{default, int, is_empty, is_true, list_mut, members, repeats, set, text};
use api::Timestamp;
use serde_json::{Value, json};

const DEVICES_MAX: usize = 128;
const ATTRIBUTES_MAX: usize = 32;
const TAINTS_MAX: usize = 16;
const VALUE_BYTES_MAX: usize = 64;

/// The fields of which one says where the devices are.
const PLACES: [&str; 4] = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];

pub(crate) static RESOURCE_SLICES: Strategy = Strategy {
    defaults: |slice| {
        if slice["spec"].is_object() {
            default(&mut slice["spec"], "devices", Value::Null);
        }
    },
    prepare_create: |slice| {
        let created = slice["metadata"]["creationTimestamp"].clone();
        date_taints(slice, &created);
    },
    stamp: |new, _, now| date_taints(new, &json!(now.to_string())),
    validate: |slice| Causes::of(|causes| validate(&slice["spec"], causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            let (new, old) = (&new["spec"], &old["spec"]);
            let pool = SPEC.child("pool");
            for (field, at) in [
                ("/driver", SPEC.child("driver")),
                ("/nodeName", SPEC.child("nodeName")),
                ("/pool/name", pool.child("name")),
                ("/nodeSelector", SPEC.child("nodeSelector")),
                ("/allNodes", SPEC.child("allNodes")),
            ] {
                if new.pointer(field) != old.pointer(field) {
                    causes.immutable(&at, new.pointer(field));
                }
            }
        })
    },
    generation: Some(spec_changed),
    columns: COLUMNS,
    row: |slice, now: Timestamp| {
        let spec = &slice["spec"];
        vec![
            slice["metadata"]["name"].clone(),
            json!(text(&spec["nodeName"])),
            json!(text(&spec["driver"])),
            json!(text(&spec["pool"]["name"])),
            age(slice, now),
        ]
    },
    ..Strategy::PLAIN
};

const SLICE: &str = "io.k8s.api.resource.v1.ResourceSliceSpec";
const COLUMNS: &[Column] = &[
    NAME,
    column("Node", SLICE, "nodeName"),
    column("Driver", SLICE, "driver"),
    column("Pool", "io.k8s.api.resource.v1.ResourcePool", "name"),
    AGE,
];

fn date_taints(slice: &mut Value, time: &Value) {
    let Some(spec) = slice.get_mut("spec") else { return };
    for device in list_mut(spec, "devices") {
        for taint in list_mut(device, "taints").filter(|taint| taint["timeAdded"].is_null()) {
            set(taint, "timeAdded", time.clone());
        }
    }
}

fn validate(spec: &Value, causes: &mut Causes) {
    driver(text(&spec["driver"]), &SPEC.child("driver"), causes);
    let at = SPEC.child("pool");
    pool(text(&spec["pool"]["name"]), &at.child("name"), causes);
    let count = int(&spec["pool"]["resourceSliceCount"]).unwrap_or(0);
    if count <= 0 {
        causes.invalid(&at.child("resourceSliceCount"), count, "must be greater than zero");
    }
    if let Some(generation) = int(&spec["pool"]["generation"]).filter(|generation| *generation < 0) {
        causes.invalid(&at.child("generation"), generation, "must be greater than or equal to zero");
    }
    place(spec, causes);
    let at = SPEC.child("devices");
    let devices = limited(&spec["devices"], DEVICES_MAX, &at, causes);
    let repeated = repeats(devices.iter().map(|device| &device["name"]));
    for (i, device) in devices.iter().enumerate() {
        let at = at.index(i);
        self::device(device, &at, causes);
        if repeated.contains(&i) {
            causes.duplicate(&at, &device["name"]);
        }
    }
}

fn place(spec: &Value, causes: &mut Causes) {
    let given = |field: &&str| is_true(&spec[*field]) || !is_empty(&spec[*field]) && !spec[*field].is_boolean();
    let quoted = |fields: Vec<&str>| -> String {
        fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ")
    };
    let fields: Vec<&str> = PLACES.into_iter().filter(given).collect();
    let one = format!("exactly one of {} is required", quoted(PLACES.to_vec()));
    match fields[..] {
        [] => causes.required(&SPEC, &one),
        ["nodeName"] => {
            let name = text(&spec["nodeName"]);
            causes.each_invalid(&SPEC.child("nodeName"), name, names::dns_subdomain(name));
        }
        ["nodeSelector"] => node_selector(&spec["nodeSelector"], &SPEC.child("nodeSelector"), causes),
        [_] => {}
        _ => causes.invalid(&SPEC, format!("{{{}}}", quoted(fields)), &format!("{one}, but multiple fields are set")),
    }
}

fn device(device: &Value, at: &Path, causes: &mut Causes) {
    let name = text(&device["name"]);
    causes.each_invalid(&at.child("name"), name, names::dns_label(name));
    let (attributes, capacity) = (members(&device["attributes"]), members(&device["capacity"]));
    if attributes.clone().count() + capacity.clone().count() > ATTRIBUTES_MAX {
        let why = format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
        causes.invalid(at, attributes.clone().count() + capacity.clone().count(), &why);
    }
    let attributes_at = at.child("attributes");
    for (name, value) in attributes {
        attribute(name, false, &attributes_at, causes);
        attribute_value(value, &attributes_at.key(name), causes);
    }
    let capacity_at = at.child("capacity");
    capacity.for_each(|(name, _)| attribute(name, false, &capacity_at, causes));
    let at = at.child("taints");
    for (i, taint) in limited(&device["taints"], TAINTS_MAX, &at, causes).iter().enumerate() {
        let (at, key, value) = (at.index(i), text(&taint["key"]), text(&taint["value"]));
        causes.each_invalid(&at.child("key"), key, names::qualified_name(key));
        causes.each_invalid(&at.child("value"), value, names::label_value(value));
        effect(&taint["effect"], &["NoExecute", "NoSchedule", "None"], &at.child("effect"), causes);
    }
}

/// One value, of one type.
fn attribute_value(value: &Value, at: &Path, causes: &mut Causes) {
    const ONE: &str = "exactly one value must be specified";
    match members(value).filter(|(_, value)| !value.is_null()).count() {
        0 => return causes.invalid(at, "", ONE),
        1 => {}
        _ => return causes.invalid(at, golang::shown("DeviceAttribute", value), ONE),
    }
    for field in ["string", "version"] {
        if text(&value[field]).len() > VALUE_BYTES_MAX {
            causes.too_long(&at.child(field), VALUE_BYTES_MAX);
        }
    }
    if let Some(version) = value["version"].as_str().filter(|version| !is_semantic_version(version)) {
        let why = "must be a string compatible with semver.org spec 2.0.0";
        causes.invalid(&at.child("version"), version, why);
    }
}

/// `1.2.3`, with labels of a release before it after `-`, and of a build after `+`.
fn is_semantic_version(version: &str) -> bool {
    let number = |n: &str| n.bytes().all(|b| b.is_ascii_digit()) && (n == "0" || !n.starts_with('0')) && !n.is_empty();
    let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let numeric = |l: &str| l.bytes().all(|b| b.is_ascii_digit());
    let (version, build) = version.split_once('+').map_or((version, None), |(version, build)| (version, Some(build)));
    let (core, release) = version.split_once('-').map_or((version, None), |(core, release)| (core, Some(release)));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && release.is_none_or(|r| r.split('.').all(|l| label(l) && (!numeric(l) || number(l))))
        && build.is_none_or(|build| build.split('.').all(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic() {
        for good in ["1.2.3", "0.0.0", "1.2.3-rc.1", "1.2.3-a-b+x.01"] {
            assert!(is_semantic_version(good), "{good}");
        }
        for bad in ["", "1", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3"] {
            assert!(!is_semantic_version(bad), "{bad}");
        }
    }
}
