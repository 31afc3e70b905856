//! The tenant that a request works in, and through it the only way to a key or a scope of the store (D3).
//!
//! Invariant: a `Target` is made of a [`Decision`], which [`policy::tenancy::decide`] alone makes from an authenticated
//! identity. There is no key to a tenant's objects without one, and none for another tenant than it names.

use api::{Error, Kind, ObjectKey, Result, Scope as KindScope, Space, TenantName};
use policy::tenancy::Decision;

/// The tenant that a request works in, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Decision);

impl Target {
    pub fn new(decision: Decision) -> Target {
        Target(decision)
    }

    pub fn decision(&self) -> &Decision {
        &self.0
    }

    /// `None` when the request works over all tenants.
    pub fn tenant(&self) -> Option<&TenantName> {
        self.0.tenant()
    }

    /// The space of a kind's objects. Objects of all tenants have no one space: 400.
    pub fn space(&self, kind: &Kind) -> Result<Space> {
        match (kind.scope, self.tenant()) {
            (KindScope::Cluster, _) => Ok(Space::Cluster),
            (KindScope::Tenant | KindScope::Namespaced, Some(tenant)) => Ok(Space::Tenant(tenant.clone())),
            (KindScope::Tenant | KindScope::Namespaced, None) => {
                Err(Error::bad_request("this request needs one tenant, not all of them"))
            }
        }
    }

    /// The key of one object.
    pub fn key(&self, kind: &Kind, namespace: &str, name: &str) -> Result<ObjectKey> {
        ObjectKey::new(kind.stored_as.clone(), self.space(kind)?, namespace, name)
    }

    /// The key of an object that a request refers to without naming it: its namespace, a service account.
    pub fn key_of(&self, resource: api::ResourceId, namespace: &str, name: &str) -> Result<ObjectKey> {
        let tenant = self.tenant().cloned().ok_or_else(|| Error::bad_request("this request needs one tenant"))?;
        ObjectKey::new(resource, Space::Tenant(tenant), namespace, name)
    }

    /// What a list or a watch covers; an empty namespace stands for all of them.
    pub fn scope(&self, kind: &Kind, namespace: &str) -> Result<store::Scope> {
        let resource = kind.stored_as.clone();
        Ok(match (kind.scope, self.tenant()) {
            (KindScope::Cluster, _) => store::Scope::Cluster(resource),
            (_, Some(tenant)) if namespace.is_empty() => store::Scope::Tenant(resource, tenant.clone()),
            (_, Some(tenant)) => store::Scope::Namespace(resource, tenant.clone(), namespace.into()),
            (_, None) if namespace.is_empty() => store::Scope::AllTenants(resource),
            (_, None) => return Err(Error::bad_request("one namespace over all tenants cannot be listed")),
        })
    }
}
