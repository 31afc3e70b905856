//! Declarative defaults, at every nested definition: a pod's are set in a deployment's template too.

use crate::conform::printed;
use crate::definitions::{Definition, Definitions, Field, Schema};
use serde_json::Value;

/// Sets the defaults that the schemas declare, and the empty values that Go always prints. Idempotent.
///
/// Defaults that depend on other fields, or on what is given at all, are no business of schemas.
pub fn apply_defaults(defs: &Definitions, def: &Definition, value: &mut Value) {
    let Value::Object(map) = value else { return };
    for field in &def.fields {
        match map.get_mut(&*field.name) {
            Some(Value::Null) | None => {
                if let Some(default) = declared(field).cloned().or_else(|| printed(defs, field)) {
                    map.insert(field.name.to_string(), default);
                }
            }
            Some(value) => within(defs, &field.schema, value),
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

/// The default of a field, unless it is the empty value that the field then leaves out.
fn declared(field: &Field) -> Option<&Value> {
    field.default.as_ref().filter(|default| field.pointer || !(**default == "" || **default == 0 || **default == false))
}
