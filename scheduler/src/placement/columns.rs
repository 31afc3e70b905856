//! Resources of all nodes as columns: one array per resource, one entry per node, so that asking every node for room
//! is a walk over numbers.
//!
//! Invariant: what is taken is exactly the sum of what was taken and not given back. Nothing limits how many pods claim
//! a node by name, so sums are wider than amounts: with amounts up to [`super::requests::AMOUNT_MAX`] they hold 2^79 pods.
//! Invariant: a column exists for what some node has ever offered, and for nothing else: what pods ask for adds none.

use super::NodeId;
use super::profile::FitArguments;
use super::requests::{CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Requests};
use std::collections::BTreeMap;

/// A resource with a column. The first are always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceId(usize);

pub const PODS_COLUMN: ResourceId = ResourceId(3);
const ALWAYS: [&str; 4] = [CPU, MEMORY, EPHEMERAL_STORAGE, PODS];

/// What nodes offer and what is taken of it.
pub struct Columns {
    names: Vec<Box<str>>,
    offered: Vec<Vec<i64>>,
    taken: Vec<Vec<i128>>,
    /// Of all nodes: offered and taken.
    totals: Vec<(i128, i128)>,
    /// CPU and memory taken as the scores see them.
    pub scored_cpu: Vec<i128>,
    pub scored_memory: Vec<i128>,
}

impl Default for Columns {
    fn default() -> Columns {
        Columns {
            names: ALWAYS.map(Into::into).to_vec(),
            offered: vec![Vec::new(); ALWAYS.len()],
            taken: vec![Vec::new(); ALWAYS.len()],
            totals: vec![(0, 0); ALWAYS.len()],
            scored_cpu: Vec::new(),
            scored_memory: Vec::new(),
        }
    }
}

impl Columns {
    pub fn add_node(&mut self) {
        self.offered.iter_mut().for_each(|column| column.push(0));
        self.taken.iter_mut().for_each(|column| column.push(0));
        self.scored_cpu.push(0);
        self.scored_memory.push(0);
    }

    pub fn find(&self, resource: &str) -> Option<ResourceId> {
        self.names.iter().position(|n| **n == *resource).map(ResourceId)
    }

    pub fn name(&self, resource: ResourceId) -> &str {
        &self.names[resource.0]
    }

    pub fn offered(&self, resource: ResourceId) -> &[i64] {
        &self.offered[resource.0]
    }

    pub fn taken(&self, resource: ResourceId) -> &[i128] {
        &self.taken[resource.0]
    }

    /// What all nodes together offer of a resource, and what is taken of it.
    pub fn totals(&self, resource: &str) -> (i128, i128) {
        self.find(resource).map_or((0, 0), |resource| self.totals[resource.0])
    }

    /// Sets what a node offers. Returns the columns that are new, in which what pods take is still missing.
    pub fn offer(&mut self, node: NodeId, allocatable: &BTreeMap<String, i64>) -> Vec<ResourceId> {
        let mut new = Vec::new();
        for name in allocatable.keys() {
            if self.find(name).is_none() {
                let nodes = self.scored_cpu.len();
                new.push(ResourceId(self.names.len()));
                self.names.push(name.as_str().into());
                self.offered.push(vec![0; nodes]);
                self.taken.push(vec![0; nodes]);
                self.totals.push((0, 0));
            }
        }
        for ((name, column), total) in self.names.iter().zip(&mut self.offered).zip(&mut self.totals) {
            let offered = allocatable.get(&**name).copied().unwrap_or(0);
            total.0 += i128::from(offered) - i128::from(column[node.index()]);
            column[node.index()] = offered;
        }
        new
    }

    /// Takes what a pod asks for (`sign` 1) or gives it back (-1).
    pub fn take(&mut self, node: NodeId, requests: &Requests, sign: i64) {
        for (name, amount) in &requests.amounts {
            if let Some(resource) = self.find(name) {
                self.take_of(resource, node, sign * amount);
            }
        }
        self.take_of(PODS_COLUMN, node, sign);
        for (column, amount) in
            [(&mut self.scored_cpu, requests.scored_cpu), (&mut self.scored_memory, requests.scored_memory)]
        {
            column[node.index()] += i128::from(sign * amount);
        }
    }

    pub fn take_of(&mut self, resource: ResourceId, node: NodeId, amount: i64) {
        self.taken[resource.0][node.index()] += i128::from(amount);
        self.totals[resource.0].1 += i128::from(amount);
    }

    /// Whether a pod finds room on a node; and if not, whether it never would, however empty the node.
    pub fn room(&self, node: NodeId, requests: &Requests, fit: &FitArguments) -> Room {
        // A node without any slots counts as one whose pods could leave, as upstream has it.
        let slots = if self.full(node) { Room::NotNow } else { Room::Enough };
        self.shortages(node, requests, fit).fold(slots, |room, (_, never)| match (room, never) {
            (Room::Never, _) | (_, true) => Room::Never,
            (Room::Enough | Room::NotNow, false) => Room::NotNow,
        })
    }

    /// The resources of which a node lacks what a pod asks for, and whether it would lack them when empty.
    pub fn shortages<'a>(
        &'a self,
        node: NodeId,
        requests: &'a Requests,
        fit: &'a FitArguments,
    ) -> impl Iterator<Item = (&'a str, bool)> + 'a {
        let at = node.index();
        let all = fit.ignores_nothing();
        requests.amounts.iter().filter_map(move |(name, amount)| {
            let (offered, taken) = match self.find(name) {
                Some(resource) => (self.offered(resource)[at], self.taken(resource)[at]),
                None => (0, 0),
            };
            (i128::from(*amount) > i128::from(offered) - taken && (all || !fit.ignores(name)))
                .then_some((&**name, *amount > offered))
        })
    }

    /// Whether the node is out of slots for pods.
    pub fn full(&self, node: NodeId) -> bool {
        let at = node.index();
        self.taken(PODS_COLUMN)[at] >= i128::from(self.offered(PODS_COLUMN)[at])
    }
}

/// Whether there is room on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Enough,
    NotNow,
    Never,
}
