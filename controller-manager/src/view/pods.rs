//! Pods, as controllers see them.

use super::{Condition, Meta, Time, View, or_default};
use crate::recorder::Involved;
use api::Timestamp;
use client::{Names, Resource};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::time::Duration;

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct PodAnnotations {
    #[serde(rename = "controller.kubernetes.io/pod-deletion-cost")]
    pub deletion_cost: Option<String>,
    #[serde(rename = "batch.kubernetes.io/job-completion-index")]
    pub completion_index: Option<String>,
    #[serde(rename = "batch.kubernetes.io/job-index-failure-count")]
    pub index_failures: Option<String>,
    #[serde(rename = "batch.kubernetes.io/job-index-ignored-failure-count")]
    pub index_ignored_failures: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Pod {
    pub metadata: Meta<PodAnnotations>,
    pub spec: PodSpec,
    pub status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: String,
    pub hostname: String,
    pub subdomain: String,
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub volumes: Vec<Volume>,
    #[serde(deserialize_with = "or_default")]
    pub resource_claims: Vec<PodResourceClaim>,
    /// The node that its affinity names as the only one, as that of a daemon set's pod does.
    #[serde(rename = "affinity", deserialize_with = "only_node")]
    pub only_node: Option<Box<str>>,
    #[serde(deserialize_with = "or_default")]
    pub tolerations: Vec<Toleration>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    pub key: String,
    pub operator: String,
    pub value: String,
    pub effect: String,
    pub toleration_seconds: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub phase: String,
    #[serde(rename = "podIPs", deserialize_with = "or_default")]
    pub pod_ips: Vec<PodIp>,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    pub container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// The entries of its spec whose claims it was told of.
    #[serde(deserialize_with = "or_default")]
    pub resource_claim_statuses: Vec<PodResourceClaim>,
}

/// An entry of a pod's resource claims.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodResourceClaim {
    pub name: String,
    /// What its claim is made from, unless that is there already.
    pub resource_claim_template_name: Option<String>,
}

/// Of a container, what others find it by.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<ContainerPort>,
    pub restart_policy: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    pub name: String,
    pub protocol: String,
    pub container_port: i64,
}

/// Of a volume, which claim is behind it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    pub name: String,
    pub persistent_volume_claim: Option<ClaimSource>,
    /// The template of a claim that lives as long as the pod.
    pub ephemeral: Option<Box<Value>>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSource {
    pub claim_name: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct PodIp {
    pub ip: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub name: String,
    pub restart_count: i32,
    pub state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ContainerState {
    pub terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    pub exit_code: i64,
    pub finished_at: Time,
}

fn only_node<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<str>>, D::Error> {
    let affinity = Option::<Value>::deserialize(deserializer)?.unwrap_or_default();
    let terms = &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let fields = terms.as_array().into_iter().flatten().filter_map(|term| term["matchFields"].as_array()).flatten();
    let mut named = fields.filter(|f| f["key"] == "metadata.name" && f["operator"] == "In");
    let values = named.find_map(|f| f["values"].as_array()).filter(|values| values.len() == 1);
    Ok(values.and_then(|values| values[0].as_str()).map(Into::into))
}

impl View for Pod {
    const RESOURCE: Resource = client::PODS;
}

impl Pod {
    /// The pod, as events name it.
    pub fn involved(&self) -> Involved {
        let (api_version, kind) = (client::PODS.api_version(), "Pod".to_owned());
        Involved { key: self.metadata.key(), api_version, kind, uid: self.metadata.uid.clone() }
    }

    /// The claims that its volumes need, by their names.
    pub fn claims(&self) -> impl Iterator<Item = String> {
        self.spec.volumes.iter().filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => Some(source.claim_name.clone()),
            (None, Some(_)) => Some(format!("{}-{}", self.metadata.name, volume.name)),
            (None, None) => None,
        })
    }

    /// Neither finished nor being deleted.
    pub fn is_active(&self) -> bool {
        !self.is_finished() && !self.metadata.is_deleting()
    }

    pub fn is_finished(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// The node that it is on, or is meant for.
    pub fn target_node(&self) -> &str {
        match &self.spec.only_node {
            Some(only) if self.spec.node_name.is_empty() => only,
            _ => &self.spec.node_name,
        }
    }

    pub fn is_running(&self) -> bool {
        self.status.phase == "Running"
    }

    pub fn ready_condition(&self) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == "Ready")
    }

    pub fn is_ready(&self) -> bool {
        self.ready_condition().is_some_and(|c| c.status == "True")
    }

    /// Whether it has been ready for long enough.
    pub fn is_available(&self, min_ready: Duration, now: Timestamp) -> bool {
        self.becomes_available_in(min_ready, now) == Some(Duration::ZERO)
    }

    /// When it will have been ready for long enough, if it stays so; `None` for one that is not ready.
    pub fn becomes_available_in(&self, min_ready: Duration, now: Timestamp) -> Option<Duration> {
        let ready = self.ready_condition().filter(|c| c.status == "True")?;
        if min_ready.is_zero() {
            return Some(Duration::ZERO);
        }
        (ready.last_transition_time != Time::default())
            .then(|| min_ready.saturating_sub(now.since(ready.last_transition_time.0)))
    }
}
