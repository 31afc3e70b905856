//! LimitRanger: what the limit ranges of a namespace add to new pods, and what they refuse of pods and claims.

use crate::pods::defaults::totals;
use crate::resources::quantity;
use crate::value::{list, list_mut, members, object, set, text};
use api::Quantity;
use serde_json::Value;
use std::collections::BTreeMap;

/// Tells on a pod what was added to it.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

type Amounts = BTreeMap<String, Quantity>;

/// Gives the containers of a pod the defaults of a limit range, and says so in an annotation.
pub fn default_pod(pod: &mut Value, range: &Value) {
    let mut told = Vec::new();
    for limit in list(&range["spec"]["limits"]).iter().filter(|limit| limit["type"] == "Container") {
        for (field, what) in [("containers", "container"), ("initContainers", "init container")] {
            for container in list_mut(&mut pod["spec"], field) {
                default_container(container, limit, what, &mut told);
            }
        }
    }
    if told.is_empty() {
        return;
    }
    if let Some(annotations) = object(&mut pod["metadata"], "annotations") {
        annotations.insert(ANNOTATION.to_owned(), format!("LimitRanger plugin set: {}", told.join("; ")).into());
    }
}

fn default_container(container: &mut Value, limit: &Value, what: &str, told: &mut Vec<String>) {
    let name = text(&container["name"]).to_owned();
    for (field, from, word) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")] {
        let given = &container["resources"][field];
        let missing: Vec<(&str, &Value)> =
            members(&limit[from]).filter(|(name, _)| given.get(*name).is_none()).collect();
        if missing.is_empty() {
            continue;
        }
        let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
        told.push(format!("{} {word} for {what} {name}", names.join(", ")));
        if object(container, "resources").is_some() && object(&mut container["resources"], field).is_some() {
            for (name, amount) in missing {
                set(&mut container["resources"][field], name, amount.clone());
            }
        }
    }
}

/// Why a pod is outside of a limit range; nothing for one that is within.
pub fn pod_faults(pod: &Value, range: &Value) -> Option<String> {
    let spec = &pod["spec"];
    let mut faults = Vec::new();
    for limit in list(&range["spec"]["limits"]) {
        match text(&limit["type"]) {
            "Container" => {
                for container in ["containers", "initContainers"].iter().flat_map(|field| list(&spec[*field])) {
                    let of = |field: &str| amounts(&container["resources"][field]);
                    within("Container", limit, &of("requests"), &of("limits"), &mut faults);
                }
            }
            "Pod" => within("Pod", limit, &totals(spec, "requests"), &totals(spec, "limits"), &mut faults),
            _ => {}
        }
    }
    together(faults)
}

/// Why a claim is outside of a limit range.
pub fn claim_faults(claim: &Value, range: &Value) -> Option<String> {
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    let mut faults = Vec::new();
    for limit in list(&range["spec"]["limits"]).iter().filter(|limit| limit["type"] == "PersistentVolumeClaim") {
        for (name, bound) in members(&limit["min"]) {
            faults.extend(below("PersistentVolumeClaim", name, bound, &requests, &Amounts::new()));
        }
        for (name, bound) in members(&limit["max"]) {
            let usage = format!("maximum {name} usage per PersistentVolumeClaim is {}", text(bound));
            match requests.get(name) {
                None => faults.push(format!("{usage}.  No request is specified")),
                Some(request) if *request > quantity(bound) => {
                    faults.push(format!("{usage}, but request is {request}"));
                }
                Some(_) => {}
            }
        }
    }
    together(faults)
}

fn amounts(value: &Value) -> Amounts {
    members(value).map(|(name, amount)| (name.to_owned(), quantity(amount))).collect()
}

/// Several faults as one text, each told once.
fn together(faults: Vec<String>) -> Option<String> {
    let mut distinct: Vec<String> = Vec::new();
    for fault in faults {
        if !distinct.contains(&fault) {
            distinct.push(fault);
        }
    }
    match distinct.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

fn within(kind: &str, limit: &Value, requests: &Amounts, limits: &Amounts, faults: &mut Vec<String>) {
    for (name, bound) in members(&limit["min"]) {
        faults.extend(below(kind, name, bound, requests, limits));
    }
    for (name, bound) in members(&limit["max"]) {
        faults.extend(above(kind, name, bound, requests, limits));
    }
    for (name, ratio) in members(&limit["maxLimitRequestRatio"]) {
        faults.extend(out_of_ratio(kind, name, ratio, requests, limits));
    }
}

fn below(kind: &str, name: &str, bound: &Value, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let (least, usage) = (quantity(bound), format!("minimum {name} usage per {kind} is {}", text(bound)));
    let Some(request) = requests.get(name) else { return Some(format!("{usage}.  No request is specified")) };
    if *request < least {
        return Some(format!("{usage}, but request is {request}"));
    }
    limits.get(name).filter(|limit| **limit < least).map(|limit| format!("{usage}, but limit is {limit}"))
}

fn above(kind: &str, name: &str, bound: &Value, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let (most, usage) = (quantity(bound), format!("maximum {name} usage per {kind} is {}", text(bound)));
    let Some(limit) = limits.get(name) else { return Some(format!("{usage}.  No limit is specified")) };
    if *limit > most {
        return Some(format!("{usage}, but limit is {limit}"));
    }
    requests.get(name).filter(|request| **request > most).map(|request| format!("{usage}, but request is {request}"))
}

fn out_of_ratio(kind: &str, name: &str, bound: &Value, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let ratio = format!("{name} max limit to request ratio per {kind} is {}", quantity(bound));
    let Some(request) = requests.get(name).filter(|request| !request.is_zero()) else {
        return Some(format!("{ratio}, but no request is specified or request is 0"));
    };
    let Some(limit) = limits.get(name).filter(|limit| !limit.is_zero()) else {
        return Some(format!("{ratio}, but no limit is specified or limit is 0"));
    };
    let provided = limit.as_f64() / request.as_f64();
    (provided > quantity(bound).as_f64()).then(|| format!("{ratio}, but provided ratio is {provided:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn range(limit: Value) -> Value {
        json!({"spec": {"limits": [limit]}})
    }

    fn pod(resources: &[Value]) -> Value {
        let containers: Vec<Value> =
            resources.iter().enumerate().map(|(i, r)| json!({"name": format!("c{i}"), "resources": r})).collect();
        json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})
    }

    #[test]
    fn defaults_are_added_where_nothing_is_said_and_told() {
        let limits = range(
            json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1", "memory": "1Mi"}}),
        );
        let mut pod = pod(&[json!({"requests": {"cpu": "200m"}})]);
        default_pod(&mut pod, &limits);
        let resources = json!({"requests": {"cpu": "200m", "memory": "1Mi"}, "limits": {"cpu": "1"}});
        assert_eq!(pod["spec"]["containers"][0]["resources"], resources);
        let told = "LimitRanger plugin set: memory request for container c0; cpu limit for container c0";
        assert_eq!(pod["metadata"]["annotations"][ANNOTATION], told);
    }

    #[test]
    fn what_is_outside_of_a_range_is_named() {
        for (limit, resources, expected) in [
            (
                json!({"type": "Container", "max": {"cpu": "1"}}),
                json!({"limits": {"cpu": "2"}}),
                "maximum cpu usage per Container is 1, but limit is 2",
            ),
            (
                json!({"type": "Container", "min": {"cpu": "1"}}),
                json!({}),
                "minimum cpu usage per Container is 1.  No request is specified",
            ),
            (
                json!({"type": "Pod", "max": {"cpu": "1"}}),
                json!({}),
                "maximum cpu usage per Pod is 1.  No limit is specified",
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
                json!({"limits": {"cpu": "300m"}, "requests": {"cpu": "100m"}}),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
            ),
        ] {
            assert_eq!(pod_faults(&pod(&[resources]), &range(limit)).as_deref(), Some(expected));
        }
        let fits = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}});
        assert_eq!(pod_faults(&pod(&[fits]), &range(json!({"type": "Pod", "max": {"cpu": "1"}}))), None);
    }

    #[test]
    fn a_pod_is_the_sum_of_its_containers() {
        let each = json!({"limits": {"cpu": "600m"}});
        let limit = range(json!({"type": "Pod", "max": {"cpu": "1"}}));
        let fault = pod_faults(&pod(&[each.clone(), each]), &limit);
        assert_eq!(fault.as_deref(), Some("maximum cpu usage per Pod is 1, but limit is 1200m"));
    }
}
