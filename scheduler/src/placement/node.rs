//! What the scheduler knows of a node: what it offers and whom it keeps away.

use super::pod::normalized_image;
use super::{requests, wire};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Conditions of nodes that run both containers and virtual machines. One without the first runs containers.
const CONTAINERS_READY: &str = "ContainerRuntimeReady";
const MACHINES_READY: &str = "VmRuntimeReady";

/// The label of a node that is there for one tenant alone.
pub const TENANT_LABEL: &str = "node.ursa.dev/tenant";

/// A node without its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "wire::Node")]
pub struct Node {
    pub labels: BTreeMap<String, String>,
    pub unschedulable: bool,
    pub taints: Vec<wire::Taint>,
    /// By name; CPU in thousandths, all others in units.
    pub allocatable: BTreeMap<String, i64>,
    /// Whether it says that it cannot run containers.
    pub no_containers: bool,
    /// Whether it says that it can run virtual machines.
    pub machines: bool,
    /// Names with their tags, and bytes.
    pub images: Vec<(Box<[Box<str>]>, i64)>,
}

impl From<wire::Node> for Node {
    fn from(wire: wire::Node) -> Node {
        let ready = |kind: &str| {
            let conditions = wire.status.conditions.iter().flatten();
            conditions.into_iter().find(|c| c.kind == kind).map(|c| c.status == "True")
        };
        let (containers, machines) = (ready(CONTAINERS_READY), ready(MACHINES_READY));
        let images = wire.status.images.into_iter().flatten();
        let names = |names: Option<Vec<String>>| names.into_iter().flatten().map(|n| normalized_image(&n)).collect();
        Node {
            labels: wire.metadata.labels.unwrap_or_default(),
            unschedulable: wire.spec.unschedulable.unwrap_or(false),
            taints: wire.spec.taints.unwrap_or_default(),
            no_containers: containers == Some(false),
            machines: machines == Some(true),
            allocatable: requests::amounts(&wire.status.allocatable),
            images: images
                .map(|i| (names(i.names), i.size_bytes.unwrap_or(0).clamp(0, requests::AMOUNT_MAX)))
                .collect(),
        }
    }
}
