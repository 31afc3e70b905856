//! What an API server does with requests about a pod's containers: asks the node, over an in-memory pipe, and passes
//! bytes through. Also as much of an API over HTTP as `kubectl exec` wants to see before.

use crate::cluster::Cluster;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use node_agent::NodeServer;
use runtime::Tasks;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

type Body = BoxBody<Bytes, hyper::Error>;

/// Asks the node, and does not switch protocols.
pub async fn get(server: &NodeServer, path: &str) -> (u16, String) {
    let tasks = Tasks::new();
    let request = Request::get(path).header(header::HOST, "node").body(full("")).expect("a request");
    let answer = ask(server, &tasks, request).await;
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (code, String::from_utf8_lossy(&body).into_owned())
}

async fn ask(server: &NodeServer, tasks: &Tasks, request: Request<Body>) -> Response<Incoming> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let server = server.clone();
    tasks.spawn("node", async move { server.serve(far).await });
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(near)).await.expect("a handshake");
    tasks.spawn("connection", async move {
        // Its end shows in the answer.
        let _ = connection.with_upgrades().await;
    });
    sender.send_request(request).await.expect("an answer")
}

/// To which protocols kubectl wanted to switch, in the order of its requests. Clones share it.
#[derive(Clone, Default)]
pub struct Upgrades(Arc<Mutex<Vec<String>>>);

impl Upgrades {
    /// Those since it was last asked.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no test panics while it holds the list"))
    }

    fn note(&self, request: &Request<Incoming>) {
        let wanted = request.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok()).unwrap_or("none");
        self.0.lock().expect("no test panics while it holds the list").push(wanted.to_lowercase());
    }
}

/// Serves one tenant's pods to kubectl until the tasks are dropped; the address.
pub async fn serve(
    cluster: &Cluster,
    server: &NodeServer,
    tenant: &'static str,
    upgrades: &Upgrades,
    tasks: &Tasks,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (cluster, server, upgrades, all) = (cluster.clone(), server.clone(), upgrades.clone(), tasks.clone());
    tasks.spawn("front", async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let (cluster, server, upgrades, tasks) = (cluster.clone(), server.clone(), upgrades.clone(), all.clone());
            all.spawn("kubectl", async move {
                let service = service_fn(|request: Request<Incoming>| {
                    if request.method() == Method::POST || request.headers().contains_key(header::UPGRADE) {
                        upgrades.note(&request);
                    }
                    let (cluster, server, tasks) = (cluster.clone(), server.clone(), tasks.clone());
                    async move { Ok::<_, Infallible>(answer(&cluster, &server, tenant, &tasks, request).await) }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // kubectl closes as it likes.
                let _ = connection.with_upgrades().await;
            });
        }
    });
    address
}

async fn answer(
    cluster: &Cluster,
    server: &NodeServer,
    tenant: &str,
    tasks: &Tasks,
    request: Request<Incoming>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let pod = path.strip_prefix("/api/v1/namespaces/default/pods/");
    match (path.as_str(), pod.map(|p| p.split_once('/').unwrap_or((p, "")))) {
        ("/api", _) => answer_json(&json!({"kind": "APIVersions", "versions": ["v1"]})),
        ("/apis", _) => answer_json(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})),
        ("/api/v1", _) => {
            let pods =
                json!({"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get"]});
            answer_json(&json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [pods]}))
        }
        (_, Some((name, ""))) => answer_json(&cluster.pod(tenant, name)),
        (_, Some((name, "portforward"))) => {
            pass_on(server, tasks, request, &format!("/portForward/{tenant}/default/{name}")).await
        }
        (_, Some((name, verb))) => {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let container = query.split('&').find_map(|p| p.strip_prefix("container=")).unwrap_or_default().to_owned();
            let path = format!("/{verb}/{tenant}/default/{name}/{container}?{query}");
            pass_on(server, tasks, request, &path).await
        }
        _ => {
            let mut refused = answer_json(&api::Error::no_such_path().to_status());
            *refused.status_mut() = StatusCode::NOT_FOUND;
            refused
        }
    }
}

async fn pass_on(server: &NodeServer, tasks: &Tasks, mut request: Request<Incoming>, path: &str) -> Response<Body> {
    let mut onward = Request::builder().method(request.method()).uri(path);
    *onward.headers_mut().expect("headers") = request.headers().clone();
    let mut answer = ask(server, tasks, onward.body(full("")).expect("a request")).await;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (client, node) = (hyper::upgrade::on(&mut request), hyper::upgrade::on(&mut answer));
        tasks.spawn("upgraded", async move {
            let (client, node) = tokio::join!(client, node);
            let (mut client, mut node) =
                (TokioIo::new(client.expect("upgraded")), TokioIo::new(node.expect("upgraded")));
            // Either end closes as it likes.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
        });
    }
    answer.map(BodyExt::boxed)
}

fn answer_json(value: &Value) -> Response<Body> {
    let mut response = Response::new(full(&value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn full(text: &str) -> Body {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {}).boxed()
}
