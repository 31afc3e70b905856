//! The parts of objects that controllers reason about. Fields that are not here are not lost: writes are patches, or
//! changes to the whole object as the server has it.

use crate::recorder::Involved;
use api::selector::LabelSelector;
use api::{OwnerRef, TenantName, Timestamp};
use client::{ObjectRef, Resource};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A kind that is cached, and where it is found.
pub trait View: DeserializeOwned + Send + Sync + 'static {
    const RESOURCE: Resource;
    /// Looked for in `system` alone: the operators' own kinds, and what nodes write there.
    const ONLY_SYSTEM: bool = false;
    /// A field selector, where not all objects are wanted.
    const FIELDS: &'static str = "";
}

/// A kind whose objects can have a controller.
pub trait Controlled: View {
    fn controller(&self) -> Option<&OwnerRef>;
}

impl Controlled for Pod {
    fn controller(&self) -> Option<&OwnerRef> {
        self.metadata.controller()
    }
}

impl Controlled for ReplicaSet {
    fn controller(&self) -> Option<&OwnerRef> {
        self.metadata.controller()
    }
}

/// Metadata. `A` holds the annotations that are used.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta<A = BTreeMap<String, String>> {
    pub tenant: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub creation_timestamp: Time,
    pub deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default", bound(deserialize = "A: Deserialize<'de> + Default"))]
    pub annotations: A,
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Vec<OwnerRef>,
    #[serde(deserialize_with = "or_default")]
    pub finalizers: Vec<String>,
}

impl<A> Meta<A> {
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// The owner that controls the object.
    pub fn controller(&self) -> Option<&OwnerRef> {
        self.owner_references.iter().find(|o| o.controller)
    }

    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|o| o.uid == uid)
    }

    /// `None` for an object of no tenant and for one whose tenant is no name.
    pub fn tenant_name(&self) -> Option<TenantName> {
        TenantName::new(&self.tenant).ok()
    }

    /// The key of another object beside this one.
    pub fn sibling(&self, name: &str) -> ObjectRef {
        ObjectRef { tenant: self.tenant_name(), namespace: self.namespace.clone(), name: name.to_owned() }
    }

    pub fn key(&self) -> ObjectRef {
        self.sibling(&self.name)
    }
}

/// A time as the API writes it; the epoch where it cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(Time(text.and_then(|t| Timestamp::parse(&t)).unwrap_or_default()))
    }
}

/// `null` reads as nothing given.
pub fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A `metav1.LabelSelector`, as it is written and as it is meant.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    pub value: Value,
    terms: LabelSelector,
}

impl Selector {
    /// One without terms would select everything, which no controller may be told to.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.terms.is_empty() && self.terms.matches(labels)
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Selector, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let terms = LabelSelector::from_value(&value).map_err(D::Error::custom)?;
        Ok(Selector { value, terms })
    }
}

/// An entry of `status.conditions` of a pod or a node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    pub last_transition_time: Time,
    pub last_update_time: Time,
    pub last_heartbeat_time: Time,
}

impl Condition {
    /// As it is stored, without the times that its kind does not have.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"type": self.kind, "status": self.status});
        for (field, text) in [("reason", &self.reason), ("message", &self.message)] {
            if !text.is_empty() {
                value[field] = json!(text);
            }
        }
        let times = [
            ("lastTransitionTime", self.last_transition_time),
            ("lastUpdateTime", self.last_update_time),
            ("lastHeartbeatTime", self.last_heartbeat_time),
        ];
        for (field, time) in times.into_iter().filter(|(_, time)| *time != Time::default()) {
            value[field] = json!(time.0.to_string());
        }
        value
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct PodAnnotations {
    #[serde(rename = "controller.kubernetes.io/pod-deletion-cost")]
    pub deletion_cost: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Pod {
    pub metadata: Meta<PodAnnotations>,
    pub spec: PodSpec,
    pub status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: String,
    #[serde(deserialize_with = "or_default")]
    pub tolerations: Vec<Toleration>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    pub key: String,
    pub operator: String,
    pub value: String,
    pub effect: String,
    pub toleration_seconds: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub phase: String,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    pub container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub restart_count: i32,
}

impl View for Pod {
    const RESOURCE: Resource = client::PODS;
}

impl Pod {
    /// The pod, as events name it.
    pub fn involved(&self) -> Involved {
        let (api_version, kind) = ("v1".to_owned(), "Pod".to_owned());
        Involved { key: self.metadata.key(), api_version, kind, uid: self.metadata.uid.clone() }
    }

    /// Neither finished nor being deleted.
    pub fn is_active(&self) -> bool {
        !self.is_finished() && !self.metadata.is_deleting()
    }

    pub fn is_finished(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    pub fn ready_condition(&self) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == "Ready")
    }

    pub fn is_ready(&self) -> bool {
        self.ready_condition().is_some_and(|c| c.status == "True")
    }
}

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
pub struct Namespace {
    pub metadata: Meta,
}

impl View for Namespace {
    const RESOURCE: Resource = client::NAMESPACES;
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Tenant {
    pub metadata: Meta,
    pub spec: TenantSpec,
    pub status: TenantStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TenantSpec {
    #[serde(deserialize_with = "or_default")]
    pub finalizers: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TenantStatus {
    pub phase: String,
}

impl View for Tenant {
    const RESOURCE: Resource = client::TENANTS;
    const ONLY_SYSTEM: bool = true;
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    pub unschedulable: bool,
    #[serde(deserialize_with = "or_default")]
    pub taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
    pub time_added: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
}

impl View for Node {
    const RESOURCE: Resource = client::NODES;
    const ONLY_SYSTEM: bool = true;
}

impl Node {
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == kind)
    }
}

/// The lease that a node renews to say that it lives.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeLease {
    pub metadata: Meta,
    pub spec: LeaseSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    pub renew_time: Option<Time>,
}

impl View for NodeLease {
    const RESOURCE: Resource = client::LEASES;
    const ONLY_SYSTEM: bool = true;
    const FIELDS: &'static str = "metadata.namespace=kube-node-lease";
}
