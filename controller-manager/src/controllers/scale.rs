//! How many replicas an object of any kind has: its `scale` subresource, found by discovery.

use api::{Error, GroupVersion, Result};
use client::{Client, DiscoveredResource, Names};
use serde::Deserialize;
use serde_json::Value;

/// The scale of an object, as far as it is used.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Scale {
    pub metadata: ScaleMeta,
    pub spec: Replicas,
    pub status: ScaleStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleMeta {
    pub uid: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Replicas {
    pub replicas: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ScaleStatus {
    pub replicas: i64,
    /// A label selector in its query form.
    pub selector: String,
}

/// A kind, and whether its objects can be scaled.
pub struct Kind {
    pub resource: DiscoveredResource,
    pub scales: bool,
}

#[derive(Deserialize)]
struct Resources {
    resources: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    kind: String,
    namespaced: bool,
}

/// Finds a kind by its name in one version of a group. `None` if it is not served.
pub async fn kind(client: &Client, api_version: &str, kind: &str) -> Result<Option<Kind>> {
    let GroupVersion { group, version } = GroupVersion::parse(api_version);
    let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let rows: Resources = match client.get_path(&path).await {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other?,
    };
    let Some(row) = rows.resources.iter().find(|r| r.kind == kind && !r.name.contains('/')) else { return Ok(None) };
    let scale = format!("{}/scale", row.name);
    let scales = rows.resources.iter().any(|r| r.name == scale);
    let resource = DiscoveredResource {
        group: group.into(),
        version: version.into(),
        plural: row.name.as_str().into(),
        kind: kind.into(),
        namespaced: row.namespaced,
        verbs: [].into(),
    };
    Ok(Some(Kind { resource, scales }))
}

impl Kind {
    /// `plural.group`, or the plural alone in the core group.
    pub fn qualified(&self) -> String {
        match self.resource.group() {
            "" => self.resource.plural().to_owned(),
            group => format!("{}.{group}", self.resource.plural()),
        }
    }

    /// Reads the scale of an object, whole: what is written back must be.
    pub async fn get(&self, client: &Client, namespace: &str, name: &str) -> Result<Value> {
        let (group, version, plural) = (self.resource.group(), self.resource.version(), self.resource.plural());
        let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        client.get_path(&format!("{root}/namespaces/{namespace}/{plural}/{name}/scale")).await
    }
}

impl Scale {
    pub fn of(value: &Value) -> Result<Scale> {
        Scale::deserialize(value).map_err(Error::internal)
    }
}
