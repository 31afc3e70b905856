//! What reads bytes of clients gets them mutated, one target for each decoder (T73): JSON, YAML, protobuf, patches,
//! selectors, expressions and paths. Seeded, so that what is found is found again. With `URSA_TEST_FULL` many more.

use crate::{Api, User, answer_of};
use axum::body::{Body, to_bytes};
use http::{HeaderValue, Method, Request};
use serde_json::json;
use std::fmt::Write;
use std::time::{Duration, Instant};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// A single answer may take this long: orders of magnitude more than any does.
const LONG: Duration = Duration::from_secs(10);

/// Pseudo-random numbers: xorshift.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).expect("a limit")).expect("a number below the limit")
    }

    /// Some changes of a text: bytes turned, cut, repeated, and words of its language put in.
    fn mutate(&mut self, seed: &[u8], words: &[&str]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => bytes.truncate(at),
                2 => {
                    let end = (at + self.below(40)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                3 => drop(bytes.drain(at..(at + self.below(10)).min(bytes.len()))),
                4 => {
                    let word = words[self.below(words.len())].repeat(1 + self.below(3) * self.below(60));
                    bytes.splice(at..at, word.bytes());
                }
                _ => bytes.insert(at, u8::try_from(self.below(256)).expect("a byte")),
            }
        }
        bytes
    }
}

fn percent(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02X}").expect("a String takes all that is written");
        text
    })
}

async fn send(user: &User<'_>, method: Method, path: &str, content_type: &str, body: Vec<u8>) {
    let began = Instant::now();
    let Ok(request) = Request::builder()
        .method(&method)
        .uri(path)
        .header("content-type", content_type)
        .body(Body::from(body.clone()))
    else {
        return;
    };
    let (code, answer) = answer_of(user.request(request).await).await;
    let what = || format!("{method} {path} {content_type} {:?}", String::from_utf8_lossy(&body));
    // Upstream answers so, without a reason, to an applied field that no schema declares.
    let undeclared = code == 500 && content_type.contains("apply") && answer["reason"].is_null();
    assert!(code < 500 || undeclared, "{}: {code} {answer}", what());
    assert!(began.elapsed() < LONG, "{}: {:?}", what(), began.elapsed());
}

#[tokio::test]
async fn t73_no_mutant_breaks_a_decoder() {
    let rounds = if std::env::var_os("URSA_TEST_FULL").is_some() { 20_000 } else { 150 };
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let mut numbers = Numbers(0x5eed_0073);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {
        "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}],
        "nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}]}});
    assert_eq!(acme.post(PODS, pod.clone()).await.0, 201);
    let one = format!("{PODS}/p");
    let json = pod.to_string();
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\n  labels: {a: &x b, c: *x}\ndata:\n  k: |-\n    two\n    lines\n  n: '1'\n";
    let request = Request::get(&one).header("accept", PROTOBUF).body(Body::empty()).expect("a request");
    let protobuf = to_bytes(acme.request(request).await.into_body(), usize::MAX).await.expect("a body");
    let operations = br#"[{"op":"test","path":"/metadata/name","value":"p"},{"op":"add","path":"/metadata/labels/x","value":"y"},{"op":"move","from":"/metadata/labels/x","path":"/metadata/labels/z"}]"#;
    let merge = br#"{"metadata":{"labels":{"a":null,"$patch":"replace"}},"spec":{"containers":[{"name":"c","$patch":"delete"}],"$setElementOrder/containers":[{"name":"c"}]}}"#;
    let selector = b"a in (b, c),!d,e!=f,g>1";
    let fields = br"metadata.name!=x,status.phase=Run\,ning,spec.nodeName=";
    let expression =
        "object.metadata.name.matches('^a+$') && object.data.all(k, k.size() < 10) ? true : has(object.data)";
    for round in 0..rounds {
        send(
            &acme,
            Method::POST,
            &format!("{PODS}?dryRun=All"),
            "application/json",
            numbers.mutate(json.as_bytes(), &["{", "[", "\"a\":", "1e9", "\\u0000", "null,"]),
        )
        .await;
        send(
            &acme,
            Method::POST,
            &format!("{MAPS}?dryRun=All"),
            "application/yaml",
            numbers.mutate(yaml.as_bytes(), &["*x", "&x ", "- ", "? ", "!!binary ", "{", "---\n"]),
        )
        .await;
        send(
            &acme,
            Method::POST,
            &format!("{PODS}?dryRun=All"),
            PROTOBUF,
            numbers.mutate(&protobuf, &["\u{7f}", "\n", "k8s\0"]),
        )
        .await;
        for (kind, body) in [("json", &operations[..]), ("merge", merge), ("strategic-merge", merge)] {
            let body = numbers.mutate(body, &["/-", "~1", "\"op\":", "null", "[", "$retainKeys"]);
            send(&acme, Method::PATCH, &format!("{one}?dryRun=All"), &format!("application/{kind}-patch+json"), body)
                .await;
        }
        let applied = numbers.mutate(yaml.as_bytes(), &["*x", "- ", "{", "managedFields: "]);
        send(
            &acme,
            Method::PATCH,
            &format!("{MAPS}/y?dryRun=All&fieldManager=m"),
            "application/apply-patch+yaml",
            applied,
        )
        .await;
        let labels = percent(&numbers.mutate(selector, &["in", "notin", "(", "!", "==", ","]));
        let named = percent(&numbers.mutate(fields, &["=", "!=", "\\", ","]));
        send(&acme, Method::GET, &format!("{PODS}?labelSelector={labels}"), "application/json", Vec::new()).await;
        send(&acme, Method::GET, &format!("{PODS}?fieldSelector={named}"), "application/json", Vec::new()).await;
        let mutant = numbers.mutate(expression.as_bytes(), &["(", "[", ".map(x, ", "'", "\\", "+", "?:", "in"]);
        let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": format!("p{round}")}, "spec": {
                "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]},
                "validations": [{"expression": String::from_utf8_lossy(&mutant)}]}});
        let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies?dryRun=All";
        send(&acme, Method::POST, policies, "application/json", policy.to_string().into_bytes()).await;
        let path = numbers.mutate(
            b"/tenants/acme/api/v1/namespaces/default/pods/p/status",
            &["/", "%2f", "..", "%00", ";", "?", "tenants/"],
        );
        if let Ok(path) = String::from_utf8(path)
            .map_err(drop)
            .and_then(|path| HeaderValue::from_str(&path).map(|_| path).map_err(drop))
        {
            send(&acme, Method::GET, &path, "application/json", Vec::new()).await;
        }
    }
    assert_eq!(acme.get(&one).await.0, 200, "all were dry runs");
}
