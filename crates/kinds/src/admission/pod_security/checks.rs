//! The rules of level baseline: what a pod may not do to its node or to what runs beside it.

use super::{Check, Level, Pod, Violation, containers, names_of, of_containers, quoted, setters, violation};
use crate::pods::spec::shares_host_users;
use crate::value::{int, is_true, list, text};
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
pub(super) const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";

/// From this minor version on, a pod with users of its own may do what its node's users are safe from.
pub(super) const USER_NAMESPACES_SINCE: u32 = 35;

const fn baseline(id: &'static str, since: u32, run: fn(&Pod) -> Option<Violation>) -> Check {
    Check { id, level: Level::Baseline, since, overrides: None, run }
}

pub(super) static BASELINE: &[Check] = &[
    baseline("appArmorProfile", 0, app_armor),
    baseline("capabilities_baseline", 0, capabilities),
    baseline("hostNamespaces", 0, host_namespaces),
    baseline("hostPathVolumes", 0, host_paths),
    baseline("hostPorts", 0, host_ports),
    baseline("hostProbesAndHostLifecycle", 34, probe_hosts),
    baseline("privileged", 0, privileged),
    baseline("procMount", 0, proc_mount),
    baseline("seLinuxOptions", 0, selinux),
    baseline("seccompProfile_baseline", 0, seccomp),
    baseline("sysctls", 0, sysctls),
    baseline("windowsHostProcess", 0, host_process),
];

/// Capabilities that the runtime gives every container anyway.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Kernel settings that belong to the pod alone, and the minor version since which each is allowed.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

const SELINUX_TYPES: [(&str, u32); 5] =
    [("", 0), ("container_t", 0), ("container_init_t", 0), ("container_kvm_t", 0), ("container_engine_t", 31)];

/// Whether a pod's users are not those of the node, which relaxes some rules.
pub(super) fn has_own_users(pod: &Pod) -> bool {
    pod.minor >= USER_NAMESPACES_SINCE && !shares_host_users(pod.spec)
}

fn app_armor(pod: &Pod) -> Option<Violation> {
    let kind = |holder: &Value| text(&holder["securityContext"]["appArmorProfile"]["type"]).to_owned();
    let bad = |kind: &str| !matches!(kind, "" | "RuntimeDefault" | "Localhost");
    let bad_containers = names_of(pod.spec, |container| bad(&kind(container)));
    let kinds = containers(pod.spec).chain([pod.spec]).map(kind).filter(|kind| bad(kind));
    let mut values: Vec<String> = kinds.collect::<BTreeSet<String>>().into_iter().collect();
    let mut who = setters(bad(&kind(pod.spec)), &bad_containers);
    let annotations = pod.metadata["annotations"].as_object().into_iter().flatten();
    let allowed = |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let mut refused: Vec<String> = annotations
        .filter(|(key, value)| key.starts_with(APP_ARMOR) && !allowed(text(value)))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !refused.is_empty() {
        refused.sort_unstable();
        who.push(if refused.len() == 1 { "annotation" } else { "annotations" }.to_owned());
        values.extend(refused);
    }
    if who.is_empty() {
        return None;
    }
    let reason = if values.len() == 1 { "forbidden AppArmor profile" } else { "forbidden AppArmor profiles" };
    violation(reason, format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)))
}

fn capabilities(pod: &Pod) -> Option<Violation> {
    let added = |container: &Value| -> Vec<String> {
        let added = list(&container["securityContext"]["capabilities"]["add"]).iter().map(text);
        added.filter(|capability| !CAPABILITIES.contains(capability)).map(str::to_owned).collect()
    };
    let bad = names_of(pod.spec, |container| !added(container).is_empty());
    if bad.is_empty() {
        return None;
    }
    let all: BTreeSet<String> = containers(pod.spec).flat_map(added).collect();
    let all: Vec<String> = all.into_iter().collect();
    let detail =
        format!("{} must not include {} in securityContext.capabilities.add", of_containers(&bad), quoted(&all));
    violation("non-default capabilities", detail)
}

fn host_namespaces(pod: &Pod) -> Option<Violation> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| is_true(&pod.spec[*field]));
    let shared: Vec<String> = fields.map(|field| format!("{field}=true")).collect();
    if shared.is_empty() { None } else { violation("host namespaces", shared.join(", ")) }
}

fn host_paths(pod: &Pod) -> Option<Violation> {
    let volumes = list(&pod.spec["volumes"]).iter().filter(|volume| !volume["hostPath"].is_null());
    let names: Vec<&str> = volumes.map(|volume| text(&volume["name"])).collect();
    if names.is_empty() { None } else { violation("hostPath volumes", super::named(&names, "volume", "volumes")) }
}

fn host_ports(pod: &Pod) -> Option<Violation> {
    let of = |container: &Value| -> Vec<String> {
        let ports = list(&container["ports"]).iter().filter_map(|port| int(&port["hostPort"]));
        ports.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let bad = names_of(pod.spec, |container| !of(container).is_empty());
    if bad.is_empty() {
        return None;
    }
    let ports: BTreeSet<String> = containers(pod.spec).flat_map(of).collect();
    let ports: Vec<String> = ports.into_iter().collect();
    let what = if ports.len() == 1 { "hostPort" } else { "hostPorts" };
    let uses = if bad.len() == 1 { "uses" } else { "use" };
    violation(what, format!("{} {uses} {what} {}", of_containers(&bad), ports.join(", ")))
}

fn probe_hosts(pod: &Pod) -> Option<Violation> {
    let of = |container: &Value| -> Vec<String> {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"].into_iter().map(|probe| &container[probe]);
        let hooks = ["postStart", "preStop"].into_iter().map(|hook| &container["lifecycle"][hook]);
        let hosts = probes.chain(hooks).flat_map(|handler| {
            ["httpGet", "tcpSocket"].into_iter().map(|kind| text(&handler[kind]["host"]).to_owned())
        });
        hosts.filter(|host| !host.is_empty()).collect()
    };
    let bad = names_of(pod.spec, |container| !of(container).is_empty());
    if bad.is_empty() {
        return None;
    }
    let hosts: BTreeSet<String> = containers(pod.spec).flat_map(of).collect();
    let hosts: Vec<String> = hosts.into_iter().collect();
    let what = if hosts.len() == 1 { "probe or lifecycle host" } else { "probe or lifecycle hosts" };
    let uses = if bad.len() == 1 { "uses" } else { "use" };
    violation(what, format!("{} {uses} {what} {}", of_containers(&bad), quoted(&hosts)))
}

fn privileged(pod: &Pod) -> Option<Violation> {
    let bad = names_of(pod.spec, |container| is_true(&container["securityContext"]["privileged"]));
    if bad.is_empty() {
        return None;
    }
    violation("privileged", format!("{} must not set securityContext.privileged=true", of_containers(&bad)))
}

fn proc_mount(pod: &Pod) -> Option<Violation> {
    if has_own_users(pod) {
        return None;
    }
    let kind = |container: &Value| text(&container["securityContext"]["procMount"]).to_owned();
    let bad = |kind: &str| !matches!(kind, "" | "Default");
    let names = names_of(pod.spec, |container| bad(&kind(container)));
    if names.is_empty() {
        return None;
    }
    let kinds: BTreeSet<String> = containers(pod.spec).map(kind).filter(|kind| bad(kind)).collect();
    let kinds: Vec<String> = kinds.into_iter().collect();
    violation(
        "procMount",
        format!("{} must not set securityContext.procMount to {}", of_containers(&names), quoted(&kinds)),
    )
}

fn selinux(pod: &Pod) -> Option<Violation> {
    let option = |holder: &Value, field: &str| text(&holder["securityContext"]["seLinuxOptions"][field]).to_owned();
    let bad_type = |holder: &Value| {
        let kind = option(holder, "type");
        !SELINUX_TYPES.iter().any(|(allowed, since)| *allowed == kind && *since <= pod.minor)
    };
    let sets = |holder: &Value, field: &str| !option(holder, field).is_empty();
    let bad = |holder: &Value| bad_type(holder) || sets(holder, "user") || sets(holder, "role");
    let who = setters(bad(pod.spec), &names_of(pod.spec, bad));
    if who.is_empty() {
        return None;
    }
    let holders = || containers(pod.spec).chain([pod.spec]);
    let types: BTreeSet<String> = holders().filter(|h| bad_type(h)).map(|h| option(h, "type")).collect();
    let types: Vec<String> = types.into_iter().collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", if types.len() == 1 { "type" } else { "types" }, quoted(&types)));
    }
    for field in ["user", "role"] {
        if holders().any(|holder| sets(holder, field)) {
            what.push(format!("{field} may not be set"));
        }
    }
    let detail = format!("{} set forbidden securityContext.seLinuxOptions: {}", who.join(" and "), what.join("; "));
    violation("seLinuxOptions", detail)
}

fn seccomp(pod: &Pod) -> Option<Violation> {
    if pod.minor < 19 {
        return seccomp_annotations(pod);
    }
    let kind = |holder: &Value| text(&holder["securityContext"]["seccompProfile"]["type"]).to_owned();
    let bad = |holder: &Value| !matches!(kind(holder).as_str(), "" | "RuntimeDefault" | "Localhost");
    let who = setters(bad(pod.spec), &names_of(pod.spec, bad));
    if who.is_empty() {
        return None;
    }
    let kinds: BTreeSet<String> = containers(pod.spec).chain([pod.spec]).filter(|h| bad(h)).map(kind).collect();
    let kinds: Vec<String> = kinds.into_iter().collect();
    let detail =
        format!("{} must not set securityContext.seccompProfile.type to {}", who.join(" and "), quoted(&kinds));
    violation("seccompProfile", detail)
}

/// Before there was a field.
fn seccomp_annotations(pod: &Pod) -> Option<Violation> {
    let allowed =
        |value: &str| matches!(value, "" | "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let of_containers = containers(pod.spec).map(|container| format!("{SECCOMP}{}", text(&container["name"])));
    let keys = [SECCOMP_POD.to_owned()].into_iter().chain(of_containers);
    let refused: BTreeSet<String> = keys
        .map(|key| (text(&pod.metadata["annotations"][&key]).to_owned(), key))
        .filter(|(value, _)| !allowed(value))
        .map(|(value, key)| format!("{key}={value:?}"))
        .collect();
    if refused.is_empty() {
        return None;
    }
    let what = if refused.len() == 1 { "annotation" } else { "annotations" };
    let refused: Vec<String> = refused.into_iter().collect();
    violation("seccompProfile", format!("forbidden {what} {}", refused.join(", ")))
}

fn sysctls(pod: &Pod) -> Option<Violation> {
    let allowed = |name: &str| SYSCTLS.iter().any(|(allowed, since)| *allowed == name && *since <= pod.minor);
    let named = list(&pod.spec["securityContext"]["sysctls"]).iter().map(|sysctl| text(&sysctl["name"]));
    let refused: Vec<&str> = named.filter(|name| !allowed(name)).collect();
    if refused.is_empty() { None } else { violation("forbidden sysctls", refused.join(", ")) }
}

fn host_process(pod: &Pod) -> Option<Violation> {
    let bad = |holder: &Value| is_true(&holder["securityContext"]["windowsOptions"]["hostProcess"]);
    let who = setters(bad(pod.spec), &names_of(pod.spec, bad));
    if who.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.windowsOptions.hostProcess=true", who.join(" and "));
    violation("hostProcess", detail)
}
