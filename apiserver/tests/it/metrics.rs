//! What nodes and pods use, as nodes report it and clients read it.

use crate::{Api, names};
use serde_json::{Value, json};

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";

fn pod(tenant: &str, name: &str, cpu: &str) -> Value {
    let usage = json!({"cpu": cpu, "memory": "64Mi"});
    json!({"tenant": tenant, "namespace": "default", "name": name, "containers": [{"name": "c", "usage": usage}]})
}

fn report(node: &str, pods: &[Value]) -> Value {
    json!({"kind": "NodeMetrics", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {"name": node},
        "timestamp": "2026-01-02T03:04:05Z", "window": "15s", "usage": {"cpu": "2500m", "memory": "7Gi"}, "pods": pods})
}

async fn place(user: &crate::User<'_>, name: &str, node: &str) {
    let pod = json!({"metadata": {"name": name, "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}});
    let (code, answer) = user.post("/api/v1/namespaces/default/pods", pod).await;
    assert_eq!(code, 201, "{answer}");
}

#[tokio::test]
async fn metrics_are_served_while_nodes_report_to_each_tenant_its_own() {
    let api = Api::start().await;
    let (system, acme, beta) = (api.admin("system"), api.tenant("acme").await, api.tenant("beta").await);
    for (node, labels) in [("n1", json!({})), ("n2", json!({})), ("own", json!({"node.ursa.dev/tenant": "acme"}))] {
        let node = json!({"metadata": {"name": node, "labels": labels}});
        assert_eq!(system.post("/api/v1/nodes", node).await.0, 201);
    }
    place(&acme, "web", "n1").await;
    place(&beta, "web", "n1").await;
    let groups = acme.get("/apis").await.1;
    assert!(!groups.to_string().contains("metrics.k8s.io"), "{groups}");
    assert_eq!(acme.get(&format!("{METRICS}/namespaces/default/pods")).await.0, 404);

    // A node reports itself, and only itself; of pods that are not on it, it is not asked.
    let agent = api.user("system", "system:node:n1", &["system:nodes"]);
    let told = report("n1", &[pod("acme", "web", "30m"), pod("beta", "web", "5m")]);
    let (code, answer) = agent.put(&format!("{METRICS}/nodes/n1"), &told).await;
    assert_eq!(code, 200, "{answer}");
    assert_eq!(agent.put(&format!("{METRICS}/nodes/n2"), &report("n2", &[])).await.0, 403);
    assert_eq!(acme.put(&format!("{METRICS}/nodes/n1"), &told).await.0, 405);
    assert_eq!(system.put(&format!("{METRICS}/nodes/none"), &told).await.0, 404);
    assert_eq!(system.put(&format!("{METRICS}/nodes/n2"), &json!({})).await.0, 400);
    for (node, pods) in [("n2", vec![pod("acme", "web", "900m")]), ("own", Vec::new())] {
        assert_eq!(system.put(&format!("{METRICS}/nodes/{node}"), &report(node, &pods)).await.0, 200);
    }

    let (code, list) = acme.get(&format!("{METRICS}/namespaces/default/pods?labelSelector=app%3Dweb")).await;
    assert_eq!((code, list["kind"].as_str(), names(&list)), (200, Some("PodMetricsList"), vec!["web"]), "{list}");
    let usage = json!({"cpu": "30m", "memory": "64Mi"});
    assert_eq!(list["items"][0]["containers"], json!([{"name": "c", "usage": usage}]));
    assert_eq!(list["items"][0]["window"], "15s");
    assert_eq!(names(&acme.get(&format!("{METRICS}/pods?labelSelector=app%3Dx")).await.1), Vec::<&str>::new());
    let one = beta.get(&format!("{METRICS}/namespaces/default/pods/web")).await.1;
    assert_eq!((&one["kind"], &one["containers"][0]["usage"]["cpu"]), (&json!("PodMetrics"), &json!("5m")));
    assert_eq!(acme.get(&format!("{METRICS}/namespaces/default/pods/other")).await.0, 404);
    let all = system.get("/apis/metrics.k8s.io/v1beta1/tenants/all/pods").await.1;
    assert_eq!(names(&all), ["web", "web"], "{all}");

    // Of a shared node a tenant is told what its own pods use; of one for it alone, everything.
    let usage = |list: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|n| (text(&n["metadata"]["name"]), text(&n["usage"]["cpu"]))).collect()
    };
    let pairs = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        all.iter().map(|(name, cpu)| ((*name).to_owned(), (*cpu).to_owned())).collect()
    };
    let seen = usage(&acme.get(&format!("{METRICS}/nodes")).await.1);
    assert_eq!(seen, pairs(&[("n1", "30m"), ("n2", "900m"), ("own", "2500m")]));
    assert_eq!(usage(&beta.get(&format!("{METRICS}/nodes")).await.1), pairs(&[("n1", "5m"), ("n2", "0")]));
    assert_eq!(system.get(&format!("{METRICS}/nodes/n1")).await.1["usage"]["cpu"], "2500m");
    assert_eq!(beta.get(&format!("{METRICS}/nodes/own")).await.0, 404);

    let groups = acme.get("/apis").await.1;
    assert!(groups.to_string().contains("metrics.k8s.io/v1beta1"), "{groups}");
    let resources = acme.get(METRICS).await.1;
    assert_eq!(
        (&resources["kind"], &resources["resources"][1]["kind"]),
        (&json!("APIResourceList"), &json!("PodMetrics"))
    );
    assert_eq!(acme.delete(&format!("{METRICS}/nodes/n1"), json!({})).await.0, 405);
    assert_eq!(acme.get(&format!("{METRICS}/services")).await.0, 404);
}
