//! Watches of the API in memory: what changes, in order. While views are disturbed, some of it comes late, some again, as
//! from a server that is behind, and some not at all, until the watch ends as one that has fallen behind.

use super::{Fake, Target, belongs};
use crate::tests::pass;
use api::Error;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a change that was left out stays unknown at most.
const HIDDEN_FOR: Duration = Duration::from_secs(1);
/// How late a change comes that is late.
const LATE_BY: Duration = Duration::from_millis(500);
/// As many changes are told again.
const REPEATED: usize = 3;

/// One watch.
pub struct Watching {
    pub fake: Fake,
    pub target: Target,
    /// The only name that is asked for.
    pub name: Option<String>,
    /// The revision of what was told last.
    pub from: u64,
    pub random: u64,
    pub is_hiding: bool,
    pub is_over: bool,
}

/// What a watch finds to tell.
struct Look {
    /// The next change: its revision, its type, the object.
    next: Option<(u64, &'static str, Value)>,
    /// The revision before the last few changes that were told.
    again: u64,
    lag: Duration,
    /// Of disturbances.
    seed: Option<u64>,
}

impl Watching {
    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        while !self.is_over {
            let changed = self.fake.changed.clone().notified_owned();
            let Look { next, again, lag, seed } = self.look();
            let Some((revision, kind, object)) = next else {
                if !self.is_hiding {
                    changed.await;
                } else if tokio::time::timeout(HIDDEN_FOR, changed).await.is_err() {
                    return self.expire();
                }
                continue;
            };
            match seed.map(|seed| self.roll(seed) % 10) {
                Some(0) => (self.from, self.is_hiding) = (revision, true),
                Some(1) => self.from = again,
                Some(2) if self.is_hiding => return self.expire(),
                fault => {
                    let late = if fault == Some(3) { LATE_BY } else { Duration::ZERO };
                    pass(lag + late).await;
                    self.from = revision;
                    return Some(json!({"type": kind, "object": object}));
                }
            }
        }
        None
    }

    fn look(&self) -> Look {
        let state = self.fake.lock();
        let concerns = |(_, collection, _, object): &&(u64, String, &'static str, Value)| {
            *collection == self.target.collection
                && belongs(object, &self.target)
                && self.name.as_ref().is_none_or(|name| object["metadata"]["name"] == **name)
        };
        let at = state.history.partition_point(|(revision, ..)| *revision <= self.from);
        let again =
            state.history[..at].iter().rev().filter(concerns).nth(REPEATED).map_or(0, |(revision, ..)| *revision);
        let next = state.history[at..].iter().find(concerns);
        let next = next.map(|(revision, _, kind, object)| (*revision, *kind, object.clone()));
        Look { next, again, lag: state.lag, seed: state.disturbed }
    }

    fn expire(&mut self) -> Option<Value> {
        self.is_over = true;
        Some(json!({"type": "ERROR", "object": Error::expired("too old resource version").to_status()}))
    }

    /// As good as random, and the same for the same seed and the same looks.
    fn roll(&mut self, seed: u64) -> u64 {
        self.random = (self.random ^ seed ^ self.from).wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        self.random = (self.random ^ (self.random >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        self.random ^ (self.random >> 31)
    }
}
