//! A hollow node's objects: the node and its lease. Pure.

use crate::Config;
use api::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// A node whose heartbeat is older is taken to be gone.
const LEASE_SECS: u64 = 40;
/// The version of Kubernetes whose kubelet's traffic this is.
const KUBELET_VERSION: &str = "v1.36.2";

/// A node's name by its number.
pub fn name(config: &Config, number: u32) -> String {
    format!("{}{number}", config.name_prefix)
}

/// An address of its own for each node, in a block that nobody routes.
pub fn address(number: u32) -> Ipv4Addr {
    // 100.64.0.0/10 holds four million addresses.
    Ipv4Addr::from_bits(u32::from_be_bytes([100, 64, 0, 0]) + (number % (1 << 22)))
}

/// Spreads what is counted, so that shares do not fall on neighbours.
pub fn random(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// The node as it registers itself, status included.
pub fn object(config: &Config, number: u32, now: Timestamp) -> Value {
    let name = name(config, number);
    let mut labels = json!({
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": format!("zone-{}", number % config.zones),
        "topology.kubernetes.io/region": "hollow",
    });
    for (key, value) in &config.labels {
        labels[key] = json!(value);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": status(config, number, now),
    })
}

/// What the node tells of itself. It is the same at all times but for its heartbeats.
pub fn status(config: &Config, number: u32, now: Timestamp) -> Value {
    let mut capacity = json!({
        "cpu": config.cpu,
        "memory": config.memory,
        "ephemeral-storage": "100Gi",
        "pods": config.pods.to_string(),
    });
    for (resource, amount) in &config.extended {
        capacity[resource] = json!(amount);
    }
    let runs_vms = config.vm_share.holds(random(u64::from(number)));
    json!({
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [
            {"type": "InternalIP", "address": address(number).to_string()},
            {"type": "Hostname", "address": name(config, number)},
        ],
        "conditions": conditions(runs_vms, now),
        "nodeInfo": {
            "machineID": name(config, number),
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": "hollow",
            "osImage": "hollow",
            "containerRuntimeVersion": "hollow://1",
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
    })
}

fn conditions(runs_vms: bool, now: Timestamp) -> Value {
    let vms = if runs_vms { ("True", "RuntimeReady") } else { ("False", "RuntimeNotReady") };
    let all = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("ContainerRuntimeReady", "True", "RuntimeReady"),
        ("VmRuntimeReady", vms.0, vms.1),
        ("Ready", "True", "KubeletReady"),
    ];
    let now = now.to_string();
    let dated = |(kind, status, reason): (&str, &str, &str)| {
        json!({"type": kind, "status": status, "reason": reason, "message": "nothing runs on a hollow node",
            "lastHeartbeatTime": now, "lastTransitionTime": now})
    };
    all.map(dated).into_iter().collect()
}

/// The body of a lease, as JSON. `version` is what the last answer said; without one the lease is made.
pub fn lease(name: &str, uid: &str, version: Option<u64>, now: Timestamp) -> String {
    let mut body = String::with_capacity(420);
    let written = write!(
        body,
        r#"{{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{{"name":"{name}","namespace":"kube-node-lease""#
    );
    written.expect("writing to a String cannot fail");
    if let Some(version) = version {
        write!(body, r#","resourceVersion":"{version}""#).expect("writing to a String cannot fail");
    }
    let renewed = now.to_micro_string();
    let written = write!(
        body,
        r#","ownerReferences":[{{"apiVersion":"v1","kind":"Node","name":"{name}","uid":"{uid}"}}]}},"spec":{{"holderIdentity":"{name}","leaseDurationSeconds":{LEASE_SECS},"renewTime":"{renewed}"}}}}"#
    );
    written.expect("writing to a String cannot fail");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-02T03:04:05Z").expect("a time")
    }

    #[test]
    fn a_lease_is_json_and_names_its_node() {
        let lease: Value = serde_json::from_str(&lease("hollow-7", "u-1", Some(42), now())).expect("JSON");
        assert_eq!(lease["metadata"]["resourceVersion"], "42");
        assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], "u-1");
        assert_eq!(lease["spec"]["renewTime"], "2026-01-02T03:04:05.000000Z");
        let first: Value = serde_json::from_str(&super::lease("hollow-7", "u-1", None, now())).expect("JSON");
        assert!(first["metadata"].get("resourceVersion").is_none());
    }

    #[test]
    fn nodes_have_addresses_and_zones_of_their_own() {
        let config = Config { zones: 3, labels: [("disk".to_owned(), "ssd".to_owned())].into(), ..Config::default() };
        let (a, b) = (object(&config, 4, now()), object(&config, 5, now()));
        assert_eq!(a["metadata"]["labels"]["topology.kubernetes.io/zone"], "zone-1");
        assert_eq!(a["metadata"]["labels"]["disk"], "ssd");
        assert_ne!(a["status"]["addresses"], b["status"]["addresses"]);
    }

    #[test]
    fn as_many_nodes_run_virtual_machines_as_are_asked_for() {
        let config = Config { vm_share: "0.3".parse().expect("a share"), ..Config::default() };
        let runs_vms = |number| {
            let status = status(&config, number, now());
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "VmRuntimeReady" && c["status"] == "True")
        };
        let count = (0..2000).filter(|&number| runs_vms(number)).count();
        assert!((500..700).contains(&count), "{count} of 2000");
    }
}
