//! A watcher's own queue, shared between the hub that fills it and the watch that empties it.
//!
//! ```text
//!            queue full                    history ends before it
//!   Live ──────────────────▶ Behind ──────────────────────────────▶ Ended(Lagged)
//!     ▲   has read all of it   │
//!     └────────────────────────┘         store stops, from any: ──▶ Ended(Closed)
//! ```
//!
//! While live, the hub pushes what the watcher is interested in. While behind, the watcher reads the history from its
//! position on, chunk by chunk. What is queued precedes what the phase says.
//! Invariant: phases change under the hub's lock only (taken before this one), so no event falls between them.

use crate::event::Event;
use crate::watch::WatchEnded;
use api::TenantName;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;

/// Memory that an empty queue may keep, in events.
const IDLE_CAPACITY_MAX: usize = 16;

/// What a watcher is registered under in the hub. One event reaches each interest at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Objects whose compact key starts with this: a scope, or one object.
    Prefix(Box<str>),
    /// Objects that are or were on this node.
    Node(Box<str>),
}

/// How the queue is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Live,
    /// The position in the history of the next event to read.
    Behind(u64),
    Ended(WatchEnded),
}

pub(crate) struct Queue {
    pub(crate) events: VecDeque<Arc<Event>>,
    pub(crate) phase: Phase,
    waker: Option<Waker>,
}

pub(crate) struct Inbox {
    pub(crate) interest: Interest,
    /// Where the hub's list for the interest holds this inbox. Used under the hub's lock only.
    pub(crate) slot: AtomicUsize,
    queue: Mutex<Queue>,
}

/// What a watcher finds in its inbox.
pub(crate) enum Found {
    Event(Arc<Event>),
    /// Nothing yet. The waker will be called.
    Nothing,
    /// Nothing until the hub has refilled the queue from the history.
    Behind,
    Ended(WatchEnded),
}

impl Inbox {
    pub(crate) fn new(interest: Interest, phase: Phase) -> Inbox {
        let queue = Queue { events: VecDeque::new(), phase, waker: None };
        Inbox { interest, slot: AtomicUsize::new(0), queue: Mutex::new(queue) }
    }

    /// Whether what it is registered under may be in any tenant.
    pub(crate) fn is_over_all_tenants(&self) -> bool {
        match &self.interest {
            Interest::Prefix(prefix) => prefix.is_empty(),
            Interest::Node(_) => true,
        }
    }

    /// Whether what it is registered under may be in this tenant.
    pub(crate) fn is_over(&self, tenant: &TenantName) -> bool {
        let of_tenant = |prefix: &str| prefix.strip_prefix(tenant.as_str()).is_some_and(|rest| rest.starts_with('\0'));
        self.is_over_all_tenants() || matches!(&self.interest, Interest::Prefix(prefix) if of_tenant(prefix))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// Takes the next event. Without one, remembers `waker` for the next push.
    pub(crate) fn take(&self, waker: Option<&Waker>) -> Found {
        let mut queue = self.queue.lock();
        if let Some(event) = queue.events.pop_front() {
            if queue.events.is_empty() && queue.events.capacity() > IDLE_CAPACITY_MAX {
                queue.events = VecDeque::new();
            }
            return Found::Event(event);
        }
        match queue.phase {
            Phase::Live => {
                queue.waker = waker.cloned();
                Found::Nothing
            }
            Phase::Behind(_) => Found::Behind,
            Phase::Ended(ended) => Found::Ended(ended),
        }
    }

    /// Queues a live event at `position` of the history. With a full queue the watcher reads on from there instead.
    pub(crate) fn push(&self, event: &Arc<Event>, position: u64, queue_max: usize) -> Option<Waker> {
        let mut queue = self.queue.lock();
        if queue.phase != Phase::Live {
            return None;
        }
        if queue.events.len() < queue_max {
            queue.events.push_back(event.clone());
        } else {
            queue.phase = Phase::Behind(position);
        }
        queue.waker.take()
    }

    /// Ends the watch after what is queued.
    pub(crate) fn end(&self, ended: WatchEnded) -> Option<Waker> {
        let mut queue = self.queue.lock();
        queue.phase = Phase::Ended(ended);
        queue.waker.take()
    }
}
