//! Which objects of its namespace a pod refers to.

use super::Reference;
use serde_json::Value;

/// Whether a pod refers to the object `name` of its own namespace. Persistent volumes are referred to by claims, not by
/// pods.
pub fn pod_references(pod: &Value, kind: Reference, name: &str) -> bool {
    let spec = &pod["spec"];
    match kind {
        Reference::ServiceAccount => spec["serviceAccountName"] == name,
        Reference::Secret => {
            items(&spec["imagePullSecrets"]).any(|reference| reference["name"] == name)
                || environment(spec, "secretKeyRef", "secretRef", name)
                || items(&spec["volumes"]).any(|volume| volume_has_secret(volume, name))
        }
        Reference::ConfigMap => {
            environment(spec, "configMapKeyRef", "configMapRef", name)
                || items(&spec["volumes"]).any(|volume| {
                    volume["configMap"]["name"] == name
                        || items(&volume["projected"]["sources"]).any(|source| source["configMap"]["name"] == name)
                })
        }
        Reference::PersistentVolumeClaim => items(&spec["volumes"]).any(|volume| {
            volume["persistentVolumeClaim"]["claimName"] == name
                || (volume["ephemeral"].is_object() && claim_of_ephemeral(pod, volume) == name)
        }),
        Reference::PersistentVolume => false,
    }
}

/// Whether the environment of any container comes from the object.
fn environment(spec: &Value, key_reference: &str, whole_reference: &str, name: &str) -> bool {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    lists.iter().flat_map(|list| items(&spec[*list])).any(|container| {
        items(&container["env"]).any(|variable| variable["valueFrom"][key_reference]["name"] == name)
            || items(&container["envFrom"]).any(|source| source[whole_reference]["name"] == name)
    })
}

fn volume_has_secret(volume: &Value, name: &str) -> bool {
    const WITH_REFERENCE: [&str; 7] = ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];
    volume["secret"]["secretName"] == name
        || volume["azureFile"]["secretName"] == name
        || volume["csi"]["nodePublishSecretRef"]["name"] == name
        || WITH_REFERENCE.iter().any(|source| volume[*source]["secretRef"]["name"] == name)
        || items(&volume["projected"]["sources"]).any(|source| source["secret"]["name"] == name)
}

fn claim_of_ephemeral(pod: &Value, volume: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}-{}", text(&pod["metadata"]["name"]), text(&volume["name"]))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": "bot",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s-env"}}}], "envFrom": [
                {"configMapRef": {"name": "c-from"}}]}],
            "initContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "c-env"}}}]}],
            "ephemeralContainers": [{"envFrom": [{"secretRef": {"name": "s-from"}}]}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "s-vol"}}, {"name": "b", "configMap": {"name": "c-vol"}},
                {"name": "d", "projected": {"sources": [
                    {"secret": {"name": "s-proj"}}, {"configMap": {"name": "c-proj"}}, {"serviceAccountToken": {}}]}},
                {"name": "e", "persistentVolumeClaim": {"claimName": "claim"}}, {"name": "f", "ephemeral": {}},
                {"name": "g", "csi": {"nodePublishSecretRef": {"name": "s-csi"}}},
            ],
        }})
    }

    #[test]
    fn every_place_of_a_pod_that_names_an_object_is_seen() {
        use Reference::{ConfigMap, PersistentVolumeClaim, Secret, ServiceAccount};
        let all = [
            (Secret, &["pull", "s-env", "s-from", "s-vol", "s-proj", "s-csi"][..]),
            (ConfigMap, &["c-from", "c-env", "c-vol", "c-proj"]),
            (ServiceAccount, &["bot"]),
            (PersistentVolumeClaim, &["claim", "p-f"]),
        ];
        for (kind, names) in all {
            for (other, _) in all {
                for name in names {
                    assert_eq!(pod_references(&pod(), other, name), other == kind, "{other:?} {name}");
                }
            }
        }
    }

    #[test]
    fn a_pod_without_references_has_none() {
        for name in ["", "default", "null"] {
            for kind in [Reference::Secret, Reference::ConfigMap, Reference::ServiceAccount] {
                assert!(!pod_references(&json!({"spec": {"containers": [{}]}}), kind, name));
            }
        }
    }
}
