//! How a pod is found behind a service: its addresses, its ports, its name in DNS. Pure.

use crate::view::{Container, Meta, Pod, PodAnnotations, Service, ServicePort, TargetRef};

/// Whether a pod counts as behind a service at all. One that is going does where that is asked for.
pub fn is_behind(pod: &Pod, or_going: bool) -> bool {
    !pod.is_finished() && !pod.status.pod_ips.is_empty() && (or_going || !pod.metadata.is_deleting())
}

/// Whether a change of a pod can change how it is found.
pub fn is_found_otherwise(old: &Pod, new: &Pod) -> bool {
    let of_meta = |m: &Meta<PodAnnotations>| (m.uid.clone(), m.is_deleting());
    old.spec != new.spec
        || of_meta(&old.metadata) != of_meta(&new.metadata)
        || old.metadata.labels != new.metadata.labels
        || old.status.phase != new.status.phase
        || old.status.pod_ips != new.status.pod_ips
        || old.is_ready() != new.is_ready()
}

/// The pod's addresses of one family, `IPv4` or `IPv6`.
pub fn addresses<'a>(pod: &'a Pod, family: &'a str) -> impl Iterator<Item = &'a String> {
    pod.status.pod_ips.iter().map(|p| &p.ip).filter(move |ip| family_of(ip) == family)
}

pub fn family_of(ip: &str) -> &'static str {
    if ip.contains(':') { "IPv6" } else { "IPv4" }
}

/// The name of the pod within the domain of a service that is its own.
pub fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a str> {
    let own = !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name;
    own.then_some(pod.spec.hostname.as_str())
}

/// The number of the pod's port that a service's port leads to. `None` if the pod has no port of that name.
pub fn port(pod: &Pod, port: &ServicePort) -> Option<i64> {
    if let Some(number) = port.target_port.as_i64().filter(|n| *n != 0) {
        return Some(number);
    }
    let Some(name) = port.target_port.as_str() else { return Some(port.port) };
    let of_containers = |c: &Container| {
        let named = c.ports.iter().find(|p| p.name == name && p.protocol == port.protocol);
        named.map(|p| p.container_port)
    };
    let stays = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
    let containers = pod.spec.containers.iter();
    containers.chain(pod.spec.init_containers.iter().filter(stays)).find_map(of_containers)
}

pub fn target(pod: &Pod) -> TargetRef {
    TargetRef {
        kind: "Pod".to_owned(),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        api_version: String::new(),
    }
}
