//! Managed fields and server-side apply, as clients see them.

use crate::{Answer, Api, User, config_map};
use http::Method;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

impl User<'_> {
    async fn apply(&self, path: &str, query: &str, config: &Value) -> Answer {
        let response = self
            .send(Method::PATCH, &format!("{path}?{query}"), "application/apply-patch+yaml", config.to_string())
            .await;
        crate::answer_of(response).await
    }
}

fn data(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

/// The managers of an object: name, operation and subresource, and their fields.
fn managers(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let name = |entry: &Value| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", text("manager"), text("operation"), text("subresource")).trim().to_owned()
    };
    entries.iter().map(|entry| (name(entry), entry["fieldsV1"].clone())).collect()
}

#[tokio::test]
async fn managers_apply_what_they_care_for_and_conflict_where_both_do() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let path = format!("{MAPS}/a");
    let (code, created) = acme.apply(&path, "fieldManager=one", &data(json!({"x": "1", "y": "1"}))).await;
    assert_eq!(code, 201, "{created}");
    assert_eq!(managers(&created), [("one Apply".into(), json!({"f:data": {"f:x": {}, "f:y": {}}}))]);
    // Again: nothing changes, not even the version.
    assert_eq!(acme.apply(&path, "fieldManager=one", &data(json!({"x": "1", "y": "1"}))).await, (200, created));
    let (code, conflict) = acme.apply(&path, "fieldManager=two", &data(json!({"x": "2"}))).await;
    assert_eq!((code, &conflict["reason"]), (409, &json!("Conflict")), "{conflict}");
    let cause = json!([{"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.x"}]);
    assert_eq!(conflict["details"]["causes"], cause);
    let (code, forced) = acme.apply(&path, "fieldManager=two&force=true", &data(json!({"x": "2"}))).await;
    assert_eq!((code, &forced["data"]), (200, &json!({"x": "2", "y": "1"})));
    let expected = [
        ("one Apply".to_owned(), json!({"f:data": {"f:y": {}}})),
        ("two Apply".to_owned(), json!({"f:data": {"f:x": {}}})),
    ];
    assert_eq!(managers(&forced), expected);
    // What its only manager no longer applies, goes.
    let (_, dropped) = acme.apply(&path, "fieldManager=one", &data(json!({}))).await;
    assert_eq!(dropped["data"], json!({"x": "2"}));
}

#[tokio::test]
async fn every_write_tells_its_manager() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (_, created) = acme.post(&format!("{MAPS}?fieldManager=maker"), config_map("a")).await;
    let all = json!({"f:data": {".": {}, "f:k": {}}});
    assert_eq!(managers(&created), [("maker Update".to_owned(), all.clone())]);
    let path = format!("{MAPS}/a");
    let patch = json!({"metadata": {"labels": {"l": "m"}}});
    let (_, patched) = acme.patch("merge", &format!("{path}?fieldManager=other"), patch).await;
    let labels = json!({"f:metadata": {"f:labels": {".": {}, "f:l": {}}}});
    assert_eq!(managers(&patched), [("maker Update".to_owned(), all.clone()), ("other Update".to_owned(), labels)]);
    // An update that changes nothing changes no manager; one that resets them leaves none.
    assert_eq!(acme.put(&format!("{path}?fieldManager=third"), &patched).await, (200, patched.clone()));
    let reset = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
    let (code, reset) = acme.patch("json", &path, reset).await;
    assert_eq!((code, managers(&reset).len()), (200, 0), "{reset}");
    assert_eq!(reset["data"], patched["data"]);
    // A dry run shows what would be stored, and stores nothing.
    let query = "fieldManager=dry&dryRun=All";
    let (code, dry) = acme.apply(&path, query, &data(json!({"k": "v"}))).await;
    assert_eq!((code, managers(&dry).len()), (200, 2), "{dry}");
    assert_eq!(acme.get(&path).await, (200, reset));
}

#[tokio::test]
async fn a_subresource_has_managers_of_its_own_fields() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let path = "/apis/apps/v1/namespaces/default/deployments/d";
    let deployment = |more: Value| {
        let mut config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
        for (field, value) in more.as_object().cloned().unwrap_or_default() {
            config[field] = value;
        }
        config
    };
    let labels = json!({"app": "x"});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": labels}, "template": {
        "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]},
    }});
    let (code, created) =
        acme.apply(path, "fieldManager=one", &deployment(json!({"spec": spec, "status": {"replicas": 9}}))).await;
    assert_eq!((code, &created["status"]), (201, &json!({})), "{created}");
    let template = json!({"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": {
        "k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}},
    }}});
    let whole = json!({"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": template}});
    assert_eq!(managers(&created), [("one Apply".to_owned(), whole)]);
    let status = deployment(json!({"spec": {"replicas": 7}, "status": {"replicas": 1}}));
    let (code, applied) = acme.apply(&format!("{path}/status"), "fieldManager=two", &status).await;
    assert_eq!((code, &applied["status"]["replicas"], &applied["spec"]["replicas"]), (200, &json!(1), &json!(2)));
    assert!(managers(&applied).contains(&("two Apply status".to_owned(), json!({"f:status": {"f:replicas": {}}}))));
    // The scale's manager takes the replicas over.
    let scale = |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": replicas}});
    let (code, refused) = acme.apply(&format!("{path}/scale"), "fieldManager=three", &scale(3)).await;
    assert_eq!((code, &refused["details"]["causes"][0]["field"]), (409, &json!(".spec.replicas")), "{refused}");
    let (code, _) = acme.apply(&format!("{path}/scale"), "fieldManager=three&force=true", &scale(3)).await;
    assert_eq!(code, 200);
    let (_, scaled) = acme.get(path).await;
    assert_eq!(scaled["spec"]["replicas"], 3);
    assert!(managers(&scaled).contains(&("three Apply scale".to_owned(), json!({"f:spec": {"f:replicas": {}}}))));
    // An apply that leaves the replicas out is no conflict then.
    let mut without = spec.clone();
    without.as_object_mut().expect("a spec").remove("replicas");
    let (code, kept) = acme.apply(path, "fieldManager=one", &deployment(json!({"spec": without}))).await;
    assert_eq!((code, &kept["spec"]["replicas"]), (200, &json!(3)), "{kept}");
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let path = format!("{MAPS}/a");
    let good = data(json!({"k": "v"}));
    let with = |field: &str, value: Value| {
        let mut config = good.clone();
        config[field] = value;
        config
    };
    for (query, config, code, message) in [
        (
            "",
            good.clone(),
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        ("fieldManager=m", with("kind", json!("Secret")), 400, "invalid object type: /v1, Kind=Secret"),
        (
            "fieldManager=m",
            with("metadata", json!({"name": "a", "managedFields": []})),
            400,
            "metadata.managedFields must be nil",
        ),
        (
            "fieldManager=m",
            with("metadata", json!({})),
            400,
            "the name of the object (a based on URL) was undeterminable: name must be provided",
        ),
        (
            "fieldManager=m",
            with("data", json!({"k": 1})),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.k: expected string, got \
             &value.valueUnstructured{Value:1}",
        ),
        (
            "fieldManager=m",
            with("nope", json!({})),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .nope: field not declared in schema",
        ),
    ] {
        let (answered, status) = acme.apply(&path, query, &config).await;
        assert_eq!((answered, status["message"].as_str().unwrap_or_default()), (code, message), "{config}");
    }
    let yaml = |body: &'static str| {
        acme.send(
            Method::PATCH,
            "/api/v1/namespaces/default/configmaps/a?fieldManager=m",
            "application/apply-patch+yaml",
            body,
        )
    };
    assert_eq!(yaml("- a").await.status(), 400);
    assert_eq!(yaml("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: v\n").await.status(), 201);
    assert_eq!(acme.get(&path).await.1["data"], json!({"k": "v"}));
}
