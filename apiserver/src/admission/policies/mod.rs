//! Policies of admission that are expressions: those of a tenant, compiled once for each change of them, and asked about
//! each write of that tenant. A tenant without policies pays for four comparisons of revisions.

mod asks;
mod compile;
mod matching;
mod mutate;
mod run;
mod validate;

pub use mutate::mutate;
pub use validate::{validate, validate_delete};

use crate::server::Server;
use api::{Object, ResourceId, Result, TenantName};
use compile::TenantPolicies;
use dashmap::DashMap;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const GROUP: &str = "admissionregistration.k8s.io";
const VALIDATING: [&str; 2] = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
const MUTATING: [&str; 2] = ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"];

/// Tenants that are gone are looked for once the cache holds so many more than when they were last forgotten.
const FORGET_AFTER: usize = 64;

/// The compiled policies of each tenant, compiled again when its policies or bindings have changed.
///
/// Invariant: it holds tenants that write while anybody has policies, most of them with none, and at most twice as many as
/// there were when gone ones were last forgotten, and a few.
#[derive(Default)]
pub struct PolicyCache {
    compiled: DashMap<TenantName, Compiled>,
    /// How many tenants were left when those that are gone were last forgotten.
    kept: AtomicUsize,
}

struct Compiled {
    /// The last change of any policy or binding of any tenant, when `print` was taken.
    checked: [u64; 4],
    /// How many policies and bindings this tenant has, and their newest revision.
    print: [(usize, u64); 4],
    policies: Arc<TenantPolicies>,
}

impl PolicyCache {
    /// The policies of a tenant as of now; `None` if it has none.
    fn of(&self, server: &Server, tenant: &TenantName) -> Result<Option<Arc<TenantPolicies>>> {
        let [a, b] = VALIDATING;
        let [c, d] = MUTATING;
        let resources = [a, b, c, d].map(|plural| ResourceId::new(GROUP, plural));
        let checked = resources.each_ref().map(|resource| server.store.resource_revision(resource));
        if checked == [0; 4] {
            return Ok(None);
        }
        if let Some(found) = self.compiled.get(tenant).filter(|found| found.checked == checked) {
            return Ok(Some(found.policies.clone()).filter(|policies| !policies.is_empty()));
        }
        let snapshot = server.store.snapshot();
        let objects = resources.map(|resource| {
            snapshot.range(&store::Scope::Tenant(resource, tenant.clone()), None).cloned().collect::<Vec<_>>()
        });
        let print = objects.each_ref().map(|list| (list.len(), list.iter().map(|o| o.revision).max().unwrap_or(0)));
        if let Some(mut found) = self.compiled.get_mut(tenant).filter(|found| found.print == print) {
            found.checked = checked;
            return Ok(Some(found.policies.clone()).filter(|policies| !policies.is_empty()));
        }
        let values = |list: &[Arc<Object>]| list.iter().map(|object| object.to_value()).collect::<Result<Vec<Value>>>();
        let [policies, bindings, mutating, mutating_bindings] = &objects;
        let policies = Arc::new(TenantPolicies::compile(
            (&values(policies)?, &values(bindings)?),
            (&values(mutating)?, &values(mutating_bindings)?),
        ));
        // Of a tenant that is not there, nothing is kept.
        if server.tenant(tenant).is_some() {
            self.compiled.insert(tenant.clone(), Compiled { checked, print, policies: policies.clone() });
            self.forget_gone(|tenant| server.tenant(tenant).is_some());
        }
        Ok(Some(policies).filter(|policies| !policies.is_empty()))
    }

    /// Forgets tenants that are gone, at a cost that is small for each tenant that came since the last time.
    fn forget_gone(&self, is_there: impl Fn(&TenantName) -> bool) {
        let kept = self.kept.load(Ordering::Relaxed);
        if self.compiled.len() > kept.saturating_mul(2).saturating_add(FORGET_AFTER) {
            self.compiled.retain(|tenant, _| is_there(tenant));
            self.kept.store(self.compiled.len(), Ordering::Relaxed);
        }
    }
}

/// The policies that may have a say in a write.
fn of_attempt(attempt: super::Attempt<'_>) -> Result<Option<Arc<TenantPolicies>>> {
    let call = attempt.call;
    // No policy is asked about policies: nobody could take back one that refuses everything.
    if call.kind.group == GROUP && VALIDATING.iter().chain(&MUTATING).any(|plural| *plural == call.kind.plural) {
        return Ok(None);
    }
    match call.target.tenant() {
        Some(tenant) => call.server.policies.of(call.server, tenant),
        None => Ok(None),
    }
}
