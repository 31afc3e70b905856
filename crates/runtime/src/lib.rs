//! Tasks and shutdown, logs and metrics: what every process needs and no component should own.
//!
//! Invariant: knows no kind of object.

mod supervisor;

pub use supervisor::{Died, Phase, Stop, Supervisor, Tasks};
