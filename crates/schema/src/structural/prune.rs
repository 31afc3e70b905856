//! Pruning: fields that the schema does not know go.

use super::{Additional, Structural};
use crate::messages::{Messages, push_field, push_index};
use serde_json::Value;

/// What becomes of the names of pruned fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pruned {
    Forgotten,
    Told,
}

/// Removes what the schema of a whole object does not know, and tells the paths of it: `spec.a[0].b`, sorted, not all if
/// there are many. `apiVersion`, `kind` and `metadata` stay.
pub fn prune(schema: &Structural, value: &mut Value, told: Pruned) -> Vec<String> {
    let mut walk = Walk { told: (told == Pruned::Told).then(Messages::default), path: String::new() };
    walk.value(Some(schema), true, value);
    let mut paths = walk.told.map(Messages::into_list).unwrap_or_default();
    paths.sort_unstable();
    paths
}

/// The fields that every resource has, wherever its own schema mentions them.
pub(super) fn is_meta(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

struct Walk {
    told: Option<Messages>,
    path: String,
}

impl Walk {
    fn value(&mut self, schema: Option<&Structural>, resource: bool, value: &mut Value) {
        let resource = resource || schema.is_some_and(|schema| schema.embedded);
        let length = self.path.len();
        match value {
            Value::Object(map) => {
                let keeps_unknown = schema.is_some_and(|schema| schema.preserve_unknown);
                map.retain(|name, value| {
                    if resource && is_meta(name) {
                        return true;
                    }
                    let known = schema.and_then(|schema| schema.property(name));
                    let additional = schema.map(|schema| &schema.additional);
                    let below = match (known, additional) {
                        (Some(known), _) => Some(known),
                        (None, Some(Additional::Each(each))) => Some(&**each),
                        (None, _) if keeps_unknown => return true,
                        (None, Some(Additional::Any)) => None,
                        (None, Some(Additional::Unsaid | Additional::Forbidden) | None) => {
                            self.tell(name);
                            return false;
                        }
                    };
                    if self.told.is_some() {
                        push_field(&mut self.path, name);
                    }
                    self.value(below, false, value);
                    self.path.truncate(length);
                    true
                });
            }
            Value::Array(items) => {
                if schema.is_some_and(|schema| schema.preserve_unknown && schema.items.is_none()) {
                    return;
                }
                let below = schema.and_then(|schema| schema.items.as_deref());
                for (i, item) in items.iter_mut().enumerate() {
                    if self.told.is_some() {
                        push_index(&mut self.path, i);
                    }
                    self.value(below, false, item);
                    self.path.truncate(length);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn tell(&mut self, name: &str) {
        let Some(told) = &mut self.told else { return };
        let length = self.path.len();
        push_field(&mut self.path, name);
        let path = &self.path;
        told.tell(|| path.clone());
        self.path.truncate(length);
    }
}
