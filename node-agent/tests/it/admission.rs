//! What the node takes, and what it hears while its runtime does not answer.

use crate::cluster::Cluster;
use crate::node::{Node, SOON, WAIT, shell, skipped};
use kit::{Containerd, wait_for};
use runtime::Tasks;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

const NODE: &str = "/api/v1/nodes/n1";

/// A pod that runs until it is told to end, and asks for CPUs.
fn asks(cpu: &str) -> Value {
    let mut container = shell("c", WAIT);
    container["resources"] = json!({"requests": {"cpu": cpu}});
    json!({"containers": [container]})
}

#[track_caller]
fn assert_rejected(pod: &Value, reason: &str, message: &str) {
    let status = &pod["status"];
    assert_eq!([&status["reason"], &status["message"]], [&json!(reason), &json!(message)]);
}

#[tokio::test]
async fn what_does_not_fit_is_rejected_and_what_runs_stays_through_a_restart() {
    if skipped() {
        return;
    }
    let (cluster, containerd) = (Cluster::default(), Containerd::start().await);
    let node = Node::start(&cluster, &containerd);
    let object = wait_for("the node", SOON, async || {
        let object = cluster.get(NODE).unwrap_or_default();
        if object["status"]["capacity"]["cpu"].is_string() { Ok(object) } else { Err("it is not there") }
    })
    .await;
    let cpus = object["status"]["capacity"]["cpu"].as_str().expect("CPUs").to_owned();
    cluster.run_pod("acme", "holds", asks(&cpus));
    node.ready("acme", "holds").await;
    cluster.run_pod("other", "late", asks("100m"));
    let late = node.phase("other", "late", "Failed").await;
    let message = format!(
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 100, used: {cpus}000, capacity: {cpus}000"
    );
    assert_rejected(&late, "OutOfcpu", &message);
    wait_for("its event", SOON, async || {
        let events = cluster.events("other", "late");
        if events == [("OutOfcpu".to_owned(), message.clone())] { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;

    let mut picky = asks("0");
    picky["nodeSelector"] = json!({"disk": "ssd"});
    cluster.run_pod("acme", "picky", picky.clone());
    let rejected = node.phase("acme", "picky", "Failed").await;
    let message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    assert_rejected(&rejected, "NodeAffinity", &format!("Pod was rejected: {message}"));
    let mut labelled = cluster.get(NODE).expect("the node");
    labelled["metadata"]["labels"]["disk"] = json!("ssd");
    cluster.put(NODE, labelled);
    cluster.run_pod("acme", "pleased", picky);
    node.ready("acme", "pleased").await;

    node.stop().await;
    let before = containerd.tasks();
    // Before the one that runs, by its uid.
    cluster.run_pod("acme", "also", asks(&cpus));
    let node = Node::start(&cluster, &containerd);
    node.phase("acme", "also", "Failed").await;
    assert_eq!(cluster.pod("acme", "holds")["status"]["phase"], "Running");
    assert_eq!(containerd.tasks(), before);
    cluster.delete_pod("acme", "holds", 5);
    node.gone("acme", "holds").await;
    cluster.run_pod("acme", "next", asks(&cpus));
    node.ready("acme", "next").await;
    for (tenant, name) in
        [("acme", "next"), ("acme", "also"), ("acme", "pleased"), ("acme", "picky"), ("other", "late")]
    {
        cluster.delete_pod(tenant, name, 5);
        node.gone(tenant, name).await;
    }
    assert_eq!(containerd.tasks(), []);
    node.stop().await;
}

/// A way to a runtime on which answers can be held back.
struct Slow {
    socket: PathBuf,
    hangs: Arc<AtomicBool>,
    /// A question came and got no answer.
    unanswered: Arc<Notify>,
}

impl Slow {
    fn before(runtime: &Path, dir: &Path, tasks: &Tasks) -> Slow {
        let socket = dir.join("slow.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let slow = Slow { socket, hangs: Arc::default(), unanswered: Arc::default() };
        let (runtime, hangs, unanswered) = (runtime.to_owned(), slow.hangs.clone(), slow.unanswered.clone());
        let all = tasks.clone();
        tasks.spawn("slow", async move {
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                let far = UnixStream::connect(&runtime).await.expect("a runtime");
                let ((mut asks, mut hears), (mut answers, mut asked)) = (near.into_split(), far.into_split());
                let (hangs, unanswered) = (hangs.clone(), unanswered.clone());
                all.spawn("answers", async move {
                    let _ = tokio::io::copy(&mut answers, &mut hears).await;
                });
                all.spawn("questions", async move {
                    let mut bytes = vec![0; 64 << 10];
                    while let Ok(length @ 1..) = asks.read(&mut bytes).await {
                        if hangs.load(Ordering::SeqCst) {
                            unanswered.notify_one();
                        } else if asked.write_all(&bytes[..length]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        slow
    }
}

#[tokio::test]
async fn an_agent_whose_runtime_hangs_ends_at_once_all_the_same() {
    if skipped() {
        return;
    }
    let (cluster, containerd) = (Cluster::default(), Containerd::start().await);
    let (dir, tasks) = (tempfile::tempdir().expect("a directory"), Tasks::new());
    let slow = Slow::before(&containerd.socket(), dir.path(), &tasks);
    let node = Node::start_at(&cluster, &containerd, &format!("slow,container,unix://{}", slow.socket.display()));
    cluster.run_pod("acme", "web", asks("0"));
    node.ready("acme", "web").await;
    slow.hangs.store(true, Ordering::SeqCst);
    slow.unanswered.notified().await;
    // Less than the agent waits for an answer.
    tokio::time::timeout(Duration::from_secs(5), node.stop()).await.expect("an end");
}
