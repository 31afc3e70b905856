//! Encodings and forms of answers: what a client accepts is what it gets, of the same objects.

use crate::{Api, User, config_map};
use axum::body::Body;
use http::{Method, Request, Response};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

impl User<'_> {
    async fn get_as(&self, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        self.request(request.body(Body::empty()).expect("a request")).await
    }
}

async fn bytes(response: Response<Body>) -> Vec<u8> {
    axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body").to_vec()
}

fn decode(bytes: &[u8]) -> Value {
    schema::protobuf::decode(schema::builtin(), bytes).expect("a protobuf object")
}

#[tokio::test]
async fn objects_lists_and_events_are_the_same_in_protobuf() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (_, created) = acme.post(MAPS, config_map("a")).await;
    let accept = [("accept", PROTOBUF)];

    let one = acme.get_as(&format!("{MAPS}/a"), &accept).await;
    assert_eq!(one.headers()["content-type"], PROTOBUF);
    assert_eq!(decode(&bytes(one).await), created);

    let list = decode(&bytes(acme.get_as(MAPS, &accept).await).await);
    assert_eq!(list["kind"], "ConfigMapList");
    assert_eq!(list["items"][0]["data"], created["data"]);
    assert_eq!(list["items"][0]["metadata"], created["metadata"]);

    let missing = acme.get_as(&format!("{MAPS}/zz"), &accept).await;
    assert_eq!(missing.status(), 404);
    assert_eq!(decode(&bytes(missing).await)["reason"], "NotFound");

    let partial = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let partial = decode(&bytes(acme.get_as(MAPS, &[("accept", &partial)]).await).await);
    assert_eq!(partial["items"][0]["metadata"], created["metadata"]);
    assert_eq!(partial["items"][0]["data"], Value::Null);

    let watch = acme.get_as(&format!("{MAPS}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Da"), &accept).await;
    assert_eq!(watch.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let frames = bytes(watch).await;
    let (length, frame) = frames.split_at(4);
    let length = usize::try_from(u32::from_be_bytes(length.try_into().expect("four bytes"))).expect("a length");
    let event = schema::protobuf::envelope("v1", "WatchEvent", &frame[..length]);
    // The object of an event is an envelope of its own, and no JSON.
    let at = event.windows(4).skip(4).position(|window| window == b"k8s\0").expect("an object") + 4;
    assert_eq!(decode(&event[at..event.len() - 4]), created);
}

#[tokio::test]
async fn a_body_in_protobuf_is_a_body_in_json() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let body = schema::protobuf::encode(schema::builtin(), &config_map("p")).expect("an encoding");
    let response = acme.send(Method::POST, MAPS, PROTOBUF, body).await;
    assert_eq!(response.status(), 201);
    let (_, read) = acme.get(&format!("{MAPS}/p")).await;
    assert_eq!(read["data"], json!({"k": "v"}));
}

#[tokio::test]
async fn forms_and_spaces_are_as_asked_for() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    assert_eq!(acme.post(MAPS, config_map("a")).await.0, 201);
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let watch = format!("{MAPS}?watch=1&timeoutSeconds=1");
    assert_eq!(acme.post(MAPS, config_map("b")).await.0, 201);
    let frames = bytes(acme.get_as(&watch, &[("accept", table)]).await).await;
    let frames: Vec<Value> =
        String::from_utf8_lossy(&frames).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(frames[0]["object"]["columnDefinitions"].is_array());
    assert!(frames[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(frames[0]["object"]["rows"].as_array().map(Vec::len), Some(1));

    let text = |body: Vec<u8>| String::from_utf8(body).expect("text");
    let pretty = text(bytes(acme.get_as(&format!("{MAPS}/zz"), &[("user-agent", "curl/8.0")]).await).await);
    assert!(pretty.starts_with("{\n  \"kind\": \"Status\",\n  \"apiVersion\": \"v1\",\n"), "{pretty}");
    let yaml = text(bytes(acme.get_as(&format!("{MAPS}/zz"), &[("accept", "application/yaml")]).await).await);
    assert!(yaml.contains("message: configmaps \"zz\" not found\n"), "{yaml}");
    let html = acme.get_as(&format!("{MAPS}/a"), &[("accept", "text/html")]).await;
    assert_eq!((html.status().as_u16(), html.headers()["content-type"].as_bytes()), (406, &b"application/json"[..]));
    let wrong = acme.get_as(MAPS, &[("accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")]).await;
    assert_eq!(wrong.status(), 406);
}

#[tokio::test]
async fn large_answers_are_compressed_for_who_takes_it() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let large = json!({"metadata": {"name": "large"}, "data": {"k": "abc ".repeat(50_000)}});
    assert_eq!(acme.post(MAPS, large).await.0, 201);
    for path in [MAPS.to_owned(), format!("{MAPS}/large")] {
        let response = acme.get_as(&path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(response.headers()["content-encoding"], "gzip", "{path}");
        assert!(bytes(response).await.len() < 50_000, "{path}");
        assert!(acme.get_as(&path, &[]).await.headers().get("content-encoding").is_none(), "{path}");
    }
    let small = acme.get_as("/api/v1/namespaces/default", &[("accept-encoding", "gzip")]).await;
    assert!(small.headers().get("content-encoding").is_none());
}

#[tokio::test]
async fn a_proxy_reaches_only_what_the_node_knows() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let status = |code: u16, path: &'static str| {
        let acme = &acme;
        async move {
            let (found, answer) = acme.get(path).await;
            assert_eq!(found, code, "{path}: {answer}");
            answer
        }
    };
    status(404, "/api/v1/namespaces/default/pods/none/proxy/x").await;
    status(404, "/api/v1/namespaces/default/services/none:80/proxy/").await;
    let service = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
    assert_eq!(acme.post("/api/v1/namespaces/default/services", service).await.0, 201);
    // An endpoint that is no pod is an address that a tenant wrote: it is not dialled.
    let slice = json!({
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
    });
    assert_eq!(acme.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await.0, 201);
    let answer = status(503, "/api/v1/namespaces/default/services/s/proxy/").await;
    assert_eq!(answer["message"], "no endpoints available for service \"s\"");
    // Nodes are the operators'.
    status(403, "/api/v1/nodes/n/proxy/healthz").await;
}
