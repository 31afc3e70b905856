//! All nodes of the process, in racks that have a connection each.

use crate::progress::Progress;
use crate::rack::Rack;
use crate::requests::Requests;
use crate::{Config, node};
use api::Error;
use client::Client;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use runtime::{Stop, Tasks};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Nodes on one connection: each has a watch open on it, and a server allows a connection only so many streams.
const RACK_NODES: u32 = 250;
/// Deletions under way at a time.
const DELETING_MAX: usize = 64;
/// Of failures that are alike only one in so many is logged.
const LOG_EVERY: u64 = 1000;

/// What all nodes share.
pub struct Fleet {
    pub config: Config,
    pub progress: Progress,
    pub tasks: Tasks,
    pub began: Instant,
    failures: AtomicU64,
}

impl Fleet {
    /// Takes note of a request that failed.
    pub fn failed(&self, what: &str, error: &Error) {
        self.progress.errors.add();
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        if failures.is_multiple_of(LOG_EVERY) {
            tracing::warn!(%error, failures, "cannot {what} a hollow node");
        }
    }
}

/// Makes a client with a connection of its own.
pub type Connect = Box<dyn Fn() -> api::Result<Client> + Send + Sync>;

/// Runs the nodes until `stop`. `connect` makes a client with a connection of its own; they act as an administrator of the
/// cluster, since nodes are everyone's.
///
/// Boxed, so that all of the nodes is compiled in this crate, and not in the one that runs them.
pub fn run(connect: Connect, config: Config, stop: Stop) -> BoxFuture<'static, Result<(), String>> {
    Box::pin(run_racks(connect, config, stop))
}

async fn run_racks(connect: Connect, config: Config, stop: Stop) -> Result<(), String> {
    config.check()?;
    let fleet = Arc::new(Fleet {
        config,
        progress: Progress::default(),
        tasks: Tasks::new(),
        began: Instant::now(),
        failures: AtomicU64::new(0),
    });
    let mut begin = 0;
    while begin < fleet.config.count {
        let end = (begin + RACK_NODES).min(fleet.config.count);
        let requests = Requests { client: connect().map_err(|e| e.to_string())? };
        // Opens the connection, so that the requests that follow share it.
        requests.check().await.map_err(|e| format!("the API cannot be reached: {e}"))?;
        let rack = Rack { fleet: fleet.clone(), requests, numbers: begin..end };
        fleet.tasks.spawn("rack", rack.run(stop.clone()));
        begin = end;
    }
    tokio::select! {
        biased;
        () = stop.stopped() => {}
        // Never ends.
        () = fleet.progress.tell() => {}
    }
    fleet.tasks.ended().await;
    if fleet.config.delete_nodes {
        delete(&Requests { client: connect().map_err(|e| e.to_string())? }, &fleet).await;
    }
    Ok(())
}

async fn delete(requests: &Requests, fleet: &Fleet) {
    let delete = |number| async move {
        match requests.delete_node(&node::name(&fleet.config, number)).await {
            Err(error) if !error.is_not_found() => fleet.failed("delete", &error),
            _ => {}
        }
    };
    stream::iter(0..fleet.config.count).for_each_concurrent(DELETING_MAX, delete).await;
}
