//! The replica sets of a deployment as a plan changes them, and the arithmetic of their sizes. Pure.

use super::plan::Notice;
use crate::controllers::int_or_percent::{Rounding, scaled};
use crate::controllers::template;
use crate::recorder::Severity;
use crate::view::{Deployment, ReplicaSet, ReplicaSetStatus, Time};
use api::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations of a deployment that its replica sets do not get.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
];

/// The longest history of revisions that a replica set keeps.
const REVISION_HISTORY_CHARS_MAX: usize = 2000;

/// A replica set, with what the plan makes of it.
#[derive(Clone, Debug)]
pub struct Set {
    /// `None` for one that the plan creates.
    pub source: Option<Arc<ReplicaSet>>,
    pub name: String,
    pub created: Time,
    pub status: ReplicaSetStatus,
    pub replicas: i64,
    pub min_ready_seconds: i64,
    pub annotations: BTreeMap<String, String>,
}

impl Set {
    pub fn of(source: Arc<ReplicaSet>) -> Set {
        Set {
            name: source.metadata.name.clone(),
            created: source.metadata.creation_timestamp,
            status: source.status.clone(),
            replicas: source.spec.replicas,
            min_ready_seconds: source.spec.min_ready_seconds,
            annotations: source.metadata.annotations.clone(),
            source: Some(source),
        }
    }

    /// One that the plan creates.
    pub fn new(name: String, now: Timestamp) -> Set {
        Set {
            source: None,
            name,
            created: Time(now),
            status: ReplicaSetStatus::default(),
            replicas: 0,
            min_ready_seconds: 0,
            annotations: BTreeMap::new(),
        }
    }

    pub fn is_changed(&self) -> bool {
        self.source.as_ref().is_some_and(|s| {
            s.spec.replicas != self.replicas
                || s.spec.min_ready_seconds != self.min_ready_seconds
                || s.metadata.annotations != self.annotations
        })
    }

    /// Its own controller has looked at it since it was last changed, so that its status is about what it asks for.
    pub fn is_settled(&self) -> bool {
        self.source.as_ref().is_none_or(|s| s.metadata.generation <= s.status.observed_generation)
    }

    pub fn number(&self, annotation: &str) -> Option<i64> {
        self.annotations.get(annotation)?.parse().ok()
    }

    fn age_order(&self) -> (Time, &str) {
        (self.created, &self.name)
    }

    /// Gives it what the deployment's newest replica set has to have: the deployment's annotations and its revision.
    pub fn become_newest(&mut self, deployment: &Deployment, revision: i64) {
        let copied = deployment.metadata.annotations.iter().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()));
        self.annotations.extend(copied.map(|(key, value)| (key.clone(), value.clone())));
        let old = self.annotations.get(REVISION).cloned();
        let before = match &old {
            None => 0,
            Some(text) => match text.parse::<i64>() {
                Ok(number) => number,
                Err(_) => return,
            },
        };
        if before < revision {
            self.annotations.insert(REVISION.to_owned(), revision.to_string());
            if let Some(old) = old {
                let history = self.annotations.get(REVISION_HISTORY).map(String::as_str).unwrap_or_default();
                if let Some(longer) = append_revision(history, &old) {
                    self.annotations.insert(REVISION_HISTORY.to_owned(), longer);
                }
            }
        }
    }
}

/// Adds a revision to a history, dropping the oldest where it grows too long.
fn append_revision(history: &str, revision: &str) -> Option<String> {
    if history.is_empty() {
        return Some(revision.to_owned());
    }
    let mut kept = history;
    while kept.len() + 1 + revision.len() > REVISION_HISTORY_CHARS_MAX {
        match kept.split_once(',') {
            Some((_, rest)) => kept = rest,
            None => return (revision.len() <= REVISION_HISTORY_CHARS_MAX).then(|| revision.to_owned()),
        }
    }
    Some(format!("{kept},{revision}"))
}

/// How many pods a deployment may have beyond, and lack of, what it asks for. At most what the API lets a count be, so
/// that sums and products of two of them stay within what is counted with here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    pub surge: i64,
    pub unavailable: i64,
}

impl Bounds {
    pub fn of(deployment: &Deployment) -> Bounds {
        let replicas = deployment.spec.replicas;
        let Some(rolling) = deployment.spec.strategy.rolling_update.as_ref().filter(|_| is_rolling(deployment)) else {
            return Bounds { surge: 0, unavailable: 0 };
        };
        let surge = scaled(&rolling.max_surge, replicas, Rounding::Up);
        let unavailable = match scaled(&rolling.max_unavailable, replicas, Rounding::Down) {
            // With neither, no pod could ever be replaced.
            0 if surge == 0 => 1,
            given => given,
        };
        Bounds { surge, unavailable: unavailable.min(replicas) }
    }
}

pub fn is_rolling(deployment: &Deployment) -> bool {
    deployment.spec.strategy.kind == "RollingUpdate"
}

/// All replica sets of a deployment, and which of them is for its current template.
#[derive(Clone, Debug)]
pub struct Sets<'a> {
    pub deployment: &'a Deployment,
    pub bounds: Bounds,
    pub all: Vec<Set>,
    /// The index of the newest, for the current template.
    pub newest: Option<usize>,
    pub notices: Vec<Notice>,
}

impl<'a> Sets<'a> {
    pub fn of(deployment: &'a Deployment, sources: &[Arc<ReplicaSet>]) -> Sets<'a> {
        let mut all: Vec<Set> = sources.iter().cloned().map(Set::of).collect();
        all.sort_by(|a, b| a.age_order().cmp(&b.age_order()));
        let current = |set: &Set| {
            set.source.as_ref().is_some_and(|s| template::same(&s.spec.template, &deployment.spec.template))
        };
        let newest = all.iter().position(current);
        Sets { deployment, bounds: Bounds::of(deployment), all, newest, notices: Vec::new() }
    }

    pub fn newest(&self) -> Option<&Set> {
        self.newest.map(|index| &self.all[index])
    }

    /// The indices of all others, the oldest first.
    pub fn old(&self) -> Vec<usize> {
        (0..self.all.len()).filter(|&i| Some(i) != self.newest).collect()
    }

    pub fn total(&self, count: impl Fn(&Set) -> i64) -> i64 {
        self.all.iter().map(count).sum()
    }

    /// The revision of the newest. Those of the others are annotations, which users can write.
    pub fn next_revision(&self) -> i64 {
        let highest = self.old().into_iter().filter_map(|i| self.all[i].number(REVISION)).max().unwrap_or(0);
        highest.saturating_add(1)
    }

    /// How large the newest may become now, within the bounds.
    pub fn newest_size(&self, present: i64) -> i64 {
        let wanted = self.deployment.spec.replicas;
        if !is_rolling(self.deployment) {
            return wanted;
        }
        let room = wanted + self.bounds.surge - self.total(|s| s.replicas);
        if room <= 0 { present } else { present + room.min(wanted - present) }
    }

    /// Resizes a set and notes for which size of the deployment that was. `true` if its size changes.
    pub fn resize(&mut self, index: usize, size: i64) -> bool {
        let wanted = self.deployment.spec.replicas;
        let set = &mut self.all[index];
        set.annotations.insert(DESIRED_REPLICAS.to_owned(), wanted.to_string());
        set.annotations.insert(MAX_REPLICAS.to_owned(), (wanted + self.bounds.surge).to_string());
        if set.replicas == size {
            return false;
        }
        let direction = if set.replicas < size { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {} to {size}", set.name, set.replicas);
        set.replicas = size;
        self.notices.push(Notice { severity: Severity::Normal, reason: "ScalingReplicaSet", message });
        true
    }

    /// As [`Sets::resize`], but a set that has its size already is left as it is.
    pub fn resize_if_other(&mut self, index: usize, size: i64) -> bool {
        self.all[index].replicas != size && self.resize(index, size)
    }

    /// Whether the deployment was resized since its sets were last sized for it.
    pub fn is_scaling(&self) -> bool {
        let sized = self.all.iter().filter(|s| s.replicas > 0).filter_map(|s| s.number(DESIRED_REPLICAS));
        sized.into_iter().any(|desired| desired != self.deployment.spec.replicas)
    }

    /// Brings the sets to the deployment's size, each in proportion while a rollout is under way.
    pub fn scale(&mut self) {
        let wanted = self.deployment.spec.replicas;
        if let Some(only) = self.only_active_or_latest() {
            self.resize_if_other(only, wanted);
            return;
        }
        if self.newest().is_some_and(|set| self.is_saturated(set)) {
            for index in self.old() {
                self.resize_if_other(index, 0);
            }
            return;
        }
        if is_rolling(self.deployment) {
            self.scale_in_proportion();
        }
    }

    /// The one set that counts: the only one with pods or, if none has, the newest. `None` if several have.
    fn only_active_or_latest(&self) -> Option<usize> {
        let active: Vec<usize> = (0..self.all.len()).filter(|&i| self.all[i].replicas > 0).collect();
        match active.as_slice() {
            [] => self.newest.or(self.all.len().checked_sub(1)),
            [only] => Some(*only),
            _ => None,
        }
    }

    /// The set has all pods of the deployment, and they are available.
    fn is_saturated(&self, set: &Set) -> bool {
        let wanted = self.deployment.spec.replicas;
        set.replicas == wanted
            && set.number(DESIRED_REPLICAS) == Some(wanted)
            && set.status.available_replicas == wanted
    }

    fn scale_in_proportion(&mut self) {
        let wanted = self.deployment.spec.replicas;
        let mut active: Vec<usize> = (0..self.all.len()).filter(|&i| self.all[i].replicas > 0).collect();
        let allowed = if wanted > 0 { wanted + self.bounds.surge } else { 0 };
        let to_add = allowed - self.total(|s| s.replicas);
        // The largest is first; among equals the newer grows first and the older shrinks first.
        active.sort_by_key(|&i| {
            (Reverse(self.all[i].replicas), if to_add > 0 { Reverse(i) } else { Reverse(usize::MAX - i) })
        });
        let mut added = 0;
        let mut sizes: Vec<i64> = Vec::new();
        for &index in &active {
            let share = self.share(index, to_add, added);
            added += share;
            sizes.push(self.all[index].replicas + share);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (index, size) in active.into_iter().zip(sizes) {
            self.resize(index, size);
        }
    }

    /// The part of `to_add` that falls to a set by its size, at most what `added` leaves of it.
    fn share(&self, index: usize, to_add: i64, added: i64) -> i64 {
        let set = &self.all[index];
        if to_add == 0 || to_add == added {
            return 0;
        }
        let fraction = self.fraction(set);
        let left = to_add - added;
        if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
    }

    /// By how much a set would grow or shrink if every set did so alike.
    fn fraction(&self, set: &Set) -> i64 {
        let wanted = self.deployment.spec.replicas;
        if wanted == 0 {
            return -set.replicas;
        }
        let before = set.number(MAX_REPLICAS).filter(|&n| n > 0).unwrap_or(self.deployment.status.replicas);
        if before <= 0 {
            return 0;
        }
        let size = set.replicas as f64 * (wanted + self.bounds.surge) as f64 / before as f64;
        size.round() as i64 - set.replicas
    }
}
