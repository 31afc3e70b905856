//! Objects of one kind seen as another that shares their storage: events, and the versions of autoscalers.

use crate::{autoscaling, core};
use api::Kind;
use serde_json::Value;

/// The same object in the shape of `to`. Kinds that do not share objects are a bug of the caller.
pub fn convert(value: Value, from: &Kind, to: &Kind) -> Value {
    assert_eq!(from.stored_as, to.stored_as, "only views of the same objects are converted");
    match (from.group.as_str(), from.version.as_str(), to.group.as_str(), to.version.as_str()) {
        ("", _, "events.k8s.io", _) => core::to_events(value),
        ("events.k8s.io", _, "", _) => core::to_core(value),
        ("autoscaling", "v1", "autoscaling", "v2") => autoscaling::to_v2(value),
        ("autoscaling", "v2", "autoscaling", "v1") => autoscaling::to_v1(value),
        _ => value,
    }
}
