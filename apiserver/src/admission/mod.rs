//! Built-in admission: what every write passes before it is stored, as a table of plugins in upstream's order.
//!
//! Every plugin is a function over a snapshot of the tenant; none waits. First all of them may complete the object, then
//! all of them may refuse it. What must happen together with the write, as the charge of a quota, comes back as writes of
//! the same transaction.

mod certificates;
mod classes;
mod lifecycle;
mod limit_ranger;
mod pod_security;
mod pods;
mod policies;
mod quota;
mod rbac;
mod runtime_class;
mod storage;

pub use policies::PolicyCache;

use crate::registry::{Call, Part};
use api::{Error, Object, ResourceId, Result, Space};
use policy::rbac::Attributes;
use serde_json::Value;
use std::sync::Arc;
use store::Write;

/// A write on its way: what is written, by whom, and what is there.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    call: Call<'a>,
    part: Part,
    /// The stored object on an update or a delete.
    old: Option<&'a Value>,
}

impl Attempt<'_> {
    fn is(&self, group: &str, plural: &str) -> bool {
        self.call.kind.group == group && self.call.kind.plural == plural
    }

    /// Whether a new object of this kind is created.
    fn creates(&self, group: &str, plural: &str) -> bool {
        self.old.is_none() && self.is(group, plural)
    }

    /// Whether an object of this kind itself is updated, not its status or another subresource.
    fn updates(&self, group: &str, plural: &str) -> bool {
        self.old.is_some() && self.part == Part::Object && self.is(group, plural)
    }

    /// 403 of the object that is written.
    fn forbidden(&self, object: &Value, why: &str) -> Error {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        Error::forbidden(&self.call.kind.group, &self.call.kind.plural, name, why)
    }

    /// An object of the request's tenant.
    fn stored(&self, resource: ResourceId, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let key = self.call.target.key_of(resource, namespace, name).ok()?;
        self.call.server.store.snapshot().get(&key).cloned()
    }

    /// The objects of a resource in one namespace of the request's tenant; an empty one stands for those without.
    fn stored_in(&self, resource: ResourceId, namespace: &str) -> Result<Vec<Arc<Object>>> {
        let Space::Tenant(tenant) = self.call.target.space(self.call.kind)? else { return Ok(Vec::new()) };
        let scope = store::Scope::Namespace(resource, tenant, namespace.into());
        Ok(self.call.server.store.snapshot().range(&scope, None).cloned().collect())
    }
}

/// What admission has to say about a write that it lets pass.
#[derive(Default)]
pub struct Admitted {
    /// For the client.
    pub warnings: Vec<String>,
    /// What is to be committed with the write or not at all.
    pub writes: Vec<Write>,
}

type Mutate = fn(Attempt<'_>, &mut Value) -> Result<()>;
type Validate = fn(Attempt<'_>, &Value, &mut Admitted) -> Result<()>;
type Delete = fn(Attempt<'_>, &Value) -> Result<()>;

/// One plugin: what it adds to an object, what it refuses of an object, and what it refuses of a delete.
struct Plugin {
    name: &'static str,
    mutate: Option<Mutate>,
    validate: Option<Validate>,
    delete: Option<Delete>,
}

const NOTHING: Plugin = Plugin { name: "", mutate: None, validate: None, delete: None };

/// Those that Kubernetes 1.36 runs by default, in its order, and three of Ursa's own: `TenantExists`, `RBAC` and `Furnish`.
static PLUGINS: &[Plugin] = &[
    Plugin {
        name: "TenantExists",
        mutate: Some(lifecycle::tenant_is_active),
        delete: Some(lifecycle::keep_tenants),
        ..NOTHING
    },
    Plugin {
        name: "NamespaceLifecycle",
        mutate: Some(lifecycle::namespace_is_active),
        delete: Some(lifecycle::keep_namespaces),
        ..NOTHING
    },
    Plugin {
        name: "LimitRanger",
        mutate: Some(limit_ranger::mutate),
        validate: Some(limit_ranger::validate),
        ..NOTHING
    },
    Plugin {
        name: "ServiceAccount",
        mutate: Some(pods::service_account),
        validate: Some(pods::validate_service_account),
        ..NOTHING
    },
    Plugin { name: "NodeRestriction", validate: Some(node), ..NOTHING },
    Plugin { name: "TaintNodesByCondition", mutate: Some(taint_node), ..NOTHING },
    Plugin { name: "PodSecurity", validate: Some(pod_security::validate), ..NOTHING },
    Plugin {
        name: "Priority",
        mutate: Some(pods::priority),
        validate: Some(pods::one_default_priority),
        delete: Some(pods::keep_system_priorities),
    },
    Plugin { name: "DefaultTolerationSeconds", mutate: Some(pods::tolerations), ..NOTHING },
    Plugin { name: "DefaultStorageClass", mutate: Some(storage::default_class), ..NOTHING },
    Plugin { name: "StorageObjectInUseProtection", mutate: Some(storage::protect), ..NOTHING },
    Plugin { name: "PersistentVolumeClaimResize", validate: Some(storage::resize), ..NOTHING },
    Plugin { name: "RuntimeClass", mutate: Some(pods::runtime_class), ..NOTHING },
    Plugin { name: "CertificateSigningRequests", mutate: Some(requester), validate: Some(certificate), ..NOTHING },
    Plugin { name: "DefaultIngressClass", mutate: Some(classes::default_ingress_class), ..NOTHING },
    Plugin { name: "MutatingAdmissionPolicy", mutate: Some(policies::mutate), ..NOTHING },
    Plugin { name: "RBAC", validate: Some(roles), ..NOTHING },
    Plugin {
        name: "ValidatingAdmissionPolicy",
        validate: Some(policies::validate),
        delete: Some(policies::validate_delete),
        ..NOTHING
    },
    Plugin { name: "Furnish", validate: Some(lifecycle::furnish), ..NOTHING },
    Plugin { name: "ResourceQuota", validate: Some(quota::validate), ..NOTHING },
];

/// Completes an object. `old` is the stored object on an update.
pub fn mutate(call: Call<'_>, new: &mut Value, old: Option<&Value>) -> Result<()> {
    let attempt = Attempt { call, part: Part::Object, old };
    PLUGINS
        .iter()
        .filter_map(|plugin| Some((plugin, plugin.mutate?)))
        .try_for_each(|(plugin, mutate)| mutate(attempt, new).inspect_err(|error| told(plugin, error)))
}

/// Refuses what no write of a part may do. `new` is `None` for a delete, `old` for a create.
pub fn validate(call: Call<'_>, part: Part, new: Option<&Value>, old: Option<&Value>) -> Result<Admitted> {
    let attempt = Attempt { call, part, old };
    let mut admitted = Admitted::default();
    for plugin in PLUGINS {
        let verdict = match (new, old) {
            (Some(new), _) => plugin.validate.map_or(Ok(()), |validate| validate(attempt, new, &mut admitted)),
            (None, Some(old)) => plugin.delete.map_or(Ok(()), |delete| delete(attempt, old)),
            (None, None) => Ok(()),
        };
        verdict.inspect_err(|error| told(plugin, error))?;
    }
    Ok(admitted)
}

fn told(plugin: &Plugin, error: &Error) {
    tracing::debug!(plugin = plugin.name, %error, "refused");
}

/// What a node's agent may write.
fn node(attempt: Attempt<'_>, new: &Value, _: &mut Admitted) -> Result<()> {
    let call = attempt.call;
    let what = Attributes {
        verb: if attempt.old.is_some() { "update" } else { "create" },
        tenant: call.target.tenant(),
        group: &call.kind.group,
        version: &call.kind.version,
        resource: &call.kind.plural,
        namespace: call.namespace,
        cluster_scoped: call.kind.scope == api::Scope::Cluster,
        ..Attributes::default()
    };
    crate::authz::admit_node(call.server, call.identity, &what, new, attempt.old)
}

fn taint_node(attempt: Attempt<'_>, new: &mut Value) -> Result<()> {
    if attempt.creates("", "nodes") {
        kinds::admission::node_not_ready_taint(new);
    }
    Ok(())
}

fn requester(attempt: Attempt<'_>, new: &mut Value) -> Result<()> {
    if attempt.creates(certificates::GROUP, certificates::PLURAL) {
        kinds::admission::requested_by(new, attempt.call.identity);
    }
    Ok(())
}

fn certificate(attempt: Attempt<'_>, new: &Value, _: &mut Admitted) -> Result<()> {
    certificates::validate(attempt.call, attempt.part, new, attempt.old)
}

fn roles(attempt: Attempt<'_>, new: &Value, _: &mut Admitted) -> Result<()> {
    rbac::validate(attempt.call, new, attempt.old)
}

/// Whether the caller may do this besides what the request is for.
fn permits(call: Call<'_>, what: &Attributes<'_>) -> Result<bool> {
    match crate::authz::authorize(call.server, call.identity, what, call.target.decision()) {
        Ok(()) => Ok(true),
        Err(error) if error.reason() == api::Reason::Forbidden => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_run_in_the_order_of_kubernetes() {
        let names: Vec<&str> = PLUGINS.iter().map(|plugin| plugin.name).collect();
        let expected = [
            "TenantExists",
            "NamespaceLifecycle",
            "LimitRanger",
            "ServiceAccount",
            "NodeRestriction",
            "TaintNodesByCondition",
            "PodSecurity",
            "Priority",
            "DefaultTolerationSeconds",
            "DefaultStorageClass",
            "StorageObjectInUseProtection",
            "PersistentVolumeClaimResize",
            "RuntimeClass",
            "CertificateSigningRequests",
            "DefaultIngressClass",
            "MutatingAdmissionPolicy",
            "RBAC",
            "ValidatingAdmissionPolicy",
            "Furnish",
            "ResourceQuota",
        ];
        assert_eq!(names, expected);
    }
}
