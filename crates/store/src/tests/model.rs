//! Random histories against a model the size of a map per revision.
//!
//! A watch is right when applying its events to the list that it started from gives, at every revision, what a list at
//! that revision would give: the property that informers rest on.

use super::*;
use crate::{Delivery, EventKind, WatchEnded};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

const PATHS: [&str; 6] = ["a/n/x", "a/n/y", "a/m/x", "a-1/n/x", "b/n/x", "b/n/y"];
const COLORS: [&str; 3] = ["red", "blue", ""];
const NODES: [&str; 3] = ["n1", "n2", ""];

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Planned>),
    /// Scope, selector, how many revisions ago.
    Watch(usize, usize, u64),
    /// Which watch, how many events.
    Read(usize, usize),
    EndWatch(usize),
    SnapshotAt(u64),
    Restart,
    Crash(Crash),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    Kill,
    PowerLoss,
}

#[derive(Clone, Debug)]
struct Planned {
    path: usize,
    expect: usize,
    /// Color and node of what is put; a deletion has none, or those of its last state.
    put: bool,
    look: Option<(usize, usize)>,
    relaxed: bool,
}

fn planned() -> impl Strategy<Value = Planned> {
    let put = prop::bool::weighted(0.7);
    let look = prop::option::weighted(0.8, (0..COLORS.len(), 0..NODES.len()));
    let fields = (0..PATHS.len(), 0..6usize, put, look, any::<bool>());
    fields.prop_map(|(path, expect, put, look, relaxed)| Planned { path, expect, put, look, relaxed })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => vec(planned(), 1..4).prop_map(Step::Commit),
        2 => (0..5usize, 0..5usize, 0..12u64).prop_map(|(scope, selector, ago)| Step::Watch(scope, selector, ago)),
        4 => (any::<usize>(), 1..8usize).prop_map(|(watch, events)| Step::Read(watch, events)),
        1 => any::<usize>().prop_map(Step::EndWatch),
        2 => (0..12u64).prop_map(Step::SnapshotAt),
        1 => Just(Step::Restart),
        1 => prop_oneof![Just(Crash::Kill), Just(Crash::PowerLoss)].prop_map(Step::Crash),
    ]
}

fn scope(index: usize) -> Scope {
    match index {
        0 => Scope::AllTenants(pods()),
        1 => Scope::Tenant(pods(), tenant("a")),
        2 => Scope::Tenant(pods(), tenant("a-1")),
        3 => Scope::Namespace(pods(), tenant("a"), "n".into()),
        _ => Scope::Namespace(pods(), tenant("b"), "n".into()),
    }
}

fn selection(index: usize) -> Selector {
    let (labels, fields) = [
        ("", ""),
        ("color=red", ""),
        ("", "spec.nodeName=n1"),
        ("", "metadata.name=x"),
        ("color!=red", "spec.nodeName=n2,metadata.name=x"),
    ][index];
    selector(labels, fields)
}

/// Objects at one revision, by durable key.
type Objects = BTreeMap<String, Arc<Object>>;

fn select(objects: &Objects, scope: &Scope, selector: &Selector) -> BTreeMap<String, Revision> {
    let selected = objects.iter().filter(|(_, object)| scope.contains(&object.key) && selector.matches(object));
    selected.map(|(key, object)| (key.clone(), object.revision)).collect()
}

/// A watch and the list that its events lead to.
struct Informer {
    watch: Watch,
    scope: Scope,
    selector: Selector,
    view: BTreeMap<String, Revision>,
    last: Revision,
}

struct World {
    disk: Disk,
    store: Store,
    opened_at: Revision,
    /// Each committed revision, the first being that of the opening.
    revisions: BTreeMap<Revision, Objects>,
    /// The last revision that no loss of power may take.
    durable: Revision,
    /// The revision of each event since the opening.
    events: Vec<Revision>,
    informers: Vec<Informer>,
}

fn limits() -> Limits {
    Limits { history_events_max: 12, watch_queue_events_max: 3, ..Limits::default() }
}

impl World {
    fn new() -> World {
        let disk = Disk::new();
        let store = open(&disk, limits()).expect("a store");
        let (revisions, events, informers) = (BTreeMap::from([(1, Objects::new())]), Vec::new(), Vec::new());
        World { disk, store, opened_at: 1, revisions, durable: 1, events, informers }
    }

    fn current(&self) -> (Revision, &Objects) {
        let (&revision, objects) = self.revisions.last_key_value().expect("there is always a revision");
        (revision, objects)
    }

    /// The objects at a revision that need not be one of a commit of ours.
    fn at(&self, revision: Revision) -> &Objects {
        self.revisions.range(..=revision).next_back().expect("a revision after the opening").1
    }

    /// The oldest revision that can be resumed from.
    fn reaches(&self) -> Revision {
        let dropped = self.events.len().saturating_sub(limits().history_events_max);
        self.events[..dropped].last().copied().unwrap_or(self.opened_at)
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Commit(planned) => self.commit(planned).await,
            Step::Watch(of, by, ago) => {
                let after = self.current().0.saturating_sub(ago);
                let (scope, selector) = (scope(of), selection(by));
                match self.store.watch_after(scope.clone(), selector.clone(), after) {
                    Ok(watch) => {
                        assert!(after >= self.reaches(), "{after} is not held");
                        let view = select(self.at(after), &scope, &selector);
                        self.informers.push(Informer { watch, scope, selector, view, last: after });
                    }
                    Err(too_old) => {
                        assert!(after < self.reaches(), "{after} is held");
                        assert_eq!(too_old.oldest, self.reaches());
                    }
                }
            }
            Step::Read(which, events) if !self.informers.is_empty() => {
                let which = which % self.informers.len();
                let mut informer = self.informers.swap_remove(which);
                if self.read(&mut informer, events) {
                    self.informers.push(informer);
                }
            }
            Step::EndWatch(which) if !self.informers.is_empty() => {
                let which = which % self.informers.len();
                self.informers.swap_remove(which);
            }
            Step::Read(..) | Step::EndWatch(_) => {}
            Step::SnapshotAt(ago) => self.snapshot_at(self.current().0.saturating_sub(ago)),
            Step::Restart => {
                self.store.close().await;
                let last = self.current().0;
                assert_eq!(self.reopen(self.disk.clone(), last), last);
            }
            Step::Crash(Crash::Kill) => {
                let last = self.current().0;
                assert!(self.reopen(self.disk.after_kill(), last) > last);
            }
            Step::Crash(Crash::PowerLoss) => {
                let last = self.current().0;
                assert!(self.reopen(self.disk.after_power_loss(), self.durable) > last);
            }
        }
        assert_eq!(self.store.stats().watchers, self.informers.len());
    }

    async fn commit(&mut self, planned: Vec<Planned>) {
        let (current, objects) = self.current();
        let mut after = objects.clone();
        let mut allowed = true;
        let mut writes = Vec::new();
        for Planned { path, expect, put, look, relaxed } in planned {
            let key = pod(PATHS[path]);
            let stored = after.get(&key.durable()).map(|object| object.revision);
            let (color, node) = look.map_or(("", ""), |(color, node)| (COLORS[color], NODES[node]));
            let body = object(&key, json!({"metadata": {"labels": {"color": color}}, "spec": {"nodeName": node}}));
            let (expect, holds) = match expect {
                0 => (Expect::Absent, stored.is_none()),
                1 => (Expect::Present, stored.is_some()),
                2 => (Expect::Revision(stored.unwrap_or(current)), stored.is_some()),
                3 => (Expect::Revision(current + 1), stored == Some(current + 1)),
                _ => (Expect::Any, true),
            };
            allowed &= holds && (put || stored.is_some());
            if put {
                after.insert(key.durable(), Arc::new(body.at_revision(current + 1)));
            } else {
                after.remove(&key.durable());
            }
            let change = match look {
                _ if put => Change::Put(body),
                None => Change::Delete,
                Some(_) => Change::DeleteAs(body),
            };
            let class = if relaxed { Class::Relaxed } else { Class::Durable };
            writes.push(Write { key, expect, change, class });
        }
        let count = writes.len();
        let durable = writes.iter().any(|write| write.class == Class::Durable);
        let outcome = self.store.commit(writes).await;
        assert_eq!(outcome.is_ok(), allowed, "{:?}", outcome.err());
        if let Ok(stored) = outcome {
            assert!(stored.iter().all(|object| object.revision == current + 1));
            self.events.extend(std::iter::repeat_n(current + 1, count));
            self.revisions.insert(current + 1, after);
            self.durable = if durable { current + 1 } else { self.durable };
        }
        self.compare_current();
    }

    fn compare_current(&self) {
        let (revision, objects) = self.current();
        let snapshot = self.store.snapshot();
        assert_eq!(snapshot.revision(), revision);
        for of in 0..5 {
            compare(objects, snapshot.range(&scope(of), None), &scope(of));
        }
        let size: usize = objects.values().map(|object| object.bytes.len()).sum();
        assert_eq!((self.store.stats().objects, self.store.stats().bytes), (objects.len(), size as u64));
    }

    fn snapshot_at(&self, revision: Revision) {
        match self.store.state_at(&pods(), revision) {
            Ok(snapshot) => {
                assert!(revision >= self.reaches() || revision == self.current().0, "{revision} is not held");
                assert_eq!(snapshot.revision(), revision);
                compare(self.at(revision), snapshot.range(&scope(0), None), &scope(0));
            }
            Err(too_old) => {
                assert!(revision < self.reaches(), "{revision} is held");
                assert_eq!(too_old.oldest, self.reaches());
            }
        }
    }

    /// Reads events, and compares the view at each revision that they complete. False when the watch has ended.
    fn read(&self, informer: &mut Informer, events: usize) -> bool {
        for _ in 0..events {
            let progress = informer.watch.seen();
            assert!(progress >= informer.last.saturating_sub(1), "{progress} goes back behind {}", informer.last);
            match informer.watch.try_next() {
                Some(Ok(delivery)) => {
                    let revision = delivery.object.revision;
                    assert!(progress < revision, "{revision} was still to come at {progress}");
                    self.compare_view(informer, informer.last..revision);
                    informer.last = revision;
                    informer.apply(&delivery);
                }
                Some(Err(ended)) => {
                    assert_eq!(ended, WatchEnded::Lagged);
                    assert!(progress < self.reaches(), "what follows {progress} is still held");
                    return false;
                }
                None => {
                    let now = self.current().0;
                    self.compare_view(informer, informer.last..now + 1);
                    assert_eq!(informer.watch.seen(), now);
                    informer.last = now;
                    return true;
                }
            }
        }
        true
    }

    fn compare_view(&self, informer: &Informer, revisions: std::ops::Range<Revision>) {
        for revision in revisions {
            // A revision is complete when the next event is of a later one.
            let expected = select(self.at(revision), &informer.scope, &informer.selector);
            assert_eq!(informer.view, expected, "{:?} {:?} at {revision}", informer.scope, informer.selector);
        }
    }

    /// Opens what is left on the disk, which must be the state at a revision not before `survives`.
    fn reopen(&mut self, disk: Disk, survives: Revision) -> Revision {
        self.informers.clear();
        self.store = open(&disk, limits()).expect("the store again");
        self.disk = disk;
        let snapshot = self.store.snapshot();
        let found = snapshot.range(&scope(0), None).map(|object| (object.key.durable(), object.bytes.clone()));
        let found: BTreeMap<_, _> = found.collect();
        let is_found = |objects: &&Objects| {
            objects.len() == found.len() && objects.iter().all(|(key, object)| found.get(key) == Some(&object.bytes))
        };
        let objects = self.revisions.range(survives..).map(|(_, objects)| objects).find(is_found).cloned();
        self.opened_at = self.store.revision();
        self.durable = self.opened_at;
        self.events.clear();
        self.revisions.insert(self.opened_at, objects.expect("the objects of a revision that survives"));
        self.compare_current();
        self.opened_at
    }
}

impl Informer {
    fn apply(&mut self, delivery: &Delivery) {
        let key = delivery.object.key.durable();
        let before = match delivery.kind {
            EventKind::Added | EventKind::Modified => self.view.insert(key.clone(), delivery.object.revision),
            EventKind::Deleted => self.view.remove(&key),
        };
        assert_eq!(delivery.kind == EventKind::Added, before.is_none(), "{:?} of {key}", delivery.kind);
        let frame: Value = serde_json::from_slice(&delivery.frame()).expect("JSON");
        assert_eq!(frame["type"], delivery.kind.as_str());
        assert_eq!(frame["object"]["metadata"]["resourceVersion"], delivery.object.revision.to_string());
    }
}

#[track_caller]
fn compare<'a>(expected: &Objects, found: impl Iterator<Item = &'a Arc<Object>>, scope: &Scope) {
    let found: Vec<_> = found.map(|object| (object.key.durable(), object.bytes.clone())).collect();
    let mut expected: Vec<_> = expected.values().filter(|object| scope.contains(&object.key)).collect();
    expected.sort_by(|a, b| a.key.cmp(&b.key));
    let expected: Vec<_> = expected.iter().map(|object| (object.key.durable(), object.bytes.clone())).collect();
    assert_eq!(found, expected, "{scope:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_that_of_the_model(steps in vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.run(step).await;
            }
            let mut informers = std::mem::take(&mut world.informers);
            for informer in &mut informers {
                world.read(informer, usize::MAX);
            }
        });
    }
}
