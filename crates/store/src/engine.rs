//! What the writer needs of a storage engine: read everything once, then write batches.

use crate::open_error::OpenError;
use crate::snapshot::State;
use api::Revision;
use std::fmt;

/// How far a batch must have come when the engine returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Handed to the operating system.
    Buffered,
    /// Synced to disk, with everything before it.
    Synced,
}

/// A key with its new record; without one it is removed. Of several changes of a key in a batch the last one counts.
pub(crate) type Change = (String, Option<Vec<u8>>);

/// What is called with keys and records in the order in which they were written; without a record the key was removed.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], Option<&[u8]>) -> Result<(), String>;

/// A durable map of bytes with atomic batches. Blocking; used by one thread.
pub(crate) trait Engine: Send {
    /// Reads everything. Returns the latest revision that is known to have been synced: when less is found, the engine
    /// has lost it.
    fn load(&mut self, visit: Visit<'_>) -> Result<Revision, OpenError>;

    /// Writes all changes or none, which bring the store to `revision`. After [`Failed::Broken`] it is not used again.
    fn commit(&mut self, changes: &[Change], revision: Revision, durability: Durability) -> Result<(), Failed>;

    /// Called between batches with the state that they have led to, whose records it may write anew in the background to
    /// drop what is outdated. True while it does: then it wants to be called again soon.
    fn tidy(&mut self, state: &State) -> Result<bool, Failed>;
}

/// The engine could not write.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Nothing was written, for want of room; the same can succeed later.
    NoRoom(String),
    /// What is on disk is unknown from now on.
    Broken(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::NoRoom(why) | Failed::Broken(why) => f.write_str(why),
        }
    }
}
