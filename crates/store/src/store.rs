//! The handle to one partition.

use crate::scope::Scope;
use crate::snapshot::Snapshot;
use crate::transaction::{CommitError, Write};
use crate::watch::Watch;
use crate::OpenError;
use api::selector::Selector;
use api::{Object, ResourceId, Revision};
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
    /// Bytes of objects in the events kept per resource.
    pub history_bytes_max: usize,
    /// Events that wait in a watcher's own queue; with more it reads on from the history, until it falls behind it.
    pub watch_queue_events_max: usize,
    /// How long a relaxed write may wait for its sync.
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
            watch_queue_events_max: 128,
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

/// One partition; cheap to clone.
#[derive(Clone)]
pub struct Store;

impl Store {
    /// Opens the directory, makes it if it is missing or empty, loads and verifies everything. Blocks.
    pub fn open(_dir: &Path, _fields: FieldsOf, _limits: Limits) -> Result<Store, OpenError> {
        unimplemented!()
    }

    /// The state after the latest commit.
    pub fn snapshot(&self) -> Snapshot {
        unimplemented!()
    }

    pub fn revision(&self) -> Revision {
        unimplemented!()
    }

    /// Commits all writes under one revision, or none of them. Returns the stored objects, in the order of the writes.
    pub async fn commit(&self, _writes: Vec<Write>) -> Result<Vec<Arc<Object>>, CommitError> {
        unimplemented!()
    }

    /// The exact state of one resource at an old revision.
    pub fn snapshot_at(&self, _resource: &ResourceId, _revision: Revision) -> Result<Snapshot, TooOld> {
        unimplemented!()
    }

    /// Waits until the store is at `revision`; false when the deadline passes first.
    pub async fn wait_for(&self, _revision: Revision, _deadline: Duration) -> bool {
        unimplemented!()
    }

    /// The events after a revision: from the history, then as they are committed, without gap or duplicate.
    pub fn watch(&self, _scope: Scope, _selector: Selector, _after: Revision) -> Result<Watch, TooOld> {
        unimplemented!()
    }

    /// No object of the resource has changed after this revision.
    pub fn resource_revision(&self, _resource: &ResourceId) -> Revision {
        unimplemented!()
    }

    /// Completes with the reason when the disk has failed; the process must exit then.
    pub async fn failed(&self) -> String {
        unimplemented!()
    }

    /// Writes what is queued, syncs, and stops the writer; later commits fail.
    pub async fn close(&self) {
        unimplemented!()
    }

    pub fn stats(&self) -> Stats {
        unimplemented!()
    }
}
