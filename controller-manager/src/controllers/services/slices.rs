//! Keeps endpoints in slices: which slices to create, to change and to delete so that they hold what is wanted, with as
//! few writes as can be. Pure.

use crate::view::{Endpoint, EndpointPort, EndpointSlice};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What slices are made of besides their endpoints.
pub struct Frame {
    pub address_type: String,
    pub labels: BTreeMap<String, String>,
    /// Those that a slice has to have; `None` where they are not looked after.
    pub annotations: Option<BTreeMap<String, String>>,
    /// The most endpoints of one slice.
    pub capacity: usize,
    /// Whether there is a slice even of nothing.
    pub never_none: bool,
}

/// A slice as it is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub ports: Vec<EndpointPort>,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, Default)]
pub struct Changes {
    pub create: Vec<Wanted>,
    pub update: Vec<(Arc<EndpointSlice>, Wanted)>,
    pub delete: Vec<Arc<EndpointSlice>>,
    /// What stays as it is.
    pub keep: Vec<Arc<EndpointSlice>>,
}

/// Endpoints by the ports that they offer.
pub type ByPorts = BTreeMap<Vec<EndpointPort>, Vec<Endpoint>>;

/// What makes an endpoint the same one, whatever else changes about it.
fn identity(endpoint: &Endpoint) -> String {
    let target = endpoint.target_ref.as_ref();
    let target = target.map(|t| format!("{}/{}/{}", t.kind, t.namespace, t.name)).unwrap_or_default();
    format!("{}|{}|{target}", endpoint.addresses.join(","), endpoint.hostname.as_deref().unwrap_or_default())
}

/// Compares all slices of one address type with the endpoints that there are. Hints are not compared: they are worked
/// out afterwards.
pub fn reconcile(existing: &[Arc<EndpointSlice>], wanted: ByPorts, frame: &Frame) -> Changes {
    let mut by_ports: BTreeMap<Vec<EndpointPort>, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        let mut ports = slice.ports.clone();
        ports.sort();
        by_ports.entry(ports).or_default().push(slice.clone());
    }
    let mut changes = Changes::default();
    for (ports, endpoints) in wanted {
        let slices = by_ports.remove(&ports).unwrap_or_default();
        reconcile_ports(&slices, ports, endpoints, frame, &mut changes);
    }
    changes.delete.extend(by_ports.into_values().flatten());
    if frame.never_none && changes.delete.len() == existing.len() && changes.create.is_empty() {
        let is_placeholder =
            |s: &Arc<EndpointSlice>| s.ports.is_empty() && s.endpoints.is_empty() && is_framed(s, frame);
        match changes.delete.iter().position(is_placeholder) {
            Some(place) => changes.keep.push(changes.delete.remove(place)),
            None => changes.create.push(Wanted { ports: Vec::new(), endpoints: Vec::new() }),
        }
    }
    recycle(&mut changes);
    changes
}

fn is_framed(slice: &EndpointSlice, frame: &Frame) -> bool {
    slice.metadata.labels == frame.labels
        && frame.annotations.as_ref().is_none_or(|wanted| *wanted == slice.metadata.annotations)
}

/// What is to be deleted is filled anew instead where another is to be created.
fn recycle(changes: &mut Changes) {
    while !changes.create.is_empty() && !changes.delete.is_empty() {
        changes.update.push((changes.delete.remove(0), changes.create.remove(0)));
    }
}

fn reconcile_ports(
    slices: &[Arc<EndpointSlice>],
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
    frame: &Frame,
    changes: &mut Changes,
) {
    let mut left: BTreeMap<String, Endpoint> = endpoints.into_iter().map(|e| (identity(&e), e)).collect();
    let mut updated: Vec<(Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
    let mut unchanged: Vec<Arc<EndpointSlice>> = Vec::new();
    for slice in slices {
        let mut differs = false;
        let mut kept = Vec::new();
        for endpoint in &slice.endpoints {
            let Some(wanted) = left.remove(&identity(endpoint)) else { continue };
            differs |= Endpoint { hints: None, ..wanted.clone() } != Endpoint { hints: None, ..endpoint.clone() };
            kept.push(wanted);
        }
        if !differs && kept.len() == slice.endpoints.len() && is_framed(slice, frame) {
            unchanged.push(slice.clone());
        } else if kept.is_empty() {
            changes.delete.push(slice.clone());
        } else {
            updated.push((slice.clone(), kept));
        }
    }
    let mut left: Vec<Endpoint> = left.into_values().rev().collect();
    updated.sort_by_key(|(_, kept)| std::cmp::Reverse(kept.len()));
    for (_, kept) in &mut updated {
        fill(kept, &mut left, frame.capacity);
    }
    while !left.is_empty() {
        let fits = |s: &&Arc<EndpointSlice>| s.endpoints.len() + left.len() <= frame.capacity;
        let fullest = unchanged.iter().filter(fits).max_by_key(|s| s.endpoints.len()).cloned();
        if let Some(slice) = fullest.filter(|_| left.len() < frame.capacity) {
            unchanged.retain(|s| !Arc::ptr_eq(s, &slice));
            let mut endpoints = slice.endpoints.clone();
            fill(&mut endpoints, &mut left, frame.capacity);
            updated.push((slice, endpoints));
        } else {
            let mut endpoints = Vec::new();
            fill(&mut endpoints, &mut left, frame.capacity);
            changes.create.push(Wanted { ports: ports.clone(), endpoints });
        }
    }
    let update = updated.into_iter().map(|(slice, endpoints)| (slice, Wanted { ports: ports.clone(), endpoints }));
    changes.update.extend(update);
    changes.keep.extend(unchanged);
}

fn fill(endpoints: &mut Vec<Endpoint>, left: &mut Vec<Endpoint>, capacity: usize) {
    while endpoints.len() < capacity {
        let Some(endpoint) = left.pop() else { return };
        endpoints.push(endpoint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoint(n: usize) -> Endpoint {
        Endpoint { addresses: vec![format!("10.0.{}.{}", n / 256, n % 256)], ..Endpoint::default() }
    }

    fn ports(number: i64) -> Vec<EndpointPort> {
        vec![EndpointPort { port: Some(number), ..EndpointPort::default() }]
    }

    fn frame() -> Frame {
        let (labels, annotations) = (BTreeMap::new(), None);
        Frame { address_type: "IPv4".into(), labels, annotations, capacity: 10, never_none: true }
    }

    fn slice(name: &str, number: i64, endpoints: impl Iterator<Item = usize>) -> Arc<EndpointSlice> {
        let mut slice: EndpointSlice =
            serde_json::from_value(json!({"metadata": {"name": name}, "addressType": "IPv4"})).expect("a slice");
        (slice.ports, slice.endpoints) = (ports(number), endpoints.map(endpoint).collect());
        Arc::new(slice)
    }

    /// How many endpoints the slices hold that are created, updated, and how many slices are deleted and kept.
    fn outcome(existing: &[Arc<EndpointSlice>], wanted: ByPorts) -> (Vec<usize>, Vec<usize>, usize, usize) {
        let changes = reconcile(existing, wanted, &frame());
        let created = changes.create.iter().map(|w| w.endpoints.len()).collect();
        let updated = changes.update.iter().map(|(_, w)| w.endpoints.len()).collect();
        (created, updated, changes.delete.len(), changes.keep.len())
    }

    #[test]
    fn slices_change_as_little_as_can_be() {
        let all = |range: std::ops::Range<usize>| ByPorts::from([(ports(80), range.map(endpoint).collect())]);
        let two = [slice("a", 80, 0..10), slice("b", 80, 10..13)];
        let cases = [
            (&[][..], all(0..13), (vec![10, 3], vec![], 0, 0)),
            (&two[..], all(0..13), (vec![], vec![], 0, 2)),
            // What is new fits where there is room.
            (&two[..], all(0..15), (vec![], vec![5], 0, 1)),
            // What goes makes room for what comes.
            (&two[..], all(1..14), (vec![], vec![10], 0, 1)),
            (&two[..], all(0..25), (vec![10], vec![5], 0, 1)),
            // A slice of other ports is filled anew.
            (&two[1..], ByPorts::from([(ports(81), vec![endpoint(1)])]), (vec![], vec![1], 0, 0)),
            // Of nothing there is one slice.
            (&[][..], ByPorts::new(), (vec![0], vec![], 0, 0)),
            (&two[..], ByPorts::new(), (vec![], vec![0], 1, 0)),
        ];
        for (existing, wanted, expected) in cases {
            assert_eq!(outcome(existing, wanted.clone()), expected, "{wanted:?}");
        }
    }

    #[test]
    fn an_endpoint_that_changes_is_changed_in_place() {
        let mut changed = endpoint(1);
        changed.conditions.ready = Some(false);
        let wanted = ByPorts::from([(ports(80), vec![endpoint(0), changed.clone()])]);
        let changes = reconcile(&[slice("a", 80, 0..2)], wanted, &frame());
        assert_eq!(changes.update[0].1.endpoints, [endpoint(0), changed]);
        assert!(changes.create.is_empty() && changes.delete.is_empty());
    }
}
