//! Several instances of the controllers share the work, each for its part, with never two owners of one object.
//!
//! ```text
//!   hash of what a controller looks at ──▶ one of 64 slots ──▶ the table: which instance has the slot
//!
//!   an instance joins, or one goes ──▶ everyone computes the same new table from the old one, moving as little as can be
//!   a slot is to go elsewhere      ──▶ its owner stops work on it, lets what is in work end, and writes the new owner
//!   an instance falls silent       ──▶ the others delete it, and with it the right to its writes; then they take its slots
//! ```
//!
//! Invariant: the table is one object that changes only from the version that was looked at, so that a slot has one owner.
//! Invariant: an instance works only while it has said so recently that nobody may have deleted it yet; what it sends
//! later the server refuses, because it names the instance and its epoch with each write.

mod fenced;
mod member;
mod share;
mod slots;
mod table;
#[cfg(test)]
mod tests;

pub use fenced::Fenced;
pub use member::{Member, Sharing};
pub use share::{Part, Share, hash_of};
pub use slots::Slots;
