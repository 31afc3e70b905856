//! How pods that ask the same of a node itself stand with each node: whether its labels, taints and marks admit them,
//! and how much they are wished for.

use super::NodeId;
use super::kept::Kept;
use super::node::TENANT_LABEL;
use super::profile::{Filters, Profile};
use super::selector::{NodeExpression, NodeOperator, NodeTerm};
use super::snapshot::Snapshot;
use super::symbol::{Symbol, Symbols, value_of};
use super::{NodeNeeds, taint};
use api::TenantName;
use std::sync::Arc;

/// Why a node's own labels, taints and marks keep a pod away. Several may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Obstacles(u8);

impl Obstacles {
    pub const ABSENT: Obstacles = Obstacles(1);
    pub const NOT_NAMED: Obstacles = Obstacles(2);
    pub const UNSCHEDULABLE: Obstacles = Obstacles(4);
    pub const TAINT: Obstacles = Obstacles(8);
    pub const AFFINITY: Obstacles = Obstacles(16);
    /// It does not run what the pod is.
    pub const RUNTIME: Obstacles = Obstacles(32);
    /// The scheduler itself wants other nodes.
    pub const ENFORCED: Obstacles = Obstacles(64);
    /// It is another tenant's.
    pub const DEDICATED: Obstacles = Obstacles(128);

    pub fn none(self) -> bool {
        self.0 == 0
    }

    pub fn has(self, other: Obstacles) -> bool {
        self.0 & other.0 != 0
    }

    fn when(self, holds: bool) -> u8 {
        if holds { self.0 } else { 0 }
    }
}

/// What needs say of one node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    pub obstacles: Obstacles,
    /// Taints that ask to stay away.
    pub discouraged: u32,
    /// Weights of the preferred terms that match.
    pub preferred: i64,
}

impl Standing {
    const ABSENT: Standing = Standing { obstacles: Obstacles::ABSENT, discouraged: 0, preferred: 0 };
    const NOT_NAMED: Standing = Standing { obstacles: Obstacles::NOT_NAMED, discouraged: 0, preferred: 0 };
}

/// All nodes as a pod of one class sees them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Standings(Arc<Vec<Standing>>);

impl Standings {
    pub fn of(&self, node: NodeId) -> Standing {
        self.0[node.index()]
    }

    /// As a pod sees them that names its nodes outright: every other stands as not named, whatever else it is.
    pub fn of_named(snapshot: &Snapshot, profile: &Profile, class: &Class, named: &[NodeId]) -> Standings {
        let resolved = Resolved::new(class, profile, &snapshot.symbols);
        let other = |&present: &bool| if present { Standing::NOT_NAMED } else { Standing::ABSENT };
        let mut all: Vec<Standing> = snapshot.present.iter().map(other).collect();
        for &node in named {
            all[node.index()] = resolved.standing(snapshot, node);
        }
        Standings(Arc::new(all))
    }
}

/// The standings of the pods that were asked about lately.
#[derive(Default)]
pub struct Classes(Kept<Class, Standing>);

/// What pods have in common that stand alike with every node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// Of the scheduler that decides.
    pub profile: usize,
    /// The tenant, if nodes are there for it alone.
    pub pool: Option<TenantName>,
    pub needs: Arc<NodeNeeds>,
}

impl Classes {
    /// All nodes as pods with these needs see them now.
    pub fn standings(&mut self, snapshot: &Snapshot, profile: &Profile, class: &Class) -> Standings {
        let resolved = Resolved::new(class, profile, &snapshot.symbols);
        let standing = |node| resolved.standing(snapshot, node);
        Standings(self.0.current(class, snapshot.len(), &snapshot.changes, standing))
    }
}

/// Needs with their texts looked up.
struct Resolved<'a> {
    needs: &'a NodeNeeds,
    /// `None` if no node has one of these labels.
    equal: Option<Vec<(Symbol, Symbol)>>,
    required: Option<Vec<ResolvedTerm<'a>>>,
    preferred: Vec<(i64, ResolvedTerm<'a>)>,
    /// What the scheduler asks besides.
    added: Option<Vec<ResolvedTerm<'a>>>,
    ignores_unschedulable: bool,
    ignores_runtime: bool,
    pool: Option<&'a TenantName>,
    filters: Filters,
}

/// A term with its texts looked up.
pub struct ResolvedTerm<'a> {
    term: &'a NodeTerm,
    labels: Vec<ResolvedExpression>,
}

struct ResolvedExpression {
    /// `None` if no node has such a label.
    key: Option<Symbol>,
    operator: NodeOperator,
    values: Vec<Symbol>,
    /// The number that `Gt` and `Lt` compare with.
    bound: Option<i64>,
}

impl<'a> Resolved<'a> {
    fn new(class: &'a Class, profile: &'a Profile, symbols: &Symbols) -> Resolved<'a> {
        let needs = &*class.needs;
        let selector = &needs.selector;
        let added = profile.added_affinity.as_ref();
        let added_preferred = added.into_iter().flat_map(|added| &added.preferred);
        let resolve = |term: &'a NodeTerm| ResolvedTerm::new(term, symbols);
        Resolved {
            needs,
            equal: selector.equal.iter().map(|(k, v)| symbols.find(k).zip(symbols.find(v))).collect(),
            required: selector.required.as_ref().map(|terms| terms.iter().map(resolve).collect()),
            preferred: selector
                .preferred
                .iter()
                .chain(added_preferred)
                .map(|(weight, term)| (*weight, resolve(term)))
                .collect(),
            added: added.and_then(|added| added.required.as_ref()).map(|terms| terms.iter().map(resolve).collect()),
            ignores_runtime: taint::ignores_everything(&needs.tolerations),
            pool: class.pool.as_ref(),
            filters: profile.filters,
            ignores_unschedulable: taint::ignores_unschedulable(&needs.tolerations),
        }
    }

    fn standing(&self, snapshot: &Snapshot, node: NodeId) -> Standing {
        let at = node.index();
        if !snapshot.present[at] {
            return Standing::ABSENT;
        }
        let (labels, taints) = (&snapshot.labels[at], &snapshot.taints[at]);
        let tolerations = &self.needs.tolerations;
        let unschedulable = snapshot.unschedulable[at] && !self.ignores_unschedulable;
        let matches = |term: &ResolvedTerm| term.matches(&snapshot.symbols, labels, snapshot.name(node));
        let selected = self.equal.as_ref().is_some_and(|all| all.iter().all(|&(k, v)| value_of(labels, k) == Some(v)))
            && self.required.as_ref().is_none_or(|terms| terms.iter().any(matches));
        let offer = snapshot.offer(node);
        let runs = self.ignores_runtime || if self.needs.machine { offer.machines } else { !offer.no_containers };
        let enforced = self.added.as_ref().is_none_or(|terms| terms.iter().any(matches));
        let owner = offer.labels.get(TENANT_LABEL).map(String::as_str);
        let Filters { unschedulable: sees_mark, taints: sees_taints, node_affinity, .. } = self.filters;
        let obstacles = Obstacles::UNSCHEDULABLE.when(sees_mark && unschedulable)
            | Obstacles::TAINT.when(sees_taints && taint::repelled(taints, tolerations))
            | Obstacles::AFFINITY.when(node_affinity && !selected)
            | Obstacles::ENFORCED.when(node_affinity && !enforced)
            | Obstacles::RUNTIME.when(!runs)
            | Obstacles::DEDICATED.when(owner.is_some() && owner != self.pool.map(TenantName::as_str));
        Standing {
            obstacles: Obstacles(obstacles),
            discouraged: taint::discouraged(taints, tolerations),
            preferred: self.preferred.iter().filter(|(_, term)| matches(term)).map(|(weight, _)| weight).sum(),
        }
    }
}

impl<'a> ResolvedTerm<'a> {
    pub fn new(term: &'a NodeTerm, symbols: &Symbols) -> ResolvedTerm<'a> {
        let labels = term.labels.iter().map(|e| ResolvedExpression::new(e, symbols)).collect();
        ResolvedTerm { term, labels }
    }

    /// The values of a label that it lists, if it lists some: no node with another one matches.
    pub fn values_of(&self, key: Symbol) -> Option<&[Symbol]> {
        let lists = |e: &&ResolvedExpression| e.key == Some(key) && e.operator == NodeOperator::In;
        self.labels.iter().find(lists).map(|e| &*e.values)
    }

    pub fn matches(&self, symbols: &Symbols, labels: &[(Symbol, Symbol)], name: &str) -> bool {
        !self.term.is_empty() && self.labels.iter().all(|e| e.matches(symbols, labels)) && self.term.fields_match(name)
    }
}

impl ResolvedExpression {
    fn new(expression: &NodeExpression, symbols: &Symbols) -> ResolvedExpression {
        ResolvedExpression {
            key: symbols.find(&expression.key),
            operator: expression.operator,
            values: expression.values.iter().filter_map(|v| symbols.find(v)).collect(),
            bound: expression.values.first().and_then(|v| v.parse().ok()),
        }
    }

    fn matches(&self, symbols: &Symbols, labels: &[(Symbol, Symbol)]) -> bool {
        let value = self.key.and_then(|key| value_of(labels, key));
        let number = || value.and_then(|v| symbols.text(v).parse::<i64>().ok()).zip(self.bound);
        match self.operator {
            NodeOperator::In => value.is_some_and(|v| self.values.contains(&v)),
            NodeOperator::NotIn => value.is_none_or(|v| !self.values.contains(&v)),
            NodeOperator::Exists => value.is_some(),
            NodeOperator::DoesNotExist => value.is_none(),
            NodeOperator::Gt => number().is_some_and(|(value, bound)| value > bound),
            NodeOperator::Lt => number().is_some_and(|(value, bound)| value < bound),
            NodeOperator::Unknown => false,
        }
    }
}
