//! The table of controllers. A new one is a module and a row.

mod certificate_signing;
mod content;
mod daemon_set;
mod deployment;
mod disruption;
mod each_namespace;
mod expectations;
mod garbage;
mod int_or_percent;
mod namespace;
mod node;
pub mod owner;
mod pod_control;
mod pod_garbage;
mod pod_owner;
mod replica_set;
mod revisions;
mod root_ca;
mod service_account;
mod stateful_set;
mod taint_eviction;
mod template;
mod tenant;

use crate::runner::Declaration;
use api::Error;

/// Every controller, by its name in `--controllers`.
pub const ALL: &[Declaration] = &[
    certificate_signing::DECLARATION,
    daemon_set::DECLARATION,
    deployment::DECLARATION,
    garbage::DECLARATION,
    namespace::DECLARATION,
    node::DECLARATION,
    pod_garbage::DECLARATION,
    replica_set::REPLICA_SET,
    replica_set::REPLICATION_CONTROLLER,
    root_ca::DECLARATION,
    service_account::DECLARATION,
    stateful_set::DECLARATION,
    taint_eviction::DECLARATION,
    tenant::DECLARATION,
];

/// Whether a write failed because its namespace is going or gone, so that there is nothing to be done.
fn is_namespace_gone(error: &Error) -> bool {
    error.is_not_found() || error.causes().iter().any(|c| c.reason == "NamespaceTerminating")
}
