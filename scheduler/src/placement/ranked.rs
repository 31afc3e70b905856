//! The best nodes for pods of one size and class, kept in order from one decision to the next: for pods that ask nothing of
//! their neighbours a decision then costs what changed since the last one, however many nodes there are.
//!
//! Invariant: what is handed out is what looking at all nodes would give.

use super::NodeId;
use super::Rng;
use super::columns::Room;
use super::fit::Fit;
use super::kept::Changes;
use super::requests::Requests;
use super::snapshot::Snapshot;
use super::standing::{Class, Standing, Standings};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// So many orders are kept; beyond, all start over.
const RANKS_MAX: usize = 256;

/// No place in an order.
const NOWHERE: u32 = u32::MAX;

/// Orders of nodes by class and size.
#[derive(Default)]
pub struct Ranks(HashMap<(Class, Arc<Requests>), Rank>);

/// The nodes that will do, by score.
#[derive(Default)]
struct Rank {
    /// How many changes of nodes, and of what is taken from them, are in it.
    seen: (u64, u64),
    by_score: BTreeMap<i64, Vec<NodeId>>,
    /// For each node its score, if it will do, and its place among those with the same.
    places: Vec<(i64, u32)>,
    /// Whether a taint asks to stay away, by node: then scores depend on which nodes will do.
    discouraged: Vec<bool>,
    discouraged_count: usize,
}

/// What is known of the nodes already, each brought up to date by itself.
pub struct Known<'a> {
    pub standings: &'a Standings,
    pub fits: &'a [Fit],
}

impl Ranks {
    /// One of the best nodes; which of equals, `rng` decides. `None` if all nodes have to be looked at.
    pub fn best(
        &mut self,
        snapshot: &Snapshot,
        class: &Class,
        requests: &Arc<Requests>,
        known: &Known,
        rng: &mut Rng,
    ) -> Option<NodeId> {
        let key = (class.clone(), requests.clone());
        if self.0.len() >= RANKS_MAX && !self.0.contains_key(&key) {
            self.0.clear();
        }
        let rank = self.0.entry(key).or_default();
        rank.catch_up(snapshot, known);
        if rank.discouraged_count > 0 {
            return None;
        }
        let (_, best) = rank.by_score.last_key_value()?;
        best.get(rng.below(best.len())).copied()
    }
}

impl Rank {
    fn catch_up(&mut self, snapshot: &Snapshot, known: &Known) {
        let Snapshot { changes, usage, .. } = snapshot;
        match (changes.since(self.seen.0), usage.since(self.seen.1)) {
            (Some(changed), Some(used)) if self.places.len() == snapshot.len() => {
                for &node in changed.iter().chain(used) {
                    self.put(node, known);
                }
            }
            _ => {
                *self = Rank::default();
                self.places = vec![(0, NOWHERE); snapshot.len()];
                self.discouraged = vec![false; snapshot.len()];
                snapshot.nodes().for_each(|node| self.put(node, known));
            }
        }
        self.seen = (Changes::count(changes), Changes::count(usage));
    }

    fn put(&mut self, node: NodeId, known: &Known) {
        let at = node.index();
        let Standing { obstacles, discouraged, .. } = known.standings.of(node);
        let fit = known.fits[at];
        self.remove(node);
        let will_do = obstacles.none() && fit.room == Room::Enough;
        let was = std::mem::replace(&mut self.discouraged[at], will_do && discouraged > 0);
        self.discouraged_count = self.discouraged_count + usize::from(self.discouraged[at]) - usize::from(was);
        if will_do {
            let equals = self.by_score.entry(fit.score).or_default();
            self.places[at] = (fit.score, NodeId::at(equals.len()).index() as u32);
            equals.push(node);
        }
    }

    fn remove(&mut self, node: NodeId) {
        let (score, place) = std::mem::replace(&mut self.places[node.index()], (0, NOWHERE));
        if place == NOWHERE {
            return;
        }
        let equals = self.by_score.get_mut(&score).expect("a node with a place is among those with its score");
        equals.swap_remove(place as usize);
        if let Some(moved) = equals.get(place as usize) {
            self.places[moved.index()].1 = place;
        }
        if equals.is_empty() {
            self.by_score.remove(&score);
        }
    }
}
