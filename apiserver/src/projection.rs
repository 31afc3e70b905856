//! Nodes and drivers of volumes as a tenant is shown them: those that may serve its pods, without what they tell of other
//! tenants.
//!
//! They are the operators'. An identity of any other tenant reads them through here alone, by whatever right, and never
//! writes them. What is shown of one is listed: what it says besides is not.

use api::selector::{Operator, Requirement};
use api::{Identity, Kind, Object, Scope, TenantName, Verb};
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
/// Of a node, and of a driver.
const SPEC: [&str; 12] = [
    "taints",
    "unschedulable",
    "attachRequired",
    "fsGroupPolicy",
    "nodeAllocatableUpdatePeriodSeconds",
    "podInfoOnMount",
    "requiresRepublish",
    "seLinuxMount",
    "serviceAccountTokenInSecrets",
    "storageCapacity",
    "tokenRequests",
    "volumeLifecycleModes",
];
const STATUS: [&str; 6] = ["addresses", "allocatable", "capacity", "conditions", "nodeInfo", "runtimeHandlers"];
/// What tells one machine from all others: a tenant has no use for it.
const MACHINE: [&str; 3] = ["machineID", "systemUUID", "bootID"];

/// An operators' kind as discovery tells a tenant of it, if it does.
pub fn discovered(kind: &Kind) -> Option<Kind> {
    let verbs = vec![Verb::Get, Verb::List, Verb::Watch];
    is_shown(kind).then(|| Kind { verbs, subresources: Vec::new(), ..kind.clone() })
}

fn is_shown(kind: &Kind) -> bool {
    kind.scope == Scope::Cluster && policy::authz::shows_to_tenants(&kind.group, &kind.plural)
}

/// A tenant's view of the nodes and drivers.
#[derive(Clone, Debug)]
pub struct Projection {
    tenant: TenantName,
}

impl Projection {
    /// How an identity sees objects of a kind, if not as they are.
    pub fn of(kind: &Kind, identity: &Identity) -> Option<Projection> {
        (is_shown(kind) && !identity.tenant.is_system()).then(|| Projection { tenant: identity.tenant.clone() })
    }

    /// Whether the tenant is shown an object at all: one that is not another tenant's.
    pub fn covers(&self, object: &Object) -> bool {
        self.requirement().selects(&object.header)
    }

    /// [`Projection::covers`] as a term of a selector.
    pub fn requirement(&self) -> Requirement {
        let values = vec![self.tenant.to_string()];
        Requirement { key: TENANT_LABEL.to_owned(), operator: Operator::AbsentOrIn, values }
    }

    /// What the tenant is shown of an object.
    pub fn shown(&self, object: &Value) -> Value {
        let mut shown = json!({
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "metadata": only(&object["metadata"], &METADATA),
            "spec": only(&object["spec"], &SPEC),
        });
        if object["status"].is_object() {
            shown["status"] = only(&object["status"], &STATUS);
        }
        for field in MACHINE {
            if let Some(told) = shown.pointer_mut("/status/nodeInfo").and_then(|info| info.get_mut(field)) {
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
