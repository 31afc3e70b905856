//! Conformance: what Go's typed decoding and encoding make of a value.
//!
//! Unknown fields go, types must match, times, quantities and bytes are brought into their canonical forms, empty fields
//! are left out or printed as the type says. This walk is the hot path and keeps no paths; words are found by `explain`,
//! which runs only where there is something to tell.

use crate::Document;
use crate::decode::Origin;
use crate::definitions::{Absent, Definition, Definitions, Field, Schema};
use crate::explain::{self, Explained};
use crate::json::{self, Tree};
use crate::scalars::{self, Canonical};
use api::{Cause, Error};
use serde_json::{Map, Value};

/// What happens to fields that the schema does not know and to fields that are given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter `fieldValidation`; empty is `Warn`.
    pub fn parse(text: &str) -> Result<FieldValidation, Cause> {
        match text {
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Ignore" => Ok(FieldValidation::Ignore),
            "Strict" => Ok(FieldValidation::Strict),
            _ => {
                let supported = r#"supported values: "", "Ignore", "Strict", "Warn""#;
                Err(Cause {
                    reason: "FieldValueNotSupported".to_owned(),
                    message: format!("Unsupported value: {text:?}: {supported}"),
                    field: "fieldValidation".to_owned(),
                })
            }
        }
    }
}

/// A value as Go's typed decoding leaves it, and the warnings for the client.
#[derive(Debug)]
pub struct Decoded {
    pub value: Value,
    pub warnings: Vec<String>,
}

/// Makes a body or a value conform to its definition. What is wrong with it is told in Go's words: 400.
pub fn conform<'a>(
    defs: &Definitions,
    def: &Definition,
    document: impl Into<Document<'a>>,
    mode: FieldValidation,
) -> api::Result<Decoded> {
    let Document { mut value, origin } = document.into();
    if value.is_null() {
        value = Value::Object(Map::new());
    }
    // The walk drops what it does not know; to name it, it has to be there still.
    let strict = mode != FieldValidation::Ignore;
    let copy;
    let (text, repeated, mut messages, before) = match origin {
        Origin::Text { text, duplicates } => (Some(text), duplicates, Vec::new(), None),
        Origin::Elsewhere { messages, unconformed: None } if strict => {
            copy = value.clone();
            (None, false, messages, Some(&copy))
        }
        Origin::Elsewhere { messages, unconformed } => (None, false, messages, unconformed),
    };
    let mut walk = Walk { defs, dropped: false };
    let conforms = walk.object_value(def, &mut value);
    if !conforms || (strict && (walk.dropped || repeated)) {
        let tree = text.and_then(|text| json::parse(text).ok());
        let tree = tree.unwrap_or_else(|| Tree::from(before.unwrap_or(&value)));
        let Explained { mismatch, mut unusual } = explain::explain(defs, def, &tree);
        if let Some(mismatch) = mismatch {
            return Err(Error::bad_request(mismatch));
        }
        if !conforms {
            return Err(Error::bad_request(format!("the value does not conform to {}", def.name())));
        }
        messages.append(&mut unusual);
    }
    if mode == FieldValidation::Strict && !messages.is_empty() {
        return Err(Error::bad_request(format!("strict decoding error: {}", messages.join(", "))));
    }
    Ok(Decoded { value, warnings: if strict { messages } else { Vec::new() } })
}

/// The empty value of a field that is always printed; `None` where an absent field stays absent.
pub(crate) fn printed(defs: &Definitions, field: &Field) -> Option<Value> {
    match field.absent {
        Absent::Omitted => None,
        Absent::Null => Some(Value::Null),
        Absent::Zero => Some(zero(defs, &field.schema)),
    }
}

/// What Go prints for a value of this type that nobody set.
pub(crate) fn zero(defs: &Definitions, schema: &Schema) -> Value {
    match schema {
        Schema::Bool => false.into(),
        Schema::Int32 | Schema::Int64 | Schema::Number | Schema::IntOrString => 0.into(),
        Schema::String | Schema::Bytes => "".into(),
        Schema::Quantity => "0".into(),
        Schema::Object(id) => zero_object(defs, defs.at(*id)),
        Schema::Any
        | Schema::Time
        | Schema::MicroTime
        | Schema::List(_)
        | Schema::Map(_)
        | Schema::OrBool(_)
        | Schema::OrList(..) => Value::Null,
    }
}

/// What Go prints for an object of which nothing is set.
pub(crate) fn zero_object(defs: &Definitions, def: &Definition) -> Value {
    Value::Object(def.fields.iter().filter_map(|f| Some((f.name.to_string(), printed(defs, f)?))).collect())
}

struct Walk<'a> {
    defs: &'a Definitions,
    /// Whether there were fields that the schema does not know.
    dropped: bool,
}

impl Walk<'_> {
    fn object_value(&mut self, def: &Definition, value: &mut Value) -> bool {
        let Value::Object(map) = value else { return false };
        // Few fields go, if any.
        let mut going = Vec::new();
        for (name, value) in map.iter_mut() {
            let Some(field) = def.field(name) else {
                self.dropped = true;
                going.push(name.clone());
                continue;
            };
            if !self.value(&field.schema, value) {
                return false;
            }
            if is_left_out(field, value) {
                going.push(name.clone());
            }
        }
        for name in going {
            map.remove(&name);
        }
        for field in def.printed() {
            if map.get(&*field.name).is_none_or(Value::is_null)
                && let Some(value) = printed(self.defs, field)
            {
                map.insert(field.name.to_string(), value);
            }
        }
        true
    }

    /// Brings a value into its canonical form; false if it is of another type. `null` stays.
    fn value(&mut self, schema: &Schema, value: &mut Value) -> bool {
        if value.is_null() {
            return true;
        }
        match schema {
            Schema::Any => true,
            Schema::Bool => value.is_boolean(),
            Schema::Int32 => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            Schema::Int64 => value.is_i64(),
            Schema::Number => value.is_number(),
            Schema::String => value.is_string(),
            Schema::Bytes => canonical(value, scalars::bytes),
            Schema::Time => canonical(value, scalars::time),
            Schema::MicroTime => canonical(value, scalars::micro_time),
            Schema::Quantity => {
                if let Value::Number(number) = value {
                    *value = Value::String(number.to_string());
                }
                canonical(value, scalars::quantity)
            }
            Schema::IntOrString => value.is_string() || self.value(&Schema::Int32, value),
            Schema::Object(id) => self.object_value(self.defs.at(*id), value),
            Schema::List(item) => {
                let Value::Array(items) = value else { return false };
                items.iter_mut().all(|value| self.element(item, value))
            }
            Schema::Map(item) => {
                let Value::Object(map) = value else { return false };
                map.values_mut().all(|value| self.element(item, value))
            }
            Schema::OrBool(other) => value.is_boolean() || self.value(other, value),
            Schema::OrList(item, other) => match value {
                Value::Array(items) => items.iter_mut().all(|value| self.element(item, value)),
                value => self.value(other, value),
            },
        }
    }

    /// An element of a list or map has no absence: `null` is the empty value.
    fn element(&mut self, schema: &Schema, value: &mut Value) -> bool {
        if value.is_null() {
            *value = zero(self.defs, schema);
        }
        self.value(schema, value)
    }
}

/// Whether Go leaves the field out, or prints it as if it were absent: because of `omitempty`, or because an empty list
/// is none once it was stored.
fn is_left_out(field: &Field, value: &Value) -> bool {
    if field.absent == Absent::Zero {
        return false;
    }
    match value {
        Value::Null => true,
        Value::Bool(value) => !value && !field.pointer && field.schema == Schema::Bool,
        Value::Number(number) => {
            !field.pointer && matches!(field.schema, Schema::Int32 | Schema::Int64) && number.as_i64() == Some(0)
        }
        Value::String(text) => {
            text.is_empty() && !field.pointer && matches!(field.schema, Schema::String | Schema::Bytes)
        }
        // No managers are something to say, and are never stored so.
        Value::Array(items) => {
            items.is_empty() && matches!(field.schema, Schema::List(_)) && &*field.name != "managedFields"
        }
        Value::Object(map) => map.is_empty() && matches!(field.schema, Schema::Map(_)),
    }
}

fn canonical(value: &mut Value, form: fn(&str) -> Canonical) -> bool {
    let Value::String(text) = value else { return false };
    match form(text) {
        Ok(None) => true,
        Ok(Some(canonical)) => {
            *text = canonical;
            true
        }
        Err(_) => false,
    }
}
