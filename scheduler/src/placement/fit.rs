//! How pods of one size stand with each node's resources: whether there is room, and how good the fit is.

use super::columns::{Columns, ResourceId, Room};
use super::profile::{Profile, RESOURCES_MAX, ScoredResource, Strategy};
use super::requests::{CPU, MEMORY, Requests};
use super::{NodeId, TOP_SCORE};

/// What a size says of one node.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    pub room: Room,
    /// The sum of both scores about resources, weighted.
    pub score: i64,
}

/// A size with its resources looked up, for asking many nodes.
pub struct Size<'a> {
    columns: &'a Columns,
    requests: &'a Requests,
    profile: &'a Profile,
    scored: Vec<Scored>,
    balanced: Vec<Scored>,
}

/// A resource that counts for a score.
struct Scored {
    column: ResourceId,
    which: Which,
    /// What the pod adds.
    asked: i64,
    weight: i64,
}

/// How what is taken is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Cpu,
    Memory,
    Other,
}

impl<'a> Size<'a> {
    pub fn new(columns: &'a Columns, requests: &'a Requests, profile: &'a Profile) -> Size<'a> {
        let found = |resource: &ScoredResource, asked_for_scores: bool| {
            let which = match &*resource.name {
                CPU => Which::Cpu,
                MEMORY => Which::Memory,
                _ => Which::Other,
            };
            let asked = match which {
                Which::Cpu if asked_for_scores => requests.scored_cpu,
                Which::Memory if asked_for_scores => requests.scored_memory,
                Which::Cpu | Which::Memory | Which::Other => requests.of(&resource.name),
            };
            let extended = resource.name.contains('/') || resource.name.starts_with("hugepages-");
            // What is rare counts only for those who ask for it.
            if extended && asked == 0 {
                return None;
            }
            Some(Scored { column: columns.find(&resource.name)?, which, asked, weight: resource.weight })
        };
        let scored = profile.fit.resources.iter().filter_map(|resource| found(resource, true)).collect();
        let balanced = profile.balanced.iter().filter_map(|resource| found(resource, false)).collect();
        Size { columns, requests, profile, scored, balanced }
    }

    pub fn fit(&self, node: NodeId) -> Fit {
        let Size { columns, requests, profile, .. } = self;
        let room = if profile.filters.resources { columns.room(node, requests, &profile.fit) } else { Room::Enough };
        Fit { room, score: self.score(node) }
    }

    fn score(&self, node: NodeId) -> i64 {
        let weights = &self.profile.weights;
        let mut score = 0;
        if weights.resources != 0 {
            score += weights.resources * self.allocation(&self.profile.fit.strategy, node);
        }
        if weights.balanced == 0 || self.balanced.iter().all(|resource| resource.asked == 0) {
            return score;
        }
        let better = self.balance(node, 1) - self.balance(node, 0);
        score + weights.balanced * (TOP_SCORE / 2 + (TOP_SCORE / 2 + better) / 2)
    }

    fn allocation(&self, strategy: &Strategy, node: NodeId) -> i64 {
        let (mut sum, mut weights) = (0, 0);
        for Scored { column, which, asked, weight } in &self.scored {
            let offered = self.columns.offered(*column)[node.index()];
            if offered == 0 {
                continue;
            }
            let before = match which {
                Which::Cpu => self.columns.scored_cpu[node.index()],
                Which::Memory => self.columns.scored_memory[node.index()],
                Which::Other => self.columns.taken(*column)[node.index()],
            };
            if let Some(score) = strategy.score(before + i128::from(*asked), offered) {
                sum += score * weight;
                weights += weight;
            }
        }
        strategy.mean(sum, weights)
    }

    /// How near the taken shares are to each other, with so many of the pod.
    fn balance(&self, node: NodeId, pods: i64) -> i64 {
        let mut fractions = [0.0; RESOURCES_MAX];
        let mut count = 0;
        for Scored { column, asked, .. } in self.balanced.iter().take(RESOURCES_MAX) {
            let offered = self.columns.offered(*column)[node.index()];
            if offered != 0 {
                let taken = self.columns.taken(*column)[node.index()] + i128::from(pods * asked);
                fractions[count] = (taken as f64 / offered as f64).min(1.0);
                count += 1;
            }
        }
        let deviation = match &fractions[..count] {
            [] | [_] => 0.0,
            [first, second] => ((first - second) / 2.0).abs(),
            all => {
                let mean = all.iter().sum::<f64>() / all.len() as f64;
                (all.iter().map(|f| (f - mean) * (f - mean)).sum::<f64>() / all.len() as f64).sqrt()
            }
        };
        ((1.0 - deviation) * TOP_SCORE as f64) as i64
    }
}
