//! Pods driven through their lives in a world of values: what the plan asks for happens at once, time is a number.

use super::*;
use crate::backoff::Crashes;
use crate::memory::Key;
use crate::observed::{Container as Instance, Exit, Sandbox};
use serde_json::{Value, json};

struct World {
    pod: Pod,
    present: bool,
    observed: Observed,
    memory: Memory,
    now: Timestamp,
    /// What was done, in words.
    log: Vec<String>,
    made: u32,
    /// Images that cannot be had.
    missing_image: Option<&'static str>,
}

impl World {
    fn of(spec: Value) -> World {
        let metadata = json!({"tenant": "acme", "namespace": "default", "name": "web", "uid": "u-1"});
        let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod");
        assert_eq!(pod.unreadable, None);
        let now = Timestamp::from_unix_secs(1000);
        let memory = Memory::adopt(&pod, &Observed::default(), now);
        let observed = Observed::default();
        World { pod, present: true, observed, memory, now, log: Vec::new(), made: 0, missing_image: None }
    }

    fn plan(&self) -> Plan {
        let World { pod, present, observed, memory, now, .. } = self;
        plan(&View { pod, present: *present, rejection: None, observed, memory, settled: true, now: *now })
    }

    /// Does what the plan asks for until it asks for nothing at this time; the log of it.
    #[track_caller]
    fn settle(&mut self) -> Vec<String> {
        for _ in 0..100 {
            let plan = self.plan();
            assert_eq!(plan, self.plan(), "planning twice differs");
            if plan.phase >= Phase::Stopping {
                self.memory.stop_began.get_or_insert(self.now);
            }
            self.memory.removing |= plan.phase == Phase::Removing;
            if plan.actions.is_empty() {
                return std::mem::take(&mut self.log);
            }
            for action in plan.actions {
                self.apply(action);
            }
        }
        panic!("the pod never settles: {:?}", self.log);
    }

    fn apply(&mut self, action: Action) {
        let mut outcome = Ok(());
        match &action {
            Action::SetUpVolumes => {
                self.log.push("volumes".into());
                self.memory.volumes = Some(self.now.plus(Duration::from_secs(3600)));
            }
            Action::RunSandbox { attempt } => {
                self.log.push(format!("sandbox {attempt}"));
                let ips = vec!["10.0.0.2".parse().expect("an address")];
                let sandbox = Sandbox { id: format!("s{attempt}"), attempt: *attempt, ready: true, ips };
                self.observed.sandboxes.insert(0, sandbox);
            }
            Action::StopSandbox { id } => {
                self.log.push(format!("stop {id}"));
                self.observed.sandboxes.iter_mut().filter(|s| s.id == *id).for_each(|s| s.ready = false);
            }
            Action::RemoveSandbox { id } => {
                self.log.push(format!("remove {id}"));
                self.observed.sandboxes.retain(|s| s.id != *id);
                self.observed.containers.retain(|c| c.sandbox != *id);
            }
            Action::EnsureImage { container } => {
                if self.missing_image == Some(container) {
                    self.log.push(format!("no image for {container}"));
                    outcome = Err(("ErrImagePull".to_owned(), "no".to_owned()));
                } else {
                    self.memory.images.insert(container.clone(), "sha256:1".to_owned());
                }
            }
            Action::Start { container, sandbox, restart_count } => {
                self.log.push(format!("start {container} {restart_count}"));
                self.memory.images.remove(container);
                if let Some(exit) = self.observed.latest(container).and_then(Instance::exit) {
                    let crashes = Crashes::restarted(self.memory.crashes.get(container), exit.finished, self.now);
                    self.memory.crashes.insert(container.clone(), crashes);
                }
                self.made += 1;
                let id = format!("c{}", self.made);
                let spec = self.pod.spec.container(container).expect("a container of the pod");
                if spec.lifecycle.post_start.is_some() {
                    self.memory.hooks.insert(id.clone(), Hook::Pending);
                }
                let started = Instance {
                    id,
                    sandbox: sandbox.clone(),
                    name: container.clone(),
                    restart_count: *restart_count,
                    spec_image: spec.image.clone(),
                    state: State::Running { started: self.now },
                    image: String::new(),
                    image_ref: String::new(),
                    log_path: String::new(),
                };
                self.observed.containers.insert(0, started);
            }
            Action::PostStart { container, id } => {
                self.log.push(format!("hook {container}"));
                self.memory.hooks.remove(id);
            }
            Action::Kill { container, id, grace_secs, why, .. } => {
                self.log.push(format!("kill {container} {grace_secs} {why:?}"));
                self.memory.kills.insert(id.clone(), self.now);
                self.exit_of(&id.clone(), 137);
            }
            Action::RemoveContainer { id } => {
                self.log.push("remove container".into());
                self.observed.containers.retain(|c| c.id != *id);
            }
            Action::Probe { container, id, kind } => {
                self.log.push(format!("probe {container} {kind:?}"));
                let spec = self.pod.spec.container(container).and_then(|c| c.probe(*kind)).expect("a probe");
                // Commands are verdicts here.
                let passes = spec.handler.exec.as_ref().is_some_and(|e| e.command == ["true"]);
                self.memory.probed(id, *kind, &spec.clone(), passes, self.now);
            }
            Action::AnnounceBackOff { container, id } => {
                self.log.push(format!("{container} waits"));
                self.memory.announced.insert(id.clone());
            }
            Action::Cancel(key) => {
                self.log.push(format!("cancel {key:?}"));
                self.memory.in_flight.remove(key);
            }
            Action::CleanUp => self.memory.cleaned = true,
            Action::Delete => {
                self.log.push("delete".into());
                self.memory.deleted = true;
            }
        }
        if let Some(key) = action.key() {
            self.memory.ended(&key, outcome, self.now);
        }
    }

    fn exit_of(&mut self, id: &str, code: i32) {
        let finished = self.now;
        for container in self.observed.containers.iter_mut().filter(|c| c.id == id) {
            let exit = Exit { code, reason: String::new(), message: String::new(), started: None, finished };
            container.state = State::Exited(exit);
        }
    }

    /// The container ends by itself.
    fn exit(&mut self, name: &str, code: i32) {
        let id = self.observed.latest(name).expect("a container").id.clone();
        self.exit_of(&id, code);
    }

    fn after(&mut self, secs: u64) {
        self.now = self.now.plus(Duration::from_secs(secs));
    }

    /// Lets time pass until the plan wants to look again.
    fn until_woken(&mut self) -> u64 {
        let wake_at = self.plan().wake_at.expect("something is waited for");
        let secs = wake_at.since(self.now).as_secs();
        self.now = wake_at;
        secs
    }

    fn delete(&mut self, grace_secs: i64) {
        self.pod.metadata.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
        self.pod.metadata.deletion_grace_period_seconds = Some(grace_secs);
    }
}

#[test]
fn containers_start_one_after_another_behind_volumes_and_sandbox() {
    let mut world = World::of(json!({"containers": [
        {"name": "a", "lifecycle": {"postStart": {"sleep": {"seconds": 1}}}}, {"name": "b"}]}));
    assert_eq!(world.settle(), ["volumes", "sandbox 0", "start a 0", "hook a", "start b 0"]);
    assert_eq!(world.plan().phase, Phase::Running);
}

#[test]
fn what_runs_is_adopted_without_a_touch() {
    let mut world =
        World::of(json!({"containers": [{"name": "a", "readinessProbe": {"exec": {"command": ["true"]}}}]}));
    world.settle();
    let id = world.observed.latest("a").expect("a container").id.clone();
    world.pod.status = json!({"containerStatuses": [
        {"name": "a", "containerID": format!("containerd://{id}"), "ready": true, "started": true}]});
    world.memory = Memory::adopt(&world.pod, &world.observed, world.now);
    assert!(world.memory.is_ready(&world.pod.spec.containers[0], &id), "readiness survives");
    assert_eq!(world.settle(), ["volumes", "probe a Readiness"]);
}

#[test]
fn a_crashing_container_waits_longer_each_time() {
    let mut world = World::of(json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.exit("a", 1);
    assert_eq!(world.settle(), ["start a 1"]);
    for (restart, wait) in [(2, 10), (3, 20), (4, 40)] {
        world.exit("a", 1);
        assert_eq!(world.settle(), ["a waits"]);
        assert_eq!(world.until_woken(), wait);
        assert_eq!(world.settle(), [format!("start a {restart}"), "remove container".to_owned()]);
    }
}

#[test]
fn a_pod_that_is_done_frees_its_network_and_stays() {
    let mut world = World::of(json!({"restartPolicy": "OnFailure", "containers": [{"name": "a"}, {"name": "b"}]}));
    world.settle();
    world.exit("a", 0);
    assert_eq!(world.settle(), Vec::<String>::new());
    world.exit("b", 1);
    assert_eq!(world.settle(), ["start b 1"]);
    world.exit("b", 0);
    assert_eq!(world.settle(), ["stop s0"]);
    assert_eq!(world.plan().phase, Phase::Finished);
    world.delete(30);
    assert_eq!(world.settle(), ["remove s0", "delete"]);
    assert_eq!(world.plan().phase, Phase::Gone);
}

#[test]
fn init_containers_run_to_their_end_in_order_and_sidecars_stay() {
    let mut world = World::of(json!({
        "initContainers": [
            {"name": "i"},
            {"name": "side", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["true"]}}},
            {"name": "j"}],
        "containers": [{"name": "a"}]}));
    assert_eq!(world.settle(), ["volumes", "sandbox 0", "start i 0"]);
    world.exit("i", 1);
    assert_eq!(world.settle(), ["start i 1"]);
    world.exit("i", 0);
    assert_eq!(world.settle(), ["start side 0", "probe side Startup", "start j 0"]);
    world.exit("j", 0);
    assert_eq!(world.settle(), ["start a 0"]);
    world.exit("side", 0);
    assert_eq!(world.settle(), ["start side 1", "probe side Startup"]);
    world.delete(30);
    assert!(
        matches!(&world.plan().actions[..], [Action::Kill { container, .. }] if container == "a"),
        "sidecars go last"
    );
    assert_eq!(world.settle(), ["kill a 30 PodStops", "kill side 30 PodStops", "stop s0", "remove s0", "delete"]);
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let mut world =
        World::of(json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    world.settle();
    world.exit("i", 1);
    assert_eq!(world.settle(), ["stop s0"]);
    assert_eq!(world.plan().phase, Phase::Finished);
}

#[test]
fn a_dead_sandbox_is_replaced_and_its_containers_run_again() {
    let mut world = World::of(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    world.settle();
    world.exit("i", 0);
    world.settle();
    world.observed.sandboxes[0].ready = false;
    let log = world.settle();
    assert_eq!(log, ["kill a 30 PodStops", "sandbox 1", "start i 1"]);
    world.exit("i", 0);
    assert_eq!(world.settle(), ["start a 1"]);
}

#[test]
fn what_still_runs_in_a_sandbox_of_old_is_replaced() {
    let mut world = World::of(json!({"containers": [{"name": "a"}]}));
    world.settle();
    let newer = Sandbox { id: "s1".into(), attempt: 1, ..world.observed.sandboxes[0].clone() };
    world.observed.sandboxes.insert(0, newer);
    let log = world.settle();
    assert_eq!(log, ["kill a 30 PodStops", "stop s0", "start a 1"]);
    assert_eq!(world.observed.latest("a").expect("a container").sandbox, "s1");
}

#[test]
fn a_container_that_fails_its_liveness_probe_is_restarted() {
    let probe =
        json!({"exec": {"command": ["false"]}, "failureThreshold": 2, "periodSeconds": 5, "initialDelaySeconds": 3});
    let mut world =
        World::of(json!({"terminationGracePeriodSeconds": 7, "containers": [{"name": "a", "livenessProbe": probe}]}));
    world.settle();
    assert_eq!(world.until_woken(), 3);
    assert_eq!(world.settle(), ["probe a Liveness"]);
    assert_eq!(world.until_woken(), 5);
    assert_eq!(world.settle(), ["probe a Liveness", "kill a 7 Unhealthy(Liveness)", "start a 1"]);
}

#[test]
fn nothing_is_probed_before_the_startup_probe_passed() {
    let mut world = World::of(json!({"containers": [{"name": "a",
        "startupProbe": {"exec": {"command": ["false"]}, "failureThreshold": 3},
        "readinessProbe": {"exec": {"command": ["true"]}}}]}));
    let log = world.settle();
    assert_eq!(log, ["volumes", "sandbox 0", "start a 0", "probe a Startup"]);
    world.pod.spec.containers[0]
        .startup_probe
        .as_mut()
        .expect("a probe")
        .handler
        .exec
        .as_mut()
        .expect("a command")
        .command = vec!["true".into()];
    world.until_woken();
    assert_eq!(world.settle(), ["probe a Startup", "probe a Readiness"]);
}

#[test]
fn an_image_that_cannot_be_had_holds_up_no_other_container() {
    let mut world = World::of(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    world.missing_image = Some("a");
    assert_eq!(world.settle(), ["volumes", "sandbox 0", "no image for a", "start b 0"]);
    assert_eq!(world.until_woken(), 5, "the status changes from error to back-off");
    assert_eq!(world.until_woken(), 5);
    assert_eq!(world.settle(), ["no image for a"]);
}

#[test]
fn a_deleted_pod_waits_for_its_last_status_before_it_is_removed() {
    let mut world = World::of(json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.delete(0);
    let World { pod, observed, memory, now, .. } = &world;
    let unsettled = |observed: &Observed| {
        let plan = plan(&View { pod, present: true, rejection: None, observed, memory, settled: false, now: *now });
        (plan.phase, plan.actions)
    };
    let (phase, actions) = unsettled(observed);
    assert!(phase == Phase::Stopping && matches!(actions[..], [Action::Kill { grace_secs: 1, .. }]), "{actions:?}");
    let mut stopped = observed.clone();
    let exit = Exit { code: 0, reason: String::new(), message: String::new(), started: None, finished: *now };
    stopped.containers[0].state = State::Exited(exit);
    assert_eq!(unsettled(&stopped), (Phase::Stopping, vec![]));
}

#[test]
fn a_shorter_grace_kills_sooner_and_a_longer_one_does_not_start_again() {
    let mut world = World::of(json!({"containers": [{"name": "a"}]}));
    world.settle();
    let id = world.observed.latest("a").expect("a container").id.clone();
    world.memory.began(Key::Kill(id.clone()));
    world.memory.kills.insert(id, world.now.plus(Duration::from_secs(30)));
    world.memory.stop_began = Some(world.now);
    world.delete(30);
    assert_eq!(world.plan().actions, []);
    world.after(5);
    assert_eq!(world.plan().actions, []);
    world.delete(7);
    assert!(matches!(world.plan().actions[..], [Action::Kill { grace_secs: 2, pre_stop: false, .. }]));
    world.present = false;
    assert!(matches!(world.plan().actions[..], [Action::Kill { grace_secs: 1, pre_stop: false, .. }]));
}

#[test]
fn a_grace_that_began_within_a_second_is_not_cut_to_whole_ones() {
    let mut world = World::of(json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.memory.stop_began = Some(world.now);
    world.delete(5);
    world.now = world.now.plus(Duration::from_millis(300));
    assert!(matches!(world.plan().actions[..], [Action::Kill { grace_secs: 5, .. }]));
    world.now = world.now.plus(Duration::from_millis(700));
    assert!(matches!(world.plan().actions[..], [Action::Kill { grace_secs: 4, .. }]));
}

#[test]
fn a_pod_that_the_api_has_forgotten_leaves_nothing() {
    let mut world = World::of(json!({"containers": [{"name": "a"}]}));
    world.settle();
    world.present = false;
    assert_eq!(world.settle(), ["kill a 2 PodStops", "stop s0", "remove s0"]);
    assert_eq!(world.plan().phase, Phase::Gone);
}

#[test]
fn deletion_does_not_wait_for_a_pull_or_a_hook() {
    let mut world = World::of(json!({"containers": [{"name": "a"}]}));
    world.memory.began(Key::Image("a".into()));
    world.memory.began(Key::Volumes);
    world.delete(30);
    assert_eq!(world.settle(), ["cancel Volumes", "cancel Image(\"a\")", "delete"]);
}

#[test]
fn deletion_waits_for_a_container_that_is_being_started() {
    let mut world = World::of(json!({"containers": [{"name": "a"}]}));
    world.memory.began(Key::Start("a".into()));
    world.delete(30);
    assert_eq!(world.plan(), Plan { phase: Phase::Stopping, actions: vec![], wake_at: None });
}

#[test]
fn a_pod_past_its_deadline_is_stopped() {
    let mut world = World::of(json!({"activeDeadlineSeconds": 60, "containers": [{"name": "a"}]}));
    world.settle();
    assert_eq!(world.until_woken(), 60);
    assert_eq!(world.settle(), ["kill a 30 PodStops", "stop s0"]);
    assert_eq!(world.plan().phase, Phase::Finished);
}

#[test]
fn a_pod_that_cannot_run_here_is_never_started() {
    for spec in
        [json!({"virtualMachine": {}}), json!({"runtimeClassName": "kata"}), json!({"containers": [{"name": "../x"}]})]
    {
        let mut world = World::of(spec);
        assert_eq!(world.settle(), Vec::<String>::new());
        assert_eq!(world.plan().phase, Phase::Finished);
    }
}

#[test]
fn a_container_whose_image_was_changed_is_restarted_with_it() {
    let mut world = World::of(json!({"containers": [{"name": "a", "image": "web:1"}]}));
    world.settle();
    world.pod.spec.containers[0].image = "web:2".into();
    assert_eq!(world.settle(), ["kill a 30 SpecChanged", "start a 1"]);
    assert_eq!(world.observed.latest("a").expect("a container").spec_image, "web:2");
}

#[test]
fn a_restart_count_continues_where_the_api_knows_it() {
    let mut world = World::of(json!({"containers": [{"name": "a"}]}));
    world.pod.status =
        json!({"containerStatuses": [{"name": "a", "containerID": "containerd://old", "restartCount": 4}]});
    assert_eq!(world.settle(), ["volumes", "sandbox 0", "start a 5"]);
}

#[test]
fn a_clock_that_is_set_back_stops_no_probe() {
    let probe = json!({"exec": {"command": ["true"]}, "periodSeconds": 5});
    let mut world = World::of(json!({"containers": [{"name": "a", "livenessProbe": probe}]}));
    world.settle();
    world.now = Timestamp::from_unix_secs(1);
    assert_eq!(world.settle(), Vec::<String>::new());
    world.memory.rewind(world.now);
    assert_eq!(world.settle(), ["volumes", "probe a Liveness"]);
}
