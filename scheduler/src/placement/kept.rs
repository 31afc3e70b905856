//! Values per node that are kept from one decision to the next, for each of many keys, and catch up with the nodes that
//! changed in between. What pods have in common is computed once, however many there are.
//!
//! Invariant: what is handed out is what computing all of it anew would give.

use super::NodeId;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// So many keys have their values kept; beyond, the one that was not asked for longest starts over.
const KEYS_MAX: usize = 1024;

/// As many changes are remembered as make catching up cheaper than starting over.
const CHANGES_MAX: usize = 4096;

/// Nodes that changed, in order.
#[derive(Default)]
pub struct Changes {
    /// How many changes were forgotten before the first of `nodes`.
    forgotten: u64,
    nodes: Vec<NodeId>,
}

impl Changes {
    pub fn add(&mut self, node: NodeId) {
        if self.nodes.len() == CHANGES_MAX {
            self.forgotten += CHANGES_MAX as u64;
            self.nodes.clear();
        }
        self.nodes.push(node);
    }

    pub fn count(&self) -> u64 {
        self.forgotten + self.nodes.len() as u64
    }

    /// Those after the first `seen`; `None` if some of them are forgotten.
    pub fn since(&self, seen: u64) -> Option<&[NodeId]> {
        let skip = seen.checked_sub(self.forgotten)?;
        self.nodes.get(usize::try_from(skip).ok()?..)
    }
}

/// Values by key, one for each node.
pub struct Kept<K, V> {
    entries: HashMap<K, Entry<V>>,
    clock: u64,
}

struct Entry<V> {
    seen: u64,
    used: u64,
    values: Arc<Vec<V>>,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Kept<K, V> {
        Kept { entries: HashMap::new(), clock: 0 }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Kept<K, V> {
    /// The values of a key for the first `nodes` nodes. `changes` tells all nodes whose value may differ from before.
    pub fn current(&mut self, key: &K, nodes: usize, changes: &Changes, value: impl Fn(NodeId) -> V) -> Arc<Vec<V>> {
        self.clock += 1;
        if !self.entries.contains_key(key) && self.entries.len() >= KEYS_MAX {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            oldest.map(|key| self.entries.remove(&key));
        }
        let fresh = || Entry { seen: 0, used: 0, values: Arc::default() };
        let entry = self.entries.entry(key.clone()).or_insert_with(fresh);
        entry.used = self.clock;
        let values = Arc::make_mut(&mut entry.values);
        match changes.since(entry.seen) {
            Some(changed) => {
                for &node in changed {
                    if let Some(old) = values.get_mut(node.index()) {
                        *old = value(node);
                    }
                }
            }
            None => values.clear(),
        }
        values.extend((values.len()..nodes).map(|at| value(NodeId::at(at))));
        entry.seen = changes.count();
        entry.values.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn only_what_changed_is_computed_again() {
        let (mut kept, mut changes) = (Kept::<u8, u32>::default(), Changes::default());
        let (truth, asked) = (RefCell::new(vec![1, 2, 3]), RefCell::new(Vec::new()));
        let value = |node: NodeId| {
            asked.borrow_mut().push(node.index());
            truth.borrow()[node.index()]
        };
        assert_eq!(*kept.current(&0, 3, &changes, value), [1, 2, 3]);
        truth.borrow_mut()[1] = 20;
        truth.borrow_mut().push(4);
        changes.add(NodeId::at(1));
        asked.borrow_mut().clear();
        assert_eq!(*kept.current(&0, 4, &changes, value), [1, 20, 3, 4]);
        assert_eq!(*asked.borrow(), [1, 3]);
    }

    #[test]
    fn what_fell_behind_too_far_starts_over() {
        let (mut kept, mut changes) = (Kept::<u8, u64>::default(), Changes::default());
        let truth = RefCell::new([0, 0]);
        kept.current(&0, 2, &changes, |node| truth.borrow()[node.index()]);
        truth.borrow_mut()[0] = 7;
        changes.add(NodeId::at(0));
        for _ in 0..CHANGES_MAX {
            changes.add(NodeId::at(1));
        }
        assert_eq!(*kept.current(&0, 2, &changes, |node| truth.borrow()[node.index()]), [7, 0]);
    }

    #[test]
    fn keys_that_are_not_asked_for_give_way() {
        let (mut kept, changes) = (Kept::<usize, usize>::default(), Changes::default());
        for key in 0..KEYS_MAX * 2 {
            assert_eq!(*kept.current(&key, 1, &changes, |_| key), [key]);
        }
        assert_eq!(kept.entries.len(), KEYS_MAX);
    }
}
