//! Mirrors Endpoints that somebody else writes, for services without a selector, into EndpointSlices.

use super::endpoint_slices::{self, MANAGED_BY, SERVICE_NAME, service_of};
use super::owner_reference;
use super::slices::{self, ByPorts, Frame};
use crate::context::{Account, Context, unless_gone};
use crate::controllers::written::Written;
use crate::recorder::{Event, Involved, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{
    Address, ENDPOINT_SLICES, Endpoint, EndpointConditions, EndpointPort, EndpointSlice, Endpoints, Service, SubsetPort,
};
use api::Result;
use client::{Cache, DeleteParams, Index, ObjectRef, WorkQueue};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration = Declaration {
    name: "endpointslice-mirroring-controller",
    account: Account::Service("endpointslicemirroring-controller"),
    make,
};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Annotations that say something about the Endpoints alone.
const NOT_MIRRORED: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];

/// The most addresses of one subset that are mirrored, and of one slice.
const ADDRESSES_MAX: usize = 1000;

struct Mirror {
    context: Context,
    services: Cache<Service>,
    endpoints: Cache<Endpoints>,
    slices: Cache<EndpointSlice>,
    by_service: Index<EndpointSlice>,
    written: Arc<Written>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let written: Arc<Written> = Arc::default();
    let informer = setup.informers.of::<Endpoints>();
    let endpoints = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| {
        if [&change.old, &change.new].into_iter().flatten().any(|e| is_mirrored(e)) {
            changed.add(change.key.clone());
        }
    });
    let informer = setup.informers.of::<Service>();
    let services = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| {
        let selects = |s: &Option<Arc<Service>>| s.as_ref().map(|s| s.spec.selector.is_some());
        if selects(&change.old) != selects(&change.new) {
            changed.add(change.key.clone());
        }
    });
    let informer = setup.informers.of::<EndpointSlice>();
    let slices = informer.cache();
    let by_service = endpoint_slices::by_service(&slices, MANAGER);
    let (changed, forget) = (queue.clone(), written.clone());
    informer.on_change(move |change| {
        for slice in [&change.old, &change.new].into_iter().flatten() {
            let Some(service) = service_of(slice, MANAGER) else { continue };
            if change.new.is_none() {
                forget.forget(&service, &change.key);
            }
            changed.add(service);
        }
    });
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(Mirror { context, services, endpoints, slices, by_service, written }))
}

/// Whether somebody wants these mirrored: they are neither a lock nor the controller's own nor marked.
fn is_mirrored(endpoints: &Endpoints) -> bool {
    let Endpoints { metadata, .. } = endpoints;
    !metadata.annotations.contains_key(LEADER) && metadata.labels.get(SKIP).is_none_or(|skip| skip != "true")
}

impl Reconcile for Mirror {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl Mirror {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let version = |key: &ObjectRef| self.slices.get(key).map(|s| s.metadata.resource_version.clone());
        if let Some(wait) = self.written.unseen(key, version) {
            return Ok(Some(wait));
        }
        let existing = self.by_service.get(&key.to_string()).into_iter().map(|(_, slice)| slice);
        let existing: Vec<Arc<EndpointSlice>> = existing.filter(|s| !s.metadata.is_deleting()).collect();
        let without_selector = self.services.get(key).is_some_and(|s| s.spec.selector.is_none());
        let Some(endpoints) = self.endpoints.get(key).filter(|e| without_selector && is_mirrored(e)) else {
            for slice in existing {
                self.delete(key, &slice).await?;
            }
            return Ok(None);
        };
        let (mut wanted, skipped) = mirrored(&endpoints);
        self.tell(&endpoints, skipped);
        let owner = owner_reference("Endpoints", &endpoints.metadata);
        let client = self.context.client(key);
        for address_type in ["IPv4", "IPv6"] {
            let frame = frame(&endpoints, address_type);
            let own: Vec<_> = existing.iter().filter(|s| s.address_type == *address_type).cloned().collect();
            let changes = slices::reconcile(&own, wanted.remove(address_type).unwrap_or_default(), &frame);
            for wanted in changes.create {
                let object = endpoint_slices::object(&key.name, &owner, &frame, &wanted, None);
                match client.create(ENDPOINT_SLICES, &key.namespace, &object).await {
                    Err(error) if super::super::is_namespace_gone(&error) => return Ok(None),
                    created => endpoint_slices::note(&self.written, key, &created?),
                }
            }
            for (slice, wanted) in changes.update {
                let object = endpoint_slices::object(&key.name, &owner, &frame, &wanted, Some(&slice.metadata));
                let updated = client.update(ENDPOINT_SLICES, &key.namespace, &object).await?;
                endpoint_slices::note(&self.written, key, &updated);
            }
            for slice in changes.delete {
                self.delete(key, &slice).await?;
            }
        }
        Ok(None)
    }

    async fn delete(&self, key: &ObjectRef, slice: &EndpointSlice) -> Result<()> {
        let exactly = DeleteParams::of_uid(&slice.metadata.uid);
        let client = self.context.client(key);
        unless_gone(client.delete(ENDPOINT_SLICES, &key.namespace, &slice.metadata.name, &exactly).await).map(drop)
    }

    fn tell(&self, endpoints: &Endpoints, skipped: Skipped) {
        let record = |reason: &'static str, message: String| {
            let about = Involved {
                key: endpoints.metadata.key(),
                api_version: "v1".to_owned(),
                kind: "Endpoints".to_owned(),
                uid: endpoints.metadata.uid.clone(),
            };
            self.context.recorder.record(Event { about, severity: Severity::Warning, reason, message });
        };
        if skipped.invalid > 0 {
            let message = format!("Skipped {} invalid IP addresses when mirroring to EndpointSlices", skipped.invalid);
            record("InvalidIPAddress", message);
        }
        if skipped.too_many > 0 {
            let message = format!(
                "A max of {ADDRESSES_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset. {} \
                 addresses were skipped",
                skipped.too_many
            );
            record("TooManyAddressesToMirror", message);
        }
    }
}

fn frame(endpoints: &Endpoints, address_type: &str) -> Frame {
    let Endpoints { metadata, .. } = endpoints;
    let mut labels = endpoint_slices::without_reserved(&metadata.labels);
    labels.insert(SERVICE_NAME.to_owned(), metadata.name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let annotations = metadata.annotations.iter().filter(|(k, _)| !NOT_MIRRORED.contains(&k.as_str()));
    let annotations = Some(annotations.map(|(k, v)| (k.clone(), v.clone())).collect());
    let address_type = address_type.to_owned();
    Frame { address_type, labels, annotations, capacity: ADDRESSES_MAX, never_none: false }
}

/// How many addresses are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Skipped {
    invalid: usize,
    too_many: usize,
}

/// The endpoints of each address type.
fn mirrored(endpoints: &Endpoints) -> (BTreeMap<&'static str, ByPorts>, Skipped) {
    let mut by_type: BTreeMap<&'static str, ByPorts> = BTreeMap::new();
    let mut skipped = Skipped::default();
    for subset in &endpoints.subsets {
        let mut ports: Vec<EndpointPort> = subset.ports.iter().map(port).collect();
        ports.sort();
        let mut added = 0;
        let ready = subset.addresses.iter().map(|a| (a, true));
        for (address, ready) in ready.chain(subset.not_ready_addresses.iter().map(|a| (a, false))) {
            if added >= ADDRESSES_MAX {
                skipped.too_many += 1;
                continue;
            }
            let address_type = match address.ip.parse() {
                Ok(IpAddr::V4(_)) => "IPv4",
                Ok(IpAddr::V6(_)) => "IPv6",
                Err(_) => {
                    skipped.invalid += 1;
                    continue;
                }
            };
            added += 1;
            let of_ports = by_type.entry(address_type).or_default().entry(ports.clone()).or_default();
            of_ports.push(endpoint(address, ready));
        }
    }
    (by_type, skipped)
}

fn port(port: &SubsetPort) -> EndpointPort {
    EndpointPort {
        name: port.name.clone(),
        port: Some(port.port),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: &Address, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: EndpointConditions { ready: Some(ready), ..EndpointConditions::default() },
        hostname: Some(address.hostname.clone()).filter(|h| !h.is_empty()),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn addresses_are_mirrored_by_family_and_ports_and_what_is_no_address_is_skipped() {
        let endpoints: Endpoints = from_value(json!({
            "metadata": {"name": "e"},
            "subsets": [
                {"addresses": [{"ip": "10.0.0.1"}, {"ip": "::1"}, {"ip": "x"}], "ports": [{"port": 1}]},
                {"notReadyAddresses": [{"ip": "10.0.0.2", "hostname": "h"}], "ports": [{"port": 1}]},
                {"addresses": vec![json!({"ip": "10.0.0.3"}); ADDRESSES_MAX + 2], "ports": [{"port": 2}]},
            ],
        }))
        .expect("endpoints");
        let (by_type, skipped) = mirrored(&endpoints);
        assert_eq!(skipped, Skipped { invalid: 1, too_many: 2 });
        let of = |address_type: &str| -> Vec<usize> { by_type[address_type].values().map(Vec::len).collect() };
        assert_eq!((of("IPv4"), of("IPv6")), (vec![2, ADDRESSES_MAX], vec![1]));
        let not_ready = &by_type["IPv4"].values().next().expect("endpoints")[1];
        assert_eq!((not_ready.conditions.ready, not_ready.hostname.as_deref()), (Some(false), Some("h")));
    }

    #[test]
    fn locks_and_what_is_marked_are_not_mirrored() {
        let mirrored =
            |metadata: serde_json::Value| is_mirrored(&from_value(json!({"metadata": metadata})).expect("endpoints"));
        assert!(mirrored(json!({})) && mirrored(json!({"labels": {SKIP: "false"}})));
        assert!(!mirrored(json!({"labels": {SKIP: "true"}})) && !mirrored(json!({"annotations": {LEADER: "x"}})));
    }
}
