//! Signatures being filled in.
use crate::{Definition, Definitions};
use serde_json::Value;

/// Applies a JSON patch (RFC 6902).
pub fn json(target: &Value, _patch: &[u8]) -> api::Result<Value> {
    Ok(target.clone())
}

/// Applies a JSON merge patch (RFC 7386).
pub fn merge(target: &Value, _patch: &Value) -> Value {
    target.clone()
}

/// Applies a strategic merge patch.
pub fn strategic(_defs: &Definitions, _def: &Definition, target: &Value, _patch: &Value) -> api::Result<Value> {
    Ok(target.clone())
}
