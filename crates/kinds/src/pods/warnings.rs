//! What is allowed in a pod but likely a mistake.

use crate::causes::Path;
use crate::names;
use crate::resources::quantity;
use crate::value::{int, is_empty, list, members, repeats, text};
use serde_json::Value;
use std::collections::HashMap;

const NODE_LABELS: [(&str, &str); 7] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("failure-domain.kubernetes.io/region", "deprecated; use \"topology.kubernetes.io/region\" instead"),
    ("failure-domain.kubernetes.io/zone", "deprecated; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
];

/// Sources that nothing serves any more.
const GONE_VOLUMES: [(&str, &str, &str); 9] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warnings about a pod; none about what it had before.
pub(crate) fn pod(pod: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    let name = text(&pod["metadata"]["name"]);
    let problems = names::dns_label(name);
    if old.is_none() && !problems.is_empty() && !name.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            problems.join(" ")
        ));
    }
    if old.is_some_and(|old| old["spec"] == pod["spec"]) {
        return warnings;
    }
    annotations(pod, &Path::new("metadata"), &mut warnings);
    spec(&pod["spec"], &Path::new("spec"), &mut warnings);
    warnings
}

/// Warnings about the pod template of a workload at `at`.
pub(crate) fn template(template: &Value, old: Option<&Value>, at: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    if old != Some(template) {
        annotations(template, &at.child("metadata"), &mut warnings);
        spec(&template["spec"], &at.child("spec"), &mut warnings);
    }
    warnings
}

fn annotations(pod: &Value, meta: &Path, warnings: &mut Vec<String>) {
    let at = meta.child("annotations");
    for (key, _) in members(&pod["metadata"]["annotations"]) {
        let why = match key {
            "scheduler.alpha.kubernetes.io/critical-pod" => {
                "non-functional in v1.16+; use the \"priorityClassName\" field instead"
            }
            "seccomp.security.alpha.kubernetes.io/pod" => {
                "non-functional in v1.27+; use the \"seccompProfile\" field instead"
            }
            _ if key.starts_with("container.apparmor.security.beta.kubernetes.io/") => {
                "deprecated since v1.30; use the \"appArmorProfile\" field instead"
            }
            _ if key.starts_with("container.seccomp.security.alpha.kubernetes.io/") => {
                "non-functional in v1.27+; use the \"seccompProfile\" field instead"
            }
            _ => continue,
        };
        warnings.push(format!("{}: {why}", at.key(key)));
    }
}

fn spec(spec: &Value, at: &Path, warnings: &mut Vec<String>) {
    let selector = at.child("nodeSelector");
    for (key, why) in NODE_LABELS.iter().filter(|(key, _)| spec["nodeSelector"].get(key).is_some()) {
        warnings.push(format!("{}: {why}", selector.key(key)));
    }
    let spread = at.child("topologySpreadConstraints");
    for (i, constraint) in list(&spec["topologySpreadConstraints"]).iter().enumerate() {
        let at = spread.index(i);
        if constraint["labelSelector"].is_null() {
            warnings.push(format!("{}: a null labelSelector results in matching no pod", at.child("labelSelector")));
        }
    }
    let secrets = at.child("imagePullSecrets");
    for (i, secret) in list(&spec["imagePullSecrets"]).iter().enumerate() {
        if is_empty(&secret["name"]) {
            warnings.push(format!("{}: invalid empty name \"\"", secrets.index(i).child("name")));
        }
    }
    let volumes = at.child("volumes");
    for (i, source) in list(&spec["volumes"]).iter().enumerate() {
        volume(source, &volumes.index(i), warnings);
    }
    for field in ["initContainers", "containers"] {
        let containers = at.child(field);
        for (i, item) in list(&spec[field]).iter().enumerate() {
            container(item, &containers.index(i), warnings);
        }
    }
    ports(spec, at, warnings);
}

fn volume(volume: &Value, at: &Path, warnings: &mut Vec<String>) {
    for (_, shown, why) in GONE_VOLUMES.iter().filter(|(source, _, _)| !volume[*source].is_null()) {
        warnings.push(format!("{}: {why}", at.child(shown)));
    }
    if volume["projected"].is_null() {
        return;
    }
    let name = text(&volume["name"]);
    let sources = list(&volume["projected"]["sources"]);
    if sources.iter().any(|source| members(source).all(|(_, value)| value.is_null())) {
        warnings.push(format!("volume {name:?} (Projected) has no sources provided"));
    }
    let mut paths: HashMap<&str, &str> = HashMap::new();
    for source in sources {
        let mut found = Vec::new();
        for (field, kind) in [("secret", "Secret"), ("configMap", "ConfigMap"), ("downwardAPI", "DownwardAPI")] {
            let items = list(&source[field]["items"]).iter();
            found.extend(items.map(|item| (text(&item["path"]), kind)));
        }
        if !source["serviceAccountToken"].is_null() {
            found.push((text(&source["serviceAccountToken"]["path"]), "ServiceAccountToken"));
        }
        for (path, kind) in found {
            let Some(other) = paths.get(path) else {
                paths.insert(path, kind);
                continue;
            };
            let (one, two) = (format!("{path:?} ({kind})"), format!("{path:?} ({other})"));
            warnings.push(format!("volume {name:?} (Projected): overlapping paths: {one} with {two}"));
        }
    }
}

fn container(container: &Value, at: &Path, warnings: &mut Vec<String>) {
    let env = at.child("env");
    let variables = list(&container["env"]);
    let repeated = repeats(variables.iter().map(|variable| text(&variable["name"])));
    for (i, variable) in variables.iter().enumerate() {
        let name = text(&variable["name"]);
        if repeated.contains(&i) && !name.is_empty() {
            let why = "which may be dropped when using apply";
            warnings.push(format!("{}: hides previous definition of {name:?}, {why}", env.index(i)));
        }
    }
    let resources = at.child("resources");
    for field in ["limits", "requests"] {
        let at = resources.child(field);
        for (name, amount) in members(&container["resources"][field]) {
            let whole = quantity(amount) == api::Quantity::from_units(quantity(amount).units());
            if matches!(name, "memory" | "ephemeral-storage") && !whole {
                let why = "is invalid, must be an integer";
                warnings.push(format!("{}: fractional byte value {:?} {why}", at.key(name), text(amount)));
            }
        }
    }
}

/// Two ports of the same number and protocol in one container.
fn ports(spec: &Value, at: &Path, warnings: &mut Vec<String>) {
    for field in ["containers", "initContainers"] {
        let containers = at.child(field);
        for (i, container) in list(&spec[field]).iter().enumerate() {
            let at = containers.index(i);
            let at = at.child("ports");
            let ports = list(&container["ports"]);
            let mut first_of = HashMap::new();
            for (i, port) in ports.iter().enumerate() {
                let numbers = ["containerPort", "hostPort"].map(|field| int(&port[field]));
                let first = *first_of.entry((numbers, &port["protocol"], &port["hostIP"])).or_insert(i);
                if first != i {
                    warnings.push(format!("{}: duplicate port definition with {}", at.index(i), at.index(first)));
                }
            }
        }
    }
}
