//! Discovery: which groups, versions and resources there are, in the legacy and the aggregated form.
//!
//! A tenant is not told of the operators' kinds: it cannot use them.

use crate::server::Server;
use api::{Kind, Scope, Subresource, TenantName, Verb};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The discovery document at a path below the tenant's root, or `None` when there is none. `host` is what the client
/// called the server.
pub fn document(server: &Server, tenant: Option<&TenantName>, path: &str, host: &str) -> Option<Value> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
        })),
        ["apis"] => Some(
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups(server).map(|g| group(g, false)).collect::<Vec<_>>()}),
        ),
        ["apis", name] => groups(server).find(|g| g.name == *name).map(|g| group(g, true)),
        ["api", version] => resources(server, tenant, "", version),
        ["apis", name, version] => resources(server, tenant, name, version),
        _ => None,
    }
}

/// The aggregated document of `/api` (the core group) or `/apis` (all others).
pub fn aggregated(server: &Server, tenant: Option<&TenantName>, core: bool) -> Value {
    let listed = server.kinds.groups().iter().filter(|group| group.name.is_empty() == core);
    let items = listed.map(|group| {
        let versions = group.versions.iter().map(|version| {
            let kinds = visible(server, tenant, group.name, version).map(|kind| aggregated_resource(kind));
            json!({"version": version, "freshness": "Current", "resources": kinds.collect::<Vec<_>>()})
        });
        let metadata = if core { json!({}) } else { json!({"name": group.name}) };
        json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
    });
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items.collect::<Vec<_>>()})
}

fn groups(server: &Server) -> impl Iterator<Item = &kinds::Group> {
    server.kinds.groups().iter().filter(|group| !group.name.is_empty())
}

fn visible<'a>(
    server: &'a Server,
    tenant: Option<&TenantName>,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Arc<Kind>> {
    let operators = tenant.is_none_or(TenantName::is_system);
    let kinds = server.kinds.kinds().iter();
    kinds.filter(move |k| k.group == group && k.version == version && (operators || k.scope != Scope::Cluster))
}

fn group(group: &kinds::Group, alone: bool) -> Value {
    let version = |version: &&str| json!({"groupVersion": format!("{}/{version}", group.name), "version": version});
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

fn resources(server: &Server, tenant: Option<&TenantName>, group: &str, version: &str) -> Option<Value> {
    let known = server.kinds.groups().iter().any(|g| g.name == group && g.versions.contains(&version));
    if !known {
        return None;
    }
    let listed = visible(server, tenant, group, version).flat_map(|kind| {
        std::iter::once(resource(kind)).chain(kind.subresources.iter().map(|sub| subresource(kind, sub)))
    });
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut value =
        json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": listed.collect::<Vec<_>>()});
    if !group.is_empty() {
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
