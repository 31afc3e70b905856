//! What a workload came to, beside what it was to come to.

use super::spec::Workload;
use crate::measure::percentile;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// The figures of the measured step.
pub struct Outcome {
    pub workload: Workload,
    /// From the first request to the last binding.
    pub wall: Duration,
    /// Of the server's process.
    pub cpu: Option<Duration>,
    pub pods: usize,
    /// From the request that made a pod to the news of its binding.
    pub latencies: Vec<Duration>,
    /// The server's, at the end.
    pub memory: Option<u64>,
    /// Placements that must not be.
    pub misplaced: Vec<String>,
}

impl Outcome {
    fn per_second(&self) -> f64 {
        self.pods as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    fn p99(&self) -> Duration {
        percentile(&mut self.latencies.clone(), 0.99)
    }

    pub fn passes(&self) -> bool {
        let in_time = |limit: f64| self.p99().as_secs_f64() * 1e3 <= limit;
        self.misplaced.is_empty()
            && self.per_second() >= self.workload.threshold
            && self.workload.p99_millis.is_none_or(in_time)
    }

    fn cpu_micros(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.pods.max(1) as f64)
    }

    pub fn to_json(&self) -> Value {
        json!({
            "name": self.workload.name, "nodes": self.workload.nodes.count, "pods": self.pods,
            "podsPerSecond": self.per_second(), "threshold": self.workload.threshold,
            "p50Millis": percentile(&mut self.latencies.clone(), 0.5).as_secs_f64() * 1e3,
            "p99Millis": self.p99().as_secs_f64() * 1e3, "p99LimitMillis": self.workload.p99_millis,
            "serverCpuMicrosPerPod": self.cpu_micros(), "serverMemoryBytes": self.memory,
            "misplaced": self.misplaced, "passed": self.passes(),
        })
    }

    /// The head of the table that [`Outcome`]s are the lines of.
    pub fn head() -> String {
        format!(
            "{:<38} {:>7} {:>7} {:>9} {:>9} {:>9} {:>12} {:>9}",
            "workload", "nodes", "pods", "per s", "wanted", "p99 ms", "CPU µs each", "MB"
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |figure: Option<f64>| figure.map_or("-".to_owned(), |figure| format!("{figure:.0}"));
        write!(
            f,
            "{:<38} {:>7} {:>7} {:>9.0} {:>9.0} {:>9.1} {:>12} {:>9}  {}",
            self.workload.name,
            self.workload.nodes.count,
            self.pods,
            self.per_second(),
            self.workload.threshold,
            self.p99().as_secs_f64() * 1e3,
            shown(self.cpu_micros()),
            shown(self.memory.map(|bytes| bytes as f64 / 1e6)),
            if self.passes() { "pass" } else { "FAIL" },
        )?;
        for sentence in self.misplaced.iter().take(5) {
            write!(f, "\n    {sentence}")?;
        }
        Ok(())
    }
}
