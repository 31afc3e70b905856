//! The scheduler as one value: what happens goes in, what is to be done comes out.
//!
//! A pod that got a node is *assumed* there at once, so that the next decision counts it, and its binding is asked for.
//! The assumption ends when the API shows the pod on a node or gone, or when the binding fails.
//!
//! Pure: time and randomness are arguments. One owner; nobody else holds a part of it.

mod prepare;
mod room;

use crate::explain::Explained;
use crate::placement::{
    Budget, ClaimKey, Decision, Node, Placement, Pod, PodKey, PodSelector, Preemption, Preparation, Profile, Rng,
    Share, StorageChange, Unschedulable, Word,
};
use crate::queue::Queue;
use crate::wake::{self, Happening};
use api::{TenantName, Timestamp};
use room::MakingRoom;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// All that can happen. `None` is for what is gone.
#[derive(Debug)]
pub enum Event {
    Pod {
        key: PodKey,
        pod: Option<Arc<Pod>>,
    },
    Node {
        name: String,
        node: Option<Arc<Node>>,
    },
    Namespace {
        tenant: TenantName,
        name: String,
        labels: Option<BTreeMap<String, String>>,
    },
    Service {
        tenant: TenantName,
        namespace: String,
        name: String,
        selector: Option<BTreeMap<String, String>>,
    },
    /// Something that owns pods: a replica set, a stateful set, a replication controller.
    Controller {
        tenant: TenantName,
        namespace: String,
        kind: &'static str,
        name: String,
        selector: Option<PodSelector>,
    },
    Budget {
        tenant: TenantName,
        namespace: String,
        name: String,
        budget: Option<Budget>,
    },
    Storage(StorageChange),
    /// What operators say of a tenant's share.
    Share {
        tenant: TenantName,
        share: Option<Share>,
    },
    /// An action failed: see which.
    Failed(Failure),
}

/// An action that did not succeed. Success shows itself as a change of the pod.
#[derive(Debug)]
pub enum Failure {
    Bind {
        key: PodKey,
        uid: Box<str>,
        why: String,
        /// Another scheduler was quicker: it is decided anew at once.
        outrun: bool,
    },
    Prepare {
        key: PodKey,
        uid: Box<str>,
        why: String,
    },
    Report {
        key: PodKey,
        uid: Box<str>,
    },
    Evict {
        preemptor: PodKey,
        uid: Box<str>,
    },
}

/// All that can be asked for.
#[derive(Clone, Debug)]
pub enum Action {
    /// Give the pod its node, as pods were seen up to this version.
    Bind { key: PodKey, pod: Arc<Pod>, node: Arc<str>, seen: u64 },
    /// Write what the pod's volumes need for that node.
    Prepare { key: PodKey, pod: Arc<Pod>, writes: Vec<VolumeWrite> },
    /// Tell in the pod's status, and in an event, why it has no node.
    Report { key: PodKey, pod: Arc<Pod>, report: Report },
    /// Make the victims leave their node, for the preemptor.
    Evict { preemptor: PodKey, pod: Arc<Pod>, node: Arc<str>, victims: Vec<(PodKey, Arc<Pod>)> },
}

/// What is told of a pod without a node. `None` leaves that part as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Reason and message of the condition `PodScheduled`.
    pub condition: Option<(&'static str, String)>,
    /// The node it is nominated for; empty for none.
    pub nominated: Option<Arc<str>>,
}

pub const UNSCHEDULABLE: &str = "Unschedulable";
pub const SCHEDULING_GATED: &str = "SchedulingGated";
pub const SCHEDULER_ERROR: &str = "SchedulerError";

/// Upstream's words for a pod with gates.
const GATED_MESSAGE: &str = "Scheduling is blocked due to non-empty scheduling gates";

/// A write that keeps a volume for a claim, or selects the node for which a claim's volume is made.
#[derive(Clone, Debug)]
pub struct VolumeWrite {
    /// The volume's name.
    pub volume: Option<Arc<str>>,
    pub claim: ClaimKey,
    pub claim_uid: Box<str>,
    pub claim_version: Box<str>,
    /// Of what is written: the volume, or else the claim.
    pub version: Box<str>,
    /// The volume has no claim yet.
    pub is_new: bool,
    pub node: Arc<str>,
}

/// Everything that the scheduler knows.
pub struct State {
    placement: Placement,
    queue: Queue,
    /// The newest version of any pod that was seen.
    seen: u64,
    /// Pods whose binding is under way.
    assumed: HashMap<PodKey, Assumed>,
    /// Pods whose claims have to be bound before they are.
    preparing: HashMap<PodKey, Preparing>,
    /// Who waits for a claim.
    awaited: HashMap<ClaimKey, BTreeSet<PodKey>>,
    making_room: MakingRoom,
}

/// A pod whose binding is under way.
struct Assumed {
    uid: Box<str>,
    /// What was promised to it before, and is again if it does not get its node.
    promise: Option<(Box<str>, Word)>,
}

/// A pod whose claims are being bound.
struct Preparing {
    pod: Arc<Pod>,
    node: Arc<str>,
    preparation: Preparation,
    until: Timestamp,
}

impl State {
    pub fn new(profiles: Vec<Profile>) -> State {
        State {
            placement: Placement::new(profiles),
            queue: Queue::default(),
            seen: 0,
            assumed: HashMap::new(),
            preparing: HashMap::new(),
            awaited: HashMap::new(),
            making_room: MakingRoom::default(),
        }
    }

    /// Takes note of what happened.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        match event {
            Event::Pod { key, pod: Some(pod) } => {
                self.seen = self.seen.max(pod.resource_version.parse().unwrap_or(0));
                let actions = self.pod_seen(&key, pod);
                self.refresh_turn(&key.tenant);
                return actions;
            }
            Event::Pod { key, pod: None } => {
                self.pod_gone(&key);
                self.refresh_turn(&key.tenant);
            }
            Event::Node { name, node: Some(node) } => {
                let old = self.placement.snapshot.node(&name).cloned();
                self.placement.snapshot.set_node(&name, node.clone());
                match &old {
                    Some(old) if *old == node => {}
                    Some(old) => self.wake(&Happening::NodeChanged { name: &name, old, new: &node }),
                    None => self.wake(&Happening::NodeAdded),
                }
            }
            Event::Node { name, node: None } => {
                self.placement.snapshot.remove_node(&name);
                self.wake(&Happening::NodeRemoved);
            }
            Event::Namespace { tenant, name, labels } => {
                match labels {
                    Some(labels) => self.placement.snapshot.set_namespace(&tenant, &name, labels),
                    None => self.placement.snapshot.remove_namespace(&tenant, &name),
                }
                self.wake(&Happening::NamespaceChanged);
            }
            Event::Service { tenant, namespace, name, selector } => {
                self.placement.workloads.set_service(&tenant, &namespace, &name, selector);
            }
            Event::Controller { tenant, namespace, kind, name, selector } => {
                self.placement.workloads.set_controller(&tenant, &namespace, kind, &name, selector);
            }
            Event::Budget { tenant, namespace, name, budget } => match budget {
                Some(budget) => self.placement.budgets.set(&tenant, &namespace, &name, budget),
                None => self.placement.budgets.remove(&tenant, &namespace, &name),
            },
            Event::Share { tenant, share } => {
                self.placement.snapshot.set_share(&tenant, share);
                self.refresh_turn(&tenant);
                self.wake(&Happening::SharesChanged);
            }
            Event::Storage(change) => return self.storage_changed(change, now),
            Event::Failed(failure) => return self.failed(failure, now),
        }
        Vec::new()
    }

    /// Decides on the next pod, if one waits.
    pub fn schedule_next(&mut self, now: Timestamp, rng: &mut Rng) -> Option<Vec<Action>> {
        if let Some(key) = self.overdue(now) {
            return Some(self.preparation_failed(&key, "context deadline exceeded", now));
        }
        let (key, pod) = self.queue.pop(now)?;
        Some(match self.placement.decide(&key, &pod, rng) {
            Decision::Node(node, preparation) => {
                let promise = self.placement.snapshot.forget_nomination(&key);
                self.placement.snapshot.place(&key, pod.clone(), &node);
                self.refresh_turn(&key.tenant);
                self.assumed.insert(key.clone(), Assumed { uid: pod.uid.clone(), promise });
                self.wake(&Happening::Placed { key: &key, pod: &pod });
                if preparation.claims.is_empty() {
                    vec![Action::Bind { key, pod, node, seen: self.seen }]
                } else {
                    self.prepare(key, pod, node, preparation, now)
                }
            }
            Decision::Unschedulable(outcome) => self.refuse(key, pod, outcome),
        })
    }

    /// When to ask for the next pod again if nothing happens.
    pub fn next_time(&self) -> Option<Timestamp> {
        let overdue = self.preparing.values().map(|preparing| preparing.until).min();
        self.queue.next_time().into_iter().chain(overdue).min()
    }

    fn pod_seen(&mut self, key: &PodKey, mut pod: Arc<Pod>) -> Vec<Action> {
        if self.assumed.get(key).is_some_and(|assumed| assumed.uid != pod.uid)
            || self.queue.get(key).is_some_and(|p| p.uid != pod.uid)
        {
            self.pod_gone(key);
        }
        if pod.placed() {
            self.forget_waiting(key);
            self.pod_placed(key, pod);
            return Vec::new();
        }
        if !pod.waits() || !self.placement.decides_for(&pod.scheduler) {
            self.pod_gone(key);
            return Vec::new();
        }
        if self.assumed.contains_key(key) {
            // Its binding is under way, and decides what becomes of it.
            if let Some(old) = self.queue.get(key) {
                Arc::make_mut(&mut pod).nominated = old.nominated.clone();
            }
            self.queue.update(key, pod);
            return Vec::new();
        }
        self.pod_waits(key, pod)
    }

    fn pod_placed(&mut self, key: &PodKey, pod: Arc<Pod>) {
        let old = self.placement.snapshot.placed(key).map(|(old, node)| (old.clone(), node.to_owned()));
        self.placement.snapshot.place(key, pod.clone(), &pod.node);
        match old {
            None => self.wake(&Happening::Placed { key, pod: &pod }),
            Some((old, node)) if *node == *pod.node => self.wake(&Happening::Changed { key, old: &old, new: &pod }),
            Some((old, node)) => {
                self.left(key, &old, &node);
                self.wake(&Happening::Placed { key, pod: &pod });
            }
        }
    }

    fn pod_waits(&mut self, key: &PodKey, mut pod: Arc<Pod>) -> Vec<Action> {
        let old = self.queue.get(key).cloned();
        match old.as_ref().filter(|old| !old.gated) {
            // What this scheduler nominated holds, whatever the API shows of it by now.
            Some(old) if !pod.gated => {
                Arc::make_mut(&mut pod).nominated = old.nominated.clone();
                self.placement.snapshot.update_nomination(key, &pod);
            }
            None if !pod.gated && !pod.nominated.is_empty() => {
                self.placement.snapshot.nominate(key, pod.clone(), &pod.nominated, Word::Status);
            }
            None if !pod.gated => {}
            // Nobody makes room for a pod that does not even ask for it.
            Some(_) | None => {
                self.placement.snapshot.forget_nomination(key);
            }
        }
        self.queue.add(key, pod.clone());
        if old.is_some_and(|old| asks_other(&old, &pod)) {
            self.queue.wake(key);
        }
        let told = pod.condition.as_ref().is_some_and(|c| &*c.reason == SCHEDULING_GATED);
        if pod.gated && !told {
            let condition = Some((SCHEDULING_GATED, GATED_MESSAGE.to_owned()));
            return vec![Action::Report { key: key.clone(), pod, report: Report { condition, nominated: None } }];
        }
        Vec::new()
    }

    fn pod_gone(&mut self, key: &PodKey) {
        self.forget_waiting(key);
        if let Some((pod, node)) = self.placement.snapshot.unplace(key) {
            self.left(key, &pod, &node);
        }
    }

    fn left(&mut self, key: &PodKey, pod: &Pod, node: &str) {
        self.making_room.gone(key);
        self.wake(&Happening::Left { key, pod, node });
    }

    fn forget_waiting(&mut self, key: &PodKey) {
        self.queue.remove(key);
        self.making_room.forget(key);
        self.assumed.remove(key);
        self.stop_preparing(key);
        self.placement.snapshot.forget_nomination(key);
    }

    fn refuse(&mut self, key: PodKey, mut pod: Arc<Pod>, outcome: Unschedulable) -> Vec<Action> {
        let Unschedulable { message, refused_by, preemption, clear_nomination } = outcome;
        let mut report = Report::default();
        let told = pod.condition.as_ref().is_some_and(|c| &*c.reason == UNSCHEDULABLE && *c.message == *message);
        if !told {
            report.condition = Some((UNSCHEDULABLE, message));
        }
        let mut actions = Vec::new();
        if let Some(Preemption { node, victims }) = preemption {
            if *pod.nominated != *node {
                report.nominated = Some(node.clone());
            }
            actions = self.displace(&pod, &node);
            self.renominate(&key, &mut pod, &node);
            self.making_room.begin(&key, victims.iter().map(|(victim, _)| victim));
            let (preemptor, pod) = (key.clone(), pod.clone());
            actions.push(Action::Evict { preemptor, pod, node, victims });
        } else if clear_nomination {
            report.nominated = Some("".into());
            self.renominate(&key, &mut pod, "");
        }
        self.queue.unschedulable(&key, refused_by);
        if report != Report::default() {
            actions.insert(0, Action::Report { key, pod, report });
        }
        actions
    }

    /// Pods of lower priority lose their nomination to a node that a higher one needs, and look again.
    fn displace(&mut self, pod: &Pod, node: &str) -> Vec<Action> {
        let lower = self.placement.snapshot.nominated_on(node).filter(|(_, other)| other.priority < pod.priority);
        let lower: Vec<(PodKey, Arc<Pod>)> = lower.map(|(key, pod)| (key.clone(), pod.clone())).collect();
        let mut actions = Vec::new();
        for (key, mut pod) in lower {
            self.renominate(&key, &mut pod, "");
            self.queue.wake(&key);
            let report = Report { condition: None, nominated: Some("".into()) };
            actions.push(Action::Report { key, pod, report });
        }
        actions
    }

    fn renominate(&mut self, key: &PodKey, pod: &mut Arc<Pod>, node: &str) {
        self.making_room.forget(key);
        Arc::make_mut(pod).nominated = node.into();
        self.queue.update(key, pod.clone());
        self.placement.snapshot.forget_nomination(key);
        if !node.is_empty() {
            self.placement.snapshot.nominate(key, pod.clone(), node, Word::Own);
        }
    }

    fn failed(&mut self, failure: Failure, now: Timestamp) -> Vec<Action> {
        match failure {
            Failure::Bind { key, uid, why, outrun } => {
                if self.assumed.get(&key).is_none_or(|assumed| assumed.uid != uid) {
                    return Vec::new();
                }
                if outrun {
                    self.give_back(&key);
                    self.queue.again(&key);
                    return Vec::new();
                }
                self.unassume(key, why, now)
            }
            Failure::Prepare { key, uid, why } => {
                if self.preparing.get(&key).is_none_or(|preparing| preparing.pod.uid != uid) {
                    return Vec::new();
                }
                self.preparation_failed(&key, &why, now)
            }
            Failure::Report { key, uid } => {
                // Telling is tried again with the next decision.
                if self.queue.get(&key).is_some_and(|pod| pod.uid == uid) && !self.assumed.contains_key(&key) {
                    self.queue.failed(&key, now);
                }
                Vec::new()
            }
            Failure::Evict { preemptor: key, uid } => {
                let Some(mut pod) = self.queue.get(&key).filter(|pod| pod.uid == uid).cloned() else {
                    return Vec::new();
                };
                self.renominate(&key, &mut pod, "");
                self.queue.failed(&key, now);
                vec![Action::Report { key, pod, report: Report { condition: None, nominated: Some("".into()) } }]
            }
        }
    }

    /// The pod does not get the node that it was to get, for a reason that is not in the cluster.
    fn unassume(&mut self, key: PodKey, why: String, now: Timestamp) -> Vec<Action> {
        self.give_back(&key);
        self.queue.failed(&key, now);
        let Some(pod) = self.queue.get(&key).cloned() else { return Vec::new() };
        let report = Report { condition: Some((SCHEDULER_ERROR, why)), nominated: None };
        vec![Action::Report { key, pod, report }]
    }

    /// A pod is no longer assumed on its node; what was promised to it before is promised again.
    fn give_back(&mut self, key: &PodKey) {
        let promise = self.assumed.remove(key).and_then(|assumed| assumed.promise);
        if let Some((pod, node)) = self.placement.snapshot.unplace(key) {
            self.left(key, &pod, &node);
        }
        self.refresh_turn(&key.tenant);
        if let (Some((node, word)), Some(pod)) = (promise, self.queue.get(key)) {
            self.placement.snapshot.nominate(key, pod.clone(), &node, word);
        }
    }

    /// Looks at all nodes for a pod as if it was on none. `None` for a pod that is not known.
    pub fn explain(&mut self, key: &PodKey) -> Option<Explained> {
        let placed = self.placement.snapshot.placed(key).map(|(pod, _)| pod.clone());
        let pod = placed.clone().or_else(|| self.queue.get(key).cloned())?;
        let (share, weight) = self.placement.snapshot.share(&key.tenant);
        self.placement.snapshot.unplace(key);
        let nodes = self.placement.explain(key, &pod);
        if let Some(placed) = placed {
            self.placement.snapshot.place(key, placed.clone(), &placed.node);
        }
        Some(Explained { pod, nodes, share, weight, before: self.queue.before(key) })
    }

    /// What a tenant has has changed, and with it when it is its turn.
    fn refresh_turn(&mut self, tenant: &TenantName) {
        if self.queue.is_active(tenant) {
            self.queue.set_turn(tenant, self.placement.snapshot.turn(tenant));
        }
    }

    fn wake(&mut self, happening: &Happening) {
        if happening.concerns_nobody() {
            return;
        }
        let State { placement, making_room, .. } = self;
        let worth = |(key, pod, refused_by): &(&PodKey, &Arc<Pod>, &_)| {
            let profile = placement.profile(pod);
            if let Happening::Left { node, .. } = happening
                && making_room.is_made_for(key)
                && !placement.snapshot.is_free_for(node, key, pod, profile)
            {
                return false;
            }
            wake::worth_a_try((&placement.snapshot, profile), happening, key, pod, refused_by)
        };
        let woken: Vec<PodKey> = self.queue.refused().filter(worth).map(|(key, _, _)| key.clone()).collect();
        for key in woken {
            self.queue.wake(&key);
        }
    }
}

/// Whether a waiting pod asks for something else than before.
fn asks_other(old: &Pod, new: &Pod) -> bool {
    old.labels != new.labels
        || old.requests != new.requests
        || old.node_needs != new.node_needs
        || old.terms != new.terms
        || old.spread != new.spread
        || old.priority != new.priority
}

#[cfg(test)]
mod tests;
