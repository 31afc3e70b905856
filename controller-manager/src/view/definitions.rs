//! Definitions of custom resources: names, versions and conditions, without schemas.

use super::{Condition, Meta, View, or_default};
use client::{CUSTOM_RESOURCE_DEFINITIONS, DiscoveredResource, Resource};
use serde::Deserialize;

/// A CustomResourceDefinition.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct CustomResourceDefinition {
    pub metadata: Meta,
    pub spec: CustomResourceDefinitionSpec,
    pub status: CustomResourceDefinitionStatus,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct CustomResourceDefinitionSpec {
    pub group: String,
    pub names: CustomResourceNames,
    pub scope: String,
    #[serde(deserialize_with = "or_default")]
    pub versions: Vec<CustomResourceVersion>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomResourceNames {
    pub plural: String,
    pub singular: String,
    #[serde(deserialize_with = "or_default")]
    pub short_names: Vec<String>,
    pub kind: String,
    pub list_kind: String,
    #[serde(deserialize_with = "or_default")]
    pub categories: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct CustomResourceVersion {
    pub name: String,
    pub served: bool,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomResourceDefinitionStatus {
    #[serde(deserialize_with = "or_default")]
    pub accepted_names: CustomResourceNames,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

impl View for CustomResourceDefinition {
    const RESOURCE: Resource = CUSTOM_RESOURCE_DEFINITIONS;
}

impl CustomResourceDefinition {
    pub fn has(&self, condition: &str) -> bool {
        self.status.conditions.iter().any(|c| c.kind == condition && c.status == "True")
    }

    /// The kind as discovery tells of it, by one version that is served; `None` while none is.
    pub fn resource(&self) -> Option<DiscoveredResource> {
        let version = self.spec.versions.iter().find(|v| v.served)?;
        const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        self.has("Established").then(|| DiscoveredResource {
            group: self.spec.group.as_str().into(),
            version: version.name.as_str().into(),
            plural: self.spec.names.plural.as_str().into(),
            kind: self.spec.names.kind.as_str().into(),
            namespaced: self.spec.scope == "Namespaced",
            verbs: VERBS.iter().map(|verb| (*verb).to_owned()).collect(),
        })
    }
}
