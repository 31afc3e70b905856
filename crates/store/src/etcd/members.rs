//! The members of one etcd cluster: requests go to one that answers, and what a failure means is decided here.

use super::EtcdOptions;
use crate::transaction::CommitError;
use etcd_client::{
    Certificate, Client, ConnectOptions, Error, GetOptions, GetResponse, Identity, KvClient, TlsOptions, Txn,
    TxnResponse, WatchClient,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// How long one member may take to answer; etcd itself gives up on a lost quorum after 7 s.
const ATTEMPT: Duration = Duration::from_secs(3);

/// How long all members together may take.
const REQUEST: Duration = Duration::from_secs(8);

/// After every member has failed.
const RETRY_AFTER: Duration = Duration::from_millis(100);

const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A connection over which nothing comes is probed; etcd refuses to be probed more often than every 5 s.
const PROBE_EVERY: Duration = Duration::from_secs(6);
const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// Pages of lists and events of watches may be large.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// Why a request had no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The revision that was asked for is not held any more.
    Compacted,
    /// The cluster has no room for writes.
    NoSpace,
    /// The request cannot be served as it is.
    Refused(String),
    /// No member could serve it.
    Unavailable(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Compacted => f.write_str("the revision has been compacted"),
            Failure::NoSpace => f.write_str("the storage cluster is out of space (etcd alarm NOSPACE)"),
            Failure::Refused(why) => write!(f, "the storage cluster refused the request: {why}"),
            Failure::Unavailable(why) => write!(f, "the storage cluster is not available: {why}"),
        }
    }
}

impl From<Failure> for CommitError {
    fn from(failure: Failure) -> CommitError {
        match failure {
            Failure::Refused(why) => CommitError::TooLarge(why),
            Failure::NoSpace => CommitError::NoRoom(failure.to_string()),
            other => CommitError::Unavailable(other.to_string()),
        }
    }
}

/// Clients of all members.
pub(super) struct Members {
    clients: Vec<Client>,
    /// The one that answered last.
    current: AtomicUsize,
}

impl Members {
    /// Prepares the clients; connections are made when they are needed.
    pub(super) async fn new(options: &EtcdOptions) -> Result<Members, String> {
        let mut connect = ConnectOptions::new()
            .with_require_leader(true)
            .with_connect_timeout(CONNECT_WITHIN)
            .with_keep_alive(PROBE_EVERY, PROBE_WITHIN)
            .with_keep_alive_while_idle(true);
        if let Some(tls) = &options.tls {
            let mut config = TlsOptions::new();
            if let Some(ca) = &tls.ca {
                config = config.ca_certificate(Certificate::from_pem(ca));
            }
            if let Some((certificate, key)) = &tls.identity {
                config = config.identity(Identity::from_pem(certificate, key));
            }
            connect = connect.with_tls(config);
        }
        let mut clients = Vec::new();
        for server in &options.servers {
            let client = Client::connect([server], Some(connect.clone())).await;
            clients.push(client.map_err(|e| format!("{server}: {e}"))?);
        }
        if clients.is_empty() {
            return Err("no server is named".to_owned());
        }
        Ok(Members { clients, current: AtomicUsize::new(0) })
    }

    /// The member that watches begin at next: after a failure another than before.
    pub(super) fn watcher(&self, failures: usize) -> WatchClient {
        let at = (self.current.load(Ordering::Relaxed) + failures) % self.clients.len();
        self.clients[at].watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// A linearizable read.
    pub(super) async fn get(&self, key: &str, options: GetOptions) -> Result<GetResponse, Failure> {
        let get = |mut kv: KvClient| {
            let (key, options) = (key.to_owned(), options.clone());
            async move { kv.get(key, Some(options)).await }.boxed()
        };
        self.call(get).await.map(|(response, _)| response)
    }

    /// Whether the transaction's guards held, at which revision; and whether an earlier attempt at it, whose answer was
    /// lost, may have happened.
    pub(super) async fn txn(&self, txn: Txn) -> Result<(TxnResponse, bool), Failure> {
        let attempt = |mut kv: KvClient| {
            let txn = txn.clone();
            async move { kv.txn(txn).await }.boxed()
        };
        self.call(attempt).await
    }

    pub(super) async fn compact(&self, revision: i64) -> Result<(), Failure> {
        self.call(|mut kv: KvClient| async move { kv.compact(revision, None).await }.boxed()).await.map(drop)
    }

    /// Asks one member after the other. The flag says whether an attempt failed without an answer.
    async fn call<T>(
        &self,
        request: impl Fn(KvClient) -> BoxFuture<'static, Result<T, Error>>,
    ) -> Result<(T, bool), Failure> {
        let deadline = Instant::now() + REQUEST;
        let mut unanswered = false;
        let mut failures = 0;
        loop {
            let at = self.current.load(Ordering::Relaxed) % self.clients.len();
            let kv = self.clients[at].kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
            let why = match timeout_at(deadline.min(Instant::now() + ATTEMPT), request(kv)).await {
                Ok(Ok(answer)) => return Ok((answer, unanswered)),
                Ok(Err(error)) => match meaning(&error) {
                    Failure::Unavailable(why) => why,
                    other => return Err(other),
                },
                Err(_) => "no answer in time".to_owned(),
            };
            unanswered = true;
            failures += 1;
            tracing::debug!(member = at, why, "an etcd member did not serve a request");
            // Unless another request has moved on already.
            let next = at + 1;
            _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
            if Instant::now() >= deadline {
                return Err(Failure::Unavailable(why));
            }
            if failures % self.clients.len() == 0 {
                _ = timeout(RETRY_AFTER, std::future::pending::<()>()).await;
            }
        }
    }
}

/// What an error says about the request.
pub(super) fn meaning(error: &Error) -> Failure {
    let Error::GRpcStatus(status) = error else { return Failure::Unavailable(error.to_string()) };
    let message = status.message();
    // By the texts of etcd's own errors, which its clients rely on. The codes are tonic's, which is not ours to name.
    if message.contains("database space exceeded") {
        Failure::NoSpace
    } else if message.contains("required revision has been compacted") {
        Failure::Compacted
    } else if ["request is too large", "too many operations", "duplicate key"].iter().any(|text| message.contains(text))
    {
        Failure::Refused(message.to_owned())
    } else {
        Failure::Unavailable(if message.is_empty() { status.to_string() } else { message.to_owned() })
    }
}
