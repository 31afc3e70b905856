//! The cluster as the scheduler sees it: nodes in flat arrays, and the pods on them, changed one at a time.
//!
//! Invariant: every placed pod is counted on exactly one node; a node that has pods but no object of its own keeps its
//! place until they are gone.

use super::columns::{Columns, Room};
use super::groups::{GroupId, Groups};
use super::kept::Changes;
use super::node::TENANT_LABEL;
use super::shares::{Held, Share, Shares, Turn};
use super::symbol::{Labels, Symbol, Symbols, value_of};
use super::volumes::{Attached, ClaimKey, Volumes, key_of};
use super::wire::Taint;
use super::{HostPort, Node, Pod, PodKey, Profile};
use api::TenantName;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A place in the arrays. Kept while the node, or a pod on it, exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub(super) fn at(index: usize) -> NodeId {
        NodeId(u32::try_from(index).expect("there are fewer than 2^32 nodes"))
    }
}

/// Whose word it is that a waiting pod gets a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// This scheduler's, which made room for it: it holds against the pods of all tenants.
    Own,
    /// Only the pod's status says so, which its tenant can write: it holds against that tenant's own pods.
    Status,
}

/// A waiting pod that was promised a place.
struct Promised {
    pod: Arc<Pod>,
    word: Word,
}

struct Placed {
    pod: Arc<Pod>,
    node: NodeId,
    group: GroupId,
}

/// Nodes, pods on them, pods that are promised a place, and the labels of namespaces.
#[derive(Default)]
pub struct Snapshot {
    pub(super) symbols: Symbols,
    ids: HashMap<Arc<str>, NodeId>,
    free: Vec<NodeId>,
    pub(super) names: Vec<Arc<str>>,
    /// Whether there is a Node object.
    pub(super) present: Vec<bool>,
    pub(super) unschedulable: Vec<bool>,
    pub(super) labels: Vec<Labels>,
    pub(super) taints: Vec<Box<[Taint]>>,
    pub(super) columns: Columns,
    pub(super) shares: Shares,
    ports: Vec<Vec<HostPort>>,
    on: Vec<Vec<PodKey>>,
    pods: HashMap<PodKey, Placed>,
    pub(super) groups: Groups,
    /// Which nodes have an image, and how large it is there.
    pub(super) images: HashMap<Box<str>, BTreeMap<NodeId, i64>>,
    offers: Vec<Arc<Node>>,
    /// On how many pods of which nodes a claim is in use.
    claims: HashMap<ClaimKey, BTreeMap<NodeId, usize>>,
    /// What is attached to nodes, as far as it was asked for and has not changed since.
    attached: RefCell<HashMap<NodeId, Arc<Attached>>>,
    /// How many nodes are there for one tenant alone, by that tenant.
    pools: HashMap<Box<str>, i64>,
    nominated: BTreeMap<Box<str>, BTreeMap<PodKey, Promised>>,
    /// The node that a pod is nominated for.
    nominations: HashMap<PodKey, Box<str>>,
    pub(super) namespaces: HashMap<TenantName, HashMap<Arc<str>, BTreeMap<String, String>>>,
    present_count: usize,
    /// Nodes whose labels, taints or marks changed.
    pub(super) changes: Changes,
    /// Nodes whose resources changed, offered or taken.
    pub(super) usage: Changes,
}

impl Promised {
    /// Whether the promise to `key` holds against another pod.
    fn holds(&self, key: &PodKey, other: &PodKey, pod: &Pod) -> bool {
        let counts = match self.word {
            Word::Own => true,
            Word::Status => key.tenant == other.tenant,
        };
        counts && key != other && self.pod.priority >= pod.priority
    }
}

impl Snapshot {
    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.present_count
    }

    /// What operators say of a tenant's share.
    pub fn set_share(&mut self, tenant: &TenantName, share: Option<Share>) {
        self.shares.set(tenant, share);
    }

    /// When a tenant is served, compared with others.
    pub fn turn(&self, tenant: &TenantName) -> Turn {
        self.shares.turn(tenant, &|resource| self.columns.totals(resource))
    }

    /// The largest part that a tenant has of any resource, and its weight.
    pub fn share(&self, tenant: &TenantName) -> (f64, i64) {
        let share = self.shares.dominant(tenant, &|resource| self.columns.totals(resource));
        (share, self.shares.of(tenant).map_or(1, |share| share.weight.max(1)))
    }

    /// Why a pod's tenant may not have it placed now, wherever there is room.
    pub(super) fn held(&self, key: &PodKey, pod: &Pod) -> Option<Held> {
        self.shares.held(&key.tenant, &pod.requests, &|resource| self.columns.totals(resource))
    }

    /// How many places the arrays have, nodes that are gone included.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..NodeId::at(self.names.len()).0).map(NodeId)
    }

    pub(super) fn find(&self, name: &str) -> Option<NodeId> {
        self.ids.get(name).copied()
    }

    pub fn name(&self, node: NodeId) -> &str {
        &self.names[node.index()]
    }

    /// The node as it was last seen.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        let id = self.find(name)?;
        self.present[id.index()].then(|| &self.offers[id.index()])
    }

    /// What a node offers; nothing for one that is not there.
    pub(super) fn offer(&self, node: NodeId) -> &Node {
        &self.offers[node.index()]
    }

    /// Whether nodes are there for a tenant alone.
    pub(super) fn has_pool(&self, tenant: &TenantName) -> bool {
        self.pools.contains_key(tenant.as_str())
    }

    fn change_pool(&mut self, node: &Node, sign: i64) {
        let Some(tenant) = node.labels.get(TENANT_LABEL) else { return };
        let nodes = self.pools.entry(tenant.as_str().into()).or_default();
        *nodes += sign;
        if *nodes == 0 {
            self.pools.remove(tenant.as_str());
        }
    }

    pub(super) fn label(&self, node: NodeId, key: Symbol) -> Option<Symbol> {
        value_of(&self.labels[node.index()], key)
    }

    pub fn set_node(&mut self, name: &str, node: Arc<Node>) {
        let id = self.id_of(name);
        let at = id.index();
        let was = self.offers[at].clone();
        let known = self.present[at];
        if !known {
            self.present[at] = true;
            self.present_count += 1;
        }
        if !known || was.allocatable != node.allocatable {
            let new = self.columns.offer(id, &node.allocatable);
            self.usage.add(id);
            for resource in new {
                let name = self.columns.name(resource).to_owned();
                for placed in self.pods.values() {
                    self.columns.take_of(resource, placed.node, placed.pod.requests.of(&name));
                }
            }
        }
        if !known || was.images != node.images {
            self.drop_images(id, &was);
            for (names, bytes) in &node.images {
                for name in names {
                    self.images.entry(name.clone()).or_default().insert(id, *bytes);
                }
            }
        }
        if was.labels.get(TENANT_LABEL) != node.labels.get(TENANT_LABEL) {
            self.change_pool(&was, -1);
            self.change_pool(&node, 1);
        }
        let runs = |node: &Node| (node.unschedulable, node.no_containers, node.machines);
        if !known || was.labels != node.labels || was.taints != node.taints || runs(&was) != runs(&node) {
            let symbols = &mut self.symbols;
            let mut labels: Vec<(Symbol, Symbol)> =
                node.labels.iter().map(|(k, v)| (symbols.intern(k), symbols.intern(v))).collect();
            labels.sort_unstable();
            self.labels[at] = labels.into();
            self.taints[at] = node.taints.as_slice().into();
            self.unschedulable[at] = node.unschedulable;
            self.changes.add(id);
        }
        self.offers[at] = node;
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(id) = self.find(name).filter(|id| self.present[id.index()]) else { return };
        let at = id.index();
        let was = std::mem::take(&mut self.offers[at]);
        self.drop_images(id, &was);
        self.change_pool(&was, -1);
        self.columns.offer(id, &BTreeMap::new());
        self.usage.add(id);
        self.present[at] = false;
        self.present_count -= 1;
        self.unschedulable[at] = false;
        self.labels[at] = Labels::default();
        self.taints[at] = Box::default();
        self.changes.add(id);
        self.release(id);
    }

    /// Counts a pod on a node, which may be one that is not known yet. Replaces what was known of the pod.
    pub fn place(&mut self, key: &PodKey, pod: Arc<Pod>, node: &str) {
        self.unplace(key);
        let id = self.id_of(node);
        self.columns.take(id, &pod.requests, 1);
        self.shares.take(&key.tenant, &pod.requests, 1);
        self.usage.add(id);
        self.ports[id.index()].extend(pod.ports.iter().cloned());
        self.on[id.index()].push(key.clone());
        for claim in &pod.claims {
            *self.claims.entry(key_of(key, claim)).or_default().entry(id).or_default() += 1;
            self.attached.get_mut().remove(&id);
        }
        let group = self.groups.add(key, &pod, id);
        self.pods.insert(key.clone(), Placed { pod, node: id, group });
    }

    /// Gives back what a pod took. Returns it and its node's name.
    pub fn unplace(&mut self, key: &PodKey) -> Option<(Arc<Pod>, Arc<str>)> {
        let Placed { pod, node, group } = self.pods.remove(key)?;
        self.columns.take(node, &pod.requests, -1);
        self.shares.take(&key.tenant, &pod.requests, -1);
        self.usage.add(node);
        let ports = &mut self.ports[node.index()];
        for port in &pod.ports {
            if let Some(at) = ports.iter().position(|p| p == port) {
                ports.swap_remove(at);
            }
        }
        self.on[node.index()].retain(|k| k != key);
        for claim in &pod.claims {
            self.release_claim(&key_of(key, claim), node);
        }
        self.groups.remove(group, node);
        let name = self.names[node.index()].clone();
        self.release(node);
        Some((pod, name))
    }

    /// The placed pod and its node's name.
    pub fn placed(&self, key: &PodKey) -> Option<(&Arc<Pod>, &str)> {
        self.pods.get(key).map(|p| (&p.pod, self.name(p.node)))
    }

    pub fn pods_on(&self, node: NodeId) -> impl Iterator<Item = (&PodKey, &Arc<Pod>)> {
        self.on[node.index()].iter().map(|key| (key, &self.pods[key].pod))
    }

    /// Whether nothing that is there says anything about a pod's place but what nodes are and what is taken from them.
    pub(super) fn is_indifferent_to(&self, key: &PodKey, pod: &Pod) -> bool {
        self.nominated.is_empty()
            && self.groups.with_terms(&key.tenant).next().is_none()
            && !pod.images.iter().any(|image| self.images.contains_key(image))
    }

    /// Whether a placed pod uses a claim.
    pub(super) fn claim_in_use(&self, claim: &ClaimKey) -> bool {
        self.claims.contains_key(claim)
    }

    /// What is attached to a node because of its pods.
    pub(super) fn attached(&self, volumes: &Volumes, node: NodeId) -> Arc<Attached> {
        let pods = || self.pods_on(node).map(|(key, pod)| (key, &**pod));
        self.attached.borrow_mut().entry(node).or_insert_with(|| Arc::new(Attached::of(volumes, pods()))).clone()
    }

    /// A claim changed, or what is known of its volume.
    pub fn claim_changed(&mut self, claim: &ClaimKey) {
        for node in self.claims.get(claim).into_iter().flat_map(BTreeMap::keys) {
            self.attached.get_mut().remove(node);
        }
    }

    /// What is attached where has to be found out anew.
    pub fn classes_changed(&mut self) {
        self.attached.get_mut().clear();
    }

    pub(super) fn group_of(&self, key: &PodKey) -> Option<GroupId> {
        self.pods.get(key).map(|p| p.group)
    }

    pub(super) fn port_taken(&self, node: NodeId, ports: &[HostPort]) -> bool {
        ports.iter().any(|wanted| self.ports[node.index()].iter().any(|taken| taken.conflicts(wanted)))
    }

    /// Promises a waiting pod a place on a node; pods of lower priority leave it alone.
    pub fn nominate(&mut self, key: &PodKey, pod: Arc<Pod>, node: &str, word: Word) {
        self.forget_nomination(key);
        self.nominations.insert(key.clone(), node.into());
        self.nominated.entry(node.into()).or_default().insert(key.clone(), Promised { pod, word });
    }

    /// What was promised holds for the pod as it is now.
    pub fn update_nomination(&mut self, key: &PodKey, pod: &Arc<Pod>) {
        let Some(node) = self.nominations.get(key) else { return };
        if let Some(promised) = self.nominated.get_mut(node).and_then(|pods| pods.get_mut(key)) {
            promised.pod = pod.clone();
        }
    }

    /// Takes back what was promised to a pod. Returns the node, and whose word it was.
    pub fn forget_nomination(&mut self, key: &PodKey) -> Option<(Box<str>, Word)> {
        let node = self.nominations.remove(key)?;
        let pods = self.nominated.get_mut(&node)?;
        let promised = pods.remove(key)?;
        if pods.is_empty() {
            self.nominated.remove(&node);
        }
        Some((node, promised.word))
    }

    /// The nodes with promises that a pod has to leave alone: made to others, of its priority or a higher one.
    pub fn promised_before(&self, key: &PodKey, pod: &Pod) -> BTreeSet<NodeId> {
        let holds = |pods: &BTreeMap<PodKey, Promised>| pods.iter().any(|(other, p)| p.holds(other, key, pod));
        self.nominated.iter().filter(|(_, pods)| holds(pods)).filter_map(|(node, _)| self.find(node)).collect()
    }

    /// The pods to whom a node is promised, as far as a pod has to leave them their place.
    pub fn promised_on(&self, node: NodeId, key: &PodKey, pod: &Pod) -> Vec<(PodKey, Arc<Pod>)> {
        let pods = self.nominated.get(self.name(node)).into_iter().flatten();
        let before = pods.filter(|(other, promised)| promised.holds(other, key, pod));
        before.map(|(other, promised)| (other.clone(), promised.pod.clone())).collect()
    }

    /// Whether a node has room for a pod now, and is promised to nobody whom the pod has to leave it.
    pub fn is_free_for(&self, node: &str, key: &PodKey, pod: &Pod, profile: &Profile) -> bool {
        let has_room = |node: &NodeId| self.columns.room(*node, &pod.requests, &profile.fit) == Room::Enough;
        self.find(node).filter(has_room).is_some_and(|node| self.promised_on(node, key, pod).is_empty())
    }

    /// Whoever has a promise for a node, whatever it is worth.
    pub fn nominated_on(&self, node: &str) -> impl Iterator<Item = (&PodKey, &Arc<Pod>)> {
        self.nominated.get(node).into_iter().flatten().map(|(key, promised)| (key, &promised.pod))
    }

    pub fn set_namespace(&mut self, tenant: &TenantName, name: &str, labels: BTreeMap<String, String>) {
        self.namespaces.entry(tenant.clone()).or_default().insert(name.into(), labels);
    }

    pub fn remove_namespace(&mut self, tenant: &TenantName, name: &str) {
        if let Some(namespaces) = self.namespaces.get_mut(tenant) {
            namespaces.remove(name);
            if namespaces.is_empty() {
                self.namespaces.remove(tenant);
            }
        }
    }

    fn id_of(&mut self, name: &str) -> NodeId {
        if let Some(id) = self.find(name) {
            return id;
        }
        let name: Arc<str> = name.into();
        let id = match self.free.pop() {
            Some(id) => {
                self.names[id.index()] = name.clone();
                id
            }
            None => self.grow(name.clone()),
        };
        self.ids.insert(name, id);
        id
    }

    fn grow(&mut self, name: Arc<str>) -> NodeId {
        let id = NodeId::at(self.names.len());
        self.names.push(name);
        self.present.push(false);
        self.unschedulable.push(false);
        self.labels.push(Labels::default());
        self.taints.push(Box::default());
        self.columns.add_node();
        self.ports.push(Vec::new());
        self.on.push(Vec::new());
        self.offers.push(Arc::default());
        id
    }

    /// Frees the place of a node that has neither an object nor pods.
    fn release(&mut self, id: NodeId) {
        let at = id.index();
        if !self.present[at] && self.on[at].is_empty() {
            self.ids.remove(&self.names[at]);
            self.free.push(id);
        }
    }

    fn release_claim(&mut self, claim: &ClaimKey, node: NodeId) {
        self.attached.get_mut().remove(&node);
        let Some(users) = self.claims.get_mut(claim) else { return };
        if let Some(count) = users.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                users.remove(&node);
            }
        }
        if users.is_empty() {
            self.claims.remove(claim);
        }
    }

    fn drop_images(&mut self, id: NodeId, was: &Node) {
        for name in was.images.iter().flat_map(|(names, _)| names) {
            if let Some(nodes) = self.images.get_mut(name) {
                nodes.remove(&id);
                if nodes.is_empty() {
                    self.images.remove(name);
                }
            }
        }
    }
}
