//! The scale subresource: `autoscaling/v1` Scale of the kinds that run replicas.

use api::Kind;
use serde_json::Value;

/// The Scale of an object; `None` for kinds that have none.
pub fn scale_of(_kind: &Kind, _object: &Value) -> Option<Value> {
    None
}

/// Takes the number of replicas from a Scale.
pub fn set_scale(_kind: &Kind, _object: &mut Value, _scale: &Value) {}
