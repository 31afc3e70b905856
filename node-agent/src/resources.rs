//! Requests and limits as cgroup numbers, and the quality of service that they make. Pure.

use crate::pod::{Container, Spec};
use api::Quantity;
use k8s_cri::v1::LinuxContainerResources;

/// The scheduler's time slice that quotas are counted in, in microseconds.
const CPU_PERIOD_US: i64 = 100_000;
const CPU_QUOTA_US_MIN: i64 = 1_000;
const CPU_SHARES_MIN: i64 = 2;
const CPU_SHARES_MAX: i64 = 262_144;

/// How pods share a node under pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    pub fn as_str(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

/// Guaranteed: every container limits CPU and memory and requests no less. BestEffort: no container asks for either.
pub fn qos_class(spec: &Spec) -> Qos {
    let positive = |q: Option<Quantity>| q.filter(|q| !q.is_zero());
    let both = ["cpu", "memory"];
    let guaranteed = |c: &Container| {
        both.iter().all(|&r| {
            let limit = positive(c.resources.limit(r));
            limit.is_some() && positive(c.resources.request(r)).is_none_or(|request| Some(request) == limit)
        })
    };
    let asks = |c: &Container| {
        both.iter().any(|&r| positive(c.resources.limit(r)).or(positive(c.resources.request(r))).is_some())
    };
    if !spec.all_containers().any(asks) {
        Qos::BestEffort
    } else if spec.all_containers().all(guaranteed) {
        Qos::Guaranteed
    } else {
        Qos::Burstable
    }
}

/// A container's share of the node, whose memory is `node_memory` bytes.
pub fn linux(spec: &Spec, container: &Container, node_memory: i64) -> LinuxContainerResources {
    let resources = &container.resources;
    let (cpu_limit, memory_limit) = (resources.limit("cpu"), resources.limit("memory"));
    let shares = resources.request("cpu").or(cpu_limit).map_or(CPU_SHARES_MIN, |q| q.millis() * 1024 / 1000);
    let quota = cpu_limit.filter(|q| !q.is_zero()).map(|q| (q.millis() * CPU_PERIOD_US / 1000).max(CPU_QUOTA_US_MIN));
    LinuxContainerResources {
        cpu_period: quota.map_or(0, |_| CPU_PERIOD_US),
        cpu_quota: quota.unwrap_or(0),
        cpu_shares: shares.clamp(CPU_SHARES_MIN, CPU_SHARES_MAX),
        memory_limit_in_bytes: memory_limit.map_or(0, Quantity::units),
        oom_score_adj: oom_score_adj(spec, container, node_memory),
        ..Default::default()
    }
}

/// Who dies first when memory runs out: best effort, then burstable by how little they asked for.
fn oom_score_adj(spec: &Spec, container: &Container, node_memory: i64) -> i64 {
    match qos_class(spec) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let request = container.resources.request("memory").or(container.resources.limit("memory"));
            let per_mille = i128::from(request.map_or(0, Quantity::units)) * 1000 / i128::from(node_memory.max(1));
            (1000 - i64::try_from(per_mille).unwrap_or(1000)).clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::Pod;
    use serde_json::json;

    fn spec(resources: serde_json::Value) -> Spec {
        let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "resources": resources}]}});
        serde_json::from_value::<Pod>(pod).expect("a pod").spec
    }

    #[track_caller]
    fn check(resources: serde_json::Value, qos: &str, cpu: [i64; 3], memory: i64, oom: i64) {
        let spec = spec(resources);
        let linux = linux(&spec, &spec.containers[0], 1 << 30);
        assert_eq!(qos_class(&spec).as_str(), qos);
        assert_eq!([linux.cpu_shares, linux.cpu_quota, linux.cpu_period], cpu);
        assert_eq!([linux.memory_limit_in_bytes, linux.oom_score_adj], [memory, oom]);
    }

    #[test]
    fn what_asks_for_nothing_is_best_effort() {
        check(json!({}), "BestEffort", [2, 0, 0], 0, 1000);
    }

    #[test]
    fn limits_alone_are_requests_too() {
        let limits = json!({"limits": {"cpu": "500m", "memory": "64Mi"}});
        check(limits, "Guaranteed", [512, 50_000, 100_000], 64 << 20, -997);
    }

    #[test]
    fn a_burstable_container_is_killed_the_later_the_more_it_requested() {
        check(json!({"requests": {"memory": "256Mi"}}), "Burstable", [2, 0, 0], 0, 750);
        check(json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1m"}}), "Burstable", [1024, 1000, 100_000], 0, 999);
        check(json!({"requests": {"memory": "100Gi"}}), "Burstable", [2, 0, 0], 0, 3);
    }
}
