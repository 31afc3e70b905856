//! Decides where pods go: filters, scores, and preemption over one incremental picture of the cluster, with the verdicts
//! of kube-scheduler 1.36.
//!
//! ```text
//!   pod ─▶ class (its node needs) ─▶ standings of all nodes ─┐
//!          neighbours, spread (counts per topology value) ───┼─▶ verdict per node ─▶ scores ─▶ node
//!          columns (resources) ──────────────────────────────┘         └─ none feasible ─▶ preemption, message
//! ```
//!
//! Invariant: pure. It knows no clock, no client and no task; time and randomness are arguments.
//! Invariant: pods of one tenant neither see, attract nor repel pods of another, and evict them only where an operator
//! has said so. They share nodes alone.
//! Invariant: what a tenant can write into a pod's status holds no place against another tenant's pods.

mod affinity;
mod budget;
mod columns;
mod explain;
mod filter;
mod fit;
mod groups;
mod kept;
mod node;
mod pod;
mod preempt;
mod profile;
mod ranked;
mod requests;
mod score;
mod selector;
mod shares;
#[cfg(test)]
mod simple;
mod snapshot;
mod spread;
mod standing;
mod symbol;
mod taint;
#[cfg(test)]
mod tests;
mod topology;
mod volumes;
pub mod wire;
mod workloads;

pub use budget::{Budget, Budgets};
pub use explain::{ExplainedNode, Explanation};
pub use filter::Verdict;
pub use node::{Node, TENANT_LABEL};
pub use pod::{HostPort, NodeNeeds, Pod, PodKey, Scheduled};
pub use preempt::Preemption;
pub use profile::{Candidates, DefaultSpread, FitArguments, Profile, RESOURCES_MAX, ScoredResource, Strategy};
pub use requests::Requests;
pub use selector::{NodeSelector, PodSelector, SpreadConstraint};
pub use shares::{Share, Turn};
pub use snapshot::{NodeId, Snapshot, Word};
pub use volumes::{
    AttachLimits, BOUND_BY_CONTROLLER, Capacity, Claim, ClaimKey, Class, Driver, Preparation, Progress, SELECTED_NODE,
    StorageChange, Volume, VolumeStep, Volumes,
};
pub use workloads::Workloads;

use columns::Room;
use filter::Evaluation;
use fit::{Fit, Size};
use kept::Kept;
use preempt::NoPreemption;
use ranked::{Known, Ranks};
use score::Wishes;
use shares::Held;
use spread::SoftSpread;
use standing::{Class as NodeClass, Classes, Obstacles, Standings};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use topology::Topologies;
use volumes::PodVolumes;

/// The reason in the condition `DisruptionTarget` of a victim.
pub const PREEMPTED_REASON: &str = "PreemptionByScheduler";

/// The best that a node can score before weighting.
const TOP_SCORE: i64 = 100;

/// In a message, stands before what preemption has to say: no resource claims were found that could be freed.
const BEFORE_PREEMPTION: &str = "no new claims to deallocate, preemption:";

/// A reproducible source of numbers that look random.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// A number below `limit`, or 0 for a limit of 0. (SplitMix64.)
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        let limit = limit as u64;
        if limit == 0 { 0 } else { (z % limit) as usize }
    }
}

/// What becomes of a pod.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The node, and what its volumes need first: often nothing.
    Node(Arc<str>, Preparation),
    Unschedulable(Unschedulable),
}

/// A pod that no node can take now.
#[derive(Clone, Debug, Default)]
pub struct Unschedulable {
    /// In upstream's words.
    pub message: String,
    /// Which filters refused it somewhere: what has to change before it is worth another try.
    pub refused_by: BTreeSet<Verdict>,
    pub preemption: Option<Preemption>,
    /// An earlier nomination is void.
    pub clear_nomination: bool,
}

/// The cluster, and everything that decisions depend on.
pub struct Placement {
    /// Each decides on the pods that name it.
    profiles: Vec<Arc<Profile>>,
    pub snapshot: Snapshot,
    pub budgets: Budgets,
    pub workloads: Workloads,
    pub volumes: Volumes,
    classes: Classes,
    fits: Kept<(usize, Arc<Requests>), Fit>,
    ranks: Ranks,
    topologies: Topologies,
}

impl Default for Placement {
    fn default() -> Placement {
        Placement::new(vec![Profile::default()])
    }
}

impl Placement {
    /// An empty cluster. There is at least one profile.
    pub fn new(profiles: Vec<Profile>) -> Placement {
        assert!(!profiles.is_empty(), "a scheduler has a profile");
        Placement {
            profiles: profiles.into_iter().map(Arc::new).collect(),
            snapshot: Snapshot::default(),
            budgets: Budgets::default(),
            workloads: Workloads::default(),
            volumes: Volumes::default(),
            classes: Classes::default(),
            fits: Kept::default(),
            ranks: Ranks::default(),
            topologies: Topologies::default(),
        }
    }

    /// Whether a scheduler of this name is one of ours.
    pub fn decides_for(&self, scheduler: &str) -> bool {
        self.profiles.iter().any(|profile| *profile.scheduler_name == *scheduler)
    }

    /// How a pod is decided on.
    pub fn profile(&self, pod: &Pod) -> &Profile {
        &self.profiles[self.profile_at(pod)]
    }

    fn profile_at(&self, pod: &Pod) -> usize {
        self.profiles.iter().position(|profile| *profile.scheduler_name == *pod.scheduler).unwrap_or(0)
    }

    /// Finds a node for a pod. Among equally good ones, `rng` decides.
    pub fn decide(&mut self, key: &PodKey, pod: &Pod, rng: &mut Rng) -> Decision {
        if let Some(node) = self.decide_at_once(key, pod, rng) {
            return Decision::Node(node, Preparation::default());
        }
        let decide =
            |snapshot: &mut Snapshot, evaluation: &mut Evaluation, workloads: &Workloads, budgets: &Budgets| {
                choose(snapshot, evaluation, (workloads, budgets), rng)
            };
        self.evaluate(key, pod, decide).unwrap_or_else(Decision::Unschedulable)
    }

    /// The best node for a pod that has nothing to do with its neighbours, nor is drawn to some nodes. `None` where all
    /// nodes have to be looked at.
    fn decide_at_once(&mut self, key: &PodKey, pod: &Pod, rng: &mut Rng) -> Option<Arc<str>> {
        let at = self.profile_at(pod);
        let Placement { profiles, snapshot, workloads, classes, fits, ranks, .. } = self;
        let profile = &*profiles[at];
        let selector = &pod.node_needs.selector;
        let alone = pod.ports.is_empty()
            && pod.claims.is_empty()
            && pod.disks.is_empty()
            && pod.spread.is_empty()
            && pod.terms.is_empty()
            && pod.nominated.is_empty()
            && selector.preferred.is_empty()
            && profile.added_affinity.is_none();
        if !alone
            || !snapshot.is_indifferent_to(key, pod)
            || selector.named_nodes().is_some()
            || snapshot.held(key, pod).is_some()
            || !workloads.default_spread(&profile.default_spread, key, pod).is_empty()
        {
            return None;
        }
        let pool = snapshot.has_pool(&key.tenant).then(|| key.tenant.clone());
        let class = NodeClass { profile: at, pool, needs: pod.node_needs.clone() };
        let standings = classes.standings(snapshot, profile, &class);
        let sized = Size::new(&snapshot.columns, &pod.requests, profile);
        let size = (at, pod.requests.clone());
        let fits = fits.current(&size, snapshot.len(), &snapshot.usage, |node| sized.fit(node));
        let known = Known { standings: &standings, fits: &fits };
        let best = ranks.best(snapshot, &class, &pod.requests, &known, rng)?;
        Some(snapshot.names[best.index()].clone())
    }

    /// Asks something about a pod on all nodes. `Err` says why no node will do, whichever it is.
    fn evaluate<R>(
        &mut self,
        key: &PodKey,
        pod: &Pod,
        ask: impl FnOnce(&mut Snapshot, &mut Evaluation, &Workloads, &Budgets) -> R,
    ) -> Result<R, Unschedulable> {
        let at = self.profile_at(pod);
        let Placement { profiles, snapshot, budgets, workloads, volumes, classes, fits, topologies, .. } = self;
        let profile = &*profiles[at];
        if snapshot.node_count() == 0 {
            let message = "no nodes available to schedule pods".to_owned();
            return Err(Unschedulable { message, ..Unschedulable::default() });
        }
        if let Some(held) = snapshot.held(key, pod) {
            let (why, verdict) = match held {
                Held::Maximum(resource) => {
                    (format!("the tenant has its maximum of {resource}"), Verdict::TenantMaximum)
                }
                Held::Owed(resource) => {
                    (format!("what is left of {resource} is kept for tenants that are guaranteed it"), Verdict::Owed)
                }
            };
            return Err(nowhere(snapshot, &why, verdict));
        }
        let named = pod.node_needs.selector.named_nodes();
        if named.as_ref().is_some_and(Vec::is_empty) {
            return Err(nowhere(snapshot, "pod affinity terms conflict", Verdict::NodeAffinity));
        }
        let asks = PodVolumes::new(volumes, snapshot, key, pod);
        let asks = asks.map_err(|why| nowhere(snapshot, &why, Verdict::Claims))?;
        let pool = snapshot.has_pool(&key.tenant).then(|| key.tenant.clone());
        let class = NodeClass { profile: at, pool, needs: pod.node_needs.clone() };
        let defaults = hard_defaults(profile, workloads, key, pod);
        let constraints = if pod.spread.is_empty() { &defaults } else { &*pod.spread };
        let counts_others = constraints.iter().any(|c| c.hard);
        let standings = match &named {
            Some(named) if !counts_others => {
                let named: Vec<NodeId> = named.iter().filter_map(|name| snapshot.find(name)).collect();
                Standings::of_named(snapshot, profile, &class, &named)
            }
            _ => classes.standings(snapshot, profile, &class),
        };
        let sized = Size::new(&snapshot.columns, &pod.requests, profile);
        let size = (at, pod.requests.clone());
        let fits = fits.current(&size, snapshot.len(), &snapshot.usage, |node| sized.fit(node));
        let mut evaluation =
            Evaluation::new(snapshot, topologies, (key, pod), (profile, constraints), standings, fits, (volumes, asks));
        Ok(ask(snapshot, &mut evaluation, workloads, budgets))
    }

    /// Takes note of a change of what volumes depend on.
    pub fn storage_changed(&mut self, change: StorageChange) {
        let Placement { snapshot, volumes, .. } = self;
        match change {
            StorageChange::Claim { key, claim } => {
                volumes.set_claim(&key, claim);
                snapshot.claim_changed(&key);
            }
            StorageChange::Volume { tenant, name, volume } => {
                let before = volumes.claim_of(&tenant, &name);
                volumes.set_volume(&tenant, &name, volume);
                for claim in before.into_iter().chain(volumes.claim_of(&tenant, &name)) {
                    snapshot.claim_changed(&claim);
                }
            }
            StorageChange::Class { tenant, name, class } => {
                volumes.set_class(&tenant, &name, class);
                snapshot.classes_changed();
            }
            StorageChange::Capacity { tenant, namespace, name, capacity } => {
                volumes.set_capacity(&tenant, &namespace, &name, capacity);
            }
            StorageChange::Driver { name, driver } => volumes.set_driver(&name, driver),
            StorageChange::Limits { node, limits } => volumes.set_limits(&node, limits),
        }
    }
}

/// The best of the feasible nodes, or what is to be said, and done, when there is none.
fn choose(
    snapshot: &mut Snapshot,
    evaluation: &mut Evaluation,
    (workloads, budgets): (&Workloads, &Budgets),
    rng: &mut Rng,
) -> Decision {
    if let Some(node) = snapshot.find(&evaluation.pod.nominated).filter(|node| snapshot.present[node.index()])
        && preempt::check_with_nominated(snapshot, evaluation, node) == Verdict::Feasible
    {
        return Decision::Node(snapshot.names[node.index()].clone(), evaluation.prepare(snapshot, node));
    }
    let mut verdicts = evaluation.check_all(snapshot);
    let promised = check_promised(snapshot, evaluation, &mut verdicts);
    let feasible: Vec<NodeId> = snapshot.nodes().filter(|node| verdicts[node.index()] == Verdict::Feasible).collect();
    let chosen = match feasible.as_slice() {
        [] => None,
        [only] => Some(*only),
        several => {
            let scores = scores(snapshot, workloads, evaluation, several);
            score::best(several, &scores, rng)
        }
    };
    match chosen {
        Some(node) => Decision::Node(snapshot.names[node.index()].clone(), evaluation.prepare(snapshot, node)),
        None => {
            let outcome = preempt::preempt(snapshot, evaluation, &verdicts, budgets, rng);
            Decision::Unschedulable(unschedulable(snapshot, evaluation, &verdicts, &promised, outcome))
        }
    }
}

/// Something about the pod itself keeps it off all nodes.
fn nowhere(snapshot: &Snapshot, why: &str, verdict: Verdict) -> Unschedulable {
    // Upstream's preemption step finds no state of the filters that did not run, and says so.
    let message = format!("0/{} nodes are available: {why}. not found", snapshot.node_count());
    Unschedulable { message, refused_by: [verdict].into(), ..Unschedulable::default() }
}

/// The defaults for a pod without constraints, if some of them are a must.
fn hard_defaults(profile: &Profile, workloads: &Workloads, key: &PodKey, pod: &Pod) -> Vec<SpreadConstraint> {
    let hard = match &profile.default_spread {
        DefaultSpread::System => false,
        DefaultSpread::List(list) => list.iter().any(|(_, _, hard)| *hard),
    };
    if hard && pod.spread.is_empty() { workloads.default_spread(&profile.default_spread, key, pod) } else { Vec::new() }
}

/// Everything about a node itself, were it empty, that keeps a pod away: not only the first obstacle.
pub fn obstacles(profile: &Profile, name: &str, node: &Arc<Node>, key: &PodKey, pod: &Pod) -> BTreeSet<Verdict> {
    let mut alone = Snapshot::default();
    alone.set_node(name, node.clone());
    let id = alone.find(name).expect("it was set just now");
    let class = NodeClass { profile: 0, pool: Some(key.tenant.clone()), needs: pod.node_needs.clone() };
    let obstacles = Classes::default().standings(&alone, profile, &class).of(id).obstacles;
    let by_node = [
        (Obstacles::UNSCHEDULABLE, Verdict::Unschedulable),
        (Obstacles::TAINT, Verdict::Taint),
        (Obstacles::AFFINITY, Verdict::NodeAffinity),
        (Obstacles::ENFORCED, Verdict::Enforced),
        (Obstacles::RUNTIME, Verdict::Runtime),
        (Obstacles::DEDICATED, Verdict::Dedicated),
    ];
    let by_node = by_node.into_iter().filter(|(obstacle, _)| obstacles.has(*obstacle)).map(|(_, verdict)| verdict);
    let small = alone.columns.room(id, &pod.requests, &profile.fit) == Room::Never;
    by_node.chain(small.then_some(Verdict::ResourcesEver)).collect()
}

/// Whether a pod must be near the other, which is on a node.
pub fn is_near_to(snapshot: &Snapshot, key: &PodKey, pod: &Pod, other: &PodKey, placed: &Pod) -> bool {
    pod.terms.affinity.iter().any(|term| affinity::means(snapshot, term, key, other, placed))
}

/// Whether a pod must not be near the other.
pub fn avoids(snapshot: &Snapshot, key: &PodKey, pod: &Pod, other: &PodKey, placed: &Pod) -> bool {
    pod.terms.anti_affinity.iter().any(|term| affinity::means(snapshot, term, key, other, placed))
}

/// Whether the other is counted when a pod is spread.
pub fn is_spread_from(key: &PodKey, pod: &Pod, other: &PodKey, placed: &Pod) -> bool {
    (&key.tenant, &key.namespace) == (&other.tenant, &other.namespace)
        && pod.spread.iter().any(|c| c.hard && c.selector.matches(&placed.labels))
}

/// Looks again at the feasible nodes that are promised to pods which come first. Returns the reasons of those that
/// are none after all.
fn check_promised(
    snapshot: &mut Snapshot,
    evaluation: &mut Evaluation,
    verdicts: &mut [Verdict],
) -> HashMap<NodeId, Vec<String>> {
    let mut refused = HashMap::new();
    for node in snapshot.promised_before(evaluation.key, evaluation.pod) {
        if verdicts[node.index()] == Verdict::Feasible {
            let (verdict, reasons) = preempt::refusal_with_nominated(snapshot, evaluation, node);
            verdicts[node.index()] = verdict;
            if verdict != Verdict::Feasible {
                refused.insert(node, reasons);
            }
        }
    }
    refused
}

fn scores(snapshot: &Snapshot, workloads: &Workloads, evaluation: &mut Evaluation, feasible: &[NodeId]) -> Vec<i64> {
    let (key, pod) = (evaluation.key, evaluation.pod);
    let strict = !pod.spread.is_empty();
    let defaults =
        if strict { Vec::new() } else { workloads.default_spread(&evaluation.profile.default_spread, key, pod) };
    let constraints = pod.spread.iter().chain(&defaults).filter(|c| !c.hard).collect();
    let (standings, fits) = (evaluation.standings.clone(), evaluation.fits.clone());
    let spread = SoftSpread { constraints, strict };
    let wishes = Wishes { key, pod, standings: &standings, fits: &fits, spread, profile: evaluation.profile };
    score::scores(snapshot, evaluation.topologies(), &wishes, feasible)
}

fn unschedulable(
    snapshot: &Snapshot,
    evaluation: &Evaluation,
    verdicts: &[Verdict],
    promised: &HashMap<NodeId, Vec<String>>,
    outcome: Result<Preemption, NoPreemption>,
) -> Unschedulable {
    let nodes = snapshot.node_count();
    let others = snapshot.nodes().filter(|node| !promised.contains_key(node));
    let mut reasons = evaluation.count_reasons(snapshot, others.map(|node| (node, verdicts[node.index()])));
    for reason in promised.values().flatten() {
        *reasons.entry(reason.clone()).or_default() += 1;
    }
    let mut message = not_available(nodes, reasons);
    let (mut preemption, mut clear_nomination) = (None, false);
    match outcome {
        Ok(found) => preemption = Some(found),
        Err(NoPreemption::Off) => {}
        Err(NoPreemption::NotEligible(why)) => {
            message += &format!(" {BEFORE_PREEMPTION} not eligible due to {why}.");
        }
        Err(NoPreemption::NoCandidate(reasons)) => {
            clear_nomination = !evaluation.pod.nominated.is_empty();
            message += &format!(" {BEFORE_PREEMPTION} {}", not_available(nodes, reasons));
        }
    }
    let refused_by = verdicts.iter().copied().filter(|&v| v != Verdict::Absent).collect();
    Unschedulable { message, refused_by, preemption, clear_nomination }
}

/// `0/3 nodes are available: 1 …, 2 ….`, sorted as texts.
fn not_available(nodes: usize, counts: BTreeMap<String, usize>) -> String {
    let mut texts: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort_unstable();
    format!("0/{nodes} nodes are available: {}.", texts.join(", "))
}
