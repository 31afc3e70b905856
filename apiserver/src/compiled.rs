//! What is compiled of a tenant's objects of some kinds, once for each change of them. A tenant without such objects pays for
//! a comparison of revisions.

use crate::server::Server;
use api::{Object, ResourceId, Result, TenantName};
use dashmap::DashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tenants that are gone are looked for once the cache holds so many more than when they were last forgotten.
const FORGET_AFTER: usize = 64;

/// A compiled value per tenant.
///
/// Invariant: it holds tenants that ask while anybody has such objects, most of them with none, and at most twice as many as
/// there were when gone ones were last forgotten, and a few.
pub struct PerTenant<T, const N: usize> {
    resources: [ResourceId; N],
    compiled: DashMap<TenantName, Compiled<T, N>>,
    /// How many tenants were left when those that are gone were last forgotten.
    kept: AtomicUsize,
}

struct Compiled<T, const N: usize> {
    /// The last change of any such object of any tenant, when `print` was taken.
    checked: [u64; N],
    /// How many of each kind this tenant has, and their newest revision.
    print: [(usize, u64); N],
    /// `None` for a tenant that has no such objects.
    value: Option<Arc<T>>,
}

impl<T, const N: usize> PerTenant<T, N> {
    pub fn new(resources: [ResourceId; N]) -> PerTenant<T, N> {
        PerTenant { resources, compiled: DashMap::new(), kept: AtomicUsize::new(0) }
    }

    /// The value of a tenant as of now; `None` if it has no such objects.
    pub fn of(
        &self,
        server: &Server,
        tenant: &TenantName,
        compile: impl FnOnce(&[Vec<Arc<Object>>; N]) -> Result<T>,
    ) -> Result<Option<Arc<T>>> {
        let checked = self.resources.each_ref().map(|resource| server.store.resource_revision(resource));
        if checked == [0; N] {
            return Ok(None);
        }
        if let Some(found) = self.compiled.get(tenant).filter(|found| found.checked == checked) {
            return Ok(found.value.clone());
        }
        let snapshot = server.store.snapshot();
        let objects = self.resources.each_ref().map(|resource| {
            let scope = store::Scope::Tenant((*resource).clone(), tenant.clone());
            snapshot.range(&scope, None).cloned().collect::<Vec<_>>()
        });
        let print = objects.each_ref().map(|list| (list.len(), list.iter().map(|o| o.revision).max().unwrap_or(0)));
        if let Some(mut found) = self.compiled.get_mut(tenant).filter(|found| found.print == print) {
            found.checked = checked;
            return Ok(found.value.clone());
        }
        let is_empty = objects.iter().all(Vec::is_empty);
        let value = if is_empty { None } else { Some(Arc::new(compile(&objects)?)) };
        // Of a tenant that is not there, nothing is kept.
        if server.tenant(tenant).is_some() {
            self.compiled.insert(tenant.clone(), Compiled { checked, print, value: value.clone() });
            self.forget_gone(|tenant| server.tenant(tenant).is_some());
        }
        Ok(value)
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
