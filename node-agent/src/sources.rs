//! Config maps and secrets that a pod refers to, fetched before they are used, so that using them is pure.

use crate::cluster::{Cluster, Source};
use crate::pod::PodRef;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What was found of what a pod refers to.
#[derive(Clone, Debug, Default)]
pub struct Sources(HashMap<Source, BTreeMap<String, Vec<u8>>>);

impl Sources {
    /// Reads them all. Those that do not exist are left out; other errors end the reading.
    pub async fn fetch(cluster: &Cluster, pod: &PodRef, wanted: BTreeSet<Source>) -> api::Result<Sources> {
        let mut found = HashMap::new();
        for source in wanted {
            if let Some(object) = cluster.source(pod, &source).await? {
                let entries = entries(&source, &object);
                found.insert(source, entries);
            }
        }
        Ok(Sources(found))
    }

    /// The entries of one; `None` where it may be missing and is.
    pub fn get(&self, source: &Source, optional: bool) -> Result<Option<&BTreeMap<String, Vec<u8>>>, String> {
        match (self.0.get(source), source) {
            (Some(entries), _) => Ok(Some(entries)),
            (None, _) if optional => Ok(None),
            (None, Source::ConfigMap(name)) => Err(format!("configmap {name:?} not found")),
            (None, Source::Secret(name)) => Err(format!("secret {name:?} not found")),
        }
    }

    #[cfg(test)]
    pub fn of(objects: impl IntoIterator<Item = (Source, Value)>) -> Sources {
        Sources(objects.into_iter().map(|(source, object)| (source.clone(), entries(&source, &object))).collect())
    }
}

fn entries(source: &Source, object: &Value) -> BTreeMap<String, Vec<u8>> {
    let members = |field: &str| object[field].as_object().into_iter().flatten();
    let decoded = |(key, value): (&String, &Value)| {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).ok()?;
        Some((key.clone(), bytes))
    };
    match source {
        Source::Secret(_) => members("data").filter_map(decoded).collect(),
        Source::ConfigMap(_) => {
            let text = |(key, value): (&String, &Value)| (key.clone(), value.as_str().unwrap_or_default().into());
            members("binaryData").filter_map(decoded).chain(members("data").map(text)).collect()
        }
    }
}
