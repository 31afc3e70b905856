//! Tasks and shutdown, logs and metrics: what every process needs and no component should own.
//!
//! Invariant: knows no kind of object.

mod background;
pub mod logs;
pub mod metrics;
pub mod signals;
mod supervisor;

pub use background::Background;
pub use supervisor::{Died, Phase, Stop, Supervisor, Tasks};
