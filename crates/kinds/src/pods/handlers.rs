//! Checks of what containers run beside their process: probes, hooks; and of where their environment comes from.

use super::spec::Context;
use crate::causes::{Causes, Path};
use crate::names;
use crate::resources::quantity;
use crate::value::{int, is_empty, list, text};
use api::Quantity;
use serde_json::Value;

/// Fields of a pod that become environment.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields of a pod that a `fieldRef` can name somewhere.
const OTHER_FIELDS: [&str; 6] = [
    "metadata.annotations",
    "metadata.labels",
    "spec.host",
    "spec.restartPolicy",
    "spec.schedulerName",
    "status.phase",
];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Hooks of a container's life.
pub(crate) fn lifecycle(context: &Context, container: &Value, at: &Path, causes: &mut Causes) {
    for hook in ["postStart", "preStop"] {
        if !container["lifecycle"][hook].is_null() {
            handler(&container["lifecycle"][hook], context.grace_seconds(), &at.child(hook), causes);
        }
    }
}

/// The three probes of a container.
pub(crate) fn probes(context: &Context, container: &Value, at: &Path, causes: &mut Causes) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let (probe, at) = (&container[name], at.child(name));
        if probe.is_null() {
            continue;
        }
        handler(probe, context.grace_seconds(), &at, causes);
        for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            causes.not_negative(&at.child(field), &probe[field]);
        }
        let grace = &probe["terminationGracePeriodSeconds"];
        if int(grace).is_some_and(|seconds| seconds <= 0) {
            causes.invalid(&at.child("terminationGracePeriodSeconds"), grace, "must be greater than 0");
        }
        if name == "readinessProbe" {
            if !grace.is_null() {
                let why = "must not be set for readinessProbes";
                causes.invalid(&at.child("terminationGracePeriodSeconds"), grace, why);
            }
        } else if probe["successThreshold"] != 1 {
            causes.invalid(&at.child("successThreshold"), &probe["successThreshold"], "must be 1");
        }
    }
}

/// The one action of a probe or a hook.
fn handler(handler: &Value, grace_seconds: i64, at: &Path, causes: &mut Causes) {
    let mut actions = 0;
    for name in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let (action, at) = (&handler[name], at.child(name));
        if action.is_null() {
            continue;
        }
        actions += 1;
        if actions > 1 {
            causes.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        match name {
            "exec" if is_empty(&action["command"]) => causes.required(&at.child("command"), ""),
            "httpGet" => http_get(action, &at, causes),
            "tcpSocket" | "grpc" => port(&action["port"], &at.child("port"), causes),
            "sleep" => {
                let seconds = int(&action["seconds"]).unwrap_or(0);
                if !(0..=grace_seconds).contains(&seconds) {
                    let why = format!(
                        "must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds}) of the pod spec"
                    );
                    causes.invalid(&at.child("seconds"), seconds, &why);
                }
            }
            _ => {}
        }
    }
    if actions == 0 {
        causes.required(at, "must specify a handler type");
    }
}

fn http_get(get: &Value, at: &Path, causes: &mut Causes) {
    if is_empty(&get["path"]) {
        causes.required(&at.child("path"), "");
    }
    port(&get["port"], &at.child("port"), causes);
    causes.one_of(&at.child("scheme"), &get["scheme"], &["HTTP", "HTTPS"]);
    for header in list(&get["httpHeaders"]) {
        let name = text(&header["name"]);
        causes.each_invalid(&at.child("httpHeaders"), name, names::http_header(name));
    }
}

/// The number or the name of a port.
pub(crate) fn port(port: &Value, at: &Path, causes: &mut Causes) {
    match port.as_str() {
        Some(name) => causes.each_invalid(at, name, names::port_name(name)),
        None => names::port(int(port).unwrap_or(0), at, causes),
    }
}

/// Variables of the environment.
pub(crate) fn env(variables: &[Value], at: &Path, causes: &mut Causes) {
    for (i, variable) in variables.iter().enumerate() {
        let at = at.index(i);
        match text(&variable["name"]) {
            "" => causes.required(&at.child("name"), ""),
            name => causes.each_invalid(&at.child("name"), name, names::env_var_name(name)),
        }
        let (from, at) = (&variable["valueFrom"], at.child("valueFrom"));
        if from.is_null() {
            continue;
        }
        let mut sources = 0;
        for source in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
            let (value, at) = (&from[source], at.child(source));
            if value.is_null() {
                continue;
            }
            sources += 1;
            match source {
                "fieldRef" => field_ref(value, &ENV_FIELDS, &at, causes),
                "resourceFieldRef" => resource_field_ref(value, false, &at, causes),
                "configMapKeyRef" | "secretKeyRef" => key_ref(value, &at, causes),
                _ => {}
            }
        }
        if sources == 0 {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            causes.invalid(&at, "", why);
        } else if !is_empty(&variable["value"]) {
            causes.invalid(&at, "", "may not be specified when `value` is not empty");
        } else if sources > 1 {
            causes.invalid(&at, "", "may not have more than one field specified at a time");
        }
    }
}

/// Whole config maps and secrets as environment.
pub(crate) fn env_from(sources: &[Value], at: &Path, causes: &mut Causes) {
    for (i, source) in sources.iter().enumerate() {
        let list_at = at;
        let at = at.index(i);
        let prefix = text(&source["prefix"]);
        if !prefix.is_empty() {
            causes.each_invalid(&at.child("prefix"), prefix, names::env_var_name(prefix));
        }
        let mut count = 0;
        for reference in ["configMapRef", "secretRef"].into_iter().filter(|r| !source[*r].is_null()) {
            count += 1;
            if is_empty(&source[reference]["name"]) {
                causes.required(&at.child(reference).child("name"), "");
            }
        }
        match count {
            0 => causes.invalid(list_at, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => causes.invalid(list_at, "", "may not have more than one field specified at a time"),
        }
    }
}

fn key_ref(reference: &Value, at: &Path, causes: &mut Causes) {
    if is_empty(&reference["name"]) {
        causes.required(&at.child("name"), "");
    }
    match text(&reference["key"]) {
        "" => causes.required(&at.child("key"), ""),
        key => causes.each_invalid(&at.child("key"), key, names::config_map_key(key)),
    }
}

/// A field of the pod, one of `fields`, or one label or annotation: `metadata.labels['x']`.
pub(crate) fn field_ref(reference: &Value, fields: &[&str], at: &Path, causes: &mut Causes) {
    let (version, path) = (text(&reference["apiVersion"]), text(&reference["fieldPath"]));
    if version.is_empty() {
        return causes.required(&at.child("apiVersion"), "");
    }
    if path.is_empty() {
        return causes.required(&at.child("fieldPath"), "");
    }
    let subscript = path.strip_suffix("']").and_then(|path| path.split_once("['"));
    let (base, key) = subscript.map_or((path, None), |(base, key)| (base, Some(key)));
    let unknown = match (version, key) {
        ("v1", Some(_)) if matches!(base, "metadata.labels" | "metadata.annotations") => None,
        ("v1", Some(_)) => Some(format!("field label does not support subscript: {path}")),
        ("v1", None) if ENV_FIELDS.contains(&base) || OTHER_FIELDS.contains(&base) => None,
        ("v1", None) => Some(format!("field label not supported: {path}")),
        _ => Some(format!("unsupported pod version: {version}")),
    };
    if let Some(why) = unknown {
        return causes.invalid(&at.child("fieldPath"), path, &format!("error converting fieldPath: {why}"));
    }
    match key {
        Some(key) if base == "metadata.annotations" => {
            causes.each_invalid(at, key, names::qualified_name(&key.to_lowercase()));
        }
        Some(key) => causes.each_invalid(at, key, names::qualified_name(key)),
        None if !fields.contains(&base) => causes.unsupported(&at.child("fieldPath"), base, fields),
        None => {}
    }
}

/// A limit or a request of a container, divided. In a volume it must say of which container.
pub(crate) fn resource_field_ref(reference: &Value, in_volume: bool, at: &Path, causes: &mut Causes) {
    let resource = text(&reference["resource"]);
    let of_huge_pages = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if in_volume && is_empty(&reference["containerName"]) {
        causes.required(&at.child("containerName"), "");
    } else if resource.is_empty() {
        causes.required(&at.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !of_huge_pages {
        causes.unsupported(&at.child("resource"), resource, &RESOURCES);
    }
    let divisor = quantity(&reference["divisor"]);
    let (allowed, of): (&[&str], &str) = if resource.ends_with(".cpu") {
        (&["1m", "1"], "1m and 1")
    } else {
        (
            &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"],
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei",
        )
    };
    let known = RESOURCES.contains(&resource) || of_huge_pages;
    if known && !divisor.is_zero() && !allowed.iter().any(|a| Quantity::parse(a) == Some(divisor)) {
        let kind = resource.rsplit('.').next().unwrap_or_default();
        let why = format!("only divisor's values {of} are supported with the {kind} resource");
        causes.invalid(&at.child("divisor"), kind, &why);
    }
}
