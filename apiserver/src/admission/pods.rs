//! What plugins add to pods: service account, priority, tolerations, the costs of a runtime class.

use super::{Admitted, Attempt, runtime_class as classes};
use crate::registry::Part;
use api::{ObjectKey, ResourceId, Result, Space};
use kinds::admission as pure;
use serde_json::Value;

const PRIORITY_GROUP: &str = "scheduling.k8s.io";
const PRIORITY_CLASSES: &str = "priorityclasses";

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string()
}

/// A pod runs as a service account of its namespace, `default` unless it says otherwise, and gets its token.
pub fn service_account(attempt: Attempt<'_>, pod: &mut Value) -> Result<()> {
    if !attempt.creates("", "pods") || is_mirror(pod) {
        return Ok(());
    }
    let account = account_of(attempt, pod)?;
    pure::pod_service_account(pod, &account, &crate::random_suffix());
    Ok(())
}

fn account_of(attempt: Attempt<'_>, pod: &Value) -> Result<Value> {
    let named = pod["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty()).unwrap_or("default");
    let namespace = attempt.call.namespace;
    let Some(account) = attempt.stored(ResourceId::new("", "serviceaccounts"), namespace, named) else {
        let why = format!("error looking up service account {namespace}/{named}: serviceaccount \"{named}\" not found");
        return Err(attempt.forbidden(pod, &why));
    };
    account.to_value()
}

/// A mirror pod refers to nothing of the API, and a pod only to secrets that its account may hand out.
pub fn validate_service_account(attempt: Attempt<'_>, pod: &Value, _: &mut Admitted) -> Result<()> {
    let ephemeral = attempt.is("", "pods") && attempt.part == Part::Subresource("ephemeralcontainers");
    if !attempt.creates("", "pods") && !ephemeral {
        return Ok(());
    }
    let refused = if is_mirror(pod) {
        pure::mirror_pod_fault(pod).map(str::to_owned)
    } else {
        pure::secret_fault(pod, &account_of(attempt, pod)?)
    };
    refused.map_or(Ok(()), |why| Err(attempt.forbidden(pod, &why)))
}

/// The priority of the class that a new pod names, or of the tenant's default one. An update keeps it.
pub fn priority(attempt: Attempt<'_>, pod: &mut Value) -> Result<()> {
    if attempt.creates("", "pods") {
        let class = priority_class(attempt, pod)?;
        return pure::pod_priority(pod, class.as_ref());
    }
    if attempt.updates("", "pods")
        && let Some(old) = attempt.old
    {
        for field in ["priority", "preemptionPolicy"] {
            if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
                pod["spec"][field] = old["spec"][field].clone();
            }
        }
    }
    Ok(())
}

fn priority_class(attempt: Attempt<'_>, pod: &Value) -> Result<Option<Value>> {
    let named = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    if named.is_empty() {
        return default_priority(attempt);
    }
    match attempt.stored(ResourceId::new(PRIORITY_GROUP, PRIORITY_CLASSES), "", named) {
        Some(class) => Ok(Some(class.to_value()?)),
        None => Err(attempt.forbidden(pod, &format!("no PriorityClass with name {named} was found"))),
    }
}

/// Of several defaults, the lowest counts.
fn default_priority(attempt: Attempt<'_>) -> Result<Option<Value>> {
    let mut found: Option<Value> = None;
    for class in attempt.stored_in(ResourceId::new(PRIORITY_GROUP, PRIORITY_CLASSES), "")? {
        // Nearly none is a default: the bytes tell without being parsed.
        if !may_be_default(&class.bytes) {
            continue;
        }
        let class = class.to_value()?;
        let lower = found.as_ref().is_none_or(|found| class["value"].as_i64() < found["value"].as_i64());
        if class["globalDefault"] == true && lower {
            found = Some(class);
        }
    }
    Ok(found)
}

fn may_be_default(bytes: &[u8]) -> bool {
    const MARK: &[u8] = b"\"globalDefault\"";
    bytes.windows(MARK.len()).any(|window| window == MARK)
}

/// A tenant has one default class.
pub fn one_default_priority(attempt: Attempt<'_>, class: &Value, _: &mut Admitted) -> Result<()> {
    if !attempt.is(PRIORITY_GROUP, PRIORITY_CLASSES) || class["globalDefault"] != true {
        return Ok(());
    }
    let Some(default) = default_priority(attempt)? else { return Ok(()) };
    let name = &default["metadata"]["name"];
    if attempt.old.is_none() || *name != class["metadata"]["name"] {
        let name = name.as_str().unwrap_or_default();
        let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
        return Err(attempt.forbidden(class, &why));
    }
    Ok(())
}

pub fn keep_system_priorities(attempt: Attempt<'_>, class: &Value) -> Result<()> {
    let of_system = || class["metadata"]["name"].as_str().is_some_and(kinds::is_system_priority);
    if attempt.is(PRIORITY_GROUP, PRIORITY_CLASSES) && of_system() && !super::lifecycle::tenant_ends(attempt) {
        return Err(attempt.forbidden(class, "this is a system priority class and cannot be deleted"));
    }
    Ok(())
}

/// Refuses a pod that names the node of another tenant, or is bound to it: the scheduler keeps pods off such nodes, and whoever
/// goes around it must not do better.
pub fn dedicated_node(attempt: Attempt<'_>, pod: &Value, _: &mut Admitted) -> Result<()> {
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let named_before = attempt.old.is_some_and(|old| old["spec"]["nodeName"] == node);
    if !attempt.is("", "pods") || node.is_empty() || named_before {
        return Ok(());
    }
    let Ok(key) = ObjectKey::new(ResourceId::new("", "nodes"), Space::Cluster, "", node) else { return Ok(()) };
    let snapshot = attempt.call.server.store.snapshot();
    let owner = snapshot.get(&key).and_then(|node| node.header.label(policy::node::TENANT_LABEL));
    match (owner, attempt.call.target.tenant()) {
        (Some(owner), Some(tenant)) if owner != tenant.as_str() => {
            Err(attempt.forbidden(pod, &format!("node {node:?} is dedicated to another tenant")))
        }
        _ => Ok(()),
    }
}

pub fn tolerations(attempt: Attempt<'_>, pod: &mut Value) -> Result<()> {
    if attempt.creates("", "pods") || attempt.updates("", "pods") {
        pure::pod_default_tolerations(pod);
    }
    Ok(())
}

pub fn runtime_class(attempt: Attempt<'_>, pod: &mut Value) -> Result<()> {
    if !attempt.creates("", "pods") {
        return Ok(());
    }
    let named = pod["spec"]["runtimeClassName"].as_str().unwrap_or_default().to_owned();
    let class = if named.is_empty() {
        None
    } else {
        attempt.stored(ResourceId::new("node.k8s.io", "runtimeclasses"), "", &named)
    };
    classes::apply(pod, class.map(|class| class.to_value()).transpose()?.as_ref())
}
