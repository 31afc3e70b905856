//! Objects that every tenant has from the start and that are the same in all: default roles and bindings, flow schemas
//! and priority levels, and the APIServices of what is built in. A tenant shows them without storing them, until it changes one.
//! So it does with the APIServices of the versions that it defines, which every tenant has by its definitions.
//!
//! And what operators lend: classes of `system` with a label, and definitions of custom resources with Arktos' label, which
//! no tenant may change. Changes of what is lent reach a tenant's next read, not its open watches.
//!
//! Invariant: what a tenant stores hides the shared object of that name. Only reads of one tenant show shared objects;
//! a tenant that is being deleted has none.

use crate::aggregation;
use crate::registry::Call;
use crate::server::Server;
use api::{Object, ObjectKey, ResourceId, Space, TenantName};
use kinds::Registry;
use policy::fairness::Flows;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use store::Snapshot;

/// The version of an object that was never written.
const REVISION: api::Revision = 1;

/// Namespace, empty for kinds without, and name.
type Name = (String, String);

/// Every shared object, without what is a tenant's own.
static SHARED: LazyLock<HashMap<ResourceId, BTreeMap<Name, Value>>> = LazyLock::new(|| {
    let mut shared: HashMap<ResourceId, BTreeMap<Name, Value>> = HashMap::new();
    for (group, plural, objects) in lists() {
        let named = objects.into_iter().map(|object| {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            ((text("namespace"), text("name")), object)
        });
        shared.insert(ResourceId::new(group, plural), named.collect());
    }
    shared
});

/// The default objects: group, plural, and the objects without tenant, uid and times.
pub fn lists() -> [(&'static str, &'static str, Vec<Value>); 7] {
    let roles = policy::rbac::default_roles();
    let flows = policy::fairness::default_flows();
    [
        (policy::rbac::GROUP, "clusterroles", roles.cluster_roles),
        (policy::rbac::GROUP, "clusterrolebindings", roles.cluster_role_bindings),
        (policy::rbac::GROUP, "roles", roles.roles),
        (policy::rbac::GROUP, "rolebindings", roles.role_bindings),
        (policy::fairness::GROUP, "flowschemas", flows.flow_schemas),
        (policy::fairness::GROUP, "prioritylevelconfigurations", flows.priority_levels),
        (aggregation::RESOURCE.0, aggregation::RESOURCE.1, kinds::local_api_services()),
    ]
}

/// The shared object under a key, whether or not the tenant stores one of its own.
pub fn object(server: &Server, key: &ObjectKey) -> Option<Arc<Object>> {
    let Some(shared) = SHARED.get(&key.resource) else { return lent_object(server, key) };
    let tenant = key.tenant()?;
    match shared.get(&(key.namespace.to_string(), key.name.to_string())) {
        Some(value) => made(value, key, &Owner::of(server, tenant)?),
        None => defined(server, tenant, &key.resource).into_iter().find(|object| object.key == *key),
    }
}

/// APIServices of what a tenant defines.
fn defined(server: &Server, tenant: &TenantName, resource: &ResourceId) -> Vec<Arc<Object>> {
    if (resource.group(), resource.resource()) != aggregation::RESOURCE {
        return Vec::new();
    }
    let Some((listing, owner)) =
        server.catalogue.listing(server, tenant).ok().flatten().zip(Owner::any(server, tenant))
    else {
        return Vec::new();
    };
    let versions = listing.groups.iter().flat_map(|(group, versions)| versions.iter().map(move |(v, _)| (group, v)));
    let services = versions.filter_map(|(group, version)| {
        let name = format!("{version}.{group}");
        let key = ObjectKey::new(resource.clone(), Space::Tenant(tenant.clone()), "", &name).ok()?;
        made(&kinds::defined_api_service(group, version), &key, &owner)
    });
    services.collect()
}

/// An operator's word that a class of `system` shows in every tenant.
const LENT: &str = "tenant.ursa.dev/shared";
const CLASSES: [(&str, &str); 5] = [
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattributesclasses"),
    ("scheduling.k8s.io", "priorityclasses"),
    ("node.k8s.io", "runtimeclasses"),
    ("networking.k8s.io", "ingressclasses"),
];

/// Arktos' word that a definition of `system` is every tenant's.
const FORCED: &str = "arktos.futurewei.com/crd-sharing-policy";

fn can_be_lent(resource: &ResourceId) -> bool {
    is_definition(resource) || CLASSES.contains(&(resource.group(), resource.resource()))
}

fn is_definition(resource: &ResourceId) -> bool {
    (resource.group(), resource.resource()) == (kinds::custom::GROUP, kinds::custom::PLURAL)
}

/// Whether an object of `system` shows in every tenant.
fn is_lent(object: &Object) -> bool {
    let (label, value) = if is_definition(&object.key.resource) { (FORCED, "forced") } else { (LENT, "true") };
    object.header.label(label) == Some(value)
}

/// The operators' own object behind one that a tenant is lent.
fn lender(snapshot: &Snapshot, resource: &ResourceId, tenant: &TenantName, name: &str) -> Option<Arc<Object>> {
    if tenant.is_system() || !can_be_lent(resource) {
        return None;
    }
    let key = ObjectKey::new(resource.clone(), Space::Tenant(TenantName::system()), "", name).ok()?;
    snapshot.get(&key).filter(|object| is_lent(object)).cloned()
}

/// A definition of `system` that is forced on every tenant.
pub fn forced_definition(snapshot: &Snapshot, tenant: &TenantName, name: &str) -> Option<Arc<Object>> {
    lender(snapshot, &ResourceId::new(kinds::custom::GROUP, kinds::custom::PLURAL), tenant, name)
}

/// All definitions that are forced on a tenant.
pub fn forced_definitions(snapshot: &Snapshot, tenant: &TenantName) -> Vec<Arc<Object>> {
    lent(snapshot, &ResourceId::new(kinds::custom::GROUP, kinds::custom::PLURAL), tenant)
}

fn lent(snapshot: &Snapshot, resource: &ResourceId, tenant: &TenantName) -> Vec<Arc<Object>> {
    if tenant.is_system() || !can_be_lent(resource) {
        return Vec::new();
    }
    let scope = store::Scope::Tenant(resource.clone(), TenantName::system());
    snapshot.range(&scope, None).filter(|object| is_lent(object)).cloned().collect()
}

fn lent_object(server: &Server, key: &ObjectKey) -> Option<Arc<Object>> {
    let tenant = key.tenant()?;
    let object = lender(&server.store.snapshot(), &key.resource, tenant, &key.name)?;
    Owner::of(server, tenant)?;
    shown_to(&object, key)
}

/// What is lent, as the tenant's own that it looks like.
fn shown_to(object: &Object, key: &ObjectKey) -> Option<Arc<Object>> {
    let mut value = object.to_value().ok()?;
    value["metadata"]["tenant"] = json!(key.tenant()?.as_str());
    let shown = Object::encode(key.clone(), &mut value, Registry::selectable(&key.resource)).ok()?;
    Some(Arc::new(shown.at_revision(object.revision)))
}

/// What is lent to a tenant of a resource, without what the tenant has of the same names.
pub fn lent_to(server: &Server, snapshot: &Snapshot, resource: &ResourceId, tenant: &TenantName) -> Vec<Arc<Object>> {
    let objects = lent(snapshot, resource, tenant);
    if objects.is_empty() || Owner::of(server, tenant).is_none() {
        return Vec::new();
    }
    let shown = objects.iter().filter_map(|object| {
        let key = ObjectKey::new(resource.clone(), Space::Tenant(tenant.clone()), "", &object.key.name).ok()?;
        if snapshot.get(&key).is_some() { None } else { shown_to(object, &key) }
    });
    shown.collect()
}

/// Why a tenant cannot take away what it shows without having it.
pub fn cannot_be_deleted(call: Call<'_>, name: &str) -> String {
    if is_definition(&call.kind.stored_as) {
        return format!("{name} is a system CRD, it can only be deleted by a cluster admin.");
    }
    if can_be_lent(&call.kind.stored_as) {
        return "it is lent by the operators; it can only be deleted by them".to_owned();
    }
    "it is the same in all tenants; change it instead".to_owned()
}

/// The shared objects that a list covers and the tenant does not store, in the order of their names.
pub fn objects(call: Call<'_>, snapshot: &Snapshot) -> Vec<Arc<Object>> {
    let resource = &call.kind.stored_as;
    let Some(tenant) = call.target.tenant() else { return Vec::new() };
    let Some(shared) = SHARED.get(resource) else { return lent_to(call.server, snapshot, resource, tenant) };
    let mut defined = defined(call.server, tenant, resource);
    defined.retain(|object| snapshot.get(&object.key).is_none());
    let Some(owner) = Owner::of(call.server, tenant) else { return defined };
    let covered = shared.iter().filter(|((namespace, _), _)| call.namespace.is_empty() || namespace == call.namespace);
    let made = covered.filter_map(|((namespace, name), value)| {
        let key = ObjectKey::new(resource.clone(), Space::Tenant(tenant.clone()), namespace, name).ok()?;
        snapshot.get(&key).is_none().then(|| made(value, &key, &owner)).flatten()
    });
    made.chain(defined).collect()
}

/// Puts shared objects in order among stored ones.
pub fn merge(stored: &mut Vec<Arc<Object>>, shared: Vec<Arc<Object>>) {
    stored.extend(shared);
    stored.sort_by(|a, b| (&a.key.namespace, &a.key.name).cmp(&(&b.key.namespace, &b.key.name)));
}

/// Adds the shared objects that a tenant's own do not replace.
pub fn complete(resource: &ResourceId, own: &mut Vec<Value>) {
    let Some(shared) = SHARED.get(resource) else { return };
    let missing = shared.iter().filter(|((_, name), _)| !own.iter().any(|o| o["metadata"]["name"] == name.as_str()));
    let missing: Vec<Value> = missing.map(|((_, name), value)| with_uid(value, resource, name)).collect();
    own.extend(missing);
}

/// The flows of a tenant that has no schemas and levels of its own.
pub fn flows() -> Arc<Flows> {
    static FLOWS: LazyLock<Arc<Flows>> = LazyLock::new(|| {
        let of = |plural: &str| {
            let (resource, mut values) = (ResourceId::new(policy::fairness::GROUP, plural), Vec::new());
            complete(&resource, &mut values);
            values
        };
        Arc::new(Flows::compile(&of("flowschemas"), &of("prioritylevelconfigurations")))
    });
    FLOWS.clone()
}

/// Whose objects they are, as far as it shows in them.
struct Owner {
    tenant: TenantName,
    uid: String,
    created: String,
}

impl Owner {
    /// `None` for `system`, which stores its objects, and for a tenant that is not there or that goes.
    fn of(server: &Server, tenant: &TenantName) -> Option<Owner> {
        if tenant.is_system() { None } else { Owner::any(server, tenant) }
    }

    /// [`Owner::of`], and `system`.
    fn any(server: &Server, tenant: &TenantName) -> Option<Owner> {
        let object = server.tenant(tenant).filter(|object| !object.header.deleting)?;
        let created = object.field("metadata.creationTimestamp").to_owned();
        Some(Owner { tenant: tenant.clone(), uid: object.header.uid().to_string(), created })
    }
}

fn made(value: &Value, key: &ObjectKey, owner: &Owner) -> Option<Arc<Object>> {
    let mut value = with_uid(value, &key.resource, &key.name);
    if key.resource.group() == policy::rbac::GROUP {
        value["metadata"]["uid"] = json!(uid(&[&owner.uid, &key.resource.to_string(), &key.namespace, &key.name]));
    }
    value["metadata"]["tenant"] = json!(owner.tenant.as_str());
    value["metadata"]["creationTimestamp"] = json!(owner.created);
    let object = Object::encode(key.clone(), &mut value, Registry::selectable(&key.resource)).ok()?;
    Some(Arc::new(object.at_revision(REVISION)))
}

/// The headers of answers name schemas and levels by uids: they are the same in all tenants.
fn with_uid(value: &Value, resource: &ResourceId, name: &str) -> Value {
    let mut value = value.clone();
    value["metadata"]["uid"] = json!(uid(&[&resource.to_string(), name]));
    value
}

fn uid(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}
