//! What discovery tells of versions that services serve, in both forms.

use super::Remote;
use crate::server::Server;
use api::{Result, TenantName};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A group that services serve, as discovery has it.
pub struct Document {
    pub name: String,
    /// `APIGroup`, without its type.
    pub group: Value,
    /// `APIGroupDiscovery`.
    pub aggregated: Value,
}

/// The groups that a tenant's services serve, most important first.
pub fn documents(server: &Server, tenant: &TenantName) -> Result<Vec<Document>> {
    let Some(remotes) = server.aggregation.of(server, tenant)? else { return Ok(Vec::new()) };
    let mut groups: BTreeMap<&str, Vec<&Arc<Remote>>> = BTreeMap::new();
    for remote in remotes.iter() {
        groups.entry(&remote.group).or_default().push(remote);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    for (_, versions) in &mut groups {
        versions.sort_by(|a, b| {
            let by_priority = b.priorities.1.cmp(&a.priorities.1);
            by_priority.then_with(|| kinds::custom::compare_versions(&a.version, &b.version))
        });
    }
    groups.sort_by_key(|(_, versions)| std::cmp::Reverse(versions.iter().map(|v| v.priorities.0).max()));
    Ok(groups.into_iter().map(|(name, versions)| document(server, tenant, name, &versions)).collect())
}

fn document(server: &Server, tenant: &TenantName, name: &str, versions: &[&Arc<Remote>]) -> Document {
    let version = |remote: &&Arc<Remote>| json!({"groupVersion": format!("{name}/{}", remote.version), "version": remote.version});
    let group = json!({
        "name": name,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    });
    let aggregated =
        versions.iter().map(|remote| match server.aggregation.told(tenant, remote).filter(|_| remote.is_available) {
            Some(told) => {
                json!({"version": remote.version, "freshness": "Current", "resources": resources(remote, &told)})
            }
            None => json!({"version": remote.version, "freshness": "Stale"}),
        });
    let aggregated = json!({"metadata": {"name": name}, "versions": aggregated.collect::<Vec<_>>()});
    Document { name: name.to_owned(), group, aggregated }
}

/// The resources of an `APIResourceList` as aggregated discovery has them.
fn resources(remote: &Remote, list: &Value) -> Vec<Value> {
    let all: Vec<&Value> = list["resources"].as_array().into_iter().flatten().collect();
    let name = |resource: &Value| resource["name"].as_str().unwrap_or_default().to_owned();
    let kind = |resource: &Value| {
        let given = |field: &str| resource[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let (group, version) = (given("group"), given("version"));
        json!({
            "group": group.unwrap_or_else(|| remote.group.clone()),
            "version": version.unwrap_or_else(|| remote.version.clone()),
            "kind": resource["kind"],
        })
    };
    let mut found = Vec::new();
    for resource in all.iter().filter(|resource| !name(resource).contains('/')) {
        let plural = name(resource);
        let scope = if resource["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut value = json!({
            "resource": plural, "responseKind": kind(resource), "scope": scope,
            "singularResource": resource["singularName"], "verbs": resource["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if resource[field].is_array() {
                value[field] = resource[field].clone();
            }
        }
        let subresources = all.iter().filter_map(|sub| {
            let full = name(sub);
            let named = full.strip_prefix(&plural)?.strip_prefix('/')?;
            Some(json!({"subresource": named, "responseKind": kind(sub), "verbs": sub["verbs"]}))
        });
        let subresources: Vec<Value> = subresources.collect();
        if !subresources.is_empty() {
            value["subresources"] = json!(subresources);
        }
        found.push(value);
    }
    found
}
