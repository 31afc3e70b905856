//! Defaults of pod specs that take code. Pods and the pod templates of workloads share them, but for what only a pod
//! gets: requests from limits, host ports, service links.

use super::machines;
use crate::value::{default, int, is_empty, is_true, list, list_mut, members, object, remove, set, text};
use api::Quantity;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The three lists of containers in a pod spec.
pub(crate) const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Sources that are off by default in Kubernetes 1.36, as is a container's `stopSignal`: dropped as if never given.
const NOT_PROJECTED: [&str; 2] = ["clusterTrustBundle", "podCertificate"];

const MODE_644: i64 = 0o644;
const TOKEN_SECONDS: i64 = 3600;

/// Resources that one pod cannot share with another beyond its request, so requests follow limits.
const POD_LEVEL_RESOURCES: [&str; 2] = ["cpu", "memory"];

/// A pod, after its spec.
pub(crate) fn pod(pod: &mut Value) {
    let spec = &mut pod["spec"];
    pod_spec(spec);
    default(spec, "enableServiceLinks", true);
    if let Some(machine) = spec.get_mut("virtualMachine") {
        requests_from_limits(machine);
        machines::defaults(spec);
    }
    let host_network = is_true(&spec["hostNetwork"]);
    for field in ["initContainers", "containers"] {
        for container in list_mut(spec, field) {
            requests_from_limits(container);
            if host_network {
                for port in list_mut(container, "ports") {
                    let number = port["containerPort"].clone();
                    if int(&port["hostPort"]).unwrap_or(0) == 0 && !number.is_null() {
                        set(port, "hostPort", number);
                    }
                }
            }
        }
    }
    pod_level_requests(spec);
}

/// A pod spec, of a pod or of a template.
pub(crate) fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "restartPolicy", "Always");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "securityContext", json!({}));
    same_service_account(spec);
    for field in CONTAINER_LISTS {
        list_mut(spec, field).for_each(container);
    }
    list_mut(spec, "volumes").for_each(volume);
    machines::defaults(spec);
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are shown.
fn same_service_account(spec: &mut Value) {
    let name = match text(&spec["serviceAccountName"]) {
        "" => text(&spec["serviceAccount"]),
        name => name,
    }
    .to_owned();
    if !name.is_empty() {
        set(spec, "serviceAccountName", name.as_str());
        set(spec, "serviceAccount", name);
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(text(&container["image"]));
    default(container, "imagePullPolicy", policy);
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    for port in list_mut(container, "ports") {
        default(port, "protocol", "TCP");
    }
    for variable in list_mut(container, "env") {
        if let Some(from) = variable.get_mut("valueFrom") {
            field_ref(from);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|p| p.is_object()) {
            for (field, seconds) in
                [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
            {
                if int(&probe[field]).unwrap_or(0) == 0 {
                    set(probe, field, seconds);
                }
            }
            handler(probe);
            if let Some(grpc) = probe.get_mut("grpc").filter(|g| g.is_object()) {
                default(grpc, "service", "");
            }
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle").filter(|l| l.is_object()) {
        remove(lifecycle, "stopSignal");
        for hook in ["postStart", "preStop"] {
            lifecycle.get_mut(hook).into_iter().for_each(handler);
        }
        if is_empty(lifecycle) {
            remove(container, "lifecycle");
        }
    }
}

/// `Always` for `latest` and for no tag, unless a digest says which image it is.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let tag = name.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    let latest = tag == Some("latest") || (tag.is_none() && digest.is_none());
    if latest && is_image_name(name) { "Always" } else { "IfNotPresent" }
}

/// Whether the text can be the name of an image; nothing is known of the tag of what cannot.
fn is_image_name(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or_default();
    let last = last.split_once(':').map_or(last, |(name, _)| name);
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = last.as_bytes();
    bytes.first().copied().is_some_and(edge) && bytes.last().copied().is_some_and(edge)
}

fn handler(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet").filter(|g| g.is_object()) {
        default(get, "path", "/");
        default(get, "scheme", "HTTP");
    }
}

/// The version of a `fieldRef`, and the divisor of a `resourceFieldRef`.
fn field_ref(holder: &mut Value) {
    if let Some(reference) = holder.get_mut("fieldRef").filter(|r| r.is_object()) {
        default(reference, "apiVersion", "v1");
    }
    if let Some(reference) = holder.get_mut("resourceFieldRef").filter(|r| r.is_object()) {
        default(reference, "divisor", "0");
    }
}

fn volume(volume: &mut Value) {
    let sources =
        volume.as_object().into_iter().flatten().filter(|(field, source)| *field != "name" && !source.is_null());
    if sources.count() == 0 {
        set(volume, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source).filter(|s| s.is_object()) {
            default(source, "defaultMode", MODE_644);
        }
    }
    volume_source(volume);
    if let Some(image) = volume.get_mut("image").filter(|i| i.is_object()) {
        let policy = pull_policy(text(&image["reference"]));
        default(image, "pullPolicy", policy);
    }
    for item in volume.get_mut("downwardAPI").into_iter().flat_map(|source| list_mut(source, "items")) {
        field_ref(item);
    }
    for source in volume.get_mut("projected").into_iter().flat_map(|source| list_mut(source, "sources")) {
        NOT_PROJECTED.iter().for_each(|kind| remove(source, kind));
        if let Some(token) = source.get_mut("serviceAccountToken").filter(|t| t.is_object()) {
            default(token, "expirationSeconds", TOKEN_SECONDS);
        }
        for item in source.get_mut("downwardAPI").into_iter().flat_map(|source| list_mut(source, "items")) {
            field_ref(item);
        }
    }
    if let Some(claim) = volume.get_mut("ephemeral").and_then(|e| e.get_mut("volumeClaimTemplate")?.get_mut("spec")) {
        claim_spec(claim);
    }
}

/// The sources that volumes of pods and persistent volumes share.
pub(crate) fn volume_source(volume: &mut Value) {
    if let Some(path) = volume.get_mut("hostPath").filter(|p| p.is_object()) {
        default(path, "type", "");
    }
    for (source, defaults) in [
        ("iscsi", &[("iscsiInterface", "default")][..]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")]),
    ] {
        if let Some(source) = volume.get_mut(source).filter(|s| s.is_object()) {
            defaults.iter().for_each(|(field, value)| default(source, field, *value));
        }
    }
    if let Some(disk) = volume.get_mut("azureDisk").filter(|d| d.is_object()) {
        default(disk, "readOnly", false);
    }
}

/// The spec of a claim of a volume.
pub(crate) fn claim_spec(spec: &mut Value) {
    if spec.is_object() {
        default(spec, "volumeMode", "Filesystem");
    }
}

/// A limit without a request is also the request.
fn requests_from_limits(container: &mut Value) {
    let Some(resources) = container.get_mut("resources") else { return };
    let Some(limits) = resources["limits"].as_object().cloned() else { return };
    if let Some(requests) = object(resources, "requests").filter(|_| !limits.is_empty()) {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// Requests of the pod as a whole: what its containers request, else its own limits.
fn pod_level_requests(spec: &mut Value) {
    if !spec["resources"].is_object() || is_empty(&spec["resources"]) {
        return;
    }
    let of_containers: Vec<(&str, Quantity)> = POD_LEVEL_RESOURCES
        .into_iter()
        .filter_map(|name| requested(spec, name).map(|quantity| (name, quantity)))
        .collect();
    let limits: Vec<(String, Value)> =
        members(&spec["resources"]["limits"]).map(|(k, v)| (k.to_owned(), v.clone())).collect();
    let Some(requests) = object(&mut spec["resources"], "requests") else { return };
    for (name, quantity) in of_containers {
        requests.entry(name).or_insert_with(|| Value::from(quantity.to_string()));
    }
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
    if requests.is_empty() {
        remove(&mut spec["resources"], "requests");
    }
}

/// What the containers of a pod request of a resource together; `None` if none does.
pub(crate) fn requested(spec: &Value, resource: &str) -> Option<Quantity> {
    total(spec, "requests", resource)
}

/// What the `requests` or the `limits` of a pod's containers say of a resource together; `None` if none says anything.
/// Init containers run before the others, one after the other, and sidecars beside all that follows.
pub(crate) fn total(spec: &Value, field: &str, resource: &str) -> Option<Quantity> {
    let of = |container: &Value| Quantity::parse(text(&container["resources"][field][resource]));
    let sum = |total: Option<Quantity>, more: Option<Quantity>| match (total, more) {
        (Some(total), Some(more)) => Some(total.plus(more)),
        (total, more) => total.or(more),
    };
    let (mut sidecars, mut peak) = (None, None);
    for container in list(&spec["initContainers"]) {
        if container["restartPolicy"] == "Always" {
            sidecars = sum(sidecars, of(container));
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sum(sidecars, of(container)));
        }
    }
    let running = list(&spec["containers"]).iter().map(of).fold(sidecars, sum);
    running.max(peak).or_else(|| of(&spec["virtualMachine"]))
}

/// What a whole pod asks for: its own `requests` or `limits`, and where it says nothing, its containers' together.
pub(crate) fn totals(spec: &Value, field: &str) -> BTreeMap<String, Quantity> {
    let own = &spec["resources"][field];
    let containers = ["containers", "initContainers"].into_iter().flat_map(|containers| list(&spec[containers]));
    let containers = containers.chain([&spec["virtualMachine"]]);
    let of_containers = containers.flat_map(|container| members(&container["resources"][field]));
    let names: BTreeSet<&str> = of_containers.chain(members(own)).map(|(name, _)| name).collect();
    let amount = |name: &str| Quantity::parse(text(&own[name])).or_else(|| total(spec, field, name));
    names.into_iter().filter_map(|name| Some((name.to_owned(), amount(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_may_change_under_their_name_are_pulled_always() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1", "IfNotPresent"),
            ("r.example.com:5000/a/b", "Always"),
            ("r.example.com:5000/a/b:v1", "IfNotPresent"),
            ("nginx@sha256:00", "IfNotPresent"),
            ("nginx:latest@sha256:00", "Always"),
            ("-", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[track_caller]
    fn check(given: Value, path: &str, expected: Value) {
        let mut object = json!({"spec": given});
        pod(&mut object);
        assert_eq!(object.pointer(path), Some(&expected), "{object}");
    }

    #[test]
    fn a_pod_gets_what_it_leaves_out() {
        check(json!({}), "/spec/restartPolicy", json!("Always"));
        check(json!({"serviceAccount": "x"}), "/spec/serviceAccountName", json!("x"));
        check(json!({"serviceAccount": "x", "serviceAccountName": "y"}), "/spec/serviceAccount", json!("y"));
        check(json!({"volumes": [{"name": "v"}]}), "/spec/volumes/0/emptyDir", json!({}));
        check(json!({"volumes": [{"name": "v", "secret": {}}]}), "/spec/volumes/0/secret/defaultMode", json!(420));
        let host = json!({"hostNetwork": true, "containers": [{"image": "a:1", "ports": [{"containerPort": 80}]}]});
        check(host, "/spec/containers/0/ports/0/hostPort", json!(80));
        let probed = json!({"containers": [{"livenessProbe": {"httpGet": {"port": 1}, "periodSeconds": 0}}]});
        check(probed.clone(), "/spec/containers/0/livenessProbe/periodSeconds", json!(10));
        check(probed, "/spec/containers/0/livenessProbe/httpGet/path", json!("/"));
    }

    #[test]
    fn limits_are_requests_too() {
        let limited = json!({"containers": [{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}]});
        check(limited, "/spec/containers/0/resources/requests", json!({"cpu": "500m", "memory": "1Gi"}));
    }

    #[test]
    fn a_pods_own_request_covers_its_containers() {
        let container = json!({"resources": {"requests": {"cpu": "1", "memory": "100Mi"}}});
        let resources = json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1500m"}});
        let pod = json!({"containers": [container], "resources": resources});
        check(pod, "/spec/resources/requests", json!({"cpu": "1500m", "memory": "100Mi"}));
    }

    #[test]
    fn init_containers_count_by_their_peak_and_sidecars_by_their_sum() {
        let container =
            |cpu: &str, policy: Value| json!({"restartPolicy": policy, "resources": {"requests": {"cpu": cpu}}});
        let spec = json!({
            "initContainers": [container("1", json!("Always")), container("5", Value::Null)],
            "containers": [container("2", Value::Null), {}],
        });
        assert_eq!(requested(&spec, "cpu").map(|q| q.to_string()).as_deref(), Some("6"));
        assert!(requested(&spec, "memory").is_none());
    }
}
