//! What the writer needs of a storage engine: read everything once, then write batches.

use crate::open_error::OpenError;
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

/// A key with its new record; without one it is removed. A batch names a key once.
pub(crate) type Change = (String, Option<Vec<u8>>);

/// What is called with every key and record.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), OpenError>;

/// A durable, ordered map of bytes with atomic batches. Blocking; used by one thread.
pub(crate) trait Engine: Send {
    /// Reads everything in key order. Returns the latest revision that is known to have been synced: when less is
    /// found, the engine has lost it.
    fn load(&mut self, visit: Visit<'_>) -> Result<Revision, OpenError>;

    /// Writes all changes or none, which bring the store to `revision`. After an error the engine is not used again.
    fn commit(&mut self, changes: Vec<Change>, revision: Revision, durability: Durability) -> Result<(), Failed>;
}

/// The engine could not write.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
