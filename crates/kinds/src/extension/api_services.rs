//! Services that serve a version of a group of the API.

use super::{SPEC, clients};
use crate::causes::{Causes, Path};
use crate::names;
use crate::table::{AGE, Column, NAME, age, explained};
use crate::value::{default, int, is_empty, is_true, list, set, text};
use crate::{NameRule, Revalidation, Strategy};
use api::Timestamp;
use serde_json::{Value, json};

const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1000;

pub(crate) static API_SERVICES: Strategy = Strategy {
    defaults: |service| {
        if service["spec"]["service"].is_object() {
            default(&mut service["spec"]["service"], "port", 443);
        }
    },
    // What the server serves itself is available at once.
    prepare_create: |service| {
        if service["spec"]["service"].is_null() {
            let created = service["metadata"]["creationTimestamp"].clone();
            let available = json!({
                "type": "Available",
                "status": "True",
                "reason": "Local",
                "message": "Local APIServices are always available",
                "lastTransitionTime": created,
            });
            set(service, "status", json!({"conditions": [available]}));
        }
    },
    name_rule: NameRule::PathSegment,
    validate: |service| Causes::of(|causes| validate(service, causes)),
    update_revalidates: Revalidation::Everything,
    unconditional_update: false,
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

fn validate(api: &Value, causes: &mut Causes) {
    let spec = &api["spec"];
    let (name, group, version) = (text(&api["metadata"]["name"]), text(&spec["group"]), text(&spec["version"]));
    let expected = format!("{version}.{group}");
    if name != expected {
        let metadata = Path::new("metadata");
        let why = format!("must be `spec.version+\".\"+spec.group`: {expected:?}");
        causes.invalid(&metadata.child("name"), name, &why);
    }
    if !group.is_empty() {
        causes.each_invalid(&SPEC.child("group"), group, names::dns_subdomain(group));
    }
    causes.each_invalid(&SPEC.child("version"), version, names::dns_1035_label(version));
    for (field, max) in [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)] {
        let priority = int(&spec[field]).unwrap_or(0);
        if !(1..=max).contains(&priority) {
            causes.invalid(&SPEC.child(field), priority, &format!("must be positive and less than {max}"));
        }
    }
    let (bundle, insecure) = (!is_empty(&spec["caBundle"]), is_true(&spec["insecureSkipTLSVerify"]));
    let insecure_at = SPEC.child("insecureSkipTLSVerify");
    let service = &spec["service"];
    if service.is_null() {
        if bundle {
            let at = SPEC.child("caBundle");
            causes.invalid(
                &at,
                format!("{} bytes", text(&spec["caBundle"]).len()),
                "local APIServices may not have a caBundle",
            );
        }
        if insecure {
            causes.invalid(&insecure_at, true, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    let at = SPEC.child("service");
    for field in ["namespace", "name"].into_iter().filter(|field| is_empty(&service[*field])) {
        causes.required(&at.child(field), "");
    }
    clients::port(&service["port"], &at.child("port"), causes);
    if bundle && insecure {
        causes.invalid(&insecure_at, true, "may not be true if caBundle is present");
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    explained("Service", "The reference to the service that hosts this API endpoint."),
    explained("Available", "Whether this service is available."),
    AGE,
];

fn row(api: &Value, now: Timestamp) -> Vec<Value> {
    let service = match &api["spec"]["service"] {
        Value::Null => "Local".to_owned(),
        service => format!("{}/{}", text(&service["namespace"]), text(&service["name"])),
    };
    let available = list(&api["status"]["conditions"]).iter().find(|condition| condition["type"] == "Available");
    let available = match available {
        None => "Unknown".to_owned(),
        Some(condition) if condition["status"] == "True" => "True".to_owned(),
        Some(condition) => format!("{} ({})", text(&condition["status"]), text(&condition["reason"])),
    };
    vec![api["metadata"]["name"].clone(), json!(service), json!(available), age(api, now)]
}
