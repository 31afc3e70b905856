//! The handle to one partition.

#[cfg(test)]
use crate::engine::Engine;
use crate::meter::Held;
use crate::open_error::OpenError;
use crate::partition::Partition;
use crate::scope::Scope;
use crate::snapshot::Snapshot;
use crate::transaction::{CommitError, Write};
use crate::watch::Watch;
use api::selector::Selector;
use api::{Object, ResourceId, Revision, TenantName};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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

/// Everything that is stored; cheap to clone.
#[derive(Clone)]
pub struct Store(Partition);

impl From<Partition> for Store {
    fn from(partition: Partition) -> Store {
        Store(partition)
    }
}

impl Store {
    /// A store of one embedded partition; see [`Partition::embedded`]. Blocks.
    pub fn open(dir: &Path, fields: FieldsOf, limits: Limits) -> Result<Store, OpenError> {
        Partition::embedded(dir, fields, limits).map(Store)
    }

    #[cfg(test)]
    pub(crate) fn start(
        engine: Box<dyn Engine>,
        dir: &Path,
        fields: FieldsOf,
        limits: Limits,
    ) -> Result<Store, OpenError> {
        Partition::start(engine, dir, fields, limits).map(Store)
    }

    /// The state after the latest commit that this process has seen.
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// The revision of the snapshot.
    pub fn revision(&self) -> Revision {
        self.snapshot().revision()
    }

    /// Returns when the snapshot holds everything that was committed before the call, by whichever process: what a read
    /// must wait for that may not be stale. The error says why that cannot be known.
    pub async fn current(&self) -> Result<(), CommitError> {
        self.0.current().await
    }

    /// Commits all writes under one revision, or none of them. Returns the stored objects in the order of the writes; of
    /// a deleted object its last state, at the deletion's revision; of a revision that changed nothing none. A commit
    /// that was begun is not undone by dropping the future.
    pub async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Arc<Object>>, CommitError> {
        for write in &writes {
            assert!(write.body().is_none_or(|object| object.key == write.key), "a write stores its object at its key");
        }
        self.0.commit(writes).await
    }

    /// The exact state of one resource, and no other, at an old revision. At the current revision or a later one it is
    /// the current snapshot.
    pub fn snapshot_at(&self, resource: &ResourceId, revision: Revision) -> Result<Snapshot, TooOld> {
        self.0.hub().snapshot_at(resource, revision)
    }

    /// Waits until the store is at `revision`; false when the deadline passes first. Cancel-safe.
    pub async fn wait_for(&self, revision: Revision, deadline: Duration) -> bool {
        self.0.hub().reaches(revision, deadline).await
    }

    /// The events after a revision: from the history, then as they are committed, without gap or duplicate.
    pub fn watch(&self, scope: Scope, selector: Selector, after: Revision) -> Result<Watch, TooOld> {
        Watch::start(self.0.hub().clone(), scope, selector, after)
    }

    /// No object of the resource has changed after this revision.
    pub fn resource_revision(&self, resource: &ResourceId) -> Revision {
        self.0.hub().resource_revision(resource)
    }

    /// Completes with the reason when nothing can be acknowledged any more, and the process must exit. Cancel-safe.
    pub async fn failed(&self) -> String {
        self.0.failed().await
    }

    /// Writes what is queued, syncs, and stops; later commits fail. A directory is free afterwards.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// What a tenant holds, by the last decision of the writer.
    pub fn held(&self, tenant: &TenantName) -> Held {
        self.0.hub().meter.of(tenant)
    }

    /// What each tenant holds that holds anything, in no order.
    pub fn held_by_all(&self) -> Vec<(TenantName, Held)> {
        self.0.hub().meter.all()
    }

    pub fn stats(&self) -> Stats {
        self.0.stats()
    }
}
