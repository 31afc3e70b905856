//! Objects of one kind seen as another that shares their storage: events, and the versions of autoscalers.

use crate::core;
use api::Kind;
use serde_json::Value;

/// The same object in the shape of `to`. Kinds that do not share objects are a bug of the caller.
pub fn convert(value: Value, from: &Kind, to: &Kind) -> Value {
    assert_eq!(from.stored_as, to.stored_as, "only views of the same objects are converted");
    match (from.group.as_str(), to.group.as_str()) {
        ("", "events.k8s.io") => core::to_events(value),
        ("events.k8s.io", "") => core::to_core(value),
        _ => value,
    }
}
