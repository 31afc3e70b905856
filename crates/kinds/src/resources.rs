//! Names and amounts of compute resources.

use crate::causes::{Causes, Path};
use crate::names;
use crate::value::{is_empty, list, members, text};
use api::Quantity;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

const HUGE_PAGES: &str = "hugepages-";
const OBJECT_COUNTS: [&str; 10] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
    "count/",
];
const QUOTA: [&str; 11] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.storage",
    "storage",
];

/// A quantity that conformed; zero for anything else.
pub(crate) fn quantity(value: &Value) -> Quantity {
    Quantity::parse(text(value)).unwrap_or(Quantity::ZERO)
}

/// Whether a resource belongs to Kubernetes: no domain, or one of its own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a resource comes from an extension, and is counted in whole numbers.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

pub(crate) fn is_huge_pages(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// Whether a name without a domain means something somewhere.
pub(crate) fn is_standard(name: &str) -> bool {
    QUOTA.contains(&name)
        || OBJECT_COUNTS.contains(&name)
        || is_huge_pages(name)
        || name.starts_with("requests.hugepages-")
        || name.starts_with("limits.hugepages-")
}

/// Whether a name without a domain can be counted by a quota.
pub(crate) fn is_quota(name: &str) -> bool {
    is_standard(name) && name != "storage"
}

fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

/// The name of any resource.
pub(crate) fn resource_name(name: &str, at: &Path, causes: &mut Causes) {
    let problems = names::qualified_name(name);
    if !problems.is_empty() {
        causes.each_invalid(at, name, problems);
    } else if !name.contains('/') && !is_standard(name) {
        causes.invalid(at, name, "must be a standard resource type or fully qualified");
    }
}

/// The name of a resource that a container may ask for.
pub(crate) fn container_resource_name(name: &str, at: &Path, causes: &mut Causes) {
    resource_name(name, at, causes);
    if !name.contains('/') {
        let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge_pages(name);
        if !standard {
            causes.invalid(at, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        causes.invalid(at, name, "doesn't follow extended resource name standard");
    }
}

/// An amount: not negative, and whole for what is counted.
pub(crate) fn amount(name: &str, value: &Value, at: &Path, causes: &mut Causes) {
    let quantity = quantity(value);
    if quantity.is_negative() {
        causes.invalid(at, value, "must be greater than or equal to 0");
    }
    if (is_extended(name) || OBJECT_COUNTS.contains(&name)) && quantity != Quantity::from_units(quantity.units()) {
        causes.invalid(at, value, "must be an integer");
    }
}

/// Limits and requests of a container. `claims` are the names of the pod's resource claims.
pub(crate) fn requirements(resources: &Value, claims: &HashSet<&str>, at: &Path, causes: &mut Causes) {
    let (limits_at, requests_at) = (at.child("limits"), at.child("requests"));
    let limits = &resources["limits"];
    for (name, value) in members(limits) {
        named_amount(name, value, &limits_at.key(name), causes);
    }
    for (name, value) in members(&resources["requests"]) {
        named_amount(name, value, &requests_at.key(name), causes);
        let request = quantity(value);
        match limits.get(name) {
            Some(limit) if request != quantity(limit) && !is_overcommit_allowed(name) => {
                causes.invalid(&requests_at, value, &format!("must be equal to {name} limit of {}", text(limit)));
            }
            Some(limit) if request > quantity(limit) => {
                let why = format!("must be less than or equal to {name} limit of {}", text(limit));
                causes.invalid(&requests_at, value, &why);
            }
            Some(_) => {}
            None if is_overcommit_allowed(name) => {}
            None => causes.required(&limits_at, "Limit must be set for non overcommitable resources"),
        }
    }
    let has =
        |test: fn(&str) -> bool| members(limits).chain(members(&resources["requests"])).any(|(name, _)| test(name));
    if has(is_huge_pages) && !has(|name| matches!(name, "cpu" | "memory")) {
        causes.forbidden(at, "HugePages require cpu or memory");
    }
    resource_claims(&resources["claims"], claims, &at.child("claims"), causes);
}

/// An amount of what a container may ask for.
pub(crate) fn named_amount(name: &str, value: &Value, at: &Path, causes: &mut Causes) {
    container_resource_name(name, at, causes);
    amount(name, value, at, causes);
    if let Some(size) = name.strip_prefix(HUGE_PAGES) {
        let page = Quantity::parse(size).map_or(0, Quantity::units);
        let bytes = quantity(value).units();
        if page <= 0 || bytes <= 0 || bytes % page != 0 {
            causes.invalid(at, value, &format!("{} is not positive integer multiple of {name}", text(value)));
        }
    }
}

fn resource_claims(used: &Value, claims: &HashSet<&str>, at: &Path, causes: &mut Causes) {
    let mut seen: HashMap<&str, HashSet<&str>> = HashMap::new();
    for (i, claim) in list(used).iter().enumerate() {
        let (name, request) = (text(&claim["name"]), text(&claim["request"]));
        if name.is_empty() {
            causes.required(&at.index(i), "");
            continue;
        }
        // Of one claim either every request is used or some, each once.
        let requests: &mut HashSet<&str> = seen.entry(name).or_default();
        let whole = requests.contains("") || (request.is_empty() && !requests.is_empty());
        if whole || requests.contains(request) {
            causes.duplicate(&at.index(i), name);
        }
        requests.insert(request);
        // The words hold the names of all claims.
        if !claims.contains(name) && !causes.is_full() {
            let mut sorted: Vec<&str> = claims.iter().copied().collect();
            sorted.sort_unstable();
            let known = if claims.is_empty() { " which is empty".into() } else { format!(": {}", sorted.join(", ")) };
            let why = format!("must be one of the names in pod.spec.resourceClaims{known}");
            causes.not_found_because(&at.index(i), name, &why);
        }
    }
}

/// Limits and requests of a pod as a whole, against those of its containers.
pub(crate) fn pod_level(spec: &Value, spec_at: &Path, causes: &mut Causes) {
    let resources = &spec["resources"];
    if is_empty(resources) {
        return;
    }
    let at = spec_at.child("resources");
    if !is_empty(&resources["claims"]) {
        causes.forbidden(&at.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    for field in ["limits", "requests"] {
        let at = at.child(field);
        for (name, value) in members(&resources[field]) {
            if !(matches!(name, "cpu" | "memory") || is_huge_pages(name)) {
                causes.unsupported(&at.key(name), name, &["cpu", "hugepages-", "memory"]);
            }
            amount(name, value, &at.key(name), causes);
        }
    }
    let requests_at = at.child("requests");
    for (name, request) in members(&resources["requests"]) {
        if let Some(limit) = resources["limits"].get(name).filter(|limit| quantity(request) > quantity(limit)) {
            let why = format!("must be less than or equal to {name} limit of {}", text(limit));
            causes.invalid(&requests_at, request, &why);
        }
        if let Some(sum) = crate::pods::defaults::requested(spec, name).filter(|sum| *sum > quantity(request)) {
            let why = format!("must be greater than or equal to aggregate container requests of {sum}");
            causes.invalid(&requests_at.key(name), request, &why);
        }
    }
    for field in ["containers", "initContainers"] {
        let list_at = spec_at.child(field);
        for (i, container) in list(&spec[field]).iter().enumerate() {
            for (name, limit) in members(&container["resources"]["limits"]) {
                let pod_limit = &resources["limits"][name];
                if !pod_limit.is_null() && quantity(limit) > quantity(pod_limit) {
                    let (at, why) =
                        (list_at.index(i), format!("must be less than or equal to pod limits of {}", text(pod_limit)));
                    let (at, field) = (at.child("resources"), "limits");
                    causes.invalid(&at.child(field).key(name), limit, &why);
                }
            }
        }
    }
}
