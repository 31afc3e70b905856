//! Policies of admission that are expressions: those of a tenant, compiled once for each change of them, and asked about
//! each write of that tenant. A tenant without policies pays for four comparisons of revisions.

mod asks;
mod compile;
mod mutate;
mod run;
mod validate;

pub use mutate::mutate;
pub use validate::{validate, validate_delete};

pub(super) use run::{Asked, user_info};

use crate::compiled::PerTenant;
use crate::server::Server;
use api::{Object, ResourceId, Result, TenantName};
use compile::TenantPolicies;
use serde_json::Value;
use std::sync::Arc;

pub(super) const GROUP: &str = "admissionregistration.k8s.io";
const VALIDATING: [&str; 2] = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
const MUTATING: [&str; 2] = ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"];

/// The compiled policies of each tenant, compiled again when its policies or bindings have changed.
pub struct PolicyCache(PerTenant<TenantPolicies, 4>);

impl Default for PolicyCache {
    fn default() -> PolicyCache {
        let [a, b] = VALIDATING;
        let [c, d] = MUTATING;
        PolicyCache(PerTenant::new([a, b, c, d].map(|plural| ResourceId::new(GROUP, plural))))
    }
}

impl PolicyCache {
    /// The policies of a tenant as of now; `None` if it has none.
    fn of(&self, server: &Server, tenant: &TenantName) -> Result<Option<Arc<TenantPolicies>>> {
        let values = |list: &[Arc<Object>]| list.iter().map(|object| object.to_value()).collect::<Result<Vec<Value>>>();
        let found = self.0.of(server, tenant, |[policies, bindings, mutating, mutating_bindings]| {
            let validating = (&*values(policies)?, &*values(bindings)?);
            let mutating = (&*values(mutating)?, &*values(mutating_bindings)?);
            Ok(TenantPolicies::compile(validating, mutating))
        });
        Ok(found?.filter(|policies| !policies.is_empty()))
    }
}

/// The policies that may have a say in a write.
fn of_attempt(attempt: super::Attempt<'_>) -> Result<Option<Arc<TenantPolicies>>> {
    let call = attempt.call;
    if !attempt.is_asked_about() || is_exempt(attempt) {
        return Ok(None);
    }
    match call.target.tenant() {
        Some(tenant) => call.server.policies.of(call.server, tenant),
        None => Ok(None),
    }
}

/// Nobody is asked about policies and webhooks: one that refuses everything could not be taken back.
pub(super) fn is_exempt(attempt: super::Attempt<'_>) -> bool {
    attempt.call.kind.group == GROUP
}
