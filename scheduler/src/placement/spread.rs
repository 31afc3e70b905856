//! Topology spread: pods that a selector matches are counted per value of a node label, and a pod goes where that
//! keeps the counts even. Constraints are hard (a filter) or wishes (a score).

use super::class::{Obstacles, Standings};
use super::groups::Group;
use super::selector::SpreadConstraint;
use super::snapshot::Snapshot;
use super::symbol::Symbol;
use super::{NodeId, Pod, PodKey};
use std::collections::HashMap;

/// Each node is a value of its own under this label.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// The hard constraints of one waiting pod, with what they count.
#[derive(Default)]
pub struct Spread<'a> {
    constraints: Vec<Counted<'a>>,
}

struct Counted<'a> {
    constraint: &'a SpreadConstraint,
    /// `None` for a label that no node has.
    key: Option<Symbol>,
    /// 1 if the pod counts itself.
    own: i64,
    counts: HashMap<Symbol, i64>,
}

/// Why spreading keeps a pod off a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    MissingLabel,
    Skew,
}

impl<'a> Spread<'a> {
    pub fn new(snapshot: &Snapshot, key: &PodKey, pod: &'a Pod, standings: &Standings) -> Spread<'a> {
        let hard = pod.spread.iter().filter(|c| c.hard).map(|constraint| Counted {
            constraint,
            key: snapshot.symbols.find(&constraint.topology_key),
            own: i64::from(constraint.selector.matches(&pod.labels)),
            counts: HashMap::new(),
        });
        let mut spread = Spread { constraints: hard.collect() };
        if spread.constraints.is_empty() {
            return spread;
        }
        for node in snapshot.nodes() {
            spread.count(snapshot, standings, node, |_| 0);
        }
        for group in snapshot.groups.of_namespace(&key.tenant, &key.namespace).filter(|g| !g.deleting()) {
            for (node, count) in group.nodes() {
                spread.change(snapshot, standings, group, node, count);
            }
        }
        spread
    }

    pub fn is_empty(&self) -> bool {
        self.constraints.is_empty()
    }

    /// Takes note that `count` pods of a group came to a node, or left it.
    pub fn change(&mut self, snapshot: &Snapshot, standings: &Standings, group: &Group, node: NodeId, count: i64) {
        self.count(snapshot, standings, node, |c| if c.selector.matches(group.labels()) { count } else { 0 });
    }

    pub fn refuse(&self, snapshot: &Snapshot, node: NodeId) -> Option<Refusal> {
        for counted in &self.constraints {
            let value = counted.key.and_then(|key| snapshot.label(node, key));
            let Some(value) = value else { return Some(Refusal::MissingLabel) };
            let here = counted.counts.get(&value).copied().unwrap_or(0);
            if here + counted.own - counted.least() > counted.constraint.max_skew {
                return Some(Refusal::Skew);
            }
        }
        None
    }

    /// Adds to the counts of a node's values, if the node is one that counts.
    fn count(
        &mut self,
        snapshot: &Snapshot,
        standings: &Standings,
        node: NodeId,
        matching: impl Fn(&SpreadConstraint) -> i64,
    ) {
        let keys = self.constraints.iter().map(|c| c.key.and_then(|key| snapshot.label(node, key)));
        let Some(values) = keys.collect::<Option<Vec<Symbol>>>() else { return };
        for (counted, value) in self.constraints.iter_mut().zip(values) {
            if counts(counted.constraint, standings, node) {
                *counted.counts.entry(value).or_default() += matching(counted.constraint);
            }
        }
    }
}

impl Counted<'_> {
    /// The count of the emptiest value. Fewer values than are asked for make it zero.
    fn least(&self) -> i64 {
        let enough = self.counts.len() >= self.constraint.min_domains;
        self.counts.values().copied().min().filter(|_| enough).unwrap_or(0)
    }
}

fn counts(constraint: &SpreadConstraint, standings: &Standings, node: NodeId) -> bool {
    let obstacles = standings.of(node).obstacles;
    !(constraint.honor_affinity && obstacles.has(Obstacles::AFFINITY)
        || constraint.honor_taints && obstacles.has(Obstacles::TAINT))
}

/// Wishes to spread: higher is more crowded. `None` for nodes that lack a label, and for no wishes at all.
///
/// `strict`: nodes must have the labels of all constraints; so for a pod's own constraints, not for the defaults.
pub fn crowding(
    snapshot: &Snapshot,
    key: &PodKey,
    constraints: &[&SpreadConstraint],
    strict: bool,
    standings: &Standings,
    feasible: &[NodeId],
) -> Option<Vec<Option<i64>>> {
    if constraints.is_empty() {
        return None;
    }
    let keys: Vec<Option<Symbol>> = constraints.iter().map(|c| snapshot.symbols.find(&c.topology_key)).collect();
    let value = |node: NodeId, key: Option<Symbol>| key.and_then(|key| snapshot.label(node, key));
    let complete = |node: NodeId| !strict || keys.iter().all(|&key| value(node, key).is_some());
    let scored: Vec<NodeId> = feasible.iter().copied().filter(|&node| complete(node)).collect();
    let mut crowds: Vec<Crowd> = Vec::new();
    for (constraint, &topology) in constraints.iter().zip(&keys) {
        let per_node = *constraint.topology_key == *HOSTNAME;
        // Nodes without the label, where they are admitted, are one more value.
        let mut counts: HashMap<Option<Symbol>, i64> = HashMap::new();
        if !per_node {
            counts.extend(scored.iter().map(|&node| (value(node, topology), 0)));
        }
        let mut on_node = HashMap::new();
        let groups = snapshot.groups.of_namespace(&key.tenant, &key.namespace).filter(|g| !g.deleting());
        for group in groups.filter(|g| constraint.selector.matches(g.labels())) {
            for (node, count) in group.nodes() {
                if per_node {
                    *on_node.entry(node).or_insert(0) += count;
                } else if complete(node)
                    && self::counts(constraint, standings, node)
                    && let Some(here) = counts.get_mut(&value(node, topology))
                {
                    *here += count;
                }
            }
        }
        let domains = if per_node { scored.len() } else { counts.len() };
        crowds.push(Crowd { topology, per_node, counts, on_node, weight: (domains as f64 + 2.0).ln() });
    }
    let crowd_of = |node: NodeId| {
        let each = constraints.iter().zip(&crowds).filter_map(|(constraint, crowd)| {
            let value = value(node, crowd.topology)?;
            let here = if crowd.per_node { crowd.on_node.get(&node) } else { crowd.counts.get(&Some(value)) };
            Some(here.copied().unwrap_or(0) as f64 * crowd.weight + (constraint.max_skew - 1) as f64)
        });
        each.sum::<f64>().round() as i64
    };
    Some(feasible.iter().map(|&node| complete(node).then(|| crowd_of(node))).collect())
}

/// How many matching pods there are per value of a label.
struct Crowd {
    topology: Option<Symbol>,
    per_node: bool,
    counts: HashMap<Option<Symbol>, i64>,
    on_node: HashMap<NodeId, i64>,
    weight: f64,
}
