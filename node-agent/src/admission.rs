//! Whether the node takes a pod that is bound to it, as upstream's kubelet asks: whether there is room, and whether the
//! node is one that the pod wants. The scheduler asked before; whoever binds by `spec.nodeName` did not. Pure.
//!
//! Invariant: pods are asked about in the order of their creation, whatever the order of their arrival was.

use crate::expand::Allocatable;
use crate::plan;
use crate::pod::{Amount, Container, NodeRequirement, NodeSelectorTerm, Pod, Spec};
use api::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

const CPU: &str = "cpu";
const MEMORY: &str = "memory";
const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
const PODS: &str = "pods";
/// What is asked about first, in upstream's order.
const FIRST: [&str; 4] = [PODS, CPU, MEMORY, EPHEMERAL_STORAGE];

/// By resource: CPU in thousandths, all others in units. Wide enough for the sum of whatever tenants write.
type Amounts = BTreeMap<String, i128>;

/// Why the node does not take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reason: String,
    pub message: String,
}

/// What the node has, and what it is.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    name: String,
    labels: BTreeMap<String, String>,
    amounts: Amounts,
}

impl Offer {
    /// What the machine has, and what the API says of the node besides: its labels and resources of others.
    pub fn of(name: &str, machine: Allocatable, pods_max: u32, node: &Value) -> Offer {
        let map = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let text = |(name, value): (String, Value)| Some((name, value.as_str()?.to_owned()));
        let others = map(&node["status"]["allocatable"]).into_iter().filter_map(|(name, quantity)| {
            let amount: Amount = serde_json::from_value(quantity).ok()?;
            Some((name.clone(), amount_of(&name, amount)))
        });
        let mut amounts: Amounts = others.collect();
        amounts.extend([
            (CPU.to_owned(), machine.cpu.millis().into()),
            (MEMORY.to_owned(), machine.memory.units().into()),
            (EPHEMERAL_STORAGE.to_owned(), machine.ephemeral_storage.units().into()),
            (PODS.to_owned(), pods_max.into()),
        ]);
        let labels = map(&node["metadata"]["labels"]).into_iter().filter_map(text).collect();
        Offer { name: name.to_owned(), labels, amounts }
    }
}

/// Decides on waiting pods. `holding` are those that were admitted and are not done.
pub fn admit<'a>(
    offer: &Offer,
    holding: impl IntoIterator<Item = &'a Pod>,
    mut waiting: Vec<Arc<Pod>>,
) -> Vec<(Arc<Pod>, Result<(), Rejection>)> {
    let mut taken = Amounts::new();
    holding.into_iter().for_each(|pod| take(&mut taken, pod));
    let created = |pod: &Pod| pod.metadata.creation_timestamp.as_deref().and_then(Timestamp::parse);
    waiting.sort_by(|a, b| (created(a), &a.metadata.uid).cmp(&(created(b), &b.metadata.uid)));
    let decided = waiting.into_iter().map(|pod| {
        let verdict = check(offer, &taken, &pod);
        if verdict.is_ok() {
            take(&mut taken, &pod);
        }
        (pod, verdict)
    });
    decided.collect()
}

/// One that can never run takes nothing: [`plan::goal`] says why.
fn take(taken: &mut Amounts, pod: &Pod) {
    if plan::never_runs(pod).is_none() {
        add(taken, &requests(&pod.spec));
        *taken.entry(PODS.to_owned()).or_default() += 1;
    }
}

fn check(offer: &Offer, taken: &Amounts, pod: &Pod) -> Result<(), Rejection> {
    if plan::never_runs(pod).is_some() {
        return Ok(());
    }
    let mut wanted = requests(&pod.spec);
    // What the node does not know is somebody else's to hand out.
    wanted.retain(|name, amount| *amount > 0 && (offer.amounts.contains_key(name) || !is_extended(name)));
    wanted.insert(PODS.to_owned(), 1);
    let others = wanted.keys().map(String::as_str).filter(|name| !FIRST.contains(name));
    for name in FIRST.into_iter().chain(others) {
        let amount = |amounts: &Amounts| amounts.get(name).copied().unwrap_or(0);
        let (requested, used, capacity) = (amount(&wanted), amount(taken), amount(&offer.amounts));
        if requested > 0 && requested > capacity - used {
            let numbers = format!("requested: {requested}, used: {used}, capacity: {capacity}");
            let why = format!("Node didn't have enough resource: {name}, {numbers}");
            return Err(rejection(format!("OutOf{name}"), &why));
        }
    }
    if !is_wanted(offer, &pod.spec) {
        let why = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        return Err(rejection("NodeAffinity".to_owned(), why));
    }
    Ok(())
}

fn rejection(reason: String, why: &str) -> Rejection {
    Rejection { reason, message: format!("Pod was rejected: {why}") }
}

/// Whether a resource is one that nodes may offer beyond Kubernetes' own.
fn is_extended(resource: &str) -> bool {
    resource.contains('/') && !resource.contains("kubernetes.io/")
}

/// The most that a pod needs at any time: its containers, the highest point of its init containers, sidecars on top of
/// both, or what the pod asks for as a whole; and the overhead of its runtime.
fn requests(spec: &Spec) -> Amounts {
    let (mut running, mut sidecars, mut peak) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in &spec.containers {
        add(&mut running, &of_container(container));
    }
    for container in &spec.init_containers {
        let mut needed = of_container(container);
        if container.is_sidecar() {
            add(&mut running, &needed);
            add(&mut sidecars, &needed);
            needed = sidecars.clone();
        } else {
            add(&mut needed, &sidecars);
        }
        raise(&mut peak, &needed);
    }
    raise(&mut running, &peak);
    let mut all = running.clone();
    for (name, limit) in amounts(&spec.resources.limits) {
        all.insert(name.clone(), running.get(&name).copied().filter(|&a| a > 0).unwrap_or(limit));
    }
    all.extend(amounts(&spec.resources.requests));
    add(&mut all, &amounts(&spec.overhead));
    all
}

/// A limit without a request is one.
fn of_container(container: &Container) -> Amounts {
    let mut wanted = amounts(&container.resources.limits);
    wanted.extend(amounts(&container.resources.requests));
    wanted
}

fn amounts(quantities: &BTreeMap<String, Amount>) -> Amounts {
    quantities.iter().map(|(name, amount)| (name.clone(), amount_of(name, *amount))).collect()
}

fn amount_of(resource: &str, amount: Amount) -> i128 {
    let in_unit = |quantity: api::Quantity| if resource == CPU { quantity.millis() } else { quantity.units() };
    amount.0.map_or(0, in_unit).max(0).into()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *to.entry(name.clone()).or_default() += amount;
    }
}

fn raise(to: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let held = to.entry(name.clone()).or_default();
        *held = (*held).max(*amount);
    }
}

/// Whether the node has the labels, and the name, that the pod requires.
fn is_wanted(offer: &Offer, spec: &Spec) -> bool {
    let required = spec.affinity.node_affinity.required.as_ref();
    spec.node_selector.iter().all(|(key, value)| offer.labels.get(key) == Some(value))
        && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches(offer, term)))
}

/// A term that asks nothing matches nothing.
fn matches(offer: &Offer, term: &NodeSelectorTerm) -> bool {
    let asks = !term.match_expressions.is_empty() || !term.match_fields.is_empty();
    let field = |r: &NodeRequirement| r.key == "metadata.name" && holds(r, Some(&offer.name));
    asks && term.match_expressions.iter().all(|r| holds(r, offer.labels.get(&r.key)))
        && term.match_fields.iter().all(field)
}

fn holds(requirement: &NodeRequirement, value: Option<&String>) -> bool {
    let NodeRequirement { operator, values, .. } = requirement;
    let listed = value.is_some_and(|value| values.contains(value));
    let numbers = || {
        let number = |text: &String| text.parse::<i64>().ok();
        value.and_then(number).zip(values.first().and_then(number))
    };
    match operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        // One that this version does not know.
        _ => false,
    }
}

#[cfg(test)]
mod tests;
