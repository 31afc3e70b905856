//! The rules that pods set for their own place, looked at once all pods are placed: node selectors, required affinity and
//! anti-affinity, and spread. Selectors are read as far as the workloads use them: by `matchLabels`.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A placed pod, and the labels of its node.
struct Placed<'a> {
    pod: &'a Value,
    node: &'a Value,
}

/// A sentence per pod that stands where it must not.
pub fn broken(nodes: &[Value], pods: &[Value]) -> Vec<String> {
    let labels: BTreeMap<&str, &Value> =
        nodes.iter().filter_map(|n| Some((n["metadata"]["name"].as_str()?, &n["metadata"]["labels"]))).collect();
    let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let placed = pods.iter().filter(|pod| !ended(pod));
    let placed: Vec<Placed> =
        placed.filter_map(|pod| Some(Placed { pod, node: labels.get(pod["spec"]["nodeName"].as_str()?)? })).collect();
    let domains = domains(&placed);
    let mut found: Vec<String> = placed.iter().filter_map(|p| misplaced(p, &placed, &domains)).collect();
    found.extend(uneven(nodes, &placed));
    found
}

/// The pods of each topology that some pod names, by its values.
fn domains<'a>(placed: &[Placed<'a>]) -> BTreeMap<(&'a str, &'a str), Vec<usize>> {
    let terms = placed.iter().flat_map(|p| terms(p.pod, "podAntiAffinity").chain(terms(p.pod, "podAffinity")));
    let keys: BTreeSet<&str> = terms.filter_map(|term| term["topologyKey"].as_str()).collect();
    let mut domains: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (at, p) in placed.iter().enumerate() {
        for &key in &keys {
            if let Some(value) = p.node[key].as_str() {
                domains.entry((key, value)).or_default().push(at);
            }
        }
    }
    domains
}

fn misplaced(p: &Placed, all: &[Placed], domains: &BTreeMap<(&str, &str), Vec<usize>>) -> Option<String> {
    let name = &p.pod["metadata"]["name"];
    let wanted = p.pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    if let Some((key, _)) = wanted.into_iter().find(|(key, value)| p.node[key.as_str()] != **value) {
        return Some(format!("{name} is on a node without its label {key}"));
    }
    let near = |term: &Value| -> Vec<&Placed> {
        let domain = term["topologyKey"].as_str().and_then(|key| Some((key, p.node[key].as_str()?)));
        let there = domain.and_then(|domain| domains.get(&domain)).into_iter().flatten();
        there.map(|&at| &all[at]).filter(|other| means(term, p.pod, other.pod)).collect()
    };
    for term in terms(p.pod, "podAntiAffinity") {
        if near(term).iter().any(|other| other.pod["metadata"]["uid"] != p.pod["metadata"]["uid"]) {
            return Some(format!("{name} is beside a pod that it avoids"));
        }
    }
    let lonely = terms(p.pod, "podAffinity").any(|term| near(term).is_empty());
    lonely.then(|| format!("{name} is away from all pods that it must be near to"))
}

fn terms<'a>(pod: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    let required = &pod["spec"]["affinity"][kind]["requiredDuringSchedulingIgnoredDuringExecution"];
    required.as_array().into_iter().flatten()
}

/// Whether a term of one pod means another. Any namespace selector means all namespaces.
fn means(term: &Value, pod: &Value, other: &Value) -> bool {
    let namespace = &other["metadata"]["namespace"];
    let listed = term["namespaces"].as_array().is_some_and(|names| names.contains(namespace));
    let own = term["namespaces"].is_null() && *namespace == pod["metadata"]["namespace"];
    (listed || own || !term["namespaceSelector"].is_null()) && matches(&term["labelSelector"], other)
}

fn matches(selector: &Value, pod: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object().into_iter().flatten();
    wanted.into_iter().all(|(key, value)| pod["metadata"]["labels"][key.as_str()] == *value)
}

/// A sentence per constraint whose skew is too large in the end, as far as pods have only come.
fn uneven(nodes: &[Value], placed: &[Placed]) -> Vec<String> {
    let hard = |c: &&Value| c["whenUnsatisfiable"] == "DoNotSchedule";
    let constraints =
        placed.iter().flat_map(|p| p.pod["spec"]["topologySpreadConstraints"].as_array().into_iter().flatten());
    let distinct: BTreeMap<String, &Value> = constraints.filter(hard).map(|c| (c.to_string(), c)).collect();
    let mut found = Vec::new();
    for constraint in distinct.values() {
        let Some(key) = constraint["topologyKey"].as_str() else { continue };
        let mut counts: BTreeMap<&str, i64> =
            nodes.iter().filter_map(|node| Some((node["metadata"]["labels"][key].as_str()?, 0))).collect();
        for p in placed.iter().filter(|p| matches(&constraint["labelSelector"], p.pod)) {
            if let Some(count) = p.node[key].as_str().and_then(|value| counts.get_mut(value)) {
                *count += 1;
            }
        }
        let skew = counts.values().max().zip(counts.values().min()).map_or(0, |(most, least)| most - least);
        if skew > constraint["maxSkew"].as_i64().unwrap_or(1) {
            found.push(format!("pods are spread over {key} with a skew of {skew}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, spec: Value) -> Value {
        let mut pod = json!({
            "metadata": {"name": name, "uid": name, "namespace": "default", "labels": {"app": "x"}}, "spec": spec,
        });
        pod["spec"]["nodeName"] = json!(node);
        pod
    }

    #[test]
    fn what_stands_where_it_must_not_is_named() {
        let node = |name: &str, zone: &str| json!({"metadata": {"name": name, "labels": {"zone": zone, "host": name}}});
        let nodes = [node("a", "1"), node("b", "1"), node("c", "2")];
        let term = json!([{"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone"}]);
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": term});
        let apart = || json!({"affinity": {"podAntiAffinity": required}});
        let selects = json!({"nodeSelector": {"zone": "2"}});
        let even = json!({"topologySpreadConstraints": [{
            "labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone", "maxSkew": 1,
            "whenUnsatisfiable": "DoNotSchedule",
        }]});
        let broken = |pods: &[Value]| broken(&nodes, pods).len();
        assert_eq!(broken(&[pod("p", "a", apart()), pod("q", "c", apart())]), 0);
        assert_eq!(broken(&[pod("p", "a", apart()), pod("q", "b", apart())]), 2);
        assert_eq!(broken(&[pod("p", "a", selects.clone()), pod("q", "c", selects)]), 1);
        assert_eq!(broken(&[pod("p", "a", even.clone()), pod("q", "b", even.clone())]), 1);
        assert_eq!(broken(&[pod("p", "a", even.clone()), pod("q", "c", even)]), 0);
    }
}
