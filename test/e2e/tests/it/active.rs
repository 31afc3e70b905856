//! Several instances of the controllers: they share the work, and faults of theirs leave no trace in what they keep.

use kit::{Component, HollowNodes, Kubectl, Options, Scratch, Server, leave_alone, run, wait_for};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const CONTROLLERS: [&str; 4] = ["deployment", "replicaset", "statefulset", "job"];

const TABLE: &str = "/api/v1/controllerinstances/controllers";

/// Whether tests may take as long as their subject deserves.
fn full() -> bool {
    std::env::var("URSA_TEST_FULL").is_ok_and(|full| full == "1")
}

/// A server without the controllers of workloads, and the configuration of those.
async fn server(scratch: &Scratch) -> (Server, String) {
    let without: Vec<String> = CONTROLLERS.iter().map(|name| format!("-{name}")).collect();
    let options = Options::without_node().arg(format!("--controllers=*,{}", without.join(",")));
    let types: Vec<Value> = CONTROLLERS.iter().map(|name| json!({"type": name, "workers": 4})).collect();
    let config = scratch.join("controllerconfig.json");
    std::fs::write(&config, json!({"reportHealthIntervalInSecond": 10, "controllers": types}).to_string())
        .expect("a fresh directory");
    (Server::start(options).await, config.display().to_string())
}

fn instance(server: &Server, config: &str) -> Component {
    Component::start(server, "workload-controller-manager", &["--controllerconfig", config])
}

/// Waits until so many living instances have all slots of all controllers of workloads, and tells how long it took.
async fn shared_by(admin: &Kubectl, count: usize) -> Duration {
    let start = Instant::now();
    wait_for(&format!("{count} instances to share the work"), Duration::from_secs(60), async || {
        let answer = admin.run(&["get", "--raw", "/api/v1/controllerinstances"], "").await;
        let list: Value = serde_json::from_str(&answer.stdout).map_err(|e| format!("{e}: {answer}"))?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let is_ours = |item: &&Value| item["controllerType"] == "workload-controller-manager";
        let living: BTreeSet<&str> =
            items.iter().filter(is_ours).filter_map(|item| item["metadata"]["name"].as_str()).collect();
        let table = items.iter().find(|item| item["metadata"]["name"] == "controllers");
        let rows = table.and_then(|table| table["slots"].as_array()).cloned().unwrap_or_default();
        let is_work =
            |row: &&Value| row["controller"].as_str().is_some_and(|names| names.contains("deployment-controller"));
        let owners: BTreeSet<&str> = rows.iter().filter(is_work).filter_map(|row| row["instance"].as_str()).collect();
        if living.len() == count && owners == living { Ok(()) } else { Err(format!("{list:#}")) }
    })
    .await;
    start.elapsed()
}

#[tokio::test]
async fn instances_hand_over_when_they_come_stop_and_die() {
    let scratch = Scratch::new();
    let (server, config) = server(&scratch).await;
    let admin = server.admin();
    let mut first = instance(&server, &config);
    shared_by(&admin, 1).await;
    let mut second = instance(&server, &config);
    let joined = shared_by(&admin, 2).await;
    let tenant = server.tenant("handed-over").await;
    tenant.kubectl.ok(&["create", "deployment", "a", "--image=x", "--replicas=2"]).await;
    let pods = async |count: usize| {
        wait_for(&format!("{count} pods"), Duration::from_secs(30), async || {
            let list = tenant.kubectl.json(&["get", "pods"]).await;
            let found = list["items"].as_array().map_or(0, Vec::len);
            if found == count { Ok(()) } else { Err(found) }
        })
        .await;
    };
    pods(2).await;
    assert!(second.terminate().await.success(), "{}", second.log());
    let left = shared_by(&admin, 1).await;
    let third = instance(&server, &config);
    shared_by(&admin, 2).await;
    first.kill9();
    let taken_over = shared_by(&admin, 1).await;
    tenant.kubectl.ok(&["scale", "deployment", "a", "--replicas=4"]).await;
    pods(4).await;
    println!("joined after {joined:?}, taken over after a clean stop in {left:?}, after a crash in {taken_over:?}");
    drop(third);
}

/// Every change of some kinds in a tenant, by revision, until `over`.
async fn history(admin: &Kubectl, tenant: &str, path: &str, over: &Notify) -> Vec<(u64, Value)> {
    let (root, plural) = path.rsplit_once('/').expect("a path");
    let mut lines =
        admin.lines(&["get", "--raw", &format!("{root}/tenants/{tenant}/{plural}?watch=1&timeoutSeconds=7200")]);
    let mut seen = Vec::new();
    loop {
        let line = tokio::select! {
            biased;
            // What comes after that is of no interest.
            () = over.notified() => return seen,
            line = lines.next() => line.expect("the watch goes on"),
        };
        let event: Value = serde_json::from_str(&line).expect("an event");
        let version = event["object"]["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok());
        seen.push((version.expect("a version"), event));
    }
}

/// What must hold at every revision.
#[derive(Default)]
struct Checker {
    /// By the name of its object: each replica set's deployment and replicas, and the most that were wanted.
    sets: BTreeMap<String, (String, u64, u64)>,
    /// Pods that neither end nor have ended, by their owner's name: their index.
    pods: BTreeMap<String, BTreeMap<String, String>>,
    faults: Vec<String>,
}

impl Checker {
    fn see(&mut self, revision: u64, event: &Value, surge: u64) {
        let object = &event["object"];
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let owner = object["metadata"]["ownerReferences"][0]["name"].as_str().unwrap_or_default().to_owned();
        let gone = event["type"] == "DELETED";
        if object["kind"] == "ReplicaSet" {
            let replicas = object["spec"]["replicas"].as_u64().unwrap_or(0);
            let most = self.sets.get(&name).map_or(0, |known| known.2).max(replicas);
            self.sets.insert(name, (owner.clone(), if gone { 0 } else { replicas }, most));
            let sum: u64 = self.sets.values().filter(|set| set.0 == owner).map(|set| set.1).sum();
            let desired = object["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"].as_str();
            let desired: u64 = desired.and_then(|d| d.parse().ok()).unwrap_or(0);
            if sum > desired + surge {
                self.faults.push(format!("at {revision} the sets of {owner} want {sum} pods of {desired}"));
            }
            return;
        }
        let ends = gone
            || !object["metadata"]["deletionTimestamp"].is_null()
            || matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let index = object["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str();
        let index = index.unwrap_or_default().to_owned();
        let siblings = self.pods.entry(owner.clone()).or_default();
        if ends {
            siblings.remove(&name);
            return;
        }
        if !index.is_empty() && siblings.iter().any(|(other, i)| *other != name && *i == index) {
            self.faults.push(format!("at {revision} the job {owner} has two pods of index {index}"));
        }
        siblings.insert(name, index);
        if let Some((_, _, most)) = self.sets.get(&owner)
            && siblings.len() as u64 > *most
        {
            self.faults.push(format!("at {revision} the set {owner} has {} pods of {most}", siblings.len()));
        }
    }
}

fn stateful_set(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
        "spec": {
            "replicas": 3, "serviceName": name, "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "x"}]}},
        },
    })
}

fn job(name: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {
            "completions": 4, "parallelism": 2, "completionMode": "Indexed",
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}},
        },
    })
}

#[tokio::test]
async fn faults_of_instances_under_churn_leave_no_trace() {
    let (deployments, rounds) = if full() { (500, 360) } else { (6, 3) };
    let scratch = Scratch::new();
    let (server, config) = server(&scratch).await;
    let admin = server.admin();
    let _nodes = HollowNodes::start(&server, &["--count", "6", "--pods", "1000"]);
    let mut instances: Vec<Component> = (0..3).map(|_| instance(&server, &config)).collect();
    shared_by(&admin, 3).await;
    let tenant = server.tenant("churned").await;
    let kubectl = &tenant.kubectl;
    let over = Notify::new();
    let churn = async {
        for i in 0..deployments {
            kubectl.ok(&["create", "deployment", &format!("d{i}"), "--image=x", "--replicas=3"]).await;
        }
        let sets: Vec<Value> = (0..deployments / 3).map(|i| stateful_set(&format!("s{i}"))).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": sets});
        kubectl.run(&["apply", "-f", "-"], &list.to_string()).await.ok();
        let mut stopped: Option<u32> = None;
        for round in 0..rounds {
            let jobs: Vec<Value> = (0..deployments / 3).map(|i| job(&format!("j{round}-{i}"))).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "items": jobs});
            kubectl.run(&["create", "-f", "-"], &list.to_string()).await.ok();
            // One is paused, and wakes up when others have long taken its work; then one is killed, and another comes.
            match stopped.take() {
                None => {
                    let pid = instances[round % 3].pid();
                    run("kill", &["-STOP", &pid.to_string()], &[], "").await.ok();
                    stopped = Some(pid);
                }
                Some(pid) => {
                    run("kill", &["-CONT", &pid.to_string()], &[], "").await.ok();
                    let victim = (round + 1) % 3;
                    instances[victim].kill9();
                    instances[victim] = instance(&server, &config);
                }
            }
            for again in 0..5 {
                let value = format!("ROUND={round}-{again}");
                kubectl.ok(&["set", "env", "deployment", "--all", &value]).await;
                kubectl.ok(&["set", "env", "statefulset", "--all", &value]).await;
                leave_alone(Duration::from_millis(700)).await;
            }
        }
        if let Some(pid) = stopped {
            run("kill", &["-CONT", &pid.to_string()], &[], "").await.ok();
        }
        let calm = Instant::now();
        wait_for("everything to be as wanted", Duration::from_secs(120), async || {
            let list = kubectl.json(&["get", "deployments,statefulsets,jobs"]).await;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let waiting: Vec<String> =
                items.iter().filter(|item| !is_done(item)).map(|i| i["metadata"]["name"].to_string()).collect();
            if waiting.is_empty() { Ok(()) } else { Err(waiting.join(", ")) }
        })
        .await;
        let converged = calm.elapsed();
        over.notify_waiters();
        converged
    };
    let (converged, pods, sets) = tokio::join!(
        churn,
        history(&admin, "churned", "/api/v1/pods", &over),
        history(&admin, "churned", "/apis/apps/v1/replicasets", &over),
    );
    let mut all: Vec<(u64, Value)> = pods.into_iter().chain(sets).collect();
    all.sort_by_key(|(revision, _)| *revision);
    let mut checker = Checker::default();
    all.iter().for_each(|(revision, event)| checker.see(*revision, event, 1));
    println!("{} changes were checked; converged {converged:?} after calm", all.len());
    assert_eq!(checker.faults, Vec::<String>::new());
    let list = kubectl.json(&["get", "deployments,replicasets,statefulsets,jobs,pods"]).await;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let uids: BTreeSet<&str> = items.iter().filter_map(|item| item["metadata"]["uid"].as_str()).collect();
    for item in items.iter().filter(|item| matches!(item["kind"].as_str(), Some("ReplicaSet" | "Pod"))) {
        let owner = item["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap_or_default();
        assert!(uids.contains(owner), "an orphan: {item:#}");
    }
    let table = admin.ok(&["get", "--raw", TABLE]).await;
    assert!(table.contains("workload-controller-manager-"), "{table}");
}

/// Whether a deployment, a stateful set or a job is as it was wanted.
fn is_done(item: &Value) -> bool {
    let (spec, status) = (&item["spec"], &item["status"]);
    if item["kind"] == "Job" {
        return status["succeeded"] == spec["completions"] && status["completionTime"].is_string();
    }
    let seen = status["observedGeneration"] == item["metadata"]["generation"];
    let count = |field: &str| status[field].as_u64().unwrap_or(0);
    let wanted = spec["replicas"].as_u64().unwrap_or(1);
    seen && [count("replicas"), count("updatedReplicas"), count("readyReplicas")] == [wanted; 3]
}
