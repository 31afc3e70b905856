//! Histories of what clients asked and were told, and the checks that no promise was broken in them.
//!
//! [`linear`] finds an order in which reads and writes of each object make sense; [`watches`] compares what watchers saw
//! with what was written. Both are pure. [`record`] makes histories of a running server.

pub mod linear;
pub mod record;
#[cfg(test)]
mod tests;
pub mod watches;

/// The number behind a `resourceVersion`.
pub type Revision = u64;
