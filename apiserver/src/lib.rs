//! The API server: HTTP in front of the store.
//!
//! A request's way: [`handler`] parses the path, authenticates, decides the tenant and authorizes; [`objects`] decodes;
//! [`registry`] does what every kind has in common. Kinds differ in rows and strategies (`crates/kinds`) alone.
//!
//! Invariant: the key to an object comes from a [`target::Target`], and that from the tenant decision.

mod actions;
mod admission;
mod aggregation;
mod allocation;
mod audit;
mod authn;
mod authz;
mod backup;
mod body;
mod compiled;
mod compress;
mod connect;
mod conversion;
mod custom;
mod discovery;
mod egress;
mod encodings;
mod eviction;
mod fairness;
mod fence;
mod furnish;
#[cfg(test)]
mod fuzzed;
mod handler;
mod listen;
mod metrics;
mod moves;
mod negotiate;
mod nodes;
mod objects;
mod openapi;
mod options;
mod order;
mod patch;
mod path;
mod peers;
mod placements;
#[cfg(test)]
mod planted;
mod projection;
mod proxy;
mod reauthorize;
mod registry;
mod resource_metrics;
mod respond;
mod rest;
mod reviews;
mod server;
mod shared;
mod storage_clusters;
mod subresources;
mod target;
#[cfg(test)]
mod threats;
pub mod usage;

pub use audit::{Audit, AuditConfig};
pub use egress::Networks;
pub use fairness::Limits;
pub use listen::{in_process, serve, tls_config};
pub use moves::follow as follow_moves;
pub use nodes::{Dial, NoNodes, Stream};
pub use peers::Peering;
use registry::random_suffix;
pub use server::{Config, Server};
pub use storage_clusters::{ROUTES, follow as follow_storage_clusters};

/// Reads the first document of a YAML file that configures the server; the error is a sentence.
pub fn read_yaml(bytes: &[u8]) -> Result<serde_json::Value, String> {
    let document = schema::decode_yaml(bytes, schema::FieldValidation::Ignore);
    document.map(|document| document.value).map_err(|error| error.message().to_owned())
}
