//! Which of the feasible nodes is best: each score from 0 to 100, weighted as upstream weighs it, summed.

use super::affinity;
use super::class::Standings;
use super::columns::{CPU_COLUMN, MEMORY_COLUMN};
use super::requests::{CPU, MEMORY};
use super::selector::SpreadConstraint;
use super::snapshot::Snapshot;
use super::{NodeId, Pod, PodKey, Rng, spread};

const TOP: i64 = 100;

const WEIGHT_TAINTS: i64 = 3;
const WEIGHT_NODE_AFFINITY: i64 = 2;
const WEIGHT_SPREAD: i64 = 2;
const WEIGHT_POD_AFFINITY: i64 = 2;
const WEIGHT_LEAST_ALLOCATED: i64 = 1;
const WEIGHT_BALANCED: i64 = 1;
const WEIGHT_IMAGES: i64 = 1;

/// An image on the node is worth something from this size on, and nothing more above the other, per container.
const IMAGE_BYTES_MIN: i64 = 23 << 20;
const IMAGE_BYTES_MAX: i64 = 1000 << 20;

/// What the scores of a pod are computed from.
pub struct Wishes<'a> {
    pub key: &'a PodKey,
    pub pod: &'a Pod,
    pub standings: &'a Standings,
    /// The soft constraints that hold for it: its own, or the defaults.
    pub spread: Vec<&'a SpreadConstraint>,
    /// Whether the constraints are its own.
    pub own_spread: bool,
}

/// The sum of all weighted scores of each feasible node.
pub fn scores(snapshot: &Snapshot, wishes: &Wishes, feasible: &[NodeId]) -> Vec<i64> {
    let mut total: Vec<i64> = feasible.iter().map(|&node| resources(snapshot, wishes.pod, node)).collect();
    let mut add = |weight: i64, scores: Option<Vec<i64>>| {
        for (total, score) in total.iter_mut().zip(scores.into_iter().flatten()) {
            *total += weight * score;
        }
    };
    add(WEIGHT_TAINTS, taints(wishes.standings, feasible));
    add(WEIGHT_NODE_AFFINITY, node_affinity(wishes, feasible));
    add(WEIGHT_SPREAD, spreading(snapshot, wishes, feasible));
    add(WEIGHT_POD_AFFINITY, pod_affinity(snapshot, wishes, feasible));
    add(WEIGHT_IMAGES, images(snapshot, wishes.pod, feasible));
    total
}

/// One of the best nodes; which of equals, `rng` decides.
pub fn best(feasible: &[NodeId], scores: &[i64], rng: &mut Rng) -> Option<NodeId> {
    let top = *scores.iter().max()?;
    let equals = || feasible.iter().zip(scores).filter(|(_, score)| **score == top).map(|(node, _)| *node);
    equals().nth(rng.below(equals().count()))
}

fn resources(snapshot: &Snapshot, pod: &Pod, node: NodeId) -> i64 {
    let at = node.index();
    let columns = &snapshot.columns;
    let (cpu, memory) = (columns.offered(CPU_COLUMN)[at], columns.offered(MEMORY_COLUMN)[at]);
    let scored_cpu = columns.scored_cpu[at].wrapping_add(pod.requests.scored_cpu);
    let scored_memory = columns.scored_memory[at].wrapping_add(pod.requests.scored_memory);
    let mut score = WEIGHT_LEAST_ALLOCATED * least_allocated([(scored_cpu, cpu), (scored_memory, memory)]);
    if !pod.requests.best_effort() {
        let without = [(columns.taken(CPU_COLUMN)[at], cpu), (columns.taken(MEMORY_COLUMN)[at], memory)];
        let with = [
            (without[0].0.wrapping_add(pod.requests.of(CPU)), cpu),
            (without[1].0.wrapping_add(pod.requests.of(MEMORY)), memory),
        ];
        score += WEIGHT_BALANCED * (TOP / 2 + (TOP / 2 + balance(with) - balance(without)) / 2);
    }
    score
}

/// The mean of the free shares.
fn least_allocated(resources: [(i64, i64); 2]) -> i64 {
    let offered = resources.iter().filter(|(_, offered)| *offered != 0);
    let (sum, count) = offered.fold((0, 0), |(sum, count), &(taken, offered)| {
        let free = if taken > offered { 0 } else { (offered - taken) * TOP / offered };
        (sum + free, count + 1)
    });
    if count == 0 { 0 } else { sum / count }
}

/// How near the taken shares are to each other.
fn balance(resources: [(i64, i64); 2]) -> i64 {
    let share = |(taken, offered): (i64, i64)| (taken as f64 / offered as f64).min(1.0);
    let [first, second] = resources;
    let deviation = if first.1 == 0 || second.1 == 0 { 0.0 } else { ((share(first) - share(second)) / 2.0).abs() };
    ((1.0 - deviation) * TOP as f64) as i64
}

fn taints(standings: &Standings, feasible: &[NodeId]) -> Option<Vec<i64>> {
    let counts: Vec<i64> = feasible.iter().map(|&node| i64::from(standings.of(node).discouraged)).collect();
    // Nothing discourages anywhere: all nodes get the same, which changes nothing.
    let most = counts.iter().copied().max().filter(|&most| most > 0)?;
    Some(counts.into_iter().map(|count| TOP - count * TOP / most).collect())
}

fn node_affinity(wishes: &Wishes, feasible: &[NodeId]) -> Option<Vec<i64>> {
    if wishes.pod.node_needs.selector.preferred.is_empty() {
        return None;
    }
    let weights: Vec<i64> = feasible.iter().map(|&node| wishes.standings.of(node).preferred).collect();
    let most = weights.iter().copied().max().filter(|&most| most > 0)?;
    Some(weights.into_iter().map(|weight| weight * TOP / most).collect())
}

fn spreading(snapshot: &Snapshot, wishes: &Wishes, feasible: &[NodeId]) -> Option<Vec<i64>> {
    let Wishes { key, spread, own_spread, standings, .. } = wishes;
    let crowding = spread::crowding(snapshot, key, spread, *own_spread, standings, feasible)?;
    let (least, most) = (crowding.iter().flatten().min().copied(), crowding.iter().flatten().max().copied());
    let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
    let score = |crowd: Option<i64>| match crowd {
        None => 0,
        Some(_) if most == 0 => TOP,
        Some(crowd) => TOP * (most + least - crowd) / most,
    };
    Some(crowding.into_iter().map(score).collect())
}

fn pod_affinity(snapshot: &Snapshot, wishes: &Wishes, feasible: &[NodeId]) -> Option<Vec<i64>> {
    let pairs = affinity::wishes(snapshot, wishes.key, wishes.pod);
    if pairs.is_empty() {
        return None;
    }
    let of_node = |&node: &NodeId| snapshot.labels[node.index()].iter().filter_map(|pair| pairs.get(pair)).sum();
    let sums: Vec<i64> = feasible.iter().map(of_node).collect();
    let (least, most) = (sums.iter().copied().min()?, sums.iter().copied().max()?);
    let score =
        |sum: i64| if most == least { 0 } else { (TOP as f64 * ((sum - least) as f64 / (most - least) as f64)) as i64 };
    Some(sums.into_iter().map(score).collect())
}

/// Images that the node has already, each counted the more, the more nodes have it, so that pods are not drawn to one.
fn images(snapshot: &Snapshot, pod: &Pod, feasible: &[NodeId]) -> Option<Vec<i64>> {
    let known: Vec<_> = pod.images.iter().filter_map(|image| snapshot.images.get(image)).collect();
    if known.is_empty() {
        return None;
    }
    let nodes = snapshot.node_count() as f64;
    let most = IMAGE_BYTES_MAX * i64::try_from(pod.containers).unwrap_or(1).max(1);
    let score = |node: &NodeId| {
        let bytes = known.iter().filter_map(|on| {
            let spread = on.len() as f64 / nodes;
            on.get(node).map(|&bytes| (bytes as f64 * spread) as i64)
        });
        let sum = bytes.sum::<i64>().clamp(IMAGE_BYTES_MIN, most);
        TOP * (sum - IMAGE_BYTES_MIN) / (most - IMAGE_BYTES_MIN)
    };
    Some(feasible.iter().map(score).collect())
}
