//! Filters and scores once more, as plainly as they can be said: loops over all nodes and all pods, nothing kept, nothing
//! shared with the fast way but what a pod and a node are. Random clusters have to come to the same with both.

use super::selector::{NodeExpression, NodeOperator, NodeTerm};
use super::*;
use api::TenantName;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Decisions that are compared in a quick run, and with `URSA_TEST_FULL=1`.
const DECISIONS_QUICK: usize = 3_000;
const DECISIONS_FULL: usize = 120_000;

/// Everything there is.
#[derive(Default)]
struct World {
    nodes: BTreeMap<String, Arc<Node>>,
    placed: BTreeMap<PodKey, (Arc<Pod>, String)>,
}

type Labels = BTreeMap<String, String>;

impl World {
    fn pods_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = (&'a PodKey, &'a Arc<Pod>)> {
        self.placed.iter().filter(move |(_, (_, on))| on == node).map(|(key, (pod, _))| (key, pod))
    }

    fn taken(&self, node: &str, of: impl Fn(&Pod) -> i64) -> i64 {
        self.pods_on(node).map(|(_, pod)| of(pod)).sum()
    }

    /// Whether a node will do.
    fn feasible(&self, node: &str, key: &PodKey, pod: &Pod) -> bool {
        let offer = &self.nodes[node];
        let tolerates = |key: &str, effect: &str| pod.node_needs.tolerations.iter().any(|t| tolerates(t, key, effect));
        let marked = offer.unschedulable && !tolerates("node.kubernetes.io/unschedulable", "NoSchedule");
        let binding = |taint: &&wire::Taint| taint.effect != "PreferNoSchedule";
        let tainted = offer.taints.iter().filter(binding).any(|t| !tolerates(&t.key, &t.effect));
        !marked
            && !tainted
            && admitted(offer, pod)
            && self.ports_free(node, pod)
            && self.has_room(node, pod)
            && self.spread_holds(node, key, pod)
            && self.affinity_holds(node, key, pod)
    }

    fn ports_free(&self, node: &str, pod: &Pod) -> bool {
        let same = |a: &HostPort, b: &HostPort| (a.port, &a.protocol) == (b.port, &b.protocol);
        !self.pods_on(node).any(|(_, other)| other.ports.iter().any(|a| pod.ports.iter().any(|b| same(a, b))))
    }

    fn has_room(&self, node: &str, pod: &Pod) -> bool {
        let offer = |resource: &str| self.nodes[node].allocatable.get(resource).copied().unwrap_or(0);
        let fits = |(resource, amount): &(Box<str>, i64)| {
            self.taken(node, |other| other.requests.of(resource)) + amount <= offer(resource)
        };
        (self.pods_on(node).count() as i64) < offer("pods") && pod.requests.amounts.iter().all(fits)
    }

    fn spread_holds(&self, node: &str, key: &PodKey, pod: &Pod) -> bool {
        let hard: Vec<_> = pod.spread.iter().filter(|c| c.hard).collect();
        hard.iter().all(|constraint| {
            let Some(here) = self.nodes[node].labels.get(&*constraint.topology_key) else { return false };
            let counted = self.nodes.iter().filter(|(_, offer)| counts(constraint, offer, pod, &hard));
            let mut domains: BTreeMap<&str, i64> = BTreeMap::new();
            for (name, offer) in counted {
                let value = offer.labels[&*constraint.topology_key].as_str();
                *domains.entry(value).or_default() += self.matching(name, key, constraint);
            }
            let few = domains.len() < constraint.min_domains;
            let least = if few { 0 } else { domains.values().copied().min().unwrap_or(0) };
            let own = i64::from(constraint.selector.matches(&pod.labels));
            domains.get(here.as_str()).copied().unwrap_or(0) + own - least <= constraint.max_skew
        })
    }

    /// Pods of the namespace on a node that a constraint counts.
    fn matching(&self, node: &str, key: &PodKey, constraint: &SpreadConstraint) -> i64 {
        let counted = self.pods_on(node).filter(|(other, pod)| {
            same_namespace(key, other) && !pod.deleting && constraint.selector.matches(&pod.labels)
        });
        counted.count() as i64
    }

    fn affinity_holds(&self, node: &str, key: &PodKey, pod: &Pod) -> bool {
        let terms = &pod.terms;
        let means = |term: &selector::PodTerm, of: &PodKey, other: &PodKey, labels: &Labels| {
            same_namespace(of, other) && term.selector.matches(labels)
        };
        let all_mean = |other: &PodKey, labels: &Labels| terms.affinity.iter().all(|t| means(t, key, other, labels));
        let near = |label: &str, on: &str| {
            let value = |node: &str| self.nodes.get(node).and_then(|offer| offer.labels.get(label));
            value(node).is_some() && value(node) == value(on)
        };
        let wanted = terms.affinity.iter().all(|term| {
            self.placed.iter().any(|(other, (p, on))| all_mean(other, &p.labels) && near(&term.topology_key, on))
        });
        let labelled = terms.affinity.iter().all(|term| self.nodes[node].labels.contains_key(&*term.topology_key));
        let anywhere = self.placed.iter().any(|(other, (p, on))| {
            let has =
                |t: &selector::PodTerm| self.nodes.get(on).is_some_and(|o| o.labels.contains_key(&*t.topology_key));
            all_mean(other, &p.labels) && terms.affinity.iter().any(has)
        });
        let first = !anywhere && all_mean(key, &pod.labels);
        let unwanted = self.placed.iter().any(|(other, (p, on))| {
            terms.anti_affinity.iter().any(|t| means(t, key, other, &p.labels) && near(&t.topology_key, on))
                || p.terms.anti_affinity.iter().any(|t| means(t, other, key, &pod.labels) && near(&t.topology_key, on))
        });
        labelled && (wanted || first) && !unwanted
    }

    /// The scores of the nodes that will do.
    fn scores(&self, feasible: &[&String], key: &PodKey, pod: &Pod) -> Vec<i64> {
        let mut total = vec![0; feasible.len()];
        let mut add = |weight: i64, scores: Vec<i64>| {
            total.iter_mut().zip(scores).for_each(|(total, score)| *total += weight * score);
        };
        add(1, feasible.iter().map(|node| self.least_allocated(node, pod)).collect());
        add(1, feasible.iter().map(|node| self.balance(node, pod)).collect());
        let avoided = feasible.iter().map(|node| {
            let asking = self.nodes[*node].taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
            let answers = |t: &&wire::Taint| pod.node_needs.tolerations.iter().any(|o| tolerates(o, &t.key, &t.effect));
            asking.filter(|t| !answers(t)).count() as i64
        });
        let avoided: Vec<i64> = avoided.collect();
        let most = avoided.iter().copied().max().unwrap_or(0);
        add(3, avoided.into_iter().map(|count| if most == 0 { 100 } else { 100 - count * 100 / most }).collect());
        let preferred = feasible.iter().map(|node| {
            let matching =
                pod.node_needs.selector.preferred.iter().filter(|(_, t)| term_holds(t, &self.nodes[*node].labels));
            matching.map(|(weight, _)| weight).sum()
        });
        let preferred: Vec<i64> = preferred.collect();
        let most = preferred.iter().copied().max().unwrap_or(0);
        add(2, preferred.into_iter().map(|sum| if most == 0 { 0 } else { sum * 100 / most }).collect());
        add(2, self.spreading(feasible, key, pod));
        add(2, self.neighbours(feasible, key, pod));
        total
    }

    fn least_allocated(&self, node: &str, pod: &Pod) -> i64 {
        let offer = &self.nodes[node].allocatable;
        let share = |resource: &str, of: &dyn Fn(&Pod) -> i64| {
            let offered = offer.get(resource).copied().filter(|&offered| offered > 0)?;
            Some((offered - self.taken(node, of) - of(pod)).max(0) * 100 / offered)
        };
        let cpu = share("cpu", &|pod| pod.requests.scored_cpu);
        let memory = share("memory", &|pod| pod.requests.scored_memory);
        let both: Vec<i64> = cpu.into_iter().chain(memory).collect();
        both.iter().sum::<i64>() / both.len().max(1) as i64
    }

    fn balance(&self, node: &str, pod: &Pod) -> i64 {
        if pod.requests.of("cpu") == 0 && pod.requests.of("memory") == 0 {
            return 0;
        }
        let balance = |pods: i64| {
            let part = |resource: &str| {
                let taken = self.taken(node, |other| other.requests.of(resource)) + pods * pod.requests.of(resource);
                (taken as f64 / self.nodes[node].allocatable[resource] as f64).min(1.0)
            };
            ((1.0 - ((part("cpu") - part("memory")) / 2.0).abs()) * 100.0) as i64
        };
        50 + (50 + balance(1) - balance(0)) / 2
    }

    fn spreading(&self, feasible: &[&String], key: &PodKey, pod: &Pod) -> Vec<i64> {
        let soft: Vec<_> = pod.spread.iter().filter(|c| !c.hard).collect();
        if soft.is_empty() {
            return vec![0; feasible.len()];
        }
        let value = |node: &str, c: &SpreadConstraint| self.nodes[node].labels.get(&*c.topology_key).cloned();
        let complete = |node: &str| soft.iter().all(|c| value(node, c).is_some());
        let crowd = |node: &&String| {
            let crowd: f64 = soft
                .iter()
                .map(|constraint| {
                    let here = value(node, constraint);
                    let inside = self.nodes.iter().filter(|(other, offer)| {
                        complete(other) && value(other, constraint) == here && counts(constraint, offer, pod, &soft)
                    });
                    let count: i64 = inside.map(|(other, _)| self.matching(other, key, constraint)).sum();
                    let scored = feasible.iter().filter(|other| complete(other));
                    let domains: BTreeSet<_> = scored.map(|other| value(other, constraint)).collect();
                    count as f64 * (domains.len() as f64 + 2.0).ln() + (constraint.max_skew - 1) as f64
                })
                .sum();
            complete(node).then(|| crowd.round() as i64)
        };
        let crowds: Vec<Option<i64>> = feasible.iter().map(crowd).collect();
        let all = || crowds.iter().flatten().copied();
        let (least, most) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        let score =
            |crowd: &Option<i64>| crowd.map_or(0, |c| if most == 0 { 100 } else { 100 * (most + least - c) / most });
        crowds.iter().map(score).collect()
    }

    /// Required affinity of the pods that are there counts as a wish of theirs.
    fn neighbours(&self, feasible: &[&String], key: &PodKey, pod: &Pod) -> Vec<i64> {
        let sum = |node: &&String| -> i64 {
            let near = |label: &str, on: &str| {
                let value = |node: &str| self.nodes.get(node).and_then(|offer| offer.labels.get(label));
                value(node).is_some() && value(node) == value(on)
            };
            let of_pod = |(other, (placed, on)): (&PodKey, &(Arc<Pod>, String))| -> i64 {
                let wished = |(weight, term): &(i64, selector::PodTerm)| {
                    let means = term.selector.matches(&placed.labels) && near(&term.topology_key, on);
                    if means { *weight } else { 0 }
                };
                let wishes = |term: &selector::PodTerm, weight: i64| {
                    let means = term.selector.matches(&pod.labels) && near(&term.topology_key, on);
                    if means { weight } else { 0 }
                };
                if !same_namespace(key, other) {
                    return 0;
                }
                let own: i64 = pod.terms.preferred.iter().map(wished).sum();
                let required: i64 = placed.terms.affinity.iter().map(|t| wishes(t, 1)).sum();
                let preferred: i64 = placed.terms.preferred.iter().map(|(weight, t)| wishes(t, *weight)).sum();
                own + required + preferred
            };
            self.placed.iter().map(of_pod).sum()
        };
        let sums: Vec<i64> = feasible.iter().map(sum).collect();
        let (least, most) = (sums.iter().copied().min().unwrap_or(0), sums.iter().copied().max().unwrap_or(0));
        let part = |sum: i64| (100.0 * ((sum - least) as f64 / (most - least) as f64)) as i64;
        sums.into_iter().map(|sum| if least == most { 0 } else { part(sum) }).collect()
    }
}

fn same_namespace(a: &PodKey, b: &PodKey) -> bool {
    (&a.tenant, &a.namespace) == (&b.tenant, &b.namespace)
}

fn tolerates(toleration: &wire::Toleration, key: &str, effect: &str) -> bool {
    // Random pods tolerate everything or nothing, or one key.
    toleration.operator.as_deref() == Some("Exists")
        && toleration.key.as_deref().is_none_or(|own| own == key)
        && toleration.effect.as_deref().is_none_or(|own| own == effect)
}

fn admitted(node: &Node, pod: &Pod) -> bool {
    let selector = &pod.node_needs.selector;
    selector.equal.iter().all(|(key, value)| node.labels.get(&**key).is_some_and(|own| **own == **value))
        && selector.required.as_ref().is_none_or(|terms| terms.iter().any(|term| term_holds(term, &node.labels)))
}

fn term_holds(term: &NodeTerm, labels: &Labels) -> bool {
    let holds = |e: &NodeExpression| {
        let value = labels.get(&*e.key);
        let listed = value.is_some_and(|value| e.values.iter().any(|v| **v == **value));
        match e.operator {
            NodeOperator::In => listed,
            NodeOperator::NotIn => !listed,
            NodeOperator::Exists => value.is_some(),
            NodeOperator::DoesNotExist => value.is_none(),
            NodeOperator::Gt | NodeOperator::Lt | NodeOperator::Unknown => false,
        }
    };
    !term.labels.is_empty() && term.labels.iter().all(holds)
}

/// Whether the pods of a node are counted for a constraint, one of several of its kind.
fn counts(constraint: &SpreadConstraint, node: &Node, pod: &Pod, all: &[&SpreadConstraint]) -> bool {
    let tolerated = |t: &wire::Taint| pod.node_needs.tolerations.iter().any(|o| tolerates(o, &t.key, &t.effect));
    let tainted = node.taints.iter().any(|t| t.effect != "PreferNoSchedule" && !tolerated(t));
    all.iter().all(|c| node.labels.contains_key(&*c.topology_key))
        && (!constraint.honor_affinity || admitted(node, pod))
        && (!constraint.honor_taints || !tainted)
}

/// Random nodes and pods of few values, so that everything meets everything.
struct Random(Rng);

impl Random {
    fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.0.below(values.len())].clone()
    }

    fn maybe(&mut self, value: Value) -> Value {
        if self.0.below(3) == 0 { value } else { Value::Null }
    }

    fn labels(&mut self) -> Value {
        let mut labels = json!({"zone": self.one_of(&["a", "b", "c"]), "disk": self.one_of(&["ssd", "hdd"])});
        if self.0.below(5) == 0 {
            labels = json!({"disk": self.one_of(&["ssd", "hdd"])});
        }
        labels
    }

    fn node(&mut self) -> Arc<Node> {
        let effect = self.one_of(&["NoSchedule", "NoExecute", "PreferNoSchedule"]);
        let key = self.one_of(&["t", "u"]);
        let taints = self.maybe(json!([{"key": key, "effect": effect}]));
        let offered = json!({"cpu": self.one_of(&["1", "2", "4"]), "memory": "4Gi", "pods": self.one_of(&["3", "9"])});
        let unschedulable = if self.0.below(9) == 0 { json!(true) } else { Value::Null };
        read(json!({
            "metadata": {"labels": self.labels()}, "spec": {"taints": taints, "unschedulable": unschedulable},
            "status": {"allocatable": offered},
        }))
    }

    fn term(&mut self) -> Value {
        let selector = json!({"matchLabels": {"app": self.one_of(&["x", "y"])}});
        json!({"labelSelector": selector, "topologyKey": self.one_of(&["zone", "disk", "none"])})
    }

    fn affinity(&mut self) -> Value {
        let (required, preferred) = (self.term(), self.term());
        let weighted = json!([{"weight": self.one_of(&[1, 50]), "podAffinityTerm": preferred}]);
        let required = self.maybe(json!([required]));
        self.maybe(json!({
            "requiredDuringSchedulingIgnoredDuringExecution": required,
            "preferredDuringSchedulingIgnoredDuringExecution": weighted,
        }))
    }

    fn constraint(&mut self) -> Value {
        json!({
            "labelSelector": {"matchLabels": {"app": self.one_of(&["x", "y"])}},
            "topologyKey": self.one_of(&["zone", "disk"]), "maxSkew": self.one_of(&[1, 2]),
            "minDomains": self.maybe(json!(3)),
            "whenUnsatisfiable": self.one_of(&["DoNotSchedule", "ScheduleAnyway"]),
            "nodeTaintsPolicy": self.one_of(&["Honor", "Ignore"]), "nodeAffinityPolicy": self.one_of(&["Honor", "Ignore"]),
        })
    }

    /// A pod that has nothing to do with its neighbours: one of few sizes.
    fn plain_pod(&mut self) -> Arc<Pod> {
        let cpu = self.one_of(&["100m", "500m"]);
        let selector = self.maybe(json!({"disk": "ssd"}));
        let tolerations = self.maybe(json!([{"operator": "Exists"}]));
        read(json!({"metadata": {"uid": "u"}, "spec": {
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}],
            "nodeSelector": selector, "tolerations": tolerations,
        }}))
    }

    fn pod(&mut self) -> Arc<Pod> {
        let resources =
            json!({"requests": {"cpu": self.one_of(&["100m", "500m", "1500m"]), "memory": self.maybe(json!("1Gi"))}});
        let term = json!({"matchExpressions": [{
            "key": self.one_of(&["disk", "zone"]), "operator": self.one_of(&["In", "NotIn", "Exists", "DoesNotExist"]),
            "values": [self.one_of(&["ssd", "a"])],
        }]});
        let node_affinity = json!({
            "requiredDuringSchedulingIgnoredDuringExecution": self.maybe(json!({"nodeSelectorTerms": [term]})),
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": self.one_of(&[3, 70]), "preference": term}],
        });
        let mut spread = vec![self.constraint(), self.constraint()];
        spread.truncate(self.one_of(&[0, 0, 1, 2]));
        let toleration = self.one_of(&[json!({"operator": "Exists"}), json!({"operator": "Exists", "key": "t"})]);
        read(json!({
            "metadata": {"uid": "u", "labels": {"app": self.one_of(&["x", "y"])}},
            "spec": {
                "containers": [{"name": "c", "resources": resources, "ports": self.maybe(json!([{"hostPort": 80}]))}],
                "affinity": {
                    "podAffinity": self.affinity(), "podAntiAffinity": self.affinity(),
                    "nodeAffinity": self.maybe(node_affinity),
                },
                "topologySpreadConstraints": spread, "tolerations": self.maybe(json!([toleration])),
            },
        }))
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).expect("an object"))
}

/// Compares what both ways say of all nodes, and what is chosen.
fn compare(placement: &mut Placement, world: &World, key: &PodKey, pod: &Pod, seed: u64) -> Option<String> {
    let feasible: Vec<&String> = world.nodes.keys().filter(|node| world.feasible(node, key, pod)).collect();
    let explained = placement.explain(key, pod);
    let mut fast: Vec<(&str, i64)> =
        explained.nodes.iter().filter(|node| node.reasons.is_empty()).map(|node| (&*node.name, node.total())).collect();
    fast.sort_unstable();
    let names: Vec<&str> = fast.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, feasible, "seed {seed}: which nodes will do");
    let scores = world.scores(&feasible, key, pod);
    // Scores that are the same for all nodes are left out by the fast way.
    let off: BTreeSet<i64> = fast.iter().zip(&scores).map(|((_, fast), plain)| plain - fast).collect();
    assert!(off.len() <= 1, "seed {seed}: {fast:?} and plainly {scores:?}");
    match placement.decide(key, pod, &mut Rng::new(seed)) {
        Decision::Node(node, _) => {
            let chosen = feasible.iter().position(|name| **name == *node).expect("it will do");
            assert_eq!(Some(scores[chosen]), scores.iter().copied().max(), "seed {seed}: {node} is not the best");
            Some(node.to_string())
        }
        Decision::Unschedulable(why) => {
            assert!(feasible.is_empty(), "seed {seed}: {}", why.message);
            None
        }
    }
}

#[test]
fn the_fast_way_and_the_plain_one_come_to_the_same_scores_included() {
    let full = std::env::var("URSA_TEST_FULL").is_ok_and(|value| value == "1");
    let wanted = if full { DECISIONS_FULL } else { DECISIONS_QUICK };
    let tenants = ["red", "blue", "plain"].map(|name| TenantName::new(name).expect("a tenant's name"));
    let (mut decisions, mut placed_count, mut seed) = (0, 0, 0);
    while decisions < wanted {
        seed += 1;
        let mut random = Random(Rng::new(seed));
        let (mut placement, mut world) = (Placement::default(), World::default());
        for step in 0..60 {
            let name = format!("n{}", random.0.below(6));
            match random.0.below(12) {
                0 if world.pods_on(&name).next().is_none() => {
                    placement.snapshot.remove_node(&name);
                    world.nodes.remove(&name);
                }
                0..=3 => {
                    let node = random.node();
                    placement.snapshot.set_node(&name, node.clone());
                    world.nodes.insert(name, node);
                }
                4 => {
                    if let Some((gone, _)) = world.placed.pop_first() {
                        placement.snapshot.unplace(&gone);
                    }
                }
                _ => {}
            }
            let tenant = random.one_of(&tenants);
            let key = PodKey::new(&tenant, random.one_of(&["one", "two"]), &format!("p{step}"));
            let pod = if tenant.as_str() == "plain" { random.plain_pod() } else { random.pod() };
            if world.nodes.is_empty() {
                continue;
            }
            decisions += 1;
            if let Some(node) = compare(&mut placement, &world, &key, &pod, seed) {
                placement.snapshot.place(&key, pod.clone(), &node);
                world.placed.insert(key, (pod, node));
                placed_count += 1;
            }
        }
    }
    assert!(placed_count > wanted / 10, "only {placed_count} of {decisions} pods found a node");
}
