//! What follows from a service: where its pods are found, in both forms, and an address from outside.

pub mod endpoint_slices;
pub mod endpoints;
pub mod load_balancers;
pub mod mirroring;
mod pods;
mod slices;

use crate::recorder::Involved;
use crate::view::{Meta, Pod, Service};
use client::{Cache, Change, ObjectRef, WorkQueue};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// On what has no address of its own; it is the controllers' and never copied.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Queues the services that a change of a pod concerns: those that select it, or did.
fn pod_changed(change: &Change<Pod>, services: &Cache<Service>, queue: &WorkQueue<ObjectRef>) {
    let Some(tenant) = &change.key.tenant else { return };
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && !pods::is_found_otherwise(old, new)
    {
        return;
    }
    let either: Vec<&Arc<Pod>> = [&change.old, &change.new].into_iter().flatten().collect();
    for (key, service) in services.list_namespace(tenant, &change.key.namespace) {
        if either.iter().any(|pod| service.selects(&pod.metadata.labels)) {
            queue.add(key);
        }
    }
}

/// An owner reference that makes an object go with its owner.
fn owner_reference(kind: &str, owner: &Meta) -> Value {
    json!([{
        "apiVersion": "v1", "kind": kind, "name": owner.name, "uid": owner.uid,
        "controller": true, "blockOwnerDeletion": true,
    }])
}

/// A service, as events name it.
fn involved(service: &Service) -> Involved {
    Involved {
        key: service.metadata.key(),
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        uid: service.metadata.uid.clone(),
    }
}

/// The labels of a service, with the mark of one that is headless.
fn labels_of(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone();
    labels.remove(HEADLESS);
    if service.is_headless() {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}
