//! An immutable view of every object at one revision: persistent ordered maps, one per resource.
//!
//! Cloning is O(1); a change copies one path of one map. The writer changes its own [`State`], readers hold snapshots.

use crate::event::{Event, EventKind};
use crate::fence::{self, FENCES};
use crate::scope::{Scope, bounds, compact};
use crate::version::{PartitionId, Version};
use api::{Object, ObjectKey, ResourceId, Revision, TenantName};
use imbl::OrdMap;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::iter::Peekable;
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

    /// The objects of one resource alone, for undoing its events, and the fences of today.
    pub(crate) fn only(&self, resource: &ResourceId) -> State {
        let kept = [resource, &*FENCES].into_iter().filter_map(|resource| self.resources.get_key_value(resource));
        let resources = kept.map(|(resource, objects)| (resource.clone(), objects.clone())).collect();
        State { revision: self.revision, resources }
    }

    /// Whether there are objects of a resource.
    pub(crate) fn has(&self, resource: &ResourceId) -> bool {
        self.resources.contains_key(resource)
    }

    /// Every object of one resource.
    pub(crate) fn objects_of(&self, resource: &ResourceId) -> impl Iterator<Item = &Arc<Object>> + use<'_> {
        self.resources.get(resource).into_iter().flat_map(|objects| objects.by_key.values())
    }

    /// Every object of a tenant, resource after resource.
    pub(crate) fn objects_in<'a>(&'a self, tenant: &TenantName) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let tenant = tenant.clone();
        let scope = move |resource: &ResourceId| Scope::Tenant(resource.clone(), tenant.clone());
        self.resources.iter().flat_map(move |(resource, objects)| objects.range(&scope(resource), None))
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

/// What is stored, each partition at one revision. Cheap to clone; later commits do not change it.
#[derive(Clone)]
pub struct Snapshot {
    /// Of the system partition, or of the only one that was asked for.
    state: Arc<State>,
    others: Option<Arc<Others>>,
}

/// The partitions beside the system's.
pub(crate) struct Others {
    pub(crate) by_id: BTreeMap<PartitionId, Arc<State>>,
    pub(crate) routes: Routes,
    /// The system partition as it is now, which says where tenants are.
    pub(crate) placed: Arc<State>,
}

impl Others {
    fn of_tenant(&self, tenant: &TenantName) -> PartitionId {
        (self.routes.of_tenant)(&Snapshot::new(self.placed.clone()), tenant)
    }
}

/// Which partitions there are, by what the system partition holds.
#[derive(Clone, Copy)]
pub struct Routes {
    /// The partition that keeps a tenant.
    pub of_tenant: fn(&Snapshot, &TenantName) -> PartitionId,
    /// All partitions beside the system's.
    pub all: fn(&Snapshot) -> Vec<PartitionId>,
}

impl Snapshot {
    pub(crate) fn new(state: Arc<State>) -> Snapshot {
        Snapshot { state, others: None }
    }

    pub(crate) fn with_others(self, others: Others) -> Snapshot {
        Snapshot { others: Some(Arc::new(others)), ..self }
    }

    pub(crate) fn state(&self) -> State {
        (*self.state).clone()
    }

    pub(crate) fn shared_state(&self) -> Arc<State> {
        self.state.clone()
    }

    /// The system partition's revision, or that of the only one that was asked for.
    pub fn revision(&self) -> Revision {
        self.state.revision
    }

    /// What a list of a scope is of.
    pub fn version(&self, scope: &Scope) -> Version {
        match (&self.others, scope.tenant()) {
            (Some(others), None) if matches!(scope, Scope::AllTenants(_)) => {
                let each = others.by_id.iter().map(|(id, state)| (*id, state.revision));
                Version::Each(each.chain([(0, self.state.revision)]).collect())
            }
            (_, Some(tenant)) => Version::At(self.of_tenant(tenant).map_or(0, |state| state.revision)),
            (_, None) => Version::At(self.state.revision),
        }
    }

    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        match key.tenant() {
            Some(tenant) => self.of_tenant(tenant)?.get(key),
            None => self.state.get(key),
        }
    }

    /// The state that holds a tenant; `None` where its partition is not here.
    fn of_tenant(&self, tenant: &TenantName) -> Option<&State> {
        let Some(others) = &self.others else { return Some(&self.state) };
        match others.of_tenant(tenant) {
            0 => Some(&self.state),
            id => others.by_id.get(&id).map(|state| &**state),
        }
    }

    /// The objects of a scope in key order, from the first whose key is greater than `after`.
    pub fn range<'a>(
        &'a self,
        scope: &Scope,
        after: Option<&ObjectKey>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let others = self.others.as_ref().filter(|_| matches!(scope, Scope::AllTenants(_)));
        let own = match scope.tenant() {
            Some(tenant) => self.of_tenant(tenant),
            None => Some(&*self.state),
        };
        let beside = others.into_iter().flat_map(|others| others.by_id.iter().map(|(id, state)| (*id, &**state)));
        let states = own.into_iter().map(|state| (0, state)).chain(beside);
        let parts = states.filter_map(|(id, state)| {
            let hidden = others.map(|others| hidden(state, id, others)).unwrap_or_default();
            let objects = state.resources.get(scope.resource())?.range(scope, after);
            Some(
                objects
                    .filter(move |object| hidden.is_empty() || !object.tenant().is_some_and(|of| hidden.contains(of))),
            )
        });
        Merged { parts: parts.map(Iterator::peekable).collect() }
    }

    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Snapshot) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// The resources of which there are objects, in order.
    pub fn resources(&self) -> Vec<ResourceId> {
        let others = self.others.iter().flat_map(|others| others.by_id.values());
        let all: BTreeSet<&ResourceId> =
            std::iter::once(&self.state).chain(others).flat_map(|state| state.resources.keys()).collect();
        all.into_iter().filter(|resource| **resource != *FENCES).cloned().collect()
    }

    /// How many objects a scope holds. Walks them.
    pub fn count(&self, scope: &Scope) -> usize {
        self.range(scope, None).count()
    }

    /// How many objects there are, and how many bytes they have.
    pub(crate) fn size(&self) -> (usize, u64) {
        self.state.size()
    }

    /// Every object of a tenant, resource after resource.
    pub fn tenant_keys<'a>(&'a self, tenant: &TenantName) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let tenant = tenant.clone();
        self.of_tenant(&tenant).into_iter().flat_map(move |state| state.objects_in(&tenant))
    }
}

/// The tenants of which a partition holds what is not to be shown: a copy that is being made, or what is left of one.
fn hidden(state: &State, id: PartitionId, others: &Others) -> HashSet<TenantName> {
    let tenants = fence::tenants(state).map(|(tenant, _)| tenant);
    tenants.filter(|tenant| others.of_tenant(tenant) != id).collect()
}

/// Several ordered ranges as one.
struct Merged<'a, I: Iterator<Item = &'a Arc<Object>>> {
    parts: Vec<Peekable<I>>,
}

impl<'a, I: Iterator<Item = &'a Arc<Object>>> Iterator for Merged<'a, I> {
    type Item = &'a Arc<Object>;

    fn next(&mut self) -> Option<&'a Arc<Object>> {
        if let [only] = &mut self.parts[..] {
            return only.next();
        }
        let mut first: Option<(usize, &Arc<Object>)> = None;
        for (at, part) in self.parts.iter_mut().enumerate() {
            if let Some(object) = part.peek()
                && first.is_none_or(|(_, first)| object.key < first.key)
            {
                first = Some((at, object));
            }
        }
        self.parts[first?.0].next()
    }
}
