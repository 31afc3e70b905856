//! Who manages which fields of an object, and server-side apply.
//!
//! Everything here is pure: it takes an object as it is, what is wanted of it and the list of its managers, and gives the
//! object and the list as they are to be. Types are of built-in kinds, of custom ones, or deduced from values.

mod entries;
mod last_applied;
#[cfg(test)]
mod model;
mod set;
#[cfg(test)]
mod tests;
mod types;
mod update;
mod walk;

pub use entries::{Managed, Sent, same_but_times};
pub use set::FieldSet;
pub use types::{Typed, Types, builtin_type, deduced_type, empty_object};
pub use update::{Conflict, Refused, Versions, Writer, check};
