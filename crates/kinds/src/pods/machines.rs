//! Pods that are a virtual machine instead of containers, and the network interfaces that both may name: Arktos' additions.

use super::spec::Context;
use super::volumes;
use crate::addresses;
use crate::causes::{Causes, Path};
use crate::names;
use crate::resources;
use crate::value::{default, first_by, is_empty, keep, list_mut, repeats, set, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Bytes of user data, decoded.
const USER_DATA_MAX: usize = 65_535;
/// The interface that cannot be taken away.
const FIRST_NIC: &str = "eth0";

/// Whether the spec has a virtual machine.
pub(crate) fn is_machine(spec: &Value) -> bool {
    spec["virtualMachine"].is_object()
}

/// What a spec with a virtual machine or with interfaces leaves out.
pub(super) fn defaults(spec: &mut Value) {
    for (i, nic) in list_mut(spec, "nics").enumerate().filter(|(_, nic)| nic.is_object()) {
        default(nic, "name", format!("eth{i}"));
    }
    if !is_machine(spec) {
        return;
    }
    default(spec, "containers", json!([]));
    let first = spec["volumes"][0]["name"].clone();
    let machine = &mut spec["virtualMachine"];
    default(machine, "imagePullPolicy", "IfNotPresent");
    default(machine, "shutdownBehavior", "stop");
    default(machine, "powerSpec", "Running");
    if first.is_string() {
        default(machine, "bootVolume", first);
    }
    let common =
        ["name", "image", "resources", "resourcesAllocated", "resizePolicy", "volumeMounts", "imagePullPolicy"];
    let info =
        common.into_iter().filter(|field| !machine[*field].is_null()).map(|f| (f.to_owned(), machine[f].clone()));
    let info: Value = info.collect::<serde_json::Map<_, _>>().into();
    set(spec, "workloadInfo", json!([info]));
}

/// A virtual machine, and what cannot stand beside it.
pub(super) fn machine(context: &Context, at: &Path, causes: &mut Causes) {
    let machine = &context.spec["virtualMachine"];
    let at = at.child("virtualMachine");
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    if lists.iter().any(|field| !is_empty(&context.spec[*field])) {
        causes.forbidden(&at, "containers and virtualMachine workloads in same pod");
    }
    match text(&machine["name"]) {
        "" => causes.required(&at.child("name"), ""),
        name => causes.each_invalid(&at.child("name"), name, names::dns_label(name)),
    }
    match text(&machine["image"]) {
        "" => causes.required(&at.child("image"), ""),
        image if image.trim() != image && context.is_pod => {
            causes.invalid(&at.child("image"), image, "must not have leading or trailing whitespace");
        }
        _ => {}
    }
    causes.one_of(&at.child("imagePullPolicy"), &machine["imagePullPolicy"], &["Always", "IfNotPresent", "Never"]);
    causes.one_of(&at.child("shutdownBehavior"), &machine["shutdownBehavior"], &["stop", "terminate"]);
    let powers = ["Paused", "Running", "Shutdown", "Suspended"];
    causes.one_of(&at.child("powerSpec"), &machine["powerSpec"], &powers);
    if is_empty(&machine["keyPairName"]) && is_empty(&machine["publicKey"]) {
        causes.required(&at.child("publicKey"), "one of `keyPairName` and `publicKey` must be specified");
    }
    let data = text(&machine["userData"]);
    if STANDARD.decode(data).is_ok_and(|bytes| bytes.len() > USER_DATA_MAX) {
        causes.too_long(&at.child("userData"), USER_DATA_MAX);
    }
    let boot = text(&machine["bootVolume"]);
    if !boot.is_empty() && !context.volumes.contains_key(boot) {
        causes.not_found(&at.child("bootVolume"), boot);
    }
    resources::requirements(&machine["resources"], &context.claims, &at.child("resources"), causes);
    volumes::mounts(context, machine, &at, causes);
}

/// The network interfaces of a pod.
pub(super) fn nics(nics: &[Value], at: &Path, causes: &mut Causes) {
    let repeated = repeats(nics.iter().map(|nic| text(&nic["name"])));
    for (i, nic) in nics.iter().enumerate() {
        let at = at.index(i);
        match text(&nic["name"]) {
            "" => causes.required(&at.child("name"), ""),
            name if repeated.contains(&i) => causes.duplicate(&at.child("name"), name),
            name => causes.each_invalid(&at.child("name"), name, names::dns_label(name)),
        }
        let address = text(&nic["ipAddress"]);
        if !address.is_empty() {
            causes.each_invalid(&at.child("ipAddress"), address, addresses::ip(address));
        }
    }
}

/// What a change of a pod may not do to its interfaces.
pub(super) fn nics_update(new: &[Value], old: &[Value], at: &Path, causes: &mut Causes) {
    let kept: HashSet<&str> = new.iter().map(|nic| text(&nic["name"])).collect();
    if old.iter().any(|nic| nic["name"] == FIRST_NIC) && !kept.contains(FIRST_NIC) {
        causes.forbidden(at, "the interface eth0 cannot be removed");
    }
    let before = first_by(old, |nic| text(&nic["name"]));
    for (i, nic) in new.iter().enumerate() {
        let Some(old) = before.get(text(&nic["name"])) else { continue };
        if !is_empty(&old["portId"]) && nic["portId"] != old["portId"] {
            causes.immutable(&at.index(i).child("portId"), &nic["portId"]);
        }
    }
}

/// Makes of `new` what a change may not change: a machine stays one and keeps its name and its resources, which have a
/// subresource of their own; the rest of it may change, as may interfaces.
pub(super) fn keep_mutable(new: &mut Value, old: &Value) {
    for field in ["nics", "workloadInfo"] {
        keep(new, old, field);
    }
    if !(is_machine(new) && is_machine(old)) {
        return;
    }
    let before = &old["virtualMachine"];
    let mut machine = before.clone();
    for field in ["name", "resources", "resourcesAllocated"] {
        keep(&mut machine, &new["virtualMachine"], field);
    }
    set(new, "virtualMachine", machine);
}

#[cfg(test)]
mod tests {
    use crate::pods::PODS;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
        (PODS.defaults)(&mut pod);
        pod
    }

    fn machine(more: Value) -> Value {
        let mut machine = json!({"name": "vm", "image": "cirros", "publicKey": "ssh-rsa AAAA"});
        for (field, value) in more.as_object().into_iter().flatten() {
            machine[field] = value.clone();
        }
        machine
    }

    #[track_caller]
    fn check(spec: Value, expected: &[&str]) {
        let causes = (PODS.validate)(&pod(spec));
        let found: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_machine_gets_what_it_leaves_out() {
        let pod = pod(json!({"virtualMachine": machine(json!({"resources": {"limits": {"cpu": "2"}}})),
            "volumes": [{"name": "root"}], "nics": [{"portId": "a"}, {"name": "net"}]}));
        let spec = &pod["spec"];
        for (path, expected) in [
            ("/virtualMachine/imagePullPolicy", json!("IfNotPresent")),
            ("/virtualMachine/shutdownBehavior", json!("stop")),
            ("/virtualMachine/powerSpec", json!("Running")),
            ("/virtualMachine/bootVolume", json!("root")),
            ("/virtualMachine/resources/requests/cpu", json!("2")),
            ("/containers", json!([])),
            ("/nics/0/name", json!("eth0")),
            ("/nics/1/name", json!("net")),
            ("/workloadInfo/0/name", json!("vm")),
            ("/workloadInfo/0/image", json!("cirros")),
        ] {
            assert_eq!(spec.pointer(path), Some(&expected), "{path} of {spec}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_machine_is_told() {
        let at = "spec.virtualMachine";
        check(json!({"virtualMachine": machine(json!({}))}), &[]);
        check(
            json!({"virtualMachine": machine(json!({})), "containers": [{"name": "c", "image": "i"}]}),
            &[&format!("{at}: Forbidden: containers and virtualMachine workloads in same pod")],
        );
        check(
            json!({"virtualMachine": {"name": "No", "powerSpec": "Off", "bootVolume": "x"}}),
            &[
                &format!("{at}.name: Invalid value: \"No\": {}", crate::names::dns_label("No")[0]),
                &format!("{at}.image: Required value"),
                &format!(
                    "{at}.powerSpec: Unsupported value: \"Off\": supported values: \"Paused\", \"Running\", \"Shutdown\", \"Suspended\""
                ),
                &format!("{at}.publicKey: Required value: one of `keyPairName` and `publicKey` must be specified"),
                &format!("{at}.bootVolume: Not found: \"x\""),
            ],
        );
        let data = "AAAA".repeat(65_536 / 3 + 1);
        check(
            json!({"virtualMachine": machine(json!({"userData": data}))}),
            &[&format!("{at}.userData: Too long: may not be more than 65535 bytes")],
        );
        check(json!({}), &["spec.containers: Required value"]);
    }

    #[test]
    fn interfaces_have_names_of_their_own_and_addresses() {
        let nics = json!([{"name": "a"}, {"name": "a"}, {"name": "b", "ipAddress": "10.0.0.1"}]);
        let containers = json!([{"name": "c", "image": "i"}]);
        check(json!({"containers": containers, "nics": nics}), &["spec.nics[1].name: Duplicate value: \"a\""]);
    }

    #[test]
    fn a_machine_may_change_but_for_what_it_is() {
        let old = json!({"virtualMachine": machine(json!({})), "nics": [{"name": "eth0", "portId": "p"}]});
        for (path, value, expected) in [
            ("/spec/virtualMachine/powerSpec", json!("Shutdown"), None),
            ("/spec/virtualMachine/image", json!("other"), None),
            ("/spec/nics/0/tag", json!("t"), None),
            ("/spec/nics/0/portId", json!("q"), Some("spec.nics[0].portId")),
            ("/spec/nics", json!([]), Some("spec.nics")),
            ("/spec/virtualMachine/name", json!("other"), Some("spec")),
            ("/spec/virtualMachine/resources", json!({"requests": {"cpu": "1"}}), Some("spec")),
            ("/spec/vpc", json!("other"), Some("spec")),
        ] {
            let old = pod(old.clone());
            let mut new = old.clone();
            let (holder, field) = path.rsplit_once('/').expect("a path");
            new.pointer_mut(holder).expect("a holder")[field] = value;
            (PODS.defaults)(&mut new);
            let causes = (PODS.validate_update)(&new, &old);
            assert_eq!(causes.first().map(|cause| cause.field.as_str()), expected, "{path}: {causes:?}");
        }
    }
}
