//! Rules in CEL: `x-kubernetes-validations` of an object, or of its change.

use super::Version;
use api::Cause;
use serde_json::Value;

/// Causes after which upstream does not evaluate rules: their values cannot be trusted to be of their types.
const BLOCKING: [&str; 5] =
    ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];

/// What the rules of a schema say of an object, after what is wrong with it by its schema alone. `old` is what an update
/// changes: rules of what did not change are not asked.
pub(super) fn evaluate(version: &Version, new: &Value, old: Option<&Value>, causes: &[Cause]) -> Vec<Cause> {
    if version.rules.is_empty() {
        return Vec::new();
    }
    if causes.iter().any(|cause| BLOCKING.contains(&cause.reason.as_str())) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                   complete validation";
        let message = format!("Invalid value: null: {why}");
        return vec![Cause { reason: "FieldValueInvalid".to_owned(), message, field: "<nil>".to_owned() }];
    }
    version.rules.validate(new, old)
}
