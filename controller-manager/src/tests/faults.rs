//! Controllers whose view of the API is stale, has gaps and repeats itself, and that are started anew between their writes; and
//! storms of deletions. What is left in the end is what is left without any fault.

use super::fake::Fake;
use super::{deployment, namespace, pass, start};
use serde_json::{Value, json};
use std::time::Duration;

fn is_full() -> bool {
    std::env::var("URSA_TEST_FULL").is_ok_and(|full| full == "1")
}

fn stateful_set() -> Value {
    json!({
        "metadata": {"tenant": "acme", "namespace": "ns", "name": "db", "uid": "acme-db", "generation": 1},
        "spec": {
            "replicas": 3,
            "serviceName": "db",
            "podManagementPolicy": "OrderedReady",
            "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app": "db"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {}},
        },
    })
}

/// Changes the workloads as a user does.
fn change(fake: &Fake, change: impl Fn(&mut Value)) {
    for plural in ["deployments", "statefulsets"] {
        for mut object in fake.list("apps", plural, "acme") {
            change(&mut object["spec"]);
            let generation = object["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
            object["metadata"]["generation"] = json!(generation);
            fake.put("apps", plural, object);
        }
    }
}

/// Lets time pass, in which nodes start what is there.
async fn run_pods(fake: &Fake, time: Duration) {
    let turn = Duration::from_millis(100);
    for _ in 0..time.as_millis() / turn.as_millis() {
        for mut pod in fake.list("", "pods", "acme").into_iter().filter(|pod| pod["status"]["phase"] != "Running") {
            let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            pod["status"] = json!({"phase": "Running", "conditions": [ready]});
            fake.put("", "pods", pod);
        }
        pass(turn).await;
    }
}

/// What there is in the end: names where they are not made up, and numbers.
fn what_is_left(fake: &Fake) -> Vec<String> {
    let mut left = Vec::new();
    for plural in ["deployments", "replicasets", "statefulsets"] {
        for object in fake.list("apps", plural, "acme") {
            let status = &object["status"];
            let counts = ["replicas", "readyReplicas", "updatedReplicas", "observedGeneration"].map(|f| &status[f]);
            left.push(format!("{plural} {} {} {counts:?}", object["metadata"]["name"], object["spec"]["replicas"]));
        }
    }
    for pod in fake.list("", "pods", "acme") {
        let (owner, mut name) = (&pod["metadata"]["ownerReferences"][0], &Value::Null);
        if owner["kind"] == "StatefulSet" {
            name = &pod["metadata"]["name"];
        }
        left.push(format!("pod of {} {name} {}", owner["name"], pod["metadata"]["labels"]));
    }
    left.sort();
    left
}

/// What is left of workloads that are made, scaled and rolled out, with the disturbances of a seed.
async fn outcome(disturbed: Option<u64>) -> Vec<String> {
    let fake = Fake::default();
    fake.put("", "namespaces", namespace("acme", "ns"));
    fake.put("apps", "deployments", deployment("acme", 3));
    fake.put("apps", "statefulsets", stateful_set());
    if let Some(seed) = disturbed {
        fake.disturb(seed);
    }
    let steps: [fn(&mut Value); 4] = [
        |spec| spec["replicas"] = json!(4),
        |spec| spec["template"]["spec"]["hostname"] = json!("new"),
        |spec| spec["replicas"] = json!(2),
        |spec| spec["template"]["spec"]["hostname"] = json!("newer"),
    ];
    for (step, changes) in steps.into_iter().enumerate() {
        let (stop, tasks) = start(&fake);
        // Long enough for some of the work, and another part of it with each seed.
        let millis = 300 + disturbed.map_or(0, |seed| (seed * 700 + step as u64 * 1300) % 2500);
        run_pods(&fake, Duration::from_millis(millis)).await;
        change(&fake, changes);
        run_pods(&fake, Duration::from_millis(millis)).await;
        stop.stop();
        tasks.ended().await;
    }
    fake.calm();
    let (stop, tasks) = start(&fake);
    run_pods(&fake, Duration::from_secs(60)).await;
    stop.stop();
    tasks.ended().await;
    what_is_left(&fake)
}

#[tokio::test(start_paused = true)]
async fn t41_views_with_faults_and_restarts_leave_what_a_run_without_them_leaves() {
    let expected = outcome(None).await;
    assert!(expected.iter().filter(|line| line.starts_with("pod of")).count() == 4, "{expected:#?}");
    for seed in 1..=if is_full() { 200 } else { 6 } {
        assert_eq!(outcome(Some(seed)).await, expected, "seed {seed}");
    }
}

const POLICIES: [(&str, Option<&str>); 4] =
    [("background", None), ("foreground", Some("foregroundDeletion")), ("orphan", Some("orphan")), ("kept", None)];

fn owner(policy: &str, number: usize) -> Value {
    let name = format!("{policy}-{number}");
    json!({"metadata": {"tenant": "acme", "namespace": "ns", "name": name, "uid": format!("uid-{name}")}})
}

/// Owners, each with dependents, to be deleted by each policy, and some that are not.
fn owners_and_dependents(fake: &Fake, owners: usize, dependents: usize) {
    for (policy, number) in POLICIES.iter().flat_map(|(policy, _)| (0..owners).map(move |number| (policy, number))) {
        let owner = owner(policy, number);
        let (name, uid) = (&owner["metadata"]["name"], &owner["metadata"]["uid"]);
        let reference =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": true});
        for dependent in 0..dependents {
            let name = format!("{policy}-{number}-{dependent}");
            fake.put(
                "apps",
                "widgets",
                json!({"metadata": {"tenant": "acme", "namespace": "ns", "name": name,
                "uid": format!("uid-of-{name}"), "ownerReferences": [reference]}}),
            );
        }
        fake.put("", "configmaps", owner);
    }
}

/// Deletes the owners of a policy as the server does: at once, or by a mark and a finalizer.
fn delete(fake: &Fake, policy: &str, finalizer: Option<&str>, owners: usize) {
    for number in 0..owners {
        let mut owner = owner(policy, number);
        let Some(finalizer) = finalizer else {
            fake.remove("", "configmaps", "acme", "ns", &format!("{policy}-{number}"));
            continue;
        };
        owner["metadata"]["finalizers"] = json!([finalizer]);
        owner["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        fake.put("", "configmaps", owner);
    }
}

/// Of each policy: its owners, its dependents, and how many of these name an owner.
fn counts(fake: &Fake) -> [(usize, usize, usize); 4] {
    let of = |plural: &str, group: &str, policy: &str| {
        let objects = fake.list(group, plural, "acme").into_iter();
        let named = |o: &Value| o["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(policy));
        objects.filter(named).collect::<Vec<_>>()
    };
    POLICIES.map(|(policy, _)| {
        let dependents = of("widgets", "apps", policy);
        let owned = dependents.iter().filter(|o| o["metadata"]["ownerReferences"][0].is_object()).count();
        (of("configmaps", "", policy).len(), dependents.len(), owned)
    })
}

#[tokio::test]
async fn t42_a_storm_of_deletions_takes_what_it_may_and_leaves_nothing_over() {
    let (owners, dependents) = if is_full() { (100, 10) } else { (8, 5) };
    let all = owners * dependents;
    let fake = Fake::new();
    owners_and_dependents(&fake, owners, dependents);
    let (stop, tasks) = start(&fake);
    pass(Duration::from_secs(2)).await;
    for (policy, finalizer) in POLICIES.into_iter().take(3) {
        delete(&fake, policy, finalizer, owners);
        pass(Duration::from_millis(3)).await;
    }
    // In the middle of it the controllers are started anew.
    stop.stop();
    tasks.ended().await;
    let (stop, tasks) = start(&fake);
    let expected = [(0, 0, 0), (0, 0, 0), (0, all, 0), (owners, all, all)];
    fake.until("nothing is left over", |fake| counts(fake) == expected).await;
    pass(Duration::from_secs(60)).await;
    assert_eq!(counts(&fake), expected, "nothing more goes");
    stop.stop();
    tasks.ended().await;
}

#[tokio::test]
async fn t42_of_a_group_that_cannot_be_discovered_nothing_is_deleted() {
    let fake = Fake::new();
    fake.hide_group("apps");
    owners_and_dependents(&fake, 2, 2);
    let (stop, tasks) = start(&fake);
    pass(Duration::from_secs(5)).await;
    delete(&fake, "background", None, 2);
    pass(Duration::from_secs(90)).await;
    assert_eq!(counts(&fake)[0], (0, 4, 4));
    assert_eq!(fake.writes("widgets"), Vec::<String>::new());
    fake.relent();
    fake.until("they go once the group is known", |fake| counts(fake)[0] == (0, 0, 0)).await;
    assert_eq!(counts(&fake)[3], (2, 4, 4));
    stop.stop();
    tasks.ended().await;
}
