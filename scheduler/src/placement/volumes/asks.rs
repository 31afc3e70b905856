//! What the volumes of one waiting pod ask of each node.

use super::attached::{Attached, attachment, key_of};
use super::matching::{Delayed, NotProvided, Reach};
use super::objects::{Claim, ClaimKey, Volume, ZONE_LABELS};
use super::{Disk, PodClaim, Preparation, VolumeStep, Volumes};
use crate::placement::snapshot::Snapshot;
use crate::placement::symbol::{Symbol, value_of};
use crate::placement::{NodeId, Pod, PodKey};
use std::sync::Arc;

/// Why volumes keep a pod off a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeRefusal {
    Disk,
    OncePerPod,
    Limit,
    /// Several may hold: see [`PodVolumes::conflicts`].
    Binding,
    Zone,
}

const OTHER_NODE: &str = "node(s) didn't match PersistentVolume's node affinity";
const NOTHING_TO_BIND: &str = "node(s) didn't find available persistent volumes to bind";
const NO_SPACE: &str = "node(s) did not have enough free storage";

/// What is the same for all nodes.
#[derive(Default)]
pub struct PodVolumes<'a> {
    disks: &'a [Disk],
    /// Claims that one pod alone may use.
    once: Vec<ClaimKey>,
    /// Of volumes that are bound already, as far as not every node reaches them.
    reaches: Vec<Reach<'a>>,
    /// The smallest first.
    delayed: Vec<Delayed<'a>>,
    /// Each a label, its newer name, and the values that a node must have one of.
    zones: Vec<(Option<Symbol>, Option<Symbol>, Vec<Symbol>)>,
    zone_labels: Vec<Symbol>,
    /// Driver and handle of what has to be attached, where some node has a limit for the driver.
    attachments: Vec<(Box<str>, Box<str>)>,
}

impl<'a> PodVolumes<'a> {
    /// `Err` says why no node will do, in upstream's words.
    pub fn new(
        volumes: &'a Volumes,
        snapshot: &Snapshot,
        key: &PodKey,
        pod: &'a Pod,
    ) -> Result<PodVolumes<'a>, String> {
        let mut asks = PodVolumes { disks: &pod.disks, ..PodVolumes::default() };
        if pod.claims.is_empty() {
            return Ok(asks);
        }
        if let Some(absent) = pod.claims.iter().find(|c| !c.ephemeral && volumes.claim(&key_of(key, c)).is_none()) {
            return Err(format!("persistentvolumeclaim {:?} not found", absent.name));
        }
        for claim in &pod.claims {
            let claim_key = key_of(key, claim);
            let found = usable(volumes, pod, claim, &claim_key)?;
            if found.once_per_pod && !asks.once.contains(&claim_key) {
                asks.once.push(claim_key);
            }
        }
        let mut unbound = false;
        let mut bound: Vec<&'a Volume> = Vec::new();
        let mut missing = None;
        for claim in &pod.claims {
            let claim_key = key_of(key, claim);
            let Some(found) = volumes.claim(&claim_key) else { continue };
            if found.bound {
                match volumes.volume(&key.tenant, &found.volume) {
                    Some(volume) => bound.push(volume),
                    None => missing = missing.or(Some(&found.volume)),
                }
                continue;
            }
            let class = volumes.class(&key.tenant, &found.class);
            match class.filter(|class| class.waits && found.volume.is_empty()) {
                Some(class) => asks.delayed.extend(Delayed::new(volumes, snapshot, claim_key, found, class)),
                None => unbound = true,
            }
        }
        if unbound {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        if let Some(missing) = missing {
            return Err(format!("persistentvolume {missing:?} not found"));
        }
        asks.delayed.sort_by_key(Delayed::size);
        asks.reaches = bound.iter().map(|v| Reach::of(v, snapshot)).filter(|reach| !reach.is_everywhere()).collect();
        asks.see_zones(snapshot, &bound);
        for claim in &pod.claims {
            asks.attachments.extend(attachment(volumes, key, claim).filter(|(driver, _)| volumes.limited(driver)));
        }
        asks.attachments.sort_unstable();
        asks.attachments.dedup();
        Ok(asks)
    }

    /// Whether every node will do.
    pub fn is_indifferent(&self) -> bool {
        self.disks.is_empty()
            && self.once.is_empty()
            && self.reaches.is_empty()
            && self.delayed.is_empty()
            && self.zones.is_empty()
            && self.attachments.is_empty()
    }

    pub fn refuse(&self, volumes: &Volumes, snapshot: &Snapshot, node: NodeId) -> Option<VolumeRefusal> {
        if !self.disks.is_empty() && self.disk_taken(snapshot, node) {
            return Some(VolumeRefusal::Disk);
        }
        if self.once.iter().any(|claim| snapshot.claim_in_use(claim)) {
            return Some(VolumeRefusal::OncePerPod);
        }
        if !self.attachments.is_empty() && self.exceeds(volumes, snapshot, node) {
            return Some(VolumeRefusal::Limit);
        }
        if !self.reaches.iter().all(|reach| reach.includes(snapshot, node))
            || !self.delayed.is_empty() && self.prepare(volumes, snapshot, node).is_err()
        {
            return Some(VolumeRefusal::Binding);
        }
        (!self.in_zones(snapshot, node)).then_some(VolumeRefusal::Zone)
    }

    /// Why a node will not do for the claims, in upstream's words.
    pub fn conflicts(&self, volumes: &Volumes, snapshot: &Snapshot, node: NodeId) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        if !self.reaches.iter().all(|reach| reach.includes(snapshot, node)) {
            reasons.push(OTHER_NODE);
        }
        match self.prepare(volumes, snapshot, node) {
            Err(NotProvided::NotThere) => reasons.push(NOTHING_TO_BIND),
            Err(NotProvided::NoRoom) => reasons.push(NO_SPACE),
            Ok(_) => {}
        }
        reasons
    }

    /// What has to be done for the pod to run on a node.
    pub fn prepare(&self, volumes: &Volumes, snapshot: &Snapshot, node: NodeId) -> Result<Preparation, NotProvided> {
        let mut preparation = Preparation::default();
        let mut taken: Vec<&Arc<str>> = Vec::new();
        let mut to_make = Vec::new();
        for delayed in &self.delayed {
            preparation.claims.push(delayed.key.clone());
            match delayed.selected {
                Some(selected) if *selected != *snapshot.name(node) => return Err(NotProvided::NotThere),
                Some(_) => to_make.push(delayed),
                None => match delayed.volume(snapshot, node, &taken) {
                    Some(volume) => {
                        taken.push(volume);
                        let (volume, claim) = (volume.clone(), delayed.key.clone());
                        preparation.steps.push(VolumeStep::Keep { volume, claim });
                    }
                    None => to_make.push(delayed),
                },
            }
        }
        for delayed in to_make {
            delayed.can_be_made(volumes, snapshot, node)?;
            preparation.steps.push(VolumeStep::Provision { claim: delayed.key.clone() });
        }
        Ok(preparation)
    }

    fn disk_taken(&self, snapshot: &Snapshot, node: NodeId) -> bool {
        let theirs = || snapshot.pods_on(node).flat_map(|(_, pod)| &pod.disks);
        self.disks.iter().any(|wanted| theirs().any(|taken| taken.conflicts(wanted)))
    }

    fn exceeds(&self, volumes: &Volumes, snapshot: &Snapshot, node: NodeId) -> bool {
        let Some(limits) = volumes.limits.get(snapshot.name(node)) else { return false };
        let attached: Arc<Attached> = snapshot.attached(volumes, node);
        limits.0.iter().any(|(driver, limit)| {
            let of_driver = self.attachments.iter().filter(|(d, _)| d == driver);
            let new = of_driver.filter(|(_, handle)| !attached.has(driver, handle)).count();
            new > 0 && i64::try_from(attached.count(driver) + new).is_ok_and(|count| count > *limit)
        })
    }

    fn see_zones(&mut self, snapshot: &Snapshot, bound: &[&Volume]) {
        let find = |text: &str| snapshot.symbols.find(text);
        for volume in bound {
            for (label, values) in volume.zones() {
                let newer = ZONE_LABELS.iter().position(|l| *l == label).map(|at| ZONE_LABELS[at % 2]);
                let values = values.into_iter().filter_map(find).collect();
                self.zones.push((find(label), newer.and_then(find), values));
            }
        }
        if !self.zones.is_empty() {
            self.zone_labels = ZONE_LABELS.into_iter().filter_map(find).collect();
        }
    }

    fn in_zones(&self, snapshot: &Snapshot, node: NodeId) -> bool {
        let labels = &snapshot.labels[node.index()];
        let value = |key: Option<Symbol>| key.and_then(|key| value_of(labels, key));
        if self.zones.is_empty() || !self.zone_labels.iter().any(|&label| value(Some(label)).is_some()) {
            return true;
        }
        self.zones.iter().all(|(label, newer, values)| {
            value(*label).or_else(|| value(*newer)).is_some_and(|value| values.contains(&value))
        })
    }
}

/// The claim, if pods can use it.
fn usable<'a>(volumes: &'a Volumes, pod: &Pod, claim: &PodClaim, key: &ClaimKey) -> Result<&'a Arc<Claim>, String> {
    let name = &key.name;
    let Some(found) = volumes.claim(key) else {
        return Err(format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"));
    };
    if found.lost {
        return Err(format!(
            "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {:?}",
            found.volume
        ));
    }
    if found.deleting {
        return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
    }
    if claim.ephemeral && found.controller_uid != pod.uid {
        return Err(format!(
            "PVC {}/{name} was not created for pod {}/{} (pod is not owner)",
            key.namespace,
            key.namespace,
            name.strip_suffix(&format!("-{}", claim.name)).unwrap_or(name)
        ));
    }
    Ok(found)
}
