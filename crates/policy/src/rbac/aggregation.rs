//! What the aggregated roles of one tenant hold: the rules of the cluster roles that they select, and that those select.
//!
//! Invariant: a chain of roles may be of any length and a cycle ends. Whatever a tenant stores, working it out takes
//! limited work and memory; past the limit roles hold less than they should, never more.

use super::Rule;
use api::selector::LabelSelector;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// What all aggregated roles of one tenant may cost together, in texts looked at: of selectors, compared with each
/// cluster role, and of the rules they gather. The default roles cost a few thousand; a hundred roles of a thousand
/// small rules each come to a million.
const WORK_MAX: usize = 4_000_000;

/// A Role or ClusterRole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Role {
    labels: BTreeMap<String, String>,
    /// Of an aggregated role: what it selects. `None` for all others.
    selectors: Option<Vec<LabelSelector>>,
    /// As they are written.
    rules: Arc<[Arc<Rule>]>,
}

impl Role {
    pub fn from_value(role: &Value) -> Role {
        let labels = role["metadata"]["labels"].as_object().into_iter().flatten();
        let aggregation = role["aggregationRule"].as_object();
        let selectors = aggregation.map(|rule| {
            let selectors = rule.get("clusterRoleSelectors").and_then(Value::as_array).into_iter().flatten();
            selectors.filter_map(|s| LabelSelector::from_value(s).ok()).collect()
        });
        let rules = role["rules"].as_array().into_iter().flatten();
        Role {
            labels: labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect(),
            selectors,
            rules: rules.map(|rule| Arc::new(Rule::from_value(rule))).collect(),
        }
    }

    pub fn is_aggregated(&self) -> bool {
        self.selectors.is_some()
    }

    fn selects(&self, other: &Role) -> bool {
        self.selectors.iter().flatten().any(|selector| selector.matches(&other.labels))
    }

    /// What it costs to compare this role's selectors with one role.
    fn selection_weight(&self) -> usize {
        let requirements = self.selectors.iter().flatten().flat_map(|selector| &selector.requirements);
        1 + requirements.map(|requirement| 1 + requirement.values.len()).sum::<usize>()
    }
}

/// Works out the rules of roles, within the limit of one tenant.
pub(super) struct Aggregation<'a> {
    /// In the order of their names.
    cluster_roles: Vec<&'a Role>,
    /// What each aggregated role selects, by its address, as places in `cluster_roles`.
    selected: HashMap<*const Role, Arc<[usize]>>,
    work_left: usize,
    exhausted: bool,
}

impl<'a> Aggregation<'a> {
    /// `cluster_roles` are those of the tenant and the default ones, in the order of their names.
    pub fn new(cluster_roles: impl Iterator<Item = &'a Role>) -> Aggregation<'a> {
        let cluster_roles = cluster_roles.collect();
        Aggregation { cluster_roles, selected: HashMap::new(), work_left: WORK_MAX, exhausted: false }
    }

    /// Whether the limit was reached: some roles hold less than they should.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// What a role holds. Of an aggregated one these are the rules of all that it selects, in the order of their names,
    /// each role and rule once; what is written in it does not count.
    pub fn rules(&mut self, role: &'a Role) -> Arc<[Arc<Rule>]> {
        if !role.is_aggregated() {
            return role.rules.clone();
        }
        let (mut seen, mut present, mut rules) =
            (HashSet::from([std::ptr::from_ref(role)]), HashSet::new(), Vec::new());
        // Selections that are gone through, each with the place that comes next in it: a chain is as long as this gets.
        let mut open = vec![(self.selection(role), 0)];
        while let Some((selection, next)) = open.last_mut() {
            let Some(&place) = selection.get(*next) else {
                open.pop();
                continue;
            };
            *next += 1;
            let selected = self.cluster_roles[place];
            if !self.spend(1) {
                break;
            }
            if !seen.insert(std::ptr::from_ref(selected)) {
                continue;
            }
            if selected.is_aggregated() {
                open.push((self.selection(selected), 0));
                continue;
            }
            for rule in selected.rules.iter() {
                if !self.spend(rule.weight()) {
                    break;
                }
                if present.insert(rule) {
                    rules.push(rule.clone());
                }
            }
        }
        rules.into()
    }

    /// The cluster roles that an aggregated one selects.
    fn selection(&mut self, role: &Role) -> Arc<[usize]> {
        let address = std::ptr::from_ref(role);
        if let Some(known) = self.selected.get(&address) {
            return known.clone();
        }
        let comparisons = role.selection_weight().saturating_mul(self.cluster_roles.len());
        let places = if self.spend(comparisons) { 0..self.cluster_roles.len() } else { 0..0 };
        let selection: Arc<[usize]> = places.filter(|&place| role.selects(self.cluster_roles[place])).collect();
        self.selected.insert(address, selection.clone());
        selection
    }

    /// Takes work from what is left. Nothing more is done after the first refusal, so that what is left out does not
    /// depend on how small it is.
    fn spend(&mut self, work: usize) -> bool {
        match self.work_left.checked_sub(work) {
            Some(left) if !self.exhausted => self.work_left = left,
            _ => self.exhausted = true,
        }
        !self.exhausted
    }
}
