//! What kubectl shows of services.

use crate::print::{joined, labels, or_none};
use crate::table::{AGE, Column, NAME, age, column};
use crate::value::{int, list, text};
use api::Timestamp;
use serde_json::{Value, json};

const SPEC: &str = "io.k8s.api.core.v1.ServiceSpec";

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    column("Type", SPEC, "type"),
    column("Cluster-IP", SPEC, "clusterIP"),
    column("External-IP", SPEC, "externalIPs"),
    column("Port(s)", SPEC, "ports"),
    AGE,
    column("Selector", SPEC, "selector").wide(),
];

pub(super) fn row(service: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &service["spec"];
    let ports: Vec<String> = list(&spec["ports"]).iter().map(port).collect();
    vec![
        service["metadata"]["name"].clone(),
        spec["type"].clone(),
        or_none(&spec["clusterIPs"][0]),
        external(service),
        or_none(&json!(ports.join(","))),
        age(service, now),
        labels(&spec["selector"]),
    ]
}

fn port(port: &Value) -> String {
    let (number, protocol) = (int(&port["port"]).unwrap_or(0), text(&port["protocol"]));
    match int(&port["nodePort"]).unwrap_or(0) {
        0 => format!("{number}/{protocol}"),
        node => format!("{number}:{node}/{protocol}"),
    }
}

/// Where the service is reached from outside.
fn external(service: &Value) -> Value {
    let spec = &service["spec"];
    let ips = list(&spec["externalIPs"]).iter().map(text);
    match text(&spec["type"]) {
        "ExternalName" => spec["externalName"].clone(),
        "LoadBalancer" => {
            let ingress = list(&service["status"]["loadBalancer"]["ingress"]).iter();
            let mut served: Vec<&str> = ingress
                .map(|entry| match text(&entry["ip"]) {
                    "" => text(&entry["hostname"]),
                    ip => ip,
                })
                .filter(|place| !place.is_empty())
                .collect();
            served.sort_unstable();
            served.dedup();
            match joined(served.into_iter().chain(ips)) {
                places if places.is_empty() => json!("<pending>"),
                places => json!(places),
            }
        }
        _ => or_none(&json!(joined(ips))),
    }
}
