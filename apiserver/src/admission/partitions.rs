//! Ranges of tenants, which groups of API servers serve: no write lets two overlap or leaves a gap between them.

use super::{Admitted, Attempt};
use crate::peers::{self, Range, Ranges};
use api::{Cause, Error, ObjectKey, ResourceId, Result, SYSTEM_TENANT, Space};
use serde_json::Value;
use store::{Change, Class, Expect, Scope, Snapshot, Write};

const KIND: &str = "DataPartitionConfig";

/// Refuses a range that overlaps another or leaves a gap, and of two servers that write ranges at a time one.
pub fn validate(attempt: Attempt<'_>, new: &Value, admitted: &mut Admitted) -> Result<()> {
    if !is_config(attempt) {
        return Ok(());
    }
    let name = attempt.name(Some(new));
    let snapshot = attempt.call.server.store.snapshot();
    if let Some(fault) = stored(&snapshot).with(name, Some(Range::of(new))).fault() {
        let message = format!("Invalid value: {fault}");
        let cause = Cause { reason: "FieldValueInvalid".into(), message, field: "rangeStart".into() };
        return Err(Error::invalid("", KIND, name, vec![cause]));
    }
    admitted.writes.extend(in_turn(&snapshot)?);
    Ok(())
}

/// Refuses to take away a range from between others.
pub fn keep_ranges(attempt: Attempt<'_>, old: &Value) -> Result<()> {
    if !is_config(attempt) {
        return Ok(());
    }
    let name = attempt.name(Some(old));
    match stored(&attempt.call.server.store.snapshot()).with(name, None).fault() {
        Some(fault) => Err(Error::conflict("", peers::resource().resource(), name, &fault.to_string())),
        None => Ok(()),
    }
}

fn is_config(attempt: Attempt<'_>) -> bool {
    let resource = peers::resource();
    attempt.is(resource.group(), resource.resource())
}

fn stored(snapshot: &Snapshot) -> Ranges {
    Ranges::of_objects(snapshot.range(&Scope::Cluster(peers::resource().clone()), None))
}

/// Two writes of ranges that have not seen each other do not both happen: each writes the operators' tenant as it has seen
/// it, too.
fn in_turn(snapshot: &Snapshot) -> Result<Option<Write>> {
    let key = ObjectKey::new(ResourceId::new("", "tenants"), Space::Cluster, "", SYSTEM_TENANT)?;
    Ok(snapshot.get(&key).map(|tenant| {
        let (expect, change) = (Expect::Revision(tenant.revision), Change::Put((**tenant).clone()));
        Write { key, expect, change, class: Class::Durable }
    }))
}
