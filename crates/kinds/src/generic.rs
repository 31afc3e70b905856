//! Rules that hold for objects of every kind: metadata, the separation of status, the counting of generations.

use crate::NameRule;
use api::{Cause, Kind};
use serde_json::Value;

/// What is wrong with the metadata of an object, apart from changes to it.
pub fn object_meta_causes(_meta: &Value, _namespaced: bool, _rule: NameRule) -> Vec<Cause> {
    Vec::new()
}

/// What an update may not change in metadata.
pub fn object_meta_update_causes(_new: &Value, _old: &Value) -> Vec<Cause> {
    Vec::new()
}

/// Makes a new object of what a client sent.
pub fn prepare_create(_kind: &Kind, _value: &mut Value) {}

/// Leaves of an update what it may change, and counts generations.
pub fn prepare_update(_kind: &Kind, _new: &mut Value, _old: &Value) {}

/// Leaves of an update through the status subresource what it may change.
pub fn prepare_status_update(_kind: &Kind, _new: &mut Value, _old: &Value) {}
