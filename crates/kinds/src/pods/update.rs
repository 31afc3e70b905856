//! What an update of a pod may change, and what the subresource of its ephemeral containers may.

use super::create::positive_grace;
use super::{SPEC, machines, spec};
use crate::causes::{Causes, Path};
use crate::golang;
use crate::value::{first_by, int, is_empty, keep, list, list_mut, members, remove, text};
use api::Cause;
use serde_json::Value;
use std::collections::HashSet;

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                       `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                       existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                       previously negative)";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

pub(super) fn prepare(new: &mut Value, _old: &Value) {
    positive_grace(new);
}

pub(super) fn validate(new: &Value, old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let (new, old) = (&new["spec"], &old["spec"]);
        for field in ["containers", "initContainers"] {
            if list(&new[field]).len() != list(&old[field]).len() {
                return causes.forbidden(&SPEC.child(field), "pod updates may not add or remove containers");
            }
        }
        if !deadline(&new["activeDeadlineSeconds"], &old["activeDeadlineSeconds"], causes) {
            return;
        }
        tolerations(new, old, causes);
        machines::nics_update(list(&new["nics"]), list(&old["nics"]), &SPEC.child("nics"), causes);
        gates(list(&new["schedulingGates"]), list(&old["schedulingGates"]), causes);
        let mut rest = new.clone();
        for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
            keep(&mut rest, old, field);
        }
        for field in ["containers", "initContainers"] {
            for (container, old) in list_mut(&mut rest, field).zip(list(&old[field])) {
                keep(container, old, "image");
            }
        }
        machines::keep_mutable(&mut rest, old);
        if int(&old["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
            keep(&mut rest, old, "terminationGracePeriodSeconds");
        }
        if !is_empty(&old["schedulingGates"]) {
            gated_selectors(&mut rest, old, causes);
        }
        if &rest != old {
            causes.forbidden(&SPEC, &format!("{MUTABLE}{}", golang::difference("PodSpec", old, &rest)));
        }
    })
}

/// From nothing to something, or to less. Answers whether to go on.
fn deadline(new: &Value, old: &Value, causes: &mut Causes) -> bool {
    let at = SPEC.child("activeDeadlineSeconds");
    match (int(new), int(old)) {
        (Some(new), Some(old)) if old < new => {
            causes.invalid(&at, new, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            causes.invalid(&at, new, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

/// Tolerations may come, and change for how long.
fn tolerations(new: &Value, old: &Value, causes: &mut Causes) {
    let at = SPEC.child("tolerations");
    let timeless = |toleration: &Value| {
        let mut toleration = toleration.clone();
        remove(&mut toleration, "tolerationSeconds");
        toleration
    };
    let kept: HashSet<Value> = list(&new["tolerations"]).iter().map(timeless).collect();
    if !list(&old["tolerations"]).iter().map(timeless).all(|old| kept.contains(&old)) {
        return causes.forbidden(&at, "existing toleration can not be modified except its tolerationSeconds");
    }
    spec::tolerations(list(&new["tolerations"]), &at, causes);
}

/// Scheduling gates may only go.
fn gates(new: &[Value], old: &[Value], causes: &mut Causes) {
    let at = SPEC.child("schedulingGates");
    let before: HashSet<&Value> = old.iter().collect();
    for (i, gate) in new.iter().enumerate().filter(|(_, gate)| !before.contains(gate)) {
        let why = format!("only deletion is allowed, but found new scheduling gate '{}'", text(&gate["name"]));
        causes.forbidden(&at.index(i).child("name"), &why);
    }
}

/// While a pod waits at its gates, the nodes it may go to can become fewer. Afterwards both are as of old in `new`.
fn gated_selectors(new: &mut Value, old: &Value, causes: &mut Causes) {
    let kept = |(key, value): (&str, &Value)| new["nodeSelector"].get(key) == Some(value);
    if new["nodeSelector"] != old["nodeSelector"] && !members(&old["nodeSelector"]).all(kept) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        causes.invalid(&SPEC.child("nodeSelector"), &new["nodeSelector"], why);
    }
    keep(new, old, "nodeSelector");
    let affinity = SPEC.child("affinity");
    let node_affinity = affinity.child("nodeAffinity");
    let required = node_affinity.child(REQUIRED);
    let at = required.child("nodeSelectorTerms");
    let terms = |spec: &Value| list(&spec["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]).to_vec();
    let (new_terms, old_terms) = (terms(new), terms(old));
    if !old_terms.is_empty() {
        node_terms(&new_terms, &old_terms, &at, causes);
    }
    let Some(affinity) = new.get_mut("affinity") else {
        return keep(new, old, "affinity");
    };
    if old["affinity"].is_null() {
        remove(affinity, "nodeAffinity");
        if is_empty(affinity) {
            remove(new, "affinity");
        }
    } else {
        keep(affinity, &old["affinity"], "nodeAffinity");
    }
}

fn node_terms(new: &[Value], old: &[Value], at: &Path, causes: &mut Causes) {
    if new.len() != old.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return causes.invalid(at, new, why);
    }
    for (i, (new, old)) in new.iter().zip(old).enumerate() {
        let starts_as = |field: &str| list(&new[field]).starts_with(list(&old[field]));
        let empty = is_empty(&old["matchExpressions"]) && is_empty(&old["matchFields"]);
        if !["matchExpressions", "matchFields"].into_iter().all(starts_as) || (empty && new != old) {
            causes.invalid(&at.index(i), new, "only additions are allowed (no mutations or deletions)");
        }
    }
}

/// Only the ephemeral containers.
pub(super) fn prepare_ephemeral(new: &mut Value, old: &Value) {
    let containers = new["spec"]["ephemeralContainers"].clone();
    only_spec(new, old);
    if let Some(spec) = new["spec"].as_object_mut().filter(|_| !containers.is_null()) {
        spec.insert("ephemeralContainers".to_owned(), containers);
    }
}

/// Makes everything as of old but what each write brings about itself.
pub(super) fn only_spec(new: &mut Value, old: &Value) {
    let version = new["metadata"]["resourceVersion"].clone();
    let managed = new["metadata"]["managedFields"].clone();
    *new = old.clone();
    for (field, value) in [("resourceVersion", version), ("managedFields", managed)] {
        if !value.is_null() {
            new["metadata"][field] = value;
        }
    }
}

pub(super) fn validate_ephemeral(new: &Value, old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let at = SPEC.child("ephemeralContainers");
        spec::pod_spec(&new["spec"], true, &SPEC, causes);
        let containers = list(&new["spec"]["ephemeralContainers"]);
        let by_name = first_by(containers, |container| text(&container["name"]));
        for old in list(&old["spec"]["ephemeralContainers"]) {
            let name = text(&old["name"]);
            match by_name.get(name) {
                None => causes.forbidden(&at, &format!("existing ephemeral containers {name:?} may not be removed\n")),
                Some(new) if *new != old => {
                    let how = golang::difference("EphemeralContainer", old, new);
                    causes.forbidden(&at, &format!("existing ephemeral containers {name:?} may not be changed{how}"));
                }
                Some(_) => {}
            }
        }
    })
}
