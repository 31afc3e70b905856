//! The test kit: real `ursa server` processes, a real containerd, kubectl, and waiting on conditions.
//!
//! Everything that is started has a fresh directory and ends when its value is dropped. After a failed test the
//! directory stays, and its path is printed.

mod answer;
mod component;
mod containerd;
mod etcd;
pub mod history;
mod hollow;
mod kubectl;
mod scratch;
mod server;
mod wait;

pub use answer::{Answer, run};
pub use component::Component;
pub use containerd::{Containerd, Task};
pub use etcd::Etcd;
pub use hollow::HollowNodes;
pub use kubectl::{Kubectl, Lines};
pub use scratch::Scratch;
pub use server::{Options, Server, Tenant, binary, ursa};
pub use wait::{leave_alone, wait_for};

use std::path::{Path, PathBuf};

/// A file of the checkout that the tests were built in.
pub fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
