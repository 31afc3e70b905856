//! Nobody gives away more rights than they have: writes of roles and bindings.

use crate::authz;
use crate::registry::Call;
use api::{Error, ResourceId, Result};
use policy::rbac::{Attributes, GROUP, escalation};
use serde_json::Value;

/// Refuses a role or a binding that would grant what its writer does not hold, unless the writer may `escalate` that
/// role or `bind` to it. `old` is the stored object on an update.
pub fn validate(call: Call<'_>, new: &Value, old: Option<&Value>) -> Result<()> {
    if call.kind.group != GROUP {
        return Ok(());
    }
    let unchanged = |field: &str| old.is_some_and(|old| old[field] == new[field]);
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    match call.kind.plural.as_str() {
        "roles" | "clusterroles" if unchanged("rules") && unchanged("aggregationRule") => Ok(()),
        "roles" | "clusterroles" => {
            if may(call, "escalate", &call.kind.plural, call.namespace, name)? {
                return Ok(());
            }
            let rules = new["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
            held(call, name, rules)
        }
        "rolebindings" | "clusterrolebindings" if unchanged("subjects") && unchanged("roleRef") => Ok(()),
        "rolebindings" | "clusterrolebindings" => {
            let (plural, role) = match new["roleRef"]["kind"].as_str() {
                Some("ClusterRole") => ("clusterroles", new["roleRef"]["name"].as_str().unwrap_or_default()),
                _ => ("roles", new["roleRef"]["name"].as_str().unwrap_or_default()),
            };
            if may(call, "bind", plural, call.namespace, role)? {
                return Ok(());
            }
            held(call, name, &rules_of(call, plural, role)?)
        }
        _ => Ok(()),
    }
}

fn may(call: Call<'_>, verb: &str, plural: &str, namespace: &str, name: &str) -> Result<bool> {
    let what = Attributes {
        verb,
        tenant: call.target.tenant(),
        group: GROUP,
        version: "v1",
        resource: plural,
        namespace,
        name,
        ..Attributes::default()
    };
    match authz::authorize(call.server, call.identity, &what, call.target.decision()) {
        Ok(()) => Ok(true),
        Err(error) if error.reason() == api::Reason::Forbidden => Ok(false),
        Err(error) => Err(error),
    }
}

fn held(call: Call<'_>, name: &str, rules: &[Value]) -> Result<()> {
    let own = call.server.rules.of(call.server, &call.identity.tenant)?;
    let system = call.server.rules.of(call.server, &api::TenantName::system())?;
    let decision = call.target.decision();
    policy::authz::may_grant(call.identity, rules, call.namespace, decision, &own, &system)
        .map_err(|missing| Error::forbidden(GROUP, &call.kind.plural, name, &escalation(call.identity, &missing)))
}

/// The rules of the role that a binding names: stored in the tenant, or one of the defaults that every tenant has.
fn rules_of(call: Call<'_>, plural: &str, name: &str) -> Result<Vec<Value>> {
    let namespace = if plural == "roles" { call.namespace } else { "" };
    let key = call.target.key_of(ResourceId::new(GROUP, plural), namespace, name)?;
    let stored = call.server.store.snapshot().get(&key).map(|role| role.to_value()).transpose()?;
    let defaults = policy::rbac::default_roles();
    let listed = if plural == "roles" { defaults.roles } else { defaults.cluster_roles };
    let default = || {
        listed.into_iter().find(|role| {
            role["metadata"]["name"] == name && role["metadata"]["namespace"].as_str().unwrap_or_default() == namespace
        })
    };
    let role = stored.or_else(default).ok_or_else(|| Error::not_found(GROUP, plural, name))?;
    Ok(role["rules"].as_array().cloned().unwrap_or_default())
}
