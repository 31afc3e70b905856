//! Discovery: which groups, versions and resources there are, in the legacy and the aggregated form.
//!
//! Of the operators' kinds a tenant is told those that it is shown, as what it can read.

use crate::aggregation::{self, Document};
use crate::custom::Listing;
use crate::projection;
use crate::resource_metrics;
use crate::server::Server;
use api::{Kind, Result, Scope, Subresource, TenantName, Verb};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A group with its versions, preferred first, and their kinds.
struct Group<'a> {
    name: &'a str,
    versions: Vec<(&'a str, Vec<Arc<Kind>>)>,
}

/// The groups that a tenant sees: the built-in ones, then its own by their names.
fn groups<'a>(server: &'a Server, tenant: Option<&TenantName>, own: Option<&'a Listing>) -> Vec<Group<'a>> {
    let operators = tenant.is_none_or(TenantName::is_system);
    let told = |kind: &Arc<Kind>| match kind.scope {
        Scope::Cluster if !operators => projection::discovered(kind).map(Arc::new),
        _ => Some(kind.clone()),
    };
    let of = |group: &'a str, version: &str| {
        let kinds = server.kinds.kinds().iter().filter(|kind| kind.group == group && kind.version == version);
        kinds.filter_map(told).collect::<Vec<_>>()
    };
    let built_in = server.kinds.groups().iter().map(|group| Group {
        name: group.name,
        versions: group.versions.iter().map(|version| (*version, of(group.name, version))).collect(),
    });
    let mut all: Vec<Group> = built_in.collect();
    for (name, versions) in own.iter().flat_map(|own| &own.groups) {
        let known = all.iter().position(|group| group.name == name);
        let at = known.unwrap_or_else(|| {
            all.push(Group { name, versions: Vec::new() });
            all.len() - 1
        });
        for (version, kinds) in versions {
            match all[at].versions.iter_mut().find(|(known, _)| known == version) {
                Some((_, known)) => known.extend(kinds.iter().cloned()),
                None => all[at].versions.push((version, kinds.clone())),
            }
        }
    }
    all
}

/// The discovery document at a path below the tenant's root, or `None` when there is none. `host` is what the client
/// called the server.
pub fn document(server: &Server, tenant: Option<&TenantName>, path: &str, host: &str) -> Result<Option<Value>> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let own = tenant.map(|tenant| server.catalogue.listing(server, tenant)).transpose()?.flatten();
    let groups = groups(server, tenant, own.as_deref());
    let remote = match (segments.as_slice(), tenant) {
        (["apis"] | ["apis", _], Some(tenant)) => served_beside(server, tenant)?,
        _ => Vec::new(),
    };
    let named = |name: &str| groups.iter().find(|group| group.name == name);
    Ok(match segments.as_slice() {
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
        })),
        ["apis"] => {
            let listed = groups.iter().filter(|group| !group.name.is_empty()).map(|group| self::group(group, false));
            let mut listed: Vec<Value> = listed.collect();
            for document in &remote {
                merge(&mut listed, |group| group["name"] == *document.name, &document.group, "versions");
            }
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}))
        }
        ["apis", name] if !name.is_empty() => {
            let mut found: Vec<Value> = named(name).map(|group| self::group(group, true)).into_iter().collect();
            if let Some(document) = remote.iter().find(|document| document.name == *name) {
                merge(&mut found, |_| true, &document.group, "versions");
            }
            found.pop().map(|mut group| {
                group["kind"] = json!("APIGroup");
                group["apiVersion"] = json!("v1");
                group
            })
        }
        ["api", version] => named("").and_then(|group| resources(group, version)),
        ["apis", name, version] if !name.is_empty() => named(name)
            .and_then(|group| resources(group, version))
            .or_else(|| resource_metrics::resources(server, name, version)),
        _ => None,
    })
}

/// The aggregated document of `/api` (the core group) or `/apis` (all others).
pub fn aggregated(server: &Server, tenant: Option<&TenantName>, core: bool) -> Result<Value> {
    let own = tenant.map(|tenant| server.catalogue.listing(server, tenant)).transpose()?.flatten();
    let groups = groups(server, tenant, own.as_deref());
    let items = groups.iter().filter(|group| group.name.is_empty() == core).map(|group| {
        let versions = group.versions.iter().map(|(version, kinds)| {
            let kinds = kinds.iter().map(|kind| aggregated_resource(kind));
            json!({"version": version, "freshness": "Current", "resources": kinds.collect::<Vec<_>>()})
        });
        let metadata = if core { json!({}) } else { json!({"name": group.name}) };
        json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
    });
    let mut items: Vec<Value> = items.collect();
    if let (Some(tenant), false) = (tenant, core) {
        for document in served_beside(server, tenant)? {
            merge(&mut items, |group| group["metadata"]["name"] == *document.name, &document.aggregated, "versions");
        }
    }
    Ok(json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}))
}

/// What is served beside kinds: by services of the tenant, and metrics.
fn served_beside(server: &Server, tenant: &TenantName) -> Result<Vec<Document>> {
    let mut documents = aggregation::documents(server, tenant)?;
    documents.extend(resource_metrics::document(server));
    Ok(documents)
}

/// Adds a group that services serve, or its versions to the group of that name.
fn merge(groups: &mut Vec<Value>, is_same: impl Fn(&Value) -> bool, group: &Value, field: &str) {
    let Some(known) = groups.iter_mut().find(|known| is_same(known)) else { return groups.push(group.clone()) };
    let versions = group[field].as_array().into_iter().flatten();
    let new = versions.filter(|version| {
        !known[field].as_array().is_some_and(|held| held.iter().any(|held| held["version"] == version["version"]))
    });
    let new: Vec<Value> = new.cloned().collect();
    if let Some(held) = known[field].as_array_mut() {
        held.extend(new);
    }
}

fn group(group: &Group, alone: bool) -> Value {
    let version = |(version, _): &(&str, Vec<Arc<Kind>>)| json!({"groupVersion": format!("{}/{version}", group.name), "version": version});
    let mut value = json!({
        "name": group.name,
        "versions": group.versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": group.versions.first().map(version),
    });
    if alone {
        value["kind"] = json!("APIGroup");
        value["apiVersion"] = json!("v1");
    }
    value
}

fn resources(group: &Group, version: &str) -> Option<Value> {
    let (_, kinds) = group.versions.iter().find(|(known, _)| *known == version)?;
    let listed = kinds.iter().flat_map(|kind| {
        std::iter::once(resource(kind)).chain(kind.subresources.iter().map(|sub| subresource(kind, sub)))
    });
    let group_version = if group.name.is_empty() { version.to_owned() } else { format!("{}/{version}", group.name) };
    let mut value =
        json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": listed.collect::<Vec<_>>()});
    if !group.name.is_empty() {
        value["apiVersion"] = json!("v1");
    }
    Some(value)
}

fn verbs(verbs: &[Verb]) -> Value {
    verbs.iter().map(|verb| json!(verb.as_str())).collect()
}

fn resource(kind: &Kind) -> Value {
    let mut value = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced(), "kind": kind.kind,
        "verbs": verbs(&kind.verbs),
    });
    if !kind.short_names.is_empty() {
        value["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        value["categories"] = json!(kind.categories);
    }
    if kind.stored() {
        value["storageVersionHash"] = json!(storage_version_hash(kind));
    }
    value
}

/// Tells clients when the stored version of a kind changes: eight bytes of a hash of its name.
fn storage_version_hash(kind: &Kind) -> String {
    let name = format!("{}/{}/{}", kind.group, kind.version, kind.kind);
    STANDARD.encode(&Sha256::digest(name)[..8])
}

fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let mut value = json!({
        "name": format!("{}/{}", kind.plural, sub.name), "singularName": "", "namespaced": kind.namespaced(),
        "kind": sub.kind, "verbs": verbs(&sub.verbs),
    });
    if (sub.group.as_str(), sub.version.as_str()) != (kind.group.as_str(), kind.version.as_str()) {
        value["group"] = json!(sub.group);
        value["version"] = json!(sub.version);
    }
    value
}

fn aggregated_resource(kind: &Kind) -> Value {
    let response = |group: &str, version: &str, name: &str| {
        let own = group == kind.group && version == kind.version;
        let (group, version) = if own { ("", "") } else { (group, version) };
        json!({"group": group, "version": version, "kind": name})
    };
    let mut value = json!({
        "resource": kind.plural, "responseKind": response(&kind.group, &kind.version, &kind.kind),
        "scope": if kind.namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": verbs(&kind.verbs),
    });
    if !kind.short_names.is_empty() {
        value["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        value["categories"] = json!(kind.categories);
    }
    let subresources = kind.subresources.iter().map(|sub| {
        json!({"subresource": sub.name, "responseKind": response(&sub.group, &sub.version, &sub.kind), "verbs": verbs(&sub.verbs)})
    });
    let subresources: Vec<Value> = subresources.collect();
    if !subresources.is_empty() {
        value["subresources"] = json!(subresources);
    }
    value
}
