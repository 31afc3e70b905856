//! Which of the feasible nodes is best: each score from 0 to 100, weighted as upstream weighs it, summed.

use super::affinity;
use super::fit::Fit;
use super::profile::Profile;
use super::snapshot::Snapshot;
use super::spread::{self, SoftSpread};
use super::standing::Standings;
use super::topology::Topologies;
use super::{NodeId, Pod, PodKey, Rng, TOP_SCORE};
use std::cmp::Ordering;

/// An image on the node is worth something from this size on, and nothing more above the other, per container.
const IMAGE_BYTES_MIN: i64 = 23 << 20;
const IMAGE_BYTES_MAX: i64 = 1000 << 20;

/// What the scores of a pod are computed from.
pub struct Wishes<'a> {
    pub key: &'a PodKey,
    pub pod: &'a Pod,
    pub standings: &'a Standings,
    pub fits: &'a [Fit],
    pub spread: SoftSpread<'a>,
    pub profile: &'a Profile,
}

/// The sum of all weighted scores of each feasible node.
pub fn scores(snapshot: &Snapshot, topologies: &mut Topologies, wishes: &Wishes, feasible: &[NodeId]) -> Vec<i64> {
    let mut total: Vec<i64> = feasible.iter().map(|&node| wishes.fits[node.index()].score).collect();
    for (_, weight, scores) in parts(snapshot, topologies, wishes, feasible) {
        for (total, score) in total.iter_mut().zip(scores) {
            *total += weight * score;
        }
    }
    total
}

/// The plugin and weight of each score that says something besides resources, and the scores of the feasible nodes.
pub fn parts(
    snapshot: &Snapshot,
    topologies: &mut Topologies,
    wishes: &Wishes,
    feasible: &[NodeId],
) -> Vec<(&'static str, i64, Vec<i64>)> {
    let weights = &wishes.profile.weights;
    let mut parts = Vec::new();
    let mut add = |plugin: &'static str, weight: i64, scores: &mut dyn FnMut() -> Option<Vec<i64>>| {
        if weight != 0 {
            parts.extend(scores().map(|scores| (plugin, weight, scores)));
        }
    };
    add("TaintToleration", weights.taints, &mut || taints(wishes.standings, feasible));
    add("NodeAffinity", weights.node_affinity, &mut || node_affinity(wishes, feasible));
    add("PodTopologySpread", weights.spread, &mut || spreading(snapshot, topologies, wishes, feasible));
    add("InterPodAffinity", weights.pod_affinity, &mut || pod_affinity(snapshot, topologies, wishes, feasible));
    add("ImageLocality", weights.images, &mut || images(snapshot, wishes.pod, feasible));
    parts
}

/// One of the best nodes; which of equals, `rng` decides.
pub fn best(feasible: &[NodeId], scores: &[i64], rng: &mut Rng) -> Option<NodeId> {
    let (top, equals) = scores.iter().fold((i64::MIN, 0), |(top, equals), &score| match score.cmp(&top) {
        Ordering::Greater => (score, 1),
        Ordering::Equal => (top, equals + 1),
        Ordering::Less => (top, equals),
    });
    let mut best = feasible.iter().zip(scores).filter(|(_, score)| **score == top);
    best.nth(rng.below(equals)).map(|(node, _)| *node)
}

fn taints(standings: &Standings, feasible: &[NodeId]) -> Option<Vec<i64>> {
    let count = |&node: &NodeId| i64::from(standings.of(node).discouraged);
    // Nothing discourages anywhere: all nodes get the same, which changes nothing.
    let most = feasible.iter().map(count).max().filter(|&most| most > 0)?;
    Some(feasible.iter().map(|node| TOP_SCORE - count(node) * TOP_SCORE / most).collect())
}

fn node_affinity(wishes: &Wishes, feasible: &[NodeId]) -> Option<Vec<i64>> {
    let added = wishes.profile.added_affinity.as_ref().is_some_and(|added| !added.preferred.is_empty());
    if wishes.pod.node_needs.selector.preferred.is_empty() && !added {
        return None;
    }
    let weights: Vec<i64> = feasible.iter().map(|&node| wishes.standings.of(node).preferred).collect();
    let most = weights.iter().copied().max().filter(|&most| most > 0)?;
    Some(weights.into_iter().map(|weight| weight * TOP_SCORE / most).collect())
}

fn spreading(
    snapshot: &Snapshot,
    topologies: &mut Topologies,
    wishes: &Wishes,
    feasible: &[NodeId],
) -> Option<Vec<i64>> {
    let Wishes { key, spread, standings, .. } = wishes;
    if spread.constraints.is_empty() {
        return None;
    }
    let crowding = spread::crowding(snapshot, topologies, key, spread, standings, feasible);
    let crowds = || crowding.iter().flatten().copied();
    let (least, most) = (crowds().min().unwrap_or(0), crowds().max().unwrap_or(0));
    let score = |crowd: &Option<i64>| match crowd {
        None => 0,
        Some(_) if most == 0 => TOP_SCORE,
        Some(crowd) => TOP_SCORE * (most + least - crowd) / most,
    };
    Some(crowding.iter().map(score).collect())
}

fn pod_affinity(
    snapshot: &Snapshot,
    topologies: &mut Topologies,
    wishes: &Wishes,
    feasible: &[NodeId],
) -> Option<Vec<i64>> {
    let wished = affinity::wishes(snapshot, topologies, wishes.profile, wishes.key, wishes.pod);
    if wished.is_empty() {
        return None;
    }
    let sums: Vec<i64> = feasible.iter().map(|&node| wished.sum(node)).collect();
    let (least, most) = (sums.iter().copied().min()?, sums.iter().copied().max()?);
    if least == most {
        return None;
    }
    let score = |sum: i64| (TOP_SCORE as f64 * ((sum - least) as f64 / (most - least) as f64)) as i64;
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
        TOP_SCORE * (sum - IMAGE_BYTES_MIN) / (most - IMAGE_BYTES_MIN)
    };
    Some(feasible.iter().map(score).collect())
}
