//! Which requests wait for which: the flow schemas and priority levels that Kubernetes 1.36 brings along, and how a
//! request finds its own.
//!
//! Invariant: pure. Who waits how long, the API server decides.

mod defaults;
mod schema;

pub use defaults::{DefaultFlows, default_flows};
pub use schema::{Classified, Flows, Level, Queuing};

/// The API group of flow schemas and priority levels.
pub const GROUP: &str = "flowcontrol.apiserver.k8s.io";
