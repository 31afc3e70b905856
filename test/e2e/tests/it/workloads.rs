//! Workloads as a user drives them with kubectl, on nodes without machines: what rolls out, scales, ends, and goes.

use kit::{HollowNodes, Kubectl, Options, Server, wait_for};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until kubectl answers so.
async fn wait_until(kubectl: &Kubectl, args: &[&str], wanted: &str) {
    wait_for(&format!("{wanted:?} of {args:?}"), DEADLINE, async || {
        let answer = kubectl.run(args, "").await;
        if answer.stdout.trim() == wanted { Ok(()) } else { Err(format!("{answer}")) }
    })
    .await;
}

/// The number of objects that a kind and a selector name.
async fn wait_for_number(kubectl: &Kubectl, what: &[&str], wanted: usize) {
    let args = [&["get", "-o", "name"], what].concat();
    wait_for(&format!("{wanted} of {what:?}"), DEADLINE, async || {
        let names = kubectl.ok(&args).await;
        if names.lines().count() == wanted { Ok(()) } else { Err(names) }
    })
    .await;
}

async fn apply(kubectl: &Kubectl, manifest: &str) {
    kubectl.run(&["apply", "-f", "-"], manifest).await.ok();
}

const SET: &str = r#"
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: PersistentVolume, metadata: {name: one}, spec: &volume {capacity: {storage: 1Gi},
    accessModes: [ReadWriteOnce], storageClassName: by-hand, hostPath: {path: /nowhere}}}
- {apiVersion: v1, kind: PersistentVolume, metadata: {name: two}, spec: *volume}
- apiVersion: apps/v1
  kind: StatefulSet
  metadata: {name: db}
  spec:
    replicas: 2
    serviceName: db
    selector: {matchLabels: {app: db}}
    persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Retain}
    template:
      metadata: {labels: {app: db}}
      spec: {containers: [{name: c, image: nginx, volumeMounts: [{name: data, mountPath: /data}]}]}
    volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], storageClassName: by-hand, resources: {requests: {storage: 1Gi}}}
"#;

const DAEMON: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: c, image: nginx}]}
"#;

const JOB: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: short}
spec:
  completions: 2
  parallelism: 2
  ttlSecondsAfterFinished: 1
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}
"#;

#[tokio::test]
async fn workloads_roll_out_scale_end_and_go_as_kubectl_asks() {
    let server = Server::start(Options::without_node()).await;
    let nodes = HollowNodes::start(&server, &["--count", "3"]);
    let admin = server.admin();
    wait_for_number(&admin, &["nodes"], 3).await;
    let tenant = server.tenant("works").await;
    let kubectl = &tenant.kubectl;
    for manifest in [SET, DAEMON, JOB] {
        apply(kubectl, manifest).await;
    }

    // A stateful set in order, whose claims go as it shrinks and stay when it goes; a pod per node; a job that ends.
    kubectl.ok(&["rollout", "status", "statefulset/db", "--timeout=60s"]).await;
    kubectl.ok(&["scale", "statefulset/db", "--replicas=1"]).await;
    wait_until(kubectl, &["get", "pvc", "-o", "name"], "persistentvolumeclaim/data-db-0").await;
    kubectl.ok(&["delete", "statefulset/db"]).await;
    wait_for_number(kubectl, &["pods", "-l", "app=db"], 0).await;
    wait_for_number(kubectl, &["pvc"], 1).await;
    kubectl.ok(&["rollout", "status", "daemonset/agent", "--timeout=60s"]).await;
    wait_until(kubectl, &["get", "daemonset/agent", "-o", "jsonpath={.status.numberReady}"], "3").await;
    wait_for_number(kubectl, &["jobs"], 0).await;

    // A job by hand of what would come once a year.
    kubectl.ok(&["create", "cronjob", "yearly", "--image=busybox", "--schedule=0 0 1 1 *"]).await;
    kubectl.ok(&["create", "job", "now", "--from=cronjob/yearly"]).await;
    kubectl.ok(&["wait", "--for=condition=complete", "job/now", "--timeout=60s"]).await;
    kubectl.ok(&["delete", "cronjob/yearly"]).await;
    wait_for_number(kubectl, &["jobs"], 0).await;

    // Rollouts: forth, back, and again; scaled by an autoscaler's bounds; found by a service.
    kubectl.ok(&["create", "deployment", "web", "--image=nginx:1", "--replicas=2"]).await;
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]).await;
    kubectl.ok(&["set", "image", "deployment/web", "nginx=nginx:2"]).await;
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]).await;
    kubectl.ok(&["rollout", "undo", "deployment/web"]).await;
    let image = ["get", "deployment/web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"];
    assert_eq!(kubectl.ok(&image).await, "nginx:1");
    kubectl.ok(&["rollout", "restart", "deployment/web"]).await;
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]).await;
    wait_for_number(kubectl, &["replicasets", "-l", "app=web"], 3).await;
    kubectl.ok(&["autoscale", "deployment/web", "--min=4", "--max=6"]).await;
    wait_until(kubectl, &["get", "deployment/web", "-o", "jsonpath={.status.readyReplicas}"], "4").await;
    kubectl.ok(&["delete", "hpa/web"]).await;
    kubectl.ok(&["expose", "deployment/web", "--port=80"]).await;
    let ready = "jsonpath={.items[0].endpoints[*].conditions.ready}";
    let slices = ["get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", ready];
    wait_until(kubectl, &slices, "true true true true").await;

    // Deleted with its replica sets spared, and those with their pods, which are waited for.
    kubectl.ok(&["delete", "deployment/web", "--cascade=orphan"]).await;
    wait_for_number(kubectl, &["pods", "-l", "app=web"], 4).await;
    kubectl.ok(&["delete", "replicasets", "-l", "app=web", "--cascade=foreground"]).await;
    wait_for_number(kubectl, &["pods", "-l", "app=web"], 0).await;
    drop(nodes);
}

#[tokio::test]
async fn a_node_is_drained_as_fast_as_a_budget_allows() {
    let server = Server::start(Options::without_node()).await;
    let _nodes = HollowNodes::start(&server, &["--count", "2"]);
    let admin = server.admin();
    wait_for_number(&admin, &["nodes"], 2).await;
    admin.ok(&["create", "deployment", "web", "--image=nginx", "--replicas=4"]).await;
    admin.ok(&["create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=3"]).await;
    admin.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]).await;
    wait_until(&admin, &["get", "pdb/web", "-o", "jsonpath={.status.disruptionsAllowed}"], "1").await;
    let first = admin.ok(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]).await;
    let drained = admin.ok(&["drain", &first, "--timeout=60s", "--grace-period=1"]).await;
    assert!(drained.contains("drained"), "{drained}");
    wait_until(&admin, &["get", "deployment/web", "-o", "jsonpath={.status.readyReplicas}"], "4").await;
    wait_for_number(&admin, &["pods", "-l", "app=web", "--field-selector", &format!("spec.nodeName={first}")], 0).await;
    admin.ok(&["uncordon", &first]).await;
}
