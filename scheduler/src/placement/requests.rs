//! How much of each resource a pod asks for: the sum of its containers, the highest point of its init containers,
//! sidecars on top of both, what a resize in progress still holds, the pod's own level, and the overhead of its runtime.

use super::wire;
use api::Quantity;
use std::collections::BTreeMap;

/// The resources that are columns of every snapshot.
pub const CPU: &str = "cpu";
pub const MEMORY: &str = "memory";
pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
pub const PODS: &str = "pods";

/// What a container without a request counts for when nodes are scored, so that such pods spread too.
const SCORED_CPU_MILLIS: i64 = 100;
const SCORED_MEMORY_BYTES: i64 = 200 << 20;

/// The most that is counted of a resource, asked for or offered: 256 TiB, so that sums over a pod's containers do not
/// overflow, and those over pods have a known width.
pub const AMOUNT_MAX: i64 = 1 << 48;

/// What a pod takes from its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requests {
    /// By name; CPU in thousandths, all others in units. None is zero.
    pub amounts: Box<[(Box<str>, i64)]>,
    /// CPU and memory as the scores see them.
    pub scored_cpu: i64,
    pub scored_memory: i64,
}

impl Requests {
    pub fn of(&self, resource: &str) -> i64 {
        self.amounts.iter().find(|(name, _)| **name == *resource).map_or(0, |(_, amount)| *amount)
    }

    /// Whether `newer` asks for less of something that `wanted` asks for.
    pub fn freed_for(&self, newer: &Requests, wanted: &Requests) -> bool {
        self.amounts.iter().any(|(name, amount)| newer.of(name) < *amount && wanted.of(name) > 0)
    }
}

type Amounts = BTreeMap<String, i64>;

/// An amount in the unit in which its resource is counted.
pub fn amount(resource: &str, quantity: Quantity) -> i64 {
    let amount = if resource == CPU { quantity.millis() } else { quantity.units() };
    amount.clamp(0, AMOUNT_MAX)
}

/// Computes the requests of a pod.
pub(super) fn of_pod(spec: &wire::PodSpec, status: &wire::PodStatus) -> Requests {
    let containers = containers_total(spec, status, &Amounts::new());
    let own_level = own_level(spec, &containers);
    let missing: Amounts = [(CPU, SCORED_CPU_MILLIS), (MEMORY, SCORED_MEMORY_BYTES)]
        .into_iter()
        .filter(|(name, _)| own_level.is_empty() || total(&containers, &own_level, name) == 0)
        .map(|(name, amount)| (name.to_owned(), amount))
        .collect();
    let scored = containers_total(spec, status, &missing);
    let overhead = amounts(&spec.overhead);
    let on_top = |resource: &str| overhead.get(resource).copied().unwrap_or(0);
    let mut all = containers;
    all.extend(own_level.clone());
    add(&mut all, &overhead);
    Requests {
        amounts: all.into_iter().filter(|&(_, a)| a > 0).map(|(n, a)| (n.into_boxed_str(), a)).collect(),
        scored_cpu: AMOUNT_MAX.min(total(&scored, &own_level, CPU) + on_top(CPU)),
        scored_memory: AMOUNT_MAX.min(total(&scored, &own_level, MEMORY) + on_top(MEMORY)),
    }
}

/// What the pod's own level asks for, instead of its containers; a limit without a request becomes one, as at admission.
fn own_level(spec: &wire::PodSpec, containers: &Amounts) -> Amounts {
    let Some(resources) = &spec.resources else { return Amounts::new() };
    let mut own = amounts(&resources.requests);
    for (name, limit) in amounts(&resources.limits) {
        let from_containers = containers.get(&name).copied().filter(|&a| a > 0);
        own.entry(name).or_insert(from_containers.unwrap_or(limit));
    }
    own
}

fn total(containers: &Amounts, own_level: &Amounts, resource: &str) -> i64 {
    own_level.get(resource).or_else(|| containers.get(resource)).copied().unwrap_or(0)
}

/// The most that the containers need at any time. `missing` counts for containers that do not ask.
fn containers_total(spec: &wire::PodSpec, status: &wire::PodStatus, missing: &Amounts) -> Amounts {
    let mut running = Amounts::new();
    for container in spec.containers() {
        add(&mut running, &of_container(container, status.container(&container.name), status, missing));
    }
    if let Some(machine) = &spec.virtual_machine {
        let granted = amounts(&machine.resources_allocated);
        let mut needed = of_container(&wire::Container::of(machine), None, status, missing);
        raise(&mut needed, &granted);
        add(&mut running, &needed);
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers() {
        let resident = container.restart_policy.as_deref() == Some("Always");
        let held = if resident { status.init_container(&container.name) } else { None };
        let mut needed = of_container(container, held, status, missing);
        if resident {
            add(&mut running, &needed);
            add(&mut sidecars, &needed);
            needed = sidecars.clone();
        } else {
            add(&mut needed, &sidecars);
        }
        raise(&mut peak, &needed);
    }
    raise(&mut running, &peak);
    running
}

fn of_container(
    container: &wire::Container,
    held: Option<&wire::ContainerStatus>,
    status: &wire::PodStatus,
    missing: &Amounts,
) -> Amounts {
    let mut wanted = Amounts::new();
    if let Some(resources) = &container.resources {
        wanted = amounts(&resources.limits);
        wanted.extend(amounts(&resources.requests));
    }
    if let Some((held, resources)) = held.and_then(|h| h.resources.as_ref().map(|r| (h, r))) {
        if status.resize_infeasible() {
            wanted = Amounts::new();
        }
        raise(&mut wanted, &amounts(&resources.requests));
        raise(&mut wanted, &amounts(&held.allocated_resources));
    }
    for (name, amount) in missing {
        wanted.entry(name.clone()).or_insert(*amount);
    }
    wanted
}

pub(super) fn amounts(quantities: &wire::Quantities) -> Amounts {
    quantities.iter().flatten().map(|(name, quantity)| (name.clone(), amount(name, quantity.0))).collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.entry(name.clone()).or_default();
        *sum = AMOUNT_MAX.min(*sum + amount);
    }
}

fn raise(to: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let held = to.entry(name.clone()).or_default();
        *held = (*held).max(*amount);
    }
}
