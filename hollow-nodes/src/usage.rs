//! What the pods of a hollow node would use: a part of what they request. Pure.

use crate::pod::Pod;
use api::{Quantity, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The usage of a node's running pods, by their uids.
#[derive(Default)]
pub struct Usages(BTreeMap<String, PodUsage>);

struct PodUsage {
    tenant: String,
    namespace: String,
    name: String,
    containers: Vec<(String, Amounts)>,
}

#[derive(Clone, Copy, Default)]
struct Amounts {
    cpu_millis: i64,
    memory_bytes: i64,
}

impl Amounts {
    fn to_value(self) -> Value {
        json!({
            "cpu": Quantity::from_millis(self.cpu_millis).to_string(),
            "memory": Quantity::from_bytes(self.memory_bytes).to_string(),
        })
    }
}

impl Usages {
    /// Takes note of a pod, whose containers use so much of a hundred of what they request.
    pub fn see(&mut self, pod: &Pod, percent: u32) {
        if pod.status.phase != "Running" {
            return self.forget(&pod.metadata.uid);
        }
        let of = |requests: &BTreeMap<String, String>, resource: &str| {
            let requested = requests.get(resource).and_then(|amount| Quantity::parse(amount));
            let millis = requested.map_or(0, Quantity::millis);
            millis.saturating_mul(percent.into()) / 100
        };
        let containers = pod.spec.containers.iter().map(|container| {
            let requests = &container.resources.requests;
            let amounts = Amounts { cpu_millis: of(requests, "cpu"), memory_bytes: of(requests, "memory") / 1000 };
            (container.name.clone(), amounts)
        });
        let usage = PodUsage {
            tenant: pod.metadata.tenant.clone(),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            containers: containers.collect(),
        };
        self.0.insert(pod.metadata.uid.clone(), usage);
    }

    pub fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// The report of a node that has used so much for a time.
    pub fn report(&self, node: &str, window: Duration, now: Timestamp) -> Value {
        let mut sum = Amounts::default();
        for (_, amounts) in self.0.values().flat_map(|pod| &pod.containers) {
            sum.cpu_millis = sum.cpu_millis.saturating_add(amounts.cpu_millis);
            sum.memory_bytes = sum.memory_bytes.saturating_add(amounts.memory_bytes);
        }
        let container = |(name, amounts): &(String, Amounts)| json!({"name": name, "usage": amounts.to_value()});
        let pod = |pod: &PodUsage| {
            json!({"tenant": pod.tenant, "namespace": pod.namespace, "name": pod.name,
                "containers": pod.containers.iter().map(container).collect::<Value>()})
        };
        json!({
            "apiVersion": "metrics.k8s.io/v1beta1",
            "kind": "NodeMetrics",
            "metadata": {"name": node},
            "timestamp": now.to_string(),
            "window": format!("{}s", window.as_secs()),
            "usage": sum.to_value(),
            "pods": self.0.values().map(pod).collect::<Value>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::testing::pod;

    #[test]
    fn a_running_pod_uses_a_part_of_its_requests_until_it_is_gone() {
        let mut usages = Usages::default();
        let mut pod = pod("Running", "Always");
        let requests = [("cpu", "200m"), ("memory", "64Mi")].map(|(name, amount)| (name.to_owned(), amount.to_owned()));
        pod.spec.containers[0].resources.requests = requests.into();
        usages.see(&pod, 150);
        let told = |usages: &Usages| usages.report("n", Duration::from_secs(15), Timestamp::from_unix_secs(0));
        let report = told(&usages);
        let expected = json!({"cpu": "300m", "memory": "96Mi"});
        assert_eq!((&report["usage"], &report["pods"][0]["containers"][0]["usage"]), (&expected, &expected));
        assert_eq!(report["pods"][0]["tenant"], "acme");
        pod.status.phase = "Succeeded".to_owned();
        usages.see(&pod, 150);
        assert_eq!(told(&usages)["pods"], json!([]));
    }
}
