//! Objects of one kind seen as another that shares their storage: events, and the versions of autoscalers.

use api::Kind;
use serde_json::Value;

/// The same object in the shape of `to`. Kinds that do not share objects are a bug of the caller.
pub fn convert(value: Value, _from: &Kind, _to: &Kind) -> Value {
    value
}
