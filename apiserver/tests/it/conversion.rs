//! Objects of several versions, converted by the webhook that their definition names.

use crate::custom::{DEFINITIONS, define, definition, thing};
use crate::hook::{Hook, Seen};
use crate::{Api, User};
use serde_json::{Value, json};

const V1: &str = "/apis/example.com/v1/namespaces/default/things";
const V2: &str = "/apis/example.com/v2/namespaces/default/things";

/// What is `a` in v1 is `b` in v2.
fn convert(seen: &Seen) -> Option<(u16, Value)> {
    let request = &seen.body["request"];
    let wanted = request["desiredAPIVersion"].as_str()?;
    let (from, to) = if wanted.ends_with("v2") { ("a", "b") } else { ("b", "a") };
    let objects = request["objects"].as_array()?.iter().map(|object| {
        let mut object = object.clone();
        object["apiVersion"] = json!(wanted);
        let moved = object["spec"].as_object_mut().and_then(|spec| spec.remove(from));
        object["spec"][to] = moved.unwrap_or_default();
        object["metadata"]["labels"] = json!({"converted": "yes"});
        object["metadata"]["finalizers"] = json!(["forged.example.com/x"]);
        object
    });
    let objects: Vec<Value> = objects.collect();
    let result = match objects.iter().any(|object| object["metadata"]["name"] == "bad") {
        true => json!({"status": "Failed", "message": "no such thing"}),
        false => json!({"status": "Success"}),
    };
    let response = json!({"uid": request["uid"], "result": result, "convertedObjects": objects});
    Some((200, json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response})))
}

async fn defined(admin: &User<'_>, hook: &Hook) {
    let mut definition = definition(json!({"a": {"type": "string"}, "b": {"type": "string"}}), &["v1", "v2"]);
    definition["spec"]["conversion"] = json!({"strategy": "Webhook",
        "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": hook.client_config()}});
    define(admin, definition).await;
}

#[tokio::test]
async fn every_version_shows_what_the_webhook_makes_of_an_object() {
    let api = Api::with_networks("127.0.0.0/8").await;
    let acme = api.tenant("acme").await;
    let hook = Hook::start(convert).await;
    defined(&acme, &hook).await;
    let mut watch = acme.watch(&format!("{V2}?watch=1")).await;
    let (code, made) = acme.post(V2, thing("v2", "x", json!({"b": "1"}))).await;
    assert_eq!(
        (code, &made["spec"], &made["apiVersion"]),
        (201, &json!({"b": "1"}), &json!("example.com/v2")),
        "{made}"
    );
    let stored = acme.get(&format!("{V1}/x")).await.1;
    assert_eq!((&stored["spec"], &stored["metadata"]["labels"]["converted"]), (&json!({"a": "1"}), &json!("yes")));
    assert_eq!(stored["metadata"]["finalizers"], Value::Null, "only labels and annotations are the webhook's");
    for name in ["y", "z"] {
        assert_eq!(acme.post(V1, thing("v1", name, json!({"a": name}))).await.0, 201);
    }
    let before = hook.seen().len();
    let list = acme.get(V2).await.1;
    let shown: Vec<&Value> = list["items"].as_array().expect("items").iter().map(|item| &item["spec"]["b"]).collect();
    assert_eq!(shown, ["1", "y", "z"]);
    assert_eq!(hook.seen().len() - before, 1, "a list is converted in one review");
    let (code, changed) = acme.patch("merge", &format!("{V2}/x"), json!({"spec": {"b": "2"}})).await;
    assert_eq!((code, &changed["spec"]["b"]), (200, &json!("2")), "{changed}");
    assert_eq!(acme.get(&format!("{V1}/x")).await.1["spec"]["a"], "2");
    assert_eq!(acme.delete(&format!("{V2}/y"), json!({})).await.0, 200);
    for expected in ["ADDED x 1", "ADDED y y", "ADDED z z", "MODIFIED x 2", "DELETED y y"] {
        let frame = watch.next().await.expect("a frame");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &frame["object"];
        let told = [&frame["type"], &object["metadata"]["name"], &object["spec"]["b"]].map(text).join(" ");
        assert_eq!(told, expected, "{frame}");
    }
}

#[tokio::test]
async fn what_the_webhook_cannot_convert_is_told_and_other_versions_go_on() {
    let api = Api::with_networks("127.0.0.0/8").await;
    let acme = api.tenant("acme").await;
    let hook = Hook::start(convert).await;
    defined(&acme, &hook).await;
    assert_eq!(acme.post(V1, thing("v1", "bad", json!({"a": "1"}))).await.0, 201);
    let (code, answer) = acme.get(&format!("{V2}/bad")).await;
    let why = "conversion webhook for example.com/v1, Kind=Thing failed: no such thing";
    assert_eq!((code, answer["message"].as_str()), (500, Some(why)), "{answer}");
    assert_eq!(acme.get(V2).await.0, 500);
    assert_eq!(acme.get(&format!("{V1}/bad")).await.0, 200);
    let conversion = json!({"spec": {"conversion": {"webhook": {"clientConfig": {"url": "https://127.0.0.1:1/", "caBundle": null}}}}});
    let (code, answer) = acme.patch("merge", &format!("{DEFINITIONS}/things.example.com"), conversion).await;
    assert_eq!(code, 200, "{answer}");
    let (code, answer) = acme.post(V2, thing("v2", "x", json!({"b": "1"}))).await;
    let why = "conversion webhook for example.com/v2, Kind=Thing failed: Post \"https://127.0.0.1:1/?timeout=30s\": dial tcp \
               127.0.0.1:1: connect: connection refused";
    assert_eq!((code, answer["message"].as_str()), (500, Some(why)), "{answer}");
}
