//! Nodes without machines: pods are scheduled to them, run, crash, end and go. And the scripts that start them.

use kit::{Answer, HollowNodes, Kubectl, Options, Scratch, Server, checkout, run, wait_for};
use serde_json::Value;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until as many of the listed objects as are wanted satisfy a condition.
async fn wait_for_count(kubectl: &Kubectl, args: &[&str], wanted: usize, holds: impl Fn(&Value) -> bool) {
    wait_for(&format!("{wanted} of {args:?}"), DEADLINE, async || {
        let list = kubectl.json(args).await;
        let count = list["items"].as_array().map_or(0, |items| items.iter().filter(|item| holds(item)).count());
        if count == wanted { Ok(()) } else { Err(format!("{count} now")) }
    })
    .await;
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

#[tokio::test]
async fn a_tenants_pods_run_on_nodes_that_do_not_exist() {
    let server = Server::start(Options::without_node()).await;
    let args = ["--count", "30", "--zones", "3", "--crash-share", "1", "--run-for", "10ms", "--delete-nodes"];
    let mut nodes = HollowNodes::start(&server, &args);
    let admin = server.admin();
    wait_for_count(&admin, &["get", "nodes"], 30, is_ready).await;
    wait_for_count(&admin, &["-n", "kube-node-lease", "get", "leases"], 30, |lease| {
        lease["metadata"]["ownerReferences"][0]["kind"] == "Node"
    })
    .await;
    let tenant = server.tenant("hollow").await;
    let table = tenant.kubectl.ok(&["get", "nodes"]).await;
    let ready = table.lines().filter(|line| line.split_whitespace().nth(1) == Some("Ready"));
    assert_eq!(ready.count(), 30, "what a tenant is shown: {table}");
    tenant.kubectl.ok(&["create", "deployment", "web", "--image=nginx", "--replicas=60"]).await;
    tenant.kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]).await;
    let restarted = |pod: &Value| is_ready(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1;
    wait_for_count(&tenant.kubectl, &["get", "pods"], 60, restarted).await;
    tenant.kubectl.ok(&["run", "fails", "--image=busybox", "--restart=Never"]).await;
    wait_for_count(&tenant.kubectl, &["get", "pods", "-l", "run=fails"], 1, |pod| pod["status"]["phase"] == "Failed")
        .await;
    tenant.kubectl.ok(&["delete", "deployment/web", "pod/fails"]).await;
    wait_for_count(&tenant.kubectl, &["get", "pods"], 0, |_| true).await;
    assert!(nodes.terminate().await.success(), "{}", nodes.log());
    assert_eq!(admin.ok(&["get", "nodes", "-o", "name"]).await, "", "the nodes go with the process");
}

#[tokio::test]
async fn hollow_nodes_that_come_back_take_their_pods_up_again() {
    let server = Server::start(Options::without_node()).await;
    let args = ["--count", "3", "--start-after", "1h"];
    let mut nodes = HollowNodes::start(&server, &args);
    let admin = server.admin();
    wait_for_count(&admin, &["get", "nodes"], 3, is_ready).await;
    let tenant = server.tenant("hollow").await;
    tenant.kubectl.ok(&["create", "deployment", "web", "--image=nginx", "--replicas=6"]).await;
    wait_for_count(&tenant.kubectl, &["get", "pods"], 6, |pod| pod["spec"]["nodeName"].is_string()).await;
    assert!(nodes.terminate().await.success(), "{}", nodes.log());
    let _again = HollowNodes::start(&server, &["--count", "3"]);
    wait_for_count(&tenant.kubectl, &["get", "pods"], 6, is_ready).await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_before_anything_is_touched() {
    for (args, why) in [
        (["--count=3", "--vm-share=2"], "share between 0 and 1"),
        (["--count=3", "--start-after=fast"], "not a duration"),
        (["--count=3", "--label=x"], "NAME=VALUE"),
        (["--count=3", "--kubeconfig=/nonexistent"], "/nonexistent"),
    ] {
        let answer = kit::ursa(&[&["hollow-nodes"], &args[..]].concat()).await;
        assert_ne!(answer.code, Some(0), "{answer}");
        assert!(answer.stderr.contains(why), "{answer}");
    }
}

async fn script(name: &str, args: &[&str], env: &[(&str, &str)]) -> Answer {
    // The binary that is under test, instead of a build.
    let ursa = kit::binary();
    let mut all = vec![("URSA_BIN", ursa.as_os_str())];
    all.extend(env.iter().map(|(name, value)| (*name, value.as_ref())));
    run(checkout(name), args, &all, "").await
}

#[tokio::test]
async fn kubemark_starts_against_a_cluster_and_leaves_nothing_in_it() {
    let server = Server::start(Options::without_node()).await;
    let scratch = Scratch::new();
    let dir = scratch.join("kubemark");
    let dir = dir.to_str().expect("a path of ours");
    let admin = server.admin_kubeconfig();
    let args = ["--data-dir", dir, "--kubeconfig", admin.to_str().expect("a path of ours"), "--", "--zones", "2"];
    for nodes in ["7", "9"] {
        script("hack/start-kubemark.sh", &args, &[("KUBEMARK_NUM_NODES", nodes)]).await.ok();
    }
    let zones = server.admin().ok(&["get", "nodes", "-o", "name", "-l", "topology.kubernetes.io/zone=zone-1"]).await;
    assert_eq!(zones.lines().count(), 4, "{zones}");
    for _ in 0..2 {
        script("hack/stop-kubemark.sh", &["--data-dir", dir], &[]).await.ok();
    }
    assert_eq!(server.admin().ok(&["get", "nodes", "-o", "name"]).await, "");
    assert!(!std::path::Path::new(dir).exists());
    let wrong = script("hack/start-kubemark.sh", &args, &[("NUM_NODES", "many")]).await;
    assert!(wrong.code == Some(1) && wrong.stderr.contains("NUM_NODES is 'many'"), "{wrong}");
}
