//! What the scheduler's decisions become at the API: bindings, statuses, events, evictions.

use crate::placement::PREEMPTED_REASON;
use serde_json::{Value, json};

/// The condition of a pod that a scheduler makes leave its node.
pub fn disruption(scheduler: &str) -> Value {
    json!({
        "type": "DisruptionTarget", "status": "True", "reason": PREEMPTED_REASON,
        "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
    })
}
