//! The quality of service that a pod's requests and limits amount to.

use crate::resources::quantity;
use crate::value::{is_empty, list, members};
use api::Quantity;
use serde_json::Value;

/// CPU and memory decide.
const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed` if everything is limited to what it requests, `BestEffort` if nothing says anything, else `Burstable`.
pub(crate) fn class(spec: &Value) -> &'static str {
    let pod_level = &spec["resources"];
    let holders: Vec<&Value> = if is_empty(&pod_level["requests"]) && is_empty(&pod_level["limits"]) {
        let containers = ["containers", "initContainers"].iter().flat_map(|f| list(&spec[*f]));
        containers.chain(spec.get("virtualMachine")).map(|c| &c["resources"]).collect()
    } else {
        vec![pod_level]
    };
    let total = |field: &str, resource: &str| -> Quantity {
        holders.iter().map(|h| quantity(&h[field][resource])).fold(Quantity::ZERO, Quantity::plus)
    };
    let mentions = |field: &str| {
        holders.iter().any(|h| members(&h[field]).any(|(name, q)| RESOURCES.contains(&name) && !quantity(q).is_zero()))
    };
    if !mentions("requests") && !mentions("limits") {
        return "BestEffort";
    }
    let all_limited = holders.iter().all(|h| RESOURCES.iter().all(|r| !quantity(&h["limits"][*r]).is_zero()));
    if all_limited && RESOURCES.iter().all(|r| total("requests", r) == total("limits", r)) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
