//! Keeps the EndpointSlices of each service that selects pods.

use super::slices::{self, ByPorts, Changes, Frame, Wanted};
use super::{owner_reference, pods};
use crate::context::{Account, Context, unless_gone};
use crate::controllers::written::Written;
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{
    ENDPOINT_SLICES, Endpoint, EndpointConditions, EndpointPort, EndpointSlice, Hints, Meta, Named, Node, Pod, Service,
};
use api::Result;
use client::{Cache, DeleteParams, Index, ObjectRef, WorkQueue};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "endpointslice-controller", account: Account::Service("endpointslice-controller"), make };

pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The most endpoints of one slice.
const CAPACITY: usize = 100;

/// When to look again at a pod whose node is not known: it may be new.
const NODE_MAY_COME: Duration = Duration::from_secs(2);

struct Sliced {
    context: Context,
    services: Cache<Service>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    slices: Cache<EndpointSlice>,
    /// By the service that they are of, as the label says, and by the uid of what controls them.
    by_service: Index<EndpointSlice>,
    written: Arc<Written>,
}

/// The service that a slice of some manager is of, as its label says.
pub fn service_of(slice: &EndpointSlice, manager: &str) -> Option<ObjectRef> {
    let name = slice.metadata.labels.get(SERVICE_NAME)?;
    let ours = slice.metadata.labels.get(MANAGED_BY).is_some_and(|by| by == manager);
    ours.then(|| slice.metadata.sibling(name))
}

/// Slices of some manager by the service that they are of, and by the uid of what controls them.
pub fn by_service(slices: &Cache<EndpointSlice>, manager: &'static str) -> Index<EndpointSlice> {
    slices.index(move |_, slice| {
        let service = service_of(slice, manager).map(|key| key.to_string());
        let uid = slice.metadata.controller().map(|owner| owner.uid.clone());
        service.into_iter().chain(uid).collect()
    })
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let written: Arc<Written> = Arc::default();
    let informer = setup.informers.of::<Service>();
    let services = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| changed.add(change.key.clone()));
    let informer = setup.informers.of::<Pod>();
    let pods = informer.cache();
    let (changed, known) = (queue.clone(), services.clone());
    informer.on_change(move |change| super::pod_changed(change, &known, &changed));
    let nodes = setup.informers.of::<Node>().cache();
    let informer = setup.informers.of::<EndpointSlice>();
    let slices = informer.cache();
    let by_service = by_service(&slices, MANAGER);
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
    Controller::new(queue, Arc::new(Sliced { context, services, pods, nodes, slices, by_service, written }))
}

impl Reconcile for Sliced {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl Sliced {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let (Some(service), Some(tenant)) = (self.services.get(key), &key.tenant) else { return Ok(None) };
        if service.is_external_name() || service.spec.selector.is_none() || service.metadata.is_deleting() {
            return Ok(None);
        }
        let version = |key: &ObjectRef| self.slices.get(key).map(|s| s.metadata.resource_version.clone());
        if let Some(wait) = self.written.unseen(key, version) {
            return Ok(Some(wait));
        }
        let uid = &service.metadata.uid;
        let of_label: Vec<Arc<EndpointSlice>> =
            self.by_service.get(&key.to_string()).into_iter().map(|s| s.1).collect();
        // One that somebody gave to another service by its label is theirs, and still counts for what it holds.
        let given_away = |s: &Arc<EndpointSlice>| service_of(s, MANAGER).as_ref() != Some(key);
        if self.by_service.get(uid).iter().any(|(_, s)| given_away(s)) {
            return Ok(None);
        }
        let usable = |s: &Arc<EndpointSlice>| {
            !s.metadata.is_deleting() && s.metadata.controller().is_none_or(|owner| owner.uid == *uid)
        };
        let existing: Vec<Arc<EndpointSlice>> = of_label.into_iter().filter(usable).collect();
        let pods = self.pods.list_namespace(tenant, &key.namespace);
        let selected = pods.iter().map(|(_, pod)| &**pod);
        let selected: Vec<&Pod> =
            selected.filter(|p| service.selects(&p.metadata.labels) && pods::is_behind(p, true)).collect();
        let node = |name: &str| self.nodes.get(&ObjectRef::cluster(name));
        let mut again = None;
        let types = address_types(&service);
        let mut to_delete: Vec<Arc<EndpointSlice>> = Vec::new();
        to_delete.extend(existing.iter().filter(|s| !types.contains(&s.address_type.as_str())).cloned());
        for address_type in types {
            let (wanted, node_missing) = endpoints(&service, &selected, &node, address_type);
            again = again.or(node_missing.then_some(NODE_MAY_COME));
            let own: Vec<_> = existing.iter().filter(|s| s.address_type == *address_type).cloned().collect();
            let frame = frame(&service, address_type);
            let mut changes = slices::reconcile(&own, wanted, &frame);
            set_hints(&service, &mut changes);
            self.carry_out(key, &service, &frame, changes).await?;
        }
        for slice in to_delete {
            self.delete(key, &slice).await?;
        }
        Ok(again)
    }

    async fn carry_out(&self, key: &ObjectRef, service: &Service, frame: &Frame, changes: Changes) -> Result<()> {
        let client = self.context.client(key);
        let owner = owner_reference("Service", &service.metadata);
        for wanted in changes.create {
            let object = object(&service.metadata.name, &owner, frame, &wanted, None);
            match client.create(ENDPOINT_SLICES, &key.namespace, &object).await {
                Err(error) if super::super::is_namespace_gone(&error) => return Ok(()),
                created => note(&self.written, key, &created?),
            }
        }
        for (slice, wanted) in changes.update {
            let object = object(&service.metadata.name, &owner, frame, &wanted, Some(&slice.metadata));
            note(&self.written, key, &client.update(ENDPOINT_SLICES, &key.namespace, &object).await?);
        }
        for slice in changes.delete {
            self.delete(key, &slice).await?;
        }
        Ok(())
    }

    async fn delete(&self, key: &ObjectRef, slice: &EndpointSlice) -> Result<()> {
        let exactly = DeleteParams::of_uid(&slice.metadata.uid);
        let client = self.context.client(key);
        unless_gone(client.delete(ENDPOINT_SLICES, &key.namespace, &slice.metadata.name, &exactly).await).map(drop)
    }
}

/// Notes a slice as the server answered it.
pub fn note(written: &Written, of: &ObjectRef, answer: &Value) {
    let text = |field: &str| answer["metadata"][field].as_str().unwrap_or_default();
    let key = ObjectRef { name: text("name").to_owned(), ..of.clone() };
    written.note(of, key, text("resourceVersion"));
}

/// A slice as it is sent: a new one, or in the place of one that there is.
pub fn object(of: &str, owner: &Value, frame: &Frame, wanted: &Wanted, existing: Option<&Meta>) -> Value {
    let mut metadata = json!({"labels": frame.labels, "ownerReferences": owner});
    let annotations = frame.annotations.clone().or_else(|| existing.map(|e| e.annotations.clone()));
    if let Some(annotations) = annotations.filter(|a| !a.is_empty()) {
        metadata["annotations"] = json!(annotations);
    }
    match existing {
        Some(existing) => {
            metadata["name"] = json!(existing.name);
            metadata["namespace"] = json!(existing.namespace);
            metadata["uid"] = json!(existing.uid);
            metadata["resourceVersion"] = json!(existing.resource_version);
            metadata["generateName"] = json!(format!("{of}-"));
        }
        None => metadata["generateName"] = json!(format!("{of}-")),
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": frame.address_type,
        "endpoints": wanted.endpoints,
        "ports": wanted.ports,
    })
}

fn frame(service: &Service, address_type: &str) -> Frame {
    let mut labels = super::labels_of(service);
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    Frame { address_type: address_type.to_owned(), labels, annotations: None, capacity: CAPACITY, never_none: true }
}

/// The kinds of addresses that a service is found at.
fn address_types(service: &Service) -> Vec<&'static str> {
    let known = |family: &String| if family == "IPv6" { "IPv6" } else { "IPv4" };
    if !service.spec.ip_families.is_empty() {
        return service.spec.ip_families.iter().map(known).collect();
    }
    if service.is_headless() { vec!["IPv4", "IPv6"] } else { vec![pods::family_of(&service.spec.cluster_ip)] }
}

/// The endpoints of one address type, and whether one is left out because its node is not known.
fn endpoints(
    service: &Service,
    pods: &[&Pod],
    node: &dyn Fn(&str) -> Option<Arc<Node>>,
    address_type: &str,
) -> (ByPorts, bool) {
    let mut by_ports = ByPorts::new();
    let mut node_missing = false;
    for pod in pods {
        let addresses: Vec<String> = pods::addresses(pod, address_type).cloned().collect();
        let node = Some(&pod.spec.node_name).filter(|n| !n.is_empty()).map(|name| node(name));
        if matches!(node, Some(None)) && !service.spec.publish_not_ready_addresses {
            node_missing = true;
            continue;
        }
        if addresses.is_empty() {
            continue;
        }
        let zone = node.flatten().and_then(|n| n.metadata.labels.get(ZONE).cloned()).filter(|z| !z.is_empty());
        by_ports.entry(ports(service, pod)).or_default().push(endpoint(service, pod, addresses, zone));
    }
    (by_ports, node_missing)
}

fn endpoint(service: &Service, pod: &Pod, addresses: Vec<String>, zone: Option<String>) -> Endpoint {
    let (serving, terminating) = (pod.is_ready(), pod.metadata.is_deleting());
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    Endpoint {
        addresses,
        conditions: EndpointConditions { ready: Some(ready), serving: Some(serving), terminating: Some(terminating) },
        hostname: pods::hostname(pod, service).map(str::to_owned),
        target_ref: Some(pods::target(pod)),
        node_name: Some(pod.spec.node_name.clone()).filter(|n| !n.is_empty()),
        zone,
        hints: None,
    }
}

/// The ports of a service that a pod offers, sorted.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let of_pod = |port: &crate::view::ServicePort| {
        let number = pods::port(pod, port)?;
        Some(EndpointPort {
            name: port.name.clone(),
            port: Some(number),
            protocol: Some(port.protocol.clone()),
            app_protocol: port.app_protocol.clone(),
        })
    };
    let mut ports: Vec<EndpointPort> = service.spec.ports.iter().filter_map(of_pod).collect();
    ports.sort();
    ports
}

/// The hints that an endpoint has, where traffic is to stay near.
fn hints(distribution: Option<&str>, endpoint: &Endpoint) -> Option<Hints> {
    let named = |name: &String| vec![Named { name: name.clone() }];
    let zones = endpoint.zone.as_ref().map(named).unwrap_or_default();
    let nodes = endpoint.node_name.as_ref().map(named).unwrap_or_default();
    match distribution? {
        "PreferClose" | "PreferSameZone" => {
            Some(Hints { for_zones: zones, for_nodes: Vec::new() }).filter(|h| !h.for_zones.is_empty())
        }
        "PreferSameNode" => Some(Hints { for_zones: zones, for_nodes: nodes }).filter(|h| !h.for_nodes.is_empty()),
        _ => None,
    }
}

/// Gives hints to what is written anyway, and rewrites what has others than it should.
fn set_hints(service: &Service, changes: &mut Changes) {
    let distribution = service.spec.traffic_distribution.as_deref();
    let set = |endpoints: &mut Vec<Endpoint>| {
        for endpoint in endpoints {
            endpoint.hints = hints(distribution, endpoint);
        }
    };
    changes.create.iter_mut().for_each(|w| set(&mut w.endpoints));
    changes.update.iter_mut().for_each(|(_, w)| set(&mut w.endpoints));
    let is_right = |s: &Arc<EndpointSlice>| s.endpoints.iter().all(|e| e.hints == hints(distribution, e));
    let (right, wrong): (Vec<_>, Vec<_>) = std::mem::take(&mut changes.keep).into_iter().partition(is_right);
    changes.keep = right;
    for slice in wrong {
        let mut endpoints = slice.endpoints.clone();
        set(&mut endpoints);
        let ports = slice.ports.clone();
        changes.update.push((slice, Wanted { ports, endpoints }));
    }
}

/// Labels of what mirrors, and of what is mirrored, without what the controllers themselves say there.
pub fn without_reserved(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let reserved = [SERVICE_NAME, MANAGED_BY, super::HEADLESS];
    labels.iter().filter(|(k, _)| !reserved.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

#[cfg(test)]
mod tests;
