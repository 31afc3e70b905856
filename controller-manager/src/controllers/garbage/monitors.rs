//! Follows every kind that can have an owner or be one, and queues what a change asks to look at.
//!
//! What Kubernetes itself has is followed once, over all tenants; what a tenant defines is followed in that tenant, so that
//! tenants without kinds of their own cost nothing, and what one cannot list holds up no other.

use super::Item;
use super::refs::{self, Look, Object};
use crate::recorder::{Event, Involved, Recorder, Severity};
use crate::view::CustomResourceDefinition;
use api::{GroupVersion, OwnerRef, Result, TenantName};
use client::{
    CUSTOM_RESOURCE_DEFINITIONS, Cache, Change, Client, DiscoveredResource, Index, ListParams, Names, ObjectRef,
    WorkQueue, is_operators, reflect,
};
use runtime::{Stop, Tasks};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::time::Instant;

/// How often new kinds are looked for.
const DISCOVER_EVERY: Duration = Duration::from_secs(30);

/// Waits after discovery failed.
const DISCOVER_AGAIN: Duration = Duration::from_secs(1);

/// For so long the first list of a kind that a tenant defines is waited for.
const OWN_KIND_WAIT_MAX: Duration = Duration::from_secs(30);

/// One kind that is followed.
pub struct Monitor {
    pub resource: DiscoveredResource,
    pub objects: Cache<Object>,
    /// By the uid of each owner.
    dependents: Index<Object>,
    /// When the first list is no longer waited for.
    patience: Option<Instant>,
    stop: Stop,
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

/// Monitors by their numbers, which are never given again.
#[derive(Default)]
struct Known {
    /// Of what is the same in all tenants.
    shared: BTreeMap<usize, Arc<Monitor>>,
    /// Of what a tenant defines, by the name of the definition.
    own: HashMap<TenantName, BTreeMap<String, (usize, Arc<Monitor>)>>,
    /// Whether the definitions that there were at the start are followed.
    defined: bool,
    next: usize,
}

impl Known {
    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// What may be of interest to an object of a tenant; to one of the operators', everything.
    fn of<'k>(&'k self, tenant: Option<&'k TenantName>) -> impl Iterator<Item = (usize, &'k Arc<Monitor>)> {
        let own = self.own.values().filter(move |_| tenant.is_none());
        let own = own.chain(tenant.and_then(|tenant| self.own.get(tenant)));
        let own = own.flat_map(|own| own.values().map(|(number, monitor)| (*number, monitor)));
        self.shared.iter().map(|(number, monitor)| (*number, monitor)).chain(own)
    }
}

/// Every kind that is followed.
pub struct Monitors {
    reader: Client,
    definitions: Cache<CustomResourceDefinition>,
    /// The definitions that changed.
    changed: WorkQueue<ObjectRef>,
    queue: WorkQueue<Item>,
    recorder: Recorder,
    known: RwLock<Known>,
    tasks: Tasks,
}

impl Monitors {
    pub fn new(
        reader: Client,
        definitions: Cache<CustomResourceDefinition>,
        changed: WorkQueue<ObjectRef>,
        queue: WorkQueue<Item>,
        recorder: Recorder,
    ) -> Monitors {
        Monitors { reader, definitions, changed, queue, recorder, known: RwLock::default(), tasks: Tasks::new() }
    }

    /// Follows kinds as they come up, until it is told to stop.
    pub async fn run(self: Arc<Self>, stop: Stop) -> Result<()> {
        tokio::join!(self.follow_shared(&stop), self.follow_defined(&stop));
        self.tasks.ended().await;
        Ok(())
    }

    async fn follow_shared(self: &Arc<Self>, stop: &Stop) {
        while !stop.is_stopped() {
            let wait = match self.shared_kinds().await {
                Ok(resources) => {
                    for resource in resources {
                        self.follow_in_all(resource, stop);
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
    }

    /// What discovery tells of in the operators' tenant, without what is defined there.
    async fn shared_kinds(&self) -> Result<Vec<DiscoveredResource>> {
        let discovered = self.reader.discover().await?;
        // Asked after discovery, not looked up: a cache may not have what discovery told of.
        let params = ListParams::default();
        let defined = self.reader.list_as::<CustomResourceDefinition>(CUSTOM_RESOURCE_DEFINITIONS, "", &params).await?;
        let is_defined = |resource: &DiscoveredResource| {
            let names = |d: &CustomResourceDefinition| {
                *d.spec.group == *resource.group && *d.spec.names.plural == *resource.plural
            };
            defined.items.iter().any(names)
        };
        Ok(discovered.into_iter().filter(|resource| !is_defined(resource)).collect())
    }

    async fn follow_defined(self: &Arc<Self>, stop: &Stop) {
        tokio::select! {
            biased;
            () = stop.stopped() => return,
            // Cancel-safe: it only waits.
            () = self.definitions.synced() => {}
        }
        for (key, _) in self.definitions.list() {
            self.define(&key, stop);
        }
        self.write().defined = true;
        loop {
            let changed = tokio::select! {
                biased;
                () = stop.stopped() => return,
                // Cancel-safe: nothing is taken until it is returned.
                changed = self.changed.next() => changed,
            };
            let Some(changed) = changed else { return };
            self.define(&changed, stop);
            changed.succeed();
        }
    }

    /// Follows what a definition defines now, and no longer what it defined before.
    fn define(self: &Arc<Self>, key: &ObjectRef, stop: &Stop) {
        let Some(tenant) = &key.tenant else { return };
        let wanted = self.definitions.get(key).and_then(|definition| definition.resource());
        let mut known = self.write();
        let own = known.own.entry(tenant.clone()).or_default();
        let is_same = |(_, monitor): &(usize, Arc<Monitor>)| Some(&monitor.resource) == wanted.as_ref();
        if !own.get(&key.name).is_some_and(is_same) {
            if let Some((_, before)) = own.remove(&key.name) {
                before.stop.stop();
            }
            if let Some(resource) = wanted {
                let (reader, number) = (self.reader.in_tenant(tenant), known.number());
                let patience = Some(Instant::now() + OWN_KIND_WAIT_MAX);
                let monitor = self.follow(number, resource, reader, patience, stop);
                known.own.entry(tenant.clone()).or_default().insert(key.name.clone(), (number, monitor));
            }
        }
        if known.own.get(tenant).is_some_and(BTreeMap::is_empty) {
            known.own.remove(tenant);
        }
    }

    fn follow_in_all(self: &Arc<Self>, resource: DiscoveredResource, stop: &Stop) {
        // Events are many, and own nothing.
        let collected =
            ["list", "watch", "delete"].iter().all(|verb| resource.can(verb)) && *resource.plural != *"events";
        let mut known = self.write();
        let is_same = |m: &Arc<Monitor>| m.resource.group == resource.group && m.resource.plural == resource.plural;
        if !collected || known.shared.values().any(is_same) {
            return;
        }
        let reader = if is_operators(&resource) { self.reader.clone() } else { self.reader.all_tenants() };
        let number = known.number();
        let monitor = self.follow(number, resource, reader, None, stop);
        known.shared.insert(number, monitor);
    }

    fn follow(
        self: &Arc<Self>,
        number: usize,
        resource: DiscoveredResource,
        reader: Client,
        patience: Option<Instant>,
        stop: &Stop,
    ) -> Arc<Monitor> {
        let (objects, mut reflector, _) = reflect::<Object>(reader, resource.clone(), ListParams::default());
        let owners = |o: &Object| o.metadata.owner_references.iter().map(|o| o.uid.clone()).collect();
        let dependents = objects.index(move |_, object| owners(object));
        let monitors = Arc::downgrade(self);
        reflector.on_change(move |change| {
            if let Some(monitors) = monitors.upgrade() {
                monitors.object_changed(number, change);
            }
        });
        let stop = stop.child();
        let stopping = stop.clone();
        self.tasks.spawn("garbage monitor", async move {
            if let Err(error) = reflector.run(stopping).await {
                tracing::error!(%error, "a kind is no longer followed for garbage");
            }
        });
        Arc::new(Monitor { resource, objects, dependents, patience, stop })
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn object_changed(&self, monitor: usize, change: &Change<Object>) {
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
        let Some((number, monitor)) = self.of_kind(owner, dependent) else { return };
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
        let (_, monitor) = self.of_kind(owner, dependent)?;
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
        let (Some(tenant), Some((_, monitor))) = (&item.key.tenant, self.of_kind(owner, &item.key)) else { return };
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
            let Some(about) = self.involved(item, object) else { return };
            let reason = "OwnerRefInvalidNamespace";
            self.recorder.record(Event { about, severity: Severity::Warning, reason, message });
        }
    }

    fn involved(&self, item: &Item, object: &Object) -> Option<Involved> {
        let resource = &self.get(item)?.resource;
        Some(Involved {
            key: item.key.clone(),
            api_version: resource.api_version(),
            kind: resource.kind.to_string(),
            uid: object.metadata.uid.clone(),
        })
    }

    /// Asks to look at an object.
    pub fn queue(&self, item: Item) {
        self.queue.add(item);
    }

    /// What follows an object's kind; `None` if that is defined no longer.
    pub fn get(&self, item: &Item) -> Option<Arc<Monitor>> {
        let (known, number) = (self.read(), item.monitor);
        let own = || known.own.get(item.key.tenant.as_ref()?)?.values().find(|(n, _)| *n == number).map(|(_, m)| m);
        known.shared.get(&number).or_else(own).cloned()
    }

    /// Whether every kind that is followed for a tenant is known whole, so that an object without dependents has none. A
    /// kind of its own that cannot be listed is waited for only so long: what is of it is neither deleted nor waited for.
    pub fn are_synced(&self, tenant: Option<&TenantName>) -> bool {
        let known = self.read();
        let is_ready =
            |m: &Arc<Monitor>| m.objects.is_synced() || m.patience.is_some_and(|until| until < Instant::now());
        known.defined && !known.shared.is_empty() && known.of(tenant).all(|(_, m)| is_ready(m))
    }

    /// The monitor of an owner's kind, in whatever version, seen from a dependent.
    pub fn of_kind(&self, owner: &OwnerRef, dependent: &ObjectRef) -> Option<(usize, Arc<Monitor>)> {
        let known = self.read();
        let found = known.of(dependent.tenant.as_ref()).find(|(_, m)| m.is_kind_of(owner));
        found.map(|(number, monitor)| (number, monitor.clone()))
    }

    /// What names the uid of an object as an owner, in the object's own tenant (of the operators' own kinds, in all).
    pub fn dependents(&self, owner: &Item, uid: &str) -> Vec<(Item, Arc<Object>)> {
        let tenant: &Option<TenantName> = &owner.key.tenant;
        let known = self.read();
        let found = known.of(tenant.as_ref()).flat_map(|(monitor, m)| {
            let dependents = m.dependents.get(uid).into_iter();
            dependents.map(move |(key, object)| (Item { monitor, key }, object))
        });
        #[cfg(test)]
        let tenant =
            if crate::tests::threats::is(crate::tests::threats::Fault::OwnersOfAnyTenant) { &None } else { tenant };
        found.filter(|(item, _)| tenant.is_none() || item.key.tenant == *tenant).collect()
    }
}
