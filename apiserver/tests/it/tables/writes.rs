//! What writes do: lost updates (T30), the ends of objects (T31), dry runs (T32) and the validation of fields (T33).

use super::samples;
use crate::{Answer, Api, User, answer_of, config_map};
use http::{Method, Request};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn t30_no_increment_of_many_writers_is_lost() {
    const WRITERS: usize = 32;
    const EACH: usize = 20;
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let counter = json!({"metadata": {"name": "a"}, "data": {"n": "0"}});
    assert_eq!(acme.post(MAPS, counter).await.0, 201);
    let at = format!("{MAPS}/a");
    let writer = || async {
        for _ in 0..EACH {
            loop {
                let (_, mut object) = acme.get(&at).await;
                let number: usize = object["data"]["n"].as_str().and_then(|n| n.parse().ok()).expect("a number");
                object["data"]["n"] = json!((number + 1).to_string());
                match acme.put(&at, &object).await {
                    (200, _) => break,
                    (409, answer) => assert_eq!(answer["reason"], "Conflict"),
                    (code, answer) => panic!("{code}: {answer}"),
                }
            }
        }
    };
    futures::future::join_all((0..WRITERS).map(|_| writer())).await;
    assert_eq!(acme.get(&at).await.1["data"]["n"], (WRITERS * EACH).to_string());
}

#[tokio::test]
async fn t31_an_object_ends_as_its_finalizers_preconditions_and_propagation_say() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let mut asked = 0;
    for finalizers in
        [json!([]), json!(["example.com/f"]), json!(["foregroundDeletion"]), json!(["orphan", "example.com/f"])]
    {
        for precondition in ["none", "uid", "other uid", "version", "other version"] {
            for propagation in ["", "Background", "Foreground", "Orphan", "Sideways"] {
                for grace in [None, Some(0), Some(30)] {
                    let name = format!("m{asked}");
                    let map = json!({"metadata": {"name": name, "finalizers": finalizers}});
                    let (code, made) = acme.post(MAPS, map).await;
                    assert_eq!(code, 201, "{made}");
                    let mut options = json!({});
                    let uid = "00000000-0000-0000-0000-000000000000";
                    match precondition {
                        "uid" => options["preconditions"]["uid"] = made["metadata"]["uid"].clone(),
                        "other uid" => options["preconditions"]["uid"] = json!(uid),
                        "version" => {
                            options["preconditions"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone()
                        }
                        "other version" => options["preconditions"]["resourceVersion"] = json!("1"),
                        _ => {}
                    }
                    if !propagation.is_empty() {
                        options["propagationPolicy"] = json!(propagation);
                    }
                    if let Some(grace) = grace {
                        options["gracePeriodSeconds"] = json!(grace);
                    }
                    let at = format!("{MAPS}/{name}");
                    let what = format!("{finalizers} {options}");
                    let (code, answer) = acme.delete(&at, options).await;
                    let expected = match (propagation, precondition) {
                        ("Sideways", _) => 422,
                        (_, "other uid" | "other version") => 409,
                        _ => 200,
                    };
                    assert_eq!(code, expected, "{what}: {answer}");
                    let (left, object) = acme.get(&at).await;
                    let mut held: Vec<&str> =
                        finalizers.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                    if expected != 200 {
                        assert!(left == 200 && object["metadata"]["deletionTimestamp"].is_null(), "{what}: {object}");
                    } else {
                        // Without a word, what the object says of its dependents stays.
                        let policies = ["foregroundDeletion", "orphan"];
                        if !propagation.is_empty() {
                            held.retain(|finalizer| !policies.contains(finalizer));
                            held.extend(match propagation {
                                "Foreground" => Some("foregroundDeletion"),
                                "Orphan" => Some("orphan"),
                                _ => None,
                            });
                        }
                        assert_eq!(left, if held.is_empty() { 404 } else { 200 }, "{what}: {object}");
                        let mut found: Vec<&str> = object["metadata"]["finalizers"]
                            .as_array()
                            .into_iter()
                            .flatten()
                            .filter_map(Value::as_str)
                            .collect();
                        found.sort_unstable();
                        held.sort_unstable();
                        assert_eq!(found, held, "{what}");
                        if left == 200 {
                            assert!(object["metadata"]["deletionTimestamp"].is_string(), "{what}: {object}");
                            let freed = json!({"metadata": {"finalizers": null}});
                            assert_eq!(acme.patch("merge", &at, freed).await.0, 200, "{what}");
                            assert_eq!(acme.get(&at).await.0, 404, "{what}");
                        }
                    }
                    asked += 1;
                }
            }
        }
    }
    assert!(asked >= 150, "{asked} combinations");
}

#[tokio::test]
async fn t32_a_dry_run_leaves_nothing_behind() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    for sample in samples() {
        assert_eq!(acme.post(sample.at, sample.object.clone()).await.0, 201, "{}", sample.at);
    }
    let state = || async {
        let mut state = Vec::new();
        for sample in samples() {
            let (_, mut list) = acme.get(sample.at).await;
            state.push(list["items"].take());
        }
        let (_, events) = acme.get("/api/v1/events").await;
        let (_, addresses) = acme.get("/apis/networking.k8s.io/v1/ipaddresses").await;
        (state, events["items"].clone(), addresses["items"].clone(), events["metadata"]["resourceVersion"].clone())
    };
    let before = state().await;
    let mut asked = 0;
    for sample in samples() {
        let one = format!("{}/a?dryRun=All", sample.at);
        let (_, current) = acme.get(&format!("{}/a", sample.at)).await;
        for number in 0..10 {
            let mut another = sample.object.clone();
            another["metadata"] = json!({"name": format!("new-{number}")});
            let (code, made) = acme.post(&format!("{}?dryRun=All", sample.at), another).await;
            assert!(code == 201 && made["metadata"]["uid"].is_string(), "{}: {made}", sample.at);
            let mut changed = current.clone();
            changed["metadata"]["annotations"]["n"] = json!(number.to_string());
            let applied = json!({"apiVersion": current["apiVersion"], "kind": current["kind"],
                "metadata": {"name": "a", "labels": {"n": number.to_string()}}});
            let path = format!("{one}&fieldManager=m");
            let apply = acme.send(Method::PATCH, &path, "application/apply-patch+yaml", applied.to_string());
            for (verb, (code, answer)) in [
                ("put", acme.put(&one, &changed).await),
                ("merge", acme.patch("merge", &one, sample.change.clone()).await),
                ("strategic", acme.patch("strategic-merge", &one, sample.change.clone()).await),
                ("apply", answer_of(apply.await).await),
                ("delete", acme.delete(&one, json!({})).await),
            ] {
                assert_eq!(code, 200, "{verb} {one}: {answer}");
                asked += 1;
            }
            asked += 1;
        }
    }
    assert!(asked >= 500, "{asked} requests");
    assert_eq!(state().await, before);
}

/// One way to send a body that holds a fault.
async fn sent(user: &User<'_>, how: &str, at: &str, name: &str, mode: &str, body: &str) -> (Answer, bool) {
    let (method, path, content_type) = match how {
        "create" => (Method::POST, at.to_owned(), "application/json"),
        "put" => (Method::PUT, format!("{at}/{name}"), "application/json"),
        "merge" => (Method::PATCH, format!("{at}/{name}"), "application/merge-patch+json"),
        "strategic" => (Method::PATCH, format!("{at}/{name}"), "application/strategic-merge-patch+json"),
        "json" => (Method::PATCH, format!("{at}/{name}"), "application/json-patch+json"),
        _ => (Method::PATCH, format!("{at}/{name}"), "application/apply-patch+yaml"),
    };
    let path = format!("{path}?fieldManager=m&fieldValidation={mode}");
    let request = Request::builder().method(method).uri(path).header("content-type", content_type);
    let response = user.request(request.body(body.to_owned().into()).expect("a request")).await;
    let warned = response.headers().contains_key("warning");
    (answer_of(response).await, warned)
}

#[tokio::test]
async fn t33_fields_are_validated_in_three_modes_in_every_way_to_write() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "one": {"type": "string"},
                "nested": {"type": "object", "properties": {"one": {"type": "string"}}},
                "list": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            }},
        }}}}],
    }});
    crate::custom::define(&acme, definition).await;
    let kinds = [
        (
            "apps/v1",
            "Deployment",
            "/apis/apps/v1/namespaces/default/deployments",
            r#""selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}"#,
            [
                ("unknown", r#""nope":1,"#, ""),
                ("nested", r#""strategy":{"nope":1},"#, ""),
                (
                    "in a list",
                    "",
                    r#""template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i","nope":1}]}}"#,
                ),
                ("twice", r#""paused":true,"paused":true,"#, ""),
                ("twice and nested", r#""strategy":{"type":"RollingUpdate","type":"RollingUpdate"},"#, ""),
            ],
        ),
        (
            "example.com/v1",
            "Thing",
            "/apis/example.com/v1/namespaces/default/things",
            r#""one":"x""#,
            [
                ("unknown", r#""nope":1,"#, ""),
                ("nested", r#""nested":{"nope":1},"#, ""),
                ("in a list", r#""list":[{"name":"a","nope":1}],"#, ""),
                ("twice", r#""one":"x","#, ""),
                ("twice and nested", r#""nested":{"one":"x","one":"x"},"#, ""),
            ],
        ),
    ];
    let mut asked = 0;
    for (api_version, kind, at, good, faults) in kinds {
        let whole = |name: &str, spec: &str| {
            format!(
                r#"{{"apiVersion":"{api_version}","kind":"{kind}","metadata":{{"name":"{name}"}},"spec":{{{spec}}}}}"#
            )
        };
        for (fault, before, instead) in faults {
            let spec = if instead.is_empty() {
                format!("{before}{good}")
            } else {
                format!(r#""selector":{{"matchLabels":{{"a":"b"}}}},{instead}"#)
            };
            for how in ["create", "put", "merge", "strategic", "json", "apply"] {
                for (mode, refuses, warns) in [
                    ("Ignore", false, false),
                    ("Warn", false, true),
                    ("Strict", true, false),
                    ("", false, true),
                    ("Loud", true, false),
                ] {
                    let name = format!("x{asked}");
                    asked += 1;
                    if how != "create" && how != "apply" {
                        let (code, answer) = acme.json_text(at, &whole(&name, good)).await;
                        assert_eq!(code, 201, "{answer}");
                    }
                    let body = match how {
                        "json" if fault.starts_with("twice") => continue,
                        "json" => format!(r#"[{{"op":"replace","path":"/spec","value":{{{spec}}}}}]"#),
                        "merge" | "strategic" => format!(r#"{{"spec":{{{spec}}}}}"#),
                        "put" => {
                            let (_, mut current) = acme.get(&format!("{at}/{name}")).await;
                            let version = current["metadata"]["resourceVersion"].take();
                            whole(&name, &spec).replacen(
                                r#""metadata":{"#,
                                &format!(r#""metadata":{{"resourceVersion":{version},"#),
                                1,
                            )
                        }
                        _ => whole(&name, &spec),
                    };
                    let ((code, answer), warned) = sent(&acme, how, at, &name, mode, &body).await;
                    let what = format!("{kind}, {fault}, {how}, {mode:?}: {code} {answer}");
                    if mode == "Loud" {
                        assert_eq!(code, 422, "{what}");
                    } else if how == "strategic" && kind == "Thing" {
                        assert_eq!(code, 415, "{what}");
                    } else if how == "apply" && !fault.starts_with("twice") {
                        // What no schema declares cannot be owned, in any mode.
                        assert!(code >= 400, "{what}");
                    } else if how == "apply" && fault.starts_with("twice") {
                        assert!(code == 400 || code == 201, "{what}");
                    } else if refuses {
                        let patches = matches!(how, "merge" | "strategic" | "json");
                        assert!(code == 400 || (patches && code == 422), "{what}");
                    } else {
                        assert!(code < 300, "{what}");
                        assert_eq!(warned, warns, "{what}");
                    }
                }
            }
        }
    }
    assert!(asked >= 200, "{asked} combinations");
    assert_eq!(acme.post(MAPS, config_map("after")).await.0, 201);
}
