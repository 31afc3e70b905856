//! Built-in admission: what every write passes before it is stored. Pure checks over a snapshot of the tenant.

mod certificates;
mod pod_security;
mod rbac;
mod runtime_class;

use crate::registry::{Call, Part};
use api::{Cause, Error, Object, ResourceId, Result, SYSTEM_TENANT, Space};
use policy::rbac::Attributes;
use serde_json::Value;
use std::sync::Arc;

/// Namespaces that a tenant keeps as long as it lives.
const KEPT_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Completes an object: what upstream's mutating plugins add to pods. `old` is the stored object on an update.
pub fn mutate(call: Call<'_>, new: &mut Value, old: Option<&Value>) -> Result<()> {
    if old.is_none() {
        tenant_is_active(call)?;
        namespace_is_active(call, new)?;
        if is(call, certificates::GROUP, certificates::PLURAL) {
            kinds::admission::requested_by(new, call.identity);
        }
        if is(call, "", "nodes") {
            kinds::admission::node_not_ready_taint(new);
        }
        if is(call, "", "pods") {
            service_account(call, new)?;
            kinds::admission::pod_priority(new, priority_class(call, new)?.as_ref())?;
            kinds::admission::pod_default_tolerations(new);
            let class = new["spec"]["runtimeClassName"].as_str().unwrap_or_default().to_owned();
            let class = stored(call, ResourceId::new("node.k8s.io", "runtimeclasses"), "", &class);
            runtime_class::apply(new, class.map(|class| class.to_value()).transpose()?.as_ref())?;
        }
    }
    Ok(())
}

/// Refuses what no write of a part may do. `new` is `None` for a delete, `old` for a create.
pub fn validate(call: Call<'_>, part: Part, new: Option<&Value>, old: Option<&Value>) -> Result<()> {
    if let Some(new) = new {
        node(call, new, old)?;
        certificates::validate(call, part, new, old)?;
        pod_security(call, new, old)?;
        return rbac::validate(call, new, old);
    }
    let name = old.and_then(|old| old["metadata"]["name"].as_str()).unwrap_or_default();
    if is(call, "", "tenants") && name == SYSTEM_TENANT {
        return Err(Error::forbidden("", "tenants", name, "this tenant may not be deleted"));
    }
    if is(call, "", "namespaces")
        && KEPT_NAMESPACES.contains(&name)
        && tenant_phase(call).as_deref() != Some("Terminating")
    {
        return Err(Error::forbidden("", "namespaces", name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// A tenant's pods keep the baseline, unless the operators lifted it for the tenant. What runs already is left alone.
fn pod_security(call: Call<'_>, new: &Value, old: Option<&Value>) -> Result<()> {
    let Some(tenant) = call.target.tenant().filter(|tenant| !tenant.is_system() && is(call, "", "pods")) else {
        return Ok(());
    };
    let level = call.server.tenant(tenant).and_then(|t| t.header.labels.get(pod_security::ENFORCE_LABEL).cloned());
    if level.as_deref() == Some("privileged") || old.is_some_and(|old| old["spec"] == new["spec"]) {
        return Ok(());
    }
    let found = pod_security::violations(new);
    if found.is_empty() {
        return Ok(());
    }
    let why = format!("violates PodSecurity \"baseline:latest\": {}", found.join(", "));
    Err(Error::forbidden("", "pods", new["metadata"]["name"].as_str().unwrap_or_default(), &why))
}

/// What a node's agent may write.
fn node(call: Call<'_>, new: &Value, old: Option<&Value>) -> Result<()> {
    let what = Attributes {
        verb: if old.is_some() { "update" } else { "create" },
        tenant: call.target.tenant(),
        group: &call.kind.group,
        version: &call.kind.version,
        resource: &call.kind.plural,
        namespace: call.namespace,
        cluster_scoped: call.kind.scope == api::Scope::Cluster,
        ..Attributes::default()
    };
    crate::authz::admit_node(call.server, call.identity, &what, new, old)
}

/// Whether the caller may do this besides what the request is for.
fn permits(call: Call<'_>, what: &Attributes<'_>) -> Result<bool> {
    match crate::authz::authorize(call.server, call.identity, what, call.target.decision()) {
        Ok(()) => Ok(true),
        Err(error) if error.reason() == api::Reason::Forbidden => Ok(false),
        Err(error) => Err(error),
    }
}

fn is(call: Call<'_>, group: &str, plural: &str) -> bool {
    call.kind.group == group && call.kind.plural == plural
}

/// Nothing is created in a tenant that is not there or that is being deleted.
fn tenant_is_active(call: Call<'_>) -> Result<()> {
    let Some(tenant) = call.target.tenant().filter(|_| call.kind.scope != api::Scope::Cluster) else { return Ok(()) };
    match tenant_phase(call).as_deref() {
        Some("Terminating") => {
            let why = format!("unable to create new content in tenant {tenant} because it is being terminated");
            Err(Error::forbidden(&call.kind.group, &call.kind.plural, "", &why))
        }
        Some(_) => Ok(()),
        None => Err(Error::not_found("", "tenants", tenant.as_str())),
    }
}

/// `None` for a tenant that does not exist.
fn tenant_phase(call: Call<'_>) -> Option<String> {
    let tenant = call.server.tenant(call.target.tenant()?)?;
    Some(if tenant.header.deleting { "Terminating".into() } else { tenant.field("status.phase").to_owned() })
}

/// Nothing is created in a namespace that is not there or that is being deleted.
fn namespace_is_active(call: Call<'_>, new: &Value) -> Result<()> {
    if !call.kind.namespaced() {
        return Ok(());
    }
    let key = call.target.key_of(ResourceId::new("", "namespaces"), "", call.namespace)?;
    let Some(namespace) = call.server.store.snapshot().get(&key).cloned() else {
        return Err(Error::not_found("", "namespaces", call.namespace));
    };
    if namespace.header.deleting {
        let name = new["metadata"]["name"].as_str().unwrap_or_default();
        let why =
            format!("unable to create new content in namespace {} because it is being terminated", call.namespace);
        let cause = Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {} is being terminated", call.namespace),
            field: "metadata.namespace".into(),
        };
        return Err(Error::forbidden(&call.kind.group, &call.kind.plural, name, &why).with_causes(vec![cause]));
    }
    Ok(())
}

fn stored(call: Call<'_>, resource: ResourceId, namespace: &str, name: &str) -> Option<Arc<Object>> {
    let key = call.target.key_of(resource, namespace, name).ok()?;
    call.server.store.snapshot().get(&key).cloned()
}

/// A pod runs as a service account of its namespace, `default` unless it says otherwise, and gets its token.
fn service_account(call: Call<'_>, pod: &mut Value) -> Result<()> {
    let mirror = pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string();
    if mirror {
        return Ok(());
    }
    let named =
        pod["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty()).unwrap_or("default").to_owned();
    let Some(account) = stored(call, ResourceId::new("", "serviceaccounts"), call.namespace, &named) else {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let why = format!(
            "error looking up service account {}/{named}: serviceaccount \"{named}\" not found",
            call.namespace
        );
        return Err(Error::forbidden("", "pods", name, &why));
    };
    kinds::admission::pod_service_account(pod, &account.to_value()?, &crate::random_suffix());
    Ok(())
}

/// The priority class that a pod names, or the tenant's default one.
fn priority_class(call: Call<'_>, pod: &Value) -> Result<Option<Value>> {
    let resource = ResourceId::new("scheduling.k8s.io", "priorityclasses");
    let named = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    if !named.is_empty() {
        let found = stored(call, resource, "", named);
        let missing = || {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            Error::forbidden("", "pods", name, &format!("no PriorityClass with name {named} was found"))
        };
        return found.map(|class| class.to_value()).transpose()?.map(Some).ok_or_else(missing);
    }
    let Space::Tenant(tenant) = call.target.space(call.kind)? else { return Ok(None) };
    let snapshot = call.server.store.snapshot();
    let classes = snapshot.range(&store::Scope::Tenant(resource, tenant), None).map(|class| class.to_value());
    let defaults = classes.collect::<Result<Vec<_>>>()?.into_iter().filter(|class| class["globalDefault"] == true);
    Ok(defaults.max_by_key(|class| class["value"].as_i64()))
}
