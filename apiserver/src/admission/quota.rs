//! ResourceQuota: what a write uses is charged to the quotas of its namespace in the write's own transaction.
//!
//! Invariant: a quota's use is changed by the store's writer alone, from the use that is stored when the write's turn
//! comes. So any number of writes at once never exceed a quota, none of them waits for another, and what is refused or
//! fails for another reason charges nothing.

use super::{Admitted, Attempt};
use crate::registry::Part;
use api::{Object, ResourceId, Result};
use kinds::admission::quota::{Demand, Write as What};
use serde_json::Value;
use std::sync::Arc;
use store::{Change, Expect, Revise, Write};

/// Refuses what exceeds a quota now, and charges it when the write is stored.
pub fn validate(attempt: Attempt<'_>, new: &Value, admitted: &mut Admitted) -> Result<()> {
    let call = attempt.call;
    let subresource = match attempt.part {
        Part::Object | Part::Scale => "",
        Part::Subresource(subresource) => subresource,
        Part::Status | Part::Own(_) => return Ok(()),
    };
    if !call.kind.namespaced() {
        return Ok(());
    }
    let quotas = attempt.stored_in(ResourceId::new("", "resourcequotas"), call.namespace)?;
    if quotas.is_empty() {
        return Ok(());
    }
    let what = What { group: &call.kind.group, plural: &call.kind.plural, subresource };
    let Some(demand) = Demand::of(what, new, attempt.old).map(Arc::new) else { return Ok(()) };
    for quota in quotas {
        let charged = demand.charge(&quota.to_value()?).map_err(|why| attempt.forbidden(new, &why))?;
        if charged.is_some() {
            admitted.writes.push(charge(&quota, demand.clone()));
        }
    }
    Ok(())
}

/// The write that adds a demand to a quota's use.
fn charge(quota: &Object, demand: Arc<Demand>) -> Write {
    let revise = Revise::new(move |quota| {
        let unreadable = |_| "its quota cannot be read".to_owned();
        let mut value = quota.to_value().map_err(unreadable)?;
        let Some(used) = demand.charge(&value)? else { return Ok(None) };
        value["status"]["used"] = Value::Object(used);
        let fields = kinds::Registry::selectable(&quota.key.resource);
        Object::encode(quota.key.clone(), &mut value, fields).map(Some).map_err(unreadable)
    });
    let class = crate::registry::class_of(&quota.key);
    Write { key: quota.key.clone(), expect: Expect::Any, change: Change::Revise(revise), class }
}
