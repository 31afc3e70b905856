//! Watchers with selectors, watchers that stall, and many watchers (checks T12 to T15). Full forms with `URSA_TEST_FULL`.
//!
//! | Check | Test |
//! |---|---|
//! | T12 bookmarks | `what_enters_and_leaves_a_selector_is_told_exactly`, at each look |
//! | T13 selector transitions | the same |
//! | T14 slow consumers | `watchers_that_stall_cost_nothing_but_the_history_and_are_told_of_their_gap` |
//! | T15 fan-out | `every_one_of_many_watchers_is_told_of_everything` |

use super::corruption::Random;
use super::power::rounds;
use super::*;
use crate::{Delivery, EventKind, WatchEnded};
use std::collections::BTreeMap;

const KEYS: usize = 16;
const COLORS: [&str; 3] = ["red", "green", "blue"];

/// What a watcher is told: what became of an object, and the color that it is shown with.
type Told = (EventKind, Arc<str>, String, Revision);

/// Whether a selector has a color in view.
type Selects = fn(&str) -> bool;

fn told(delivery: &Delivery) -> Told {
    let object = &delivery.object;
    let color = object.header.label("color").unwrap_or_default().to_owned();
    (delivery.kind, object.key.name.clone(), color, object.revision)
}

/// What a watcher of some colors is to be told of an object that changes from one color to another; `None` stands for no
/// object, an empty color for one without.
fn expected(before: Option<&str>, after: Option<&str>, selects: Selects) -> Option<(EventKind, String)> {
    match (before.filter(|color| selects(color)), after.filter(|color| selects(color))) {
        (None, None) => None,
        (None, Some(after)) => Some((EventKind::Added, after.to_owned())),
        (Some(_), Some(after)) => Some((EventKind::Modified, after.to_owned())),
        // It is shown as it was when it was last in view.
        (Some(before), None) => Some((EventKind::Deleted, before.to_owned())),
    }
}

#[tokio::test]
async fn what_enters_and_leaves_a_selector_is_told_exactly() {
    let selectors: [(&str, Selects); 6] = [
        ("", |_| true),
        ("color=red", |color| color == "red"),
        ("color in (red,green)", |color| matches!(color, "red" | "green")),
        ("color!=blue", |color| color != "blue"),
        ("color", |color| !color.is_empty()),
        ("!color", str::is_empty),
    ];
    let store = new_store();
    let scope = Scope::AllTenants(pods());
    let watch = |labels: &str| store.watch_after(scope.clone(), selector(labels, ""), 1).expect("a watch");
    let mut watches: Vec<(Watch, Vec<Told>)> =
        selectors.iter().map(|(labels, _)| (watch(labels), Vec::new())).collect();
    let (mut random, mut colors) = (Random(13), BTreeMap::<String, &str>::new());
    let mut transitions = 0;
    for _ in 0..rounds(2_000, 100_000) {
        let name = random.below(KEYS).to_string();
        let path = format!("a/n/{name}");
        let before = colors.get(&name).copied();
        let color = COLORS.get(random.below(4)).copied();
        let (write, after) = match (before, color) {
            (Some(_), _) if random.below(8) == 0 => (delete(&path, Expect::Present), None),
            (_, Some(color)) => {
                (put(&path, Expect::Any, json!({"metadata": {"labels": {"color": color}}})), Some(color))
            }
            (_, None) => (put(&path, Expect::Any, json!({})), Some("")),
        };
        match after {
            Some(after) => colors.insert(name.clone(), after),
            None => colors.remove(&name),
        };
        let revision = commit(&store, relaxed(write)).await.expect("no precondition fails").revision;
        for ((labels, selects), (watch, expects)) in selectors.iter().zip(&mut watches) {
            let expects_now = expected(before, after, *selects);
            transitions += u64::from(expects_now.as_ref().is_some_and(|(kind, _)| *kind != EventKind::Modified));
            expects.extend(expects_now.map(|(kind, color)| (kind, Arc::from(name.as_str()), color, revision)));
            // Some look seldom, and have several events waiting.
            if random.below(6) > 0 {
                continue;
            }
            let bookmark = watch.seen();
            let seen: Vec<Told> =
                std::iter::from_fn(|| watch.try_next()).map(|next| told(&next.expect("it keeps up"))).collect();
            assert_eq!(seen, std::mem::take(expects), "{labels:?}");
            assert!(seen.iter().all(|(.., revision)| *revision > bookmark), "{labels:?} after bookmark {bookmark}");
            assert_eq!(watch.seen(), revision, "{labels:?}");
        }
    }
    println!("{transitions} times an object entered or left a selector");
}

#[tokio::test]
async fn watchers_that_stall_cost_nothing_but_the_history_and_are_told_of_their_gap() {
    const HISTORY: usize = 200;
    const QUEUE: usize = 16;
    let limits = Limits { history_events_max: HISTORY, watch_queue_events_max: QUEUE, ..Limits::default() };
    let store = open(&Disk::new(), limits).expect("a store");
    let watch = || store.watch_after(Scope::AllTenants(pods()), Selector::default(), 1).expect("a watch");
    let mut stalled: Vec<Watch> = (0..500).map(|_| watch()).collect();
    let mut healthy: Vec<Watch> = (0..100).map(|_| watch()).collect();
    let mut events = Vec::new();
    for _ in 0..rounds(1_000, 20_000) {
        let write = relaxed(put("a/n/x", Expect::Any, json!({"data": "x".repeat(1024)})));
        let revision = commit(&store, write).await.expect("no precondition fails").revision;
        let seen = healthy.iter_mut().map(|watch| watch.try_next().expect("an event").expect("it keeps up").event);
        let seen: Vec<_> = seen.collect();
        assert!(seen.iter().all(|event| event.revision == revision));
        events.push(Arc::downgrade(&seen[0]));
    }
    let held = events.iter().filter(|event| event.upgrade().is_some()).count();
    assert!(held <= HISTORY + QUEUE, "{held} of {} events are still held", events.len());
    for watch in &mut stalled {
        // What was queued, in order, and then the end; nothing is left out between.
        for revision in (2..).take(QUEUE) {
            assert_eq!(watch.try_next().map(|next| next.map(|delivery| delivery.event.revision)), Some(Ok(revision)));
        }
        assert_eq!(watch.try_next().map(|next| next.map(drop)), Some(Err(WatchEnded::Lagged)));
    }
}

#[tokio::test]
async fn every_one_of_many_watchers_is_told_of_everything() {
    let events = rounds(100, 10_000);
    let store = new_store();
    let follow = async |number: usize| {
        // Each in another way: everything, one tenant, one namespace.
        let scope = match number % 3 {
            0 => Scope::AllTenants(pods()),
            1 => Scope::Tenant(pods(), tenant("a")),
            _ => Scope::Namespace(pods(), tenant("a"), "n".into()),
        };
        let mut watch = store.watch_after(scope, Selector::default(), 1).expect("a watch");
        for expected in 0..events {
            let delivery = watch.next().await.expect("it keeps up, or reads on from the history");
            assert_eq!(*delivery.object.key.name, *expected.to_string(), "watcher {number}");
        }
    };
    let write = async {
        for number in 0..events {
            commit(&store, relaxed(put(&format!("a/n/{number}"), Expect::Absent, json!({})))).await.expect("a new pod");
        }
    };
    futures::join!(futures::future::join_all((0..1_000).map(follow)), write);
}
