//! Makes histories: clients that create, update, delete, read, list and watch a few ConfigMaps of one tenant, through
//! whatever is done to the server meanwhile.

use super::Revision;
use super::linear::{Ask, Operation, Told};
use super::watches::{Change, Kind, Seen};
use crate::{Server, Tenant, leave_alone};
use api::{Error, TenantName};
use client::{CONFIG_MAPS, Client, DeleteParams, ListParams, WatchEvent, WatchParams};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const NAMESPACE: &str = "default";

/// A request that is not answered by then is given up; what it asked for may have happened.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// How long a client waits after it got no answer.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// What clients did, and what they were told.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    /// Of each watcher.
    pub seen: Vec<Vec<Seen>>,
}

impl History {
    /// Key and value of each write that was acknowledged.
    pub fn written(&self) -> BTreeMap<Revision, (String, u64)> {
        let written = self.operations.iter().filter_map(|operation| match (operation.ask, operation.told) {
            (Ask::Create(value) | Ask::Update(value, _), Told::Written(at)) => {
                Some((at, (operation.key.clone(), value)))
            }
            _ => None,
        });
        written.collect()
    }

    /// What the operations were, had their tenant not been moved to other storage clusters: each value has the first revision
    /// that anybody was told of it, and a conflict says nothing.
    pub fn without_moves(&self) -> Vec<Operation> {
        let told = |operation: &Operation| match (operation.ask, operation.told) {
            (Ask::Create(value) | Ask::Update(value, _), Told::Written(at)) => Some((value, at)),
            (_, Told::Found(value, at)) => Some((value, at)),
            _ => None,
        };
        let mut first: BTreeMap<u64, Revision> = BTreeMap::new();
        for (value, at) in self.operations.iter().filter_map(told) {
            first.entry(value).and_modify(|first| *first = at.min(*first)).or_insert(at);
        }
        // What is copied at once has one revision.
        let values = |operation: &Operation| told(operation).map(|(value, at)| ((operation.key.clone(), at), value));
        let values: BTreeMap<(String, Revision), u64> = self.operations.iter().filter_map(values).collect();
        let first_of = |key: &str, at| values.get(&(key.to_owned(), at)).map_or(at, |value| first[value]);
        let kept = self.operations.iter().filter(|operation| operation.told != Told::Conflict);
        let unmoved = kept.cloned().map(|mut operation| {
            if let Ask::Update(_, at) = &mut operation.ask {
                *at = first_of(&operation.key, *at);
            }
            if let Told::Found(value, at) = &mut operation.told {
                *at = first[value];
            }
            operation
        });
        unmoved.collect()
    }
}

/// Clients at work.
pub struct Recording {
    shared: Arc<Shared>,
    writers: JoinSet<Vec<Operation>>,
    watchers: JoinSet<Vec<Seen>>,
    client: Client,
}

struct Shared {
    began: Instant,
    keys: usize,
    values: AtomicU64,
    acknowledged: AtomicU64,
    ended: AtomicBool,
    /// No write happens any more; watchers end when they have seen the last one.
    last: AtomicU64,
    /// When the server was dead.
    killed: Mutex<Vec<u64>>,
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).expect("a test ends within centuries")
    }
}

impl Recording {
    /// Starts writers and watchers in a tenant, each with a connection of its own.
    pub fn start(server: &Server, tenant: &Tenant, keys: usize, writers: usize, watchers: usize) -> Recording {
        let name = TenantName::new(&tenant.name).expect("it exists");
        let connect = || server.client().in_tenant(&name);
        let shared = Arc::new(Shared {
            began: Instant::now(),
            keys,
            values: AtomicU64::new(1),
            acknowledged: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            last: AtomicU64::new(0),
            killed: Mutex::default(),
        });
        let mut recording =
            Recording { shared: shared.clone(), writers: JoinSet::new(), watchers: JoinSet::new(), client: connect() };
        for seed in 0..writers {
            recording.writers.spawn(write(connect(), shared.clone(), seed as u64 + 1));
        }
        for _ in 0..watchers {
            recording.watchers.spawn(watch(connect(), shared.clone()));
        }
        recording
    }

    /// How many writes were acknowledged until now.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// To be told when the server has been killed: what it had not answered by then does not happen any more.
    pub fn killed(&self) {
        self.shared.killed.lock().expect("no one panics with it").push(self.shared.now());
    }

    /// Ends the clients, with a last read of everything. The server must be there.
    pub async fn end(self) -> History {
        let Recording { shared, writers, watchers, client } = self;
        shared.ended.store(true, Ordering::Relaxed);
        let mut operations: Vec<Operation> = writers.join_all().await.into_iter().flatten().collect();
        let killed = shared.killed.lock().expect("no one panics with it").clone();
        for operation in operations.iter_mut().filter(|operation| operation.told == Told::Unknown) {
            let dead = killed.iter().find(|&&at| at >= operation.returned);
            operation.returned = dead.copied().unwrap_or(u64::MAX);
        }
        // One more change, which every watcher waits for.
        let value = shared.values.fetch_add(1, Ordering::Relaxed);
        let called = shared.now();
        let object = json!({"metadata": {"name": "k-last"}, "data": {"v": value.to_string()}});
        let created = client.create(CONFIG_MAPS, NAMESPACE, &object).await.expect("a server that answers");
        let (_, revision) = content(&created);
        let told = Told::Written(revision);
        let returned = shared.now();
        operations.push(Operation { key: "k-last".to_owned(), ask: Ask::Create(value), told, called, returned });
        operations.extend(list(&client, &shared).await.expect("a server that answers"));
        shared.last.store(revision, Ordering::Relaxed);
        let seen = watchers.join_all().await;
        History { operations, seen }
    }
}

fn name(key: usize) -> String {
    format!("k{key}")
}

/// Value and revision of a ConfigMap.
fn content(object: &Value) -> (u64, Revision) {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
    (number(&object["data"]["v"]), number(&object["metadata"]["resourceVersion"]))
}

async fn write(client: Client, shared: Arc<Shared>, seed: u64) -> Vec<Operation> {
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut below = move |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % end
    };
    let mut operations = Vec::new();
    // What this client has seen of each key last: an update is made of it.
    let mut known: BTreeMap<String, Revision> = BTreeMap::new();
    while !shared.ended.load(Ordering::Relaxed) {
        let key = name(usize::try_from(below(shared.keys as u64)).expect("a small number"));
        if below(8) == 0 {
            operations.extend(list(&client, &shared).await.unwrap_or_default());
            continue;
        }
        let value = shared.values.fetch_add(1, Ordering::Relaxed);
        let ask = match (below(10), known.get(&key)) {
            (0..5, Some(&revision)) => Ask::Update(value, revision),
            (0..5, None) => Ask::Create(value),
            (5, _) => Ask::Delete,
            (6, _) => Ask::Create(value),
            _ => Ask::Read,
        };
        let called = shared.now();
        let answered = tokio::time::timeout(ANSWER_DEADLINE, perform(&client, &key, ask)).await;
        let told = answered.unwrap_or(Some(Told::Unknown));
        let returned = shared.now();
        match told {
            Some(Told::Written(revision) | Told::Found(_, revision)) => _ = known.insert(key.clone(), revision),
            _ => _ = known.remove(&key),
        }
        match told {
            // Refused before it could happen.
            None => {}
            Some(Told::Unknown) => {
                // It may happen as long as a server runs that has heard of it.
                operations.push(Operation { key, ask, told: Told::Unknown, called, returned });
                leave_alone(RETRY_AFTER).await;
            }
            Some(told) => {
                shared.acknowledged.fetch_add(u64::from(matches!(told, Told::Written(_))), Ordering::Relaxed);
                operations.push(Operation { key, ask, told, called, returned });
            }
        }
    }
    operations
}

/// What the answer was; `None` for a refusal after which nothing can have happened.
async fn perform(client: &Client, key: &str, ask: Ask) -> Option<Told> {
    let object = |value: u64, revision: Option<Revision>| {
        let mut object = json!({"metadata": {"name": key}, "data": {"v": value.to_string()}});
        if let Some(revision) = revision {
            object["metadata"]["resourceVersion"] = json!(revision.to_string());
        }
        object
    };
    let answer = match ask {
        Ask::Create(value) => client.create(CONFIG_MAPS, NAMESPACE, &object(value, None)).await.map(Some),
        Ask::Update(value, revision) => {
            client.update(CONFIG_MAPS, NAMESPACE, &object(value, Some(revision))).await.map(Some)
        }
        Ask::Delete => client.delete(CONFIG_MAPS, NAMESPACE, key, &DeleteParams::default()).await.map(|()| None),
        Ask::Read => client.get(CONFIG_MAPS, NAMESPACE, key).await.map(Some),
    };
    match (ask, answer) {
        (Ask::Read, Ok(Some(object))) => {
            let (value, revision) = content(&object);
            Some(Told::Found(value, revision))
        }
        (_, Ok(Some(object))) => Some(Told::Written(content(&object).1)),
        (_, Ok(None)) => Some(Told::Deleted),
        (Ask::Read, Err(error)) if error.code() != 404 => None,
        (ask, Err(error)) => refused(ask, &error),
    }
}

fn refused(ask: Ask, error: &Error) -> Option<Told> {
    match (error.code(), ask) {
        (404, _) => Some(Told::Absent),
        (409, Ask::Create(_)) => Some(Told::Exists),
        (409, Ask::Update(..)) => Some(Told::Conflict),
        (409 | 429, _) => None,
        _ => Some(Told::Unknown),
    }
}

/// A list, as a read of each key.
async fn list(client: &Client, shared: &Shared) -> Option<Vec<Operation>> {
    let called = shared.now();
    let list = client.list(CONFIG_MAPS, NAMESPACE, &ListParams::default()).await.ok()?;
    let returned = shared.now();
    let found: BTreeMap<String, (u64, Revision)> =
        list.items.iter().map(|item| (item_name(item), content(item))).collect();
    let read = |key: String| {
        let told = found.get(&key).map_or(Told::Absent, |&(value, revision)| Told::Found(value, revision));
        Operation { key, ask: Ask::Read, told, called, returned }
    };
    Some((0..shared.keys).map(name).map(read).collect())
}

fn item_name(item: &Value) -> String {
    item["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

async fn watch(client: Client, shared: Arc<Shared>) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut at: Option<Revision> = None;
    let is_last = |at: Option<Revision>| {
        let last = shared.last.load(Ordering::Relaxed);
        last > 0 && at.is_some_and(|at| at >= last)
    };
    while !is_last(at) {
        let Some(from) = at else {
            at = first_list(&client, &mut seen).await;
            if at.is_none() {
                leave_alone(RETRY_AFTER).await;
            }
            continue;
        };
        let params = WatchParams { resource_version: from.to_string(), timeout_secs: 2, ..WatchParams::default() };
        match client.watch(CONFIG_MAPS, NAMESPACE, &params).await {
            Ok(mut events) => {
                seen.push(Seen::Resumed(from));
                while let Some(event) = events.next().await {
                    let Ok(event) = event.inspect_err(|error| at = at.filter(|_| error.code() != 410)) else { break };
                    if let Some((revision, saw)) = saw(event) {
                        at = Some(revision);
                        seen.push(saw);
                    }
                    if is_last(at) {
                        break;
                    }
                }
            }
            Err(error) if error.code() == 410 => at = None,
            Err(_) => leave_alone(RETRY_AFTER).await,
        }
    }
    seen
}

async fn first_list(client: &Client, seen: &mut Vec<Seen>) -> Option<Revision> {
    let list = client.list(CONFIG_MAPS, NAMESPACE, &ListParams::default()).await.ok()?;
    let revision = list.resource_version.parse().ok()?;
    let ours = list.items.iter().filter(|item| is_ours(item));
    seen.push(Seen::Listed(revision, ours.map(|item| (item_name(item), content(item).0)).collect()));
    Some(revision)
}

/// Others write ConfigMaps, too.
fn is_ours(item: &Value) -> bool {
    item["data"]["v"].is_string()
}

/// How far an event brings a watcher, and what it says of our objects.
fn saw(event: WatchEvent) -> Option<(Revision, Seen)> {
    let (kind, object) = match event {
        WatchEvent::Added(object) => (Kind::Added, object),
        WatchEvent::Modified(object) => (Kind::Modified, object),
        WatchEvent::Deleted(object) => (Kind::Deleted, object),
        WatchEvent::Bookmark(revision) => {
            let revision = revision.parse().ok()?;
            return Some((revision, Seen::Bookmark(revision)));
        }
    };
    let (value, revision) = content(&object);
    let change = Change { key: item_name(&object), kind, value };
    // What is not ours says as much as a bookmark.
    let seen = if is_ours(&object) { Seen::Changed(revision, change) } else { Seen::Bookmark(revision) };
    Some((revision, seen))
}
