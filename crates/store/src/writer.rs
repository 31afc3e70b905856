//! The thread that makes commits happen: takes what is queued, checks it against memory, writes and syncs one batch,
//! publishes, and then acknowledges.
//!
//! Invariant: nothing is published before it is as durable as its class asks, and nothing is acknowledged, refusals
//! included, before what it rests on is published. After a failure nothing is acknowledged any more.

use crate::engine::{Change, Durability, Engine, Failed};
use crate::event::{Event, EventKind};
use crate::hub::Hub;
use crate::load::{UNSYNCED_REVISIONS_MAX, closing, revision_record};
use crate::queue::{Commit, Committed, Queue, Work};
use crate::record;
use crate::snapshot::State;
use crate::transaction::{Class, CommitError, transact};
use api::Revision;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// How often the engine is asked what its work in the background has come to.
const TIDY_EVERY: Duration = Duration::from_millis(50);

/// What the writer shares with the handles of the store.
pub(crate) struct Shared {
    pub(crate) hub: Arc<Hub>,
    pub(crate) queue: Queue,
    pub(crate) commits: AtomicU64,
    pub(crate) syncs: AtomicU64,
    /// Why the disk has failed.
    pub(crate) failed: watch::Sender<Option<String>>,
    /// Whether the writer has stopped and let go of the directory.
    pub(crate) stopped: watch::Sender<bool>,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    engine: Box<dyn Engine>,
    /// Ahead of the published state by the batch that is being written.
    state: State,
    synced: Revision,
    /// When the oldest write without a sync was written.
    unsynced_since: Option<Instant>,
    relaxed_sync_after: Duration,
    /// The engine is at work in the background.
    tidying: bool,
}

impl Writer {
    /// `state` is what the engine holds, synced.
    pub(crate) fn new(
        shared: Arc<Shared>,
        engine: Box<dyn Engine>,
        state: State,
        relaxed_sync_after: Duration,
    ) -> Writer {
        Writer {
            shared,
            engine,
            synced: state.revision,
            state,
            unsynced_since: None,
            relaxed_sync_after,
            tidying: false,
        }
    }

    /// Runs until the queue is closed and empty, or the engine fails.
    pub(crate) fn run(mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work()));
        let Writer { shared, engine, .. } = self;
        shared.queue.reject();
        if let Some(why) = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(failed)) => Some(failed.to_string()),
            Err(_) => Some("the writer panicked".to_owned()),
        } {
            tracing::error!(why, "the store has failed and acknowledges nothing any more");
            shared.failed.send_replace(Some(why));
        }
        shared.hub.close();
        drop(engine);
        shared.stopped.send_replace(true);
    }

    fn work(&mut self) -> Result<(), Failed> {
        loop {
            let sync = self.unsynced_since.map(|since| since + self.relaxed_sync_after);
            let tidy = self.tidying.then(|| Instant::now() + TIDY_EVERY);
            match self.shared.queue.take(sync.into_iter().chain(tidy).min()) {
                Work::Batch(batch) => self.commit(batch)?,
                Work::Deadline if self.due(Instant::now()) == Durability::Synced => {
                    self.write(&[], Durability::Synced)?;
                }
                Work::Deadline => self.tidy()?,
                Work::Closed => {
                    return match self.write(&closing(), Durability::Synced) {
                        // Whether it was closed in order is all that is lost.
                        Err(Failed::NoRoom(_)) => self.write(&[], Durability::Synced),
                        done => done,
                    };
                }
            }
        }
    }

    fn commit(&mut self, batch: Vec<Commit>) -> Result<(), Failed> {
        let now = Instant::now();
        let mut events = Vec::new();
        let mut durability = self.due(now);
        let mut answers = Vec::with_capacity(batch.len());
        for Commit { writes, floor, reply, .. } in batch {
            let durable = writes.iter().any(|write| write.class == Class::Durable);
            let answer = transact(&mut self.state, &self.shared.hub.meter, (writes, floor), &mut events, now);
            if answer.is_ok() && durable {
                durability = Durability::Synced;
            }
            answers.push((reply, answer));
        }
        if !events.is_empty() {
            match self.write(&changes(&events, self.state.revision), durability) {
                Ok(()) => self.shared.hub.publish(self.state.clone(), &events, now),
                Err(failed) => return self.not_written(answers, failed),
            }
        }
        let committed = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
        self.shared.commits.fetch_add(committed as u64, Ordering::Relaxed);
        // A caller may have given up waiting.
        answers.into_iter().for_each(|(reply, answer)| _ = reply.send(answer));
        self.tidy()
    }

    /// Refuses a batch of which nothing has been written. Refusals rest on its other commits and go with them.
    fn not_written(
        &mut self,
        answers: Vec<(oneshot::Sender<Committed>, Committed)>,
        failed: Failed,
    ) -> Result<(), Failed> {
        let (error, outcome) = match failed {
            Failed::NoRoom(why) => {
                self.state = self.shared.hub.snapshot().state();
                (CommitError::NoRoom(why), Ok(()))
            }
            Failed::Broken(why) => (CommitError::Stopped, Err(Failed::Broken(why))),
        };
        answers.into_iter().for_each(|(reply, _)| _ = reply.send(Err(error.clone())));
        outcome
    }

    fn tidy(&mut self) -> Result<(), Failed> {
        self.tidying = self.engine.tidy(&self.state)?;
        Ok(())
    }

    /// What the age and the number of unsynced writes ask of the next batch.
    fn due(&self, now: Instant) -> Durability {
        let old =
            self.unsynced_since.is_some_and(|since| now.saturating_duration_since(since) >= self.relaxed_sync_after);
        // A batch holds far fewer commits than the other half.
        let many = self.state.revision - self.synced >= UNSYNCED_REVISIONS_MAX / 2;
        if old || many { Durability::Synced } else { Durability::Buffered }
    }

    fn write(&mut self, changes: &[Change], durability: Durability) -> Result<(), Failed> {
        self.engine.commit(changes, self.state.revision, durability)?;
        match durability {
            Durability::Buffered => {
                self.unsynced_since.get_or_insert_with(Instant::now);
            }
            Durability::Synced => {
                self.unsynced_since = None;
                self.synced = self.state.revision;
                self.shared.syncs.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// The records of a batch, in the order of its changes.
fn changes(events: &[Arc<Event>], revision: Revision) -> Vec<Change> {
    let changes = events.iter().map(|event| {
        let key = event.object.key.durable();
        let record = match event.kind {
            EventKind::Added | EventKind::Modified => Some(record::encode(&key, event.revision, &event.object.bytes)),
            EventKind::Deleted => None,
        };
        (key, record)
    });
    changes.chain([revision_record(revision)]).collect()
}
