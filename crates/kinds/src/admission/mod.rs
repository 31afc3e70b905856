//! What upstream's default admission plugins make of an object, as pure functions.

pub mod limit_ranger;
pub mod pod_security;
pub mod quota;

use crate::value::{default, is_empty, is_true, list, list_mut, members, remove, set, text};
use api::{Error, Identity, Result};
use serde_json::{Value, json};

const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_SECONDS: i64 = 3607;
const EVICTION_SECONDS: i64 = 300;

/// The service account's name, its image pull secrets, and the volume with its token mounted in every container.
/// `random_suffix` are five characters for the volume's name.
pub fn pod_service_account(pod: &mut Value, service_account: &Value, random_suffix: &str) {
    let spec = &mut pod["spec"];
    let name = text(&service_account["metadata"]["name"]).to_owned();
    set(spec, "serviceAccountName", name.as_str());
    set(spec, "serviceAccount", name.as_str());
    let automount = [&spec["automountServiceAccountToken"], &service_account["automountServiceAccountToken"]];
    if automount.into_iter().find(|v| v.is_boolean()).is_none_or(is_true) {
        mount_token(spec, random_suffix);
    }
    if is_empty(&spec["imagePullSecrets"]) && !is_empty(&service_account["imagePullSecrets"]) {
        set(spec, "imagePullSecrets", service_account["imagePullSecrets"].clone());
    }
}

/// Adds the token's volume, unless every container has something mounted in its place.
fn mount_token(spec: &mut Value, random_suffix: &str) {
    let own = list(&spec["volumes"]).iter().find(|v| text(&v["name"]).starts_with("kube-api-access-"));
    let volume = own.map_or_else(|| format!("kube-api-access-{random_suffix}"), |v| text(&v["name"]).to_owned());
    let (has_volume, mut mounted) = (own.is_some(), false);
    for field in ["containers", "initContainers"] {
        for container in list_mut(spec, field) {
            if list(&container["volumeMounts"]).iter().any(|m| m["mountPath"] == TOKEN_MOUNT) {
                continue;
            }
            mounted = true;
            let mount = json!({"name": volume, "readOnly": true, "mountPath": TOKEN_MOUNT});
            push(container, "volumeMounts", mount);
        }
    }
    if mounted && !has_volume {
        push(spec, "volumes", token_volume(&volume));
    }
}

fn token_volume(name: &str) -> Value {
    let namespace = json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    let roots = json!({"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]});
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": roots},
        {"downwardAPI": {"items": [namespace]}},
    ]}})
}

fn push(value: &mut Value, field: &str, item: Value) {
    default(value, field, Value::Array(Vec::new()));
    if let Some(items) = value.get_mut(field).and_then(Value::as_array_mut) {
        items.push(item);
    }
}

/// What a pod that only mirrors one of a node's own may not refer to.
pub fn mirror_pod_fault(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    let tokens = |volume: &Value| {
        list(&volume["projected"]["sources"]).iter().any(|source| !source["serviceAccountToken"].is_null())
    };
    if !is_empty(&spec["serviceAccountName"]) {
        Some("a mirror pod may not reference service accounts")
    } else if has_secrets(spec) {
        Some("a mirror pod may not reference secrets")
    } else if list(&spec["volumes"]).iter().any(tokens) {
        Some("a mirror pod may not use ServiceAccountToken volume projections")
    } else {
        None
    }
}

fn has_secrets(spec: &Value) -> bool {
    let of_container = |container: &Value| {
        list(&container["env"]).iter().any(|env| !env["valueFrom"]["secretKeyRef"].is_null())
            || list(&container["envFrom"]).iter().any(|from| !from["secretRef"].is_null())
    };
    let of_volume = |volume: &Value| {
        let mut sources = members(volume).map(|(_, source)| source);
        !volume["secret"].is_null()
            || list(&volume["projected"]["sources"]).iter().any(|source| !source["secret"].is_null())
            || sources.any(|source| ["secretRef", "nodePublishSecretRef"].iter().any(|field| !source[field].is_null()))
    };
    !is_empty(&spec["imagePullSecrets"])
        || ["initContainers", "containers", "ephemeralContainers"]
            .iter()
            .any(|f| list(&spec[f]).iter().any(of_container))
        || list(&spec["volumes"]).iter().any(of_volume)
}

/// A secret that a pod uses and that its account, which limits them, does not hand out.
pub fn secret_fault(pod: &Value, account: &Value) -> Option<String> {
    if account["metadata"]["annotations"]["kubernetes.io/enforce-mountable-secrets"] != "true" {
        return None;
    }
    let (spec, name) = (&pod["spec"], text(&account["metadata"]["name"]));
    let hands_out = |field: &str, secret: &str| list(&account[field]).iter().any(|known| known["name"] == secret);
    let refused = |who: String, secret: &str| {
        format!(
            "{who}secret.secretName={secret:?} is not allowed because service account {name} does not reference that secret"
        )
    };
    let secrets = list(&spec["volumes"]).iter().filter_map(|volume| volume["secret"]["secretName"].as_str());
    if let Some(secret) = secrets.into_iter().find(|secret| !hands_out("secrets", secret)) {
        return Some(refused("volume with ".to_owned(), secret));
    }
    for (field, what) in [
        ("initContainers", "init container"),
        ("containers", "container"),
        ("ephemeralContainers", "ephemeral container"),
    ] {
        for container in list(&spec[field]) {
            let who = format!("{what} {}", text(&container["name"]));
            for env in list(&container["env"]) {
                let secret = text(&env["valueFrom"]["secretKeyRef"]["name"]);
                if !env["valueFrom"]["secretKeyRef"].is_null() && !hands_out("secrets", secret) {
                    return Some(refused(format!("{who} with envVar {} referencing ", text(&env["name"])), secret));
                }
            }
            for from in list(&container["envFrom"]).iter().filter(|from| !from["secretRef"].is_null()) {
                let secret = text(&from["secretRef"]["name"]);
                if !hands_out("secrets", secret) {
                    return Some(refused(format!("{who} with envFrom referencing "), secret));
                }
            }
        }
    }
    let pulled = list(&spec["imagePullSecrets"]).iter().map(|pull| text(&pull["name"])).enumerate();
    let (i, secret) = pulled.into_iter().find(|(_, secret)| !hands_out("imagePullSecrets", secret))?;
    Some(format!(
        "imagePullSecrets[{i}].name={secret:?} is not allowed because service account {name} does not reference that \
         imagePullSecret"
    ))
}

/// Keeps pods off a new node until it has said that it is ready; a controller removes the taint again.
pub fn node_not_ready_taint(node: &mut Value) {
    let key = "node.kubernetes.io/not-ready";
    default(node, "spec", json!({}));
    if !list(&node["spec"]["taints"]).iter().any(|taint| taint["key"] == key && taint["effect"] == "NoSchedule") {
        push(&mut node["spec"], "taints", json!({"key": key, "effect": "NoSchedule"}));
    }
}

/// Tolerations of nodes that are not ready or not reachable, for 300 seconds, unless the pod has its own.
pub fn pod_default_tolerations(pod: &mut Value) {
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerates =
            |t: &Value| (is_empty(&t["key"]) || t["key"] == key) && matches!(text(&t["effect"]), "" | "NoExecute");
        let tolerated = list(&pod["spec"]["tolerations"]).iter().any(tolerates);
        if !tolerated {
            let toleration =
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": EVICTION_SECONDS});
            push(&mut pod["spec"], "tolerations", toleration);
        }
    }
}

/// Priority and preemption policy of the pod's priority class, or of none. Refuses a pod that says otherwise.
pub fn pod_priority(pod: &mut Value, priority_class: Option<&Value>) -> Result<()> {
    let name = text(&pod["metadata"]["name"]).to_owned();
    let class = priority_class.unwrap_or(&Value::Null);
    let priority = class["value"].as_i64().unwrap_or(0);
    let policy = match text(&class["preemptionPolicy"]) {
        "" => "PreemptLowerPriority",
        policy => policy,
    };
    let spec = &mut pod["spec"];
    let refuse = |what: String, computed: &dyn std::fmt::Display| {
        let why = format!(
            "the {what} must not be provided in pod spec; priority admission controller computed {computed} from the given \
             PriorityClass name"
        );
        Err(Error::forbidden("", "pods", &name, &why))
    };
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != priority) {
        return refuse(format!("integer value of priority ({given})"), &priority);
    }
    if let Some(given) = spec["preemptionPolicy"].as_str().filter(|given| *given != policy) {
        return refuse(format!("string value of PreemptionPolicy ({given})"), &policy);
    }
    if let Some(class) = priority_class {
        set(spec, "priorityClassName", text(&class["metadata"]["name"]));
    } else {
        remove(spec, "priorityClassName");
    }
    set(spec, "priority", priority);
    set(spec, "preemptionPolicy", policy);
    Ok(())
}

/// Who asks for a certificate, whatever the request says.
pub fn requested_by(request: &mut Value, identity: &Identity) {
    let spec = &mut request["spec"];
    for field in ["uid", "extra"] {
        remove(spec, field);
    }
    set(spec, "username", identity.user.as_str());
    set(spec, "groups", identity.groups.clone());
    if !identity.uid.is_empty() {
        set(spec, "uid", identity.uid.as_str());
    }
    if !identity.extra.is_empty() {
        set(spec, "extra", json!(identity.extra));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::TenantName;

    #[test]
    fn who_asks_for_a_certificate_is_whoever_sends_the_request() {
        let mut identity = Identity::new(TenantName::system(), "ann", &["devs"]);
        let asked = |identity: &Identity| {
            let forged =
                json!({"signerName": "example.com/s", "username": "mallory", "groups": ["g"], "uid": "u", "extra": {}});
            let mut request = json!({"spec": forged});
            requested_by(&mut request, identity);
            request["spec"].clone()
        };
        let groups = json!(["devs", "system:authenticated"]);
        let plain = json!({"signerName": "example.com/s", "username": "ann", "groups": groups});
        assert_eq!(asked(&identity), plain);
        identity.uid = "u".to_owned();
        identity.extra.insert("scopes".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        let mut full = plain;
        full["uid"] = json!("u");
        full["extra"] = json!({"scopes": ["a", "b"]});
        assert_eq!(asked(&identity), full);
    }

    #[test]
    fn a_new_node_takes_no_pods_before_it_is_ready() {
        let not_ready = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
        let other = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"});
        for (mut node, expected) in [
            (json!({}), json!([not_ready])),
            (json!({"spec": {"taints": [not_ready]}}), json!([not_ready])),
            (json!({"spec": {"taints": [other]}}), json!([other, not_ready])),
        ] {
            node_not_ready_taint(&mut node);
            assert_eq!(node["spec"]["taints"], expected);
        }
    }
}
