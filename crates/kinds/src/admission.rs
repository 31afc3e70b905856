//! What upstream's default admission plugins make of a pod, as pure functions.

use serde_json::Value;

/// The service account's name, its image pull secrets and the volume with its token, mounted in every container.
/// `random_suffix` are five characters for the volume's name.
pub fn pod_service_account(_pod: &mut Value, _service_account: &Value, _random_suffix: &str) {}

/// Tolerations of nodes that are not ready or not reachable, for 300 seconds.
pub fn pod_default_tolerations(_pod: &mut Value) {}

/// Priority and preemption policy of the pod's priority class, or 0 without one.
pub fn pod_priority(_pod: &mut Value, _priority_class: Option<&Value>) {}
