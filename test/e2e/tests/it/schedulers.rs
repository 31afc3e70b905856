//! Several schedulers at once, which know nothing of each other but what the API tells them.

use kit::{Component, HollowNodes, Options, Server};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Of nodes, and of the CPU that each offers and each pod asks for: nodes take four pods each.
const NODES: usize = 4;
const NODE_MILLIS: i64 = 2000;
const POD_MILLIS: i64 = 500;
const FIT: usize = NODES * (NODE_MILLIS / POD_MILLIS) as usize;

fn pods(round: usize, count: usize) -> String {
    let resources = json!({"requests": {"cpu": format!("{POD_MILLIS}m")}});
    let pod = |number: usize| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{round}-{number}")},
            "spec": {"containers": [{"name": "c", "image": "nginx", "resources": resources}]},
        })
    };
    json!({"apiVersion": "v1", "kind": "List", "items": (0..count).map(pod).collect::<Vec<Value>>()}).to_string()
}

/// Follows every change of pods since a version: no node ever holds more than it offers, no pod ever changes its node.
fn check_history(events: &str) -> usize {
    let mut placed: BTreeMap<String, String> = BTreeMap::new();
    let mut bindings = 0;
    for line in events.lines().filter(|line| !line.is_empty()) {
        let event: Value = serde_json::from_str(line).expect("an event is JSON");
        let pod = &event["object"];
        let name = pod["metadata"]["uid"].as_str().expect("a pod has a uid").to_owned();
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if event["type"] == "DELETED" {
            placed.remove(&name);
            continue;
        }
        if node.is_empty() {
            assert!(!placed.contains_key(&name), "{name} lost its node at {}", pod["metadata"]["resourceVersion"]);
            continue;
        }
        match placed.insert(name.clone(), node.to_owned()) {
            Some(before) => assert_eq!(before, node, "{name} was bound twice"),
            None => bindings += 1,
        }
        let held = placed.values().filter(|other| *other == node).count() as i64 * POD_MILLIS;
        assert!(held <= NODE_MILLIS, "{node} holds {held} at {}", pod["metadata"]["resourceVersion"]);
    }
    bindings
}

/// T44.
#[tokio::test]
async fn schedulers_that_are_killed_at_random_neither_overcommit_a_node_nor_bind_a_pod_twice() {
    let server = Server::start(Options::without_node().arg("--scheduler=false")).await;
    let _nodes = HollowNodes::start(&server, &["--count", &NODES.to_string(), "--cpu", "2"]);
    let tenant = server.tenant("crowd").await;
    let start = tenant.kubectl.ok(&["get", "--raw", "/api/v1/pods"]).await;
    let start: Value = serde_json::from_str(&start).expect("a list is JSON");
    let version = start["metadata"]["resourceVersion"].as_str().expect("a list has a version");
    let mut schedulers = [0, 1].map(|_| Component::start(&server, "scheduler", &[]));
    for round in 0..4 {
        tenant.kubectl.run(&["create", "-f", "-"], &pods(round, 6)).await.ok();
        let victim = &mut schedulers[round % 2];
        victim.kill9();
        *victim = Component::start(&server, "scheduler", &[]);
        if round == 2 {
            tenant.kubectl.ok(&["delete", "pod", "p0-0", "p0-1", "p0-2", "--now"]).await;
        }
    }
    let bound = ["get", "pods", "-o", "jsonpath={range .items[*]}{.spec.nodeName}{\"\\n\"}{end}"];
    kit::wait_for("the nodes to be full", Duration::from_secs(60), async || {
        let count = tenant.kubectl.ok(&bound).await.lines().filter(|node| !node.is_empty()).count();
        if count == FIT { Ok(()) } else { Err(format!("{count} of {FIT}")) }
    })
    .await;
    let path = format!("/api/v1/pods?watch=true&timeoutSeconds=2&resourceVersion={version}");
    let history = tenant.kubectl.ok(&["get", "--raw", &path]).await;
    assert!(check_history(&history) >= FIT, "{history}");
}

#[tokio::test]
async fn an_operator_is_told_why_a_pod_waits() {
    let server = Server::start(Options::without_node()).await;
    let _nodes = HollowNodes::start(&server, &["--count", "2", "--cpu", "2"]);
    let tenant = server.tenant("asking").await;
    let large = pods(0, 1).replace("500m", "64");
    tenant.kubectl.run(&["create", "-f", "-"], &large).await.ok();
    let config = server.admin_kubeconfig().display().to_string();
    let explain = ["explain", "pod", "p0-0", "--tenant", "asking", "--kubeconfig", &config];
    let told = kit::wait_for("the reason", Duration::from_secs(30), async || {
        let told = kit::ursa(&explain).await.ok();
        if told.matches("Insufficient cpu").count() >= 2 { Ok(told) } else { Err(told) }
    })
    .await;
    assert!(told.contains("pod default/p0-0 of tenant asking"), "{told}");
}
