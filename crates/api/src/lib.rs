//! The vocabulary that every component of Ursa shares: tenants, kinds, keys, objects as bytes, selectors, quantities,
//! and the one `Error` that leaves a component.
//!
//! Invariant: this crate is pure. It knows no clock, no socket, no file and no task.
//! Invariant: there is no key to a stored object without a tenant, except for the operators' cluster-scoped kinds,
//! whose space is visibly another ([`Space::Cluster`]).

mod error;
#[cfg(test)]
mod fuzzed;
mod header;
mod identity;
mod key;
mod kind;
mod object;
mod quantity;
mod scan;
pub mod selector;
mod time;

pub use error::{Cause, Error, Reason, Result};
pub use header::{Header, OwnerHash};
pub use identity::Identity;
pub use key::{ObjectKey, ResourceId, Space, TenantName, is_dns_label, is_dns_subdomain, is_path_segment};
pub use kind::{GroupVersion, Kind, Scope, Subresource, Verb};
pub use object::{Object, OwnerRef, Revision};
pub use quantity::Quantity;
pub use time::Timestamp;

/// The tenant of the operators. It always exists, cannot be deleted, and its roles may grant rights in other tenants.
pub const SYSTEM_TENANT: &str = "system";

/// In a URL, stands for every tenant. It can never name one.
pub const ALL_TENANTS: &str = "all";
