//! Defaults of a structural schema, and nulls that stand for nothing.

use super::Structural;
use serde_json::Value;

/// Fills in what is absent, or null where null is no value. Idempotent.
pub fn default(schema: &Structural, value: &mut Value) {
    if !schema.has_defaults {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                let absent = map.get(&**name).is_none_or(|value| value.is_null() && property.refuses_null());
                if absent {
                    map.insert(name.to_string(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                let Some(below) = schema.field(name) else { continue };
                if value.is_null()
                    && below.refuses_null()
                    && let Some(default) = &below.default
                {
                    *value = default.clone();
                }
                self::default(below, value);
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else { return };
            for item in items {
                if item.is_null()
                    && below.refuses_null()
                    && let Some(default) = &below.default
                {
                    *item = default.clone();
                }
                self::default(below, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Removes fields that are null where null is no value and no default stands in for it.
pub fn drop_nulls(schema: &Structural, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|name, value| {
            let Some(below) = schema.field(name) else { return true };
            if value.is_null() {
                return below.nullable || below.default.is_some();
            }
            drop_nulls(below, value);
            true
        }),
        Value::Array(items) => {
            if let Some(below) = schema.items.as_deref() {
                items.iter_mut().for_each(|item| drop_nulls(below, item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
