//! Topology spread: pods that a selector matches are counted per value of a node label, and a pod goes where that
//! keeps the counts even. Constraints are hard (a filter) or wishes (a score).

use super::groups::Group;
use super::selector::SpreadConstraint;
use super::snapshot::Snapshot;
use super::standing::{Obstacles, Standings};
use super::symbol::Symbol;
use super::topology::{Tally, Topologies, Topology};
use super::{NodeId, Pod, PodKey};
use std::cell::Cell;

/// Each node is a value of its own under this label.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// The hard constraints of one waiting pod, with what they count.
pub struct Spread<'a> {
    constraints: Vec<Counted<'a>>,
    /// A label that is asked for and that no node has.
    label_missing: bool,
}

struct Counted<'a> {
    constraint: &'a SpreadConstraint,
    tally: Tally,
    /// The values that count.
    domains: Vec<Symbol>,
    counts: Vec<bool>,
    /// 1 if the pod counts itself.
    own: i64,
    /// The count of the emptiest value, once asked for.
    least: Cell<Option<i64>>,
}

/// Why spreading keeps a pod off a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    MissingLabel,
    Skew,
}

impl<'a> Spread<'a> {
    pub fn new(
        snapshot: &Snapshot,
        topologies: &mut Topologies,
        key: &PodKey,
        (pod, constraints): (&'a Pod, &'a [SpreadConstraint]),
        standings: &Standings,
    ) -> Spread<'a> {
        let mut spread = Spread { constraints: Vec::new(), label_missing: false };
        for constraint in constraints.iter().filter(|c| c.hard) {
            match topologies.find(snapshot, &constraint.topology_key) {
                Some(topology) => spread.constraints.push(Counted {
                    constraint,
                    tally: Tally::new(snapshot, topology),
                    domains: Vec::new(),
                    counts: vec![false; snapshot.symbols.len()],
                    own: i64::from(constraint.selector.matches(&pod.labels)),
                    least: Cell::new(None),
                }),
                None => spread.label_missing = true,
            }
        }
        if spread.label_missing || spread.constraints.is_empty() {
            return spread;
        }
        for node in snapshot.nodes() {
            spread.count(standings, node, |_| 0);
        }
        for group in snapshot.groups.of_namespace(&key.tenant, &key.namespace).filter(|g| !g.deleting()) {
            let matches: Vec<bool> = spread.matches(group);
            for (node, count) in group.nodes() {
                spread.count(standings, node, |at| if matches[at] { count } else { 0 });
            }
        }
        spread
    }

    pub fn is_empty(&self) -> bool {
        self.constraints.is_empty() && !self.label_missing
    }

    /// Takes note that `count` pods of a group came to a node, or left it.
    pub fn change(&mut self, standings: &Standings, group: &Group, (node, count): (NodeId, i64)) {
        let matches = self.matches(group);
        self.count(standings, node, |at| if matches[at] { count } else { 0 });
    }

    pub fn refuse(&self, node: NodeId) -> Option<Refusal> {
        if self.label_missing {
            return Some(Refusal::MissingLabel);
        }
        for counted in &self.constraints {
            let Some(here) = counted.tally.at(node) else { return Some(Refusal::MissingLabel) };
            if here + counted.own - counted.least() > counted.constraint.max_skew {
                return Some(Refusal::Skew);
            }
        }
        None
    }

    fn matches(&self, group: &Group) -> Vec<bool> {
        self.constraints.iter().map(|c| c.constraint.selector.matches(group.labels())).collect()
    }

    /// Adds to the counts of a node's values, if the node is one that counts. `amount` is by constraint.
    fn count(&mut self, standings: &Standings, node: NodeId, amount: impl Fn(usize) -> i64) {
        if self.constraints.iter().any(|c| c.tally.topology.value(node).is_none()) {
            return;
        }
        for (at, counted) in self.constraints.iter_mut().enumerate() {
            if counts(counted.constraint, standings, node) {
                counted.add(node, amount(at));
            }
        }
    }
}

impl Counted<'_> {
    fn add(&mut self, node: NodeId, amount: i64) {
        let Some(value) = self.tally.topology.value(node) else { return };
        if !std::mem::replace(&mut self.counts[value.index()], true) {
            self.domains.push(value);
        }
        self.tally.add(node, amount);
        self.least.set(None);
    }

    /// The count of the emptiest value. Fewer values than are asked for make it zero.
    fn least(&self) -> i64 {
        self.least.get().unwrap_or_else(|| {
            let enough = self.domains.len() >= self.constraint.min_domains;
            let least = self.domains.iter().map(|&value| self.tally.of(value)).min().filter(|_| enough).unwrap_or(0);
            self.least.set(Some(least));
            least
        })
    }
}

fn counts(constraint: &SpreadConstraint, standings: &Standings, node: NodeId) -> bool {
    let obstacles = standings.of(node).obstacles;
    !(obstacles.has(Obstacles::DEDICATED)
        || constraint.honor_affinity && obstacles.has(Obstacles::AFFINITY)
        || constraint.honor_taints && obstacles.has(Obstacles::TAINT))
}

/// The soft constraints of one pod.
pub struct SoftSpread<'a> {
    pub constraints: Vec<&'a SpreadConstraint>,
    /// Nodes must have the labels of all constraints: so for a pod's own, not for the defaults.
    pub strict: bool,
}

/// How crowded the feasible nodes are, as far as the constraints see it. `None` for nodes that lack a label.
pub fn crowding(
    snapshot: &Snapshot,
    topologies: &mut Topologies,
    key: &PodKey,
    soft: &SoftSpread,
    standings: &Standings,
    feasible: &[NodeId],
) -> Vec<Option<i64>> {
    let topology = |c: &&SpreadConstraint| topologies.find(snapshot, &c.topology_key);
    let asked: Vec<Option<Topology>> = soft.constraints.iter().map(topology).collect();
    let labelled = |topology: &Option<Topology>, node| topology.as_ref().is_some_and(|t| t.value(node).is_some());
    let complete = |node: NodeId| !soft.strict || asked.iter().all(|topology| labelled(topology, node));
    let scored: Vec<NodeId> = feasible.iter().copied().filter(|&node| complete(node)).collect();
    let mut crowds: Vec<f64> = vec![0.0; feasible.len()];
    for (constraint, topology) in soft.constraints.iter().zip(&asked) {
        // Nodes without the label, where they are admitted, are one more value.
        let mut domains = usize::from(scored.iter().any(|&node| !labelled(topology, node)));
        let Some(topology) = topology.clone() else { continue };
        let per_node = *constraint.topology_key == *HOSTNAME;
        let mut tally = Tally::new(snapshot, topology);
        let mut of_candidates = vec![false; snapshot.symbols.len()];
        for value in scored.iter().filter_map(|&node| tally.topology.value(node)) {
            domains += usize::from(!std::mem::replace(&mut of_candidates[value.index()], true));
        }
        let mut on_node = vec![0; if per_node { snapshot.len() } else { 0 }];
        let groups = snapshot.groups.of_namespace(&key.tenant, &key.namespace).filter(|g| !g.deleting());
        for group in groups.filter(|g| constraint.selector.matches(g.labels())) {
            for (node, count) in group.nodes() {
                if per_node {
                    on_node[node.index()] += count;
                } else if complete(node) && counts(constraint, standings, node) {
                    tally.add(node, count);
                }
            }
        }
        let weight = (if per_node { scored.len() } else { domains } as f64 + 2.0).ln();
        for (crowd, &node) in crowds.iter_mut().zip(feasible) {
            if let Some(in_domain) = tally.at(node) {
                let here = if per_node { on_node[node.index()] } else { in_domain };
                *crowd += here as f64 * weight + (constraint.max_skew - 1) as f64;
            }
        }
    }
    let rounded = |(&node, crowd): (&NodeId, f64)| complete(node).then(|| crowd.round() as i64);
    feasible.iter().zip(crowds).map(rounded).collect()
}
