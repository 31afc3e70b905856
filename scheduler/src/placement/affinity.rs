//! Affinity between pods: where a pod must be, must not be, and is wished for, because of the pods that are there.
//!
//! Counts are kept per value of a topology and can be changed by one pod at a time, so that "what if this pod left" costs
//! no recount.

use super::groups::Group;
use super::profile::Profile;
use super::selector::{PodSelector, PodTerm};
use super::snapshot::Snapshot;
use super::topology::{Tally, Topologies};
use super::{NodeId, Pod, PodKey};
use api::TenantName;
use std::collections::BTreeMap;

type LabelMap = BTreeMap<String, String>;

/// What the pods that are there say about one waiting pod.
pub struct Neighbours {
    /// One for each of its required terms; `None` for a label that no node has.
    attracting: Vec<Option<Tally>>,
    /// Of those that all its required terms mean, how many are anywhere, once for each term.
    attracted: i64,
    avoided: Tallies,
    /// Because of the terms of pods that are there.
    repelling: Tallies,
    /// Whether it fulfils its own terms, so that it may be the first.
    may_be_first: bool,
}

/// One tally per topology.
#[derive(Default)]
pub struct Tallies(Vec<Tally>);

/// Why neighbours keep a pod off a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody is there whom it must be near.
    Affinity,
    AntiAffinity,
    /// Somebody is there who does not want it.
    ExistingAntiAffinity,
}

impl Neighbours {
    pub fn new(snapshot: &Snapshot, topologies: &mut Topologies, key: &PodKey, pod: &Pod) -> Neighbours {
        let terms = &pod.terms;
        let tally = |term: &PodTerm| {
            topologies.find(snapshot, &term.topology_key).map(|topology| Tally::new(snapshot, topology))
        };
        let mut neighbours = Neighbours {
            attracting: terms.affinity.iter().map(tally).collect(),
            attracted: 0,
            avoided: Tallies::of(snapshot, topologies, &terms.anti_affinity),
            repelling: Tallies::default(),
            may_be_first: terms.affinity.iter().all(|t| selects(snapshot, t, key, &pod.labels, &key.namespace)),
        };
        let own_namespace = |terms: &[PodTerm]| terms.iter().all(PodTerm::own_namespace_only);
        if !terms.affinity.is_empty() || !terms.anti_affinity.is_empty() {
            let near = own_namespace(&terms.affinity) && own_namespace(&terms.anti_affinity);
            for group in candidates(snapshot, key, near) {
                neighbours.apply_own(snapshot, key, pod, group, group.nodes());
            }
        }
        for group in snapshot.groups.with_terms(&key.tenant) {
            let repels = |term: &&PodTerm| selects_from(snapshot, term, group, key, pod);
            for term in group.terms().anti_affinity.iter().filter(repels) {
                neighbours.repelling.add(snapshot, topologies, term, group.nodes(), 1);
            }
        }
        neighbours
    }

    /// Whether nothing is asked in either direction.
    pub fn is_indifferent(&self) -> bool {
        self.attracting.is_empty() && self.avoided.0.is_empty() && self.repelling.0.is_empty()
    }

    /// Takes note that `count` pods of a group came to a node, or left it.
    pub fn change(
        &mut self,
        snapshot: &Snapshot,
        topologies: &mut Topologies,
        (key, pod): (&PodKey, &Pod),
        group: &Group,
        at: (NodeId, i64),
    ) {
        let at = std::iter::once(at);
        self.apply_own(snapshot, key, pod, group, at.clone());
        for term in group.terms().anti_affinity.iter().filter(|t| selects_from(snapshot, t, group, key, pod)) {
            self.repelling.add(snapshot, topologies, term, at.clone(), 1);
        }
    }

    pub fn refuse(&self, node: NodeId) -> Option<Refusal> {
        if !self.affinity_holds(node) {
            return Some(Refusal::Affinity);
        }
        if self.avoided.any(node) {
            return Some(Refusal::AntiAffinity);
        }
        self.repelling.any(node).then_some(Refusal::ExistingAntiAffinity)
    }

    fn affinity_holds(&self, node: NodeId) -> bool {
        let mut all_near = true;
        for tally in &self.attracting {
            let Some(count) = tally.as_ref().and_then(|tally| tally.at(node)) else { return false };
            all_near &= count > 0;
        }
        all_near || (self.may_be_first && self.attracted == 0)
    }

    fn apply_own(
        &mut self,
        snapshot: &Snapshot,
        key: &PodKey,
        pod: &Pod,
        group: &Group,
        nodes: impl Iterator<Item = (NodeId, i64)> + Clone,
    ) {
        let matches = |term: &PodTerm| selects(snapshot, term, key, group.labels(), group.namespace());
        if !pod.terms.affinity.is_empty() && pod.terms.affinity.iter().all(matches) {
            for tally in self.attracting.iter_mut().flatten() {
                for (node, count) in nodes.clone() {
                    if tally.add(node, count) {
                        self.attracted += count;
                    }
                }
            }
        }
        for term in pod.terms.anti_affinity.iter().filter(|t| matches(t)) {
            if let Some(tally) = self.avoided.find(snapshot, term) {
                for (node, count) in nodes.clone() {
                    tally.add(node, count);
                }
            }
        }
    }
}

impl Tallies {
    /// Empty ones for all topologies of some terms.
    fn of(snapshot: &Snapshot, topologies: &mut Topologies, terms: &[PodTerm]) -> Tallies {
        let mut tallies = Tallies::default();
        for term in terms {
            tallies.add(snapshot, topologies, term, std::iter::empty(), 0);
        }
        tallies
    }

    /// Adds pods to the tally of a term's topology, each with a weight.
    fn add(
        &mut self,
        snapshot: &Snapshot,
        topologies: &mut Topologies,
        term: &PodTerm,
        nodes: impl Iterator<Item = (NodeId, i64)>,
        weight: i64,
    ) {
        if self.find(snapshot, term).is_none() {
            let topology = topologies.find(snapshot, &term.topology_key);
            self.0.extend(topology.map(|topology| Tally::new(snapshot, topology)));
        }
        if let Some(tally) = self.find(snapshot, term) {
            for (node, count) in nodes {
                tally.add(node, weight * count);
            }
        }
    }

    fn find(&mut self, snapshot: &Snapshot, term: &PodTerm) -> Option<&mut Tally> {
        let key = snapshot.symbols.find(&term.topology_key)?;
        self.0.iter_mut().find(|tally| tally.topology.key == key)
    }

    fn any(&self, node: NodeId) -> bool {
        self.0.iter().any(|tally| tally.at(node).is_some_and(|count| count > 0))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sum of what is counted for a node's values.
    pub fn sum(&self, node: NodeId) -> i64 {
        self.0.iter().filter_map(|tally| tally.at(node)).sum()
    }
}

/// How much each value of each topology is wished for, by the pod and by those that are there.
pub fn wishes(snapshot: &Snapshot, topologies: &mut Topologies, profile: &Profile, key: &PodKey, pod: &Pod) -> Tallies {
    let mut wishes = Tallies::default();
    if profile.ignore_preferred_terms_of_existing && pod.terms.preferred.is_empty() {
        return wishes;
    }
    if !pod.terms.preferred.is_empty() {
        let near = pod.terms.preferred.iter().all(|(_, term)| term.own_namespace_only());
        for group in candidates(snapshot, key, near) {
            for (weight, term) in &pod.terms.preferred {
                if selects(snapshot, term, key, group.labels(), group.namespace()) {
                    wishes.add(snapshot, topologies, term, group.nodes(), *weight);
                }
            }
        }
    }
    for group in snapshot.groups.with_terms(&key.tenant) {
        let required = group
            .terms()
            .affinity
            .iter()
            .filter(|_| profile.hard_pod_affinity != 0)
            .map(|term| (profile.hard_pod_affinity, term));
        let preferred = group.terms().preferred.iter().map(|(weight, term)| (*weight, term));
        for (weight, term) in required.chain(preferred) {
            if selects_from(snapshot, term, group, key, pod) {
                wishes.add(snapshot, topologies, term, group.nodes(), weight);
            }
        }
    }
    wishes
}

/// Whether a term of the pod `key` means another pod. Never one of another tenant.
pub fn means(snapshot: &Snapshot, term: &PodTerm, key: &PodKey, other: &PodKey, placed: &Pod) -> bool {
    key.tenant == other.tenant && selects(snapshot, term, key, &placed.labels, &other.namespace)
}

/// Whether a term of the pod `key` means the pods of a group.
fn selects(snapshot: &Snapshot, term: &PodTerm, key: &PodKey, labels: &LabelMap, namespace: &str) -> bool {
    in_namespaces(snapshot, term, &key.tenant, &key.namespace, namespace) && term.selector.matches(labels)
}

/// Whether a term of a group's pods means the pod.
fn selects_from(snapshot: &Snapshot, term: &PodTerm, group: &Group, key: &PodKey, pod: &Pod) -> bool {
    in_namespaces(snapshot, term, group.tenant(), group.namespace(), &key.namespace)
        && term.selector.matches(&pod.labels)
}

/// Whether a term of a pod in `own` means pods in `namespace`, both of one tenant.
fn in_namespaces(snapshot: &Snapshot, term: &PodTerm, tenant: &TenantName, own: &str, namespace: &str) -> bool {
    if term.own_namespace_only() {
        return own == namespace;
    }
    let selected = |selector: &PodSelector| {
        let known = snapshot.namespaces.get(tenant).and_then(|all| all.get(namespace));
        selector.matches(known.unwrap_or(&LabelMap::new()))
    };
    term.namespaces.iter().any(|n| **n == *namespace) || term.namespace_selector.as_ref().is_some_and(selected)
}

fn candidates<'a>(
    snapshot: &'a Snapshot,
    key: &PodKey,
    own_namespace: bool,
) -> Box<dyn Iterator<Item = &'a Group> + 'a> {
    if own_namespace {
        Box::new(snapshot.groups.of_namespace(&key.tenant, &key.namespace))
    } else {
        Box::new(snapshot.groups.of_tenant(&key.tenant))
    }
}
