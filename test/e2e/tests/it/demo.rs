//! The demo: a tenant's Deployment runs as containers, rolls, scales and goes.

use e2e::{Cluster, PODS_DEADLINE, page};
use kit::wait_for;

#[tokio::test]
async fn a_deployment_runs_as_containers() {
    let Some(cluster) = Cluster::shared().await else { return };
    let demo = cluster.demo("runs").await;
    let pods = demo.pods(2).await;
    assert_ne!(pods[0].address, pods[1].address);
    for pod in &pods {
        assert_eq!(page(pod).await, format!("This is web 1 in pod {}.\n", pod.name));
    }
    let shown = demo.kubectl.ok(&["get", "pods", "-o", "wide"]).await;
    for pod in &pods {
        let row = shown.lines().find(|row| row.starts_with(&pod.name)).unwrap_or_else(|| panic!("{shown}"));
        assert!(row.contains("1/1") && row.contains("Running") && row.contains(&pod.address), "{shown}");
    }
    let described = demo.kubectl.ok(&["describe", "pod", &pods[0].name]).await;
    for event in ["Scheduled", "Pulled", "Created", "Started"] {
        assert!(described.contains(event), "no event {event} in {described}");
    }
}

#[tokio::test]
async fn a_rollout_to_a_second_image_can_be_undone_and_restarted() {
    let Some(cluster) = Cluster::shared().await else { return };
    let demo = cluster.demo("rolls").await;
    demo.kubectl.ok(&["set", "image", "deployment/web", "web=ursa.local/web:2"]).await;
    demo.rolled_out().await;
    for pod in demo.pods(2).await {
        assert_eq!(page(&pod).await, format!("This is web 2 in pod {}.\n", pod.name));
    }
    demo.kubectl.ok(&["rollout", "undo", "deployment/web"]).await;
    demo.rolled_out().await;
    let undone = demo.pods(2).await;
    for pod in &undone {
        assert_eq!(page(pod).await, format!("This is web 1 in pod {}.\n", pod.name));
    }
    demo.kubectl.ok(&["rollout", "restart", "deployment/web"]).await;
    demo.rolled_out().await;
    let restarted = demo.pods(2).await;
    assert!(restarted.iter().all(|pod| undone.iter().all(|old| old.name != pod.name)), "{undone:?} {restarted:?}");
}

#[tokio::test]
async fn a_deployment_scales_to_five_and_takes_its_containers_along_when_deleted() {
    let Some(cluster) = Cluster::shared().await else { return };
    let demo = cluster.demo("scales").await;
    demo.kubectl.ok(&["scale", "deployment/web", "--replicas=5"]).await;
    let pods = demo.pods(5).await;
    let running = || {
        let tasks = cluster.containerd.tasks();
        tasks.iter().filter(|task| pods.iter().any(|pod| pod.container == task.container)).count()
    };
    assert_eq!(running(), 5);
    demo.kubectl.ok(&["delete", "deployment", "web"]).await;
    demo.pods(0).await;
    wait_for("the containers to end", PODS_DEADLINE, async || match running() {
        0 => Ok(()),
        left => Err(left),
    })
    .await;
    assert_eq!(demo.kubectl.json(&["get", "replicasets"]).await["items"], serde_json::json!([]));
}
