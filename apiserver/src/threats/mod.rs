//! What a hostile tenant tries, in tables: paths, headers, tokens, continue tokens, wildcards, a stolen node.
//!
//! Each test sends many requests as many identities, and looks for answers that should not have been given, for bytes of
//! another tenant, and for failures of the server.

mod callers;
mod deputies;
mod egress;
mod logged;
mod matrix;
mod node;
mod noise;
mod objects;
mod planting;
mod requests;
mod rights;
mod streams;
mod sweep;

use crate::authn::Peer;
use crate::{Config, Limits, Server, handler};
use api::{Identity, Kind, TenantName, Timestamp};
use axum::body::Body;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::BodyExt;
use node::Agents;
use policy::authn::{Issuers, TokenFile};
use runtime::Stop;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;

/// What only tenant `umbrella` holds.
const CANARY: &str = "canary-7f3a91";

/// The name of an object of every kind that is there, and of one that is not.
const HELD: &str = "name-held";
const GONE: &str = "name-gone";

const TOKENS: &str = "op,root,u0,system:masters,,system\nadmin,root,u1,system:masters,,acme\nuser,ann,u2,,,acme\n\
    neighbour,root,u3,system:masters,,acme1\nvictim,root,u4,system:masters,,umbrella\nhomeless,eve,u5\n";

struct World {
    server: Arc<Server>,
    agents: Agents,
    _dir: TempDir,
}

#[derive(Clone, Debug)]
struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether any byte of it, headers included, tells of the canary, plainly or in base64.
    fn has_canary(&self) -> bool {
        has_canary(&self.body) || self.headers.values().any(|value| has_canary(value.as_bytes()))
    }
}

/// Whether bytes hold the canary, plainly or in base64 at any of its three offsets.
fn has_canary(bytes: &[u8]) -> bool {
    static NEEDLES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let encoded = (0..3).map(|offset| {
            let text = base64::Engine::encode(&BASE64_STANDARD_NO_PAD, format!("{}{CANARY}", "x".repeat(offset)));
            // What the bytes before and after share is left out.
            text[(offset * 8).div_ceil(6)..(offset + CANARY.len()) * 8 / 6].to_owned()
        });
        std::iter::once(CANARY.to_owned()).chain(encoded).collect()
    });
    let text = String::from_utf8_lossy(bytes);
    NEEDLES.iter().any(|needle| text.contains(needle))
}

impl World {
    async fn new() -> World {
        World::with(Agents::with_logs()).await
    }

    async fn with(agents: Agents) -> World {
        World::of(agents, Limits::default()).await
    }

    async fn of(agents: Agents, limits: Limits) -> World {
        let dir = TempDir::new().expect("a folder");
        let store =
            store::Store::open(&dir.path().join("store"), kinds::Registry::selectable, store::Limits::default());
        let (token_file, warnings) = TokenFile::parse(TOKENS).expect("a token file");
        assert_eq!(warnings.len(), 1, "who has no tenant is told of: {warnings:?}");
        let config = Config {
            store: store.expect("a store"),
            pki: Arc::new(policy::pki::Pki::open(dir.path(), &[], Timestamp::now()).expect("keys")),
            token_file,
            dial: Arc::new(agents.clone()),
            stop: Stop::new(),
            limits,
            issuers: Issuers::default(),
            tenant_networks: crate::egress::Networks::default(),
            peering: crate::Peering::default(),
            advertise: None,
            audit: None,
        };
        let world = World { server: Server::new(config).await.expect("a server"), agents, _dir: dir };
        for tenant in ["acme", "acme1", "umbrella"] {
            world
                .make("op", "/api/v1/tenants", json!({"metadata": {"name": tenant}, "spec": {"storageClusterId": "0"}}))
                .await;
            let at = format!("/tenants/{tenant}/api/v1/namespaces");
            world.make("op", &at, json!({"metadata": {"name": "default"}})).await;
            let name = if tenant == "umbrella" { CANARY } else { "plain" };
            for plural in ["secrets", "configmaps", "serviceaccounts"] {
                let object = json!({"metadata": {"name": name, "labels": {"l": name}}});
                world.make("op", &format!("{at}/default/{plural}"), object).await;
            }
        }
        world
    }

    /// With an object of every kind in `acme` and `umbrella`; of the latter, all of them hold the canary, and some are named
    /// by it. Pods run on node `n9`.
    async fn planted() -> World {
        let world = World::new().await;
        world.make("op", "/api/v1/nodes", json!({"metadata": {"name": "n9"}})).await;
        for (token, secret) in [("admin", "plain"), ("victim", CANARY)] {
            let account = json!({"metadata": {"name": "default"}});
            world.make(token, "/api/v1/namespaces/default/serviceaccounts", account).await;
            let mut stored = std::collections::HashSet::new();
            for kind in world.server.kinds.kinds() {
                let of_tenants = kind.stored() && kind.scope != api::Scope::Cluster;
                if !of_tenants || !stored.insert(&kind.stored_as) {
                    continue;
                }
                for word in [HELD, CANARY] {
                    let missing = || panic!("objects.rs has no object of kind {}", kind.kind);
                    let is_other = word == CANARY && (secret != CANARY || objects::name(kind, word).is_none());
                    let is_there =
                        word == CANARY && matches!(&*kind.plural, "secrets" | "configmaps" | "serviceaccounts");
                    if !is_other && !is_there {
                        let object = objects::object(kind, word, secret).unwrap_or_else(missing);
                        world.make(token, &collection(kind), object).await;
                    }
                }
            }
            world.establish(token).await;
            let thing = json!({"apiVersion": format!("{}/v1", objects::group(HELD)), "kind": "Thing",
                "metadata": {"name": HELD, "labels": {"planted": secret}}, "spec": {"k": secret}});
            world.make(token, &collection(&thing_kind()), thing).await;
        }
        world
    }

    /// Lets a planted definition be served, as the controller of definitions does.
    async fn establish(&self, token: &str) {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.{}", objects::group(HELD));
        let mut made = self.get(token, &path).await.json();
        made["status"]["acceptedNames"] = made["spec"]["names"].clone();
        made["status"]["conditions"] = json!([{"type": "Established", "status": "True", "reason": "InitialNamesAccepted",
            "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"}]);
        let answer = self.send(token, "PUT", &format!("{path}/status"), &[], &made).await;
        assert_eq!(answer.code, 200, "{}", answer.json());
    }

    /// Every built-in kind, and one that tenants define.
    fn kinds(&self) -> Vec<Arc<Kind>> {
        self.server.kinds.kinds().iter().cloned().chain([Arc::new(thing_kind())]).collect()
    }

    async fn make(&self, token: &str, path: &str, object: Value) -> Value {
        let answer = self.send(token, "POST", path, &[], &object).await;
        assert_eq!(answer.code, 201, "{path}: {}", answer.json());
        answer.json()
    }

    /// Sends a request with a bearer token; an empty one is no credential.
    async fn send(&self, token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let bearer = [("authorization", format!("Bearer {token}"))];
        let bearer = bearer.iter().filter(|_| !token.is_empty()).map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<(&str, &str)> = bearer.chain(headers.iter().copied()).collect();
        self.answer(Peer::Unknown, request(method, path, &headers, body.to_string())).await
    }

    async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(token, "GET", path, &[], &Value::Null).await
    }

    async fn answer(&self, peer: Peer, request: Request<Body>) -> Answer {
        let response = handler::handle(self.server.clone(), peer, request).await;
        let (head, mut body) = response.into_parts();
        // A watch has no end: what is there at once is enough.
        let mut bytes = Vec::new();
        while let Some(Some(Ok(frame))) = body.frame().now_or_never() {
            bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
        Answer { code: head.status.as_u16(), headers: head.headers, body: bytes }
    }
}

/// The kind that the planted definitions define.
fn thing_kind() -> Kind {
    let like = kinds::registry().find("networking.k8s.io", "v1", "ingresses").expect("a kind with a status");
    Kind {
        group: objects::group(HELD),
        plural: "things".to_owned(),
        kind: "Thing".to_owned(),
        stored_as: api::ResourceId::new(&objects::group(HELD), "things"),
        ..Kind::clone(like)
    }
}

/// The path of a kind's collection in namespace `default` of the caller's own tenant.
fn collection(kind: &Kind) -> String {
    let group = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    let inner = if kind.namespaced() { "/namespaces/default" } else { "" };
    format!("{group}/{}{inner}/{}", kind.version, kind.plural)
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: String) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let mut request = request.body(Body::from(body)).expect("a request");
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        request.headers_mut().append(name, HeaderValue::from_str(value).expect("a value"));
    }
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().entry("content-type").or_insert(json);
    request
}

/// T60: paths that are written oddly reach nothing that the plain ones do not.
#[tokio::test]
async fn no_odd_path_leaves_the_tenant_or_breaks_the_server() {
    let world = World::new().await;
    let plain = [
        "/tenants/umbrella/api/v1/namespaces/default/secrets",
        "/api/v1/tenants/umbrella/namespaces/default/secrets",
        "/tenants/acme/api/v1/namespaces/default/secrets",
        "/api/v1/namespaces/default/secrets/canary-7f3a91",
        "/apis/rbac.authorization.k8s.io/v1/tenants/umbrella/clusterroles",
        "/api/v1/tenants/umbrella",
        "/tenants/all/api/v1/secrets",
    ];
    let odd = [
        "%2f",
        "%2F",
        "%2e%2e",
        "..",
        ".",
        "//",
        ";x=1",
        "\\",
        "%5c",
        "%00",
        "%25",
        "%252f",
        "%c0%af",
        "tenants/umbrella",
        "/tenants/umbrella",
        "../umbrella",
        "..%2fumbrella",
        "watch",
        "proxy",
        "*",
        "all",
        "%75mbrella",
        "umbrella%20",
        "?",
        "#",
        "?tenant=umbrella",
        "?fieldSelector=metadata.tenant=umbrella",
        "?watch=0&tenant=all",
        ":",
        "@umbrella",
    ];
    let mut sent = 0;
    for base in plain {
        let parts: Vec<&str> = base.split('/').collect();
        for place in 1..=parts.len() {
            for odd in odd {
                let before = parts[..place].join("/");
                let after = parts[place..].join("/");
                for path in [
                    format!("{before}/{odd}/{after}"),
                    format!("{before}{odd}/{after}"),
                    format!("{before}/{odd}{after}"),
                ] {
                    if !path.starts_with('/') || path.parse::<http::Uri>().is_err() {
                        continue;
                    }
                    for token in ["", "user", "admin"] {
                        let answer = world.get(token, &path).await;
                        sent += 1;
                        assert!(answer.code < 500, "{token:?} {path}: {}", answer.code);
                        let shown = path.contains(CANARY) || base.contains(CANARY);
                        assert!(shown || !answer.has_canary(), "{token:?} {path} saw it");
                    }
                }
            }
        }
    }
    assert!(sent > 5000, "{sent}");
}

/// T62: no header makes somebody else of a caller who has no right to it, nor takes anyone out of the tenant.
#[tokio::test]
async fn no_header_makes_another_of_the_caller() {
    let world = World::new().await;
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let names = [
        "x-remote-user",
        "x-remote-group",
        "x-remote-extra-scopes",
        "x-forwarded-user",
        "x-forwarded-for",
        "forwarded",
        "x-tenant",
        "tenant",
        "x-original-url",
        "x-rewrite-url",
        "impersonate_user",
        "x-impersonate-user",
        "connection",
        "proxy-authorization",
        "x-auth-request-user",
        "remote-user",
    ];
    let values = [
        "root",
        "system:admin",
        "system:masters",
        "system",
        "umbrella",
        "/tenants/umbrella/api/v1/secrets",
        "impersonate-user",
    ];
    for name in names {
        for value in values {
            for token in ["user", "admin", ""] {
                let answer = world.send(token, "POST", review, &[(name, value)], &json!({})).await;
                let expected = match token {
                    "user" => "ann",
                    "admin" => "root",
                    _ => {
                        assert_eq!(answer.code, 403, "{name}: {value}");
                        continue;
                    }
                };
                let info = &answer.json()["status"]["userInfo"];
                assert_eq!((&info["username"], &info["tenant"]), (&json!(expected), &json!("acme")), "{name}: {value}");
            }
        }
    }
    let secrets = "/tenants/umbrella/api/v1/namespaces/default/secrets";
    let whom = ["root", "system:admin", "system:serviceaccount:default:plain", "system:node:n1", "system:anonymous"];
    for user in whom {
        for group in ["system:masters", "system:nodes", "system:authenticated", "umbrella"] {
            let headers = [("impersonate-user", user), ("impersonate-group", group)];
            assert_eq!(world.send("user", "POST", review, &headers, &json!({})).await.code, 403, "{user} {group}");
            let answer = world.send("admin", "POST", review, &headers, &json!({})).await;
            if answer.code == 201 {
                assert_eq!(answer.json()["status"]["userInfo"]["tenant"], "acme", "{user} {group}");
            }
            for token in ["user", "admin"] {
                let answer = world.send(token, "GET", secrets, &headers, &Value::Null).await;
                assert!(answer.code == 403 && !answer.has_canary(), "{user} {group}");
                let nodes = world.send(token, "GET", "/api/v1/tenants", &headers, &Value::Null).await;
                assert_eq!(nodes.code, 403, "{user} {group}");
            }
        }
    }
}

/// T63: a token is good for its own tenant, as long as what it is bound to is there, and not a byte otherwise.
#[tokio::test]
async fn a_token_opens_its_own_tenant_while_its_account_lives() {
    let world = World::new().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let token = async |who: &str, spec: Value| {
        let made = world.make(who, &format!("{accounts}/plain/token"), json!({"spec": spec})).await;
        made["status"]["token"].as_str().expect("a token").to_owned()
    };
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let whoami = async |token: &str, prefix: &str| {
        let answer = world.send(token, "POST", &format!("{prefix}{review}"), &[], &json!({})).await;
        (answer.code, answer.json()["status"]["userInfo"]["tenant"].as_str().unwrap_or_default().to_owned())
    };
    let good = token("admin", json!({})).await;
    assert_eq!(whoami(&good, "").await, (201, "acme".to_owned()));
    for foreign in ["/tenants/acme1", "/tenants/umbrella", "/tenants/system", "/tenants/absent"] {
        assert_eq!(whoami(&good, foreign).await.0, 403, "{foreign}");
    }
    assert_eq!(whoami(&token("admin", json!({"audiences": ["vault"]})).await, "").await.0, 401);
    let parts: Vec<&str> = good.split('.').collect();
    let mut forged = 0;
    for part in 0..3 {
        for place in (0..parts[part].len()).step_by(7) {
            let mut changed: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
            let old = changed[part].as_bytes()[place];
            changed[part].replace_range(place..=place, if old == b'A' { "B" } else { "A" });
            // The last digit of a signature has bits that say nothing.
            if part == 2 && place + 1 == parts[2].len() {
                continue;
            }
            assert_eq!(whoami(&changed.join("."), "").await.0, 401, "part {part} place {place}");
            forged += 1;
        }
    }
    assert!(forged > 90, "{forged}");
    for bad in ["homeless", "op.", "", " ", "a.b.c", &format!("{good}x"), &good[1..], &good.to_uppercase()] {
        let code = whoami(bad.trim(), "").await.0;
        assert!(code == 401 || code == 403, "{bad}: {code}");
    }
    // The account goes and another of its name comes.
    assert_eq!(world.send("admin", "DELETE", &format!("{accounts}/plain"), &[], &json!({})).await.code, 200);
    assert_eq!(whoami(&good, "").await.0, 401);
    world.make("admin", accounts, json!({"metadata": {"name": "plain"}})).await;
    assert_eq!(whoami(&good, "").await.0, 401);
    // A token ends with the secret that it is bound to, and a token of a secret with its secret.
    let bound =
        token("admin", json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "plain"}})).await;
    assert_eq!(whoami(&bound, "").await.0, 201);
    let secrets = "/api/v1/namespaces/default/secrets";
    assert_eq!(world.send("admin", "DELETE", &format!("{secrets}/plain"), &[], &json!({})).await.code, 200);
    assert_eq!(whoami(&bound, "").await.0, 401);
    let uid = world.get("admin", &format!("{accounts}/plain")).await.json()["metadata"]["uid"]
        .as_str()
        .expect("a uid")
        .to_owned();
    let acme = TenantName::new("acme").expect("a tenant");
    let account = policy::authn::Bound { name: "plain".to_owned(), uid };
    let legacy = world.server.service_account_key().issue_legacy(&acme, "default", &account, "held");
    assert_eq!(whoami(&legacy, "").await.0, 401);
    let data = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &legacy);
    world.make("admin", secrets, json!({"metadata": {"name": "held"}, "data": {"token": data}})).await;
    assert_eq!(whoami(&legacy, "").await, (201, "acme".to_owned()));
    assert_eq!(world.send("admin", "DELETE", &format!("{secrets}/held"), &[], &json!({})).await.code, 200);
    assert_eq!(whoami(&legacy, "").await.0, 401);
}

/// T64: neighbours whose names begin alike do not see each other, whatever token continues a list.
#[tokio::test]
async fn no_continue_token_reaches_the_neighbour() {
    let world = World::new().await;
    let maps = |tenant: &str| format!("/tenants/{tenant}/api/v1/namespaces/default/configmaps");
    for i in 0..6 {
        world.make("op", &maps("acme"), json!({"metadata": {"name": format!("own-{i}")}})).await;
        world.make("op", &maps("acme1"), json!({"metadata": {"name": format!("{CANARY}-{i}")}})).await;
    }
    let page = world.get("admin", &format!("{}?limit=2", maps("acme"))).await.json();
    let token = page["metadata"]["continue"].as_str().expect("a token").to_owned();
    let foreign = world.get("neighbour", &format!("{}?limit=2", maps("acme1"))).await.json();
    let foreign = foreign["metadata"]["continue"].as_str().expect("a token").to_owned();
    let mut tokens = vec![foreign.clone(), foreign[..foreign.len() - 3].to_owned(), String::new(), "../".to_owned()];
    for given in [&token, &foreign] {
        for place in 0..given.len() {
            for digit in ["A", "z", "_", "0"] {
                let mut changed = given.clone();
                changed.replace_range(place..=place, digit);
                tokens.push(changed);
            }
        }
    }
    for start in
        ["/", "acme1/default/", "acme1/default/a", "/default/", "umbrella/default/", "acme/../acme1/default", "\u{0}"]
    {
        for rv in [-1, 0, 1, 9_000_000] {
            for v in ["meta.k8s.io/v1", "v0"] {
                let made = json!({"v": v, "rv": rv, "start": start}).to_string();
                tokens.push(base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, made));
            }
        }
    }
    for token in &tokens {
        for path in [maps("acme"), "/tenants/acme/api/v1/configmaps".to_owned()] {
            let answer = world.get("admin", &format!("{path}?limit=100&continue={token}")).await;
            let known = matches!(answer.code, 200 | 400 | 410 | 504);
            // A refusal may repeat the token, which holds what the client put there.
            let seen = answer.code == 200 && answer.has_canary();
            assert!(known && !seen, "{token}: {} {}", answer.code, answer.json());
        }
    }
    for selector in ["metadata.tenant=acme1", "metadata.name!=x", "metadata.namespace=default"] {
        let answer = world.get("admin", &format!("/api/v1/configmaps?fieldSelector={selector}")).await;
        assert!(!answer.has_canary(), "{selector}");
    }
}

/// T65: wildcards and documents show nothing of others. [`rights`] has the watches that end with their right.
#[tokio::test]
async fn no_wildcard_shows_others() {
    let world = World::new().await;
    for path in
        ["/api", "/apis", "/api/v1", "/openapi/v2", "/openapi/v3", "/metrics", "/", "/api/v1/events", "/version"]
    {
        for prefix in ["", "/tenants/acme", "/tenants/umbrella", "/tenants/all"] {
            for token in ["", "user", "admin"] {
                let answer = world.get(token, &format!("{prefix}{path}")).await;
                assert!(!answer.has_canary() && answer.code < 500, "{token} {prefix}{path}");
                let foreign = prefix.ends_with("umbrella") || prefix.ends_with("all");
                let open = token.is_empty() && path == "/version";
                assert!(!foreign || open || answer.code >= 400, "{token} {prefix}{path}: {}", answer.code);
            }
        }
    }
}

/// T69: whoever steals a node's certificate has what its pods need, and no more.
#[tokio::test]
async fn a_stolen_node_reads_no_secret_and_changes_no_other_node() {
    let world = World::new().await;
    for node in ["n1", "n2"] {
        world.make("op", "/api/v1/nodes", json!({"metadata": {"name": node}})).await;
    }
    let node = Peer::InProcess(Arc::new(Identity::node("n1")));
    let send = async |method: &str, path: &str, body: Value| {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        world.answer(node.clone(), request.body(Body::from(body.to_string())).expect("a request")).await
    };
    for tenant in ["acme", "acme1", "umbrella", "system"] {
        for (plural, name) in [
            ("secrets", CANARY),
            ("secrets", "plain"),
            ("configmaps", CANARY),
            ("serviceaccounts", CANARY),
            ("pods", "p"),
        ] {
            let at = format!("/tenants/{tenant}/api/v1/namespaces/default/{plural}");
            for (method, path) in [
                ("GET", at.clone()),
                ("GET", format!("{at}/{name}")),
                ("DELETE", format!("{at}/{name}")),
                ("PUT", format!("{at}/{name}")),
            ] {
                let answer = send(method, &path, json!({"metadata": {"name": name}})).await;
                assert_eq!(answer.code, 403, "{method} {path}: {}", answer.json());
            }
        }
        let token = format!("/tenants/{tenant}/api/v1/namespaces/default/serviceaccounts/plain/token");
        let pod = json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}}});
        assert_eq!(send("POST", &token, pod).await.code, 403);
        let roles = format!("/tenants/{tenant}/apis/rbac.authorization.k8s.io/v1/clusterroles");
        assert_eq!(send("GET", &roles, Value::Null).await.code, 403);
        assert_eq!(send("POST", &roles, json!({"metadata": {"name": "r"}})).await.code, 403);
    }
    for (method, path) in [
        ("GET", "/api/v1/nodes"),
        ("GET", "/api/v1/nodes/n2"),
        ("DELETE", "/api/v1/nodes/n2"),
        ("GET", "/api/v1/tenants"),
        ("DELETE", "/api/v1/tenants/acme"),
        ("GET", "/tenants/all/api/v1/secrets"),
    ] {
        assert_eq!(send(method, path, Value::Null).await.code, 403, "{method} {path}");
    }
    let own = send("GET", "/api/v1/nodes/n1", Value::Null).await;
    assert_eq!(own.code, 200);
    let mut changed = own.json();
    changed["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": "n2", "uid": "u"}]);
    assert_eq!(send("PUT", "/api/v1/nodes/n1", changed).await.code, 403);
    let mut renamed = own.json();
    renamed["metadata"]["name"] = json!("n2");
    assert!(send("PUT", "/api/v1/nodes/n2", renamed).await.code == 403);
}
