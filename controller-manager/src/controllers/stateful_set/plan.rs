//! What a stateful set does next about its pods, and its status. Pure.
//!
//! In order, a set makes the pods that lack, one after the other as each becomes available; then ends those beyond its
//! range, the highest first; then replaces those of an old revision, the highest first. A parallel set does not wait
//! for one pod with the next, except with updates.

use super::pods::{self, Claims, revision_of};
use crate::controllers::int_or_percent::{Rounding, scaled};
use crate::view::{Pod, StatefulSet, StatefulSetStatus};
use api::Timestamp;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// The most pods that one look creates.
pub const BURST_PODS: usize = 500;

/// A revision of the template.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub name: String,
    pub template: Value,
}

/// What a plan is made from.
pub struct Observed<'a> {
    pub set: &'a StatefulSet,
    /// The one that the pods were made from before the last change, and that of the template now.
    pub current: &'a Revision,
    pub update: &'a Revision,
    /// The set's pods.
    pub pods: &'a [Arc<Pod>],
    pub claims: &'a Claims<'a>,
    pub owner: &'a Value,
    pub collisions: i64,
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make the pod of an ordinal, with its claims.
    Create {
        ordinal: i64,
        revision: String,
    },
    Delete(Arc<Pod>),
    /// Delete a pod that has ended, so that it is made anew.
    Recreate(Arc<Pod>),
    /// Make the claims that a waiting pod lacks.
    Supply {
        ordinal: i64,
    },
    /// Give a pod its identity and storage, and its claims their owners.
    Align {
        ordinal: i64,
        pod: Arc<Pod>,
    },
    /// Give the claims of a pod that goes their owners.
    Release {
        ordinal: i64,
        pod: Arc<Pod>,
    },
}

#[derive(Debug)]
pub struct Plan {
    /// Each group after the one before went well.
    pub groups: Vec<Vec<Step>>,
    /// Whether the steps of a group are independent.
    pub parallel: bool,
    pub status: StatefulSetStatus,
    pub again: Option<Duration>,
}

struct Planner<'a> {
    seen: &'a Observed<'a>,
    min_ready: Duration,
    in_order: bool,
    /// The range of ordinals: the first, and the one after the last.
    range: (i64, i64),
    /// Pods within the range.
    wanted: HashMap<i64, &'a Arc<Pod>>,
    /// Pods beyond it, the highest first.
    condemned: Vec<(i64, &'a Arc<Pod>)>,
}

/// Whether what comes next has to wait.
#[derive(Clone, Copy, PartialEq)]
enum Go {
    On,
    Wait,
}

pub fn plan(seen: &Observed<'_>) -> Plan {
    let range = pods::range(seen.set);
    let (mut wanted, mut condemned) = (HashMap::new(), Vec::new());
    for pod in seen.pods {
        let Some(ordinal) = pods::ordinal(&seen.set.metadata.name, &pod.metadata.name) else { continue };
        if (range.0..range.1).contains(&ordinal) {
            wanted.insert(ordinal, pod);
        } else {
            condemned.push((ordinal, pod));
        }
    }
    condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
    let min_ready = Duration::from_secs(seen.set.spec.min_ready_seconds.try_into().unwrap_or(0));
    let in_order = seen.set.spec.pod_management_policy != "Parallel";
    let planner = Planner { seen, min_ready, in_order, range, wanted, condemned };
    let (groups, replaced) = planner.groups();
    let mut status = planner.status();
    status.current_replicas -= replaced.min(status.current_replicas);
    complete_update(seen.set, &mut status);
    let available_in = |pod: &Arc<Pod>| pod.becomes_available_in(min_ready, seen.now).filter(|left| !left.is_zero());
    let again = seen.pods.iter().filter_map(available_in).min();
    Plan { groups, parallel: !in_order, status, again }
}

impl Planner<'_> {
    /// The steps, and how many pods of the current revision go for an update.
    fn groups(&self) -> (Vec<Vec<Step>>, i64) {
        let mut groups = Vec::new();
        if self.seen.set.metadata.is_deleting() {
            return (groups, 0);
        }
        let (steps, go) = self.living();
        groups.push(steps);
        if go == Go::Wait {
            return (groups, 0);
        }
        let (steps, go) = self.leaving();
        groups.push(steps);
        if go == Go::Wait || self.seen.set.spec.update_strategy.kind == "OnDelete" {
            return (groups, 0);
        }
        let outdated = self.outdated();
        let replaced = outdated.iter().filter(|p| revision_of(p) == self.seen.current.name).count() as i64;
        groups.push(outdated.into_iter().map(|p| Step::Delete(p.clone())).collect());
        (groups, replaced)
    }

    /// What is to be done about the pods of the range.
    fn living(&self) -> (Vec<Step>, Go) {
        let mut steps = Vec::new();
        let mut created = 0;
        for ordinal in self.range.0..self.range.1 {
            let go = match self.wanted.get(&ordinal) {
                None => {
                    let mut claims = pods::claim_names(self.seen.set, ordinal);
                    let stale = claims.any(|(_, name)| {
                        (self.seen.claims)(&name).is_some_and(|c| pods::is_stale(self.seen.set, ordinal, &c))
                    });
                    if !stale {
                        created += 1;
                        steps.push(Step::Create { ordinal, revision: self.revision_for(ordinal) });
                    }
                    Go::Wait
                }
                Some(pod) => self.keep(ordinal, pod, &mut steps),
            };
            if go == Go::Wait && self.in_order {
                return (steps, Go::Wait);
            }
            if created == BURST_PODS {
                return (steps, Go::Wait);
            }
        }
        (steps, Go::On)
    }

    fn keep(&self, ordinal: i64, pod: &Arc<Pod>, steps: &mut Vec<Step>) -> Go {
        if pod.is_finished() {
            if !pod.metadata.is_deleting() {
                steps.push(Step::Recreate(pod.clone()));
            }
            return Go::Wait;
        }
        if pod.status.phase == "Pending" && self.lacks_claims(ordinal) {
            steps.push(Step::Supply { ordinal });
        }
        if self.in_order && (pod.metadata.is_deleting() || !self.is_available(pod)) {
            return Go::Wait;
        }
        if !pods::is_aligned(self.seen.set, ordinal, pod) || self.owns_wrongly(ordinal, pod) {
            steps.push(Step::Align { ordinal, pod: pod.clone() });
        }
        Go::On
    }

    /// What is to be done about the pods beyond the range.
    fn leaving(&self) -> (Vec<Step>, Go) {
        let mut steps: Vec<Step> = Vec::new();
        for (ordinal, pod) in &self.condemned {
            if self.owns_wrongly(*ordinal, pod) {
                steps.push(Step::Release { ordinal: *ordinal, pod: (*pod).clone() });
            }
        }
        let first_unhealthy = self.first_unhealthy();
        for (_, pod) in &self.condemned {
            if pod.metadata.is_deleting() {
                if self.in_order {
                    return (steps, Go::Wait);
                }
                continue;
            }
            let is_first = first_unhealthy.is_some_and(|first| first == pod.metadata.uid);
            if self.in_order && !self.is_available(pod) && !is_first {
                return (steps, Go::Wait);
            }
            steps.push(Step::Delete((*pod).clone()));
            if self.in_order {
                return (steps, Go::Wait);
            }
        }
        (steps, Go::On)
    }

    /// The pods that an update replaces now.
    fn outdated(&self) -> Vec<&Arc<Pod>> {
        let (start, end) = self.range;
        let rolling = self.seen.set.spec.update_strategy.rolling_update.as_ref();
        let first = start.saturating_add(rolling.map_or(0, |r| r.partition.max(0)));
        let is_old = |pod: &Pod| revision_of(pod) != self.seen.update.name && !pod.metadata.is_deleting();
        let Some(at_most) = rolling.and_then(|r| r.max_unavailable.as_ref()) else {
            for ordinal in (first..end).rev() {
                let Some(pod) = self.wanted.get(&ordinal) else { return Vec::new() };
                if is_old(pod) {
                    return vec![pod];
                }
                if pod.metadata.is_deleting() || !self.is_available(pod) {
                    return Vec::new();
                }
            }
            return Vec::new();
        };
        let at_most = scaled(at_most, end - start, Rounding::Down).max(1);
        let here = self.wanted.values().filter(|p| !p.metadata.is_deleting() && self.is_available(p)).count() as i64;
        let more = usize::try_from(at_most - (end - start - here)).unwrap_or(0);
        let mut old: Vec<_> = self.wanted.iter().filter(|(o, pod)| **o >= first && is_old(pod)).collect();
        old.sort_by_key(|(ordinal, _)| std::cmp::Reverse(**ordinal));
        old.into_iter().take(more).map(|(_, pod)| *pod).collect()
    }

    /// The uid of the lowest pod that is not well: one that lacks has none.
    fn first_unhealthy(&self) -> Option<&str> {
        let unwell = |pod: &Pod| pod.metadata.is_deleting() || !(pod.is_running() && pod.is_ready());
        let mut living: Vec<_> = self.wanted.iter().filter(|(_, pod)| unwell(pod)).collect();
        living.sort_by_key(|(ordinal, _)| **ordinal);
        let missing = (self.wanted.len() as i64) < self.range.1 - self.range.0;
        if let Some((_, pod)) = living.first() {
            return Some(&pod.metadata.uid);
        }
        let condemned = self.condemned.iter().rev().find(|(_, pod)| unwell(pod));
        condemned.filter(|_| !missing).map(|(_, pod)| pod.metadata.uid.as_str())
    }

    /// A pod that comes back below the partition is what it was before the update.
    fn revision_for(&self, ordinal: i64) -> String {
        let strategy = &self.seen.set.spec.update_strategy;
        let kept = match &strategy.rolling_update {
            _ if strategy.kind != "RollingUpdate" => 0,
            Some(rolling) => rolling.partition,
            None => self.seen.set.status.current_replicas,
        };
        let old = ordinal - self.range.0 < kept;
        if old { self.seen.current.name.clone() } else { self.seen.update.name.clone() }
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pod.is_running() && pod.is_available(self.min_ready, self.seen.now)
    }

    fn lacks_claims(&self, ordinal: i64) -> bool {
        pods::claim_names(self.seen.set, ordinal).any(|(_, name)| (self.seen.claims)(&name).is_none())
    }

    fn owns_wrongly(&self, ordinal: i64, pod: &Pod) -> bool {
        let set = self.seen.set;
        let mut names = pods::claim_names(set, ordinal).peekable();
        if names.peek().is_none() {
            return false;
        }
        let wanted = pods::claim_owners(set, self.seen.owner, ordinal, Some(pod));
        names.any(|(_, name)| {
            (self.seen.claims)(&name).is_some_and(|c| pods::is_owned_wrongly(set, ordinal, &c, &wanted))
        })
    }

    /// Counts what is there.
    fn status(&self) -> StatefulSetStatus {
        let seen = self.seen;
        let mut status = StatefulSetStatus {
            observed_generation: seen.set.metadata.generation,
            current_revision: seen.current.name.clone(),
            update_revision: seen.update.name.clone(),
            collision_count: Some(seen.collisions),
            conditions: seen.set.status.conditions.clone(),
            ..StatefulSetStatus::default()
        };
        for pod in seen.pods {
            status.replicas += 1;
            status.ready_replicas += i64::from(pod.is_running() && pod.is_ready());
            status.available_replicas += i64::from(self.is_available(pod));
            if !pod.metadata.is_deleting() {
                status.current_replicas += i64::from(revision_of(pod) == seen.current.name);
                status.updated_replicas += i64::from(revision_of(pod) == seen.update.name);
            }
        }
        status
    }
}

/// Once every pod is of the new revision and ready, it is the current one.
fn complete_update(set: &StatefulSet, status: &mut StatefulSetStatus) {
    let wanted = set.spec.replicas;
    if set.spec.update_strategy.kind == "RollingUpdate"
        && [status.updated_replicas, status.ready_replicas, status.replicas] == [wanted; 3]
    {
        status.current_replicas = status.updated_replicas;
        status.current_revision = status.update_revision.clone();
    }
}

/// The names of revisions that pods, or the status, still speak of.
pub fn revisions_in_use<'a>(observed: &'a Observed<'_>) -> HashSet<&'a str> {
    let named = [observed.current.name.as_str(), observed.update.name.as_str()];
    observed.pods.iter().map(|p| revision_of(p)).chain(named).collect()
}

impl StatefulSetStatus {
    /// As it is stored: counts of zero are left out, except where upstream keeps them.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"replicas": self.replicas, "availableReplicas": self.available_replicas});
        let counts = [
            ("observedGeneration", self.observed_generation),
            ("readyReplicas", self.ready_replicas),
            ("currentReplicas", self.current_replicas),
            ("updatedReplicas", self.updated_replicas),
        ];
        for (field, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
            value[field] = json!(count);
        }
        for (field, name) in [("currentRevision", &self.current_revision), ("updateRevision", &self.update_revision)] {
            if !name.is_empty() {
                value[field] = json!(name);
            }
        }
        if let Some(count) = self.collision_count {
            value["collisionCount"] = json!(count);
        }
        if !self.conditions.is_empty() {
            value["conditions"] = self.conditions.iter().map(crate::view::Condition::to_value).collect();
        }
        value
    }
}
