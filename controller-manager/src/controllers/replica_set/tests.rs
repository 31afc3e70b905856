//! Which pods a replica set creates, deletes and counts.

use super::*;
use crate::controllers::pod_owner::pod_changed;
use api::Timestamp;
use client::Change;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use plan::{Plan, plan, status};
use serde_json::{Value, from_value, json};

const NOW: i64 = 1_800_000_000;

fn at(secs_ago: i64) -> String {
    Timestamp::from_unix_secs(NOW - secs_ago).to_string()
}

fn now() -> Timestamp {
    Timestamp::from_unix_secs(NOW)
}

fn set(replicas: i64) -> ReplicaSet {
    from_value(json!({
        "metadata": {"tenant": "acme", "namespace": "ns", "name": "web", "uid": "set", "generation": 3},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"containers": []}},
        },
    }))
    .expect("a replica set")
}

/// A pod that is ready on a node for an hour, with what `changes` says otherwise (merged in).
fn pod(name: &str, changes: Value) -> Arc<Pod> {
    let mut value = json!({
        "metadata": {"name": name, "uid": name, "creationTimestamp": at(3600), "labels": {"a": "b"}},
        "spec": {"nodeName": "n"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(3600)}],
            "containerStatuses": [{"restartCount": 0}],
        },
    });
    merge(&mut value, changes);
    Arc::new(from_value(value).expect("a pod"))
}

fn merge(value: &mut Value, changes: Value) {
    match (value, changes) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, change) in new {
                merge(old.entry(key).or_insert(Value::Null), change);
            }
        }
        (value, changes) => *value = changes,
    }
}

fn ready_since(secs_ago: i64) -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(secs_ago)}]}})
}

/// Of two pods of which one is too many, `goes` must go before `stays`, whatever their names say.
#[track_caller]
fn first(goes: Value, stays: Value) {
    for (goes_name, stays_name) in [("a", "z"), ("z", "a")] {
        let pods = [pod(stays_name, stays.clone()), pod(goes_name, goes.clone())];
        let crowd = HashMap::from([("n".to_owned(), 1), ("crowded".to_owned(), 2)]);
        let Plan::Delete(victims) = plan(&set(1), &pods, || crowd, now()) else { panic!("one is too many") };
        assert_eq!(victims.iter().map(|p| &*p.metadata.name).collect::<Vec<_>>(), [goes_name], "{goes} before {stays}");
    }
}

#[test]
fn the_pod_with_which_least_is_lost_goes_first() {
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let cost = |cost: &str| json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}}});
    let usual = json!({});
    first(json!({"spec": {"nodeName": ""}}), json!({"status": {"phase": "Pending"}}));
    first(json!({"status": {"phase": "Pending"}}), usual.clone());
    first(json!({"status": {"phase": "Pending"}}), json!({"status": {"phase": "Unknown"}}));
    first(json!({"status": {"phase": "Unknown"}}), usual.clone());
    first(not_ready.clone(), cost("-10"));
    first(cost("-10"), json!({"spec": {"nodeName": "crowded"}}));
    first(usual.clone(), cost("5"));
    // What is no plain number costs nothing.
    for odd in ["+5", "05", "2147483648", "x"] {
        first(cost("-1"), cost(odd));
        first(cost(odd), cost("1"));
    }
    first(json!({"spec": {"nodeName": "crowded"}}), ready_since(1));
    first(ready_since(10), usual.clone());
    first(ready_since(10), json!({"status": {"containerStatuses": [{"restartCount": 9}]}}));
    first(json!({"status": {"containerStatuses": [{"restartCount": 0}, {"restartCount": 2}]}}), usual.clone());
    first(json!({"status": {"initContainerStatuses": [{"restartCount": 1}]}}), usual.clone());
    first(json!({"metadata": {"creationTimestamp": at(10)}}), usual);
}

#[test]
fn among_pods_of_about_the_same_age_none_is_favoured() {
    let pods = [pod("b", ready_since(3600)), pod("a", ready_since(3500)), pod("c", ready_since(3400))];
    let Plan::Delete(victims) = plan(&set(1), &pods, HashMap::new, now()) else { panic!("two are too many") };
    assert_eq!(victims.iter().map(|p| &*p.metadata.uid).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn what_lacks_is_created_in_bursts_and_what_is_right_is_left() {
    let pods = |count: usize| (0..count).map(|i| pod(&i.to_string(), json!({}))).collect::<Vec<_>>();
    let counted = |replicas, present| match plan(&set(replicas), &pods(present), HashMap::new, now()) {
        Plan::Nothing => 0,
        Plan::Create(count) => count as i64,
        Plan::Delete(victims) => -(victims.len() as i64),
    };
    assert_eq!([counted(0, 0), counted(3, 3), counted(3, 1), counted(0, 2), counted(-1, 1)], [0, 0, 2, -2, -1]);
    assert_eq!([counted(2000, 10), counted(0, 700)], [500, -500]);
}

#[test]
fn pods_are_ranked_only_when_some_of_them_go_and_others_stay() {
    let ranked = |replicas, present: usize| {
        let pods: Vec<_> = (0..present).map(|i| pod(&i.to_string(), json!({}))).collect();
        let mut asked = false;
        let on_nodes = || {
            asked = true;
            HashMap::new()
        };
        plan(&set(replicas), &pods, on_nodes, now());
        asked
    };
    assert_eq!([ranked(3, 1), ranked(3, 3), ranked(0, 3), ranked(2, 3)], [false, false, false, true]);
}

#[test]
fn a_status_counts_what_is_there() {
    let mut set = set(4);
    set.spec.min_ready_seconds = 60;
    let pods = [
        pod("old", json!({"metadata": {"labels": {"c": "d"}}})),
        pod("fresh", ready_since(20)),
        pod("unready", json!({"status": {"conditions": []}})),
    ];
    let counted = status(&set, &pods, Some(2), None, now()).to_value();
    let expected = json!({
        "replicas": 3, "fullyLabeledReplicas": 1, "readyReplicas": 2, "availableReplicas": 1, "terminatingReplicas": 2,
        "observedGeneration": 3,
    });
    assert_eq!(counted, expected);
    assert_eq!(plan::next_available(&set, &pods, now()), Some(Duration::from_secs(40)));
    let none = status(&self::set(0), &[], Some(0), None, now()).to_value();
    assert_eq!(none, json!({"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 3}));
}

#[test]
fn a_failure_is_a_condition_until_it_is_over() {
    let mut set = set(1);
    let failure = Failure { reason: "FailedCreate", error: api::Error::bad_request("no room") };
    set.status = status(&set, &[], Some(0), Some(&failure), now());
    let expected = json!([{
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no room",
        "lastTransitionTime": at(0),
    }]);
    assert_eq!(set.status.to_value()["conditions"], expected);
    let later = Timestamp::from_unix_secs(NOW + 60);
    assert_eq!(status(&set, &[], Some(0), Some(&failure), later), set.status, "the same failure changes nothing");
    assert_eq!(status(&set, &[], Some(0), None, later).conditions, []);
}

#[test]
fn a_new_pod_is_the_template_owned_by_the_set() {
    let pod = plan::new_pod(&set(1), json!({"uid": "set"}));
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "web-", "labels": {"a": "b", "c": "d"}, "ownerReferences": [{"uid": "set"}]},
        "spec": {"containers": []},
    });
    assert_eq!(pod, expected);
}

/// Lets one change of a pod happen, and returns which sets are looked at.
fn change(
    sets: &Cache<ReplicaSet>,
    expectations: &Expectations,
    old: Option<Value>,
    new: Option<Value>,
) -> Vec<String> {
    let queue = WorkQueue::new();
    let pod = |changes: Option<Value>| {
        changes.map(|mut changes| {
            merge(&mut changes, json!({"metadata": {"tenant": "acme", "namespace": "ns"}}));
            pod("p", changes)
        })
    };
    let metadata: Meta = from_value(json!({"tenant": "acme", "namespace": "ns", "name": "p"})).expect("metadata");
    let change = Change { key: metadata.key(), old: pod(old), new: pod(new) };
    pod_changed(&change, sets, expectations, &queue);
    let next = || queue.next().now_or_never().flatten().map(|work| work.to_string());
    std::iter::from_fn(next).collect()
}

/// A cache of the sets `web`, with the uid `set`, and `api`, with the uid `other`; pods of neither match the other.
async fn cache() -> Cache<ReplicaSet> {
    struct Server;
    impl client::Transport for Server {
        fn call(
            &self,
            request: http::Request<bytes::Bytes>,
        ) -> BoxFuture<'static, Result<http::Response<client::Body>>> {
            if request.uri().to_string().contains("watch=true") {
                return std::future::pending().boxed();
            }
            let set = |name: &str, uid: &str, label: &str| {
                let metadata = json!({"tenant": "acme", "namespace": "ns", "name": name, "uid": uid});
                json!({"metadata": metadata, "spec": {"selector": {"matchLabels": {"a": label}}}})
            };
            let list = json!({"items": [set("web", "set", "b"), set("api", "other", "c")]}).to_string();
            let body = futures::stream::iter([Ok(bytes::Bytes::from(list))]).boxed();
            async { Ok(http::Response::new(body)) }.boxed()
        }
    }
    let client = client::Client::new(Arc::new(Server)).all_tenants();
    let (sets, reflector, _) = client::reflect(client, client::REPLICA_SETS, Default::default());
    let stop = runtime::Stop::new();
    let listed = async {
        sets.synced().await;
        stop.stop();
    };
    let (ended, ()) = tokio::join!(reflector.run(stop.clone()), listed);
    ended.expect("a clean end");
    sets
}

#[tokio::test]
async fn a_change_of_a_pod_asks_to_look_at_its_set_or_at_those_that_may_adopt_it() {
    let sets = cache().await;
    let of = |name: &str, uid: &str| json!({"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": name, "uid": uid, "controller": true}]}});
    let labelled = |label: &str| json!({"metadata": {"labels": {"a": label}}});
    let looked_at = |old: Option<Value>, new: Option<Value>| change(&sets, &Expectations::default(), old, new);
    let (web, api) = ("acme/ns/web", "acme/ns/api");
    assert_eq!(looked_at(None, Some(of("web", "set"))), [web]);
    assert_eq!(looked_at(Some(of("web", "set")), None), [web]);
    assert_eq!(looked_at(Some(of("web", "set")), Some(of("web", "set"))), [web]);
    assert_eq!(looked_at(Some(of("web", "set")), Some(of("api", "other"))), [web, api]);
    assert_eq!(looked_at(None, Some(of("web", "an older one"))), [""; 0], "another set of the same name");
    assert_eq!(looked_at(None, Some(labelled("b"))), [web], "an orphan");
    assert_eq!(looked_at(Some(labelled("b")), Some(labelled("c"))), [api]);
    assert_eq!(looked_at(Some(labelled("b")), Some(labelled("b"))), [""; 0], "an orphan as before");
    assert_eq!(looked_at(Some(labelled("b")), None), [""; 0]);
    assert_eq!(looked_at(Some(of("web", "set")), Some(labelled("c"))), [web, api], "it is let go");
}

#[tokio::test]
async fn what_was_asked_for_is_awaited_until_it_is_seen() {
    let owned = json!({"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true}]}});
    let leaving = || {
        let mut leaving = owned.clone();
        merge(&mut leaving, json!({"metadata": {"deletionTimestamp": at(0)}}));
        leaving
    };
    let cases: [(&str, Option<Value>, Option<Value>); 4] = [
        ("creation", None, Some(owned.clone())),
        ("deletion", Some(owned.clone()), None),
        ("deletion", Some(owned.clone()), Some(leaving())),
        ("creation", Some(json!({"metadata": {"uid": "another"}})), Some(owned.clone())),
    ];
    let sets = cache().await;
    for (kind, old, new) in cases {
        let expectations = Expectations::default();
        match kind {
            "creation" => expectations.expect_creations("set", 1),
            _ => expectations.expect_deletions("set", ["p".to_owned()]),
        }
        change(&sets, &expectations, Some(owned.clone()), Some(owned.clone()));
        assert!(expectations.unmet("set").is_some(), "an ordinary update meets no {kind}");
        change(&sets, &expectations, old.clone(), new.clone());
        assert!(expectations.unmet("set").is_none(), "{kind}: {old:?} -> {new:?}");
    }
}
