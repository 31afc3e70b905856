//! What every kind of partition promises: one table of tests for all of them.

use super::*;
use crate::{Delivery, EtcdOptions, EventKind, Partition, Revise};
use futures::FutureExt;
use futures::future::{LocalBoxFuture, join_all};
use std::path::PathBuf;

/// A kind of partition that can be opened again.
pub(super) enum Kind {
    Embedded(PathBuf),
    Etcd(Vec<String>),
}

impl Kind {
    pub(super) async fn open(&self) -> Store {
        match self {
            Kind::Embedded(dir) => Store::open(dir, fields, Limits::default()).expect("a store"),
            Kind::Etcd(urls) => {
                let options = EtcdOptions::new(urls.clone());
                Partition::etcd(options, fields, Limits::default()).await.expect("a partition").into()
            }
        }
    }
}

/// A test has a store, and a tenant of its own in it.
type Test = for<'a> fn(&'a Store, &'a str) -> LocalBoxFuture<'a, ()>;

const TESTS: [(&str, Test); 8] = [
    ("preconditions hold or say why not", |s, t| preconditions(s, t).boxed_local()),
    ("a transaction happens as a whole, at one revision", |s, t| transactions(s, t).boxed_local()),
    ("a revision is made of what is there", |s, t| revisions(s, t).boxed_local()),
    ("concurrent revisions lose nothing", |s, t| counting(s, t).boxed_local()),
    ("a list is in order and of its scope", |s, t| lists(s, t).boxed_local()),
    ("an old state can be listed", |s, t| old_states(s, t).boxed_local()),
    ("a watch sees each change once, in order", |s, t| watching(s, t).boxed_local()),
    ("a deletion shows the last state", |s, t| deletions(s, t).boxed_local()),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_partition_keeps_the_promises() {
    let dir = tempfile::tempdir().expect("a directory");
    keeps_the_promises(Kind::Embedded(dir.path().join("store"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_partition_keeps_the_promises() {
    if kit::Etcd::is_installed() {
        let cluster = kit::Etcd::start(1, &[]).await;
        keeps_the_promises(Kind::Etcd(cluster.urls())).await;
    }
}

async fn keeps_the_promises(kind: Kind) {
    let store = kind.open().await;
    for (number, (promise, test)) in TESTS.iter().enumerate() {
        println!("{promise}");
        test(&store, &format!("t{number}")).await;
    }
    let before: Vec<(String, Revision)> = everything(&store);
    assert!(before.len() > 10, "{before:?}");
    let revision = store.revision();
    store.close().await;
    assert!(matches!(commit(&store, put("a/n/x", Expect::Any, json!({}))).await, Err(CommitError::Stopped)));
    drop(store);
    let store = kind.open().await;
    assert_eq!(everything(&store), before, "what was stored is there again");
    assert!(store.revision() >= revision);
    assert!(create(&store, "a/n/after").await > revision);
    store.close().await;
}

fn everything(store: &Store) -> Vec<(String, Revision)> {
    let snapshot = store.snapshot();
    let scope = Scope::AllTenants(pods());
    snapshot.range(&scope, None).map(|object| (object.key.durable(), object.revision)).collect()
}

fn value(store: &Store, path: &str) -> Value {
    store.snapshot().get(&pod(path)).expect(path).to_value().expect("JSON")["v"].clone()
}

async fn preconditions(store: &Store, t: &str) {
    let x = format!("{t}/n/x");
    let set = |expect, v: u64| put(&x, expect, json!({"v": v}));
    assert!(matches!(commit(store, set(Expect::Present, 0)).await, Err(CommitError::Absent)));
    assert!(matches!(commit(store, set(Expect::Revision(1), 0)).await, Err(CommitError::Stale { current: None })));
    assert!(matches!(commit(store, delete(&x, Expect::Any)).await, Err(CommitError::Absent)));
    let created = commit(store, set(Expect::Absent, 1)).await.expect("created");
    assert_eq!(store.snapshot().get(&pod(&x)).expect("it is read at once").bytes, created.bytes);
    match commit(store, set(Expect::Absent, 2)).await {
        Err(CommitError::Exists(present)) => assert_eq!(present.revision, created.revision),
        other => panic!("{other:?}"),
    }
    match commit(store, set(Expect::Revision(created.revision - 1), 2)).await {
        Err(CommitError::Stale { current: Some(current) }) => assert_eq!(current.revision, created.revision),
        other => panic!("{other:?}"),
    }
    let updated = commit(store, set(Expect::Revision(created.revision), 3)).await.expect("updated");
    assert!(updated.revision > created.revision);
    assert_eq!(updated.to_value().expect("JSON")["metadata"]["resourceVersion"], updated.revision.to_string());
    assert_eq!(value(store, &x), 3);
    let deleted = commit(store, delete(&x, Expect::Revision(updated.revision))).await.expect("deleted");
    assert!(deleted.revision > updated.revision && store.snapshot().get(&pod(&x)).is_none());
}

async fn transactions(store: &Store, t: &str) {
    let at = |name: &str| format!("{t}/n/{name}");
    let three = ["a", "b", "c"].map(|name| put(&at(name), Expect::Absent, json!({"v": 1})));
    let stored = store.commit(three.to_vec()).await.expect("three");
    assert!(stored.iter().all(|object| object.revision == store.revision()));
    let mixed = vec![
        put(&at("a"), Expect::Present, json!({"v": 2})),
        delete(&at("b"), Expect::Any),
        put(&at("c"), Expect::Absent, json!({"v": 2})),
    ];
    assert!(matches!(store.commit(mixed).await, Err(CommitError::Exists(_))));
    assert_eq!([value(store, &at("a")), value(store, &at("b")), value(store, &at("c"))], [1, 1, 1]);
    let twice = vec![put(&at("d"), Expect::Absent, json!({"v": 1})), put(&at("d"), Expect::Present, json!({"v": 2}))];
    store.commit(twice).await.expect("one object twice");
    assert_eq!(value(store, &at("d")), 2);
}

fn revise(path: &str, revise: impl Fn(u64) -> Result<Option<u64>, String> + Send + Sync + 'static) -> Write {
    let key = pod(path);
    let of = key.clone();
    let change = Revise::new(move |current| {
        let v = current.to_value().expect("JSON")["v"].as_u64().expect("a number");
        Ok(revise(v)?.map(|v| object(&of, json!({"v": v}))))
    });
    Write { key, expect: Expect::Any, change: Change::Revise(change), class: Class::Durable }
}

async fn revisions(store: &Store, t: &str) {
    let x = format!("{t}/n/x");
    let none = store.commit(vec![revise(&x, |v| Ok(Some(v + 1)))]).await.expect("nothing is there");
    assert!(none.is_empty());
    commit(store, put(&x, Expect::Absent, json!({"v": 1}))).await.expect("created");
    let before = store.revision();
    assert!(store.commit(vec![revise(&x, |_| Ok(None))]).await.expect("no change").is_empty());
    assert_eq!(store.snapshot().get(&pod(&x)).expect("x").revision, before);
    let beside = put(&format!("{t}/n/y"), Expect::Absent, json!({"v": 0}));
    let refused = store.commit(vec![beside, revise(&x, |_| Err("full".to_owned()))]).await;
    assert!(matches!(refused, Err(CommitError::Refused(why)) if why == "full"));
    assert!(store.snapshot().get(&pod(&format!("{t}/n/y"))).is_none());
    store.commit(vec![revise(&x, |v| Ok(Some(v + 1)))]).await.expect("a revision");
    assert_eq!(value(store, &x), 2);
}

async fn counting(store: &Store, t: &str) {
    let x = format!("{t}/n/x");
    commit(store, put(&x, Expect::Absent, json!({"v": 0}))).await.expect("created");
    let all = (0..20).map(|_| store.commit(vec![revise(&x, |v| Ok(Some(v + 1)))]));
    assert!(join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(value(store, &x), 20);
}

async fn lists(store: &Store, t: &str) {
    for path in ["m/z", "n/b", "n/a", "o/c"] {
        create(store, &format!("{t}/{path}")).await;
    }
    create(store, &format!("{t}-1/n/a")).await;
    let snapshot = store.snapshot();
    let list = |scope: Scope| -> Vec<String> {
        let objects = snapshot.range(&scope, None);
        objects.map(|object| format!("{}/{}", object.key.namespace, object.key.name)).collect()
    };
    assert_eq!(list(Scope::Tenant(pods(), tenant(t))), ["m/z", "n/a", "n/b", "o/c"]);
    assert_eq!(list(Scope::Namespace(pods(), tenant(t), "n".into())), ["n/a", "n/b"]);
    assert_eq!(list(Scope::Cluster(pods())), [""; 0]);
}

async fn old_states(store: &Store, t: &str) {
    let scope = Scope::Tenant(pods(), tenant(t));
    let first = create(store, &format!("{t}/n/a")).await;
    let second = create(store, &format!("{t}/n/b")).await;
    commit(store, delete(&format!("{t}/n/a"), Expect::Any)).await.expect("deleted");
    let count = |revision| store.state_at(&pods(), revision).expect("held").count(&scope);
    assert_eq!([count(first - 1), count(first), count(second), count(store.revision())], [0, 1, 2, 1]);
}

async fn watching(store: &Store, t: &str) {
    let scope = Scope::Tenant(pods(), tenant(t));
    let after = store.revision();
    let mut live = store.watch_after(scope.clone(), Selector::default(), after).expect("a watch");
    for number in 0..10 {
        create(store, &format!("{t}/n/{number}")).await;
        create(store, &format!("{t}-1/n/{number}")).await;
    }
    commit(store, put(&format!("{t}/n/3"), Expect::Present, json!({}))).await.expect("an update");
    commit(store, delete(&format!("{t}/n/4"), Expect::Any)).await.expect("a deletion");
    let mut resumed = store.watch_after(scope, Selector::default(), after).expect("a watch");
    for watch in [&mut live, &mut resumed] {
        let mut seen: Vec<Delivery> = Vec::new();
        while seen.len() < 12 {
            seen.push(watch.next().await.expect("an event"));
        }
        assert!(watch.try_next().is_none());
        assert!(seen.is_sorted_by(|a, b| a.object.revision < b.object.revision));
        let kinds: Vec<EventKind> = seen[10..].iter().map(|delivery| delivery.kind).collect();
        assert_eq!(kinds, [EventKind::Modified, EventKind::Deleted]);
        assert_eq!(watch.seen(), store.revision());
    }
}

async fn deletions(store: &Store, t: &str) {
    let x = format!("{t}/n/x");
    let created = commit(store, put(&x, Expect::Absent, json!({"v": 1}))).await.expect("created").revision;
    let mut watch = store.watch_after(Scope::Tenant(pods(), tenant(t)), Selector::default(), created).expect("a watch");
    let last = object(&pod(&x), json!({"v": "last"}));
    let write = Write { change: Change::DeleteAs(last), ..delete(&x, Expect::Revision(created)) };
    let deleted = commit(store, write).await.expect("deleted");
    let delivery = watch.next().await.expect("an event");
    assert_eq!((delivery.kind, delivery.object.revision), (EventKind::Deleted, deleted.revision));
    assert_eq!(delivery.object.to_value().expect("JSON")["v"], "last");
    assert_eq!(delivery.object.bytes, deleted.bytes);
    create(store, &x).await;
    commit(store, delete(&x, Expect::Any)).await.expect("deleted");
    assert_eq!(watch.next().await.expect("an event").kind, EventKind::Added);
    let delivery = watch.next().await.expect("an event");
    assert_eq!((delivery.kind, delivery.object.revision), (EventKind::Deleted, store.revision()));
}
