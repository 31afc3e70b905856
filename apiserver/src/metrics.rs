//! What the API servers of a process count.

use prometheus::{HistogramVec, IntCounterVec, IntGauge};
use std::sync::LazyLock;
use std::time::Duration;

/// Bounds of the answer times, in seconds.
const DURATION_BUCKETS: [f64; 9] = [0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0];

/// The counters of a server.
pub struct Metrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    pub watches: Gauge,
    pub connections: Gauge,
}

impl Metrics {
    /// The counters of this process; registered on first use.
    pub fn of_process() -> &'static Metrics {
        static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);
        &METRICS
    }

    fn register() -> Metrics {
        use runtime::metrics::{counter_vec, gauge, histogram_vec};
        Metrics {
            requests: counter_vec(
                "apiserver_request_total",
                "Answered requests by verb, resource and code.",
                &["verb", "resource", "code"],
            ),
            durations: histogram_vec(
                "apiserver_request_duration_seconds",
                "Time until the answer's head, by verb; watches are left out.",
                &["verb"],
                &DURATION_BUCKETS,
            ),
            watches: Gauge(gauge("apiserver_longrunning_watches", "Open watches.")),
            connections: Gauge(gauge("apiserver_open_connections", "Open connections.")),
        }
    }

    /// Counts one answered request.
    pub fn answered(&self, verb: &str, resource: &str, code: u16, took: Duration) {
        self.requests.with_label_values(&[verb, resource, &code.to_string()]).inc();
        if verb != "watch" {
            self.durations.with_label_values(&[verb]).observe(took.as_secs_f64());
        }
    }
}

/// Counts what is open.
pub struct Gauge(IntGauge);

impl Gauge {
    /// Counts one until the returned value is dropped.
    pub fn open(&self) -> Open {
        self.0.inc();
        Open(self.0.clone())
    }
}

/// One that is open.
pub struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
