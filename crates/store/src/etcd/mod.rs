//! A partition in an etcd cluster: stock etcd 3.4 to 3.6, shared by any number of API servers.
//!
//! ```text
//!   commit ─▶ plan on the local index ─▶ transaction guarded by mod revisions ─▶ etcd
//!                  ▲                                                              │ one watch
//!                  └──────────── hub: index, history, watchers ◀── follow ◀───────┘
//! ```
//!
//! Revisions are etcd's own, raised where a tenant came from another partition. A commit is acknowledged when etcd has
//! acknowledged it and the local index has seen it, so that this API server reads what it wrote; [`Etcd::current`] makes
//! sure that it has also seen what others wrote.
//! Invariant: the index changes by what the watch delivers, in order of revision, and by nothing else. When revisions are
//! missing (compaction), all watchers are told to list again.
//! Invariant: without a quorum nothing is acknowledged, and [`Etcd::current`] fails rather than let stale data pass.

mod commit;
mod compact;
mod follow;
mod gate;
mod load;
mod members;
mod record;
mod revisions;

use crate::hub::Hub;
use crate::open_error::OpenError;
use crate::store::{FieldsOf, Limits};
use crate::transaction::CommitError;
use api::Revision;
use arc_swap::ArcSwap;
use members::Members;
use revisions::Revisions;
use runtime::{Stop, Tasks};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// Everything of Ursa's.
const PREFIX: &str = "/ursa/";
/// Says in which form the cluster keeps objects, and as which partition.
const FORMAT_KEY: &str = "/ursa/m/format";
/// Written only for the revision that it makes.
const MARKER_KEY: &str = "/ursa/m/marker";
/// The last states of the objects that its transaction deletes.
const DELETED_KEY: &str = "/ursa/m/deleted";
/// By how much the partition's revisions are ahead of etcd's.
const RAISES_KEY: &str = "/ursa/m/raises";
/// Whose version counts compactions, so that one API server at a time does it.
const COMPACT_KEY: &str = "/ursa/m/compact";

/// How an etcd cluster is reached.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// URLs of its members, as `http://10.0.0.1:2379`; of any number of them.
    pub servers: Vec<String>,
    pub tls: Option<EtcdTls>,
    /// The number of the partition that the cluster is. A cluster keeps the first that it is given.
    pub partition: u8,
    /// How long etcd keeps old revisions, for API servers that have lost their connection for a while.
    pub compact_after: Duration,
}

impl EtcdOptions {
    pub fn new(servers: Vec<String>) -> EtcdOptions {
        EtcdOptions { servers, tls: None, partition: 0, compact_after: Duration::from_secs(5 * 60) }
    }
}

/// Certificates and keys for an etcd cluster, PEM.
#[derive(Clone, Default)]
pub struct EtcdTls {
    /// The authority of the members' certificates; the public ones without it.
    pub ca: Option<Vec<u8>>,
    /// Certificate and key that the client shows.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for EtcdTls {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdTls").field("client_certificate", &self.identity.is_some()).finish_non_exhaustive()
    }
}

/// A partition in an etcd cluster. Its tasks end when it is closed, or with the last handle.
pub(crate) struct Etcd {
    shared: Arc<Shared>,
    tasks: Tasks,
    questions: mpsc::UnboundedSender<gate::Question>,
    permits: Semaphore,
}

/// What the handles share with the tasks.
pub(crate) struct Shared {
    pub(crate) hub: Arc<Hub>,
    members: Members,
    revisions: ArcSwap<Revisions>,
    fields: FieldsOf,
    partition: u8,
    /// The watch does not deliver what is known to be there: it is to be made anew.
    stalled: Notify,
    /// Why the partition cannot be used any more.
    failed: watch::Sender<Option<String>>,
    stop: Stop,
    commits: AtomicU64,
    nonces: record::Nonces,
}

impl Etcd {
    /// Reads everything that the cluster holds and follows it from there. Waits for a quorum for a while.
    pub(crate) async fn open(options: EtcdOptions, fields: FieldsOf, limits: Limits) -> Result<Etcd, OpenError> {
        let refused = |why: String| OpenError::Etcd { servers: options.servers.join(","), why };
        let members = Members::new(&options).await.map_err(refused)?;
        let (state, revisions) = load::open(&members, options.partition, fields).await.map_err(refused)?;
        let (questions, asked) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            hub: Arc::new(Hub::new(state.clone(), limits.clone(), Instant::now())),
            members,
            revisions: ArcSwap::from_pointee(revisions),
            fields,
            partition: options.partition,
            stalled: Notify::new(),
            failed: watch::Sender::new(None),
            stop: Stop::new(),
            commits: AtomicU64::new(0),
            nonces: record::Nonces::new(),
        });
        let tasks = Tasks::new();
        tasks.spawn("etcd watch", follow::run(shared.clone(), state));
        tasks.spawn("etcd reads", gate::run(shared.clone(), asked));
        tasks.spawn("etcd compaction", compact::run(shared.clone(), options.compact_after));
        let permits = Semaphore::new(limits.queue_commits_max.min(Semaphore::MAX_PERMITS));
        Ok(Etcd { shared, tasks, questions, permits })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns when the local index holds everything that was committed before the call, by whomever. Concurrent calls
    /// share one read of the cluster.
    pub(crate) async fn current(&self) -> Result<(), CommitError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.questions.send(reply).map_err(|_| CommitError::Stopped)?;
        answer.await.unwrap_or(Err(CommitError::Stopped))
    }

    /// Completes with the reason when the partition cannot be used any more.
    pub(crate) async fn failed(&self) -> String {
        let mut failed = self.shared.failed.subscribe();
        let reason = failed.wait_for(Option::is_some).await.expect("this handle keeps the sender");
        reason.clone().expect("waited for it")
    }

    /// Ends the tasks and all watches; later commits fail.
    pub(crate) async fn close(&self) {
        self.shared.stop.stop();
        self.permits.close();
        self.shared.hub.close();
        self.tasks.ended().await;
    }

    pub(crate) fn commits(&self) -> u64 {
        self.shared.commits.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.shared.stop.stop();
    }
}

impl Shared {
    /// Waits until the index is at a revision of etcd's, and says which of the partition's it is; `None` when that takes longer.
    async fn reaches(&self, in_etcd: i64, within: Duration) -> Option<Revision> {
        loop {
            let revision = self.revisions.load().of_etcd(in_etcd);
            if !self.hub.reaches(revision, within).await {
                return None;
            }
            // A raise that came meanwhile is followed by all that the index has not seen.
            if self.revisions.load().of_etcd(in_etcd) == revision {
                return Some(revision);
            }
        }
    }

    /// Ends the partition: what it holds cannot be trusted, or cannot be read.
    fn fail(&self, why: String) {
        tracing::error!(partition = self.partition, why, "the storage partition cannot be used any more");
        self.failed.send_replace(Some(why));
        self.hub.close();
        self.stop.stop();
    }
}
