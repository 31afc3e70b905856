//! Follows every kind that can have an owner or be one, and queues what a change asks to look at.

use super::Item;
use super::refs::{self, Look, Object};
use crate::recorder::{Event, Involved, Recorder, Severity};
use api::{GroupVersion, OwnerRef, Result, TenantName};
use client::{
    Cache, Change, Client, DiscoveredResource, Index, ListParams, Names, ObjectRef, WorkQueue, is_operators, reflect,
};
use runtime::{Stop, Tasks};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// How often new kinds are looked for.
const DISCOVER_EVERY: Duration = Duration::from_secs(30);

/// Waits after discovery failed.
const DISCOVER_AGAIN: Duration = Duration::from_secs(1);

/// One kind that is followed.
pub struct Monitor {
    pub resource: DiscoveredResource,
    pub objects: Cache<Object>,
    /// By the uid of each owner.
    dependents: Index<Object>,
}

impl Monitor {
    /// The operators' own kinds are of no tenant.
    pub fn is_operators(&self) -> bool {
        is_operators(&self.resource)
    }

    fn is_kind_of(&self, owner: &OwnerRef) -> bool {
        *self.resource.kind == *owner.kind && *self.resource.group == *GroupVersion::parse(&owner.api_version).group
    }

    /// Where an owner of this kind is, seen from a dependent; `None` where such an owner cannot be.
    pub fn locate(&self, owner: &OwnerRef, dependent: &ObjectRef) -> Option<ObjectRef> {
        let tenant = if self.is_operators() { None } else { Some(dependent.tenant.clone()?) };
        let namespace = match (self.resource.namespaced, dependent.namespace.is_empty()) {
            (false, _) => String::new(),
            (true, false) => dependent.namespace.clone(),
            (true, true) => return None,
        };
        Some(ObjectRef { tenant, namespace, name: owner.name.clone() })
    }
}

/// Every kind that is followed. A monitor keeps its number.
pub struct Monitors {
    reader: Client,
    queue: WorkQueue<Item>,
    recorder: Recorder,
    all: RwLock<Vec<Arc<Monitor>>>,
    tasks: Tasks,
}

impl Monitors {
    pub fn new(reader: Client, queue: WorkQueue<Item>, recorder: Recorder) -> Monitors {
        Monitors { reader, queue, recorder, all: RwLock::default(), tasks: Tasks::new() }
    }

    /// Follows kinds as they come up, until it is told to stop.
    pub async fn run(self: Arc<Self>, stop: Stop) -> Result<()> {
        while !stop.is_stopped() {
            let wait = match self.reader.discover().await {
                Ok(resources) => {
                    for resource in resources {
                        self.follow(resource, &stop);
                    }
                    DISCOVER_EVERY
                }
                Err(error) => {
                    tracing::warn!(%error, "the kinds to collect garbage of are not known; trying again");
                    DISCOVER_AGAIN
                }
            };
            // At shutdown, waiting ends at once.
            drop(tokio::time::timeout(wait, stop.stopped()).await);
        }
        self.tasks.ended().await;
        Ok(())
    }

    fn follow(self: &Arc<Self>, resource: DiscoveredResource, stop: &Stop) {
        // Events are many, and own nothing.
        let collected =
            ["list", "watch", "delete"].iter().all(|verb| resource.can(verb)) && *resource.plural != *"events";
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let known = |m: &Arc<Monitor>| m.resource.group == resource.group && m.resource.plural == resource.plural;
        if !collected || all.iter().any(known) {
            return;
        }
        let reader = if is_operators(&resource) { self.reader.clone() } else { self.reader.all_tenants() };
        let (objects, mut reflector, _) = reflect::<Object>(reader, resource.clone(), ListParams::default());
        let owners = |o: &Object| o.metadata.owner_references.iter().map(|o| o.uid.clone()).collect();
        let dependents = objects.index(move |_, object| owners(object));
        let (monitors, number) = (Arc::downgrade(self), all.len());
        reflector.on_change(move |change| {
            if let Some(monitors) = monitors.upgrade() {
                monitors.changed(number, change);
            }
        });
        let stop = stop.clone();
        self.tasks.spawn("garbage monitor", async move {
            if let Err(error) = reflector.run(stop).await {
                tracing::error!(%error, "a kind is no longer followed for garbage");
            }
        });
        all.push(Arc::new(Monitor { resource, objects, dependents }));
    }

    fn changed(&self, monitor: usize, change: &Change<Object>) {
        let known =
            |object: &Object| object.metadata.owner_references.iter().all(|owner| self.knows(owner, &change.key));
        let Look { at_itself, at_dependents_of, at_owners } =
            refs::look(change.old.as_deref(), change.new.as_deref(), known);
        let item = Item { monitor, key: change.key.clone() };
        if at_itself {
            self.queue.add(item.clone());
        }
        for uid in at_dependents_of {
            for (dependent, _) in self.dependents(&item, &uid) {
                self.queue.add(dependent);
            }
        }
        if let Some(object) = change.old.as_ref().filter(|_| !at_owners.is_empty()) {
            for owner in object.metadata.owner_references.iter().filter(|o| at_owners.contains(&o.uid)) {
                self.queue_if_waiting(owner, &change.key);
            }
        }
    }

    fn queue_if_waiting(&self, owner: &OwnerRef, dependent: &ObjectRef) {
        let Some((number, monitor)) = self.of_kind(owner) else { return };
        let Some(key) = monitor.locate(owner, dependent) else { return };
        let waits = |o: &Arc<Object>| o.metadata.uid == owner.uid && o.waits_for_dependents();
        if monitor.objects.get(&key).is_some_and(|o| waits(&o)) {
            self.queue.add(Item { monitor: number, key });
        }
    }

    /// Whether a cache holds an owner.
    fn knows(&self, owner: &OwnerRef, dependent: &ObjectRef) -> bool {
        self.find(owner, dependent).is_some()
    }

    fn find(&self, owner: &OwnerRef, dependent: &ObjectRef) -> Option<Arc<Object>> {
        let (_, monitor) = self.of_kind(owner)?;
        let key = monitor.locate(owner, dependent)?;
        monitor.objects.get(&key).filter(|o| o.metadata.uid == owner.uid)
    }

    /// Whether caches hold every owner of an object, and none of them goes after its dependents: so that there is
    /// nothing to ask the server. When one goes, its own change leads back to the object.
    pub fn all_owners_stay(&self, item: &Item, object: &Object) -> bool {
        let stays = |owner| self.find(owner, &item.key).is_some_and(|o| !o.waits_for_dependents());
        object.metadata.owner_references.iter().all(stays)
    }

    /// Tells the user if an owner, of which there is none beside the object, exists in a namespace from where it cannot
    /// own the object.
    pub fn tell_of_stranger(&self, item: &Item, object: &Object, owner: &OwnerRef) {
        let (Some(tenant), Some((_, monitor))) = (&item.key.tenant, self.of_kind(owner)) else { return };
        if item.key.namespace.is_empty() || !monitor.resource.namespaced {
            return;
        }
        if monitor.objects.any_in_tenant(tenant, |o| o.metadata.uid == owner.uid) {
            let OwnerRef { api_version, kind, name, uid, .. } = owner;
            let namespace = &item.key.namespace;
            let message = format!(
                "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in \
                 namespace {namespace:?}"
            );
            let about = self.involved(item, object);
            let reason = "OwnerRefInvalidNamespace";
            self.recorder.record(Event { about, severity: Severity::Warning, reason, message });
        }
    }

    fn involved(&self, item: &Item, object: &Object) -> Involved {
        let DiscoveredResource { kind, .. } = &self.get(item.monitor).resource;
        Involved {
            key: item.key.clone(),
            api_version: self.get(item.monitor).resource.api_version(),
            kind: kind.to_string(),
            uid: object.metadata.uid.clone(),
        }
    }

    /// Asks to look at an object.
    pub fn queue(&self, item: Item) {
        self.queue.add(item);
    }

    pub fn get(&self, number: usize) -> Arc<Monitor> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)[number].clone()
    }

    /// Whether every kind that is followed is known whole, so that an object without dependents has none.
    pub fn are_synced(&self) -> bool {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        !all.is_empty() && all.iter().all(|m| m.objects.is_synced())
    }

    /// The monitor of an owner's kind, in whatever version.
    pub fn of_kind(&self, owner: &OwnerRef) -> Option<(usize, Arc<Monitor>)> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let number = all.iter().position(|m| m.is_kind_of(owner))?;
        Some((number, all[number].clone()))
    }

    /// What names the uid of an object as an owner, in the object's own tenant (of the operators' own kinds, in all).
    pub fn dependents(&self, owner: &Item, uid: &str) -> Vec<(Item, Arc<Object>)> {
        let tenant: &Option<TenantName> = &owner.key.tenant;
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner).clone();
        let found = all.iter().enumerate().flat_map(|(monitor, m)| {
            let dependents = m.dependents.get(uid).into_iter();
            dependents.map(move |(key, object)| (Item { monitor, key }, object))
        });
        #[cfg(test)]
        let tenant =
            if crate::tests::threats::is(crate::tests::threats::Fault::OwnersOfAnyTenant) { &None } else { tenant };
        found.filter(|(item, _)| tenant.is_none() || item.key.tenant == *tenant).collect()
    }
}
