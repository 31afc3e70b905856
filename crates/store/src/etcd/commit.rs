//! A commit: decided on the local index, done by etcd if what it was decided on is still so, and decided again if not.

use super::members::Failure;
use super::record::{self, Nonce};
use super::revisions::Revisions;
use super::{DELETED_KEY, Etcd, RAISES_KEY, Shared};
use crate::event::{Event, EventKind};
use crate::fence;
use crate::queue::Committed;
use crate::snapshot::Snapshot;
use crate::transaction::{CommitError, Write, transact};
use api::Revision;
use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse, TxnResponse};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What etcd allows in one transaction unless it was told otherwise (`--max-txn-ops`), less what is added here.
const WRITES_MAX: usize = 120;

/// How often a commit is decided again because others were faster.
const CONFLICTS_MAX: usize = 1000;

/// How long the watch may take to bring back what was committed.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// The last states of deleted objects travel in one value; larger ones are left out, and the stored state is shown.
const LAST_STATES_BYTES_MAX: usize = 1 << 20;

impl Etcd {
    /// As [`crate::Store::commit`], at a revision behind `floor`.
    pub(crate) async fn commit(&self, writes: Vec<Write>, floor: Revision) -> Committed {
        if writes.len() > WRITES_MAX {
            return Err(CommitError::TooLarge(format!("{} writes in one transaction", writes.len())));
        }
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(if self.permits.is_closed() { CommitError::Stopped } else { CommitError::Full });
        };
        let shared = &*self.shared;
        // Whether the index is known to hold everything from before this commit began.
        let mut fresh = false;
        for _ in 0..CONFLICTS_MAX {
            if shared.stop.is_stopped() {
                return Err(CommitError::Stopped);
            }
            let revisions = shared.revisions.load_full();
            let base = Base { snapshot: shared.hub.snapshot(), revisions, floor };
            let mut state = base.snapshot.state();
            let mut events = Vec::new();
            match transact(&mut state, &shared.hub.meter, (writes.clone(), floor), &mut events, Instant::now()) {
                // A refusal rests on what may have been changed by another server since.
                Err(_) if !fresh => {
                    self.current().await?;
                    fresh = true;
                    continue;
                }
                Err(refused) => return Err(refused),
                Ok(_) => {}
            }
            match attempt(shared, &base, &writes, &events).await? {
                Attempt::Done(revision) => {
                    shared.commits.fetch_add(1, Ordering::Relaxed);
                    let Some(revision) = shared.reaches(revision, SEEN_WITHIN).await else {
                        let why = format!("revision {revision} was written, but the watch has not delivered it");
                        return Err(CommitError::Unavailable(why));
                    };
                    return Ok(events.iter().map(|event| Arc::new(event.object.at_revision(revision))).collect());
                }
                Attempt::Changed(revision) => {
                    // With what is there then, everything from before this commit is there too.
                    fresh = shared.reaches(revision, SEEN_WITHIN).await.is_some();
                    if !fresh {
                        self.current().await?;
                    }
                }
            }
        }
        Err(CommitError::Unavailable("others change the same objects all the time".to_owned()))
    }
}

/// What a commit is decided on.
struct Base {
    /// Not older than the revisions allow: these are replaced before anything is published that they speak of.
    snapshot: Snapshot,
    revisions: Arc<Revisions>,
    /// The revision is to be behind this one.
    floor: Revision,
}

impl Base {
    /// The record that makes it so, if it is not so anyway.
    fn raise(&self) -> Option<String> {
        let last = self.snapshot.revision();
        (self.floor > last).then(|| self.revisions.raised(last, self.floor))
    }
}

enum Attempt {
    /// Committed at this revision of etcd's.
    Done(i64),
    /// Not committed: at this revision of etcd's something was other than in the index.
    Changed(i64),
}

async fn attempt(
    shared: &Shared,
    base: &Base,
    writes: &[Write],
    events: &[Arc<Event>],
) -> Result<Attempt, CommitError> {
    let nonce = shared.nonces.next();
    let changes = Changes::of(events, &nonce);
    let txn = changes.txn(base, writes, true);
    let answer = match shared.members.txn(txn).await {
        // Deletions make room; what they take along does not fit any more.
        Err(Failure::NoSpace) if changes.only_delete() => shared.members.txn(changes.txn(base, writes, false)).await?,
        other => other?,
    };
    let (answer, doubtful) = answer;
    let revision = answer.header().map_or(0, |header| header.revision());
    if answer.succeeded() {
        return Ok(Attempt::Done(revision));
    }
    if doubtful {
        // An attempt without an answer may be what has changed the objects: then they are just as it wrote them.
        return match changes.written_at(&answer, &nonce) {
            Some(revision) => Ok(Attempt::Done(revision)),
            None => Err(CommitError::Unavailable(
                "a member of the storage cluster was lost during the write; whether it happened is unknown".to_owned(),
            )),
        };
    }
    Ok(Attempt::Changed(revision))
}

/// What becomes of each key.
struct Changes {
    by_key: BTreeMap<String, Option<Vec<u8>>>,
    /// The last states of deleted objects where they are not the stored ones.
    last: Vec<u8>,
}

impl Changes {
    fn of(events: &[Arc<Event>], nonce: &Nonce) -> Changes {
        let mut by_key = BTreeMap::new();
        let mut last = Vec::new();
        for event in events {
            let key = event.object.key.durable();
            let record = || record::encode(&key, nonce, &event.object.at_revision(0).bytes);
            let after = match event.kind {
                EventKind::Added | EventKind::Modified => Some(record()),
                EventKind::Deleted => {
                    let stored = event.previous.as_ref().map(|previous| previous.at_revision(0).bytes);
                    let record = record();
                    let fits = last.len() + record.len() <= LAST_STATES_BYTES_MAX;
                    if fits && stored.is_none_or(|stored| stored != event.object.at_revision(0).bytes) {
                        last.extend(record::encode_all([(key.as_str(), record)].into_iter()));
                    }
                    None
                }
            };
            by_key.insert(key, after);
        }
        Changes { by_key, last }
    }

    fn only_delete(&self) -> bool {
        self.by_key.values().all(Option::is_none)
    }

    /// The transaction: every object that the decision has looked at must be as it was.
    fn txn(&self, base: &Base, writes: &[Write], with_last: bool) -> Txn {
        let fences = fence::passed(writes).into_iter().map(fence::key);
        let looked_at = writes.iter().map(|write| write.key.clone()).chain(fences);
        let mut guards: Vec<Compare> = looked_at
            .map(|key| {
                let revision = base.snapshot.get(&key).map_or(0, |object| base.revisions.to_etcd(object.revision));
                Compare::mod_revision(key.durable(), CompareOp::Equal, revision)
            })
            .collect();
        let mut operations: Vec<TxnOp> = Vec::with_capacity(self.by_key.len() + 1);
        for (key, record) in &self.by_key {
            operations.push(match record {
                Some(record) => TxnOp::put(key.as_str(), record.as_slice(), None),
                None => TxnOp::delete(key.as_str(), None),
            });
        }
        if let Some(raise) = base.raise() {
            guards.push(Compare::mod_revision(RAISES_KEY, CompareOp::Equal, base.revisions.written()));
            operations.push(TxnOp::put(RAISES_KEY, raise, None));
        }
        if with_last && !self.last.is_empty() {
            operations.push(TxnOp::put(DELETED_KEY, self.last.as_slice(), None));
        }
        let looks = self.put_key().map(|key| TxnOp::get(key, None));
        Txn::new().when(guards).and_then(operations).or_else(looks.into_iter().collect::<Vec<_>>())
    }

    /// A key that the transaction writes.
    fn put_key(&self) -> Option<&str> {
        self.by_key.iter().find(|(_, record)| record.is_some()).map(|(key, _)| key.as_str())
    }

    /// The revision of etcd's at which this very transaction has written, as its refused repetition shows.
    fn written_at(&self, answer: &TxnResponse, nonce: &Nonce) -> Option<i64> {
        self.put_key()?;
        let responses = answer.op_responses();
        let Some(TxnOpResponse::Get(found)) = responses.first() else { return None };
        let kv = found.kvs().first()?;
        record::is_by(kv.value(), nonce).then(|| kv.mod_revision())
    }
}
