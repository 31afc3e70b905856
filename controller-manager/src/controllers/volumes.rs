//! Volumes: which claim gets which, what keeps them from going while they are used, and claims that pods bring along.

pub mod binder;
pub mod ephemeral;
pub mod protection;
