//! Reading and changing JSON values where a field may be absent.

use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// The text of a string, empty for anything else.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The items of a list, none for anything else.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The indexes of those keys that are the same as an earlier one. Lists are as long as clients like: no item is compared
/// with all others.
pub(crate) fn repeats<K: Eq + Hash>(keys: impl IntoIterator<Item = K>) -> HashSet<usize> {
    let mut seen = HashSet::new();
    keys.into_iter().enumerate().filter_map(|(i, key)| (!seen.insert(key)).then_some(i)).collect()
}

/// The items of a list by a key; of items with the same key, the first.
pub(crate) fn first_by<'a, K: Eq + Hash>(items: &'a [Value], key: impl Fn(&'a Value) -> K) -> HashMap<K, &'a Value> {
    items.iter().rev().map(|item| (key(item), item)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_items_with_the_same_key_the_first_is_found() {
        let items = [("a", 1), ("b", 2), ("a", 3)].map(|(name, n)| serde_json::json!({"name": name, "n": n}));
        let by_name = first_by(&items, |item| text(&item["name"]));
        assert_eq!((by_name.len(), &by_name["a"]["n"], &by_name["b"]["n"]), (2, &Value::from(1), &Value::from(2)));
    }

    #[test]
    fn what_an_earlier_key_equals_is_a_repeat() {
        assert_eq!(repeats(["a", "b", "a", "c", "a", "b"]), HashSet::from([2, 4, 5]));
        assert!(repeats([0; 0]).is_empty());
        let same = serde_json::json!({"a": 1, "b": [null]});
        assert_eq!(repeats([&same, &Value::Null, &same.clone()]), HashSet::from([2]));
    }
}
