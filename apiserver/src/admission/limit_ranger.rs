//! LimitRanger: defaults and bounds of a namespace's pods and claims.
//!
//! A namespace without limit ranges pays for one look into an ordered map.

use super::{Admitted, Attempt};
use crate::registry::Part;
use api::{ResourceId, Result};
use kinds::admission::limit_ranger;
use serde_json::Value;

/// The limit ranges of the request's namespace.
fn ranges(attempt: Attempt<'_>) -> Result<Vec<Value>> {
    let stored = attempt.stored_in(ResourceId::new("", "limitranges"), attempt.call.namespace)?;
    stored.iter().map(|range| range.to_value()).collect()
}

pub fn mutate(attempt: Attempt<'_>, new: &mut Value) -> Result<()> {
    if attempt.creates("", "pods") {
        ranges(attempt)?.iter().for_each(|range| limit_ranger::default_pod(new, range));
    }
    Ok(())
}

pub fn validate(attempt: Attempt<'_>, new: &Value, _: &mut Admitted) -> Result<()> {
    let faults: fn(&Value, &Value) -> Option<String> =
        if attempt.creates("", "pods") || (attempt.is("", "pods") && attempt.part == Part::Subresource("resize")) {
            limit_ranger::pod_faults
        } else if attempt.is("", "persistentvolumeclaims") && attempt.part == Part::Object {
            limit_ranger::claim_faults
        } else {
            return Ok(());
        };
    match ranges(attempt)?.iter().find_map(|range| faults(new, range)) {
        Some(why) => Err(attempt.forbidden(new, &why)),
        None => Ok(()),
    }
}
