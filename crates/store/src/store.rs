//! The handle to one partition.

use crate::data_dir::DataDir;
use crate::engine::Engine;
use crate::hub::Hub;
use crate::load::load;
use crate::log::Log;
use crate::open_error::OpenError;
use crate::queue::{Commit, Queue};
use crate::scope::Scope;
use crate::snapshot::Snapshot;
use crate::transaction::{CommitError, Write};
use crate::watch::Watch;
use crate::writer::{Shared, Writer};
use api::selector::Selector;
use api::{Object, ResourceId, Revision};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The selectable fields of a resource, to rebuild headers on load.
pub type FieldsOf = fn(&ResourceId) -> &'static [&'static str];

/// What a store may use at most. Being full is a defined outcome of each.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Commits that wait for the writer; more are refused with [`CommitError::Full`].
    pub queue_commits_max: usize,
    /// Bytes of objects in commits that wait for the writer; more are refused with [`CommitError::Full`].
    pub queue_bytes_max: usize,
    /// Commits that share one sync.
    pub batch_commits_max: usize,
    /// Bytes of objects that share one sync. A single larger commit is a batch of its own.
    pub batch_bytes_max: usize,
    /// Events kept per resource, for watches that resume and for lists at old revisions.
    pub history_events_max: usize,
    /// Bytes kept per resource in events.
    pub history_bytes_max: usize,
    /// How long events are kept.
    pub history_age_max: Duration,
    /// Events that wait in a watcher's own queue; with more it reads on from the history, until it falls behind that.
    pub watch_queue_events_max: usize,
    /// The log is replaced by a checkpoint when it has grown by this, and by as much as is stored.
    pub checkpoint_after_bytes: u64,
    /// How long a relaxed write waits for its sync.
    pub relaxed_sync_after: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queue_commits_max: 16 * 1024,
            queue_bytes_max: 64 << 20,
            batch_commits_max: 1024,
            batch_bytes_max: 4 << 20,
            history_events_max: 16 * 1024,
            history_bytes_max: 64 << 20,
            history_age_max: Duration::from_secs(15 * 60),
            watch_queue_events_max: 128,
            checkpoint_after_bytes: 64 << 20,
            relaxed_sync_after: Duration::from_millis(500),
        }
    }
}

/// The history does not reach back to the revision that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the oldest revision that is still held is {oldest}")]
pub struct TooOld {
    pub oldest: Revision,
}

/// Counters and sizes, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub objects: usize,
    /// Encoded bytes of all objects.
    pub bytes: u64,
    pub revision: Revision,
    /// Transactions committed since the store was opened.
    pub commits: u64,
    /// Syncs to disk since the store was opened.
    pub syncs: u64,
    pub watchers: usize,
}

/// One partition; cheap to clone. When the last clone is dropped the writer finishes what is queued and stops.
#[derive(Clone)]
pub struct Store(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

impl Store {
    /// Opens the directory, makes it if it is missing or empty, loads and verifies everything. Blocks.
    pub fn open(dir: &Path, fields: FieldsOf, limits: Limits) -> Result<Store, OpenError> {
        let engine = Log::new(DataDir::claim(dir)?, limits.checkpoint_after_bytes);
        Store::start(Box::new(engine), dir, fields, limits)
    }

    /// Loads from an engine and starts its writer. `dir` is for messages.
    pub(crate) fn start(
        mut engine: Box<dyn Engine>,
        dir: &Path,
        fields: FieldsOf,
        limits: Limits,
    ) -> Result<Store, OpenError> {
        let state = load(&mut *engine, dir, fields)?;
        let relaxed_sync_after = limits.relaxed_sync_after;
        let shared = Arc::new(Shared {
            hub: Arc::new(Hub::new(state.clone(), limits.clone(), Instant::now())),
            queue: Queue::new(limits),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            failed: tokio::sync::watch::Sender::new(None),
            stopped: tokio::sync::watch::Sender::new(false),
        });
        let writer = Writer::new(shared.clone(), engine, state, relaxed_sync_after);
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        thread.spawn(|| writer.run()).map_err(|error| OpenError::unreadable(dir, &error))?;
        Ok(Store(Arc::new(Handle(shared))))
    }

    /// The state after the latest commit.
    pub fn snapshot(&self) -> Snapshot {
        self.shared().hub.snapshot()
    }

    /// The revision of the latest commit.
    pub fn revision(&self) -> Revision {
        self.snapshot().revision()
    }

    /// Commits all writes under one revision, or none of them. Returns the stored objects in the order of the writes; of
    /// a deleted object its last state, at the deletion's revision; of a revision that changed nothing none. A commit that was begun is not undone by dropping
    /// the future.
    pub async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Arc<Object>>, CommitError> {
        for write in &writes {
            assert!(write.body().is_none_or(|object| object.key == write.key), "a write stores its object at its key");
        }
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.shared().queue.push(Commit::new(writes, reply))?;
        answer.await.unwrap_or(Err(CommitError::Stopped))
    }

    /// The exact state of one resource, and no other, at an old revision. At the current revision or a later one it is
    /// the current snapshot.
    pub fn snapshot_at(&self, resource: &ResourceId, revision: Revision) -> Result<Snapshot, TooOld> {
        self.shared().hub.snapshot_at(resource, revision)
    }

    /// Waits until the store is at `revision`; false when the deadline passes first. Cancel-safe.
    pub async fn wait_for(&self, revision: Revision, deadline: Duration) -> bool {
        let mut revisions = self.shared().hub.revisions();
        let reached = revisions.wait_for(|&current| current >= revision);
        matches!(tokio::time::timeout(deadline, reached).await, Ok(Ok(_)))
    }

    /// The events after a revision: from the history, then as they are committed, without gap or duplicate.
    pub fn watch(&self, scope: Scope, selector: Selector, after: Revision) -> Result<Watch, TooOld> {
        Watch::start(self.shared().hub.clone(), scope, selector, after)
    }

    /// No object of the resource has changed after this revision.
    pub fn resource_revision(&self, resource: &ResourceId) -> Revision {
        self.shared().hub.resource_revision(resource)
    }

    /// Completes with the reason when the disk has failed: nothing is acknowledged any more, and the process must exit.
    /// Cancel-safe.
    pub async fn failed(&self) -> String {
        let mut failed = self.shared().failed.subscribe();
        let reason = failed.wait_for(Option::is_some).await.expect("this handle keeps the sender");
        reason.clone().expect("waited for it")
    }

    /// Writes what is queued, syncs, and stops the writer; later commits fail. The directory is free afterwards.
    pub async fn close(&self) {
        self.shared().queue.close();
        let mut stopped = self.shared().stopped.subscribe();
        stopped.wait_for(|&stopped| stopped).await.expect("this handle keeps the sender");
    }

    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let snapshot = shared.hub.snapshot();
        let (objects, bytes) = snapshot.size();
        Stats {
            objects,
            bytes,
            revision: snapshot.revision(),
            commits: shared.commits.load(Ordering::Relaxed),
            syncs: shared.syncs.load(Ordering::Relaxed),
            watchers: shared.hub.watchers(),
        }
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }
}
