//! The whole scheduler against an API of a few collections that remembers what it was asked for.

use super::*;
use client::{Body, Client, Connect, Transport};
use futures::future::BoxFuture;
use futures::stream;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::Notify;

/// Collections by their path, e.g. `nodes`, and the requests that change something. Clones share it.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Collections>>, Arc<Notify>);

#[derive(Default)]
struct Collections {
    revision: u64,
    objects: BTreeMap<(String, String), Value>,
    history: Vec<(u64, String, Value)>,
    asked: Vec<(String, Value)>,
    /// Answers to come for requests that bind; then they succeed.
    refusals: Vec<u16>,
}

impl Server {
    fn put(&self, collection: &str, mut object: Value) {
        let mut c = self.0.lock().expect("no panic");
        c.revision += 1;
        object["metadata"]["resourceVersion"] = json!(c.revision.to_string());
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let revision = c.revision;
        c.objects.insert((collection.to_owned(), name), object.clone());
        c.history.push((revision, collection.to_owned(), object));
        self.1.notify_waiters();
    }

    /// Waits for a request whose path contains `part`, after the first `skip` of them.
    async fn asked(&self, part: &str, skip: usize) -> (String, Value) {
        loop {
            let changed = self.1.notified();
            let found =
                self.0.lock().expect("no panic").asked.iter().filter(|(p, _)| p.contains(part)).nth(skip).cloned();
            if let Some(found) = found {
                return found;
            }
            changed.await;
        }
    }

    fn answer(&self, request: Request<bytes::Bytes>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let collection = path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut c = self.0.lock().expect("no panic");
        if *request.method() == Method::GET {
            let number = |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.parse::<u64>().ok());
            if query.contains("watch=true") {
                return Response::new(self.watch(collection, number("resourceVersion=").unwrap_or(0)));
            }
            let items: Vec<&Value> =
                c.objects.iter().filter(|((of, _), _)| *of == collection).map(|(_, o)| o).collect();
            return whole(200, &json!({"metadata": {"resourceVersion": c.revision.to_string()}, "items": items}));
        }
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        c.asked.push((format!("{} {path}", request.method()), body));
        self.1.notify_waiters();
        let refusal = if collection == "binding" { c.refusals.pop() } else { None };
        whole(refusal.unwrap_or(200), &json!({}))
    }

    fn watch(&self, collection: String, from: u64) -> Body {
        let server = self.clone();
        let frames = stream::unfold(from, move |from| {
            let (server, collection) = (server.clone(), collection.clone());
            async move {
                loop {
                    let changed = server.1.notified();
                    let next = {
                        let c = server.0.lock().expect("no panic");
                        c.history.iter().find(|(at, of, _)| *at > from && *of == collection).cloned()
                    };
                    if let Some((at, _, object)) = next {
                        let frame = format!("{}\n", json!({"type": "MODIFIED", "object": object}));
                        return Some((Ok(bytes::Bytes::from(frame)), at));
                    }
                    changed.await;
                }
            }
        });
        frames.boxed()
    }
}

fn whole(code: u16, body: &Value) -> Response<Body> {
    let body = stream::iter([Ok(bytes::Bytes::from(body.to_string()))]).boxed();
    Response::builder().status(code).body(body).expect("a plain answer")
}

impl Transport for Server {
    fn call(&self, request: Request<bytes::Bytes>) -> BoxFuture<'static, api::Result<Response<Body>>> {
        std::future::ready(Ok(self.answer(request))).boxed()
    }
}

impl Connect for Server {
    fn connect(&self, identity: Identity) -> Client {
        assert_eq!((identity.tenant.as_str(), &*identity.user), ("system", "system:kube-scheduler"));
        Client::new(Arc::new(self.clone()))
    }
}

fn node(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}})
}

fn pod(tenant: &str, name: &str, cpu: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "tenant": tenant, "uid": format!("uid-of-{name}")},
        "spec": {
            "schedulerName": "default-scheduler",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}],
        },
    })
}

/// Runs a scheduler while a test looks on, and then sees it end.
async fn with_scheduler(server: &Server, test: impl Future<Output = ()>) {
    let stop = Stop::new();
    let scheduler = run(Arc::new(server.clone()), Config::default(), stop.clone());
    let test = async {
        tokio::time::timeout(Duration::from_secs(30), test).await.expect("in time");
        stop.stop();
    };
    let (ended, ()) = tokio::join!(scheduler, test);
    ended.expect("a clean end");
}

#[tokio::test]
async fn a_waiting_pod_is_bound_in_its_own_tenant() {
    let server = Server::default();
    server.put("nodes", node("n1", "4"));
    server.put("pods", pod("acme", "web", "1"));
    with_scheduler(&server, async {
        let (path, binding) = server.asked("binding", 0).await;
        assert_eq!(path, "POST /tenants/acme/api/v1/namespaces/default/pods/web/binding");
        assert_eq!(binding["target"]["name"], "n1");
        assert_eq!(binding["metadata"]["uid"], "uid-of-web");
        let (path, event) = server.asked("events", 0).await;
        assert_eq!(path, "POST /tenants/acme/api/v1/namespaces/default/events");
        assert_eq!(event["message"], "Successfully assigned default/web to n1");
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_is_told_why_and_bound_once_it_fits() {
    let server = Server::default();
    server.put("nodes", node("n1", "1"));
    server.put("pods", pod("acme", "web", "2"));
    with_scheduler(&server, async {
        let (path, patch) = server.asked("status", 0).await;
        assert_eq!(path, "PATCH /tenants/acme/api/v1/namespaces/default/pods/web/status");
        let condition = &patch["status"]["conditions"][0];
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Unschedulable")));
        assert!(
            condition["message"].as_str().expect("a text").starts_with("0/1 nodes are available: 1 Insufficient cpu.")
        );
        assert_eq!(server.asked("events", 0).await.1["reason"], "FailedScheduling");
        server.put("nodes", node("n2", "2"));
        assert_eq!(server.asked("binding", 0).await.1["target"]["name"], "n2");
    })
    .await;
}

#[tokio::test]
async fn a_binding_that_fails_gives_its_room_back_and_is_tried_again() {
    let server = Server::default();
    server.0.lock().expect("no panic").refusals.push(503);
    server.put("nodes", node("n1", "1"));
    server.put("pods", pod("acme", "web", "1"));
    with_scheduler(&server, async {
        let first = server.asked("binding", 0).await;
        assert_eq!(server.asked("binding", 1).await, first);
    })
    .await;
}

#[tokio::test]
async fn pods_of_other_schedulers_and_pods_with_gates_are_left_alone() {
    let server = Server::default();
    server.put("nodes", node("n1", "4"));
    let mut other = pod("acme", "a-first-one", "1");
    other["spec"]["schedulerName"] = json!("another");
    let mut gated = pod("acme", "gated", "1");
    gated["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}]);
    server.put("pods", other);
    server.put("pods", gated);
    server.put("pods", pod("acme", "last", "1"));
    with_scheduler(&server, async {
        assert!(server.asked("binding", 0).await.0.contains("/pods/last/"));
        let (path, patch) = server.asked("status", 0).await;
        assert!(path.contains("/pods/gated/"));
        assert_eq!(patch["status"]["conditions"][0]["reason"], "SchedulingGated");
    })
    .await;
}
