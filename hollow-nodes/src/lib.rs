//! Nodes without machines: the API traffic of many node agents from one process, for measuring a control plane and for
//! testing against a cluster that costs nothing.
//!
//! Each hollow node registers, renews its lease, tells its status, watches the pods bound to it, reports them running after
//! a while and lets them go when they are deleted. It runs nothing.
//! Invariant: all that it knows of a pod comes from the pod itself, so that it may be stopped and started at any time.

mod config;
mod fleet;
mod node;
mod plan;
mod pod;
mod progress;
mod rack;
mod requests;
mod usage;

pub use config::{Config, Delay, Share};
pub use fleet::run;
