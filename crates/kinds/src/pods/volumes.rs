//! Checks of a pod's volumes, and of where its containers mount them.

use super::handlers::{field_ref, resource_field_ref};
use super::sources;
use super::spec::Context;
use crate::causes::{Causes, Path};
use crate::names;
use crate::resources::quantity;
use crate::storage::claim_spec;
use crate::value::{int, is_empty, is_true, list, members, repeats, text};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

const MODE_MAX: i64 = 0o777;
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// In the order in which the second of two is found to be one too many.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// Fields of a pod that become files.
const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The volumes of a pod; answers with those that containers may mount.
pub(crate) fn volumes<'a>(volumes: &'a [Value], at: &Path, causes: &mut Causes) -> HashMap<&'a str, &'a Value> {
    let mut usable = HashMap::new();
    for (i, volume) in volumes.iter().enumerate() {
        let mut found = Causes::new();
        let at = at.index(i);
        source(volume, &at, &mut found);
        let name = text(&volume["name"]);
        match name {
            "" => found.required(&at.child("name"), ""),
            name => found.each_invalid(&at.child("name"), name, names::dns_label(name)),
        }
        if usable.contains_key(name) {
            found.duplicate(&at.child("name"), name);
        }
        if found.is_empty() {
            usable.insert(name, volume);
        }
        causes.extend(found.into_vec());
    }
    usable
}

/// The one source of a volume.
fn source(volume: &Value, at: &Path, causes: &mut Causes) {
    let mut count = 0;
    for (name, source) in SOURCES.iter().map(|name| (*name, &volume[*name])).filter(|(_, source)| !source.is_null()) {
        count += 1;
        let at = at.child(if name == "gcePersistentDisk" { "persistentDisk" } else { name });
        if count > 1 {
            causes.forbidden(&at, "may not specify more than 1 volume type");
            continue;
        }
        match name {
            "emptyDir" if quantity(&source["sizeLimit"]).is_negative() => {
                causes.forbidden(&at.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
            "gitRepo" => {
                sources::required(source, &["repository"], &at, causes);
                descending_path(text(&source["directory"]), &at.child("directory"), causes);
            }
            "secret" => {
                sources::required(source, &["secretName"], &at, causes);
                files(source, &at, causes);
            }
            "configMap" => {
                sources::required(source, &["name"], &at, causes);
                files(source, &at, causes);
            }
            "downwardAPI" => {
                mode(&source["defaultMode"], &at.child("defaultMode"), causes);
                list(&source["items"]).iter().for_each(|item| downward_file(item, &at, causes));
            }
            "projected" => projected(source, &at, causes),
            "persistentVolumeClaim" => sources::required(source, &["claimName"], &at, causes),
            "ephemeral" => ephemeral(source, &at, causes),
            "image" => {
                sources::required(source, &["reference"], &at, causes);
                let policies = ["Always", "IfNotPresent", "Never"];
                causes.one_of(&at.child("pullPolicy"), &source["pullPolicy"], &policies);
            }
            "csi" => {
                sources::csi_driver_name(text(&source["driver"]), &at.child("driver"), causes);
                if !source["nodePublishSecretRef"].is_null() && is_empty(&source["nodePublishSecretRef"]["name"]) {
                    causes.required(&at.child("nodePublishSecretRef").child("name"), "");
                }
            }
            other => sources::shared(other, source, &at, causes),
        }
    }
    if count == 0 {
        causes.required(at, "must specify a volume type");
    }
}

/// The files of a config map or a secret.
fn files(source: &Value, at: &Path, causes: &mut Causes) {
    mode(&source["defaultMode"], &at.child("defaultMode"), causes);
    items(source, at, causes);
}

fn items(source: &Value, at: &Path, causes: &mut Causes) {
    let items = at.child("items");
    for (i, item) in list(&source["items"]).iter().enumerate() {
        let at = items.index(i);
        if is_empty(&item["key"]) {
            causes.required(&at.child("key"), "");
        }
        file_path(text(&item["path"]), &at.child("path"), causes);
        mode(&item["mode"], &at.child("mode"), causes);
    }
}

fn mode(mode: &Value, at: &Path, causes: &mut Causes) {
    if let Some(mode) = int(mode).filter(|mode| !(0..=MODE_MAX).contains(mode)) {
        causes.invalid(at, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// A path below the volume's own, which does not start with two dots.
fn file_path(path: &str, at: &Path, causes: &mut Causes) {
    if path.is_empty() {
        return causes.required(at, "");
    }
    descending_path(path, at, causes);
    if path.starts_with("..") && !path.starts_with("../") {
        causes.invalid(at, path, "must not start with '..'");
    }
}

/// A path that does not leave where it starts.
pub(crate) fn descending_path(path: &str, at: &Path, causes: &mut Causes) {
    if path.starts_with('/') {
        causes.invalid(at, path, "must be a relative path");
    }
    no_backsteps(path, at, causes);
}

/// A path without `..` among its segments.
pub(crate) fn no_backsteps(path: &str, at: &Path, causes: &mut Causes) {
    if path.split('/').any(|segment| segment == "..") {
        causes.invalid(at, path, "must not contain '..'");
    }
}

fn downward_file(file: &Value, at: &Path, causes: &mut Causes) {
    file_path(text(&file["path"]), &at.child("path"), causes);
    let (field, resource) = (&file["fieldRef"], &file["resourceFieldRef"]);
    if !field.is_null() {
        field_ref(field, &FILE_FIELDS, &at.child("fieldRef"), causes);
        if !resource.is_null() {
            causes.invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
        }
    } else if !resource.is_null() {
        resource_field_ref(resource, true, &at.child("resourceFieldRef"), causes);
    } else {
        causes.required(at, "one of fieldRef and resourceFieldRef is required");
    }
    mode(&file["mode"], &at.child("mode"), causes);
}

fn projected(volume: &Value, at: &Path, causes: &mut Causes) {
    mode(&volume["defaultMode"], &at.child("defaultMode"), causes);
    let sources_at = at.child("sources");
    for (i, source) in list(&volume["sources"]).iter().enumerate() {
        let source_at = sources_at.index(i);
        let given = members(source).filter(|(_, value)| !value.is_null());
        if given.clone().count() > 1 {
            causes.forbidden(&source_at, "may not specify more than 1 volume type per source");
        }
        for (name, value) in given {
            let value_at = source_at.child(name);
            match name {
                "secret" | "configMap" => {
                    sources::required(value, &["name"], &value_at, causes);
                    items(value, &value_at, causes);
                }
                "downwardAPI" => {
                    list(&value["items"]).iter().for_each(|item| downward_file(item, &value_at, causes));
                }
                "serviceAccountToken" => {
                    token_seconds(&value["expirationSeconds"], &value_at.child("expirationSeconds"), causes);
                    file_path(text(&value["path"]), &at.child("path"), causes);
                }
                _ => {}
            }
        }
    }
}

/// How long a token of a service account lasts.
pub(crate) fn token_seconds(seconds: &Value, at: &Path, causes: &mut Causes) {
    match int(seconds) {
        Some(seconds) if seconds < TOKEN_SECONDS_MIN => {
            causes.invalid(at, seconds, "may not specify a duration less than 10 minutes");
        }
        Some(seconds) if seconds > TOKEN_SECONDS_MAX => {
            causes.invalid(at, seconds, "may not specify a duration larger than 2^32 seconds");
        }
        _ => {}
    }
}

fn ephemeral(volume: &Value, at: &Path, causes: &mut Causes) {
    let (template, at) = (&volume["volumeClaimTemplate"], at.child("volumeClaimTemplate"));
    if template.is_null() {
        return causes.required(&at, "");
    }
    let meta = at.child("metadata");
    for (field, value) in members(&template["metadata"]) {
        match field {
            "labels" => crate::generic::labels(value, &meta.child(field), causes),
            "annotations" => crate::generic::annotations(value, &meta.child(field), causes),
            _ if is_empty(value) => {}
            _ => causes.forbidden(&meta.child(field), "cannot be set"),
        }
    }
    claim_spec(&template["spec"], &at.child("spec"), causes);
}

/// Where a container mounts volumes and finds devices.
pub(crate) fn mounts(context: &Context, container: &Value, at: &Path, causes: &mut Causes) {
    let (mounts, devices) = (list(&container["volumeMounts"]), list(&container["volumeDevices"]));
    let of_mounts = |field: &'static str| mounts.iter().map(move |mount| text(&mount[field]));
    let of_devices = |field: &'static str| devices.iter().map(move |device| text(&device[field]));
    let (repeated_paths, repeated_names, repeated_device_paths) =
        (repeats(of_mounts("mountPath")), repeats(of_devices("name")), repeats(of_devices("devicePath")));
    let (mounted, mount_paths): (HashSet<&str>, HashSet<&str>) =
        (of_mounts("name").collect(), of_mounts("mountPath").collect());
    let (attached, device_paths): (HashSet<&str>, HashSet<&str>) =
        (of_devices("name").collect(), of_devices("devicePath").collect());
    let mounts_at = at.child("volumeMounts");
    for (i, mount) in mounts.iter().enumerate() {
        let at = mounts_at.index(i);
        let (name, path) = (text(&mount["name"]), text(&mount["mountPath"]));
        if name.is_empty() {
            causes.required(&at.child("name"), "");
        }
        if !context.volumes.contains_key(name) {
            causes.not_found(&at.child("name"), name);
        }
        if path.is_empty() {
            causes.required(&at.child("mountPath"), "");
        }
        if repeated_paths.contains(&i) {
            causes.invalid(&at.child("mountPath"), path, "must be unique");
        }
        if attached.contains(name) {
            causes.invalid(&at.child("name"), name, "must not already exist in volumeDevices");
        }
        if device_paths.contains(path) {
            causes.invalid(&at.child("mountPath"), path, "must not already exist as a path in volumeDevices");
        }
        mount_options(container, mount, &at, &mounts_at, causes);
    }
    let devices_at = at.child("volumeDevices");
    for (i, device) in devices.iter().enumerate() {
        let at = devices_at.index(i);
        let (name, path) = (text(&device["name"]), text(&device["devicePath"]));
        if name.is_empty() {
            causes.required(&at.child("name"), "");
        }
        if repeated_names.contains(&i) {
            causes.invalid(&at.child("name"), name, "must be unique");
        }
        match context.volumes.get(name) {
            None => causes.not_found(&at.child("name"), name),
            Some(volume) if volume["persistentVolumeClaim"].is_null() && volume["ephemeral"].is_null() => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                causes.invalid(&at.child("name"), name, why);
            }
            Some(_) => {}
        }
        if path.is_empty() {
            causes.required(&at.child("devicePath"), "");
        }
        if repeated_device_paths.contains(&i) {
            causes.invalid(&at.child("devicePath"), path, "must be unique");
        }
        if path.split('/').any(|segment| segment == "..") {
            causes.invalid(&at.child("devicePath"), path, "can not contain backsteps ('..')");
        }
        if mounted.contains(name) {
            causes.invalid(&at.child("name"), name, "must not already exist in volumeMounts");
        }
        if mount_paths.contains(path) {
            causes.invalid(&at.child("devicePath"), path, "must not already exist as a path in volumeMounts");
        }
    }
}

/// Parts of volumes, propagation, and read-only all the way down.
fn mount_options(container: &Value, mount: &Value, at: &Path, list_at: &Path, causes: &mut Causes) {
    let (part, expression) = (text(&mount["subPath"]), text(&mount["subPathExpr"]));
    descending_path(part, &list_at.child("subPath"), causes);
    if !expression.is_empty() {
        if !part.is_empty() {
            causes.invalid(&at.child("subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive");
        }
        descending_path(expression, &list_at.child("subPathExpr"), causes);
    }
    let propagation = &mount["mountPropagation"];
    if !propagation.is_null() {
        let at = list_at.child("mountPropagation");
        causes.one_of(&at, propagation, &["Bidirectional", "HostToContainer", "None"]);
        if propagation == "Bidirectional" && !is_true(&container["securityContext"]["privileged"]) {
            causes.forbidden(&at, "Bidirectional mount propagation is available only to privileged containers");
        }
    }
    let at = list_at.child("recursiveReadOnly");
    match mount["recursiveReadOnly"].as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !is_true(&mount["readOnly"]) {
                causes.forbidden(&at, "may only be specified when readOnly is true");
            }
            if !propagation.is_null() && propagation != "None" {
                causes.forbidden(&at, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => causes.unsupported(&at, other, &["Disabled", "IfPossible", "Enabled"]),
    }
}
