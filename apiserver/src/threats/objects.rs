//! A small valid object of every built-in kind, for what is planted in tenants and for what is sent to them.
//!
//! A new kind without an entry in [`fields`] fails the test that plants them.

use api::Kind;
use serde_json::{Value, json};

/// What an object of a kind is called, made of a word. `None` where the kind's names are no words.
pub fn name(kind: &Kind, word: &str) -> Option<String> {
    match kind.kind.as_str() {
        "CustomResourceDefinition" => Some(format!("things.{}", group(word))),
        "APIService" => Some(format!("v1.{word}.example.com")),
        "IPAddress" => match word {
            super::HELD => Some("10.96.7.7".to_owned()),
            super::GONE => Some("10.96.8.8".to_owned()),
            _ => None,
        },
        _ => Some(word.to_owned()),
    }
}

/// The group that a definition of this word defines.
pub fn group(word: &str) -> String {
    format!("{}.example.com", word.trim_start_matches("name-"))
}

/// An object of a kind. It holds the canary in its metadata, and where the kind has text of its own, there too.
pub fn object(kind: &Kind, word: &str, secret: &str) -> Option<Value> {
    let name = name(kind, word)?;
    let mut object = fields(kind, word, secret)?;
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.kind);
    object["metadata"] = json!({"name": name, "labels": {"planted": secret}, "annotations": {"planted": secret}});
    Some(object)
}

/// What a kind needs beside its metadata; `None` for kinds that are not stored or that tenants do not have.
fn fields(kind: &Kind, word: &str, secret: &str) -> Option<Value> {
    let pod = json!({"containers": [{"name": "c", "image": "i", "args": [secret]}], "restartPolicy": "Always"});
    let csr = "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n";
    let csr = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, csr);
    let once = json!({"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}});
    let labels = json!({"matchLabels": {"a": secret}});
    let template = json!({"metadata": {"labels": {"a": secret}}, "spec": pod});
    let matched = json!({"resourceRules": [{"apiGroups": ["none.example.com"], "apiVersions": ["v1"],
        "operations": ["CREATE"], "resources": ["nones"]}]});
    let hook = json!([{"name": "hook.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": format!("https://{secret}.invalid/")}, "failurePolicy": "Ignore",
        "rules": [{"apiGroups": ["none.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nones"]}]}]);
    let role = json!([{"apiGroups": ["none.example.com"], "resources": [secret], "verbs": ["get"]}]);
    let subjects = json!([{"kind": "User", "name": secret, "apiGroup": "rbac.authorization.k8s.io"}]);
    let role_ref = |kind: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "none"});
    let claim = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "none"}}]}});
    Some(match kind.kind.as_str() {
        "Action" => json!({"spec": {"nodeName": "n9", "podName": secret, "rebootAction": {}}}),
        "ConfigMap" => json!({"data": {"k": secret}}),
        "Secret" => json!({"stringData": {"k": secret}, "type": "Opaque"}),
        "Endpoints" => json!({"subsets": [{"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 1}]}]}),
        "Event" if kind.group.is_empty() => {
            json!({"involvedObject": {"namespace": "default", "kind": "Pod", "name": secret},
            "reason": "r", "message": secret, "type": "Normal"})
        }
        "Event" => {
            json!({"regarding": {"namespace": "default", "kind": "Pod", "name": secret}, "reason": "r", "note": secret,
            "type": "Normal", "action": "a", "reportingController": "example.com/c", "reportingInstance": "i",
            "eventTime": "2026-01-02T03:04:05.000000Z"})
        }
        "LimitRange" => json!({"spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "9Ti"}}]}}),
        "Namespace" | "ServiceAccount" => json!({}),
        "PersistentVolumeClaim" => json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": secret,
            "resources": {"requests": {"storage": "1Gi"}}}}),
        "PersistentVolume" => json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "hostPath": {"path": format!("/{secret}")}}}),
        "Pod" => {
            let mut pod = pod;
            pod["nodeName"] = json!("n9");
            json!({"spec": pod})
        }
        "PodTemplate" => json!({"template": template}),
        "ReplicationController" => json!({"spec": {"replicas": 1, "selector": {"a": secret}, "template": template}}),
        "ReplicaSet" | "Deployment" | "DaemonSet" => json!({"spec": {"selector": labels, "template": template}}),
        "StatefulSet" => json!({"spec": {"selector": labels, "template": template, "serviceName": secret}}),
        "ControllerRevision" => json!({"revision": 1, "data": {"k": secret}}),
        "ResourceQuota" => json!({"spec": {"hard": {"count/nones.example.com": "9"}}}),
        "Service" => json!({"spec": {"ports": [{"port": 80}], "selector": {"a": secret}}}),
        "APIService" => {
            json!({"spec": {"group": format!("{word}.example.com"), "version": "v1", "groupPriorityMinimum": 9,
            "versionPriority": 9, "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": secret}}})
        }
        "HorizontalPodAutoscaler" => json!({"spec": {"maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": secret}}}),
        "CronJob" => {
            json!({"spec": {"schedule": "* * * * *", "suspend": true, "jobTemplate": {"spec": {"template": once}}}})
        }
        "Job" => json!({"spec": {"template": once}}),
        "CertificateSigningRequest" => json!({"spec": {"signerName": "example.com/none", "usages": ["client auth"],
            "request": csr}}),
        "IngressClass" => json!({"spec": {"controller": format!("example.com/{secret}")}}),
        "Ingress" => json!({"spec": {"defaultBackend": {"service": {"name": secret, "port": {"number": 80}}}}}),
        "IPAddress" => json!({"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": secret}}}),
        "NetworkPolicy" => json!({"spec": {"podSelector": labels}}),
        "ServiceCIDR" => json!({"spec": {"cidrs": ["10.200.0.0/16"]}}),
        "PodDisruptionBudget" => json!({"spec": {"minAvailable": 1, "selector": labels}}),
        "ClusterRole" | "Role" => json!({"rules": role}),
        "ClusterRoleBinding" => json!({"roleRef": role_ref("ClusterRole"), "subjects": subjects}),
        "RoleBinding" => json!({"roleRef": role_ref("Role"), "subjects": subjects}),
        "CSIStorageCapacity" => json!({"storageClassName": secret, "nodeTopology": labels}),
        "StorageClass" => json!({"provisioner": "example.com/none", "parameters": {"k": secret}}),
        "VolumeAttachment" => json!({"spec": {"attacher": "example.com", "nodeName": "n9",
            "source": {"persistentVolumeName": secret}}}),
        "VolumeAttributesClass" => json!({"driverName": "example.com", "parameters": {"k": secret}}),
        "MutatingAdmissionPolicy" => json!({"spec": {"matchConstraints": matched, "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": format!("[JSONPatch{{op: 'remove', path: '/{secret}'}}]")}}]}}),
        "MutatingAdmissionPolicyBinding" => json!({"spec": {"policyName": secret}}),
        "ValidatingAdmissionPolicy" => json!({"spec": {"matchConstraints": matched,
            "validations": [{"expression": format!("'{secret}' != ''")}]}}),
        "ValidatingAdmissionPolicyBinding" => json!({"spec": {"policyName": secret, "validationActions": ["Deny"]}}),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => json!({"webhooks": hook}),
        "CustomResourceDefinition" => json!({"spec": {"group": group(word), "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "shortNames": [secret]},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "description": secret,
                    "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}}),
        "PriorityClass" => json!({"value": 7, "description": secret}),
        "Lease" => json!({"spec": {"holderIdentity": secret, "leaseDurationSeconds": 9}}),
        "RuntimeClass" => json!({"handler": secret}),
        "EndpointSlice" => {
            json!({"addressType": "IPv4", "ports": [], "endpoints": [{"addresses": ["10.1.1.1"], "hostname": secret}]})
        }
        "DeviceClass" => {
            json!({"spec": {"selectors": [{"cel": {"expression": format!("device.driver == '{secret}'")}}]}})
        }
        "ResourceClaim" => json!({"spec": claim}),
        "ResourceClaimTemplate" => json!({"spec": {"spec": claim}}),
        "ResourceSlice" => json!({"spec": {"driver": "example.com", "nodeName": "n9",
            "pool": {"name": secret, "generation": 1, "resourceSliceCount": 1}}}),
        "FlowSchema" => json!({"spec": {"priorityLevelConfiguration": {"name": secret}, "matchingPrecedence": 9000}}),
        "PriorityLevelConfiguration" => json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1,
            "limitResponse": {"type": "Reject"}}}}),
        _ => return None,
    })
}
