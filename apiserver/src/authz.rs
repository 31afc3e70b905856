//! Whether an identity may do what it asks for: the rules of its tenant, the grants in `system`, and the node agents.

use crate::server::Server;
use api::{Error, Identity, ObjectKey, ResourceId, Result, Space, TenantName};
use dashmap::DashMap;
use policy::node::{NodeGraph, Reference};
use policy::rbac::{Attributes, TenantRules};
use policy::tenancy::Decision;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
const RBAC_PLURALS: [&str; 4] = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"];

/// Authorizes a request, or answers 403.
pub fn authorize(server: &Server, identity: &Identity, what: &Attributes, decision: &Decision) -> Result<()> {
    let system = server.rules.of(server, &TenantName::system())?;
    if policy::node::is_node(identity) {
        return policy::authz::authorize_node(identity, what, decision, &StoredPods(server), &system);
    }
    let own = server.rules.of(server, &identity.tenant)?;
    policy::authorize(identity, what, decision, &own, &system)
}

/// What a node's agent writes is checked again as an object: only its own Node, Lease and tokens of its own pods.
pub fn admit_node(
    server: &Server,
    identity: &Identity,
    what: &Attributes,
    new: &Value,
    old: Option<&Value>,
) -> Result<()> {
    let Some(node) = policy::node::node_name(identity) else { return Ok(()) };
    policy::node::admits(node, what, new, old, &StoredPods(server)).map_err(|why| {
        Error::forbidden(what.group, what.resource, new["metadata"]["name"].as_str().unwrap_or_default(), &why)
    })
}

/// Why a request is allowed, as the reason of an access review says it; `None` when it is not.
pub fn review(server: &Server, identity: &Identity, what: &Attributes, decision: &Decision) -> Result<Value> {
    let own = server.rules.of(server, &identity.tenant)?;
    let system = server.rules.of(server, &TenantName::system())?;
    if policy::node::is_node(identity) && authorize(server, identity, what, decision).is_ok() {
        return Ok(serde_json::json!({"allowed": true}));
    }
    let grounds = policy::authz::grounds(identity, what, decision, &own, &system);
    let mut status = policy::review::status(grounds.as_ref());
    if grounds.is_none() && decision.tenant() == Some(&identity.tenant) {
        let why = own.evaluation_error(identity, what);
        if !why.is_empty() {
            status["reason"] = serde_json::json!(why);
        }
    }
    Ok(status)
}

/// Tenants that are gone are looked for once the cache holds so many more than when they were last forgotten.
const FORGET_AFTER: usize = 64;

/// The compiled rules of each tenant, compiled again when its roles or bindings have changed.
///
/// Invariant: it holds at most twice as many tenants as there were when gone ones were last forgotten, and a few.
#[derive(Default)]
pub struct RuleCache {
    compiled: DashMap<TenantName, Compiled>,
    /// How many tenants were left when those that are gone were last forgotten.
    kept: AtomicUsize,
}

struct Compiled {
    /// The last change of any role or binding of any tenant, when `print` was taken.
    checked: [u64; 4],
    /// How many roles and bindings this tenant has, and their newest revision.
    print: [(usize, u64); 4],
    rules: Arc<TenantRules>,
}

impl RuleCache {
    /// The rules of a tenant as of now.
    pub fn of(&self, server: &Server, tenant: &TenantName) -> Result<Arc<TenantRules>> {
        #[cfg(test)]
        let tenant = &crate::planted::rules_of(tenant);
        let resources = RBAC_PLURALS.map(|plural| ResourceId::new(RBAC_GROUP, plural));
        let checked = resources.each_ref().map(|resource| server.store.resource_revision(resource));
        if let Some(found) = self.compiled.get(tenant).filter(|found| found.checked == checked) {
            return Ok(found.rules.clone());
        }
        let snapshot = server.store.snapshot();
        let objects = resources.map(|resource| {
            snapshot.range(&store::Scope::Tenant(resource, tenant.clone()), None).cloned().collect::<Vec<_>>()
        });
        let print = objects.each_ref().map(|list| (list.len(), list.iter().map(|o| o.revision).max().unwrap_or(0)));
        if let Some(mut found) = self.compiled.get_mut(tenant).filter(|found| found.print == print) {
            found.checked = checked;
            return Ok(found.rules.clone());
        }
        let mut values = Vec::with_capacity(4);
        for list in &objects {
            values.push(list.iter().map(|object| object.to_value()).collect::<Result<Vec<Value>>>()?);
        }
        let [roles, cluster_roles, bindings, cluster_bindings] = &values[..] else {
            return Err(Error::internal("there are four kinds of rules"));
        };
        let rules = Arc::new(TenantRules::compile(roles, cluster_roles, bindings, cluster_bindings));
        // Of a tenant that is not there, nothing is kept.
        if server.tenant(tenant).is_some() {
            let entry = Compiled { checked, print, rules: rules.clone() };
            let before = self.compiled.insert(tenant.clone(), entry);
            if rules.are_incomplete() && !before.is_some_and(|before| before.rules.are_incomplete()) {
                tracing::warn!(%tenant, "its aggregated roles select too much together: some hold less than they should");
            }
            self.forget_gone(|tenant| server.tenant(tenant).is_some());
        }
        Ok(rules)
    }

    /// Forgets tenants that are gone, at a cost that is small for each tenant that came since the last time.
    fn forget_gone(&self, is_there: impl Fn(&TenantName) -> bool) {
        let kept = self.kept.load(Ordering::Relaxed);
        if self.compiled.len() > kept.saturating_mul(2).saturating_add(FORGET_AFTER) {
            self.compiled.retain(|tenant, _| is_there(tenant));
            self.kept.store(self.compiled.len(), Ordering::Relaxed);
        }
    }
}

/// Answers the node authorizer from the stored pods.
struct StoredPods<'a>(&'a Server);

impl StoredPods<'_> {
    fn any(&self, scope: &store::Scope, node: &str, test: impl Fn(&api::Object) -> bool) -> bool {
        let snapshot = self.0.store.snapshot();
        snapshot.range(scope, None).any(|pod| pod.field("spec.nodeName") == node && test(pod))
    }
}

impl NodeGraph for StoredPods<'_> {
    fn serves(&self, node: &str, tenant: &TenantName) -> bool {
        self.any(&store::Scope::Tenant(ResourceId::new("", "pods"), tenant.clone()), node, |_| true)
    }

    fn has_pod(&self, node: &str, tenant: &TenantName, namespace: &str, pod: &str) -> bool {
        let key = ObjectKey::new(ResourceId::new("", "pods"), Space::Tenant(tenant.clone()), namespace, pod);
        let snapshot = self.0.store.snapshot();
        key.is_ok_and(|key| snapshot.get(&key).is_some_and(|pod| pod.field("spec.nodeName") == node))
    }

    fn references(&self, node: &str, tenant: &TenantName, namespace: &str, kind: Reference, name: &str) -> bool {
        let resource = ResourceId::new("", "pods");
        let scope = if namespace.is_empty() {
            store::Scope::Tenant(resource, tenant.clone())
        } else {
            store::Scope::Namespace(resource, tenant.clone(), namespace.into())
        };
        #[cfg(test)]
        let scope = crate::planted::scope(crate::planted::Fault::NodeWithoutTenant, scope);
        self.any(&scope, node, |pod| pod.to_value().is_ok_and(|pod| policy::node::pod_references(&pod, kind, name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_tenants_that_are_gone_are_forgotten() {
        let cache = RuleCache::default();
        let rules = Arc::new(TenantRules::compile([], [], [], []));
        let lives = |tenant: &TenantName| tenant.as_str().starts_with("kept");
        let mut most = 0;
        for i in 0..2000 {
            let name = if i < 100 { format!("kept{i}") } else { format!("gone{i}") };
            let tenant = TenantName::new(&name).expect("a tenant");
            let compiled = Compiled { checked: [0; 4], print: [(0, 0); 4], rules: rules.clone() };
            cache.compiled.insert(tenant, compiled);
            cache.forget_gone(lives);
            most = most.max(cache.compiled.len());
        }
        assert!(most <= 2 * 100 + FORGET_AFTER + 1, "{most}");
        assert_eq!(cache.compiled.iter().filter(|entry| lives(entry.key())).count(), 100);
    }
}
