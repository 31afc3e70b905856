//! An API that holds objects in a map: as much as a node agent asks for.

use api::{Error, Identity, Result};
use bytes::Bytes;
use client::{Body, Client, Connect, Transport};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use http::{Method, Request, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::mpsc;

/// Objects by the path under which the agent reaches them.
#[derive(Clone, Default)]
pub struct Cluster(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    /// Watches of pods.
    watches: Vec<mpsc::UnboundedSender<Result<Bytes>>>,
    /// Who asked.
    identities: Vec<Identity>,
}

impl Connect for Cluster {
    fn connect(&self, identity: Identity) -> Client {
        self.state().identities.push(identity);
        Client::new(Arc::new(self.clone()))
    }
}

impl Transport for Cluster {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>>> {
        let answer = self.answer(&request);
        async move {
            let (code, body) = match answer {
                Ok(body) => (200, body),
                Err(error) => (error.code(), once(error.to_status().to_string())),
            };
            Response::builder().status(code).body(body).map_err(Error::internal)
        }
        .boxed()
    }
}

fn once(text: String) -> Body {
    stream::once(async { Ok(text.into()) }).boxed()
}

impl Cluster {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the state")
    }

    /// The path of a pod in a tenant.
    fn pod_path(tenant: &str, name: &str) -> String {
        format!("/tenants/{tenant}/api/v1/namespaces/default/pods/{name}")
    }

    pub fn put(&self, path: &str, object: Value) {
        self.state().put(path, object);
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.state().objects.get(path).cloned()
    }

    /// Binds a pod to the node, in namespace `default`.
    pub fn run_pod(&self, tenant: &str, name: &str, spec: Value) {
        let uid = format!("{tenant}-{name}-{}", self.state().version);
        let metadata =
            json!({"tenant": tenant, "namespace": "default", "name": name, "uid": uid, "labels": {"app": name}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Pending"}});
        self.put(&Self::pod_path(tenant, name), pod);
    }

    /// A pod as the API has it, `Null` where it has none.
    pub fn pod(&self, tenant: &str, name: &str) -> Value {
        self.get(&Self::pod_path(tenant, name)).unwrap_or_default()
    }

    /// What `kubectl delete` does: marks the pod and leaves the rest to the node.
    pub fn delete_pod(&self, tenant: &str, name: &str, grace_secs: i64) {
        let mut pod = self.pod(tenant, name);
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace_secs);
        self.put(&Self::pod_path(tenant, name), pod);
    }

    /// What `kubectl delete --force` does: the API forgets the pod at once.
    pub fn forget_pod(&self, tenant: &str, name: &str) {
        self.state().remove(&Self::pod_path(tenant, name));
    }

    pub fn config_map(&self, tenant: &str, name: &str, data: Value) {
        let path = format!("/tenants/{tenant}/api/v1/namespaces/default/configmaps/{name}");
        self.put(&path, json!({"metadata": {"name": name}, "data": data}));
    }

    pub fn secret(&self, tenant: &str, name: &str, data: Value) {
        let path = format!("/tenants/{tenant}/api/v1/namespaces/default/secrets/{name}");
        self.put(&path, json!({"metadata": {"name": name}, "data": data}));
    }

    /// The reasons of a pod's events, in the order of their making, with their messages.
    pub fn events(&self, tenant: &str, pod: &str) -> Vec<(String, String)> {
        let state = self.state();
        let prefix = format!("/tenants/{tenant}/api/v1/namespaces/default/events/");
        let events =
            state.objects.iter().filter(|(path, e)| path.starts_with(&prefix) && e["involvedObject"]["name"] == pod);
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let mut found: Vec<_> = events
            .map(|(_, e)| (e["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse::<u64>().ok()), e))
            .collect();
        found.sort_by_key(|(version, _)| *version);
        found.into_iter().map(|(_, e)| (text(&e["reason"]), text(&e["message"]))).collect()
    }

    pub fn identities(&self) -> Vec<Identity> {
        self.state().identities.clone()
    }

    fn answer(&self, request: &Request<Bytes>) -> Result<Body> {
        let mut state = self.state();
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default();
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        if path == "/api/v1/tenants/all/pods" {
            assert!(query.contains("fieldSelector=spec.nodeName%3D"), "only the node's own pods: {query}");
            return Ok(if query.contains("watch=true") { state.watch() } else { once(state.list().to_string()) });
        }
        let (object, subresource) = match path.strip_suffix("/status") {
            Some(object) => (object.to_owned(), "status"),
            None => (path.clone(), ""),
        };
        let name = object.rsplit('/').next().unwrap_or_default().to_owned();
        let missing = || Error::not_found("", "objects", &name);
        let found = match *request.method() {
            Method::GET => state.objects.get(&object).cloned().ok_or_else(missing)?,
            Method::POST if path.ends_with("/token") => {
                let pod = &body["spec"]["boundObjectRef"]["name"];
                json!({"status": {"token": format!("token of {path} for {pod}"), "expirationTimestamp": "2099-01-01T00:00:00Z"}})
            }
            Method::POST => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default();
                let path = format!("{path}/{name}");
                if state.objects.contains_key(&path) {
                    return Err(Error::already_exists("", "objects", name));
                }
                state.put(&path, body)
            }
            Method::PATCH => {
                let mut known = state.objects.get(&object).cloned().ok_or_else(missing)?;
                let uid = &body["metadata"]["uid"];
                if !uid.is_null() && *uid != known["metadata"]["uid"] {
                    return Err(Error::conflict("", "objects", &name, "another uid"));
                }
                let patch = if subresource == "status" { json!({"status": body["status"]}) } else { body };
                merge(&mut known, patch);
                state.put(&object, known)
            }
            Method::DELETE => {
                let known = state.objects.get(&object).ok_or_else(missing)?;
                if body["preconditions"]["uid"] != known["metadata"]["uid"] || body["gracePeriodSeconds"] != 0 {
                    return Err(Error::conflict("", "objects", &name, "a node deletes one pod, at once"));
                }
                state.remove(&object)
            }
            _ => return Err(Error::no_such_path()),
        };
        Ok(once(found.to_string()))
    }
}

impl State {
    fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let kind = if self.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        self.tell(path, kind, &object);
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn remove(&mut self, path: &str) -> Value {
        self.version += 1;
        let object = self.objects.remove(path).unwrap_or_default();
        self.tell(path, "DELETED", &object);
        object
    }

    fn tell(&mut self, path: &str, kind: &str, object: &Value) {
        if path.contains("/pods/") {
            let frame = json!({"type": kind, "object": object}).to_string() + "\n";
            self.watches.retain(|watch| watch.send(Ok(frame.clone().into())).is_ok());
        }
    }

    fn list(&self) -> Value {
        let pods: Vec<&Value> =
            self.objects.iter().filter(|(path, _)| path.contains("/pods/")).map(|(_, o)| o).collect();
        json!({"metadata": {"resourceVersion": self.version.to_string()}, "items": pods})
    }

    fn watch(&mut self) -> Body {
        let (sender, receiver) = mpsc::unbounded_channel();
        // What happened between the list and this watch is told again.
        for object in self.objects.iter().filter(|(path, _)| path.contains("/pods/")).map(|(_, o)| o) {
            let frame = json!({"type": "MODIFIED", "object": object}).to_string() + "\n";
            sender.send(Ok(frame.into())).expect("the other end is here");
        }
        self.watches.push(sender);
        stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }).boxed()
    }
}

/// As much of a strategic merge as a status needs: maps merge, conditions merge by type, other lists are replaced.
fn merge(known: &mut Value, patch: Value) {
    match (known, patch) {
        (Value::Object(known), Value::Object(patch)) => {
            for (name, patch) in patch {
                match (name.as_str(), patch) {
                    (_, Value::Null) => {
                        known.remove(&name);
                    }
                    ("conditions", Value::Array(patch)) => {
                        let list = known.entry(name).or_insert_with(|| json!([]));
                        merge_by_type(list.as_array_mut().expect("conditions are a list"), patch);
                    }
                    (_, patch) => merge(known.entry(name).or_insert(Value::Null), patch),
                }
            }
        }
        (known, Value::Array(items)) => {
            *known = items.into_iter().filter(|item| item.get("$patch").is_none()).collect();
        }
        (known, Value::Object(patch)) => {
            *known = json!({});
            merge(known, Value::Object(patch));
        }
        (known, patch) => *known = patch,
    }
}

fn merge_by_type(list: &mut Vec<Value>, patch: Vec<Value>) {
    for item in patch {
        match list.iter_mut().find(|known| known["type"] == item["type"]) {
            Some(known) => merge(known, item),
            None => {
                let mut new = json!({});
                merge(&mut new, item);
                list.push(new);
            }
        }
    }
}
