//! Declarative defaults, at every nested definition: a pod's are set in a deployment's template too.

use crate::conform::printed;
use crate::definitions::{Definition, Definitions, Schema};
use serde_json::Value;

/// Sets the defaults that the schemas declare, and the empty values that Go always prints. Idempotent.
///
/// Defaults that depend on other fields, or on what is given at all, are no business of schemas.
pub fn apply_defaults(defs: &Definitions, def: &Definition, value: &mut Value) {
    let Value::Object(map) = value else { return };
    for (name, value) in map.iter_mut() {
        if matches!(value, Value::Object(_) | Value::Array(_))
            && let Some(field) = def.field(name)
        {
            within(defs, &field.schema, value);
        }
    }
    for field in def.filled() {
        if map.get(&*field.name).is_none_or(Value::is_null)
            && let Some(default) = field.declared_default().cloned().or_else(|| printed(defs, field))
        {
            map.insert(field.name.to_string(), default);
        }
    }
}

fn within(defs: &Definitions, schema: &Schema, value: &mut Value) {
    match (schema, value) {
        (Schema::Object(id), value) => apply_defaults(defs, defs.at(*id), value),
        (Schema::List(item) | Schema::OrList(item, _), Value::Array(items)) => {
            items.iter_mut().for_each(|value| within(defs, item, value));
        }
        (Schema::Map(item), Value::Object(map)) => map.values_mut().for_each(|value| within(defs, item, value)),
        (Schema::OrBool(other) | Schema::OrList(_, other), value @ Value::Object(_)) => within(defs, other, value),
        _ => {}
    }
}
