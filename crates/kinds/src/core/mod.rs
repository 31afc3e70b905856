//! Kinds of the core group that have no file of their own.

mod actions;
mod configuration;
mod controller_instances;
mod data_partition_configs;
mod endpoints;
mod events;
mod limits;
mod namespaces;
mod nodes;
mod storage_clusters;
mod tenants;

pub(crate) use actions::ACTIONS;
pub use actions::action_for;
pub(crate) use configuration::{CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS};
pub(crate) use controller_instances::CONTROLLER_INSTANCES;
pub(crate) use data_partition_configs::DATA_PARTITION_CONFIGS;
pub(crate) use endpoints::{ENDPOINT_SLICES, ENDPOINTS};
pub(crate) use events::{CORE_EVENTS, EVENTS, to_core, to_events};
pub(crate) use limits::{LIMIT_RANGES, RESOURCE_QUOTAS};
pub(crate) use namespaces::NAMESPACES;
pub(crate) use nodes::NODES;
pub(crate) use storage_clusters::STORAGE_CLUSTERS;
pub(crate) use tenants::TENANTS;
