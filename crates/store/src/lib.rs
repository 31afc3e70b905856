//! The store of one partition: a growing sequence of revisions, each one transaction.
//!
//! ```text
//!   commit ─▶ queue ─▶ writer ─▶ engine (one sync per batch) ─▶ hub ─┬▶ snapshot ─▶ reads
//!                        └────────────── acknowledge ◀───────────────┴▶ history, inboxes ─▶ watches
//! ```
//!
//! A commit is durable, then visible to readers and watchers, then acknowledged, in this order. Reads are served from
//! immutable snapshots in memory; the disk is read only when the store is opened.
//! Invariant: no lock is held across an await, and nothing but the writer's own thread touches the disk.
//! Knows nothing about HTTP, kinds or permissions.

mod backup;
mod data_dir;
mod engine;
mod etcd;
mod event;
mod fence;
mod history;
mod hub;
mod inbox;
mod load;
mod log;
mod meter;
mod moving;
mod open_error;
mod partition;
mod queue;
mod record;
mod restore;
mod scope;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;
mod transaction;
mod version;
mod watch;
mod writer;

pub use backup::{Backup, BackupError, Record, Restore, extract};
pub use etcd::{EtcdOptions, EtcdTls};
pub use event::{Delivery, Event, EventKind};
pub use meter::Held;
pub use open_error::OpenError;
pub use partition::Partition;
pub use restore::{MOVE_FINALIZER, RestoreError, Restored, restore};
pub use scope::Scope;
pub use snapshot::{Routes, Snapshot};
pub use store::{FieldsOf, Limits, Stats, Store, TooOld, Whose};
pub use transaction::{Change, Class, CommitError, Expect, Revise, Revised, Write};
pub use version::{PartitionId, Version};
pub use watch::{Watch, WatchEnded};
