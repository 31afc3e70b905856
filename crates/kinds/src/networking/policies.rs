//! Network policies.

use super::SPEC;
use crate::addresses::{cidr, cidr_warning, parse_cidr, strictly_holds};
use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::names;
use crate::print::selector;
use crate::selectors::label_selector;
use crate::table::{AGE, NAME, age, column};
use crate::value::{default, int, is_empty, list, list_mut, text};
use crate::{Revalidation, Strategy};
use serde_json::{Value, json};

/// The lists of rules, and what a rule calls the other side.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

pub(crate) static NETWORK_POLICIES: Strategy = Strategy {
    defaults,
    validate: |policy| Causes::of(|causes| validate(&policy["spec"], causes)),
    warnings: |policy, _| warnings(&policy["spec"]),
    update_revalidates: Revalidation::Twice,
    generation: Some(spec_changed),
    columns: &[NAME, column("Pod-Selector", "io.k8s.api.networking.v1.NetworkPolicySpec", "podSelector"), AGE],
    row: |policy, now| {
        vec![policy["metadata"]["name"].clone(), selector(&policy["spec"]["podSelector"]), age(policy, now)]
    },
    ..Strategy::PLAIN
};

fn defaults(policy: &mut Value) {
    let Some(spec) = policy.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    for (direction, _) in DIRECTIONS {
        for rule in list_mut(spec, direction) {
            list_mut(rule, "ports").for_each(|port| default(port, "protocol", "TCP"));
        }
    }
    if is_empty(&spec["policyTypes"]) {
        let types = if is_empty(&spec["egress"]) { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
        spec["policyTypes"] = types;
    }
}

fn validate(spec: &Value, causes: &mut Causes) {
    label_selector(&spec["podSelector"], &SPEC.child("podSelector"), causes);
    for (direction, other_side) in DIRECTIONS {
        let rules = SPEC.child(direction);
        for (i, rule) in list(&spec[direction]).iter().enumerate() {
            let at = rules.index(i);
            let ports = at.child("ports");
            for (i, port) in list(&rule["ports"]).iter().enumerate() {
                validate_port(port, &ports.index(i), causes);
            }
            let peers = at.child(other_side);
            for (i, peer) in list(&rule[other_side]).iter().enumerate() {
                validate_peer(peer, &peers.index(i), causes);
            }
        }
    }
    let (types, at) = (list(&spec["policyTypes"]), SPEC.child("policyTypes"));
    if types.len() > DIRECTIONS.len() {
        return causes.invalid(&at, types, "may not specify more than two policyTypes");
    }
    for (i, kind) in types.iter().enumerate() {
        causes.one_of(&at.index(i), kind, &["Ingress", "Egress"]);
    }
}

fn validate_port(port: &Value, at: &Path, causes: &mut Causes) {
    if port["protocol"].is_string() {
        causes.one_of(&at.child("protocol"), &port["protocol"], &["TCP", "UDP", "SCTP"]);
    }
    let (first_at, end_at) = (at.child("port"), at.child("endPort"));
    let end = int(&port["endPort"]);
    match (&port["port"], end) {
        (Value::Null, Some(end)) => causes.invalid(&end_at, end, "may not be specified when `port` is not specified"),
        (Value::Null, None) => {}
        (Value::String(name), _) => {
            if let Some(end) = end {
                causes.invalid(&end_at, end, "may not be specified when `port` is non-numeric");
            }
            causes.each_invalid(&first_at, name, names::port_name(name));
        }
        (first, _) => {
            let first = int(first).unwrap_or(0);
            names::port(first, &first_at, causes);
            if end.is_some_and(|end| end < first) {
                causes.invalid(&end_at, first, "must be greater than or equal to `port`");
            }
            if let Some(end) = end {
                names::port(end, &end_at, causes);
            }
        }
    }
}

fn validate_peer(peer: &Value, at: &Path, causes: &mut Causes) {
    let selectors = ["podSelector", "namespaceSelector"];
    for field in selectors {
        label_selector(&peer[field], &at.child(field), causes);
    }
    let selects = selectors.iter().any(|field| !peer[*field].is_null());
    let block = &peer["ipBlock"];
    if !block.is_null() {
        validate_block(block, &at.child("ipBlock"), causes);
    }
    if !selects && block.is_null() {
        causes.required(at, "must specify a peer");
    } else if selects && !block.is_null() {
        causes.forbidden(at, "may not specify both ipBlock and another peer");
    }
}

fn validate_block(block: &Value, at: &Path, causes: &mut Causes) {
    let whole = text(&block["cidr"]);
    if whole.is_empty() {
        return causes.required(&at.child("cidr"), "");
    }
    let Some(parsed) = parse_cidr(whole) else {
        return causes.each_invalid(&at.child("cidr"), whole, cidr(whole));
    };
    let at = at.child("except");
    for (i, part) in list(&block["except"]).iter().enumerate() {
        match parse_cidr(text(part)) {
            None => causes.each_invalid(&at.index(i), text(part), cidr(text(part))),
            Some(part) if strictly_holds(parsed, part) => {}
            Some(_) => causes.invalid(&at.index(i), part, "must be a strict subset of `cidr`"),
        }
    }
}

fn warnings(spec: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (direction, other_side) in DIRECTIONS {
        let rules = SPEC.child(direction);
        for (i, rule) in list(&spec[direction]).iter().enumerate() {
            let peers = rules.index(i);
            let peers = peers.child(other_side);
            for (i, peer) in list(&rule[other_side]).iter().enumerate() {
                let block = &peer["ipBlock"];
                let at = peers.index(i);
                let at = at.child("ipBlock");
                warnings.extend(cidr_warning(text(&block["cidr"]), &at.child("cidr")));
                let except = at.child("except");
                let parts = list(&block["except"]).iter().enumerate();
                warnings.extend(parts.filter_map(|(i, part)| cidr_warning(text(part), &except.index(i))));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rule: Value) -> usize {
        Causes::of(|causes| validate(&json!({"ingress": [rule]}), causes)).len()
    }

    #[test]
    fn ports_are_names_numbers_or_ranges_of_numbers() {
        for (port, expected) in [
            (json!({}), 0),
            (json!({"port": 80, "endPort": 90}), 0),
            (json!({"port": 80, "endPort": 79}), 1),
            (json!({"port": "web", "endPort": 79}), 1),
            (json!({"endPort": 79}), 1),
            (json!({"port": 0}), 1),
            (json!({"port": "Bad_"}), 1),
            (json!({"port": 80, "protocol": "X"}), 1),
        ] {
            assert_eq!(faults(json!({"ports": [port]})), expected, "{port}");
        }
    }

    #[test]
    fn a_peer_is_a_block_or_a_selection() {
        for (peer, expected) in [
            (json!({"podSelector": {}}), 0),
            (json!({"podSelector": {}, "namespaceSelector": {}}), 0),
            (json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}), 0),
            (json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8", "x"]}}), 2),
            (json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}), 1),
            (json!({"ipBlock": {}}), 1),
            (json!({}), 1),
        ] {
            assert_eq!(faults(json!({"from": [peer]})), expected, "{peer}");
        }
    }

    #[test]
    fn a_policy_restricts_what_is_sent_only_if_it_says_so() {
        let types = |mut spec: Value| {
            let mut policy = json!({"spec": spec.take()});
            defaults(&mut policy);
            policy["spec"]["policyTypes"].clone()
        };
        assert_eq!(types(json!({})), json!(["Ingress"]));
        assert_eq!(types(json!({"egress": [{}]})), json!(["Ingress", "Egress"]));
        assert_eq!(types(json!({"policyTypes": ["Egress"]})), json!(["Egress"]));
    }

    #[test]
    fn a_block_that_could_be_one_address_is_warned_of() {
        let spec = json!({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}]});
        let [warning] = warnings(&spec).try_into().expect("one warning");
        assert!(warning.starts_with("spec.egress[0].to[0].ipBlock.cidr: CIDR value"), "{warning}");
    }
}
