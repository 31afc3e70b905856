//! The scheduler: gives every waiting pod of every tenant a node.
//!
//! Invariant: the decision is pure ([`placement`]); what it needs is followed, and what it decides is done, at the edge.

mod effects;
#[cfg(test)]
mod oracle;
pub mod placement;
mod queue;
mod state;
mod wake;

use api::Error;
use std::sync::Arc;

/// What a scheduler is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pods with this `spec.schedulerName` are its own.
    pub scheduler_name: String,
}

impl Default for Config {
    fn default() -> Config {
        Config { scheduler_name: "default-scheduler".to_owned() }
    }
}

/// Schedules until it is told to stop.
pub async fn run(connect: Arc<dyn client::Connect>, config: Config, stop: runtime::Stop) -> Result<(), Error> {
    let (_, _) = (connect, config);
    stop.stopped().await;
    Ok(())
}
