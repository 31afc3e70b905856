//! Nodes.

use crate::Strategy;
use crate::addresses;
use crate::causes::{Causes, Path};
use crate::golang;
use crate::names;
use crate::pods::spec::taint_effect;
use crate::print::{joined, or_none};
use crate::resources::amount;
use crate::table::{AGE, Column, NAME, age, column, explained};
use crate::value::{default, is_empty, is_true, keep, list, members, remove, repeats, set, text};
use api::Timestamp;
use serde_json::{Value, json};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const SPEC: Path = Path::new("spec");

pub(crate) static NODES: Strategy = Strategy {
    defaults,
    prepare_update: |new, old| keep(new, old, "status"),
    validate: |node| Causes::of(|causes| validate(node, causes)),
    validate_update: |new, old| Causes::of(|causes| change(&new["spec"], &old["spec"], causes)),
    validate_status: |new, _| Causes::of(|causes| resources(&new["status"], causes)),
    warnings: |node, _| {
        let external = !is_empty(&node["spec"]["externalID"]);
        let why = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
        external.then(|| why.to_owned()).into_iter().collect()
    },
    new_status: None,
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

/// `podCIDR` is the first of `podCIDRs`; a node gives all it has unless it says otherwise.
fn defaults(node: &mut Value) {
    if let Some(spec) = node.get_mut("spec").filter(|spec| spec.is_object()) {
        let first = text(&spec["podCIDRs"][0]).to_owned();
        match text(&spec["podCIDR"]).to_owned() {
            network if network == first => {}
            network if network.is_empty() => set(spec, "podCIDR", first),
            network => set(spec, "podCIDRs", json!([network])),
        }
    }
    if let Some(status) = node.get_mut("status").filter(|status| !is_empty(&status["capacity"])) {
        let capacity = status["capacity"].clone();
        default(status, "allocatable", capacity);
    }
}

fn validate(node: &Value, causes: &mut Causes) {
    taints(list(&node["spec"]["taints"]), &Path::new("metadata").child("taints"), causes);
    let (networks, at) = (list(&node["spec"]["podCIDRs"]), SPEC.child("podCIDRs"));
    let mut families = Vec::new();
    for (i, network) in networks.iter().enumerate() {
        causes.each_invalid(&at.index(i), text(network), addresses::cidr(text(network)));
        families.extend(addresses::parse_cidr(text(network)).map(|(ip, _)| ip.is_ipv4()));
    }
    if families.len() > 1 && (families.len() > 2 || families[0] == families[1]) {
        causes.invalid(&at, networks, "may specify no more than one CIDR for each IP family");
    }
    resources(&node["status"], causes);
}

fn taints(taints: &[Value], at: &Path, causes: &mut Causes) {
    let repeated = repeats(taints.iter().map(|taint| (text(&taint["key"]), &taint["effect"])));
    for (i, taint) in taints.iter().enumerate() {
        let at = at.index(i);
        let (key, value) = (text(&taint["key"]), text(&taint["value"]));
        causes.each_invalid(&at.child("key"), key, names::label_key(key));
        causes.each_invalid(&at.child("value"), value, names::label_value(value));
        match text(&taint["effect"]) {
            "" => causes.required(&at.child("effect"), ""),
            effect => taint_effect(effect, &at.child("effect"), causes),
        }
        if repeated.contains(&i) {
            let why = "taints must be unique by key and effect pair";
            causes.duplicate_because(&at, golang::shown("Taint", taint), why);
        }
    }
}

fn resources(status: &Value, causes: &mut Causes) {
    let at = Path::new("status");
    for field in ["capacity", "allocatable"] {
        let at = at.child(field);
        for (name, value) in members(&status[field]) {
            amount(name, value, &at.child(name), causes);
        }
    }
}

/// What is given to a node once stays.
fn change(new: &Value, old: &Value, causes: &mut Causes) {
    if !is_empty(&old["podCIDRs"]) && new["podCIDRs"] != old["podCIDRs"] {
        causes.forbidden(&SPEC.child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid");
    }
    if !is_empty(&old["providerID"]) && new["providerID"] != old["providerID"] {
        causes.forbidden(&SPEC.child("providerID"), "node updates may not change providerID except from \"\" to valid");
    }
    let rest = |spec: &Value| {
        let mut spec = spec.clone();
        for field in ["podCIDR", "podCIDRs", "providerID", "taints", "unschedulable"] {
            remove(&mut spec, field);
        }
        spec
    };
    if rest(new) != rest(old) {
        causes.forbidden(&Path::new(""), "node updates may only change labels, taints, or capacity");
    }
}

const INFO: &str = "io.k8s.api.core.v1.NodeSystemInfo";
const STATUS: &str = "io.k8s.api.core.v1.NodeStatus";
const COLUMNS: &[Column] = &[
    NAME,
    explained("Status", "The status of the node"),
    explained("Roles", "The roles of the node"),
    AGE,
    column("Version", INFO, "kubeletVersion"),
    column("Internal-IP", STATUS, "addresses").wide(),
    column("External-IP", STATUS, "addresses").wide(),
    column("OS-Image", INFO, "osImage").wide(),
    column("Kernel-Version", INFO, "kernelVersion").wide(),
    column("Container-Runtime", INFO, "containerRuntimeVersion").wide(),
];

fn row(node: &Value, now: Timestamp) -> Vec<Value> {
    let status = &node["status"];
    let info = &status["nodeInfo"];
    let address = |kind: &str| {
        let found = list(&status["addresses"]).iter().find(|address| address["type"] == kind);
        found.map_or(json!("<none>"), |address| address["address"].clone())
    };
    let or_unknown = |value: &Value| if is_empty(value) { json!("<unknown>") } else { value.clone() };
    vec![
        node["metadata"]["name"].clone(),
        json!(conditions(node)),
        json!(roles(node)),
        age(node, now),
        json!(text(&info["kubeletVersion"])),
        address("InternalIP"),
        address("ExternalIP"),
        or_unknown(&info["osImage"]),
        or_unknown(&kernel(info)),
        or_unknown(&info["containerRuntimeVersion"]),
    ]
}

/// The kernel's version, and what it was built for.
fn kernel(info: &Value) -> Value {
    match (text(&info["kernelVersion"]), text(&info["architecture"])) {
        ("", _) => Value::Null,
        (version, "") => json!(version),
        (version, architecture) => json!(format!("{version} ({architecture})")),
    }
}

fn conditions(node: &Value) -> String {
    let ready = list(&node["status"]["conditions"]).iter().find(|condition| condition["type"] == "Ready");
    let ready = ready.map_or("Unknown", |condition| if condition["status"] == "True" { "Ready" } else { "NotReady" });
    if is_true(&node["spec"]["unschedulable"]) { format!("{ready},SchedulingDisabled") } else { ready.to_owned() }
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = members(&node["metadata"]["labels"])
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => Some(text(value)),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    text(&or_none(&json!(joined(roles.into_iter())))).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check;

    #[test]
    fn faults_of_nodes_name_their_field() {
        let of = |node: Value| (NODES.validate)(&node);
        let taint = json!({"key": "k", "effect": "NoSchedule"});
        check(&of(json!({"spec": {"taints": [taint]}})), &[]);
        check(&of(json!({"spec": {"taints": [taint, taint]}})), &["Duplicate metadata.taints[1]"]);
        check(&of(json!({"spec": {"podCIDRs": ["10.0.0.0/24", "10.1.0.0/24"]}})), &["Invalid spec.podCIDRs"]);
        check(&of(json!({"status": {"capacity": {"cpu": "-1"}}})), &["Invalid status.capacity.cpu"]);
    }

    #[test]
    fn what_is_given_to_a_node_stays() {
        let old = json!({"spec": {"podCIDRs": ["10.0.0.0/24"], "providerID": "a"}});
        let of = |spec: Value| (NODES.validate_update)(&json!({"spec": spec}), &old);
        check(&of(json!({"podCIDRs": ["10.0.0.0/24"], "providerID": "a", "unschedulable": true})), &[]);
        check(
            &of(json!({"podCIDRs": ["10.1.0.0/24"], "providerID": "b"})),
            &["Forbidden spec.podCIDRs", "Forbidden spec.providerID"],
        );
    }

    #[test]
    fn a_node_without_word_of_itself_is_unknown() {
        let cells = row(&json!({"metadata": {"name": "n"}}), Timestamp::default());
        let expected = json!([
            "n",
            "Unknown",
            "<none>",
            "<unknown>",
            "",
            "<none>",
            "<none>",
            "<unknown>",
            "<unknown>",
            "<unknown>"
        ]);
        assert_eq!(Value::from(cells), expected);
    }
}
