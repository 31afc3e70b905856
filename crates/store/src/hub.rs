//! Where commits become visible: the current snapshot, the history of each resource, and the watchers.
//!
//! Watchers are indexed by what they ask for, so that an event costs its own deliveries and nothing for others.
//! Invariant: a snapshot, its events and its revision are published under one lock, and watches begin under the same
//! lock, so that a watch from a snapshot's revision has neither gap nor duplicate.
//! Lock order: the hub's topics, then one inbox. Wakers are called without locks.

use crate::event::Event;
use crate::fence;
use crate::history::History;
use crate::inbox::{Inbox, Interest, Phase};
use crate::meter::Meter;
use crate::scope::{Scope, compact, prefixes};
use crate::snapshot::{Snapshot, State};
use crate::store::{Limits, TooOld};
use crate::watch::WatchEnded;
use api::{ResourceId, Revision};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

/// The field whose value a watcher of one node's objects requires.
pub(crate) const NODE_FIELD: &str = "spec.nodeName";

/// Events of the history that are looked at under one lock for a watcher that is behind.
const REFILL_EVENTS_MAX: usize = 512;

/// How often histories are trimmed in which nothing happens any more.
const TRIM_EVERY: Duration = Duration::from_secs(30);

pub(crate) struct Hub {
    limits: Limits,
    /// The revision that the store was opened at, or began anew at. No history reaches further back.
    opened_at: AtomicU64,
    state: ArcSwap<State>,
    /// What each tenant holds.
    pub(crate) meter: Meter,
    /// Every event up to this revision has been given to its watchers.
    dispatched: AtomicU64,
    topics: Mutex<Topics>,
    revision: tokio::sync::watch::Sender<Revision>,
}

struct Topics {
    by_resource: HashMap<ResourceId, Topic>,
    trimmed: Instant,
    watchers: usize,
    closed: bool,
}

/// History and watchers of one resource.
struct Topic {
    history: History,
    /// The old state that was made last: the pages of one list ask for the same. Given up when histories are trimmed.
    remade: Option<Snapshot>,
    by_prefix: HashMap<Box<str>, Vec<Arc<Inbox>>>,
    by_node: HashMap<Box<str>, Vec<Arc<Inbox>>>,
}

impl Hub {
    pub(crate) fn new(state: State, limits: Limits, now: Instant) -> Hub {
        let opened_at = state.revision;
        Hub {
            limits,
            opened_at: AtomicU64::new(opened_at),
            meter: Meter::of_state(&state),
            state: ArcSwap::from_pointee(state),
            dispatched: AtomicU64::new(opened_at),
            topics: Mutex::new(Topics { by_resource: HashMap::new(), trimmed: now, watchers: 0, closed: false }),
            revision: tokio::sync::watch::Sender::new(opened_at),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.state.load_full())
    }

    pub(crate) fn dispatched(&self) -> Revision {
        self.dispatched.load(Ordering::Acquire)
    }

    pub(crate) fn watchers(&self) -> usize {
        self.topics.lock().watchers
    }

    pub(crate) fn resource_revision(&self, resource: &ResourceId) -> Revision {
        self.state.load().resource_revision(resource).max(self.opened_at())
    }

    /// Makes durable changes visible: `events` lead from the current snapshot to `state`.
    pub(crate) fn publish(&self, state: State, events: &[Arc<Event>], now: Instant) {
        let revision = state.revision;
        let state = Arc::new(state);
        let (mut wakers, mut given_up) = (Vec::new(), Vec::new());
        let mut topics = self.topics.lock();
        let opened_at = self.opened_at();
        let replaced = self.state.swap(state);
        for event in events {
            self.meter.apply(event);
            let topic = topics.topic(&event.object.key.resource, opened_at);
            topic.dispatch(event, &self.limits, &mut wakers);
            topic.history.push(event.clone());
            topic.history.trim(&self.limits, now);
        }
        for tenant in events.iter().filter_map(|event| fence::has_moved(event)) {
            wakers.extend(topics.end(WatchEnded::Lagged, |inbox| inbox.is_over(&tenant)));
        }
        if now.saturating_duration_since(topics.trimmed) >= TRIM_EVERY {
            topics.trimmed = now;
            for topic in topics.by_resource.values_mut() {
                topic.history.trim(&self.limits, now);
                given_up.extend(topic.remade.take());
            }
        }
        self.dispatched.store(revision, Ordering::Release);
        drop(topics);
        drop((replaced, given_up));
        wakers.into_iter().for_each(Waker::wake);
        self.revision.send_replace(revision);
    }

    /// The state of one resource at an old revision, made from the current one by undoing what happened since.
    pub(crate) fn snapshot_at(&self, scope: &Scope, revision: Revision) -> Result<Snapshot, TooOld> {
        let resource = scope.resource();
        let (mut state, events) = {
            let topics = self.topics.lock();
            let current = self.state.load_full();
            fence::admits(&current, scope, revision)?;
            if revision >= current.revision {
                return Ok(Snapshot::new(current));
            }
            let events: Vec<Arc<Event>> = match topics.by_resource.get(resource) {
                None if revision < self.opened_at() => return Err(TooOld { oldest: self.opened_at() }),
                None => Vec::new(),
                Some(Topic { history, remade, .. }) => {
                    let position = history.position_after(revision)?;
                    if let Some(remade) = remade.as_ref().filter(|made| made.revision() == revision) {
                        return Ok(remade.clone());
                    }
                    history.from(position).into_iter().flatten().cloned().collect()
                }
            };
            (current.only(resource), events)
        };
        events.iter().rev().for_each(|event| state.undo(event));
        state.revision = revision;
        let made = Snapshot::new(Arc::new(state));
        let mut topics = self.topics.lock();
        let replaced = topics.by_resource.get_mut(resource).and_then(|topic| topic.remade.replace(made.clone()));
        drop(topics);
        drop(replaced);
        Ok(made)
    }

    /// Starts a watch of the events after a revision.
    pub(crate) fn register(&self, scope: &Scope, interest: Interest, after: Revision) -> Result<Arc<Inbox>, TooOld> {
        let mut topics = self.topics.lock();
        let closed = topics.closed;
        fence::admits(&self.state.load(), scope, after)?;
        let topic = topics.topic(scope.resource(), self.opened_at());
        let position = topic.history.position_after(after)?;
        let phase = match position < topic.history.end() {
            _ if closed => Phase::Ended(WatchEnded::Closed),
            true => Phase::Behind(position),
            false => Phase::Live,
        };
        let inbox = Arc::new(Inbox::new(interest, phase));
        topic.add(inbox.clone());
        topics.watchers += 1;
        Ok(inbox)
    }

    /// Ends a registration.
    pub(crate) fn unregister(&self, resource: &ResourceId, inbox: &Inbox) {
        let mut topics = self.topics.lock();
        topics.watchers -= 1;
        topics.topic(resource, self.opened_at()).remove(inbox);
    }

    /// Moves the next events of the history to a watcher that is behind.
    pub(crate) fn refill(&self, scope: &Scope, inbox: &Inbox) {
        let mut topics = self.topics.lock();
        let history = &topics.topic(scope.resource(), self.opened_at()).history;
        let mut queue = inbox.lock();
        let Phase::Behind(position) = queue.phase else { return };
        let Some(events) = history.from(position) else {
            queue.phase = Phase::Ended(WatchEnded::Lagged);
            return;
        };
        let chunk = events.take(REFILL_EVENTS_MAX).filter(|event| scope.contains(&event.object.key)).cloned();
        queue.events.extend(chunk);
        let next = position + REFILL_EVENTS_MAX as u64;
        queue.phase = if next < history.end() { Phase::Behind(next) } else { Phase::Live };
    }

    /// Waits until the snapshot is at `revision`; false when the deadline passes first. Cancel-safe.
    pub(crate) async fn reaches(&self, revision: Revision, deadline: Duration) -> bool {
        if *self.revision.borrow() >= revision {
            return true;
        }
        let mut revisions = self.revision.subscribe();
        let reached = revisions.wait_for(|&current| current >= revision);
        matches!(tokio::time::timeout(deadline, reached).await, Ok(Ok(_)))
    }

    /// Goes on from `state`, which is later than what was published by changes that nobody knows. All watches end as
    /// having fallen behind.
    pub(crate) fn reset(&self, state: State) {
        self.meter.begin_anew(&state);
        let revision = state.revision;
        let state = Arc::new(state);
        let mut topics = self.topics.lock();
        self.opened_at.store(revision, Ordering::Release);
        let replaced = self.state.swap(state);
        let wakers = topics.end(WatchEnded::Lagged, |_| true);
        let mut given_up = Vec::new();
        for topic in topics.by_resource.values_mut() {
            given_up.push((std::mem::replace(&mut topic.history, History::new(revision)), topic.remade.take()));
        }
        self.dispatched.store(revision, Ordering::Release);
        drop(topics);
        drop((replaced, given_up));
        wakers.into_iter().for_each(Waker::wake);
        self.revision.send_replace(revision);
    }

    /// Ends the watches over all tenants, after what they have queued: their objects are in other partitions than before.
    pub(crate) fn end_over_all_tenants(&self) {
        let wakers = self.topics.lock().end(WatchEnded::Lagged, Inbox::is_over_all_tenants);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends all watches, after what they have queued.
    pub(crate) fn close(&self) {
        let mut topics = self.topics.lock();
        topics.closed = true;
        let wakers = topics.end(WatchEnded::Closed, |_| true);
        drop(topics);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn opened_at(&self) -> Revision {
        self.opened_at.load(Ordering::Acquire)
    }
}

impl Topics {
    fn end(&self, ended: WatchEnded, which: impl Fn(&Inbox) -> bool) -> Vec<Waker> {
        let inboxes =
            self.by_resource.values().flat_map(|topic| topic.by_prefix.values().chain(topic.by_node.values()));
        inboxes.flatten().filter(|inbox| which(inbox)).filter_map(|inbox| inbox.end(ended)).collect()
    }

    fn topic(&mut self, resource: &ResourceId, opened_at: Revision) -> &mut Topic {
        self.by_resource.entry(resource.clone()).or_insert_with(|| Topic {
            history: History::new(opened_at),
            remade: None,
            by_prefix: HashMap::new(),
            by_node: HashMap::new(),
        })
    }
}

impl Topic {
    /// Gives an event that is about to enter the history to the live watchers that asked for its like.
    fn dispatch(&self, event: &Arc<Event>, limits: &Limits, wakers: &mut Vec<Waker>) {
        if event.silent {
            return;
        }
        let position = self.history.end();
        let mut deliver = |inboxes: Option<&Vec<Arc<Inbox>>>| {
            let inboxes = inboxes.into_iter().flatten();
            wakers.extend(inboxes.filter_map(|inbox| inbox.push(event, position, limits.watch_queue_events_max)));
        };
        if !self.by_prefix.is_empty() {
            let key = compact(&event.object.key);
            prefixes(&key).for_each(|prefix| deliver(self.by_prefix.get(prefix)));
        }
        if !self.by_node.is_empty() {
            let node = event.object.field(NODE_FIELD);
            deliver(self.by_node.get(node));
            let left = event.previous.as_ref().map(|previous| previous.field(NODE_FIELD)).filter(|&left| left != node);
            deliver(left.and_then(|left| self.by_node.get(left)));
        }
    }

    fn add(&mut self, inbox: Arc<Inbox>) {
        let (index, value) = self.index(&inbox.interest);
        let inboxes = index.entry(value.into()).or_default();
        inbox.slot.store(inboxes.len(), Ordering::Relaxed);
        inboxes.push(inbox);
    }

    fn remove(&mut self, inbox: &Inbox) {
        let (index, value) = self.index(&inbox.interest);
        let inboxes = index.get_mut(value).expect("a registered inbox is in its index");
        let slot = inbox.slot.load(Ordering::Relaxed);
        inboxes.swap_remove(slot);
        if let Some(moved) = inboxes.get(slot) {
            moved.slot.store(slot, Ordering::Relaxed);
        }
        if inboxes.is_empty() {
            index.remove(value);
        }
    }

    fn index<'a>(&mut self, interest: &'a Interest) -> (&mut HashMap<Box<str>, Vec<Arc<Inbox>>>, &'a str) {
        match interest {
            Interest::Prefix(prefix) => (&mut self.by_prefix, prefix),
            Interest::Node(node) => (&mut self.by_node, node),
        }
    }
}
