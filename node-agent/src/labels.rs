//! The labels and annotations by which the agent knows its sandboxes and containers again.
//!
//! Names are upstream's where it has them, so that tools which read them work; the tenant's is Arktos's.

use crate::pod::{PodRef, Uid};
use api::TenantName;
use std::collections::HashMap;

pub const POD_TENANT: &str = "io.kubernetes.pod.tenant";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// Which node's agent made it: another agent on the same runtime leaves it alone.
pub const NODE: &str = "io.ursa.node";

/// Annotation: the image that the spec named, to notice that it names another now.
pub const CONTAINER_IMAGE: &str = "io.ursa.container.image";
/// Annotation: how often a container of this name ran before.
pub const CONTAINER_RESTART_COUNT: &str = "io.kubernetes.container.restartCount";

/// The labels of everything that belongs to a pod.
pub fn of_pod(pod: &PodRef, node: &str) -> HashMap<String, String> {
    let pairs = [
        (POD_TENANT, pod.tenant.as_str()),
        (POD_NAMESPACE, &pod.namespace),
        (POD_NAME, &pod.name),
        (POD_UID, pod.uid.as_str()),
        (NODE, node),
    ];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Reads back whose a sandbox or container is.
pub fn pod_of(labels: &HashMap<String, String>) -> Option<PodRef> {
    let text = |name: &str| labels.get(name).map(String::as_str);
    Some(PodRef {
        tenant: TenantName::new(text(POD_TENANT)?).ok()?,
        namespace: text(POD_NAMESPACE)?.to_owned(),
        name: text(POD_NAME)?.to_owned(),
        uid: Uid::new(text(POD_UID)?)?,
    })
}
