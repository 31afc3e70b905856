//! Checks of the volume sources that pods and persistent volumes share: disks and file systems from elsewhere.

use super::volumes::no_backsteps;
use crate::causes::{Causes, Path};
use crate::names;
use crate::value::{int, is_empty, is_true, text};
use serde_json::Value;

const CSI_DRIVER_BYTES_MAX: usize = 63;
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const MANAGED_DISK: &str =
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
const BLOB_DISK: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";

/// Fields that must not be empty.
pub(crate) fn required(source: &Value, fields: &[&str], at: &Path, causes: &mut Causes) {
    for field in fields.iter().filter(|field| is_empty(&source[**field])) {
        causes.required(&at.child(field), "");
    }
}

/// A source by its name in the volume; others than the known are nobody's business here.
pub(crate) fn shared(name: &str, source: &Value, at: &Path, causes: &mut Causes) {
    match name {
        "hostPath" => host_path(source, at, causes),
        "nfs" => nfs(source, at, causes),
        "iscsi" => iscsi(source, at, causes),
        "fc" => fibre_channel(source, at, causes),
        "azureDisk" => azure_disk(source, at, causes),
        "gcePersistentDisk" => disk(source, "pdName", at, causes),
        "awsElasticBlockStore" => disk(source, "volumeID", at, causes),
        "glusterfs" => required(source, &["endpoints", "path"], at, causes),
        "flexVolume" => required(source, &["driver"], at, causes),
        "rbd" => required(source, &["monitors", "image"], at, causes),
        "cinder" => required(source, &["volumeID"], at, causes),
        "cephfs" => required(source, &["monitors"], at, causes),
        "azureFile" => required(source, &["secretName", "shareName"], at, causes),
        "vsphereVolume" => required(source, &["volumePath"], at, causes),
        "photonPersistentDisk" => required(source, &["pdID"], at, causes),
        "portworxVolume" => required(source, &["volumeID"], at, causes),
        "scaleIO" => required(source, &["gateway", "system", "volumeName"], at, causes),
        "storageos" => required(source, &["volumeName"], at, causes),
        "quobyte" => required(source, &["registry", "volume"], at, causes),
        "flocker" => flocker(source, at, causes),
        _ => {}
    }
}

fn host_path(source: &Value, at: &Path, causes: &mut Causes) {
    match text(&source["path"]) {
        "" => causes.required(&at.child("path"), ""),
        path => no_backsteps(path, &at.child("path"), causes),
    }
    if let Some(kind) = source["type"].as_str().filter(|kind| !HOST_PATH_TYPES.contains(kind)) {
        causes.unsupported(&at.child("type"), kind, &HOST_PATH_TYPES);
    }
}

fn nfs(source: &Value, at: &Path, causes: &mut Causes) {
    required(source, &["server", "path"], at, causes);
    let path = text(&source["path"]);
    if !path.is_empty() && !path.starts_with('/') {
        causes.invalid(&at.child("path"), path, "must be an absolute path");
    }
}

fn iscsi(source: &Value, at: &Path, causes: &mut Causes) {
    required(source, &["targetPortal", "iqn"], at, causes);
    let iqn = text(&source["iqn"]);
    if !iqn.is_empty() && !["iqn.", "eui.", "naa."].iter().any(|prefix| iqn.starts_with(prefix)) {
        causes.invalid(&at.child("iqn"), iqn, "must be valid format starting with iqn, eui, or naa");
    }
    lun(&source["lun"], &at.child("lun"), causes);
    let chap = is_true(&source["chapAuthDiscovery"]) || is_true(&source["chapAuthSession"]);
    if chap && source["secretRef"].is_null() {
        causes.required(&at.child("secretRef"), "");
    }
}

fn lun(lun: &Value, at: &Path, causes: &mut Causes) {
    if let Some(lun) = int(lun).filter(|lun| !(0..=255).contains(lun)) {
        causes.invalid(at, lun, "must be between 0 and 255, inclusive");
    }
}

fn fibre_channel(source: &Value, at: &Path, causes: &mut Causes) {
    let (names, ids) = (&source["targetWWNs"], &source["wwids"]);
    if is_empty(names) && is_empty(ids) {
        causes.required(&at.child("targetWWNs"), "must specify either targetWWNs or wwids, but not both");
    }
    if !is_empty(names) && !is_empty(ids) {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        causes.invalid(&at.child("targetWWNs"), names, why);
    }
    if !is_empty(names) {
        if source["lun"].is_null() {
            causes.required(&at.child("lun"), "lun is required if targetWWNs is specified");
        }
        lun(&source["lun"], &at.child("lun"), causes);
    }
}

fn disk(source: &Value, id: &str, at: &Path, causes: &mut Causes) {
    required(source, &[id], at, causes);
    if let Some(partition) = int(&source["partition"]).filter(|partition| !(0..=255).contains(partition)) {
        causes.invalid(&at.child("partition"), partition, "must be between 1 and 255, inclusive");
    }
}

fn azure_disk(source: &Value, at: &Path, causes: &mut Causes) {
    required(source, &["diskName", "diskURI"], at, causes);
    causes.one_of(&at.child("cachingMode"), &source["cachingMode"], &["None", "ReadOnly", "ReadWrite"]);
    causes.one_of(&at.child("kind"), &source["kind"], &["Dedicated", "Managed", "Shared"]);
    let (uri, managed) = (text(&source["diskURI"]), source["kind"] == "Managed");
    if managed && !uri.starts_with("/subscriptions/") {
        causes.unsupported(&at.child("diskURI"), uri, &[MANAGED_DISK]);
    }
    if !managed && !uri.starts_with("https://") {
        causes.unsupported(&at.child("diskURI"), uri, &[BLOB_DISK]);
    }
}

fn flocker(source: &Value, at: &Path, causes: &mut Causes) {
    let (name, id) = (text(&source["datasetName"]), text(&source["datasetUUID"]));
    match (name, id) {
        ("", "") => causes.required(at, "one of datasetName and datasetUUID is required"),
        ("", _) | (_, "") => {}
        _ => causes.invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously"),
    }
    if name.contains('/') {
        causes.invalid(&at.child("datasetName"), name, "must not contain '/'");
    }
}

/// The name of a CSI driver.
pub(crate) fn csi_driver_name(name: &str, at: &Path, causes: &mut Causes) {
    if name.is_empty() {
        return causes.required(at, "");
    }
    if name.len() > CSI_DRIVER_BYTES_MAX {
        causes.too_long(at, CSI_DRIVER_BYTES_MAX);
    }
    causes.each_invalid(at, name, names::dns_subdomain(&name.to_lowercase()));
}
