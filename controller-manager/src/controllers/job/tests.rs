//! What a job does next and how it counts, by table.

use super::tracking::track;
use super::*;
use api::Timestamp;
use serde_json::{from_value, json};

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_unix_secs(NOW)
}

fn job(spec: Value, status: Value) -> Job {
    let mut value = json!({
        "metadata": {"namespace": "ns", "name": "job", "uid": "job", "generation": 1},
        "spec": {"parallelism": 2, "completions": 3, "backoffLimit": 6, "template": {"spec": {"containers": [{}]}}},
        "status": status,
    });
    for (field, setting) in spec.as_object().expect("an object") {
        value["spec"][field] = setting.clone();
    }
    from_value(value).expect("a job")
}

/// `a:running`, `b@2:failed=42`: its uid, perhaps its index, how it is, perhaps its exit code. Behind that, `-` says that
/// it is being deleted, and `!` that it is counted already. Pods end 5 s ago.
fn pod(text: &str) -> Arc<Pod> {
    let (text, counted) = text.strip_suffix('!').map_or((text, false), |t| (t, true));
    let (text, deleting) = text.strip_suffix('-').map_or((text, false), |t| (t, true));
    let (name, state) = text.split_once(':').expect("a name and a state");
    let (uid, index) = name.split_once('@').map_or((name, None), |(uid, index)| (uid, Some(index)));
    let (state, code) = state.split_once('=').map_or((state, "1"), |(state, code)| (state, code));
    let phase = match state {
        "failed" => "Failed",
        "succeeded" => "Succeeded",
        "pending" => "Pending",
        _ => "Running",
    };
    let ended = Timestamp::from_unix_secs(NOW - 5).to_string();
    let mut value = json!({
        "metadata": {"namespace": "ns", "name": uid, "uid": uid, "annotations": {},
            "finalizers": if counted { json!([]) } else { json!([FINALIZER]) }},
        "spec": {"nodeName": "n"},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if state == "ready" { "True" } else { "False" }}]},
    });
    if let Some(index) = index {
        value["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] = json!(index);
    }
    if pod_has_ended(phase) {
        let code: i64 = if phase == "Failed" { code.parse().expect("a number") } else { 0 };
        value["status"]["containerStatuses"] =
            json!([{"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": ended}}}]);
    }
    if deleting {
        value["metadata"]["deletionTimestamp"] = json!(ended);
    }
    Arc::new(from_value(value).expect("a pod"))
}

fn pod_has_ended(phase: &str) -> bool {
    matches!(phase, "Failed" | "Succeeded")
}

fn with_look<T>(job: &Job, pods: &str, then: impl FnOnce(&Look<'_>) -> T) -> T {
    let pods: Vec<Arc<Pod>> = pods.split_whitespace().map(pod).collect();
    let let_go = HashSet::new();
    let seen = Observed { job, pods: &pods, let_go: &let_go, failures: Failures::default(), now: now() };
    then(&Look::at(&seen))
}

fn words(manage: &Manage) -> String {
    let names = |pods: &[Arc<Pod>]| pods.iter().map(|p| p.metadata.name.clone()).collect::<Vec<_>>().join(" ");
    match manage {
        Manage::Nothing => "nothing".to_owned(),
        Manage::End(pods) => format!("end {}", names(pods)),
        Manage::Delete(pods) => format!("delete {}", names(pods)),
        Manage::Create(count) => format!("create {count}"),
        Manage::CreateIndexes(indexes) => format!("create {indexes:?}"),
        Manage::Wait(wait) => format!("wait {}", wait.as_secs()),
    }
}

#[track_caller]
fn check(spec: Value, pods: &str, expected: &str) {
    let manage = with_look(&job(spec, json!({})), pods, |look| look.manage(true));
    assert_eq!(words(&manage), expected, "{pods}");
}

#[test]
fn as_many_pods_run_as_may_and_are_still_wanted() {
    check(json!({}), "", "create 2");
    check(json!({}), "a:running b:pending", "nothing");
    check(json!({}), "a:succeeded b:succeeded", "create 1");
    check(json!({}), "a:running b:succeeded c:succeeded", "nothing");
    check(json!({"parallelism": 1}), "a:running b:pending", "delete b");
    check(json!({"parallelism": 1}), "a:ready b:running", "delete b");
    check(json!({"suspend": true}), "a:running", "delete a");
    check(json!({"suspend": true}), "", "nothing");
    check(json!({"completions": null}), "a:running b:succeeded", "nothing");
    check(json!({"completions": null}), "a:running", "create 1");
    check(json!({}), "a:running b:running-", "wait 5");
    check(json!({"podReplacementPolicy": "Failed"}), "a:running b:running-", "nothing");
    assert_eq!(with_look(&job(json!({}), json!({})), "", |look| look.manage(false)), Manage::Nothing);
}

#[test]
fn after_failures_the_next_pod_waits_ever_longer() {
    check(json!({}), "a:failed", "wait 5");
    check(json!({}), "a:failed b:failed", "wait 15");
    check(json!({}), "a:failed b:failed c:failed", "wait 35");
    check(json!({}), "a:failed b:succeeded", "create 2");
    assert_eq!(policy::wait(30, now(), now()), Duration::from_secs(600));
    assert_eq!(policy::wait(0, now(), now()), Duration::ZERO);
}

#[test]
fn indexes_that_lack_are_filled_and_doubles_go() {
    let indexed = |more: Value| {
        let mut spec = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 3});
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        spec
    };
    check(indexed(json!({})), "a@1:running", "create [0, 2]");
    check(indexed(json!({})), "a@0:succeeded b@1:running c@2:running", "create [3]");
    check(indexed(json!({})), "a@0:running b@0:ready c@9:running", "delete c a");
    let per_index = indexed(json!({"backoffLimitPerIndex": 1}));
    check(per_index.clone(), "a@0:failed b@1:running", "create [2]");
    check(per_index.clone(), "a@0:failed b@1:running c@2:running", "wait 5");
    check(per_index, "a@0:failed! b@1:running c@2:running", "create [0]");
    check(indexed(json!({"backoffLimitPerIndex": 0})), "a@0:failed b@1:running c@2:running", "create [3]");
}

/// How a job ends: the reason, and what is counted with it.
fn ending(spec: Value, status: Value, pods: &str) -> String {
    let job = job(spec, status);
    with_look(&job, pods, |look| {
        let manage = look.manage(true);
        let managed = match &manage {
            Manage::End(gone) => Managed { deleted: gone.len() as i64, whole: true, ..Managed::default() },
            _ => Managed { whole: true, ..Managed::default() },
        };
        let tracking = track(look, &manage, managed, true);
        let gone = tracking.let_go.iter().map(|p| p.metadata.uid.clone()).collect();
        let (status, _) = tracking.finish(&gone, &job, now());
        let conditions: Vec<_> = status.conditions.iter().map(|c| format!("{}:{}", c.kind, c.reason)).collect();
        format!("{} +{} -{}", conditions.join(" "), status.succeeded, status.failed)
    })
}

#[test]
fn a_job_ends_for_one_reason_and_counts_each_pod_once() {
    let none = json!({});
    let done = "SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached +3 -0";
    assert_eq!(ending(json!({}), none.clone(), "a:succeeded b:succeeded c:succeeded"), done);
    assert_eq!(ending(json!({}), json!({"succeeded": 2}), "a:succeeded! b:succeeded! c:succeeded"), done);
    assert_eq!(ending(json!({}), none.clone(), "a:succeeded b:running"), " +1 -0");
    let failed = "FailureTarget:BackoffLimitExceeded Failed:BackoffLimitExceeded +0 -1";
    assert_eq!(ending(json!({"backoffLimit": 0}), none.clone(), "a:failed"), failed);
    let with_others = "FailureTarget:BackoffLimitExceeded +0 -2";
    assert_eq!(ending(json!({"backoffLimit": 0}), none.clone(), "a:failed b:running"), with_others);
    let noted = json!({"failed": 2, "conditions": [{"type": "FailureTarget", "status": "True", "reason": "X"}]});
    assert_eq!(ending(json!({}), noted.clone(), "b:running-!"), "FailureTarget:X +0 -2", "one is still ending");
    assert_eq!(ending(json!({}), noted, ""), "FailureTarget:X Failed:X +0 -2");
    let started = json!({"startTime": Timestamp::from_unix_secs(NOW - 60).to_string()});
    let late = ending(json!({"activeDeadlineSeconds": 60}), started, "");
    assert_eq!(late, "FailureTarget:DeadlineExceeded Failed:DeadlineExceeded +0 -0");
    let uncounted = json!({"uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["b", "gone"]}});
    assert_eq!(ending(json!({}), uncounted, "a:succeeded b:failed c:running"), " +1 -2");
}

#[test]
fn rules_about_failures_and_success_decide() {
    let none = json!({});
    let rule = |action: &str| {
        let codes = json!({"operator": "In", "values": [42]});
        json!({"podFailurePolicy": {"rules": [{"action": action, "onExitCodes": codes}]}, "backoffLimit": 0})
    };
    let by_policy = "FailureTarget:PodFailurePolicy Failed:PodFailurePolicy +0 -1";
    assert_eq!(ending(rule("FailJob"), none.clone(), "a:failed=42"), by_policy);
    assert_eq!(ending(rule("Ignore"), none.clone(), "a:failed=42"), " +0 -0");
    let counted = "FailureTarget:BackoffLimitExceeded Failed:BackoffLimitExceeded +0 -1";
    assert_eq!(ending(rule("Ignore"), none.clone(), "a:failed=41"), counted);
    let told = job(rule("FailJob"), none.clone());
    let message = "Container c for pod ns/a failed with exit code 42 matching FailJob rule at index 0".to_owned();
    assert_eq!(policy::judge(&told, &pod("a:failed=42")), policy::Verdict::FailJob(message));

    let success = |rules: Value| json!({"completionMode": "Indexed", "completions": 4, "parallelism": 4, "successPolicy": {"rules": rules}});
    let met = "SuccessCriteriaMet:SuccessPolicy Complete:SuccessPolicy +1 -0";
    assert_eq!(ending(success(json!([{"succeededIndexes": "2"}])), none.clone(), "a@2:succeeded"), met);
    assert_eq!(ending(success(json!([{"succeededCount": 1}])), none.clone(), "a@0:succeeded"), met);
    let not_yet = success(json!([{"succeededIndexes": "0-2", "succeededCount": 2}]));
    assert_eq!(ending(not_yet, none.clone(), "a@2:succeeded b@3:succeeded"), " +2 -0");

    let limits = |more: Value| {
        let mut spec = json!({"completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 0});
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        spec
    };
    let most = "FailureTarget:MaxFailedIndexesExceeded Failed:MaxFailedIndexesExceeded +0 -1";
    assert_eq!(ending(limits(json!({"maxFailedIndexes": 0})), none.clone(), "a@0:failed"), most);
    let all = "FailureTarget:FailedIndexes Failed:FailedIndexes +1 -1";
    assert_eq!(ending(limits(json!({})), none, "a@0:failed b@1:succeeded"), all);
}

#[test]
fn a_pod_knows_its_index_and_how_often_it_failed() {
    let job = job(json!({"completionMode": "Indexed", "backoffLimitPerIndex": 3}), json!({}));
    let plain = pods::new(&job, json!({"uid": "job"}));
    assert_eq!(plain["metadata"]["finalizers"], json!([FINALIZER]));
    let mut last = Pod::clone(&pod("a@1:failed"));
    last.metadata.annotations.index_failures = Some("1".to_owned());
    let indexed = pods::with_index(&job, &plain, 1, Some(&last));
    assert_eq!(indexed["metadata"]["generateName"], "job-1-");
    assert_eq!(indexed["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"], "2");
    assert_eq!(indexed["spec"]["hostname"], "job-1");
    assert_eq!(indexed["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
}
