//! Checks of services.

use super::{has_health_check_port, is_external_name, is_headless, is_load_balancer, is_reached_from_outside};
use crate::addresses;
use crate::causes::{Causes, Path};
use crate::generic::labels;
use crate::golang;
use crate::names;
use crate::value::{int, is_empty, list, repeats, text};
use api::Cause;
use serde_json::{Value, json};
use std::net::IpAddr;

pub(super) const SPEC: Path = Path::new("spec");
const KUBELET_PORT: i64 = 10250;
const AFFINITY_SECONDS_MAX: i64 = 86400;
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";

pub(super) fn service(service: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let spec = &service["spec"];
        if is_empty(&spec["ports"]) && !is_headless(spec) && !is_external_name(spec) {
            causes.required(&SPEC.child("ports"), "");
        }
        by_type(spec, causes);
        ports(spec, causes);
        labels(&spec["selector"], &SPEC.child("selector"), causes);
        affinity(spec, causes);
        cluster_ips(spec, causes);
        external_ips(spec, causes);
        let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
        causes.one_of(&SPEC.child("type"), &spec["type"], &types);
        node_ports(spec, causes);
        load_balancer(spec, causes);
        traffic(spec, causes);
        if causes.is_empty() {
            families_of_cluster(spec, causes);
        }
    })
}

fn by_type(spec: &Value, causes: &mut Causes) {
    let kind = text(&spec["type"]);
    if is_load_balancer(spec) {
        let ports = SPEC.child("ports");
        for (i, port) in
            list(&spec["ports"]).iter().enumerate().filter(|(_, port)| int(&port["port"]) == Some(KUBELET_PORT))
        {
            let why = format!("may not expose port {KUBELET_PORT} externally since it is used by kubelet");
            causes.invalid(&ports.index(i), &port["port"], &why);
        }
    }
    if matches!(kind, "LoadBalancer" | "NodePort") && is_headless(spec) {
        let why = format!("may not be set to 'None' for {kind} services");
        causes.invalid(&SPEC.child("clusterIPs").index(0), &spec["clusterIPs"][0], &why);
    }
    if kind != "ExternalName" {
        return;
    }
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"].into_iter().filter(|field| !is_empty(&spec[*field])) {
        causes.forbidden(&SPEC.child(field), "may not be set for ExternalName services");
    }
    let at = SPEC.child("externalName");
    let name = text(&spec["externalName"]);
    match name.strip_suffix('.').unwrap_or(name) {
        "" => causes.required(&at, ""),
        name => causes.each_invalid(&at, name, names::dns_subdomain(name)),
    }
}

fn ports(spec: &Value, causes: &mut Causes) {
    let ports = list(&spec["ports"]);
    let ports_at = SPEC.child("ports");
    let repeated = repeats(ports.iter().map(|port| text(&port["name"])));
    for (i, port) in ports.iter().enumerate() {
        let at = ports_at.index(i);
        match text(&port["name"]) {
            "" if ports.len() > 1 => causes.required(&at.child("name"), ""),
            "" => {}
            name => {
                causes.each_invalid(&at.child("name"), name, names::dns_label(name));
                if repeated.contains(&i) {
                    causes.duplicate(&at.child("name"), name);
                }
            }
        }
        names::port(int(&port["port"]).unwrap_or(0), &at.child("port"), causes);
        causes.one_of(&at.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        let target_at = at.child("targetPort");
        match port["targetPort"].as_str() {
            Some(name) => causes.each_invalid(&target_at, name, names::port_name(name)),
            None => names::port(int(&port["targetPort"]).unwrap_or(0), &target_at, causes),
        }
        if let Some(protocol) = port["appProtocol"].as_str() {
            causes.each_invalid(&at.child("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

/// Ports that a node opens: only for some types, and each once. Each port of the service itself once, too.
fn node_ports(spec: &Value, causes: &mut Causes) {
    let ports = list(&spec["ports"]);
    let at = SPEC.child("ports");
    let node_port = |port: &Value| int(&port["nodePort"]).unwrap_or(0);
    let repeated = repeats(ports.iter().map(|port| (&port["protocol"], node_port(port))));
    for (i, port) in ports.iter().enumerate() {
        let node_at = at.index(i);
        let node_at = node_at.child("nodePort");
        if spec["type"] == "ClusterIP" && node_port(port) != 0 {
            causes.forbidden(&node_at, "may not be used when `type` is 'ClusterIP'");
        }
        if node_port(port) != 0 && repeated.contains(&i) {
            causes.invalid(&node_at, node_port(port), "provided port is already allocated");
        }
    }
    let repeated = repeats(ports.iter().map(|port| (&port["protocol"], &port["port"])));
    for (i, port) in ports.iter().enumerate().filter(|(i, _)| repeated.contains(i)) {
        causes.duplicate(
            &at.index(i),
            golang::shown("ServicePort", &json!({"protocol": port["protocol"], "port": port["port"]})),
        );
    }
}

fn affinity(spec: &Value, causes: &mut Causes) {
    causes.one_of(&SPEC.child("sessionAffinity"), &spec["sessionAffinity"], &["ClientIP", "None"]);
    let at = SPEC.child("sessionAffinityConfig");
    let config = &spec["sessionAffinityConfig"];
    match text(&spec["sessionAffinity"]) {
        "ClientIP" => {
            let client = at.child("clientIP");
            let seconds = int(&config["clientIP"]["timeoutSeconds"]).unwrap_or(0);
            if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) {
                let why = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                causes.invalid(&client.child("timeoutSeconds"), seconds, &why);
            }
        }
        "None" if !config.is_null() => causes.forbidden(&at, "must not be set when session affinity is None"),
        _ => {}
    }
}

/// Addresses in the cluster, their families and the policy on these.
fn cluster_ips(spec: &Value, causes: &mut Causes) {
    if is_external_name(spec) {
        return;
    }
    let (ips, ips_at) = (list(&spec["clusterIPs"]), SPEC.child("clusterIPs"));
    match text(&spec["clusterIP"]) {
        "" if !ips.is_empty() => causes.invalid(&ips_at, ips, "must be empty when `clusterIP` is not specified"),
        "" => {}
        _ if ips.is_empty() => causes.required(&ips_at, ""),
        ip if ips[0] != ip => causes.invalid(&ips_at, ips, "first value must match `clusterIP`"),
        _ => {}
    }
    let (families, families_at) = (list(&spec["ipFamilies"]), SPEC.child("ipFamilies"));
    let repeated = repeats(families);
    for (i, family) in families.iter().enumerate() {
        causes.one_of(&families_at.index(i), family, &["IPv4", "IPv6"]);
        if repeated.contains(&i) {
            causes.duplicate(&families_at.index(i), family);
        }
    }
    if !spec["ipFamilyPolicy"].is_null() {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        causes.one_of(&SPEC.child("ipFamilyPolicy"), &spec["ipFamilyPolicy"], &policies);
    }
    let mut parsed: Vec<IpAddr> = Vec::new();
    for (i, ip) in ips.iter().enumerate() {
        if i == 0 && ip == "None" {
            if ips.len() > 1 {
                return causes.invalid(&ips_at.index(0), ips, "'None' must be the first and only value");
            }
            continue;
        }
        causes.each_invalid(&ips_at.index(i), text(ip), addresses::ip(text(ip)));
        parsed.extend(addresses::parse_ip(text(ip)));
    }
    if ips.len() > 2 {
        causes.invalid(&ips_at, ips, "may only hold up to 2 values");
    }
    if parsed.len() == ips.len() {
        if parsed.len() == 2 && parsed[0].is_ipv4() == parsed[1].is_ipv4() {
            causes.invalid(&ips_at, ips, "may specify no more than one IP for each IP family");
        }
        for (i, (ip, family)) in parsed.iter().zip(families).enumerate() {
            let expected = text(family);
            if matches!(expected, "IPv4" | "IPv6") && ip.is_ipv4() != (expected == "IPv4") {
                let article = "expected an";
                let why = format!("{article} {expected} value as indicated by `ipFamilies[{i}]`");
                causes.invalid(&ips_at.index(i), ip, &why);
            }
        }
    }
}

/// What a cluster with IPv4 alone can give.
fn families_of_cluster(spec: &Value, causes: &mut Causes) {
    let free = is_headless(spec) && is_empty(&spec["selector"]);
    if is_external_name(spec) {
        return;
    }
    let families = list(&spec["ipFamilies"]);
    if families.len() > 1 && spec["ipFamilyPolicy"] == "SingleStack" {
        let why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
        return causes.invalid(&SPEC.child("ipFamilyPolicy"), "SingleStack", why);
    }
    if free {
        return;
    }
    let ips = list(&spec["clusterIPs"]);
    let ips_at = SPEC.child("clusterIPs");
    for (i, ip) in ips.iter().enumerate() {
        if addresses::parse_ip(text(ip)).is_some_and(|ip| ip.is_ipv6()) {
            return causes.invalid(&ips_at.index(i), ips, "IPv6 is not configured on this cluster");
        }
    }
    let at = SPEC.child("ipFamilies");
    for (i, family) in families.iter().enumerate().filter(|(_, family)| *family == "IPv6") {
        causes.invalid(&at.index(i), family, "not configured on this cluster");
    }
    if spec["ipFamilyPolicy"] == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        causes.invalid(&SPEC.child("ipFamilyPolicy"), "RequireDualStack", why);
    }
}

fn external_ips(spec: &Value, causes: &mut Causes) {
    let at = SPEC.child("externalIPs");
    for (i, ip) in list(&spec["externalIPs"]).iter().enumerate() {
        let (at, ip) = (at.index(i), text(ip));
        causes.each_invalid(&at, ip, addresses::ip(ip));
        if let Some(why) = addresses::parse_ip(ip).and_then(special) {
            causes.invalid(&at, ip, why);
        }
    }
}

/// Why an address cannot be one that packets are sent to from elsewhere.
pub(crate) fn special(ip: IpAddr) -> Option<&'static str> {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let link_multicast = match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    };
    match () {
        () if ip.is_unspecified() => Some("may not be unspecified (0.0.0.0 or ::)"),
        () if ip.is_loopback() => Some("may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        () if link_local => Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        () if link_multicast => Some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        () => None,
    }
}

fn load_balancer(spec: &Value, causes: &mut Causes) {
    let balanced = is_load_balancer(spec);
    let ranges = SPEC.child("LoadBalancerSourceRanges");
    if !is_empty(&spec["loadBalancerSourceRanges"]) && !balanced {
        causes.forbidden(&ranges, ONLY_BALANCED);
    }
    for (i, range) in list(&spec["loadBalancerSourceRanges"]).iter().enumerate() {
        causes.each_invalid(&ranges.index(i), text(range), addresses::cidr(text(range).trim()));
    }
    let allocate = &spec["allocateLoadBalancerNodePorts"];
    match (balanced, allocate.is_null()) {
        (true, true) => causes.required(&SPEC.child("allocateLoadBalancerNodePorts"), ""),
        (false, false) => causes.forbidden(&SPEC.child("allocateLoadBalancerNodePorts"), ONLY_BALANCED),
        _ => {}
    }
    if let Some(class) = spec["loadBalancerClass"].as_str() {
        let at = SPEC.child("loadBalancerClass");
        if !balanced {
            causes.forbidden(&at, ONLY_BALANCED);
        }
        causes.each_invalid(&at, class, names::qualified_name(class));
    }
}

/// Where traffic from outside and from inside goes.
fn traffic(spec: &Value, causes: &mut Causes) {
    let (external, external_at) = (text(&spec["externalTrafficPolicy"]), SPEC.child("externalTrafficPolicy"));
    match (is_reached_from_outside(spec), external) {
        (true, "") => causes.required(&external_at, ""),
        (_, "") => {}
        (false, policy) => {
            causes.invalid(&external_at, policy, "may only be set for externally-accessible services");
        }
        (true, "Cluster" | "Local") => {}
        (true, other) => causes.unsupported(&external_at, other, &["Cluster", "Local"]),
    }
    let health = int(&spec["healthCheckNodePort"]).unwrap_or(0);
    if health != 0 && !has_health_check_port(spec) {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        causes.invalid(&SPEC.child("healthCheckNodePort"), health, why);
    }
    let internal_at = SPEC.child("internalTrafficPolicy");
    if !spec["internalTrafficPolicy"].is_null() {
        causes.one_of(&internal_at, &spec["internalTrafficPolicy"], &["Cluster", "Local"]);
    } else if matches!(text(&spec["type"]), "ClusterIP" | "NodePort" | "LoadBalancer") {
        causes.required(&internal_at, "");
    }
    if !spec["trafficDistribution"].is_null() {
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        causes.one_of(&SPEC.child("trafficDistribution"), &spec["trafficDistribution"], &known);
    }
}

/// Only what a load balancer serves has addresses of one.
pub(super) fn status(new: &Value, _old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let status = Path::new("status");
        let balancer = status.child("loadBalancer");
        let (ingress, at) = (list(&new["status"]["loadBalancer"]["ingress"]), balancer.child("ingress"));
        if !ingress.is_empty() && !is_load_balancer(&new["spec"]) {
            return causes.forbidden(&at, "may only be used when `spec.type` is 'LoadBalancer'");
        }
        for (i, entry) in ingress.iter().enumerate() {
            let at = at.index(i);
            let (ip, mode) = (text(&entry["ip"]), &entry["ipMode"]);
            if !ip.is_empty() {
                causes.each_invalid(&at.child("ip"), ip, addresses::ip(ip));
            }
            let mode_at = at.child("ipMode");
            match mode.as_str() {
                None if ip.is_empty() => {}
                None => causes.required(&mode_at, "must be specified when `ip` is set"),
                Some(_) if ip.is_empty() => causes.forbidden(&mode_at, "may not be specified when `ip` is not set"),
                Some("Proxy" | "VIP") => {}
                Some(other) => causes.unsupported(&mode_at, other, &["Proxy", "VIP"]),
            }
            let host = text(&entry["hostname"]);
            if !host.is_empty() {
                causes.each_invalid(&at.child("hostname"), host, names::dns_subdomain(host));
                if addresses::parse_ip(host).is_some() {
                    causes.invalid(&at.child("hostname"), host, "must be a DNS name, not an IP address");
                }
            }
        }
    })
}
