//! Pods on a real containerd, with an API of values in place of the server.

mod admission;
mod cluster;
mod front;
mod node;
mod pods;
mod remote;
