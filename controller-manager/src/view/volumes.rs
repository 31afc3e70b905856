//! Volumes, claims to them and classes of them, as controllers see them.

use super::{Meta, Selector, View, or_default};
use client::Resource;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

pub const VOLUMES: Resource = Resource { group: "", version: "v1", plural: "persistentvolumes", namespaced: false };
pub const CLAIMS: Resource = Resource { group: "", version: "v1", plural: "persistentvolumeclaims", namespaced: true };
pub const STORAGE_CLASSES: Resource =
    Resource { group: "storage.k8s.io", version: "v1", plural: "storageclasses", namespaced: false };

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Volume {
    pub metadata: Meta,
    pub spec: VolumeSpec,
    pub status: VolumeStatus,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    #[serde(deserialize_with = "or_default")]
    pub capacity: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub access_modes: Vec<String>,
    pub claim_ref: Option<ClaimRef>,
    pub persistent_volume_reclaim_policy: String,
    pub storage_class_name: String,
    pub volume_mode: Option<String>,
    pub volume_attributes_class_name: Option<String>,
    pub csi: Option<Csi>,
    pub host_path: Option<HostPath>,
}

/// A volume of a driver outside, which also deletes it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Csi {
    pub driver: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct HostPath {
    pub path: String,
}

/// The claim that a volume is for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ClaimRef {
    pub namespace: String,
    pub name: String,
    /// Empty where the volume is kept for the first claim of that name.
    pub uid: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct VolumeStatus {
    pub phase: String,
    pub message: String,
}

impl View for Volume {
    const RESOURCE: Resource = VOLUMES;
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Claim {
    pub metadata: Meta,
    pub spec: ClaimSpec,
    pub status: ClaimStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    #[serde(deserialize_with = "or_default")]
    pub access_modes: Vec<String>,
    pub selector: Option<Selector>,
    pub resources: ClaimResources,
    pub volume_name: String,
    /// `None` for one that takes the default class, `""` for none at all.
    pub storage_class_name: Option<String>,
    pub volume_mode: Option<String>,
    pub volume_attributes_class_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClaimResources {
    #[serde(deserialize_with = "or_default")]
    pub requests: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimStatus {
    pub phase: String,
    #[serde(deserialize_with = "or_default")]
    pub access_modes: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub capacity: BTreeMap<String, String>,
    pub current_volume_attributes_class_name: Option<String>,
    pub modify_volume_status: Option<Value>,
}

impl View for Claim {
    const RESOURCE: Resource = CLAIMS;
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageClass {
    pub metadata: Meta,
    pub provisioner: String,
    pub volume_binding_mode: Option<String>,
}

impl View for StorageClass {
    const RESOURCE: Resource = STORAGE_CLASSES;
}

impl StorageClass {
    /// Whether a class of `system` shows in every tenant.
    pub fn is_lent(&self) -> bool {
        self.metadata.labels.get("tenant.ursa.dev/shared").is_some_and(|value| value == "true")
    }

    /// Whether claims that name no class take this one.
    pub fn is_default(&self) -> bool {
        let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
        marks.iter().any(|mark| self.metadata.annotations.get(*mark).is_some_and(|value| value == "true"))
    }

    /// Whether its volumes are bound only when a pod is there to use them.
    pub fn waits_for_consumer(&self) -> bool {
        self.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
    }
}
