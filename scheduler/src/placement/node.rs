//! What the scheduler knows of a node: what it offers and whom it keeps away.

use super::pod::normalized_image;
use super::{requests, wire};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A node without its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "wire::Node")]
pub struct Node {
    pub labels: BTreeMap<String, String>,
    pub unschedulable: bool,
    pub taints: Vec<wire::Taint>,
    /// By name; CPU in thousandths, all others in units.
    pub allocatable: BTreeMap<String, i64>,
    /// Names with their tags, and bytes.
    pub images: Vec<(Box<[Box<str>]>, i64)>,
}

impl From<wire::Node> for Node {
    fn from(wire: wire::Node) -> Node {
        let images = wire.status.images.into_iter().flatten();
        let names = |names: Option<Vec<String>>| names.into_iter().flatten().map(|n| normalized_image(&n)).collect();
        Node {
            labels: wire.metadata.labels.unwrap_or_default(),
            unschedulable: wire.spec.unschedulable.unwrap_or(false),
            taints: wire.spec.taints.unwrap_or_default(),
            allocatable: requests::amounts(&wire.status.allocatable),
            images: images
                .map(|i| (names(i.names), i.size_bytes.unwrap_or(0).clamp(0, requests::AMOUNT_MAX)))
                .collect(),
        }
    }
}
