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

#[tokio::test]
async fn what_operators_lend_shows_in_every_tenant_and_is_theirs_alone() {
    let api = Api::start().await;
    let (system, acme) = (api.admin("system"), api.tenant("acme").await);
    let lent = |name: &str| json!({"metadata": {"name": name, "labels": {"tenant.ursa.dev/shared": "true"}}});
    let with = |mut object: Value, more: Value| {
        object.as_object_mut().expect("an object").extend(more.as_object().expect("fields").clone());
        object
    };
    let priorities = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    assert_eq!(system.post(priorities, with(lent("gold"), json!({"value": 1000}))).await.0, 201);
    assert_eq!(system.post(priorities, with(named("private"), json!({"value": 2000}))).await.0, 201);
    assert_eq!(system.post(classes, with(lent("fast"), json!({"provisioner": "example.com/fast"}))).await.0, 201);

    let (code, shown) = acme.get(&format!("{priorities}/gold")).await;
    assert_eq!((code, &shown["metadata"]["tenant"], &shown["value"]), (200, &json!("acme"), &json!(1000)));
    assert_eq!(acme.get(&format!("{priorities}/private")).await.0, 404);
    let (_, listed) = acme.get(classes).await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
    let important = json!({"metadata": {"name": "p"}, "spec": {"priorityClassName": "gold", "containers": [{"name": "c", "image": "i"}]}});
    let (code, pod) = acme.post(PODS, important).await;
    assert_eq!((code, &pod["spec"]["priority"]), (201, &json!(1000)), "{pod}");
    let (code, refused) = acme.delete(&format!("{priorities}/gold"), json!({})).await;
    assert_eq!(code, 403, "{refused}");
    assert_eq!(acme.patch("merge", &format!("{priorities}/gold"), json!({"description": "ours"})).await.0, 200);
    assert_eq!(acme.get(&format!("{priorities}/gold")).await.1["description"], "ours");
    assert!(system.get(&format!("{priorities}/gold")).await.1["description"].is_null());
}

#[tokio::test]
async fn a_forced_definition_is_every_tenants_and_its_objects_are_each_ones_own() {
    let api = Api::start().await;
    let (system, acme, globex) = (api.admin("system"), api.tenant("acme").await, api.tenant("globex").await);
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}});
    let definition = json!({
        "metadata": {"name": "nets.example.com", "labels": {"arktos.futurewei.com/crd-sharing-policy": "forced"}},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "nets", "kind": "Net", "singular": "net", "listKind": "NetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]},
    });
    let (code, mut made) = system.post(definitions, definition.clone()).await;
    assert_eq!(code, 201, "{made}");
    made["status"]["acceptedNames"] = made["spec"]["names"].clone();
    made["status"]["conditions"] = json!([{"type": "Established", "status": "True", "reason": "", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"}]);
    assert_eq!(system.put(&format!("{definitions}/nets.example.com/status"), &made).await.0, 200);

    let nets = "/apis/example.com/v1/namespaces/default/nets";
    let net =
        |a: &str| json!({"apiVersion": "example.com/v1", "kind": "Net", "metadata": {"name": "n"}, "spec": {"a": a}});
    assert_eq!(acme.post(nets, net("acme")).await.0, 201);
    assert_eq!(globex.post(nets, net("globex")).await.0, 201);
    assert_eq!(acme.get(nets).await.1["items"][0]["spec"]["a"], "acme");
    assert_eq!(acme.get("/apis/example.com/v1").await.0, 200);
    assert_eq!(acme.get(&format!("{definitions}/nets.example.com")).await.0, 200);
    for (what, (code, refused)) in [
        ("There is already a system forced CRD with the name", acme.post(definitions, definition.clone()).await),
        (
            "nets.example.com is a system CRD, you cannot overwrite it.",
            acme.patch(
                "merge",
                &format!("{definitions}/nets.example.com"),
                json!({"metadata": {"labels": {"a": "b"}}}),
            )
            .await,
        ),
        (
            "nets.example.com is a system CRD, it can only be deleted by a cluster admin.",
            acme.delete(&format!("{definitions}/nets.example.com"), json!({})).await,
        ),
    ] {
        assert_eq!(code, 403, "{refused}");
        assert!(refused["message"].as_str().is_some_and(|message| message.ends_with(what)), "{refused}");
    }
    let unlabel = json!({"metadata": {"labels": {"arktos.futurewei.com/crd-sharing-policy": null}}});
    assert_eq!(system.patch("merge", &format!("{definitions}/nets.example.com"), unlabel).await.0, 200);
    assert_eq!(acme.get(nets).await.0, 404, "what is not lent any more is not there");
}
