//! Counts of what the nodes have done, and a line about it every few seconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TELL_EVERY: Duration = Duration::from_secs(10);

/// How often each thing happened, over all nodes.
#[derive(Debug, Default)]
pub struct Progress {
    pub registered: Count,
    pub heartbeats: Count,
    /// Heartbeats that were not answered before the next was due.
    pub late: Count,
    pub started: Count,
    pub ended: Count,
    pub stopped: Count,
    /// Requests that failed for another reason than that their object was gone.
    pub errors: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Progress {
    /// Logs the rates of the last seconds, as long as something happens. Never ends.
    pub async fn tell(&self) {
        let (mut before, mut at) = (self.counts(), Instant::now());
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            let now = self.counts();
            let seconds = at.elapsed().as_secs_f64();
            let rate = |index: usize| ((now[index] - before[index]) as f64 / seconds).round();
            tracing::info!(
                nodes = self.registered.get(),
                heartbeats_per_second = rate(0),
                started_per_second = rate(1),
                ended_per_second = rate(2),
                stopped_per_second = rate(3),
                late = now[4] - before[4],
                errors = now[5] - before[5],
                "hollow nodes"
            );
            (before, at) = (now, Instant::now());
        }
    }

    fn counts(&self) -> [u64; 6] {
        [&self.heartbeats, &self.started, &self.ended, &self.stopped, &self.late, &self.errors].map(Count::get)
    }
}
