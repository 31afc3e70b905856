//! What a pod refers to: the objects that its node's agent needs in order to run it.

use super::Reference;
use serde_json::Value;

/// Whether the pod refers to the object of this kind and name, in its own namespace.
pub fn pod_references(pod: &Value, kind: Reference, name: &str) -> bool {
    let spec = &pod["spec"];
    match kind {
        Reference::ServiceAccount => spec["serviceAccountName"] == name,
        Reference::PersistentVolumeClaim => {
            items(&spec["volumes"]).any(|volume| volume["persistentVolumeClaim"]["claimName"] == name)
        }
        // A pod names claims; which volumes they are bound to is not in the pod.
        Reference::PersistentVolume => false,
        Reference::Secret => {
            items(&spec["imagePullSecrets"]).any(|secret| secret["name"] == name)
                || containers(spec).any(|c| environment(c, "secretKeyRef", "secretRef", name))
                || volumes(spec).any(|v| v["secret"]["secretName"] == name || v["secret"]["name"] == name)
        }
        Reference::ConfigMap => {
            containers(spec).any(|c| environment(c, "configMapKeyRef", "configMapRef", name))
                || volumes(spec).any(|v| v["configMap"]["name"] == name)
        }
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers", "ephemeralContainers"].into_iter().flat_map(|list| items(&spec[list]))
}

/// Volumes, and the sources of projected ones.
fn volumes(spec: &Value) -> impl Iterator<Item = &Value> {
    items(&spec["volumes"]).flat_map(|volume| std::iter::once(volume).chain(items(&volume["projected"]["sources"])))
}

fn environment(container: &Value, key_ref: &str, whole_ref: &str, name: &str) -> bool {
    items(&container["env"]).any(|env| env["valueFrom"][key_ref]["name"] == name)
        || items(&container["envFrom"]).any(|from| from[whole_ref]["name"] == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_to_refer_to_an_object_is_seen() {
        let pod = json!({"spec": {
            "serviceAccountName": "sa", "imagePullSecrets": [{"name": "s1"}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s2"}}}], "envFrom": [{"configMapRef": {"name": "c1"}}]}],
            "initContainers": [{"envFrom": [{"secretRef": {"name": "s3"}}], "env": [{"valueFrom": {"configMapKeyRef": {"name": "c2"}}}]}],
            "volumes": [{"secret": {"secretName": "s4"}}, {"configMap": {"name": "c3"}}, {"persistentVolumeClaim": {"claimName": "p1"}},
                {"projected": {"sources": [{"secret": {"name": "s5"}}, {"configMap": {"name": "c4"}}]}}],
        }});
        let seen = |kind, names: &[&str]| names.iter().all(|name| pod_references(&pod, kind, name));
        assert!(seen(Reference::Secret, &["s1", "s2", "s3", "s4", "s5"]));
        assert!(seen(Reference::ConfigMap, &["c1", "c2", "c3", "c4"]));
        assert!(seen(Reference::ServiceAccount, &["sa"]) && seen(Reference::PersistentVolumeClaim, &["p1"]));
        assert!(!pod_references(&pod, Reference::Secret, "c1") && !pod_references(&pod, Reference::ConfigMap, "s1"));
    }
}
