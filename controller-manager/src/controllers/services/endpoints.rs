//! Keeps the Endpoints object of each service that selects pods.

use super::pods;
use crate::context::{Account, Context, unless_gone};
use crate::recorder::{Event, Involved, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Address, Endpoints, Pod, Service, Subset, SubsetPort};
use api::Result;
use client::{Cache, DeleteParams, ENDPOINTS, ObjectRef, WorkQueue};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "endpoints-controller", account: Account::Service("endpoint-controller"), make };

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// The most addresses that one object holds.
const ADDRESSES_MAX: usize = 1000;

struct Controlled {
    context: Context,
    services: Cache<Service>,
    endpoints: Cache<Endpoints>,
    pods: Cache<Pod>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<Service>();
    let services = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| changed.add(change.key.clone()));
    let informer = setup.informers.of::<Endpoints>();
    let endpoints = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| {
        if change.new.is_none() {
            changed.add(change.key.clone());
        }
    });
    let informer = setup.informers.of::<Pod>();
    let pods = informer.cache();
    let (changed, known) = (queue.clone(), services.clone());
    informer.on_change(move |change| super::pod_changed(change, &known, &changed));
    let context = setup.context.clone();
    Controller::new(queue, Arc::new(Controlled { context, services, endpoints, pods }))
}

impl Reconcile for Controlled {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await.map(|()| None)
    }
}

impl Controlled {
    async fn sync(&self, key: &ObjectRef) -> Result<()> {
        let Some(tenant) = &key.tenant else { return Ok(()) };
        let client = self.context.client(key);
        let current = self.endpoints.get(key);
        let Some(service) = self.services.get(key) else {
            if let Some(current) = current {
                let exactly = DeleteParams::of_uid(&current.metadata.uid);
                unless_gone(client.delete(ENDPOINTS, &key.namespace, &key.name, &exactly).await)?;
            }
            return Ok(());
        };
        if service.is_external_name() || service.spec.selector.is_none() {
            return Ok(());
        }
        let pods = self.pods.list_namespace(tenant, &key.namespace);
        let mut selected = pods.iter().map(|(_, pod)| &**pod).filter(|p| service.selects(&p.metadata.labels));
        let Some(object) = plan(&service, &mut selected, current.as_deref()) else { return Ok(()) };
        let written = match current {
            None => client.create(ENDPOINTS, &key.namespace, &object).await,
            Some(_) => client.update(ENDPOINTS, &key.namespace, &object).await,
        };
        match written {
            Err(error) if super::super::is_namespace_gone(&error) => Ok(()),
            Err(error) => {
                if !error.is_conflict() && !error.is_already_exists() {
                    self.tell(&service, current_reason(&object), &error.to_string());
                }
                Err(error)
            }
            Ok(_) => Ok(()),
        }
    }

    fn tell(&self, service: &Service, reason: &'static str, error: &str) {
        let what = if reason == "FailedToCreateEndpoint" { "create" } else { "update" };
        let message =
            format!("Failed to {what} endpoint {}/{}: {error}", service.metadata.namespace, service.metadata.name);
        let about = Involved { kind: "Endpoints".to_owned(), ..super::involved(service) };
        self.context.recorder.record(Event { about, severity: Severity::Warning, reason, message });
    }
}

fn current_reason(object: &Value) -> &'static str {
    if object["metadata"]["resourceVersion"].is_null() { "FailedToCreateEndpoint" } else { "FailedToUpdateEndpoint" }
}

/// The object as it is to be, if it is not so already.
fn plan(service: &Service, pods: &mut dyn Iterator<Item = &Pod>, current: Option<&Endpoints>) -> Option<Value> {
    let mut subsets = subsets(service, pods);
    let truncated = truncate(&mut subsets);
    let mut labels = super::labels_of(service);
    labels.insert(MANAGED_BY.to_owned(), "endpoint-controller".to_owned());
    let mut annotations = current.map(|c| c.metadata.annotations.clone()).unwrap_or_default();
    match truncated {
        true => drop(annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned())),
        false => drop(annotations.remove(OVER_CAPACITY)),
    }
    let mut metadata = json!({
        "name": service.metadata.name, "namespace": service.metadata.namespace,
        "labels": labels, "annotations": annotations,
    });
    if let Some(current) = current {
        let mut known = current.subsets.clone();
        known.iter_mut().for_each(normalize);
        known.sort();
        if known == subsets && current.metadata.labels == labels && current.metadata.annotations == annotations {
            return None;
        }
        metadata["resourceVersion"] = json!(current.metadata.resource_version);
        metadata["uid"] = json!(current.metadata.uid);
    }
    Some(json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}))
}

/// What two equal subsets may differ in: order, and what only others write.
fn normalize(subset: &mut Subset) {
    sort_addresses(&mut subset.addresses);
    sort_addresses(&mut subset.not_ready_addresses);
    subset.ports.sort();
}

fn sort_addresses(addresses: &mut [Address]) {
    let uid = |a: &Address| a.target_ref.as_ref().map(|t| t.uid.clone());
    addresses.sort_by_cached_key(|a| (a.ip.parse::<IpAddr>().ok(), uid(a)));
}

/// Addresses by the ports that they offer. One that is not ready on some port is ready on none.
fn subsets(service: &Service, pods: &mut dyn Iterator<Item = &Pod>) -> Vec<Subset> {
    let family = match service.spec.ip_families.first() {
        Some(family) => family.as_str(),
        None if service.is_headless() => "",
        None => pods::family_of(&service.spec.cluster_ip),
    };
    let tolerates = service.spec.publish_not_ready_addresses;
    let mut by_ports: BTreeMap<BTreeSet<SubsetPort>, Subset> = BTreeMap::new();
    for pod in pods.filter(|p| pods::is_behind(p, tolerates)) {
        let ip = match family {
            "" => pod.status.pod_ips.first().map(|p| &p.ip),
            family => pods::addresses(pod, family).next(),
        };
        let Some(ip) = ip else { continue };
        let ports: BTreeSet<SubsetPort> = service
            .spec
            .ports
            .iter()
            .filter_map(|port| {
                let number = pods::port(pod, port)?;
                let (name, protocol) = (port.name.clone(), port.protocol.clone());
                Some(SubsetPort { name, port: number, protocol, app_protocol: port.app_protocol.clone() })
            })
            .collect();
        if ports.is_empty() && !(service.spec.ports.is_empty() && service.is_headless()) {
            continue;
        }
        let address = Address {
            ip: ip.clone(),
            hostname: pods::hostname(pod, service).unwrap_or_default().to_owned(),
            node_name: Some(pod.spec.node_name.clone()),
            target_ref: Some(pods::target(pod)),
        };
        let subset = by_ports.entry(ports).or_default();
        if tolerates || pod.is_ready() {
            subset.addresses.push(address);
        } else {
            subset.not_ready_addresses.push(address);
        }
    }
    let mut subsets: Vec<Subset> =
        by_ports.into_iter().map(|(ports, subset)| Subset { ports: ports.into_iter().collect(), ..subset }).collect();
    subsets.iter_mut().for_each(normalize);
    subsets.sort();
    subsets
}

/// Cuts to what one object may hold: addresses that are not ready first, each subset in its share.
fn truncate(subsets: &mut [Subset]) -> bool {
    let ready: usize = subsets.iter().map(|s| s.addresses.len()).sum();
    let not_ready: usize = subsets.iter().map(|s| s.not_ready_addresses.len()).sum();
    if ready + not_ready <= ADDRESSES_MAX {
        return false;
    }
    let mut room = ADDRESSES_MAX;
    for subset in subsets.iter_mut() {
        let share = if ready > ADDRESSES_MAX { subset.addresses.len() * ADDRESSES_MAX / ready } else { room };
        subset.addresses.truncate(share.min(room));
        room -= subset.addresses.len();
    }
    let for_the_rest = room;
    for subset in subsets.iter_mut() {
        let share = subset.not_ready_addresses.len() * for_the_rest / not_ready.max(1);
        subset.not_ready_addresses.truncate(share.min(room));
        room -= subset.not_ready_addresses.len();
    }
    true
}

#[cfg(test)]
mod tests;
