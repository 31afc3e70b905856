//! Services: their addresses and ports.

mod allocation;
mod print;
mod update;
mod validate;
mod warnings;

use crate::value::{default, is_empty, is_true, list, list_mut, remove, set, text};
use crate::{NameRule, Strategy};
use serde_json::{Value, json};

pub use allocation::{Held, Pool, Refused, assign, held};
pub(crate) use validate::special as special_address;

const AFFINITY_SECONDS: i64 = 10800;

pub(crate) static SERVICES: Strategy = Strategy {
    defaults,
    prepare_create: |service| {
        same_cluster_ips(service);
        ip_families(service);
    },
    prepare_update: update::prepare,
    validate: validate::service,
    validate_update: update::validate,
    validate_status: validate::status,
    warnings: warnings::service,
    name_rule: NameRule::DnsLabel,
    new_status: Some(|| json!({"loadBalancer": {}})),
    create_on_update: true,
    columns: print::COLUMNS,
    row: print::row,
    ..Strategy::PLAIN
};

fn is_external_name(spec: &Value) -> bool {
    spec["type"] == "ExternalName"
}

fn is_load_balancer(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer"
}

fn is_headless(spec: &Value) -> bool {
    spec["clusterIP"] == "None" || list(&spec["clusterIPs"]).first().is_some_and(|ip| ip == "None")
}

/// Whether nodes open ports for the service.
fn has_node_ports(spec: &Value) -> bool {
    spec["type"] == "NodePort" || is_load_balancer(spec)
}

/// Whether ports of nodes are given without being asked for.
fn gives_node_ports(spec: &Value) -> bool {
    spec["type"] == "NodePort" || (is_load_balancer(spec) && is_true(&spec["allocateLoadBalancerNodePorts"]))
}

fn has_health_check_port(spec: &Value) -> bool {
    is_load_balancer(spec) && spec["externalTrafficPolicy"] == "Local"
}

/// Whether traffic comes from outside.
fn is_reached_from_outside(spec: &Value) -> bool {
    has_node_ports(spec) || (spec["type"] == "ClusterIP" && !is_empty(&spec["externalIPs"]))
}

fn defaults(service: &mut Value) {
    let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    default(spec, "sessionAffinity", "None");
    default(spec, "type", "ClusterIP");
    match text(&spec["sessionAffinity"]) {
        "None" => remove(spec, "sessionAffinityConfig"),
        "ClientIP" if spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null() => {
            set(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}));
        }
        _ => {}
    }
    for port in list_mut(spec, "ports") {
        default(port, "protocol", "TCP");
        if port["targetPort"].is_null() || port["targetPort"] == 0 || port["targetPort"] == "" {
            let number = port["port"].clone();
            set(port, "targetPort", if number.is_null() { json!(0) } else { number });
        }
    }
    if is_reached_from_outside(spec) {
        default(spec, "externalTrafficPolicy", "Cluster");
    }
    if !is_external_name(spec) && spec["internalTrafficPolicy"].is_null() {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if is_load_balancer(spec) {
        if spec["allocateLoadBalancerNodePorts"].is_null() {
            set(spec, "allocateLoadBalancerNodePorts", true);
        }
        let ingress = service.get_mut("status").and_then(|status| status.get_mut("loadBalancer"));
        for entry in ingress.into_iter().flat_map(|balancer| list_mut(balancer, "ingress")) {
            if !is_empty(&entry["ip"]) {
                default(entry, "ipMode", "VIP");
            }
        }
    }
}

/// `clusterIP` is the first of `clusterIPs`.
fn same_cluster_ips(service: &mut Value) {
    let spec = &mut service["spec"];
    if is_empty(&spec["clusterIPs"]) && !is_empty(&spec["clusterIP"]) {
        let ip = spec["clusterIP"].clone();
        set(spec, "clusterIPs", json!([ip]));
    }
}

/// The families of addresses of a cluster that has IPv4. A headless service without a selector may have both, since its
/// addresses come from elsewhere.
fn ip_families(service: &mut Value) {
    let spec = &mut service["spec"];
    if is_external_name(spec) || !spec.is_object() {
        return;
    }
    let free = is_headless(spec) && is_empty(&spec["selector"]);
    let given = list(&spec["ipFamilies"]).len();
    if free && given == 0 {
        let single = spec["ipFamilyPolicy"] == "SingleStack";
        set(spec, "ipFamilies", if single { json!(["IPv4"]) } else { json!(["IPv4", "IPv6"]) });
        default(spec, "ipFamilyPolicy", "RequireDualStack");
    }
    default(spec, "ipFamilyPolicy", if free && given > 1 { "RequireDualStack" } else { "SingleStack" });
    if is_empty(&spec["ipFamilies"]) {
        set(spec, "ipFamilies", json!(["IPv4"]));
    }
}

#[cfg(test)]
mod tests;
