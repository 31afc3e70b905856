//! What stands behind a port of a tenant's service: pods, which are reached through the agents of their nodes, or addresses.

use api::{Object, ObjectKey, ResourceId, Space, TenantName};
use rand::RngExt;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use store::{Scope, Snapshot};

/// How many endpoints one of which is chosen are looked at.
const CANDIDATES_MAX: usize = 100;

/// What a service leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    Pod {
        node: String,
        pod: String,
        port: u16,
    },
    /// An endpoint that is no pod of the namespace.
    Address(SocketAddr),
    /// A name outside the cluster.
    Host(String, u16),
}

/// One of those that answer at a port of a service.
///
/// # Errors
/// Why there is none, in upstream's words.
pub fn backend(
    snapshot: &Snapshot,
    tenant: &TenantName,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<Backend, String> {
    let service = service(snapshot, tenant, namespace, name).ok_or_else(|| format!("service {name:?} not found"))?;
    let service = service.to_value().map_err(|error| error.to_string())?;
    if service["spec"]["type"] == "ExternalName" {
        return Ok(Backend::Host(service["spec"]["externalName"].as_str().unwrap_or_default().to_owned(), port));
    }
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let declared = ports.into_iter().find(|declared| declared["port"] == port);
    let declared = declared.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let port_name = declared["name"].as_str().unwrap_or_default();
    let mut found = candidates(snapshot, tenant, namespace, name, port_name);
    match found.len() {
        0 => Err(format!("no endpoints available for service {name:?}")),
        many => Ok(found.swap_remove(rand::rng().random_range(0..many))),
    }
}

/// What a check of a service finds.
pub struct Endpoints {
    pub has_port: bool,
    pub port_name: String,
    pub has_slices: bool,
    pub has_ready: bool,
}

/// Whether something answers at a port of a service; `None` without the service.
pub fn endpoints(
    snapshot: &Snapshot,
    tenant: &TenantName,
    namespace: &str,
    name: &str,
    port: u16,
) -> Option<Endpoints> {
    let service = service(snapshot, tenant, namespace, name)?.to_value().ok()?;
    if service["spec"]["type"] == "ExternalName" {
        return Some(Endpoints { has_port: true, port_name: String::new(), has_slices: true, has_ready: true });
    }
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let declared = ports.into_iter().find(|declared| declared["port"] == port);
    let port_name = declared.and_then(|declared| declared["name"].as_str()).unwrap_or_default().to_owned();
    let has_ready = !candidates(snapshot, tenant, namespace, name, &port_name).is_empty();
    let has_slices = slices(snapshot, tenant, namespace, name).next().is_some();
    Some(Endpoints { has_port: declared.is_some(), port_name, has_slices, has_ready })
}

/// A service, if there is one.
fn service(snapshot: &Snapshot, tenant: &TenantName, namespace: &str, name: &str) -> Option<Arc<Object>> {
    let key = ObjectKey::new(ResourceId::new("", "services"), Space::Tenant(tenant.clone()), namespace, name).ok()?;
    snapshot.get(&key).cloned()
}

fn slices<'s>(
    snapshot: &'s Snapshot,
    tenant: &TenantName,
    namespace: &str,
    service: &'s str,
) -> impl Iterator<Item = &'s Arc<Object>> {
    let resource = ResourceId::new("discovery.k8s.io", "endpointslices");
    let scope = Scope::Namespace(resource, tenant.clone(), namespace.into());
    let slices = snapshot.range(&scope, None);
    slices.filter(move |slice| slice.header.label("kubernetes.io/service-name") == Some(service))
}

fn candidates(
    snapshot: &Snapshot,
    tenant: &TenantName,
    namespace: &str,
    service: &str,
    port_name: &str,
) -> Vec<Backend> {
    let mut found = Vec::new();
    for slice in slices(snapshot, tenant, namespace, service).filter_map(|slice| slice.to_value().ok()) {
        let ports = slice["ports"].as_array().into_iter().flatten();
        let mut ports = ports.filter(|port| port["name"].as_str().unwrap_or_default() == port_name);
        let number = ports.find_map(|port| port["port"].as_u64()).and_then(|port| u16::try_from(port).ok());
        let Some(number) = number else { continue };
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false);
        let room = CANDIDATES_MAX - found.len();
        found.extend(ready.filter_map(|endpoint| reached(snapshot, tenant, namespace, endpoint, number)).take(room));
    }
    found
}

fn reached(snapshot: &Snapshot, tenant: &TenantName, namespace: &str, endpoint: &Value, port: u16) -> Option<Backend> {
    let target = &endpoint["targetRef"];
    if target["kind"] == "Pod" {
        let pod = target["name"].as_str()?;
        let key = ObjectKey::new(ResourceId::new("", "pods"), Space::Tenant(tenant.clone()), namespace, pod).ok()?;
        let node = snapshot.get(&key)?.field("spec.nodeName").to_owned();
        return (!node.is_empty()).then(|| Backend::Pod { node, pod: pod.to_owned(), port });
    }
    let address: IpAddr = endpoint["addresses"][0].as_str()?.parse().ok()?;
    Some(Backend::Address(SocketAddr::new(address, port)))
}
