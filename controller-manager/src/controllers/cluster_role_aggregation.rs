//! Writes into each aggregated cluster role the rules of the roles that it selects.

use crate::context::{Account, Context};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Time, View, or_default};
use api::Result;
use api::selector::LabelSelector;
use client::{CLUSTER_ROLES, Cache, ListParams, ObjectRef, Resource, WorkQueue};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration = Declaration {
    name: "clusterrole-aggregation-controller",
    account: Account::Service("clusterrole-aggregation-controller"),
    make,
};

/// A cluster role with rules of some form. The cache holds marks of rules instead of rules: every tenant has dozens of
/// roles, and nearly all of them never change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClusterRole<R = RuleMark> {
    metadata: RoleMeta,
    aggregation_rule: Option<AggregationRule>,
    #[serde(deserialize_with = "or_default", bound(deserialize = "R: Deserialize<'de>"))]
    rules: Vec<R>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RoleMeta {
    name: String,
    resource_version: String,
    deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AggregationRule {
    #[serde(deserialize_with = "or_default")]
    cluster_role_selectors: Vec<Value>,
}

/// Tells whether two rules are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct RuleMark(u64);

impl<'de> Deserialize<'de> for RuleMark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RuleMark, D::Error> {
        let mut hasher = DefaultHasher::new();
        Value::deserialize(deserializer)?.to_string().hash(&mut hasher);
        Ok(RuleMark(hasher.finish()))
    }
}

impl View for ClusterRole {
    const RESOURCE: Resource = CLUSTER_ROLES;
}

struct Aggregation {
    context: Context,
    roles: Cache<ClusterRole>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<ClusterRole>();
    let roles = informer.cache();
    let (changed, known) = (queue.clone(), roles.clone());
    informer.on_change(move |change| {
        if change.new.as_ref().is_some_and(|role| role.aggregation_rule.is_some()) {
            changed.add(change.key.clone());
        }
        let Some(tenant) = &change.key.tenant else { return };
        let either: Vec<&Arc<ClusterRole>> = [&change.old, &change.new].into_iter().flatten().collect();
        for (key, role) in known.list_tenant(tenant).into_iter().filter(|(_, r)| r.aggregation_rule.is_some()) {
            let selectors = selectors(&role);
            if either.iter().any(|other| selectors.iter().any(|s| s.matches(&other.metadata.labels))) {
                changed.add(key);
            }
        }
    });
    Controller::new(queue, Arc::new(Aggregation { context: setup.context.clone(), roles }))
}

fn selectors<R>(role: &ClusterRole<R>) -> Vec<LabelSelector> {
    let selectors = role.aggregation_rule.iter().flat_map(|a| &a.cluster_role_selectors);
    selectors.filter_map(|s| LabelSelector::from_value(s).ok()).collect()
}

/// The rules that an aggregated role is to have, if it has others: selector by selector, role by role in the order of
/// their names, each rule once.
fn plan<'a, R: Clone + PartialEq + 'a>(
    role: &ClusterRole<R>,
    others: impl Iterator<Item = &'a ClusterRole<R>> + Clone,
) -> Option<Vec<R>> {
    let mut rules: Vec<R> = Vec::new();
    for selector in selectors(role) {
        let selected = others.clone().filter(|o| o.metadata.name != role.metadata.name);
        for other in selected.filter(|o| selector.matches(&o.metadata.labels)) {
            for rule in &other.rules {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    (rules != role.rules).then_some(rules)
}

impl Reconcile for Aggregation {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await.map(|()| None)
    }
}

impl Aggregation {
    async fn sync(&self, key: &ObjectRef) -> Result<()> {
        let (Some(role), Some(tenant)) = (self.roles.get(key), &key.tenant) else { return Ok(()) };
        if role.aggregation_rule.is_none() || role.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let known = self.roles.list_tenant(tenant);
        if plan(&role, known.iter().map(|(_, other)| &**other)).is_none() {
            return Ok(());
        }
        let all = ListParams::default();
        let all = self.context.client(key).list_as::<ClusterRole<Value>>(CLUSTER_ROLES, "", &all).await?.items;
        let Some(live) = all.iter().find(|r| r.metadata.name == key.name) else { return Ok(()) };
        let Some(rules) = plan(live, all.iter()) else { return Ok(()) };
        let change = |object: &mut Value| object["rules"] = Value::Array(rules);
        self.context.rewrite(CLUSTER_ROLES, key, &live.metadata.resource_version, None, change).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn the_rules_of_selected_roles_are_taken_in_order_and_once() {
        let role = |name: &str, label: &str, rules: Value, selects: &[&str]| -> ClusterRole<Value> {
            let selectors: Vec<Value> = selects.iter().map(|l| json!({"matchLabels": {"for": l}})).collect();
            let rule = (!selects.is_empty()).then(|| json!({"clusterRoleSelectors": selectors}));
            let metadata = json!({"name": name, "labels": {"for": label}});
            from_value(json!({"metadata": metadata, "rules": rules, "aggregationRule": rule})).expect("a role")
        };
        let others = [role("a", "x", json!([1, 2]), &[]), role("b", "y", json!([2, 3]), &[])];
        let cases = [
            (&["x"][..], json!([]), Some(json!([1, 2]))),
            (&["x"][..], json!([1, 2]), None),
            (&["y", "x"][..], json!([9]), Some(json!([2, 3, 1]))),
            (&["none"][..], json!([9]), Some(json!([]))),
            (&["none"][..], json!([]), None),
        ];
        for (selects, rules, expected) in cases {
            let aggregated = role("self", "x", rules.clone(), selects);
            let all = others.iter().chain([&aggregated]);
            let planned = plan(&aggregated, all).map(Value::Array);
            assert_eq!(planned, expected, "{selects:?} {rules}");
        }
    }
}
