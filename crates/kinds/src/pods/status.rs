//! The status of pods.

use crate::addresses;
use crate::causes::{Causes, Path};
use crate::golang;
use crate::names;
use crate::value::{first_by, int, is_empty, keep, list, remove, set, text};
use api::Cause;
use serde_json::{Value, json};
use std::collections::HashSet;

const STATUS: Path = Path::new("status");

/// `podIP` is the first of `podIPs`; where they differ, `podIP` holds.
pub(super) fn same_addresses(pod: &mut Value) {
    let Some(status) = pod.get_mut("status").filter(|s| s.is_object()) else { return };
    let first = text(&status["podIPs"][0]["ip"]).to_owned();
    match text(&status["podIP"]).to_owned() {
        ip if ip == first => {}
        ip if ip.is_empty() => set(status, "podIP", first),
        ip => set(status, "podIPs", json!([{"ip": ip}])),
    }
}

pub(super) fn prepare(new: &mut Value, old: &Value) {
    if is_empty(&new["status"]["qosClass"]) {
        keep(&mut new["status"], &old["status"], "qosClass");
    }
    if old["metadata"]["deletionTimestamp"].is_null() {
        remove(&mut new["metadata"], "deletionTimestamp");
    }
    // Who reports on a pod does not say whose it is.
    keep(&mut new["metadata"], &old["metadata"], "ownerReferences");
}

pub(super) fn validate(new: &Value, old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let (spec, new, old) = (&new["spec"], &new["status"], &old["status"]);
        let node = text(&new["nominatedNodeName"]);
        if !node.is_empty() {
            causes.each_invalid(&STATUS.child("nominatedNodeName"), node, names::dns_subdomain(node));
        }
        if int(&new["observedGeneration"]).is_some_and(|generation| generation < 0) {
            let at = STATUS.child("observedGeneration");
            causes.invalid(&at, &new["observedGeneration"], "must be a non-negative integer");
        }
        for field in ["containerStatuses", "initContainerStatuses"] {
            ended(spec, list(&new[field]), list(&old[field]), &STATUS.child(field), causes);
        }
        for field in ["podIPs", "hostIPs"] {
            addresses(&new[field], &STATUS.child(field), causes);
        }
        conditions(list(&new["conditions"]), causes);
        if !is_empty(&old["qosClass"]) && new["qosClass"] != old["qosClass"] {
            causes.immutable(&STATUS.child("qosClass"), &new["qosClass"]);
        }
    })
}

/// A container that has ended and will not be restarted stays so.
fn ended(spec: &Value, new: &[Value], old: &[Value], at: &Path, causes: &mut Causes) {
    if spec["restartPolicy"] == "Always" {
        return;
    }
    let before = first_by(old, |status| &status["name"]);
    let restarting = restarting_by_themselves(spec);
    for (i, new) in new.iter().enumerate().filter(|(_, new)| new["state"]["terminated"].is_null()) {
        let Some(old) = before.get(&new["name"]) else { continue };
        let failed = int(&old["state"]["terminated"]["exitCode"]).unwrap_or(0) != 0;
        let restarts = spec["restartPolicy"] == "OnFailure" && failed;
        let restarts = restarts || restarting.contains(text(&new["name"]));
        if !old["state"]["terminated"].is_null() && !restarts {
            causes.forbidden(&at.index(i).child("state"), "may not be transitioned to non-terminated state");
        }
    }
}

/// Sidecars, and containers with a policy of their own.
fn restarting_by_themselves(spec: &Value) -> HashSet<&str> {
    let containers = ["containers", "initContainers"].into_iter().flat_map(|field| list(&spec[field]));
    let restarts = |container: &&Value| !matches!(text(&container["restartPolicy"]), "" | "Never");
    containers.filter(restarts).map(|container| text(&container["name"])).collect()
}

fn addresses(addresses: &Value, at: &Path, causes: &mut Causes) {
    let mut families = Vec::new();
    for (i, address) in list(addresses).iter().enumerate() {
        let ip = text(&address["ip"]);
        causes.each_invalid(&at.index(i), ip, addresses::ip(ip));
        families.extend(addresses::parse_ip(ip).map(|ip| ip.is_ipv4()));
    }
    let four = families.iter().filter(|is_ipv4| **is_ipv4).count();
    if four > 1 || families.len() - four > 1 {
        causes.invalid(at, golang::shown("PodIP", addresses), "may specify no more than one IP for each IP family");
    }
}

fn conditions(conditions: &[Value], causes: &mut Causes) {
    let at = STATUS.child("conditions");
    for (i, condition) in conditions.iter().enumerate() {
        if int(&condition["observedGeneration"]).is_some_and(|generation| generation < 0) {
            let at = at.index(i);
            let generation = &condition["observedGeneration"];
            causes.invalid(&at.child("observedGeneration"), generation, "must be a non-negative integer");
        }
    }
}
