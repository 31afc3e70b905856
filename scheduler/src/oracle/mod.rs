//! Verdicts that were recorded from kube-scheduler 1.36, against this scheduler's state on a simulated cluster with a
//! simulated clock. The recordings lie beside the checkout; where they are absent, the test says so and passes.

mod cluster;
mod storage;

use cluster::Cluster;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Scenarios that differ, each with the reason. A listed one that passes fails the test.
const EXPECTED_FAILURES: &str = include_str!("expected-failures.txt");

#[test]
fn verdicts_are_those_of_kube_scheduler() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle/scheduling");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("skipped: there are no recordings in {}", folder.display());
        return;
    };
    let expected: BTreeSet<&str> =
        EXPECTED_FAILURES.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_whitespace().next()).collect();
    let mut files: Vec<PathBuf> = files.map(|f| f.expect("a readable folder").path()).collect();
    files.sort();
    let (mut wrong, mut total) = (Vec::new(), 0);
    for file in files {
        let family = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let scenarios: Vec<Value> = serde_json::from_str(&text).expect("a list of scenarios");
        let (mut passed, count) = (0, scenarios.len());
        for scenario in scenarios {
            let name = scenario["name"].as_str().expect("a scenario has a name").to_owned();
            let problems = play(&scenario);
            passed += usize::from(problems.is_empty());
            match (problems.is_empty(), expected.contains(&*name)) {
                (true, false) | (false, true) => {}
                (true, true) => wrong.push(format!("{name}: passes, and is listed as an expected failure")),
                (false, false) => wrong.push(format!("{name}: {}", problems.join("\n    "))),
            }
        }
        println!("{family}: {passed} of {count}");
        total += passed;
    }
    println!("{total} verdicts are the same, {} are known to differ", expected.len());
    assert!(wrong.is_empty(), "{} scenarios:\n{}", wrong.len(), wrong.join("\n"));
}

/// Plays a scenario and returns how it differs.
fn play(scenario: &Value) -> Vec<String> {
    let scenario: Value = serde_json::from_str(&scenario.to_string().replace("{ns}", "ns")).expect("JSON stays JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut cluster = Cluster::new(&scenario["labels"]);
    for object in list(&scenario["objects"]).into_iter().chain(list(&scenario["nodes"])) {
        cluster.create(&object);
    }
    for pod in list(&scenario["running"]) {
        cluster.run(&pod);
    }
    cluster.settle();
    let mut problems = Vec::new();
    for (number, step) in list(&scenario["steps"]).iter().enumerate() {
        cluster.begin(step["terminate"] != false);
        for change in list(&step["change"]) {
            cluster.change(&change);
            if !step["together"].as_bool().unwrap_or(false) {
                cluster.schedule();
            }
        }
        let together = step["together"] == true;
        let mut left = step["expect"].as_object().cloned().unwrap_or_default();
        for pod in list(&step["pods"]) {
            let name = pod["metadata"]["name"].as_str().expect("a pod has a name").to_owned();
            if !together {
                cluster.settle();
            }
            let since = cluster.evictions();
            cluster.create(&pod);
            if !together && let Some(want) = left.remove(&name) {
                cluster.settle();
                problems.extend(differs(&cluster, number, &name, &want, since));
            }
        }
        cluster.settle();
        for (name, want) in left {
            problems.extend(differs(&cluster, number, &name, &want, cluster.evictions_before_step()));
        }
        problems.extend(totals_differ(&cluster, number, &step["totals"]));
        for check in list(&step["checks"]) {
            problems.extend(check_differs(&cluster, number, &check));
        }
    }
    problems
}

fn differs(cluster: &Cluster, step: usize, name: &str, want: &Value, since: usize) -> Vec<String> {
    let got = cluster.verdict(name);
    let mut problems = Vec::new();
    let mut problem = |what: &str, want: &Value, got: &Value| {
        problems.push(format!("step {step}: pod {name}: {what}: want {want}, got {got}"));
    };
    if let Some(nodes) = want["nodes"].as_array() {
        if !nodes.contains(&got["node"]) {
            problem("node", &want["nodes"], &got);
        }
    } else {
        for kind in ["node", "unschedulable", "gated", "error", "untouched", "gone"] {
            if !want[kind].is_null() && want[kind] != got[kind] {
                problem(kind, want, &got);
            }
        }
    }
    let texts = match &want["messages"] {
        Value::Array(texts) => texts.clone(),
        _ if want["message"].is_null() => vec![got["message"].clone()],
        _ => vec![want["message"].clone()],
    };
    if !texts.contains(&got["message"]) {
        problem("message", &texts[0], &got["message"]);
    }
    if !want["nominatedNode"].is_null() && want["nominatedNode"] != got["nominatedNode"] {
        problem("nominated node", &want["nominatedNode"], &got["nominatedNode"]);
    }
    if let Some(evicted) = want["evicted"].as_array() {
        let mut evicted: Vec<String> = evicted.iter().map(|n| n.as_str().unwrap_or_default().to_owned()).collect();
        evicted.sort();
        if evicted != cluster.evicted(since) {
            problem("evicted", &want["evicted"], &cluster.evicted(since).into());
        }
    }
    for (victim, disruption) in want["disruption"].as_object().into_iter().flatten() {
        let got = cluster.disruption(victim);
        if *disruption != got {
            problem("disruption", disruption, &got);
        }
    }
    problems
}

fn totals_differ(cluster: &Cluster, step: usize, totals: &Value) -> Option<String> {
    let pods: Vec<&str> = totals["pods"].as_array()?.iter().filter_map(Value::as_str).collect();
    let mut per_node = serde_json::Map::new();
    let mut unschedulable = 0;
    for pod in &pods {
        let verdict = cluster.verdict(pod);
        match verdict["node"].as_str() {
            Some(node) => {
                let count = per_node.get(node).and_then(Value::as_u64).unwrap_or(0) + 1;
                per_node.insert(node.to_owned(), count.into());
            }
            None => unschedulable += u64::from(verdict["unschedulable"] == true),
        }
    }
    let mut spread: Vec<u64> = per_node.values().filter_map(Value::as_u64).collect();
    spread.sort_unstable();
    let scheduled = spread.iter().sum::<u64>();
    let got = serde_json::json!({
        "scheduled": scheduled, "unschedulable": unschedulable, "perNode": per_node, "spread": spread,
    });
    let same = ["scheduled", "unschedulable", "perNode", "spread"]
        .iter()
        .all(|&part| totals[part].is_null() || totals[part] == got[part]);
    (!same).then(|| format!("step {step}: totals: want {totals}, got {got}"))
}

fn check_differs(cluster: &Cluster, step: usize, check: &Value) -> Option<String> {
    let object = cluster.object(&check["of"]);
    let path = check["path"].as_array().cloned().unwrap_or_default();
    let found = path.iter().fold(object, |value, part| match part.as_u64() {
        Some(position) => value[position as usize].clone(),
        None => value[part.as_str().unwrap_or_default()].clone(),
    });
    (found != check["value"]).then(|| format!("step {step}: check {check}, got {found}"))
}
