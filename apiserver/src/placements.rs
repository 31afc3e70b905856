//! Which bindings each node got last, so that schedulers that work side by side do not fill it twice.
//!
//! A scheduler says with a binding who it is and up to which version it has seen pods. The binding is refused while another
//! one has bound, or is binding, a pod to the same node that it cannot have seen: it decided on a node that is no longer as
//! it was. Its own bindings it knows. A binding without such words, as a user's, is refused to nobody, and counts against
//! the schedulers that have not seen it.
//!
//! Invariant: between the answer of [`Placements::reserve`] and the end of what it returns, no other scheduler gets the node.
//! Invariant: a bounded number of binders is remembered for each node, and nodes alone that exist.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many binders are remembered for a node. Of more, the one that bound longest ago counts as everybody.
const BINDERS_MAX: usize = 8;

/// Annotation of a Binding: the scheduler that asks. It is not copied to the pod.
pub const BINDER: &str = "scheduler.ursa.dev/instance";

/// The bindings of all nodes.
pub struct Placements {
    /// What was bound up to here, before this process began, has no name any more.
    before: u64,
    nodes: Mutex<HashMap<String, Vec<Binder>>>,
}

/// What one binder did to a node.
#[derive(Default)]
struct Binder {
    name: Box<str>,
    /// Of its last binding.
    version: u64,
    under_way: usize,
}

/// The right to bind a pod to a node. Ends when it is dropped.
pub struct Reserved<'a> {
    placements: &'a Placements,
    node: String,
    binder: Box<str>,
    version: u64,
}

impl Placements {
    /// `version` is that of the last change of any pod.
    pub fn new(version: u64) -> Placements {
        Placements { before: version, nodes: Mutex::default() }
    }

    /// Asks for a node on behalf of a binder that has seen pods up to `seen`; `None` does not care. `Err` is the reason.
    pub fn reserve(&self, node: &str, binder: &str, seen: Option<u64>) -> Result<Reserved<'_>, String> {
        let mut nodes = self.lock();
        let binders = nodes.entry(node.to_owned()).or_default();
        if let Some(seen) = seen {
            let unseen = |b: &Binder| *b.name != *binder && (b.under_way > 0 || b.version > seen);
            if seen < self.before || binders.iter().any(unseen) {
                return Err(format!("pods were bound to node {node:?} that were not seen yet at {seen}"));
            }
        }
        match binders.iter_mut().find(|b| *b.name == *binder) {
            Some(own) => own.under_way += 1,
            None => binders.push(Binder { name: binder.into(), version: 0, under_way: 1 }),
        }
        Ok(Reserved { placements: self, node: node.to_owned(), binder: binder.into(), version: 0 })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Binder>>> {
        // What is behind the lock is whole between any two statements.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved<'_> {
    /// The pod was bound at this version.
    pub fn bound_at(&mut self, version: u64) {
        self.version = version;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut nodes = self.placements.lock();
        let Some(binders) = nodes.get_mut(&self.node) else { return };
        if let Some(own) = binders.iter_mut().find(|b| b.name == self.binder) {
            own.under_way -= 1;
            own.version = own.version.max(self.version);
        }
        binders.retain(|b| b.under_way > 0 || b.version > 0);
        while binders.len() > BINDERS_MAX {
            let idle = binders.iter().enumerate().filter(|(_, b)| b.under_way == 0 && !b.name.is_empty());
            let Some(oldest) = idle.min_by_key(|(_, b)| b.version).map(|(at, _)| at) else { break };
            let version = binders.swap_remove(oldest).version;
            match binders.iter_mut().find(|b| b.name.is_empty()) {
                Some(everybody) => everybody.version = everybody.version.max(version),
                None => binders.push(Binder { version, ..Binder::default() }),
            }
        }
        if binders.is_empty() {
            nodes.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(placements: &Placements, binder: &str, seen: Option<u64>, version: u64) -> bool {
        let reserved = placements.reserve("n1", binder, seen);
        reserved.map(|mut reserved| reserved.bound_at(version)).is_ok()
    }

    #[test]
    fn a_binding_that_another_scheduler_has_not_seen_keeps_the_node_from_it() {
        let placements = Placements::new(10);
        assert!(!bind(&placements, "a", Some(9), 11), "what was bound before the start");
        assert!(bind(&placements, "a", Some(10), 11));
        assert!(bind(&placements, "a", Some(10), 12), "its own bindings it knows");
        assert!(!bind(&placements, "b", Some(11), 13));
        assert!(bind(&placements, "b", Some(12), 13));
        assert!(bind(&placements, "", None, 14), "a user's binding");
        assert!(!bind(&placements, "a", Some(13), 15));
        assert!(placements.reserve("n2", "a", Some(10)).is_ok(), "another node");
    }

    #[test]
    fn a_binding_under_way_keeps_the_node_and_one_that_fails_does_not() {
        let placements = Placements::new(0);
        let under_way = placements.reserve("n1", "a", Some(5));
        assert!(!bind(&placements, "b", Some(100), 6));
        drop(under_way);
        assert!(bind(&placements, "b", Some(5), 6));
    }

    #[test]
    fn who_is_forgotten_counts_as_everybody() {
        let placements = Placements::new(0);
        for number in 0..100 {
            assert!(bind(&placements, &format!("s{number}"), Some(number), number + 1));
        }
        assert!(placements.lock()["n1"].len() <= BINDERS_MAX + 1);
        assert!(!bind(&placements, "s0", Some(50), 101), "one that is not remembered by name");
    }
}
