//! The standards as pods and namespaces meet them.

use super::*;
use serde_json::json;

#[track_caller]
fn check(level: &str, spec: Value, expected: &str) {
    let standard = Standard { level: Level::parse(level).expect("a level"), minor: None };
    assert_eq!(details(&violations(standard, &json!({}), &spec)), expected);
}

fn container(security: Value) -> Value {
    json!({"name": "c", "image": "i", "securityContext": security})
}

fn strict() -> Value {
    let seccomp = json!({"type": "RuntimeDefault"});
    json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true, "seccompProfile": seccomp})
}

#[test]
fn the_baseline_keeps_pods_off_their_node() {
    check("baseline", json!({"containers": [container(json!({}))]}), "");
    for (spec, expected) in [
        (json!({"hostNetwork": true, "hostPID": true}), "host namespaces (hostNetwork=true, hostPID=true)"),
        (
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "hostPath": {"path": "/"}}]}),
            "hostPath volumes (volumes \"v\", \"w\")",
        ),
        (
            json!({"containers": [{"name": "c", "ports": [{"hostPort": 80}, {"hostPort": 443}]}]}),
            "hostPorts (container \"c\" uses hostPorts 443, 80)",
        ),
        (
            json!({"initContainers": [container(json!({"privileged": true}))]}),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            json!({"ephemeralContainers": [container(json!({"privileged": true}))]}),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u"}}}),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            json!({"containers": [container(json!({"procMount": "Unmasked"}))]}),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            json!({"containers": [{"name": "c", "lifecycle": {"preStop": {"tcpSocket": {"host": "h"}}}}]}),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")",
        ),
    ] {
        check("baseline", spec.clone(), expected);
        check("privileged", spec, "");
    }
}

#[test]
fn restricted_pods_must_give_up_rights() {
    check("restricted", json!({"containers": [container(strict())]}), "");
    let mut zero = strict();
    zero["runAsUser"] = json!(0);
    check(
        "restricted",
        json!({"containers": [container(zero)]}),
        "runAsUser=0 (container \"c\" must not set runAsUser=0)",
    );
    let volumes = json!([{"name": "n", "nfs": {}}, {"name": "h", "hostPath": {}}, {"name": "ok", "emptyDir": {}}]);
    check(
        "restricted",
        json!({"containers": [container(strict())], "volumes": volumes}),
        "restricted volume types (volumes \"n\", \"h\" use restricted volume types \"hostPath\", \"nfs\")",
    );
    let mut own_users = strict();
    own_users["runAsNonRoot"] = json!(false);
    check("restricted", json!({"containers": [container(own_users)], "hostUsers": false}), "");
}

#[test]
fn rules_hold_from_the_version_that_brought_them() {
    let labels = [("enforce", "restricted"), ("enforce-version", "v1.0")];
    let label = |name: &str| labels.iter().find(|(l, _)| name == format!("{PREFIX}{l}")).map(|(_, v)| *v);
    let (policy, causes) = policy(label);
    assert!(causes.is_empty());
    let found = violations(policy.enforce, &json!({}), &json!({"containers": [container(json!({}))]}));
    assert_eq!(reasons(&found), "runAsNonRoot != true");
    assert_eq!(policy.enforce.to_string(), "restricted:v1.0");
}

#[test]
fn labels_that_cannot_be_read_are_refused_and_enforced_strictly() {
    let labels = [("enforce", "nope"), ("warn-version", "x")];
    let label = |name: &str| labels.iter().find(|(l, _)| name == format!("{PREFIX}{l}")).map(|(_, v)| *v);
    let (policy, causes) = policy(label);
    assert_eq!(policy.enforce.level, Level::Restricted);
    let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
    let expected = [
        "metadata.labels[pod-security.kubernetes.io/enforce]",
        "metadata.labels[pod-security.kubernetes.io/warn-version]",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn existing_pods_that_violate_a_new_level_are_told_once_per_fault() {
    let pod = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let pods = [pod("b", json!({"hostPID": true})), pod("a", json!({"hostPID": true})), pod("c", json!({}))];
    let told = existing("n", Standard::latest(Level::Baseline), pods.iter());
    let header = "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"";
    assert_eq!(told, [header, "a (and 1 other pod): host namespaces"]);
}
