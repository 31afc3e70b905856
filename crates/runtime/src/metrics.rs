//! Metrics of the process, in the text format of Prometheus: one registry, and the process's own CPU and memory.
//!
//! A metric is a `static` of the code that counts: `static X: LazyLock<IntCounter> = LazyLock::new(|| counter(…))`. It
//! shows up once it has been touched.

use prometheus::core::Collector;
use prometheus::{Encoder, Opts, Registry, TextEncoder};
use std::sync::LazyLock;

pub use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// How long requests and similar work take, in seconds: from a tenth of a millisecond to a minute.
pub const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

/// A count that only grows.
pub fn counter(name: &str, help: &str) -> IntCounter {
    registered(IntCounter::new(name, help))
}

/// A count per combination of labels.
pub fn counter_vec(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(IntCounterVec::new(Opts::new(name, help), labels))
}

/// A number that goes up and down.
pub fn gauge(name: &str, help: &str) -> IntGauge {
    registered(IntGauge::new(name, help))
}

/// A number per combination of labels.
pub fn gauge_vec(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(IntGaugeVec::new(Opts::new(name, help), labels))
}

/// A distribution over `buckets`, upper bounds in growing order.
pub fn histogram(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    registered(Histogram::with_opts(prometheus::HistogramOpts::new(name, help).buckets(buckets.to_vec())))
}

/// A distribution per combination of labels.
pub fn histogram_vec(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    registered(HistogramVec::new(prometheus::HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
}

/// All metrics as text.
pub fn render() -> String {
    let mut text = Vec::new();
    TextEncoder::new().encode(&REGISTRY.gather(), &mut text).expect("a vector takes every write");
    let mut text = String::from_utf8(text).expect("names and labels are UTF-8");
    if let Some(usage) = Usage::read() {
        text.push_str(&usage.render());
    }
    text
}

/// Names are literals, so that a bad or repeated one is a bug that shows at the first touch.
fn registered<C: Collector + Clone + 'static>(metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("a metric's name and labels are well-formed");
    REGISTRY.register(Box::new(metric.clone())).expect("a metric is registered once");
    metric
}

/// What the process has used until now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub open_files: u64,
}

impl Usage {
    /// Reads the kernel's account of this process; `None` where `/proc` is not mounted.
    pub fn read() -> Option<Usage> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        Some(Usage { cpu_seconds: cpu_seconds(&stat)?, resident_bytes: resident_bytes(&status)?, open_files })
    }

    fn render(&self) -> String {
        let Usage { cpu_seconds, resident_bytes, open_files } = self;
        format!(
            "# HELP process_cpu_seconds_total User and system CPU time spent in seconds.\n\
             # TYPE process_cpu_seconds_total counter\n\
             process_cpu_seconds_total {cpu_seconds}\n\
             # HELP process_resident_memory_bytes Resident memory size in bytes.\n\
             # TYPE process_resident_memory_bytes gauge\n\
             process_resident_memory_bytes {resident_bytes}\n\
             # HELP process_open_fds Number of open file descriptors.\n\
             # TYPE process_open_fds gauge\n\
             process_open_fds {open_files}\n"
        )
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, in ticks; Linux shows a hundred of them per second to every program.
fn cpu_seconds(stat: &str) -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_shows_with_its_labels() {
        let requests = counter_vec("test_requests_total", "Requests.", &["verb"]);
        requests.with_label_values(&["GET"]).inc_by(3);
        assert!(render().contains("test_requests_total{verb=\"GET\"} 3\n"), "{}", render());
    }

    #[test]
    fn a_process_knows_what_it_uses() {
        let usage = Usage::read().expect("/proc is mounted");
        assert!(usage.resident_bytes > 100_000 && usage.open_files >= 3, "{usage:?}");
        assert!(render().contains("\nprocess_cpu_seconds_total "), "{}", render());
    }

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
    }
}
