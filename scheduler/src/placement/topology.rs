//! Node labels as topologies: for each node its value of a label, as a column, and counts per value.

use super::NodeId;
use super::kept::Kept;
use super::snapshot::Snapshot;
use super::symbol::Symbol;
use std::sync::Arc;

/// The columns of the labels that pods have asked for.
#[derive(Default)]
pub struct Topologies(Kept<Symbol, Option<Symbol>>);

/// One label of all nodes. Cheap to clone.
#[derive(Clone)]
pub struct Topology {
    pub key: Symbol,
    values: Arc<Vec<Option<Symbol>>>,
}

impl Topologies {
    /// `None` for a label that no node has.
    pub fn find(&mut self, snapshot: &Snapshot, key: &str) -> Option<Topology> {
        let key = snapshot.symbols.find(key)?;
        let values = self.0.current(&key, snapshot.len(), &snapshot.changes, |node| snapshot.label(node, key));
        Some(Topology { key, values })
    }
}

impl Topology {
    pub fn value(&self, node: NodeId) -> Option<Symbol> {
        self.values[node.index()]
    }
}

/// A number for each value of a topology.
pub struct Tally {
    pub topology: Topology,
    counts: Vec<i64>,
}

impl Tally {
    pub fn new(snapshot: &Snapshot, topology: Topology) -> Tally {
        Tally { topology, counts: vec![0; snapshot.symbols.len()] }
    }

    /// Adds to the value that a node has. False if it has none.
    pub fn add(&mut self, node: NodeId, amount: i64) -> bool {
        let value = self.topology.value(node);
        if let Some(value) = value {
            self.counts[value.index()] += amount;
        }
        value.is_some()
    }

    /// The number of a node's value; `None` for a node without one.
    pub fn at(&self, node: NodeId) -> Option<i64> {
        self.topology.value(node).map(|value| self.counts[value.index()])
    }

    pub fn of(&self, value: Symbol) -> i64 {
        self.counts[value.index()]
    }
}
