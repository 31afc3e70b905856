//! Workloads as files: nodes, requests to send in steps, and what their figures are to be.

mod check;
mod pods;
mod report;
mod requests;
mod run;
mod spec;
mod watchers;

pub use run::run;
pub use spec::Workload;
