//! Which volumes the unbound claims of one pod could get, prepared once for all nodes.

use super::objects::{Claim, ClaimKey, Class, Volume};
use super::{Capacity, OfTenant, Volumes};
use crate::placement::NodeId;
use crate::placement::snapshot::Snapshot;
use crate::placement::standing::ResolvedTerm;
use crate::placement::symbol::Symbol;
use api::TenantName;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// Node affinity of a volume, with its texts looked up. No list admits every node.
pub struct Reach<'a>(Option<Vec<ResolvedTerm<'a>>>);

impl<'a> Reach<'a> {
    pub fn of(volume: &'a Volume, snapshot: &Snapshot) -> Reach<'a> {
        let resolve = |term| ResolvedTerm::new(term, &snapshot.symbols);
        Reach(volume.affinity.as_ref().map(|terms| terms.iter().map(resolve).collect()))
    }

    pub fn is_everywhere(&self) -> bool {
        self.0.is_none()
    }

    pub fn includes(&self, snapshot: &Snapshot, node: NodeId) -> bool {
        let labels = &snapshot.labels[node.index()];
        self.0.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(&snapshot.symbols, labels, "")))
    }
}

/// An unbound claim that is bound when its pod is scheduled.
pub struct Delayed<'a> {
    pub key: ClaimKey,
    claim: &'a Claim,
    class: &'a Class,
    /// A node that was selected for it before.
    pub selected: Option<&'a str>,
    candidates: Candidates<'a>,
}

/// Volumes that would do for a claim, apart from the node.
enum Candidates<'a> {
    /// The one that is kept for it.
    Kept(Candidate<'a>),
    /// The smallest first.
    Free {
        all: Vec<Candidate<'a>>,
        /// Places in `all` of those that only nodes with some host name reach, by that name.
        by_host: HashMap<Symbol, Vec<usize>>,
        /// Places in `all` of the others.
        others: Vec<usize>,
    },
}

struct Candidate<'a> {
    name: &'a Arc<str>,
    reach: Reach<'a>,
}

/// Why a node does not do for a claim that needs a new volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProvided {
    NotThere,
    NoRoom,
}

impl<'a> Delayed<'a> {
    pub fn new(
        volumes: &'a Volumes,
        snapshot: &Snapshot,
        key: ClaimKey,
        claim: &'a Claim,
        class: &'a Class,
    ) -> Option<Delayed<'a>> {
        let of_tenant = volumes.tenants.get(&key.tenant)?;
        let assumed = of_tenant.selected.get(&key).map(|node| &**node);
        let shown = Some(&*claim.selected_node).filter(|node| !node.is_empty());
        let candidates = Candidates::of(of_tenant, snapshot, &key, claim);
        Some(Delayed { key, claim, class, selected: assumed.or(shown), candidates })
    }

    pub fn size(&self) -> i64 {
        self.claim.size
    }

    /// The volume that it would get on a node, if one is there, but none of the `taken`.
    pub fn volume(&self, snapshot: &Snapshot, node: NodeId, taken: &[&'a Arc<str>]) -> Option<&'a Arc<str>> {
        let does = |c: &Candidate<'a>| !taken.contains(&c.name) && c.reach.includes(snapshot, node);
        match &self.candidates {
            Candidates::Kept(kept) => does(kept).then_some(kept.name),
            Candidates::Free { all, by_host, others } => {
                let hostname = snapshot.symbols.find(HOSTNAME).and_then(|key| snapshot.label(node, key));
                let here = hostname.and_then(|name| by_host.get(&name)).map(Vec::as_slice).unwrap_or_default();
                let first = |places: &[usize]| places.iter().copied().find(|&at| does(&all[at]));
                let best = first(here).into_iter().chain(first(others)).min();
                best.map(|at| all[at].name)
            }
        }
    }

    /// Whether a new volume can be made that a node reaches.
    pub fn can_be_made(&self, volumes: &Volumes, snapshot: &Snapshot, node: NodeId) -> Result<(), NotProvided> {
        let Delayed { class, claim, .. } = self;
        if !class.makes_volumes() || !allowed(class, snapshot, node) {
            return Err(NotProvided::NotThere);
        }
        let tells = volumes.drivers.get(&class.provisioner).is_some_and(|driver| driver.tells_capacity);
        // Who does not say how much is wanted wants no room in particular.
        if !tells || claim.size == 0 {
            return Ok(());
        }
        let Some(offer) = snapshot.node(snapshot.name(node)) else { return Err(NotProvided::NoRoom) };
        let enough = |capacity: &Capacity| {
            capacity.class == claim.class
                && capacity.most.is_some_and(|most| most >= claim.size)
                && capacity.nodes.as_ref().is_some_and(|nodes| nodes.matches(&offer.labels))
        };
        // Drivers run in the tenant, or for all tenants in `system`.
        let places = [Some(&self.key.tenant), Some(&TenantName::system())]
            .into_iter()
            .flatten()
            .filter_map(|tenant| volumes.tenants.get(tenant))
            .flat_map(|of_tenant| of_tenant.capacities.values())
            .any(enough);
        if places { Ok(()) } else { Err(NotProvided::NoRoom) }
    }
}

impl<'a> Candidates<'a> {
    fn of(of_tenant: &'a OfTenant, snapshot: &Snapshot, key: &ClaimKey, claim: &Claim) -> Candidates<'a> {
        let (mut all, mut kept): (Vec<(i64, Candidate)>, _) = (Vec::new(), None);
        for name in of_tenant.by_class.get(&claim.class).into_iter().flatten() {
            let volume = &of_tenant.volumes[name];
            let assumed = of_tenant.kept.get(name);
            let own = assumed == Some(key) || claim.owns(key, volume);
            let free = assumed.is_none() && volume.claim.is_none() && claim.may_take(volume);
            if !claim.fits(volume) || !(own || free) {
                continue;
            }
            let candidate = Candidate { name, reach: Reach::of(volume, snapshot) };
            if own {
                kept = kept.or(Some(candidate));
            } else {
                all.push((volume.size, candidate));
            }
        }
        if let Some(kept) = kept {
            return Candidates::Kept(kept);
        }
        all.sort_by_key(|(size, _)| *size);
        let all: Vec<Candidate> = all.into_iter().map(|(_, candidate)| candidate).collect();
        let (mut by_host, mut others) = (HashMap::<Symbol, Vec<usize>>::new(), Vec::new());
        for (at, candidate) in all.iter().enumerate() {
            match hosts(candidate.reach.0.as_deref(), snapshot) {
                Some(hosts) => hosts.into_iter().for_each(|host| by_host.entry(host).or_default().push(at)),
                None => others.push(at),
            }
        }
        Candidates::Free { all, by_host, others }
    }
}

/// The host names of the only nodes that can match, if the terms say so.
fn hosts(terms: Option<&[ResolvedTerm]>, snapshot: &Snapshot) -> Option<Vec<Symbol>> {
    let key = snapshot.symbols.find(HOSTNAME)?;
    let mut hosts: Vec<Symbol> = Vec::new();
    for term in terms? {
        hosts.extend(term.values_of(key)?);
    }
    hosts.sort_unstable();
    hosts.dedup();
    Some(hosts)
}

/// Whether volumes of a class may be made for a node.
fn allowed(class: &Class, snapshot: &Snapshot, node: NodeId) -> bool {
    let empty = BTreeMap::new();
    let labels = snapshot.node(snapshot.name(node)).map_or(&empty, |offer| &offer.labels);
    let holds = |term: &[(String, Vec<String>)]| {
        !term.is_empty() && term.iter().all(|(key, values)| labels.get(key).is_some_and(|v| values.contains(v)))
    };
    class.topologies.is_empty() || class.topologies.iter().any(|term| holds(term))
}
