//! The agent of one node: runs the pods that are bound to it over CRI, reports them and the node to the API, and serves
//! logs, exec, attach and port-forward to the API server.
//!
//! Invariant: it reaches the API only as the node's own identity, through `client`.
//! Invariant: a restart of the agent neither stops nor restarts a container; what runs is adopted by its labels.

mod admission;
mod agent;
mod backoff;
mod cluster;
mod config;
mod container;
mod cri;
mod dirs;
mod env;
mod events;
mod expand;
mod handler;
mod image;
mod labels;
mod logs;
mod machine;
mod memory;
mod node;
mod observed;
mod plan;
mod pod;
mod resources;
mod sandbox;
mod server;
mod sources;
mod status;
mod usage;
mod volumes;
mod worker;

pub use agent::NodeAgent;
pub use config::{Config, RuntimeEndpoint, RuntimeEndpoints, Workload};
pub use server::NodeServer;

/// Why a node agent could not start or had to end. One sentence that names the thing and the mend.
#[derive(Debug)]
pub struct Error {
    message: String,
}

impl Error {
    fn new(message: String) -> Error {
        Error { message }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
