//! What survives: failed disks, lost power, killed processes, altered records.

use super::*;
use crate::{Event, WatchEnded};
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_or_visible() {
    let disk = Disk::new();
    let store = open(&disk, Limits::default()).expect("a store");
    let before = create(&store, "a/n/x").await;
    let mut watch = store.watch_after(Scope::AllTenants(pods()), Selector::default(), before).expect("a watch");
    disk.fail();
    assert!(matches!(commit(&store, delete("a/n/x", Expect::Any)).await, Err(CommitError::Stopped)));
    assert_eq!(store.failed().await, "the disk is on fire");
    assert!(matches!(commit(&store, delete("a/n/x", Expect::Any)).await, Err(CommitError::Stopped)));
    assert_eq!(store.revision(), before);
    assert!(store.snapshot().get(&pod("a/n/x")).is_some());
    assert_eq!(watch.next().await.expect_err("the end"), WatchEnded::Closed);
    store.close().await;
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_frees_the_store() {
    let disk = Disk::new();
    let store = open(&disk, Limits::default()).expect("a store");
    let mut watch = store.watch_after(Scope::AllTenants(pods()), Selector::default(), 1).expect("a watch");
    let (created, ()) = futures::join!(create(&store, "a/n/x"), store.close());
    assert!(matches!(commit(&store, delete("a/n/x", Expect::Any)).await, Err(CommitError::Stopped)));
    assert_eq!(ready(&mut watch), ["ADDED a/n/x@2", "the store has stopped"]);

    let reopened = open(&disk, Limits::default()).expect("the store again");
    assert_eq!((reopened.revision(), reopened.stats().objects), (created, 1));
}

#[tokio::test]
async fn a_relaxed_write_is_acknowledged_before_its_sync_and_synced_soon() {
    let disk = Disk::new();
    let limits = Limits { relaxed_sync_after: Duration::from_millis(20), ..Limits::default() };
    let store = open(&disk, limits).expect("a store");
    let opened = disk.syncs();
    let written = commit(&store, relaxed(put("a/n/x", Expect::Absent, json!({})))).await.expect("a write").revision;
    let killed = disk.after_kill();
    disk.wait_synced(written);
    assert_eq!(disk.syncs(), opened + 1);
    assert_eq!(open(&killed, Limits::default()).expect("the store again").stats().objects, 1);
}

#[tokio::test]
async fn a_durable_write_syncs_the_relaxed_ones_before_it() {
    let disk = Disk::new();
    let store = open(&disk, Limits { relaxed_sync_after: DEADLINE, ..Limits::default() }).expect("a store");
    commit(&store, relaxed(put("a/n/x", Expect::Absent, json!({})))).await.expect("a write");
    create(&store, "a/n/y").await;
    assert_eq!(open(&disk.after_power_loss(), Limits::default()).expect("a store").stats().objects, 2);
}

#[tokio::test]
async fn a_revision_that_the_power_took_is_never_given_again() {
    let disk = Disk::new();
    let store = open(&disk, Limits { relaxed_sync_after: DEADLINE, ..Limits::default() }).expect("a store");
    let mut lost = commit(&store, relaxed(put("a/n/x", Expect::Absent, json!({})))).await.expect("a write").revision;
    let mut disk = disk.after_power_loss();
    for _ in 0..2 {
        let store = open(&disk, Limits { relaxed_sync_after: DEADLINE, ..Limits::default() }).expect("a store");
        assert_eq!(store.stats().objects, 0);
        assert!(
            store.watch_after(Scope::AllTenants(pods()), Selector::default(), lost).is_err(),
            "{lost} is not known"
        );
        let next = commit(&store, relaxed(put("a/n/y", Expect::Absent, json!({})))).await.expect("a write").revision;
        assert!(next > lost, "{next} after {lost}");
        lost = next;
        disk = disk.after_power_loss();
    }
}

#[tokio::test]
async fn revisions_do_not_return_after_deletions() {
    let disk = Disk::new();
    let store = open(&disk, Limits::default()).expect("a store");
    create(&store, "a/n/x").await;
    let deleted = commit(&store, delete("a/n/x", Expect::Any)).await.expect("deleted").revision;
    store.close().await;
    let store = open(&disk, Limits::default()).expect("a store");
    assert_eq!(store.revision(), deleted);
    assert_eq!(create(&store, "a/n/x").await, deleted + 1);
}

#[tokio::test]
async fn a_watch_resumes_after_a_restart_from_the_revision_of_the_restart() {
    let disk = Disk::new();
    let store = open(&disk, Limits::default()).expect("a store");
    let last = create(&store, "a/n/x").await;
    store.close().await;
    let store = open(&disk, Limits::default()).expect("a store");
    let scope = Scope::AllTenants(pods());
    assert_eq!(store.watch_after(scope.clone(), Selector::default(), last - 1).err().map(|e| e.oldest), Some(last));
    assert_eq!(store.state_at(&pods(), last - 1).err().map(|e| e.oldest), Some(last));
    let mut watch = store.watch_after(scope, Selector::default(), last).expect("a watch");
    create(&store, "a/n/y").await;
    assert_eq!(ready(&mut watch), [format!("ADDED a/n/y@{}", last + 1)]);
}

/// Damages a closed store and returns what opening it says.
async fn damage(key: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let disk = Disk::new();
    let store = open(&disk, Limits::default()).expect("a store");
    create(&store, "a/n/x").await;
    store.close().await;
    disk.alter(key, change);
    open(&disk, Limits::default()).err().expect("a refusal").to_string()
}

#[tokio::test]
async fn a_damaged_record_is_named() {
    let x = "/ursa/t/a/core/pods/n/x";
    let says = |what: &str| format!("data directory /data is damaged: record {x} {what}; restore it from a backup");
    assert_eq!(damage(x, |record| record[20] ^= 1).await, says("does not match its checksum"));
    assert_eq!(damage(x, |record| record.truncate(30)).await, says("has another length than it says"));
    assert_eq!(damage(x, Vec::clear).await, says("is empty"));
    assert_eq!(damage(x, |record| record[0] = 9).await, says("has an unknown version"));
    let foreign = |record: &mut Vec<u8>| *record = crate::record::encode(x, 2, b"[]");
    assert!(damage(x, foreign).await.contains(&format!("record {x} holds no object")), "no object");
    let later = |record: &mut Vec<u8>| *record = crate::record::encode(x, 7, b"{}");
    assert_eq!(damage(x, later).await, says("is at revision 7, after the last one, 2"));
    let lost = damage("/ursa/m/revision", |record| *record = crate::record::encode("/ursa/m/revision", 1, b"")).await;
    assert_eq!(lost, says("is at revision 2, after the last one, 1"));
}

#[tokio::test]
async fn synced_revisions_that_are_missing_are_noticed() {
    let disk = Disk::new();
    let store = open(&disk, Limits::default()).expect("a store");
    create(&store, "a/n/x").await;
    commit(&store, delete("a/n/x", Expect::Any)).await.expect("deleted");
    store.close().await;
    disk.alter("/ursa/m/revision", |record| *record = crate::record::encode("/ursa/m/revision", 1, b""));
    let refused = open(&disk, Limits::default()).err().expect("a refusal").to_string();
    assert!(refused.contains("revisions 2 to 3 were written and are missing"), "{refused}");
}

#[tokio::test]
async fn a_store_holds_nothing_of_what_was_deleted() {
    let disk = Disk::new();
    let store = open(&disk, Limits::default()).expect("a store");
    create(&store, "a/n/x").await;
    commit(&store, delete("a/n/x", Expect::Any)).await.expect("deleted");
    store.close().await;
    assert_eq!(disk.keys(), ["/ursa/m/revision"]);
}

#[test]
fn an_event_costs_the_memory_that_the_limits_reckon_with() {
    assert!(size_of::<Event>() <= 192, "{}", size_of::<Event>());
    assert!(size_of::<Watch>() <= 512, "{}", size_of::<Watch>());
}

const CHILD_DIR: &str = "URSA_STORE_TEST_CHILD_DIR";

/// Not a test of its own: the process that the next test kills. Commits without end and says what was acknowledged.
#[tokio::test]
async fn process_that_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let store = Store::open(Path::new(&dir), fields, Limits::default()).expect("a store");
    let committer = async |of: usize| {
        for i in 0.. {
            let path = format!("a/n/{of}-{i}");
            create(&store, &path).await;
            let mut out = std::io::stdout().lock();
            writeln!(out, "acknowledged {path}").and_then(|()| out.flush()).expect("the parent reads");
        }
    };
    futures::future::join_all((0..8).map(committer)).await;
}

#[tokio::test]
async fn everything_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["tests::durability::process_that_is_killed", "--exact", "--nocapture"])
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let said = lines.filter_map(|line| line.split_once("acknowledged ").map(|(_, path)| path.to_owned()));
    let acknowledged: Vec<String> = said.take(500).collect();
    child.kill().and_then(|()| child.wait()).expect("a killed child");
    assert_eq!(acknowledged.len(), 500);

    let store = Store::open(dir.path(), fields, Limits::default()).expect("the store again");
    let snapshot = store.snapshot();
    for path in acknowledged {
        assert!(snapshot.get(&pod(&path)).is_some(), "{path} was acknowledged");
    }
    create(&store, "a/n/after").await;
    store.close().await;
}
