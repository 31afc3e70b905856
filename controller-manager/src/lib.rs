//! The controllers: each makes what is into what was asked for, over all tenants, through the API alone.
//!
//! A controller is a module with pure decisions (a view in, actions out) and a short reconcile that reads the shared
//! caches, decides and acts. It acts as its own service account of the tenant that the object belongs to, so that a
//! mistake of one controller cannot leave a tenant.

mod context;
mod controllers;
mod informers;
mod instances;
mod recorder;
mod runner;
mod set;
#[cfg(test)]
mod tests;
mod view;

pub use controllers::services::load_balancers::Pool as LoadBalancerPool;
pub use instances::Sharing;
pub use runner::{Config, ReadRequest, Requested, Sign, run};
pub use set::ControllerSet;
