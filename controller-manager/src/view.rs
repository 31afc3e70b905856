//! The parts of objects that controllers reason about. Fields that are not here are not lost: writes are patches, or
//! changes to the whole object as the server has it.

mod batch;
mod definitions;
mod pods;
mod services;
mod tenants_and_nodes;
mod volumes;
mod workloads;

pub use batch::*;
pub use definitions::*;
pub use pods::*;
pub use services::*;
pub use tenants_and_nodes::*;
pub use volumes::{CLAIMS, Claim, ClaimRef, StorageClass, VOLUMES, Volume as PersistentVolume};
pub use workloads::*;

use api::selector::LabelSelector;
use api::{OwnerRef, TenantName, Timestamp};
use client::{ObjectRef, Resource};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A kind that is cached, and where it is found.
pub trait View: DeserializeOwned + Send + Sync + 'static {
    const RESOURCE: Resource;
    /// Looked for in `system` alone: the operators' own kinds, and what nodes write there.
    const ONLY_SYSTEM: bool = false;
    /// A field selector, where not all objects are wanted.
    const FIELDS: &'static str = "";
}

/// A kind whose objects can have a controller.
pub trait Controlled: View {
    fn controller(&self) -> Option<&OwnerRef>;
}

impl Controlled for Pod {
    fn controller(&self) -> Option<&OwnerRef> {
        self.metadata.controller()
    }
}

impl Controlled for ReplicaSet {
    fn controller(&self) -> Option<&OwnerRef> {
        self.metadata.controller()
    }
}

impl Controlled for Job {
    fn controller(&self) -> Option<&OwnerRef> {
        self.metadata.controller()
    }
}

impl Controlled for ControllerRevision {
    fn controller(&self) -> Option<&OwnerRef> {
        self.metadata.controller()
    }
}

/// Metadata. `A` holds the annotations that are used.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta<A = BTreeMap<String, String>> {
    pub tenant: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub creation_timestamp: Time,
    pub deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default", bound(deserialize = "A: Deserialize<'de> + Default"))]
    pub annotations: A,
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Vec<OwnerRef>,
    #[serde(deserialize_with = "or_default")]
    pub finalizers: Vec<String>,
}

impl<A> Meta<A> {
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// The owner that controls the object.
    pub fn controller(&self) -> Option<&OwnerRef> {
        self.owner_references.iter().find(|o| o.controller)
    }

    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|o| o.uid == uid)
    }

    /// `None` for an object of no tenant and for one whose tenant is no name.
    pub fn tenant_name(&self) -> Option<TenantName> {
        TenantName::new(&self.tenant).ok()
    }

    /// The key of another object beside this one.
    pub fn sibling(&self, name: &str) -> ObjectRef {
        ObjectRef { tenant: self.tenant_name(), namespace: self.namespace.clone(), name: name.to_owned() }
    }

    pub fn key(&self) -> ObjectRef {
        self.sibling(&self.name)
    }
}

/// A time as the API writes it; the epoch where it cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(Time(text.and_then(|t| Timestamp::parse(&t)).unwrap_or_default()))
    }
}

/// `null` reads as nothing given.
pub fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A `metav1.LabelSelector`, as it is written and as it is meant.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    pub value: Value,
    terms: LabelSelector,
}

impl Selector {
    /// One without terms would select everything, which no controller may be told to.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.terms.is_empty() && self.terms.matches(labels)
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Selector, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let terms = LabelSelector::from_value(&value).map_err(D::Error::custom)?;
        Ok(Selector { value, terms })
    }
}

/// An entry of `status.conditions` of a pod or a node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    pub last_transition_time: Time,
    pub last_update_time: Time,
    pub last_heartbeat_time: Time,
    pub last_probe_time: Time,
}

impl Condition {
    /// As it is stored, without the times that its kind does not have.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"type": self.kind, "status": self.status});
        for (field, text) in [("reason", &self.reason), ("message", &self.message)] {
            if !text.is_empty() {
                value[field] = json!(text);
            }
        }
        let times = [
            ("lastTransitionTime", self.last_transition_time),
            ("lastUpdateTime", self.last_update_time),
            ("lastHeartbeatTime", self.last_heartbeat_time),
            ("lastProbeTime", self.last_probe_time),
        ];
        for (field, time) in times.into_iter().filter(|(_, time)| *time != Time::default()) {
            value[field] = json!(time.0.to_string());
        }
        value
    }
}
