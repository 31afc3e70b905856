//! A server that is killed or told to end: nothing acknowledged is lost, and no container notices.

use e2e::Cluster;
use kit::{Options, Server};
use std::time::{Duration, Instant};

/// What a user may be told to wait for at most.
const RESTART_MAX: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_killed_server_comes_back_with_every_write_and_the_same_containers() {
    let Some(mut cluster) = Cluster::start().await else { return };
    let demo = cluster.demo("crash").await;
    let pods = demo.pods(2).await;
    let tasks = cluster.containerd.tasks();
    assert_eq!(tasks.len(), 4, "two pods with a sandbox each: {tasks:?}");
    for n in 0..10 {
        demo.kubectl.ok(&["create", "configmap", &format!("written-{n}")]).await;
    }

    cluster.server.kill9();
    let began = Instant::now();
    cluster.server.restart().await;
    let written = demo.kubectl.ok(&["get", "configmaps", "-o", "name"]).await;
    let took = began.elapsed();
    for n in 0..10 {
        assert!(written.contains(&format!("configmap/written-{n}\n")), "written-{n} is not in {written}");
    }
    assert!(took < RESTART_MAX, "{took:?} until the first answer");

    // Once the node agent has started two more, it has looked at the first two.
    demo.kubectl.ok(&["scale", "deployment/web", "--replicas=4"]).await;
    let now = demo.pods(4).await;
    assert!(pods.iter().all(|pod| now.contains(pod)), "{pods:?} {now:?}");
    let tasks_now = cluster.containerd.tasks();
    assert!(tasks.iter().all(|task| tasks_now.contains(task)), "{tasks:?} {tasks_now:?}");
    assert_eq!(tasks_now.len(), 8, "{tasks_now:?}");
}

#[tokio::test]
async fn a_server_that_is_told_to_end_exits_with_0_and_keeps_everything() {
    let mut server = Server::start(Options::without_node()).await;
    let tenant = server.tenant("term").await;
    tenant.kubectl.ok(&["create", "configmap", "kept"]).await;
    let watch = tenant.kubectl.lines(&["get", "configmaps", "--watch"]);
    assert_eq!(server.terminate().await.code(), Some(0), "{}", server.log());
    drop(watch);
    server.restart().await;
    tenant.kubectl.ok(&["get", "configmap", "kept"]).await;
}
