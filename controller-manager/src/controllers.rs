//! The table of controllers. A new one is a module and a row.

mod certificates;
mod cluster_role_aggregation;
mod content;
mod cron_job;
mod custom_resource_definition;
mod daemon_set;
mod deployment;
mod disruption;
mod disruption_budget;
mod each_namespace;
mod expectations;
mod garbage;
mod horizontal_pod_autoscaler;
mod int_or_percent;
mod job;
mod namespace;
mod node;
pub mod owner;
mod pod_control;
mod pod_garbage;
mod pod_owner;
mod replica_set;
mod resource_claims;
mod resource_quota;
mod revisions;
mod root_ca;
mod scale;
mod service_account;
mod service_account_tokens;
pub mod services;
mod stateful_set;
mod taint_eviction;
mod template;
mod tenant;
mod ttl_after_finished;
mod volumes;
mod written;

use crate::runner::Declaration;
use api::Error;

/// Every controller, by its name in `--controllers`.
pub const ALL: &[Declaration] = &[
    certificates::approving::DECLARATION,
    certificates::cleaning::DECLARATION,
    certificates::signing::DECLARATION,
    cluster_role_aggregation::DECLARATION,
    cron_job::DECLARATION,
    custom_resource_definition::DECLARATION,
    daemon_set::DECLARATION,
    deployment::DECLARATION,
    disruption_budget::DECLARATION,
    garbage::DECLARATION,
    horizontal_pod_autoscaler::DECLARATION,
    job::DECLARATION,
    namespace::DECLARATION,
    node::DECLARATION,
    pod_garbage::DECLARATION,
    replica_set::REPLICATION_CONTROLLER,
    replica_set::REPLICA_SET,
    resource_claims::DECLARATION,
    resource_quota::DECLARATION,
    root_ca::DECLARATION,
    service_account::DECLARATION,
    service_account_tokens::DECLARATION,
    services::endpoint_slices::DECLARATION,
    services::endpoints::DECLARATION,
    services::load_balancers::DECLARATION,
    services::mirroring::DECLARATION,
    stateful_set::DECLARATION,
    taint_eviction::DECLARATION,
    tenant::DECLARATION,
    ttl_after_finished::DECLARATION,
    volumes::binder::DECLARATION,
    volumes::ephemeral::DECLARATION,
    volumes::protection::ATTRIBUTES_CLASS,
    volumes::protection::CLAIM,
    volumes::protection::VOLUME,
];

/// Whether a write failed because its namespace is going or gone, so that there is nothing to be done.
fn is_namespace_gone(error: &Error) -> bool {
    error.is_not_found() || error.causes().iter().any(|c| c.reason == "NamespaceTerminating")
}
