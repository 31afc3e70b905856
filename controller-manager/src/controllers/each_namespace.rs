//! Keeps one object in every namespace that is not being deleted.

use crate::context::Context;
use crate::runner::{Controller, Reconcile, Setup};
use crate::view::{Namespace, View};
use api::Result;
use client::{Cache, ObjectRef, WorkQueue};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// A kind of which every namespace has the object of one name.
pub trait Kept: View {
    const NAME: &'static str;

    fn wanted(root_ca: &str) -> Value;

    /// The object as it is to be, if it is not so already.
    fn corrected(&self, _root_ca: &str) -> Option<Value> {
        None
    }
}

struct Keeper<T> {
    context: Context,
    namespaces: Cache<Namespace>,
    objects: Cache<T>,
    root_ca: Arc<str>,
}

pub fn make<T: Kept>(setup: &mut Setup) -> Controller {
    let queue: WorkQueue<ObjectRef> = WorkQueue::new();
    let informer = setup.informers.of::<Namespace>();
    let namespaces = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| changed.add(change.key.clone()));
    let informer = setup.informers.of::<T>();
    let objects = informer.cache();
    let changed = queue.clone();
    informer.on_change(move |change| {
        if let Some(tenant) = &change.key.tenant {
            changed.add(ObjectRef::new(tenant, "", &change.key.namespace));
        }
    });
    let (context, root_ca) = (setup.context.clone(), setup.root_ca.clone());
    Controller::new(queue, Arc::new(Keeper { context, namespaces, objects, root_ca }))
}

impl<T: Kept> Reconcile for Keeper<T> {
    async fn reconcile(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        self.sync(key).await
    }
}

impl<T: Kept> Keeper<T> {
    async fn sync(&self, key: &ObjectRef) -> Result<Option<Duration>> {
        let namespace = self.namespaces.get(key).filter(|n| !n.metadata.is_deleting());
        let (Some(_), Some(tenant)) = (namespace, &key.tenant) else { return Ok(None) };
        let client = self.context.client(key);
        let written = match self.objects.get(&ObjectRef::new(tenant, &key.name, T::NAME)) {
            None => client.create(T::RESOURCE, &key.name, &T::wanted(&self.root_ca)).await,
            Some(object) => match object.corrected(&self.root_ca) {
                None => return Ok(None),
                Some(corrected) => client.update(T::RESOURCE, &key.name, &corrected).await,
            },
        };
        match written {
            Err(error) if !error.is_already_exists() && !super::is_namespace_gone(&error) => Err(error),
            Ok(_) | Err(_) => Ok(None),
        }
    }
}
