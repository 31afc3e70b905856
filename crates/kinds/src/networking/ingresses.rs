//! Ingresses.

use super::{SPEC, typed_reference};
use crate::Strategy;
use crate::addresses;
use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::names;
use crate::print::{joined, or_none};
use crate::table::{AGE, Column, NAME, age, explained};
use crate::value::{int, is_empty, list, text};
use api::Timestamp;
use serde_json::{Value, json};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const NOT_AN_IP: &str = "must be a DNS name, not an IP address";

pub(crate) static INGRESSES: Strategy = Strategy {
    validate: |ingress| Causes::of(|causes| validate(&ingress["spec"], causes)),
    validate_create: |ingress| {
        Causes::of(|causes| {
            let class = &ingress["spec"]["ingressClassName"];
            let annotation = &ingress["metadata"]["annotations"][CLASS_ANNOTATION];
            if annotation.is_string() && class.is_string() && annotation != class {
                let at = Path::new("annotations");
                let why = "must match `ingressClassName` when both are specified";
                causes.invalid(&at.child(CLASS_ANNOTATION), annotation, why);
            }
        })
    },
    validate_status: |ingress, _| Causes::of(|causes| validate_status(&ingress["status"], causes)),
    warnings: |ingress, old| {
        let annotated = ingress["metadata"]["annotations"][CLASS_ANNOTATION].is_string();
        let why = "is deprecated, please use 'spec.ingressClassName' instead";
        let warned = annotated && old.is_none();
        warned.then(|| format!("annotation {CLASS_ANNOTATION:?} {why}")).into_iter().collect()
    },
    generation: Some(spec_changed),
    new_status: Some(|| json!({"loadBalancer": {}})),
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

fn validate(spec: &Value, causes: &mut Causes) {
    if is_empty(&spec["rules"]) && spec["defaultBackend"].is_null() {
        let rules = spec.get("rules").filter(|rules| !is_empty(rules));
        causes.invalid(&SPEC, rules, "either `defaultBackend` or `rules` must be specified");
    }
    if !spec["defaultBackend"].is_null() {
        backend(&spec["defaultBackend"], &SPEC.child("defaultBackend"), causes);
    }
    let rules = SPEC.child("rules");
    for (i, rule) in list(&spec["rules"]).iter().enumerate() {
        let at = rules.index(i);
        let name = text(&rule["host"]);
        if addresses::parse_ip(name).is_some() {
            causes.invalid(&at.child("host"), name, NOT_AN_IP);
        }
        if !name.is_empty() {
            host(name, &at.child("host"), causes);
        }
        if rule["http"].is_object() {
            paths(&rule["http"]["paths"], &at.child("http").child("paths"), causes);
        }
    }
    let tls = SPEC.child("tls");
    for (i, entry) in list(&spec["tls"]).iter().enumerate() {
        let at = tls.index(i);
        let hosts = at.child("hosts");
        for (i, name) in list(&entry["hosts"]).iter().enumerate() {
            host(text(name), &hosts.index(i), causes);
        }
        let secret = text(&entry["secretName"]);
        if !secret.is_empty() {
            causes.each_invalid(&at.child("secretName"), secret, names::dns_subdomain(secret));
        }
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        causes.each_invalid(&SPEC.child("ingressClassName"), class, names::dns_subdomain(class));
    }
}

fn host(name: &str, at: &Path, causes: &mut Causes) {
    let rule = if name.contains('*') { names::wildcard_dns_subdomain } else { names::dns_subdomain };
    causes.each_invalid(at, name, rule(name));
}

fn paths(paths: &Value, at: &Path, causes: &mut Causes) {
    if is_empty(paths) {
        causes.required(at, "");
    }
    for (i, path) in list(paths).iter().enumerate() {
        let at = at.index(i);
        match path["pathType"].as_str() {
            None => {
                causes.required(&at.child("pathType"), "pathType must be specified");
                continue;
            }
            Some("Exact" | "Prefix") => exact_path(text(&path["path"]), &at.child("path"), causes),
            Some("ImplementationSpecific") => {
                let text = text(&path["path"]);
                if !text.is_empty() && !text.starts_with('/') {
                    causes.invalid(&at.child("path"), text, "must be an absolute path");
                }
            }
            Some(other) => {
                let types = ["Exact", "ImplementationSpecific", "Prefix"];
                causes.unsupported(&at.child("pathType"), other, &types);
            }
        }
        backend(&path["backend"], &at.child("backend"), causes);
    }
}

/// A path that is compared as it is: absolute, without anything that a proxy may resolve.
fn exact_path(path: &str, at: &Path, causes: &mut Causes) {
    if !path.starts_with('/') {
        causes.invalid(at, path, "must be an absolute path");
    }
    for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| path.contains(part)) {
        causes.invalid(at, path, &format!("must not contain '{part}'"));
    }
    for end in ["/..", "/."].into_iter().filter(|end| path.ends_with(end)) {
        causes.invalid(at, path, &format!("cannot end with '{end}'"));
    }
}

fn backend(backend: &Value, at: &Path, causes: &mut Causes) {
    let (resource, service) = (&backend["resource"], &backend["service"]);
    match (resource.is_null(), service.is_null()) {
        (true, true) => causes.invalid(at, "", "resource or service backend is required"),
        (false, false) => causes.invalid(at, "", "cannot set both resource and service backends"),
        (false, true) => typed_reference(resource, &at.child("resource"), causes),
        (true, false) => {
            let service_at = at.child("service");
            match text(&service["name"]) {
                "" => causes.required(&service_at.child("name"), ""),
                name => causes.each_invalid(&service_at.child("name"), name, names::dns_label(name)),
            }
            let port_at = service_at.child("port");
            let (name, number) = (text(&service["port"]["name"]), int(&service["port"]["number"]).unwrap_or(0));
            match (name, number) {
                ("", 0) => causes.required(at, "port name or number is required"),
                (name, 0) => causes.each_invalid(&port_at.child("name"), name, names::port_name(name)),
                ("", number) => names::port(number, &port_at.child("number"), causes),
                _ => causes.invalid(at, "", "cannot set both port name & port number"),
            }
        }
    }
}

fn validate_status(status: &Value, causes: &mut Causes) {
    let at = Path::new("status");
    let at = at.child("loadBalancer");
    let at = at.child("ingress");
    for (i, point) in list(&status["loadBalancer"]["ingress"]).iter().enumerate() {
        let at = at.index(i);
        let (ip, hostname) = (text(&point["ip"]), text(&point["hostname"]));
        if !ip.is_empty() {
            causes.each_invalid(&at.child("ip"), ip, addresses::ip(ip));
        }
        if !hostname.is_empty() {
            causes.each_invalid(&at.child("hostname"), hostname, names::dns_subdomain(hostname));
        }
        if addresses::parse_ip(hostname).is_some() {
            causes.invalid(&at.child("hostname"), hostname, NOT_AN_IP);
        }
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    explained("Class", "The name of the IngressClass resource that should be used for additional configuration"),
    explained("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
    explained("Address", "Address is a list containing ingress points for the load-balancer"),
    explained("Ports", "Ports of TLS configurations that open"),
    AGE,
];

fn row(ingress: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &ingress["spec"];
    let points = list(&ingress["status"]["loadBalancer"]["ingress"]).iter();
    let address = |point: &'_ Value| match text(&point["ip"]) {
        "" => text(&point["hostname"]).to_owned(),
        ip => ip.to_owned(),
    };
    let addresses: Vec<String> = points.map(address).filter(|address| !address.is_empty()).collect();
    vec![
        ingress["metadata"]["name"].clone(),
        or_none(&spec["ingressClassName"]),
        json!(hosts(list(&spec["rules"]))),
        json!(addresses.join(",")),
        json!(if is_empty(&spec["tls"]) { "80" } else { "80, 443" }),
        age(ingress, now),
    ]
}

/// The first three hosts.
fn hosts(rules: &[Value]) -> String {
    const SHOWN: usize = 3;
    let named: Vec<&str> = rules.iter().map(|rule| text(&rule["host"])).filter(|host| !host.is_empty()).collect();
    match named.len() {
        0 => "*".to_owned(),
        n if n <= SHOWN => joined(named.into_iter()),
        n => format!("{} + {} more...", joined(named.into_iter().take(SHOWN)), n - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: Value) -> Value {
        json!({"rules": [{"http": {"paths": [path]}}]})
    }

    fn messages(spec: &Value) -> Vec<String> {
        Causes::of(|causes| validate(spec, causes)).into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn paths_are_absolute_and_plain() {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        for (kind, path, faults) in [
            ("Prefix", "/a", 0),
            ("Prefix", "a", 1),
            ("Exact", "/a/../b", 1),
            ("Exact", "/a//b/..", 2),
            ("ImplementationSpecific", "/a/../b", 0),
            ("ImplementationSpecific", "a", 1),
            ("Regex", "a", 1),
        ] {
            let spec = rule(json!({"path": path, "pathType": kind, "backend": backend}));
            assert_eq!(messages(&spec).len(), faults, "{kind} {path}");
        }
    }

    #[test]
    fn a_backend_is_a_service_with_a_port_or_a_resource() {
        let fault = |backend: Value| messages(&json!({"defaultBackend": backend}));
        assert!(fault(json!({"service": {"name": "s", "port": {"name": "http"}}})).is_empty());
        assert!(fault(json!({"resource": {"kind": "K", "name": "n"}})).is_empty());
        assert_eq!(
            fault(json!({"service": {"name": "s", "port": {}}})),
            ["spec.defaultBackend: Required value: port name or number is required"]
        );
        assert_eq!(fault(json!({})).len(), 1);
    }

    #[test]
    fn an_ingress_leads_somewhere() {
        let [message] = messages(&json!({})).try_into().expect("one cause");
        assert_eq!(message, "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified");
    }

    #[test]
    fn at_most_three_hosts_are_printed() {
        let rules: Vec<Value> = ["a", "b", "", "c", "d"].iter().map(|host| json!({"host": host})).collect();
        assert_eq!(hosts(&rules), "a,b,c + 1 more...");
        assert_eq!(hosts(&rules[..2]), "a,b");
        assert_eq!(hosts(&rules[2..3]), "*");
    }
}
