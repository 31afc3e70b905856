//! Transactions: preconditions, atomicity, order, and what readers see.

use super::*;
use crate::Snapshot;
use futures::future::join_all;

#[track_caller]
fn check(outcome: Result<Arc<Object>, CommitError>, expected: &str) {
    let text = match outcome {
        Ok(object) => format!("stored at {}", object.revision),
        Err(CommitError::Stale { current: None }) => "stale, gone".to_owned(),
        Err(CommitError::Stale { current: Some(current) }) => format!("stale, now at {}", current.revision),
        Err(CommitError::Exists(current)) => format!("exists at {}", current.revision),
        Err(error) => error.to_string(),
    };
    assert_eq!(text, expected);
}

#[tokio::test]
async fn preconditions_hold_against_what_is_stored() {
    let store = new_store();
    for expect in [Expect::Absent, Expect::Any] {
        check(commit(&store, delete("a/n/x", expect)).await, "the object does not exist");
    }
    check(commit(&store, put("a/n/x", Expect::Present, json!({}))).await, "the object does not exist");
    check(commit(&store, put("a/n/x", Expect::Revision(1), json!({}))).await, "stale, gone");
    check(commit(&store, put("a/n/x", Expect::Absent, json!({}))).await, "stored at 2");
    check(commit(&store, put("a/n/x", Expect::Absent, json!({}))).await, "exists at 2");
    check(commit(&store, put("a/n/x", Expect::Revision(1), json!({}))).await, "stale, now at 2");
    check(commit(&store, put("a/n/x", Expect::Revision(2), json!({}))).await, "stored at 3");
    check(commit(&store, put("a/n/x", Expect::Present, json!({}))).await, "stored at 4");
    check(commit(&store, put("a/n/x", Expect::Any, json!({}))).await, "stored at 5");
    check(commit(&store, delete("a/n/x", Expect::Absent)).await, "exists at 5");
    check(commit(&store, delete("a/n/x", Expect::Revision(4))).await, "stale, now at 5");
    check(commit(&store, delete("a/n/x", Expect::Revision(5))).await, "stored at 6");
    check(commit(&store, put("a/n/x", Expect::Any, json!({}))).await, "stored at 7");
}

#[tokio::test]
async fn a_transaction_has_one_revision_or_no_effect() {
    let store = new_store();
    let first = put("a/n/x", Expect::Absent, json!({"v": 1}));
    let again = put("a/n/x", Expect::Present, json!({"v": 2}));
    let stored = store.commit(vec![first, again, put("a/n/y", Expect::Absent, json!({}))]).await.expect("a commit");
    assert_eq!(stored.iter().map(|object| object.revision).collect::<Vec<_>>(), [2, 2, 2]);

    let before = store.stats();
    let mut watch = store.watch_after(Scope::Tenant(pods(), tenant("a")), Selector::default(), 2).expect("a watch");
    let refused = vec![
        put("a/n/new", Expect::Absent, json!({})),
        put("a/n/x", Expect::Present, json!({"v": 3})),
        delete("a/n/y", Expect::Present),
        put("a/n/x", Expect::Absent, json!({})),
    ];
    assert!(matches!(store.commit(refused).await, Err(CommitError::Exists(_))));
    assert_eq!(store.stats(), crate::Stats { watchers: 1, ..before });
    assert_eq!(store.resource_revision(&pods()), 2);
    assert_eq!(ready(&mut watch), [""; 0]);
    let x = store.snapshot().get(&pod("a/n/x")).expect("x is stored").to_value().expect("JSON");
    assert_eq!((&x["v"], &x["metadata"]["resourceVersion"]), (&json!(2), &json!("2")));
}

#[tokio::test]
async fn a_deletion_returns_the_last_state_at_its_own_revision() {
    let store = new_store();
    let created = commit(&store, put("a/n/x", Expect::Absent, json!({"v": 1}))).await.expect("created");
    let deleted = commit(&store, delete("a/n/x", Expect::Present)).await.expect("deleted");
    assert_eq!((deleted.revision, &deleted.to_value().expect("JSON")["v"]), (created.revision + 1, &json!(1)));

    create(&store, "a/n/x").await;
    let last = object(&pod("a/n/x"), json!({"v": "last"}));
    let write = Write { change: Change::DeleteAs(last), ..delete("a/n/x", Expect::Present) };
    let deleted = commit(&store, write).await.expect("deleted");
    assert_eq!(deleted.to_value().expect("JSON"), json!({"v": "last", "metadata": {"resourceVersion": "5"}}));
    assert_eq!(store.stats().objects, 0);
    assert_eq!(store.stats().bytes, 0);
}

#[tokio::test]
async fn commits_that_wait_together_share_a_sync() {
    let disk = Disk::new();
    let store = open(&disk, Limits::default()).expect("a store");
    let opened = disk.syncs();
    disk.hold();
    let first = create(&store, "a/n/first");
    let paths: Vec<String> = (0..63).map(|i| format!("a/n/{i}")).collect();
    let rest = async {
        disk.wait_held();
        let rest = paths.iter().map(|path| create(&store, path));
        // Each is queued when it is first polled.
        let release = async { disk.release() };
        futures::join!(join_all(rest), release).0
    };
    let (_, revisions) = futures::join!(first, rest);
    assert_eq!(revisions, (3..66).collect::<Vec<_>>());
    assert_eq!(disk.syncs() - opened, 2);
    assert_eq!((store.stats().syncs, store.stats().commits), (2, 64));
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let disk = Disk::new();
    let store = open(&disk, Limits { queue_commits_max: 2, ..Limits::default() }).expect("a store");
    disk.hold();
    let first = create(&store, "a/n/0");
    let rest = async {
        disk.wait_held();
        let writes = ["a/n/1", "a/n/2", "a/n/3"].map(|path| commit(&store, put(path, Expect::Absent, json!({}))));
        let [one, two, three] = writes;
        let refused = async {
            let refused = tokio::time::timeout(DEADLINE, three).await.expect("an answer at once");
            check(refused, "too many writes are waiting for the disk");
            disk.release();
        };
        let (one, two, ()) = futures::join!(one, two, refused);
        (one, two)
    };
    let (_, (one, two)) = futures::join!(first, rest);
    check(one, "stored at 3");
    check(two, "stored at 4");
}

#[tokio::test]
async fn tenants_with_adjacent_names_never_mix() {
    let store = new_store();
    let tenants = ["a", "a-1", "a1", "aa", "b"];
    for of in tenants {
        for path in ["default/x", "default/y", "default-1/x", "kube-system/x"] {
            create(&store, &format!("{of}/{path}")).await;
        }
    }
    let snapshot = store.snapshot();
    for of in tenants {
        let mine = |scope| names(snapshot.range(&scope, None));
        let all = ["default/x", "default/y", "default-1/x", "kube-system/x"];
        let expected = all.map(|path| format!("/ursa/t/{of}/core/pods/{path}"));
        assert_eq!(mine(Scope::Tenant(pods(), tenant(of))), expected);
        assert_eq!(mine(Scope::Namespace(pods(), tenant(of), "default".into())), expected[..2]);
        assert_eq!(names(snapshot.tenant_keys(&tenant(of))), expected);
    }
    assert_eq!(snapshot.count(&Scope::AllTenants(pods())), 20);
    assert_eq!(snapshot.count(&Scope::Cluster(pods())), 0);
}

#[tokio::test]
async fn a_list_goes_on_strictly_after_any_key() {
    let store = new_store();
    for path in ["a/m/z", "a/n/b", "a/n/d", "a/o/a"] {
        create(&store, path).await;
    }
    let snapshot = store.snapshot();
    let page = |after: &str| {
        let scope = Scope::Namespace(pods(), tenant("a"), "n".into());
        names(snapshot.range(&scope, Some(&pod(after)))).iter().map(|key| key[20..].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(page("a/m/z"), ["n/b", "n/d"]);
    assert_eq!(page("a/n/a"), ["n/b", "n/d"]);
    assert_eq!(page("a/n/b"), ["n/d"]);
    assert_eq!(page("a/n/c"), ["n/d"]);
    assert_eq!(page("a/n/d"), [""; 0]);
    assert_eq!(page("a/o/a"), [""; 0]);
    assert_eq!(page("b/a/a"), [""; 0]);
}

#[tokio::test]
async fn a_snapshot_does_not_change() {
    let store = new_store();
    create(&store, "a/n/x").await;
    let before: Snapshot = store.snapshot();
    commit(&store, put("a/n/x", Expect::Present, json!({"v": 2}))).await.expect("an update");
    create(&store, "a/n/y").await;
    assert_eq!((before.revision(), before.count(&Scope::AllTenants(pods()))), (2, 1));
    assert_eq!(before.get(&pod("a/n/x")).expect("x").revision, 2);
}

#[tokio::test]
async fn an_old_state_is_made_once_for_all_pages_of_a_list() {
    let limits = Limits { history_events_max: 3, ..Limits::default() };
    let store = open(&Disk::new(), limits).expect("a store");
    for name in ["x", "y", "z"] {
        create(&store, &format!("a/n/{name}")).await;
    }
    let at = |revision| store.state_at(&pods(), revision);
    let first = at(2).expect("held");
    assert_eq!((first.revision(), first.count(&Scope::AllTenants(pods()))), (2, 1));
    create(&store, "a/n/x2").await;
    assert!(at(2).expect("held").is_same(&first));
    assert_eq!(at(3).expect("held").count(&Scope::AllTenants(pods())), 2, "another revision is another state");
    assert_eq!(at(2).expect("held").count(&Scope::AllTenants(pods())), 1);
    create(&store, "a/n/x3").await;
    assert_eq!(at(2).err().map(|e| e.oldest), Some(3), "what history has forgotten stays forgotten");
}

#[tokio::test]
async fn a_resource_is_at_the_revision_of_its_own_last_change() {
    let store = new_store();
    let nodes = ResourceId::new("", "nodes");
    create(&store, "a/n/x").await;
    let key = ObjectKey::new(nodes.clone(), Space::Cluster, "", "node").expect("a key");
    let change = Change::Put(object(&key, json!({})));
    let node = Write { key, expect: Expect::Absent, change, class: Class::Durable };
    store.commit(vec![node]).await.expect("a node");
    assert_eq!((store.resource_revision(&pods()), store.resource_revision(&nodes), store.revision()), (2, 3, 3));
    assert_eq!(store.snapshot().count(&Scope::Cluster(nodes)), 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_revision_ends_with_it_or_with_the_deadline() {
    let store = new_store();
    assert!(store.reaches(1, Duration::ZERO).await);
    assert!(!store.reaches(2, DEADLINE).await);
    let (reached, _) = futures::join!(store.reaches(2, Duration::MAX), create(&store, "a/n/x"));
    assert!(reached);
}
