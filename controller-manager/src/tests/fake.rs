//! An API in memory, for all controllers together: enough of one to tell who asked for what. Its time is paused: it
//! passes when there is nothing else to do.

mod watching;

use api::{Error, Identity, Reason, Result};
use bytes::Bytes;
use client::{Body, Client, Connect, Transport};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use http::{Method, Request, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use watching::Watching;

/// The kinds that discovery tells of: group, plural, kind, namespaced.
const KINDS: [(&str, &str, &str, bool); 10] = [
    ("", "configmaps", "ConfigMap", true),
    ("", "namespaces", "Namespace", false),
    ("", "nodes", "Node", false),
    ("", "pods", "Pod", true),
    ("", "serviceaccounts", "ServiceAccount", true),
    ("", "tenants", "Tenant", false),
    ("apps", "deployments", "Deployment", true),
    ("apps", "replicasets", "ReplicaSet", true),
    ("apps", "widgets", "Widget", true),
    ("rbac.authorization.k8s.io", "clusterroles", "ClusterRole", false),
];

/// Group and plural, tenant, namespace, name.
type Key = (String, String, String, String);

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Key, Value>,
    /// Every change: its revision, the collection, the type, the object.
    history: Vec<(u64, String, &'static str, Value)>,
    /// Every write: who, in which tenant, what.
    writes: Vec<(String, String, String)>,
    /// Every object that was asked for by its name: by whom, and the path.
    gets: Vec<(String, String)>,
    lag: Duration,
    refused: Vec<&'static str>,
    unlisted: Vec<&'static str>,
    powerless: Vec<&'static str>,
    undiscovered: Vec<&'static str>,
    /// The seed of what goes wrong with watches.
    disturbed: Option<u64>,
}

/// The API; clones share it.
#[derive(Clone, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

struct Caller {
    fake: Fake,
    identity: Identity,
}

impl Connect for Fake {
    fn connect(&self, identity: Identity) -> Client {
        Client::new(Arc::new(Caller { fake: self.clone(), identity }))
    }
}

impl Transport for Caller {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>>> {
        let path = request.uri().path();
        if request.method() == Method::GET && self.fake.lock().unlisted.iter().any(|plural| path.ends_with(plural)) {
            return std::future::pending().boxed();
        }
        let answer = self.fake.answer(&self.identity, &request);
        async move { Ok(answer.unwrap_or_else(|e| whole(e.code(), &e.to_status()))) }.boxed()
    }
}

fn whole(code: u16, body: &Value) -> Response<Body> {
    let body = stream::iter([Ok(Bytes::from(body.to_string()))]).boxed();
    Response::builder().status(code).body(body).expect("a response")
}

/// What a path names.
struct Target {
    collection: String,
    /// Empty for the operators' own kinds, `all` for all tenants.
    tenant: String,
    namespace: String,
    name: String,
    subresource: String,
}

impl Target {
    fn of(identity: &Identity, path: &str) -> Target {
        let mut rest: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let mut tenant = identity.tenant.as_str().to_owned();
        if rest[0] == "tenants" {
            tenant = rest[1].to_owned();
            rest.drain(..2);
        }
        let group = if rest.remove(0) == "api" { "" } else { rest.remove(0) };
        rest.remove(0);
        if rest.first() == Some(&"tenants") && rest.get(1) == Some(&"all") {
            rest.drain(..2);
            tenant = "all".to_owned();
        }
        let mut namespace = "";
        if rest.first() == Some(&"namespaces") && rest.len() > 2 && !matches!(rest[2], "status" | "finalize") {
            namespace = rest[1];
            rest.drain(..2);
        }
        let part = |i: usize| rest.get(i).copied().unwrap_or_default().to_owned();
        if matches!(part(0).as_str(), "nodes" | "tenants") {
            tenant = String::new();
        }
        Target {
            collection: format!("{group}/{}", part(0)),
            tenant,
            namespace: namespace.to_owned(),
            name: part(1),
            subresource: part(2),
        }
    }

    fn key(&self) -> Key {
        (self.collection.clone(), self.tenant.clone(), self.namespace.clone(), self.name.clone())
    }
}

impl Fake {
    /// An empty API. Pauses the time of the test that makes it.
    pub fn new() -> Fake {
        tokio::time::pause();
        Fake::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// From now on watches tell of changes so much later.
    pub fn lag(&self, lag: Duration) {
        self.lock().lag = lag;
    }

    /// From now on creations of this kind are refused.
    pub fn refuse(&self, plural: &'static str) {
        self.lock().refused.push(plural);
    }

    /// From now on a service account of this name may do nothing.
    pub fn disempower(&self, account: &'static str) {
        self.lock().powerless.push(account);
    }

    /// From now on lists of this kind are not answered.
    pub fn keep_waiting_for(&self, plural: &'static str) {
        self.lock().unlisted.push(plural);
    }

    /// From now on discovery of this group fails.
    pub fn hide_group(&self, group: &'static str) {
        self.lock().undiscovered.push(group);
    }

    /// From now on nothing is refused or hidden.
    pub fn relent(&self) {
        let mut state = self.lock();
        state.refused.clear();
        state.undiscovered.clear();
    }

    /// From now on watches tell some changes late, again, or not at all.
    pub fn disturb(&self, seed: u64) {
        self.lock().disturbed = Some(seed);
    }

    /// From now on watches tell all that changes; what was left out comes to light.
    pub fn calm(&self) {
        self.lock().disturbed = None;
    }

    /// Puts an object there, as a user would.
    pub fn put(&self, group: &str, plural: &str, mut object: Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (format!("{group}/{plural}"), text("tenant"), text("namespace"), text("name"));
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", key.3));
        }
        self.lock().put(key, object);
        self.changed.notify_waiters();
    }

    pub fn remove(&self, group: &str, plural: &str, tenant: &str, namespace: &str, name: &str) {
        let key = (format!("{group}/{plural}"), tenant.to_owned(), namespace.to_owned(), name.to_owned());
        self.lock().remove(&key);
        self.changed.notify_waiters();
    }

    /// The objects of a kind in a tenant.
    pub fn list(&self, group: &str, plural: &str, tenant: &str) -> Vec<Value> {
        let collection = format!("{group}/{plural}");
        let state = self.lock();
        state.objects.iter().filter(|(k, _)| k.0 == collection && k.1 == tenant).map(|(_, o)| o.clone()).collect()
    }

    /// Who wrote in which tenant, without repetitions.
    pub fn writers(&self) -> Vec<(String, String)> {
        let mut writers: Vec<_> =
            self.lock().writes.iter().map(|(who, tenant, _)| (who.clone(), tenant.clone())).collect();
        writers.sort();
        writers.dedup();
        writers
    }

    /// What a service account has asked for by name.
    pub fn gets(&self, account: &str) -> Vec<String> {
        let state = self.lock();
        state.gets.iter().filter(|(user, _)| user.ends_with(account)).map(|(_, path)| path.clone()).collect()
    }

    /// Every write to a kind, as method and path.
    pub fn writes(&self, plural: &str) -> Vec<String> {
        let state = self.lock();
        let of_kind = |what: &&String| what.contains(&format!("/{plural}"));
        state.writes.iter().map(|(_, _, what)| what).filter(of_kind).cloned().collect()
    }

    /// Waits until something is so, at most two minutes of paused time.
    pub async fn until(&self, what: &str, holds: impl Fn(&Fake) -> bool) {
        for _ in 0..1200 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not in time: {what}; writes: {:#?}", self.lock().writes);
    }

    fn answer(&self, identity: &Identity, request: &Request<Bytes>) -> Result<Response<Body>> {
        let path = request.uri().path();
        let is = |account: &&'static str| identity.user == format!("system:serviceaccount:kube-system:{account}");
        if self.lock().powerless.iter().any(is) {
            return Err(Error::forbidden("", "", "", "it has no right to anything"));
        }
        if self.lock().undiscovered.iter().any(|group| path == format!("/apis/{group}/v1")) {
            return Err(Error::new(Reason::ServiceUnavailable, "it cannot be reached"));
        }
        if let Some(discovered) = discovery(path) {
            return Ok(whole(200, &discovered));
        }
        if !path.contains("/api/") && !path.contains("/apis/") {
            return Err(Error::not_found("", "", path));
        }
        let target = Target::of(identity, path);
        let query = request.uri().query().unwrap_or_default();
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        if *request.method() == Method::GET {
            return match () {
                () if !target.name.is_empty() => {
                    let mut state = self.lock();
                    state.gets.push((identity.user.clone(), path.to_owned()));
                    state.get(&target.key()).map(|o| whole(200, &o))
                }
                () if query.contains("watch=true") => Ok(Response::new(self.watch(target, query))),
                () => Ok(whole(200, &self.lock().list(&target, query))),
            };
        }
        let mut state = self.lock();
        let what = format!("{} {path}", request.method());
        state.writes.push((identity.user.clone(), identity.tenant.as_str().to_owned(), what));
        let written = match *request.method() {
            Method::POST => state.create(&target, body),
            Method::PUT => state.update(&target, body),
            Method::PATCH => state.patch(&target, &body),
            _ => state.delete(&target, &body),
        };
        drop(state);
        self.changed.notify_waiters();
        written.map(|object| whole(200, &object))
    }

    fn watch(&self, target: Target, query: &str) -> Body {
        let version = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let (from, name) = (version.and_then(|v| v.parse().ok()).unwrap_or(0), wanted_name(query));
        let fake = self.clone();
        let watching = Watching { fake, target, name, from, random: 0, is_hiding: false, is_over: false };
        stream::unfold(watching, |mut watching| async move {
            let frame = watching.next().await?;
            Some((Ok(Bytes::from(format!("{frame}\n"))), watching))
        })
        .boxed()
    }
}

/// The name that a field selector asks for.
fn wanted_name(query: &str) -> Option<String> {
    let (_, rest) = query.split_once("metadata.name%3D")?;
    rest.split('&').next().map(str::to_owned)
}

fn belongs(object: &Value, target: &Target) -> bool {
    let tenant = object["metadata"]["tenant"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    (target.tenant == "all" || tenant == target.tenant)
        && (target.namespace.is_empty() || namespace == target.namespace)
}

fn discovery(path: &str) -> Option<Value> {
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let row = |(_, plural, kind, namespaced): &(&str, &str, &str, bool)| json!({"name": plural, "kind": kind, "namespaced": namespaced, "verbs": verbs});
    let of = |group: &str| -> Value { KINDS.iter().filter(|k| k.0 == group).map(row).collect() };
    let group = |name: &str| json!({"name": name, "preferredVersion": {"version": "v1"}});
    match path {
        "/apis" => Some(json!({"groups": [group("apps"), group("rbac.authorization.k8s.io")]})),
        "/api/v1" => Some(json!({"resources": of("")})),
        "/apis/apps/v1" => {
            let mut rows = of("apps");
            let scale = json!({"name": "widgets/scale", "kind": "Scale", "namespaced": true, "verbs": ["get"]});
            rows.as_array_mut().expect("rows").push(scale);
            Some(json!({"resources": rows}))
        }
        "/apis/rbac.authorization.k8s.io/v1" => Some(json!({"resources": of("rbac.authorization.k8s.io")})),
        _ => None,
    }
}

impl State {
    fn put(&mut self, key: Key, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let kind = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.history.push((self.revision, key.0.clone(), kind, object.clone()));
        self.objects.insert(key, object.clone());
        object
    }

    fn remove(&mut self, key: &Key) -> Option<Value> {
        let mut object = self.objects.remove(key)?;
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.history.push((self.revision, key.0.clone(), "DELETED", object.clone()));
        Some(object)
    }

    fn get(&self, key: &Key) -> Result<Value> {
        self.objects.get(key).cloned().ok_or_else(|| Error::not_found("", &key.0, &key.3))
    }

    fn list(&self, target: &Target, query: &str) -> Value {
        let name = wanted_name(query);
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(k, o)| k.0 == target.collection && belongs(o, target) && name.as_ref().is_none_or(|n| k.3 == *n))
            .map(|(_, object)| object)
            .collect();
        json!({"metadata": {"resourceVersion": self.revision.to_string()}, "items": items})
    }

    fn create(&mut self, target: &Target, mut object: Value) -> Result<Value> {
        if target.subresource == "token" {
            return Ok(json!({"status": {"token": format!("token of {}", target.name)}}));
        }
        if target.collection.ends_with("/subjectaccessreviews") {
            return Ok(json!({"status": {"allowed": true}}));
        }
        if self.refused.iter().any(|plural| target.collection.ends_with(plural)) {
            return Err(Error::forbidden("", &target.collection, "", "refused"));
        }
        let metadata = &mut object["metadata"];
        if metadata["name"].is_null() {
            let prefix = metadata["generateName"].as_str().unwrap_or_default();
            metadata["name"] = json!(format!("{prefix}{:05}", self.revision));
        }
        let mut key = target.key();
        key.3 = metadata["name"].as_str().unwrap_or_default().to_owned();
        metadata["uid"] = json!(format!("uid-{}-{}", self.revision, key.3));
        metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        for (field, value) in [("tenant", &target.tenant), ("namespace", &target.namespace)] {
            if !value.is_empty() {
                metadata[field] = json!(value);
            }
        }
        if target.collection == "/namespaces" {
            object["spec"] = json!({"finalizers": ["kubernetes"]});
        }
        if self.objects.contains_key(&key) {
            return Err(Error::already_exists("", &key.0, &key.3));
        }
        Ok(self.put(key, object))
    }

    fn update(&mut self, target: &Target, object: Value) -> Result<Value> {
        let key = target.key();
        let old = self.get(&key)?;
        let stale = object["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"];
        if stale && !object["metadata"]["resourceVersion"].is_null() {
            return Err(Error::conflict("", &key.0, &key.3, "stale"));
        }
        let new = if target.subresource == "status" {
            let mut new = old;
            new["status"] = object["status"].clone();
            new["metadata"]["annotations"] = object["metadata"]["annotations"].clone();
            new
        } else {
            // As the server does, whose the object is stays as it is.
            let mut new = object;
            for field in ["tenant", "namespace", "uid"] {
                if let Some(kept) = old["metadata"].get(field) {
                    new["metadata"][field] = kept.clone();
                }
            }
            new
        };
        Ok(self.put_or_end(key, new))
    }

    /// Keeps a changed object, unless it is to go and nothing holds it any more.
    fn put_or_end(&mut self, key: Key, object: Value) -> Value {
        let goes = !object["metadata"]["deletionTimestamp"].is_null() && !holds(&object);
        let object = self.put(key.clone(), object);
        if goes {
            self.remove(&key);
        }
        object
    }

    fn patch(&mut self, target: &Target, patch: &Value) -> Result<Value> {
        let key = target.key();
        let mut object = self.get(&key)?;
        for field in ["uid", "resourceVersion"] {
            let wanted = &patch["metadata"][field];
            if !wanted.is_null() && *wanted != object["metadata"][field] {
                return Err(Error::conflict("", &key.0, &key.3, "stale"));
            }
        }
        merge(&mut object, patch);
        Ok(self.put_or_end(key, object))
    }

    /// Deletes an object, or a collection. What has finalizers, in its metadata or its spec, stays and is marked.
    fn delete(&mut self, target: &Target, options: &Value) -> Result<Value> {
        let key = target.key();
        if key.3.is_empty() {
            let belongs_there = |(k, o): &(&Key, &Value)| k.0 == target.collection && belongs(o, target);
            let keys: Vec<Key> = self.objects.iter().filter(belongs_there).map(|(k, _)| k.clone()).collect();
            keys.iter().for_each(|key| self.mark_or_remove(key));
            return Ok(json!({}));
        }
        let object = self.get(&key)?;
        let wanted = &options["preconditions"]["uid"];
        if !wanted.is_null() && *wanted != object["metadata"]["uid"] {
            return Err(Error::conflict("", &key.0, &key.3, "another uid"));
        }
        self.mark_or_remove(&key);
        Ok(object)
    }

    fn mark_or_remove(&mut self, key: &Key) {
        let mut object = self.objects[key].clone();
        if !holds(&object) {
            self.remove(key);
        } else if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            self.put(key.clone(), object);
        }
    }
}

/// Whether an object has finalizers.
fn holds(object: &Value) -> bool {
    let any = |part: &str| object[part]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    any("metadata") || any("spec")
}

fn merge(value: &mut Value, patch: &Value) {
    match (value, patch) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, change) in new {
                merge(old.entry(key.clone()).or_insert(Value::Null), change);
            }
        }
        (value, patch) => *value = patch.clone(),
    }
}
