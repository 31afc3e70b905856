//! Promises: whose word holds against whom. The recorded verdicts know one tenant only.

use super::*;
use serde_json::{Value, json};

struct World {
    state: State,
    now: Timestamp,
}

impl World {
    /// A cluster of one node with this much CPU.
    fn of(cpu: &str) -> World {
        let mut world =
            World { state: State::new(vec![Profile::default()]), now: Timestamp::from_unix_secs(1_000_000) };
        let node = json!({"status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}});
        let node = Some(Arc::new(serde_json::from_value(node).expect("a node")));
        world.apply(Event::Node { name: "n1".to_owned(), node });
        world
    }

    fn apply(&mut self, event: Event) -> Vec<Action> {
        self.state.apply(event, self.now)
    }

    /// The API shows a pod of a tenant, which asks for this much CPU, with these members of its spec and its status.
    fn pod(&mut self, tenant: &str, name: &str, cpu: &str, spec: Value, status: Value) -> PodKey {
        let key = PodKey::new(&TenantName::new(tenant).expect("a tenant's name"), "default", name);
        let mut pod = json!({"metadata": {"uid": format!("uid-of-{name}")}, "spec": spec, "status": status});
        pod["spec"]["schedulerName"] = json!("default-scheduler");
        pod["spec"]["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
        let pod = Some(Arc::new(serde_json::from_value(pod).expect("a pod")));
        self.apply(Event::Pod { key: key.clone(), pod });
        key
    }

    /// Decides on what waits; what became of it, in words.
    fn schedule(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(actions) = self.state.schedule_next(self.now, &mut Rng::new(1)) {
            told.extend(actions.iter().map(|action| match action {
                Action::Bind { key, node, .. } => format!("{} to {node}", key.name),
                Action::Prepare { key, .. } => format!("{} prepares", key.name),
                Action::Report { key, .. } => format!("{} waits", key.name),
                Action::Evict { preemptor, victims, .. } => {
                    let victims: Vec<&str> = victims.iter().map(|(key, _)| &*key.name).collect();
                    format!("{} evicts {}", preemptor.name, victims.join(" "))
                }
            }));
        }
        told
    }
}

/// A pod that no node takes and that may not make room, so that its nomination stays.
fn unfit() -> Value {
    json!({"nodeSelector": {"no": "where"}, "priority": 10, "preemptionPolicy": "Never"})
}

/// What a tenant can write.
fn planted(phase: &str) -> Value {
    json!({"nominatedNodeName": "n1", "phase": phase})
}

/// A pod of `red` that evicts another of its tenant from a node of three CPUs and is to get all of it. One is free.
fn preempting() -> (World, PodKey) {
    let mut world = World::of("3");
    world.pod("red", "low", "2", json!({"nodeName": "n1", "priority": 0}), json!({}));
    let high = world.pod("red", "high", "3", json!({"priority": 10}), json!({}));
    assert_eq!(world.schedule(), ["high waits", "high evicts low"]);
    (world, high)
}

#[test]
fn a_nomination_that_a_tenant_wrote_holds_against_its_own_pods_alone() {
    let mut world = World::of("2");
    world.pod("red", "planted", "2", unfit(), planted("Pending"));
    assert_eq!(world.schedule(), ["planted waits"]);
    world.pod("blue", "web", "1", json!({}), json!({}));
    assert_eq!(world.schedule(), ["web to n1"]);
    world.pod("red", "own", "1", json!({}), json!({}));
    assert_eq!(world.schedule(), ["own waits"]);
}

#[test]
fn a_promise_of_the_scheduler_holds_against_all_tenants() {
    let (mut world, _) = preempting();
    world.pod("blue", "web", "1", json!({}), json!({}));
    assert_eq!(world.schedule(), ["web waits"]);
}

#[test]
fn a_promise_does_not_outlive_the_pods_failure_by_what_its_status_says() {
    let (mut world, _) = preempting();
    world.pod("red", "high", "3", unfit(), planted("Failed"));
    world.pod("red", "high", "3", unfit(), planted("Pending"));
    world.pod("blue", "web", "1", json!({}), json!({}));
    let told = world.schedule();
    assert!(told.contains(&"web to n1".to_owned()), "{told:?}");
}

#[test]
fn a_pod_that_makes_room_waits_for_all_its_victims_or_for_room_elsewhere() {
    let gone = |name: &str| Event::Pod {
        key: PodKey::new(&TenantName::new("red").expect("a name"), "default", name),
        pod: None,
    };
    for elsewhere in [false, true] {
        let mut world = World::of("3");
        let node = json!({"status": {"allocatable": {"cpu": "3", "memory": "8Gi", "pods": "110"}}});
        let node = Some(Arc::new(serde_json::from_value(node).expect("a node")));
        world.apply(Event::Node { name: "n2".to_owned(), node });
        for (name, cpu, node, priority) in [("a", "1", "n1", 0), ("b", "2", "n1", 0), ("equal", "3", "n2", 10)] {
            world.pod("red", name, cpu, json!({"nodeName": node, "priority": priority}), json!({}));
        }
        world.pod("red", "high", "3", json!({"priority": 10}), json!({}));
        assert_eq!(world.schedule(), ["high waits", "high evicts a b"]);
        world.apply(gone("a"));
        assert_eq!(world.schedule(), [""; 0], "nobody else is evicted meanwhile");
        world.apply(gone(if elsewhere { "equal" } else { "b" }));
        assert_eq!(world.schedule(), [if elsewhere { "high to n2" } else { "high to n1" }]);
    }
}

#[test]
fn a_pod_with_gates_holds_no_place_until_they_are_gone() {
    let mut world = World::of("2");
    let mut gated = unfit();
    gated["schedulingGates"] = json!([{"name": "example.com/wait"}]);
    world.pod("red", "gated", "2", gated, planted("Pending"));
    world.pod("red", "first", "1", json!({}), json!({}));
    assert_eq!(world.schedule(), ["first to n1"]);
    world.pod("red", "gated", "2", unfit(), planted("Pending"));
    world.pod("red", "second", "1", json!({}), json!({}));
    assert_eq!(world.schedule(), ["gated waits", "second waits"]);
}

#[test]
fn a_binding_that_fails_leaves_the_promise_as_it_was() {
    let (mut world, high) = preempting();
    world.apply(Event::Pod { key: PodKey::new(&high.tenant, "default", "low"), pod: None });
    assert_eq!(world.schedule(), ["high to n1"]);
    let uid = "uid-of-high".into();
    world.apply(Event::Failed(Failure::Bind { key: high, uid, why: "no".to_owned(), outrun: false }));
    world.pod("blue", "web", "1", json!({}), json!({}));
    assert_eq!(world.schedule(), ["web waits"]);
}

#[test]
fn what_a_tenant_writes_while_its_pod_is_bound_changes_no_promise() {
    let (mut world, high) = preempting();
    let node = json!({"status": {"allocatable": {"cpu": "1", "memory": "8Gi", "pods": "110"}}});
    let node = Some(Arc::new(serde_json::from_value(node).expect("a node")));
    world.apply(Event::Node { name: "n2".to_owned(), node });
    world.apply(Event::Pod { key: PodKey::new(&high.tenant, "default", "low"), pod: None });
    assert_eq!(world.schedule(), ["high to n1"]);
    world.pod("red", "high", "3", json!({"priority": 10}), json!({"nominatedNodeName": "n2"}));
    let uid = "uid-of-high".into();
    world.apply(Event::Failed(Failure::Bind { key: high, uid, why: "no".to_owned(), outrun: false }));
    world.pod("red", "high", "3", json!({"priority": 10}), json!({"nominatedNodeName": "n2"}));
    world.pod("blue", "web", "1", json!({}), json!({}));
    assert_eq!(world.schedule(), ["web to n2"]);
}
