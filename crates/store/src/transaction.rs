//! What callers ask the writer to do, and how it can fail.

use api::{Object, ObjectKey, Revision};
use std::sync::Arc;

/// A precondition, checked by the writer against everything committed before, in the same batch too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The object does not exist.
    Absent,
    /// The object exists at exactly this revision.
    Revision(Revision),
    /// The object exists.
    Present,
    /// None. (A deletion still needs an object.)
    Any,
}

/// What happens to the object.
#[derive(Clone, Debug)]
pub enum Change {
    /// Creates or replaces. The writer assigns the revision.
    Put(Object),
    /// Removes; the last state is the stored one.
    Delete,
    /// Removes; the last state is this one, which no reader ever sees stored.
    DeleteAs(Object),
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// After it is synced to disk.
    Durable,
    /// After it is handed to the operating system: survives the end of the process, and is synced within a second.
    Relaxed,
}

/// One write of a transaction.
#[derive(Clone, Debug)]
pub struct Write {
    pub key: ObjectKey,
    pub expect: Expect,
    pub change: Change,
    pub class: Class,
}

impl Write {
    /// The object that the caller brings, if any.
    pub(crate) fn body(&self) -> Option<&Object> {
        match &self.change {
            Change::Put(object) | Change::DeleteAs(object) => Some(object),
            Change::Delete => None,
        }
    }

    /// Whether the precondition holds for the object as it is now.
    pub(crate) fn check(&self, current: Option<&Arc<Object>>) -> Result<(), CommitError> {
        match (self.expect, current) {
            (Expect::Absent, Some(current)) => Err(CommitError::Exists(current.clone())),
            (Expect::Revision(revision), current) if current.is_none_or(|c| c.revision != revision) => {
                Err(CommitError::Stale { current: current.cloned() })
            }
            (Expect::Present, None) => Err(CommitError::Absent),
            (Expect::Absent | Expect::Any, None) => match self.change {
                Change::Put(_) => Ok(()),
                Change::Delete | Change::DeleteAs(_) => Err(CommitError::Absent),
            },
            (Expect::Revision(_) | Expect::Present | Expect::Any, _) => Ok(()),
        }
    }
}

/// Why nothing of a transaction was committed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// [`Expect::Absent`] did not hold.
    #[error("the object exists already")]
    Exists(Arc<Object>),
    /// [`Expect::Revision`] did not hold.
    #[error("the object has changed")]
    Stale { current: Option<Arc<Object>> },
    /// The object to replace or delete does not exist.
    #[error("the object does not exist")]
    Absent,
    /// Too much is waiting to be written; the same commit can succeed later.
    #[error("too many writes are waiting for the disk")]
    Full,
    /// The store is closed, or its disk has failed. Whether a commit that was under way is on disk is unknown.
    #[error("the store has stopped")]
    Stopped,
}
