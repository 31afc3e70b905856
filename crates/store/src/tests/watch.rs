//! Watches: resumption, selectors, dispatch, slow watchers, progress.

use super::*;
use crate::{EventKind, WatchEnded};
use futures::executor::block_on;
use std::sync::atomic::{AtomicBool, Ordering};

fn all() -> Scope {
    Scope::AllTenants(pods())
}

#[tokio::test]
async fn a_watch_resumes_from_history_and_goes_on_live() {
    let store = new_store();
    for path in ["a/n/x", "b/n/x", "a/m/y"] {
        create(&store, path).await;
    }
    let mut watch = store.watch_after(Scope::Tenant(pods(), tenant("a")), Selector::default(), 2).expect("a watch");
    assert_eq!(watch.seen(), 2);
    commit(&store, delete("a/n/x", Expect::Any)).await.expect("deleted");
    assert_eq!(ready(&mut watch), ["ADDED a/m/y@4", "DELETED a/n/x@5"]);
    commit(&store, put("a/m/y", Expect::Any, json!({}))).await.expect("changed");
    assert_eq!(ready(&mut watch), ["MODIFIED a/m/y@6"]);
}

#[tokio::test]
async fn frames_are_what_a_client_reads() {
    let store = new_store();
    let mut watch = store.watch_after(all(), selector("", "spec.nodeName=n1"), 1).expect("a watch");
    create(&store, "a/n/x").await;
    commit(&store, put("a/n/x", Expect::Any, json!({"spec": {"nodeName": "n1"}}))).await.expect("bound");
    let mut frame = async || {
        let delivery = watch.next().await.expect("an event");
        (delivery.frame(), delivery.event.frame())
    };
    let object = r#""object":{"metadata":{"resourceVersion":"3"},"spec":{"nodeName":"n1"}}}"#;
    let (delivered, shared) = frame().await;
    assert_eq!(delivered, format!("{{\"type\":\"ADDED\",{object}\n"));
    assert_eq!(shared, format!("{{\"type\":\"MODIFIED\",{object}\n"));
    commit(&store, delete("a/n/x", Expect::Any)).await.expect("deleted");
    let (delivered, shared) = frame().await;
    assert_eq!(delivered, shared);
    assert_eq!(delivered.as_ptr(), shared.as_ptr(), "encoded once");
}

#[tokio::test]
async fn an_object_that_leaves_the_selector_is_seen_last_as_it_was_before() {
    let store = new_store();
    let labelled = |color: &str| put("a/n/x", Expect::Any, json!({"metadata": {"labels": {"color": color}}}));
    let mut watch = store.watch_after(all(), selector("color=red", ""), 1).expect("a watch");
    for color in ["red", "red", "blue", "blue", "red"] {
        commit(&store, labelled(color)).await.expect("a write");
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        let delivery = watch.next().await.expect("an event");
        let value = delivery.object.to_value().expect("JSON");
        let color = value["metadata"]["labels"]["color"].as_str().expect("a color").to_owned();
        seen.push((delivery.kind, delivery.object.revision, color));
    }
    let red = |kind, revision| (kind, revision, "red".to_owned());
    let expected =
        [red(EventKind::Added, 2), red(EventKind::Modified, 3), red(EventKind::Deleted, 4), red(EventKind::Added, 6)];
    assert_eq!(seen, expected);
    assert!(watch.try_next().is_none());
}

#[tokio::test]
async fn a_deletion_is_seen_by_those_who_saw_the_object() {
    let store = new_store();
    let key = pod("a/n/x");
    let red = json!({"metadata": {"labels": {"color": "red"}}});
    commit(&store, put("a/n/x", Expect::Absent, red.clone())).await.expect("created");
    let mut reds = store.watch_after(all(), selector("color=red", ""), 2).expect("a watch");
    let mut blues = store.watch_after(all(), selector("color=blue", ""), 2).expect("a watch");
    let last = object(&key, json!({"metadata": {"labels": {"color": "blue"}}}));
    let write = Write { change: Change::DeleteAs(last), ..delete("a/n/x", Expect::Any) };
    commit(&store, write).await.expect("deleted");
    assert_eq!(ready(&mut reds), ["DELETED a/n/x@3"]);
    assert_eq!(ready(&mut blues), [""; 0]);
}

#[tokio::test]
async fn each_interest_gets_its_own_events_and_no_others() {
    let store = new_store();
    let namespace = Scope::Namespace(pods(), tenant("a"), "n".into());
    let of_a = Scope::Tenant(pods(), tenant("a"));
    let cases: [(Scope, Selector, &[&str]); 8] = [
        (all(), Selector::default(), &["a/n/x", "a/n/y", "a/m/x", "b/n/x"]),
        (of_a.clone(), Selector::default(), &["a/n/x", "a/n/y", "a/m/x"]),
        (namespace.clone(), Selector::default(), &["a/n/x", "a/n/y"]),
        (namespace.clone(), selector("", "metadata.name=x"), &["a/n/x"]),
        (of_a.clone(), selector("", "metadata.name=x"), &["a/n/x", "a/m/x"]),
        (all(), selector("", "spec.nodeName=n1"), &["a/n/x", "b/n/x"]),
        (namespace.clone(), selector("", "spec.nodeName=n1"), &["a/n/x"]),
        (all(), selector("", "spec.nodeName="), &["a/n/y"]),
    ];
    let mut watches: Vec<Watch> = cases
        .iter()
        .map(|(scope, selector, _)| store.watch_after(scope.clone(), selector.clone(), 1).expect("a watch"))
        .collect();
    assert_eq!(store.stats().watchers, cases.len());
    for (path, node) in [("a/n/x", "n1"), ("a/n/y", ""), ("a/m/x", "n2"), ("b/n/x", "n1")] {
        commit(&store, put(path, Expect::Absent, json!({"spec": {"nodeName": node}}))).await.expect("created");
    }
    for (watch, (scope, selector, expected)) in watches.iter_mut().zip(&cases) {
        let seen: Vec<String> = ready(watch).iter().map(|event| event[6..11].to_owned()).collect();
        assert_eq!(seen, *expected, "{scope:?} {selector:?}");
    }
    watches.remove(2);
    watches.clear();
    assert_eq!(store.stats().watchers, 0);
}

#[tokio::test]
async fn a_watcher_of_a_node_sees_objects_come_and_go() {
    let store = new_store();
    let on = |node: &str| put("a/n/x", Expect::Any, json!({"spec": {"nodeName": node}}));
    let mut watch = store.watch_after(all(), selector("", "spec.nodeName=n1"), 1).expect("a watch");
    for node in ["", "n1", "n1", "n2", "n1"] {
        commit(&store, on(node)).await.expect("a write");
    }
    commit(&store, delete("a/n/x", Expect::Any)).await.expect("deleted");
    let expected = ["ADDED a/n/x@3", "MODIFIED a/n/x@4", "DELETED a/n/x@5", "ADDED a/n/x@6", "DELETED a/n/x@7"];
    assert_eq!(ready(&mut watch), expected);
}

#[tokio::test]
async fn a_watcher_of_one_cluster_object_gets_its_events() {
    let store = new_store();
    let nodes = ResourceId::new("", "nodes");
    let mut watch =
        store.watch_after(Scope::Cluster(nodes.clone()), selector("", "metadata.name=n1"), 1).expect("a watch");
    for name in ["n0", "n1"] {
        let key = ObjectKey::new(nodes.clone(), Space::Cluster, "", name).expect("a key");
        let change = Change::Put(object(&key, json!({})));
        store.commit(vec![Write { key, expect: Expect::Absent, change, class: Class::Durable }]).await.expect("a node");
    }
    assert_eq!(ready(&mut watch), ["ADDED //n1@3"]);
}

#[tokio::test]
async fn a_slow_watcher_reads_on_from_history_and_skips_nothing() {
    let limits = Limits { watch_queue_events_max: 4, ..Limits::default() };
    let store = open(&Disk::new(), limits).expect("a store");
    let mut watch = store.watch_after(all(), Selector::default(), 1).expect("a watch");
    let expected: Vec<String> = (0..2400).map(|i| format!("ADDED a/n/{i}@{}", i + 2)).collect();
    for part in 0..2 {
        let writes =
            (0..1200).map(|i| commit(&store, put(&format!("a/n/{}", part * 1200 + i), Expect::Any, json!({}))));
        assert!(futures::future::join_all(writes).await.iter().all(Result::is_ok));
        // After the overflow it is live again for each part.
        let seen = ready(&mut watch);
        assert_eq!(seen, expected[part * 1200..(part + 1) * 1200]);
        assert_eq!(watch.seen(), store.revision());
    }
}

#[tokio::test]
async fn a_watcher_that_falls_behind_the_history_is_ended_without_a_gap() {
    let limits = Limits { watch_queue_events_max: 2, history_events_max: 4, ..Limits::default() };
    let store = open(&Disk::new(), limits).expect("a store");
    let mut watch = store.watch_after(all(), Selector::default(), 1).expect("a watch");
    let mut other = store.watch_after(Scope::Tenant(pods(), tenant("b")), Selector::default(), 1).expect("a watch");
    for i in 0..7 {
        create(&store, &format!("a/n/{i}")).await;
    }
    let lagged = "the watch has fallen behind the history of events";
    assert_eq!(ready(&mut watch), ["ADDED a/n/0@2", "ADDED a/n/1@3", lagged]);
    assert_eq!(watch.next().await.expect_err("the end"), WatchEnded::Lagged);
    assert_eq!(watch.seen(), 2, "the other events of revision 3 are unknown");
    // A watcher whose interest had no events has missed none of them.
    assert_eq!(other.seen(), store.revision());
    assert!(other.try_next().is_none());
    assert_eq!(store.watch_after(all(), Selector::default(), 3).err().map(|e| e.oldest), Some(4));
    assert_eq!(ready(&mut store.watch_after(all(), Selector::default(), 4).expect("a watch")).len(), 4);
}

#[tokio::test]
async fn history_forgets_what_is_over_its_bytes_or_age() {
    let small = Limits { history_bytes_max: 1500, ..Limits::default() };
    let young = Limits { history_age_max: Duration::ZERO, ..Limits::default() };
    for (limits, kept) in [(small, 3), (young, 1)] {
        let store = open(&Disk::new(), limits).expect("a store");
        for i in 0..9 {
            commit(&store, put(&format!("a/n/{i}"), Expect::Any, json!({"x": "x".repeat(150)})))
                .await
                .expect("a write");
        }
        let oldest = store.watch_after(all(), Selector::default(), 1).err().map(|e| e.oldest);
        assert_eq!(oldest, Some(store.revision() - kept));
    }
}

#[tokio::test]
async fn an_idle_watcher_progresses_with_the_store() {
    let store = new_store();
    let idle = store.watch_after(Scope::Tenant(pods(), tenant("b")), Selector::default(), 1).expect("a watch");
    let busy = store.watch_after(all(), Selector::default(), 1).expect("a watch");
    create(&store, "a/n/x").await;
    assert_eq!((idle.seen(), busy.seen()), (2, 1));
}

#[tokio::test]
async fn a_watch_from_a_later_revision_waits_for_it() {
    let store = new_store();
    let mut watch = store.watch_after(all(), Selector::default(), 3).expect("a watch");
    for path in ["a/n/2", "a/n/3", "a/n/4"] {
        create(&store, path).await;
    }
    assert_eq!(ready(&mut watch), ["ADDED a/n/4@4"]);
}

#[test]
fn a_watch_from_a_snapshot_has_neither_gap_nor_duplicate_while_commits_go_on() {
    let limits = Limits { watch_queue_events_max: 3, ..Limits::default() };
    let store = open(&Disk::new(), limits).expect("a store");
    block_on(create(&store, "a/n/x"));
    let done = AtomicBool::new(false);
    let (store, done) = (&store, &done);
    std::thread::scope(|scope| {
        let committer = move || {
            while !done.load(Ordering::Relaxed) {
                let change = put("a/n/x", Expect::Present, json!({}));
                block_on(commit(store, change)).expect("a write");
            }
        };
        let committer = scope.spawn(committer);
        let _stop = Stop(done);
        for _ in 0..300 {
            let snapshot = store.snapshot();
            let mut last = snapshot.get(&pod("a/n/x")).expect("x").revision;
            assert_eq!(last, snapshot.revision(), "every commit changes x");
            let mut watch = store.watch_after(all(), Selector::default(), last).expect("a watch");
            for _ in 0..10 {
                let progress = watch.seen();
                let next = block_on(watch.next()).expect("an event").object.revision;
                assert_eq!(next, last + 1, "each commit is one event");
                assert!(progress < next, "{next} was still to come at {progress}");
                last = next;
            }
        }
        assert!(!committer.is_finished(), "commits went on");
    });
}

/// Ends the commits of the test, also when it fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
