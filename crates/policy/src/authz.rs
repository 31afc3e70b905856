//! Whether an identity may do what it asks for, in the tenant that was decided.
//!
//! In its own tenant an identity has the rights that this tenant's roles and bindings give it. Outside of it, in
//! another tenant, in all of them, or on the operators' kinds, only identities of `system` have any, and only those
//! that cluster role bindings of `system` give: a RoleBinding there speaks for one namespace of `system`, never for
//! the namespaces of that name in other tenants.

use crate::node::{self, NodeGraph};
use crate::rbac::{self, Attributes, Grounds, NotHeld, Rule, TenantRules};
use crate::tenancy::{Decision, Target};
use api::{Identity, Result};
use std::sync::Arc;

/// The user that the scheduler is.
const SCHEDULER: &str = "system:kube-scheduler";

/// Authorizes a request. `own_rules` are those of the identity's tenant, `system_rules` those of `system`.
pub fn authorize(
    identity: &Identity,
    what: &Attributes,
    target: &Decision,
    own_rules: &TenantRules,
    system_rules: &TenantRules,
) -> Result<()> {
    match grounds(identity, what, target, own_rules, system_rules) {
        Some(_) => Ok(()),
        None if reads_shares(identity, what) => Ok(()),
        None if reaches_out(identity, what, target) => Err(denied(identity, what, target)),
        None => Err(rbac::denial_because(identity, what, &own_rules.evaluation_error(identity, what))),
    }
}

/// Authorizes a request of the agent of `node`: what its pods need, or what cluster role bindings of `system` give.
pub fn authorize_node(
    identity: &Identity,
    what: &Attributes,
    target: &Decision,
    graph: &dyn NodeGraph,
    system_rules: &TenantRules,
) -> Result<()> {
    let Some(node) = node::node_name(identity) else {
        let why = format!("unknown node for user {:?}", identity.user);
        return Err(rbac::denial_because(identity, what, &why));
    };
    let Err(why) = node::node_allows(node, what, graph) else { return Ok(()) };
    match grounds(identity, what, target, system_rules, system_rules) {
        Some(_) => Ok(()),
        None if what.path.is_none() && (what.cluster_scoped || target.tenant() == Some(&identity.tenant)) => {
            Err(rbac::denial_because(identity, what, &why))
        }
        None => Err(denied(identity, what, target)),
    }
}

/// Why a request is allowed; `None` when it is not.
pub fn grounds<'a>(
    identity: &'a Identity,
    what: &Attributes,
    target: &Decision,
    own_rules: &'a TenantRules,
    system_rules: &'a TenantRules,
) -> Option<Grounds<'a>> {
    if !reaches_out(identity, what, target) {
        own_rules.allowing(identity, what)
    } else if identity.tenant.is_system() {
        system_rules.allowing_everywhere(identity, what)
    } else {
        None
    }
}

/// Whether an identity may write or bind a role with `rules` in a namespace of the target, or with an empty one in all.
/// The error holds what it lacks; [`rbac::escalation`] words it.
pub fn may_grant(
    identity: &Identity,
    rules: &[Arc<Rule>],
    namespace: &str,
    target: &Decision,
    own_rules: &TenantRules,
    system_rules: &TenantRules,
) -> Result<(), NotHeld> {
    if target.tenant() == Some(&identity.tenant) {
        return own_rules.covers(identity, rules, namespace);
    }
    if identity.tenant.is_system() {
        return system_rules.covers(identity, rules, "");
    }
    Err(NotHeld::Missing { rules: rules.iter().map(|rule| Rule::clone(rule)).collect(), more: false })
}

/// The scheduler reads what operators say of tenants' shares. Kubernetes has no tenants, and its roles say nothing of them.
fn reads_shares(identity: &Identity, what: &Attributes) -> bool {
    identity.tenant.is_system()
        && &*identity.user == SCHEDULER
        && (what.group, what.resource, what.subresource) == ("", "tenants", "")
        && matches!(what.verb, "get" | "list" | "watch")
}

/// Whether a tenant reads an operators' kind: the nodes that may run its pods and the drivers of its volumes, without what
/// they tell of others.
pub fn shows_to_tenants(group: &str, resource: &str) -> bool {
    matches!((group, resource), ("", "nodes") | ("storage.k8s.io", "csidrivers"))
}

/// Whether a tenant reads what it is shown of the operators' kinds: its own rules decide.
fn reads_shown(identity: &Identity, what: &Attributes) -> bool {
    !identity.tenant.is_system()
        && shows_to_tenants(what.group, what.resource)
        && what.subresource.is_empty()
        && matches!(what.verb, "get" | "list" | "watch")
}

/// Whether a request leaves the identity's own tenant. It compares the tenants themselves: a decision that was made
/// for another identity gives nothing.
fn reaches_out(identity: &Identity, what: &Attributes, target: &Decision) -> bool {
    (what.cluster_scoped && !reads_shown(identity, what)) || target.tenant() != Some(&identity.tenant)
}

fn denied(identity: &Identity, what: &Attributes, target: &Decision) -> api::Error {
    match target.target() {
        _ if what.cluster_scoped => rbac::denial(identity, what, None),
        Target::Tenant(tenant) => rbac::denial(identity, what, Some(tenant)),
        Target::All => rbac::denial_in_all_tenants(identity, what),
    }
}

#[cfg(test)]
mod tests;
