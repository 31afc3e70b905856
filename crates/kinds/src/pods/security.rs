//! Checks of security contexts, of pods and of containers, and of what an operating system has no use for.

use super::spec::{Context, shares_host_users};
use super::volumes::descending_path;
use crate::causes::{Causes, Path};
use crate::golang;
use crate::value::{int, is_empty, is_true, list, text};
use serde_json::Value;
use std::collections::HashSet;

const ID_MAX: i64 = i32::MAX as i64;
const SYSCTL_CHARS_MAX: usize = 253;
const SYSCTL: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// The security context of a pod, and the parts of its spec that go with it. `spec_at` is where the spec is.
pub(crate) fn pod(context: &Context, spec_at: &Path, causes: &mut Causes) {
    let spec = context.spec;
    let (security, at) = (&spec["securityContext"], spec_at.child("securityContext"));
    ids(security, &["fsGroup", "runAsUser", "runAsGroup"], &at, causes);
    let groups = at.child("supplementalGroups");
    for (i, group) in list(&security["supplementalGroups"]).iter().enumerate() {
        id(group, &groups.index(i), causes);
    }
    if is_true(&spec["shareProcessNamespace"]) && is_true(&spec["hostPID"]) {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        causes.invalid(&spec_at.child("shareProcessNamespace"), true, why);
    }
    if !is_empty(&security["sysctls"]) {
        sysctls(spec, list(&security["sysctls"]), &at.child("sysctls"), causes);
    }
    for (field, allowed) in
        [("fsGroupChangePolicy", ["Always", "OnRootMismatch"]), ("supplementalGroupsPolicy", ["Merge", "Strict"])]
    {
        if !security[field].is_null() {
            causes.one_of(&at.child(field), &security[field], &allowed);
        }
    }
    profiles(security, &at, causes);
    if !shares_host_users(spec) {
        for field in ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| is_true(&spec[*field])) {
            causes.forbidden(&spec_at.child(field), "when `hostUsers` is false");
        }
    }
}

/// The security context of a container.
pub(crate) fn container(context: &Context, security: &Value, at: &Path, causes: &mut Causes) {
    if security.is_null() {
        return;
    }
    ids(security, &["runAsUser", "runAsGroup"], at, causes);
    if let Some(mount) = security["procMount"].as_str() {
        let at = at.child("procMount");
        match mount {
            "Default" => {}
            "Unmasked" if shares_host_users(context.spec) => {
                causes.invalid(&at, mount, "`hostUsers` must be false to use `Unmasked`");
            }
            "Unmasked" => {}
            "" => causes.required(&at, ""),
            other => causes.unsupported(&at, other, &["Default", "Unmasked"]),
        }
    }
    profiles(security, at, causes);
    if security["allowPrivilegeEscalation"] == false {
        if is_true(&security["privileged"]) {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            causes.invalid(at, golang::shown("SecurityContext", security), why);
        }
        if list(&security["capabilities"]["add"]).iter().any(|c| c == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            causes.invalid(at, golang::shown("SecurityContext", security), why);
        }
    }
}

fn ids(security: &Value, fields: &[&str], at: &Path, causes: &mut Causes) {
    for field in fields {
        id(&security[*field], &at.child(field), causes);
    }
}

fn id(value: &Value, at: &Path, causes: &mut Causes) {
    if let Some(id) = int(value).filter(|id| !(0..=ID_MAX).contains(id)) {
        causes.invalid(at, id, "must be between 0 and 2147483647, inclusive");
    }
}

/// Seccomp and AppArmor.
fn profiles(security: &Value, at: &Path, causes: &mut Causes) {
    for (field, what) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let (profile, at) = (&security[field], at.child(field));
        if profile.is_null() {
            continue;
        }
        let (local, local_at) = (&profile["localhostProfile"], at.child("localhostProfile"));
        match text(&profile["type"]) {
            "Localhost" => match local.as_str() {
                None | Some("") => causes.required(&local_at, &format!("must be set when {what} type is Localhost")),
                Some(path) if field == "seccompProfile" => descending_path(path, &local_at, causes),
                Some(path) if path.trim() != path => {
                    causes.invalid(&local_at, path, "must not be padded with whitespace");
                }
                Some(_) => {}
            },
            kind => {
                if !local.is_null() {
                    causes.invalid(&local_at, local, &format!("can only be set when {what} type is Localhost"));
                }
                match kind {
                    "RuntimeDefault" | "Unconfined" => {}
                    "" => causes.required(&at.child("type"), &format!("type is required when {field} is set")),
                    other => {
                        causes.unsupported(&at.child("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"])
                    }
                }
            }
        }
    }
}

fn sysctls(spec: &Value, sysctls: &[Value], at: &Path, causes: &mut Causes) {
    let mut seen = HashSet::new();
    for (i, sysctl) in sysctls.iter().enumerate() {
        let at = at.index(i);
        let at = at.child("name");
        let name = text(&sysctl["name"]);
        let plain = name.replace('/', ".");
        if name.is_empty() {
            causes.required(&at, "");
        } else if !is_sysctl(name) {
            let why = format!("must have at most {SYSCTL_CHARS_MAX} characters and match regex {SYSCTL}");
            causes.invalid(&at, name, &why);
        } else if seen.contains(&plain) {
            causes.duplicate(&at, name);
        }
        if is_true(&spec["hostNetwork"]) && plain.starts_with("net.") {
            causes.invalid(&at, name, "may not be specified when 'hostNetwork' is true");
        }
        let of_ipc =
            ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| plain.starts_with(p)) || plain == "kernel.sem";
        if is_true(&spec["hostIPC"]) && of_ipc {
            causes.invalid(&at, name, "may not be specified when 'hostIPC' is true");
        }
        seen.insert(plain);
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= SYSCTL_CHARS_MAX
        && name.split(['.', '/']).all(|segment| {
            let bytes = segment.as_bytes();
            bytes.first().is_some_and(edge)
                && bytes.last().is_some_and(edge)
                && bytes.iter().all(|b| edge(b) || matches!(b, b'-' | b'_'))
        })
}

/// The operating system a pod names, and fields that mean nothing on it.
pub(crate) fn operating_system(spec: &Value, at: &Path, causes: &mut Causes) {
    if spec["os"].is_null() {
        return;
    }
    match text(&spec["os"]["name"]) {
        "" => causes.required(&at.child("os").child("name"), ""),
        "linux" => no_windows_options(spec, at, causes),
        "windows" => no_linux_fields(spec, at, causes),
        other => causes.unsupported(&at.child("os").child("name"), other, &["linux", "windows"]),
    }
}

fn no_windows_options(spec: &Value, at: &Path, causes: &mut Causes) {
    let why = "windows options cannot be set for a linux pod";
    if !spec["securityContext"]["windowsOptions"].is_null() {
        causes.forbidden(&at.child("securityContext").child("windowsOptions"), why);
    }
    for field in super::defaults::CONTAINER_LISTS {
        for (i, container) in list(&spec[field]).iter().enumerate() {
            if !container["securityContext"]["windowsOptions"].is_null() {
                causes.forbidden(&at.child(field).index(i).child("securityContext").child("windowsOptions"), why);
            }
        }
    }
}

fn no_linux_fields(spec: &Value, at: &Path, causes: &mut Causes) {
    let why = "cannot be set for a windows pod";
    for field in ["hostPID", "hostIPC", "shareProcessNamespace"] {
        if is_true(&spec[field]) {
            causes.forbidden(&at.child(field), why);
        }
    }
    if spec["hostUsers"].is_boolean() {
        causes.forbidden(&at.child("hostUsers"), why);
    }
    let of_pod = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "supplementalGroupsPolicy",
    ];
    for field in of_pod.into_iter().filter(|field| !is_empty(&spec["securityContext"][*field])) {
        causes.forbidden(&at.child("securityContext").child(field), why);
    }
    let of_container = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    for list_field in super::defaults::CONTAINER_LISTS {
        for (i, container) in list(&spec[list_field]).iter().enumerate() {
            for field in of_container.into_iter().filter(|field| !container["securityContext"][*field].is_null()) {
                causes.forbidden(&at.child(list_field).index(i).child("securityContext").child(field), why);
            }
        }
    }
}
