//! Selectors of pods, parsed once: for nodes, for other pods, and for spreading.

use super::wire;
use api::selector::{LabelSelector, Operator, Requirement};
use serde_json::Value;
use std::collections::BTreeMap;

type LabelMap = BTreeMap<String, String>;

/// What a pod asks of a node's labels and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSelector {
    /// `spec.nodeSelector`: each must be equal.
    pub equal: Box<[(Box<str>, Box<str>)]>,
    /// One of these must hold, if there is a list.
    pub required: Option<Box<[NodeTerm]>>,
    pub preferred: Box<[(i64, NodeTerm)]>,
}

/// All of these must hold. A term that asks nothing matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeTerm {
    pub labels: Box<[NodeExpression]>,
    pub fields: Box<[NodeExpression]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeExpression {
    pub key: Box<str>,
    pub operator: NodeOperator,
    pub values: Box<[Box<str>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
    /// One that this version does not know: matches nothing.
    Unknown,
}

/// A weight within the limits that validation sets.
fn weight(weight: i64) -> i64 {
    weight.clamp(0, 100)
}

/// The field of a node that a term may name.
const NODE_NAME_FIELD: &str = "metadata.name";

impl NodeSelector {
    pub fn of(equal: wire::LabelMap, affinity: Option<wire::NodeAffinity>) -> NodeSelector {
        let affinity = affinity.unwrap_or_default();
        let required =
            affinity.required.map(|r| r.node_selector_terms.into_iter().flatten().map(NodeTerm::of).collect());
        let preferred = affinity.preferred.into_iter().flatten().filter(|t| t.weight != 0);
        NodeSelector {
            equal: equal.into_iter().flatten().map(|(k, v)| (k.into(), v.into())).collect(),
            required,
            preferred: preferred.map(|t| (weight(t.weight), NodeTerm::of(t.preference))).collect(),
        }
    }

    /// The nodes that are named outright, where only named ones can match. An empty list is a contradiction.
    pub fn named_nodes(&self) -> Option<Vec<&str>> {
        let terms = self.required.as_deref().filter(|terms| !terms.is_empty())?;
        let mut all: Vec<&str> = Vec::new();
        for term in terms {
            all.extend(term.named_nodes()?);
        }
        all.sort_unstable();
        all.dedup();
        Some(all)
    }
}

impl NodeTerm {
    pub(super) fn of(term: wire::NodeSelectorTerm) -> NodeTerm {
        let parse = |list: Option<Vec<wire::Requirement>>| list.into_iter().flatten().map(NodeExpression::of).collect();
        NodeTerm { labels: parse(term.match_expressions), fields: parse(term.match_fields) }
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the node's name fits.
    pub fn fields_match(&self, node: &str) -> bool {
        self.fields.iter().all(|f| {
            let listed = f.values.iter().any(|v| **v == *node);
            *f.key == *NODE_NAME_FIELD
                && match f.operator {
                    NodeOperator::In => listed,
                    NodeOperator::NotIn => !listed,
                    NodeOperator::Exists
                    | NodeOperator::DoesNotExist
                    | NodeOperator::Gt
                    | NodeOperator::Lt
                    | NodeOperator::Unknown => false,
                }
        })
    }

    fn named_nodes(&self) -> Option<Vec<&str>> {
        let lists = self.fields.iter().filter(|f| *f.key == *NODE_NAME_FIELD && f.operator == NodeOperator::In);
        lists.map(|f| f.values.iter().map(|v| &**v).collect::<Vec<&str>>()).reduce(|mut a, b| {
            a.retain(|name| b.contains(name));
            a
        })
    }
}

impl NodeExpression {
    fn of(requirement: wire::Requirement) -> NodeExpression {
        let operator = match requirement.operator.as_str() {
            "In" => NodeOperator::In,
            "NotIn" => NodeOperator::NotIn,
            "Exists" => NodeOperator::Exists,
            "DoesNotExist" => NodeOperator::DoesNotExist,
            "Gt" => NodeOperator::Gt,
            "Lt" => NodeOperator::Lt,
            _ => NodeOperator::Unknown,
        };
        let values = requirement.values.into_iter().flatten().map(Into::into).collect();
        NodeExpression { key: requirement.key.into(), operator, values }
    }
}

/// What a pod asks of its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodTerms {
    pub affinity: Box<[PodTerm]>,
    pub anti_affinity: Box<[PodTerm]>,
    /// Negative weights are of anti-affinity.
    pub preferred: Box<[(i64, PodTerm)]>,
}

/// Pods of some namespaces that a selector matches, near in terms of a node label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodTerm {
    pub topology_key: Box<str>,
    pub selector: PodSelector,
    /// By name; with no selector either, the pod's own namespace.
    pub namespaces: Box<[Box<str>]>,
    pub namespace_selector: Option<PodSelector>,
}

impl PodTerms {
    pub(super) fn of(
        affinity: Option<wire::PodAffinity>,
        anti: Option<wire::PodAffinity>,
        labels: &LabelMap,
    ) -> PodTerms {
        let (affinity, anti) = (affinity.unwrap_or_default(), anti.unwrap_or_default());
        let required = |terms: Option<Vec<wire::PodAffinityTerm>>| {
            terms.into_iter().flatten().map(|t| PodTerm::of(t, labels)).collect()
        };
        let preferred = |terms: Option<Vec<wire::WeightedPodAffinityTerm>>, sign: i64| {
            terms
                .into_iter()
                .flatten()
                .map(move |t| (sign * weight(t.weight), PodTerm::of(t.pod_affinity_term, labels)))
        };
        PodTerms {
            affinity: required(affinity.required),
            anti_affinity: required(anti.required),
            preferred: preferred(affinity.preferred, 1).chain(preferred(anti.preferred, -1)).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.affinity.is_empty() && self.anti_affinity.is_empty() && self.preferred.is_empty()
    }
}

impl PodTerm {
    fn of(term: wire::PodAffinityTerm, labels: &LabelMap) -> PodTerm {
        let mut selector = PodSelector::of(term.label_selector.as_ref());
        selector.narrow(term.match_label_keys.as_deref().unwrap_or_default(), labels, Operator::In);
        selector.narrow(term.mismatch_label_keys.as_deref().unwrap_or_default(), labels, Operator::NotIn);
        PodTerm {
            topology_key: term.topology_key.into(),
            selector,
            namespaces: term.namespaces.into_iter().flatten().map(Into::into).collect(),
            namespace_selector: term.namespace_selector.as_ref().map(|s| PodSelector::of(Some(s))),
        }
    }

    /// Whether it means the pod's own namespace alone.
    pub fn own_namespace_only(&self) -> bool {
        self.namespaces.is_empty() && self.namespace_selector.is_none()
    }
}

/// A label selector as it stands in an object. A missing one, and one that cannot be read, matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSelector(Option<LabelSelector>);

impl PodSelector {
    pub fn of(selector: Option<&Value>) -> PodSelector {
        PodSelector(selector.filter(|s| s.is_object()).and_then(|s| LabelSelector::from_value(s).ok()))
    }

    /// Equality with every one of some labels; nothing for no labels.
    pub fn of_labels(labels: &LabelMap) -> PodSelector {
        let mut selector = PodSelector(Some(LabelSelector::default()));
        let keys: Vec<String> = labels.keys().cloned().collect();
        selector.narrow(&keys, labels, Operator::In);
        selector
    }

    pub fn matches(&self, labels: &LabelMap) -> bool {
        self.0.as_ref().is_some_and(|s| s.matches(labels))
    }

    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(LabelSelector::is_empty)
    }

    /// Also asks what `other` asks.
    pub fn and(&mut self, other: &PodSelector) {
        match (&mut self.0, &other.0) {
            (Some(own), Some(more)) => own.requirements.extend(more.requirements.iter().cloned()),
            (own, _) => *own = None,
        }
    }

    /// Asks for (or against) the value that `labels` have under each key; keys that they lack ask nothing.
    fn narrow(&mut self, keys: &[String], labels: &LabelMap, operator: Operator) {
        let Some(selector) = &mut self.0 else { return };
        for key in keys {
            if let Some(value) = labels.get(key) {
                let requirement = Requirement { key: key.clone(), operator, values: vec![value.clone()] };
                if !selector.requirements.contains(&requirement) {
                    selector.requirements.push(requirement);
                }
            }
        }
    }
}

impl std::hash::Hash for PodSelector {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for requirement in self.0.iter().flat_map(|s| &s.requirements) {
            requirement.key.hash(state);
            requirement.values.hash(state);
        }
    }
}

/// How pods like this one are to be spread over the values of a node label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpreadConstraint {
    pub topology_key: Box<str>,
    pub max_skew: i64,
    pub min_domains: usize,
    /// `DoNotSchedule`; else a wish.
    pub hard: bool,
    pub selector: PodSelector,
    /// Nodes that the pod's node affinity excludes are not counted.
    pub honor_affinity: bool,
    /// Nodes whose taints the pod does not tolerate are not counted.
    pub honor_taints: bool,
}

impl SpreadConstraint {
    pub(super) fn of(constraint: wire::SpreadConstraint, labels: &LabelMap) -> SpreadConstraint {
        let mut selector = PodSelector::of(constraint.label_selector.as_ref());
        selector.narrow(constraint.match_label_keys.as_deref().unwrap_or_default(), labels, Operator::In);
        SpreadConstraint {
            topology_key: constraint.topology_key.into(),
            max_skew: constraint.max_skew.clamp(1, i32::MAX.into()),
            min_domains: constraint.min_domains.and_then(|d| d.try_into().ok()).unwrap_or(1),
            hard: constraint.when_unsatisfiable == "DoNotSchedule",
            selector,
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }
}
