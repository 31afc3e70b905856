//! Says on a pod why something other than its owner makes it go.

use crate::context::{Context, unless_gone};
use crate::view::{Condition, Pod, Time};
use api::Result;
use client::{ObjectRef, PODS, PatchType};
use serde_json::json;

/// Why a pod is made to go.
pub struct Disruption {
    pub reason: &'static str,
    pub message: &'static str,
    /// There is no agent that could still report how the pod ends.
    pub fails: bool,
}

/// Notes a disruption in the status of exactly this pod. `false` if it is gone.
pub async fn note(context: &Context, key: &ObjectRef, pod: &Pod, disruption: &Disruption) -> Result<bool> {
    let condition = Condition {
        kind: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: disruption.reason.to_owned(),
        message: disruption.message.to_owned(),
        last_transition_time: Time(context.now()),
        ..Condition::default()
    };
    let mut condition = condition.to_value();
    condition["observedGeneration"] = json!(pod.metadata.generation);
    let mut patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
    if disruption.fails {
        patch["status"]["phase"] = json!("Failed");
    }
    let client = context.client(key);
    let noted = client.patch(PODS, &key.namespace, &key.name, PatchType::Strategic, &patch, Some("status")).await;
    Ok(unless_gone(noted)?.is_some())
}
