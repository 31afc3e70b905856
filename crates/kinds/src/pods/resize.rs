//! The subresource that changes the resources of a running pod.

use super::update::only_spec;
use super::{SPEC, qos, spec};
use crate::causes::Causes;
use crate::value::{first_by, is_empty, keep, list, list_mut, members, set};
use api::Cause;
use serde_json::Value;

/// Only resources and resize policies of containers.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    let asked = new["spec"].clone();
    only_spec(new, old);
    if let (Some(machine), asked) = (new["spec"].get_mut("virtualMachine"), &asked["virtualMachine"]) {
        keep(machine, asked, "resources");
        keep(machine, asked, "resizePolicy");
    }
    for field in ["containers", "initContainers"].into_iter().filter(|field| !is_empty(&asked[*field])) {
        // Each container of old once: what is asked of it again is refused as it came.
        let mut by_name = first_by(list(&old["spec"][field]), |container| &container["name"]);
        let mut of_old = |asked: &Value| {
            let mut container = by_name.remove(&asked["name"])?.clone();
            keep(&mut container, asked, "resources");
            keep(&mut container, asked, "resizePolicy");
            Some(container)
        };
        let containers: Vec<Value> =
            list(&asked[field]).iter().map(|asked| of_old(asked).unwrap_or_else(|| asked.clone())).collect();
        set(&mut new["spec"], field, containers);
    }
}

pub(super) fn validate(new: &Value, old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let (new, old) = (&new["spec"], &old["spec"]);
        spec::pod_spec(new, true, &SPEC, causes);
        for (field, why) in [
            ("containers", "containers may not be added or removed on resize"),
            ("initContainers", "initContainers may not be added or removed on resize"),
        ] {
            if list(&new[field]).len() != list(&old[field]).len() {
                return causes.forbidden(&SPEC.child(field), why);
            }
        }
        if qos::class(new) != qos::class(old) {
            let why = "Pod QOS Class may not change as a result of resizing";
            causes.invalid(&SPEC, qos::class(old), why);
        }
        removed(new, old, causes);
        let mut rest = new.clone();
        for field in ["containers", "initContainers"] {
            for (container, old) in list_mut(&mut rest, field).zip(list(&old[field])) {
                only_other_resources(container, old);
            }
        }
        if let Some(machine) = rest.get_mut("virtualMachine") {
            only_other_resources(machine, &old["virtualMachine"]);
        }
        keep(&mut rest, old, "workloadInfo");
        if &rest != old && causes.is_empty() {
            causes.forbidden(&SPEC, "only cpu and memory resources are mutable");
        }
    })
}

/// What was limited or requested stays so.
fn removed(new: &Value, old: &Value, causes: &mut Causes) {
    for field in ["containers", "initContainers"] {
        let at = SPEC.child(field);
        for (i, (new, old)) in list(&new[field]).iter().zip(list(&old[field])).enumerate() {
            let at = at.index(i);
            let at = at.child("resources");
            for kind in ["limits", "requests"] {
                let gone = |(name, _): (&str, &Value)| new["resources"][kind].get(name).is_none();
                if members(&old["resources"][kind]).any(gone) {
                    causes.forbidden(&at.child(kind), &format!("resource {kind} cannot be removed"));
                }
            }
        }
    }
}

/// CPU and memory as of old.
fn only_other_resources(container: &mut Value, old: &Value) {
    for kind in ["limits", "requests"] {
        for name in ["cpu", "memory"] {
            let Some(amounts) = container.get_mut("resources").and_then(|r| r.get_mut(kind)) else { continue };
            keep(amounts, &old["resources"][kind], name);
        }
        let empty = is_empty(&container["resources"][kind]);
        if empty && let Some(resources) = container.get_mut("resources") {
            keep(resources, &old["resources"], kind);
        }
    }
}
