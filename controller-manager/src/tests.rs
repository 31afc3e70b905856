//! All controllers together, over an API in memory.

mod fake;
mod faults;
mod resources;
mod services;
pub mod threats;

use crate::context::{Account, Clients, Context};
use crate::controllers::owner::{Claim, Owner, Recheck};
use crate::recorder::Writer;
use crate::view::{Meta, Selector};
use crate::{Config, ControllerSet, Requested, Sharing, run};
use api::Timestamp;
use client::ObjectRef;
use fake::Fake;
use runtime::{Stop, Tasks};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

fn start(fake: &Fake) -> (Stop, Tasks) {
    start_instance(fake, Sharing::Alone)
}

fn start_instance(fake: &Fake, sharing: Sharing) -> (Stop, Tasks) {
    let (stop, tasks) = (Stop::new(), Tasks::new());
    let config = Config {
        enabled: ControllerSet::all(),
        workers: NonZeroUsize::new(2).expect("two is not zero"),
        root_ca: "CA".to_owned(),
        sign: Arc::new(|_, pem, _, _| Ok(format!("signed {pem}"))),
        read_request: Arc::new(|pem| {
            let organizations = vec!["system:nodes".to_owned()];
            Ok(Requested { common_name: pem.to_owned(), organizations, ..Requested::default() })
        }),
        load_balancer_pool: "192.0.2.0/24".parse().ok(),
        sharing,
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
        fake.until("events", |f| f.list("", "events", tenant).len() == 3).await;
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
        let events = fake.list("", "events", tenant);
        let scaling = events.iter().find(|e| e["reason"] == "ScalingReplicaSet").expect("an event");
        let about = json!({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "ns", "name": "web", "uid": format!("{tenant}-web")});
        assert_eq!((&scaling["involvedObject"], &scaling["metadata"]["namespace"]), (&about, &json!("ns")));
        assert_eq!(scaling["source"]["component"], "deployment-controller");
    }
}

#[tokio::test]
async fn what_failed_is_tried_again_and_a_repeated_event_is_counted() {
    let fake = Fake::new();
    fake.refuse("serviceaccounts");
    fake.refuse("pods");
    fake.put("", "namespaces", namespace("acme", "ns"));
    fake.put("apps", "deployments", deployment("acme", 1));
    let (stop, tasks) = start(&fake);
    let failures = |f: &Fake| {
        let events = f.list("", "events", "acme");
        let counts = events.iter().filter(|e| e["reason"] == "FailedCreate").map(|e| e["count"].as_u64().unwrap_or(0));
        counts.collect::<Vec<_>>()
    };
    fake.until("one event counts the failures", |f| matches!(failures(f)[..], [count] if count > 3)).await;
    fake.relent();
    fake.until("the account", |f| f.list("", "serviceaccounts", "acme").len() == 1).await;
    fake.until("the pod", |f| f.list("", "pods", "acme").len() == 1).await;
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn nothing_is_done_on_half_full_caches_even_at_the_end() {
    let fake = Fake::new();
    fake.put("apps", "deployments", deployment("acme", 3));
    fake.keep_waiting_for("replicasets");
    let (stop, tasks) = start(&fake);
    pass(Duration::from_secs(1)).await;
    stop.stop();
    tasks.ended().await;
    assert_eq!(fake.writers(), []);
}

#[tokio::test]
async fn a_stale_decision_changes_nothing() {
    let fake = Fake::new();
    let clients = Clients::new(Arc::new(fake.clone()));
    let account = Account::Service("replicaset-controller");
    let now = || Timestamp::from_unix_secs(0);
    let recorder = Writer::new(clients.clone(), now).recorders().of(account);
    let context = Context { clients, account, now, recorder };
    let key = ObjectRef::new(&api::TenantName::new("acme").expect("a name"), "ns", "web");
    fake.put(
        "apps",
        "replicasets",
        json!({"metadata": {"tenant": "acme", "namespace": "ns", "name": "web", "uid": "new"}}),
    );
    let version = fake.list("apps", "replicasets", "acme")[0]["metadata"]["resourceVersion"].clone();
    let version = version.as_str().expect("a version");
    let change = |object: &mut Value| object["spec"] = json!({"replicas": 7});
    let stale = context.rewrite(client::REPLICA_SETS, &key, "0", None, change).await.expect_err("a refusal");
    assert!(stale.is_conflict() && fake.writes("replicasets").is_empty());
    context.rewrite(client::REPLICA_SETS, &key, version, None, change).await.expect("a change");
    assert_eq!(fake.list("apps", "replicasets", "acme")[0]["spec"]["replicas"], 7);

    // An owner that was replaced by another of its name adopts nothing.
    let mut metadata: Meta = serde_json::from_value(json!({"name": "web", "uid": "old"})).expect("metadata");
    let selector: Selector = serde_json::from_value(json!({"matchLabels": {"a": "b"}})).expect("a selector");
    let orphan = json!({"tenant": "acme", "namespace": "ns", "name": "p", "uid": "p", "labels": {"a": "b"}});
    fake.put("", "pods", json!({"metadata": orphan}));
    let orphan: Meta = serde_json::from_value(orphan).expect("metadata");
    let client = context.client(&key);
    for (uid, adopts) in [("old", false), ("new", true)] {
        metadata.uid = uid.to_owned();
        let owner = Owner {
            resource: client::REPLICA_SETS,
            kind: "ReplicaSet",
            metadata: &metadata,
            selector: &selector,
            finalizer: None,
        };
        let settled = owner.settle(&client, &mut Recheck::new(&client, &key), client::PODS, &orphan).await;
        assert_eq!(settled.is_ok_and(|claim| claim == Claim::Adopt), adopts);
        assert_eq!(fake.writes("pods").len(), usize::from(adopts));
    }
}

#[tokio::test]
async fn pods_of_a_node_that_is_gone_go_and_those_of_one_not_seen_yet_stay() {
    let fake = Fake::new();
    let bound = |name: &str, node: &str| json!({"metadata": {"tenant": "acme", "namespace": "ns", "name": name}, "spec": {"nodeName": node}});
    fake.put(
        "",
        "nodes",
        json!({"metadata": {"name": "old"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    fake.put("", "pods", bound("of-old", "old"));
    let (stop, tasks) = start(&fake);
    pass(Duration::from_secs(1)).await;
    fake.remove("", "nodes", "", "", "old");
    fake.until("the pod goes", |f| f.list("", "pods", "acme").is_empty()).await;
    // Of the next node, caches learn only long after they learn of its pod.
    fake.put("", "pods", bound("of-new", "new"));
    pass(Duration::from_secs(1)).await;
    fake.lag(Duration::from_secs(100));
    fake.put(
        "",
        "nodes",
        json!({"metadata": {"name": "new"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    pass(Duration::from_secs(90)).await;
    stop.stop();
    tasks.ended().await;
    assert_eq!(fake.list("", "pods", "acme").len(), 1);
}

#[tokio::test]
async fn a_silent_node_is_emptied_when_others_are_well_and_no_longer_when_none_is() {
    let fake = Fake::new();
    let node = |name: &str, ready: &str| {
        let unknown =
            ["MemoryPressure", "DiskPressure", "PIDPressure"].map(|k| json!({"type": k, "status": "Unknown"}));
        let conditions: Vec<Value> = [json!({"type": "Ready", "status": ready})].into_iter().chain(unknown).collect();
        json!({"metadata": {"name": name}, "status": {"conditions": conditions}})
    };
    let taints = |f: &Fake| {
        let nodes = f.list("", "nodes", "");
        let taints = nodes[1]["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.iter().map(|t| t["effect"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    fake.put("", "nodes", node("other", "Unknown"));
    fake.put("", "nodes", node("silent", "Unknown"));
    let (stop, tasks) = start(&fake);
    // Nothing happens to the silent node itself meanwhile.
    for (others, effects) in
        [("Unknown", &["NoSchedule"][..]), ("True", &["NoSchedule", "NoExecute"]), ("Unknown", &["NoSchedule"])]
    {
        fake.put("", "nodes", node("other", others));
        pass(Duration::from_secs(10)).await;
        assert_eq!(taints(&fake), effects, "the other node is {others}");
    }
    stop.stop();
    tasks.ended().await;
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
    // `kept` was seen before its owner was; by the time of the look, the cache knows.
    let asked = fake.gets(":generic-garbage-collector");
    assert!(!asked.is_empty() && asked.iter().all(|path| path.ends_with("/of-unknown-kind")), "{asked:?}");

    // The same name in another namespace, or another tenant, is not the owner.
    fake.put("", "configmaps", owner("globex"));
    fake.put("", "configmaps", child("elsewhere", "other", "owner", "uid-owner"));
    fake.until("an object without an owner in its namespace goes", |f| !names(f).contains(&"elsewhere".to_owned()))
        .await;
    let told = |f: &Fake| {
        let events = f.list("", "events", "acme");
        let about = |e: &Value| e["reason"] == "OwnerRefInvalidNamespace" && e["involvedObject"]["name"] == "elsewhere";
        events.iter().any(about)
    };
    fake.until("the user is told that the owner is in another namespace", told).await;
    fake.remove("", "configmaps", "acme", "ns", "owner");
    fake.until("dependents of what is gone go", |f| names(f) == ["of-unknown-kind"]).await;
    stop.stop();
    tasks.ended().await;
    assert_eq!(fake.list("", "configmaps", "globex").len(), 1);
}

#[tokio::test]
async fn what_a_tenant_defines_goes_with_its_owner_whatever_another_tenant_has_defined() {
    const EXTENSIONS: &str = "apiextensions.k8s.io";
    let fake = Fake::new();
    let definition = |tenant: &str, plural: &str, kind: &str| {
        let names = json!({"plural": plural, "kind": kind});
        let versions = json!([{"name": "v1", "served": true}]);
        json!({
            "metadata": {"tenant": tenant, "name": format!("{plural}.example.com"), "uid": format!("{tenant}-{plural}")},
            "spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": versions},
        })
    };
    // One that cannot be listed is waited for in its own tenant alone.
    fake.keep_waiting_for("gizmos");
    fake.put(EXTENSIONS, "customresourcedefinitions", definition("globex", "gizmos", "Gizmo"));
    fake.put(EXTENSIONS, "customresourcedefinitions", definition("acme", "gadgets", "Gadget"));
    fake.put("", "configmaps", json!({"metadata": {"tenant": "acme", "namespace": "ns", "name": "owner"}}));
    let owned = |tenant: &str, name: &str, kind: &str, owner: &str| {
        let version = if kind == "Gadget" { "example.com/v1" } else { "v1" };
        let owner = json!([{"apiVersion": version, "kind": kind, "name": owner, "uid": format!("uid-{owner}")}]);
        json!({"metadata": {"tenant": tenant, "namespace": "ns", "name": name, "ownerReferences": owner}})
    };
    fake.put("example.com", "gadgets", owned("acme", "middle", "ConfigMap", "owner"));
    fake.put("", "configmaps", owned("acme", "last", "Gadget", "middle"));
    fake.put("", "configmaps", owned("globex", "stays", "Gadget", "middle"));
    let (stop, tasks) = start(&fake);
    pass(Duration::from_secs(10)).await;
    assert_eq!(fake.list("example.com", "gadgets", "acme").len(), 1);
    fake.remove("", "configmaps", "acme", "ns", "owner");
    fake.until("the chain goes", |f| {
        f.list("example.com", "gadgets", "acme").is_empty() && f.list("", "configmaps", "acme").is_empty()
    })
    .await;
    stop.stop();
    tasks.ended().await;
    assert_eq!(fake.list("", "configmaps", "globex").len(), 1, "its owner is of a kind that its tenant does not know");
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

#[tokio::test]
async fn a_namespace_that_goes_loses_its_pods_before_all_else() {
    let fake = Fake::new();
    let mut going = namespace("acme", "ns");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    going["spec"] = json!({"finalizers": ["kubernetes"]});
    let inside = |name: &str, finalizers: Value| json!({"metadata": {"tenant": "acme", "namespace": "ns", "name": name, "finalizers": finalizers}});
    fake.put("", "namespaces", going);
    fake.put("", "namespaces", namespace("globex", "ns"));
    fake.put("", "pods", inside("slow", json!(["example.com/hold"])));
    fake.put("", "configmaps", inside("protection", json!([])));
    fake.put("", "configmaps", json!({"metadata": {"tenant": "globex", "namespace": "ns", "name": "of-another"}}));
    let (stop, tasks) = start(&fake);
    let told = |f: &Fake| f.list("", "namespaces", "acme")[0]["status"]["conditions"].to_string();
    fake.until("what is left is told", |f| told(f).contains("pods. has 1 resource instances")).await;
    pass(Duration::from_secs(30)).await;
    assert_eq!(fake.list("", "configmaps", "acme").len(), 1, "nothing else goes before the last pod");
    assert!(!fake.list("", "pods", "acme")[0]["metadata"]["deletionTimestamp"].is_null());

    fake.remove("", "pods", "acme", "ns", "slow");
    fake.until("the namespace is gone", |f| f.list("", "namespaces", "acme").is_empty()).await;
    stop.stop();
    tasks.ended().await;
    assert!(fake.list("", "configmaps", "acme").is_empty());
    assert!(fake.list("", "configmaps", "globex").iter().any(|o| o["metadata"]["name"] == "of-another"));
}

#[tokio::test]
async fn a_tenant_that_goes_leaves_nothing_behind() {
    let fake = Fake::new();
    for tenant in ["acme", "globex"] {
        let spec = json!({"finalizers": ["arktos"]});
        fake.put("", "tenants", json!({"metadata": {"name": tenant}, "spec": spec, "status": {"phase": "Active"}}));
    }
    fake.put("", "nodes", json!({"metadata": {"name": "n"}}));
    let (stop, tasks) = start(&fake);
    for tenant in ["acme", "globex"] {
        fake.until("certificates", |f| f.list("", "configmaps", tenant).len() == 3).await;
    }
    let everything = |f: &Fake, tenant: &str| {
        let kinds = [
            ("", "namespaces"),
            ("", "configmaps"),
            ("", "serviceaccounts"),
            ("rbac.authorization.k8s.io", "clusterroles"),
        ];
        kinds.map(|(group, plural)| f.list(group, plural, tenant).len())
    };
    let kept = everything(&fake, "globex");
    let held =
        |name: &str| json!({"tenant": "acme", "namespace": "", "name": name, "finalizers": ["example.com/hold"]});
    let mut pod = json!({"metadata": held("slow")});
    pod["metadata"]["namespace"] = json!("default");
    fake.put("", "pods", pod);
    let mut acme = fake.list("", "tenants", "").remove(0);
    acme["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    fake.put("", "tenants", acme);
    fake.until("all namespaces but one are gone", |f| f.list("", "namespaces", "acme").len() == 1).await;
    pass(Duration::from_secs(30)).await;
    assert_eq!(everything(&fake, "acme")[3], 1, "roles stay while there are pods");

    fake.put("rbac.authorization.k8s.io", "clusterroles", json!({"metadata": held("held")}));
    fake.remove("", "pods", "acme", "default", "slow");
    fake.until("all namespaces are gone", |f| f.list("", "namespaces", "acme").is_empty()).await;
    pass(Duration::from_secs(30)).await;
    assert_eq!(fake.list("", "tenants", "").len(), 2, "a tenant stays while anything of it does");

    fake.remove("rbac.authorization.k8s.io", "clusterroles", "acme", "", "held");
    fake.until("the tenant is gone", |f| f.list("", "tenants", "").len() == 1).await;
    stop.stop();
    tasks.ended().await;
    assert_eq!((everything(&fake, "acme"), everything(&fake, "globex")), ([0; 4], kept));
    assert_eq!(fake.list("", "nodes", "").len(), 1, "what is the operators' stays");
}

#[tokio::test]
async fn a_tenant_goes_whatever_its_own_rules_allow_while_a_namespace_alone_goes_by_them() {
    let fake = Fake::new();
    let spec = json!({"finalizers": ["arktos"]});
    fake.put("", "tenants", json!({"metadata": {"name": "acme"}, "spec": spec, "status": {"phase": "Active"}}));
    let (stop, tasks) = start(&fake);
    fake.until("certificates", |f| f.list("", "configmaps", "acme").len() == 3).await;
    fake.disempower("namespace-controller");
    let mut going = fake.list("", "namespaces", "acme").remove(0);
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    fake.put("", "namespaces", going);
    pass(Duration::from_secs(100)).await;
    assert_eq!(fake.list("", "namespaces", "acme").len(), 3);
    let mut acme = fake.list("", "tenants", "").remove(0);
    acme["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    fake.put("", "tenants", acme);
    pass(Duration::from_secs(10)).await;
    assert_eq!(fake.list("", "namespaces", "acme"), [Value::Null; 0], "they do not wait for their next try");
    fake.until("the tenant is gone", |f| f.list("", "tenants", "").is_empty()).await;
    stop.stop();
    tasks.ended().await;
    assert!(fake.list("", "namespaces", "acme").is_empty() && fake.list("", "configmaps", "acme").is_empty());
}
