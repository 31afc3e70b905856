//! What the scheduler knows of a pod: its requirements, parsed once, and where it stands.

use super::requests::{self, Requests};
use super::selector::{NodeSelector, PodTerms, SpreadConstraint};
use super::volumes::{self, Disk, PodClaim};
use super::wire;
use api::{TenantName, Timestamp};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Names a pod. There is none without a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    pub tenant: TenantName,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl PodKey {
    pub fn new(tenant: &TenantName, namespace: &str, name: &str) -> PodKey {
        PodKey { tenant: tenant.clone(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.namespace, self.name)
    }
}

/// The condition `PodScheduled`, as far as it is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduled {
    pub status: Box<str>,
    pub reason: Box<str>,
    pub message: Box<str>,
}

/// A pod without its name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "wire::Pod")]
pub struct Pod {
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub labels: BTreeMap<String, String>,
    /// The kind and name of the controller that owns it.
    pub controller: Option<(Box<str>, Box<str>)>,
    pub created: Timestamp,
    pub deleting: bool,
    /// Empty while it has none.
    pub node: Box<str>,
    pub scheduler: Box<str>,
    pub priority: i32,
    /// False for a preemption policy of `Never`.
    pub may_preempt: bool,
    pub gated: bool,
    /// Succeeded or failed: it takes nothing from its node.
    pub finished: bool,
    pub started: Option<Timestamp>,
    /// Being deleted because a scheduler preempted it.
    pub preempted: bool,
    pub nominated: Box<str>,
    pub condition: Option<Scheduled>,
    /// Equal for pods of the same template, which share one evaluation of resources.
    pub requests: Arc<Requests>,
    /// What it asks of the node itself: equal for pods of the same template, which share one evaluation.
    pub node_needs: Arc<NodeNeeds>,
    pub ports: Box<[HostPort]>,
    pub claims: Box<[PodClaim]>,
    pub disks: Box<[Disk]>,
    pub images: Box<[Box<str>]>,
    /// How many containers there are, with or without an image that is known.
    pub containers: usize,
    pub terms: Arc<PodTerms>,
    pub spread: Box<[SpreadConstraint]>,
}

/// The requirements that a node's own labels and taints fulfil or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeNeeds {
    pub selector: NodeSelector,
    pub tolerations: Box<[wire::Toleration]>,
    /// Whether it runs a virtual machine instead of containers.
    pub machine: bool,
}

/// A port of the host that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    pub ip: Box<str>,
    pub protocol: Box<str>,
    pub port: u16,
}

impl HostPort {
    /// Whether both cannot be open on one host.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let any = |p: &HostPort| &*p.ip == "0.0.0.0";
        self.port == other.port && self.protocol == other.protocol && (any(self) || any(other) || self.ip == other.ip)
    }
}

impl Pod {
    /// Whether it holds room on a node.
    pub fn placed(&self) -> bool {
        !self.node.is_empty() && !self.finished
    }

    /// Whether a scheduler has still to find it a node.
    pub fn waits(&self) -> bool {
        self.node.is_empty() && !self.finished && !self.deleting
    }

    /// When victims are chosen: the more important first. Higher priority, then longer running.
    pub fn importance(&self) -> (std::cmp::Reverse<i32>, Timestamp) {
        (std::cmp::Reverse(self.priority), self.started.unwrap_or(Timestamp::from_unix_secs(i64::MAX)))
    }
}

impl From<wire::Pod> for Pod {
    fn from(wire: wire::Pod) -> Pod {
        let wire::Pod { metadata, spec, status } = wire;
        let requests = Arc::new(requests::of_pod(&spec, &status));
        let ports = host_ports(&spec);
        let (claims, disks) = volumes::of_volumes(spec.volumes);
        let labels = metadata.labels.unwrap_or_default();
        let affinity = spec.affinity.unwrap_or_default();
        let spread = spec.topology_spread_constraints.into_iter().flatten();
        let containers = spec.containers.into_iter().chain(spec.init_containers).flatten();
        let machine = spec.virtual_machine;
        let images = containers.map(|c| c.image).chain(machine.iter().map(|m| m.image.clone()));
        let images: Vec<Option<Box<str>>> = images.map(|i| i.map(|i| normalized_image(&i))).collect();
        let phase = status.phase.as_deref().unwrap_or_default();
        let preempted = status
            .condition("DisruptionTarget")
            .is_some_and(|c| c.status == "True" && c.reason.as_deref() == Some(super::PREEMPTED_REASON));
        let scheduled = status.condition("PodScheduled");
        Pod {
            uid: metadata.uid.into(),
            resource_version: metadata.resource_version.into(),
            controller: controller(metadata.owner_references),
            created: time(&metadata.creation_timestamp).unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            node: text(spec.node_name),
            scheduler: text(spec.scheduler_name),
            priority: spec.priority.unwrap_or(0),
            may_preempt: spec.preemption_policy.as_deref() != Some("Never"),
            gated: spec.scheduling_gates.is_some_and(|gates| !gates.is_empty()),
            finished: matches!(phase, "Succeeded" | "Failed"),
            started: time(&status.start_time),
            preempted: preempted && metadata.deletion_timestamp.is_some(),
            condition: scheduled.map(|c| Scheduled {
                status: c.status.as_str().into(),
                reason: c.reason.as_deref().unwrap_or_default().into(),
                message: c.message.as_deref().unwrap_or_default().into(),
            }),
            nominated: text(status.nominated_node_name),
            requests,
            node_needs: Arc::new(NodeNeeds {
                selector: NodeSelector::of(spec.node_selector, affinity.node_affinity),
                tolerations: spec.tolerations.into_iter().flatten().collect(),
                machine: machine.is_some(),
            }),
            ports,
            claims,
            disks,
            containers: images.len(),
            images: images.into_iter().flatten().collect(),
            terms: Arc::new(PodTerms::of(affinity.pod_affinity, affinity.pod_anti_affinity, &labels)),
            spread: spread.map(|c| SpreadConstraint::of(c, &labels)).collect(),
            labels,
        }
    }
}

fn text(text: Option<String>) -> Box<str> {
    text.unwrap_or_default().into()
}

fn time(text: &Option<String>) -> Option<Timestamp> {
    text.as_deref().and_then(Timestamp::parse)
}

fn controller(owners: Option<Vec<wire::OwnerReference>>) -> Option<(Box<str>, Box<str>)> {
    let owner = owners?.into_iter().find(|o| o.controller == Some(true))?;
    Some((owner.kind.into(), owner.name.into()))
}

fn host_ports(spec: &wire::PodSpec) -> Box<[HostPort]> {
    let sidecars = spec.init_containers().iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers().iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let taken = ports.filter_map(|port| {
        let or = |text: &Option<String>, default: &str| -> Box<str> {
            text.as_deref().filter(|t| !t.is_empty()).unwrap_or(default).into()
        };
        let number = port.host_port.filter(|&p| p > 0)?;
        Some(HostPort { ip: or(&port.host_ip, "0.0.0.0"), protocol: or(&port.protocol, "TCP"), port: number })
    });
    taken.collect()
}

/// An image's name as nodes report it: with a tag.
pub fn normalized_image(name: &str) -> Box<str> {
    let after_path = name.rfind('/').map_or(0, |slash| slash + 1);
    if name[after_path..].contains(':') { name.into() } else { format!("{name}:latest").into() }
}
