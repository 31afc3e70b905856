//! What a node agent may do: as little as its pods need, in the tenants whose pods it runs.
//!
//! Invariant: the tenant is part of every question about pods, so that a pod of one tenant never opens an object of the
//! same name in another.

mod references;

pub use references::pod_references;

use crate::rbac::Attributes;
use api::{Identity, TenantName};
use serde_json::Value;

/// What a pod may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    Secret,
    ConfigMap,
    ServiceAccount,
    PersistentVolumeClaim,
    /// Through a claim. Has no namespace.
    PersistentVolume,
}

/// What is known about the pods that are bound to nodes.
pub trait NodeGraph {
    /// Whether any pod of the tenant is bound to the node.
    fn serves(&self, node: &str, tenant: &TenantName) -> bool;
    /// Whether this pod is bound to the node.
    fn has_pod(&self, node: &str, tenant: &TenantName, namespace: &str, pod: &str) -> bool;
    /// Whether a pod that is bound to the node refers to this object. `namespace` is empty for persistent volumes.
    fn references(&self, node: &str, tenant: &TenantName, namespace: &str, kind: Reference, name: &str) -> bool;
}

/// The namespace of `system` that holds the leases of nodes.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";

const NODES: &str = "system:nodes";
const PREFIX: &str = "system:node:";

/// The name of the node whose agent this is: user `system:node:NAME` in group `system:nodes` of tenant `system`.
pub fn node_name(identity: &Identity) -> Option<&str> {
    let name = identity.user.strip_prefix(PREFIX).filter(|name| !name.is_empty())?;
    (identity.tenant.is_system() && identity.in_group(NODES)).then_some(name)
}

/// Whether an identity claims to be a node's agent, so that [`crate::authz::authorize_node`] decides on it.
pub fn is_node(identity: &Identity) -> bool {
    identity.tenant.is_system() && identity.in_group(NODES) && identity.user.starts_with(PREFIX)
}

/// Whether the agent of a node may; the error says why not. What it may create, [`admits`] checks once more with the
/// object at hand.
pub fn node_allows(node: &str, what: &Attributes, graph: &dyn NodeGraph) -> Result<(), String> {
    if what.path.is_some() {
        return Err("no path is open to nodes".to_owned());
    }
    match (what.group, what.resource, what.subresource) {
        ("", "nodes", "" | "status") => own_node(node, what),
        ("coordination.k8s.io", "leases", "") => own_lease(node, what),
        ("metrics.k8s.io", "nodes", "") => {
            let allowed = what.verb == "update" && what.name == node && what.tenant.is_some_and(TenantName::is_system);
            allowed.then_some(()).ok_or_else(|| "can only report the usage of the requesting node".to_owned())
        }
        ("storage.k8s.io", "csinodes", "") => {
            let allowed = matches!(what.verb, "get" | "create" | "update" | "patch" | "delete") && is_own(node, what);
            allowed
                .then_some(())
                .ok_or_else(|| "can only access CSINode with the same name as the requesting node".to_owned())
        }
        ("storage.k8s.io", "csidrivers", "") => reads(what),
        ("", "pods", subresource) => pods(node, what, subresource, graph),
        ("", "secrets", "") => referenced(node, what, Reference::Secret, graph),
        ("", "configmaps", "") => referenced(node, what, Reference::ConfigMap, graph),
        ("", "persistentvolumeclaims", "") => referenced(node, what, Reference::PersistentVolumeClaim, graph),
        ("", "persistentvolumes", "") => referenced(node, what, Reference::PersistentVolume, graph),
        ("", "serviceaccounts", "") => referenced(node, what, Reference::ServiceAccount, graph),
        ("", "serviceaccounts", "token") => match what.verb {
            "create" => related(node, what, Reference::ServiceAccount, graph),
            _ => Err("can only create tokens of service accounts".to_owned()),
        },
        ("" | "events.k8s.io", "events", "") => match what.verb {
            "create" | "update" | "patch" => served(node, what, graph),
            _ => Err("can only write events".to_owned()),
        },
        ("", "services", "") | ("discovery.k8s.io", "endpointslices", "") | ("node.k8s.io", "runtimeclasses", "") => {
            reads(what)?;
            served(node, what, graph)
        }
        _ => Err(format!("nodes have no use for {:?}", what.resource)),
    }
}

/// Whether a node's agent may write this object: its own Node and Lease without owners, a token only for a pod of its
/// own. The API server calls it with the object to be stored, and for an update with the stored one.
pub fn admits(
    node: &str,
    what: &Attributes,
    object: &Value,
    stored: Option<&Value>,
    graph: &dyn NodeGraph,
) -> Result<(), String> {
    match (what.group, what.resource, what.subresource) {
        ("", "nodes", _) => {
            named(node, object)?;
            no_owners(object)?;
            unchanged(object, stored)
        }
        ("coordination.k8s.io", "leases", _) | ("storage.k8s.io", "csinodes", _) => {
            named(node, object)?;
            no_owners(object)
        }
        // Services and network policies select by labels.
        ("", "pods", _) => match stored {
            Some(stored) if stored["metadata"]["labels"] != object["metadata"]["labels"] => {
                Err(format!("node {node:?} cannot update labels through pod status"))
            }
            _ => Ok(()),
        },
        ("", "serviceaccounts", "token") => {
            let bound = &object["spec"]["boundObjectRef"];
            let (name, uid) = (text(&bound["name"]), text(&bound["uid"]));
            let tenant = what.tenant.ok_or_else(|| format!("node {node:?} requested a token outside of any tenant"))?;
            if bound["kind"] != "Pod" || name.is_empty() {
                return Err("node requested token not bound to a pod".to_owned());
            }
            if uid.is_empty() {
                return Err("node requested token with a pod binding without a uid".to_owned());
            }
            if !graph.has_pod(node, tenant, what.namespace, name) {
                return Err("node requested token bound to a pod scheduled on a different node".to_owned());
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn own_node(node: &str, what: &Attributes) -> Result<(), String> {
    let selected = what.fields.and_then(|fields| fields.required("metadata.name")) == Some(node);
    match what.verb {
        "get" if what.name == node => Ok(()),
        "get" => Err(format!("node '{node}' cannot read '{}', only its own Node object", what.name)),
        "list" | "watch" if selected || what.name == node => Ok(()),
        "list" | "watch" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
        "create" | "update" | "patch" if is_own(node, what) => Ok(()),
        _ => Err(format!("node '{node}' cannot {} '{}', only write its own Node object", what.verb, what.name)),
    }
}

fn own_lease(node: &str, what: &Attributes) -> Result<(), String> {
    let in_place = what.namespace == LEASE_NAMESPACE && what.tenant.is_some_and(TenantName::is_system);
    if !in_place {
        return Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    let verb = matches!(what.verb, "get" | "create" | "update" | "patch" | "delete");
    if verb && is_own(node, what) {
        return Ok(());
    }
    Err("can only access node lease with the same name as the requesting node".to_owned())
}

fn pods(node: &str, what: &Attributes, subresource: &str, graph: &dyn NodeGraph) -> Result<(), String> {
    match (what.verb, subresource) {
        ("list" | "watch", "") => {
            let selected = what.fields.and_then(|fields| fields.required("spec.nodeName"));
            match selected {
                Some(name) if name == node => Ok(()),
                _ => Err("can only list/watch pods with spec.nodeName field selector".to_owned()),
            }
        }
        ("get" | "delete", "") | ("get" | "update" | "patch", "status") => {
            let bound = |tenant| graph.has_pod(node, tenant, what.namespace, what.name);
            if what.tenant.is_some_and(bound) { Ok(()) } else { Err(no_relationship(node)) }
        }
        _ => Err(format!("nodes cannot {} pods this way", what.verb)),
    }
}

fn referenced(node: &str, what: &Attributes, kind: Reference, graph: &dyn NodeGraph) -> Result<(), String> {
    let listing = matches!(kind, Reference::Secret | Reference::ConfigMap) && matches!(what.verb, "list" | "watch");
    if what.verb != "get" && !listing {
        return Err(format!("nodes cannot {} {}", what.verb, what.resource));
    }
    related(node, what, kind, graph)
}

fn related(node: &str, what: &Attributes, kind: Reference, graph: &dyn NodeGraph) -> Result<(), String> {
    if what.name.is_empty() {
        return Err("No Object name found".to_owned());
    }
    let refers = |tenant| graph.references(node, tenant, what.namespace, kind, what.name);
    if what.tenant.is_some_and(refers) { Ok(()) } else { Err(no_relationship(node)) }
}

/// In a tenant that the node runs pods of, or in `system`, the tenant of the node itself.
fn served(node: &str, what: &Attributes, graph: &dyn NodeGraph) -> Result<(), String> {
    let serves = |tenant: &TenantName| tenant.is_system() || graph.serves(node, tenant);
    if what.tenant.is_some_and(serves) { Ok(()) } else { Err(format!("node '{node}' runs no pod there")) }
}

fn reads(what: &Attributes) -> Result<(), String> {
    let read = matches!(what.verb, "get" | "list" | "watch");
    if read { Ok(()) } else { Err(format!("nodes may only read {}", what.resource)) }
}

/// A create names its object in the body alone, which [`admits`] looks at.
fn is_own(node: &str, what: &Attributes) -> bool {
    what.name == node || (what.verb == "create" && what.name.is_empty())
}

fn no_relationship(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

fn named(node: &str, object: &Value) -> Result<(), String> {
    let name = text(&object["metadata"]["name"]);
    if name == node { Ok(()) } else { Err(format!("node {node:?} is not allowed to modify {name:?}")) }
}

/// An owner would let the collector delete the object on the node's behalf.
fn no_owners(object: &Value) -> Result<(), String> {
    match object["metadata"]["ownerReferences"].as_array() {
        Some(owners) if !owners.is_empty() => Err("nodes may not set owner references on their objects".to_owned()),
        _ => Ok(()),
    }
}

/// Labels of Kubernetes' own that a node says of itself. The others say what the operators make of it.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

/// The label of a node that is there for the pods of one tenant alone.
pub const TENANT_LABEL: &str = "node.ursa.dev/tenant";

/// Whether a label is the operators', who tell nodes apart by it, so that a node cannot draw others' pods to itself.
fn is_operators_label(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return false };
    let below = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|left| left.ends_with('.'));
    let own = below("kubelet.kubernetes.io") || below("node.kubernetes.io") || OWN_LABELS.contains(&key);
    key == TENANT_LABEL
        || below("node-restriction.kubernetes.io")
        || ((below("kubernetes.io") || below("k8s.io")) && !own)
}

/// Taints and labels that keep pods off a node are the operators' once it exists.
fn unchanged(object: &Value, stored: Option<&Value>) -> Result<(), String> {
    let label = |node: Option<&Value>, key: &str| node.and_then(|node| node["metadata"]["labels"].get(key)).cloned();
    let keys = |node: Option<&Value>| -> Vec<String> {
        let labels = node.and_then(|node| node["metadata"]["labels"].as_object());
        labels.into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    let mut changed = keys(Some(object));
    changed.extend(keys(stored));
    changed.retain(|key| label(Some(object), key) != label(stored, key) && is_operators_label(key));
    changed.sort();
    changed.dedup();
    if !changed.is_empty() {
        let verb = if stored.is_some() { "modify" } else { "set the following" };
        return Err(format!("is not allowed to {verb} labels: {}", changed.join(", ")));
    }
    match stored {
        Some(stored) if stored["spec"]["taints"] != object["spec"]["taints"] => {
            Err("is not allowed to modify taints".to_owned())
        }
        _ => Ok(()),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests;
