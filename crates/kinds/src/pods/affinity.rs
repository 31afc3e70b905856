//! Checks of where a pod wants to run: affinity to nodes and to other pods, and spreading.

use crate::causes::{Causes, Path};
use crate::names;
use crate::selectors::{label_selector, node_selector, node_selector_term};
use crate::value::{int, is_empty, list, text};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Affinity to nodes, to pods, and away from pods.
pub(crate) fn affinity(affinity: &Value, at: &Path, causes: &mut Causes) {
    let (nodes, nodes_at) = (&affinity["nodeAffinity"], at.child("nodeAffinity"));
    if !nodes[REQUIRED].is_null() {
        node_selector(&nodes[REQUIRED], &nodes_at.child(REQUIRED), causes);
    }
    let preferred = nodes_at.child(PREFERRED);
    for (i, term) in list(&nodes[PREFERRED]).iter().enumerate() {
        let at = preferred.index(i);
        weight(&term["weight"], &at, causes);
        node_selector_term(&term["preference"], &at.child("preference"), causes);
    }
    for field in ["podAffinity", "podAntiAffinity"] {
        let (pods, at) = (&affinity[field], at.child(field));
        let required = at.child(REQUIRED);
        for (i, term) in list(&pods[REQUIRED]).iter().enumerate() {
            pod_term(term, &required.index(i), causes);
        }
        let preferred = at.child(PREFERRED);
        for (i, term) in list(&pods[PREFERRED]).iter().enumerate() {
            let at = preferred.index(i);
            weight(&term["weight"], &at, causes);
            pod_term(&term["podAffinityTerm"], &at.child("podAffinityTerm"), causes);
        }
    }
}

fn weight(weight: &Value, at: &Path, causes: &mut Causes) {
    let weight = int(weight).unwrap_or(0);
    if !(1..=100).contains(&weight) {
        causes.invalid(&at.child("weight"), weight, "must be in the range 1-100");
    }
}

fn pod_term(term: &Value, at: &Path, causes: &mut Causes) {
    label_selector(&term["labelSelector"], &at.child("labelSelector"), causes);
    label_selector(&term["namespaceSelector"], &at.child("namespaceSelector"), causes);
    for namespace in list(&term["namespaces"]) {
        let name = text(namespace);
        causes.each_invalid(&at.child("namespace"), name, names::dns_label(name));
    }
    topology_key(&term["topologyKey"], &at.child("topologyKey"), causes);
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys(&term[field], &term["labelSelector"], &at.child(field), causes);
    }
    let mismatched: HashSet<&Value> = list(&term["mismatchLabelKeys"]).iter().collect();
    let both = list(&term["matchLabelKeys"]).iter().enumerate();
    for (i, key) in both.filter(|(_, key)| mismatched.contains(key)) {
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        causes.invalid(&at.child("matchLabelKeys").index(i), key, why);
    }
}

fn topology_key(key: &Value, at: &Path, causes: &mut Causes) {
    let key = text(key);
    if key.is_empty() {
        causes.required(at, "can not be empty");
    }
    causes.each_invalid(at, key, names::label_key(key));
}

/// Keys of labels whose values are those of the pod itself.
fn label_keys(keys: &Value, selector: &Value, at: &Path, causes: &mut Causes) {
    if is_empty(keys) {
        return;
    }
    if selector.is_null() {
        causes.forbidden(at, "must not be specified when labelSelector is not set");
    }
    for (i, key) in list(keys).iter().enumerate() {
        causes.each_invalid(&at.index(i), text(key), names::label_key(text(key)));
    }
}

/// Constraints that spread pods over places.
pub(crate) fn spread(constraints: &[Value], at: &Path, causes: &mut Causes) {
    let mut places: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (i, constraint) in constraints.iter().enumerate() {
        let place = (text(&constraint["topologyKey"]), text(&constraint["whenUnsatisfiable"]));
        places.entry(place).or_default().push(i);
    }
    for (i, constraint) in constraints.iter().enumerate() {
        let list_at = at;
        let at = at.index(i);
        let skew = int(&constraint["maxSkew"]).unwrap_or(0);
        if skew <= 0 {
            causes.invalid(&at.child("maxSkew"), skew, "must be greater than zero");
        }
        let (when, topology) = (text(&constraint["whenUnsatisfiable"]), text(&constraint["topologyKey"]));
        match topology {
            "" => causes.required(&at.child("topologyKey"), "can not be empty"),
            key => causes.each_invalid(&at.child("topologyKey"), key, names::label_key(key)),
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        causes.one_of(&at.child("whenUnsatisfiable"), &constraint["whenUnsatisfiable"], &actions);
        if let [first, second, ..] = places[&(topology, when)][..]
            && first == i
        {
            let at = list_at.index(second);
            causes.duplicate(&at.child("{topologyKey, whenUnsatisfiable}"), format!("{{{topology}, {when}}}"));
        }
        if let Some(domains) = int(&constraint["minDomains"]) {
            if domains <= 0 {
                causes.invalid(&at.child("minDomains"), domains, "must be greater than zero");
            }
            if when != "DoNotSchedule" {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                causes.invalid(&at.child("minDomains"), domains, &why);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if !constraint[field].is_null() {
                causes.one_of(&at.child(field), &constraint[field], &["Honor", "Ignore"]);
            }
        }
        label_keys(&constraint["matchLabelKeys"], &constraint["labelSelector"], &at.child("matchLabelKeys"), causes);
        label_selector(&constraint["labelSelector"], &at.child("labelSelector"), causes);
    }
}
