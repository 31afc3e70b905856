//! A pod as the agent reads it: the fields that it acts on, nothing else.
//!
//! Invariant: reading never fails. A pod whose spec cannot be read carries the reason, so that one tenant's odd object
//! is a failed pod, not a node that stops listing.

mod affinity;
mod container;
mod volume;

pub use affinity::*;
pub use container::*;
pub use volume::*;

use api::{Quantity, TenantName, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A pod's name over all tenants, and its uid.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodRef {
    pub tenant: TenantName,
    pub namespace: String,
    pub name: String,
    pub uid: Uid,
}

impl PodRef {
    /// As upstream's messages name a pod.
    pub fn words(&self) -> String {
        format!("{}_{}({})", self.name, self.namespace, self.uid)
    }
}

/// A pod's uid: letters, digits and dashes, so that it is safe as a directory's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(Arc<str>);

impl Uid {
    pub fn new(text: &str) -> Option<Uid> {
        let safe = matches!(text.len(), 1..=64) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        safe.then(|| Uid(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Uid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pod that is bound to this node.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    pub metadata: Metadata,
    pub spec: Spec,
    /// The status as the API has it; merged from there, not parsed into types.
    pub status: Value,
    /// Why `spec` could not be read, in which case it is empty.
    pub unreadable: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub tenant: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub generation: i64,
    pub creation_timestamp: Option<String>,
    pub resource_version: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub deletion_timestamp: Option<String>,
    pub deletion_grace_period_seconds: Option<i64>,
}

impl<'de> Deserialize<'de> for Pod {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pod, D::Error> {
        let mut value = Value::deserialize(from)?;
        strip_nulls(&mut value);
        let mut unreadable = None;
        let mut note = |error: serde_json::Error| unreadable = Some(error.to_string());
        let metadata = serde_json::from_value(value["metadata"].take()).map_err(&mut note).unwrap_or_default();
        let spec = serde_json::from_value(value["spec"].take()).map_err(&mut note).unwrap_or_default();
        Ok(Pod { metadata, spec, status: value["status"].take(), unreadable })
    }
}

impl Pod {
    /// The pod's full name; `None` when the API gave it no valid one.
    pub fn reference(&self) -> Option<PodRef> {
        Some(PodRef {
            tenant: TenantName::new(&self.metadata.tenant).ok()?,
            namespace: Some(&self.metadata.namespace).filter(|n| api::is_dns_label(n))?.clone(),
            name: Some(&self.metadata.name).filter(|n| api::is_dns_subdomain(n))?.clone(),
            uid: Uid::new(&self.metadata.uid)?,
        })
    }

    pub fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Seconds that containers get between SIGTERM and SIGKILL.
    pub fn grace_secs(&self) -> i64 {
        let of_deletion = self.metadata.deletion_grace_period_seconds.filter(|_| self.is_deleting());
        of_deletion.or(self.spec.termination_grace_period_seconds).unwrap_or(30).clamp(0, GRACE_SECS_MAX)
    }

    /// Whether the API already has the pod's last word: such a pod is never started again.
    pub fn is_terminal(&self) -> bool {
        matches!(self.status["phase"].as_str(), Some("Succeeded" | "Failed"))
    }

    /// The status of a container as the API has it, `Null` where it has none.
    pub fn known_status(&self, container: &str) -> &Value {
        let lists = ["containerStatuses", "initContainerStatuses"].into_iter();
        let mut all = lists.flat_map(|list| self.status[list].as_array().into_iter().flatten());
        all.find(|s| s["name"] == container).unwrap_or(&Value::Null)
    }
}

/// A year; what a container may ask for beyond that is as good as for ever.
const GRACE_SECS_MAX: i64 = 365 * 24 * 3600;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
    pub volumes: Vec<Volume>,
    pub restart_policy: RestartPolicy,
    pub termination_grace_period_seconds: Option<i64>,
    pub active_deadline_seconds: Option<i64>,
    pub dns_policy: String,
    pub dns_config: DnsConfig,
    pub service_account_name: String,
    pub node_name: String,
    pub hostname: String,
    pub subdomain: String,
    #[serde(rename = "setHostnameAsFQDN")]
    pub set_hostname_as_fqdn: bool,
    pub host_network: bool,
    #[serde(rename = "hostPID")]
    pub host_pid: bool,
    #[serde(rename = "hostIPC")]
    pub host_ipc: bool,
    pub share_process_namespace: bool,
    pub host_aliases: Vec<HostAlias>,
    pub security_context: PodSecurityContext,
    pub image_pull_secrets: Vec<Named>,
    pub readiness_gates: Vec<ReadinessGate>,
    pub runtime_class_name: String,
    pub node_selector: BTreeMap<String, String>,
    pub affinity: Affinity,
    /// What the pod asks for as a whole, instead of its containers.
    pub resources: Resources,
    pub overhead: BTreeMap<String, Amount>,
    pub virtual_machine: Option<Value>,
}

impl Spec {
    /// Containers and init containers, in the order in which they start.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }

    pub fn container(&self, name: &str) -> Option<&Container> {
        self.all_containers().find(|c| c.name == name)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Named {
    pub name: String,
    pub optional: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostAlias {
    pub ip: String,
    pub hostnames: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadinessGate {
    pub condition_type: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DnsConfig {
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<DnsOption>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DnsOption {
    pub name: String,
    pub value: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSecurityContext {
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub run_as_non_root: Option<bool>,
    pub fs_group: Option<i64>,
    pub supplemental_groups: Vec<i64>,
    pub sysctls: Vec<Variable>,
    pub seccomp_profile: Option<SeccompProfile>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompProfile {
    #[serde(rename = "type")]
    pub kind: String,
    pub localhost_profile: String,
}

/// A name and its value.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Variable {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FieldRef {
    pub field_path: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceFieldRef {
    pub container_name: String,
    pub resource: String,
    #[serde(deserialize_with = "quantity")]
    pub divisor: Option<Quantity>,
}

/// A quantity as text or as a bare number.
fn quantity<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Quantity>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) => Quantity::parse(&text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => None,
    })
}

/// A time in an object, where it has a valid one.
pub fn time(value: &Value) -> Option<Timestamp> {
    value.as_str().and_then(Timestamp::parse)
}

/// Upstream reads a null as an absent field.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, v| !v.is_null());
            members.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_with_nulls_and_unknown_fields_is_read() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"tenant": "acme", "namespace": "default", "name": "web", "uid": "u-1", "labels": null},
            "spec": {"containers": [{"name": "c", "ports": null, "livenessProbe": {"httpGet": {"port": "web"}},
                     "resources": {"limits": {"cpu": "500m", "memory": 1024}}, "future": {"x": 1}}]}
        }))
        .expect("a pod");
        assert_eq!(pod.unreadable, None);
        let container = &pod.spec.containers[0];
        assert_eq!(container.resources.limit("cpu").expect("a limit").millis(), 500);
        assert_eq!(container.resources.limit("memory").expect("a limit").units(), 1024);
        let http = container.liveness_probe.as_ref().and_then(|p| p.handler.http_get.as_ref()).expect("a handler");
        assert!(matches!(&http.port, PortRef::Name(name) if name == "web"));
        assert_eq!(pod.reference().expect("a name").words(), "web_default(u-1)");
    }

    #[test]
    fn a_pod_that_cannot_be_read_says_why_instead_of_failing_the_list() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "odd"}, "spec": {"containers": 7}})).expect("a pod");
        assert!(pod.unreadable.expect("a reason").contains("invalid type"));
        assert_eq!(pod.metadata.name, "odd");
    }

    #[test]
    fn a_uid_that_would_leave_its_directory_is_no_uid() {
        for bad in ["", "..", "a/b", "a b"] {
            assert_eq!(Uid::new(bad), None, "{bad}");
        }
    }
}
