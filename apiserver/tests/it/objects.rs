//! What every kind has in common: create, read, update, patch, delete, lists.

use crate::{Api, config_map, names};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_is_completed_stored_and_read_back() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (code, created) = acme.post(MAPS, config_map("a")).await;
    assert_eq!(code, 201, "{created}");
    let metadata = &created["metadata"];
    assert_eq!((&metadata["namespace"], &metadata["tenant"]), (&json!("default"), &json!("acme")));
    assert!(metadata["uid"].is_string() && metadata["creationTimestamp"].is_string());
    assert_eq!(acme.get(&format!("{MAPS}/a")).await, (200, created));
    let (code, again) = acme.post(MAPS, config_map("a")).await;
    assert_eq!((code, &again["reason"]), (409, &json!("AlreadyExists")));
}

#[tokio::test]
async fn a_stale_update_is_a_conflict_and_an_equal_one_changes_nothing() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (_, first) = acme.post(MAPS, config_map("a")).await;
    let path = format!("{MAPS}/a");
    let mut changed = first.clone();
    changed["data"]["k"] = json!("w");
    let (code, second) = acme.put(&path, &changed).await;
    assert_eq!((code, &second["data"]["k"]), (200, &json!("w")));
    let (code, stale) = acme.put(&path, &changed).await;
    assert_eq!((code, &stale["reason"]), (409, &json!("Conflict")));
    assert_eq!(acme.put(&path, &second).await, (200, second.clone()));
    let mut foreign = second;
    foreign["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    assert_eq!(acme.put(&path, &foreign).await.0, 409);
}

#[tokio::test]
async fn the_patch_types_change_what_they_say() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let container = |name: &str, image: &str| json!({"name": name, "image": image});
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [container("a", "x:1"), container("b", "x:1")]}});
    let pods = "/api/v1/namespaces/default/pods";
    let (code, created) = acme.post(pods, pod).await;
    assert_eq!(code, 201, "{created}");
    let path = format!("{pods}/p");
    let images = |pod: &Value| {
        let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
        containers.iter().map(|c| c["image"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let strategic = json!({"spec": {"containers": [container("b", "x:2")]}});
    let (code, patched) = acme.patch("strategic-merge", &path, strategic).await;
    assert_eq!((code, images(&patched)), (200, vec!["x:1".to_owned(), "x:2".to_owned()]), "{patched}");
    let pointer = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "x:3"}]);
    let (code, patched) = acme.patch("json", &path, pointer).await;
    assert_eq!((code, images(&patched)[0].as_str()), (200, "x:3"), "{patched}");
    let merge = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(acme.patch("merge", &path, merge).await.1["metadata"]["labels"]["a"], "b");
    let versioned = json!({"metadata": {"resourceVersion": "1", "labels": {"a": "c"}}});
    assert_eq!(acme.patch("merge", &path, versioned).await.0, 409);
    assert_eq!(acme.patch("merge", &format!("{pods}/absent"), json!({})).await.0, 404);
}

#[tokio::test]
async fn finalizers_hold_a_deleted_object_until_the_last_is_gone() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let mut held = config_map("a");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let (code, created) = acme.post(MAPS, held).await;
    assert_eq!(code, 201, "{created}");
    let path = format!("{MAPS}/a");
    let (code, deleting) = acme.delete(&path, json!({})).await;
    assert_eq!(code, 200);
    assert!(deleting["metadata"]["deletionTimestamp"].is_string(), "{deleting}");
    assert_eq!(
        acme.delete(&path, json!({})).await.1["metadata"]["resourceVersion"],
        deleting["metadata"]["resourceVersion"]
    );
    let release = json!({"metadata": {"finalizers": null}});
    assert_eq!(acme.patch("merge", &path, release).await.0, 200);
    assert_eq!(acme.get(&path).await.0, 404);
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (code, answer) = acme.post(&format!("{MAPS}?dryRun=All"), config_map("a")).await;
    assert_eq!((code, &answer["metadata"]["name"]), (201, &json!("a")));
    assert_eq!(acme.get(&format!("{MAPS}/a")).await.0, 404);
    assert_eq!(acme.post(&format!("{MAPS}?dryRun=Some"), config_map("a")).await.0, 422);
}

#[tokio::test]
async fn the_pages_of_a_list_are_one_snapshot() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(acme.post(MAPS, config_map(name)).await.0, 201);
    }
    let (_, first) = acme.get(&format!("{MAPS}?limit=2")).await;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(3)));
    assert_eq!(acme.delete(&format!("{MAPS}/d"), json!({})).await.0, 200);
    assert_eq!(acme.post(MAPS, config_map("bb")).await.0, 201);
    let token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    let (_, second) = acme.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().expect("a token").to_owned();
    let (_, last) = acme.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!((names(&last), &last["metadata"]["continue"]), (vec!["e"], &json!(null)));
    // A token says where, never whose: in another tenant it opens that tenant's own list.
    let umbrella = api.tenant("umbrella").await;
    assert_eq!(umbrella.post(MAPS, config_map("z")).await.0, 201);
    let newest = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYlx1MDAwMCJ9"; // after b, at any revision
    assert_eq!(names(&umbrella.get(&format!("{MAPS}?limit=2&continue={newest}")).await.1), ["z"]);
    assert_eq!(acme.get(&format!("/api/v1/configmaps?limit=2&continue={token}")).await.0, 400);
    assert_eq!(acme.get(&format!("{MAPS}?continue=garbage")).await.0, 400);
}

#[tokio::test]
async fn selectors_narrow_a_list() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    for (name, label) in [("a", "x"), ("b", "y")] {
        let mut map = config_map(name);
        map["metadata"]["labels"] = json!({"l": label});
        assert_eq!(acme.post(MAPS, map).await.0, 201);
    }
    assert_eq!(names(&acme.get(&format!("{MAPS}?labelSelector=l%3Dx")).await.1), ["a"]);
    assert_eq!(names(&acme.get(&format!("{MAPS}?fieldSelector=metadata.name%3Db")).await.1), ["b"]);
    assert_eq!(acme.get(&format!("{MAPS}?fieldSelector=spec.x%3Db")).await.0, 400);
}

#[tokio::test]
async fn nothing_is_created_where_there_is_no_place_for_it() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (code, answer) = acme.post("/api/v1/namespaces/absent/configmaps", config_map("a")).await;
    assert_eq!((code, &answer["details"]["kind"]), (404, &json!("namespaces")));
    assert_eq!(acme.delete("/api/v1/namespaces/default", json!({})).await.0, 403);
    assert_eq!(acme.post("/api/v1/namespaces", json!({"metadata": {"name": "n"}})).await.0, 201);
    let (_, terminating) = acme.delete("/api/v1/namespaces/n", json!({})).await;
    assert_eq!(terminating["status"]["phase"], "Terminating", "{terminating}");
    let (code, answer) = acme.post("/api/v1/namespaces/n/configmaps", config_map("a")).await;
    assert_eq!((code, &answer["details"]["causes"][0]["reason"]), (403, &json!("NamespaceTerminating")));
}

#[tokio::test]
async fn bad_input_is_answered_with_a_status() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let cases = [
        (http::Method::POST, MAPS, "application/json", "{", 400),
        (http::Method::POST, MAPS, "application/json", "[]", 400),
        (http::Method::POST, MAPS, "application/json", "{\"kind\":\"Secret\",\"apiVersion\":\"v1\"}", 400),
        (http::Method::POST, MAPS, "application/json", "{\"metadata\":{\"name\":1}}", 400),
        (http::Method::POST, MAPS, "application/json", "{\"metadata\":{\"name\":\"A_\"}}", 422),
        (http::Method::POST, MAPS, "application/json", "{}", 422),
        (http::Method::POST, MAPS, "text/plain", "{}", 415),
        (http::Method::PUT, MAPS, "application/json", "{}", 405),
        (http::Method::PATCH, "/api/v1/namespaces/default/configmaps/a", "application/json", "{}", 415),
        (http::Method::GET, "/api/v1/namespaces/default/nothings", "", "", 404),
        (http::Method::GET, "/api/v2", "", "", 404),
        (http::Method::GET, "/api/v1/namespaces/default/configmaps/..", "", "", 400),
        (http::Method::GET, "/api/v1/configmaps?limit=x", "", "", 400),
        (http::Method::TRACE, MAPS, "", "", 405),
    ];
    for (method, path, content_type, body, expected) in cases {
        let response = acme.send(method.clone(), path, content_type, body).await;
        let code = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let status: Value = serde_json::from_slice(&bytes).expect("a Status");
        assert_eq!((code, &status["kind"]), (expected, &json!("Status")), "{method} {path} {body}: {status}");
        assert_eq!(status["code"], code);
    }
}
