//! What a controller has asked for and not yet seen in its caches.
//!
//! A cache lags behind the writes of its own controller. Until it shows them, counting what it holds would ask for the
//! same again: so nothing is created or deleted while something is expected, for a limited time.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// An expectation that is not met for so long was wrong: the change was undone before it could be seen.
const EXPECTATION_LASTS: Duration = Duration::from_secs(300);

/// Expectations by the uid of the owner.
#[derive(Default)]
pub struct Expectations(Mutex<HashMap<String, Expected>>);

struct Expected {
    since: Instant,
    creations: usize,
    /// The uids of what is to go.
    deletions: HashSet<String>,
}

impl Expectations {
    /// How long to leave the owner alone: `None` when everything was seen.
    pub fn unmet(&self, owner: &str) -> Option<Duration> {
        let mut all = self.lock();
        let left = EXPECTATION_LASTS.saturating_sub(all.get(owner)?.since.elapsed());
        if left.is_zero() {
            all.remove(owner);
            return None;
        }
        Some(left)
    }

    /// Expects creations. Called before they are asked for.
    pub fn expect_creations(&self, owner: &str, count: usize) {
        if count > 0 {
            self.expected(&mut self.lock(), owner).creations += count;
        }
    }

    /// Expects deletions. Called before they are asked for.
    pub fn expect_deletions(&self, owner: &str, uids: impl IntoIterator<Item = String>) {
        let mut uids = uids.into_iter().peekable();
        if uids.peek().is_some() {
            self.expected(&mut self.lock(), owner).deletions.extend(uids);
        }
    }

    /// Creations were seen, or will never be.
    pub fn saw_creations(&self, owner: &str, count: usize) {
        self.change(owner, |e| e.creations = e.creations.saturating_sub(count));
    }

    /// A deletion was seen, or will never be.
    pub fn saw_deletion(&self, owner: &str, uid: &str) {
        self.change(owner, |e| {
            e.deletions.remove(uid);
        });
    }

    /// What deletions are expected still.
    pub fn deletions(&self, owner: &str) -> HashSet<String> {
        match self.unmet(owner) {
            Some(_) => self.lock().get(owner).map(|e| e.deletions.clone()).unwrap_or_default(),
            None => HashSet::new(),
        }
    }

    /// Forgets an owner that is gone.
    pub fn forget(&self, owner: &str) {
        self.lock().remove(owner);
    }

    fn expected<'a>(&self, all: &'a mut HashMap<String, Expected>, owner: &str) -> &'a mut Expected {
        let new = || Expected { since: Instant::now(), creations: 0, deletions: HashSet::new() };
        all.entry(owner.to_owned()).or_insert_with(new)
    }

    fn change(&self, owner: &str, change: impl FnOnce(&mut Expected)) {
        let mut all = self.lock();
        let Some(expected) = all.get_mut(owner) else { return };
        change(expected);
        if expected.creations == 0 && expected.deletions.is_empty() {
            all.remove(owner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Expected>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_owner_waits_until_all_it_asked_for_was_seen() {
        let expectations = Expectations::default();
        expectations.expect_creations("o", 2);
        expectations.expect_deletions("o", ["p".to_owned()]);
        expectations.saw_creations("o", 1);
        expectations.saw_creations("other", 1);
        expectations.saw_deletion("o", "p");
        expectations.saw_deletion("o", "stranger");
        assert!(expectations.unmet("o").is_some());
        expectations.saw_creations("o", 1);
        assert_eq!(expectations.unmet("o"), None);
        expectations.expect_deletions("o", []);
        assert_eq!(expectations.unmet("o"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expectation_ends_with_its_time() {
        let expectations = Expectations::default();
        expectations.expect_creations("o", 1);
        tokio::time::advance(EXPECTATION_LASTS - Duration::from_secs(1)).await;
        assert_eq!(expectations.unmet("o"), Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(expectations.unmet("o"), None);
    }
}
