//! Storage objects, as far as they say where a pod may go: claims, volumes, classes, drivers, capacities.

use crate::placement::selector::{NodeTerm, PodSelector};
use crate::placement::wire::{self, LabelMap, Quantities};
use api::TenantName;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// The provisioner of classes whose volumes somebody makes by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// Node labels that a volume may have too, and then only nodes with the same value reach it. The old names come last.
pub const ZONE_LABELS: [&str; 4] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

/// Names a claim. There is none without a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimKey {
    pub tenant: TenantName,
    pub namespace: Arc<str>,
    pub name: Box<str>,
}

/// A claim without its name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "WireClaim")]
pub struct Claim {
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    /// Of the pod that it was made for.
    pub controller_uid: Box<str>,
    pub deleting: bool,
    /// Its volume is gone.
    pub lost: bool,
    /// Both sides of its binding are written.
    pub bound: bool,
    pub selected_node: Box<str>,
    pub volume: Box<str>,
    pub class: Box<str>,
    pub selector: Option<PodSelector>,
    /// Bytes.
    pub size: i64,
    pub once_per_pod: bool,
    pub kind: VolumeKind,
}

/// What of a volume must be equal to what its claim asks for, and the ways in which it is used.
#[derive(Clone, Debug, Default)]
pub struct VolumeKind {
    pub modes: Box<[Box<str>]>,
    pub block: bool,
    pub attributes_class: Box<str>,
}

/// A volume without its name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "WireVolume")]
pub struct Volume {
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub labels: BTreeMap<String, String>,
    pub deleting: bool,
    pub available: bool,
    pub class: Box<str>,
    /// Bytes.
    pub size: i64,
    pub kind: VolumeKind,
    /// One of these must hold of a node, if there is a list.
    pub affinity: Option<Box<[NodeTerm]>>,
    /// The claim that it is kept for: namespace, name, and UID if that is decided too.
    pub claim: Option<(Box<str>, Box<str>, Box<str>)>,
    /// Driver and handle.
    pub csi: Option<(Box<str>, Box<str>)>,
}

/// Labels, each with the values that are allowed.
pub type LabelValues = Box<[(String, Vec<String>)]>;

/// A storage class without its name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "WireClass")]
pub struct Class {
    /// Whether a class of `system` is every tenant's.
    pub lent: bool,
    /// Whether its claims are bound when a pod is scheduled that uses them.
    pub waits: bool,
    pub provisioner: Box<str>,
    /// One of these must hold of a node, if there are any: each a list of labels and allowed values.
    pub topologies: Box<[LabelValues]>,
}

/// How much room a driver's back end has for a class, for nodes that a selector means.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "WireCapacity")]
pub struct Capacity {
    pub class: Box<str>,
    pub nodes: Option<PodSelector>,
    /// The largest volume that can be made, in bytes.
    pub most: Option<i64>,
}

impl Claim {
    /// Whether a volume is kept for this claim.
    pub fn owns(&self, key: &ClaimKey, volume: &Volume) -> bool {
        volume.claim.as_ref().is_some_and(|(namespace, name, uid)| {
            **namespace == *key.namespace && *name == key.name && (uid.is_empty() || *uid == self.uid)
        })
    }

    /// Whether a volume is large enough, and of the right kind.
    pub fn fits(&self, volume: &Volume) -> bool {
        volume.size >= self.size
            && volume.kind.block == self.kind.block
            && volume.kind.attributes_class == self.kind.attributes_class
            && !volume.deleting
    }

    /// Whether a volume that nobody has is one that it may take.
    pub fn may_take(&self, volume: &Volume) -> bool {
        volume.available
            && self.selector.as_ref().is_none_or(|selector| selector.matches(&volume.labels))
            && volume.class == self.class
            && self.kind.modes.iter().all(|mode| volume.kind.modes.contains(mode))
    }
}

impl Volume {
    /// Label and allowed values: only nodes with one of them reach it.
    pub fn zones(&self) -> impl Iterator<Item = (&'static str, Vec<&str>)> {
        ZONE_LABELS.into_iter().filter_map(|label| {
            let values: Vec<&str> = self.labels.get(label)?.split("__").map(str::trim).collect();
            (!values.contains(&"")).then_some((label, values))
        })
    }
}

impl Class {
    pub fn makes_volumes(&self) -> bool {
        !self.provisioner.is_empty() && *self.provisioner != *NO_PROVISIONER
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    uid: String,
    resource_version: String,
    labels: LabelMap,
    annotations: LabelMap,
    deletion_timestamp: Option<String>,
    owner_references: Option<Vec<Owner>>,
}

impl Metadata {
    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }

    fn class(&self, spec: Option<String>) -> Box<str> {
        let old = self.annotation(CLASS).map(Into::into);
        old.unwrap_or_else(|| spec.unwrap_or_default().into())
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Owner {
    uid: String,
    controller: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireClaim {
    metadata: Metadata,
    spec: WireClaimSpec,
    status: Phase,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireClaimSpec {
    access_modes: Option<Vec<String>>,
    selector: Option<Value>,
    resources: wire::Resources,
    volume_name: Option<String>,
    storage_class_name: Option<String>,
    volume_mode: Option<String>,
    volume_attributes_class_name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Phase {
    phase: Option<String>,
}

impl Phase {
    fn is(&self, phase: &str) -> bool {
        self.phase.as_deref() == Some(phase)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireVolume {
    metadata: Metadata,
    spec: WireVolumeSpec,
    status: Phase,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireVolumeSpec {
    access_modes: Option<Vec<String>>,
    capacity: Quantities,
    claim_ref: Option<ClaimReference>,
    storage_class_name: Option<String>,
    volume_mode: Option<String>,
    volume_attributes_class_name: Option<String>,
    node_affinity: Option<VolumeAffinity>,
    csi: Option<Csi>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ClaimReference {
    namespace: String,
    name: String,
    uid: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct VolumeAffinity {
    required: Option<wire::NodeSelector>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Csi {
    driver: String,
    volume_handle: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireClass {
    metadata: ClassMeta,
    provisioner: String,
    volume_binding_mode: Option<String>,
    allowed_topologies: Option<Vec<Topology>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ClassMeta {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Topology {
    match_label_expressions: Option<Vec<TopologyLabel>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TopologyLabel {
    key: String,
    values: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireCapacity {
    storage_class_name: String,
    node_topology: Option<Value>,
    capacity: Option<wire::WireQuantity>,
    maximum_volume_size: Option<wire::WireQuantity>,
}

fn bytes(quantities: &Quantities) -> i64 {
    quantities.as_ref().and_then(|all| all.get("storage")).map_or(0, |quantity| quantity.0.units())
}

fn kind(modes: Option<Vec<String>>, mode: Option<String>, attributes_class: Option<String>) -> VolumeKind {
    VolumeKind {
        modes: modes.into_iter().flatten().map(Into::into).collect(),
        block: mode.as_deref() == Some("Block"),
        attributes_class: attributes_class.unwrap_or_default().into(),
    }
}

impl From<WireClaim> for Claim {
    fn from(wire: WireClaim) -> Claim {
        let WireClaim { metadata, spec, status } = wire;
        let volume: Box<str> = spec.volume_name.unwrap_or_default().into();
        let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        Claim {
            controller_uid: owner.map(|owner| owner.uid.as_str().into()).unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            lost: status.is("Lost"),
            bound: !volume.is_empty() && metadata.annotation(BIND_COMPLETED).is_some(),
            selected_node: metadata.annotation(SELECTED_NODE).unwrap_or_default().into(),
            volume,
            class: metadata.class(spec.storage_class_name),
            selector: spec.selector.as_ref().map(|selector| PodSelector::of(Some(selector))),
            size: bytes(&spec.resources.requests),
            once_per_pod: spec.access_modes.iter().flatten().any(|mode| mode == "ReadWriteOncePod"),
            kind: kind(spec.access_modes, spec.volume_mode, spec.volume_attributes_class_name),
            uid: metadata.uid.into(),
            resource_version: metadata.resource_version.into(),
        }
    }
}

impl From<WireVolume> for Volume {
    fn from(wire: WireVolume) -> Volume {
        let WireVolume { metadata, spec, status } = wire;
        let terms = spec.node_affinity.and_then(|affinity| affinity.required).map(|r| r.node_selector_terms);
        Volume {
            deleting: metadata.deletion_timestamp.is_some(),
            available: status.is("Available"),
            class: metadata.class(spec.storage_class_name),
            size: bytes(&spec.capacity),
            kind: kind(spec.access_modes, spec.volume_mode, spec.volume_attributes_class_name),
            affinity: terms.map(|terms| terms.into_iter().flatten().map(NodeTerm::of).collect()),
            claim: spec.claim_ref.map(|c| (c.namespace.into(), c.name.into(), c.uid.into())),
            csi: spec.csi.map(|csi| (csi.driver.into(), csi.volume_handle.into())),
            labels: metadata.labels.unwrap_or_default(),
            uid: metadata.uid.into(),
            resource_version: metadata.resource_version.into(),
        }
    }
}

impl From<WireClass> for Class {
    fn from(wire: WireClass) -> Class {
        let labels = |topology: Topology| {
            let labels = topology.match_label_expressions.into_iter().flatten();
            labels.map(|label| (label.key, label.values.unwrap_or_default())).collect()
        };
        let labels_of_class = wire.metadata.labels.unwrap_or_default();
        Class {
            lent: labels_of_class.get("tenant.ursa.dev/shared").is_some_and(|value| value == "true"),
            waits: wire.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            provisioner: wire.provisioner.into(),
            topologies: wire.allowed_topologies.into_iter().flatten().map(labels).collect(),
        }
    }
}

impl From<WireCapacity> for Capacity {
    fn from(wire: WireCapacity) -> Capacity {
        Capacity {
            class: wire.storage_class_name.into(),
            nodes: wire.node_topology.as_ref().map(|selector| PodSelector::of(Some(selector))),
            most: wire.maximum_volume_size.or(wire.capacity).map(|quantity| quantity.0.units()),
        }
    }
}

/// Whether a driver says how much room it has; else it is taken to have enough.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(from = "WireDriver")]
pub struct Driver {
    pub tells_capacity: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireDriver {
    spec: DriverSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DriverSpec {
    storage_capacity: Option<bool>,
}

impl From<WireDriver> for Driver {
    fn from(wire: WireDriver) -> Driver {
        Driver { tells_capacity: wire.spec.storage_capacity == Some(true) }
    }
}

/// How many volumes of each driver a node can have attached. A driver that is not listed has no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "WireNodeDrivers")]
pub struct AttachLimits(pub Box<[(Box<str>, i64)]>);

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireNodeDrivers {
    spec: NodeDriversSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeDriversSpec {
    drivers: Option<Vec<NodeDriver>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeDriver {
    name: String,
    allocatable: Option<Attachable>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Attachable {
    count: Option<i64>,
}

impl From<WireNodeDrivers> for AttachLimits {
    fn from(wire: WireNodeDrivers) -> AttachLimits {
        let drivers = wire.spec.drivers.into_iter().flatten();
        AttachLimits(drivers.filter_map(|d| Some((d.name.into(), d.allocatable?.count?))).collect())
    }
}
