//! Pods that have a node and whose claims are bound first: what is written, what is awaited, and what ends the wait.

use super::{Action, Preparing, Report, State, VolumeWrite};
use crate::placement::{ClaimKey, Pod, PodKey, Preparation, Progress, StorageChange, VolumeStep};
use crate::wake::Happening;
use api::Timestamp;
use std::sync::Arc;
use std::time::Duration;

impl State {
    pub(super) fn storage_changed(&mut self, change: StorageChange, now: Timestamp) -> Vec<Action> {
        let tenant = change.tenant().cloned();
        let claim = match &change {
            StorageChange::Claim { key, .. } => Some(key.clone()),
            StorageChange::Volume { .. }
            | StorageChange::Class { .. }
            | StorageChange::Capacity { .. }
            | StorageChange::Driver { .. }
            | StorageChange::Limits { .. } => None,
        };
        self.placement.storage_changed(change);
        self.wake(&Happening::Storage(tenant.as_ref()));
        let waiting = claim.and_then(|claim| self.awaited.get(&claim)).cloned().unwrap_or_default();
        waiting.iter().flat_map(|key| self.look_again(key, now)).collect()
    }

    /// Asks for what a pod's claims need on its node. The pod is assumed there already.
    pub(super) fn prepare(
        &mut self,
        key: PodKey,
        pod: Arc<Pod>,
        node: Arc<str>,
        preparation: Preparation,
        now: Timestamp,
    ) -> Vec<Action> {
        let writes = preparation.steps.iter().filter_map(|step| self.write(step, &node)).collect();
        self.placement.volumes.assume(&preparation, &node);
        for claim in &preparation.claims {
            self.awaited.entry(claim.clone()).or_default().insert(key.clone());
        }
        let until = now.plus(Duration::from_secs(self.placement.profile(&pod).bind_timeout_seconds));
        self.preparing.insert(key.clone(), Preparing { pod: pod.clone(), node: node.clone(), preparation, until });
        let report = Report { condition: None, nominated: Some(node) };
        vec![Action::Report { key: key.clone(), pod: pod.clone(), report }, Action::Prepare { key, pod, writes }]
    }

    /// A pod that has waited too long for its claims.
    pub(super) fn overdue(&self, now: Timestamp) -> Option<PodKey> {
        self.preparing.iter().find(|(_, preparing)| preparing.until <= now).map(|(key, _)| key.clone())
    }

    pub(super) fn preparation_failed(&mut self, key: &PodKey, why: &str, now: Timestamp) -> Vec<Action> {
        self.stop_preparing(key);
        let why = format!("running PreBind plugin \"VolumeBinding\": binding volumes: {why}");
        self.unassume(key.clone(), why, now)
    }

    /// What was assumed for the pod's claims is no longer.
    pub(super) fn stop_preparing(&mut self, key: &PodKey) {
        if let Some(Preparing { preparation, .. }) = self.end_waiting(key) {
            self.placement.volumes.forget(&preparation);
        }
    }

    fn end_waiting(&mut self, key: &PodKey) -> Option<Preparing> {
        let preparing = self.preparing.remove(key)?;
        for claim in &preparing.preparation.claims {
            if let Some(pods) = self.awaited.get_mut(claim) {
                pods.remove(key);
                if pods.is_empty() {
                    self.awaited.remove(claim);
                }
            }
        }
        Some(preparing)
    }

    /// A claim changed that the pod waits for.
    fn look_again(&mut self, key: &PodKey, now: Timestamp) -> Vec<Action> {
        let Some(Preparing { node, preparation, .. }) = self.preparing.get(key) else { return Vec::new() };
        let progress = |claim: &ClaimKey| self.placement.volumes.progress(claim, preparation, node);
        let mut all_bound = true;
        let mut failed = None;
        for claim in &preparation.claims {
            match progress(claim) {
                Progress::Bound => {}
                Progress::Waits => all_bound = false,
                Progress::Failed(why) => failed = Some(why),
            }
        }
        if let Some(why) = failed {
            return self.preparation_failed(key, &why, now);
        }
        if !all_bound {
            return Vec::new();
        }
        // What was assumed of volumes stays until it shows: a claim may be seen before its volume.
        let preparing = self.end_waiting(key);
        let seen = self.seen;
        let bind = |Preparing { pod, node, .. }| Action::Bind { key: key.clone(), pod, node, seen };
        preparing.map(bind).into_iter().collect()
    }

    fn write(&self, step: &VolumeStep, node: &Arc<str>) -> Option<VolumeWrite> {
        let volumes = &self.placement.volumes;
        let (VolumeStep::Keep { claim, .. } | VolumeStep::Provision { claim }) = step;
        let found = volumes.claim(claim)?;
        let (claim_uid, claim_version) = (found.uid.clone(), found.resource_version.clone());
        let (claim, node) = (claim.clone(), node.clone());
        Some(match step {
            VolumeStep::Keep { volume: name, .. } => {
                let volume = volumes.volume(&claim.tenant, name)?;
                let (version, is_new) = (volume.resource_version.clone(), volume.claim.is_none());
                VolumeWrite { volume: Some(name.clone()), claim, claim_uid, claim_version, version, is_new, node }
            }
            VolumeStep::Provision { .. } if *found.selected_node == *node => return None,
            VolumeStep::Provision { .. } => {
                let version = claim_version.clone();
                VolumeWrite { volume: None, claim, claim_uid, claim_version, version, is_new: false, node }
            }
        })
    }
}
