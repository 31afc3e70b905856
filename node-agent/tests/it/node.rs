//! A node agent on a containerd of the test's own.

use crate::cluster::Cluster;
use kit::{Containerd, wait_for};
use node_agent::{Config, NodeAgent, NodeServer};
use runtime::{Stop, Tasks};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A node in a second at most, a pod in a few.
pub const SOON: Duration = Duration::from_secs(60);

/// Why no container can be run here, printed; `None` where one can.
pub fn skipped() -> bool {
    let why = Containerd::missing();
    if let Some(why) = why {
        println!("skipped: {why}");
    }
    why.is_some()
}

/// A running agent.
pub struct Node {
    pub cluster: Cluster,
    pub server: NodeServer,
    stop: Stop,
    tasks: Tasks,
}

impl Node {
    pub fn start(cluster: &Cluster, containerd: &Containerd) -> Node {
        Node::start_at(cluster, containerd, &containerd.endpoint())
    }

    /// An agent that takes another way to its runtime.
    pub fn start_at(cluster: &Cluster, containerd: &Containerd, endpoint: &str) -> Node {
        let runtimes = endpoint.parse().expect("an endpoint");
        let ip = "192.0.2.7".parse().expect("an address");
        let mut config = Config::new("n1", runtimes, containerd.dir().to_owned(), ip);
        config.kubernetes_service = Some(("192.0.2.1".to_owned(), 6443));
        let agent = NodeAgent::new(config, Arc::new(cluster.clone()));
        let (server, stop, tasks) = (agent.server(), Stop::new(), Tasks::new());
        let running = agent.run(stop.clone());
        tasks.spawn("agent", async move { running.await.expect("the agent runs") });
        Node { cluster: cluster.clone(), server, stop, tasks }
    }

    /// Ends the agent, not its pods.
    pub async fn stop(self) {
        self.stop.stop();
        self.tasks.ended().await;
    }

    /// Waits for something of a pod.
    pub async fn wait_pod(&self, tenant: &str, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, SOON, async || {
            let pod = self.cluster.pod(tenant, name);
            if is(&pod) {
                Ok(pod)
            } else {
                Err(format!("{:#}\n{:?}", pod["status"], self.cluster.events(tenant, name)))
            }
        })
        .await
    }

    pub async fn ready(&self, tenant: &str, name: &str) -> Value {
        self.wait_pod(tenant, name, "a ready pod", |pod| condition(pod, "Ready") == "True").await
    }

    pub async fn phase(&self, tenant: &str, name: &str, phase: &str) -> Value {
        self.wait_pod(tenant, name, phase, |pod| pod["status"]["phase"] == phase).await
    }

    pub async fn gone(&self, tenant: &str, name: &str) {
        self.wait_pod(tenant, name, "a pod that is gone", Value::is_null).await;
    }

    /// What a container wrote, of the pod of tenant `acme`.
    pub async fn logs(&self, pod: &str, container: &str, query: &str) -> String {
        let (code, text) =
            crate::front::get(&self.server, &format!("/containerLogs/acme/default/{pod}/{container}{query}")).await;
        format!("{}{text}", if code == 200 { String::new() } else { format!("{code}: ") })
    }
}

pub fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    let conditions = pod["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|c| c["type"] == kind);
    found.and_then(|c| c["status"].as_str()).unwrap_or_default()
}

/// A container that runs a shell script.
pub fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "ursa.local/web:1", "command": ["/bin/sh", "-c", script], "imagePullPolicy": "IfNotPresent",
           "terminationMessagePath": "/dev/termination-log"})
}

/// A script that runs until it is told to end.
pub const WAIT: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";

/// Mounts below a directory.
pub fn mounts_below(dir: &Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(dir)).map(str::to_owned).collect()
}
