//! What watchers see of many events, with a history that is too short for the slow ones (checks T10, T14, T16).
//! 1,000,000 events with `URSA_TEST_FULL`.

use super::corruption::Random;
use super::power::rounds;
use super::*;
use crate::{EventKind, WatchEnded};
use kit::history::watches::{self, Change as Changed, Kind, Seen, Truth};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

const KEYS: usize = 40;
const WATCHERS: usize = 16;

fn value_of(object: &Object) -> u64 {
    object.header.label("v").expect("a label").parse().expect("a number")
}

/// Writes pods of one tenant, one revision each, and returns what happened.
async fn write(store: &Store, events: u64, random: &mut Random) -> Truth {
    let mut truth = Truth::new();
    let mut objects: BTreeMap<String, u64> = BTreeMap::new();
    let mut value = 0;
    while (truth.len() as u64) < events {
        let mut asked = Vec::new();
        for _ in 0..32 {
            let name = format!("{}", random.below(KEYS));
            value += 1;
            let (kind, write) = match objects.get(&name) {
                Some(_) if random.below(5) == 0 => (Kind::Deleted, delete(&format!("a/n/{name}"), Expect::Present)),
                before => {
                    let object = json!({"metadata": {"labels": {"v": value.to_string()}}});
                    let kind = if before.is_some() { Kind::Modified } else { Kind::Added };
                    (kind, put(&format!("a/n/{name}"), Expect::Any, object))
                }
            };
            let held = match kind {
                Kind::Deleted => objects.remove(&name).expect("it was there"),
                Kind::Added | Kind::Modified => {
                    objects.insert(name.clone(), value);
                    value
                }
            };
            asked.push((Changed { key: name, kind, value: held }, store.commit(vec![relaxed(write)])));
        }
        let (changes, commits): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let stored = futures::future::try_join_all(commits).await.expect("no precondition fails");
        truth.extend(stored.iter().map(|objects| objects[0].revision).zip(changes));
    }
    truth
}

/// Lists and watches until the last revision was seen; a slow one reads now and then.
async fn follow(store: &Store, last: &Cell<Option<Revision>>, slowness: usize, lagged: &Cell<u64>) -> Vec<Seen> {
    let scope = Scope::AllTenants(pods());
    let mut seen = Vec::new();
    loop {
        let snapshot = store.snapshot();
        let objects = snapshot.range(&scope, None).map(|object| (object.key.name.to_string(), value_of(object)));
        seen.push(Seen::Listed(snapshot.revision(), objects.collect()));
        let mut watch =
            store.watch_after(scope.clone(), Selector::default(), snapshot.revision()).expect("a watch from now");
        loop {
            if last.get().is_some_and(|last| watch.progress().newest() >= last) {
                return seen;
            }
            match watch.try_next() {
                Some(Ok(delivery)) => {
                    let kind = match delivery.kind {
                        EventKind::Added => Kind::Added,
                        EventKind::Modified => Kind::Modified,
                        EventKind::Deleted => Kind::Deleted,
                    };
                    let object = &delivery.object;
                    let change = Changed { key: object.key.name.to_string(), kind, value: value_of(object) };
                    seen.push(Seen::Changed(object.revision, change));
                }
                Some(Err(ended)) => {
                    assert_eq!(ended, WatchEnded::Lagged);
                    lagged.set(lagged.get() + 1);
                    break;
                }
                None => {
                    // It may be one behind the last event, of whose revision others could follow.
                    let progress = watch.progress().newest();
                    if !matches!(seen.last(), Some(Seen::Changed(revision, _)) if *revision > progress) {
                        seen.push(Seen::Bookmark(progress));
                    }
                    // The slowest look again when more has happened than the history holds.
                    let again = if slowness > 100 { progress + 2000 } else { 0 };
                    tokio::task::yield_now().await;
                    while last.get().is_none() && store.revision() < again {
                        tokio::task::yield_now().await;
                    }
                }
            }
            if slowness > 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test]
async fn no_watcher_misses_an_event_or_sees_one_twice_however_slow_it_is() {
    let events = rounds(50_000, 1_000_000);
    let limits = Limits { history_events_max: 1000, watch_queue_events_max: 16, ..Limits::default() };
    let store = open(&Disk::new(), limits).expect("a store");
    let (last, lagged, truth) = (Cell::new(None), Cell::new(0), RefCell::new(Truth::new()));
    let writer = async {
        let written = write(&store, events, &mut Random(7)).await;
        last.set(written.keys().next_back().copied());
        *truth.borrow_mut() = written;
    };
    let watchers = (0..WATCHERS).map(|number| follow(&store, &last, number * number, &lagged));
    let ((), seen) = futures::join!(writer, futures::future::join_all(watchers));
    for (number, seen) in seen.iter().enumerate() {
        watches::check(&truth.borrow(), seen).unwrap_or_else(|why| panic!("watcher {number}: {why}"));
    }
    let events = seen.iter().flatten().filter(|seen| matches!(seen, Seen::Changed(..))).count();
    println!("{events} events seen by {WATCHERS} watchers, which began anew {} times", lagged.get());
    assert!(lagged.get() > 0, "no watcher was slow enough");
}
