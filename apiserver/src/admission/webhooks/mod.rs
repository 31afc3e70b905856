//! Webhooks of admission: those of a tenant, read once for each change of them, and called about each write of that tenant
//! which they match. A tenant without webhooks pays for two comparisons of revisions.
//!
//! Invariant: a webhook is called about objects of its own tenant alone, and never about policies and webhooks.

mod call;
mod compile;
mod mutate;
mod review;

pub use call::validate;
pub use mutate::mutate;

use super::{Attempt, policies};
use crate::compiled::PerTenant;
use crate::server::Server;
use api::{Object, ResourceId, Result, TenantName};
use compile::TenantWebhooks;
use serde_json::Value;
use std::sync::Arc;

/// When webhooks are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Mutating,
    Validating,
}

/// The webhooks of each tenant, read again when their configurations have changed.
pub struct WebhookCache(PerTenant<TenantWebhooks, 2>);

impl Default for WebhookCache {
    fn default() -> WebhookCache {
        let plurals = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];
        WebhookCache(PerTenant::new(plurals.map(|plural| ResourceId::new(policies::GROUP, plural))))
    }
}

impl WebhookCache {
    fn of(&self, server: &Server, tenant: &TenantName) -> Result<Option<Arc<TenantWebhooks>>> {
        let values = |list: &[Arc<Object>]| list.iter().map(|object| object.to_value()).collect::<Result<Vec<Value>>>();
        self.0.of(server, tenant, |[mutating, validating]| {
            Ok(TenantWebhooks::compile(&values(mutating)?, &values(validating)?))
        })
    }
}

/// The webhooks that may have a say in a write.
pub fn of_attempt(attempt: Attempt<'_>) -> Result<Option<Arc<TenantWebhooks>>> {
    let call = attempt.call;
    match call.target.tenant() {
        Some(tenant) if attempt.is_asked_about() && !policies::is_exempt(attempt) => {
            call.server.webhooks.of(call.server, tenant)
        }
        _ => Ok(None),
    }
}
