//! What the recorded verdicts do not show: that tenants are apart, that the fast way and the plain way agree, and that
//! questions of what would be leave no trace.

use super::filter::Evaluation;
use super::*;
use api::TenantName;
use serde_json::{Value, json};

fn key(tenant: &str, name: &str) -> PodKey {
    PodKey::new(&TenantName::new(tenant).expect("a tenant's name"), "default", name)
}

fn pod(spec: Value, labels: Value) -> Arc<Pod> {
    let object = json!({"metadata": {"uid": "u", "labels": labels}, "spec": spec});
    Arc::new(serde_json::from_value(object).expect("a pod"))
}

fn asks(cpu: &str) -> Value {
    json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}])
}

fn with_nodes(names: &[&str]) -> Placement {
    let mut placement = Placement::default();
    for name in names {
        let node = json!({
            "metadata": {"labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}},
        });
        placement.snapshot.set_node(name, Arc::new(serde_json::from_value(node).expect("a node")));
    }
    placement
}

fn apart() -> Value {
    let term = json!({"labelSelector": {}, "namespaceSelector": {}, "topologyKey": "kubernetes.io/hostname"});
    json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
}

#[track_caller]
fn node_of(decision: Decision) -> String {
    match decision {
        Decision::Node(node, _) => node.to_string(),
        Decision::Unschedulable(why) => panic!("{}", why.message),
    }
}

#[track_caller]
fn refusal_of(decision: Decision) -> Unschedulable {
    match decision {
        Decision::Unschedulable(why) => why,
        Decision::Node(node, _) => panic!("it went to {node}"),
    }
}

#[test]
fn pods_of_another_tenant_neither_repel_nor_are_repelled() {
    let mut placement = with_nodes(&["n1"]);
    let lonely = pod(json!({"containers": asks("1m"), "affinity": apart()}), json!({"a": "b"}));
    placement.snapshot.place(&key("red", "lonely"), lonely.clone(), "n1");
    assert_eq!(node_of(placement.decide(&key("blue", "lonely"), &lonely, &mut Rng::new(1))), "n1");
    let why = refusal_of(placement.decide(&key("red", "another"), &lonely, &mut Rng::new(1)));
    assert!(why.message.contains("1 node(s) didn't match pod anti-affinity rules"), "{}", why.message);
}

#[test]
fn preemption_stays_within_the_tenant() {
    let mut placement = with_nodes(&["n1"]);
    let low = pod(json!({"containers": asks("2"), "priority": -10}), json!({}));
    let high = pod(json!({"containers": asks("1"), "priority": 10}), json!({}));
    placement.snapshot.place(&key("red", "low"), low, "n1");
    let other = refusal_of(placement.decide(&key("blue", "high"), &high, &mut Rng::new(1)));
    assert!(other.preemption.is_none());
    assert!(other.message.ends_with("0/1 nodes are available: 1 No preemption victims found for incoming pod."));
    let own = refusal_of(placement.decide(&key("red", "high"), &high, &mut Rng::new(1)));
    assert_eq!(own.preemption.expect("a way").victims[0].0, key("red", "low"));
}

#[test]
fn what_no_node_offers_is_counted_once_a_node_does() {
    let mut placement = with_nodes(&["n1"]);
    let asking = pod(json!({"containers": [{"name": "c", "resources": {"limits": {"a.example/x": "1"}}}]}), json!({}));
    placement.snapshot.place(&key("red", "early"), asking.clone(), "n1");
    let offer = json!({"status": {"allocatable": {"pods": "10", "a.example/x": "1"}}});
    placement.snapshot.set_node("n1", Arc::new(serde_json::from_value(offer).expect("a node")));
    let why = refusal_of(placement.decide(&key("red", "late"), &asking, &mut Rng::new(1)));
    assert!(why.message.starts_with("0/1 nodes are available: 1 Insufficient a.example/x."), "{}", why.message);
    placement.snapshot.unplace(&key("red", "early"));
    assert_eq!(node_of(placement.decide(&key("red", "late"), &asking, &mut Rng::new(1))), "n1");
}

#[test]
fn requests_beyond_all_measure_neither_overflow_nor_stay() {
    let mut placement = with_nodes(&["n1"]);
    let huge = pod(
        json!({"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "9e18", "memory": "9223372036854775807"}}},
            {"name": "b", "resources": {"requests": {"cpu": "9e18", "memory": "9223372036854775807"}}},
        ]}),
        json!({}),
    );
    for name in ["a", "b", "c"] {
        placement.snapshot.place(&key("red", name), huge.clone(), "n1");
    }
    refusal_of(placement.decide(&key("red", "x"), &huge, &mut Rng::new(1)));
    for name in ["a", "b", "c"] {
        placement.snapshot.unplace(&key("red", name));
    }
    let small = pod(json!({"containers": asks("2")}), json!({}));
    assert_eq!(node_of(placement.decide(&key("red", "x"), &small, &mut Rng::new(1))), "n1");
}

#[test]
fn no_number_of_pods_of_any_size_overflows_or_makes_room() {
    // Around the counts at which sums of 2^48 reach 2^63 and 2^64.
    let counts = [0_i128, 1, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537];
    for amount in [1, 1000, requests::AMOUNT_MAX - 1, requests::AMOUNT_MAX] {
        let named = [requests::CPU, requests::MEMORY].map(|name| (name.into(), amount));
        let taking = Requests { amounts: named.into(), scored_cpu: amount, scored_memory: amount };
        for offered in [0, 1, amount, requests::AMOUNT_MAX] {
            let mut columns = columns::Columns::default();
            columns.add_node();
            let node = NodeId::at(0);
            let slots = (requests::PODS, requests::AMOUNT_MAX);
            let offers = [(requests::CPU, offered), (requests::MEMORY, offered), slots];
            columns.offer(node, &offers.map(|(name, amount)| (name.to_owned(), amount)).into());
            let mut placed = 0;
            for count in counts {
                while placed < count {
                    columns.take(node, &taking, 1);
                    placed += 1;
                }
                let left = i128::from(offered) - count * i128::from(amount);
                let fit = Size::new(&columns, &taking, &Profile::default()).fit(node);
                assert_eq!(fit.room == Room::Enough, i128::from(amount) <= left, "{count} of {amount} on {offered}");
                assert_eq!(fit.room == Room::Never, amount > offered, "{count} of {amount} on {offered}");
                assert!((0..=2 * TOP_SCORE).contains(&fit.score), "{count} of {amount} on {offered}: {}", fit.score);
            }
            while placed > 0 {
                columns.take(node, &taking, -1);
                placed -= 1;
            }
            assert_eq!(
                columns.room(node, &taking, &Profile::default().fit) == Room::Enough,
                amount <= offered,
                "all gave back what they took"
            );
        }
    }
}

#[test]
fn a_node_that_more_pods_claim_than_can_be_summed_is_full_and_the_others_go_on() {
    let mut placement = with_nodes(&["n1", "n2"]);
    let request = json!({"cpu": "256T", "memory": "256Ti"});
    let huge =
        pod(json!({"containers": [{"name": "c", "resources": {"requests": request}}], "priority": -1}), json!({}));
    for i in 0..65_536 {
        placement.snapshot.place(&key("red", &format!("p{i}")), huge.clone(), "n1");
    }
    let small = pod(json!({"containers": asks("1")}), json!({}));
    assert_eq!(node_of(placement.decide(&key("blue", "x"), &small, &mut Rng::new(1))), "n2");
    placement.snapshot.remove_node("n2");
    let why = refusal_of(placement.decide(&key("blue", "x"), &small, &mut Rng::new(1)));
    assert!(
        why.message.starts_with("0/1 nodes are available: 1 Insufficient cpu, 1 Too many pods."),
        "{}",
        why.message
    );
}

/// A random cluster of few values, so that everything meets everything.
struct Random(Rng);

impl Random {
    fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.0.below(values.len())].clone()
    }

    fn sometimes(&mut self, value: Value) -> Value {
        if self.0.below(3) == 0 { value } else { Value::Null }
    }

    fn node(&mut self) -> Arc<Node> {
        let labels = json!({"zone": self.one_of(&["a", "b", "c"]), "disk": self.one_of(&["ssd", "hdd"])});
        let effect = self.one_of(&["NoSchedule", "NoExecute", "PreferNoSchedule"]);
        let taints = self.sometimes(json!([{"key": "t", "effect": effect}]));
        let offered = json!({"cpu": self.one_of(&["1", "2", "4"]), "memory": "4Gi", "pods": self.one_of(&["2", "9"])});
        let unschedulable = self.sometimes(json!(true));
        let node = json!({
            "metadata": {"labels": labels}, "spec": {"taints": taints, "unschedulable": unschedulable},
            "status": {"allocatable": offered},
        });
        Arc::new(serde_json::from_value(node).expect("a node"))
    }

    fn pod(&mut self) -> Arc<Pod> {
        let labels = json!({"app": self.one_of(&["x", "y"])});
        let selector = json!({"matchLabels": {"app": self.one_of(&["x", "y"])}});
        let topology = self.one_of(&["zone", "disk"]);
        let term = json!([{"labelSelector": selector, "topologyKey": topology}]);
        let required = |term: Value| json!({"requiredDuringSchedulingIgnoredDuringExecution": term});
        let affinity = json!({
            "podAffinity": self.sometimes(required(term.clone())),
            "podAntiAffinity": self.sometimes(required(term)),
        });
        let when = self.one_of(&["DoNotSchedule", "ScheduleAnyway"]);
        let spread = json!([{
            "labelSelector": selector, "topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": when,
            "nodeTaintsPolicy": self.one_of(&["Honor", "Ignore"]),
        }]);
        let ports = self.sometimes(json!([{"hostPort": 80}]));
        let cpu = self.one_of(&["100m", "500m", "1500m"]);
        let spec = json!({
            "containers": [{"name": "c", "ports": ports, "resources": {"requests": {"cpu": cpu}}}],
            "affinity": affinity, "topologySpreadConstraints": self.sometimes(spread),
            "nodeSelector": self.sometimes(json!({"disk": "ssd"})),
            "tolerations": self.sometimes(json!([{"operator": "Exists"}])),
            "priority": self.one_of(&[0, 10, 20]),
        });
        pod(spec, labels)
    }
}

/// The verdicts on all nodes by what is kept, the fast way, and by asking each node, the plain way.
fn verdicts(placement: &mut Placement, key: &PodKey, pod: &Pod) -> (Vec<Verdict>, Vec<Verdict>) {
    let Placement { profiles, snapshot, classes, fits, topologies, volumes, .. } = placement;
    let profile = &*profiles[0];
    let class = NodeClass { profile: 0, pool: None, needs: pod.node_needs.clone() };
    let standings = classes.standings(snapshot, profile, &class);
    let asks = PodVolumes::new(volumes, snapshot, key, pod).expect("it has no claims");
    let sized = Size::new(&snapshot.columns, &pod.requests, profile);
    let size = (0, pod.requests.clone());
    let fits = fits.current(&size, snapshot.len(), &snapshot.usage, |node| sized.fit(node));
    let evaluation =
        Evaluation::new(snapshot, topologies, (key, pod), (profile, &pod.spread), standings, fits, (volumes, asks));
    let plain = snapshot.nodes().map(|node| evaluation.check(snapshot, node)).collect();
    (evaluation.check_all(snapshot), plain)
}

#[test]
fn the_kept_picture_agrees_with_one_that_is_made_anew() {
    for seed in 0..60 {
        let mut random = Random(Rng::new(seed));
        let mut placement = Placement::default();
        let mut nodes: BTreeMap<String, Arc<Node>> = BTreeMap::new();
        let mut placed: BTreeMap<PodKey, (Arc<Pod>, String)> = BTreeMap::new();
        for step in 0..60 {
            let name = format!("n{}", random.0.below(6));
            match random.0.below(6) {
                0 => {
                    placement.snapshot.remove_node(&name);
                    nodes.remove(&name);
                }
                1 | 2 => {
                    let node = random.node();
                    placement.snapshot.set_node(&name, node.clone());
                    nodes.insert(name, node);
                }
                3 => {
                    if let Some((gone, _)) = placed.pop_first() {
                        placement.snapshot.unplace(&gone);
                    }
                }
                _ => {
                    let (key, pod) = (key("red", &format!("p{step}")), random.pod());
                    placement.snapshot.place(&key, pod.clone(), &name);
                    placed.insert(key, (pod, name));
                }
            }
            let (asking, pod) = (key("red", "asking"), random.pod());
            let (kept, _) = verdicts(&mut placement, &asking, &pod);
            if let Decision::Unschedulable(_) = placement.decide(&asking, &pod, &mut random.0) {
                assert_eq!(verdicts(&mut placement, &asking, &pod).0, kept, "seed {seed}: preemption left a trace");
            }
            let mut anew = Placement::default();
            for (name, node) in &nodes {
                anew.snapshot.set_node(name, node.clone());
            }
            for (key, (pod, node)) in &placed {
                anew.snapshot.place(key, pod.clone(), node);
            }
            let (_, plain) = verdicts(&mut anew, &asking, &pod);
            for name in nodes.keys() {
                let of = |placement: &Placement| placement.snapshot.find(name).expect("it is there").index();
                assert_eq!(kept[of(&placement)], plain[of(&anew)], "seed {seed}, step {step}, node {name}");
            }
        }
    }
}

/// A node with these labels and status besides.
fn node(labels: Value, status: Value) -> Arc<Node> {
    let mut node = json!({
        "metadata": {"labels": labels},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10", "example.com/gpu": "4"}},
    });
    for (name, value) in status.as_object().into_iter().flatten() {
        node["status"][name] = value.clone();
    }
    Arc::new(serde_json::from_value(node).expect("a node"))
}

#[test]
fn a_virtual_machine_takes_its_resources_where_machines_can_run() {
    let mut placement = Placement::default();
    let ready = |kind: &str, status: &str| json!({"conditions": [{"type": kind, "status": status}]});
    placement.snapshot.set_node("containers", node(json!({}), json!({})));
    let machine = |cpu: &str| {
        let resources = json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu, "memory": "1Gi"}});
        pod(json!({"virtualMachine": {"name": "vm", "image": "cirros", "resources": resources}}), json!({}))
    };
    let small = machine("1");
    assert_eq!((small.requests.of("cpu"), small.requests.of("memory")), (1000, 1 << 30));
    let refusal = refusal_of(placement.decide(&key("red", "vm"), &small, &mut Rng::new(1)));
    assert!(refusal.message.contains("1 node(s) runtime is not ready"), "{}", refusal.message);
    placement.snapshot.set_node("machines", node(json!({}), ready("VmRuntimeReady", "True")));
    assert_eq!(node_of(placement.decide(&key("red", "vm"), &small, &mut Rng::new(1))), "machines");
    placement.snapshot.place(&key("red", "other"), machine("1500m"), "machines");
    let refusal = refusal_of(placement.decide(&key("red", "vm"), &small, &mut Rng::new(1)));
    assert!(refusal.message.contains("1 Insufficient cpu"), "{}", refusal.message);
    placement.snapshot.set_node("containers", node(json!({}), ready("ContainerRuntimeReady", "False")));
    let container = pod(json!({"containers": asks("1m")}), json!({}));
    assert_eq!(node_of(placement.decide(&key("red", "c"), &container, &mut Rng::new(1))), "machines");
}

#[test]
fn a_node_that_is_dedicated_to_a_tenant_takes_no_other_tenants_pods() {
    let mut placement = Placement::default();
    placement.snapshot.set_node("pool", node(json!({TENANT_LABEL: "red"}), json!({})));
    let any = pod(json!({"containers": asks("1m"), "tolerations": [{"operator": "Exists"}]}), json!({}));
    let refusal = refusal_of(placement.decide(&key("blue", "p"), &any, &mut Rng::new(1)));
    assert!(refusal.message.contains("1 node(s) were dedicated to another tenant"), "{}", refusal.message);
    assert_eq!(node_of(placement.decide(&key("red", "p"), &any, &mut Rng::new(1))), "pool");
    placement.snapshot.set_node("pool", node(json!({}), json!({})));
    assert_eq!(node_of(placement.decide(&key("blue", "p"), &any, &mut Rng::new(1))), "pool");
}

#[test]
fn a_profile_packs_what_the_default_spreads() {
    let mut profile = Profile { scheduler_name: "packer".into(), ..Profile::default() };
    profile.fit.strategy = Strategy::MostAllocated;
    profile.fit.resources = [ScoredResource { name: "example.com/gpu".into(), weight: 1 }].into();
    profile.weights.balanced = 0;
    let mut placement = Placement::new(vec![Profile::default(), profile]);
    for name in ["empty", "used"] {
        placement.snapshot.set_node(name, node(json!({}), json!({})));
    }
    let wants = |scheduler: &str| {
        let containers = json!([{"name": "c", "resources": {"requests": {"cpu": "1m", "example.com/gpu": "1"}}}]);
        pod(json!({"schedulerName": scheduler, "containers": containers}), json!({}))
    };
    placement.snapshot.place(&key("red", "there"), wants("packer"), "used");
    for (scheduler, chosen) in [("packer", "used"), ("default-scheduler", "empty")] {
        assert_eq!(node_of(placement.decide(&key("red", "p"), &wants(scheduler), &mut Rng::new(1))), chosen);
    }
}
