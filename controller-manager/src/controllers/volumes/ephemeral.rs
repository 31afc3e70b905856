//! Makes the claims of volumes that live as long as their pods.

use crate::context::{Account, Context};
use crate::recorder::{Event, Severity};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{CLAIMS, Claim, Pod};
use api::Result;
use client::{Cache, ObjectRef, WorkQueue};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub const DECLARATION: Declaration =
    Declaration { name: "ephemeral-volume-controller", account: Account::Service("ephemeral-volume-controller"), make };

struct Ephemeral {
    context: Context,
    pods: Cache<Pod>,
    claims: Cache<Claim>,
}

fn make(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<Pod>();
    let pods = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| {
        if change.new.as_ref().is_some_and(|p| needs_claims(p)) && change.old.is_none() {
            changed.add(change.key.clone());
        }
    });
    let informer = setup.informers.of::<Claim>();
    let claims = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| {
        let Some(old) = change.old.as_ref().filter(|_| change.new.is_none()) else { return };
        if let Some(owner) = old.metadata.controller().filter(|o| o.kind == "Pod") {
            changed.add(old.metadata.sibling(&owner.name));
        }
    });
    Controller::new(queue, Arc::new(Ephemeral { context: setup.context.clone(), pods, claims }))
}

fn needs_claims(pod: &Pod) -> bool {
    !pod.metadata.is_deleting() && pod.spec.volumes.iter().any(|v| v.ephemeral.is_some())
}

/// The claim of a volume of a pod.
fn claim(pod: &Pod, name: &str, source: &Value) -> Value {
    let template = &source["volumeClaimTemplate"];
    let mut metadata = json!({
        "name": name,
        "ownerReferences": [{
            "apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid,
            "controller": true, "blockOwnerDeletion": true,
        }],
    });
    for field in ["labels", "annotations"] {
        let given = &template["metadata"][field];
        if given.is_object() {
            metadata[field] = given.clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]})
}

impl Reconcile for Ephemeral {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await.map(|()| None)
    }
}

impl Ephemeral {
    async fn sync(&self, key: &ObjectRef) -> Result<()> {
        let Some(pod) = self.pods.get(key).filter(|p| needs_claims(p)) else { return Ok(()) };
        let mut outcome = Ok(());
        for volume in &pod.spec.volumes {
            let Some(source) = &volume.ephemeral else { continue };
            let name = format!("{}-{}", pod.metadata.name, volume.name);
            if let Err(error) = self.provide(key, &pod, &volume.name, &name, source).await {
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn provide(&self, key: &ObjectRef, pod: &Pod, volume: &str, name: &str, source: &Value) -> Result<()> {
        let namespace = &key.namespace;
        if let Some(known) = self.claims.get(&pod.metadata.sibling(name)) {
            if !known.metadata.is_controlled_by(&pod.metadata.uid) {
                let why = format!("was not created for pod {namespace}/{} (pod is not owner)", pod.metadata.name);
                self.tell(pod, format!("ephemeral volume {volume}: PVC {namespace}/{name} {why}"));
            }
            return Ok(());
        }
        match self.context.client(key).create(CLAIMS, namespace, &claim(pod, name, source)).await {
            Ok(_) => Ok(()),
            Err(error) if super::super::is_namespace_gone(&error) => Ok(()),
            Err(error) => {
                if !error.is_already_exists() {
                    self.tell(pod, format!("ephemeral volume {volume}: create PVC {name}: {}", error.message()));
                }
                Err(error)
            }
        }
    }

    fn tell(&self, pod: &Pod, message: String) {
        let (about, severity, reason) = (pod.involved(), Severity::Warning, "FailedBinding");
        self.context.recorder.record(Event { about, severity, reason, message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    #[test]
    fn a_claim_is_made_from_the_template_and_belongs_to_the_pod() {
        let spec = json!({"resources": {"requests": {"storage": "1Gi"}}});
        let source = json!({"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": spec}});
        let pod: Pod = from_value(json!({
            "metadata": {"name": "p", "uid": "u"},
            "spec": {"volumes": [{"name": "v", "ephemeral": source}, {"name": "w", "emptyDir": {}}]},
        }))
        .expect("a pod");
        assert!(needs_claims(&pod));
        assert_eq!(pod.claims().collect::<Vec<_>>(), ["p-v"]);
        let claim = claim(&pod, "p-v", &source);
        assert_eq!((&claim["spec"], &claim["metadata"]["labels"]), (&spec, &json!({"a": "b"})));
        assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], "u");
    }
}
