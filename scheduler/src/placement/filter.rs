//! Which nodes a pod may get. The first obstacle in upstream's order is a node's verdict.

use super::affinity::{self, Neighbours};
use super::class::{Obstacles, Standings};
use super::columns::{PODS_COLUMN, Room};
use super::snapshot::Snapshot;
use super::spread::{self, Spread};
use super::{NodeId, Pod, PodKey};
use std::sync::Arc;

/// What a filter says of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    Feasible,
    /// There is no such node.
    Absent,
    /// The pod's node affinity names other nodes.
    NotNamed,
    Unschedulable,
    Taint,
    NodeAffinity,
    Ports,
    Resources,
    /// Not even when the node is empty.
    ResourcesEver,
    SpreadLabel,
    Spread,
    Affinity,
    AntiAffinity,
    ExistingAntiAffinity,
}

impl Verdict {
    /// Whether the node could become feasible when pods leave it.
    pub fn others_could_leave(self) -> bool {
        match self {
            Verdict::Ports
            | Verdict::Resources
            | Verdict::Spread
            | Verdict::AntiAffinity
            | Verdict::ExistingAntiAffinity => true,
            Verdict::Feasible
            | Verdict::Absent
            | Verdict::NotNamed
            | Verdict::Unschedulable
            | Verdict::Taint
            | Verdict::NodeAffinity
            | Verdict::ResourcesEver
            | Verdict::SpreadLabel
            | Verdict::Affinity => false,
        }
    }

    /// What upstream calls it. Of resources, see [`Evaluation::reasons`].
    fn text(self) -> &'static str {
        match self {
            Verdict::Feasible | Verdict::Absent | Verdict::Resources | Verdict::ResourcesEver => "",
            Verdict::NotNamed => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
            Verdict::Unschedulable => "node(s) were unschedulable",
            Verdict::Taint => "node(s) had untolerated taint(s)",
            Verdict::NodeAffinity => "node(s) didn't match Pod's node affinity/selector",
            Verdict::Ports => "node(s) didn't have free ports for the requested pod ports",
            Verdict::SpreadLabel => "node(s) didn't match pod topology spread constraints (missing required label)",
            Verdict::Spread => "node(s) didn't match pod topology spread constraints",
            Verdict::Affinity => "node(s) didn't match pod affinity rules",
            Verdict::AntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Verdict::ExistingAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules",
        }
    }

    fn of_standing(obstacles: Obstacles) -> Option<Verdict> {
        if obstacles.none() {
            return None;
        }
        let in_order = [
            (Obstacles::ABSENT, Verdict::Absent),
            (Obstacles::NOT_NAMED, Verdict::NotNamed),
            (Obstacles::UNSCHEDULABLE, Verdict::Unschedulable),
            (Obstacles::TAINT, Verdict::Taint),
        ];
        let first = in_order.into_iter().find(|(obstacle, _)| obstacles.has(*obstacle));
        Some(first.map_or(Verdict::NodeAffinity, |(_, verdict)| verdict))
    }
}

/// One waiting pod with everything about it that is the same for all nodes.
pub struct Evaluation<'a> {
    pub key: &'a PodKey,
    pub pod: &'a Pod,
    pub standings: Standings,
    neighbours: Neighbours,
    spread: Spread<'a>,
}

impl<'a> Evaluation<'a> {
    pub fn new(snapshot: &Snapshot, key: &'a PodKey, pod: &'a Pod, standings: Standings) -> Evaluation<'a> {
        let neighbours = Neighbours::new(snapshot, key, pod);
        let spread = Spread::new(snapshot, key, pod, &standings);
        Evaluation { key, pod, standings, neighbours, spread }
    }

    /// The verdict on one node.
    pub fn check(&self, snapshot: &Snapshot, node: NodeId) -> Verdict {
        if let Some(verdict) = Verdict::of_standing(self.standings.of(node).obstacles) {
            return verdict;
        }
        if snapshot.port_taken(node, &self.pod.ports) {
            return Verdict::Ports;
        }
        match snapshot.columns.room(node, &self.pod.requests) {
            Room::Enough => self.check_neighbours(snapshot, node),
            Room::NotNow => Verdict::Resources,
            Room::Never => Verdict::ResourcesEver,
        }
    }

    /// The verdicts on all nodes. Says the same as [`Evaluation::check`] of each.
    pub fn check_all(&self, snapshot: &Snapshot) -> Vec<Verdict> {
        let short = self.short_of_resources(snapshot);
        let asks_ports = !self.pod.ports.is_empty();
        let asks_neighbours = !self.spread.is_empty() || !self.neighbours.is_indifferent();
        let verdict = |node: NodeId| {
            if let Some(verdict) = Verdict::of_standing(self.standings.of(node).obstacles) {
                return verdict;
            }
            if asks_ports && snapshot.port_taken(node, &self.pod.ports) {
                return Verdict::Ports;
            }
            match short[node.index()] {
                0 if asks_neighbours => self.check_neighbours(snapshot, node),
                0 => Verdict::Feasible,
                NOT_NOW => Verdict::Resources,
                _ => Verdict::ResourcesEver,
            }
        };
        snapshot.nodes().map(verdict).collect()
    }

    /// Why a node is refused, in upstream's words: several for resources, else one.
    pub fn reasons(&self, snapshot: &Snapshot, node: NodeId, verdict: Verdict) -> Vec<String> {
        match verdict {
            Verdict::Feasible | Verdict::Absent => Vec::new(),
            Verdict::Resources | Verdict::ResourcesEver => {
                let slots = snapshot.columns.full(node).then(|| "Too many pods".to_owned());
                let short = snapshot.columns.shortages(node, &self.pod.requests);
                slots.into_iter().chain(short.map(|(resource, _)| format!("Insufficient {resource}"))).collect()
            }
            _ => vec![verdict.text().to_owned()],
        }
    }

    /// Puts a pod on a node, for a question of what would be.
    pub fn suppose_placed(&mut self, snapshot: &mut Snapshot, key: &PodKey, pod: &Arc<Pod>, node: NodeId) {
        let name = snapshot.names[node.index()].clone();
        snapshot.place(key, pod.clone(), &name);
        self.note(snapshot, key, node, 1);
    }

    /// Takes a pod off its node, for a question of what would be.
    pub fn suppose_gone(&mut self, snapshot: &mut Snapshot, key: &PodKey, node: NodeId) {
        self.note(snapshot, key, node, -1);
        snapshot.unplace(key);
    }

    fn note(&mut self, snapshot: &Snapshot, key: &PodKey, node: NodeId, count: i64) {
        let Some(group) = snapshot.group_of(key) else { return };
        let group = snapshot.groups.get(group);
        if group.tenant() != &self.key.tenant {
            return;
        }
        self.neighbours.change(snapshot, self.key, self.pod, group, node, count);
        if group.namespace() == &*self.key.namespace && !group.deleting() {
            self.spread.change(snapshot, &self.standings, group, node, count);
        }
    }

    fn check_neighbours(&self, snapshot: &Snapshot, node: NodeId) -> Verdict {
        match self.spread.refuse(snapshot, node) {
            Some(spread::Refusal::MissingLabel) => return Verdict::SpreadLabel,
            Some(spread::Refusal::Skew) => return Verdict::Spread,
            None => {}
        }
        match self.neighbours.refuse(snapshot, node) {
            None => Verdict::Feasible,
            Some(affinity::Refusal::Affinity) => Verdict::Affinity,
            Some(affinity::Refusal::AntiAffinity) => Verdict::AntiAffinity,
            Some(affinity::Refusal::ExistingAntiAffinity) => Verdict::ExistingAntiAffinity,
        }
    }

    /// Per node: 0 for room, else [`NOT_NOW`], and [`NEVER`] with it where the empty node would be too small.
    fn short_of_resources(&self, snapshot: &Snapshot) -> Vec<u8> {
        let columns = &snapshot.columns;
        let slots = columns.offered(PODS_COLUMN).iter().zip(columns.taken(PODS_COLUMN));
        let mut short: Vec<u8> = slots.map(|(offered, taken)| if taken >= offered { NOT_NOW } else { 0 }).collect();
        for (name, amount) in &self.pod.requests.amounts {
            let Some(resource) = columns.find(name) else {
                short.fill(NOT_NOW | NEVER);
                continue;
            };
            let column = columns.offered(resource).iter().zip(columns.taken(resource));
            for (short, (&offered, &taken)) in short.iter_mut().zip(column) {
                *short |= u8::from(*amount > offered.wrapping_sub(taken)) * NOT_NOW;
                *short |= u8::from(*amount > offered) * NEVER;
            }
        }
        short
    }
}

const NOT_NOW: u8 = 1;
const NEVER: u8 = 2;
