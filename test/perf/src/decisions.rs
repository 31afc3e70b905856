//! Decisions of the scheduler without a server and a store: how many a second, on few and on many nodes, and what its
//! picture of nodes and pods weighs. In this process, on one thread.

use crate::connection::{Error, text};
use crate::figures::Figures;
use crate::measure::memory_of;
use api::TenantName;
use scheduler::PodKey;
use scheduler::placement::{Decision, Node, Placement, Pod, Rng};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The goals of the specification: nodes, and decisions per second when pods ask for nothing but resources.
const BUDGETS: [(usize, f64); 2] = [(100_000, 7_000.0), (5_000, 100_000.0)];
const BUDGET_NODE: f64 = 1.0;
const BUDGET_POD: f64 = 300.0;

const ZONES: usize = 10;

/// So many pods fit on a node, with room left: none is refused.
const PODS_PER_NODE: usize = 30;

/// Pods of so many sizes come in turn, as those of several Deployments do.
const SIZES: usize = 8;

/// Decisions between two looks at the clock.
const BETWEEN_LOOKS: usize = 64;

/// Decides for `time` on each shape of pods and each number of nodes; `share` is of the nodes.
pub fn run(share: f64, time: Duration) -> Result<Figures, Error> {
    let mut figures = Figures::new("scheduling decisions without a store");
    for (nodes, budget) in BUDGETS {
        let nodes = ((nodes as f64 * share).ceil() as usize).max(ZONES);
        let before = memory();
        let mut placement = cluster(nodes)?;
        let filled = memory();
        figures.add(
            format!("{nodes} nodes: memory per node"),
            (filled - before) / 1024.0 / nodes as f64,
            "KiB",
            BUDGET_NODE,
        );
        for (shape, spec, budget) in [
            ("resources alone", json!({}), Some(budget)),
            ("spread over zones", spread(), None),
            ("near others of their zone", affinity("podAffinity", "topology.kubernetes.io/zone"), None),
            ("one on a node", affinity("podAntiAffinity", "kubernetes.io/hostname"), None),
        ] {
            let begun = memory();
            let (decided, taken) = decide(&mut placement, shape, &spec, time)?;
            let rate = decided as f64 / taken.as_secs_f64();
            figures.add(format!("{nodes} nodes: decisions, {shape}"), rate, "/s", budget);
            if budget.is_some() {
                let each = (memory() - begun) / decided as f64;
                figures.add(format!("{nodes} nodes: memory per pod"), each, "B", BUDGET_POD);
            }
        }
    }
    Ok(figures)
}

/// The bytes that this process has resident.
fn memory() -> f64 {
    memory_of(std::process::id()).unwrap_or(0) as f64
}

fn cluster(nodes: usize) -> Result<Placement, Error> {
    let mut placement = Placement::default();
    for number in 0..nodes {
        let name = format!("node-{number}");
        let labels =
            json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", number % ZONES)});
        let node = json!({"metadata": {"labels": labels},
            "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "pods": "250"}}});
        let node: Node = serde_json::from_value(node).map_err(text)?;
        placement.snapshot.set_node(&name, Arc::new(node));
    }
    Ok(placement)
}

fn spread() -> Value {
    json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "spread over zones"}}}]})
}

/// A must, of the pods of the same shape.
fn affinity(kind: &str, topology: &str) -> Value {
    let app = if kind == "podAffinity" { "near others of their zone" } else { "one on a node" };
    let term = json!({"topologyKey": topology, "labelSelector": {"matchLabels": {"app": app}}});
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

/// Decides on pods of a shape, and places each, until the time is over or the nodes are full. How many, and in what time.
fn decide(placement: &mut Placement, app: &str, spec: &Value, time: Duration) -> Result<(usize, Duration), Error> {
    let tenant = TenantName::new("perf").map_err(text)?;
    let nodes = placement.snapshot.node_count();
    let most = match app {
        "one on a node" => nodes,
        // The first one settles the zone of all.
        "near others of their zone" => nodes / ZONES * PODS_PER_NODE,
        _ => nodes * PODS_PER_NODE,
    };
    let pods = (0..SIZES).map(|size| {
        let mut pod = json!({"metadata": {"labels": {"app": app}}, "spec": spec});
        pod["spec"]["schedulerName"] = json!("default-scheduler");
        let requests = json!({"cpu": format!("{}m", 100 + 10 * size), "memory": "500Mi"});
        pod["spec"]["containers"] = json!([{"name": "c", "image": "i", "resources": {"requests": requests}}]);
        serde_json::from_value(pod).map(Arc::new).map_err(text)
    });
    let pods: Vec<Arc<Pod>> = pods.collect::<Result<_, _>>()?;
    let (mut rng, mut decided, began) = (Rng::new(1), 0, Instant::now());
    while decided < most && (!decided.is_multiple_of(BETWEEN_LOOKS) || began.elapsed() < time) {
        let key = PodKey::new(&tenant, "default", &format!("{app}-{decided}"));
        // Of each, the API tells on its own.
        let pod = Arc::new(Pod::clone(&pods[decided % SIZES]));
        match placement.decide(&key, &pod, &mut rng) {
            Decision::Node(node, _) => placement.snapshot.place(&key, pod, &node),
            Decision::Unschedulable(why) => return Err(format!("no node for a pod ({app}): {}", why.message)),
        }
        decided += 1;
    }
    Ok((decided, began.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_pods_finds_its_nodes() {
        let figures = run(0.0, Duration::from_millis(20)).expect("figures");
        let rates = figures.figures.iter().filter(|figure| figure.unit == "/s");
        assert!(rates.clone().all(|figure| figure.value > 0.0));
        assert_eq!(rates.count(), 8);
    }
}
