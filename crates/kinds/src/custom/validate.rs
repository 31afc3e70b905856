//! What is wrong with an object of a kind that a tenant defines, in the order in which upstream looks.

use super::{Version, embedded, rules};
use crate::value::text;
use api::Cause;
use schema::structural::{check, repeated_items};
use serde_json::Value;

pub(super) fn create(version: &Version, value: &Value) -> Vec<Cause> {
    let mut causes = common(version, value, None);
    causes.extend(repeated_items(&version.schema, value));
    causes.extend(rules::evaluate(version, value, None, &causes));
    causes
}

pub(super) fn update(version: &Version, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = common(version, new, Some(old));
    causes.extend(new_repeated_items(version, new, old));
    causes.extend(rules::evaluate(version, new, Some(old), &causes));
    causes
}

pub(super) fn status(version: &Version, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let (Some(schema), Some(status)) = (version.schema.property("status"), new.get("status")) {
        causes.extend(check(schema, status, old.get("status"), "status"));
    }
    if let Some(scale) = &version.scale {
        causes.extend(scale.causes(new, false));
    }
    causes.extend(new_repeated_items(version, new, old));
    causes.extend(rules::evaluate(version, new, Some(old), &causes));
    causes
}

fn common(version: &Version, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = check(&version.schema, value, old, "");
    if let Some(scale) = &version.scale {
        causes.extend(scale.causes(value, true));
    }
    embedded::validate(&version.schema, value, "", &mut causes);
    causes
}

/// Items that repeat others, unless the old object has such already.
fn new_repeated_items(version: &Version, new: &Value, old: &Value) -> Vec<Cause> {
    let found = repeated_items(&version.schema, new);
    if found.is_empty() || !repeated_items(&version.schema, old).is_empty() { Vec::new() } else { found }
}

/// The kind and the version of a body, which must be those of the path.
pub(super) fn type_cause(version: &Version, value: &Value) -> Option<Cause> {
    let wanted = [("kind", version.kind.kind.clone()), ("apiVersion", version.kind.api_version())];
    let (field, wanted) = wanted.into_iter().find(|(field, wanted)| text(&value[*field]) != *wanted)?;
    let message = format!("Invalid value: {}: must be {wanted}", value[field]);
    Some(Cause { reason: "FieldValueInvalid".to_owned(), message, field: field.to_owned() })
}
