//! Versions of groups that a service of a tenant serves: when they are available, who is said to ask, and what discovery tells.

use crate::hook::{Hook, Seen};
use crate::{Api, User};
use serde_json::{Value, json};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const NAME: &str = "v1.metrics.example.com";
const ROOT: &str = "/apis/metrics.example.com/v1";

fn serve(seen: &Seen) -> Option<(u16, Value)> {
    if seen.path == ROOT {
        let resource = |name: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": "Thing", "verbs": ["get"]});
        let resources = [resource("things"), resource("things/log")];
        return Some((
            200,
            json!({"kind": "APIResourceList", "groupVersion": "metrics.example.com/v1", "resources": resources}),
        ));
    }
    Some((200, json!({"kind": "Thing", "path": seen.path})))
}

async fn register(admin: &User<'_>, hook: &Hook) {
    let service = json!({"metadata": {"name": "hook"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    assert_eq!(admin.post("/api/v1/namespaces/default/services", service).await.0, 201);
    let spec = json!({"group": "metrics.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
        "service": {"name": "hook", "namespace": "default", "port": hook.port}, "caBundle": hook.bundle});
    let (code, answer) = admin.post(SERVICES, json!({"metadata": {"name": NAME}, "spec": spec})).await;
    assert_eq!(code, 201, "{answer}");
}

/// The reason of the condition, once it says so.
async fn until(admin: &User<'_>, reason: &str) {
    let mut watch = admin.watch(&format!("{SERVICES}?watch=1&fieldSelector=metadata.name={NAME}")).await;
    loop {
        let frame = watch.next().await.expect("a frame");
        if frame["object"]["status"]["conditions"][0]["reason"] == reason {
            return;
        }
    }
}

#[tokio::test]
async fn a_service_serves_a_version_of_a_group_to_its_own_tenant() {
    let api = Api::with_networks("127.0.0.0/8").await;
    let (acme, other) = (api.tenant("acme").await, api.tenant("umbrella").await);
    let hook = Hook::start(serve).await;
    register(&acme, &hook).await;
    until(&acme, "Passed").await;
    let path = format!("{ROOT}/namespaces/default/things/a");
    let request = http::Request::get(format!("{path}?x=1")).header("x-remote-user", "forged");
    let request = request.header("x-remote-group", "system:masters").header("authorization", "Bearer secret");
    let request = request.body(axum::body::Body::empty()).expect("a request");
    let ann = api.user("acme", "ann", &["viewers"]);
    assert_eq!(ann.get(&path).await.0, 403, "rights are checked here");
    let rule = json!({"apiGroups": ["metrics.example.com"], "resources": ["things"], "verbs": ["get"]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "r"}, "rules": [rule]});
    assert_eq!(acme.post(&format!("{rbac}/clusterroles"), role).await.0, 201);
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}});
    assert_eq!(acme.post(&format!("{rbac}/clusterrolebindings"), binding).await.0, 201);
    assert_eq!(ann.request(request).await.status(), 200);
    let (code, answer) = acme.get(&format!("/tenants/acme{path}")).await;
    assert_eq!((code, &answer["path"]), (200, &json!(path)));
    let asked: Vec<Seen> = hook.seen().into_iter().filter(|seen| seen.path != ROOT).collect();
    assert_eq!(asked[0].path, format!("{path}?x=1"));
    let told = |name: &str| -> Vec<&str> {
        asked[0].headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    };
    assert_eq!((told("x-remote-user"), told("authorization")), (vec!["ann"], vec![]));
    assert_eq!(told("x-remote-group").first(), Some(&"viewers"));
    assert!(!told("x-remote-group").contains(&"system:masters"));

    let groups = acme.get("/apis").await.1;
    let named = |list: &Value| {
        list["groups"].as_array().is_some_and(|all| all.iter().any(|g| g["name"] == "metrics.example.com"))
    };
    assert!(named(&groups), "{groups}");
    assert_eq!(acme.get("/apis/metrics.example.com").await.1["preferredVersion"]["version"], "v1");
    assert_eq!(acme.get(ROOT).await.1["resources"][0]["name"], "things");
    let accept = b"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = acme.get_with("/apis", "accept", accept).await.1;
    let mut groups = aggregated["items"].as_array().expect("groups").iter();
    let group = groups.find(|group| group["metadata"]["name"] == "metrics.example.com").expect("the group");
    assert_eq!(group["versions"][0]["freshness"], "Current");
    assert_eq!(group["versions"][0]["resources"][0]["subresources"][0]["subresource"], "log");

    assert!(!named(&other.get("/apis").await.1));
    assert_eq!(other.get(&path).await.0, 404);
}

#[tokio::test]
async fn what_does_not_answer_is_unavailable_and_says_why() {
    let api = Api::with_networks("127.0.0.0/8").await;
    let acme = api.tenant("acme").await;
    let spec = json!({"group": "metrics.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
        "service": {"name": "absent", "namespace": "default"}, "insecureSkipTLSVerify": true});
    assert_eq!(acme.post(SERVICES, json!({"metadata": {"name": NAME}, "spec": spec})).await.0, 201);
    until(&acme, "ServiceNotFound").await;
    let (code, answer) = acme.get(&format!("{ROOT}/things")).await;
    assert_eq!((code, &answer), (503, &json!("service unavailable\n")));
    let service = json!({"metadata": {"name": "absent"}, "spec": {"ports": [{"port": 444}]}});
    assert_eq!(acme.post("/api/v1/namespaces/default/services", service).await.0, 201);
    until(&acme, "ServicePortError").await;
    let port = json!({"spec": {"service": {"port": 444}}});
    assert_eq!(acme.patch("merge", &format!("{SERVICES}/{NAME}"), port).await.0, 200);
    until(&acme, "EndpointsNotFound").await;
    let broken = Hook::start(|_| Some((500, json!({})))).await;
    register_at(&acme, &broken).await;
    until(&acme, "FailedDiscoveryCheck").await;
}

/// Points the APIService at another server.
async fn register_at(admin: &User<'_>, hook: &Hook) {
    let service = json!({"metadata": {"name": "hook"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    assert_eq!(admin.post("/api/v1/namespaces/default/services", service).await.0, 201);
    let service = json!({"spec": {"service": {"name": "hook", "port": hook.port}}});
    assert_eq!(admin.patch("merge", &format!("{SERVICES}/{NAME}"), service).await.0, 200);
}

#[tokio::test]
async fn built_in_versions_are_local_and_no_service_takes_them() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (code, local) = acme.get(&format!("{SERVICES}/v1.apps")).await;
    assert_eq!((code, &local["status"]["conditions"][0]["reason"]), (200, &json!("Local")), "{local}");
    let taken = json!({"spec": {"service": {"name": "evil", "namespace": "default"}, "insecureSkipTLSVerify": true}});
    assert_eq!(acme.patch("merge", &format!("{SERVICES}/v1.apps"), taken).await.0, 200);
    assert_eq!(acme.get("/apis/apps/v1/deployments").await.0, 200);
    let made = acme.post("/api/v1/namespaces", json!({"metadata": {"name": "kube-system"}})).await;
    assert_eq!(made.0, 201);
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let data = acme.get(path).await.1["data"].clone();
    assert_eq!(data["requestheader-allowed-names"], "[\"front-proxy-client\"]");
    assert!(data["requestheader-client-ca-file"].as_str().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE")));
    assert_eq!(data["client-ca-file"], Value::Null, "certificates of other tenants are not to be believed");
}
