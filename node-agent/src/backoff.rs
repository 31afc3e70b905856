//! How long to wait before the same thing is tried again. Pure.

use api::Timestamp;
use std::time::Duration;

/// The first wait and the longest; each is twice the one before.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub first: Duration,
    pub longest: Duration,
}

impl Rule {
    const fn secs(first: u64, longest: u64) -> Rule {
        Rule { first: Duration::from_secs(first), longest: Duration::from_secs(longest) }
    }

    /// Containers that end, and images that cannot be pulled: as upstream.
    pub const SLOW: Rule = Rule::secs(10, 300);
    /// What waits for something that another has to make: a config map, a secret, the API server.
    pub const QUICK: Rule = Rule { first: Duration::from_millis(500), longest: Duration::from_secs(30) };

    fn after(self, delay: Duration) -> Duration {
        (delay * 2).min(self.longest)
    }
}

/// Something that failed and will be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One word for a status or an event.
    pub reason: String,
    pub message: String,
    pub at: Timestamp,
    delay: Duration,
}

impl Failure {
    /// The failure of an attempt at `at`, after `before`.
    pub fn after(before: Option<&Failure>, rule: Rule, reason: String, message: String, at: Timestamp) -> Failure {
        Failure { reason, message, at, delay: before.map_or(rule.first, |b| rule.after(b.delay)) }
    }

    pub fn retry_at(&self) -> Timestamp {
        self.at.plus(self.delay)
    }
}

/// The restarts of one container. The first follows its exit at once, later ones wait longer and longer; a container
/// that ran for long enough starts over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crashes {
    delay: Duration,
    restarted: Timestamp,
}

impl Crashes {
    /// Counts a restart at `now`, after an exit.
    pub fn restarted(before: Option<&Crashes>, exit: Timestamp, now: Timestamp) -> Crashes {
        let current = before.filter(|b| !b.forgotten(exit));
        Crashes { delay: current.map_or(Rule::SLOW.first, |b| Rule::SLOW.after(b.delay)), restarted: now }
    }

    /// When a container that ended at `exit` may start again, and how long that makes it wait.
    pub fn due(&self, exit: Timestamp) -> (Timestamp, Duration) {
        let delay = if self.forgotten(exit) { Duration::ZERO } else { self.delay };
        (exit.plus(delay), delay)
    }

    fn forgotten(&self, exit: Timestamp) -> bool {
        exit.since(self.restarted) > Rule::SLOW.longest * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_waits_ten_seconds_doubling_to_five_minutes() {
        let mut now = Timestamp::from_unix_secs(1_000);
        let mut crashes: Option<Crashes> = None;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let due = crashes.as_ref().map_or(now, |c| c.due(now).0);
            waits.push(due.since(now).as_secs());
            crashes = Some(Crashes::restarted(crashes.as_ref(), now, due));
            now = due.plus(Duration::from_secs(1));
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        let much_later = now.plus(Duration::from_secs(601));
        assert_eq!(crashes.expect("crashes").due(much_later).1, Duration::ZERO);
    }
}
