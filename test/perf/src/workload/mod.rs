//! Workloads as files: nodes, objects to create in steps, and how fast the pods of the measured step are to be bound.

mod check;
mod report;
mod run;
mod spec;

pub use run::run;
pub use spec::Workload;
