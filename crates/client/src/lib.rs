//! How components reach the API: a tenant-aware client (in process or over the network), a cache kept current by list
//! and watch, and a work queue.
//!
//! Invariant: a client's identity is fixed in its transport; nothing here can change who it is.
//! Invariant: no cached object is found without its tenant.

mod cache;
mod client;
mod connector;
mod discovery;
mod events;
mod http;
mod kubeconfig;
mod params;
mod path;
mod queue;
mod reflector;
mod remote;
mod resource;
mod transport;
mod watch;

pub use cache::{Cache, Index, ObjectRef};
pub use client::{Client, List};
pub use events::{Change, Events};
pub use http::HttpTransport;
pub use kubeconfig::Kubeconfig;
pub use params::{DeleteParams, ListParams, PatchType, Propagation, WatchParams};
pub use queue::{Work, WorkQueue};
pub use reflector::{Reflector, reflect};
pub use remote::Remote;
pub use resource::*;
pub use transport::{Body, Connect, Transport};
pub use watch::{WatchEvent, WatchStream};
