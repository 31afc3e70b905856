//! Which volumes are attached to a node because of the pods on it, by driver.

use super::{Claim, ClaimKey, PodClaim, Volumes};
use crate::placement::{Pod, PodKey};
use std::collections::{BTreeMap, BTreeSet};

/// Handles of volumes by their driver.
#[derive(Debug, Default)]
pub struct Attached(BTreeMap<Box<str>, BTreeSet<Box<str>>>);

impl Attached {
    pub fn of<'a>(volumes: &Volumes, pods: impl Iterator<Item = (&'a PodKey, &'a Pod)>) -> Attached {
        let mut attached = Attached::default();
        for (key, pod) in pods {
            for claim in &pod.claims {
                if let Some((driver, handle)) = attachment(volumes, key, claim) {
                    attached.0.entry(driver).or_default().insert(handle);
                }
            }
        }
        attached
    }

    pub fn count(&self, driver: &str) -> usize {
        self.0.get(driver).map_or(0, BTreeSet::len)
    }

    pub fn has(&self, driver: &str, handle: &str) -> bool {
        self.0.get(driver).is_some_and(|handles| handles.contains(handle))
    }
}

/// Driver and handle of what a pod's claim has attached, or will have.
pub fn attachment(volumes: &Volumes, pod: &PodKey, claim: &PodClaim) -> Option<(Box<str>, Box<str>)> {
    let key = key_of(pod, claim);
    let found = volumes.claim(&key)?;
    match volumes.volume(&pod.tenant, &found.volume) {
        Some(volume) if !found.volume.is_empty() => volume.csi.clone(),
        _ => to_be_made(volumes, &key, found),
    }
}

/// A volume that does not exist yet will be of its class's driver.
fn to_be_made(volumes: &Volumes, key: &ClaimKey, claim: &Claim) -> Option<(Box<str>, Box<str>)> {
    let class = volumes.class(&key.tenant, &claim.class)?;
    // No handle of a volume that exists starts like this, as names do not.
    let handle = format!("\0{}/{}/{}", key.tenant, key.namespace, key.name);
    class.makes_volumes().then(|| (class.provisioner.clone(), handle.into()))
}

/// The claim that an entry of a pod's volumes means.
pub fn key_of(pod: &PodKey, claim: &PodClaim) -> ClaimKey {
    ClaimKey {
        tenant: pod.tenant.clone(),
        namespace: pod.namespace.clone(),
        name: claim.claim_name(pod).into_owned().into(),
    }
}
