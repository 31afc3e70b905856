//! What a workload came to, beside what it was to come to.

use super::spec::Workload;
use crate::figures::Figures;
use crate::measure::{micros, millis, percentile};
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

    fn cpu_micros(&self) -> Option<f64> {
        self.cpu.map(|cpu| micros(cpu) / self.pods.max(1) as f64)
    }

    pub fn figures(&self) -> Figures {
        let mut figures = Figures::new(format!("{} ({} nodes)", self.workload.name, self.workload.nodes.count));
        figures.add("pods bound", self.per_second(), "/s", self.workload.threshold);
        figures.add("binding p50", millis(percentile(&mut self.latencies.clone(), 0.5)), "ms", None);
        figures.add("binding p99", millis(self.p99()), "ms", self.workload.p99_millis);
        if let Some(cpu) = self.cpu_micros() {
            figures.add("server CPU per pod", cpu, "µs", None);
        }
        if let Some(memory) = self.memory {
            figures.add("server memory at the end", memory as f64 / 1e6, "MB", None);
        }
        figures.faults.clone_from(&self.misplaced);
        figures
    }
}
