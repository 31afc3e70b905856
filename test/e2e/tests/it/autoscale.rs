//! What nodes report of their usage, as `kubectl top` shows it and as autoscalers act by it.

use kit::{HollowNodes, Kubectl, Options, Server, wait_for};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

async fn wait_until(kubectl: &Kubectl, args: &[&str], holds: impl Fn(&str) -> bool) {
    wait_for(&format!("what is wanted of {args:?}"), DEADLINE, async || {
        let answer = kubectl.run(args, "").await;
        if holds(answer.stdout.trim()) { Ok(()) } else { Err(format!("{answer}")) }
    })
    .await;
}

const WORKLOADS: &str = r#"
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web}
  spec:
    replicas: 1
    selector: {matchLabels: {app: web}}
    template:
      metadata: {labels: {app: web}}
      spec:
        containers:
        - {name: main, image: nginx, resources: {requests: {cpu: 100m, memory: 100Mi}}}
        - {name: side, image: envoy, resources: {requests: {cpu: 50m, memory: 20Mi}}}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: db}
  spec:
    replicas: 1
    selector: {matchLabels: {app: db}}
    template:
      metadata: {labels: {app: db}}
      spec:
        containers:
        - {name: main, image: nginx, resources: {requests: {cpu: 100m, memory: 100Mi}}}
        - {name: side, image: envoy, resources: {requests: {cpu: 50m, memory: 20Mi}}}
"#;

const BY_MEMORY_AND_CONTAINER: &str = r#"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: db}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: db}
  maxReplicas: 3
  metrics:
  - {type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 32Mi}}}
  - {type: ContainerResource, containerResource: {name: cpu, container: main,
      target: {type: Utilization, averageUtilization: 80}}}
"#;

#[tokio::test]
async fn what_nodes_report_is_shown_and_scales_what_a_tenant_runs() {
    let server = Server::start(Options::without_node()).await;
    let _nodes = HollowNodes::start(&server, &["--count", "2", "--usage", "80", "--usage-every", "1"]);
    let tenant = server.tenant("scales").await;
    let kubectl = &tenant.kubectl;
    kubectl.run(&["apply", "-f", "-"], WORKLOADS).await.ok();
    let all_used = |top: &str| top.lines().count() == 2 && top.lines().all(|line| line.contains("120m"));
    wait_until(kubectl, &["top", "pods", "--no-headers"], all_used).await;
    let containers = kubectl.ok(&["top", "pods", "--containers", "--no-headers"]).await;
    assert_eq!(containers.matches(" 80Mi").count(), 2, "{containers}");
    wait_until(kubectl, &["top", "nodes", "--no-headers"], |top| top.lines().count() == 2).await;

    // 80 of 100 are used where 40 are wanted: twice as many pods.
    kubectl.ok(&["autoscale", "deployment/web", "--cpu-percent=40", "--min=1", "--max=2"]).await;
    // 96Mi are used where 32Mi are wanted: three times as many. The container uses what it may.
    kubectl.run(&["apply", "-f", "-"], BY_MEMORY_AND_CONTAINER).await.ok();
    for (name, replicas) in [("web", "2"), ("db", "3")] {
        let deployment = format!("deployment/{name}");
        wait_until(kubectl, &["get", &deployment, "-o", "jsonpath={.status.readyReplicas}"], |r| r == replicas).await;
    }
    let current = "jsonpath={.status.currentMetrics[0].resource.current.averageValue} \
                   {.status.currentMetrics[1].containerResource.current.averageUtilization}";
    assert_eq!(kubectl.ok(&["get", "hpa/db", "-o", current]).await.trim(), "100663296 80");
    let described = kubectl.ok(&["describe", "hpa/web"]).await;
    assert!(described.contains("SuccessfulRescale") && described.contains("80% (120m) / 40%"), "{described}");
}
