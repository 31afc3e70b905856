//! How much of which resource an object uses: a row per kind that uses more than its own count.

use super::{Amounts, list};
use crate::pods::defaults::totals;
use crate::resources::{is_extended, is_huge_pages, is_native, quantity};
use crate::value::{int, is_empty, members, text};
use api::Quantity;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";

/// How objects of a kind are counted.
pub(super) struct Evaluator {
    /// Whether a write through a subresource (empty for none) is charged: on create, or on update.
    pub handles: fn(subresource: &str, update: bool) -> bool,
    /// What an object uses. `counted` are the names that count objects of its kind.
    pub usage: fn(counted: &[String], object: &Value) -> Amounts,
    /// Whether a resource of a quota is about such objects, given what this one uses.
    pub counts: fn(resource: &str, used: &Amounts) -> bool,
    /// What an object must say when a quota counts these resources.
    pub constraints: fn(counted: &BTreeSet<&str>, object: &Value) -> Option<String>,
    /// The scopes that such an object can be in.
    pub scopes: super::scopes::Of,
}

impl std::fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Evaluator")
    }
}

static PODS: Evaluator = Evaluator {
    handles: |subresource, update| matches!((subresource, update), ("", false) | ("resize", true)),
    usage: |counted, pod| {
        let mut used = count(counted, pod);
        used.extend(pod_usage(&pod["spec"]));
        used
    },
    counts: |resource, _| is_pod_resource(resource),
    constraints: pod_constraints,
    scopes: super::scopes::Of::Pod,
};

static SERVICES: Evaluator = Evaluator {
    handles: |subresource, _| subresource.is_empty(),
    usage: service_usage,
    counts: |resource, used| used.contains_key(resource),
    constraints: |_, _| None,
    scopes: super::scopes::Of::Nothing,
};

static CLAIMS: Evaluator = Evaluator {
    handles: |subresource, _| subresource.is_empty(),
    usage: claim_usage,
    counts: |resource, used| {
        let of_class = resource.split_once(CLASS_SUFFIX).is_some_and(|(_, of)| is_claim_resource(of));
        used.contains_key(resource) || is_claim_resource(resource) || of_class
    },
    constraints: |_, _| None,
    scopes: super::scopes::Of::Claim,
};

/// Everything else: only how many there are.
static COUNTED: Evaluator = Evaluator {
    handles: |subresource, update| subresource.is_empty() && !update,
    usage: count,
    counts: |resource, used| used.contains_key(resource),
    constraints: |_, _| None,
    scopes: super::scopes::Of::Nothing,
};

/// Events come and go by themselves.
static UNCOUNTED: Evaluator = Evaluator { handles: |_, _| false, ..COUNTED };

pub(super) fn evaluator(group: &str, plural: &str) -> &'static Evaluator {
    match (group, plural) {
        ("", "pods") => &PODS,
        ("", "services") => &SERVICES,
        ("", "persistentvolumeclaims") => &CLAIMS,
        ("" | "events.k8s.io", "events") => &UNCOUNTED,
        _ => &COUNTED,
    }
}

/// The names that count objects of a kind.
pub(super) fn counted(group: &str, plural: &str) -> Vec<String> {
    let by_group = if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") };
    let plain = group.is_empty()
        && matches!(
            plural,
            "configmaps"
                | "resourcequotas"
                | "replicationcontrollers"
                | "secrets"
                | "services"
                | "persistentvolumeclaims"
        );
    [by_group].into_iter().chain(plain.then(|| plural.to_owned())).collect()
}

pub(super) fn count(counted: &[String], _: &Value) -> Amounts {
    counted.iter().map(|name| (name.clone(), Quantity::from_units(1))).collect()
}

fn is_pod_resource(resource: &str) -> bool {
    let (kind, name) = resource.split_once('.').unwrap_or(("", resource));
    matches!(resource, "pods" | "count/pods" | "cpu" | "memory" | "ephemeral-storage")
        || (matches!(kind, "requests" | "limits") && matches!(name, "cpu" | "memory" | "ephemeral-storage"))
        || is_huge_pages(resource)
        || resource.strip_prefix("requests.").is_some_and(is_huge_pages)
        || (resource.starts_with("requests.") && !is_native(resource))
}

fn is_claim_resource(resource: &str) -> bool {
    matches!(resource, "persistentvolumeclaims" | "requests.storage")
}

/// What a pod uses besides being one. Those that have ended use nothing.
fn pod_usage(spec: &Value) -> Amounts {
    let [requests, limits] = ["requests", "limits"].map(|field| {
        let mut amounts = totals(spec, field);
        for (name, more) in members(&spec["overhead"]) {
            match amounts.get_mut(name) {
                Some(amount) => *amount = amount.plus(quantity(more)),
                None if field == "requests" => drop(amounts.insert(name.to_owned(), quantity(more))),
                None => {}
            }
        }
        amounts
    });
    let mut used = compute(&requests, &limits);
    used.insert("pods".to_owned(), Quantity::from_units(1));
    used
}

/// Requests and limits by the names that quotas give them.
fn compute(requests: &BTreeMap<String, Quantity>, limits: &BTreeMap<String, Quantity>) -> Amounts {
    let mut used = Amounts::new();
    for (name, amount) in requests {
        let shared = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || is_huge_pages(name);
        if shared {
            used.insert(name.clone(), *amount);
        }
        if shared || is_extended(name) {
            used.insert(format!("requests.{name}"), *amount);
        }
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            used.insert(format!("limits.{name}"), *amount);
        }
    }
    used
}

/// What a quota counts of CPU and memory, every container must say, unless the pod says it for all.
fn pod_constraints(counted: &BTreeSet<&str>, pod: &Value) -> Option<String> {
    const DEMANDED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
    let spec = &pod["spec"];
    let said = |holder: &Value| {
        let amounts = |field: &str| members(&holder["resources"][field]).map(|(n, q)| (n.to_owned(), quantity(q)));
        compute(&amounts("requests").collect(), &amounts("limits").collect())
    };
    let for_all = said(spec);
    let demanded = counted.iter().filter(|name| DEMANDED.contains(name) && !for_all.contains_key(**name));
    let containers: Vec<(&str, Amounts)> = ["containers", "initContainers"]
        .iter()
        .flat_map(|field| list(&spec[*field]))
        .map(|container| (text(&container["name"]), said(container)))
        .collect();
    let missing: Vec<String> = demanded
        .filter_map(|name| {
            let silent: BTreeSet<&str> =
                containers.iter().filter(|(_, said)| !said.contains_key(*name)).map(|(name, _)| *name).collect();
            let silent: Vec<&str> = silent.into_iter().collect();
            (!silent.is_empty()).then(|| format!("{name} for: {}", silent.join(",")))
        })
        .collect();
    (!missing.is_empty()).then(|| format!("must specify {}", missing.join("; ")))
}

fn service_usage(counted: &[String], service: &Value) -> Amounts {
    let spec = &service["spec"];
    let ports = list(&spec["ports"]);
    let given = ports.iter().filter(|port| int(&port["nodePort"]).unwrap_or(0) != 0).count();
    let (node_ports, balancers) = match text(&spec["type"]) {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer" if spec["allocateLoadBalancerNodePorts"] == false => (given, 1),
        "LoadBalancer" => (ports.len(), 1),
        _ => (0, 0),
    };
    let mut used = count(counted, service);
    let units = |count: usize| Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX));
    used.insert("services.nodeports".to_owned(), units(node_ports));
    used.insert("services.loadbalancers".to_owned(), units(balancers));
    used
}

fn claim_usage(counted: &[String], claim: &Value) -> Amounts {
    let mut used = count(counted, claim);
    let class = crate::storage::class_of(claim);
    if !class.is_empty() {
        used.insert(format!("{class}{CLASS_SUFFIX}persistentvolumeclaims"), Quantity::from_units(1));
    }
    let storage = &claim["spec"]["resources"]["requests"]["storage"];
    if !is_empty(storage) {
        used.insert("requests.storage".to_owned(), quantity(storage));
        if !class.is_empty() {
            used.insert(format!("{class}{CLASS_SUFFIX}requests.storage"), quantity(storage));
        }
    }
    used
}
