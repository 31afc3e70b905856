//! Deletes what has lost its last owner, and carries out the two other ways to delete an owner: its dependents first
//! (foreground), or its dependents spared (orphan).
//!
//! ```text
//!   an owner goes ───────────────▶ its dependents are looked at
//!   an object with an owner that
//!   no cache knows ──────────────▶ it is looked at
//!   deletion in the foreground ──▶ dependents are looked at; when the last that blocks is gone, the owner may go
//!   deletion with orphans ───────▶ dependents lose the reference; then the owner may go
//! ```
//!
//! Invariant: an object is deleted only after the server itself has answered, for each of its owners, that there is none
//! of that uid. Caches only say where to look. An owner of a kind that nobody knows keeps what it owns.
//! Invariant: an owner is looked for in the tenant and the namespace of its dependent, and nowhere else.

mod collect;
mod monitors;
mod refs;
#[cfg(test)]
mod tests;

use self::collect::Collector;
use self::monitors::Monitors;
use crate::context::Account;
use crate::runner::{Controller, Declaration, Setup};
use crate::view::CustomResourceDefinition;
use client::{ObjectRef, WorkQueue};
use futures::FutureExt;
use std::fmt;
use std::sync::Arc;

pub const DECLARATION: Declaration =
    Declaration { name: "garbage-collector-controller", account: Account::Service("generic-garbage-collector"), make };

/// An object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Item {
    /// Which monitor follows its kind.
    monitor: usize,
    key: ObjectRef,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.key, f)
    }
}

fn make(setup: &mut Setup) -> Controller {
    let (queue, changed) = (WorkQueue::new(), WorkQueue::new());
    let informer = setup.informers.of::<CustomResourceDefinition>();
    let (definitions, defined) = (informer.cache(), changed.clone());
    informer.on_change(move |change| defined.add(change.key.clone()));
    let (context, reader) = (setup.context.clone(), setup.reader.clone());
    let monitors = Monitors::new(reader, definitions, changed, queue.clone(), context.recorder.clone());
    let monitors = Arc::new(monitors);
    let collector = Collector { context, monitors: monitors.clone() };
    Controller::new(queue, Arc::new(collector)).beside(move |stop| monitors.run(stop).boxed())
}
