//! The one watch on a partition's keys: turns what etcd delivers into events of the hub.
//!
//! It resumes after the last revision that it has published, at another member where one was lost. Where etcd no longer
//! holds the revisions between, everything is read anew and watchers list again.
//! Invariant: a revision is published whole, once, and after all earlier ones.

use super::load;
use super::revisions::Revisions;
use super::{DELETED_KEY, PREFIX, RAISES_KEY, Shared, record};
use crate::event::{Event, EventKind};
use crate::fence;
use crate::snapshot::State;
use api::{ObjectKey, Revision};
use etcd_client::{EventType, WatchOptions, WatchResponse};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long a member may take to begin a watch.
const BEGIN_WITHIN: Duration = Duration::from_secs(3);

/// Between attempts, doubling.
const RETRY_AFTER: Duration = Duration::from_millis(20);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);

/// Why a watch has ended.
enum Ended {
    /// It can go on at another member.
    Broken(String),
    /// The revisions that come next are not held any more.
    Compacted,
    /// What was delivered cannot be so.
    Damaged(String),
}

/// Follows the cluster from `state` until the partition is closed.
pub(super) async fn run(shared: Arc<Shared>, mut state: State) {
    let mut failures = 0;
    loop {
        let before = state.revision;
        let ended = tokio::select! {
            biased;
            () = shared.stop.stopped() => return,
            // Between two answers nothing is lost: the next watch begins after the last one that was published.
            ended = follow(&shared, &mut state, failures) => ended,
        };
        failures = if state.revision > before { 1 } else { failures + 1 };
        match ended {
            Ended::Broken(why) => tracing::debug!(partition = shared.partition, why, "an etcd watch ended"),
            Ended::Compacted => match load::load(&shared.members, shared.fields).await {
                Ok((current, _)) if current.revision < state.revision => {
                    let (from, to) = (state.revision, current.revision);
                    return shared.fail(format!("the storage cluster has gone back from revision {from} to {to}"));
                }
                Ok((current, revisions)) => {
                    tracing::warn!(partition = shared.partition, "etcd has compacted what was still to be watched");
                    state = current;
                    shared.revisions.store(Arc::new(revisions));
                    shared.hub.reset(state.clone());
                }
                Err(why) => tracing::warn!(partition = shared.partition, why, "the storage cluster cannot be read"),
            },
            Ended::Damaged(what) => return shared.fail(format!("the storage cluster is damaged: {what}")),
        }
        let pause = RETRY_AFTER.saturating_mul(1 << failures.min(10)).min(RETRY_AFTER_MAX);
        // A pause that ends with the partition.
        if timeout(pause, shared.stop.stopped()).await.is_ok() {
            return;
        }
    }
}

async fn follow(shared: &Shared, state: &mut State, failures: usize) -> Ended {
    let next = shared.revisions.load().to_etcd(state.revision) + 1;
    let options = WatchOptions::new().with_prefix().with_start_revision(next);
    let mut watcher = shared.members.watcher(failures);
    let mut stream = match timeout(BEGIN_WITHIN, watcher.watch(PREFIX, Some(options))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Ended::Broken(error.to_string()),
        Err(_) => return Ended::Broken("no answer in time".to_owned()),
    };
    loop {
        let answer = tokio::select! {
            biased;
            () = shared.stalled.notified() => return Ended::Broken("it delivers nothing".to_owned()),
            // Not cancelled but with the whole stream.
            answer = stream.message() => answer,
        };
        match answer {
            Ok(Some(answer)) if answer.compact_revision() > 0 => return Ended::Compacted,
            Ok(Some(answer)) if answer.canceled() => return Ended::Broken(answer.cancel_reason().to_owned()),
            Ok(Some(answer)) => {
                if let Err(what) = publish(shared, state, &answer) {
                    return Ended::Damaged(what);
                }
            }
            Ok(None) => return Ended::Broken("the member ended it".to_owned()),
            Err(error) => return Ended::Broken(error.to_string()),
        }
    }
}

/// Publishes the revisions of one answer.
fn publish(shared: &Shared, state: &mut State, answer: &WatchResponse) -> Result<(), String> {
    let now = Instant::now();
    let mut events: Vec<Arc<Event>> = Vec::new();
    let revision_of = |event: &etcd_client::Event| event.kv().map_or(0, |kv| kv.mod_revision());
    for changes in answer.events().chunk_by(|a, b| revision_of(a) == revision_of(b)) {
        let in_etcd = revision_of(&changes[0]);
        for kv in changes.iter().filter_map(etcd_client::Event::kv).filter(|kv| kv.key() == RAISES_KEY.as_bytes()) {
            let raised =
                Revisions::parse(kv.value(), in_etcd).ok_or_else(|| format!("record {RAISES_KEY} is malformed"))?;
            shared.revisions.store(Arc::new(raised));
        }
        let revision = shared.revisions.load().of_etcd(in_etcd);
        if revision <= state.revision {
            // Delivered again after a watch was resumed.
            continue;
        }
        let first = events.len();
        transaction(shared, state, changes, revision, now, &mut events)?;
        state.advance(revision, &events[first..]);
    }
    if state.revision > shared.hub.dispatched() {
        shared.hub.publish(state.clone(), &events, now);
    }
    Ok(())
}

/// Applies the changes of one revision and appends their events.
fn transaction(
    shared: &Shared,
    state: &mut State,
    changes: &[etcd_client::Event],
    revision: Revision,
    now: Instant,
    events: &mut Vec<Arc<Event>>,
) -> Result<(), String> {
    let kvs = || changes.iter().filter_map(|change| Some((change.event_type(), change.kv()?)));
    let deleted = kvs().find(|(_, kv)| kv.key() == DELETED_KEY.as_bytes());
    let last_states: HashMap<&str, &[u8]> = match deleted {
        Some((EventType::Put, kv)) => {
            let records = record::decode_all(kv.value()).ok_or_else(|| format!("record {DELETED_KEY} is cut short"))?;
            records.into_iter().collect()
        }
        _ => HashMap::new(),
    };
    for (kind, kv) in kvs() {
        let key = kv.key_str().map_err(|_| "a key is not text".to_owned())?;
        if key.starts_with("/ursa/m/") {
            continue;
        }
        let parsed = ObjectKey::parse_durable(key).ok_or_else(|| format!("key {key:?} names no object"))?;
        let previous = state.get(&parsed).cloned();
        let (kind, object) = match (kind, &previous) {
            (EventType::Put, _) => {
                let object = load::object(key, kv.value(), revision, shared.fields)?;
                (if previous.is_some() { EventKind::Modified } else { EventKind::Added }, object)
            }
            (EventType::Delete, Some(previous)) => {
                let last = match last_states.get(key) {
                    Some(last) => load::object(key, last, revision, shared.fields)?,
                    None => previous.at_revision(revision),
                };
                (EventKind::Deleted, last)
            }
            (EventType::Delete, None) => return Err(format!("{key} is deleted at {revision} and was not there")),
        };
        let mut object = object;
        if let Some(previous) = &previous {
            // All versions of an object share one key in memory.
            object.key = previous.key.clone();
        }
        let silent = fence::is_silent(state, &object.key);
        let event = Event::new(kind, Arc::new(object), previous, now).silent(silent);
        state.apply(&event);
        events.push(Arc::new(event));
    }
    Ok(())
}
