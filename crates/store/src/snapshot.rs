//! An immutable view of every object at one revision: persistent ordered maps, one per resource.
//!
//! Cloning is O(1); a change copies one path of one map. The writer changes its own [`State`], readers hold snapshots.

use crate::event::{Event, EventKind};
use crate::scope::{Scope, bounds, compact};
use api::{Object, ObjectKey, ResourceId, Revision, TenantName};
use imbl::OrdMap;
use std::sync::Arc;

/// Objects of one resource.
#[derive(Clone, Default)]
struct Objects {
    by_key: OrdMap<Arc<str>, Arc<Object>>,
    /// Encoded bytes of all of them.
    bytes: u64,
    /// The last change of any of them; 0 when the store was opened after it.
    revision: Revision,
}

impl Objects {
    fn put(&mut self, object: Arc<Object>) {
        let key = compact(&object.key);
        self.bytes += object.bytes.len() as u64;
        let replaced = match self.by_key.get_mut(key.as_str()) {
            Some(stored) => Some(std::mem::replace(stored, object)),
            None => self.by_key.insert(key.into(), object),
        };
        self.bytes -= replaced.map_or(0, |replaced| replaced.bytes.len() as u64);
    }

    fn remove(&mut self, key: &ObjectKey) {
        let removed = self.by_key.remove(compact(key).as_str());
        self.bytes -= removed.map_or(0, |removed| removed.bytes.len() as u64);
    }

    fn range(&self, scope: &Scope, after: Option<&ObjectKey>) -> impl Iterator<Item = &Arc<Object>> + use<'_> {
        let (start, end) = scope.range();
        let after = after.map(compact);
        let bounds = bounds(&start, end.as_deref(), after.as_deref());
        bounds.map(|bounds| self.by_key.range::<_, str>(bounds)).into_iter().flatten().map(|(_, object)| object)
    }
}

/// Everything stored, at one revision.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) revision: Revision,
    resources: OrdMap<ResourceId, Objects>,
}

impl State {
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.resources.get(&key.resource)?.by_key.get(compact(key).as_str())
    }

    /// Adds or replaces an object without a change of revisions, as loading does.
    pub(crate) fn put(&mut self, object: Arc<Object>) {
        self.objects_mut(&object.key.resource).put(object);
    }

    /// Makes the change that `event` describes, without advancing revisions.
    pub(crate) fn apply(&mut self, event: &Event) {
        let objects = self.objects_mut(&event.object.key.resource);
        match event.kind {
            EventKind::Added | EventKind::Modified => objects.put(event.object.clone()),
            EventKind::Deleted => objects.remove(&event.object.key),
        }
    }

    /// Ends a transaction that has made these events.
    pub(crate) fn advance(&mut self, revision: Revision, events: &[Arc<Event>]) {
        for event in events {
            self.objects_mut(&event.object.key.resource).revision = revision;
        }
        self.revision = revision;
    }

    /// Takes back the change that `event` describes. Events are undone from the newest to the oldest.
    pub(crate) fn undo(&mut self, event: &Event) {
        let objects = self.objects_mut(&event.object.key.resource);
        match &event.previous {
            Some(previous) => objects.put(previous.clone()),
            None => objects.remove(&event.object.key),
        }
    }

    /// The objects of one resource alone, for undoing its events.
    pub(crate) fn only(&self, resource: &ResourceId) -> State {
        let objects = self.resources.get(resource).cloned().unwrap_or_default();
        State { revision: self.revision, resources: OrdMap::unit(resource.clone(), objects) }
    }

    /// Every object, resource after resource.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.resources.values().flat_map(|objects| objects.by_key.values())
    }

    /// How many objects there are, and how many bytes they have.
    pub(crate) fn size(&self) -> (usize, u64) {
        self.resources.values().fold((0, 0), |(count, bytes), of| (count + of.by_key.len(), bytes + of.bytes))
    }

    /// The revision of the last change in a resource, 0 if the store was opened after it.
    pub(crate) fn resource_revision(&self, resource: &ResourceId) -> Revision {
        self.resources.get(resource).map_or(0, |objects| objects.revision)
    }

    fn objects_mut(&mut self, resource: &ResourceId) -> &mut Objects {
        self.resources.entry(resource.clone()).or_default()
    }
}

/// The state of a partition at one revision. Cheap to clone; later commits do not change it.
#[derive(Clone)]
pub struct Snapshot(Arc<State>);

impl Snapshot {
    pub(crate) fn new(state: Arc<State>) -> Snapshot {
        Snapshot(state)
    }

    pub(crate) fn state(&self) -> State {
        (*self.0).clone()
    }

    pub fn revision(&self) -> Revision {
        self.0.revision
    }

    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.0.get(key)
    }

    /// The objects of a scope in key order, from the first whose key is greater than `after`.
    pub fn range<'a>(
        &'a self,
        scope: &Scope,
        after: Option<&ObjectKey>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let objects = self.0.resources.get(scope.resource());
        objects.map(|objects| objects.range(scope, after)).into_iter().flatten()
    }

    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Snapshot) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The resources of which there are objects.
    pub fn resources(&self) -> Vec<ResourceId> {
        self.0.resources.keys().cloned().collect()
    }

    /// How many objects a scope holds. Walks them.
    pub fn count(&self, scope: &Scope) -> usize {
        self.range(scope, None).count()
    }

    /// How many objects there are, and how many bytes they have.
    pub(crate) fn size(&self) -> (usize, u64) {
        self.0.size()
    }

    /// Every object of a tenant, resource after resource.
    pub fn tenant_keys<'a>(&'a self, tenant: &TenantName) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let tenant = tenant.clone();
        self.0
            .resources
            .iter()
            .flat_map(move |(resource, objects)| objects.range(&Scope::Tenant(resource.clone(), tenant.clone()), None))
    }
}
