//! How many pods the owners of pods ask for: known kinds from caches, all others by their `scale`.

use super::plan::Scale;
use crate::controllers::scale;
use crate::runner::Setup;
use crate::view::{Deployment, Meta, Pod, ReplicaSet, ReplicationController};
use api::{Error, OwnerRef, Result};
use client::{Cache, Client};
use std::collections::HashMap;
use std::sync::Arc;

pub struct Scales {
    sets: Cache<ReplicaSet>,
    deployments: Cache<Deployment>,
    controllers: Cache<ReplicationController>,
}

impl Scales {
    pub fn new(setup: &mut Setup) -> Scales {
        Scales {
            sets: setup.informers.of::<ReplicaSet>().cache(),
            deployments: setup.informers.of::<Deployment>().cache(),
            controllers: setup.informers.of::<ReplicationController>().cache(),
        }
    }

    /// The sum over all that control one of the pods. The error says why it cannot be told.
    pub async fn of(&self, client: &Client, pods: &[Arc<Pod>]) -> Result<Scale> {
        let mut unmanaged = Vec::new();
        // By the uid of the pods' controller: what is scaled in the end, by its uid, and to how many.
        let mut known: HashMap<&str, (String, i64)> = HashMap::new();
        for pod in pods {
            let Some(owner) = pod.metadata.controller() else {
                unmanaged.push(pod.metadata.name.clone());
                continue;
            };
            if known.contains_key(&*owner.uid) {
                continue;
            }
            let found = match self.cached(owner, &pod.metadata.sibling(&owner.name)) {
                Some(found) => Some(found),
                None => by_scale(client, owner, &pod.metadata.namespace).await?,
            };
            let none = || Error::bad_request(format!("found no controllers for pod {:?}", pod.metadata.name));
            known.insert(&owner.uid, found.ok_or_else(none)?);
        }
        let scaled: HashMap<String, i64> = known.into_values().collect();
        Ok(Scale { expected: scaled.values().sum(), unmanaged })
    }

    /// From caches alone: a replica set counts as its deployment, if it has one.
    fn cached(&self, owner: &OwnerRef, key: &client::ObjectRef) -> Option<(String, i64)> {
        let is = |metadata: &Meta| metadata.uid == owner.uid;
        match (owner.kind.as_str(), owner.api_version.as_str()) {
            ("ReplicaSet", "apps/v1") => {
                let set = self.sets.get(key).filter(|s| is(&s.metadata))?;
                let Some(above) = set.metadata.controller().filter(|o| o.kind == "Deployment") else {
                    return Some((owner.uid.clone(), set.spec.replicas));
                };
                let deployment = self.deployments.get(&set.metadata.sibling(&above.name))?;
                let same = deployment.metadata.uid == above.uid;
                same.then(|| (above.uid.clone(), deployment.spec.replicas))
            }
            ("ReplicationController", "v1") => {
                let controller = self.controllers.get(key).filter(|c| is(&c.0.metadata))?;
                Some((owner.uid.clone(), controller.0.spec.replicas))
            }
            _ => None,
        }
    }
}

async fn by_scale(client: &Client, owner: &OwnerRef, namespace: &str) -> Result<Option<(String, i64)>> {
    let Some(kind) = scale::kind(client, &owner.api_version, &owner.kind).await? else {
        let why = format!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version);
        return Err(Error::bad_request(why));
    };
    if !kind.scales {
        return Err(Error::bad_request(format!("{} does not implement the scale subresource", kind.qualified())));
    }
    let scale = match kind.get(client, namespace, &owner.name).await {
        Err(error) if error.is_not_found() => return Ok(None),
        other => scale::Scale::of(&other?)?,
    };
    Ok((scale.metadata.uid == owner.uid).then_some((scale.metadata.uid, scale.spec.replicas)))
}
