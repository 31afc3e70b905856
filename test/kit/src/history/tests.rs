//! The checkers themselves (check T99): each of these faults, planted in a history that is right, is found.

use super::linear::{Ask, Operation, Told, check};
use super::watches::{self, Change, Kind, Seen, Truth, state_at};
use std::collections::BTreeMap;

fn operation(key: &str, (called, returned): (u64, u64), ask: Ask, told: Told) -> Operation {
    Operation { key: key.to_owned(), ask, told, called, returned }
}

/// Two objects, several clients, a write without an answer that did happen and one that did not.
fn history() -> Vec<Operation> {
    use Ask::{Create, Delete, Read, Update};
    use Told::{Absent, Conflict, Deleted, Exists, Found, Unknown, Written};
    vec![
        operation("a", (0, 10), Create(1), Written(11)),
        operation("a", (5, 25), Read, Found(1, 11)),
        operation("b", (12, 20), Create(2), Written(12)),
        operation("a", (21, 40), Update(3, 11), Written(13)),
        operation("a", (22, 45), Update(4, 11), Conflict),
        operation("a", (46, 50), Create(5), Exists),
        operation("a", (51, 55), Read, Found(3, 13)),
        operation("b", (56, 100), Update(6, 12), Unknown),
        operation("b", (60, 65), Read, Found(2, 12)),
        operation("b", (70, 75), Read, Found(6, 14)),
        operation("a", (76, 80), Delete, Deleted),
        operation("a", (81, 85), Read, Absent),
        operation("a", (86, 120), Create(7), Unknown),
        operation("a", (90, 95), Read, Absent),
        operation("b", (121, 125), Update(8, 14), Written(20)),
        operation("a", (126, 130), Delete, Absent),
        operation("a", (131, 135), Update(9, 13), Absent),
    ]
}

/// A fault that is planted, by name.
type Fault<T> = (&'static str, fn(&mut Vec<T>));

#[test]
fn a_history_that_is_right_has_an_order() {
    check(&history()).expect("an order");
    // The write without an answer may as well have happened.
    let mut happened = history();
    happened[16].told = Told::Conflict;
    happened[15] = operation("a", (126, 130), Ask::Read, Told::Found(7, 15));
    check(&happened).expect("an order");
}

#[test]
fn every_fault_in_a_history_of_operations_is_found() {
    use Told::{Absent, Conflict, Deleted, Exists, Found, Written};
    let faults: [Fault<Operation>; 14] = [
        ("a lost write", |h| h[6].told = Found(1, 11)),
        ("a stale read after another has seen the new value", |h| h[9].told = Found(2, 12)),
        ("a read of nothing", |h| h[6].told = Absent),
        ("a read of what was deleted", |h| h[11].told = Found(3, 13)),
        ("a deleted object that is back", |h| h[13].told = Found(3, 13)),
        ("two updates of one revision", |h| h[4].told = Written(19)),
        ("an update of an old revision", |h| h[14].ask = Ask::Update(8, 12)),
        ("a second create", |h| h[5].told = Written(21)),
        ("a conflict where there was none", |h| h[3].told = Conflict),
        ("a create that was refused for nothing", |h| h[0].told = Exists),
        ("a value that nobody wrote", |h| h[6].told = Found(99, 13)),
        ("a value under another revision", |h| h[6].told = Found(3, 17)),
        ("a revision that goes back", |h| h[14].told = Written(10)),
        ("a deletion of nothing", |h| (h[11].ask, h[11].told) = (Ask::Delete, Deleted)),
    ];
    for (name, plant) in faults {
        let mut planted = history();
        plant(&mut planted);
        // A read of a revision that goes back has other faults besides; this one alone would do.
        if name == "a stale read after another has seen the new value" {
            planted.insert(9, operation("b", (66, 69), Ask::Read, Found(6, 14)));
        }
        assert!(check(&planted).is_err(), "{name} was not found");
    }
}

#[test]
fn two_writes_never_share_a_revision() {
    let mut planted = history();
    planted[2].called = 1;
    planted[2].told = Told::Written(11);
    planted.retain(|operation| operation.key != "b" || operation.called == 1);
    assert!(check(&planted).expect_err("a fault").contains("the revision of another write"));
}

/// What happened to three objects, and what a watcher saw of it that listed once and was cut off once.
fn watched() -> (Truth, Vec<Seen>) {
    let mut truth = Truth::new();
    let mut objects: BTreeMap<String, u64> = BTreeMap::new();
    for revision in 2..200 {
        let key = format!("k{}", revision % 3);
        let kind = match objects.contains_key(&key) {
            false => Kind::Added,
            true if revision % 7 == 0 => Kind::Deleted,
            true => Kind::Modified,
        };
        let value = if kind == Kind::Deleted { objects[&key] } else { revision };
        match kind {
            Kind::Deleted => objects.remove(&key),
            Kind::Added | Kind::Modified => objects.insert(key.clone(), value),
        };
        truth.insert(revision * 2, Change { key, kind, value });
    }
    let changed = |from: u64, to: u64| {
        truth
            .range(from + 1..=to)
            .map(|(&revision, change)| Seen::Changed(revision, change.clone()))
            .collect::<Vec<_>>()
    };
    let mut seen = vec![Seen::Listed(21, state_at(&truth, 21))];
    seen.extend(changed(21, 100));
    seen.push(Seen::Bookmark(101));
    seen.push(Seen::Resumed(101));
    seen.extend(changed(101, 200));
    seen.push(Seen::Listed(301, state_at(&truth, 301)));
    seen.extend(changed(301, 390));
    (truth, seen)
}

#[test]
fn every_fault_in_what_a_watcher_saw_is_found() {
    let (truth, seen) = watched();
    watches::check(&truth, &seen).expect("nothing wrong");
    let faults: [Fault<Seen>; 13] = [
        ("a lost event", |s| drop(s.remove(10))),
        ("a swapped pair", |s| s.swap(10, 11)),
        ("an event that came twice", |s| s.insert(10, s[9].clone())),
        ("a stale list", |s| {
            if let Seen::Listed(_, objects) = &mut s[0] {
                objects.insert("k1".to_owned(), 1);
            }
        }),
        ("a list without an object", |s| {
            if let Seen::Listed(_, objects) = &mut s[0] {
                objects.pop_first();
            }
        }),
        ("a list that goes back", |s| s.push(Seen::Listed(21, BTreeMap::new()))),
        ("an event that never happened", |s| {
            let Seen::Changed(revision, change) = s[12].clone() else { return };
            s.insert(13, Seen::Changed(revision + 1, change));
        }),
        ("an event of another object", |s| {
            if let Seen::Changed(_, change) = &mut s[12] {
                change.key = "k9".to_owned();
            }
        }),
        ("an event with another value", |s| {
            if let Seen::Changed(_, change) = &mut s[12] {
                change.value += 1;
            }
        }),
        ("an addition told as a modification", |s| {
            let added = s.iter_mut().find_map(|seen| match seen {
                Seen::Changed(_, change) if change.kind == Kind::Added => Some(change),
                _ => None,
            });
            added.expect("an addition").kind = Kind::Modified;
        }),
        ("a bookmark ahead of its events", |s| s.insert(10, Seen::Bookmark(100))),
        ("a gap where the watch went on", |s| {
            let at = s.iter().position(|seen| matches!(seen, Seen::Resumed(_))).expect("a second watch");
            s[at] = Seen::Resumed(120);
        }),
        ("the first event after the list", |s| drop(s.remove(1))),
    ];
    for (name, plant) in faults {
        let mut planted = seen.clone();
        plant(&mut planted);
        assert!(watches::check(&truth, &planted).is_err(), "{name} was not found");
    }
}
