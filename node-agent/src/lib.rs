//! The agent of one node: runs the pods that are bound to it over CRI, reports them and the node to the API, and serves
//! logs, exec, attach and port-forward to the API server.
//!
//! Invariant: it reaches the API only as the node's own identity, through `client`.
//! Invariant: a restart of the agent neither stops nor restarts a container; what runs is adopted by its labels.

mod backoff;
mod cluster;
mod config;
mod container;
mod cri;
mod dirs;
mod env;
mod expand;
mod labels;
mod memory;
mod observed;
mod plan;
mod pod;
mod resources;
mod sandbox;
mod sources;
mod status;

pub use config::{Config, RuntimeEndpoint, RuntimeEndpoints, Workload};

use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why a node agent could not start or had to end. One sentence that names the thing and the mend.
#[derive(Debug)]
pub struct Error {
    message: String,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The agent of one node.
pub struct NodeAgent {
    config: Config,
    connect: Arc<dyn client::Connect>,
}

impl NodeAgent {
    /// Prepares an agent; nothing happens until [`NodeAgent::run`].
    pub fn new(config: Config, connect: Arc<dyn client::Connect>) -> NodeAgent {
        NodeAgent { config, connect }
    }

    /// What answers the API server about this node's pods.
    pub fn server(&self) -> NodeServer {
        NodeServer {}
    }

    /// Runs until `stop`. Pods keep running when it ends.
    pub async fn run(self, stop: runtime::Stop) -> Result<(), Error> {
        let _ = (self.config, self.connect);
        stop.stopped().await;
        Ok(())
    }
}

/// Runs a node agent until `stop`.
pub async fn run(connect: Arc<dyn client::Connect>, config: Config, stop: runtime::Stop) -> Result<(), Error> {
    NodeAgent::new(config, connect).run(stop).await
}

/// Answers the API server about this node's pods: logs, exec, attach, port-forward. Cheap to clone.
#[derive(Clone)]
pub struct NodeServer {}

impl NodeServer {
    /// Serves one HTTP/1.1 connection until it ends. Only the API server may be at its other end.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        drop(stream);
    }
}
