//! Pods that wait for a node.
//!
//! ```text
//!            add                    pop                 decided: no node
//!   ──────────────────▶ active ───────────▶ (deciding) ─────────────────▶ unschedulable
//!                       ▲    ▲                  │ failed                        │ wake: something changed
//!        gates are gone │    │ time is up, or   ▼                               │
//!             gated ────┘    └───────────── backing off ◀───────────────────────┘
//!                              nothing else
//! ```
//!
//! The tenant that has least for its weight goes first, of equals who was served longest ago; within a tenant the higher priority goes first, then who waited longest. A pod that something
//! woke backs off only as long as others are active; one that failed backs off for its time.
//!
//! Pure: time is an argument.

use crate::placement::{Pod, PodKey, Turn, Verdict};
use api::{TenantName, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// The wait after a pod's first attempt, doubled by each further one up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LONGEST: Duration = Duration::from_secs(10);

/// A pod that nothing woke is tried again after this long, should a change have been missed.
const UNSCHEDULABLE_LONGEST: Duration = Duration::from_secs(300);

/// Where a pod stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Active,
    /// It was handed out; its outcome is awaited.
    Deciding,
    BackingOff {
        until: Timestamp,
        /// Whether it keeps to its time even when nothing else is to be done.
        failed: bool,
    },
    Unschedulable {
        refused_by: Arc<BTreeSet<Verdict>>,
    },
    Gated,
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    /// Since when it waits, in order of arrival.
    arrival: u64,
    attempts: u32,
    tried: Timestamp,
    stage: Stage,
}

type Rank = (Reverse<i32>, u64, PodKey);

/// A pod that no node could take, and what refused it.
type Refused = (Arc<Pod>, Arc<BTreeSet<Verdict>>);

/// The active pods of a tenant, and when it is its turn.
#[derive(Default)]
struct Active {
    ranks: BTreeSet<Rank>,
    turn: Turn,
    /// When it was served last, as a number of pods that were.
    served: u64,
}

/// The queue.
#[derive(Default)]
pub struct Queue {
    pods: HashMap<PodKey, Waiting>,
    arrivals: u64,
    active: HashMap<TenantName, Active>,
    /// The active tenants, whose turn it is first.
    turns: BTreeSet<(Turn, u64, TenantName)>,
    served: u64,
    backing_off: BTreeSet<(Timestamp, PodKey)>,
    /// By the time of the last try, with what refused them: they are walked whenever something happens.
    unschedulable: BTreeMap<(Timestamp, PodKey), Refused>,
}

impl Queue {
    /// Adds a pod, or brings a waiting one up to date without moving it. True if it is new.
    pub fn add(&mut self, key: &PodKey, pod: Arc<Pod>) -> bool {
        if self.pods.contains_key(key) {
            self.update(key, pod);
            return false;
        }
        self.arrivals += 1;
        let arrival = self.arrivals;
        let stage = if pod.gated { Stage::Gated } else { Stage::Active };
        self.put(key, Waiting { pod, arrival, attempts: 0, tried: Timestamp::default(), stage });
        true
    }

    pub fn remove(&mut self, key: &PodKey) {
        self.take(key);
    }

    pub fn get(&self, key: &PodKey) -> Option<&Arc<Pod>> {
        self.pods.get(key).map(|w| &w.pod)
    }

    /// Replaces a waiting pod. One whose gates are gone, or come, moves.
    pub fn update(&mut self, key: &PodKey, pod: Arc<Pod>) {
        let Some(mut waiting) = self.take(key) else { return };
        waiting.stage = match waiting.stage {
            _ if pod.gated => Stage::Gated,
            Stage::Gated => Stage::Active,
            other => other,
        };
        waiting.pod = pod;
        self.put(key, waiting);
    }

    /// Makes a pod that no node could take wait for another try.
    pub fn wake(&mut self, key: &PodKey) {
        let Some(waiting) = self.pods.get(key) else { return };
        if !matches!(waiting.stage, Stage::Unschedulable { .. }) {
            return;
        }
        let until = waiting.tried.plus(backoff(waiting.attempts));
        self.restage(key, Stage::BackingOff { until, failed: false });
    }

    /// The next pod to decide on. It stays with the queue until its outcome is told or it is removed.
    pub fn pop(&mut self, now: Timestamp) -> Option<(PodKey, Arc<Pod>)> {
        self.release(now);
        let key = self.next_active().or_else(|| self.next_woken())?;
        let waiting = self.take(&key)?;
        let pod = waiting.pod.clone();
        let attempts = waiting.attempts.saturating_add(1);
        self.put(&key, Waiting { stage: Stage::Deciding, attempts, tried: now, ..waiting });
        Some((key, pod))
    }

    /// No node could take the pod.
    pub fn unschedulable(&mut self, key: &PodKey, refused_by: BTreeSet<Verdict>) {
        self.restage(key, Stage::Unschedulable { refused_by: Arc::new(refused_by) });
    }

    /// What was decided on a pod came too late: it is decided on anew.
    pub fn again(&mut self, key: &PodKey) {
        if self.pods.get(key).is_some_and(|waiting| waiting.stage == Stage::Deciding) {
            self.restage(key, Stage::Active);
        }
    }

    /// What was decided on a pod could not be done, for a reason that has nothing to do with it.
    pub fn failed(&mut self, key: &PodKey, now: Timestamp) {
        let Some(waiting) = self.pods.get(key) else { return };
        if matches!(waiting.stage, Stage::Deciding | Stage::Unschedulable { .. }) {
            let until = now.plus(backoff(waiting.attempts));
            self.restage(key, Stage::BackingOff { until, failed: true });
        }
    }

    /// The pods that no node could take, and what refused them.
    pub fn refused(&self) -> impl Iterator<Item = (&PodKey, &Arc<Pod>, &BTreeSet<Verdict>)> {
        self.unschedulable.iter().map(|((_, key), (pod, refused_by))| (key, pod, &**refused_by))
    }

    /// When to ask again if nothing happens until then.
    pub fn next_time(&self) -> Option<Timestamp> {
        let woken = self.backing_off.first().map(|(until, _)| *until);
        let forgotten = self.unschedulable.first_key_value().map(|((tried, _), _)| tried.plus(UNSCHEDULABLE_LONGEST));
        woken.into_iter().chain(forgotten).min()
    }

    /// Moves what has waited long enough.
    fn release(&mut self, now: Timestamp) {
        while let Some((_, key)) = self.backing_off.first().filter(|(until, _)| *until <= now).cloned() {
            self.restage(&key, Stage::Active);
        }
        let over = |(tried, _): &&(Timestamp, PodKey)| tried.plus(UNSCHEDULABLE_LONGEST) <= now;
        while let Some((_, key)) = self.unschedulable.keys().next().filter(over).cloned() {
            self.restage(&key, Stage::Active);
        }
    }

    fn next_active(&mut self) -> Option<PodKey> {
        let (turn, _, tenant) = self.turns.pop_first()?;
        self.served += 1;
        let active = self.active.get_mut(&tenant).expect("a tenant with a turn has active pods");
        active.served = self.served;
        let first = active.ranks.first().map(|(_, _, key)| key.clone());
        self.turns.insert((turn, self.served, tenant));
        first
    }

    pub fn is_active(&self, tenant: &TenantName) -> bool {
        self.active.contains_key(tenant)
    }

    /// Says when it is a tenant's turn, while it has active pods.
    pub fn set_turn(&mut self, tenant: &TenantName, turn: Turn) {
        let Some(active) = self.active.get_mut(tenant).filter(|active| active.turn != turn) else { return };
        self.turns.remove(&(active.turn, active.served, tenant.clone()));
        active.turn = turn;
        self.turns.insert((turn, active.served, tenant.clone()));
    }

    /// How many tenants come before a pod's, and how many pods of its own; `None` for one that is not active.
    pub fn before(&self, key: &PodKey) -> Option<(usize, usize)> {
        let active = self.active.get(&key.tenant)?;
        let own = active.ranks.iter().position(|(_, _, other)| other == key)?;
        let turn = (active.turn, active.served, key.tenant.clone());
        Some((self.turns.range(..turn).count(), own))
    }

    fn next_woken(&self) -> Option<PodKey> {
        let early = |key: &PodKey| matches!(self.pods[key].stage, Stage::BackingOff { failed: false, .. });
        self.backing_off.iter().map(|(_, key)| key).find(|key| early(key)).cloned()
    }

    fn restage(&mut self, key: &PodKey, stage: Stage) {
        if let Some(waiting) = self.take(key) {
            self.put(key, Waiting { stage, ..waiting });
        }
    }

    fn put(&mut self, key: &PodKey, waiting: Waiting) {
        match &waiting.stage {
            Stage::Active => {
                let rank = (Reverse(waiting.pod.priority), waiting.arrival, key.clone());
                if !self.active.contains_key(&key.tenant) {
                    self.turns.insert((Turn::default(), 0, key.tenant.clone()));
                }
                self.active.entry(key.tenant.clone()).or_default().ranks.insert(rank);
            }
            Stage::BackingOff { until, .. } => {
                self.backing_off.insert((*until, key.clone()));
            }
            Stage::Unschedulable { refused_by } => {
                let known = (waiting.pod.clone(), refused_by.clone());
                self.unschedulable.insert((waiting.tried, key.clone()), known);
            }
            Stage::Deciding | Stage::Gated => {}
        }
        self.pods.insert(key.clone(), waiting);
    }

    fn take(&mut self, key: &PodKey) -> Option<Waiting> {
        self.unlist(key);
        self.pods.remove(key)
    }

    /// Takes a pod out of the lists of its stage.
    fn unlist(&mut self, key: &PodKey) {
        let Some(waiting) = self.pods.get(key) else { return };
        match &waiting.stage {
            Stage::Active => {
                let rank = (Reverse(waiting.pod.priority), waiting.arrival, key.clone());
                if let Some(active) = self.active.get_mut(&key.tenant) {
                    active.ranks.remove(&rank);
                    if active.ranks.is_empty() {
                        self.turns.remove(&(active.turn, active.served, key.tenant.clone()));
                        self.active.remove(&key.tenant);
                    }
                }
            }
            Stage::BackingOff { until, .. } => {
                self.backing_off.remove(&(*until, key.clone()));
            }
            Stage::Unschedulable { .. } => {
                self.unschedulable.remove(&(waiting.tried, key.clone()));
            }
            Stage::Deciding | Stage::Gated => {}
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(8);
    BACKOFF_LONGEST.min(BACKOFF_FIRST * 2u32.pow(doublings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant: &str, name: &str) -> PodKey {
        PodKey::new(&TenantName::new(tenant).expect("a tenant's name"), "default", name)
    }

    fn pod(priority: i32) -> Arc<Pod> {
        Arc::new(Pod { priority, ..Pod::default() })
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(1_000_000 + secs)
    }

    fn popped(queue: &mut Queue, secs: i64) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(at(secs))).map(|(key, _)| key.name.to_string()).collect()
    }

    #[test]
    fn tenants_take_turns_and_priority_counts_within_one() {
        let mut queue = Queue::default();
        for (name, priority) in [("a1", 0), ("a2", 1_000_000), ("a3", 0)] {
            queue.add(&key("a", name), pod(priority));
        }
        queue.add(&key("b", "b1"), pod(0));
        queue.add(&key("b", "b2"), pod(-5));
        assert_eq!(popped(&mut queue, 0), ["a2", "b1", "a1", "b2", "a3"]);
    }

    #[test]
    fn a_woken_pod_backs_off_only_while_others_are_active() {
        let mut queue = Queue::default();
        let woken = key("a", "woken");
        queue.add(&woken, pod(100));
        assert_eq!(popped(&mut queue, 0), ["woken"]);
        queue.unschedulable(&woken, BTreeSet::new());
        assert_eq!(popped(&mut queue, 0), [""; 0]);
        queue.wake(&woken);
        queue.add(&key("a", "fresh"), pod(0));
        assert_eq!(popped(&mut queue, 0), ["fresh", "woken"]);
        queue.unschedulable(&woken, BTreeSet::new());
        queue.wake(&woken);
        queue.add(&key("a", "later"), pod(0));
        assert_eq!(popped(&mut queue, 60), ["woken", "later"]);
    }

    #[test]
    fn a_pod_whose_binding_failed_keeps_to_its_time() {
        let mut queue = Queue::default();
        let failed = key("a", "failed");
        queue.add(&failed, pod(0));
        for waits in [1, 2, 4, 8, 10, 10] {
            let now = queue.next_time().map_or(0, |next| next.unix_secs() - at(0).unix_secs());
            assert_eq!(popped(&mut queue, now), ["failed"]);
            queue.failed(&failed, at(now));
            assert_eq!(popped(&mut queue, now + waits - 1), [""; 0]);
            assert_eq!(queue.next_time(), Some(at(now + waits)));
        }
    }

    #[test]
    fn a_pod_that_nothing_woke_is_tried_again_in_the_end() {
        let mut queue = Queue::default();
        let forgotten = key("a", "forgotten");
        queue.add(&forgotten, pod(0));
        assert_eq!(popped(&mut queue, 0), ["forgotten"]);
        queue.unschedulable(&forgotten, BTreeSet::new());
        assert_eq!(popped(&mut queue, 299), [""; 0]);
        assert_eq!(popped(&mut queue, 300), ["forgotten"]);
    }
}
