//! Webhooks of admission: what they are sent, what they change and refuse, and what happens when they cannot be called.

use crate::hook::{Hook, review};
use crate::{Answer, Api, User, config_map};
use serde_json::{Value, json};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LOOPBACK: &str = "127.0.0.0/8";

fn webhook(name: &str, client_config: &Value) -> Value {
    json!({
        "name": name, "clientConfig": client_config, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}],
    })
}

async fn register(admin: &User<'_>, plural: &str, name: &str, webhooks: Value) {
    let configuration = json!({"metadata": {"name": name}, "webhooks": webhooks});
    let (code, answer) = admin.post(&format!("{GROUP}/{plural}"), configuration).await;
    assert_eq!(code, 201, "{answer}");
}

async fn validating(admin: &User<'_>, name: &str, webhook: Value) {
    register(admin, "validatingwebhookconfigurations", name, json!([webhook])).await;
}

async fn mutating(admin: &User<'_>, name: &str, webhook: Value) {
    register(admin, "mutatingwebhookconfigurations", name, json!([webhook])).await;
}

fn with(mut webhook: Value, field: &str, value: Value) -> Value {
    webhook[field] = value;
    webhook
}

fn told((code, answer): &Answer) -> (u16, &str) {
    (*code, answer["message"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_validating_webhook_refuses_in_its_own_tenant_alone() {
    let api = Api::with_networks(LOOPBACK).await;
    let (acme, other) = (api.tenant("acme").await, api.tenant("umbrella").await);
    let hook = Hook::start(|seen| {
        let allowed = seen.body["request"]["name"] != "bad";
        let status = json!({"message": "not this one", "code": 403, "reason": "Forbidden"});
        Some((200, review(seen, json!({"allowed": allowed, "status": status, "warnings": ["look out"]}))))
    })
    .await;
    validating(&acme, "a", webhook("w.example.com", &hook.client_config())).await;
    let refused = acme.post(MAPS, config_map("bad")).await;
    let why = "admission webhook \"w.example.com\" denied the request: not this one";
    assert_eq!(told(&refused), (403, why));
    assert_eq!(refused.1["reason"], "Forbidden");
    assert_eq!(acme.get(&format!("{MAPS}/bad")).await.0, 404);
    let good = config_map("good").to_string();
    let answer = acme.send(http::Method::POST, MAPS, "application/json", good).await;
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["warning"], "299 - \"look out\"");
    assert_eq!(other.post(MAPS, config_map("bad")).await.0, 201, "another tenant's webhooks are not called");
    assert_eq!(hook.seen().len(), 2);
    let (code, _) = acme.delete(&format!("{GROUP}/validatingwebhookconfigurations/a"), json!({})).await;
    assert_eq!(code, 200);
    assert_eq!(acme.post(MAPS, config_map("bad")).await.0, 201);
}

#[tokio::test]
async fn a_webhook_is_sent_the_whole_review() {
    let api = Api::with_networks(LOOPBACK).await;
    let acme = api.tenant("acme").await;
    let hook = Hook::allowing().await;
    validating(&acme, "a", with(webhook("w.example.com", &hook.client_config()), "timeoutSeconds", json!(7))).await;
    assert_eq!(acme.post(&format!("{MAPS}?fieldManager=me&dryRun=All"), config_map("m")).await.0, 201);
    assert_eq!(acme.post(MAPS, config_map("m")).await.0, 201);
    assert_eq!(acme.patch("merge", &format!("{MAPS}/m"), json!({"data": {"k": "w"}})).await.0, 200);
    assert_eq!(acme.delete(&format!("{MAPS}/m"), json!({"gracePeriodSeconds": 0})).await.0, 200);
    let seen = hook.seen();
    assert!(seen.iter().all(|seen| seen.path == "/hook?timeout=7s"), "{seen:?}");
    let requests: Vec<&Value> = seen.iter().map(|seen| &seen.body["request"]).collect();
    let operations: Vec<&Value> = requests.iter().map(|request| &request["operation"]).collect();
    assert_eq!(operations, ["CREATE", "CREATE", "UPDATE", "DELETE"]);
    let first = requests[0];
    assert_eq!(seen[0].body["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(first["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(first["requestResource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&first["name"], &first["namespace"], &first["dryRun"]), (&json!("m"), &json!("default"), &json!(true)));
    let options =
        json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me", "dryRun": ["All"]});
    assert_eq!(first["options"], options);
    assert_eq!((&first["userInfo"]["username"], &first["oldObject"]), (&json!("admin"), &Value::Null));
    assert_eq!(first["object"]["metadata"]["managedFields"][0]["manager"], "me");
    assert_eq!(
        (&requests[2]["oldObject"]["data"]["k"], &requests[2]["object"]["data"]["k"]),
        (&json!("v"), &json!("w"))
    );
    assert_eq!((&requests[3]["object"], &requests[3]["oldObject"]["data"]["k"]), (&Value::Null, &json!("w")));
    assert_eq!(hook.connections(), 1, "connections are used again");
}

#[tokio::test]
async fn mutating_webhooks_change_objects_one_after_another_and_see_them_again() {
    let api = Api::with_networks(LOOPBACK).await;
    let acme = api.tenant("acme").await;
    let first = Hook::patching(|request| {
        json!([{"op": "add", "path": "/data/sum", "value": request["object"]["data"].as_object().map_or(0, |d| d.len()).to_string()}])
    })
    .await;
    let second = Hook::patching(|_| {
        json!([{"op": "add", "path": "/data/two", "value": "2"}, {"op": "add", "path": "/nonsense", "value": 1},
            {"op": "add", "path": "/metadata/tenant", "value": "umbrella"}, {"op": "replace", "path": "/metadata/uid", "value": "x"}])
    })
    .await;
    let again = with(webhook("a.example.com", &first.client_config()), "reinvocationPolicy", json!("IfNeeded"));
    mutating(&acme, "a", again).await;
    mutating(&acme, "b", webhook("b.example.com", &second.client_config())).await;
    let (code, made) = acme.post(MAPS, config_map("m")).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["data"], json!({"k": "v", "two": "2", "sum": "3"}));
    assert_eq!((&made["metadata"]["tenant"], &made["nonsense"]), (&json!("acme"), &Value::Null));
    assert_ne!(made["metadata"]["uid"], "x");
    assert_eq!((first.seen().len(), second.seen().len()), (2, 1));
    let managers = made["metadata"]["managedFields"].to_string();
    assert!(!managers.contains("f:two"), "what webhooks add belongs to nobody: {managers}");
}

#[tokio::test]
async fn what_cannot_be_called_is_refused_unless_it_is_ignored() {
    let api = Api::with_networks(LOOPBACK).await;
    let acme = api.tenant("acme").await;
    let silent = Hook::start(|_| None).await;
    let broken = Hook::start(|_| Some((500, json!({"secret": "s3cret"})))).await;
    let moved = Hook::start(|_| Some((307, json!({})))).await;
    let foreign = json!({"url": broken.client_config()["url"], "caBundle": silent.bundle});
    let service = json!({"service": {"name": "hook", "namespace": "default", "path": "/p"}});
    let port = broken.port;
    for (config, why) in [
        (
            json!({"url": "https://127.0.0.1:1/x"}),
            "Post \"https://127.0.0.1:1/x?timeout=1s\": dial tcp 127.0.0.1:1: connect: connection refused".to_owned(),
        ),
        (
            silent.client_config(),
            format!("Post \"https://127.0.0.1:{}/hook?timeout=1s\": context deadline exceeded", silent.port),
        ),
        (
            broken.client_config(),
            "an error on the server (\"unknown\") has prevented the request from succeeding".to_owned(),
        ),
        (
            moved.client_config(),
            "the server responded with the status code 307 but did not return more details".to_owned(),
        ),
        (
            foreign,
            format!(
                "Post \"https://127.0.0.1:{port}/hook?timeout=1s\": tls: failed to verify certificate: x509: certificate signed \
                 by unknown authority"
            ),
        ),
        (service, "Post \"https://hook.default.svc:443/p?timeout=1s\": service \"hook\" not found".to_owned()),
    ] {
        let failing = with(webhook("w.example.com", &config), "timeoutSeconds", json!(1));
        validating(&acme, "a", failing.clone()).await;
        let refused = acme.post(MAPS, config_map("m")).await;
        let why =
            format!("Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook: {why}");
        assert_eq!(told(&refused), (500, &*why));
        let path = format!("{GROUP}/validatingwebhookconfigurations/a");
        assert_eq!(acme.delete(&path, json!({})).await.0, 200);
        validating(&acme, "a", with(failing, "failurePolicy", json!("Ignore"))).await;
        assert_eq!(acme.post(&format!("{MAPS}?dryRun=All"), config_map("m")).await.0, 201);
        assert_eq!(acme.delete(&path, json!({})).await.0, 200);
    }
}

#[tokio::test]
async fn a_service_of_the_tenant_is_called_where_it_leads() {
    let api = Api::with_networks(LOOPBACK).await;
    let acme = api.tenant("acme").await;
    let hook = Hook::allowing().await;
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": [{"port": hook.port}]}});
    assert_eq!(acme.post(services, service).await.0, 201);
    let service = json!({"name": "hook", "namespace": "default", "path": "/p", "port": hook.port});
    let config = json!({"service": service, "caBundle": hook.bundle});
    validating(&acme, "a", webhook("w.example.com", &config)).await;
    let refused = acme.post(MAPS, config_map("m")).await;
    assert!(told(&refused).1.ends_with("no endpoints available for service \"hook\""), "{refused:?}");
    assert_eq!(acme.delete(&format!("{services}/hook"), json!({})).await.0, 200);
    let external = json!({"metadata": {"name": "hook"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    assert_eq!(acme.post(services, external).await.0, 201);
    assert_eq!(acme.post(MAPS, config_map("m")).await.0, 201);
    let seen = hook.seen();
    let (path, host) = (&seen[0].path, format!("hook.default.svc:{}", hook.port));
    assert_eq!(path, "/p?timeout=10s");
    assert_eq!(seen[0].headers["host"], host);
}

#[tokio::test]
async fn a_tenants_url_does_not_reach_what_is_not_public() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let hook = Hook::allowing().await;
    let port = hook.port;
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "0.0.0.0"] {
        let config = json!({"url": format!("https://{host}:{port}/hook"), "caBundle": hook.bundle});
        validating(&acme, "a", webhook("w.example.com", &config)).await;
        let refused = acme.post(MAPS, config_map("m")).await;
        assert!(told(&refused).1.ends_with("this address is not open to tenants"), "{host}: {refused:?}");
        let path = format!("{GROUP}/validatingwebhookconfigurations/a");
        assert_eq!(acme.delete(&path, json!({})).await.0, 200);
    }
    assert_eq!(hook.connections(), 0, "nothing was dialled");
    let system = api.admin("system");
    validating(&system, "a", webhook("w.example.com", &hook.client_config())).await;
    assert_eq!(system.post(MAPS, config_map("m")).await.0, 201, "the operators' own reach it");
    assert_eq!(hook.seen().len(), 1);
}

#[tokio::test]
async fn selectors_conditions_and_subresources_choose_what_is_sent() {
    let api = Api::with_networks(LOOPBACK).await;
    let acme = api.tenant("acme").await;
    let hook = Hook::allowing().await;
    let mut chosen = webhook("w.example.com", &hook.client_config());
    chosen["rules"][0]["resources"] = json!(["configmaps", "pods/*", "namespaces/finalize"]);
    chosen["objectSelector"] = json!({"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]});
    chosen["matchConditions"] = json!([{"name": "c", "expression": "request.name != 'unasked'"}]);
    validating(&acme, "a", chosen).await;
    let mut skipped = config_map("skipped");
    skipped["metadata"]["labels"] = json!({"skip": "me"});
    for object in [skipped, config_map("unasked"), config_map("asked")] {
        assert_eq!(acme.post(MAPS, object).await.0, 201);
    }
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(acme.post("/api/v1/namespaces/default/pods", pod).await.0, 201);
    let status = json!({"status": {"phase": "Running"}});
    assert_eq!(acme.patch("merge", "/api/v1/namespaces/default/pods/p/status", status).await.0, 200);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    assert_eq!(acme.post("/api/v1/namespaces/default/pods/p/binding", binding).await.0, 201);
    let exec = acme.get("/api/v1/namespaces/default/pods/p/exec?command=sh&container=c").await;
    assert_ne!(exec.0, 200);
    let seen = hook.seen();
    let told = |field: &str| -> Vec<String> {
        let requests = seen.iter().map(|seen| seen.body["request"][field].as_str().unwrap_or_default().to_owned());
        requests.collect()
    };
    assert_eq!(told("name"), ["asked", "p", "p", "p", "p"]);
    assert_eq!(told("subResource"), ["", "", "status", "binding", "exec"]);
    assert_eq!(told("operation"), ["CREATE", "CREATE", "UPDATE", "CREATE", "CONNECT"]);
    assert_eq!(seen[3].body["request"]["kind"]["kind"], "Binding");
    assert_eq!(seen[4].body["request"]["object"]["command"], json!(["sh"]));
}

#[tokio::test]
async fn nobody_is_asked_about_webhooks_policies_and_reviews() {
    let api = Api::with_networks(LOOPBACK).await;
    let acme = api.tenant("acme").await;
    let mut everything = webhook("w.example.com", &json!({"url": "https://127.0.0.1:1/"}));
    everything["rules"] =
        json!([{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}]);
    validating(&acme, "a", everything.clone()).await;
    mutating(&acme, "b", everything).await;
    assert_eq!(acme.post(MAPS, config_map("m")).await.0, 500);
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    assert_eq!(acme.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review).await.0, 201);
    for (plural, name) in [("validatingwebhookconfigurations", "a"), ("mutatingwebhookconfigurations", "b")] {
        assert_eq!(acme.delete(&format!("{GROUP}/{plural}/{name}"), json!({})).await.0, 200);
    }
    assert_eq!(acme.post(MAPS, config_map("m")).await.0, 201);
}

#[tokio::test]
async fn a_rule_for_another_version_gets_the_object_in_that_version() {
    let api = Api::with_networks(LOOPBACK).await;
    let acme = api.tenant("acme").await;
    let hook = Hook::patching(|_| json!([{"op": "replace", "path": "/spec/maxReplicas", "value": 7}])).await;
    let mut old = webhook("w.example.com", &hook.client_config());
    old["rules"] = json!([{"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"],
        "operations": ["CREATE"]}]);
    mutating(&acme, "a", old.clone()).await;
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let scaler = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}})
    };
    let (code, made) = acme.post(path, scaler("one")).await;
    assert_eq!((code, &made["spec"]["maxReplicas"]), (201, &json!(7)), "{made}");
    let request = &hook.seen()[0].body["request"];
    assert_eq!((&request["kind"]["version"], &request["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
    let exact = json!({"webhooks": [with(old, "matchPolicy", json!("Exact"))]});
    assert_eq!(acme.patch("merge", &format!("{GROUP}/mutatingwebhookconfigurations/a"), exact).await.0, 200);
    assert_eq!(acme.post(path, scaler("two")).await.1["spec"]["maxReplicas"], 3);
}
