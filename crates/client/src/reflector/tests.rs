//! The reflector against a server of one collection that can be broken in the ways that servers break.

use super::*;
use crate::{Body, PODS, Transport};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, stream};
use http::{Request, Response};
use runtime::Tasks;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

#[derive(Deserialize, Debug, PartialEq)]
struct View {
    spec: u32,
}

/// A collection with its history. Clones share it.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Collection>>, Arc<tokio::sync::Notify>);

#[derive(Default)]
struct Collection {
    revision: u64,
    objects: BTreeMap<String, Value>,
    history: Vec<(u64, &'static str, Value)>,
    /// Watches from before this are expired.
    compacted: u64,
    /// Watches of an older age end.
    age: u32,
    failing: u32,
    /// The next request with such a part in its path is never answered.
    unanswered: Option<&'static str>,
    requests: Vec<(String, tokio::time::Instant)>,
}

impl Server {
    fn with<R>(&self, f: impl FnOnce(&mut Collection) -> R) -> R {
        let result = f(&mut self.0.lock().expect("no panic"));
        self.1.notify_waiters();
        result
    }

    fn put(&self, name: &str, spec: u32) {
        self.with(|c| {
            c.revision += 1;
            let metadata = json!({
                "name": name, "namespace": "default", "tenant": "acme", "resourceVersion": c.revision.to_string(),
            });
            let object = json!({"metadata": metadata, "spec": spec});
            let kind = if c.objects.insert(name.to_owned(), object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
            c.history.push((c.revision, kind, object));
        });
    }

    fn delete(&self, name: &str) {
        self.with(|c| {
            c.revision += 1;
            let mut object = c.objects.remove(name).expect("an object to delete");
            object["metadata"]["resourceVersion"] = json!(c.revision.to_string());
            c.history.push((c.revision, "DELETED", object));
        });
    }

    fn end_watches(&self) {
        self.with(|c| c.age += 1);
    }

    fn compact(&self) {
        self.with(|c| c.compacted = c.revision + 1);
    }

    fn lists(&self) -> usize {
        self.with(|c| c.requests.iter().filter(|(path, _)| !path.contains("watch=true")).count())
    }

    fn answer(&self, request: &Request<Bytes>) -> Response<Body> {
        let query: HashMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let number = |name: &str| query.get(name).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
        self.with(|c| {
            c.requests.push((request.uri().to_string(), tokio::time::Instant::now()));
            if c.failing > 0 {
                c.failing -= 1;
                return whole(503, json!({}));
            }
            if query.contains_key("watch") {
                let from = number("resourceVersion");
                let frames = if from + 1 < c.compacted { self.expired() } else { self.frames(from, c.age) };
                return Response::new(frames);
            }
            let start = number("continue") as usize;
            let limit = number("limit") as usize;
            let items: Vec<&Value> = c.objects.values().skip(start).take(limit).collect();
            let rest = if start + limit < c.objects.len() { (start + limit).to_string() } else { String::new() };
            let metadata = json!({"resourceVersion": c.revision.to_string(), "continue": rest});
            whole(200, json!({"metadata": metadata, "items": items}))
        })
    }

    fn expired(&self) -> Body {
        let frame = json!({"type": "ERROR", "object": Error::expired("too old resource version").to_status()});
        stream::iter([Ok(Bytes::from(frame.to_string()))]).boxed()
    }

    fn frames(&self, from: u64, age: u32) -> Body {
        let server = self.clone();
        stream::unfold((server, from), move |(server, from)| async move {
            loop {
                let changed = server.1.clone().notified_owned();
                let next = {
                    let c = server.0.lock().expect("no panic");
                    if c.age != age {
                        return None;
                    }
                    c.history.iter().find(|(revision, _, _)| *revision > from).cloned()
                };
                if let Some((revision, kind, object)) = next {
                    let frame = format!("{}\n", json!({"type": kind, "object": object}));
                    return Some((Ok(Bytes::from(frame)), (server, revision)));
                }
                changed.await;
            }
        })
        .boxed()
    }
}

fn whole(code: u16, body: Value) -> Response<Body> {
    let body = stream::iter([Ok(Bytes::from(body.to_string()))]).boxed();
    Response::builder().status(code).body(body).expect("a response")
}

impl Transport for Server {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>>> {
        let path = request.uri().to_string();
        if self.with(|c| c.unanswered.take_if(|part| path.contains(*part))).is_some() {
            return std::future::pending().boxed();
        }
        let answer = self.answer(&request);
        async { Ok(answer) }.boxed()
    }
}

fn key(name: &str) -> ObjectRef {
    ObjectRef::new(&TenantName::new("acme").expect("a name"), "default", name)
}

fn start(server: &Server) -> (Cache<View>, Events<View>, Stop) {
    let client = Client::new(Arc::new(server.clone())).all_tenants();
    let (cache, reflector, events) = reflect(client, PODS, ListParams::default());
    let stop = Stop::new();
    let following = reflector.run(stop.clone());
    Tasks::new().spawn("reflector", async { following.await.expect("a clean end") });
    (cache, events, stop)
}

/// The next change as text: `name old->new`.
async fn next(events: &mut Events<View>) -> String {
    let change = events.next().await.expect("a change");
    let text = |side: &Option<Arc<View>>| side.as_ref().map_or("none".to_owned(), |v| v.spec.to_string());
    format!("{} {}->{}", change.key.name, text(&change.old), text(&change.new))
}

#[tokio::test(start_paused = true)]
async fn a_cache_holds_every_page_and_then_follows() {
    let server = Server::default();
    for i in 0..1201 {
        server.put(&format!("p{i:04}"), i);
    }
    let (cache, mut events, stop) = start(&server);
    cache.synced().await;
    assert_eq!((cache.len(), server.lists()), (1201, 3));
    for i in 0..1201 {
        assert_eq!(next(&mut events).await, format!("p{i:04} none->{i}"));
    }
    server.put("p0007", 1);
    assert_eq!(next(&mut events).await, "p0007 7->1");
    server.delete("p0007");
    assert_eq!(next(&mut events).await, "p0007 1->none");
    assert_eq!(cache.get(&key("p0007")), None);
    assert_eq!(cache.list_namespace(&TenantName::new("acme").expect("a name"), "default").len(), 1200);
    assert_eq!(cache.list_namespace(&TenantName::new("acme2").expect("a name"), "default").len(), 0);
    stop.stop();
    assert!(events.next().await.is_none(), "the events end with the reflector");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_resumed_without_a_list() {
    let server = Server::default();
    server.put("a", 1);
    let (_cache, mut events, _stop) = start(&server);
    assert_eq!(next(&mut events).await, "a none->1");
    for i in 2..10 {
        server.put("a", i);
        assert_eq!(next(&mut events).await, format!("a {}->{i}", i - 1));
        server.end_watches();
    }
    assert_eq!(server.lists(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_expiry_a_fresh_list_tells_only_what_changed() {
    let server = Server::default();
    for (name, spec) in [("a", 1), ("b", 1), ("c", 1)] {
        server.put(name, spec);
    }
    let (cache, mut events, _stop) = start(&server);
    for name in ["a", "b", "c"] {
        assert_eq!(next(&mut events).await, format!("{name} none->1"));
    }
    server.with(|c| {
        // What happens while the watch is away: b changes, c goes, d comes.
        c.age += 1;
        c.history.clear();
    });
    server.put("b", 2);
    server.delete("c");
    server.put("d", 1);
    server.compact();
    assert_eq!(next(&mut events).await, "b 1->2");
    assert_eq!(next(&mut events).await, "d none->1");
    assert_eq!(next(&mut events).await, "c 1->none");
    assert_eq!(server.lists(), 2);
    assert_eq!(cache.get(&key("a")).as_deref(), Some(&View { spec: 1 }));
}

#[tokio::test(start_paused = true)]
async fn a_failing_server_is_asked_less_and_less_often() {
    let server = Server::default();
    server.with(|c| c.failing = 8);
    server.put("a", 1);
    let (cache, _events, _stop) = start(&server);
    cache.synced().await;
    let times: Vec<_> = server.with(|c| c.requests.iter().take(9).map(|(_, at)| *at).collect());
    let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] < BACKOFF_FIRST, "the first retry is at once: {gaps:?}");
    let last = gaps.last().expect("gaps");
    assert!(*last > Duration::from_secs(3) && *last <= BACKOFF_LONGEST, "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_on_which_nothing_comes_is_given_up_and_made_anew() {
    let server = Server::default();
    server.put("a", 1);
    let (_cache, mut events, _stop) = start(&server);
    assert_eq!(next(&mut events).await, "a none->1");
    tokio::time::sleep(WATCH_DEADLINE + BACKOFF_LONGEST).await;
    server.put("a", 2);
    assert_eq!(next(&mut events).await, "a 1->2");
    assert_eq!((server.lists(), server.with(|c| c.requests.len())), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_answered_is_made_again() {
    for part in ["limit=500", "continue=500", "watch=true"] {
        let server = Server::default();
        for i in 0..501 {
            server.put(&format!("p{i:03}"), i);
        }
        server.with(|c| c.unanswered = Some(part));
        let (cache, mut events, _stop) = start(&server);
        let followed = async {
            cache.synced().await;
            server.put("p000", 7);
            while cache.get(&key("p000")).is_none_or(|p| p.spec != 7) {
                events.next().await.expect("a change");
            }
        };
        let deadline = ANSWER_DEADLINE + BACKOFF_LONGEST;
        tokio::time::timeout(deadline, followed).await.unwrap_or_else(|_| panic!("{part} is waited for"));
        assert_eq!(server.with(|c| c.unanswered), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_becomes_unreadable_goes_from_the_cache_until_it_is_readable() {
    let server = Server::default();
    server.put("a", 1);
    let (cache, mut events, _stop) = start(&server);
    assert_eq!(next(&mut events).await, "a none->1");
    server.with(|c| {
        c.revision += 1;
        let mut unreadable = c.objects["a"].clone();
        unreadable["metadata"]["resourceVersion"] = json!(c.revision.to_string());
        unreadable["spec"] = json!("x");
        c.objects.insert("a".to_owned(), unreadable.clone());
        c.history.push((c.revision, "MODIFIED", unreadable));
    });
    server.put("b", 1);
    assert_eq!(next(&mut events).await, "a 1->none");
    assert_eq!(cache.get(&key("a")), None);
    assert_eq!(next(&mut events).await, "b none->1");
    server.put("a", 3);
    assert_eq!(next(&mut events).await, "a none->3");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_each_object_once_in_its_latest_state() {
    let server = Server::default();
    server.put("a", 1);
    let (cache, mut events, _stop) = start(&server);
    assert_eq!(next(&mut events).await, "a none->1");
    server.put("b", 1);
    server.put("a", 2);
    server.put("short-lived", 1);
    server.delete("short-lived");
    server.delete("b");
    server.put("b", 5);
    server.put("a", 3);
    server.put("last", 1);
    while cache.get(&key("last")).is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(next(&mut events).await, "b none->5");
    assert_eq!(next(&mut events).await, "a 1->3");
    assert_eq!(next(&mut events).await, "last none->1");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_is_left_out_and_nothing_else() {
    let server = Server::default();
    server.put("a", 1);
    server
        .with(|c| c.objects.insert("bad".into(), json!({"metadata": {"name": "bad", "tenant": "acme"}, "spec": "x"})));
    server.with(|c| c.objects.insert("none".into(), json!(7)));
    server.with(|c| c.objects.insert("t".into(), json!({"metadata": {"name": "t", "tenant": "a/b"}, "spec": 1})));
    let (cache, _events, _stop) = start(&server);
    cache.synced().await;
    assert_eq!(cache.list().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_index_finds_objects_by_what_they_are_now() {
    let server = Server::default();
    server.put("a", 1);
    server.put("b", 2);
    let (cache, mut events, _stop) = start(&server);
    let by_spec = cache.index(|_, view| vec![view.spec.to_string()]);
    let names = |spec: &str| by_spec.get(spec).into_iter().map(|(key, _)| key.name).collect::<Vec<_>>();
    next(&mut events).await;
    next(&mut events).await;
    assert_eq!((names("1"), names("2")), (vec!["a".to_owned()], vec!["b".to_owned()]));
    server.put("a", 2);
    next(&mut events).await;
    assert_eq!((names("1"), names("2")), (vec![], vec!["a".to_owned(), "b".to_owned()]));
    server.delete("b");
    next(&mut events).await;
    assert_eq!(names("2"), ["a"]);
}
