//! Whole objects inside an object: their type and their metadata.

use crate::names;
use crate::value::text;
use crate::{NameRule, generic};
use api::Cause;
use schema::structural::Structural;
use schema::{FieldValidation, conform};
use serde_json::{Value, json};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Makes metadata what Go's type of it makes of it: unknown fields go, and are told of as `metadata.field` below `at`. 400
/// for what is no metadata.
pub fn coerce_metadata(metadata: &mut Value, at: &str, mode: FieldValidation) -> api::Result<Vec<String>> {
    let definitions = schema::builtin();
    let Some(definition) = definitions.get(OBJECT_META) else { return Ok(Vec::new()) };
    if metadata.is_null() {
        return Ok(Vec::new());
    }
    // Strictness is the caller's: here, what is unknown is only found.
    let told = if mode == FieldValidation::Ignore { FieldValidation::Ignore } else { FieldValidation::Warn };
    let decoded = conform(definitions, definition, std::mem::take(metadata), told)?;
    *metadata = decoded.value;
    let place = |warning: String| warning.replacen("field \"", &format!("field \"{at}"), 1);
    Ok(decoded.warnings.into_iter().map(place).collect())
}

/// Coerces the metadata of every embedded object. What is no metadata stays as it is, for validation to find.
pub(super) fn coerce(schema: &Structural, value: &mut Value) {
    if !schema.has_embedded {
        return;
    }
    if schema.embedded
        && let Some(metadata) = value.get_mut("metadata")
    {
        let mut coerced = metadata.clone();
        if coerce_metadata(&mut coerced, "", FieldValidation::Ignore).is_ok() {
            *metadata = coerced;
        }
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                if let Some(below) = schema.field(name) {
                    coerce(below, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = schema.items.as_deref() {
                items.iter_mut().for_each(|item| coerce(below, item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What is wrong with the embedded objects in a value.
pub(crate) fn validate(schema: &Structural, value: &Value, at: &str, causes: &mut Vec<Cause>) {
    const CAUSES_MAX: usize = 100;
    if !schema.has_embedded || causes.len() > CAUSES_MAX {
        return;
    }
    if schema.embedded && value.is_object() {
        resource(value, at, causes);
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let Some(below) = schema.field(name) else { continue };
                validate(below, value, &child(at, name), causes);
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else { return };
            for (i, item) in items.iter().enumerate() {
                validate(below, item, &format!("{at}[{i}]"), causes);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn child(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// What is wrong with the type and the metadata of an object.
pub(crate) fn resource(value: &Value, at: &str, causes: &mut Vec<Cause>) {
    let mut add = |field: &str, reason: &str, message: String| {
        causes.push(Cause { reason: reason.to_owned(), message, field: child(at, field) });
    };
    for field in ["apiVersion", "kind"] {
        let given = &value[field];
        let invalid = |why: &str| format!("Invalid value: {given}: {why}");
        match given {
            Value::Null => add(field, "FieldValueRequired", "Required value".to_owned()),
            Value::String(empty) if empty.is_empty() => add(field, "FieldValueInvalid", invalid("must not be empty")),
            Value::String(version) if field == "apiVersion" => {
                if version.matches('/').count() > 1 {
                    add(field, "FieldValueInvalid", invalid(&format!("unexpected GroupVersion string: {version}")));
                }
            }
            Value::String(kind) => {
                let problems = names::dns_1035_label(&kind.to_lowercase());
                if !problems.is_empty() {
                    let why = format!("may have mixed case, but should otherwise match: {}", problems.join(","));
                    add(field, "FieldValueInvalid", invalid(&why));
                }
            }
            _ => add(field, "FieldValueInvalid", invalid("must be a string")),
        }
    }
    let mut metadata = value["metadata"].clone();
    if metadata.is_null() {
        return;
    }
    if let Err(error) = coerce_metadata(&mut metadata, "", FieldValidation::Ignore) {
        let message = format!("Invalid value: {}: {}", value["metadata"], error.message());
        return add("metadata", "FieldValueInvalid", message);
    }
    if text(&metadata["name"]).is_empty() {
        metadata["name"] = json!("fakename");
    }
    let namespaced = !text(&metadata["namespace"]).is_empty();
    let found = generic::object_meta_causes(&metadata, namespaced, NameRule::PathSegment);
    causes.extend(found.into_iter().map(|cause| Cause { field: child(at, &cause.field), ..cause }));
}
