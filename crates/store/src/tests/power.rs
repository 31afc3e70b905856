//! The store on a disk that loses its power, fails to sync or is full (checks T02 to T05). Full forms with
//! `URSA_TEST_FULL`.
//!
//! | Check | Test |
//! |---|---|
//! | T02 power loss | `whatever_the_power_takes_nothing_acknowledged_is_lost` |
//! | T03 failed syncs | `after_the_nth_has_failed_nothing_is_acknowledged` |
//! | T04 short and interrupted reads and writes, and failed ones | `reads_and_writes_that_are_cut_short_or_interrupted_change_nothing`, `after_the_nth_read_or_write_has_failed_nothing_is_lost` |
//! | T05 disk full | `a_full_disk_refuses_writes_and_recovers` |

use super::corruption::Random;
use super::*;
use faultfs::FaultFs;
use std::collections::BTreeMap;
use tempfile::{TempDir, tempdir};

const KEYS: usize = 12;

/// How often: rarely, or with `URSA_TEST_FULL` as often as it takes.
pub(super) fn rounds(quick: u64, full: u64) -> u64 {
    if std::env::var("URSA_TEST_FULL").is_ok_and(|full| full == "1") { full } else { quick }
}

/// A file system for one seed; `None`, with the reason printed, where there is no FUSE.
fn mounted(seed: u64) -> Option<(FaultFs, TempDir)> {
    let dir = tempdir().expect("a directory");
    match FaultFs::mount(dir.path(), seed) {
        Ok(fs) => Some((fs, dir)),
        Err(error) => {
            println!("skipped: FUSE cannot be used ({error})");
            None
        }
    }
}

fn open_on(fs: &FaultFs) -> Result<Store, OpenError> {
    let limits =
        Limits { checkpoint_after_bytes: 12 << 10, relaxed_sync_after: Duration::from_millis(5), ..Limits::default() };
    Store::open(&fs.path().join("store"), fields, limits)
}

/// What a key may hold: what was acknowledged last, or what was asked for since. `None` stands for nothing.
#[derive(Default)]
struct Known {
    acknowledged: Option<u64>,
    asked: Vec<Option<u64>>,
}

/// What clients know of a store.
#[derive(Default)]
struct World {
    keys: BTreeMap<usize, Known>,
    revision: Revision,
    count: u64,
}

impl World {
    /// Writes until the store has stopped or the number is done. Some commits have several writes, some are relaxed.
    async fn write(&mut self, store: &Store, random: &mut Random, commits: usize) -> bool {
        for _ in 0..commits {
            let mut writes = Vec::new();
            let is_relaxed = random.below(8) == 0;
            let first = random.below(KEYS);
            for key in first..(first + 1 + random.below(3)).min(KEYS) {
                let known = self.keys.entry(key).or_default();
                self.count += 1;
                let path = format!("a/n/{key}");
                let next = (random.below(4) > 0).then_some(self.count);
                let present = store.snapshot().get(&pod(&path)).is_some();
                let write = match next {
                    Some(count) => {
                        put(&path, Expect::Any, json!({"count": count, "data": "x".repeat(random.below(3000))}))
                    }
                    None if present => delete(&path, Expect::Any),
                    None => continue,
                };
                known.asked.push(next);
                writes.push((key, next, if is_relaxed { relaxed(write) } else { write }));
            }
            if writes.is_empty() {
                continue;
            }
            let answer = store.commit(writes.iter().map(|(_, _, write)| write.clone()).collect()).await;
            match answer {
                // A relaxed write may be lost with the power.
                Ok(_) if is_relaxed => {}
                Ok(stored) => {
                    self.revision = stored[0].revision;
                    for (key, next, _) in writes {
                        *self.keys.entry(key).or_default() = Known { acknowledged: next, asked: Vec::new() };
                    }
                }
                Err(CommitError::Stopped) => return false,
                Err(other) => panic!("{other}"),
            }
        }
        true
    }

    /// Compares what is found with what may be there, which is then what is there.
    fn check(&mut self, store: &Store, context: &str) {
        let snapshot = store.snapshot();
        assert!(snapshot.revision() >= self.revision, "{context}: {} after {}", snapshot.revision(), self.revision);
        self.revision = snapshot.revision();
        let found: BTreeMap<String, u64> = snapshot
            .range(&Scope::AllTenants(pods()), None)
            .map(|object| {
                (object.key.name.to_string(), object.to_value().expect("JSON")["count"].as_u64().expect("a count"))
            })
            .collect();
        for (key, known) in &mut self.keys {
            let holds = found.get(&key.to_string()).copied();
            let possible = known.acknowledged == holds || known.asked.contains(&holds);
            assert!(possible, "{context}: {key} holds {holds:?}, of {:?} and {:?}", known.acknowledged, known.asked);
            *known = Known { acknowledged: holds, asked: Vec::new() };
        }
        assert!(found.keys().all(|key| key.parse().is_ok_and(|key: usize| self.keys.contains_key(&key))), "{context}");
    }
}

#[tokio::test]
async fn whatever_the_power_takes_nothing_acknowledged_is_lost() {
    let mut losses = 0;
    for seed in 0..rounds(5, 100) {
        let Some((fs, _dir)) = mounted(seed) else { return };
        let mut random = Random(seed);
        let mut world = World::default();
        for round in 0..2 {
            let context = format!("seed {seed}, round {round}");
            // While it is being opened, too.
            fs.cut_power_after(random.below(150) as u64);
            if let Ok(store) = open_on(&fs) {
                world.check(&store, &context);
                let ended = !world.write(&store, &mut random, 400).await;
                assert_eq!(ended, !fs.has_power(), "{context}");
                fs.cut_power();
                store.close().await;
            }
            fs.restore_power();
            losses += 1;
            let store = open_on(&fs).unwrap_or_else(|error| panic!("{context}: {error}"));
            world.check(&store, &context);
            assert!(world.write(&store, &mut random, 10).await, "{context}");
            store.close().await;
            // Closed in order, everything is on disk.
            fs.cut_power();
            fs.restore_power();
        }
    }
    println!("{losses} power losses");
}

#[tokio::test]
async fn after_the_nth_has_failed_nothing_is_acknowledged() {
    for nth in 1..=rounds(12, 200) {
        let Some((fs, _dir)) = mounted(nth) else { return };
        let mut random = Random(nth);
        let mut world = World::default();
        let store = open_on(&fs).expect("a store");
        fs.fail_sync(nth);
        while !fs.has_failed() && world.write(&store, &mut random, 1).await {}
        let failed = tokio::time::timeout(DEADLINE, store.failed()).await;
        assert!(failed.is_ok_and(|why| why.contains("cannot write to")), "sync {nth}");
        let refused = store.commit(vec![put("a/n/0", Expect::Any, json!({}))]).await;
        assert!(matches!(refused, Err(CommitError::Stopped)), "sync {nth}");
        store.close().await;
        fs.cut_power();
        fs.restore_power();
        let store = open_on(&fs).unwrap_or_else(|error| panic!("sync {nth}: {error}"));
        world.check(&store, &format!("sync {nth}"));
        store.close().await;
    }
}

#[tokio::test]
async fn reads_and_writes_that_are_cut_short_or_interrupted_change_nothing() {
    for seed in 0..rounds(5, 500) {
        let Some((fs, _dir)) = mounted(seed) else { return };
        fs.irritate(3);
        let mut random = Random(seed);
        let mut world = World::default();
        for round in 0..3 {
            let context = format!("seed {seed}, round {round}");
            let store = open_on(&fs).unwrap_or_else(|error| panic!("{context}: {error}"));
            world.check(&store, &context);
            assert!(world.write(&store, &mut random, 40).await, "{context}");
            store.close().await;
        }
    }
}

#[tokio::test]
async fn after_the_nth_read_or_write_has_failed_nothing_is_lost() {
    let (mut refused, mut stopped) = (0, 0);
    for nth in 1..=rounds(24, 500) {
        let Some((fs, _dir)) = mounted(nth) else { return };
        let mut random = Random(nth);
        let mut world = World::default();
        let store = open_on(&fs).expect("a store");
        assert!(world.write(&store, &mut random, 30).await);
        store.close().await;
        fs.fail_operation(nth);
        let context = format!("read or write {nth}");
        match open_on(&fs) {
            Err(error) => {
                assert!(error.to_string().contains(&*fs.path().to_string_lossy()), "{context}: {error}");
                refused += 1;
            }
            Ok(store) => {
                world.check(&store, &context);
                while !fs.has_failed() && world.write(&store, &mut random, 1).await {}
                store.close().await;
                stopped += 1;
            }
        }
        assert!(fs.has_failed(), "{context}");
        let store = open_on(&fs).unwrap_or_else(|error| panic!("{context}: {error}"));
        world.check(&store, &context);
        store.close().await;
    }
    assert!(refused > 0 && stopped > 0, "{refused} starts were refused, {stopped} stores stopped");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_recovers() {
    for seed in 0..rounds(3, 50) {
        let Some((fs, _dir)) = mounted(seed) else { return };
        let mut random = Random(seed);
        let store = open_on(&fs).expect("a store");
        fs.set_capacity(20_000 + random.below(60_000) as u64);
        let mut stored = 0;
        let refused = loop {
            let write = put(&format!("a/n/{stored}"), Expect::Absent, json!({"data": "x".repeat(random.below(4000))}));
            match commit(&store, write).await {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(&refused, CommitError::NoRoom(why) if why.contains("there is no room in ")), "{refused}");
        assert_eq!(store.stats().objects, stored, "what was refused is not there");
        fs.set_capacity(u64::MAX);
        create(&store, "a/n/after").await;
        store.close().await;
        fs.cut_power();
        fs.restore_power();
        assert_eq!(open_on(&fs).expect("the store again").stats().objects, stored + 1, "seed {seed}");
    }
}
