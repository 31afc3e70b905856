//! Statuses of pods in every state, as upstream words them.

use super::*;
use crate::backoff::Crashes;
use crate::memory::Hook;
use crate::observed::{Exit, Observed, Sandbox, State};
use crate::plan::PULL_ERROR_SHOWN;
use api::Timestamp;

struct Scene {
    pod: Pod,
    observed: Observed,
    memory: Memory,
    now: Timestamp,
}

impl Scene {
    fn of(spec: Value) -> Scene {
        let metadata = json!({"tenant": "acme", "namespace": "default", "name": "web", "uid": "u-1", "generation": 2});
        let pod: Pod =
            serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": {}})).expect("a pod");
        assert_eq!(pod.unreadable, None);
        let now = Timestamp::from_unix_secs(1000);
        let memory = Memory::adopt(&pod, &Observed::default(), now);
        Scene { pod, observed: Observed::default(), memory, now }
    }

    fn sandbox(mut self) -> Scene {
        let ips = vec!["10.0.0.2".parse().expect("an address"), "fd00::2".parse().expect("an address")];
        self.observed.sandboxes = vec![Sandbox { id: "s0".into(), attempt: 0, ready: true, ips }];
        self
    }

    fn container(mut self, name: &str, state: State) -> Scene {
        let restart_count = self.observed.containers.iter().filter(|c| c.name == name).count();
        let instance = Instance {
            id: format!("{name}{restart_count}"),
            sandbox: "s0".into(),
            name: name.into(),
            restart_count: restart_count.try_into().expect("small"),
            spec_image: String::new(),
            state,
            image: "docker.io/library/web:1".into(),
            image_ref: "sha256:1".into(),
            log_path: String::new(),
        };
        self.observed.containers.insert(0, instance);
        self
    }

    fn status(&self) -> Value {
        let Scene { pod, observed, memory, now } = self;
        let host = Host { ip: "192.0.2.7".parse().expect("an address"), runtime: "containerd".into() };
        status(&View { pod, present: true, rejection: None, observed, memory, settled: false, now: *now }, &host)
    }

    fn phase(&self) -> String {
        self.status()["phase"].as_str().expect("a phase").to_owned()
    }
}

fn running() -> State {
    State::Running { started: Timestamp::from_unix_secs(900) }
}

fn exited(code: i32) -> State {
    let at = Timestamp::from_unix_secs;
    let exit = Exit { code, reason: String::new(), message: String::new(), started: Some(at(900)), finished: at(990) };
    State::Exited(exit)
}

fn two() -> Value {
    json!({"containers": [{"name": "a", "image": "web:1"}, {"name": "b", "image": "web:1"}]})
}

fn condition_of(status: &Value, kind: &str) -> (String, String, String) {
    let found = condition(status, kind);
    let text = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

fn is(status: &str, reason: &str, message: &str) -> (String, String, String) {
    (status.to_owned(), reason.to_owned(), message.to_owned())
}

#[test]
fn a_new_pod_is_pending_and_creating() {
    let status = Scene::of(two()).status();
    assert_eq!((&status["phase"], &status["qosClass"]), (&json!("Pending"), &json!("BestEffort")));
    assert_eq!((&status["hostIP"], status.get("podIP")), (&json!("192.0.2.7"), None));
    assert_eq!((&status["startTime"], &status["observedGeneration"]), (&json!("1970-01-01T00:16:40Z"), &json!(2)));
    let container = json!({
        "name": "a", "state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": {}, "ready": false,
        "restartCount": 0, "image": "web:1", "imageID": "", "started": false,
    });
    assert_eq!(status["containerStatuses"][0], container);
    assert_eq!(
        condition_of(&status, "Ready"),
        is("False", "ContainersNotReady", "containers with unready status: [a b]")
    );
    assert_eq!(condition_of(&status, "PodReadyToStartContainers"), is("False", "", ""));
    assert_eq!(condition_of(&status, "Initialized"), is("True", "", ""));
}

#[test]
fn a_running_pod_is_ready_when_all_its_containers_are() {
    let half = Scene::of(two()).sandbox().container("a", running());
    assert_eq!(half.phase(), "Pending");
    let whole = half.container("b", running());
    let status = whole.status();
    assert_eq!(
        (&status["phase"], &status["podIPs"]),
        (&json!("Running"), &json!([{"ip": "10.0.0.2"}, {"ip": "fd00::2"}]))
    );
    let container = json!({
        "name": "a", "state": {"running": {"startedAt": "1970-01-01T00:15:00Z"}}, "lastState": {}, "ready": true,
        "restartCount": 0, "image": "docker.io/library/web:1", "imageID": "sha256:1", "containerID": "containerd://a0",
        "started": true,
    });
    assert_eq!(status["containerStatuses"][0], container);
    for kind in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        assert_eq!(condition_of(&status, kind), is("True", "", ""), "{kind}");
    }
}

#[test]
fn a_container_is_creating_until_its_hook_has_run() {
    let mut scene = Scene::of(two()).sandbox().container("a", running());
    scene.memory.hooks.insert("a0".into(), Hook::Pending);
    let status = scene.status();
    assert_eq!(status["containerStatuses"][0]["state"], json!({"waiting": {"reason": "ContainerCreating"}}));
    assert_eq!(status["containerStatuses"][0]["started"], false);
}

#[test]
fn a_container_is_creating_until_its_start_is_noted() {
    let mut scene = Scene::of(two()).sandbox().container("a", running());
    scene.memory.in_flight.insert(Key::Start("a".into()), 1);
    let status = scene.status();
    assert_eq!(status["containerStatuses"][0]["state"], json!({"waiting": {"reason": "ContainerCreating"}}));
    assert_eq!(status["containerStatuses"][0]["ready"], false);
}

#[test]
fn a_readiness_gate_keeps_a_pod_unready() {
    let spec = json!({"containers": [{"name": "a"}], "readinessGates": [{"conditionType": "example.org/gate"}]});
    let mut scene = Scene::of(spec).sandbox().container("a", running());
    let message = "corresponding condition of pod readiness gate \"example.org/gate\" does not exist or is not True.";
    let status = scene.status();
    assert_eq!(condition_of(&status, "Ready"), is("False", "ReadinessGatesNotReady", message));
    assert_eq!(condition_of(&status, "ContainersReady").0, "True");
    scene.pod.status = json!({"conditions": [{"type": "example.org/gate", "status": "True"}]});
    assert_eq!(condition_of(&scene.status(), "Ready").0, "True");
}

#[test]
fn init_containers_hold_up_the_rest() {
    let spec = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
    let status = Scene::of(spec.clone()).sandbox().container("i", exited(0)).status();
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["initContainerStatuses"][0]["ready"], true);
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    let message = "containers with incomplete status: [j]";
    assert_eq!(condition_of(&status, "Initialized"), is("False", "ContainersNotInitialized", message));
    let again =
        Scene::of(spec.clone()).sandbox().container("a", exited(0)).container("i", exited(0)).container("j", running());
    assert_eq!(again.phase(), "Pending", "after its sandbox was replaced a pod is initialized again");
    let mut never = spec;
    never["restartPolicy"] = json!("Never");
    assert_eq!(Scene::of(never).sandbox().container("i", exited(1)).phase(), "Failed");
}

#[test]
fn how_a_pod_ends_depends_on_its_restart_policy() {
    let cases = [
        ("Always", 0, 0, "Running"),
        ("OnFailure", 0, 0, "Succeeded"),
        ("OnFailure", 0, 1, "Running"),
        ("Never", 0, 0, "Succeeded"),
        ("Never", 0, 1, "Failed"),
    ];
    for (policy, a, b, expected) in cases {
        let mut spec = two();
        spec["restartPolicy"] = json!(policy);
        let scene = Scene::of(spec).sandbox().container("a", exited(a)).container("b", exited(b));
        assert_eq!(scene.phase(), expected, "{policy} {a} {b}");
    }
    let mut spec = two();
    spec["restartPolicy"] = json!("Never");
    let done = Scene::of(spec).sandbox().container("a", exited(0)).container("b", exited(0)).status();
    assert_eq!(condition_of(&done, "Ready"), is("False", "PodCompleted", ""));
    assert_eq!(condition_of(&done, "Initialized"), is("True", "PodCompleted", ""));
    let terminated = json!({"exitCode": 0, "reason": "Completed", "startedAt": "1970-01-01T00:15:00Z",
        "finishedAt": "1970-01-01T00:16:30Z", "containerID": "containerd://a0"});
    assert_eq!(done["containerStatuses"][0]["state"]["terminated"], terminated);
}

#[test]
fn a_crash_loop_shows_the_wait_and_the_last_exit() {
    let mut scene = Scene::of(json!({"containers": [{"name": "a"}]})).sandbox();
    scene = scene.container("a", exited(1)).container("a", exited(2));
    let crashes = Crashes::restarted(None, Timestamp::from_unix_secs(880), Timestamp::from_unix_secs(900));
    scene.memory.crashes.insert(
        "a".into(),
        Crashes::restarted(Some(&crashes), Timestamp::from_unix_secs(900), Timestamp::from_unix_secs(901)),
    );
    let status = &scene.status()["containerStatuses"][0];
    let message = "back-off 20s restarting failed container=a pod=web_default(u-1)";
    assert_eq!(status["state"], json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}}));
    assert_eq!((&status["lastState"]["terminated"]["exitCode"], &status["restartCount"]), (&json!(2), &json!(1)));
    scene.now = Timestamp::from_unix_secs(1020);
    let status = &scene.status()["containerStatuses"][0];
    assert_eq!(
        (&status["state"]["terminated"]["exitCode"], &status["lastState"]["terminated"]["exitCode"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn a_failed_pull_is_an_error_first_and_a_back_off_then() {
    let mut scene = Scene::of(two()).sandbox();
    let failed = Err(("ErrImagePull".to_owned(), "no such host".to_owned()));
    scene.memory.ended(&Key::Image("a".into()), failed, scene.now);
    let state = |scene: &Scene| scene.status()["containerStatuses"][0]["state"]["waiting"].clone();
    assert_eq!(state(&scene), json!({"reason": "ErrImagePull", "message": "no such host"}));
    scene.now = scene.now.plus(PULL_ERROR_SHOWN);
    let message = "Back-off pulling image \"web:1\": ErrImagePull: no such host";
    assert_eq!(state(&scene), json!({"reason": "ImagePullBackOff", "message": message}));
}

#[test]
fn what_the_runtime_forgot_is_told_as_the_api_knew_it() {
    let mut scene = Scene::of(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    scene.pod.status = json!({"podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}], "containerStatuses": [
        {"name": "a", "containerID": "containerd://x", "restartCount": 3, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 9}}},
        {"name": "b", "containerID": "containerd://y", "state": {"terminated": {"exitCode": 0}}}]});
    scene.pod.metadata.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
    let status = scene.status();
    let [a, b] = [0, 1].map(|i| &status["containerStatuses"][i]);
    assert_eq!(
        (&a["state"]["terminated"]["reason"], &a["restartCount"]),
        (&json!("ContainerStatusUnknown"), &json!(3))
    );
    assert_eq!(a["lastState"]["terminated"]["exitCode"], 9);
    assert_eq!(b["state"]["terminated"]["exitCode"], 0);
    assert_eq!((&status["podIP"], &status["podIPs"]), (&json!("10.0.0.9"), &json!([{"ip": "10.0.0.9"}])));
    assert_eq!(status["phase"], "Failed");
}

#[test]
fn a_pod_past_its_deadline_or_not_for_this_node_has_failed_with_a_reason() {
    let mut scene = Scene::of(json!({"activeDeadlineSeconds": 5, "containers": [{"name": "a"}]})).sandbox();
    scene.now = scene.now.plus(std::time::Duration::from_secs(5));
    let status = scene.status();
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")));
    let status = Scene::of(json!({"virtualMachine": {"name": "vm"}})).status();
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("NoVmRuntime")));
    assert_eq!(condition_of(&status, "Ready"), is("False", "PodFailed", ""));
}

#[test]
fn a_status_is_told_once_and_conditions_keep_their_times() {
    let mut scene = Scene::of(two()).sandbox().container("a", running()).container("b", running());
    let first = scene.status();
    scene.now = Timestamp::from_unix_secs(2000);
    scene.pod.status = first.clone();
    scene.pod.status["conditions"].as_array_mut().expect("a list").push(json!({"type": "Others", "status": "True"}));
    scene.pod.status["resourceClaimStatuses"] = json!([]);
    let second = scene.status();
    assert_eq!(second, first);
    assert!(is_reported(&scene.pod.status, &second));
    scene = scene.container("b", exited(1));
    let third = scene.status();
    assert!(!is_reported(&scene.pod.status, &third));
    let since = |kind| condition(&third, kind)["lastTransitionTime"].clone();
    assert_eq!([since("Initialized"), since("Ready")], [json!("1970-01-01T00:16:40Z"), json!("1970-01-01T00:33:20Z")]);
}

#[test]
fn a_patch_replaces_addresses_and_conditions_and_removes_what_is_no_more() {
    let mut scene = Scene::of(two()).sandbox().container("a", running());
    scene.pod.status = json!({"podIPs": [{"ip": "10.0.0.9"}], "hostIPs": [{"ip": "192.0.2.7"}], "reason": "Old", "nominatedNodeName": "x"});
    let patch = patch(&scene.pod, &scene.status());
    assert_eq!(patch["metadata"], json!({"uid": "u-1"}));
    let status = &patch["status"];
    assert_eq!(status["podIPs"], json!([{"$patch": "replace"}, {"ip": "10.0.0.2"}, {"ip": "fd00::2"}]));
    assert_eq!(status["hostIPs"], json!([{"ip": "192.0.2.7"}]));
    assert_eq!(status.get("reason"), Some(&Value::Null));
    assert_eq!(status.get("nominatedNodeName"), None);
    let ready = condition(status, "PodScheduled");
    assert_eq!((ready.get("reason"), ready.get("message")), (Some(&Value::Null), Some(&Value::Null)));
}
