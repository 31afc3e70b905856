//! What a hollow node reads of a pod, and the status that it reports. Pure.

use crate::node;
use api::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;

/// The part of a pod that a hollow node acts by.
#[derive(Clone, Debug, Deserialize)]
pub struct Pod {
    pub metadata: Metadata,
    #[serde(default)]
    pub spec: Spec,
    #[serde(default)]
    pub status: Status,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    pub tenant: String,
    pub uid: String,
    pub resource_version: String,
    #[serde(default)]
    pub deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub restart_policy: String,
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub resources: Resources,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub requests: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    pub phase: String,
    pub container_statuses: Vec<ContainerStatus>,
    /// When the node first reported the pod.
    pub start_time: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub restart_count: u32,
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Succeeded,
    Failed,
}

impl Ending {
    fn terminated(self, began: &str, now: &str) -> Value {
        let (code, reason) = match self {
            Ending::Succeeded => (0, "Completed"),
            Ending::Failed => (1, "Error"),
        };
        json!({"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": now})
    }
}

impl Pod {
    /// A number as good as random that stays with the pod.
    pub fn random(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.metadata.uid.hash(&mut hasher);
        hasher.finish()
    }

    /// How often the first container was restarted.
    pub fn restarts(&self) -> u32 {
        self.status.container_statuses.first().map_or(0, |status| status.restart_count)
    }

    /// The patch that reports all containers running. The first has been `restarts` times there before.
    pub fn running(&self, node: u32, restarts: u32, now: Timestamp) -> Value {
        let now = now.to_string();
        let began = self.status.start_time.as_deref().unwrap_or(&now);
        let (host, ip) = (node::address(node).to_string(), self.address().to_string());
        let container = |(position, container): (usize, &Container)| {
            let restarts = if position == 0 { restarts } else { 0 };
            let mut status = container.status(json!({"running": {"startedAt": now}}), true);
            status["restartCount"] = json!(restarts);
            if restarts > 0 {
                status["lastState"] = json!({"terminated": Ending::Failed.terminated(began, &now)});
            }
            status
        };
        self.patch(json!({
            "phase": "Running",
            "hostIP": host,
            "hostIPs": [{"ip": host}],
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "startTime": began,
            "conditions": conditions(true, "", &now),
            "initContainerStatuses": self.init_statuses(&now),
            "containerStatuses": self.spec.containers.iter().enumerate().map(container).collect::<Value>(),
        }))
    }

    /// The patch that reports the end of all containers.
    pub fn ended(&self, ending: Ending, now: Timestamp) -> Value {
        let now = now.to_string();
        let began = self.status.start_time.as_deref().unwrap_or(&now);
        let container = |container: &Container| {
            let mut status = container.status(json!({"terminated": ending.terminated(began, &now)}), false);
            status["restartCount"] = json!(self.restarts());
            status
        };
        let (phase, reason) = match ending {
            Ending::Succeeded => ("Succeeded", "PodCompleted"),
            Ending::Failed => ("Failed", "PodFailed"),
        };
        self.patch(json!({
            "phase": phase,
            "conditions": conditions(false, reason, &now),
            "containerStatuses": self.spec.containers.iter().map(container).collect::<Value>(),
        }))
    }

    fn init_statuses(&self, now: &str) -> Value {
        let done = |container: &Container| {
            container.status(json!({"terminated": Ending::Succeeded.terminated(now, now)}), true)
        };
        self.spec.init_containers.iter().map(done).collect()
    }

    /// Only for this very pod: one of the same name that came later is not meant.
    fn patch(&self, status: Value) -> Value {
        json!({"metadata": {"uid": self.metadata.uid}, "status": status})
    }

    /// An address that stays with the pod, in a block that nobody routes.
    fn address(&self) -> Ipv4Addr {
        let low = u32::try_from(self.random() % (1 << 24)).expect("24 bits");
        Ipv4Addr::from_bits(u32::from_be_bytes([10, 0, 0, 0]) + low)
    }
}

impl Container {
    fn status(&self, state: Value, ready: bool) -> Value {
        json!({
            "name": self.name,
            "image": self.image,
            "imageID": format!("hollow://{}", self.image),
            "containerID": format!("hollow://{}", self.name),
            "ready": ready,
            "started": ready,
            "restartCount": 0,
            "state": state,
        })
    }
}

fn conditions(ready: bool, reason: &str, now: &str) -> Value {
    let condition = |kind: &str, is_true: bool| {
        let mut condition =
            json!({"type": kind, "status": if is_true { "True" } else { "False" }, "lastTransitionTime": now});
        if !reason.is_empty() {
            condition["reason"] = json!(reason);
        }
        condition
    };
    json!([
        condition("PodReadyToStartContainers", ready),
        condition("Initialized", true),
        condition("Ready", ready),
        condition("ContainersReady", ready),
    ])
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A pod with one container, in a phase, as the API shows it.
    pub fn pod(phase: &str, restart_policy: &str) -> Pod {
        let pod = json!({
            "metadata": {"name": "web-1", "namespace": "default", "tenant": "acme", "uid": "u-1", "resourceVersion": "5"},
            "spec": {"restartPolicy": restart_policy, "nodeName": "hollow-1",
                "initContainers": [{"name": "init", "image": "busybox"}],
                "containers": [{"name": "web", "image": "nginx"}]},
            "status": {"phase": phase, "startTime": "2026-01-02T03:00:00Z"},
        });
        serde_json::from_value(pod).expect("a pod")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::pod;
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-02T03:04:05Z").expect("a time")
    }

    #[test]
    fn a_running_pod_is_ready_with_an_address() {
        let patch = pod("Pending", "Always").running(7, 0, now());
        assert_eq!(patch["metadata"]["uid"], "u-1");
        let status = &patch["status"];
        assert_eq!(status["phase"], "Running");
        assert_eq!(status["hostIP"], node::address(7).to_string());
        assert_eq!(status["podIPs"][0]["ip"], status["podIP"]);
        assert_eq!(status["containerStatuses"][0]["name"], "web");
        assert_eq!(status["containerStatuses"][0]["ready"], true);
        assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
        assert!(status["conditions"].as_array().expect("a list").iter().all(|c| c["status"] == "True"));
    }

    #[test]
    fn a_restarted_container_says_how_it_ended_before() {
        let status = pod("Running", "Always").running(7, 1, now())["status"]["containerStatuses"][0].take();
        assert_eq!(status["restartCount"], 1);
        assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
        assert_eq!(status["lastState"]["terminated"]["startedAt"], "2026-01-02T03:00:00Z");
    }

    #[test]
    fn an_ended_pod_says_how() {
        for (ending, phase, code) in [(Ending::Succeeded, "Succeeded", 0), (Ending::Failed, "Failed", 1)] {
            let status = pod("Running", "Never").ended(ending, now())["status"].take();
            assert_eq!(status["phase"], phase);
            assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], code);
            assert_eq!(status["conditions"][2]["status"], "False");
        }
    }
}
