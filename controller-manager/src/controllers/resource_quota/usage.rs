//! What counts for which resource of a quota, and how much. Pure.

use super::Amounts;
use crate::view::or_default;
use api::Quantity;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is counted for a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    Pods,
    Services,
    Claims,
    /// Objects of a kind, by `plural.group`.
    Kind(String),
}

const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";

/// What is counted for a resource; `None` for one that nothing counts for.
fn counted_for(name: &str) -> Option<Counted> {
    match name {
        "pods" | "count/pods" | "cpu" | "memory" | "ephemeral-storage" => return Some(Counted::Pods),
        "limits.cpu" | "limits.memory" | "limits.ephemeral-storage" => return Some(Counted::Pods),
        "services" | "services.nodeports" | "services.loadbalancers" | "count/services" => {
            return Some(Counted::Services);
        }
        "persistentvolumeclaims" | "requests.storage" | "count/persistentvolumeclaims" => return Some(Counted::Claims),
        "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => {
            return Some(Counted::Kind(name.to_owned()));
        }
        _ => {}
    }
    if let Some(kind) = name.strip_prefix("count/") {
        return Some(Counted::Kind(kind.to_owned()));
    }
    if name.contains(STORAGE_CLASS) {
        return Some(Counted::Claims);
    }
    let requested = name.strip_prefix("requests.");
    let is_compute = |r: &str| matches!(r, "cpu" | "memory" | "ephemeral-storage") || r.starts_with("hugepages-");
    let of_pods = name.starts_with("hugepages-") || requested.is_some_and(|r| is_compute(r) || r.contains('/'));
    of_pods.then_some(Counted::Pods)
}

/// The resources of a quota by what counts for them.
pub fn counted(hard: &Amounts) -> BTreeMap<Counted, Vec<String>> {
    let mut all: BTreeMap<Counted, Vec<String>> = BTreeMap::new();
    for name in hard.keys() {
        if let Some(counted) = counted_for(name) {
            all.entry(counted).or_default().push(name.clone());
        }
    }
    all
}

/// Adds what one object uses of the resources that are summed up.
pub fn add(sums: &mut BTreeMap<String, Quantity>, usage: BTreeMap<String, Quantity>) {
    for (name, amount) in usage {
        if let Some(sum) = sums.get_mut(&name) {
            *sum = sum.plus(amount);
        }
    }
}

/// Whether amounts are the same, however they are written.
pub fn same(known: Option<&Amounts>, wanted: &Amounts) -> bool {
    let read = |amounts: &Amounts| -> BTreeMap<String, Option<Quantity>> {
        amounts.iter().map(|(name, text)| (name.clone(), Quantity::parse(text))).collect()
    };
    known.is_some_and(|known| read(known) == read(wanted))
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    spec: ServiceSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "type")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<ServicePort>,
    allocate_load_balancer_node_ports: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServicePort {
    node_port: i64,
}

/// What a service uses.
pub fn of_service(service: &Service) -> BTreeMap<String, Quantity> {
    let ports = &service.spec.ports;
    let (balancers, node_ports) = match service.spec.kind.as_str() {
        "NodePort" => (0, ports.len()),
        "LoadBalancer" if service.spec.allocate_load_balancer_node_ports == Some(false) => {
            (1, ports.iter().filter(|p| p.node_port != 0).count())
        }
        "LoadBalancer" => (1, ports.len()),
        _ => (0, 0),
    };
    let units = |n: usize| Quantity::from_units(i64::try_from(n).unwrap_or(i64::MAX));
    [("count/services", 1), ("services", 1), ("services.loadbalancers", balancers), ("services.nodeports", node_ports)]
        .into_iter()
        .map(|(name, n)| (name.to_owned(), units(n)))
        .collect()
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Claim {
    pub spec: ClaimSpec,
    pub status: ClaimStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    storage_class_name: Option<String>,
    resources: Resources,
    pub volume_attributes_class_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    #[serde(deserialize_with = "or_default")]
    requests: Amounts,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimStatus {
    #[serde(deserialize_with = "or_default")]
    allocated_resources: Amounts,
    pub current_volume_attributes_class_name: Option<String>,
}

/// What a claim uses, also under the name of its class.
pub fn of_claim(claim: &Claim) -> BTreeMap<String, Quantity> {
    let amount = |amounts: &Amounts| amounts.get("storage").and_then(|text| Quantity::parse(text));
    let storage = amount(&claim.spec.resources.requests).max(amount(&claim.status.allocated_resources));
    let one = Quantity::from_units(1);
    let mut usage: BTreeMap<String, Quantity> =
        ["count/persistentvolumeclaims", "persistentvolumeclaims"].map(|name| (name.to_owned(), one)).into();
    let class = claim.spec.storage_class_name.as_deref().filter(|c| !c.is_empty());
    if let Some(class) = class {
        usage.insert(format!("{class}{STORAGE_CLASS}persistentvolumeclaims"), one);
    }
    if let Some(storage) = storage {
        usage.insert("requests.storage".to_owned(), storage);
        if let Some(class) = class {
            usage.insert(format!("{class}{STORAGE_CLASS}requests.storage"), storage);
        }
    }
    usage
}
