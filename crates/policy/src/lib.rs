//! Who a caller is, which tenant a request reaches, and what it may do there.
//!
//! Invariant: pure. No task, no socket, no store; only [`pki`] touches files, in the folder it is given.
//! Invariant: an identity without a tenant does not exist; what names none is refused, never taken for `system`.
//! Invariant: a tenant's rules speak for identities of that tenant alone.

pub mod audit;
pub mod authn;
pub mod authz;
pub mod fairness;
#[cfg(test)]
mod fuzzed;
mod kubeconfig;
pub mod node;
pub mod pki;
pub mod rbac;
pub mod review;
pub mod tenancy;

pub use authz::authorize;
pub use kubeconfig::{KubeAuth, kubeconfig};
