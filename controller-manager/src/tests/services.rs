//! What follows from services and budgets, by all controllers together.

use super::fake::Fake;
use super::start;
use serde_json::{Value, json};

fn pod(tenant: &str, name: &str, ip: &str) -> Value {
    json!({
        "metadata": {"tenant": tenant, "namespace": "ns", "name": name, "labels": {"app": "web"}},
        "status": {"podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn addresses(fake: &Fake, tenant: &str) -> Vec<String> {
    let slices = fake.list("discovery.k8s.io", "endpointslices", tenant);
    let endpoints = slices.iter().flat_map(|s| s["endpoints"].as_array().cloned().unwrap_or_default());
    let mut all: Vec<String> = endpoints.map(|e| e["addresses"][0].as_str().unwrap_or_default().to_owned()).collect();
    all.sort();
    all
}

#[tokio::test]
async fn the_pods_of_a_service_are_found_in_both_forms_and_in_its_tenant_alone() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    for tenant in ["acme", "other"] {
        fake.put("", "pods", pod(tenant, "a", if tenant == "acme" { "10.0.0.1" } else { "10.9.9.9" }));
    }
    let spec = json!({"type": "ClusterIP", "clusterIP": "10.1.0.1", "selector": {"app": "web"},
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]});
    fake.put("", "services", json!({"metadata": {"tenant": "acme", "namespace": "ns", "name": "web"}, "spec": spec}));
    fake.until("the slice is there", |f| addresses(f, "acme") == ["10.0.0.1"]).await;
    fake.put("", "pods", pod("acme", "b", "10.0.0.2"));
    fake.until("the pod is found", |f| addresses(f, "acme") == ["10.0.0.1", "10.0.0.2"]).await;
    fake.until("the endpoints have it too", |f| {
        let endpoints = f.list("", "endpoints", "acme");
        endpoints.first().is_some_and(|e| e["subsets"][0]["addresses"].as_array().is_some_and(|a| a.len() == 2))
    })
    .await;
    fake.remove("", "pods", "acme", "ns", "a");
    fake.until("the pod is forgotten", |f| addresses(f, "acme") == ["10.0.0.2"]).await;
    assert_eq!(fake.list("discovery.k8s.io", "endpointslices", "acme").len(), 1);
    assert!(fake.list("discovery.k8s.io", "endpointslices", "other").is_empty());
    let service = "system:serviceaccount:kube-system:endpointslice-controller".to_owned();
    assert!(fake.writers().contains(&(service.clone(), "acme".to_owned())));
    assert!(!fake.writers().iter().any(|(_, tenant)| tenant == "other"));
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn slow_caches_do_not_make_a_slice_twice() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    fake.put("", "pods", pod("acme", "a", "10.0.0.1"));
    let spec = json!({"clusterIP": "10.1.0.1", "selector": {"app": "web"}, "ports": [{"port": 80}]});
    fake.lag(std::time::Duration::from_millis(700));
    fake.put("", "services", json!({"metadata": {"tenant": "acme", "namespace": "ns", "name": "web"}, "spec": spec}));
    for ip in 2..6 {
        fake.put("", "pods", pod("acme", &format!("p{ip}"), &format!("10.0.0.{ip}")));
    }
    fake.until("all are found", |f| addresses(f, "acme").len() == 5).await;
    assert_eq!(fake.list("discovery.k8s.io", "endpointslices", "acme").len(), 1);
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn endpoints_that_a_user_writes_are_mirrored_until_the_service_selects() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    let metadata = json!({"tenant": "acme", "namespace": "ns", "name": "db"});
    fake.put("", "services", json!({"metadata": metadata, "spec": {"clusterIP": "10.1.0.2", "ports": [{"port": 1}]}}));
    let subsets = json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 1}]}]);
    fake.put("", "endpoints", json!({"metadata": metadata, "subsets": subsets}));
    fake.until("they are mirrored", |f| addresses(f, "acme") == ["192.0.2.1"]).await;
    let spec = json!({"clusterIP": "10.1.0.2", "selector": {"a": "b"}, "ports": [{"port": 1}]});
    fake.put("", "services", json!({"metadata": metadata, "spec": spec}));
    fake.until("they no longer are", |f| addresses(f, "acme").is_empty()).await;
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn services_of_all_tenants_share_one_pool_of_addresses() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    for tenant in ["acme", "other"] {
        for name in ["a", "b"] {
            let metadata =
                json!({"tenant": tenant, "namespace": "ns", "name": name, "uid": format!("{tenant}-{name}")});
            fake.put("", "services", json!({"metadata": metadata, "spec": {"type": "LoadBalancer"}}));
        }
    }
    let given = |f: &Fake| -> Vec<String> {
        let all = ["acme", "other"].into_iter().flat_map(|tenant| f.list("", "services", tenant));
        all.filter_map(|s| s["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned)).collect()
    };
    fake.until("each has an address", |f| given(f).len() == 4).await;
    let mut distinct = given(&fake);
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 4);
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn a_budget_follows_its_pods() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    let metadata = json!({"tenant": "acme", "namespace": "ns", "name": "budget", "generation": 1});
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    fake.put("policy", "poddisruptionbudgets", json!({"metadata": metadata, "spec": spec}));
    let allowed =
        |f: &Fake| f.list("policy", "poddisruptionbudgets", "acme")[0]["status"]["disruptionsAllowed"].as_i64();
    fake.until("nothing may go", |f| allowed(f) == Some(0)).await;
    for name in ["a", "b", "c"] {
        fake.put("", "pods", pod("acme", name, "10.0.0.1"));
    }
    fake.until("two may go", |f| allowed(f) == Some(2)).await;
    fake.remove("", "pods", "acme", "ns", "a");
    fake.until("one may go", |f| allowed(f) == Some(1)).await;
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn an_aggregated_role_follows_the_roles_that_it_selects() {
    let fake = Fake::new();
    let (stop, tasks) = start(&fake);
    const GROUP: &str = "rbac.authorization.k8s.io";
    let role = |name: &str, rules: Value| json!({"metadata": {"tenant": "acme", "name": name, "labels": {"for": "all"}}, "rules": rules});
    let rule = json!({"clusterRoleSelectors": [{"matchLabels": {"for": "all"}}]});
    fake.put(GROUP, "clusterroles", json!({"metadata": {"tenant": "acme", "name": "sum"}, "aggregationRule": rule}));
    fake.put(GROUP, "clusterroles", role("a", json!([{"verbs": ["get"]}])));
    let rules = |f: &Fake| {
        let roles = f.list(GROUP, "clusterroles", "acme");
        roles.iter().find(|r| r["metadata"]["name"] == "sum").map(|r| r["rules"].clone())
    };
    fake.until("it has the rule", |f| rules(f) == Some(json!([{"verbs": ["get"]}]))).await;
    fake.remove(GROUP, "clusterroles", "acme", "", "a");
    fake.until("it has none", |f| rules(f) == Some(json!([]))).await;
    stop.stop();
    tasks.ended().await;
}
