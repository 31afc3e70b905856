//! Tenants as operators shape them: quotas over all namespaces, use, and what is created in what goes away.

use crate::Api;
use futures::future::join_all;
use serde_json::{Value, json};

const TENANT: &str = "/api/v1/tenants/acme";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}})
}

async fn limit(api: &Api, quota: Value) {
    let (code, answer) = api.admin("system").patch("merge", TENANT, json!({"spec": {"quota": quota}})).await;
    assert_eq!(code, 200, "{answer}");
}

async fn used(api: &Api) -> Value {
    api.admin("system").get(TENANT).await.1["status"]["used"].take()
}

#[tokio::test]
async fn a_quota_counts_over_all_namespaces_and_gives_back_what_ends() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    assert_eq!(acme.post("/api/v1/namespaces", named("other")).await.0, 201);
    assert_eq!(acme.post("/api/v1/namespaces/other/serviceaccounts", named("default")).await.0, 201);
    assert_eq!(acme.post(PODS, pod("there", "500m")).await.0, 201);
    limit(&api, json!({"pods": "3", "cpu": "1500m", "count/configmaps": "2"})).await;
    let before = used(&api).await;
    assert_eq!(
        (&before["pods"], &before["cpu"], &before["count/configmaps"]),
        (&json!("1"), &json!("500m"), &json!("0"))
    );

    assert_eq!(acme.post("/api/v1/namespaces/other/pods", pod("second", "500m")).await.0, 201);
    let (code, refusal) = acme.post(PODS, pod("third", "600m")).await;
    assert_eq!(code, 403);
    let why = "pods \"third\" is forbidden: exceeded quota of tenant acme: requested: cpu=600m, used: cpu=1, limited: cpu=1500m";
    assert_eq!(refusal["message"], why);
    let (code, refusal) = acme
        .post(PODS, json!({"metadata": {"name": "silent"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}))
        .await;
    assert_eq!(code, 403);
    assert!(refusal["message"].as_str().is_some_and(|m| m.ends_with("must specify cpu for: c")), "{refusal}");

    let ended = json!({"status": {"phase": "Succeeded"}});
    assert_eq!(
        api.admin("system").patch("merge", "/tenants/acme/api/v1/namespaces/default/pods/there/status", ended).await.0,
        200
    );
    assert_eq!(used(&api).await["cpu"], "500m");
    assert_eq!(acme.post(PODS, pod("third", "600m")).await.0, 201);
    assert_eq!(acme.delete(&format!("{PODS}/third"), json!({"gracePeriodSeconds": 0})).await.0, 200);
    assert_eq!((used(&api).await["cpu"].clone(), used(&api).await["pods"].clone()), (json!("500m"), json!("1")));

    limit(&api, Value::Null).await;
    for name in ["a", "b", "c"] {
        assert_eq!(acme.post(MAPS, named(name)).await.0, 201);
    }
}

#[tokio::test]
async fn creates_at_once_never_exceed_a_quota() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let objects = api.admin("system").get("/tenants/acme/usage").await.1["objects"].as_u64().expect("a count");
    limit(&api, json!({"count/configmaps": "9", "objects": (objects + 5).to_string()})).await;
    let names: Vec<String> = (0..30).map(|i| format!("m{i}")).collect();
    let codes = join_all(names.iter().map(|name| acme.post(MAPS, named(name)))).await;
    assert_eq!(codes.iter().filter(|(code, _)| *code == 201).count(), 5, "{codes:?}");
    assert!(
        codes.iter().all(|(code, answer)| *code == 201
            || answer["message"].as_str().is_some_and(|m| m.contains("exceeded quota of tenant acme"))),
        "{codes:?}"
    );
    assert_eq!(used(&api).await["count/configmaps"], "5");
    assert_eq!(
        acme.delete(
            &format!("{MAPS}/{}", codes.iter().position(|(code, _)| *code == 201).map(|i| &names[i]).expect("one")),
            json!({})
        )
        .await
        .0,
        200
    );
    assert_eq!(acme.post(MAPS, named("again")).await.0, 201);
}

#[tokio::test]
async fn bytes_are_limited_and_shrinking_is_always_allowed() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let large = json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(20_000)}});
    assert_eq!(acme.post(MAPS, large.clone()).await.0, 201);
    limit(&api, json!({"bytes": "20Ki"})).await;
    let (code, refusal) = acme.post(MAPS, named("more")).await;
    assert_eq!(code, 403, "{refusal}");
    assert_eq!(
        acme.put(&format!("{MAPS}/large"), &json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(10_000)}}))
            .await
            .0,
        200
    );
    assert_eq!(acme.post(MAPS, named("more")).await.0, 201);
    assert_eq!(acme.put(&format!("{MAPS}/large"), &large).await.0, 403);
}

#[tokio::test]
async fn what_a_tenant_uses_is_told_to_it_and_to_operators_alone() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    api.tenant("other").await;
    assert_eq!(acme.post(MAPS, named("m")).await.0, 201);
    let (code, usage) = acme.get("/usage").await;
    assert_eq!(code, 200, "{usage}");
    assert_eq!((&usage["tenant"], &usage["resources"]["configmaps"]), (&json!("acme"), &json!(1)));
    let counted: u64 = usage["resources"].as_object().expect("counts").values().filter_map(Value::as_u64).sum();
    assert_eq!(usage["objects"], counted);
    assert_eq!(acme.get("/tenants/other/usage").await.0, 403);
    assert_eq!(acme.get("/tenants/all/usage").await.0, 403);
    let (code, all) = api.admin("system").get("/tenants/all/usage?limit=1").await;
    assert_eq!((code, all["count"].as_u64(), all["tenants"].as_array().map(Vec::len)), (200, Some(3), Some(1)));
}

#[tokio::test]
async fn a_create_never_lands_in_a_namespace_that_is_being_deleted() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    for round in 0..20 {
        let namespace = format!("n{round}");
        assert_eq!(acme.post("/api/v1/namespaces", named(&namespace)).await.0, 201);
        let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
        let names: Vec<String> = (0..10).map(|i| format!("m{i}")).collect();
        let creates = join_all(names.iter().map(|name| acme.post(&maps, named(name))));
        let path = format!("/api/v1/namespaces/{namespace}");
        let (creates, (deleted, gone)) = tokio::join!(creates, acme.delete(&path, json!({})));
        assert_eq!(deleted, 200, "{gone}");
        let mark: u64 = gone["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).expect("a version");
        for (code, answer) in creates {
            match code {
                201 => {
                    let at: u64 =
                        answer["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).expect("a version");
                    assert!(at < mark, "{at} after {mark}");
                }
                403 => assert_eq!(answer["details"]["causes"][0]["reason"], "NamespaceTerminating", "{answer}"),
                other => panic!("{other}: {answer}"),
            }
        }
    }
}
