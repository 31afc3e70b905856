//! The one who writes the log: lines to files, files renamed when they are large, the policy read again when it changes.

use super::{AuditConfig, EVENTS, Line, read_policy};
use arc_swap::ArcSwap;
use policy::audit::Policy;
use runtime::Stop;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::Receiver;
use tokio::time::MissedTickBehavior;

/// How often it is looked whether the policy file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Lines that are written together.
const BATCH: usize = 256;

/// Files of tenants that are open at a time.
const OPEN_MAX: usize = 256;

/// Writes the log until it is stopped; what is queued then is still written.
pub struct Writer {
    config: AuditConfig,
    policy: Arc<ArcSwap<Policy>>,
    lines: Receiver<Line>,
    seen: Option<(SystemTime, u64)>,
    files: HashMap<PathBuf, Log>,
}

struct Log {
    file: BufWriter<File>,
    bytes: u64,
}

impl Writer {
    pub(super) fn new(config: AuditConfig, policy: Arc<ArcSwap<Policy>>, lines: Receiver<Line>) -> Writer {
        let seen = changed(&config.policy_file);
        Writer { config, policy, lines, seen, files: HashMap::new() }
    }

    /// Runs until `stop`. A disk that fails loses records, and is told of; it does not end the server.
    pub async fn run(mut self, stop: Stop) -> Result<(), io::Error> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                // Shutdown: what is queued is written below.
                () = stop.stopped() => break,
                // Cancel-safe: a tick that is not taken is taken next time.
                _ = look.tick() => self.look(),
                // Cancel-safe: lines that are not taken stay queued. The queue ends with the server.
                taken = self.lines.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    self.write(&mut batch);
                }
            }
        }
        while let Ok(line) = self.lines.try_recv() {
            batch.push(line);
        }
        self.write(&mut batch);
        Ok(())
    }

    pub(super) fn look(&mut self) {
        let now = changed(&self.config.policy_file);
        if now == self.seen {
            return;
        }
        self.seen = now;
        match read_policy(&self.config.policy_file) {
            Ok(policy) => {
                tracing::info!(file = %self.config.policy_file.display(), "the audit policy has changed");
                self.policy.store(Arc::new(policy));
                self.files.clear();
            }
            Err(why) => tracing::error!(why, "the audit policy is not used; the last one stays in force"),
        }
    }

    fn write(&mut self, batch: &mut Vec<Line>) {
        let per_tenant = self.policy.load().per_tenant;
        for line in batch.drain(..) {
            let path = if per_tenant {
                self.config.log_path.join(format!("{}.log", line.tenant))
            } else {
                self.config.log_path.clone()
            };
            if let Err(error) = self.append(&path, &line.text) {
                tracing::error!(%error, path = %path.display(), "an audit record is lost");
                EVENTS.with_label_values(&["lost"]).inc();
                self.files.remove(&path);
            }
        }
        for (path, log) in &mut self.files {
            if let Err(error) = log.file.flush() {
                tracing::error!(%error, path = %path.display(), "audit records are lost");
                EVENTS.with_label_values(&["lost"]).inc();
            }
        }
    }

    fn append(&mut self, path: &Path, text: &str) -> io::Result<()> {
        if !self.files.contains_key(path) {
            if self.files.len() >= OPEN_MAX {
                self.files.clear();
            }
            self.files.insert(path.to_owned(), Log::open(path)?);
        }
        let Some(log) = self.files.get_mut(path) else { return Ok(()) };
        if log.bytes > 0 && log.bytes + text.len() as u64 > self.config.max_bytes {
            log.file.flush()?;
            rotate(path, self.config.max_backups)?;
            *log = Log::open(path)?;
        }
        log.file.write_all(text.as_bytes())?;
        log.file.write_all(b"\n")?;
        log.bytes += text.len() as u64 + 1;
        Ok(())
    }
}

impl Log {
    /// For its owner alone: records tell who does what.
    fn open(path: &Path) -> io::Result<Log> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Log { file: BufWriter::new(file), bytes })
    }
}

/// `audit.log` becomes `audit.log.1`, which becomes `audit.log.2`; the oldest goes.
fn rotate(path: &Path, backups: usize) -> io::Result<()> {
    let numbered = |n: usize| PathBuf::from(format!("{}.{n}", path.display()));
    for n in (1..backups).rev() {
        if numbered(n).exists() {
            fs::rename(numbered(n), numbered(n + 1))?;
        }
    }
    if backups == 0 { fs::remove_file(path) } else { fs::rename(path, numbered(1)) }
}

fn changed(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
