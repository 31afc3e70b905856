//! What a stateful set does next, by table.

use super::*;
use crate::controllers::revisions::POD_LABEL;
use api::Timestamp;
use plan::plan;
use serde_json::{from_value, json};

const NOW: i64 = 1_800_000_000;

fn set(spec: Value) -> StatefulSet {
    let mut value = json!({
        "metadata": {"tenant": "acme", "namespace": "ns", "name": "web", "uid": "set", "generation": 2},
        "spec": {
            "replicas": 3,
            "serviceName": "svc",
            "selector": {"matchLabels": {"app": "web"}},
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"volumes": [{"name": "tmp"}]}},
        },
    });
    for (field, setting) in spec.as_object().expect("an object") {
        value["spec"][field] = setting.clone();
    }
    from_value(value).expect("a stateful set")
}

/// `2:new:ready`: its ordinal, its revision, and how it is: `ready`, `unready`, `fresh` (ready for a second),
/// `pending`, `failed`, `succeeded`, with a `-` behind if it is being deleted.
fn pod(text: &str) -> Arc<Pod> {
    let mut parts = text.split(':');
    let mut next = || parts.next().expect("three parts");
    let (ordinal, revision, state) = (next(), next(), next());
    let (state, deleting) = state.strip_suffix('-').map_or((state, false), |s| (s, true));
    let phase = match state {
        "pending" => "Pending",
        "failed" => "Failed",
        "succeeded" => "Succeeded",
        _ => "Running",
    };
    let since = if state == "fresh" { 1 } else { 3600 };
    let name = format!("web-{ordinal}");
    let mut value = json!({
        "metadata": {"tenant": "acme", "namespace": "ns", "name": name, "uid": name, "labels": {
            "app": "web", POD_LABEL: revision,
            "statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": ordinal,
        }},
        "status": {"phase": phase, "conditions": [{
            "type": "Ready", "status": if matches!(state, "ready" | "fresh") { "True" } else { "False" },
            "lastTransitionTime": Timestamp::from_unix_secs(NOW - since).to_string(),
        }]},
    });
    if deleting {
        value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    Arc::new(from_value(value).expect("a pod"))
}

fn planned(set: &StatefulSet, pods: &str, claims: &pods::Claims<'_>) -> Plan {
    let revision = |name: &str| Revision { name: name.to_owned(), template: Value::Null };
    let (current, update) = (revision("old"), revision("new"));
    let pods: Vec<Arc<Pod>> = pods.split_whitespace().map(pod).collect();
    let owner = json!({"kind": "StatefulSet", "name": "web", "uid": "set"});
    let now = Timestamp::from_unix_secs(NOW);
    plan(&Observed { set, current: &current, update: &update, pods: &pods, claims, owner: &owner, collisions: 0, now })
}

/// The steps of a plan as words.
fn steps(plan: &Plan) -> String {
    let word = |step: &Step| match step {
        Step::Create { ordinal, revision } => format!("create {ordinal} {revision}"),
        Step::Delete(pod) => format!("delete {}", pod.metadata.name),
        Step::Recreate(pod) => format!("recreate {}", pod.metadata.name),
        Step::Supply { ordinal } => format!("supply {ordinal}"),
        Step::Align { ordinal, .. } => format!("align {ordinal}"),
        Step::Release { ordinal, .. } => format!("release {ordinal}"),
    };
    plan.groups.iter().flatten().map(word).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(spec: Value, pods: &str, expected: &str) {
    assert_eq!(steps(&planned(&set(spec), pods, &|_| None)), expected, "{pods}");
}

#[test]
fn pods_are_made_in_order_each_when_those_before_are_available() {
    check(json!({}), "", "create 0 new");
    check(json!({}), "0:new:pending", "");
    check(json!({}), "0:new:unready", "");
    check(json!({}), "0:new:ready", "create 1 new");
    check(json!({}), "0:new:ready 2:new:ready", "create 1 new");
    check(json!({}), "0:new:ready- 1:new:ready", "");
    check(json!({"minReadySeconds": 10}), "0:new:fresh", "");
    check(json!({"ordinals": {"start": 5}, "replicas": 1}), "", "create 5 new");
    check(json!({}), "0:new:failed", "recreate web-0");
    check(json!({}), "0:new:succeeded- 1:new:ready", "");
    check(json!({"podManagementPolicy": "Parallel"}), "1:new:unready", "create 0 new, create 2 new");
}

#[test]
fn what_is_beyond_the_range_goes_from_the_highest() {
    let ready = "0:new:ready 1:new:ready 2:new:ready";
    check(json!({"replicas": 1}), ready, "delete web-2");
    check(json!({"replicas": 1}), "0:new:ready 1:new:ready 2:new:ready-", "");
    check(json!({"replicas": 1}), "0:new:unready 1:new:ready 2:new:ready", "");
    check(json!({"replicas": 1}), "0:new:ready 1:new:ready 2:new:unready", "delete web-2");
    check(json!({"replicas": 1}), "0:new:ready 1:new:unready 2:new:unready", "");
    check(json!({"replicas": 1, "podManagementPolicy": "Parallel"}), ready, "delete web-2, delete web-1");
    check(json!({"replicas": 2, "ordinals": {"start": 1}}), ready, "delete web-0");
}

#[test]
fn an_update_replaces_one_pod_at_a_time_from_the_highest() {
    let old = "0:old:ready 1:old:ready 2:old:ready";
    let rolling = |fields: Value| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": fields}});
    check(json!({}), old, "delete web-2");
    check(json!({}), "0:old:ready 1:old:ready 2:new:ready", "delete web-1");
    check(json!({}), "0:old:ready 1:old:ready 2:new:unready", "");
    check(rolling(json!({"partition": 2})), "0:old:ready 1:old:ready 2:new:ready", "");
    check(rolling(json!({"partition": 2})), "1:old:ready 2:new:ready", "create 0 old");
    check(rolling(json!({"partition": 2})), "0:old:ready 1:old:ready", "create 2 new");
    check(rolling(json!({"partition": 0, "maxUnavailable": 2})), old, "delete web-2, delete web-1");
    check(json!({"updateStrategy": {"type": "OnDelete"}}), old, "");
    let parallel = json!({"podManagementPolicy": "Parallel"});
    check(parallel.clone(), old, "delete web-2");
    check(parallel, "0:old:ready 1:old:ready 2:new:unready", "");
}

#[test]
fn the_status_counts_and_completes_an_update() {
    let status = |pods: &str| planned(&set(json!({})), pods, &|_| None).status;
    let half = status("0:old:ready 1:old:ready 2:new:unready");
    let counts =
        (half.replicas, half.ready_replicas, half.available_replicas, half.current_replicas, half.updated_replicas);
    assert_eq!(counts, (3, 2, 2, 2, 1));
    assert_eq!((half.current_revision.as_str(), half.update_revision.as_str()), ("old", "new"));
    let whole = status("0:new:ready 1:new:ready 2:new:ready");
    assert_eq!((whole.current_revision.as_str(), whole.current_replicas), ("new", 3));
    assert_eq!(status("0:old:ready 1:old:ready 2:old:ready").current_replicas, 2, "one goes for the update");
}

#[test]
fn claims_are_owned_by_what_they_go_with() {
    let template = json!([{"metadata": {"name": "data"}, "spec": {}}]);
    let policy = |deleted: &str, scaled: &str| {
        let policy = json!({"whenDeleted": deleted, "whenScaled": scaled});
        set(json!({"volumeClaimTemplates": template, "persistentVolumeClaimRetentionPolicy": policy}))
    };
    let owner = json!({"kind": "StatefulSet", "name": "web", "uid": "set"});
    let owners = |set: &StatefulSet, ordinal: i64| {
        let pod = pod(&format!("{ordinal}:new:ready"));
        let owners = pods::claim_owners(set, &owner, ordinal, Some(&pod));
        owners.iter().map(|o| o["kind"].as_str().expect("a kind").to_owned()).collect::<Vec<_>>().join(",")
    };
    for (deleted, scaled, wanted, condemned) in [
        ("Retain", "Retain", "", ""),
        ("Delete", "Retain", "StatefulSet", "StatefulSet"),
        ("Retain", "Delete", "", "Pod"),
        ("Delete", "Delete", "StatefulSet", "Pod"),
    ] {
        let set = policy(deleted, scaled);
        assert_eq!((owners(&set, 0).as_str(), owners(&set, 3).as_str()), (wanted, condemned), "{deleted} {scaled}");
    }
    let claim = |owners: Value| -> PersistentVolumeClaim {
        from_value(json!({"metadata": {"name": "data-web-0", "ownerReferences": owners}})).expect("a claim")
    };
    let set = policy("Delete", "Delete");
    let wanted = pods::claim_owners(&set, &owner, 0, None);
    let ours = json!([{"kind": "StatefulSet", "name": "web", "uid": "set", "controller": true}]);
    let foreign = json!([{"kind": "Backup", "name": "b", "uid": "b", "controller": true}]);
    assert!(pods::is_owned_wrongly(&set, 0, &claim(json!([])), &wanted));
    assert!(!pods::is_owned_wrongly(&set, 0, &claim(ours), &wanted));
    assert!(!pods::is_owned_wrongly(&set, 0, &claim(foreign), &wanted), "it is left to what controls it");
    let of_former_pod = json!([{"kind": "Pod", "name": "web-0", "uid": "former"}]);
    let find = move |_: &str| Some(Arc::new(claim(of_former_pod.clone())));
    assert_eq!(steps(&planned(&set, "", &find)), "", "its claim goes first");
}

#[test]
fn a_pod_is_its_template_with_an_identity_and_claims() {
    let set = set(json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"x": 1}}]}));
    let pod = pods::new(&set, json!({"uid": "set"}), 4, "new", &set.spec.template);
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-4", "generateName": "web-", "ownerReferences": [{"uid": "set"}],
            "labels": {
                "app": "web", POD_LABEL: "new",
                "statefulset.kubernetes.io/pod-name": "web-4", "apps.kubernetes.io/pod-index": "4",
            },
        },
        "spec": {
            "hostname": "web-4", "subdomain": "svc",
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-4"}}, {"name": "tmp"}],
        },
    });
    assert_eq!(pod, expected);
    let view: Pod = from_value(pod).expect("a pod");
    assert!(pods::is_aligned(&set, 4, &view) && !pods::is_aligned(&set, 3, &view));
    let claims = pods::claims(&set, 4, &[]);
    assert_eq!(
        (&claims[0]["metadata"]["name"], &claims[0]["metadata"]["labels"]),
        (&json!("data-web-4"), &json!({"app": "web"}))
    );
    for (name, ordinal) in [("web-10", Some(10)), ("web", None), ("web-x", None), ("web-1-2", None), ("web-", None)] {
        assert_eq!(pods::ordinal("web", name), ordinal, "{name}");
    }
}
