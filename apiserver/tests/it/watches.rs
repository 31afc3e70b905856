//! Watches: what they start with, what they deliver, and how they end.

use crate::{Api, config_map};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_watch_starts_with_what_is_there_and_goes_on() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    acme.post(MAPS, config_map("a")).await;
    let mut watch = acme.watch(&format!("{MAPS}?watch=1")).await;
    assert_eq!(watch.next_brief().await, "ADDED a");
    acme.post(MAPS, config_map("b")).await;
    acme.patch("merge", &format!("{MAPS}/b"), json!({"data": {"k": "w"}})).await;
    let (_, deleted) = acme.delete(&format!("{MAPS}/b"), json!({})).await;
    assert_eq!(deleted["status"], "Success");
    assert_eq!(watch.next_brief().await, "ADDED b");
    assert_eq!(watch.next_brief().await, "MODIFIED b");
    let last = watch.next().await.expect("a frame");
    assert_eq!((&last["type"], &last["object"]["data"]["k"]), (&json!("DELETED"), &json!("w")));
}

#[tokio::test]
async fn a_watch_resumes_after_the_revision_it_names() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (_, first) = acme.post(MAPS, config_map("a")).await;
    acme.post(MAPS, config_map("b")).await;
    let version = first["metadata"]["resourceVersion"].as_str().expect("a version");
    let mut watch = acme.watch(&format!("{MAPS}?watch=1&resourceVersion={version}")).await;
    assert_eq!(watch.next_brief().await, "ADDED b");
}

#[tokio::test]
async fn a_watch_is_told_what_enters_and_leaves_its_selection() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    acme.post(MAPS, config_map("a")).await;
    let mut watch = acme.watch(&format!("{MAPS}?watch=1&labelSelector=l%3Dx")).await;
    let label = |value: Option<&str>| json!({"metadata": {"labels": {"l": value}}});
    let path = format!("{MAPS}/a");
    acme.patch("merge", &path, label(Some("x"))).await;
    acme.patch("merge", &path, label(Some("y"))).await;
    assert_eq!(watch.next_brief().await, "ADDED a");
    assert_eq!(watch.next_brief().await, "DELETED a");
}

#[tokio::test]
async fn a_streaming_list_ends_its_start_with_a_marked_bookmark() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    acme.post(MAPS, config_map("a")).await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = acme.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(watch.next_brief().await, "ADDED a");
    let bookmark = watch.next().await.expect("a frame");
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn a_watch_sees_its_own_tenant_alone() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let umbrella = api.tenant("umbrella").await;
    let mut watch = acme.watch("/api/v1/configmaps?watch=1").await;
    umbrella.post(MAPS, config_map("theirs")).await;
    acme.post(MAPS, config_map("ours")).await;
    assert_eq!(watch.next_brief().await, "ADDED ours");
}

#[tokio::test]
async fn a_watch_ends_at_its_timeout() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let mut watch = acme.watch(&format!("{MAPS}?watch=1&timeoutSeconds=1")).await;
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_revision_of_the_future_is_answered_with_a_timeout() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (code, status) = acme.get(&format!("{MAPS}?resourceVersion=1000000")).await;
    assert_eq!((code, &status["details"]["causes"][0]["reason"]), (504, &json!("ResourceVersionTooLarge")));
}
