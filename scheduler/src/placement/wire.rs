//! The fields of pods and nodes that the scheduler reads, as they are on the wire. Everything may be absent or null.

use super::volumes::WireVolume;
use api::Quantity;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;

pub type Quantities = Option<BTreeMap<String, WireQuantity>>;
pub type LabelMap = Option<BTreeMap<String, String>>;

/// A quantity as text or number. What cannot be read counts as nothing; the API server stores none such.
#[derive(Clone, Copy, Debug)]
pub struct WireQuantity(pub Quantity);

impl<'de> Deserialize<'de> for WireQuantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WireQuantity, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(WireQuantity(Quantity::parse(&text).unwrap_or(Quantity::ZERO)))
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub uid: String,
    pub resource_version: String,
    pub labels: LabelMap,
    pub creation_timestamp: Option<String>,
    pub deletion_timestamp: Option<String>,
    pub owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    pub kind: String,
    pub name: String,
    pub controller: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Pod {
    pub metadata: Metadata,
    pub spec: PodSpec,
    pub status: PodStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: Option<String>,
    pub scheduler_name: Option<String>,
    pub priority: Option<i32>,
    pub preemption_policy: Option<String>,
    pub scheduling_gates: Option<Vec<Value>>,
    pub node_selector: LabelMap,
    pub affinity: Option<Affinity>,
    pub tolerations: Option<Vec<Toleration>>,
    pub topology_spread_constraints: Option<Vec<SpreadConstraint>>,
    pub host_network: Option<bool>,
    pub containers: Option<Vec<Container>>,
    pub init_containers: Option<Vec<Container>>,
    pub overhead: Quantities,
    pub resources: Option<Resources>,
    pub volumes: Option<Vec<WireVolume>>,
    pub virtual_machine: Option<VirtualMachine>,
}

/// What runs instead of containers in a pod of a virtual machine.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualMachine {
    pub image: Option<String>,
    pub resources: Option<Resources>,
    /// What its node has granted.
    pub resources_allocated: Quantities,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub name: String,
    pub image: Option<String>,
    pub restart_policy: Option<String>,
    pub resources: Option<Resources>,
    pub ports: Option<Vec<Port>>,
}

impl Container {
    /// A machine as far as it asks for resources.
    pub fn of(machine: &VirtualMachine) -> Container {
        Container { resources: machine.resources.clone(), ..Container::default() }
    }
}

#[derive(Clone, Deserialize, Default)]
#[serde(default)]
pub struct Resources {
    pub requests: Quantities,
    pub limits: Quantities,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    pub host_port: Option<u16>,
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,
    pub protocol: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub phase: Option<String>,
    pub start_time: Option<String>,
    pub nominated_node_name: Option<String>,
    pub conditions: Option<Vec<Condition>>,
    pub container_statuses: Option<Vec<ContainerStatus>>,
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: Option<String>,
    pub message: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub name: String,
    pub resources: Option<Resources>,
    pub allocated_resources: Quantities,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    pub node_affinity: Option<NodeAffinity>,
    pub pod_affinity: Option<PodAffinity>,
    pub pod_anti_affinity: Option<PodAffinity>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub preferred: Option<Vec<PreferredTerm>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    pub node_selector_terms: Option<Vec<NodeSelectorTerm>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    pub match_expressions: Option<Vec<Requirement>>,
    pub match_fields: Option<Vec<Requirement>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Requirement {
    pub key: String,
    pub operator: String,
    pub values: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct PreferredTerm {
    pub weight: i64,
    pub preference: NodeSelectorTerm,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct PodAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<Vec<PodAffinityTerm>>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub preferred: Option<Vec<WeightedPodAffinityTerm>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct WeightedPodAffinityTerm {
    pub weight: i64,
    pub pod_affinity_term: PodAffinityTerm,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct PodAffinityTerm {
    pub label_selector: Option<Value>,
    pub namespaces: Option<Vec<String>>,
    pub namespace_selector: Option<Value>,
    pub topology_key: String,
    pub match_label_keys: Option<Vec<String>>,
    pub mismatch_label_keys: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct SpreadConstraint {
    pub max_skew: i64,
    pub min_domains: Option<i64>,
    pub topology_key: String,
    pub when_unsatisfiable: String,
    pub label_selector: Option<Value>,
    pub match_label_keys: Option<Vec<String>>,
    pub node_affinity_policy: Option<String>,
    pub node_taints_policy: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Default, PartialEq, Eq, Hash)]
#[serde(default)]
pub struct Toleration {
    pub key: Option<String>,
    pub operator: Option<String>,
    pub value: Option<String>,
    pub effect: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Node {
    pub metadata: Metadata,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct NodeSpec {
    pub unschedulable: Option<bool>,
    pub taints: Option<Vec<Taint>>,
}

#[derive(Clone, Debug, Deserialize, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(default)]
pub struct Taint {
    pub key: String,
    pub value: Option<String>,
    pub effect: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct NodeStatus {
    pub allocatable: Quantities,
    pub images: Option<Vec<Image>>,
    pub conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    pub names: Option<Vec<String>>,
    pub size_bytes: Option<i64>,
}

impl PodSpec {
    pub fn containers(&self) -> &[Container] {
        self.containers.as_deref().unwrap_or_default()
    }

    pub fn init_containers(&self) -> &[Container] {
        self.init_containers.as_deref().unwrap_or_default()
    }
}

impl PodStatus {
    pub fn container(&self, name: &str) -> Option<&ContainerStatus> {
        self.container_statuses.iter().flatten().find(|c| c.name == name)
    }

    pub fn init_container(&self, name: &str) -> Option<&ContainerStatus> {
        self.init_container_statuses.iter().flatten().find(|c| c.name == name)
    }

    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().flatten().find(|c| c.kind == kind)
    }

    /// Whether a resize was asked for that the node can never grant, so that its request does not count.
    pub fn resize_infeasible(&self) -> bool {
        self.condition("PodResizePending").is_some_and(|c| c.reason.as_deref() == Some("Infeasible"))
    }
}
