//! APIServices of the versions that are built in or that a tenant defines: they are served here and always available.

use crate::registry;
use serde_json::{Value, json};

/// How groups are ordered in discovery: the larger number comes first.
const GROUPS: &[(&str, i64)] = &[
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("admissionregistration.k8s.io", 16_700),
    ("apiextensions.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("internal.apiserver.k8s.io", 16_000),
    ("storagemigration.k8s.io", 15_900),
];

/// The group of APIServices themselves, which has none of them.
const OWN: &str = "apiregistration.k8s.io";

/// One object per version of a group, without what is a tenant's own.
pub fn local_api_services() -> Vec<Value> {
    let groups = registry().groups().iter().filter_map(|group| {
        let (_, priority) = GROUPS.iter().find(|(name, _)| *name == group.name && *name != OWN)?;
        Some((group, *priority))
    });
    let service = |group: &str, version: &str, priority: i64| {
        service(group, version, "onstart", (priority, version_priority(group, version)))
    };
    groups.flat_map(|(group, priority)| group.versions.iter().map(move |v| service(group.name, v, priority))).collect()
}

/// The object of a version that custom resource definitions serve, without what is a tenant's own.
pub fn defined_api_service(group: &str, version: &str) -> Value {
    const PRIORITIES: (i64, i64) = (1000, 100);
    service(group, version, "true", PRIORITIES)
}

/// `managed` says by which of its loops upstream keeps it; `priorities` are the group's and the version's.
fn service(group: &str, version: &str, managed: &str, priorities: (i64, i64)) -> Value {
    let available = json!({"type": "Available", "status": "True", "reason": "Local",
        "message": "Local APIServices are always available", "lastTransitionTime": "1970-01-01T00:00:00Z"});
    let mut spec = json!({"version": version, "groupPriorityMinimum": priorities.0, "versionPriority": priorities.1});
    if !group.is_empty() {
        spec["group"] = json!(group);
    }
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {"kube-aggregator.kubernetes.io/automanaged": managed}},
        "spec": spec, "status": {"conditions": [available]},
    })
}

fn version_priority(group: &str, version: &str) -> i64 {
    match (group, version) {
        ("", "v1") => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io", "v1") => 21,
        ("resource.k8s.io", "v1") => 20,
        ("resource.k8s.io", "v1beta2") => 15,
        ("admissionregistration.k8s.io", "v1beta1") => 12,
        (_, "v1") => 15,
        (_, version) if version.contains("beta") => 9,
        (_, _) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_that_is_built_in_and_no_other_has_one() {
        let services = local_api_services();
        let names: Vec<&str> = services.iter().filter_map(|service| service["metadata"]["name"].as_str()).collect();
        assert!(names.contains(&"v1.") && names.contains(&"v1.apps") && names.contains(&"v2.autoscaling"), "{names:?}");
        assert!(!names.iter().any(|name| name.ends_with(OWN)));
        for group in registry().groups().iter().filter(|group| group.name != OWN && group.name.ends_with(".k8s.io")) {
            for version in &group.versions {
                assert!(names.contains(&format!("{version}.{}", group.name).as_str()), "{version}.{}", group.name);
            }
        }
    }
}
