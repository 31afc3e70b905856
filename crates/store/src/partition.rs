//! One partition: a sequence of revisions, on one engine or another.

use crate::data_dir::DataDir;
use crate::engine::Engine;
use crate::etcd::{Etcd, EtcdOptions};
use crate::hub::Hub;
use crate::load::load;
use crate::log::Log;
use crate::open_error::OpenError;
use crate::queue::{Commit, Queue};
use crate::snapshot::Snapshot;
use crate::store::{FieldsOf, Limits, Stats};
use crate::transaction::{CommitError, Write};
use crate::writer::{Shared, Writer};
use api::{Object, Revision};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// One partition; cheap to clone. With the last clone its writer or its watch ends.
#[derive(Clone)]
pub struct Partition(Kind);

#[derive(Clone)]
enum Kind {
    Embedded(Arc<Handle>),
    Etcd(Arc<Etcd>),
}

/// When the last one is dropped the writer finishes what is queued and stops.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

impl Partition {
    /// Opens the directory, makes it if it is missing or empty, loads and verifies everything. Blocks.
    pub fn embedded(dir: &Path, fields: FieldsOf, limits: Limits) -> Result<Partition, OpenError> {
        let engine = Log::new(DataDir::claim(dir)?, limits.checkpoint_after_bytes);
        Partition::start(Box::new(engine), dir, fields, limits)
    }

    /// Loads and verifies everything that an etcd cluster holds, and follows it. Belongs to the caller's tokio runtime.
    pub async fn etcd(options: EtcdOptions, fields: FieldsOf, limits: Limits) -> Result<Partition, OpenError> {
        Ok(Partition(Kind::Etcd(Arc::new(Etcd::open(options, fields, limits).await?))))
    }

    /// Loads from an engine and starts its writer. `dir` is for messages.
    pub(crate) fn start(
        mut engine: Box<dyn Engine>,
        dir: &Path,
        fields: FieldsOf,
        limits: Limits,
    ) -> Result<Partition, OpenError> {
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
        Ok(Partition(Kind::Embedded(Arc::new(Handle(shared)))))
    }

    pub(crate) fn is_same(&self, other: &Partition) -> bool {
        Arc::ptr_eq(self.hub(), other.hub())
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        match &self.0 {
            Kind::Embedded(handle) => &handle.0.hub,
            Kind::Etcd(etcd) => &etcd.shared().hub,
        }
    }

    /// As [`crate::Store::commit`].
    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Arc<Object>>, CommitError> {
        self.commit_behind(0, writes).await
    }

    /// As [`Partition::commit`], at a revision behind `floor`.
    pub(crate) async fn commit_behind(
        &self,
        floor: Revision,
        writes: Vec<Write>,
    ) -> Result<Vec<Arc<Object>>, CommitError> {
        match &self.0 {
            Kind::Embedded(handle) => {
                let (reply, answer) = tokio::sync::oneshot::channel();
                handle.0.queue.push(Commit::new(writes, floor, reply))?;
                answer.await.unwrap_or(Err(CommitError::Stopped))
            }
            Kind::Etcd(etcd) => etcd.commit(writes, floor).await,
        }
    }

    /// Returns when the snapshot holds everything that was committed before the call, by whichever process.
    pub(crate) async fn current(&self) -> Result<(), CommitError> {
        match &self.0 {
            Kind::Embedded(_) => Ok(()),
            Kind::Etcd(etcd) => etcd.current().await,
        }
    }

    /// Completes with the reason when nothing can be acknowledged any more. Cancel-safe.
    pub async fn failed(&self) -> String {
        match &self.0 {
            Kind::Embedded(handle) => {
                let mut failed = handle.0.failed.subscribe();
                let reason = failed.wait_for(Option::is_some).await.expect("this handle keeps the sender");
                reason.clone().expect("waited for it")
            }
            Kind::Etcd(etcd) => etcd.failed().await,
        }
    }

    /// Writes what is queued, and lets go of the disk or the cluster; later commits fail.
    pub async fn close(&self) {
        match &self.0 {
            Kind::Embedded(handle) => {
                handle.0.queue.close();
                let mut stopped = handle.0.stopped.subscribe();
                stopped.wait_for(|&stopped| stopped).await.expect("this handle keeps the sender");
            }
            Kind::Etcd(etcd) => etcd.close().await,
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.hub().snapshot()
    }

    pub(crate) fn stats(&self) -> Stats {
        let snapshot = self.snapshot();
        let (objects, bytes) = snapshot.size();
        let (commits, syncs) = match &self.0 {
            Kind::Embedded(handle) => {
                (handle.0.commits.load(Ordering::Relaxed), handle.0.syncs.load(Ordering::Relaxed))
            }
            Kind::Etcd(etcd) => (etcd.commits(), 0),
        };
        Stats { objects, bytes, revision: snapshot.revision(), commits, syncs, watchers: self.hub().watchers() }
    }
}
