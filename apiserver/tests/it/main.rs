//! The API server's surface, driven in process: requests as an identity sends them, answers as it gets them.

mod access;
mod admission;
mod aggregation;
mod apply;
mod conversion;
mod custom;
mod discovery;
mod encodings;
mod hook;
mod machines;
mod metrics;
mod objects;
mod peers;
mod policies;
mod rbac;
mod services;
mod shares;
mod tables;
mod tenants;
mod watches;
mod webhooks;

use api::{Identity, TenantName, Timestamp};
use apiserver::{Config, NoNodes, Server, in_process};
use axum::body::Body;
use futures::StreamExt;
use http::{Method, Request, Response};
use runtime::Stop;
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;

/// A server on a fresh data directory.
pub struct Api {
    server: Arc<Server>,
    _dir: TempDir,
}

/// One identity's view of the server.
pub struct User<'a> {
    api: &'a Api,
    identity: Arc<Identity>,
}

/// A status code and a body.
pub type Answer = (u16, Value);

impl Api {
    pub async fn start() -> Api {
        Api::with_networks("").await
    }

    /// A server whose tenants may reach some networks by URL.
    pub async fn with_networks(networks: &str) -> Api {
        let dir = TempDir::new().expect("a folder");
        let store =
            store::Store::open(&dir.path().join("store"), kinds::Registry::selectable, store::Limits::default());
        let pki = policy::pki::Pki::open(dir.path(), &[], Timestamp::now()).expect("keys");
        let config = Config {
            store: store.expect("a store"),
            pki: Arc::new(pki),
            token_file: policy::authn::TokenFile::default(),
            dial: Arc::new(NoNodes),
            advertise: None,
            stop: Stop::new(),
            limits: apiserver::Limits::default(),
            audit: None,
            issuers: policy::authn::Issuers::default(),
            tenant_networks: networks.parse().expect("networks"),
            peering: apiserver::Peering::default(),
        };
        Api { server: Server::new(config).await.expect("a server"), _dir: dir }
    }

    /// A member of `system:masters` of a tenant.
    pub fn admin(&self, tenant: &str) -> User<'_> {
        self.user(tenant, "admin", &["system:masters"])
    }

    pub fn user(&self, tenant: &str, user: &str, groups: &[&str]) -> User<'_> {
        let tenant = TenantName::new(tenant).expect("a tenant's name");
        User { api: self, identity: Arc::new(Identity::new(tenant, user, groups)) }
    }

    /// A tenant with the namespace `default`, as its controller would make it.
    pub async fn tenant(&self, name: &str) -> User<'_> {
        let tenant = json!({"metadata": {"name": name}, "spec": {"storageClusterId": "0"}});
        let (code, answer) = self.admin("system").post("/api/v1/tenants", tenant).await;
        assert_eq!(code, 201, "{answer}");
        let admin = self.admin(name);
        let (code, answer) = admin.post("/api/v1/namespaces", json!({"metadata": {"name": "default"}})).await;
        assert_eq!(code, 201, "{answer}");
        let account = json!({"metadata": {"name": "default"}});
        let (code, answer) = admin.post("/api/v1/namespaces/default/serviceaccounts", account).await;
        assert_eq!(code, 201, "{answer}");
        admin
    }
}

impl User<'_> {
    pub async fn send(&self, method: Method, path: &str, content_type: &str, body: impl Into<Body>) -> Response<Body> {
        let request = Request::builder().method(method).uri(path).header("content-type", content_type);
        self.request(request.body(body.into()).expect("a request")).await
    }

    pub async fn request(&self, request: Request<Body>) -> Response<Body> {
        in_process(self.api.server.clone(), self.identity.clone(), request).await
    }

    /// A GET with a header, whose bytes may be any.
    pub async fn get_with(&self, path: &str, header: &str, value: &[u8]) -> Answer {
        let value = http::HeaderValue::from_bytes(value).expect("a header");
        let request = Request::get(path).header(header, value).body(Body::empty()).expect("a request");
        answer_of(in_process(self.api.server.clone(), self.identity.clone(), request).await).await
    }

    async fn json(&self, method: Method, path: &str, content_type: &str, body: String) -> Answer {
        answer_of(self.send(method, path, content_type, body).await).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.json(Method::GET, path, "application/json", String::new()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.json(Method::POST, path, "application/json", body.to_string()).await
    }

    /// Posts a body as it is written.
    pub async fn json_text(&self, path: &str, body: &str) -> Answer {
        self.json(Method::POST, path, "application/json", body.to_owned()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::PUT, path, "application/json", body.to_string()).await
    }

    pub async fn delete(&self, path: &str, options: Value) -> Answer {
        self.json(Method::DELETE, path, "application/json", options.to_string()).await
    }

    /// `kind` is `json`, `merge` or `strategic-merge`.
    pub async fn patch(&self, kind: &str, path: &str, body: Value) -> Answer {
        self.json(Method::PATCH, path, &format!("application/{kind}-patch+json"), body.to_string()).await
    }

    /// The frames of a watch, as they come.
    pub async fn watch(&self, path: &str) -> Frames {
        let response = self.send(Method::GET, path, "application/json", Body::empty()).await;
        assert_eq!(response.status(), 200);
        Frames { body: response.into_body().into_data_stream().boxed(), rest: String::new() }
    }
}

async fn answer_of(response: Response<Body>) -> Answer {
    let code = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes))))
}

/// The frames of a watch.
pub struct Frames {
    body: futures::stream::BoxStream<'static, Result<bytes::Bytes, axum::Error>>,
    rest: String,
}

impl Frames {
    /// The next frame; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.rest.split_once('\n') {
                let frame = serde_json::from_str(line).expect("a frame is JSON");
                self.rest = rest.to_owned();
                return Some(frame);
            }
            let chunk = self.body.next().await?.expect("a chunk");
            self.rest.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    /// The next frame as `TYPE name`.
    pub async fn next_brief(&mut self) -> String {
        let frame = self.next().await.expect("a frame");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{} {}", text(&frame["type"]), text(&frame["object"]["metadata"]["name"]))
    }
}

pub fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

pub fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}
