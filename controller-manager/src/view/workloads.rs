//! What makes pods, as controllers see it.

use super::{Condition, Meta, Selector, View, or_default};
use client::Resource;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    pub metadata: Meta,
    pub spec: ReplicaSetSpec,
    pub status: ReplicaSetStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetSpec {
    pub replicas: i64,
    pub min_ready_seconds: i64,
    pub selector: Selector,
    /// The pod template, whole.
    pub template: Value,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    pub replicas: i64,
    pub fully_labeled_replicas: i64,
    pub ready_replicas: i64,
    pub available_replicas: i64,
    pub terminating_replicas: Option<i64>,
    pub observed_generation: i64,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

/// A replication controller, seen as the replica set that it would be.
#[derive(Clone, Debug)]
pub struct ReplicationController(pub ReplicaSet);

impl<'de> Deserialize<'de> for ReplicationController {
    /// Its selector is labels alone.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ReplicationController, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        if let Some(selector) = value.pointer_mut("/spec/selector") {
            *selector = json!({"matchLabels": selector.take()});
        }
        serde_json::from_value(value).map(ReplicationController).map_err(D::Error::custom)
    }
}

impl View for ReplicationController {
    const RESOURCE: Resource = client::REPLICATION_CONTROLLERS;
}

impl View for ReplicaSet {
    const RESOURCE: Resource = client::REPLICA_SETS;
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Deployment {
    pub metadata: Meta,
    pub spec: DeploymentSpec,
    pub status: DeploymentStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    pub replicas: i64,
    pub min_ready_seconds: i64,
    pub paused: bool,
    pub revision_history_limit: Option<i64>,
    pub progress_deadline_seconds: Option<i64>,
    pub selector: Selector,
    pub strategy: Strategy,
    /// The pod template, whole.
    pub template: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Strategy {
    #[serde(rename = "type")]
    pub kind: String,
    pub rolling_update: Option<RollingUpdate>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    pub max_surge: Value,
    pub max_unavailable: Value,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    pub observed_generation: i64,
    pub replicas: i64,
    pub updated_replicas: i64,
    pub ready_replicas: i64,
    pub available_replicas: i64,
    pub unavailable_replicas: i64,
    pub terminating_replicas: Option<i64>,
    pub collision_count: Option<i64>,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

impl View for Deployment {
    const RESOURCE: Resource = client::DEPLOYMENTS;
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StatefulSet {
    pub metadata: Meta,
    pub spec: StatefulSetSpec,
    pub status: StatefulSetStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetSpec {
    pub replicas: i64,
    pub min_ready_seconds: i64,
    pub revision_history_limit: Option<i64>,
    pub selector: Selector,
    pub service_name: String,
    pub pod_management_policy: String,
    pub update_strategy: StatefulSetStrategy,
    pub ordinals: Option<Ordinals>,
    pub persistent_volume_claim_retention_policy: Option<RetentionPolicy>,
    /// Claims, whole.
    #[serde(deserialize_with = "or_default")]
    pub volume_claim_templates: Vec<Value>,
    /// The pod template, whole.
    pub template: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetStrategy {
    #[serde(rename = "type")]
    pub kind: String,
    pub rolling_update: Option<StatefulSetRollingUpdate>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetRollingUpdate {
    pub partition: i64,
    pub max_unavailable: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    pub start: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionPolicy {
    pub when_deleted: String,
    pub when_scaled: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetStatus {
    pub observed_generation: i64,
    pub replicas: i64,
    pub ready_replicas: i64,
    pub current_replicas: i64,
    pub updated_replicas: i64,
    pub available_replicas: i64,
    pub current_revision: String,
    pub update_revision: String,
    pub collision_count: Option<i64>,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

impl View for StatefulSet {
    const RESOURCE: Resource = client::STATEFUL_SETS;
}

/// A template that a stateful set or a daemon set has or had.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ControllerRevision {
    pub metadata: Meta,
    pub revision: i64,
    /// What makes its owner's spec that of this revision.
    pub data: Value,
}

impl View for ControllerRevision {
    const RESOURCE: Resource = client::CONTROLLER_REVISIONS;
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DaemonSet {
    pub metadata: Meta,
    pub spec: DaemonSetSpec,
    pub status: DaemonSetStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetSpec {
    pub min_ready_seconds: i64,
    pub revision_history_limit: Option<i64>,
    pub selector: Selector,
    pub update_strategy: Strategy,
    /// The pod template, whole.
    pub template: Value,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetStatus {
    pub current_number_scheduled: i64,
    pub number_misscheduled: i64,
    pub desired_number_scheduled: i64,
    pub number_ready: i64,
    pub observed_generation: i64,
    pub updated_number_scheduled: i64,
    pub number_available: i64,
    pub number_unavailable: i64,
    pub collision_count: Option<i64>,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

impl View for DaemonSet {
    const RESOURCE: Resource = client::DAEMON_SETS;
}
