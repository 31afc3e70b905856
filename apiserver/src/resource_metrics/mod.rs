//! `metrics.k8s.io`: what nodes and pods use, as the nodes report it. It is served while any node reports.
//!
//! Nodes put their reports where others read `NodeMetrics`: `PUT /apis/metrics.k8s.io/v1beta1/nodes/NAME`, in `system` alone.
//! Invariant: a pod's usage is what its own node says. Of a node that tenants share, a tenant is told what its own pods use there.
//! A tenant that has a service of its own for this version is served by that one.

mod reports;

pub use reports::Reports;
use reports::{Report, Usage};

use crate::aggregation::Document;
use crate::handler::method_not_allowed;
use crate::negotiate::Accepting;
use crate::options::Query;
use crate::path::ResourcePath;
use crate::projection::Projection;
use crate::server::Server;
use crate::target::Target;
use crate::{body, respond};
use api::selector::{FieldSelector, LabelSelector, Selector};
use api::{Error, Identity, Kind, Object, Result, Timestamp};
use axum::body::Body;
use http::{Request, Response};
use policy::node::TENANT_LABEL;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";
const GROUP_VERSION: &str = "metrics.k8s.io/v1beta1";

/// Plural, kind, and whether its objects are in namespaces.
const RESOURCES: [(&str, &str, bool); 2] = [("nodes", "NodeMetrics", false), ("pods", "PodMetrics", true)];

/// A request for metrics that is authorized.
pub struct Asked<'a> {
    pub identity: &'a Identity,
    pub target: &'a Target,
    pub path: &'a ResourcePath,
    pub query: &'a Query,
    pub verb: &'a str,
    pub accepting: &'a Accepting,
    pub now: Timestamp,
}

/// Whether a path is one of metrics.
pub fn is_asked(path: &ResourcePath) -> bool {
    path.group == GROUP && path.version == VERSION
}

/// Takes a node's report, or tells what was reported.
pub async fn answer(server: &Server, asked: Asked<'_>, request: Request<Body>) -> Result<Response<Body>> {
    let ResourcePath { resource, subresource, namespace, name, .. } = asked.path;
    let is_operators = asked.target.tenant().is_some_and(api::TenantName::is_system);
    if asked.verb == "update" && resource == "nodes" && is_operators {
        return take(server, name, request, asked.now).await;
    }
    if !server.reports.are_told(asked.now) {
        return Err(Error::page_not_found());
    }
    let (_, kind, namespaced) =
        RESOURCES.into_iter().find(|(plural, ..)| plural == resource).ok_or_else(Error::no_such_path)?;
    if !subresource.is_empty() || (!namespaced && !namespace.is_empty()) {
        return Err(Error::no_such_path());
    }
    let shown = match asked.verb {
        "get" => {
            let found = if namespaced { pods(server, &asked)? } else { nodes(server, &asked)? };
            let missing = || Error::not_found(GROUP, resource, name);
            let mut found = found.into_iter().next().ok_or_else(missing)?;
            (found["kind"], found["apiVersion"]) = (json!(kind), json!(GROUP_VERSION));
            found
        }
        "list" => {
            let items = if namespaced { pods(server, &asked)? } else { nodes(server, &asked)? };
            json!({"kind": format!("{kind}List"), "apiVersion": GROUP_VERSION, "metadata": {}, "items": items})
        }
        _ => return Err(method_not_allowed()),
    };
    Ok(respond::value(200, &shown, asked.accepting.document()?))
}

async fn take(server: &Server, node: &str, request: Request<Body>, now: Timestamp) -> Result<Response<Body>> {
    let report = Report::read(&body::read(request.into_body()).await?)?;
    let key = api::ObjectKey::new(api::ResourceId::new("", "nodes"), api::Space::Cluster, "", node)?;
    if server.store.snapshot().get(&key).is_none() {
        return Err(Error::not_found("", "nodes", node));
    }
    server.reports.put(node, report, now);
    Ok(respond::json(200, &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})))
}

/// What is known of the pods that the request selects.
fn pods(server: &Server, asked: &Asked) -> Result<Vec<Value>> {
    let shown = |pod: &Arc<Object>| {
        let tenant = pod.tenant()?;
        let report = server.reports.get(pod.field("spec.nodeName"), asked.now)?;
        let used = report.pod(tenant.as_str(), &pod.key.namespace, &pod.key.name)?;
        let containers = used.containers.iter().map(|c| json!({"name": c.name, "usage": c.usage.to_value()}));
        let mut metadata = metadata(pod, asked.now);
        (metadata["namespace"], metadata["tenant"]) = (json!(&*pod.key.namespace), json!(tenant.as_str()));
        Some(json!({
            "metadata": metadata, "timestamp": report.timestamp, "window": report.window,
            "containers": containers.collect::<Vec<_>>(),
        }))
    };
    Ok(selected(server, asked)?.iter().filter_map(shown).collect())
}

/// What is known of the nodes that the request selects, as far as who asks is told of them.
fn nodes(server: &Server, asked: &Asked) -> Result<Vec<Value>> {
    let projection = Projection::of(kind(server, "nodes")?, asked.identity);
    let shown = |node: &Arc<Object>| {
        let report = server.reports.get(&node.key.name, asked.now)?;
        let is_shared = projection.is_some() && node.header.label(TENANT_LABEL).is_none();
        let usage: Usage = if is_shared { report.of_tenant(&asked.identity.tenant) } else { report.usage };
        Some(json!({
            "metadata": metadata(node, asked.now), "timestamp": report.timestamp, "window": report.window,
            "usage": usage.to_value(),
        }))
    };
    let nodes = selected(server, asked)?;
    let covered = nodes.iter().filter(|node| projection.as_ref().is_none_or(|projection| projection.covers(node)));
    Ok(covered.filter_map(shown).collect())
}

/// The nodes or pods themselves: the one that the path names, or those that the selectors match.
fn selected(server: &Server, asked: &Asked) -> Result<Vec<Arc<Object>>> {
    let (kind, snapshot) = (kind(server, &asked.path.resource)?, server.store.snapshot());
    if !asked.path.name.is_empty() {
        let key = asked.target.key(kind, &asked.path.namespace, &asked.path.name)?;
        return Ok(snapshot.get(&key).cloned().into_iter().collect());
    }
    let text = |name: &str| asked.query.get(name).unwrap_or_default();
    let labels = LabelSelector::parse(text("labelSelector"))?;
    let fields = FieldSelector::parse(text("fieldSelector"))?;
    let selector = Selector { labels, fields };
    let scope = asked.target.scope(kind, &asked.path.namespace)?;
    Ok(snapshot.range(&scope, None).filter(|object| selector.matches(object)).cloned().collect())
}

fn kind<'a>(server: &'a Server, plural: &str) -> Result<&'a Arc<Kind>> {
    server.kinds.find("", "v1", plural).ok_or_else(Error::no_such_path)
}

fn metadata(object: &Object, now: Timestamp) -> Value {
    let labels: BTreeMap<&str, &str> = object.header.labels().collect();
    json!({"name": &*object.key.name, "creationTimestamp": now.to_string(), "labels": labels})
}

/// The group as discovery has it, while it is served.
pub fn document(server: &Server) -> Option<Document> {
    server.reports.are_told(Timestamp::now()).then(|| {
        let version = json!({"groupVersion": GROUP_VERSION, "version": VERSION});
        let resources = RESOURCES.map(|(plural, kind, namespaced)| {
            json!({
                "resource": plural, "responseKind": {"group": "", "version": "", "kind": kind},
                "scope": if namespaced { "Namespaced" } else { "Cluster" }, "singularResource": "",
                "verbs": ["get", "list"],
            })
        });
        let versions = json!([{"version": VERSION, "freshness": "Current", "resources": resources}]);
        Document {
            name: GROUP.to_owned(),
            group: json!({"name": GROUP, "versions": [version], "preferredVersion": version}),
            aggregated: json!({"metadata": {"name": GROUP}, "versions": versions}),
        }
    })
}

/// The resources of the group, while it is served.
pub fn resources(server: &Server, group: &str, version: &str) -> Option<Value> {
    let is_served = (group, version) == (GROUP, VERSION) && server.reports.are_told(Timestamp::now());
    is_served.then(|| {
        let resources = RESOURCES.map(|(plural, kind, namespaced)| {
            json!({"name": plural, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]})
        });
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": resources})
    })
}
