//! Built-in admission: what every write passes before it is stored, as a table of plugins in upstream's order.
//!
//! Every plugin is a function over a snapshot of the tenant; none waits but the tenant's own webhooks. First all of them may
//! complete the object, then all of them may refuse it. What must happen together with the write, as the charge of a quota,
//! comes back as writes of the same transaction.

mod attempt;
mod certificates;
mod classes;
mod lifecycle;
mod limit_ranger;
mod matching;
mod partitions;
mod pod_security;
mod pods;
mod policies;
mod quota;
mod rbac;
mod runtime_class;
mod storage;
mod subject;
mod tenant_quota;
mod webhooks;

pub use attempt::Attempt;
pub use lifecycle::{guard, is_gone};
pub use policies::PolicyCache;
pub use tenant_quota::{charge, use_of};
pub use webhooks::WebhookCache;

use crate::registry::{Call, Part};
use api::{Error, Result};
use attempt::Operation;
use policy::rbac::Attributes;
use serde_json::Value;
use store::Write;
use subject::Subject;

/// What the tenant's webhooks made of an object.
#[derive(Default)]
pub struct Mutated {
    /// For the client.
    pub warnings: Vec<String>,
    pub is_changed: bool,
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
    /// What the tenant's own webhooks do here.
    webhooks: Option<webhooks::Phase>,
}

const NOTHING: Plugin = Plugin { name: "", mutate: None, validate: None, delete: None, webhooks: None };

/// Those that Kubernetes 1.36 runs by default, in its order, with `EventRateLimit`, and Ursa's own: `TenantExists`,
/// `StorageClusters`, `DataPartitionConfigs`, `ForcedDefinitions`, `DedicatedNodes`, `RBAC`, `Furnish` and `TenantQuota`.
static PLUGINS: &[Plugin] = &[
    Plugin {
        name: "TenantExists",
        mutate: Some(lifecycle::tenant_is_active),
        delete: Some(lifecycle::keep_tenants),
        ..NOTHING
    },
    Plugin {
        name: "StorageClusters",
        validate: Some(lifecycle::storage_cluster_is_there),
        delete: Some(lifecycle::keep_storage_clusters),
        ..NOTHING
    },
    Plugin {
        name: "DataPartitionConfigs",
        validate: Some(partitions::validate),
        delete: Some(partitions::keep_ranges),
        ..NOTHING
    },
    Plugin {
        name: "NamespaceLifecycle",
        mutate: Some(lifecycle::namespace_is_active),
        delete: Some(lifecycle::keep_namespaces),
        ..NOTHING
    },
    Plugin { name: "ForcedDefinitions", mutate: Some(forced_definition), ..NOTHING },
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
    Plugin { name: "DedicatedNodes", validate: Some(pods::dedicated_node), ..NOTHING },
    Plugin { name: "TaintNodesByCondition", mutate: Some(taint_node), ..NOTHING },
    Plugin { name: "PodSecurity", validate: Some(pod_security::validate), ..NOTHING },
    Plugin {
        name: "Priority",
        mutate: Some(pods::priority),
        validate: Some(pods::one_default_priority),
        delete: Some(pods::keep_system_priorities),
        ..NOTHING
    },
    Plugin { name: "DefaultTolerationSeconds", mutate: Some(pods::tolerations), ..NOTHING },
    Plugin { name: "EventRateLimit", validate: Some(event_rate), ..NOTHING },
    Plugin { name: "DefaultStorageClass", mutate: Some(storage::default_class), ..NOTHING },
    Plugin { name: "StorageObjectInUseProtection", mutate: Some(storage::protect), ..NOTHING },
    Plugin { name: "PersistentVolumeClaimResize", validate: Some(storage::resize), ..NOTHING },
    Plugin { name: "RuntimeClass", mutate: Some(pods::runtime_class), ..NOTHING },
    Plugin { name: "CertificateSigningRequests", mutate: Some(requester), validate: Some(certificate), ..NOTHING },
    Plugin { name: "DefaultIngressClass", mutate: Some(classes::default_ingress_class), ..NOTHING },
    Plugin { name: "MutatingAdmissionPolicy", mutate: Some(policies::mutate), ..NOTHING },
    Plugin { name: "MutatingAdmissionWebhook", webhooks: Some(webhooks::Phase::Mutating), ..NOTHING },
    Plugin { name: "RBAC", validate: Some(roles), ..NOTHING },
    Plugin {
        name: "ValidatingAdmissionPolicy",
        validate: Some(policies::validate),
        delete: Some(policies::validate_delete),
        ..NOTHING
    },
    Plugin { name: "ValidatingAdmissionWebhook", webhooks: Some(webhooks::Phase::Validating), ..NOTHING },
    Plugin { name: "Furnish", validate: Some(lifecycle::furnish), ..NOTHING },
    Plugin {
        name: "TenantQuota",
        mutate: Some(tenant_quota::count),
        validate: Some(tenant_quota::validate),
        ..NOTHING
    },
    Plugin { name: "ResourceQuota", validate: Some(quota::validate), ..NOTHING },
];

/// Completes an object: the plugins, where the object itself is written, and the tenant's webhooks.
pub async fn mutate(attempt: Attempt<'_>, new: &mut Value) -> Result<Mutated> {
    complete(attempt, new)?;
    match webhooks::of_attempt(attempt)? {
        Some(webhooks) if !webhooks.mutating.is_empty() => Box::pin(webhooks::mutate(attempt, &webhooks, new)).await,
        _ => Ok(Mutated::default()),
    }
}

fn complete(attempt: Attempt<'_>, new: &mut Value) -> Result<()> {
    if !matches!(attempt.part, Part::Object | Part::Scale) {
        return Ok(());
    }
    PLUGINS
        .iter()
        .filter_map(|plugin| Some((plugin, plugin.mutate?)))
        .try_for_each(|(plugin, mutate)| mutate(attempt, new).inspect_err(|error| told(plugin, error)))
}

/// What admission says, by now, of a create whose namespace or tenant went away before it was stored.
pub fn place_is_there(attempt: Attempt<'_>, name: &str) -> Result<()> {
    let mut new = serde_json::json!({"metadata": {"name": name}});
    lifecycle::tenant_is_active(attempt, &mut new)?;
    lifecycle::namespace_is_active(attempt, &mut new)
}

/// Refuses what no write of a part may do. `new` is `None` for a delete.
pub async fn validate(attempt: Attempt<'_>, new: Option<&Value>) -> Result<Admitted> {
    let mut admitted = Admitted::default();
    for plugin in PLUGINS {
        let verdict = match (new, attempt.old) {
            _ if plugin.webhooks.is_some() => called(attempt, plugin, new, &mut admitted).await,
            (Some(new), _) => plugin.validate.map_or(Ok(()), |validate| validate(attempt, new, &mut admitted)),
            (None, Some(old)) => plugin.delete.map_or(Ok(()), |delete| delete(attempt, old)),
            (None, None) => Ok(()),
        };
        verdict.inspect_err(|error| told(plugin, error))?;
    }
    Ok(admitted)
}

/// Asks the tenant's own policies and webhooks about what is sent to a subresource and not stored. Answers with warnings.
pub async fn ask(attempt: Attempt<'_>, sent: &Value) -> Result<Vec<String>> {
    let mut admitted = Admitted::default();
    policies::validate(attempt, sent, &mut admitted)?;
    for plugin in PLUGINS.iter().filter(|plugin| plugin.webhooks.is_some()) {
        called(attempt, plugin, Some(sent), &mut admitted).await.inspect_err(|error| told(plugin, error))?;
    }
    Ok(admitted.warnings)
}

/// Calls the tenant's webhooks that have a say at a plugin's place, if there are any.
async fn called(attempt: Attempt<'_>, plugin: &Plugin, new: Option<&Value>, admitted: &mut Admitted) -> Result<()> {
    let Some(webhooks) = webhooks::of_attempt(attempt)? else { return Ok(()) };
    let is_sent = matches!(attempt.part, Part::Own(_)) && attempt.operation != Operation::Update;
    let asked = match plugin.webhooks {
        Some(webhooks::Phase::Validating) => &webhooks.validating,
        // What is stored they have seen before.
        Some(webhooks::Phase::Mutating) if new.is_none() || is_sent => &webhooks.mutating,
        _ => return Ok(()),
    };
    if asked.is_empty() {
        return Ok(());
    }
    admitted.warnings.extend(Box::pin(webhooks::validate(attempt, asked, new)).await?);
    Ok(())
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

/// A definition that operators force on every tenant is nobody else's to make or to change.
fn forced_definition(attempt: Attempt<'_>, new: &mut Value) -> Result<()> {
    let (call, name) = (attempt.call, new["metadata"]["name"].as_str().unwrap_or_default());
    if !attempt.is(kinds::custom::GROUP, kinds::custom::PLURAL) {
        return Ok(());
    }
    let Some(tenant) = call.target.tenant() else { return Ok(()) };
    if crate::shared::forced_definition(&call.server.store.snapshot(), tenant, name).is_none() {
        return Ok(());
    }
    Err(if attempt.old.is_none() {
        attempt.forbidden(new, "There is already a system forced CRD with the name")
    } else {
        attempt.forbidden(new, &format!("{name} is a system CRD, you cannot overwrite it."))
    })
}

/// What goes wrong again and again is told so often and no more.
fn event_rate(attempt: Attempt<'_>, _: &Value, _: &mut Admitted) -> Result<()> {
    let call = attempt.call;
    match call.target.tenant().filter(|_| attempt.old.is_none() && call.kind.stored_as.resource() == "events") {
        Some(tenant) if call.kind.stored_as.group().is_empty() => call.server.fairness.event(tenant),
        Some(_) | None => Ok(()),
    }
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
            "StorageClusters",
            "DataPartitionConfigs",
            "NamespaceLifecycle",
            "ForcedDefinitions",
            "LimitRanger",
            "ServiceAccount",
            "NodeRestriction",
            "DedicatedNodes",
            "TaintNodesByCondition",
            "PodSecurity",
            "Priority",
            "DefaultTolerationSeconds",
            "EventRateLimit",
            "DefaultStorageClass",
            "StorageObjectInUseProtection",
            "PersistentVolumeClaimResize",
            "RuntimeClass",
            "CertificateSigningRequests",
            "DefaultIngressClass",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionWebhook",
            "RBAC",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionWebhook",
            "Furnish",
            "TenantQuota",
            "ResourceQuota",
        ];
        assert_eq!(names, expected);
    }
}
