//! What only an etcd partition can meet: other API servers, lost members, a lost quorum, compaction, no space.

use super::*;
use crate::{EtcdOptions, Partition, WatchEnded};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

async fn open_at(urls: Vec<String>) -> Store {
    let partition = Partition::etcd(EtcdOptions::new(urls), fields, Limits::default()).await;
    partition.expect("a partition").into()
}

fn unavailable<T: std::fmt::Debug>(answer: Result<T, CommitError>) -> String {
    match answer {
        Err(CommitError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_see_what_the_other_has_written() {
    if !kit::Etcd::is_installed() {
        return;
    }
    let cluster = kit::Etcd::start(1, &[]).await;
    let (a, b) = (&open_at(cluster.urls()).await, &open_at(cluster.urls()).await);
    for number in 0..50 {
        let path = format!("t/n/{number}");
        let revision = create(a, &path).await;
        b.current().await.expect("a quorum");
        assert_eq!(b.snapshot().get(&pod(&path)).expect("it was created before").revision, revision);
    }
    // Without asking first, too: what the index says is not believed when it is a reason to refuse.
    for number in 0..50 {
        let path = format!("t/m/{number}");
        let revision = create(a, &path).await;
        assert!(matches!(commit(b, put(&path, Expect::Absent, json!({}))).await, Err(CommitError::Exists(_))));
        commit(b, put(&path, Expect::Revision(revision), json!({}))).await.expect("the revision is current");
        commit(a, delete(&path, Expect::Present)).await.expect("it is there");
        create(b, &path).await;
    }
    let names = |store: &Store| names(store.snapshot().range(&Scope::AllTenants(pods()), None));
    a.current().await.expect("a quorum");
    assert_eq!((names(a), names(a).len()), (names(b), 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_keys_in_the_cluster_hold_nothing_up() {
    if !kit::Etcd::is_installed() {
        return;
    }
    let cluster = kit::Etcd::start(1, &[]).await;
    let store = open_at(cluster.urls()).await;
    let mut foreign = etcd_client::Client::connect(cluster.urls(), None).await.expect("a client");
    let before = create(&store, "t/n/x").await;
    for _ in 0..3 {
        foreign.put("/elsewhere", "", None).await.expect("a key");
        store.current().await.expect("current");
    }
    assert!(store.revision() > before);
    assert_eq!(store.snapshot().count(&Scope::AllTenants(pods())), 1);
    let other = EtcdOptions { partition: 1, ..EtcdOptions::new(cluster.urls()) };
    let refused = Partition::etcd(other, fields, Limits::default()).await.err().expect("a refusal").to_string();
    assert!(refused.ends_with("it is storage cluster 0, not 1"), "{refused}");
}

/// What a writer was told: acknowledged, or that it is unknown.
async fn write_until(store: &Store, stop: &AtomicBool) -> (Vec<String>, Vec<String>) {
    let (mut acknowledged, mut unknown) = (Vec::new(), Vec::new());
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let path = format!("t/n/{number}");
        match commit(store, put(&path, Expect::Absent, json!({}))).await {
            Ok(_) => acknowledged.push(path),
            Err(CommitError::Unavailable(_)) => unknown.push(path),
            Err(other) => panic!("{other}"),
        }
    }
    (acknowledged, unknown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_any_member_loses_nothing_that_was_acknowledged() {
    if !kit::Etcd::is_installed() {
        return;
    }
    let mut cluster = kit::Etcd::start(3, &[]).await;
    let store = open_at(cluster.urls()).await;
    let mut watch =
        store.watch_after(Scope::AllTenants(pods()), Selector::default(), store.revision()).expect("a watch");
    let stop = AtomicBool::new(false);
    let kills = async {
        // One of them is the leader.
        for member in 0..3 {
            let more = store.stats().commits + 30;
            kit::wait_for("some commits", DEADLINE, async || {
                (store.stats().commits > more).then_some(()).ok_or("too few")
            })
            .await;
            cluster.kill9(member);
            let more = store.stats().commits + 30;
            kit::wait_for("some commits", DEADLINE, async || {
                (store.stats().commits > more).then_some(()).ok_or("too few")
            })
            .await;
            cluster.restart(member).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let ((acknowledged, unknown), ()) = futures::join!(write_until(&store, &stop), kills);
    assert!(acknowledged.len() > 100, "{} acknowledged, {} unknown", acknowledged.len(), unknown.len());
    let other = open_at(cluster.urls()).await;
    store.current().await.expect("a quorum");
    for store in [&store, &other] {
        let snapshot = store.snapshot();
        assert!(acknowledged.iter().all(|path| snapshot.get(&pod(path)).is_some()), "what was acknowledged is there");
        let found = snapshot.count(&Scope::AllTenants(pods()));
        assert!((acknowledged.len()..=acknowledged.len() + unknown.len()).contains(&found), "{found}");
    }
    let seen = ready(&mut watch);
    assert_eq!(seen.len(), store.snapshot().count(&Scope::AllTenants(pods())), "each was seen once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nothing_is_acknowledged_and_nothing_is_called_current() {
    if !kit::Etcd::is_installed() {
        return;
    }
    let mut cluster = kit::Etcd::start(3, &[]).await;
    let store = open_at(cluster.urls()).await;
    create(&store, "t/n/before").await;
    cluster.kill9(0);
    cluster.kill9(1);
    let write = commit(&store, put("t/n/lost", Expect::Absent, json!({})));
    let (read, write) = futures::join!(store.current(), write);
    for why in [unavailable(read), unavailable(write.map(drop))] {
        assert!(why.contains("the storage cluster is not available"), "{why}");
    }
    cluster.restart_all(&[0, 1]).await;
    kit::wait_for("the store to be back", DEADLINE, async || store.current().await).await;
    create(&store, "t/n/after").await;
    let snapshot = store.snapshot();
    assert!(["t/n/before", "t/n/after"].iter().all(|path| snapshot.get(&pod(path)).is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_out_of_space_says_so_and_lets_things_be_deleted() {
    if !kit::Etcd::is_installed() {
        return;
    }
    let cluster = kit::Etcd::start(1, &["--quota-backend-bytes", "4000000"]).await;
    let store = open_at(cluster.urls()).await;
    let large = json!({"x": "x".repeat(2_000_000)});
    let refused = commit(&store, put("t/n/large", Expect::Absent, large)).await;
    assert!(matches!(refused, Err(CommitError::TooLarge(_))), "{refused:?}");
    let filling = json!({"x": "x".repeat(300_000)});
    let mut stored = 0;
    let why = loop {
        assert!(stored < 100, "there must be an end to it");
        match commit(&store, put(&format!("t/n/{stored}"), Expect::Absent, filling.clone())).await {
            Ok(_) => stored += 1,
            Err(CommitError::NoRoom(why)) => break why,
            other => panic!("{other:?}"),
        }
    };
    assert!(why.contains("NOSPACE"), "{why}");
    store.current().await.expect("reads go on");
    // The write that fills it up may be refused and have happened: etcd then says so while it applies it.
    let kept = store.snapshot().count(&Scope::AllTenants(pods()));
    assert!((stored..=stored + 1).contains(&kept), "{kept} of {stored}");
    let last = object(&pod("t/n/0"), json!({"last": true}));
    let write = Write { change: Change::DeleteAs(last), ..delete("t/n/0", Expect::Any) };
    commit(&store, write).await.expect("a deletion makes room");
    commit(&store, delete("t/n/1", Expect::Any)).await.expect("a deletion makes room");
    assert_eq!(store.snapshot().count(&Scope::AllTenants(pods())), kept - 2);
}

/// Stands between a store and its cluster, and can be cut.
struct Proxy {
    url: String,
    open: watch::Sender<bool>,
}

impl Proxy {
    async fn start(target: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (open, opened) = watch::channel(true);
        let tasks = runtime::Tasks::new();
        tasks.clone().spawn("proxy", async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (target, mut opened) = (target.clone(), opened.clone());
                tasks.spawn("proxied", async move {
                    if !*opened.borrow() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        // Cut, or the test is over.
                        _ = opened.wait_for(|open| !open) => {}
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Proxy { url, open }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_of_what_was_not_yet_seen_makes_watchers_list_again() {
    if !kit::Etcd::is_installed() {
        return;
    }
    let cluster = kit::Etcd::start(1, &[]).await;
    let proxy = Proxy::start(cluster.client_address(0)).await;
    let (near, far) = (open_at(cluster.urls()).await, open_at(vec![proxy.url.clone()]).await);
    let first = create(&near, "t/n/first").await;
    far.current().await.expect("a quorum");
    let mut resumed = far.watch_after(Scope::AllTenants(pods()), Selector::default(), first).expect("a watch");
    proxy.open.send_replace(false);
    // A short loss is made up for.
    let second = create(&near, "t/n/second").await;
    proxy.open.send_replace(true);
    kit::wait_for("the connection", DEADLINE, async || far.current().await).await;
    assert_eq!(ready(&mut resumed), [format!("ADDED t/n/second@{second}")]);
    // A long one is not.
    proxy.open.send_replace(false);
    commit(&near, delete("t/n/first", Expect::Any)).await.expect("deleted");
    let third = create(&near, "t/n/third").await;
    let mut admin = etcd_client::Client::connect(cluster.urls(), None).await.expect("a client");
    admin.compact(third.cast_signed(), None).await.expect("compacted");
    proxy.open.send_replace(true);
    assert_eq!(resumed.next().await.map(|delivery| delivery.object.revision), Err(WatchEnded::Lagged));
    kit::wait_for("the connection", DEADLINE, async || far.current().await).await;
    let snapshot = far.snapshot();
    let found = names(snapshot.range(&Scope::AllTenants(pods()), None));
    assert_eq!(found, ["t/n/second", "t/n/third"].map(|path| pod(path).durable()));
    assert!(far.watch_after(Scope::AllTenants(pods()), Selector::default(), second).is_err(), "nothing is skipped");
    let mut anew =
        far.watch_after(Scope::AllTenants(pods()), Selector::default(), snapshot.revision()).expect("a watch");
    let fourth = create(&far, "t/n/fourth").await;
    assert_eq!(ready(&mut anew), [format!("ADDED t/n/fourth@{fourth}")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_compact_what_all_have_had_time_to_see() {
    if !kit::Etcd::is_installed() {
        return;
    }
    let cluster = kit::Etcd::start(1, &[]).await;
    let often = EtcdOptions { compact_after: Duration::from_millis(100), ..EtcdOptions::new(cluster.urls()) };
    let open =
        async || Store::from(Partition::etcd(often.clone(), fields, Limits::default()).await.expect("a partition"));
    let (a, b) = (open().await, open().await);
    let first = create(&a, "t/n/x").await;
    let mut admin = etcd_client::Client::connect(cluster.urls(), None).await.expect("a client");
    kit::wait_for("the compaction", DEADLINE, async || {
        let at = etcd_client::GetOptions::new().with_revision(first.cast_signed());
        match admin.get("/ursa/", Some(at)).await {
            Err(error) if error.to_string().contains("compacted") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    b.current().await.expect("a quorum");
    assert_eq!(names(b.snapshot().range(&Scope::AllTenants(pods()), None)), [pod("t/n/x").durable()]);
}
