//! Puts the workloads of a tenant to rest, and wakes them as they were.
//!
//! What each object was is kept in an annotation of its own, or for a pod that nobody would bring back in a PodTemplate: the
//! state is the tenant's, and a step that was cut short is taken again. What had no replicas before stays as it is.

use crate::context::unless_gone;
use api::{Error, Result};
use client::{
    CRON_JOBS, Client, DAEMON_SETS, DEPLOYMENTS, DeleteParams, JOBS, ListParams, PODS, PatchType, REPLICA_SETS,
    REPLICATION_CONTROLLERS, Resource, STATEFUL_SETS,
};
use serde_json::{Value, json};

/// Holds what an object was before it was put to rest.
const RESTING: &str = "tenant.ursa.dev/resting";

/// Mirrors of pods that a node runs from its own files.
const MIRROR: &str = "kubernetes.io/config.mirror";

const POD_TEMPLATES: Resource = Resource { group: "", version: "v1", plural: "podtemplates", namespaced: true };

/// How a kind of workload rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// With no replicas.
    Replicas,
    /// With `spec.suspend`.
    Suspend,
    /// With a node selector that no node fits.
    NoNode,
}

/// Those that make others come before those that they make.
const WORKLOADS: [(Resource, Way); 7] = [
    (CRON_JOBS, Way::Suspend),
    (DEPLOYMENTS, Way::Replicas),
    (STATEFUL_SETS, Way::Replicas),
    (DAEMON_SETS, Way::NoNode),
    (REPLICA_SETS, Way::Replicas),
    (REPLICATION_CONTROLLERS, Way::Replicas),
    (JOBS, Way::Suspend),
];

/// How many objects are looked at together.
const PAGE: u32 = 500;

/// Puts everything to rest that is not. Returns how many pods still run.
pub async fn put_to_rest(client: &Client) -> Result<usize> {
    for (resource, way) in WORKLOADS {
        change_all(client, resource, |object| rests(way, object)).await?;
    }
    let mut left = 0;
    let mut pods = Pages::of(PODS);
    while let Some(page) = pods.next(client).await? {
        for pod in page.into_iter().filter(|pod| !is_over(pod)) {
            left += 1;
            if is_bare(&pod) {
                keep(client, &pod).await?;
            }
        }
    }
    Ok(left)
}

/// Ends a pod that nobody would make again, and keeps what it is made from.
async fn keep(client: &Client, pod: &Value) -> Result<()> {
    let (namespace, name) = place(pod);
    match client.create(POD_TEMPLATES, namespace, &template_of(pod)).await {
        Err(error) if !error.is_already_exists() => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let exactly = DeleteParams::of_uid(pod["metadata"]["uid"].as_str().unwrap_or_default());
    match client.delete(PODS, namespace, name, &exactly).await {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Brings everything back that rests.
pub async fn wake(client: &Client) -> Result<()> {
    for (resource, way) in WORKLOADS {
        change_all(client, resource, |object| wakes(way, object)).await?;
    }
    let mut templates = Pages::of(POD_TEMPLATES);
    while let Some(page) = templates.next(client).await? {
        for template in page {
            let Some(pod) = pod_of(&template) else { continue };
            let (namespace, name) = place(&template);
            match client.create(PODS, namespace, &pod).await {
                Err(error) if !error.is_already_exists() => return Err(error),
                Ok(_) | Err(_) => {}
            }
            unless_gone(client.delete(POD_TEMPLATES, namespace, name, &DeleteParams::default()).await)?;
        }
    }
    Ok(())
}

async fn change_all(client: &Client, resource: Resource, patch: impl Fn(&Value) -> Option<Value>) -> Result<()> {
    let mut objects = Pages::of(resource);
    while let Some(page) = objects.next(client).await? {
        for object in page {
            let Some(mut patch) = patch(&object) else { continue };
            let (namespace, name) = place(&object);
            // What is remembered is what was there: a change in between makes the step start over.
            patch["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
            unless_gone(client.patch(resource, namespace, name, PatchType::Merge, &patch, None).await)?;
        }
    }
    Ok(())
}

/// Every object of a resource, page by page.
struct Pages {
    resource: Resource,
    /// `None` after the last page.
    params: Option<ListParams>,
}

impl Pages {
    fn of(resource: Resource) -> Pages {
        Pages { resource, params: Some(ListParams { limit: PAGE, ..ListParams::default() }) }
    }

    async fn next(&mut self, client: &Client) -> Result<Option<Vec<Value>>> {
        let Some(mut params) = self.params.take() else { return Ok(None) };
        let page = client.list(self.resource, "", &params).await?;
        if !page.continue_token.is_empty() {
            params.continue_token = page.continue_token;
            self.params = Some(params);
        }
        Ok(Some(page.items))
    }
}

fn place(object: &Value) -> (&str, &str) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (text("namespace"), text("name"))
}

fn is_controlled(object: &Value) -> bool {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(|owner| owner["controller"] == true)
}

/// Whether nobody would make the pod again.
fn is_bare(pod: &Value) -> bool {
    !is_controlled(pod)
        && pod["metadata"]["annotations"][MIRROR].is_null()
        && pod["metadata"]["deletionTimestamp"].is_null()
}

fn is_over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// The change that puts an object to rest; `None` for one that rests, or that another one rules.
fn rests(way: Way, object: &Value) -> Option<Value> {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    if !metadata["annotations"][RESTING].is_null() || !metadata["deletionTimestamp"].is_null() {
        return None;
    }
    let (was, spec) = match way {
        Way::Replicas => {
            let replicas = spec["replicas"].as_u64().unwrap_or(1);
            if replicas == 0 || is_controlled(object) {
                return None;
            }
            (replicas.to_string(), json!({"replicas": 0}))
        }
        Way::Suspend => {
            let conditions = object["status"]["conditions"].as_array();
            let over = |c: &Value| matches!(c["type"].as_str(), Some("Complete" | "Failed")) && c["status"] == "True";
            if spec["suspend"] == true || conditions.into_iter().flatten().any(over) {
                return None;
            }
            ("running".to_owned(), json!({"suspend": true}))
        }
        Way::NoNode => ("running".to_owned(), json!({"template": {"spec": {"nodeSelector": {RESTING: "true"}}}})),
    };
    Some(json!({"metadata": {"annotations": {RESTING: was}}, "spec": spec}))
}

/// The change that wakes an object; `None` for one that does not rest.
fn wakes(way: Way, object: &Value) -> Option<Value> {
    let was = object["metadata"]["annotations"][RESTING].as_str()?;
    let spec = match way {
        // What somebody has given replicas meanwhile keeps them.
        Way::Replicas if object["spec"]["replicas"].as_u64() == Some(0) => {
            json!({"replicas": was.parse::<u64>().unwrap_or(1)})
        }
        Way::Replicas => json!({}),
        Way::Suspend => json!({"suspend": false}),
        Way::NoNode => json!({"template": {"spec": {"nodeSelector": {RESTING: null}}}}),
    };
    Some(json!({"metadata": {"annotations": {RESTING: null}}, "spec": spec}))
}

/// A pod, kept where it can be made from again.
fn template_of(pod: &Value) -> Value {
    let (namespace, name) = place(pod);
    let mut spec = pod["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("nodeName");
    }
    json!({"apiVersion": "v1", "kind": "PodTemplate",
        "metadata": {"name": name, "namespace": namespace, "annotations": {RESTING: name}},
        "template": {"metadata": {"labels": pod["metadata"]["labels"], "annotations": pod["metadata"]["annotations"]}, "spec": spec}})
}

/// The pod that a template keeps; `None` for templates of others.
fn pod_of(template: &Value) -> Option<Value> {
    let name = template["metadata"]["annotations"][RESTING].as_str()?;
    let mut pod = template["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    Some(pod)
}

/// The condition that tells how far the rest has come.
pub fn condition(old: &Value, left: Option<usize>, now: api::Timestamp) -> Value {
    let (status, reason, message) = match left {
        Some(0) => ("True", "NothingRuns", "all workloads are at rest".to_owned()),
        Some(left) => ("False", "PodsRun", format!("{left} pods still run")),
        None => ("False", "Awake", "the tenant is not suspended".to_owned()),
    };
    let same = old["status"] == status;
    let since = if same { old["lastTransitionTime"].clone() } else { json!(now.to_string()) };
    json!({"type": "AtRest", "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
}

/// Sets a condition among others.
pub fn with_condition(tenant: &mut Value, make: impl FnOnce(&Value) -> Value) -> Result<()> {
    if tenant["status"]["conditions"].is_null() {
        tenant["status"]["conditions"] = json!([]);
    }
    let conditions = tenant["status"]["conditions"].as_array_mut();
    let conditions = conditions.ok_or_else(|| Error::internal("conditions are no list"))?;
    let at = conditions.iter().position(|c| c["type"] == "AtRest");
    let made = make(at.map_or(&Value::Null, |at| &conditions[at]));
    match at {
        Some(at) => conditions[at] = made,
        None => conditions.push(made),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies a change as a merge patch does.
    fn merge(value: &mut Value, patch: &Value) {
        for (field, change) in patch.as_object().expect("an object") {
            match change {
                Value::Null => drop(value.as_object_mut().expect("an object").remove(field)),
                Value::Object(_) => {
                    if !value[field].is_object() {
                        value[field] = json!({});
                    }
                    merge(&mut value[field], change);
                }
                other => value[field] = other.clone(),
            }
        }
    }

    #[test]
    fn what_rested_wakes_as_it_was() {
        for (way, spec) in [
            (Way::Replicas, json!({"replicas": 3})),
            (Way::Suspend, json!({"suspend": false})),
            (Way::NoNode, json!({"template": {"spec": {"nodeSelector": {"disk": "fast"}}}})),
        ] {
            let object = json!({"metadata": {"name": "w", "annotations": {"a": "b"}}, "spec": spec});
            let mut now = object.clone();
            merge(&mut now, &rests(way, &object).expect("it is awake"));
            assert_ne!(now, object);
            assert_eq!(rests(way, &now), None, "once is enough");
            let wakes_it = wakes(way, &now).expect("it rests");
            merge(&mut now, &wakes_it);
            assert_eq!(now, object);
            assert_eq!(wakes(way, &now), None);
        }
    }

    #[test]
    fn what_has_nothing_to_rest_from_is_left_alone() {
        let owned = json!({"ownerReferences": [{"controller": true}]});
        for (way, metadata, rest) in [
            (Way::Replicas, json!({}), json!({"spec": {"replicas": 0}})),
            (Way::Replicas, owned, json!({"spec": {"replicas": 2}})),
            (Way::Suspend, json!({}), json!({"spec": {"suspend": true}})),
            (
                Way::Suspend,
                json!({}),
                json!({"spec": {}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
            ),
            (Way::Replicas, json!({"deletionTimestamp": "t"}), json!({"spec": {"replicas": 2}})),
        ] {
            let mut object = rest;
            object["metadata"] = metadata;
            assert_eq!(rests(way, &object), None, "{object}");
        }
    }

    #[test]
    fn a_pod_that_nobody_would_make_again_is_kept_as_a_template() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "b"}},
            "spec": {"nodeName": "node", "containers": []}});
        let template = template_of(&pod);
        let again = pod_of(&template).expect("a pod");
        assert_eq!(again["metadata"]["name"], "p");
        assert_eq!(again["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(again["spec"], json!({"containers": []}));
        assert_eq!(pod_of(&json!({"metadata": {"name": "other"}, "template": {}})), None);
    }
}
