//! A tenant that is moved between partitions: all of it, nothing twice, and nobody is left behind.

use super::partitions::{all, of_tenant, partition, place, placed};
use super::*;
use crate::fence::{Fence, Stage};
use crate::{EtcdOptions, Partition, Revise, Routes, Whose};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

const SOME: usize = 250;

/// Tenant `b` in partition 0, with some pods, and 1 attached for a tenant `x`.
async fn store() -> Store {
    let store = Store::routed(partition(), Routes { of_tenant, all });
    for (name, id) in [("b", "0"), ("x", "1")] {
        commit(&store, placed(name, id)).await.expect("placed");
    }
    store.attach(1, Some(partition()));
    store.attach(2, Some(partition()));
    commit(&store, placed("y", "2")).await.expect("placed");
    for number in 0..SOME {
        create(&store, &format!("b/n/{number}")).await;
    }
    create(&store, "x/n/1").await;
    store
}

/// Says that `b` is in a partition.
fn switch(id: &'static str) -> Write {
    let change =
        Change::Revise(Revise::new(move |place| Ok(Some(object(&place.key, json!({"spec": {"nodeName": id}}))))));
    Write { key: place("b"), expect: Expect::Present, change, class: Class::Durable }
}

async fn moved(store: &Store, from: u8, to: u8) {
    let id = ["0", "1", "2"][usize::from(to)];
    store.move_tenant(&tenant("b"), (from, to), switch(id)).await.expect("moved");
    store.shut(&tenant("b"), to, from).await.expect("shut");
}

fn of_b() -> Scope {
    Scope::Tenant(pods(), tenant("b"))
}

#[tokio::test]
async fn a_tenant_is_moved_whole_there_and_back_and_its_versions_grow() {
    let store = store().await;
    let mut last = store.snapshot().version(&of_b()).newest();
    for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1), (1, 0)] {
        let all = Scope::AllTenants(pods());
        let before = store.snapshot();
        let mut one = store.watch(&of_b(), &Selector::default(), &before.version(&of_b())).expect("a watch");
        let mut every = store.watch(&all, &Selector::default(), &before.version(&all)).expect("a watch");
        moved(&store, from, to).await;
        let lagged = ["the watch has fallen behind the history of events"];
        assert_eq!(
            (ready(&mut one), ready(&mut every)),
            (lagged.map(str::to_owned).into(), lagged.map(str::to_owned).into())
        );
        assert!(store.watch(&of_b(), &Selector::default(), &before.version(&of_b())).is_err(), "it is of elsewhere");
        assert!(store.watch(&all, &Selector::default(), &before.version(&all)).is_err());
        assert!(store.snapshot_at(&of_b(), &before.version(&of_b())).is_err());
        let after = store.snapshot();
        assert!(after.range(&of_b(), None).all(|pod| pod.revision > last), "no revision is used twice");
        last = after.version(&of_b()).newest();
        // What is left of it is there until it is removed, and shows nowhere.
        assert_eq!((after.count(&of_b()), after.count(&all)), (SOME, SOME + 1), "{from} to {to}");
        let mut every = store.watch(&all, &Selector::default(), &after.version(&all)).expect("a watch");
        store.clear(&tenant("b"), from).await.expect("cleared");
        assert_eq!(ready(&mut every), Vec::<String>::new());
        assert_eq!(store.snapshot().count(&all), SOME + 1);
        assert_eq!(store.stats().objects, SOME + 1 + 3 + store.fenced().len());
        assert_eq!(store.held_by_all().iter().map(|(_, held)| held.objects).sum::<u64>() as usize, SOME + 1);
        let revision = commit(&store, put("b/n/0", Expect::Present, json!({}))).await.expect("written").revision;
        assert!(revision > last);
        assert_eq!(ready(&mut every), [format!("MODIFIED b/n/0@{revision}")]);
    }
    let backup: Vec<u8> = crate::Backup::new(store.snapshot(), None).flatten().collect();
    assert!(!String::from_utf8(backup).expect("text").contains("fences"));
}

#[tokio::test]
async fn what_an_earlier_attempt_has_left_does_not_hinder_the_next() {
    let (store, b) = (store().await, tenant("b"));
    let from = store.partition(0).expect("it is there");
    let to = store.partition(1).expect("it is there");
    let fence = |partition: &Partition| Fence::of(&partition.snapshot().shared_state(), &b);
    let unwanted = Write { change: Change::Revise(Revise::new(|_| Err("no more".to_owned()))), ..switch("1") };
    let refused = store.move_tenant(&b, (0, 1), unwanted).await;
    assert!(matches!(refused, Err(CommitError::Refused(_))), "{refused:?}");
    // Stopped there: all is copied, and it is where it was, but frozen. What was read is still so.
    assert_eq!((fence(&from).stage, fence(&to).stage), (Stage::Leaving, Stage::Open));
    assert_eq!(store.snapshot().count(&Scope::AllTenants(pods())), SOME + 1);
    store.holds(Whose::Tenant(&b)).expect("it can be read");
    let mut waiting = JoinSet::new();
    waiting.spawn({
        let store = store.clone();
        async move { commit(&store, put("b/n/late", Expect::Absent, json!({}))).await }
    });
    // Late writes of the attempt, as they may still be under way.
    let late = put("b/n/0", Expect::Any, json!({"spec": {"nodeName": "late"}}));
    let late = vec![late, fence(&to).still(&b)];
    moved(&store, 0, 1).await;
    assert!(matches!(to.commit(late).await, Err(CommitError::Stale { .. })));
    let waited = waiting.join_all().await.remove(0);
    waited.expect("it waits for the tenant to be somewhere");
    assert_eq!(store.snapshot().count(&of_b()), SOME + 1);
    // One who does not know yet that it is gone.
    let stale = from.commit(vec![put("b/n/stale", Expect::Absent, json!({}))]).await;
    assert!(matches!(stale, Err(CommitError::Moving)), "{stale:?}");
    // Not wanted after all: what was copied goes.
    let refused = store.move_tenant(&b, (1, 2), Write { expect: Expect::Absent, ..switch("2") }).await;
    assert!(refused.is_err());
    store.shut(&b, 1, 2).await.expect("shut");
    store.clear(&b, 2).await.expect("cleared");
    commit(&store, put("b/n/more", Expect::Absent, json!({}))).await.expect("it goes on where it was");
    assert_eq!(store.snapshot().count(&Scope::AllTenants(pods())), SOME + 3);
}

#[tokio::test]
async fn what_a_server_has_not_seen_whole_it_does_not_show() {
    let (store, b) = (store().await, tenant("b"));
    let to = store.partition(1).expect("it is there");
    let arriving = Fence::of(&to.snapshot().shared_state(), &b).keep(&b, Stage::Arriving);
    to.commit(vec![arriving]).await.expect("written");
    store.holds(Whose::AllTenants).expect("it is not there yet");
    commit(&store, switch("1")).await.expect("as a server sees it that is behind there");
    assert!(matches!(store.holds(Whose::Tenant(&b)), Err(CommitError::Moving)));
    assert!(matches!(store.holds(Whose::AllTenants), Err(CommitError::Moving)));
    assert!(store.watch_after(of_b(), Selector::default(), 1 << 40).is_err());
    store.holds(Whose::Tenant(&tenant("x"))).expect("others are not held up");
}

#[tokio::test]
async fn a_new_tenant_of_an_old_name_is_not_kept_out() {
    let (store, b) = (store().await, tenant("b"));
    moved(&store, 0, 1).await;
    store.clear(&b, 0).await.expect("cleared");
    assert_eq!(store.fenced(), [b.clone(), b.clone()]);
    store.unfence(&b, |_| true).await.expect("no tenant of this name is there");
    assert_eq!(store.fenced(), Vec::<TenantName>::new());
    commit(&store, switch("0")).await.expect("placed");
    create(&store, "b/n/1").await;
}

#[tokio::test]
async fn nothing_is_lost_of_what_is_written_while_a_tenant_is_moved_to_and_fro() {
    let store = store().await;
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let (store, done) = (store.clone(), done.clone());
        writers.spawn(async move {
            let mut written = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let path = format!("b/n/w{writer}-{}", written.len());
                create(&store, &path).await;
                assert!(store.snapshot().get(&pod(&path)).is_some(), "{path}, which was just written");
                written.push(path);
                tokio::task::yield_now().await;
            }
            written
        });
    }
    for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2)] {
        moved(&store, from, to).await;
        store.clear(&tenant("b"), from).await.expect("cleared");
    }
    done.store(true, Ordering::Relaxed);
    let written: Vec<String> = writers.join_all().await.into_iter().flatten().collect();
    written.iter().for_each(|path| assert!(store.snapshot().get(&pod(path)).is_some(), "{path}"));
    assert_eq!(store.snapshot().count(&of_b()), SOME + written.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_raised_revisions_is_read_back_as_it_was() {
    if !kit::Etcd::is_installed() {
        return;
    }
    let (cluster, store, b) = (kit::Etcd::start(1, &[]).await, store().await, tenant("b"));
    let open = async || {
        let options = EtcdOptions { partition: 1, ..EtcdOptions::new(cluster.urls()) };
        Partition::etcd(options, fields, Limits::default()).await.expect("a cluster")
    };
    let seen = |partition: &Partition| -> Vec<_> {
        let state = partition.snapshot().state();
        state.objects_in(&b).map(|object| (object.key.clone(), object.revision, object.bytes.clone())).collect()
    };
    let first = open().await;
    store.attach(1, Some(first.clone()));
    for _ in 0..2 {
        moved(&store, 0, 1).await;
        let other = open().await;
        assert_eq!(seen(&first), seen(&other));
        let revision = store.snapshot().get(&pod("b/n/0")).expect("it is there").revision;
        assert!(revision > 1 << 32);
        // Each finds what the other has written, at the revision that it was told.
        let write = put("b/n/0", Expect::Revision(revision), json!({}));
        let revision = other.commit(vec![write]).await.expect("it is at this revision")[0].revision;
        commit(&store, put("b/n/0", Expect::Revision(revision), json!({}))).await.expect("it is at this revision");
        other.current().await.expect("it is there");
        assert_eq!(seen(&first), seen(&other));
        moved(&store, 1, 0).await;
        store.clear(&b, 1).await.expect("cleared");
        assert!(seen(&first).is_empty());
    }
}
