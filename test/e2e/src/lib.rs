//! What the end-to-end tests share: one server with a node for all of them, a tenant for each, and the demo in it.

use kit::{Containerd, Kubectl, Options, Server, Tenant, checkout, run, wait_for};
use serde_json::Value;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Mutex;

/// Starting or ending a few containers on a busy machine takes less.
pub const PODS_DEADLINE: Duration = Duration::from_secs(60);

/// A server whose node is this machine. Dropped from first to last: the server, then its containers.
pub struct Cluster {
    pub server: Server,
    pub containerd: Containerd,
}

impl Cluster {
    /// One of the test's own; `None`, with the reason printed, where containers cannot run.
    pub async fn start() -> Option<Cluster> {
        if let Some(why) = Containerd::missing() {
            println!("skipped: {why}");
            return None;
        }
        let containerd = Containerd::start().await;
        let server = Server::start(Options::on(&containerd)).await;
        Some(Cluster { server, containerd })
    }

    /// The one that tests share. It ends with the last of them.
    pub async fn shared() -> Option<Arc<Cluster>> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(cluster) = shared.upgrade() {
            return Some(cluster);
        }
        let cluster = Arc::new(Cluster::start().await?);
        *shared = Arc::downgrade(&cluster);
        Some(cluster)
    }

    /// A tenant with the demo's Deployment rolled out.
    pub async fn demo(&self, tenant: &str) -> Demo {
        let Tenant { kubectl, .. } = self.server.tenant(tenant).await;
        let manifest = checkout("hack/demo/web.yaml");
        kubectl.ok(&["apply", "-f", &manifest.to_string_lossy()]).await;
        let demo = Demo { kubectl };
        demo.rolled_out().await;
        demo
    }
}

/// The Deployment `web` in the namespace `default` of a tenant.
pub struct Demo {
    pub kubectl: Kubectl,
}

/// What a test looks at in a running pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    pub name: String,
    pub address: String,
    /// As the runtime names it.
    pub container: String,
}

impl Demo {
    pub async fn rolled_out(&self) {
        self.kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=90s"]).await;
    }

    /// The pods, once as many as asked for are Ready and no other is left.
    pub async fn pods(&self, count: usize) -> Vec<Pod> {
        wait_for(&format!("{count} pods to be Ready"), PODS_DEADLINE, async || {
            let list = self.kubectl.json(&["get", "pods", "-l", "app=web"]).await;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let pods: Option<Vec<Pod>> = items.iter().map(ready_pod).collect();
            pods.filter(|pods| pods.len() == count).ok_or_else(|| format!("{list:#}"))
        })
        .await
    }
}

fn ready_pod(pod: &Value) -> Option<Pod> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let container = &pod["status"]["containerStatuses"][0];
    if pod["status"]["phase"] != "Running"
        || container["ready"] != true
        || !pod["metadata"]["deletionTimestamp"].is_null()
    {
        return None;
    }
    Some(Pod {
        name: text(&pod["metadata"]["name"])?,
        address: text(&pod["status"]["podIP"])?,
        container: text(&container["containerID"])?.strip_prefix("containerd://")?.to_owned(),
    })
}

/// What a pod's web server answers.
pub async fn page(pod: &Pod) -> String {
    let url = format!("http://{}:8080/", pod.address);
    run("curl", &["--silent", "--show-error", "--fail", "--max-time", "10", &url], &[], "").await.ok()
}
