//! Makes the resource claims of pods from their templates, tells the pods their names, and deletes them when the pods end.
//!
//! Invariant: a pod has one claim per entry of its spec. Before one is made the server is asked for it, by its owner and its
//! annotation: no cache need know of what was made, and the pod may not have been told.

use crate::context::{Account, Context, unless_gone};
use crate::recorder::{Event, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{Meta, Pod, PodResourceClaim, View, or_default};
use api::{Error, Result};
use client::{Cache, DeleteParams, ListParams, ObjectRef, PODS, PatchType, Resource, WorkQueue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "resourceclaim-controller", account: Account::Service("resource-claim-controller"), make };

const CLAIMS: Resource =
    Resource { group: "resource.k8s.io", version: "v1", plural: "resourceclaims", namespaced: true };
const TEMPLATES: Resource =
    Resource { group: "resource.k8s.io", version: "v1", plural: "resourceclaimtemplates", namespaced: true };

/// Which entry of its pod's spec a claim was made for.
const ENTRY: &str = "resource.kubernetes.io/pod-claim-name";

/// The longest stem of a generated name: a hyphen and five characters follow, and a name has at most 63.
const STEM_BYTES_MAX: usize = 57;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Claim {
    metadata: Meta,
    status: ClaimStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimStatus {
    #[serde(deserialize_with = "or_default")]
    reserved_for: Vec<Consumer>,
}

/// Who uses a claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Consumer {
    uid: String,
}

impl View for Claim {
    const RESOURCE: Resource = CLAIMS;
}

/// A template, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    spec: Value,
}

impl View for Template {
    const RESOURCE: Resource = TEMPLATES;
}

struct Claims {
    context: Context,
    pods: Cache<Pod>,
    claims: Cache<Claim>,
    templates: Cache<Template>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<Pod>();
    let pods = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| {
        if change.new.as_ref().is_some_and(|pod| made(pod).next().is_some()) {
            changed.add(change.key.clone());
        }
    });
    let informer = setup.informers.of::<Claim>();
    let claims = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| {
        let claim = change.new.as_ref().or(change.old.as_ref());
        if let Some(owner) = claim.and_then(|c| c.metadata.controller()).filter(|o| o.kind == "Pod") {
            changed.add(ObjectRef { name: owner.name.clone(), ..change.key.clone() });
        }
    });
    let informer = setup.informers.of::<Template>();
    let templates = informer.cache();
    let (changed, known) = (queue.clone(), pods.clone());
    informer.on_change(move |change| {
        let (None, Some(_), Some(tenant)) = (&change.old, &change.new, &change.key.tenant) else { return };
        for (key, pod) in known.list_namespace(tenant, &change.key.namespace) {
            if made(&pod).any(|(_, template)| template == change.key.name) {
                changed.add(key);
            }
        }
    });
    Controller::new(queue, Arc::new(Claims { context: setup.context.clone(), pods, claims, templates }))
}

/// The entries of a pod's spec that claims are made for, and their templates.
fn made(pod: &Pod) -> impl Iterator<Item = (&PodResourceClaim, &str)> {
    pod.spec.resource_claims.iter().filter_map(|entry| Some((entry, entry.resource_claim_template_name.as_deref()?)))
}

/// What the generated name of a claim begins with: of long names, as much of each as their lengths allow.
fn stem(pod: &str, entry: &str) -> String {
    let whole = pod.len() + 1 + entry.len();
    let share = |name: &str| name.get(..name.len() * STEM_BYTES_MAX / whole).unwrap_or_default().to_owned();
    if whole > STEM_BYTES_MAX { format!("{}-{}", share(pod), share(entry)) } else { format!("{pod}-{entry}") }
}

/// The claim of an entry of a pod.
fn claim(pod: &Pod, entry: &str, template: &Value) -> Value {
    let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert(ENTRY.to_owned(), json!(entry));
    let mut metadata = json!({
        "generateName": format!("{}-", stem(&pod.metadata.name, entry)),
        "annotations": annotations,
        "ownerReferences": [{
            "apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid, "controller": true,
        }],
    });
    if template["metadata"]["labels"].is_object() {
        metadata["labels"] = template["metadata"]["labels"].clone();
    }
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": metadata, "spec": template["spec"]})
}

impl Reconcile for Claims {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(pod) = self.pods.get(key) else { return Ok(None) };
        match pod.is_finished() {
            true => self.clean_up(key, &pod).await?,
            false if pod.metadata.is_deleting() => {}
            false => self.provide(key, &pod).await?,
        }
        Ok(None)
    }
}

impl Claims {
    async fn provide(&self, key: &ObjectRef, pod: &Pod) -> Result<()> {
        let told = |entry: &str| pod.status.resource_claim_statuses.iter().any(|status| status.name == entry);
        let missing: Vec<_> = made(pod).filter(|(entry, _)| !told(&entry.name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let params = ListParams::default();
        let mut known = self.context.client(key).list_as::<Claim>(CLAIMS, &key.namespace, &params).await?.items;
        known.retain(|claim| claim.metadata.is_controlled_by(&pod.metadata.uid));
        let (mut statuses, mut outcome) = (Vec::new(), Ok(()));
        for (entry, template) in missing {
            let name = match known.iter().find(|claim| claim.metadata.annotations.get(ENTRY) == Some(&entry.name)) {
                Some(claim) => Ok(claim.metadata.name.clone()),
                None => self.create(key, pod, &entry.name, template).await,
            };
            match name {
                Ok(name) => statuses.push(json!({"name": entry.name, "resourceClaimName": name})),
                Err(error) if super::is_namespace_gone(&error) => return Ok(()),
                Err(error) => {
                    let message = format!("PodResourceClaim {}: {}", entry.name, error.message());
                    let (about, severity) = (pod.involved(), Severity::Warning);
                    self.context.recorder.record(Event {
                        about,
                        severity,
                        reason: "FailedResourceClaimCreation",
                        message,
                    });
                    outcome = Err(error);
                }
            }
        }
        if !statuses.is_empty() {
            let status = json!({"resourceClaimStatuses": statuses});
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
            let client = self.context.client(key);
            let (namespace, name) = (&key.namespace, &key.name);
            let told = client.patch(PODS, namespace, name, PatchType::Strategic, &patch, Some("status")).await;
            unless_gone(told)?;
        }
        outcome
    }

    /// Makes the claim of an entry; returns its name.
    async fn create(&self, key: &ObjectRef, pod: &Pod, entry: &str, template: &str) -> Result<String> {
        let Some(found) = self.templates.get(&pod.metadata.sibling(template)) else {
            let why = format!("resourceclaimtemplate.resource.k8s.io {template:?} not found");
            return Err(Error::bad_request(format!("resource claim template {template:?}: {why}")));
        };
        let claim = claim(pod, entry, &found.spec);
        let created = self.context.client(key).create(CLAIMS, &key.namespace, &claim).await?;
        Ok(created["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    }

    /// Deletes the claims that were made for a pod that runs no longer, unless another uses one.
    async fn clean_up(&self, key: &ObjectRef, pod: &Pod) -> Result<()> {
        let Some(tenant) = &key.tenant else { return Ok(()) };
        for (claim, seen) in self.claims.list_namespace(tenant, &key.namespace) {
            let used = seen.status.reserved_for.iter().any(|consumer| consumer.uid != pod.metadata.uid);
            if !seen.metadata.is_controlled_by(&pod.metadata.uid) || used || seen.metadata.is_deleting() {
                continue;
            }
            let client = self.context.client(key);
            let params = DeleteParams::of_uid(&seen.metadata.uid);
            unless_gone(client.delete(CLAIMS, &claim.namespace, &claim.name, &params).await)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_made_from_the_template_and_belongs_to_the_pod() {
        let entries =
            json!([{"name": "gpu", "resourceClaimTemplateName": "t"}, {"name": "own", "resourceClaimName": "c"}]);
        let pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"resourceClaims": entries}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let wanted: Vec<_> = made(&pod).map(|(entry, template)| (entry.name.as_str(), template)).collect();
        assert_eq!(wanted, [("gpu", "t")]);
        let spec = json!({"devices": {"requests": []}});
        let template = json!({"metadata": {"labels": {"l": "1"}, "annotations": {"n": "1"}}, "spec": spec});
        let claim = claim(&pod, "gpu", &template);
        assert_eq!((&claim["spec"], &claim["metadata"]["labels"]), (&spec, &json!({"l": "1"})));
        assert_eq!(claim["metadata"]["annotations"], json!({"n": "1", ENTRY: "gpu"}));
        assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], "u");
    }

    #[test]
    fn long_names_share_what_there_is_room_for() {
        assert_eq!(stem("pod", "gpu"), "pod-gpu");
        assert_eq!(stem(&"p".repeat(200), &"c".repeat(50)), format!("{}-{}", "p".repeat(45), "c".repeat(11)));
    }
}
