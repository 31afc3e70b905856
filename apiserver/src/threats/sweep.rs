//! The canary sweep: tenant `umbrella` holds one string in everything, and nothing that identities of `acme` receive holds
//! it: no answer in any encoding, no event of any watch, no page of a list, no document, no log, no review.

use super::callers::{self, Caller};
use super::matrix::Findings;
use super::{Answer, CANARY, HELD, World, collection, has_canary, objects};
use crate::handler;
use api::{Kind, Scope, Verb};
use axum::body::Body;
use futures::FutureExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;

/// How answers are asked for: each goes another way through the server.
const ENCODINGS: [&str; 5] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
];

/// Options of lists and watches that ask for more than is the caller's.
const OPTIONS: [&str; 6] = [
    "",
    "labelSelector=planted",
    "fieldSelector=metadata.tenant%3Dumbrella",
    "fieldSelector=metadata.name%3Dname-held",
    "resourceVersion=0&resourceVersionMatch=NotOlderThan",
    "tenant=umbrella&namespace=default&limit=500",
];

/// Options of watches.
const WATCHES: [&str; 4] = [
    "watch=1",
    "watch=1&resourceVersion=1",
    "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
    "watch=1&labelSelector=planted&tenant=umbrella",
];

/// Where a tenant's paths could start.
const PREFIXES: [&str; 5] =
    ["", "/tenants/acme", "/tenants/umbrella", "/tenants/all", "/tenants/acme/tenants/umbrella"];

/// Who is somebody else by other credentials.
const ALIKE: [&str; 3] = ["certificate", "service account, legacy", "forged headers"];

/// Tries everything on some kinds.
pub async fn sweep(world: &World, callers: &[Caller], kinds: &[Arc<Kind>]) -> Findings {
    let mut found = Findings::default();
    let callers: Vec<&Caller> =
        callers.iter().filter(|caller| matches!(caller.tenant, "acme" | "acme1" | "")).collect();
    // Those that become the same identity once they are known see the same.
    let distinct: Vec<&Caller> = callers.iter().filter(|caller| !ALIKE.contains(&caller.name)).copied().collect();
    let mut watches = open_watches(world, &distinct, kinds, &mut found).await;
    touch_everything(world, kinds).await;
    // What others read is kept in caches by then.
    for kind in kinds.iter().filter(|kind| kind.allows(Verb::List)) {
        for encoding in ENCODINGS {
            let read =
                super::request("GET", &collection(kind), &[bearer("victim"), ("accept", encoding)], String::new());
            world.answer(crate::authn::Peer::Unknown, read).await;
        }
    }
    let stolen = stolen(world, kinds).await;
    for caller in &distinct {
        lists(world, caller, kinds, &stolen, &mut found).await;
    }
    for caller in &callers {
        documents(world, caller, &mut found).await;
        reviews(world, caller, &mut found).await;
        streams(world, caller, &mut found).await;
    }
    for (what, body) in &mut watches {
        let received = received(body);
        found.asked += 1;
        found.granted += usize::from(!received.is_empty());
        if has_canary(&received) {
            found.fault(format!("{what} shows the canary"));
        }
    }
    found
}

fn bearer(token: &'static str) -> (&'static str, &'static str) {
    match token {
        "victim" => ("authorization", "Bearer victim"),
        _ => ("authorization", "Bearer op"),
    }
}

/// What is there of a stream at once.
fn received(body: &mut Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Some(Ok(frame))) = body.frame().now_or_never() {
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    bytes
}

fn check(found: &mut Findings, caller: &Caller, what: &str, answer: &Answer) {
    found.asked += 1;
    found.granted += usize::from(answer.code < 300);
    if answer.has_canary() {
        let text = String::from_utf8_lossy(&answer.body);
        let at = text.find(CANARY).unwrap_or(0);
        let near: String = text.chars().skip(at.saturating_sub(80)).take(200).collect();
        found.fault(format!("{}: {what}: {} shows the canary: {near}", caller.name, answer.code));
    }
    if answer.code >= 500 && answer.code != 503 {
        found.fault(format!("{}: {what}: {}", caller.name, answer.json()));
    }
}

async fn open_watches(
    world: &World,
    callers: &[&Caller],
    kinds: &[Arc<Kind>],
    found: &mut Findings,
) -> Vec<(String, Body)> {
    let mut open = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.allows(Verb::Watch) && kind.scope != Scope::Cluster) {
        let across = collection(kind).replace("/namespaces/default", "");
        for caller in callers {
            for options in WATCHES {
                for path in [
                    collection(kind),
                    across.clone(),
                    format!("/tenants/acme{across}"),
                    format!("/tenants/all{across}"),
                ] {
                    let path = format!("{path}?{options}");
                    let request = caller.request("GET", &path, &[], "");
                    let response = handler::handle(world.server.clone(), caller.peer(), request).await;
                    found.asked += 1;
                    if response.status() == 200 {
                        open.push((format!("{}: {path}", caller.name), response.into_body()));
                    }
                }
            }
        }
    }
    open
}

/// Changes, makes and deletes objects of `umbrella` while others watch.
async fn touch_everything(world: &World, kinds: &[Arc<Kind>]) {
    for kind in kinds.iter().filter(|kind| kind.stored() && kind.scope != Scope::Cluster) {
        let Some(name) = objects::name(kind, HELD) else { continue };
        let path = format!("{}/{name}", collection(kind));
        let patch = json!({"metadata": {"labels": {"touched": CANARY}}}).to_string();
        let headers = [bearer("victim"), ("content-type", "application/merge-patch+json")];
        let request = super::request("PATCH", &path, &headers, patch);
        let answer = world.answer(crate::authn::Peer::Unknown, request).await;
        assert_eq!(answer.code, 200, "{path}: {}", answer.json());
        // Where its name is free, one comes and goes.
        if let Some(object) = objects::object(kind, &format!("{CANARY}-0"), CANARY) {
            let path = collection(kind);
            if world.send("victim", "POST", &path, &[], &object).await.code == 201 {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                world.send("victim", "DELETE", &format!("{path}/{name}"), &[], &json!({})).await;
            }
        }
    }
}

/// Tokens that continue lists of `umbrella`, and its versions.
async fn stolen(world: &World, kinds: &[Arc<Kind>]) -> Vec<String> {
    let mut stolen = vec!["resourceVersion=1".to_owned()];
    for kind in kinds.iter().filter(|kind| kind.allows(Verb::List)).take(6) {
        let answer = world.get("victim", &format!("{}?limit=1", collection(kind))).await.json();
        let metadata = &answer["metadata"];
        if let Some(token) = metadata["continue"].as_str().filter(|token| !token.is_empty()) {
            stolen.push(format!("limit=500&continue={token}"));
        }
        let version = metadata["resourceVersion"].as_str().unwrap_or("0");
        stolen.push(format!("resourceVersion={version}&resourceVersionMatch=Exact&limit=500"));
    }
    stolen
}

async fn lists(world: &World, caller: &Caller, kinds: &[Arc<Kind>], stolen: &[String], found: &mut Findings) {
    for kind in kinds.iter().filter(|kind| kind.allows(Verb::List)) {
        let own = collection(kind);
        let across = own.replace("/namespaces/default", "");
        let nested = across.replace("/v1/", "/v1/tenants/umbrella/");
        let named = format!("{own}/{}", objects::name(kind, HELD).unwrap_or_default());
        for path in
            [&own, &across, &named, &nested, &format!("/tenants/umbrella{own}"), &format!("/tenants/all{across}")]
        {
            for encoding in ENCODINGS {
                let request = caller.request("GET", path, &[("accept", encoding)], "");
                let answer = world.answer(caller.peer(), request).await;
                check(found, caller, &format!("GET {path} as {encoding}"), &answer);
            }
        }
        // What only the other has by a name is not there, whoever knows the name.
        if let Some(name) = objects::name(kind, CANARY) {
            let path = format!("{own}/{name}");
            let answer = caller.ask(world, "GET", &path, "").await;
            found.asked += 1;
            if !matches!(answer.code, 403..=405) {
                found.fault(format!("{}: GET {path}: {}", caller.name, answer.code));
            }
        }
        for options in OPTIONS.into_iter().chain(stolen.iter().map(String::as_str)) {
            for path in [&own, &across] {
                let path = format!("{path}?{options}");
                let answer = caller.ask(world, "GET", &path, "").await;
                // A refusal may repeat the token, which holds what the client put there.
                if answer.code < 300 || !options.contains("continue=") {
                    check(found, caller, &path, &answer);
                }
            }
        }
    }
}

async fn documents(world: &World, caller: &Caller, found: &mut Findings) {
    let group = objects::group(HELD);
    let paths = [
        "/".to_owned(),
        "/api".to_owned(),
        "/api/v1".to_owned(),
        "/apis".to_owned(),
        format!("/apis/{group}"),
        format!("/apis/{group}/v1"),
        format!("/apis/{CANARY}.example.com/v1"),
        "/openapi/v2".to_owned(),
        "/openapi/v3".to_owned(),
        format!("/openapi/v3/apis/{group}/v1"),
        "/metrics".to_owned(),
        "/metrics/cadvisor".to_owned(),
        "/version".to_owned(),
        "/logs".to_owned(),
        "/logs/audit.log".to_owned(),
        "/debug/pprof".to_owned(),
        "/debug/flags".to_owned(),
        "/debug/api_priority_and_fairness/dump_requests".to_owned(),
        "/configz".to_owned(),
        "/statusz".to_owned(),
        "/flagz".to_owned(),
        "/openid/v1/jwks".to_owned(),
        "/.well-known/openid-configuration".to_owned(),
        "/readyz?verbose".to_owned(),
        "/healthz/etcd".to_owned(),
    ];
    let accepted = [
        "application/json",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    ];
    for path in &paths {
        for prefix in PREFIXES {
            for accept in accepted {
                // The name of this group is the question's own.
                if path.contains(CANARY) && !accept.contains("apidiscovery") {
                    continue;
                }
                let path = format!("{prefix}{path}");
                let answer = world.answer(caller.peer(), caller.request("GET", &path, &[("accept", accept)], "")).await;
                if path.contains(CANARY) && answer.code >= 400 {
                    continue;
                }
                check(found, caller, &format!("GET {path} as {accept}"), &answer);
                if OPERATORS.iter().any(|operators| path.contains(operators)) && answer.code < 300 {
                    found.fault(format!("{}: GET {path}: {}, which is the operators'", caller.name, answer.code));
                }
            }
        }
    }
}

/// What tells of the whole server.
const OPERATORS: [&str; 6] = ["/metrics", "/logs", "/debug", "/configz", "/statusz", "/flagz"];

/// Reviews about the users, tokens and objects of another tenant.
async fn reviews(world: &World, caller: &Caller, found: &mut Findings) {
    let tokens = "/api/v1/namespaces/default/serviceaccounts/name-held/token";
    let token = world.send("victim", "POST", tokens, &[], &json!({"spec": {}})).await.json();
    let token = token["status"]["token"].as_str().unwrap_or_default().to_owned();
    let attributes =
        json!({"namespace": "default", "verb": "get", "resource": "secrets", "name": HELD, "tenant": "umbrella"});
    let asked: [(&str, &str, Value); 6] = [
        ("authentication.k8s.io", "tokenreviews", json!({"spec": {"token": token}})),
        ("authentication.k8s.io", "tokenreviews", json!({"spec": {"token": "victim"}})),
        ("authorization.k8s.io", "selfsubjectaccessreviews", json!({"spec": {"resourceAttributes": attributes}})),
        (
            "authorization.k8s.io",
            "subjectaccessreviews",
            json!({"spec": {"user": "root", "groups": ["system:masters"], "resourceAttributes": attributes, "tenant": "umbrella"}}),
        ),
        ("authorization.k8s.io", "selfsubjectrulesreviews", json!({"spec": {"namespace": "default"}})),
        ("authentication.k8s.io", "selfsubjectreviews", json!({})),
    ];
    for (group, plural, body) in asked {
        for prefix in PREFIXES {
            let path = format!("{prefix}/apis/{group}/v1/{plural}");
            let answer = caller.ask(world, "POST", &path, &body.to_string()).await;
            check(found, caller, &path, &answer);
            let status = &answer.json()["status"];
            if status["authenticated"] == true || status["userInfo"]["tenant"] == "umbrella" {
                found.fault(format!("{}: {path}: tells of another tenant's token: {status}", caller.name));
            }
            let about = &answer.json()["spec"]["resourceAttributes"]["tenant"];
            if *about == "umbrella" && status["allowed"] == true {
                found.fault(format!("{}: {path}: allows {body}", caller.name));
            }
        }
    }
}

/// Logs and streams of pods: the agent of a node is asked only about pods of the caller's own tenant.
async fn streams(world: &World, caller: &Caller, found: &mut Findings) {
    let pod = format!("/api/v1/namespaces/default/pods/{HELD}");
    // What others have asked for is theirs.
    world.agents.asked.lock().clear();
    for path in [pod.clone(), format!("/tenants/umbrella{pod}"), pod.replace("/v1/", "/v1/tenants/umbrella/")] {
        for part in [
            "log",
            "log?container=c&previous=true",
            "exec?command=env&stdout=true",
            "attach?stdout=true",
            "portforward",
            "proxy/",
            "proxy/../../../umbrella/default/p/80",
        ] {
            for method in ["GET", "POST"] {
                let path = format!("{path}/{part}");
                let answer = caller.ask(world, method, &path, "").await;
                check(found, caller, &format!("{method} {path}"), &answer);
            }
        }
    }
    for (place, asked, headers) in world.agents.asked.lock().drain(..) {
        let asked = format!("{asked}, {place}");
        if asked.contains("umbrella") && !asked.contains("/acme/") {
            found.fault(format!("{}: a node was asked for {asked}", caller.name));
        }
        if headers.iter().any(|name| name == "authorization" || name.starts_with("impersonate-")) {
            found.fault(format!("{}: a node was told the credentials with {asked}", caller.name));
        }
    }
}

#[tokio::test]
async fn no_byte_of_a_tenant_reaches_another() {
    let log = super::logged::Log::start();
    let world = World::planted().await;
    let callers = callers::all(&world).await;
    let found = sweep(&world, &callers, &world.kinds()).await;
    println!("{} answers and watches were looked at, {} of them held something", found.asked, found.granted);
    assert!(found.faults.is_empty(), "{:#?}", found.faults);
    assert!(found.asked > 10_000 && found.granted > 3_000, "{} {}", found.asked, found.granted);
    // The same bytes are found where they belong.
    let own = world.get("victim", "/api/v1/namespaces/default/secrets").await;
    assert!(own.has_canary());
    assert!(world.get("victim", &format!("/api/v1/namespaces/default/pods/{HELD}/log")).await.has_canary());
    assert!(!has_canary(runtime::metrics::render().as_bytes()), "the metrics name an object");
    log.lines().iter().for_each(|line| assert!(!has_canary(line.as_bytes()), "the log says {line}"));
}
