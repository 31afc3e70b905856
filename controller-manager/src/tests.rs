//! All controllers together, over an API in memory.

mod fake;

use crate::{Config, ControllerSet, run};
use api::Timestamp;
use fake::Fake;
use runtime::{Stop, Tasks};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

fn start(fake: &Fake) -> (Stop, Tasks) {
    let (stop, tasks) = (Stop::new(), Tasks::new());
    let config = Config {
        enabled: ControllerSet::all(),
        workers: NonZeroUsize::new(2).expect("two is not zero"),
        root_ca: "CA".to_owned(),
        sign: Arc::new(|_, _, _, _| Err("nothing is signed here".to_owned())),
        now: || Timestamp::from_unix_secs(1_800_000_000),
    };
    let running = run(Arc::new(fake.clone()), config, stop.clone());
    tasks.spawn("controllers", async { running.await.expect("a clean end") });
    (stop, tasks)
}

/// Lets time pass, and with it all that waits for it.
async fn pass(time: Duration) {
    drop(tokio::time::timeout(time, std::future::pending::<()>()).await);
}

fn namespace(tenant: &str, name: &str) -> Value {
    json!({"metadata": {"tenant": tenant, "name": name, "uid": format!("{tenant}-{name}")}})
}

fn deployment(tenant: &str, replicas: u32) -> Value {
    json!({
        "metadata": {"tenant": tenant, "namespace": "ns", "name": "web", "uid": format!("{tenant}-web"), "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {}},
        },
    })
}

#[tokio::test]
async fn every_write_is_by_an_account_of_the_objects_own_tenant() {
    let fake = Fake::new();
    for tenant in ["acme", "globex"] {
        fake.put("", "tenants", json!({"metadata": {"name": tenant}, "status": {"phase": "Active"}}));
        fake.put("", "namespaces", namespace(tenant, "ns"));
        fake.put("apps", "deployments", deployment(tenant, 2));
    }
    let (stop, tasks) = start(&fake);
    for tenant in ["acme", "globex"] {
        fake.until("pods", |f| f.list("", "pods", tenant).len() == 2).await;
        fake.until("service accounts", |f| f.list("", "serviceaccounts", tenant).len() == 4).await;
        fake.until("roles", |f| f.list("rbac.authorization.k8s.io", "clusterroles", tenant).len() == 1).await;
        fake.until("certificates", |f| f.list("", "configmaps", tenant).len() == 4).await;
    }
    stop.stop();
    tasks.ended().await;
    for (user, tenant) in fake.writers() {
        assert!(tenant == "acme" || tenant == "globex", "{user} wrote in {tenant}");
        let account = user.starts_with("system:serviceaccount:kube-system:");
        assert!(account || user == "system:tenant-controller", "{user} wrote in {tenant}");
    }
    for tenant in ["acme", "globex"] {
        for object in fake.list("", "pods", tenant) {
            assert_eq!(object["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
            assert_eq!(object["metadata"]["tenant"], tenant);
        }
    }
}

#[tokio::test]
async fn a_cache_that_lags_makes_no_pod_too_many() {
    let fake = Fake::new();
    fake.lag(Duration::from_millis(700));
    fake.put("apps", "deployments", deployment("acme", 20));
    let (stop, tasks) = start(&fake);
    fake.until("pods", |f| f.list("", "pods", "acme").len() == 20).await;
    // The set is changed over and over while its controller has not seen its pods yet.
    for round in 0..10 {
        let mut sets = fake.list("apps", "replicasets", "acme");
        sets[0]["metadata"]["annotations"]["round"] = json!(round.to_string());
        fake.put("apps", "replicasets", sets.remove(0));
        pass(Duration::from_millis(300)).await;
    }
    pass(Duration::from_secs(60)).await;
    stop.stop();
    tasks.ended().await;
    let created = fake.writes("pods").iter().filter(|w| w.starts_with("POST")).count();
    assert_eq!((created, fake.list("", "pods", "acme").len()), (20, 20));
}

#[tokio::test]
async fn a_refusal_costs_few_requests_and_is_told() {
    let fake = Fake::new();
    fake.refuse("pods");
    fake.put("apps", "deployments", deployment("acme", 100));
    let (stop, tasks) = start(&fake);
    let failure = |f: &Fake| {
        let deployments = f.list("apps", "deployments", "acme");
        let conditions = deployments[0]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "ReplicaFailure" && c["reason"] == "FailedCreate")
    };
    fake.until("the failure is the deployment's", failure).await;
    let attempts = fake.writes("pods").len();
    stop.stop();
    tasks.ended().await;
    assert!(attempts < 20, "{attempts} attempts at 100 pods");
}

#[tokio::test]
async fn what_loses_its_owner_goes_and_what_only_seems_to_stays() {
    let fake = Fake::new();
    let child = |name: &str, namespace: &str, owner: &str, uid: &str| {
        let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid}]);
        json!({"metadata": {"tenant": "acme", "namespace": namespace, "name": name, "ownerReferences": owner}})
    };
    let owner = |tenant: &str| json!({"metadata": {"tenant": tenant, "namespace": "ns", "name": "owner"}});
    fake.put("", "configmaps", owner("acme"));
    fake.put("", "configmaps", child("kept", "ns", "owner", "uid-owner"));
    fake.put("", "configmaps", child("of-unknown-kind", "ns", "ghost", "uid-ghost"));
    let mut unknown = fake.list("", "configmaps", "acme").remove(1);
    unknown["metadata"]["name"] = json!("of-unknown-kind");
    unknown["metadata"]["uid"] = json!("uid-of-unknown-kind");
    unknown["metadata"]["ownerReferences"][0]["kind"] = json!("Ghost");
    fake.put("", "configmaps", unknown);
    let (stop, tasks) = start(&fake);
    pass(Duration::from_secs(10)).await;
    let names = |f: &Fake| -> Vec<String> {
        f.list("", "configmaps", "acme").iter().map(|o| o["metadata"]["name"].to_string().replace('"', "")).collect()
    };
    assert_eq!(names(&fake), ["kept", "of-unknown-kind", "owner"]);

    // The same name in another namespace, or another tenant, is not the owner.
    fake.put("", "configmaps", owner("globex"));
    fake.put("", "configmaps", child("elsewhere", "other", "owner", "uid-owner"));
    fake.until("an object without an owner in its namespace goes", |f| !names(f).contains(&"elsewhere".to_owned()))
        .await;
    fake.remove("", "configmaps", "acme", "ns", "owner");
    fake.until("dependents of what is gone go", |f| names(f) == ["of-unknown-kind"]).await;
    stop.stop();
    tasks.ended().await;
    assert_eq!(fake.list("", "configmaps", "globex").len(), 1);
}

#[tokio::test]
async fn a_tenant_cannot_hold_up_what_another_deletes_nor_lose_its_own_to_it() {
    let fake = Fake::new();
    for finalizer in ["foregroundDeletion", "orphan"] {
        let going = json!({
            "tenant": "acme", "namespace": "ns", "name": finalizer, "finalizers": [finalizer],
            "deletionTimestamp": "2026-01-01T00:00:00Z",
        });
        let owner = json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": finalizer, "uid": format!("uid-{finalizer}"),
            "blockOwnerDeletion": true, "controller": true,
        }]);
        let name = format!("of-{finalizer}");
        let stranger = json!({"tenant": "globex", "namespace": "ns", "name": name, "ownerReferences": owner});
        let same_name =
            json!({"tenant": "globex", "namespace": "ns", "name": finalizer, "uid": format!("uid-{finalizer}")});
        for metadata in [stranger, same_name, going] {
            fake.put("", "configmaps", json!({"metadata": metadata}));
        }
    }
    let before = fake.list("", "configmaps", "globex");
    let (stop, tasks) = start(&fake);
    let finalizers = |f: &Fake| -> usize {
        let objects = f.list("", "configmaps", "acme");
        objects.iter().map(|o| o["metadata"]["finalizers"].as_array().map_or(0, Vec::len)).sum()
    };
    fake.until("the finalizers go", |f| finalizers(f) == 0).await;
    pass(Duration::from_secs(10)).await;
    stop.stop();
    tasks.ended().await;
    assert_eq!(fake.list("", "configmaps", "globex"), before);
}
