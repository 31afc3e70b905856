//! T66 and T99: what a tenant writes into references moves no controller to touch another tenant; and faults that are planted
//! here are caught.

use super::{Fake, deployment, namespace, pass, start};
use api::{Identity, TenantName};
use serde_json::{Value, json};
use std::cell::Cell;
use std::time::Duration;

/// What goes wrong in controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Controllers act with one identity of the operators, which may do everything.
    WideRights,
    /// An owner's dependents are looked for in all tenants.
    OwnersOfAnyTenant,
}

thread_local! {
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

pub fn is(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Whom controllers act as, where that is planted.
pub fn planted_identity() -> Option<Identity> {
    is(Fault::WideRights).then(|| Identity::new(TenantName::system(), "system:controller", &["system:masters"]))
}

/// The kinds whose objects are compared.
const COMPARED: [(&str, &str); 7] = [
    ("", "configmaps"),
    ("", "namespaces"),
    ("", "pods"),
    ("", "serviceaccounts"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("rbac.authorization.k8s.io", "clusterroles"),
];

fn everything_of(fake: &Fake, tenant: &str) -> Vec<Value> {
    COMPARED.iter().flat_map(|(group, plural)| fake.list(group, plural, tenant)).collect()
}

fn uid_of(fake: &Fake, group: &str, plural: &str, tenant: &str) -> (String, String) {
    let object = fake.list(group, plural, tenant).into_iter().next().expect("an object");
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("name"), text("uid"))
}

/// Lets `acme` write references to everything that `umbrella` has, and tells what came of it that must not.
async fn attack() -> Vec<String> {
    let mut faults = Vec::new();
    let fake = Fake::new();
    for tenant in ["acme", "umbrella"] {
        fake.put(
            "",
            "tenants",
            json!({"metadata": {"name": tenant, "uid": format!("tenant-{tenant}")}, "status": {"phase": "Active"}}),
        );
        fake.put("", "namespaces", namespace(tenant, "ns"));
    }
    fake.put("apps", "deployments", deployment("umbrella", 2));
    let (stop, tasks) = start(&fake);
    pass(Duration::from_secs(60)).await;
    let before = everything_of(&fake, "umbrella");
    if fake.list("", "pods", "umbrella").len() != 2 {
        faults.push("the controllers do not do their work in the tenant of the object".to_owned());
    }
    if faults.is_empty() {
        // Everything of `acme` is owned by what `umbrella` has, selects it, or is named like it.
        let mut owners = Vec::new();
        for (group, plural, kind) in [
            ("apps", "deployments", "Deployment"),
            ("apps", "replicasets", "ReplicaSet"),
            ("", "pods", "Pod"),
            ("", "namespaces", "Namespace"),
        ] {
            let (name, uid) = uid_of(&fake, group, plural, "umbrella");
            let version = if group.is_empty() { "v1" } else { "apps/v1" };
            owners.push(json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": true}));
        }
        owners.push(json!({"apiVersion": "v1", "kind": "Tenant", "name": "umbrella", "uid": "tenant-umbrella", "blockOwnerDeletion": true}));
        for (i, owner) in owners.iter().enumerate() {
            let metadata = |name: String| {
                json!({"tenant": "acme", "namespace": "ns", "name": name, "uid": format!("acme-{name}"),
                "labels": {"app": "web"}, "ownerReferences": [owner]})
            };
            fake.put("", "configmaps", json!({"metadata": metadata(format!("c{i}"))}));
            fake.put(
                "",
                "pods",
                json!({"metadata": metadata(format!("p{i}")), "spec": {}, "status": {"phase": "Running"}}),
            );
            let mut set = json!({"metadata": metadata(format!("s{i}")), "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {}}}});
            set["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
            fake.put("apps", "replicasets", set);
        }
        fake.put("apps", "deployments", deployment("acme", 0));
        pass(Duration::from_secs(120)).await;
        // All of `acme` goes.
        let mut gone = namespace("acme", "ns");
        gone["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        gone["spec"] = json!({"finalizers": ["kubernetes"]});
        fake.put("", "namespaces", gone);
        let going = json!({"metadata": {"name": "acme", "uid": "tenant-acme", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"finalizers": ["arktos"]}, "status": {"phase": "Terminating"}});
        fake.put("", "tenants", going);
        pass(Duration::from_secs(120)).await;
        if everything_of(&fake, "umbrella") != before {
            faults.push("something of the other tenant has changed".to_owned());
        }
        // What `umbrella` deletes goes, whatever `acme` says that it owns.
        fake.put(
            "",
            "configmaps",
            json!({"metadata": {"tenant": "umbrella", "namespace": "ns", "name": "mine", "uid": "mine",
            "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion"]}}),
        );
        fake.put(
            "",
            "nodes",
            json!({"metadata": {"name": "n1", "uid": "n1", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["foregroundDeletion"]}}),
        );
        for (i, (kind, uid)) in [("ConfigMap", "mine"), ("Node", "n1")].into_iter().enumerate() {
            let owner = json!({"apiVersion": "v1", "kind": kind, "name": uid, "uid": uid, "blockOwnerDeletion": true});
            fake.put("", "pods", json!({"metadata": {"tenant": "globex", "namespace": "ns", "name": format!("b{i}"), "uid": format!("b{i}"),
                "finalizers": ["example.com/stays"], "ownerReferences": [owner]}, "spec": {}}));
        }
        // It is known of before its owner goes.
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "spared", "uid": "spared"});
        fake.put(
            "",
            "pods",
            json!({"metadata": {"tenant": "globex", "namespace": "ns", "name": "orphan", "uid": "orphan",
            "finalizers": ["example.com/stays"], "ownerReferences": [owner]}, "spec": {}}),
        );
        pass(Duration::from_secs(10)).await;
        fake.put(
            "",
            "configmaps",
            json!({"metadata": {"tenant": "umbrella", "namespace": "ns", "name": "spared", "uid": "spared",
            "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["orphan"]}}),
        );
        pass(Duration::from_secs(120)).await;
        let pods = fake.list("", "pods", "globex");
        let orphan = pods.iter().find(|pod| pod["metadata"]["name"] == "orphan").cloned().unwrap_or_default();
        if orphan["metadata"]["ownerReferences"][0]["uid"] != "spared" {
            faults.push("an owner that goes changes what another tenant has".to_owned());
        }
        let waits = |object: &Value| object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let owners = [fake.list("", "configmaps", "umbrella"), fake.list("", "nodes", "")];
        if owners.iter().flatten().any(waits) {
            faults.push("an owner waits for dependents of another tenant".to_owned());
        }
    }
    stop.stop();
    tasks.ended().await;
    for (user, tenant) in fake.writers() {
        let operators = tenant == "system" && fake.writes("nodes").iter().any(|write| write.contains("/nodes/"));
        if !matches!(tenant.as_str(), "acme" | "umbrella" | "globex")
            && (user.ends_with("masters") || user == "system:controller" || !operators)
        {
            faults.push(format!("{user} of {tenant} wrote"));
        }
    }
    faults
}

#[tokio::test]
async fn no_reference_of_a_tenant_moves_a_controller_to_touch_another() {
    assert_eq!(attack().await, Vec::<String>::new());
}

/// T99: whether an attack shows a fault.
async fn is_caught(fault: Fault) -> bool {
    PLANTED.set(Some(fault));
    let found = attack().await;
    PLANTED.set(None);
    !found.is_empty()
}

#[tokio::test]
async fn planted_controllers_with_wide_rights_are_caught() {
    assert!(is_caught(Fault::WideRights).await);
}

#[tokio::test]
async fn a_planted_search_for_owners_in_all_tenants_is_caught() {
    assert!(is_caught(Fault::OwnersOfAnyTenant).await);
}
