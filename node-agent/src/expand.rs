//! `$(VAR)` in commands, arguments and values, and what a pod can say about itself to its containers. Pure.

use crate::pod::{Container, FieldRef, Pod, ResourceFieldRef};
use api::Quantity;
use std::collections::HashMap;
use std::net::IpAddr;

/// Replaces `$(NAME)` by the variable's value. An unknown name stays as it is; `$$(NAME)` becomes `$(NAME)`.
pub fn expand(text: &str, variables: &HashMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// What the downward API can tell beyond the pod itself.
#[derive(Clone, Debug)]
pub struct Facts {
    pub pod_ips: Vec<IpAddr>,
    pub host_ip: IpAddr,
    /// What a container without a limit may use: the node's.
    pub allocatable: Allocatable,
}

/// What a node has for pods.
#[derive(Clone, Copy, Debug)]
pub struct Allocatable {
    pub cpu: Quantity,
    pub memory: Quantity,
    pub ephemeral_storage: Quantity,
}

/// A field of the pod, as the downward API names it.
pub fn field(pod: &Pod, facts: &Facts, reference: &FieldRef) -> Result<String, String> {
    let metadata = &pod.metadata;
    let joined = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let path = reference.field_path.as_str();
    if let Some((map, key)) = subscript(path) {
        let labels = match map {
            "metadata.labels" => &metadata.labels,
            "metadata.annotations" => &metadata.annotations,
            _ => return Err(format!("fieldPath {path:?} is not supported")),
        };
        return Ok(labels.get(key).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.tenant" => metadata.tenant.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "metadata.labels" => quoted(&metadata.labels),
        "metadata.annotations" => quoted(&metadata.annotations),
        "spec.nodeName" => pod.spec.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.service_account_name.clone(),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.to_string(),
        "status.podIP" => facts.pod_ips.first().map(ToString::to_string).unwrap_or_default(),
        "status.podIPs" => joined(&facts.pod_ips),
        _ => return Err(format!("fieldPath {path:?} is not supported")),
    })
}

/// A container's request or limit, in units of the divisor, rounded up.
pub fn resource(
    pod: &Pod,
    facts: &Facts,
    reference: &ResourceFieldRef,
    own: Option<&Container>,
) -> Result<String, String> {
    let name = &reference.container_name;
    let container = if name.is_empty() { own } else { pod.spec.container(name) };
    let container = container.ok_or_else(|| format!("container {name:?} not found in the pod"))?;
    let (which, resource) = reference.resource.split_once('.').unwrap_or(("", &reference.resource));
    let allocatable = match resource {
        "cpu" => facts.allocatable.cpu,
        "memory" => facts.allocatable.memory,
        "ephemeral-storage" => facts.allocatable.ephemeral_storage,
        _ => return Err(format!("unsupported container resource: {}", reference.resource)),
    };
    let limit = container.resources.limit(resource);
    let amount = match which {
        "limits" => limit.filter(|q| !q.is_zero()).unwrap_or(allocatable),
        "requests" => container.resources.request(resource).or(limit).unwrap_or(Quantity::ZERO),
        _ => return Err(format!("unsupported container resource: {}", reference.resource)),
    };
    let divisor = reference.divisor.filter(|q| !q.is_zero()).unwrap_or(Quantity::from_units(1));
    let in_units = |q: Quantity| if resource == "cpu" { q.millis() } else { q.units() };
    let divisor = in_units(divisor).max(1);
    Ok(in_units(amount).div_euclid(divisor).saturating_add(i64::from(in_units(amount) % divisor != 0)).to_string())
}

/// `metadata.labels['key']` as its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']").and_then(|p| p.split_once("['"))
}

/// Labels as a downward API file lists them.
fn quoted(labels: &std::collections::BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_expand_as_upstream() {
        let variables = HashMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        let cases = [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(NO)", "$(NO)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("$$", "$"),
            ("$(B)", "$(A)"),
            ("€$(A)", "€1"),
            ("$()", "$()"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }

    fn facts() -> Facts {
        let allocatable = Allocatable {
            cpu: Quantity::from_units(2),
            memory: Quantity::from_bytes(1 << 30),
            ephemeral_storage: Quantity::from_bytes(1 << 40),
        };
        let ip = |text: &str| text.parse().expect("an address");
        Facts { pod_ips: vec![ip("10.0.0.2")], host_ip: ip("192.0.2.1"), allocatable }
    }

    #[test]
    fn a_pod_tells_its_containers_about_itself() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "tenant": "acme", "labels": {"a": "x\"y", "b": "2"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "5Mi"}}}]}
        }))
        .expect("a pod");
        let field = |path: &str| field(&pod, &facts(), &FieldRef { field_path: path.to_owned() });
        assert_eq!(field("metadata.labels['b']").as_deref(), Ok("2"));
        assert_eq!(field("metadata.labels").as_deref(), Ok("a=\"x\\\"y\"\nb=\"2\""));
        assert_eq!(field("status.podIP").as_deref(), Ok("10.0.0.2"));
        assert!(field("spec.containers").is_err());
        let resource = |resource: &str, divisor: &str| {
            let divisor = Quantity::parse(divisor);
            let reference = ResourceFieldRef { container_name: String::new(), resource: resource.to_owned(), divisor };
            super::resource(&pod, &facts(), &reference, pod.spec.containers.first()).expect(resource)
        };
        assert_eq!(resource("limits.cpu", ""), "2");
        assert_eq!(resource("limits.cpu", "1m"), "1500");
        assert_eq!(resource("requests.memory", "1Mi"), "5");
        assert_eq!(resource("limits.memory", ""), (1 << 30).to_string());
    }
}
