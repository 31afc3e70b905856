//! Tenants and namespaces that come and go: nothing is created in what is not there or is being deleted.

use super::{Admitted, Attempt};
use crate::registry::Call;
use crate::{furnish, moves};
use api::{Cause, Error, Object, ObjectKey, ResourceId, Result, SYSTEM_TENANT, Scope, Space, TenantName};
use serde_json::Value;
use std::sync::LazyLock;
use store::{Change, Class, Expect, Revise, Write};

/// Namespaces that a tenant keeps as long as it lives.
const KEPT_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Nothing is created in a tenant that is not there or that is being deleted.
pub fn tenant_is_active(attempt: Attempt<'_>, _: &mut Value) -> Result<()> {
    let call = attempt.call;
    if attempt.old.is_some() {
        return Ok(());
    }
    let Some(tenant) = call.target.tenant().filter(|_| call.kind.scope != api::Scope::Cluster) else { return Ok(()) };
    match tenant_phase(attempt).as_deref() {
        Some("Terminating") => {
            let why = format!("unable to create new content in tenant {tenant} because it is being terminated");
            Err(Error::forbidden(&call.kind.group, &call.kind.plural, "", &why))
        }
        Some(_) => Ok(()),
        None => Err(Error::not_found("", "tenants", tenant.as_str())),
    }
}

/// What a commit is refused with when what it creates something in has begun to go meanwhile.
const GOING: &str = "what this is created in is being deleted";

/// Looks again in the writer's turn: what came to be deleted after admission takes nothing in.
static STAYS: LazyLock<Revise> = LazyLock::new(|| {
    Revise::new(|place: &Object| if place.header.deleting { Err(GOING.to_owned()) } else { Ok(None) })
});

/// The part of a create that sees to it that its namespace, or without one its tenant, is still there. It writes nothing.
pub fn guard(call: Call<'_>, class: Class) -> Result<Option<Write>> {
    let key = match (call.kind.scope, call.target.tenant()) {
        (Scope::Cluster, _) | (_, None) => return Ok(None),
        (Scope::Namespaced, Some(tenant)) => {
            let space = Space::Tenant(tenant.clone());
            ObjectKey::new(ResourceId::new("", "namespaces"), space, "", call.namespace)?
        }
        (Scope::Tenant, Some(tenant)) => {
            ObjectKey::new(ResourceId::new("", "tenants"), Space::Cluster, "", tenant.as_str())?
        }
    };
    Ok(Some(Write { key, expect: Expect::Present, change: Change::Revise(STAYS.clone()), class }))
}

/// Whether a refused commit was refused by [`guard`].
pub fn is_gone(error: &store::CommitError) -> bool {
    match error {
        store::CommitError::Absent => true,
        store::CommitError::Refused(why) => why == GOING,
        _ => false,
    }
}

/// `None` for a tenant that does not exist.
fn tenant_phase(attempt: Attempt<'_>) -> Option<String> {
    let tenant = attempt.call.server.tenant(attempt.call.target.tenant()?)?;
    Some(if tenant.header.deleting { "Terminating".into() } else { tenant.field("status.phase").to_owned() })
}

/// Nothing is created in a namespace that is not there or that is being deleted.
pub fn namespace_is_active(attempt: Attempt<'_>, new: &mut Value) -> Result<()> {
    let call = attempt.call;
    if attempt.old.is_some() || !call.kind.namespaced() {
        return Ok(());
    }
    let Some(namespace) = attempt.stored(ResourceId::new("", "namespaces"), "", call.namespace) else {
        return Err(Error::not_found("", "namespaces", call.namespace));
    };
    if !namespace.header.deleting {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {} because it is being terminated", call.namespace);
    let cause = Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {} is being terminated", call.namespace),
        field: "metadata.namespace".into(),
    };
    Err(attempt.forbidden(new, &why).with_causes(vec![cause]))
}

/// A tenant is placed where there is a storage cluster.
pub fn storage_cluster_is_there(attempt: Attempt<'_>, new: &Value, _: &mut Admitted) -> Result<()> {
    let id = &new["spec"]["storageClusterId"];
    let is_placed = attempt.creates("", "tenants")
        || attempt.updates("", "tenants") && attempt.old.is_some_and(|old| old["spec"]["storageClusterId"] != *id);
    let missing = is_placed.then(|| attempt.call.server.not_attached(id.as_str().unwrap_or_default())).flatten();
    missing.map_or(Ok(()), |why| Err(attempt.forbidden(new, &why)))
}

/// A storage cluster stays as long as it keeps a tenant.
pub fn keep_storage_clusters(attempt: Attempt<'_>, old: &Value) -> Result<()> {
    if !attempt.is("", "storageclusters") {
        return Ok(());
    }
    let snapshot = attempt.call.server.store.snapshot();
    let tenants = store::Scope::Cluster(ResourceId::new("", "tenants"));
    let id = old["storageClusterId"].as_str().unwrap_or_default();
    let keeps = |tenant: &Object| {
        let fields = [moves::WANTED, moves::PLACED, moves::FROM, moves::TO];
        fields.iter().any(|field| tenant.field(field) == id)
    };
    let kept = snapshot.range(&tenants, None).find(|tenant| keeps(tenant));
    match kept {
        Some(tenant) => Err(attempt.forbidden(old, &format!("it keeps tenant {}", tenant.key.name))),
        None => Ok(()),
    }
}

/// The operators' own tenant stays.
pub fn keep_tenants(attempt: Attempt<'_>, old: &Value) -> Result<()> {
    if attempt.is("", "tenants") && old["metadata"]["name"] == SYSTEM_TENANT {
        return Err(attempt.forbidden(old, "this tenant may not be deleted"));
    }
    Ok(())
}

/// The first namespaces of a tenant stay as long as the tenant.
pub fn keep_namespaces(attempt: Attempt<'_>, old: &Value) -> Result<()> {
    let kept = || old["metadata"]["name"].as_str().is_some_and(|name| KEPT_NAMESPACES.contains(&name));
    if attempt.is("", "namespaces") && kept() && !tenant_ends(attempt) {
        return Err(attempt.forbidden(old, "this namespace may not be deleted"));
    }
    Ok(())
}

/// Whether the request's tenant is being deleted, and with it what it keeps otherwise.
pub fn tenant_ends(attempt: Attempt<'_>) -> bool {
    tenant_phase(attempt).as_deref() == Some("Terminating")
}

/// What every tenant, and every tenant's first namespace, holds is made with it.
pub fn furnish(attempt: Attempt<'_>, new: &Value, admitted: &mut Admitted) -> Result<()> {
    let call = attempt.call;
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    if attempt.creates("", "tenants") {
        admitted.writes.extend(furnish::of_tenant(&TenantName::new(name)?, call.now)?);
    } else if attempt.creates("", "namespaces")
        && let Some(tenant) = call.target.tenant()
    {
        admitted.writes.extend(furnish::of_namespace(call.server, tenant, name, call.now)?);
    }
    Ok(())
}
