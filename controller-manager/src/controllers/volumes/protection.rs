//! Keeps claims, volumes and classes of attributes from going while they are used, by a finalizer on each.

use crate::context::{Account, Context, unless_gone};
use crate::runner::{Controller, Declaration, Reconcile, Setup};
use crate::view::{CLAIMS, Claim, Meta, PersistentVolume, Pod, VOLUMES, View};
use api::{Result, TenantName};
use client::{Cache, Index, ObjectRef, Resource, WorkQueue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub const CLAIM: Declaration = Declaration {
    name: "persistentvolumeclaim-protection-controller",
    account: Account::Service("pvc-protection-controller"),
    make: make_claims,
};

pub const VOLUME: Declaration = Declaration {
    name: "persistentvolume-protection-controller",
    account: Account::Service("pv-protection-controller"),
    make: make_volumes,
};

pub const ATTRIBUTES_CLASS: Declaration = Declaration {
    name: "volumeattributesclass-protection-controller",
    account: Account::Service("volumeattributesclass-protection-controller"),
    make: make_classes,
};

const CLASSES: Resource =
    Resource { group: "storage.k8s.io", version: "v1", plural: "volumeattributesclasses", namespaced: false };

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct AttributesClass {
    metadata: Meta,
}

impl View for AttributesClass {
    const RESOURCE: Resource = CLASSES;
}

/// Pods by the claims that their volumes need, as the texts of their keys.
pub fn pods_by_claim(setup: &mut Setup) -> Index<Pod> {
    let pods = setup.informers.of::<Pod>().cache();
    pods.index(|_, pod: &Pod| pod.claims().map(|name| pod.metadata.sibling(&name).to_string()).collect())
}

/// What to do about a finalizer.
#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Add,
    Remove,
}

/// Decides. `is_used` is asked only where it matters.
fn plan(metadata: &Meta, finalizer: &str, is_used: impl FnOnce() -> bool) -> Plan {
    let has = metadata.finalizers.iter().any(|f| f == finalizer);
    match (metadata.is_deleting(), has) {
        (false, false) => Plan::Add,
        (true, true) if !is_used() => Plan::Remove,
        _ => Plan::Nothing,
    }
}

/// Whether something needs an object.
type IsUsed<T> = dyn Fn(&ObjectRef, &T) -> bool + Send + Sync;

/// One kind that is protected.
struct Protection<T> {
    context: Context,
    objects: Cache<T>,
    resource: Resource,
    finalizer: &'static str,
    metadata: fn(&T) -> &Meta,
    is_used: Box<IsUsed<T>>,
}

impl<T: View> Reconcile for Protection<T> {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let Some(object) = self.objects.get(key) else { return Ok(None) };
        let metadata = (self.metadata)(&object);
        let plan = plan(metadata, self.finalizer, || (self.is_used)(key, &object));
        let change = |object: &mut Value| match plan {
            Plan::Nothing => {}
            Plan::Add => match object["metadata"]["finalizers"].as_array_mut() {
                Some(finalizers) => finalizers.push(json!(self.finalizer)),
                None => object["metadata"]["finalizers"] = json!([self.finalizer]),
            },
            Plan::Remove => {
                if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
                    finalizers.retain(|f| f != self.finalizer);
                }
            }
        };
        if plan != Plan::Nothing {
            let version = &metadata.resource_version;
            unless_gone(self.context.rewrite(self.resource, key, version, None, change).await)?;
        }
        Ok(None)
    }
}

fn make_claims(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let by_claim = pods_by_claim(setup);
    let informer = setup.informers.of::<Claim>();
    let objects = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| changed.add(change.key.clone()));
    let (changed, known) = (queue.clone(), objects.clone());
    setup.informers.of::<Pod>().on_change(move |change| {
        let uses = |pod: &Option<Arc<Pod>>| pod.as_ref().is_some_and(|p| !p.spec.node_name.is_empty());
        let Some(old) = change.old.as_ref().filter(|_| !uses(&change.new)) else { return };
        for name in old.claims() {
            let key = old.metadata.sibling(&name);
            if known.get(&key).is_some_and(|claim| claim.metadata.is_deleting()) {
                changed.add(key);
            }
        }
    });
    let is_used = move |key: &ObjectRef, _: &Claim| {
        by_claim.get(&key.to_string()).iter().any(|(_, pod)| !pod.spec.node_name.is_empty())
    };
    let (context, is_used) = (setup.context.clone(), Box::new(is_used));
    let finalizer = "kubernetes.io/pvc-protection";
    let protection = Protection { context, objects, resource: CLAIMS, finalizer, metadata: |c| &c.metadata, is_used };
    Controller::new(queue, Arc::new(protection))
}

fn make_volumes(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<PersistentVolume>();
    let objects = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| changed.add(change.key.clone()));
    let is_used = Box::new(|_: &ObjectRef, volume: &PersistentVolume| volume.status.phase == "Bound");
    let (context, finalizer) = (setup.context.clone(), "kubernetes.io/pv-protection");
    let protection = Protection { context, objects, resource: VOLUMES, finalizer, metadata: |v| &v.metadata, is_used };
    Controller::new(queue, Arc::new(protection))
}

/// The classes of attributes that a claim has, had or is to have.
fn classes_of_claim(claim: &Claim) -> impl Iterator<Item = &str> {
    let target = claim.status.modify_volume_status.as_ref().and_then(|s| s["targetVolumeAttributesClassName"].as_str());
    let wanted = claim.spec.volume_attributes_class_name.as_deref();
    wanted.into_iter().chain(claim.status.current_volume_attributes_class_name.as_deref()).chain(target)
}

fn class_key(tenant: Option<&TenantName>, class: &str) -> String {
    format!("{}/{class}", tenant.map_or("", |t| t.as_str()))
}

fn make_classes(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let of_claim =
        |key: &ObjectRef, c: &Claim| classes_of_claim(c).map(|n| class_key(key.tenant.as_ref(), n)).collect();
    let of_volume = |key: &ObjectRef, v: &PersistentVolume| {
        v.spec.volume_attributes_class_name.iter().map(|n| class_key(key.tenant.as_ref(), n)).collect()
    };
    let claims = setup.informers.of::<Claim>().cache().index(of_claim);
    let volumes = setup.informers.of::<PersistentVolume>().cache().index(of_volume);
    let informer = setup.informers.of::<AttributesClass>();
    let objects = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| changed.add(change.key.clone()));
    let changed = queue.clone();
    setup.informers.of::<Claim>().on_change(move |change| {
        let (Some(old), Some(tenant)) = (&change.old, &change.key.tenant) else { return };
        classes_of_claim(old).for_each(|name| changed.add(ObjectRef::new(tenant, "", name)));
    });
    let changed = queue.clone();
    setup.informers.of::<PersistentVolume>().on_change(move |change| {
        let (Some(old), Some(tenant)) = (&change.old, &change.key.tenant) else { return };
        old.spec.volume_attributes_class_name.iter().for_each(|name| changed.add(ObjectRef::new(tenant, "", name)));
    });
    let is_used = move |key: &ObjectRef, class: &AttributesClass| {
        let name = class_key(key.tenant.as_ref(), &class.metadata.name);
        !claims.get(&name).is_empty() || !volumes.get(&name).is_empty()
    };
    let (context, is_used) = (setup.context.clone(), Box::new(is_used));
    let finalizer = "kubernetes.io/vac-protection";
    let protection = Protection { context, objects, resource: CLASSES, finalizer, metadata: |c| &c.metadata, is_used };
    Controller::new(queue, Arc::new(protection))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    #[test]
    fn what_stays_is_protected_and_what_goes_unused_is_let_go() {
        let deleting = Some("2026-01-01T00:00:00Z");
        for (deletion, finalizers, used, expected) in [
            (None, vec![], false, Plan::Add),
            (None, vec!["x"], true, Plan::Nothing),
            (deleting, vec!["x"], true, Plan::Nothing),
            (deleting, vec!["x"], false, Plan::Remove),
            (deleting, vec!["y"], false, Plan::Nothing),
        ] {
            let metadata: Meta =
                from_value(json!({"deletionTimestamp": deletion, "finalizers": finalizers})).expect("metadata");
            assert_eq!(plan(&metadata, "x", || used), expected);
        }
    }

    #[test]
    fn a_claim_uses_the_classes_that_it_has_had_and_gets() {
        let claim: Claim = from_value(json!({
            "spec": {"volumeAttributesClassName": "a"},
            "status": {
                "currentVolumeAttributesClassName": "b",
                "modifyVolumeStatus": {"targetVolumeAttributesClassName": "c"},
            },
        }))
        .expect("a claim");
        assert_eq!(classes_of_claim(&claim).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
