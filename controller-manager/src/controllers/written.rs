//! What was written and no cache has shown yet: so that nobody decides on what is only missing in a cache.

use client::ObjectRef;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// For how long a cache is waited for. What it has not shown by then was overtaken: deleted before the cache saw it.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Writes of dependents, by the key that was looked at when they were made.
#[derive(Default)]
pub struct Written(Mutex<HashMap<ObjectRef, Vec<Write>>>);

struct Write {
    key: ObjectRef,
    version: u64,
    at: Instant,
}

impl Written {
    /// Notes that a write made `key` what it is at `version`.
    pub fn note(&self, of: &ObjectRef, key: ObjectRef, version: &str) {
        let (version, at) = (version.parse().unwrap_or(0), Instant::now());
        self.lock().entry(of.clone()).or_default().push(Write { key, version, at });
    }

    /// Forgets writes to a dependent that is gone.
    pub fn forget(&self, of: &ObjectRef, key: &ObjectRef) {
        self.settle(of, |write| write != key);
    }

    /// How long to wait for a cache at most; `None` once it shows all that was written. `shown` tells at which version
    /// the cache has an object.
    pub fn unseen(&self, of: &ObjectRef, shown: impl Fn(&ObjectRef) -> Option<String>) -> Option<Duration> {
        let mut all = self.lock();
        let writes = all.get_mut(of)?;
        let now = Instant::now();
        let is_shown = |w: &Write| {
            shown(&w.key).and_then(|version| version.parse::<u64>().ok()).is_some_and(|version| version >= w.version)
        };
        writes.retain(|w| !is_shown(w) && now.duration_since(w.at) < WAIT_MAX);
        let oldest = writes.iter().map(|w| w.at).min();
        if oldest.is_none() {
            all.remove(of);
        }
        oldest.map(|at| (at + WAIT_MAX).saturating_duration_since(now))
    }

    fn settle(&self, of: &ObjectRef, keep: impl Fn(&ObjectRef) -> bool) {
        let mut all = self.lock();
        if let Some(writes) = all.get_mut(of) {
            writes.retain(|w| keep(&w.key));
            if writes.is_empty() {
                all.remove(of);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectRef, Vec<Write>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_is_waited_for_until_it_is_shown_or_gone_or_long_ago() {
        let (of, key) = (ObjectRef::cluster("service"), ObjectRef::cluster("slice"));
        let written = Written::default();
        let shown = |version: Option<&str>| written.unseen(&of, |_| version.map(str::to_owned)).is_none();
        assert!(shown(None));
        written.note(&of, key.clone(), "10");
        assert!(!shown(None) && !shown(Some("9")) && shown(Some("10")) && shown(None));
        written.note(&of, key.clone(), "10");
        written.forget(&of, &key);
        assert!(shown(None));
        written.note(&of, key, "10");
        assert!(!shown(None));
        tokio::time::advance(WAIT_MAX).await;
        assert!(shown(None));
    }
}
