//! How long to leave a failed pod on its node before it is replaced: longer with each failure in a row.

use api::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Nodes on which no pod failed for so long begin anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 60);

/// Entries beyond which those that are forgotten are looked for.
const SWEEP_AT_ENTRIES: usize = 1024;

/// The failures on each node, by the uid of the set.
#[derive(Default)]
pub struct Backoff(Mutex<State>);

#[derive(Default)]
struct State {
    failures: HashMap<(String, String), (Duration, Timestamp)>,
    sweep_at: usize,
}

impl Backoff {
    /// How long the failed pod still stays: zero counts the failure and lets it be replaced.
    pub fn stays(&self, set: &str, node: &str, now: Timestamp) -> Duration {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failures.len() > state.sweep_at.max(SWEEP_AT_ENTRIES) {
            state.failures.retain(|_, (_, since)| now.since(*since) < FORGOTTEN_AFTER);
            state.sweep_at = state.failures.len() * 2;
        }
        let key = (set.to_owned(), node.to_owned());
        let known = state.failures.get(&key).filter(|(_, since)| now.since(*since) < FORGOTTEN_AFTER).copied();
        let next = match known {
            Some((wait, since)) if now.since(since) < wait => return wait - now.since(since),
            Some((wait, _)) => (wait * 2).min(LONGEST),
            None => FIRST,
        };
        state.failures.insert(key, (next, now));
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_stays_twice_as_long() {
        let backoff = Backoff::default();
        let stays = |at: i64| backoff.stays("set", "n1", Timestamp::from_unix_secs(at)).as_secs();
        assert_eq!([stays(100), stays(100), stays(101)], [0, 1, 0]);
        assert_eq!([stays(102), stays(103), stays(104)], [1, 0, 3]);
        assert_eq!(backoff.stays("set", "n2", Timestamp::from_unix_secs(104)), Duration::ZERO);
        assert_eq!([stays(5000), stays(5000)], [0, 1], "long ago counts no more");
    }
}
