//! Nodes as a tenant is shown them: those that may run its pods, without what they tell of other tenants.
//!
//! Nodes are the operators'. An identity of any other tenant reads them through here alone, by whatever right, and never
//! writes them. What is shown of one is listed: what a node says besides is not.

use api::selector::{Operator, Requirement};
use api::{Identity, Kind, Object, Scope, TenantName};
use policy::node::TENANT_LABEL;
use serde_json::{Map, Value, json};

const METADATA: [&str; 8] = [
    "name",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "labels",
];
const SPEC: [&str; 2] = ["taints", "unschedulable"];
const STATUS: [&str; 6] = ["addresses", "allocatable", "capacity", "conditions", "nodeInfo", "runtimeHandlers"];
/// What tells one machine from all others: a tenant has no use for it.
const MACHINE: [&str; 3] = ["machineID", "systemUUID", "bootID"];

/// A tenant's view of the nodes.
#[derive(Clone, Debug)]
pub struct Projection {
    tenant: TenantName,
}

impl Projection {
    /// How an identity sees objects of a kind, if not as they are.
    pub fn of(kind: &Kind, identity: &Identity) -> Option<Projection> {
        let nodes = kind.scope == Scope::Cluster && kind.group.is_empty() && kind.plural == "nodes";
        (nodes && !identity.tenant.is_system()).then(|| Projection { tenant: identity.tenant.clone() })
    }

    /// Whether the tenant is shown a node at all: one that is not another tenant's.
    pub fn covers(&self, node: &Object) -> bool {
        self.requirement().matches(&node.header.labels)
    }

    /// [`Projection::covers`] as a term of a selector.
    pub fn requirement(&self) -> Requirement {
        let values = vec![self.tenant.to_string()];
        Requirement { key: TENANT_LABEL.to_owned(), operator: Operator::AbsentOrIn, values }
    }

    /// What the tenant is shown of a node.
    pub fn shown(&self, node: &Value) -> Value {
        let mut shown = json!({
            "apiVersion": node["apiVersion"],
            "kind": node["kind"],
            "metadata": only(&node["metadata"], &METADATA),
            "spec": only(&node["spec"], &SPEC),
            "status": only(&node["status"], &STATUS),
        });
        for field in MACHINE {
            if let Some(told) = shown["status"].get_mut("nodeInfo").and_then(|info| info.get_mut(field)) {
                *told = json!("");
            }
        }
        shown
    }
}

fn only(value: &Value, fields: &[&str]) -> Value {
    let held = fields.iter().filter_map(|field| Some(((*field).to_owned(), value.get(field)?.clone())));
    Value::Object(held.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_not_shown() {
        let projection = Projection { tenant: TenantName::new("acme").expect("a name") };
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n", "labels": {"zone": "a"}, "annotations": {"of": "others"}, "managedFields": []},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}], "providerID": "cloud://1"},
            "status": {
                "capacity": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}],
                "images": [{"names": ["umbrella/secret"]}], "volumesInUse": ["v"], "volumesAttached": [{"name": "v"}],
                "nodeInfo": {"machineID": "m", "systemUUID": "s", "bootID": "b", "kubeletVersion": "v1"},
            },
        });
        let expected = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n", "labels": {"zone": "a"}},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {
                "capacity": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}],
                "nodeInfo": {"machineID": "", "systemUUID": "", "bootID": "", "kubeletVersion": "v1"},
            },
        });
        assert_eq!(projection.shown(&node), expected);
    }
}
