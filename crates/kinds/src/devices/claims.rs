//! Claims to devices, and templates of claims.

use super::{ITEMS_MAX, SPEC, attribute, configuration, driver, effect, limited, pool, selectors};
use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::generic::{annotations, labels};
use crate::names;
use crate::table::{AGE, NAME, age, explained};
use crate::value::{default, int, is_empty, list, list_mut, members, object, repeats, text};
use serde_json::{Value, json};
use std::collections::HashSet;

const STATUS: Path = Path::new("status");
const ALTERNATIVES_MAX: usize = 8;
const TOLERATIONS_MAX: usize = 16;
const CONSUMERS_MAX: usize = 256;
const NO_SUCH_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

pub(crate) static RESOURCE_CLAIMS: Strategy = Strategy {
    defaults,
    validate: |claim| Causes::of(|causes| devices(&claim["spec"]["devices"], &SPEC.child("devices"), causes)),
    validate_update: spec_stays,
    validate_status: |new, old| Causes::of(|causes| status(new, old, causes)),
    status_keeps: &["labels", "annotations", "finalizers", "ownerReferences"],
    columns: &[NAME, explained("State", "A summary of the current state (allocated, pending, reserved, etc.)."), AGE],
    row: |claim, now| vec![claim["metadata"]["name"].clone(), json!(state(claim)), age(claim, now)],
    ..Strategy::PLAIN
};

pub(crate) static RESOURCE_CLAIM_TEMPLATES: Strategy = Strategy {
    defaults: |template| {
        if object(template, "spec").is_some() {
            default(&mut template["spec"], "metadata", json!({}));
            defaults(&mut template["spec"]);
        }
    },
    validate: |template| {
        Causes::of(|causes| {
            let (metadata, at) = (&template["spec"]["metadata"], SPEC.child("metadata"));
            labels(&metadata["labels"], &at.child("labels"), causes);
            annotations(&metadata["annotations"], &at.child("annotations"), causes);
            for (field, _) in members(metadata).filter(|(field, value)| {
                !matches!(*field, "labels" | "annotations" | "creationTimestamp") && !is_empty(value)
            }) {
                causes.forbidden(&at.child(field), "cannot be set");
            }
            let at = SPEC.child("spec");
            devices(&template["spec"]["spec"]["devices"], &at.child("devices"), causes);
        })
    },
    validate_update: spec_stays,
    columns: &[NAME, AGE],
    row: |template, now| vec![template["metadata"]["name"].clone(), age(template, now)],
    ..Strategy::PLAIN
};

fn spec_stays(new: &Value, old: &Value) -> Vec<api::Cause> {
    Causes::of(|causes| {
        if new["spec"] != old["spec"] {
            causes.immutable(&SPEC, &new["spec"]);
        }
    })
}

/// Defaults of the claim in the field `spec`.
fn defaults(parent: &mut Value) {
    if object(parent, "spec").is_none() || object(&mut parent["spec"], "devices").is_none() {
        return;
    }
    let devices = &mut parent["spec"]["devices"];
    default(devices, "requests", Value::Null);
    for request in list_mut(devices, "requests") {
        list_mut(request, "firstAvailable").for_each(request_defaults);
        if let Some(exactly) = request.get_mut("exactly").filter(|exactly| exactly.is_object()) {
            request_defaults(exactly);
        }
    }
}

fn request_defaults(request: &mut Value) {
    default(request, "allocationMode", "ExactCount");
    if request["allocationMode"] == "ExactCount" && int(&request["count"]).unwrap_or(0) == 0 {
        request["count"] = json!(1);
    }
    list_mut(request, "tolerations").for_each(|toleration| default(toleration, "operator", "Equal"));
}

fn devices(devices: &Value, at: &Path, causes: &mut Causes) {
    let requests_at = at.child("requests");
    let requests = limited(&devices["requests"], ITEMS_MAX, &requests_at, causes);
    let repeated = repeats(requests.iter().map(|request| &request["name"]));
    for (i, request) in requests.iter().enumerate() {
        let at = requests_at.index(i);
        self::request(request, &at, causes);
        if repeated.contains(&i) {
            causes.duplicate(&at, &request["name"]);
        }
    }
    let known = names_of_requests(requests);
    let constraints = at.child("constraints");
    for (i, constraint) in limited(&devices["constraints"], ITEMS_MAX, &constraints, causes).iter().enumerate() {
        let at = constraints.index(i);
        known_requests(&constraint["requests"], &known, &at.child("requests"), causes);
        match (constraint["matchAttribute"].as_str(), constraint["distinctAttribute"].as_str()) {
            (Some(name), None) => attribute(name, true, &at.child("matchAttribute"), causes),
            (None, Some(name)) => attribute(name, true, &at.child("distinctAttribute"), causes),
            _ => causes.required(&at, "exactly one of `matchAttribute` or `distinctAttribute` is required"),
        }
    }
    let configs = at.child("config");
    for (i, config) in limited(&devices["config"], ITEMS_MAX, &configs, causes).iter().enumerate() {
        let at = configs.index(i);
        known_requests(&config["requests"], &known, &at.child("requests"), causes);
        configuration(config, &at, causes);
    }
}

/// One request, or alternatives of which the first that can be met is.
fn request(request: &Value, at: &Path, causes: &mut Causes) {
    let name = text(&request["name"]);
    causes.each_invalid(&at.child("name"), name, names::dns_label(name));
    match (is_empty(&request["firstAvailable"]), request["exactly"].is_null()) {
        (true, true) => causes.required(at, "exactly one of `exactly` or `firstAvailable` is required"),
        (false, false) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            causes.invalid(at, Value::Null, why);
        }
        (true, false) => exactly(&request["exactly"], &at.child("exactly"), causes),
        (false, true) => {
            let at = at.child("firstAvailable");
            let alternatives = limited(&request["firstAvailable"], ALTERNATIVES_MAX, &at, causes);
            let repeated = repeats(alternatives.iter().map(|alternative| text(&alternative["name"])));
            for (i, alternative) in alternatives.iter().enumerate() {
                let (at, name) = (at.index(i), text(&alternative["name"]));
                causes.each_invalid(&at.child("name"), name, names::dns_label(name));
                exactly(alternative, &at, causes);
                if repeated.contains(&i) {
                    causes.duplicate(&at, name);
                }
            }
        }
    }
}

fn exactly(request: &Value, at: &Path, causes: &mut Causes) {
    match text(&request["deviceClassName"]) {
        "" => causes.required(&at.child("deviceClassName"), ""),
        class => causes.each_invalid(&at.child("deviceClassName"), class, names::dns_subdomain(class)),
    }
    selectors(&request["selectors"], &at.child("selectors"), causes);
    let count = int(&request["count"]).unwrap_or(0);
    match text(&request["allocationMode"]) {
        "All" if count != 0 => {
            causes.invalid(&at.child("count"), count, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count <= 0 => causes.invalid(&at.child("count"), count, "must be greater than zero"),
        "All" | "ExactCount" => {}
        other => causes.unsupported(&at.child("allocationMode"), other, &["All", "ExactCount"]),
    }
    let at = at.child("tolerations");
    for (i, toleration) in limited(&request["tolerations"], TOLERATIONS_MAX, &at, causes).iter().enumerate() {
        let at = at.index(i);
        let (key, operator) = (text(&toleration["key"]), text(&toleration["operator"]));
        if !key.is_empty() {
            causes.each_invalid(&at.child("key"), key, names::label_key(key));
        }
        match operator {
            "Exists" if !is_empty(&toleration["value"]) => {
                let why = "must be empty for operator `Exists`";
                causes.invalid(&at.child("value"), &toleration["value"], why);
            }
            "Exists" => {}
            "Equal" if key.is_empty() => causes.required(&at.child("key"), ""),
            "Equal" => {
                let value = text(&toleration["value"]);
                causes.each_invalid(&at.child("value"), value, names::label_value(value));
            }
            other => causes.unsupported(&at.child("operator"), other, &["Equal", "Exists"]),
        }
        if !is_empty(&toleration["effect"]) {
            effect(&toleration["effect"], &["NoExecute", "NoSchedule"], &at.child("effect"), causes);
        }
    }
}

/// References to requests, or to alternatives of them.
fn known_requests(references: &Value, requests: &HashSet<String>, at: &Path, causes: &mut Causes) {
    let references = limited(references, ITEMS_MAX, at, causes);
    let repeated = repeats(references);
    for (i, reference) in references.iter().enumerate() {
        if !requests.contains(text(reference)) {
            causes.invalid(&at.index(i), reference, NO_SUCH_REQUEST);
        }
        if repeated.contains(&i) {
            causes.duplicate(&at.index(i), reference);
        }
    }
}

/// The names of requests, and of alternatives as `request/alternative`. Of requests with one name, the first.
fn names_of_requests(requests: &[Value]) -> HashSet<String> {
    let mut names = HashSet::new();
    for request in requests {
        let name = request["name"].as_str().filter(|name| !name.contains('/'));
        let Some(name) = name.filter(|name| names.insert((*name).to_owned())) else { continue };
        let alternatives = list(&request["firstAvailable"]).iter().filter_map(|other| other["name"].as_str());
        names.extend(alternatives.map(|alternative| format!("{name}/{alternative}")));
    }
    names
}

fn status(new: &Value, old: &Value, causes: &mut Causes) {
    let (allocation, reserved) = (&new["status"]["allocation"], &new["status"]["reservedFor"]);
    let at = STATUS.child("allocation");
    let requests = names_of_requests(list(&new["spec"]["devices"]["requests"]));
    let results = at.child("devices");
    let results = results.child("results");
    for (i, result) in limited(&allocation["devices"]["results"], ITEMS_MAX, &results, causes).iter().enumerate() {
        let at = results.index(i);
        if !requests.contains(text(&result["request"])) {
            causes.invalid(&at.child("request"), &result["request"], NO_SUCH_REQUEST);
        }
        driver(text(&result["driver"]), &at.child("driver"), causes);
        pool(text(&result["pool"]), &at.child("pool"), causes);
        let device = text(&result["device"]);
        causes.each_invalid(&at.child("device"), device, names::dns_label(device));
    }
    let before = &old["status"]["allocation"];
    if !before.is_null() && !allocation.is_null() && before != allocation {
        causes.immutable(&at, allocation);
    }
    let at = STATUS.child("reservedFor");
    let consumers = limited(reserved, CONSUMERS_MAX, &at, causes);
    let repeated = repeats(consumers.iter().map(|consumer| &consumer["uid"]));
    for (i, consumer) in consumers.iter().enumerate() {
        let at = at.index(i);
        for field in ["resource", "name", "uid"].into_iter().filter(|field| is_empty(&consumer[*field])) {
            causes.required(&at.child(field), "");
        }
        if repeated.contains(&i) {
            causes.duplicate(&at, &consumer["uid"]);
        }
    }
    if !consumers.is_empty() && allocation.is_null() {
        causes.forbidden(&at, "may not be specified when `allocated` is not set");
    }
}

fn state(claim: &Value) -> String {
    let deleted = !claim["metadata"]["deletionTimestamp"].is_null();
    let allocated = !claim["status"]["allocation"].is_null();
    let states = [
        (deleted, "deleted"),
        (!allocated && !deleted, "pending"),
        (allocated, "allocated"),
        (allocated && !is_empty(&claim["status"]["reservedFor"]), "reserved"),
    ];
    states.into_iter().filter(|(is, _)| *is).map(|(_, state)| state).collect::<Vec<_>>().join(",")
}
