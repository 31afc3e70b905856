//! The table of controllers. A new one is a module and a row.

mod deployment;
mod owner;
mod replica_set;

use crate::runner::Declaration;

/// Every controller, by its name in `--controllers`.
pub const ALL: &[Declaration] = &[deployment::DECLARATION, replica_set::DECLARATION];
