//! Nobody gives away more rights than they have: writes of roles and bindings.

use crate::registry::Call;
use api::{Error, ResourceId, Result};
use policy::rbac::{Attributes, GROUP, NotHeld, Rule, TenantRules, escalation};
use serde_json::{Value, json};
use std::sync::Arc;

/// Fields of the metadata whose change gives nobody a right: the garbage collector's, and bookkeeping.
const HARMLESS: [&str; 4] = ["ownerReferences", "finalizers", "managedFields", "resourceVersion"];

/// Refuses a role or a binding that would grant what its writer does not hold, unless the writer may `escalate` that
/// role or `bind` to it. `old` is the stored object on an update.
///
/// As upstream, a change of labels alone is looked at too: a label may add a role's rules to an aggregated one.
pub fn validate(call: Call<'_>, new: &Value, old: Option<&Value>) -> Result<()> {
    if call.kind.group != GROUP || old.is_some_and(|old| gives_nothing(new, old)) {
        return Ok(());
    }
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    match call.kind.plural.as_str() {
        "roles" | "clusterroles" => {
            if may(call, "escalate", &call.kind.plural, call.namespace, name)? {
                return Ok(());
            }
            held(call, &written_rules(new))?.map_err(|refused| more_than_held(call, name, &refused))?;
            if is_aggregated(new) || old.is_some_and(is_aggregated) {
                let why = "must have cluster-admin privileges to use the aggregationRule";
                held(call, &everything())?.map_err(|_| Error::forbidden(GROUP, &call.kind.plural, name, why))?;
            }
            Ok(())
        }
        "rolebindings" | "clusterrolebindings" => {
            let role = new["roleRef"]["name"].as_str().unwrap_or_default();
            let plural = if new["roleRef"]["kind"] == "ClusterRole" { "clusterroles" } else { "roles" };
            if may(call, "bind", plural, call.namespace, role)? {
                return Ok(());
            }
            held(call, &rules_of(call, plural, role)?)?.map_err(|refused| more_than_held(call, name, &refused))
        }
        _ => Ok(()),
    }
}

/// Whether an update changes nothing but harmless metadata.
fn gives_nothing(new: &Value, old: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.retain(|field, _| !HARMLESS.contains(&field.as_str()));
        }
        object
    };
    rest(new) == rest(old)
}

fn is_aggregated(role: &Value) -> bool {
    role["aggregationRule"].is_object()
}

fn written_rules(role: &Value) -> Vec<Arc<Rule>> {
    role["rules"].as_array().into_iter().flatten().map(|rule| Arc::new(Rule::from_value(rule))).collect()
}

/// An aggregation can gather anything, and keep roles from being tightened: who writes one needs all rights.
fn everything() -> Vec<Arc<Rule>> {
    let rules = json!({"rules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
        {"verbs": ["*"], "nonResourceURLs": ["*"]},
    ]});
    written_rules(&rules)
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
    super::permits(call, &what)
}

/// Whether the writer holds these rules where the object is.
fn held(call: Call<'_>, rules: &[Arc<Rule>]) -> Result<std::result::Result<(), NotHeld>> {
    let own = call.server.rules.of(call.server, &call.identity.tenant)?;
    let system = call.server.rules.of(call.server, &api::TenantName::system())?;
    let decision = call.target.decision();
    Ok(policy::authz::may_grant(call.identity, rules, call.namespace, decision, &own, &system))
}

fn more_than_held(call: Call<'_>, name: &str, refused: &NotHeld) -> Error {
    Error::forbidden(GROUP, &call.kind.plural, name, &escalation(call.identity, refused))
}

/// What the role that a binding names gives: a role stored in the tenant, or one of the defaults that every tenant has.
/// Of an aggregated role these are the rules that it gathers, as they are when its bindings are used.
fn rules_of(call: Call<'_>, plural: &str, name: &str) -> Result<Vec<Arc<Rule>>> {
    let namespace = if plural == "roles" { call.namespace } else { "" };
    let resource = ResourceId::new(GROUP, plural);
    let key = call.target.key_of(resource.clone(), namespace, name)?;
    let snapshot = call.server.store.snapshot();
    let stored = snapshot.get(&key).map(|role| role.to_value()).transpose()?;
    let defaults = policy::rbac::default_roles();
    let listed = if plural == "roles" { defaults.roles } else { defaults.cluster_roles };
    let default = || {
        listed.into_iter().find(|role| {
            role["metadata"]["name"] == name && role["metadata"]["namespace"].as_str().unwrap_or_default() == namespace
        })
    };
    let role = stored.or_else(default).ok_or_else(|| Error::not_found(GROUP, plural, name))?;
    match call.target.tenant() {
        Some(tenant) if plural == "clusterroles" && is_aggregated(&role) => {
            let all = snapshot.range(&store::Scope::Tenant(resource, tenant.clone()), None);
            let all = all.map(|role| role.to_value()).collect::<Result<Vec<Value>>>()?;
            let rules = TenantRules::of_cluster_role(&all, name);
            Ok(rules.ok_or_else(|| Error::not_found(GROUP, plural, name))?.to_vec())
        }
        _ => Ok(written_rules(&role)),
    }
}
