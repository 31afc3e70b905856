//! The audit log: records of requests as JSON lines (`audit.k8s.io/v1` Events), as a policy file says.
//!
//! The policy file is read again when it changes; one that cannot be read leaves the last good one in force. It also says
//! whether all tenants share a file or each has its own. Records go through a queue to one writer.
//! Invariant: no request waits for the log unless the operator chose so; what does not fit the queue is counted.
//! Invariant: a request that was let in has one record of each stage that the policy keeps.

mod record;
mod writer;

pub use record::Record;
pub use writer::Writer;

use arc_swap::ArcSwap;
use policy::audit::Policy;
use runtime::metrics::IntCounterVec;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use tokio::sync::mpsc;

/// Records that wait to be written.
const QUEUE_MAX: usize = 10_000;

/// Where the log goes, and what may become of it.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    pub policy_file: PathBuf,
    /// The file of all records; with one file for each tenant, the folder that they are in.
    pub log_path: PathBuf,
    /// A file that has grown past this is renamed and begun anew.
    pub max_bytes: u64,
    /// So many renamed files are kept.
    pub max_backups: usize,
    /// Requests wait until their record is in the queue.
    pub blocking: bool,
}

/// One line, and whose file it belongs to where each tenant has its own.
pub(crate) struct Line {
    tenant: Arc<str>,
    text: String,
}

/// What requests see of the log.
pub struct Audit {
    policy: Arc<ArcSwap<Policy>>,
    queue: mpsc::Sender<Line>,
    blocking: bool,
}

static EVENTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    runtime::metrics::counter_vec(
        "apiserver_audit_event_total",
        "Audit records, by what became of them: queued, or lost because the queue was full or the disk failed.",
        &["outcome"],
    )
});

impl Audit {
    /// Reads the policy. The log is written by the second value, which must run. The error is a sentence for the operator.
    pub fn open(config: AuditConfig) -> Result<(Arc<Audit>, Writer), String> {
        let policy = Arc::new(ArcSwap::from_pointee(read_policy(&config.policy_file)?));
        let (queue, lines) = mpsc::channel(QUEUE_MAX);
        let audit = Audit { policy: policy.clone(), queue, blocking: config.blocking };
        Ok((Arc::new(audit), Writer::new(config, policy, lines)))
    }

    fn put(&self, line: Line) {
        let outcome = if self.queue.try_send(line).is_ok() { "queued" } else { "lost" };
        EVENTS.with_label_values(&[outcome]).inc();
    }

    /// As [`Audit::put`], but waits for room where the operator chose so.
    async fn put_last(&self, line: Line) {
        if !self.blocking {
            return self.put(line);
        }
        let outcome = if self.queue.send(line).await.is_ok() { "queued" } else { "lost" };
        EVENTS.with_label_values(&[outcome]).inc();
    }
}

fn read_policy(path: &Path) -> Result<Policy, String> {
    let name = path.display();
    let text = std::fs::read(path).map_err(|e| format!("--audit-policy-file {name} cannot be read: {e}"))?;
    let policy = crate::read_yaml(&text).map_err(|why| format!("--audit-policy-file {name}: {why}"))?;
    Policy::from_value(&policy).map_err(|why| format!("--audit-policy-file {name}: {why}"))
}

#[cfg(test)]
mod tests;
