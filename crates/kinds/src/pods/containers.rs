//! Checks of containers: what all have in common, and what the three lists add.

use super::spec::Context;
use super::{handlers, security, volumes};
use crate::causes::{Causes, Path};
use crate::names;
use crate::resources;
use crate::value::{int, is_empty, is_true, list, repeats, text};
use serde_json::Value;
use std::collections::HashSet;

const RESTART_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// What an ephemeral container cannot have.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// The containers, init containers and ephemeral containers of a pod spec.
pub(crate) fn all(context: &Context, at: &Path, causes: &mut Causes) {
    let spec = context.spec;
    let mut names = HashSet::new();
    regular(context, list(&spec["containers"]), &mut names, &at.child("containers"), causes);
    init(context, list(&spec["initContainers"]), &mut names, &at.child("initContainers"), causes);
    ephemeral(context, list(&spec["ephemeralContainers"]), &mut names, &at.child("ephemeralContainers"), causes);
}

fn regular<'a>(context: &Context, list: &'a [Value], names: &mut HashSet<&'a str>, at: &Path, causes: &mut Causes) {
    if list.is_empty() {
        causes.required(at, "");
    }
    for (i, container) in list.iter().enumerate() {
        let at = at.index(i);
        common(context, container, &at, causes);
        unique(container, names, &at, causes);
        handlers::lifecycle(context, container, &at.child("lifecycle"), causes);
        handlers::probes(context, container, &at, causes);
        restart_rules(container, &at, causes);
    }
    host_port_conflicts(list.iter().enumerate(), at, causes);
}

fn init<'a>(context: &Context, list: &'a [Value], names: &mut HashSet<&'a str>, at: &Path, causes: &mut Causes) {
    for (i, container) in list.iter().enumerate() {
        let list_at = at;
        let at = at.index(i);
        common(context, container, &at, causes);
        unique(container, names, &at, causes);
        host_port_conflicts(std::iter::once((i, container)), list_at, causes);
        if container["restartPolicy"] == "Always" {
            handlers::lifecycle(context, container, &at.child("lifecycle"), causes);
            handlers::probes(context, container, &at, causes);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if !container[field].is_null() {
                    let why = "may not be set for init containers without restartPolicy=Always";
                    causes.forbidden(&at.child(field), why);
                }
            }
            if !is_empty(&container["resizePolicy"]) {
                causes.invalid(
                    &at.child("resizePolicy"),
                    &container["resizePolicy"],
                    "must not be set for init containers",
                );
            }
        }
        restart_rules(container, &at, causes);
    }
}

fn ephemeral<'a>(context: &Context, list: &'a [Value], names: &mut HashSet<&'a str>, at: &Path, causes: &mut Causes) {
    for (i, container) in list.iter().enumerate() {
        let at = at.index(i);
        common(context, container, &at, causes);
        let target = text(&container["targetContainerName"]);
        if !target.is_empty() && !names.contains(target) {
            causes.not_found(&at.child("targetContainerName"), target);
        }
        unique(container, names, &at, causes);
        for field in NOT_EPHEMERAL.into_iter().filter(|field| !is_empty(&container[*field])) {
            causes.forbidden(&at.child(field), "cannot be set for an Ephemeral Container");
        }
        let mounts = at.child("volumeMounts");
        for (i, mount) in crate::value::list(&container["volumeMounts"]).iter().enumerate() {
            for field in ["subPath", "subPathExpr"].into_iter().filter(|field| !is_empty(&mount[*field])) {
                causes.forbidden(&mounts.index(i).child(field), "cannot be set for an Ephemeral Container");
            }
        }
    }
}

fn unique<'a>(container: &'a Value, names: &mut HashSet<&'a str>, at: &Path, causes: &mut Causes) {
    let name = text(&container["name"]);
    if !names.insert(name) && !name.is_empty() {
        causes.duplicate(&at.child("name"), name);
    }
}

/// What is checked of every container.
fn common(context: &Context, container: &Value, at: &Path, causes: &mut Causes) {
    match text(&container["name"]) {
        "" => causes.required(&at.child("name"), ""),
        name => causes.each_invalid(&at.child("name"), name, names::dns_label(name)),
    }
    match text(&container["image"]) {
        "" => causes.required(&at.child("image"), ""),
        image if image.trim() != image && context.is_pod => {
            causes.invalid(&at.child("image"), image, "must not have leading or trailing whitespace");
        }
        _ => {}
    }
    let policies = ["File", "FallbackToLogsOnError"];
    causes.one_of(&at.child("terminationMessagePolicy"), &container["terminationMessagePolicy"], &policies);
    ports(context, list(&container["ports"]), &at.child("ports"), causes);
    handlers::env(list(&container["env"]), &at.child("env"), causes);
    handlers::env_from(list(&container["envFrom"]), &at.child("envFrom"), causes);
    volumes::mounts(context, container, at, causes);
    let policies = ["Always", "IfNotPresent", "Never"];
    causes.one_of(&at.child("imagePullPolicy"), &container["imagePullPolicy"], &policies);
    resources::requirements(&container["resources"], &context.claims, &at.child("resources"), causes);
    resize_policies(context, list(&container["resizePolicy"]), &at.child("resizePolicy"), causes);
    security::container(context, &container["securityContext"], &at.child("securityContext"), causes);
}

fn ports(context: &Context, ports: &[Value], at: &Path, causes: &mut Causes) {
    let host_network = is_true(&context.spec["hostNetwork"]);
    let repeated = repeats(ports.iter().map(|port| text(&port["name"])));
    for (i, port) in ports.iter().enumerate() {
        let at = at.index(i);
        let name = text(&port["name"]);
        if !name.is_empty() {
            let problems = names::port_name(name);
            if problems.is_empty() && repeated.contains(&i) {
                causes.duplicate(&at.child("name"), name);
            }
            causes.each_invalid(&at.child("name"), name, problems);
        }
        let number = int(&port["containerPort"]).unwrap_or(0);
        let host = int(&port["hostPort"]).unwrap_or(0);
        match number {
            0 => causes.required(&at.child("containerPort"), ""),
            number => names::port(number, &at.child("containerPort"), causes),
        }
        if host != 0 {
            names::port(host, &at.child("hostPort"), causes);
        }
        causes.one_of(&at.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        if host_network && host != number && (context.is_pod || host != 0) {
            causes.invalid(&at.child("hostPort"), host, "must match `containerPort` when `hostNetwork` is true");
        }
    }
}

/// Two containers cannot have the same port of the host.
fn host_port_conflicts<'a>(containers: impl Iterator<Item = (usize, &'a Value)>, at: &Path, causes: &mut Causes) {
    let mut taken = HashSet::new();
    for (i, container) in containers {
        let at = at.index(i);
        let at = at.child("ports");
        for (i, port) in list(&container["ports"]).iter().enumerate() {
            let host = int(&port["hostPort"]).unwrap_or(0);
            if host == 0 {
                continue;
            }
            let (protocol, ip) = (text(&port["protocol"]), text(&port["hostIP"]));
            if !taken.insert((protocol, ip, host)) {
                causes.duplicate(&at.index(i).child("hostPort"), format!("{protocol}/{ip}/{host}"));
            }
        }
    }
}

fn resize_policies(context: &Context, policies: &[Value], at: &Path, causes: &mut Causes) {
    let repeated = repeats(policies.iter().map(|policy| text(&policy["resourceName"])));
    for (i, policy) in policies.iter().enumerate() {
        let name = text(&policy["resourceName"]);
        if repeated.contains(&i) {
            causes.duplicate(&at.index(i), name);
        }
        match name {
            "cpu" | "memory" => {}
            "" => causes.required(at, ""),
            other => causes.unsupported(at, other, &["cpu", "memory"]),
        }
        match text(&policy["restartPolicy"]) {
            "NotRequired" => {}
            "RestartContainer" if context.spec["restartPolicy"] != "Never" => {}
            "RestartContainer" => {
                causes.invalid(at, "RestartContainer", "must be 'NotRequired' when `restartPolicy` is 'Never'");
            }
            "" => causes.required(at, ""),
            other => causes.unsupported(at, other, &["NotRequired", "RestartContainer"]),
        }
    }
}

fn restart_rules(container: &Value, at: &Path, causes: &mut Causes) {
    let (policy, rules) = (&container["restartPolicy"], list(&container["restartPolicyRules"]));
    if !policy.is_null() {
        causes.one_of(&at.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
    } else if !rules.is_empty() {
        causes.required(&at.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    let at = at.child("restartPolicyRules");
    if rules.len() > RESTART_RULES_MAX {
        causes.too_many(&at, rules.len(), RESTART_RULES_MAX);
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = at.index(i);
        causes.one_of(&at.child("action"), &rule["action"], &["Restart", "RestartAllContainers"]);
        let (codes, at) = (&rule["exitCodes"], at.child("exitCodes"));
        if codes.is_null() {
            causes.required(&at, "must be specified");
            continue;
        }
        causes.one_of(&at.child("operator"), &codes["operator"], &["In", "NotIn"]);
        if list(&codes["values"]).len() > EXIT_CODES_MAX {
            causes.too_many(&at.child("values"), list(&codes["values"]).len(), EXIT_CODES_MAX);
        }
    }
}
