//! Limit ranges and resource quotas.

use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::names;
use crate::resources::{amount, container_resource_name, is_huge_pages, is_quota, quantity, resource_name};
use crate::table::{AGE, Column, NAME, age, explained};
use crate::value::{default, is_empty, list, list_mut, members, object, repeats, text};
use api::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SPEC: Path = Path::new("spec");
const STATUS: Path = Path::new("status");
/// Pairs of quota scopes that exclude each other.
const CONFLICTS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
const SCOPES: [&str; 7] = [
    "BestEffort",
    "NotBestEffort",
    "Terminating",
    "NotTerminating",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

pub(crate) static LIMIT_RANGES: Strategy = Strategy {
    prepare_create: |range| {
        // As upstream, a limit range without a name gets a random one.
        let uid = range["metadata"]["uid"].clone();
        default(&mut range["metadata"], "name", uid);
    },
    defaults: |range| {
        for limit in range.get_mut("spec").into_iter().flat_map(|spec| list_mut(spec, "limits")) {
            limit_defaults(limit);
        }
    },
    validate: |range| Causes::of(|causes| limits(list(&range["spec"]["limits"]), &SPEC.child("limits"), causes)),
    create_on_update: true,
    ..Strategy::PLAIN
};

pub(crate) static RESOURCE_QUOTAS: Strategy = Strategy {
    validate: |quota| Causes::of(|causes| validate_quota(&quota["spec"], causes)),
    validate_update: |new, old| {
        Causes::of(|causes| {
            let scopes = |quota: &Value| -> BTreeSet<String> {
                list(&quota["spec"]["scopes"]).iter().map(|scope| text(scope).to_owned()).collect()
            };
            if scopes(new) != scopes(old) {
                causes.immutable(&SPEC.child("scopes"), &new["spec"]["scopes"]);
            }
        })
    },
    validate_status: |new, _| {
        Causes::of(|causes| {
            for field in ["hard", "used"] {
                amounts(&new["status"][field], &STATUS.child(field), causes);
            }
        })
    },
    columns: QUOTA_COLUMNS,
    row: quota_row,
    ..Strategy::PLAIN
};

/// Of containers, a limit follows the maximum, and a request follows the limit or the minimum.
fn limit_defaults(limit: &mut Value) {
    if limit["type"] != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let source = limit[from].clone();
        if is_empty(&source) {
            continue;
        }
        if let Some(target) = object(limit, to) {
            for (name, amount) in members(&source) {
                target.entry(name).or_insert_with(|| amount.clone());
            }
        }
    }
}

fn limits(limits: &[Value], at: &Path, causes: &mut Causes) {
    let repeated = repeats(limits.iter().map(|limit| text(&limit["type"])));
    for (i, limit) in limits.iter().enumerate() {
        let at = at.index(i);
        let kind = text(&limit["type"]);
        causes.each_invalid(&at.child("type"), kind, names::qualified_name(kind));
        if !kind.contains('/') && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") && !kind.is_empty() {
            causes.invalid(&at.child("type"), kind, "must be a standard limit type or fully qualified");
        }
        if repeated.contains(&i) {
            causes.duplicate(&at.child("type"), kind);
        }
        limit_names(limit, &at, causes);
        let has_storage = |field: &str| !limit[field]["storage"].is_null();
        if kind == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
            let why = "either minimum or maximum storage value is required, but neither was provided";
            causes.required(&at.child("limits"), why);
        }
        let fields = ["min", "max", "default", "defaultRequest", "maxLimitRequestRatio"];
        let names: BTreeSet<&str> =
            fields.iter().flat_map(|field| members(&limit[*field])).map(|(name, _)| name).collect();
        names.into_iter().for_each(|name| limit_order(limit, name, &at, causes));
    }
}

fn limit_names(limit: &Value, at: &Path, causes: &mut Causes) {
    let kind = text(&limit["type"]);
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let at = at.child(field);
        if kind == "Pod" && matches!(field, "default" | "defaultRequest") {
            if !is_empty(&limit[field]) {
                causes.forbidden(&at, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, _) in members(&limit[field]) {
            if matches!(kind, "Pod" | "Container") {
                container_resource_name(name, &at.key(name), causes);
            } else {
                resource_name(name, &at.key(name), causes);
            }
        }
    }
}

/// Minimum, default request, default and maximum of a resource must be in order.
fn limit_order(limit: &Value, name: &str, at: &Path, causes: &mut Causes) {
    let of = |field: &str| limit[field].get(name).map(|value| (quantity(value), text(value).to_owned()));
    let checks = [
        ("min", "max", "min", "min", ["min value", "max value"]),
        ("min", "defaultRequest", "defaultRequest", "defaultRequest", ["min value", "default request value"]),
        ("defaultRequest", "max", "defaultRequest", "defaultRequest", ["default request value", "max value"]),
        (
            "defaultRequest",
            "default",
            "defaultRequest",
            "defaultRequest",
            ["default request value", "default limit value"],
        ),
        ("min", "default", "default", "min", ["min value", "default value"]),
        ("default", "max", "default", "max", ["default value", "max value"]),
    ];
    for (low, high, place, shown, [low_name, high_name]) in checks {
        let (Some((low, low_text)), Some((high, high_text))) = (of(low), of(high)) else { continue };
        if low > high {
            let why = format!("{low_name} {low_text} is greater than {high_name} {high_text}");
            causes.invalid(&at.child(place).key(name), &limit[shown][name], &why);
        }
    }
    if let Some((ratio, shown)) = of("maxLimitRequestRatio") {
        let ratio_at = at.child("maxLimitRequestRatio");
        if ratio < api::Quantity::from_units(1) {
            causes.invalid(&ratio_at.key(name), &shown, &format!("ratio {shown} is less than 1"));
        }
        if let (Some((min, _)), Some((max, _))) = (of("min"), of("max"))
            && !min.is_zero()
        {
            let possible = max.as_f64() / min.as_f64();
            if ratio.as_f64() > possible {
                let why = format!("ratio {shown} is greater than max/min = {possible:.6}");
                causes.invalid(&ratio_at.key(name), &shown, &why);
            }
        }
    }
    if is_huge_pages(name)
        && let (Some((request, _)), Some((limit_value, _))) = (of("defaultRequest"), of("default"))
        && request != limit_value
    {
        let (value, shown) = (&limit["default"][name], text(&limit["defaultRequest"][name]));
        let why = format!("default value {} must equal to defaultRequest value {shown} in {name}", text(value));
        causes.invalid(&at.child("defaultRequest").key(name), value, &why);
    }
}

fn amounts(amounts: &Value, at: &Path, causes: &mut Causes) {
    for (name, value) in members(amounts) {
        resource_name(name, &at.key(name), causes);
        if !name.contains('/') && !is_quota(name) {
            causes.invalid(&at.key(name), name, "must be a standard resource for quota");
        }
        amount(name, value, &at.key(name), causes);
    }
}

fn validate_quota(spec: &Value, causes: &mut Causes) {
    amounts(&spec["hard"], &SPEC.child("hard"), causes);
    let (scopes, at) = (&spec["scopes"], SPEC.child("scopes"));
    let has = |scope: &str| list(scopes).iter().any(|s| s == scope);
    for _ in list(scopes).iter().filter(|scope| !SCOPES.contains(&text(scope))) {
        causes.invalid(&at, scopes, "unsupported scope");
    }
    for scope in list(scopes).iter().map(text).filter(|scope| SCOPES.contains(scope)) {
        for _ in members(&spec["hard"]).filter(|(name, _)| !may_limit(scope, name)) {
            causes.invalid(&at, scopes, "unsupported scope applied to resource");
        }
    }
    for conflict in CONFLICTS {
        if conflict.into_iter().all(has) {
            causes.invalid(&at, scopes, "conflicting scopes");
        }
    }
    let at = SPEC.child("scopeSelector");
    let at = at.child("matchExpressions");
    for term in list(&spec["scopeSelector"]["matchExpressions"]) {
        for _ in members(&spec["hard"]).filter(|(name, _)| !may_limit(text(&term["scopeName"]), name)) {
            causes.invalid(&at, &spec["scopeSelector"], "unsupported scope applied to resource");
        }
        scope_term(term, &at, causes);
    }
}

/// Whether a quota with a scope can count a resource.
fn may_limit(scope: &str, name: &str) -> bool {
    const OF_PODS: [&str; 7] =
        ["pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
    if !is_quota(name) || name.starts_with("count/") {
        return true;
    }
    match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        scope if SCOPES.contains(&scope) => OF_PODS.contains(&name),
        _ => true,
    }
}

fn scope_term(term: &Value, at: &Path, causes: &mut Causes) {
    let (scope, operator) = (text(&term["scopeName"]), text(&term["operator"]));
    if !SCOPES.contains(&scope) {
        causes.invalid(&at.child("scopeName"), scope, "unsupported scope");
    }
    let exists_only = !matches!(scope, "PriorityClass" | "VolumeAttributesClass");
    if exists_only && operator != "Exists" && SCOPES.contains(&scope) {
        let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                   ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                   ResourceQuotaScopeCrossNamespacePodAffinity";
        causes.invalid(&at.child("operator"), operator, why);
    }
    let values_at = at.child("values");
    match operator {
        "In" | "NotIn" if is_empty(&term["values"]) => {
            let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            causes.required(&values_at, why);
        }
        "Exists" | "DoesNotExist" if !is_empty(&term["values"]) => {
            let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            causes.invalid(&values_at, &term["values"], why);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => causes.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
}

const QUOTA_COLUMNS: &[Column] = &[
    NAME,
    explained("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
    explained(
        "Limit",
        "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
    ),
    AGE,
];

fn quota_row(quota: &Value, now: Timestamp) -> Vec<Value> {
    let status = &quota["status"];
    let shown = |limits: bool| {
        let of_kind = members(&status["hard"]).filter(|(name, _)| name.starts_with("limits") == limits);
        let used = |name: &str| match text(&status["used"][name]) {
            "" => "0".to_owned(),
            used => used.to_owned(),
        };
        let parts: Vec<String> = of_kind.map(|(name, hard)| format!("{name}: {}/{}", used(name), text(hard))).collect();
        json!(parts.join(", "))
    };
    vec![quota["metadata"]["name"].clone(), shown(false), shown(true), age(quota, now)]
}
