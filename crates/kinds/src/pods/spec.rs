//! Checks of pod specs, of pods and of the templates of workloads alike: the spec itself. Containers, volumes, security
//! and affinity have files of their own.

use super::{affinity, containers, machines, security, volumes};
use crate::addresses;
use crate::causes::{Causes, Path};
use crate::generic::{annotations, labels};
use crate::golang;
use crate::names;
use crate::resources;
use crate::value::{int, is_empty, is_true, list, members, repeats, text};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;

/// What the checks of a part of a pod spec need to know of the whole.
pub(crate) struct Context<'a> {
    pub spec: &'a Value,
    /// A pod, and not a template of one.
    pub is_pod: bool,
    /// The volumes that are in order, by name.
    pub volumes: HashMap<&'a str, &'a Value>,
    /// Names of the pod's resource claims.
    pub claims: HashSet<&'a str>,
}

impl Context<'_> {
    /// How long a pod may take to stop.
    pub fn grace_seconds(&self) -> i64 {
        int(&self.spec["terminationGracePeriodSeconds"]).unwrap_or(0)
    }
}

/// A template: the labels and annotations of its pods, and their spec.
pub(crate) fn template(template: &Value, at: &Path, causes: &mut Causes) {
    labels(&template["metadata"]["labels"], &at.child("labels"), causes);
    annotations(&template["metadata"]["annotations"], &at.child("annotations"), causes);
    pod_annotations(template, &at.child("annotations"), causes);
    let spec_at = at.child("spec");
    pod_spec(&template["spec"], false, &spec_at, causes);
    if !is_empty(&template["spec"]["ephemeralContainers"]) {
        causes.forbidden(&spec_at.child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// Annotations that mean something for pods.
pub(crate) fn pod_annotations(pod: &Value, at: &Path, causes: &mut Causes) {
    let annotations = &pod["metadata"]["annotations"];
    if let Some(cost) = annotations["controller.kubernetes.io/pod-deletion-cost"].as_str() {
        let at = at.key("controller.kubernetes.io/pod-deletion-cost");
        if cost.starts_with('+') || (cost.len() > 1 && cost.starts_with('0')) || cost.parse::<i32>().is_err() {
            causes.invalid(&at, cost, "must be a 32bit integer");
        }
    }
    if annotations["kubernetes.io/config.mirror"].is_string() && is_empty(&pod["spec"]["nodeName"]) {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        causes.invalid(&at.key("kubernetes.io/config.mirror"), "", why);
    }
}

/// A pod spec.
pub(crate) fn pod_spec(spec: &Value, is_pod: bool, at: &Path, causes: &mut Causes) {
    let volumes = volumes::volumes(list(&spec["volumes"]), &at.child("volumes"), causes);
    let claims = pod_claims(&spec["resourceClaims"], &at.child("resourceClaims"), causes);
    let context = Context { spec, is_pod, volumes, claims };
    if machines::is_machine(spec) {
        machines::machine(&context, at, causes);
    } else {
        containers::all(&context, at, causes);
    }
    machines::nics(list(&spec["nics"]), &at.child("nics"), causes);
    resources::pod_level(spec, at, causes);
    causes.one_of(&at.child("restartPolicy"), &spec["restartPolicy"], &["Always", "OnFailure", "Never"]);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    causes.one_of(&at.child("dnsPolicy"), &spec["dnsPolicy"], &policies);
    labels(&spec["nodeSelector"], &at.child("nodeSelector"), causes);
    security::pod(&context, at, causes);
    affinity::affinity(&spec["affinity"], &at.child("affinity"), causes);
    dns_config(spec, &at.child("dnsConfig"), causes);
    gates(spec, at, causes);
    affinity::spread(list(&spec["topologySpreadConstraints"]), &at.child("topologySpreadConstraints"), causes);
    names_in_spec(spec, at, causes);
    if let Some(seconds) = int(&spec["activeDeadlineSeconds"]).filter(|s| !(1..=i64::from(i32::MAX)).contains(s)) {
        causes.invalid(&at.child("activeDeadlineSeconds"), seconds, "must be between 1 and 2147483647, inclusive");
    }
    tolerations(list(&spec["tolerations"]), &at.child("tolerations"), causes);
    host_aliases(list(&spec["hostAliases"]), &at.child("hostAliases"), causes);
    if !spec["preemptionPolicy"].is_null() {
        causes.one_of(&at.child("preemptionPolicy"), &spec["preemptionPolicy"], &["PreemptLowerPriority", "Never"]);
    }
    let overhead = at.child("overhead");
    for (name, value) in members(&spec["overhead"]) {
        resources::container_resource_name(name, &overhead.key(name), causes);
        resources::amount(name, value, &overhead.key(name), causes);
    }
    security::operating_system(spec, at, causes);
}

fn names_in_spec(spec: &Value, at: &Path, causes: &mut Causes) {
    for (field, rule) in [
        ("serviceAccountName", names::dns_subdomain as fn(&str) -> names::Problems),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("priorityClassName", names::dns_subdomain),
        ("runtimeClassName", names::dns_subdomain),
    ] {
        let name = text(&spec[field]);
        if !name.is_empty() {
            causes.each_invalid(&at.child(field), name, rule(name));
        }
    }
}

fn pod_claims<'a>(claims: &'a Value, at: &Path, causes: &mut Causes) -> HashSet<&'a str> {
    let mut seen = HashSet::new();
    for (i, claim) in list(claims).iter().enumerate() {
        let at = at.index(i);
        match text(&claim["name"]) {
            "" => causes.required(&at.child("name"), ""),
            name if seen.contains(name) => causes.duplicate(&at.child("name"), name),
            name => {
                causes.each_invalid(&at.child("name"), name, names::dns_label(name));
                seen.insert(name);
            }
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        match sources.iter().filter(|source| !claim[**source].is_null()).count() {
            0 => causes.invalid(
                &at,
                golang::shown("PodResourceClaim", claim),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            1 => {}
            _ => {
                let why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                causes.invalid(&at, golang::shown("PodResourceClaim", claim), why);
            }
        }
        for source in sources {
            if let Some(name) = claim[source].as_str() {
                causes.each_invalid(&at.child(source), name, names::dns_subdomain(name));
            }
        }
    }
    seen
}

fn dns_config(spec: &Value, at: &Path, causes: &mut Causes) {
    let config = &spec["dnsConfig"];
    let none = spec["dnsPolicy"] == "None";
    if config.is_null() {
        if none {
            causes.required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    }
    let nameservers = list(&config["nameservers"]);
    let servers_at = at.child("nameservers");
    if none && nameservers.is_empty() {
        causes.required(&servers_at, "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
    if nameservers.len() > NAMESERVERS_MAX {
        causes.invalid(&servers_at, nameservers, &format!("must not have more than {NAMESERVERS_MAX} nameservers"));
    }
    for (i, server) in nameservers.iter().enumerate() {
        causes.each_invalid(&servers_at.index(i), text(server), addresses::ip(text(server)));
    }
    let searches = list(&config["searches"]);
    let searches_at = at.child("searches");
    if searches.len() > SEARCHES_MAX {
        causes.invalid(&searches_at, searches, &format!("must not have more than {SEARCHES_MAX} search paths"));
    }
    let chars = searches.iter().map(|s| text(s).len() + 1).sum::<usize>().saturating_sub(1);
    if chars > SEARCH_CHARS_MAX {
        let why =
            format!("must not have more than {SEARCH_CHARS_MAX} characters (including spaces) in the search list");
        causes.invalid(&searches_at, searches, &why);
    }
    for (i, search) in searches.iter().enumerate().filter(|(_, s)| *s != ".") {
        let domain = text(search).strip_suffix('.').unwrap_or(text(search));
        causes.each_invalid(&searches_at.index(i), text(search), names::dns_search(domain));
    }
    let options_at = at.child("options");
    for (i, option) in list(&config["options"]).iter().enumerate() {
        if is_empty(&option["name"]) {
            causes.required(&options_at.index(i), "must not be empty");
        }
    }
}

/// Readiness gates and scheduling gates.
fn gates(spec: &Value, at: &Path, causes: &mut Causes) {
    let readiness = at.child("readinessGates");
    for (i, gate) in list(&spec["readinessGates"]).iter().enumerate() {
        let condition = text(&gate["conditionType"]);
        causes.each_invalid(&readiness.index(i).child("conditionType"), condition, names::qualified_name(condition));
    }
    let scheduling = at.child("schedulingGates");
    let gates = list(&spec["schedulingGates"]);
    let repeated = repeats(gates.iter().map(|gate| text(&gate["name"])));
    for (i, gate) in gates.iter().enumerate() {
        let name = text(&gate["name"]);
        causes.each_invalid(&scheduling.index(i), name, names::qualified_name(name));
        if repeated.contains(&i) {
            causes.duplicate(&scheduling.index(i), name);
        }
    }
}

/// Tolerations of pods and of runtime classes.
pub(crate) fn tolerations(tolerations: &[Value], at: &Path, causes: &mut Causes) {
    for (i, toleration) in tolerations.iter().enumerate() {
        let at = at.index(i);
        let (key, operator) = (text(&toleration["key"]), text(&toleration["operator"]));
        let (value, effect) = (text(&toleration["value"]), text(&toleration["effect"]));
        let operator_at = at.child("operator");
        if !key.is_empty() {
            causes.each_invalid(&at.child("key"), key, names::label_key(key));
        } else if operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            causes.invalid(&operator_at, operator, why);
        }
        if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            causes.invalid(&at.child("effect"), effect, why);
        }
        match operator {
            "" | "Equal" => causes.each_invalid(&operator_at, value, names::label_value(value)),
            "Exists" if !value.is_empty() => {
                causes.invalid(&operator_at, value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            "Lt" | "Gt" => causes.unsupported(&operator_at, operator, &["Equal", "Exists", "Lt", "Gt"]),
            other => causes.unsupported(&operator_at, other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            taint_effect(effect, &at.child("effect"), causes);
        }
    }
}

/// What a taint does to pods that do not tolerate it.
pub(crate) fn taint_effect(effect: &str, at: &Path, causes: &mut Causes) {
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if !effects.contains(&effect) {
        causes.unsupported(at, effect, &effects);
    }
}

fn host_aliases(aliases: &[Value], at: &Path, causes: &mut Causes) {
    for (i, alias) in aliases.iter().enumerate() {
        let at = at.index(i);
        let ip = text(&alias["ip"]);
        causes.each_invalid(&at.child("ip"), ip, addresses::ip(ip));
        for name in list(&alias["hostnames"]) {
            causes.each_invalid(&at.child("hostnames"), text(name), names::dns_subdomain(text(name)));
        }
    }
}

/// Whether a pod shares the host's users.
pub(crate) fn shares_host_users(spec: &Value) -> bool {
    spec["hostUsers"].is_null() || is_true(&spec["hostUsers"])
}
