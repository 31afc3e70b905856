//! One watcher's end of the stream of events.
//!
//! Invariant: events come in order of revision, each at most once, and none in view is skipped: a watch that cannot
//! keep this ends. The selector is evaluated here, in the watcher's own task.

use crate::event::{Delivery, Event};
use crate::hub::{Hub, NODE_FIELD};
use crate::inbox::{Found, Inbox, Interest, Phase};
use crate::scope::Scope;
use crate::store::TooOld;
use crate::version::{PartitionId, Version};
use api::Revision;
use api::selector::Selector;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Why a watch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnded {
    /// The watcher has fallen behind the history; it must list and watch again.
    #[error("the watch has fallen behind the history of events")]
    Lagged,
    /// The store has stopped.
    #[error("the store has stopped")]
    Closed,
}

/// Events of one scope as one selector sees them; over several partitions, each in its own order.
pub struct Watch {
    parts: Vec<(PartitionId, Part)>,
    /// Where to look first, so that no partition keeps others waiting.
    turn: usize,
}

/// The events of one partition.
struct Part {
    hub: Arc<Hub>,
    inbox: Arc<Inbox>,
    scope: Scope,
    selector: Selector,
    /// Events up to this revision are not, or no more, to be handed out.
    done: Revision,
    after: Revision,
}

/// One look into the inbox.
enum Step {
    Delivery(Delivery),
    /// Nothing is there; the waker will be called.
    Nothing,
    /// A part of the history was looked through.
    Refilled,
    Ended(WatchEnded),
}

impl Watch {
    /// Starts with the hub of each partition, and the revision after which its events are wanted.
    pub(crate) fn start(
        hubs: Vec<(PartitionId, Arc<Hub>, Revision)>,
        scope: &Scope,
        selector: &Selector,
    ) -> Result<Watch, TooOld> {
        let start = |(id, hub, after)| Ok((id, Part::start(hub, scope.clone(), selector.clone(), after)?));
        Ok(Watch { parts: hubs.into_iter().map(start).collect::<Result<_, TooOld>>()?, turn: 0 })
    }

    /// The next event in view, in order of revisions. Cancel-safe: an event is either returned or kept.
    pub async fn next(&mut self) -> Result<Delivery, WatchEnded> {
        loop {
            let step = poll_fn(|context| match self.step(Some(context.waker())) {
                Step::Nothing => Poll::Pending,
                step => Poll::Ready(step),
            });
            match step.await {
                Step::Delivery(delivery) => return Ok(delivery),
                Step::Ended(ended) => return Err(ended),
                // A long history without an event in view must not hold up other tasks.
                Step::Refilled | Step::Nothing => tokio::task::yield_now().await,
            }
        }
    }

    /// The next event if it is there already.
    pub fn try_next(&mut self) -> Option<Result<Delivery, WatchEnded>> {
        loop {
            match self.step(None) {
                Step::Delivery(delivery) => return Some(Ok(delivery)),
                Step::Ended(ended) => return Some(Err(ended)),
                Step::Nothing => return None,
                Step::Refilled => {}
            }
        }
    }

    /// Every event in view up to this version has been handed out: what a bookmark may say.
    pub fn progress(&self) -> Version {
        match &self.parts[..] {
            [(_, only)] => Version::At(only.progress()),
            parts => Version::Each(parts.iter().map(|(id, part)| (*id, part.progress())).collect()),
        }
    }

    /// Whether the events are of several partitions, so that their revisions say nothing about where to go on.
    pub fn is_merged(&self) -> bool {
        self.parts.len() > 1
    }

    fn step(&mut self, waker: Option<&Waker>) -> Step {
        let mut refilled = false;
        for _ in 0..self.parts.len() {
            self.turn = (self.turn + 1) % self.parts.len();
            match self.parts[self.turn].1.step(waker) {
                Step::Nothing => {}
                Step::Refilled => refilled = true,
                found => return found,
            }
        }
        if refilled { Step::Refilled } else { Step::Nothing }
    }
}

impl Part {
    fn start(hub: Arc<Hub>, scope: Scope, selector: Selector, after: Revision) -> Result<Part, TooOld> {
        let inbox = hub.register(&scope, interest(&scope, &selector), after)?;
        Ok(Part { hub, inbox, scope, selector, done: after, after })
    }

    fn progress(&self) -> Revision {
        // Read before the queue: what is dispatched up to here is in the queue or was taken from it.
        let dispatched = self.hub.dispatched();
        let queue = self.inbox.lock();
        match (queue.events.front(), queue.phase) {
            (Some(next), _) => self.done.max(next.revision - 1),
            (None, Phase::Live) => self.done.max(dispatched),
            (None, Phase::Behind(_) | Phase::Ended(_)) => self.done,
        }
    }

    fn step(&mut self, waker: Option<&Waker>) -> Step {
        loop {
            match self.inbox.take(waker) {
                Found::Event(event) => {
                    if let Some(delivery) = self.view(event) {
                        return Step::Delivery(delivery);
                    }
                }
                Found::Nothing => return Step::Nothing,
                Found::Behind => {
                    self.hub.refill(&self.scope, &self.inbox);
                    return Step::Refilled;
                }
                Found::Ended(ended) => return Step::Ended(ended),
            }
        }
    }

    fn view(&mut self, event: Arc<Event>) -> Option<Delivery> {
        // Others of the same revision may follow.
        self.done = self.done.max(event.revision - 1);
        if event.silent || event.revision <= self.after || !self.scope.contains(&event.object.key) {
            return None;
        }
        Delivery::of(event, &self.selector)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.hub.unregister(self.scope.resource(), &self.inbox);
    }
}

/// The narrowest interest that covers everything that can be in view, before or after a change.
fn interest(scope: &Scope, selector: &Selector) -> Interest {
    let prefix = scope.prefix();
    let name = selector.fields.required("metadata.name").filter(|name| !name.is_empty());
    match (scope, name, selector.fields.required(NODE_FIELD)) {
        // Between the prefix of the cluster and a name stands the empty namespace.
        (Scope::Cluster(_), Some(name), _) => Interest::Prefix(format!("{prefix}{prefix}{name}").into()),
        (Scope::Namespace(..), Some(name), _) => Interest::Prefix(format!("{prefix}{name}").into()),
        (_, _, Some(node)) => Interest::Node(node.into()),
        (_, _, None) => Interest::Prefix(prefix.into()),
    }
}
