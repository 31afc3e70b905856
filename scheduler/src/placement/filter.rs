//! Which nodes a pod may get. The first obstacle in upstream's order is a node's verdict.

use super::affinity::{self, Neighbours};
use super::columns::Room;
use super::fit::Fit;
use super::profile::{Filters, Profile};
use super::selector::SpreadConstraint;
use super::snapshot::Snapshot;
use super::spread::{self, Spread};
use super::standing::{Obstacles, Standings};
use super::topology::Topologies;
use super::volumes::{PodVolumes, Preparation, VolumeRefusal, Volumes};
use super::{NodeId, Pod, PodKey};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a filter says of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    Feasible,
    /// There is no such node.
    Absent,
    /// The pod's node affinity names other nodes.
    NotNamed,
    /// It is there for another tenant alone.
    Dedicated,
    Unschedulable,
    Taint,
    NodeAffinity,
    /// The scheduler's own affinity wants other nodes.
    Enforced,
    /// It does not run what the pod is.
    Runtime,
    Ports,
    Resources,
    /// Not even when the node is empty.
    ResourcesEver,
    Disk,
    ClaimInUse,
    VolumeLimit,
    VolumeBinding,
    VolumeZone,
    /// The pod's claims do not let it go anywhere.
    Claims,
    /// Its tenant has as much as it may.
    TenantMaximum,
    /// What is free is kept for other tenants.
    Owed,
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
            | Verdict::Disk
            | Verdict::ClaimInUse
            | Verdict::VolumeLimit
            | Verdict::Spread
            | Verdict::AntiAffinity
            | Verdict::ExistingAntiAffinity => true,
            Verdict::Feasible
            | Verdict::Absent
            | Verdict::NotNamed
            | Verdict::Dedicated
            | Verdict::Unschedulable
            | Verdict::Taint
            | Verdict::NodeAffinity
            | Verdict::Enforced
            | Verdict::Runtime
            | Verdict::ResourcesEver
            | Verdict::VolumeBinding
            | Verdict::VolumeZone
            | Verdict::Claims
            | Verdict::TenantMaximum
            | Verdict::Owed
            | Verdict::SpreadLabel
            | Verdict::Affinity => false,
        }
    }

    /// What upstream calls it. Of resources and bindings of volumes, see [`Evaluation::reasons`].
    fn text(self) -> &'static str {
        match self {
            Verdict::Feasible
            | Verdict::Absent
            | Verdict::Resources
            | Verdict::ResourcesEver
            | Verdict::VolumeBinding
            | Verdict::Claims
            | Verdict::TenantMaximum
            | Verdict::Owed => "",
            Verdict::Disk => "node(s) had no available disk",
            Verdict::ClaimInUse => {
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
            }
            Verdict::VolumeLimit => "node(s) exceed max volume count",
            Verdict::VolumeZone => "node(s) had no available volume zone",
            Verdict::NotNamed => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
            Verdict::Dedicated => "node(s) were dedicated to another tenant",
            Verdict::Enforced => "node(s) didn't match scheduler-enforced node affinity",
            Verdict::Runtime => "node(s) runtime is not ready",
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
            (Obstacles::DEDICATED, Verdict::Dedicated),
            (Obstacles::UNSCHEDULABLE, Verdict::Unschedulable),
            (Obstacles::TAINT, Verdict::Taint),
            (Obstacles::ENFORCED, Verdict::Enforced),
            (Obstacles::AFFINITY, Verdict::NodeAffinity),
        ];
        let first = in_order.into_iter().find(|(obstacle, _)| obstacles.has(*obstacle));
        Some(first.map_or(Verdict::Runtime, |(_, verdict)| verdict))
    }
}

/// What is said of a node without a free slot.
const FULL: &str = "Too many pods";

fn insufficient(resource: &str) -> String {
    format!("Insufficient {resource}")
}

/// One waiting pod with everything about it that is the same for all nodes.
pub struct Evaluation<'a> {
    pub key: &'a PodKey,
    pub pod: &'a Pod,
    pub profile: &'a Profile,
    pub standings: Standings,
    /// Of all nodes as they are, without what is supposed.
    pub fits: Arc<Vec<Fit>>,
    topologies: &'a mut Topologies,
    neighbours: Neighbours,
    spread: Spread<'a>,
    storage: &'a Volumes,
    volumes: PodVolumes<'a>,
    /// The pod asks for nothing but resources, and no neighbour minds it.
    resources_only: bool,
}

impl<'a> Evaluation<'a> {
    pub fn new(
        snapshot: &Snapshot,
        topologies: &'a mut Topologies,
        (key, pod): (&'a PodKey, &'a Pod),
        (profile, constraints): (&'a Profile, &'a [SpreadConstraint]),
        standings: Standings,
        fits: Arc<Vec<Fit>>,
        (storage, volumes): (&'a Volumes, PodVolumes<'a>),
    ) -> Evaluation<'a> {
        let neighbours = Neighbours::new(snapshot, topologies, key, pod);
        let spread = Spread::new(snapshot, topologies, key, (pod, constraints), &standings);
        let resources_only =
            pod.ports.is_empty() && volumes.is_indifferent() && spread.is_empty() && neighbours.is_indifferent();
        Evaluation {
            key,
            pod,
            profile,
            standings,
            fits,
            topologies,
            neighbours,
            spread,
            storage,
            volumes,
            resources_only,
        }
    }

    /// What scores need of it.
    pub fn topologies(&mut self) -> &mut Topologies {
        self.topologies
    }

    /// The verdict on one node.
    pub fn check(&self, snapshot: &Snapshot, node: NodeId) -> Verdict {
        if let Some(verdict) = Verdict::of_standing(self.standings.of(node).obstacles) {
            return verdict;
        }
        let Filters { ports, resources, .. } = self.profile.filters;
        if ports && snapshot.port_taken(node, &self.pod.ports) {
            return Verdict::Ports;
        }
        let room = || snapshot.columns.room(node, &self.pod.requests, &self.profile.fit);
        match if resources { room() } else { Room::Enough } {
            Room::Enough => self.check_volumes(snapshot, node).unwrap_or_else(|| self.check_neighbours(node)),
            Room::NotNow => Verdict::Resources,
            Room::Never => Verdict::ResourcesEver,
        }
    }

    /// The verdicts on all nodes, while nothing is supposed. Says the same as [`Evaluation::check`] of each.
    pub fn check_all(&self, snapshot: &Snapshot) -> Vec<Verdict> {
        let asks_ports = self.profile.filters.ports && !self.pod.ports.is_empty();
        let asks_volumes = self.profile.filters.volumes && !self.volumes.is_indifferent();
        let asks_neighbours = !self.spread.is_empty() || !self.neighbours.is_indifferent();
        let verdict = |node: NodeId| {
            if let Some(verdict) = Verdict::of_standing(self.standings.of(node).obstacles) {
                return verdict;
            }
            if asks_ports && snapshot.port_taken(node, &self.pod.ports) {
                return Verdict::Ports;
            }
            match self.fits[node.index()].room {
                Room::Enough if asks_volumes => {
                    self.check_volumes(snapshot, node).unwrap_or_else(|| self.check_neighbours(node))
                }
                Room::Enough if asks_neighbours => self.check_neighbours(node),
                Room::Enough => Verdict::Feasible,
                Room::NotNow => Verdict::Resources,
                Room::Never => Verdict::ResourcesEver,
            }
        };
        snapshot.nodes().map(verdict).collect()
    }

    /// Why a node is refused, in upstream's words: several for resources and volumes, else one.
    pub fn reasons(&self, snapshot: &Snapshot, node: NodeId, verdict: Verdict) -> Vec<String> {
        match verdict {
            Verdict::Feasible | Verdict::Absent => Vec::new(),
            Verdict::Resources | Verdict::ResourcesEver => {
                let slots = snapshot.columns.full(node).then(|| FULL.to_owned());
                let short = snapshot.columns.shortages(node, &self.pod.requests, &self.profile.fit);
                slots.into_iter().chain(short.map(|(resource, _)| insufficient(resource))).collect()
            }
            Verdict::VolumeBinding => {
                self.volumes.conflicts(self.storage, snapshot, node).into_iter().map(str::to_owned).collect()
            }
            _ => vec![verdict.text().to_owned()],
        }
    }

    /// How often each reason stands against these nodes, in upstream's words.
    pub fn count_reasons(
        &self,
        snapshot: &Snapshot,
        nodes: impl Iterator<Item = (NodeId, Verdict)>,
    ) -> BTreeMap<String, usize> {
        let (mut counts, mut full) = (BTreeMap::new(), 0);
        let (mut verdicts, mut short) = (BTreeMap::<Verdict, usize>::new(), BTreeMap::<&str, usize>::new());
        for (node, verdict) in nodes {
            match verdict {
                Verdict::Feasible | Verdict::Absent => {}
                Verdict::Resources | Verdict::ResourcesEver => {
                    full += usize::from(snapshot.columns.full(node));
                    for (resource, _) in snapshot.columns.shortages(node, &self.pod.requests, &self.profile.fit) {
                        *short.entry(resource).or_default() += 1;
                    }
                }
                Verdict::VolumeBinding => {
                    for reason in self.reasons(snapshot, node, verdict) {
                        *counts.entry(reason).or_default() += 1;
                    }
                }
                _ => *verdicts.entry(verdict).or_default() += 1,
            }
        }
        counts.extend(verdicts.into_iter().map(|(verdict, count)| (verdict.text().to_owned(), count)));
        counts.extend(short.into_iter().map(|(resource, count)| (insufficient(resource), count)));
        counts.extend((full > 0).then(|| (FULL.to_owned(), full)));
        counts
    }

    /// Puts a pod on a node, for a question of what would be.
    pub fn suppose_placed(&mut self, snapshot: &mut Snapshot, key: &PodKey, pod: &Arc<Pod>, node: NodeId) {
        if self.sees_resources_of(pod) {
            return snapshot.columns.take(node, &pod.requests, 1);
        }
        let name = snapshot.names[node.index()].clone();
        snapshot.place(key, pod.clone(), &name);
        self.note(snapshot, key, node, 1);
    }

    /// Takes a pod off its node, for a question of what would be.
    pub fn suppose_gone(&mut self, snapshot: &mut Snapshot, key: &PodKey, pod: &Pod, node: NodeId) {
        if self.sees_resources_of(pod) {
            return snapshot.columns.take(node, &pod.requests, -1);
        }
        self.note(snapshot, key, node, -1);
        snapshot.unplace(key);
    }

    /// Whether nothing counts of another pod but what it takes. Such a question is asked of every pod of very many nodes.
    fn sees_resources_of(&self, other: &Pod) -> bool {
        self.resources_only && other.terms.is_empty()
    }

    fn note(&mut self, snapshot: &Snapshot, key: &PodKey, node: NodeId, count: i64) {
        let Some(group) = snapshot.group_of(key) else { return };
        let group = snapshot.groups.get(group);
        if group.tenant() != &self.key.tenant {
            return;
        }
        self.neighbours.change(snapshot, self.topologies, (self.key, self.pod), group, (node, count));
        if group.namespace() == &*self.key.namespace && !group.deleting() {
            self.spread.change(&self.standings, group, (node, count));
        }
    }

    /// What has to be done before the pod can be bound to a node that is feasible.
    pub fn prepare(&self, snapshot: &Snapshot, node: NodeId) -> Preparation {
        self.volumes.prepare(self.storage, snapshot, node).unwrap_or_default()
    }

    fn check_volumes(&self, snapshot: &Snapshot, node: NodeId) -> Option<Verdict> {
        if !self.profile.filters.volumes {
            return None;
        }
        self.volumes.refuse(self.storage, snapshot, node).map(|refusal| match refusal {
            VolumeRefusal::Disk => Verdict::Disk,
            VolumeRefusal::OncePerPod => Verdict::ClaimInUse,
            VolumeRefusal::Limit => Verdict::VolumeLimit,
            VolumeRefusal::Binding => Verdict::VolumeBinding,
            VolumeRefusal::Zone => Verdict::VolumeZone,
        })
    }

    fn check_neighbours(&self, node: NodeId) -> Verdict {
        let Filters { spread: sees_spread, pod_affinity, .. } = self.profile.filters;
        match self.spread.refuse(node).filter(|_| sees_spread) {
            Some(spread::Refusal::MissingLabel) => return Verdict::SpreadLabel,
            Some(spread::Refusal::Skew) => return Verdict::Spread,
            None => {}
        }
        match self.neighbours.refuse(node).filter(|_| pod_affinity) {
            None => Verdict::Feasible,
            Some(affinity::Refusal::Affinity) => Verdict::Affinity,
            Some(affinity::Refusal::AntiAffinity) => Verdict::AntiAffinity,
            Some(affinity::Refusal::ExistingAntiAffinity) => Verdict::ExistingAntiAffinity,
        }
    }
}
