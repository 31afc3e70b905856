//! Storage objects of the simulated cluster, with a volume controller that binds what belongs together at once.

use super::cluster::{NAMESPACE, tenant};
use crate::placement::{ClaimKey, SELECTED_NODE, StorageChange};
use crate::state::VolumeWrite;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const VOLUME: &str = "PersistentVolume";
const CLAIM: &str = "PersistentVolumeClaim";

/// Objects by kind and name.
#[derive(Default)]
pub struct Storage(BTreeMap<(String, String), Value>);

impl Storage {
    pub fn get(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0.get(&(kind.to_owned(), name.to_owned()))
    }

    pub fn create(&mut self, kind: &str, object: &Value) -> Vec<StorageChange> {
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let mut object = object.clone();
        object["metadata"]["uid"] = json!(format!("uid-of-{name}"));
        if kind == VOLUME && object["spec"]["claimRef"].is_null() {
            object["status"]["phase"] = json!("Available");
        }
        let wants = (kind == CLAIM && object["status"]["phase"] == "Bound")
            .then(|| object["spec"]["volumeName"].as_str().expect("a bound claim has a volume").to_owned());
        self.0.insert((kind.to_owned(), name.clone()), object);
        let mut changes: Vec<StorageChange> = self.change(kind, &name).into_iter().collect();
        if let Some(volume) = wants {
            changes.extend(self.bind(&name, &volume));
        }
        changes
    }

    pub fn delete(&mut self, kind: &str, name: &str) -> Vec<StorageChange> {
        let key = (kind.to_owned(), name.to_owned());
        match self.0.get_mut(&key) {
            Some(object) if !object["metadata"]["finalizers"].is_null() => {
                object["metadata"]["deletionTimestamp"] = json!("2027-01-01T00:00:00Z");
            }
            _ => drop(self.0.remove(&key)),
        }
        self.change(kind, name).into_iter().collect()
    }

    /// Binds a claim and a volume to each other.
    pub fn bind(&mut self, claim: &str, volume: &str) -> Vec<StorageChange> {
        let claim_ref = json!({"namespace": NAMESPACE, "name": claim, "uid": format!("uid-of-{claim}")});
        if let Some(object) = self.0.get_mut(&(VOLUME.to_owned(), volume.to_owned())) {
            object["spec"]["claimRef"] = claim_ref;
            object["status"]["phase"] = json!("Bound");
        }
        if let Some(object) = self.0.get_mut(&(CLAIM.to_owned(), claim.to_owned())) {
            object["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = json!("yes");
            object["spec"]["volumeName"] = json!(volume);
            object["status"]["phase"] = json!("Bound");
        }
        // The claim is seen first: the harder order for who follows both.
        self.change(CLAIM, claim).into_iter().chain(self.change(VOLUME, volume)).collect()
    }

    /// Does what the scheduler asks for.
    pub fn write(&mut self, write: &VolumeWrite) -> Vec<StorageChange> {
        match &write.volume {
            Some(volume) => self.bind(&write.claim.name, volume),
            None => {
                let key = (CLAIM.to_owned(), write.claim.name.to_string());
                let claim = self.0.get_mut(&key).expect("the claim is there");
                claim["metadata"]["annotations"][SELECTED_NODE] = json!(&*write.node);
                self.change(CLAIM, &write.claim.name).into_iter().collect()
            }
        }
    }

    fn change(&self, kind: &str, name: &str) -> Option<StorageChange> {
        let object = self.get(kind, name).cloned();
        let (tenant, key) = (tenant(), name.to_owned());
        Some(match kind {
            VOLUME => StorageChange::Volume { tenant, name: key, volume: read(object).map(Arc::new) },
            CLAIM => {
                let key = ClaimKey { tenant, namespace: NAMESPACE.into(), name: name.into() };
                StorageChange::Claim { key, claim: read(object).map(Arc::new) }
            }
            "StorageClass" => StorageChange::Class { tenant, name: key, class: read(object).map(Arc::new) },
            "CSIStorageCapacity" => {
                StorageChange::Capacity { tenant, namespace: NAMESPACE.to_owned(), name: key, capacity: read(object) }
            }
            "CSIDriver" => StorageChange::Driver { name: key, driver: read(object) },
            "CSINode" => StorageChange::Limits { node: key, limits: read(object) },
            _ => return None,
        })
    }
}

fn read<T: DeserializeOwned>(object: Option<Value>) -> Option<T> {
    object.map(|object| serde_json::from_value(object).expect("a storage object of a recording can be read"))
}
