//! Faults that tests plant to see that the tests of threats catch them. None of this is in a product binary: the module
//! and each of its calls are compiled for the tests of this crate alone.

use crate::authn::Verified;
use crate::server::Server;
use api::{Error, Identity, Object, ObjectKey, Result, TenantName};
use http::HeaderMap;
use policy::rbac::Attributes;
use policy::tenancy::{Decision, Requested, decide};
use std::cell::Cell;
use std::sync::Arc;

/// What goes wrong. Each is a fault that some system of many tenants had, or could have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An object is looked up by namespace and name alone.
    LookupWithoutTenant,
    /// A watch covers all tenants.
    WatchWithoutTenant,
    /// A list covers all tenants.
    ListWithoutTenant,
    /// Who is of any tenant reaches every tenant, as it reaches its own.
    DecisionForEverybody,
    /// Who names no tenant and shows nothing is an operator.
    NobodyIsAnOperator,
    /// The headers of a front proxy are trusted from everybody.
    TrustedHeaders,
    /// The tenant in a token is passed over for the one in the path.
    TokenOfAnyTenant,
    /// The rules of one tenant are taken for those of all.
    RulesWithoutTenant,
    /// What is absent is said to be absent before it is asked whether the caller may know.
    RefusalTellsAbsence,
    /// A tenant's definitions are everyone's.
    DefinitionsWithoutTenant,
    /// A cache of encodings is keyed by the name of the object.
    EncodingsByName,
    /// A node's agent reads in every tenant what a pod of one tenant refers to.
    NodeWithoutTenant,
    /// A node is asked about the pod of that name of another tenant.
    StreamsWithoutTenant,
    /// A review tells of tokens of other tenants.
    ReviewOfAnyToken,
    /// An error names what else there is.
    ErrorNamesOthers,
    /// A watch goes on after the right to it was taken away.
    WatchOutlivesItsRight,
    /// The operators' paths are open to the administrators of tenants.
    MetricsForEverybody,
    /// Credentials are passed on to what is proxied to.
    CredentialsPassedOn,
}

pub const ALL: [Fault; 18] = [
    Fault::LookupWithoutTenant,
    Fault::WatchWithoutTenant,
    Fault::ListWithoutTenant,
    Fault::DecisionForEverybody,
    Fault::NobodyIsAnOperator,
    Fault::TrustedHeaders,
    Fault::TokenOfAnyTenant,
    Fault::RulesWithoutTenant,
    Fault::RefusalTellsAbsence,
    Fault::DefinitionsWithoutTenant,
    Fault::NodeWithoutTenant,
    Fault::StreamsWithoutTenant,
    Fault::ReviewOfAnyToken,
    Fault::ErrorNamesOthers,
    Fault::WatchOutlivesItsRight,
    Fault::MetricsForEverybody,
    Fault::CredentialsPassedOn,
    // What it leaves in the cache is wrong from then on.
    Fault::EncodingsByName,
];

thread_local! {
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Plants a fault in what this thread does, until the result is dropped.
#[must_use]
pub fn plant(fault: Fault) -> Planted {
    PLANTED.set(Some(fault));
    Planted
}

pub struct Planted;

impl Drop for Planted {
    fn drop(&mut self) {
        PLANTED.set(None);
    }
}

pub fn is(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// The tenant whose things come to others.
fn victim() -> TenantName {
    TenantName::new("umbrella").expect("a tenant")
}

pub fn lookup(server: &Server, key: &ObjectKey) -> Option<Arc<Object>> {
    let scope = store::Scope::AllTenants(key.resource.clone());
    let snapshot = is(Fault::LookupWithoutTenant).then(|| server.store.snapshot())?;
    let mut others = snapshot.range(&scope, None).filter(|other| other.key.tenant() != key.tenant());
    others.find(|other| (&other.key.namespace, &other.key.name) == (&key.namespace, &key.name)).cloned()
}

pub fn scope(fault: Fault, scope: store::Scope) -> store::Scope {
    match scope {
        store::Scope::Tenant(resource, _) | store::Scope::Namespace(resource, ..) if is(fault) => {
            store::Scope::AllTenants(resource)
        }
        scope => scope,
    }
}

pub fn decision(caller: &Identity, requested: &Requested, what: &Attributes) -> Option<Decision> {
    let Requested::Named(tenant) = requested else { return None };
    let other = Identity { tenant: tenant.clone(), ..caller.clone() };
    is(Fault::DecisionForEverybody).then(|| decide(&other, requested, what).ok())?
}

pub fn identity(headers: &HeaderMap, requested: &Requested, found: Identity) -> Identity {
    let masters = [policy::rbac::MASTERS];
    let named = if let Requested::Named(tenant) = requested { Some(tenant.clone()) } else { None };
    match named {
        _ if is(Fault::NobodyIsAnOperator) && found.user == policy::authn::ANONYMOUS => {
            Identity::new(TenantName::system(), "system:admin", &masters)
        }
        Some(tenant) if is(Fault::TrustedHeaders) && headers.contains_key("x-remote-user") => {
            Identity::new(tenant, "root", &masters)
        }
        Some(tenant) if is(Fault::TokenOfAnyTenant) && found.user.starts_with("system:serviceaccount:") => {
            Identity { tenant, ..found }
        }
        _ => found,
    }
}

pub fn rules_of(tenant: &TenantName) -> TenantName {
    if is(Fault::RulesWithoutTenant) && !tenant.is_system() { victim() } else { tenant.clone() }
}

pub fn definitions_of(tenant: &TenantName) -> TenantName {
    if is(Fault::DefinitionsWithoutTenant) { victim() } else { tenant.clone() }
}

/// Where an encoding is kept.
pub fn encoding_at(object: &Object, at: usize) -> usize {
    if !is(Fault::EncodingsByName) {
        return at;
    }
    format!("{}/{}/{}", object.key.resource, object.key.namespace, object.key.name)
        .bytes()
        .fold(7, |at: usize, byte| at.wrapping_mul(31).wrapping_add(byte.into()))
}

pub fn stream_of(tenant: &TenantName) -> TenantName {
    if is(Fault::StreamsWithoutTenant) { victim() } else { tenant.clone() }
}

pub fn not_found(server: &Server, kind: &api::Kind, error: Error) -> Error {
    if !is(Fault::ErrorNamesOthers) {
        return error;
    }
    let snapshot = server.store.snapshot();
    let others = snapshot.range(&store::Scope::AllTenants(kind.stored_as.clone()), None);
    let others: Vec<String> = others.map(|other| other.key.name.to_string()).collect();
    error.with_prefix(&format!("did you mean one of {}? ", others.join(", ")))
}

/// What is answered before it is asked whether the caller may know.
pub fn absence(
    server: &Server,
    tenant: Option<&TenantName>,
    kind: Option<&Arc<api::Kind>>,
    what: &Attributes,
) -> Result<()> {
    let (Some(tenant), Some(kind)) = (tenant, kind.filter(|_| is(Fault::RefusalTellsAbsence) && !what.name.is_empty()))
    else {
        return Ok(());
    };
    let space = api::Space::Tenant(tenant.clone());
    let key = ObjectKey::new(kind.stored_as.clone(), space, what.namespace, what.name)?;
    match server.store.snapshot().get(&key) {
        Some(_) => Ok(()),
        None => Err(Error::not_found(what.group, what.resource, what.name)),
    }
}

pub fn tells_of(verified: &Verified) -> bool {
    is(Fault::ReviewOfAnyToken) && !verified.identity.tenant.is_system()
}
