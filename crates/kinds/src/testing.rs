//! What tests of kinds share: objects as the server makes them of what clients send, and what it says of them.

use crate::{generic, registry, strategy};
use api::{Cause, Kind};
use schema::{FieldValidation, apply_defaults, builtin, conform};
use serde_json::{Value, json};

/// The preferred version of a kind.
pub(crate) fn kind(name: &str) -> &'static Kind {
    registry().kinds().iter().find(|kind| kind.kind == name).expect("a built-in kind")
}

/// An object with other values in some fields, given by JSON pointers; `null` removes a field.
pub(crate) fn with(object: &Value, changes: &[(&str, Value)]) -> Value {
    let mut changed = object.clone();
    for (pointer, value) in changes {
        let mut at = &mut changed;
        let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
        for part in parent.split('/').skip(1) {
            at = if at.is_array() { &mut at[part.parse::<usize>().expect("an index")] } else { &mut at[part] };
        }
        match at {
            Value::Array(items) => items[last.parse::<usize>().expect("an index")] = value.clone(),
            Value::Object(fields) if value.is_null() => drop(fields.remove(last)),
            at => at[last] = value.clone(),
        }
    }
    changed
}

/// A new object, complete.
pub(crate) fn new(name: &str, sent: &Value) -> Value {
    let kind = kind(name);
    let mut object = defaulted(kind, sent.clone());
    let namespace = kind.namespaced().then_some("n");
    for (field, value) in [("name", Some("a")), ("namespace", namespace), ("uid", Some("u"))] {
        if let Some(value) = value.filter(|_| object["metadata"][field].is_null()) {
            object["metadata"][field] = json!(value);
        }
    }
    object["metadata"]["creationTimestamp"] = json!("2026-01-02T03:04:05Z");
    generic::prepare_create(kind, &mut object);
    object["metadata"]["resourceVersion"] = json!("1");
    object
}

/// What is wrong with a new object: reasons and fields.
pub(crate) fn create(name: &str, sent: &Value) -> Vec<String> {
    short(&generic::validate_create(kind(name), &new(name, sent)))
}

/// What is wrong with a change of an object that is there.
pub(crate) fn update(name: &str, old: &Value, changes: &[(&str, Value)]) -> Vec<String> {
    let kind = kind(name);
    short(&generic::validate_update(kind, &updated(name, old, changes), old))
}

/// An object after a change.
pub(crate) fn updated(name: &str, old: &Value, changes: &[(&str, Value)]) -> Value {
    let kind = kind(name);
    let mut new = defaulted(kind, with(old, changes));
    generic::prepare_update(kind, &mut new, old);
    new
}

/// What is wrong with a change of the status.
pub(crate) fn status(name: &str, old: &Value, changes: &[(&str, Value)]) -> Vec<String> {
    let kind = kind(name);
    let mut new = defaulted(kind, with(old, changes));
    generic::prepare_status_update(kind, &mut new, old);
    short(&generic::validate_status_update(kind, &new, old))
}

/// What is wrong with a change by way of another subresource.
pub(crate) fn subresource(name: &str, subresource: &str, old: &Value, changes: &[(&str, Value)]) -> Vec<String> {
    let kind = kind(name);
    let mut new = defaulted(kind, with(old, changes));
    assert!(generic::prepare_subresource_update(kind, subresource, &mut new, old), "no subresource {subresource}");
    short(&generic::validate_subresource_update(kind, subresource, &new, old))
}

/// The cells of an object.
pub(crate) fn cells(name: &str, object: &Value) -> Vec<Value> {
    (strategy(kind(name)).row)(object, api::Timestamp::parse("2026-01-02T03:05:05Z").expect("a time"))
}

fn defaulted(kind: &Kind, mut object: Value) -> Value {
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.kind);
    let definitions = builtin();
    let definition = definitions.of_kind(&kind.group, &kind.version, &kind.kind).expect("a definition");
    let decoded = conform(definitions, definition, object, FieldValidation::Strict).expect("an object of the kind");
    let mut object = decoded.value;
    apply_defaults(definitions, definition, &mut object);
    (strategy(kind).defaults)(&mut object);
    object
}

/// Causes are those: reasons and fields.
#[track_caller]
pub(crate) fn check(causes: &[Cause], expected: &[&str]) {
    assert_eq!(short(causes), expected);
}

fn short(causes: &[Cause]) -> Vec<String> {
    causes.iter().map(|cause| format!("{} {}", cause.reason.replace("FieldValue", ""), cause.field)).collect()
}
