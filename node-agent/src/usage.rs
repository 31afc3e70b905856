//! What the node and its containers use, measured between two looks and told to the API, which serves it as metrics.
//!
//! Invariant: a pod is told of only when all of its running containers were measured: a part would pass for the whole.

use crate::agent::Node;
use crate::cri::{CriError, Runtime};
use crate::labels;
use crate::machine::Load;
use api::Timestamp;
use k8s_cri::v1::ContainerStats;
use runtime::Stop;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Measures and reports until it is stopped.
pub struct Usage {
    node: Arc<Node>,
    runtimes: Vec<Runtime>,
}

impl Usage {
    pub fn new(node: Arc<Node>, runtimes: Vec<Runtime>) -> Usage {
        Usage { node, runtimes }
    }

    pub async fn run(self, stop: Stop) {
        tokio::select! {
            biased;
            () = stop.stopped() => {}
            // Cancelled at shutdown: the next report comes from the next agent.
            () = self.report() => {}
        }
    }

    async fn report(&self) {
        let name = &self.node.config.node_name;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before: Option<Look> = None;
        loop {
            looks.tick().await;
            let look = match self.look().await {
                Ok(look) => look,
                Err(error) => {
                    tracing::debug!(%error, "a runtime does not tell what its containers use");
                    continue;
                }
            };
            if let Some(before) = &before {
                let report = report(name, before, &look);
                if let Err(error) = self.node.cluster.report_usage(&report).await {
                    tracing::debug!(%error, "the node's usage was not taken");
                }
            }
            before = Some(look);
        }
    }

    async fn look(&self) -> Result<Look, CriError> {
        let mine = [(labels::NODE, self.node.config.node_name.as_str())];
        let mut containers = HashMap::new();
        for runtime in &self.runtimes {
            let stats = runtime.container_stats(&mine).await?;
            containers.extend(stats.into_iter().filter_map(measured));
        }
        Ok(Look { at: Timestamp::now(), load: Load::read(), containers })
    }
}

/// What was seen at a time.
struct Look {
    at: Timestamp,
    load: Load,
    /// By the ids of containers.
    containers: HashMap<String, Measured>,
}

/// A container, and what it has used.
struct Measured {
    /// Tenant, namespace and name.
    pod: (String, String, String),
    name: String,
    at_nanos: i64,
    cpu_nanos: u64,
    memory_bytes: u64,
}

fn measured(stats: ContainerStats) -> Option<(String, Measured)> {
    let about = stats.attributes?;
    let pod = labels::pod_of(&about.labels)?;
    let (cpu, memory) = (stats.cpu?, stats.memory?);
    let measured = Measured {
        pod: (pod.tenant.to_string(), pod.namespace, pod.name),
        name: about.metadata?.name,
        at_nanos: cpu.timestamp,
        cpu_nanos: cpu.usage_core_nano_seconds?.value,
        memory_bytes: memory.working_set_bytes?.value,
    };
    Some((about.id, measured))
}

/// What was used from one look to the next.
fn report(node: &str, before: &Look, now: &Look) -> Value {
    let window = now.at.since(before.at).max(Duration::from_millis(1));
    let mut pods: BTreeMap<&(String, String, String), Option<Vec<Value>>> = BTreeMap::new();
    for (id, container) in &now.containers {
        let measured = before.containers.get(id).and_then(|earlier| {
            let elapsed = u64::try_from(container.at_nanos - earlier.at_nanos).ok().filter(|&nanos| nanos > 0)?;
            let used = container.cpu_nanos.checked_sub(earlier.cpu_nanos)?;
            Some(json!({"name": container.name, "usage": usage(rate(used, elapsed), container.memory_bytes)}))
        });
        let pod = pods.entry(&container.pod).or_insert_with(|| Some(Vec::new()));
        match (pod.as_mut(), measured) {
            (Some(containers), Some(measured)) => containers.push(measured),
            _ => *pod = None,
        }
    }
    let pods = pods.into_iter().filter_map(|((tenant, namespace, name), containers)| {
        Some(json!({"tenant": tenant, "namespace": namespace, "name": name, "containers": containers?}))
    });
    let elapsed = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    let cpu = rate(now.load.cpu_nanos.saturating_sub(before.load.cpu_nanos), elapsed);
    json!({
        "apiVersion": "metrics.k8s.io/v1beta1",
        "kind": "NodeMetrics",
        "metadata": {"name": node},
        "timestamp": now.at.to_string(),
        "window": format!("{:.3}s", window.as_secs_f64()),
        "usage": usage(cpu, now.load.memory_bytes),
        "pods": pods.collect::<Vec<_>>(),
    })
}

/// Billionths of a core.
fn rate(cpu_nanos: u64, elapsed_nanos: u64) -> u64 {
    let rate = u128::from(cpu_nanos) * 1_000_000_000 / u128::from(elapsed_nanos.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn usage(nano_cores: u64, memory_bytes: u64) -> Value {
    json!({"cpu": format!("{nano_cores}n"), "memory": format!("{}Ki", memory_bytes / 1024)})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look, with containers as (id, pod, seconds of CPU).
    fn look(at_secs: i64, containers: &[(&str, &str, u64)]) -> Look {
        let measured = |&(id, pod, cpu_secs): &(&str, &str, u64)| {
            let measured = Measured {
                pod: ("acme".to_owned(), "default".to_owned(), pod.to_owned()),
                name: "c".to_owned(),
                at_nanos: at_secs * 1_000_000_000,
                cpu_nanos: cpu_secs * 1_000_000_000,
                memory_bytes: 5 << 20,
            };
            (id.to_owned(), measured)
        };
        let load = Load { cpu_nanos: u64::try_from(at_secs).expect("a time") * 500_000_000, memory_bytes: 1 << 30 };
        Look { at: Timestamp::from_unix_secs(at_secs), load, containers: containers.iter().map(measured).collect() }
    }

    #[test]
    fn usage_is_what_was_used_between_two_looks() {
        let report = report("n", &look(100, &[("1", "web", 10)]), &look(110, &[("1", "web", 15)]));
        assert_eq!(report["usage"], json!({"cpu": "500000000n", "memory": "1048576Ki"}));
        assert_eq!(report["window"], "10.000s");
        let container = json!({"name": "c", "usage": {"cpu": "500000000n", "memory": "5120Ki"}});
        let pod = json!({"tenant": "acme", "namespace": "default", "name": "web", "containers": [container]});
        assert_eq!(report["pods"], json!([pod]));
    }

    #[test]
    fn a_pod_of_which_not_all_is_measured_is_left_out() {
        let before = look(100, &[("1", "web", 10), ("3", "reset", 10)]);
        let now = look(110, &[("1", "web", 15), ("2", "web", 1), ("3", "reset", 1), ("4", "new", 1)]);
        assert_eq!(report("n", &before, &now)["pods"], json!([]));
    }
}
