//! Which nodes the pods of a daemon set belong on: by name, labels, affinity and taints. Pure.

use crate::controllers::taint_eviction::tolerates;
use crate::view::{Node, Toleration};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What every pod of a daemon set tolerates: it is to run where others are not, or no longer.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// One that brings its own network need not wait for the node's.
const TOLERATED_WITH_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// Whether a pod belongs on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    Runs,
    /// None is put there, and one that is there stays.
    Stays,
    No,
}

/// What of a pod template says where its pods belong.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    node_selector: Option<BTreeMap<String, String>>,
    affinity: Option<Affinity>,
    tolerations: Option<Vec<Toleration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Affinity {
    node_affinity: Option<NodeAffinity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeAffinity {
    required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeSelector {
    node_selector_terms: Vec<Term>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Term {
    match_expressions: Option<Vec<Requirement>>,
    match_fields: Option<Vec<Requirement>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

/// Where the pods of one template belong.
#[derive(Debug)]
pub struct Place {
    spec: Spec,
}

impl Place {
    /// Of a pod template.
    pub fn of(template: &Value) -> Place {
        let spec = &template["spec"];
        let mut parsed: Spec = serde_json::from_value(spec.clone()).unwrap_or_default();
        let tolerations = with_tolerations(spec);
        parsed.tolerations = serde_json::from_value(tolerations).unwrap_or_default();
        Place { spec: parsed }
    }

    pub fn fit(&self, node: &Node) -> Fit {
        if !self.selects(node) {
            return Fit::No;
        }
        let tolerations = self.spec.tolerations.as_deref().unwrap_or_default();
        let keeps_off = |effects: &[&str]| {
            let mut taints = node.spec.taints.iter().filter(|t| effects.contains(&t.effect.as_str()));
            taints.any(|taint| !tolerations.iter().any(|t| tolerates(t, taint)))
        };
        match () {
            () if keeps_off(&["NoExecute"]) => Fit::No,
            () if keeps_off(&["NoSchedule"]) => Fit::Stays,
            () => Fit::Runs,
        }
    }

    fn selects(&self, node: &Node) -> bool {
        let Spec { node_name, node_selector, affinity, .. } = &self.spec;
        let named = node_name.as_deref().is_none_or(|name| name.is_empty() || name == node.metadata.name);
        let labels = &node.metadata.labels;
        let selected = node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
        let required = affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
        let required = required.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        named && selected && required.is_none_or(|r| r.node_selector_terms.iter().any(|term| term.matches(node)))
    }
}

impl Term {
    /// One that asks for nothing matches nothing.
    fn matches(&self, node: &Node) -> bool {
        let expressions = self.match_expressions.as_deref().unwrap_or_default();
        let fields = self.match_fields.as_deref().unwrap_or_default();
        let field = |r: &Requirement| (r.key == "metadata.name").then_some(node.metadata.name.as_str());
        (!expressions.is_empty() || !fields.is_empty())
            && expressions.iter().all(|r| r.holds(node.metadata.labels.get(&r.key).map(String::as_str)))
            && fields.iter().all(|r| r.holds(field(r)))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let values = self.values.as_deref().unwrap_or_default();
        let is_in = value.is_some_and(|v| values.iter().any(|one| one == v));
        let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
        match self.operator.as_str() {
            "In" => is_in,
            "NotIn" => !is_in,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => numbers().is_some_and(|(has, bound)| has > bound),
            "Lt" => numbers().is_some_and(|(has, bound)| has < bound),
            _ => false,
        }
    }
}

/// The tolerations of the pods of a template: its own, and what every daemon tolerates.
pub fn with_tolerations(spec: &Value) -> Value {
    let mut all = spec["tolerations"].as_array().cloned().unwrap_or_default();
    let host = (spec["hostNetwork"] == true).then_some(TOLERATED_WITH_HOST_NETWORK);
    for (key, effect) in TOLERATED.into_iter().chain(host) {
        let wanted = json!({"key": key, "operator": "Exists", "effect": effect});
        let same = |t: &Value| {
            let has_value = t["value"].as_str().is_some_and(|v| !v.is_empty());
            t["key"] == key && t["effect"] == effect && t["operator"] == "Exists" && !has_value
        };
        match all.iter_mut().find(|t| same(t)) {
            Some(own) => *own = wanted,
            None => all.push(wanted),
        }
    }
    Value::Array(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    fn node(labels: Value, taints: Value) -> Node {
        from_value(json!({"metadata": {"name": "n1", "labels": labels}, "spec": {"taints": taints}})).expect("a node")
    }

    #[track_caller]
    fn check(spec: Value, labels: Value, taints: Value, expected: Fit) {
        let fit = Place::of(&json!({"spec": spec})).fit(&node(labels, taints));
        assert_eq!(fit, expected, "{spec}");
    }

    #[test]
    fn daemons_run_where_labels_affinity_and_taints_let_them() {
        let none = json!([]);
        let required = |terms: Value| {
            json!({"affinity": {"nodeAffinity":
                {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
        };
        let expression = |operator: &str, values: Value| {
            required(json!([{"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}]))
        };
        check(json!({}), json!({}), none.clone(), Fit::Runs);
        check(json!({"nodeName": "n2"}), json!({}), none.clone(), Fit::No);
        check(json!({"nodeSelector": {"a": "b"}}), json!({"a": "b"}), none.clone(), Fit::Runs);
        check(json!({"nodeSelector": {"a": "b"}}), json!({"a": "c"}), none.clone(), Fit::No);
        for (operator, values, with_5, without) in [
            ("In", json!(["5", "6"]), Fit::Runs, Fit::No),
            ("NotIn", json!(["5"]), Fit::No, Fit::Runs),
            ("Exists", Value::Null, Fit::Runs, Fit::No),
            ("DoesNotExist", Value::Null, Fit::No, Fit::Runs),
            ("Gt", json!(["4"]), Fit::Runs, Fit::No),
            ("Lt", json!(["5"]), Fit::No, Fit::No),
        ] {
            check(expression(operator, values.clone()), json!({"a": "5"}), none.clone(), with_5);
            check(expression(operator, values), json!({}), none.clone(), without);
        }
        let by_name = |name: &str| {
            required(json!([{}, {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]))
        };
        check(by_name("n1"), json!({}), none.clone(), Fit::Runs);
        check(by_name("n2"), json!({}), none, Fit::No);
        let taint = |effect: &str| json!([{"key": "x", "effect": effect}]);
        check(json!({}), json!({}), taint("NoSchedule"), Fit::Stays);
        check(json!({}), json!({}), taint("NoExecute"), Fit::No);
        check(json!({}), json!({}), taint("PreferNoSchedule"), Fit::Runs);
        check(json!({"tolerations": [{"operator": "Exists"}]}), json!({}), taint("NoExecute"), Fit::Runs);
        let cordoned = json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
        check(json!({}), json!({}), cordoned, Fit::Runs);
        let no_network = json!([{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}]);
        check(json!({}), json!({}), no_network.clone(), Fit::Stays);
        check(json!({"hostNetwork": true}), json!({}), no_network, Fit::Runs);
    }
}
