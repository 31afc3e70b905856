//! What nodes tell of what they and their pods use: the last report of each, in memory alone.
//!
//! Invariant: a report speaks only of pods that are bound to its node, whatever it says: it is asked through the pod. One that is
//! older than [`FRESH`] counts as none. There are no more reports than nodes.

use api::{Error, Quantity, Result, TenantName, Timestamp};
use dashmap::DashMap;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// How long a report holds: some have to be missed before a node counts as silent.
pub const FRESH: Duration = Duration::from_secs(60);

/// Cores, and bytes of memory that cannot be taken back.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "UsageText")]
pub struct Usage {
    pub cpu: Quantity,
    pub memory: Quantity,
}

#[derive(Deserialize)]
struct UsageText {
    cpu: String,
    memory: String,
}

impl TryFrom<UsageText> for Usage {
    type Error = String;

    fn try_from(text: UsageText) -> std::result::Result<Usage, String> {
        let read = |amount: &str| {
            Quantity::parse(amount).filter(|q| !q.is_negative()).ok_or_else(|| format!("{amount:?} is no amount"))
        };
        Ok(Usage { cpu: read(&text.cpu)?, memory: read(&text.memory)? })
    }
}

impl Usage {
    const NONE: Usage = Usage { cpu: Quantity::ZERO, memory: Quantity::ZERO };

    fn plus(self, other: Usage) -> Usage {
        Usage { cpu: self.cpu.plus(other.cpu), memory: self.memory.plus(other.memory) }
    }

    pub fn to_value(self) -> Value {
        json!({"cpu": self.cpu.to_string(), "memory": self.memory.to_string()})
    }
}

/// What a node told: `NodeMetrics`, and besides what each of its pods uses.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// When it was measured, and over how long a time before.
    pub timestamp: String,
    pub window: String,
    pub usage: Usage,
    #[serde(default)]
    pods: Vec<PodUsage>,
}

/// What the containers of a pod use.
#[derive(Debug, Deserialize)]
pub struct PodUsage {
    tenant: String,
    namespace: String,
    name: String,
    pub containers: Vec<ContainerUsage>,
}

#[derive(Debug, Deserialize)]
pub struct ContainerUsage {
    pub name: String,
    pub usage: Usage,
}

impl PodUsage {
    fn key(&self) -> (&str, &str, &str) {
        (&self.tenant, &self.namespace, &self.name)
    }
}

impl Report {
    /// Reads a report; 400 for what is none.
    pub fn read(body: &[u8]) -> Result<Report> {
        let why = |error: &dyn std::fmt::Display| Error::bad_request(format!("this is no report of a node: {error}"));
        let mut report: Report = serde_json::from_slice(body).map_err(|error| why(&error))?;
        if Timestamp::parse(&report.timestamp).is_none() {
            return Err(why(&"its timestamp is no time"));
        }
        report.pods.sort_by(|a, b| a.key().cmp(&b.key()));
        Ok(report)
    }

    /// What it says of a pod.
    pub fn pod(&self, tenant: &str, namespace: &str, name: &str) -> Option<&PodUsage> {
        let found = self.pods.binary_search_by(|pod| pod.key().cmp(&(tenant, namespace, name)));
        found.ok().map(|place| &self.pods[place])
    }

    /// What the pods of a tenant use of the node.
    pub fn of_tenant(&self, tenant: &TenantName) -> Usage {
        let first = self.pods.partition_point(|pod| pod.tenant.as_str() < tenant.as_str());
        let pods = self.pods[first..].iter().take_while(|pod| pod.tenant == tenant.as_str());
        pods.flat_map(|pod| &pod.containers).fold(Usage::NONE, |sum, container| sum.plus(container.usage))
    }
}

/// The last reports, by node.
#[derive(Default)]
pub struct Reports {
    nodes: DashMap<String, (Timestamp, Arc<Report>)>,
    /// Unix seconds of the last report, and of the last time that old ones were dropped.
    last: AtomicI64,
    swept: AtomicI64,
}

impl Reports {
    /// Whether any node reports: without one there are no metrics to serve.
    pub fn are_told(&self, now: Timestamp) -> bool {
        is_fresh(self.last.load(Ordering::Relaxed), now)
    }

    /// Keeps a report that a node that exists sent.
    pub fn put(&self, node: &str, report: Report, now: Timestamp) {
        self.nodes.insert(node.to_owned(), (now, Arc::new(report)));
        self.last.fetch_max(now.unix_secs(), Ordering::Relaxed);
        let swept = self.swept.load(Ordering::Relaxed);
        let is_due = !is_fresh(swept, now);
        if is_due && self.swept.compare_exchange(swept, now.unix_secs(), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.nodes.retain(|_, (at, _)| is_fresh(at.unix_secs(), now));
        }
    }

    /// What a node told last, if that is of late.
    pub fn get(&self, node: &str, now: Timestamp) -> Option<Arc<Report>> {
        let kept = self.nodes.get(node)?;
        is_fresh(kept.0.unix_secs(), now).then(|| kept.1.clone())
    }
}

fn is_fresh(unix_secs: i64, now: Timestamp) -> bool {
    now.unix_secs().saturating_sub(unix_secs).unsigned_abs() <= FRESH.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(pods: &Value) -> Report {
        let report = json!({
            "timestamp": "2026-01-02T03:04:05Z", "window": "15s", "usage": {"cpu": "1", "memory": "4Gi"}, "pods": pods,
        });
        Report::read(report.to_string().as_bytes()).expect("a report")
    }

    fn pod(tenant: &str, name: &str, cpu: &str) -> Value {
        let usage = json!({"cpu": cpu, "memory": "1Mi"});
        json!({"tenant": tenant, "namespace": "n", "name": name, "containers": [{"name": "c", "usage": usage}]})
    }

    #[test]
    fn a_tenant_is_told_of_its_own_pods_alone() {
        let report = report(&json!([pod("b", "x", "5m"), pod("a", "y", "3m"), pod("a", "x", "250000n")]));
        let sum = |tenant: &str| report.of_tenant(&TenantName::new(tenant).expect("a name")).to_value();
        assert_eq!(sum("a"), json!({"cpu": "3250u", "memory": "2Mi"}));
        assert_eq!(sum("c"), json!({"cpu": "0", "memory": "0"}));
        assert_eq!(report.pod("b", "n", "x").map(|pod| pod.containers[0].usage.cpu.millis()), Some(5));
        assert!(report.pod("b", "n", "y").is_none());
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let usage = json!({"cpu": "1", "memory": "1"});
        for bad in [
            json!({}),
            json!({"timestamp": "today", "window": "1s", "usage": usage}),
            json!({"timestamp": "2026-01-02T03:04:05Z", "window": "1s", "usage": {"cpu": "much", "memory": "1"}}),
            json!({"timestamp": "2026-01-02T03:04:05Z", "window": "1s", "usage": {"cpu": "-1", "memory": "1"}}),
        ] {
            assert_eq!(Report::read(bad.to_string().as_bytes()).expect_err("a refusal").code(), 400, "{bad}");
        }
    }

    #[test]
    fn reports_that_are_old_are_forgotten() {
        let reports = Reports::default();
        let at = Timestamp::from_unix_secs;
        assert!(!reports.are_told(at(1000)));
        reports.put("gone", report(&json!([])), at(1000));
        assert!(reports.are_told(at(1060)) && reports.get("gone", at(1060)).is_some());
        assert!(!reports.are_told(at(1061)) && reports.get("gone", at(1061)).is_none());
        reports.put("here", report(&json!([])), at(1061));
        assert_eq!(reports.nodes.len(), 1);
    }
}
