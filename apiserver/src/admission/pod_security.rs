//! What a tenant's pods may not do to the node they share with others: Pod Security at level baseline.
//!
//! It holds for every tenant but `system`. The operators lift it for one tenant with the label
//! `pod-security.kubernetes.io/enforce: privileged` on the Tenant object, which the tenant itself cannot write.

use serde_json::Value;

/// On a Tenant object: the level that its pods must keep.
pub const ENFORCE_LABEL: &str = "pod-security.kubernetes.io/enforce";

/// Capabilities that the runtime gives every container anyway.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Kernel settings that belong to the pod alone.
const SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
];

const SELINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// What of a pod violates the baseline; empty for a pod that keeps it.
pub fn violations(pod: &Value) -> Vec<String> {
    let spec = &pod["spec"];
    let mut found = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[field] == true {
            found.push(format!("host namespaces ({field}=true)"));
        }
    }
    for volume in items(&spec["volumes"]).filter(|volume| volume["hostPath"].is_object()) {
        found.push(format!("hostPath volumes (volume {})", volume["name"]));
    }
    for sysctl in items(&spec["securityContext"]["sysctls"]) {
        if !sysctl["name"].as_str().is_some_and(|name| SYSCTLS.contains(&name)) {
            found.push(format!("forbidden sysctls ({})", sysctl["name"]));
        }
    }
    context("pod", &spec["securityContext"], &mut found);
    for container in ["containers", "initContainers", "ephemeralContainers"].iter().flat_map(|list| items(&spec[list]))
    {
        let place = format!("container {}", container["name"]);
        let security = &container["securityContext"];
        context(&place, security, &mut found);
        if security["privileged"] == true {
            found.push(format!("privileged ({place} must not set securityContext.privileged=true)"));
        }
        if !matches!(security["procMount"].as_str(), None | Some("" | "Default")) {
            found.push(format!("procMount ({place})"));
        }
        for capability in items(&security["capabilities"]["add"]).filter_map(Value::as_str) {
            if !CAPABILITIES.contains(&capability) {
                found.push(format!("non-default capabilities ({place} must not include {capability:?})"));
            }
        }
        if items(&container["ports"]).any(|port| port["hostPort"].as_i64().unwrap_or(0) != 0) {
            found.push(format!("hostPort ({place})"));
        }
        for handler in ["livenessProbe", "readinessProbe", "startupProbe"]
            .iter()
            .map(|probe| &container[probe])
            .chain(["postStart", "preStop"].iter().map(|hook| &container["lifecycle"][hook]))
        {
            let host = |kind: &str| handler[kind]["host"].as_str().unwrap_or_default();
            if !host("httpGet").is_empty() || !host("tcpSocket").is_empty() {
                found.push(format!("probe or lifecycle host ({place})"));
            }
        }
    }
    found
}

/// What a pod's and a container's security context have in common.
fn context(place: &str, security: &Value, found: &mut Vec<String>) {
    if security["seccompProfile"]["type"] == "Unconfined" {
        found.push(format!("seccompProfile ({place} must not set it to \"Unconfined\")"));
    }
    if security["appArmorProfile"]["type"] == "Unconfined" {
        found.push(format!("appArmorProfile ({place} must not set it to \"Unconfined\")"));
    }
    if security["windowsOptions"]["hostProcess"] == true {
        found.push(format!("hostProcess ({place})"));
    }
    let selinux = &security["seLinuxOptions"];
    let text = |field: &str| selinux[field].as_str().unwrap_or_default();
    if !SELINUX_TYPES.contains(&text("type")) || !text("user").is_empty() || !text("role").is_empty() {
        found.push(format!("seLinuxOptions ({place})"));
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(spec: Value, expected: &str) {
        let found = violations(&json!({"spec": spec})).join("; ");
        assert!(if expected.is_empty() { found.is_empty() } else { found.contains(expected) }, "{spec}: {found}");
    }

    #[test]
    fn a_plain_pod_keeps_the_baseline() {
        check(
            json!({"containers": [{"name": "c", "securityContext": {"capabilities": {"add": ["CHOWN"], "drop": ["ALL"]}},
            "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": 80}}}],
            "volumes": [{"name": "v", "emptyDir": {}}]}),
            "",
        );
    }

    #[test]
    fn every_way_to_the_node_is_seen_in_every_kind_of_container() {
        let security = |security: Value| json!({"ephemeralContainers": [{"name": "c", "securityContext": security}]});
        check(security(json!({"privileged": true})), "privileged");
        check(security(json!({"capabilities": {"add": ["SYS_ADMIN"]}})), "SYS_ADMIN");
        check(security(json!({"procMount": "Unmasked"})), "procMount");
        check(security(json!({"seccompProfile": {"type": "Unconfined"}})), "seccompProfile");
        check(security(json!({"seLinuxOptions": {"type": "spc_t"}})), "seLinuxOptions");
        check(json!({"initContainers": [{"name": "c", "ports": [{"hostPort": 80}]}]}), "hostPort");
        check(
            json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "169.254.169.254"}}}]}),
            "probe",
        );
        check(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), "hostPath");
        check(json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}}), "sysctls");
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            check(json!({field: true}), field);
        }
    }
}
