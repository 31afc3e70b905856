//! A cache of parsed views, by tenant, namespace and name, with indexes.
//!
//! Invariant: one reflector writes; readers see each change whole. An index never disagrees with the objects.

use api::TenantName;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::{PoisonError, RwLock};
use tokio::sync::watch;

/// Names one object of a resource, over all tenants. Ordered by tenant, namespace, name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// `None` only for the operators' cluster-scoped kinds.
    pub tenant: Option<TenantName>,
    /// Empty for objects without a namespace.
    pub namespace: String,
    pub name: String,
}

impl ObjectRef {
    /// An object of a tenant.
    pub fn new(tenant: &TenantName, namespace: &str, name: &str) -> ObjectRef {
        ObjectRef { tenant: Some(tenant.clone()), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// An object of the operators' cluster-scoped kinds.
    pub fn cluster(name: &str) -> ObjectRef {
        ObjectRef { tenant: None, namespace: String::new(), name: name.to_owned() }
    }
}

impl fmt::Display for ObjectRef {
    /// `tenant/namespace/name`, without what is absent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tenant) = &self.tenant {
            write!(f, "{tenant}/")?;
        }
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// What the cache itself reads of every object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identified {
    pub metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub name: String,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub tenant: String,
    #[serde(default)]
    pub resource_version: String,
}

type IndexKeys<T> = Box<dyn Fn(&ObjectRef, &T) -> Vec<String> + Send + Sync>;

struct IndexState<T> {
    keys: IndexKeys<T>,
    found: HashMap<String, BTreeSet<Arc<ObjectRef>>>,
}

struct State<T> {
    /// Indexes share the keys.
    objects: BTreeMap<Arc<ObjectRef>, Entry<T>>,
    indexes: Vec<IndexState<T>>,
}

struct Entry<T> {
    resource_version: Box<str>,
    object: Arc<T>,
}

impl<T> Entry<T> {
    fn named((key, entry): (&Arc<ObjectRef>, &Entry<T>)) -> (ObjectRef, Arc<T>) {
        (ObjectRef::clone(key), entry.object.clone())
    }
}

/// Objects of one resource as they were last seen. Cheap to clone; clones share the objects.
pub struct Cache<T> {
    state: Arc<RwLock<State<T>>>,
    synced: watch::Receiver<bool>,
}

/// Finds objects of a cache by a value computed from each.
pub struct Index<T> {
    cache: Cache<T>,
    position: usize,
}

impl<T> Clone for Cache<T> {
    fn clone(&self) -> Cache<T> {
        Cache { state: self.state.clone(), synced: self.synced.clone() }
    }
}

impl<T> Clone for Index<T> {
    fn clone(&self) -> Index<T> {
        Index { cache: self.cache.clone(), position: self.position }
    }
}

impl<T> Cache<T> {
    /// An empty cache and what says that its first list is complete.
    pub(crate) fn new() -> (Cache<T>, watch::Sender<bool>) {
        let (sender, synced) = watch::channel(false);
        let state = State { objects: BTreeMap::new(), indexes: Vec::new() };
        (Cache { state: Arc::new(RwLock::new(state)), synced }, sender)
    }

    /// Completes when the first list is in. Pending for ever if the reflector ended before.
    pub async fn synced(&self) {
        let mut synced = self.synced.clone();
        if synced.wait_for(|&done| done).await.is_err() {
            std::future::pending().await
        }
    }

    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    pub fn get(&self, key: &ObjectRef) -> Option<Arc<T>> {
        self.read(|state| state.objects.get(key).map(|e| e.object.clone()))
    }

    /// Every object, in order of its key.
    pub fn list(&self) -> Vec<(ObjectRef, Arc<T>)> {
        self.read(|state| state.objects.iter().map(Entry::named).collect())
    }

    /// Every object of one namespace of a tenant.
    pub fn list_namespace(&self, tenant: &TenantName, namespace: &str) -> Vec<(ObjectRef, Arc<T>)> {
        let first = ObjectRef::new(tenant, namespace, "");
        self.list_from(first.clone(), |k| k.tenant == first.tenant && k.namespace == first.namespace)
    }

    /// Every object of a tenant.
    pub fn list_tenant(&self, tenant: &TenantName) -> Vec<(ObjectRef, Arc<T>)> {
        let first = ObjectRef::new(tenant, "", "");
        self.list_from(first.clone(), |k| k.tenant == first.tenant)
    }

    /// Whether something holds for an object of a tenant. Walks them; `holds` must not use the cache.
    pub fn any_in_tenant(&self, tenant: &TenantName, holds: impl Fn(&T) -> bool) -> bool {
        let first = ObjectRef::new(tenant, "", "");
        self.read(|state| {
            let mut range = state.objects.range(first.clone()..).take_while(|(k, _)| k.tenant == first.tenant);
            range.any(|(_, entry)| holds(&entry.object))
        })
    }

    pub fn len(&self) -> usize {
        self.read(|state| state.objects.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an index: each object is found under every key that `keys` computes of it.
    pub fn index(&self, keys: impl Fn(&ObjectRef, &T) -> Vec<String> + Send + Sync + 'static) -> Index<T> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut index = IndexState { keys: Box::new(keys), found: HashMap::new() };
        for (key, entry) in &state.objects {
            index.insert(key, &entry.object);
        }
        state.indexes.push(index);
        Index { cache: self.clone(), position: state.indexes.len() - 1 }
    }

    /// Puts an object in and returns the one before.
    pub(crate) fn put(&self, key: &ObjectRef, resource_version: &str, object: Arc<T>) -> Option<Arc<T>> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let entry = Entry { resource_version: resource_version.into(), object: object.clone() };
        let (key, old) = match state.objects.get_key_value(key) {
            Some((key, old)) => (key.clone(), Some(old.object.clone())),
            None => (Arc::new(key.clone()), None),
        };
        state.objects.insert(key.clone(), entry);
        for index in &mut state.indexes {
            match &old {
                Some(old) => index.replace(&key, old, &object),
                None => index.insert(&key, &object),
            }
        }
        old
    }

    pub(crate) fn remove(&self, key: &ObjectRef) -> Option<Arc<T>> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = state.objects.remove(key)?.object;
        for index in &mut state.indexes {
            index.remove(key, &old);
        }
        Some(old)
    }

    /// Whether the cache holds exactly this version of the object.
    pub(crate) fn holds(&self, key: &ObjectRef, resource_version: &str) -> bool {
        self.read(|state| state.objects.get(key).is_some_and(|e| &*e.resource_version == resource_version))
    }

    pub(crate) fn keys(&self) -> Vec<ObjectRef> {
        self.read(|state| state.objects.keys().map(|key| ObjectRef::clone(key)).collect())
    }

    fn list_from(&self, first: ObjectRef, belongs: impl Fn(&ObjectRef) -> bool) -> Vec<(ObjectRef, Arc<T>)> {
        self.read(|state| {
            let range = state.objects.range(first..).take_while(|(k, _)| belongs(k));
            range.map(Entry::named).collect()
        })
    }

    fn read<R>(&self, f: impl FnOnce(&State<T>) -> R) -> R {
        f(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Index<T> {
    /// The objects under a key, in order of their names.
    pub fn get(&self, key: &str) -> Vec<(ObjectRef, Arc<T>)> {
        self.cache.read(|state| {
            let found = state.indexes[self.position].found.get(key).into_iter().flatten();
            found.map(|k| (ObjectRef::clone(k), state.objects[k].object.clone())).collect()
        })
    }
}

impl<T> IndexState<T> {
    fn insert(&mut self, key: &Arc<ObjectRef>, object: &T) {
        for value in (self.keys)(key, object) {
            self.found.entry(value).or_default().insert(key.clone());
        }
    }

    /// Most changes leave an object where it is found.
    fn replace(&mut self, key: &Arc<ObjectRef>, old: &T, new: &T) {
        if (self.keys)(key, old) != (self.keys)(key, new) {
            self.remove(key, old);
            self.insert(key, new);
        }
    }

    fn remove(&mut self, key: &ObjectRef, object: &T) {
        for value in (self.keys)(key, object) {
            if let Some(refs) = self.found.get_mut(&value) {
                refs.remove(key);
                if refs.is_empty() {
                    self.found.remove(&value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_in_their_own_tenant_and_namespace_alone() {
        let (cache, _synced) = Cache::new();
        let tenant = |name: &str| TenantName::new(name).expect("a name");
        for (name, namespace) in [("a", "n"), ("a", "n-1"), ("ab", "n"), ("b", "n"), ("b", ""), ("c", "n")] {
            cache.put(&ObjectRef::new(&tenant(name), namespace, "x"), "1", Arc::new(()));
        }
        cache.put(&ObjectRef::cluster("x"), "1", Arc::new(()));
        let names = |found: Vec<(ObjectRef, Arc<()>)>| found.iter().map(|(k, _)| k.to_string()).collect::<Vec<_>>();
        assert_eq!(names(cache.list_namespace(&tenant("a"), "n")), ["a/n/x"]);
        assert_eq!(names(cache.list_namespace(&tenant("b"), "")), ["b/x"]);
        assert_eq!(names(cache.list_tenant(&tenant("a"))), ["a/n/x", "a/n-1/x"]);
        assert_eq!(names(cache.list_namespace(&tenant("ab"), "n")), ["ab/n/x"]);
        assert_eq!(names(cache.list_namespace(&tenant("b"), "n")), ["b/n/x"]);
        assert!(cache.list_tenant(&tenant("d")).is_empty());
        assert_eq!(cache.len(), 7);
    }
}
