//! How pods of one size stand with each node's resources: whether there is room, and how good the fit is.

use super::columns::{CPU_COLUMN, Columns, MEMORY_COLUMN, Room};
use super::requests::{CPU, MEMORY, Requests};
use super::{NodeId, TOP_SCORE};

/// What a size says of one node.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    pub room: Room,
    /// The sum of both scores about resources, weighted.
    pub score: i64,
}

const WEIGHT_LEAST_ALLOCATED: i64 = 1;
const WEIGHT_BALANCED: i64 = 1;

/// A node's CPU or memory: what is taken, and of how much.
#[derive(Clone, Copy)]
struct Share {
    taken: i128,
    offered: i64,
}

impl Fit {
    pub fn of(columns: &Columns, requests: &Requests, node: NodeId) -> Fit {
        Fit { room: columns.room(node, requests), score: score(columns, requests, node) }
    }
}

fn score(columns: &Columns, requests: &Requests, node: NodeId) -> i64 {
    let at = node.index();
    let offered = [columns.offered(CPU_COLUMN)[at], columns.offered(MEMORY_COLUMN)[at]];
    let shares = |taken: [i128; 2]| [0, 1].map(|i| Share { taken: taken[i], offered: offered[i] });
    let scored = [
        columns.scored_cpu[at] + i128::from(requests.scored_cpu),
        columns.scored_memory[at] + i128::from(requests.scored_memory),
    ];
    let score = WEIGHT_LEAST_ALLOCATED * least_allocated(shares(scored));
    if requests.best_effort() {
        return score;
    }
    let before = [columns.taken(CPU_COLUMN)[at], columns.taken(MEMORY_COLUMN)[at]];
    let after = [before[0] + i128::from(requests.of(CPU)), before[1] + i128::from(requests.of(MEMORY))];
    let better = balance(shares(after)) - balance(shares(before));
    score + WEIGHT_BALANCED * (TOP_SCORE / 2 + (TOP_SCORE / 2 + better) / 2)
}

/// The mean of the free shares.
fn least_allocated(shares: [Share; 2]) -> i64 {
    let offering = shares.into_iter().filter(|share| share.offered != 0);
    let (sum, count) =
        offering.fold((0, 0), |(sum, count), Share { taken, offered }| (sum + free_share(taken, offered), count + 1));
    if count == 0 { 0 } else { sum / count }
}

/// The free part of what is offered, from 0 to the top score. More pods than fit leave nothing, however many they are.
fn free_share(taken: i128, offered: i64) -> i64 {
    let offered = i128::from(offered);
    let free = (offered - taken).clamp(0, offered) * i128::from(TOP_SCORE) / offered;
    i64::try_from(free).expect("a share of the whole is at most the top score")
}

/// How near the taken shares are to each other.
fn balance([first, second]: [Share; 2]) -> i64 {
    let fraction = |share: Share| (share.taken as f64 / share.offered as f64).min(1.0);
    let both = first.offered != 0 && second.offered != 0;
    let deviation = if both { ((fraction(first) - fraction(second)) / 2.0).abs() } else { 0.0 };
    ((1.0 - deviation) * TOP_SCORE as f64) as i64
}
