//! Affinity between pods: where a pod must be, must not be, and is wished for, because of the pods that are there.
//!
//! Counts are kept per topology pair, a node label and one of its values, and can be changed by one pod at a time, so
//! that "what if this pod left" costs no recount.

use super::groups::Group;
use super::selector::{PodSelector, PodTerm, PodTerms};
use super::snapshot::Snapshot;
use super::symbol::Symbol;
use super::{NodeId, Pod, PodKey};
use api::TenantName;
use std::collections::{BTreeMap, HashMap};

/// The weight of a running pod's required affinity when nodes are scored.
const REQUIRED_WEIGHT: i64 = 1;

/// A node label and its value.
pub type Pair = (Symbol, Symbol);

type LabelMap = BTreeMap<String, String>;

/// What the pods that are there say about one waiting pod.
#[derive(Default)]
pub struct Neighbours {
    /// The topology keys of its required terms; `None` for a label that no node has.
    attracted_by: Vec<Option<Symbol>>,
    attracting: HashMap<Pair, i64>,
    avoided: HashMap<Pair, i64>,
    /// Because of the terms of pods that are there.
    repelling: HashMap<Pair, i64>,
    /// Whether it fulfils its own terms, so that it may be the first.
    may_be_first: bool,
}

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
    pub fn new(snapshot: &Snapshot, key: &PodKey, pod: &Pod) -> Neighbours {
        let terms = &pod.terms;
        let mut neighbours = Neighbours {
            attracted_by: terms.affinity.iter().map(|t| snapshot.symbols.find(&t.topology_key)).collect(),
            may_be_first: terms.affinity.iter().all(|t| selects(snapshot, t, key, &pod.labels, &key.namespace)),
            ..Neighbours::default()
        };
        let own_namespace = |terms: &[PodTerm]| terms.iter().all(PodTerm::own_namespace_only);
        if !terms.affinity.is_empty() || !terms.anti_affinity.is_empty() {
            let near = own_namespace(&terms.affinity) && own_namespace(&terms.anti_affinity);
            for group in candidates(snapshot, key, near) {
                neighbours.apply_own(snapshot, key, terms, group, group.nodes());
            }
        }
        for group in snapshot.groups.with_terms(&key.tenant) {
            neighbours.apply_theirs(snapshot, key, pod, group, group.nodes());
        }
        neighbours
    }

    /// Whether nothing is asked in either direction.
    pub fn is_indifferent(&self) -> bool {
        self.attracted_by.is_empty() && self.avoided.is_empty() && self.repelling.is_empty()
    }

    /// Takes note that `count` pods of a group came to a node, or left it.
    pub fn change(&mut self, snapshot: &Snapshot, key: &PodKey, pod: &Pod, group: &Group, node: NodeId, count: i64) {
        self.apply_own(snapshot, key, &pod.terms, group, [(node, count)].into_iter());
        self.apply_theirs(snapshot, key, pod, group, [(node, count)].into_iter());
    }

    pub fn refuse(&self, snapshot: &Snapshot, node: NodeId) -> Option<Refusal> {
        if !self.affinity_holds(snapshot, node) {
            return Some(Refusal::Affinity);
        }
        let labels = &snapshot.labels[node.index()];
        let present = |counts: &HashMap<Pair, i64>| {
            !counts.is_empty() && labels.iter().any(|pair| counts.get(pair).is_some_and(|&count| count > 0))
        };
        if present(&self.avoided) {
            return Some(Refusal::AntiAffinity);
        }
        present(&self.repelling).then_some(Refusal::ExistingAntiAffinity)
    }

    fn affinity_holds(&self, snapshot: &Snapshot, node: NodeId) -> bool {
        let mut all_near = true;
        for key in &self.attracted_by {
            let Some(pair) = key.and_then(|k| snapshot.label(node, k).map(|v| (k, v))) else { return false };
            all_near &= self.attracting.get(&pair).is_some_and(|&count| count > 0);
        }
        all_near || (self.may_be_first && self.attracting.values().all(|&count| count == 0))
    }

    fn apply_own(
        &mut self,
        snapshot: &Snapshot,
        key: &PodKey,
        terms: &PodTerms,
        group: &Group,
        nodes: impl Iterator<Item = (NodeId, i64)> + Clone,
    ) {
        let matches = |term: &PodTerm| selects(snapshot, term, key, group.labels(), group.namespace());
        if !terms.affinity.is_empty() && terms.affinity.iter().all(matches) {
            for topology in self.attracted_by.iter().flatten() {
                add(&mut self.attracting, snapshot, *topology, 1, nodes.clone());
            }
        }
        for term in terms.anti_affinity.iter().filter(|t| matches(t)) {
            if let Some(topology) = snapshot.symbols.find(&term.topology_key) {
                add(&mut self.avoided, snapshot, topology, 1, nodes.clone());
            }
        }
    }

    fn apply_theirs(
        &mut self,
        snapshot: &Snapshot,
        key: &PodKey,
        pod: &Pod,
        group: &Group,
        nodes: impl Iterator<Item = (NodeId, i64)> + Clone,
    ) {
        for term in &group.terms().anti_affinity {
            if selects_from(snapshot, term, group, key, pod)
                && let Some(topology) = snapshot.symbols.find(&term.topology_key)
            {
                add(&mut self.repelling, snapshot, topology, 1, nodes.clone());
            }
        }
    }
}

/// How much each topology pair is wished for, by the pod and by those that are there.
pub fn wishes(snapshot: &Snapshot, key: &PodKey, pod: &Pod) -> HashMap<Pair, i64> {
    let mut wishes: HashMap<Pair, i64> = HashMap::new();
    if !pod.terms.preferred.is_empty() {
        let near = pod.terms.preferred.iter().all(|(_, term)| term.own_namespace_only());
        for group in candidates(snapshot, key, near) {
            for (weight, term) in &pod.terms.preferred {
                if selects(snapshot, term, key, group.labels(), group.namespace())
                    && let Some(topology) = snapshot.symbols.find(&term.topology_key)
                {
                    add(&mut wishes, snapshot, topology, *weight, group.nodes());
                }
            }
        }
    }
    for group in snapshot.groups.with_terms(&key.tenant) {
        let required = group.terms().affinity.iter().map(|term| (REQUIRED_WEIGHT, term));
        let preferred = group.terms().preferred.iter().map(|(weight, term)| (*weight, term));
        for (weight, term) in required.chain(preferred) {
            if selects_from(snapshot, term, group, key, pod)
                && let Some(topology) = snapshot.symbols.find(&term.topology_key)
            {
                add(&mut wishes, snapshot, topology, weight, group.nodes());
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

fn add(
    counts: &mut HashMap<Pair, i64>,
    snapshot: &Snapshot,
    topology: Symbol,
    weight: i64,
    nodes: impl Iterator<Item = (NodeId, i64)>,
) {
    for (node, count) in nodes {
        if let Some(value) = snapshot.label(node, topology) {
            *counts.entry((topology, value)).or_default() += weight * count;
        }
    }
}
