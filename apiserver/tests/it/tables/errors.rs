//! What is refused and how it is said (T35), and that subresources, generations and writes that change nothing keep apart
//! (T36).

use super::samples;
use crate::{Api, answer_of};
use http::{Method, Request};
use serde_json::{Value, json};

/// A failed answer is a Status that says its own code.
#[track_caller]
fn check_status(what: &str, code: u16, reason: &str, (found, answer): &(u16, Value)) {
    assert_eq!(*found, code, "{what}: {answer}");
    assert_eq!(answer["kind"], "Status", "{what}: {answer}");
    assert_eq!(answer["apiVersion"], "v1", "{what}: {answer}");
    assert_eq!(answer["status"], "Failure", "{what}: {answer}");
    assert_eq!(answer["code"], code, "{what}: {answer}");
    assert_eq!(answer["reason"], reason, "{what}: {answer}");
    assert!(answer["metadata"].is_object(), "{what}: {answer}");
    assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}: {answer}");
}

#[tokio::test]
async fn t35_every_trigger_of_an_error_gets_its_code_and_reason() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let nobody = api.user("acme", "nobody", &["system:authenticated"]);
    let mut triggers = 0;
    for sample in samples() {
        let at = sample.at;
        let plural = at.rsplit('/').next().expect("a plural");
        let (one, none) = (format!("{at}/a"), format!("{at}/none"));
        let (code, made) = acme.post(at, sample.object.clone()).await;
        assert_eq!(code, 201, "{made}");
        let mut nameless = sample.object.clone();
        nameless["metadata"] = json!({});
        let mut other = sample.object.clone();
        other["metadata"]["name"] = json!("other");
        let mut bad_name = sample.object.clone();
        bad_name["metadata"]["labels"] = json!({"no good": "x"});
        bad_name["metadata"]["name"] = json!("b");
        let mut elsewhere = sample.object.clone();
        elsewhere["metadata"]["namespace"] = json!("elsewhere");
        let wrong_kind = json!({"apiVersion": made["apiVersion"], "kind": "Nonsense", "metadata": {"name": "x"}});
        let mut stale = made.clone();
        stale["metadata"]["resourceVersion"] = json!("1");
        let absent = [
            ("get", acme.get(&none).await),
            ("delete", acme.delete(&none, json!({})).await),
            ("patch", acme.patch("merge", &none, json!({})).await),
        ];
        for (verb, answer) in &absent {
            check_status(&format!("{verb} {none}"), 404, "NotFound", answer);
            assert_eq!(answer.1["details"]["name"], "none", "{none}");
            assert_eq!(answer.1["details"]["kind"], plural, "{none}");
        }
        let text = |method: Method, path: String, content_type: &'static str, body: String| {
            let acme = &acme;
            async move { answer_of(acme.send(method, &path, content_type, body).await).await }
        };
        let unacceptable =
            Request::get(&one).header("accept", "image/png").body(axum::body::Body::empty()).expect("a request");
        for (what, code, reason, answer) in [
            ("no name", 422, "Invalid", acme.post(at, nameless).await),
            ("a bad label", 422, "Invalid", acme.post(at, bad_name).await),
            ("the same name", 409, "AlreadyExists", acme.post(at, sample.object.clone()).await),
            ("another namespace", 400, "BadRequest", acme.post(at, elsewhere).await),
            ("another kind", 400, "BadRequest", acme.post(at, wrong_kind).await),
            ("another name", 400, "BadRequest", acme.put(&one, &other).await),
            ("an old version", 409, "Conflict", acme.put(&one, &stale).await),
            ("another uid", 409, "Conflict", acme.delete(&one, json!({"preconditions": {"uid": "0"}})).await),
            ("no JSON", 400, "BadRequest", text(Method::POST, at.to_owned(), "application/json", "{".to_owned()).await),
            (
                "no object",
                400,
                "BadRequest",
                text(Method::POST, at.to_owned(), "application/json", "[]".to_owned()).await,
            ),
            (
                "a type of its own",
                415,
                "UnsupportedMediaType",
                text(Method::POST, at.to_owned(), "text/csv", "a,b".to_owned()).await,
            ),
            (
                "a patch of its own",
                415,
                "UnsupportedMediaType",
                text(Method::PATCH, one.clone(), "application/json", "{}".to_owned()).await,
            ),
            (
                "no patch",
                400,
                "BadRequest",
                text(Method::PATCH, one.clone(), "application/json-patch+json", "{".to_owned()).await,
            ),
            (
                "a patch of nothing",
                422,
                "Invalid",
                acme.patch("json", &one, json!([{"op": "remove", "path": "/nothing/here"}])).await,
            ),
            ("an image of it", 406, "NotAcceptable", answer_of(acme.request(unacceptable).await).await),
            ("a bad selector", 400, "BadRequest", acme.get(&format!("{at}?labelSelector=a%20b%20c")).await),
            ("a bad field selector", 400, "BadRequest", acme.get(&format!("{at}?fieldSelector=nope%3Dx")).await),
            ("a bad limit", 400, "BadRequest", acme.get(&format!("{at}?limit=x")).await),
            ("a bad token", 400, "BadRequest", acme.get(&format!("{at}?limit=1&continue=x")).await),
            ("a bad dry run", 422, "Invalid", acme.delete(&format!("{one}?dryRun=Some"), json!({})).await),
            ("a bad propagation", 422, "Invalid", acme.delete(&one, json!({"propagationPolicy": "Up"})).await),
            ("no such part", 404, "NotFound", acme.get(&format!("{one}/nothing")).await),
            ("a post to an object", 405, "MethodNotAllowed", acme.post(&one, sample.object.clone()).await),
            ("a put of all", 405, "MethodNotAllowed", acme.put(at, &sample.object).await),
            ("no right", 403, "Forbidden", nobody.get(at).await),
        ] {
            check_status(&format!("{what} {at}"), code, reason, &answer);
            triggers += 1;
        }
        triggers += absent.len();
    }
    assert!(triggers >= 120, "{triggers} triggers");
}

#[tokio::test]
async fn t36_subresources_keep_apart_and_what_changes_nothing_counts_nothing() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let mut checked = 0;
    for sample in samples() {
        let one = format!("{}/a", sample.at);
        let mut with_status = sample.object.clone();
        if !sample.status.is_null() {
            with_status["status"] = sample.status.clone();
        }
        let (code, made) = acme.post(sample.at, with_status).await;
        assert_eq!(code, 201, "{made}");
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        let generation = |object: &Value| object["metadata"]["generation"].as_i64();

        // The same again is no write.
        let (_, same) = acme.put(&one, &made).await;
        assert_eq!(version(&same), version(&made), "put {one}");
        let (_, same) = acme.patch("merge", &one, json!({})).await;
        assert_eq!(version(&same), version(&made), "merge {one}");
        let (_, same) = acme.patch("json", &one, json!([])).await;
        assert_eq!(version(&same), version(&made), "json {one}");
        checked += 3;

        // A change counts once, and only of what is no metadata.
        let (code, changed) = acme.patch("merge", &one, sample.change.clone()).await;
        assert_eq!(code, 200, "{one}: {changed}");
        assert_ne!(version(&changed), version(&made), "{one}");
        let counts = generation(&made).is_some() && sample.change["metadata"].is_null();
        assert_eq!(generation(&changed), generation(&made).map(|number| number + i64::from(counts)), "{one}");
        let (_, labelled) = acme.patch("merge", &one, json!({"metadata": {"labels": {"t": "36"}}})).await;
        assert_eq!(generation(&labelled), generation(&changed), "{one}");
        checked += 3;

        if sample.status.is_null() {
            let (code, answer) = acme.get(&format!("{one}/status")).await;
            assert_eq!((code, &answer["reason"]), (404, &json!("NotFound")), "{one}: {answer}");
            checked += 1;
            continue;
        }
        let field = sample.status.as_object().and_then(|status| status.keys().next()).expect("a field").clone();
        assert_ne!(made["status"][&field], sample.status[&field], "a create sets no status: {one}");
        let (_, put) = acme.patch("merge", &one, json!({"status": sample.status})).await;
        assert_eq!(put["status"], labelled["status"], "an update sets no status: {one}");
        assert_eq!(version(&put), version(&labelled), "{one}");
        let mut both = labelled.clone();
        both["status"] = sample.status.clone();
        both["spec"] = made["spec"].clone();
        let (code, told) = acme.put(&format!("{one}/status"), &both).await;
        assert_eq!(code, 200, "{one}: {told}");
        assert_eq!(told["status"][&field], sample.status[&field], "{one}");
        assert_eq!(told["spec"], labelled["spec"], "a status changes no spec: {one}");
        assert_eq!(generation(&told), generation(&labelled), "{one}");
        let (_, again) = acme.put(&format!("{one}/status"), &told).await;
        assert_eq!(version(&again), version(&told), "{one}");
        let (_, spec) = acme.patch("merge", &one, json!({"metadata": {"annotations": {"t": "36"}}})).await;
        assert_eq!(spec["status"], told["status"], "an update keeps the status: {one}");
        checked += 8;
    }
    assert!(checked >= 100, "{checked} checks");
}
