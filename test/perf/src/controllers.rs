//! How fast controllers make pods, from one ReplicaSet and from many Deployments, what a pod costs, and how the work is
//! shared by several instances. The pods are for no scheduler. On servers of their own.

use crate::connection::Error;
use crate::figures::Figures;
use crate::measure::{Meter, cpu_of, micros};
use crate::tenants::{each, total, until};
use client::{Client, DEPLOYMENTS, PODS, REPLICA_SETS};
use kit::{Component, Options, Scratch, Server};
use serde_json::{Value, json};
use std::time::Duration;

/// The goals of the specification.
const BUDGET_PODS: f64 = 5000.0;
const BUDGET_CPU: f64 = 100.0;
const BUDGET_SHARED: f64 = 3.5;

const DEPLOYMENTS_MADE: usize = 1000;
const INSTANCES: usize = 4;
const SHARED: [&str; 2] = ["deployment", "replicaset"];
const SHARING_WITHIN: Duration = Duration::from_secs(60);

/// Makes so many pods in each way.
pub async fn run(pods: usize) -> Result<Figures, Error> {
    let mut figures = Figures::new(format!("{pods} pods of controllers"));
    let server = Server::start(Options::without_node()).await;
    let client = server.client();
    let set = workload("ReplicaSet", "single", pods);
    let meter = Meter::start(Some(server.pid()));
    client.create(REPLICA_SETS, "default", &set).await.map_err(|e| e.to_string())?;
    until(&client, PODS, |found| found >= pods).await?;
    add(&mut figures, "one ReplicaSet", pods, meter);
    let deployments = DEPLOYMENTS_MADE.min(pods);
    let replicas = pods / deployments;
    let meter = Meter::start(Some(server.pid()));
    let made = deploy(&client, deployments, replicas).await?;
    add(&mut figures, &format!("{deployments} Deployments"), made, meter);
    let alone = busiest(deployments, replicas, 1).await?;
    let together = busiest(deployments, replicas, INSTANCES).await?;
    figures.add("one instance alone: CPU per pod", micros(alone) / made as f64, "µs", None);
    figures.add(
        format!("the busiest of {INSTANCES} instances: CPU per pod"),
        micros(together) / made as f64,
        "µs",
        None,
    );
    let times = alone.as_secs_f64() / together.as_secs_f64().max(1e-3);
    // With a core for each, the busiest is who is awaited.
    figures.add(format!("{INSTANCES} instances, times one, by CPU"), times, "times", BUDGET_SHARED);
    Ok(figures)
}

fn add(figures: &mut Figures, what: &str, pods: usize, meter: Meter) {
    let spent = meter.stop();
    figures.add(format!("{what}: pods created"), pods as f64 / spent.wall.as_secs_f64(), "/s", BUDGET_PODS);
    if let Some(cpu) = spent.cpu {
        figures.add(format!("{what}: server CPU per pod"), micros(cpu) / pods as f64, "µs", BUDGET_CPU);
    }
}

/// A workload of so many pods, each for a scheduler that there is not.
fn workload(kind: &str, name: &str, replicas: usize) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "web", "image": "example.com/web"}]}}}})
}

/// Makes Deployments and waits for their pods. Returns how many pods that are.
async fn deploy(client: &Client, deployments: usize, replicas: usize) -> Result<usize, Error> {
    let before = total(client, PODS).await?;
    each(deployments, |i| {
        let client = client.clone();
        async move {
            let deployment = workload("Deployment", &format!("web-{i}"), replicas);
            client.post(DEPLOYMENTS, "default", None, &deployment).await
        }
    })
    .await?;
    let pods = deployments * replicas;
    until(client, PODS, |found| found >= before + pods).await?;
    Ok(pods)
}

/// The CPU of the instance that used most of it, of so many beside a server that leaves the work to them.
async fn busiest(deployments: usize, replicas: usize, instances: usize) -> Result<Duration, Error> {
    let scratch = Scratch::new();
    let config = scratch.join("controllers.json");
    let types: Vec<Value> = SHARED.iter().map(|name| json!({"type": name, "workers": 4})).collect();
    std::fs::write(&config, json!({"reportHealthIntervalInSecond": 10, "controllers": types}).to_string())
        .map_err(|e| e.to_string())?;
    let without = SHARED.map(|name| format!(",-{name}")).concat();
    let server = Server::start(Options::without_node().arg(format!("--controllers=*{without}"))).await;
    let client = server.client();
    let config = config.display().to_string();
    let start = || Component::start(&server, "workload-controller-manager", &["--controllerconfig", &config]);
    let components: Vec<Component> = (0..instances).map(|_| start()).collect();
    let what = format!("{instances} instances to share the work");
    kit::wait_for(&what, SHARING_WITHIN, async || {
        let list: Value = client.get_path("/api/v1/controllerinstances").await.map_err(|e| e.to_string())?;
        if sharing(&list) == instances { Ok(()) } else { Err(list.to_string()) }
    })
    .await;
    let used = || -> Vec<Duration> { components.iter().filter_map(|each| cpu_of(each.pid())).collect() };
    let before = used();
    deploy(&client, deployments, replicas).await?;
    let spent = used().into_iter().zip(before).map(|(now, then)| now.saturating_sub(then));
    spent.max().ok_or_else(|| "no instance ran to the end".to_owned())
}

/// How many instances have slots of the controllers that are shared.
fn sharing(list: &Value) -> usize {
    let items = list["items"].as_array().into_iter().flatten();
    let rows = items.filter_map(|item| item["slots"].as_array()).flatten();
    let shared = rows.filter(|row| row["controller"].as_str().is_some_and(|of| of.contains("deployment-controller")));
    shared.filter_map(|row| row["instance"].as_str()).collect::<std::collections::BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_that_have_slots_of_the_shared_controllers_are_counted() {
        let row = |controller: &str, instance: &str| json!({"controller": controller, "instance": instance});
        let slots = [row("deployment-controller", "a"), row("deployment-controller", "b"), row("job-controller", "c")];
        assert_eq!(sharing(&json!({"items": [{"metadata": {"name": "a"}}, {"slots": slots}]})), 2);
    }
}
