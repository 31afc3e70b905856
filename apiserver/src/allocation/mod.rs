//! Addresses and ports of services: per tenant, each held by one service at most.
//!
//! Invariant: who holds what is stored, as an `IPAddress` or as a port's own object, and written in the transaction that
//! stores or removes the service. So two services never hold the same, a crash loses nothing, and a search begins at a
//! random place and looks up keys: it costs the same whether a tenant has ten services or ten thousand.

mod pool;

use crate::registry::{Call, class_of};
use api::{Error, Object, ObjectKey, ResourceId, Result, Space, TenantName, Timestamp};
use kinds::services::{Held, Refused, assign as assign_to, held};
use pool::Pool;
use serde_json::{Value, json};
use store::{Change, Expect, Snapshot, Write};

pub use pool::{DEFAULT_RANGE, FIRST_ADDRESS};

/// The holders of ports of nodes. They are no resource of the API: their names are the ports.
const PORTS: &str = "servicenodeports";
const NETWORKING: &str = "networking.k8s.io";
const ADDRESSES: &str = "ipaddresses";

/// Whether objects of the request's kind hold anything.
pub fn applies(call: Call<'_>) -> bool {
    call.kind.group.is_empty() && call.kind.plural == "services"
}

/// Gives a service what it lacks and claims what it asks for. `old` is the stored one on an update. The writes are to be
/// committed with the service; without them, as in a dry run, nothing is taken.
pub fn assign(call: Call<'_>, new: &mut Value, old: Option<&Value>) -> Result<Vec<Write>> {
    if !applies(call) {
        return Ok(Vec::new());
    }
    let before = old.map(held).unwrap_or_default();
    let snapshot = call.server.store.snapshot();
    let mut pool = Pool::of(call, &snapshot)?;
    assign_to(new, &before, &mut pool).map_err(|refused| match refused {
        Refused::Invalid(cause) => {
            Error::invalid("", "Service", new["metadata"]["name"].as_str().unwrap_or_default(), vec![cause])
        }
        Refused::Exhausted(why) => {
            Error::new(api::Reason::InternalError, format!("Internal error occurred: {why}")).with_source(why)
        }
    })?;
    let after = held(new);
    let mut writes = Vec::new();
    for address in after.addresses.iter().filter(|address| !before.addresses.contains(address)) {
        writes.push(claim_address(address_key(call, address)?, new, call.now)?);
    }
    for port in after.ports.difference(&before.ports) {
        let object = json!({"apiVersion": "v1", "kind": "ServiceNodePort", "metadata": {}});
        writes.push(claim(port_key(call, *port)?, object, new, call.now)?);
    }
    let gone = Held {
        addresses: before.addresses.into_iter().filter(|address| !after.addresses.contains(address)).collect(),
        ports: before.ports.difference(&after.ports).copied().collect(),
    };
    writes.extend(free(call, &snapshot, &gone, new)?);
    Ok(writes)
}

/// Gives back all that a service holds, together with its removal.
pub fn release(call: Call<'_>, service: &Value) -> Result<Vec<Write>> {
    if !applies(call) {
        return Ok(Vec::new());
    }
    free(call, &call.server.store.snapshot(), &held(service), service)
}

fn free(call: Call<'_>, snapshot: &Snapshot, gone: &Held, service: &Value) -> Result<Vec<Write>> {
    let mut keys = Vec::new();
    for address in &gone.addresses {
        keys.push(address_key(call, address)?);
    }
    for port in &gone.ports {
        keys.push(port_key(call, *port)?);
    }
    let mut writes = Vec::new();
    for key in keys {
        // Somebody else's is left alone.
        let Some(holder) = snapshot.get(&key) else { continue };
        let parent = &holder.to_value()?["spec"]["parentRef"];
        if parent["name"] == service["metadata"]["name"] && parent["namespace"] == service["metadata"]["namespace"] {
            let (class, expect) = (class_of(&key), Expect::Revision(holder.revision));
            writes.push(Write { class, key, expect, change: Change::Delete });
        }
    }
    Ok(writes)
}

fn address_key(call: Call<'_>, address: &str) -> Result<ObjectKey> {
    call.target.key_of(ResourceId::new(NETWORKING, ADDRESSES), "", address)
}

fn port_key(call: Call<'_>, port: u16) -> Result<ObjectKey> {
    call.target.key_of(ResourceId::new("", PORTS), "", &port.to_string())
}

/// Claims an address for a service of a tenant that is just made.
pub fn claim_in(tenant: &TenantName, address: &str, service: &Value, now: Timestamp) -> Result<Write> {
    let resource = ResourceId::new(NETWORKING, ADDRESSES);
    claim_address(ObjectKey::new(resource, Space::Tenant(tenant.clone()), "", address)?, service, now)
}

fn claim_address(key: ObjectKey, service: &Value, now: Timestamp) -> Result<Write> {
    let address = &*key.name;
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let labels = json!({"ipaddress.kubernetes.io/ip-family": family, "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"labels": labels}});
    claim(key, object, service, now)
}

fn claim(key: ObjectKey, mut object: Value, service: &Value, now: Timestamp) -> Result<Write> {
    let metadata = &mut object["metadata"];
    metadata["name"] = json!(&*key.name);
    if let Space::Tenant(tenant) = &key.space {
        metadata["tenant"] = json!(tenant.as_str());
    }
    metadata["uid"] = json!(uuid::Uuid::new_v4().to_string());
    metadata["creationTimestamp"] = json!(now.to_string());
    metadata["generation"] = json!(1);
    let [name, namespace] = ["name", "namespace"].map(|field| service["metadata"][field].clone());
    object["spec"] = json!({"parentRef": {"resource": "services", "name": name, "namespace": namespace}});
    let object = Object::encode(key.clone(), &mut object, kinds::Registry::selectable(&key.resource))?;
    Ok(Write { class: class_of(&key), key, expect: Expect::Absent, change: Change::Put(object) })
}
