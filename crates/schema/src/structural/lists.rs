//! Lists whose items differ from each other: sets, and maps by keys.

use super::{ListType, Structural};
use api::Cause;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fmt::Write;

/// How many repeated items are told of.
const CAUSES_MAX: usize = 100;

/// What is wrong with the sets and the maps in a value: items that repeat another.
pub fn repeated_items(schema: &Structural, value: &Value) -> Vec<Cause> {
    let mut walk = Walk { path: String::new(), causes: Vec::new() };
    walk.value(schema, value);
    walk.causes
}

struct Walk {
    path: String,
    causes: Vec<Cause>,
}

impl Walk {
    fn value(&mut self, schema: &Structural, value: &Value) {
        if !schema.has_unique_lists || self.causes.len() >= CAUSES_MAX {
            return;
        }
        let length = self.path.len();
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    let Some(below) = schema.field(name) else { continue };
                    let named = schema.property(name).is_some();
                    crate::messages::push_part(&mut self.path, name, named);
                    self.value(below, value);
                    self.path.truncate(length);
                }
            }
            Value::Array(items) => {
                match schema.list_type {
                    ListType::Set => self.differ(items, |item| Some(item.clone())),
                    ListType::Map => self.differ(items, |item| {
                        let item = item.as_object()?;
                        let keys = schema.list_map_keys.iter();
                        let found = keys.filter_map(|key| Some((key.to_string(), item.get(&**key)?.clone())));
                        Some(Value::Object(found.collect::<Map<_, _>>()))
                    }),
                    ListType::Atomic => {}
                }
                let Some(below) = schema.items.as_deref() else { return };
                for (i, item) in items.iter().enumerate() {
                    crate::messages::push_index(&mut self.path, i);
                    self.value(below, item);
                    self.path.truncate(length);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn differ(&mut self, items: &[Value], identity: impl Fn(&Value) -> Option<Value>) {
        let mut seen = HashSet::new();
        for (i, item) in items.iter().enumerate() {
            let field = |path: &str| {
                let mut field = path.to_owned();
                write!(field, "[{i}]").expect("a String takes all that is written");
                field
            };
            let Some(identity) = identity(item) else {
                let message = format!("Invalid value: {item}: must be an object for an array of list-type map");
                let cause = Cause { reason: "FieldValueInvalid".to_owned(), message, field: field(&self.path) };
                self.causes.push(cause);
                continue;
            };
            let shown = identity.to_string();
            if !seen.insert(identity) && self.causes.len() < CAUSES_MAX {
                let message = format!("Duplicate value: {shown}");
                let cause = Cause { reason: "FieldValueDuplicate".to_owned(), message, field: field(&self.path) };
                self.causes.push(cause);
            }
        }
    }
}
