//! Placed pods by what others can ask of them: pods of one namespace with equal labels and equal terms are one group,
//! with a count per node. Selectors are tried on groups, of which there are few, not on pods.

use super::selector::PodTerms;
use super::{NodeId, Pod, PodKey};
use api::TenantName;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What the pods of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Common {
    tenant: TenantName,
    namespace: Arc<str>,
    labels: BTreeMap<String, String>,
    terms: Arc<PodTerms>,
    deleting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(u32);

/// Pods that nobody can tell apart, and where they are.
pub struct Group {
    common: Common,
    /// Sorted by node.
    nodes: Vec<(NodeId, i64)>,
}

impl Group {
    pub fn tenant(&self) -> &TenantName {
        &self.common.tenant
    }

    pub fn namespace(&self) -> &str {
        &self.common.namespace
    }

    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.common.labels
    }

    pub fn terms(&self) -> &PodTerms {
        &self.common.terms
    }

    pub fn deleting(&self) -> bool {
        self.common.deleting
    }

    /// How many are on each node that has any.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, i64)> + Clone {
        self.nodes.iter().copied()
    }
}

/// All groups.
#[derive(Default)]
pub struct Groups {
    groups: Vec<Option<Group>>,
    free: Vec<GroupId>,
    by_common: HashMap<Common, GroupId>,
    by_namespace: HashMap<TenantName, BTreeMap<Arc<str>, BTreeSet<GroupId>>>,
    /// Those whose pods themselves ask something of their neighbours.
    with_terms: HashMap<TenantName, BTreeSet<GroupId>>,
}

impl Groups {
    pub fn add(&mut self, key: &PodKey, pod: &Pod, node: NodeId) -> GroupId {
        let common = Common {
            tenant: key.tenant.clone(),
            namespace: key.namespace.clone(),
            labels: pod.labels.clone(),
            terms: pod.terms.clone(),
            deleting: pod.deleting,
        };
        let id = match self.by_common.get(&common) {
            Some(&id) => id,
            None => self.create(common),
        };
        let group = self.groups[id.0 as usize].as_mut().expect("a group that is found by what it holds exists");
        match group.nodes.binary_search_by_key(&node, |&(n, _)| n) {
            Ok(at) => group.nodes[at].1 += 1,
            Err(at) => group.nodes.insert(at, (node, 1)),
        }
        id
    }

    pub fn remove(&mut self, id: GroupId, node: NodeId) {
        let slot = &mut self.groups[id.0 as usize];
        let group = slot.as_mut().expect("a group exists while it has pods");
        let found = group.nodes.binary_search_by_key(&node, |&(n, _)| n);
        let at = found.expect("a pod leaves the node that it was on");
        group.nodes[at].1 -= 1;
        if group.nodes[at].1 == 0 {
            group.nodes.remove(at);
        }
        if !group.nodes.is_empty() {
            return;
        }
        let common = slot.take().expect("it was there").common;
        self.by_common.remove(&common);
        remove_from(&mut self.with_terms, &common.tenant, |groups| {
            groups.remove(&id);
            groups.is_empty()
        });
        remove_from(&mut self.by_namespace, &common.tenant, |namespaces| {
            if let Some(groups) = namespaces.get_mut(&common.namespace) {
                groups.remove(&id);
                if groups.is_empty() {
                    namespaces.remove(&common.namespace);
                }
            }
            namespaces.is_empty()
        });
        self.free.push(id);
    }

    pub fn get(&self, id: GroupId) -> &Group {
        self.groups[id.0 as usize].as_ref().expect("a group exists while it has pods")
    }

    pub fn of_tenant<'a>(&'a self, tenant: &TenantName) -> impl Iterator<Item = &'a Group> + use<'a> {
        let namespaces = self.by_namespace.get(tenant).into_iter().flatten();
        namespaces.flat_map(|(_, ids)| ids).map(|&id| self.get(id))
    }

    pub fn of_namespace<'a>(
        &'a self,
        tenant: &TenantName,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Group> + use<'a> {
        let ids = self.by_namespace.get(tenant).and_then(|namespaces| namespaces.get(namespace));
        ids.into_iter().flatten().map(|&id| self.get(id))
    }

    pub fn with_terms<'a>(&'a self, tenant: &TenantName) -> impl Iterator<Item = &'a Group> + use<'a> {
        self.with_terms.get(tenant).into_iter().flatten().map(|&id| self.get(id))
    }

    fn create(&mut self, common: Common) -> GroupId {
        let next = GroupId(u32::try_from(self.groups.len()).expect("there are fewer than 2^32 pods"));
        let id = self.free.pop().unwrap_or(next);
        if id == next {
            self.groups.push(None);
        }
        let namespaces = self.by_namespace.entry(common.tenant.clone()).or_default();
        namespaces.entry(common.namespace.clone()).or_default().insert(id);
        if !common.terms.is_empty() {
            self.with_terms.entry(common.tenant.clone()).or_default().insert(id);
        }
        self.by_common.insert(common.clone(), id);
        self.groups[id.0 as usize] = Some(Group { common, nodes: Vec::new() });
        id
    }
}

/// Changes an entry of a map and drops it when `change` says that it is empty.
fn remove_from<V>(map: &mut HashMap<TenantName, V>, tenant: &TenantName, change: impl FnOnce(&mut V) -> bool) {
    if map.get_mut(tenant).is_some_and(change) {
        map.remove(tenant);
    }
}
