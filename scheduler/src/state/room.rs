//! Who waits for which pods to go: the victims of preemptions that are under way.
//!
//! Invariant: a pod is the victim of one preemptor at most.

use crate::placement::PodKey;
use std::collections::{HashMap, HashSet};

#[derive(Default)]
pub struct MakingRoom {
    victims: HashMap<PodKey, HashSet<PodKey>>,
    preemptors: HashMap<PodKey, PodKey>,
}

impl MakingRoom {
    /// These are to go for a pod, and none that were to go for it before.
    pub fn begin<'v>(&mut self, preemptor: &PodKey, victims: impl Iterator<Item = &'v PodKey>) {
        self.forget(preemptor);
        for victim in victims {
            self.gone(victim);
            self.preemptors.insert(victim.clone(), preemptor.clone());
            self.victims.entry(preemptor.clone()).or_default().insert(victim.clone());
        }
    }

    /// A pod has left its node.
    pub fn gone(&mut self, victim: &PodKey) {
        let Some(preemptor) = self.preemptors.remove(victim) else { return };
        if let Some(victims) = self.victims.get_mut(&preemptor) {
            victims.remove(victim);
            if victims.is_empty() {
                self.victims.remove(&preemptor);
            }
        }
    }

    /// Nothing is waited for any more.
    pub fn forget(&mut self, preemptor: &PodKey) {
        for victim in self.victims.remove(preemptor).into_iter().flatten() {
            self.preemptors.remove(&victim);
        }
    }

    /// Whether a pod still waits for somebody.
    pub fn is_made_for(&self, preemptor: &PodKey) -> bool {
        self.victims.contains_key(preemptor)
    }
}
