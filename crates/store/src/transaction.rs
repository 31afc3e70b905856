//! What callers ask the writer to do, and what it makes of it: events on the state, or a reason why not.
//!
//! Pure: no clock, no disk.

use crate::event::{Event, EventKind};
use crate::fence;
use crate::meter::{Held, Meter};
use crate::snapshot::State;
use api::{Object, ObjectKey, Revision, TenantName};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

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
    /// Replaces by what is made of the object as it is when the write's turn comes. Does nothing where there is none.
    Revise(Revise),
}

/// What [`Revise`] makes of an object: the next state, `None` for no change, or why the transaction must not happen.
pub type Revised = Result<Option<Object>, String>;

/// Makes the next state of an object in the writer's thread, between all other writes: short and without waiting.
#[derive(Clone)]
pub struct Revise {
    make: Arc<Make>,
    /// Whose holdings it asks for.
    of: Option<TenantName>,
}

type Make = dyn Fn(&Object, Held) -> Revised + Send + Sync;

impl Revise {
    pub fn new(revise: impl Fn(&Object) -> Revised + Send + Sync + 'static) -> Revise {
        Revise { make: Arc::new(move |object, _| revise(object)), of: None }
    }

    /// With what a tenant holds after the writes that come before this one, in its transaction too.
    pub fn metered(of: TenantName, revise: impl Fn(&Object, Held) -> Revised + Send + Sync + 'static) -> Revise {
        Revise { make: Arc::new(revise), of: Some(of) }
    }

    /// `pending` are the events that are decided and not published yet.
    fn make(&self, object: &Object, meter: &Meter, pending: &[Arc<Event>]) -> Revised {
        (self.make)(object, self.of.as_ref().map(|tenant| meter.with(tenant, pending)).unwrap_or_default())
    }
}

impl fmt::Debug for Revise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revise")
    }
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
            Change::Delete | Change::Revise(_) => None,
        }
    }

    /// Whether the precondition holds for the object as it is now.
    fn check(&self, current: Option<&Arc<Object>>) -> Result<(), CommitError> {
        match (self.expect, current) {
            (Expect::Absent, Some(current)) => Err(CommitError::Exists(current.clone())),
            (Expect::Revision(revision), current) if current.is_none_or(|c| c.revision != revision) => {
                Err(CommitError::Stale { current: current.cloned() })
            }
            (Expect::Present, None) => Err(CommitError::Absent),
            (Expect::Absent | Expect::Revision(_) | Expect::Present | Expect::Any, _) => Ok(()),
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
    /// A [`Revise`] did not let it happen; its words.
    #[error("{0}")]
    Refused(String),
    /// Too much is waiting to be written; the same commit can succeed later.
    #[error("too many writes are waiting for the disk")]
    Full,
    /// The disk or the storage cluster is full; the same commit can succeed when there is room again.
    #[error("{0}")]
    NoRoom(String),
    /// The storage cluster cannot take it now, and why; where it says so, whether it was written is unknown.
    #[error("{0}")]
    Unavailable(String),
    /// The tenant is on its way to another partition; the same commit can succeed there.
    #[error("the tenant is being moved to another storage cluster")]
    Moving,
    /// More than the storage cluster takes in one transaction, and what.
    #[error("the storage cluster takes no such transaction: {0}")]
    TooLarge(String),
    /// The store is closed, or its disk has failed. Whether a commit that was under way is on disk is unknown.
    #[error("the store has stopped")]
    Stopped,
}

/// Makes all changes of a transaction under the next revision behind `floor` and appends their events, or none. `events` are
/// those that are decided and not published yet; `meter` knows the published ones.
pub(crate) fn transact(
    state: &mut State,
    meter: &Meter,
    (writes, floor): (Vec<Write>, Revision),
    events: &mut Vec<Arc<Event>>,
    now: Instant,
) -> Result<Vec<Arc<Object>>, CommitError> {
    fence::pass(state, &writes)?;
    let revision = state.revision.max(floor) + 1;
    let first = events.len();
    for write in writes {
        match event(state, (meter, events), write, revision, now) {
            Ok(None) => {}
            Ok(Some(event)) => {
                state.apply(&event);
                events.push(Arc::new(event));
            }
            Err(error) => {
                events.drain(first..).rev().for_each(|event| state.undo(&event));
                return Err(error);
            }
        }
    }
    let made = &events[first..];
    if !made.is_empty() {
        state.advance(revision, made);
    }
    Ok(made.iter().map(|event| event.object.clone()).collect())
}

/// What a write does to the state as it is now; `None` for nothing.
fn event(
    state: &State,
    (meter, pending): (&Meter, &[Arc<Event>]),
    write: Write,
    revision: Revision,
    now: Instant,
) -> Result<Option<Event>, CommitError> {
    let previous = state.get(&write.key);
    write.check(previous)?;
    let revised;
    let (kind, body) = match (&write.change, previous) {
        (Change::Put(object), None) => (EventKind::Added, object),
        (Change::Put(object), Some(_)) => (EventKind::Modified, object),
        (Change::DeleteAs(object), Some(_)) => (EventKind::Deleted, object),
        (Change::Delete, Some(previous)) => (EventKind::Deleted, &**previous),
        (Change::Delete | Change::DeleteAs(_), None) => return Err(CommitError::Absent),
        (Change::Revise(_), None) => return Ok(None),
        (Change::Revise(revise), Some(previous)) => {
            match revise.make(previous, meter, pending).map_err(CommitError::Refused)? {
                None => return Ok(None),
                Some(object) => {
                    revised = object;
                    (EventKind::Modified, &revised)
                }
            }
        }
    };
    let mut object = body.at_revision(revision);
    if let Some(previous) = previous {
        // All versions of an object share one key in memory.
        object.key = previous.key.clone();
    }
    let silent = fence::is_silent(state, &object.key);
    Ok(Some(Event::new(kind, Arc::new(object), previous.cloned(), now).silent(silent)))
}
