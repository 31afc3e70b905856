//! Changes of services: what the server gave stays, and what a new type has no use for goes.

use super::validate::SPEC;
use super::{
    has_health_check_port, has_node_ports, ip_families, is_external_name, is_load_balancer, is_reached_from_outside,
};
use crate::causes::Causes;
use crate::value::{first_by, int, is_empty, keep, list, list_mut, remove, set, text};
use api::Cause;
use serde_json::{Value, json};
use std::collections::HashSet;

pub(super) fn prepare(new: &mut Value, old: &Value) {
    let (new_spec, old_spec) = (&mut new["spec"], &old["spec"]);
    if !new_spec.is_object() {
        return;
    }
    if !is_load_balancer(new_spec) && is_load_balancer(old_spec) {
        new["status"]["loadBalancer"] = json!({});
    }
    let new_spec = &mut new["spec"];
    drop_useless(new_spec, old_spec);
    keep_given(new_spec, old_spec);
    same_cluster_ips(new_spec, old_spec);
    if is_external_name(old_spec) || !is_empty(&new_spec["ipFamilies"]) || !is_empty(&new_spec["ipFamilyPolicy"]) {
        ip_families(new);
    } else if !is_external_name(new_spec) {
        keep(new_spec, old_spec, "ipFamilies");
        keep(new_spec, old_spec, "ipFamilyPolicy");
    }
}

/// A field that the client did not change and that the new type has no use for.
fn drop_useless(new: &mut Value, old: &Value) {
    let mut drop = |field: &'static str, needs: fn(&Value) -> bool| {
        if needs(old) && !needs(new) && new[field] == old[field] {
            remove(new, field);
        }
    };
    drop("externalName", is_external_name);
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
        drop(field, |spec| !is_external_name(spec));
    }
    drop("healthCheckNodePort", has_health_check_port);
    for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        drop(field, is_load_balancer);
    }
    drop("externalTrafficPolicy", is_reached_from_outside);
    let node_ports =
        |spec: &Value| -> HashSet<i64> { list(&spec["ports"]).iter().filter_map(|p| int(&p["nodePort"])).collect() };
    let of_old = node_ports(old);
    if has_node_ports(old) && !has_node_ports(new) && node_ports(new).iter().all(|port| of_old.contains(port)) {
        list_mut(new, "ports").for_each(|port| remove(port, "nodePort"));
    }
}

/// Addresses and ports that the server gave and that the client left out.
fn keep_given(new: &mut Value, old: &Value) {
    if !is_external_name(new) && !is_external_name(old) {
        if is_empty(&new["clusterIP"]) {
            keep(new, old, "clusterIP");
        }
        if is_empty(&new["clusterIPs"]) && new["clusterIP"] == old["clusterIP"] {
            keep(new, old, "clusterIPs");
        }
    }
    if has_node_ports(new) && has_node_ports(old) {
        let used: HashSet<i64> =
            list(&new["ports"]).iter().filter_map(|p| int(&p["nodePort"])).filter(|p| *p != 0).collect();
        let by_name = first_by(list(&old["ports"]), |port| text(&port["name"]));
        let of_old =
            |name: &Value| int(&by_name.get(text(name))?["nodePort"]).filter(|port| *port != 0 && !used.contains(port));
        for port in list_mut(new, "ports") {
            if int(&port["nodePort"]).unwrap_or(0) == 0
                && let Some(given) = of_old(&port["name"])
            {
                set(port, "nodePort", given);
            }
        }
    }
    let lacks_health_port = int(&new["healthCheckNodePort"]).unwrap_or(0) == 0;
    if has_health_check_port(new) && has_health_check_port(old) && lacks_health_port {
        keep(new, old, "healthCheckNodePort");
    }
}

/// The one of the two that the client changed holds.
fn same_cluster_ips(new: &mut Value, old: &Value) {
    let ips_same = new["clusterIPs"] == old["clusterIPs"];
    let ip_same = new["clusterIP"] == old["clusterIP"];
    if !ip_same && ips_same {
        match text(&new["clusterIP"]).to_owned() {
            ip if ip.is_empty() => remove(new, "clusterIPs"),
            ip => set(new, "clusterIPs", json!([ip])),
        }
    } else if ip_same && !ips_same && is_empty(&new["clusterIPs"]) {
        remove(new, "clusterIP");
    } else if is_empty(&new["clusterIPs"]) && !is_empty(&new["clusterIP"]) {
        let ip = new["clusterIP"].clone();
        set(new, "clusterIPs", json!([ip]));
    }
}

pub(super) fn validate(new: &Value, old: &Value) -> Vec<Cause> {
    Causes::of(|causes| {
        let (new, old) = (&new["spec"], &old["spec"]);
        if is_external_name(new) || is_external_name(old) {
            return;
        }
        let (first, before) = (&new["clusterIPs"][0], &old["clusterIPs"][0]);
        if !before.is_null() && first != before {
            causes.invalid(&SPEC.child("clusterIPs").index(0), &new["clusterIPs"], "may not change once set");
        }
        let (family, before) = (&new["ipFamilies"][0], &old["ipFamilies"][0]);
        if !before.is_null() && family != before {
            causes.invalid(&SPEC.child("ipFamilies").index(0), &new["ipFamilies"], "may not change once set");
        }
        let health = "healthCheckNodePort";
        if has_health_check_port(new) && has_health_check_port(old) && new[health] != old[health] {
            causes.forbidden(&SPEC.child(health), "field is immutable");
        }
        let class = "loadBalancerClass";
        if is_load_balancer(new) && is_load_balancer(old) && new[class] != old[class] {
            causes.invalid(&SPEC.child(class), &new[class], "may not change once set");
        }
    })
}
