//! The rules of level restricted: what a pod must say to run with as few rights as it can.

use super::checks::has_own_users;
use super::{Check, Level, Pod, Violation, containers, names_of, of_containers, quoted, setters, violation};
use crate::value::{int, list, members, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// From this minor version on, Windows pods are left out of what makes no sense there.
const WINDOWS_SINCE: u32 = 25;

const VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

const fn restricted(
    id: &'static str,
    since: u32,
    overrides: Option<&'static str>,
    run: fn(&Pod) -> Option<Violation>,
) -> Check {
    Check { id, level: Level::Restricted, since, overrides, run }
}

pub(super) static RESTRICTED: &[Check] = &[
    restricted("allowPrivilegeEscalation", 8, None, privilege_escalation),
    restricted("capabilities_restricted", 22, Some("capabilities_baseline"), capabilities),
    restricted("restrictedVolumes", 0, Some("hostPathVolumes"), volumes),
    restricted("runAsNonRoot", 0, None, run_as_non_root),
    restricted("runAsUser", 23, None, run_as_user),
    restricted("seccompProfile_restricted", 19, Some("seccompProfile_baseline"), seccomp),
];

fn is_windows(pod: &Pod) -> bool {
    pod.minor >= WINDOWS_SINCE && pod.spec["os"]["name"] == "windows"
}

fn privilege_escalation(pod: &Pod) -> Option<Violation> {
    if is_windows(pod) {
        return None;
    }
    let bad = names_of(pod.spec, |container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", of_containers(&bad));
    violation("allowPrivilegeEscalation != false", detail)
}

fn capabilities(pod: &Pod) -> Option<Violation> {
    if is_windows(pod) {
        return None;
    }
    let set = |container: &Value, field: &str| -> Vec<String> {
        list(&container["securityContext"]["capabilities"][field]).iter().map(|c| text(c).to_owned()).collect()
    };
    let added = |container: &Value| -> Vec<String> {
        set(container, "add").into_iter().filter(|capability| capability != "NET_BIND_SERVICE").collect()
    };
    let missing = names_of(pod.spec, |container| !set(container, "drop").iter().any(|dropped| dropped == "ALL"));
    let adding = names_of(pod.spec, |container| !added(container).is_empty());
    let mut told = Vec::new();
    if !missing.is_empty() {
        told.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", of_containers(&missing)));
    }
    if !adding.is_empty() {
        let all: BTreeSet<String> = containers(pod.spec).flat_map(added).collect();
        let all: Vec<String> = all.into_iter().collect();
        let who = of_containers(&adding);
        told.push(format!("{who} must not include {} in securityContext.capabilities.add", quoted(&all)));
    }
    if told.is_empty() { None } else { violation("unrestricted capabilities", told.join("; ")) }
}

fn volumes(pod: &Pod) -> Option<Violation> {
    let source =
        |volume: &Value| members(volume).find(|(field, _)| *field != "name").map(|(field, _)| field.to_owned());
    let refused = list(&pod.spec["volumes"]).iter().filter_map(|volume| {
        let source = source(volume).unwrap_or_else(|| "unknown".to_owned());
        (!VOLUMES.contains(&source.as_str())).then(|| (text(&volume["name"]), source))
    });
    let (names, kinds): (Vec<&str>, BTreeSet<String>) = refused.unzip();
    if names.is_empty() {
        return None;
    }
    let kinds: Vec<String> = kinds.into_iter().collect();
    let uses = if names.len() == 1 { "uses" } else { "use" };
    let what = if kinds.len() == 1 { "restricted volume type" } else { "restricted volume types" };
    let who = super::named(&names, "volume", "volumes");
    violation("restricted volume types", format!("{who} {uses} {what} {}", quoted(&kinds)))
}

fn run_as_non_root(pod: &Pod) -> Option<Violation> {
    if has_own_users(pod) {
        return None;
    }
    let says = |holder: &Value| holder["securityContext"]["runAsNonRoot"].as_bool();
    let who = setters(says(pod.spec) == Some(false), &names_of(pod.spec, |c| says(c) == Some(false)));
    let reason = "runAsNonRoot != true";
    if !who.is_empty() {
        return violation(reason, format!("{} must not set securityContext.runAsNonRoot=false", who.join(" and ")));
    }
    if says(pod.spec) == Some(true) {
        return None;
    }
    let silent = names_of(pod.spec, |container| says(container).is_none());
    if silent.is_empty() {
        return None;
    }
    violation(reason, format!("pod or {} must set securityContext.runAsNonRoot=true", of_containers(&silent)))
}

fn run_as_user(pod: &Pod) -> Option<Violation> {
    if has_own_users(pod) {
        return None;
    }
    let bad = |holder: &Value| int(&holder["securityContext"]["runAsUser"]) == Some(0);
    let who = setters(bad(pod.spec), &names_of(pod.spec, bad));
    if who.is_empty() {
        None
    } else {
        violation("runAsUser=0", format!("{} must not set runAsUser=0", who.join(" and ")))
    }
}

fn seccomp(pod: &Pod) -> Option<Violation> {
    if is_windows(pod) {
        return None;
    }
    let kind = |holder: &Value| text(&holder["securityContext"]["seccompProfile"]["type"]).to_owned();
    let good = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let bad = |holder: &Value| !kind(holder).is_empty() && !good(&kind(holder));
    let who = setters(bad(pod.spec), &names_of(pod.spec, bad));
    if !who.is_empty() {
        let kinds: BTreeSet<String> = containers(pod.spec).chain([pod.spec]).filter(|h| bad(h)).map(kind).collect();
        let kinds: Vec<String> = kinds.into_iter().collect();
        let detail =
            format!("{} must not set securityContext.seccompProfile.type to {}", who.join(" and "), quoted(&kinds));
        return violation("seccompProfile", detail);
    }
    if good(&kind(pod.spec)) {
        return None;
    }
    let silent = names_of(pod.spec, |container| kind(container).is_empty());
    if silent.is_empty() {
        return None;
    }
    let who = of_containers(&silent);
    let must = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
    violation("seccompProfile", format!("pod or {who} {must}"))
}
