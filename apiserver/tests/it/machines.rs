//! Pods that are a virtual machine, and actions on pods, as clients see them.

use crate::{Api, answer_of};
use axum::body::to_bytes;
use http::{Method, Request};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn machine() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "vm"}, "spec": {
        "virtualMachine": {
            "name": "vm", "image": "cirros", "keyPairName": "k", "publicKey": "ssh-rsa A", "userData": "aGVsbG8=",
            "resources": {"limits": {"cpu": "2", "memory": "200Mi"}},
            "volumeMounts": [{"name": "root", "mountPath": "/r"}], "trustedImageCertificate": ["c"],
        },
        "volumes": [{"name": "root"}],
        "vpc": "demo",
        "nics": [{"portId": "p0"}, {"name": "eth1", "ipAddress": "10.0.0.2", "ipv6Enabled": false}],
    }})
}

#[tokio::test]
async fn a_machine_is_stored_patched_applied_and_shown() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (code, made) = acme.post(&format!("{PODS}?fieldValidation=Strict"), machine()).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["virtualMachine"]["bootVolume"], "root");
    assert_eq!(made["spec"]["nics"][0]["name"], "eth0");
    assert_eq!(made["status"]["qosClass"], "Guaranteed");
    let at = format!("{PODS}/vm");

    // Interfaces are merged by name in both ways of patching.
    let (code, patched) =
        acme.patch("strategic-merge", &at, json!({"spec": {"nics": [{"name": "eth1", "tag": "t"}]}})).await;
    assert_eq!((code, patched["spec"]["nics"].as_array().map(Vec::len)), (200, Some(2)), "{patched}");
    assert_eq!(patched["spec"]["nics"][1]["ipAddress"], "10.0.0.2");
    let applied = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "vm"},
        "spec": {"nics": [{"name": "eth2"}], "virtualMachine": {"powerSpec": "Shutdown"}}});
    let apply = format!("{at}?fieldManager=m&force=true");
    let response = acme.send(Method::PATCH, &apply, "application/apply-patch+yaml", applied.to_string()).await;
    let (code, applied) = answer_of(response).await;
    assert_eq!(code, 200, "{applied}");
    assert_eq!(applied["spec"]["nics"].as_array().map(Vec::len), Some(3));
    assert_eq!(applied["spec"]["virtualMachine"]["powerSpec"], "Shutdown");
    assert!(applied["metadata"]["managedFields"].to_string().contains("k:{\\\"name\\\":\\\"eth2\\\"}"), "{applied}");

    let refused = [
        (json!({"spec": {"nics": [{"name": "eth0", "portId": "other"}]}}), "spec.nics[0].portId"),
        (json!({"spec": {"nics": [{"name": "eth0", "$patch": "delete"}]}}), "spec.nics"),
        (json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}), "spec.virtualMachine"),
    ];
    for (patch, field) in refused {
        let (code, answer) = acme.patch("strategic-merge", &at, patch).await;
        let fields: Vec<&Value> =
            answer["details"]["causes"].as_array().into_iter().flatten().map(|c| &c["field"]).collect();
        assert!(code == 422 && fields.contains(&&json!(field)), "{field}: {answer}");
    }

    let status = json!({"status": {"phase": "Running", "virtualMachineStatus": {"name": "vm", "restartCount": 3, "ready": true}}});
    assert_eq!(acme.patch("merge", &format!("{at}/status"), status).await.0, 200);
    let table = acme.get_with(&at, "accept", b"application/json;as=Table;g=meta.k8s.io;v=v1").await.1;
    assert_eq!(
        table["rows"][0]["cells"].as_array().map(|cells| &cells[1..4]),
        Some(&[json!("1/1"), json!("Running"), json!("3")][..])
    );
}

#[tokio::test]
async fn a_machine_survives_protobuf() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (code, made) = acme.post(PODS, machine()).await;
    assert_eq!(code, 201, "{made}");
    let at = format!("{PODS}/vm");
    let request = Request::get(&at).header("accept", PROTOBUF).body(axum::body::Body::empty()).expect("a request");
    let bytes = to_bytes(acme.request(request).await.into_body(), usize::MAX).await.expect("a body");
    assert!(bytes.starts_with(b"k8s\0"));
    let (code, put) = answer_of(acme.send(Method::PUT, &at, PROTOBUF, bytes).await).await;
    assert_eq!(code, 200, "{put}");
    assert_eq!(put["spec"], made["spec"]);
    assert_eq!(put["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"], "nothing was changed");
}

#[tokio::test]
async fn an_action_on_a_pod_is_an_object_of_its_node() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    assert_eq!(acme.post(PODS, machine()).await.0, 201);
    let path = format!("{PODS}/vm/action");
    let reboot = json!({"apiVersion": "v1", "kind": "CustomAction", "operation": "reboot", "rebootParams": {"delayInSeconds": 10}});
    let (code, refused) = acme.post(&path, reboot.clone()).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")), "no node runs it: {refused}");
    let binding = json!({"target": {"name": "n1"}});
    assert_eq!(acme.post(&format!("{PODS}/vm/binding"), binding).await.0, 201);

    // The right to the subresource is enough.
    let role = json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods/action"], "verbs": ["create"]}]});
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    assert_eq!(acme.post(&format!("{roles}/roles"), role).await.0, 201);
    let bound = json!({"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}]});
    assert_eq!(acme.post(&format!("{roles}/rolebindings"), bound).await.0, 201);
    let ann = api.user("acme", "ann", &["system:authenticated"]);
    let (code, status) = ann.post(&path, reboot).await;
    assert_eq!((code, &status["message"]), (201, &json!("Created action 'reboot' for Pod 'vm'")), "{status}");
    assert_eq!(ann.get("/api/v1/namespaces/default/actions").await.0, 403);

    let open = "/api/v1/actions?fieldSelector=spec.nodeName=n1,status.complete=false";
    let (_, list) = acme.get(open).await;
    let action = &list["items"][0];
    assert_eq!(action["metadata"]["name"], status["details"]["name"]);
    assert_eq!(action["spec"]["rebootAction"], json!({"delayInSeconds": 10}), "{list}");
    let at = format!("/api/v1/namespaces/default/actions/{}", action["metadata"]["name"].as_str().expect("a name"));
    let done = json!({"status": {"complete": true, "rebootStatus": {"rebootSuccessful": true}}});
    assert_eq!(acme.patch("merge", &format!("{at}/status"), done).await.0, 200);
    assert_eq!(acme.get(open).await.1["items"], json!([]));
    assert_eq!(acme.patch("merge", &at, json!({"spec": {"nodeName": "n2"}})).await.0, 422);
    let (code, refused) = ann.post(&path, json!({"operation": "explode"})).await;
    assert_eq!((code, &refused["details"]["causes"][0]["field"]), (422, &json!("operation")), "{refused}");
}
