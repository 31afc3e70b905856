//! The node as the API knows it: registered once, told when something changed, its heartbeat renewed.
//!
//! The first container runtime decides whether the node is ready; others may be down, which the conditions
//! `ContainerRuntimeReady` and `VmRuntimeReady` tell by workload.

use crate::agent;
use crate::config::Workload;
use crate::cri::Runtime;
use crate::events::Kind;
use crate::machine::{Machine, Pressure};
use api::Timestamp;
use k8s_cri::v1::{Image, VersionResponse};
use runtime::Stop;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// A node whose heartbeat is older is taken to be gone: four were missed.
const LEASE_SECS: u64 = 40;
/// A status that does not change is told this often all the same.
const STATUS_EVERY: Duration = Duration::from_secs(300);
/// Until the node is registered, as the API server may start beside us.
const REGISTER_EVERY: Duration = Duration::from_millis(500);
/// As many images as upstream tells of.
const IMAGES_MAX: usize = 50;

/// The version of Kubernetes whose kubelet's behaviour this agent has.
const KUBELET_VERSION: &str = "v1.36.2";

/// Keeps the node's objects in the API.
pub struct Registration {
    node: Arc<agent::Node>,
    runtimes: Vec<Runtime>,
    runtime_version: String,
    /// The last status told, and when.
    told: Option<(Value, Timestamp)>,
}

/// What a look at the node's runtimes and memory found.
struct Health {
    /// Why the node is not ready.
    unready: Option<String>,
    containers: bool,
    vms: bool,
    pressure: Pressure,
}

impl Registration {
    pub fn new(node: Arc<agent::Node>, runtimes: Vec<Runtime>, version: VersionResponse) -> Registration {
        let runtime_version = format!("{}://{}", version.runtime_name, version.runtime_version);
        Registration { node, runtimes, runtime_version, told: None }
    }

    /// Registers the node, then beats until `stop`.
    pub async fn run(mut self, stop: Stop) {
        tokio::select! {
            biased;
            // The lease runs out by itself.
            () = stop.stopped() => {}
            // Cancelled at shutdown.
            () = self.beat() => {}
        }
    }

    async fn beat(&mut self) {
        let mut failures = 0_u32;
        while let Err(error) = self.register().await {
            if failures == 0 {
                tracing::info!(%error, "the node cannot be registered yet");
            }
            failures += 1;
            tokio::time::sleep(REGISTER_EVERY * failures.min(20)).await;
        }
        tracing::info!(node = self.node.config.node_name, "the node is registered");
        self.node.recorder.node(Kind::Normal, "Starting", "Starting kubelet.");
        let mut heartbeat = tokio::time::interval(HEARTBEAT_EVERY);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            heartbeat.tick().await;
            let lease = self.renew_lease().await;
            let status = self.tell_status().await;
            for error in [lease.err(), status.err()].into_iter().flatten() {
                tracing::warn!(%error, "the node's heartbeat was not taken");
                if error.is_not_found() {
                    // Somebody deleted the node; it is alive and says so.
                    self.told = None;
                    if let Err(error) = self.register().await {
                        tracing::warn!(%error, "the node cannot be registered again");
                    }
                }
            }
        }
    }

    async fn register(&self) -> api::Result<()> {
        let config = &self.node.config;
        let labels = labels(&config.node_name, &self.node.machine);
        let mut spec = Map::new();
        if let Some(cidr) = &config.pod_cidr {
            spec.insert("podCIDR".to_owned(), json!(cidr));
            spec.insert("podCIDRs".to_owned(), json!([cidr]));
        }
        match self.node.cluster.node(&config.node_name).await? {
            None => {
                let metadata = json!({"name": config.node_name, "labels": labels});
                let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec});
                match self.node.cluster.create_node(&node).await {
                    Err(error) if error.is_already_exists() => Ok(()),
                    created => created.map(drop),
                }
            }
            Some(known) => {
                if !known["spec"]["podCIDR"].is_null() {
                    // It never changes once it is set.
                    spec.clear();
                }
                let patch = json!({"metadata": {"labels": labels}, "spec": spec});
                self.node.cluster.patch_node(&config.node_name, &patch).await.map(drop)
            }
        }
    }

    async fn renew_lease(&self) -> api::Result<()> {
        let name = &self.node.config.node_name;
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": "kube-node-lease"},
            "spec": {
                "holderIdentity": name,
                "leaseDurationSeconds": LEASE_SECS,
                "renewTime": Timestamp::now().to_micro_string(),
            },
        });
        self.node.cluster.renew_lease(name, &lease).await
    }

    /// Tells the node's status if it changed, or if it was not told for long.
    async fn tell_status(&mut self) -> api::Result<()> {
        let now = Timestamp::now();
        let health = self.look().await;
        let images = self.node.runtime.images().await.unwrap_or_default();
        let (before, told_at) = match &self.told {
            Some((status, at)) => (status.clone(), Some(*at)),
            None => {
                let known = self.node.cluster.node(&self.node.config.node_name).await?;
                (known.map(|mut n| n["status"].take()).unwrap_or_default(), None)
            }
        };
        let status = self.status(&health, &images, &before, now);
        let is_same = told_at.is_some_and(|at| now.since(at) < STATUS_EVERY) && undated(&status) == undated(&before);
        if is_same {
            return Ok(());
        }
        self.node.cluster.patch_node_status(&self.node.config.node_name, &json!({"status": status})).await?;
        let ready = condition(&status, "Ready");
        if told_at.is_some() && ready["status"] != condition(&before, "Ready")["status"] {
            let (reason, name) =
                (if ready["status"] == "True" { "NodeReady" } else { "NodeNotReady" }, &self.node.config.node_name);
            tracing::info!(node = name, reason, message = ready["message"].as_str(), "the node's state changed");
            self.node.recorder.node(Kind::Normal, reason, format!("Node {name} status is now: {reason}"));
        }
        self.told = Some((status, now));
        Ok(())
    }

    async fn look(&self) -> Health {
        let mut health = Health {
            unready: Some("container runtime is down".to_owned()),
            containers: false,
            vms: false,
            pressure: Pressure::read(&self.node.config.data_dir),
        };
        for runtime in &self.runtimes {
            let why = unready(runtime).await;
            match runtime.workload {
                Workload::Container => health.containers |= why.is_none(),
                Workload::Vm => health.vms |= why.is_none(),
            }
            if runtime.name == self.node.runtime.name {
                health.unready = why;
            }
        }
        health
    }

    fn status(&self, health: &Health, images: &[Image], before: &Value, now: Timestamp) -> Value {
        let agent::Node { config, machine, .. } = &*self.node;
        let capacity = json!({
            "cpu": machine.allocatable().cpu.to_string(),
            "memory": in_kibibytes(machine.memory_bytes),
            "ephemeral-storage": in_kibibytes(machine.storage_bytes),
            "pods": config.max_pods.to_string(),
        });
        json!({
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": addresses(config.node_ip, &config.node_name),
            "conditions": conditions(health, before, now),
            "nodeInfo": {
                "machineID": machine.machine_id,
                "systemUUID": machine.system_uuid,
                "bootID": machine.boot_id,
                "kernelVersion": machine.kernel_version,
                "osImage": machine.os_image,
                "containerRuntimeVersion": self.runtime_version,
                "kubeletVersion": KUBELET_VERSION,
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": machine.architecture,
            },
            "images": image_list(images),
        })
    }
}

/// Why a runtime cannot run pods.
async fn unready(runtime: &Runtime) -> Option<String> {
    let Ok(status) = runtime.status().await else { return Some("container runtime is down".to_owned()) };
    let broken =
        status.conditions.iter().find(|c| matches!(c.r#type.as_str(), "RuntimeReady" | "NetworkReady") && !c.status)?;
    let what = if broken.r#type == "NetworkReady" { "container runtime network" } else { "container runtime" };
    Some(format!("{what} not ready: {}=false reason:{} message:{}", broken.r#type, broken.reason, broken.message))
}

pub fn labels(name: &str, machine: &Machine) -> Value {
    json!({
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
    })
}

fn addresses(ip: IpAddr, name: &str) -> Value {
    json!([{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}])
}

/// As the kernel counts, so that a node's memory reads like elsewhere.
fn in_kibibytes(bytes: i64) -> String {
    format!("{}Ki", bytes / 1024)
}

fn image_list(images: &[Image]) -> Value {
    let mut images: Vec<&Image> = images.iter().collect();
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let names = |i: &Image| i.repo_digests.iter().chain(&i.repo_tags).cloned().collect::<Vec<_>>();
    images.iter().take(IMAGES_MAX).map(|i| json!({"names": names(i), "sizeBytes": i.size})).collect()
}

fn conditions(health: &Health, before: &Value, now: Timestamp) -> Value {
    let pressure = |kind: &'static str, is_low: bool, [low, low_text, fine, fine_text]: [&'static str; 4]| {
        let (reason, message) = if is_low { (low, low_text) } else { (fine, fine_text) };
        (kind, is_low, reason, message.to_owned())
    };
    let runtime = |kind: &'static str, is_ready: bool, what: &str| {
        let (reason, state) = if is_ready { ("RuntimeReady", "is") } else { ("RuntimeNotReady", "is not") };
        (kind, is_ready, reason, format!("a runtime for {what} {state} ready"))
    };
    let ready = match &health.unready {
        None => ("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned()),
        Some(why) => ("Ready", false, "KubeletNotReady", why.clone()),
    };
    let all = [
        pressure(
            "MemoryPressure",
            health.pressure.memory,
            [
                "KubeletHasInsufficientMemory",
                "kubelet has insufficient memory available",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ],
        ),
        pressure(
            "DiskPressure",
            health.pressure.disk,
            [
                "KubeletHasDiskPressure",
                "kubelet has disk pressure",
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            ],
        ),
        pressure(
            "PIDPressure",
            health.pressure.pids,
            [
                "KubeletHasInsufficientPID",
                "kubelet has insufficient PID available",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ],
        ),
        runtime("ContainerRuntimeReady", health.containers, "containers"),
        runtime("VmRuntimeReady", health.vms, "virtual machines"),
        ready,
    ];
    let dated = |(kind, is_true, reason, message): (&str, bool, &str, String)| {
        let status = if is_true { "True" } else { "False" };
        let known = condition(before, kind);
        let since = known.get("lastTransitionTime").filter(|_| known["status"] == status).cloned();
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now.to_string(),
            "lastTransitionTime": since.unwrap_or_else(|| json!(now.to_string())),
        })
    };
    all.into_iter().map(dated).collect()
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    status["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

/// A status without the times of its heartbeats, to see whether it changed.
fn undated(status: &Value) -> Value {
    let mut status = status.clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        if let Some(members) = condition.as_object_mut() {
            members.remove("lastHeartbeatTime");
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_the_time_of_its_last_transition() {
        let at = Timestamp::from_unix_secs;
        let health = |unready: Option<&str>| Health {
            unready: unready.map(str::to_owned),
            containers: unready.is_none(),
            vms: false,
            pressure: Pressure { memory: false, disk: true, pids: false },
        };
        let told = |health: &Health, before: &Value, now| json!({"conditions": conditions(health, before, at(now))});
        let first = told(&health(None), &Value::Null, 100);
        let second = told(&health(None), &first, 200);
        let third = told(&health(Some("container runtime is down")), &second, 300);
        let seen = |status: &Value, kind: &str| {
            let c = condition(status, kind);
            (c["status"].as_str().map(str::to_owned), c["lastTransitionTime"].as_str().map(str::to_owned))
        };
        let expected = |status: &str, secs| (Some(status.to_owned()), Some(at(secs).to_string()));
        assert_eq!(seen(&second, "Ready"), expected("True", 100));
        assert_eq!(seen(&third, "Ready"), expected("False", 300));
        assert_eq!(seen(&third, "DiskPressure"), expected("True", 100));
        assert_eq!(seen(&third, "ContainerRuntimeReady"), expected("False", 300));
        assert_eq!(seen(&third, "VmRuntimeReady"), expected("False", 100));
        assert_eq!(undated(&first), undated(&second));
    }
}
