//! Kinds that tenants define: what their objects become, and that no tenant sees another's.

use crate::{Api, User, names};
use serde_json::{Value, json};

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const THINGS: &str = "/apis/example.com/v1/namespaces/default/things";

pub fn definition(spec: Value, versions: &[&str]) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": spec}, "status": {"type": "object", "properties": {"s": {"type": "string"}}},
    }}});
    let versions = versions.iter().enumerate().map(|(i, name)| {
        json!({
            "name": name, "served": true, "storage": i == 0, "schema": schema, "subresources": {"status": {}},
            "selectableFields": [{"jsonPath": ".spec.a"}],
        })
    });
    json!({
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": versions.collect::<Vec<_>>(),
        },
    })
}

/// Defines a kind, and lets it be served, as the controller of definitions does.
pub async fn define(user: &User<'_>, definition: Value) {
    let (code, mut made) = user.post(DEFINITIONS, definition).await;
    assert_eq!(code, 201, "{made}");
    made["status"]["acceptedNames"] = made["spec"]["names"].clone();
    made["status"]["conditions"] = json!([{
        "type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": "",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }]);
    let (code, answer) = user.put(&format!("{DEFINITIONS}/things.example.com/status"), &made).await;
    assert_eq!(code, 200, "{answer}");
}

pub fn thing(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Thing", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn two_tenants_define_the_same_kind_and_neither_sees_the_others() {
    let api = Api::start().await;
    let (acme, globex, initech) = (api.tenant("acme").await, api.tenant("globex").await, api.tenant("initech").await);
    define(&acme, definition(json!({"a": {"type": "string", "default": "acme"}}), &["v1"])).await;
    define(&globex, definition(json!({"a": {"type": "integer"}}), &["v1", "v2"])).await;

    let (_, made) = acme.post(THINGS, thing("v1", "x", json!({"b": 1}))).await;
    assert_eq!(made["spec"], json!({"a": "acme"}));
    assert_eq!(acme.post(THINGS, thing("v1", "y", json!({"a": 1}))).await.0, 422);
    let (_, made) = globex.post(THINGS, thing("v1", "x", json!({"a": 1}))).await;
    assert_eq!(made["spec"], json!({"a": 1}));
    assert_eq!(initech.post(THINGS, thing("v1", "x", json!({}))).await.0, 404);

    assert_eq!(acme.get(THINGS).await.1["items"][0]["spec"]["a"], "acme");
    assert_eq!(globex.get(THINGS).await.1["items"][0]["spec"]["a"], 1);
    assert_eq!(acme.get("/apis/example.com/v2/things").await.0, 404);
    assert_eq!(globex.get("/apis/example.com/v2/things").await.1["items"][0]["apiVersion"], "example.com/v2");
    for (user, versions) in [(&acme, vec!["v1"]), (&globex, vec!["v2", "v1"]), (&initech, vec![])] {
        let (_, groups) = user.get("/apis").await;
        let group = groups["groups"].as_array().into_iter().flatten().find(|g| g["name"] == "example.com").cloned();
        let listed = group.unwrap_or_default()["versions"].as_array().cloned().unwrap_or_default();
        let listed: Vec<&str> = listed.iter().filter_map(|v| v["version"].as_str()).collect();
        assert_eq!(listed, versions);
        let (code, _) = user.get("/apis/example.com/v1").await;
        assert_eq!(code, if versions.is_empty() { 404 } else { 200 });
    }
    let mut frames = acme.watch("/apis/example.com/v1/things?watch=1").await;
    assert_eq!(frames.next_brief().await, "ADDED x");
    assert_eq!(globex.post(THINGS, thing("v1", "theirs", json!({}))).await.0, 201);
    assert_eq!(acme.post(THINGS, thing("v1", "ours", json!({}))).await.0, 201);
    assert_eq!(frames.next_brief().await, "ADDED ours");
}

#[tokio::test]
async fn objects_are_selected_by_the_fields_that_their_definition_names() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    define(&acme, definition(json!({"a": {"type": "string"}, "b": {"type": "string"}}), &["v1"])).await;
    for name in ["x", "y"] {
        assert_eq!(acme.post(THINGS, thing("v1", name, json!({"a": name, "b": "same"}))).await.0, 201);
    }
    assert_eq!(names(&acme.get(&format!("{THINGS}?fieldSelector=spec.a%3Dx")).await.1), ["x"]);
    assert_eq!(names(&acme.get(&format!("{THINGS}?fieldSelector=spec.a!%3Dx")).await.1), ["y"]);
    let (code, answer) = acme.get(&format!("{THINGS}?fieldSelector=spec.b%3Dsame")).await;
    assert_eq!((code, &answer["message"]), (400, &json!("field label not supported: spec.b")));
}

#[tokio::test]
async fn what_was_stored_before_a_change_of_the_schema_is_shown_by_the_new_one() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    define(&acme, definition(json!({"a": {"type": "string"}}), &["v1"])).await;
    assert_eq!(acme.post(THINGS, thing("v1", "x", json!({"a": "long"}))).await.0, 201);
    let property = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let change = json!([
        {"op": "add", "path": format!("{property}/a/maxLength"), "value": 2},
        {"op": "add", "path": format!("{property}/c"), "value": {"type": "integer", "default": 7}},
    ]);
    let (code, answer) = acme.patch("json", &format!("{DEFINITIONS}/things.example.com"), change).await;
    assert_eq!(code, 200, "{answer}");
    let (_, shown) = acme.get(&format!("{THINGS}/x")).await;
    assert_eq!(shown["spec"], json!({"a": "long", "c": 7}));
    assert_eq!(acme.get(THINGS).await.1["items"][0]["spec"], shown["spec"]);
    // A fault in what does not change is forgiven, in what changes it is not.
    let patch = |spec: Value| json!({ "spec": spec });
    assert_eq!(acme.patch("merge", &format!("{THINGS}/x"), patch(json!({"c": 8}))).await.0, 200);
    assert_eq!(acme.patch("merge", &format!("{THINGS}/x"), patch(json!({"a": "other"}))).await.0, 422);
}

#[tokio::test]
async fn a_status_is_written_through_its_subresource_alone() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    define(&acme, definition(json!({"a": {"type": "string"}}), &["v1"])).await;
    let mut sent = thing("v1", "x", json!({}));
    sent["status"] = json!({"s": "1"});
    let (_, made) = acme.post(THINGS, sent).await;
    assert_eq!((&made["status"], &made["metadata"]["generation"]), (&Value::Null, &json!(1)));
    let patch = json!({"spec": {"a": "ignored"}, "status": {"s": "2"}});
    let (_, patched) = acme.patch("merge", &format!("{THINGS}/x/status"), patch.clone()).await;
    assert_eq!((&patched["spec"], &patched["status"]["s"]), (&json!({}), &json!("2")));
    let (_, patched) = acme.patch("merge", &format!("{THINGS}/x"), patch).await;
    assert_eq!((&patched["metadata"]["generation"], &patched["status"]["s"]), (&json!(2), &json!("2")));
    assert_eq!(acme.patch("strategic-merge", &format!("{THINGS}/x"), json!({})).await.0, 415);
}

#[tokio::test]
async fn definitions_that_would_take_too_long_are_refused() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let deep = (0..90).fold(json!({"type": "string"}), |below, _| json!({"type": "array", "items": below}));
    let bomb = json!({"type": "string", "pattern": "((a{1000}){1000}){1000}"});
    let patterns: serde_json::Map<String, Value> =
        (0..30_000).map(|i| (format!("p{i}"), json!({"type": "string", "pattern": "^[a-z]{1,63}$"}))).collect();
    for schema in [json!({"a": deep}), json!({"a": bomb}), Value::Object(patterns)] {
        let (code, answer) = acme.post(DEFINITIONS, definition(schema, &["v1"])).await;
        assert!((400..500).contains(&code), "{code}: {}", answer["message"]);
    }
}

#[tokio::test]
async fn what_a_tenant_defines_is_described_and_served_in_it_alone() {
    let api = Api::start().await;
    let (acme, globex) = (api.tenant("acme").await, api.tenant("globex").await);
    let (_, everyones) = globex.get("/openapi/v2").await;
    define(&acme, definition(json!({"a": {"type": "string", "description": "Its color."}}), &["v1"])).await;

    let (_, document) = acme.get("/openapi/v2").await;
    let described = &document["definitions"]["com.example.v1.Thing"];
    assert_eq!(described["properties"]["spec"]["properties"]["a"]["description"], "Its color.");
    let metadata = &described["properties"]["metadata"]["$ref"];
    assert_eq!(metadata, "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    assert!(document["paths"]["/apis/example.com/v1/namespaces/{namespace}/things/{name}"]["patch"].is_object());
    assert_eq!(document["definitions"]["io.k8s.api.core.v1.Pod"], everyones["definitions"]["io.k8s.api.core.v1.Pod"]);
    let (code, document) = acme.get("/openapi/v3/apis/example.com/v1").await;
    assert_eq!((code, document["components"]["schemas"]["com.example.v1.Thing"].is_object()), (200, true));
    assert_eq!(globex.get("/openapi/v2").await.1, everyones);
    assert_eq!(globex.get("/openapi/v3/apis/example.com/v1").await.0, 404);

    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    let (code, service) = acme.get(&format!("{services}/v1.example.com")).await;
    assert_eq!((code, &service["status"]["conditions"][0]["reason"]), (200, &json!("Local")));
    let (_, all) = acme.get(services).await;
    let names = names(&all);
    assert!(names.contains(&"v1.example.com") && names.contains(&"v1.apps"), "{names:?}");
    assert_eq!(globex.get(&format!("{services}/v1.example.com")).await.0, 404);
    let definition = format!("{DEFINITIONS}/things.example.com");
    assert_eq!(acme.delete(&definition, json!({})).await.0, 200);
    assert_eq!(acme.patch("merge", &definition, json!({"metadata": {"finalizers": null}})).await.0, 200);
    assert_eq!(acme.get(&format!("{services}/v1.example.com")).await.0, 404);
    assert_eq!(acme.get("/openapi/v2").await.1, everyones);
}
