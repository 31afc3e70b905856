//! Reading and changing JSON values where a field may be absent.

use serde_json::{Map, Value};

/// The text of a string, empty for anything else.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The items of a list, none for anything else.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The items of a list, to be changed.
pub(crate) fn list_mut<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// The members of an object, none for anything else.
pub(crate) fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> + Clone {
    value.as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}

/// The whole number, `None` for anything else.
pub(crate) fn int(value: &Value) -> Option<i64> {
    value.as_i64()
}

/// Whether the value is `true`.
pub(crate) fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true)
}

/// Whether nothing is there: absent, null, or empty text, list or object. What Go's `len(x) == 0` says.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The object in a field, made if nothing is there; `None` when something else is.
pub(crate) fn object<'a>(value: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    let slot = value.as_object_mut()?.entry(field).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut()
}

/// Sets a field that is absent, null or an empty text.
pub(crate) fn default(value: &mut Value, field: &str, to: impl Into<Value>) {
    if let Some(object) = value.as_object_mut() {
        let slot = object.entry(field).or_insert(Value::Null);
        if slot.is_null() || slot.as_str() == Some("") {
            *slot = to.into();
        }
    }
}

/// Sets a field.
pub(crate) fn set(value: &mut Value, field: &str, to: impl Into<Value>) {
    if let Some(object) = value.as_object_mut() {
        object.insert(field.to_owned(), to.into());
    }
}

/// Removes a field.
pub(crate) fn remove(value: &mut Value, field: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(field);
    }
}

/// Makes a field of `new` what it is in `old`, absent if it is absent there.
pub(crate) fn keep(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(kept) => set(new, field, kept.clone()),
        None => remove(new, field),
    }
}
