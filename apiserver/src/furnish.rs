//! What every tenant has from its first moment, as objects of its own: the system's priority classes, the range of its
//! services' addresses, in namespace `default` the service `kubernetes` with where the API is served, and in `kube-system` what
//! servers of aggregated APIs believe.
//!
//! They are written in the transaction that creates the tenant or the namespace. At the start of a server those that are
//! missing are made, and where the API is served is set right.

use crate::allocation;
use crate::registry::class_of;
use crate::server::Server;
use api::{Error, Object, ObjectKey, ResourceId, Result, Space, TenantName, Timestamp};
use serde_json::{Value, json};
use std::net::SocketAddr;
use store::{Change, Expect, Scope, Snapshot, Write};

/// The namespace that the service `kubernetes` is in, and the service's name.
const NAMESPACE: &str = "default";
const SERVICE: &str = "kubernetes";
const HTTPS_PORT: u16 = 443;

/// Where servers of aggregated APIs read whom to believe.
const SYSTEM_NAMESPACE: &str = "kube-system";
const AUTHENTICATION: &str = "extension-apiserver-authentication";

/// How many writes of a start share a transaction.
const WRITES_AT_ONCE: usize = 64;

/// Objects of a new tenant.
pub fn of_tenant(tenant: &TenantName, now: Timestamp) -> Result<Vec<Write>> {
    let classes = kinds::SYSTEM_PRIORITIES.iter().map(|(name, value, description)| {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name, "generation": 1},
            "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority"});
        ("scheduling.k8s.io", "priorityclasses", class)
    });
    let ready = json!({"type": "Ready", "status": "True", "reason": "", "lastTransitionTime": now.to_string(),
        "message": "Kubernetes default Service CIDR is ready"});
    let range = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": SERVICE},
        "spec": {"cidrs": [allocation::DEFAULT_RANGE]}, "status": {"conditions": [ready]}});
    let all = classes.chain([("networking.k8s.io", "servicecidrs", range)]);
    all.map(|(group, plural, object)| put(tenant, group, plural, object, now)).collect()
}

/// Objects of a tenant's namespace, which only `default` and `kube-system` have.
pub fn of_namespace(server: &Server, tenant: &TenantName, name: &str, now: Timestamp) -> Result<Vec<Write>> {
    let advertise = server.advertise;
    if name == SYSTEM_NAMESPACE {
        return Ok(vec![put(tenant, "", "configmaps", front_proxy(server), now)?]);
    }
    if name != NAMESPACE {
        return Ok(Vec::new());
    }
    let port = advertise.map_or(HTTPS_PORT, |address| address.port());
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let ports = json!([{"name": "https", "protocol": "TCP", "port": HTTPS_PORT, "targetPort": port}]);
    let address = allocation::FIRST_ADDRESS;
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": labels},
        "spec": {"clusterIP": address, "clusterIPs": [address], "type": "ClusterIP", "ports": ports, "sessionAffinity": "None",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster"},
        "status": {"loadBalancer": {}}});
    let mut writes = vec![allocation::claim_in(tenant, address, &service, now)?];
    writes.push(put(tenant, "", "services", service, now)?);
    if let Some(advertise) = advertise {
        for (group, plural, object) in served_at(advertise) {
            writes.push(put(tenant, group, plural, object, now)?);
        }
    }
    Ok(writes)
}

/// How servers of aggregated APIs know this server, and who asks through it. The authority of clients' certificates is left
/// out: those are of all tenants, and no tenant's server shall take one of another for its own.
fn front_proxy(server: &Server) -> Value {
    let list = |text: &str| json!([text]).to_string();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": AUTHENTICATION, "namespace": SYSTEM_NAMESPACE}, "data": {
        "requestheader-allowed-names": list(policy::pki::FRONT_PROXY_CLIENT),
        "requestheader-client-ca-file": server.pki.front_proxy_ca_pem(),
        "requestheader-extra-headers-prefix": list("X-Remote-Extra-"),
        "requestheader-group-headers": list("X-Remote-Group"),
        "requestheader-uid-headers": list("X-Remote-Uid"),
        "requestheader-username-headers": list("X-Remote-User"),
    }})
}

/// Where the API is served, as the two kinds that say so.
fn served_at(address: SocketAddr) -> [(&'static str, &'static str, Value); 2] {
    let (ip, number) = (address.ip().to_string(), address.port());
    let port = json!({"name": "https", "port": number, "protocol": "TCP"});
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
        "metadata": {"name": SERVICE, "namespace": NAMESPACE, "generation": 1, "labels": {"kubernetes.io/service-name": SERVICE}},
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}], "ports": [port]});
    let labels = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": labels},
        "subsets": [{"addresses": [{"ip": ip}], "ports": [port]}]});
    [("discovery.k8s.io", "endpointslices", slice), ("", "endpoints", endpoints)]
}

/// A write that creates an object, with what the server gives every object.
fn put(tenant: &TenantName, group: &str, plural: &str, mut object: Value, now: Timestamp) -> Result<Write> {
    let metadata = &mut object["metadata"];
    metadata["tenant"] = json!(tenant.as_str());
    metadata["uid"] = json!(uuid::Uuid::new_v4().to_string());
    metadata["creationTimestamp"] = json!(now.to_string());
    let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text("namespace"), text("name"));
    let key = ObjectKey::new(ResourceId::new(group, plural), Space::Tenant(tenant.clone()), &namespace, &name)?;
    let object = Object::encode(key.clone(), &mut object, kinds::Registry::selectable(&key.resource))?;
    Ok(Write { class: class_of(&key), key, expect: Expect::Absent, change: Change::Put(object) })
}

/// Makes what is missing in any tenant, and sets right where the API is served.
pub async fn complete(server: &Server, now: Timestamp) -> Result<()> {
    let snapshot = server.store.snapshot();
    let mut writes = Vec::new();
    for tenant in snapshot.range(&Scope::Cluster(ResourceId::new("", "tenants")), None) {
        if tenant.header.deleting {
            continue;
        }
        let name = TenantName::new(&tenant.key.name)?;
        let space = Space::Tenant(name.clone());
        let mut wanted = of_tenant(&name, now)?;
        for of in [NAMESPACE, SYSTEM_NAMESPACE] {
            let namespace = ObjectKey::new(ResourceId::new("", "namespaces"), space.clone(), "", of)?;
            if snapshot.get(&namespace).is_some_and(|namespace| !namespace.header.deleting) {
                wanted.extend(of_namespace(server, &name, of, now)?);
            }
        }
        for write in wanted {
            writes.extend(mend(&snapshot, write)?);
        }
        if writes.len() >= WRITES_AT_ONCE {
            server.store.commit(std::mem::take(&mut writes)).await.map_err(Error::internal)?;
        }
    }
    if !writes.is_empty() {
        server.store.commit(writes).await.map_err(Error::internal)?;
    }
    Ok(())
}

/// What there is to do for an object: nothing, a create, or the new addresses of what says where the API is served.
fn mend(snapshot: &Snapshot, write: Write) -> Result<Option<Write>> {
    let Some(stored) = snapshot.get(&write.key) else { return Ok(Some(write)) };
    let part = match write.key.resource.resource() {
        "endpointslices" => "endpoints",
        "endpoints" => "subsets",
        "configmaps" => "data",
        _ => return Ok(None),
    };
    let Change::Put(object) = &write.change else { return Ok(None) };
    let (wanted, mut value) = (object.to_value()?, stored.to_value()?);
    if value[part] == wanted[part] && value["ports"] == wanted["ports"] {
        return Ok(None);
    }
    for field in [part, "ports", "addressType"] {
        if !wanted[field].is_null() {
            value[field] = wanted[field].clone();
        }
    }
    let object = Object::encode(write.key.clone(), &mut value, kinds::Registry::selectable(&write.key.resource))?;
    Ok(Some(Write { expect: Expect::Revision(stored.revision), change: Change::Put(object), ..write }))
}
