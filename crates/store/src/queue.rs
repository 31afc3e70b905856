//! Commits that wait for the writer.
//!
//! Invariant: every commit that enters is answered: by the writer, or with `Stopped` when the queue is dropped with it.

use crate::store::Limits;
use crate::transaction::{CommitError, Write};
use api::{Object, Revision};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// What a commit costs beyond the bytes of its objects, per write.
const WRITE_OVERHEAD_BYTES: usize = 256;

/// The answer to a commit: the stored objects.
pub(crate) type Committed = Result<Vec<Arc<Object>>, CommitError>;

/// A commit on its way to the writer.
pub(crate) struct Commit {
    pub(crate) writes: Vec<Write>,
    /// The revision is to be behind this one.
    pub(crate) floor: Revision,
    pub(crate) reply: oneshot::Sender<Committed>,
    bytes: usize,
}

impl Commit {
    pub(crate) fn new(writes: Vec<Write>, floor: Revision, reply: oneshot::Sender<Committed>) -> Commit {
        let sizes = writes.iter().map(|w| w.body().map_or(0, |object| object.bytes.len()) + WRITE_OVERHEAD_BYTES);
        Commit { bytes: sizes.sum(), writes, floor, reply }
    }
}

/// What the writer finds to do.
pub(crate) enum Work {
    Batch(Vec<Commit>),
    /// Nothing has come until the deadline.
    Deadline,
    /// Nothing is left, and nothing will come.
    Closed,
}

pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    limits: Limits,
}

#[derive(Default)]
struct Waiting {
    commits: VecDeque<Commit>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Queue {
        Queue { waiting: Mutex::default(), changed: Condvar::new(), limits }
    }

    /// Refuses at once when too much is waiting. A commit larger than the limit is let in alone.
    pub(crate) fn push(&self, commit: Commit) -> Result<(), CommitError> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(CommitError::Stopped);
        }
        let bytes = waiting.bytes + commit.bytes;
        let full = waiting.commits.len() >= self.limits.queue_commits_max || bytes > self.limits.queue_bytes_max;
        if full && !waiting.commits.is_empty() {
            return Err(CommitError::Full);
        }
        waiting.bytes = bytes;
        waiting.commits.push_back(commit);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for commits and takes as many as fit in a batch, in their order.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Work {
        let mut waiting = self.waiting.lock();
        while waiting.commits.is_empty() {
            if waiting.closed {
                return Work::Closed;
            }
            match deadline {
                None => self.changed.wait(&mut waiting),
                Some(deadline) => {
                    if self.changed.wait_until(&mut waiting, deadline).timed_out() && waiting.commits.is_empty() {
                        return Work::Deadline;
                    }
                }
            }
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(next) = waiting.commits.front() {
            let fits = batch.len() < self.limits.batch_commits_max && bytes + next.bytes <= self.limits.batch_bytes_max;
            if !fits && !batch.is_empty() {
                break;
            }
            bytes += next.bytes;
            batch.extend(waiting.commits.pop_front());
        }
        waiting.bytes -= bytes;
        Work::Batch(batch)
    }

    /// Lets nothing more in. What is waiting can still be taken.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.changed.notify_one();
    }

    /// Closes, and answers what is waiting with `Stopped`.
    pub(crate) fn reject(&self) {
        self.close();
        let rejected = std::mem::take(&mut self.waiting.lock().commits);
        for commit in rejected {
            // The caller may have given up waiting.
            let _ = commit.reply.send(Err(CommitError::Stopped));
        }
    }
}
