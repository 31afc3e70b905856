//! Role-based access control of one tenant, with the meaning it has in Kubernetes.
//!
//! Invariant: there are no denying rules; what no rule allows is refused.

mod aggregation;
mod bindings;
mod defaults;
mod escalation;
mod rule;
mod tenant_rules;

pub use bindings::Grounds;
pub use defaults::{DefaultRoles, default_roles};
pub use escalation::{NotHeld, escalation};
pub use rule::Rule;
pub use tenant_rules::TenantRules;

use api::selector::FieldSelector;
use api::{Error, Identity, Reason, TenantName};

/// The group that may do everything inside its own tenant, whatever the roles there say.
pub const MASTERS: &str = "system:masters";

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// What a request wants to do. Texts are empty where they do not apply.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    pub verb: &'a str,
    /// The target tenant. `None` for cluster-scoped kinds and for reads over all tenants.
    pub tenant: Option<&'a TenantName>,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    /// For a Namespace itself, its own name.
    pub namespace: &'a str,
    /// For a list or watch, the name that its field selector fixes.
    pub name: &'a str,
    /// Of a request that is not about a resource, e.g. `/version`.
    pub path: Option<&'a str>,
    /// The kind (tenants, nodes) or the path (`/metrics`) belongs to the operators.
    pub cluster_scoped: bool,
    /// Of a list or watch: nodes may read only what they select by their own name.
    pub fields: Option<&'a FieldSelector>,
}

/// Whether a path belongs to the operators, whatever roles a tenant has.
pub fn is_operators_path(path: &str) -> bool {
    matches!(path, "/metrics" | "/backup")
}

/// 403 as the API server words it. Where `tenant` is not the caller's own, the text names it.
pub fn denial(who: &Identity, what: &Attributes, tenant: Option<&TenantName>) -> Error {
    let foreign = tenant.filter(|&t| *t != who.tenant);
    let place = foreign.map(|t| format!(" in the tenant {:?}", t.as_str()));
    refusal(who, what, place.as_deref().unwrap_or_default(), "")
}

/// 403 of a request that would reach all tenants.
pub(crate) fn denial_in_all_tenants(who: &Identity, what: &Attributes) -> Error {
    refusal(who, what, " in all tenants", "")
}

/// 403 in the caller's own tenant, with a reason; an empty one says nothing.
pub(crate) fn denial_because(who: &Identity, what: &Attributes, why: &str) -> Error {
    refusal(who, what, "", &if why.is_empty() { String::new() } else { format!(": {why}") })
}

fn refusal(who: &Identity, what: &Attributes, tenant: &str, why: &str) -> Error {
    let Attributes { verb, group, resource, subresource, namespace, name, .. } = *what;
    let user = &who.user;
    if let Some(path) = what.path {
        let text = format!("forbidden: User {user:?} cannot {verb} path {path:?}{tenant}{why}");
        return Error::new(Reason::Forbidden, text).with_details();
    }
    let slash = if subresource.is_empty() { "" } else { "/" };
    let place = match (namespace, tenant) {
        ("", "") => " at the cluster scope".to_owned(),
        ("", _) => tenant.to_owned(),
        _ => format!(" in the namespace {namespace:?}{tenant}"),
    };
    let resource_text = format!("{resource}{slash}{subresource}");
    let text = format!("User {user:?} cannot {verb} resource {resource_text:?} in API group {group:?}{place}{why}");
    Error::forbidden(group, resource, name, &text)
}
