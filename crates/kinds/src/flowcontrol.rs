//! Flow schemas and priority levels: which requests wait for which.

use crate::Strategy;
use crate::causes::{Causes, Path};
use crate::generic::spec_changed;
use crate::names;
use crate::table::{AGE, Column, NAME, age, column, explained};
use crate::value::{default, int, is_empty, is_true, list, text};
use api::Timestamp;
use serde_json::{Value, json};

const SPEC: Path = Path::new("spec");
const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// How many bits of a hash there are to deal a hand of queues from.
const ENTROPY_BITS_MAX: f64 = 60.0;
/// The schema and the level of requests that never wait.
const EXEMPT: &str = "exempt";
const VERBS: [&str; 10] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch", "*"];
/// Kinds of subjects, and the fields that name them.
const SUBJECTS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

const SHARED: Strategy = Strategy {
    generation: Some(spec_changed),
    status_keeps: &["labels", "annotations", "finalizers", "ownerReferences"],
    ..Strategy::PLAIN
};

pub(crate) static FLOW_SCHEMAS: Strategy = Strategy {
    defaults: |schema| {
        if schema["spec"].is_object() && int(&schema["spec"]["matchingPrecedence"]).unwrap_or(0) == 0 {
            schema["spec"]["matchingPrecedence"] = json!(1000);
        }
    },
    validate: |schema| Causes::of(|causes| validate_schema(text(&schema["metadata"]["name"]), &schema["spec"], causes)),
    columns: SCHEMA_COLUMNS,
    row: schema_row,
    ..SHARED
};

pub(crate) static PRIORITY_LEVELS: Strategy = Strategy {
    defaults: |level| {
        let Some(spec) = level.get_mut("spec").filter(|spec| spec.is_object()) else { return };
        if spec["limited"].is_object() {
            default(&mut spec["limited"], "nominalConcurrencyShares", 30);
            default(&mut spec["limited"], "lendablePercent", 0);
            if let Some(queuing) = spec.pointer_mut("/limited/limitResponse/queuing").filter(|q| q.is_object()) {
                for (field, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
                    if int(&queuing[field]).unwrap_or(0) == 0 {
                        queuing[field] = json!(value);
                    }
                }
            }
        }
        if spec["exempt"].is_object() {
            default(&mut spec["exempt"], "nominalConcurrencyShares", 0);
            default(&mut spec["exempt"], "lendablePercent", 0);
        }
    },
    validate: |level| Causes::of(|causes| validate_level(text(&level["metadata"]["name"]), &level["spec"], causes)),
    columns: LEVEL_COLUMNS,
    row: level_row,
    ..SHARED
};

fn validate_schema(name: &str, spec: &Value, causes: &mut Causes) {
    let precedence = int(&spec["matchingPrecedence"]).unwrap_or(0);
    let at = SPEC.child("matchingPrecedence");
    if precedence <= 0 {
        causes.invalid(&at, precedence, "must be a positive value");
    }
    if precedence > PRECEDENCE_MAX {
        causes.invalid(&at, precedence, &format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if precedence == 1 && name != EXEMPT {
        causes.invalid(&at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    if spec["distinguisherMethod"].is_object() {
        let at = SPEC.child("distinguisherMethod");
        causes.one_of(&at.child("type"), &spec["distinguisherMethod"]["type"], &["ByNamespace", "ByUser"]);
    }
    let at = SPEC.child("priorityLevelConfiguration");
    match text(&spec["priorityLevelConfiguration"]["name"]) {
        "" => causes.required(&at.child("name"), "must reference a priority level"),
        level => causes.each_invalid(&at.child("name"), level, names::dns_subdomain(level)),
    }
    let rules = SPEC.child("rules");
    for (i, rule) in list(&spec["rules"]).iter().enumerate() {
        validate_rule(rule, &rules.index(i), causes);
    }
}

fn validate_rule(rule: &Value, at: &Path, causes: &mut Causes) {
    let subjects = at.child("subjects");
    if is_empty(&rule["subjects"]) {
        causes.required(&subjects, "subjects must contain at least one value");
    }
    for (i, each) in list(&rule["subjects"]).iter().enumerate() {
        subject(each, &subjects.index(i), causes);
    }
    if is_empty(&rule["resourceRules"]) && is_empty(&rule["nonResourceRules"]) {
        causes.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    let rules = at.child("resourceRules");
    for (i, rule) in list(&rule["resourceRules"]).iter().enumerate() {
        let at = rules.index(i);
        verbs(&rule["verbs"], &at.child("verbs"), causes);
        all_or_some(
            &rule["apiGroups"],
            "resource rules must supply at least one api group",
            "api groups",
            &at.child("apiGroups"),
            causes,
        );
        let why = "resource rules must supply at least one resource";
        all_or_some(&rule["resources"], why, "resources", &at.child("resources"), causes);
        let namespaces = &rule["namespaces"];
        if !is_true(&rule["clusterScope"]) || !is_empty(namespaces) {
            let why = "resource rules that are not cluster scoped must supply at least one namespace";
            if !all_or_some(namespaces, why, "namespaces", &at.child("namespaces"), causes) {
                let at = at.child("namespaces");
                for (i, name) in list(namespaces).iter().enumerate() {
                    causes.each_invalid(&at.index(i), text(name), names::dns_label(text(name)));
                }
            }
        }
    }
    let rules = at.child("nonResourceRules");
    for (i, rule) in list(&rule["nonResourceRules"]).iter().enumerate() {
        let at = rules.index(i);
        verbs(&rule["verbs"], &at.child("verbs"), causes);
        let why = "nonResourceURLs must contain at least one value";
        let (urls, urls_at) = (&rule["nonResourceURLs"], at.child("nonResourceURLs"));
        if !all_or_some(urls, why, "non-resource URLs", &urls_at, causes) {
            for (i, url) in list(urls).iter().enumerate() {
                if let Some(why) = bad_url(text(url)) {
                    causes.invalid(&urls_at.index(i), url, why);
                }
            }
        }
    }
}

fn subject(subject: &Value, at: &Path, causes: &mut Causes) {
    let kind = text(&subject["kind"]);
    let Some((_, own)) = SUBJECTS.into_iter().find(|(known, _)| *known == kind) else {
        return causes.unsupported(&at.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
    };
    let (named, own_at) = (&subject[own], at.child(own));
    if named.is_null() {
        causes.required(&own_at, &format!("{own} is required when subject kind is '{kind}'"));
    } else {
        match text(&named["name"]) {
            "" => causes.required(&own_at.child("name"), ""),
            "*" => {}
            name if kind == "ServiceAccount" => {
                causes.each_invalid(&own_at.child("name"), name, names::dns_subdomain(name));
            }
            _ => {}
        }
        match text(&named["namespace"]) {
            "" if kind == "ServiceAccount" => {
                causes.required(&own_at.child("namespace"), "must specify namespace for service account");
            }
            namespace if kind == "ServiceAccount" => {
                causes.each_invalid(&own_at.child("namespace"), namespace, names::dns_label(namespace));
            }
            _ => {}
        }
    }
    for (other, field) in SUBJECTS.into_iter().filter(|(_, field)| *field != own && !subject[*field].is_null()) {
        causes.forbidden(&at.child(field), &format!("{field} is forbidden when subject kind is not '{other}'"));
    }
}

/// What is wrong with a path, which may end in `/*`.
fn bad_url(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !url.ends_with("/*")) => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}

fn verbs(verbs: &Value, at: &Path, causes: &mut Causes) {
    let all = all_or_some(verbs, "verbs must contain at least one value", "verbs", at, causes);
    if !all && list(verbs).iter().any(|verb| !VERBS.contains(&text(verb))) {
        causes.unsupported(at, verbs, VERBS.split_last().map_or(&[], |(_, named)| named));
    }
}

/// A list that is not empty, and has nothing beside `*`. Answers whether it has `*`.
fn all_or_some(values: &Value, required: &str, what: &str, at: &Path, causes: &mut Causes) -> bool {
    if is_empty(values) {
        causes.required(at, required);
    }
    let all = list(values).iter().any(|value| value == "*");
    if all && list(values).len() > 1 {
        causes.invalid(at, values, &format!("if '*' is present, must not specify other {what}"));
    }
    all
}

fn validate_level(name: &str, spec: &Value, causes: &mut Causes) {
    let (kind, limited) = (text(&spec["type"]), &spec["limited"]);
    if (name == EXEMPT) != (kind == "Exempt") {
        let at = SPEC.child("type");
        if matches!(kind, "Exempt" | "Limited") {
            causes.invalid(&at, kind, "must be 'Exempt' if and only if `name` is 'exempt'");
        }
    }
    let limited_at = SPEC.child("limited");
    match kind {
        "Exempt" if !limited.is_null() => causes.forbidden(&limited_at, "must be nil if the type is not Limited"),
        "Exempt" => shares(&spec["exempt"], &SPEC.child("exempt"), causes),
        "Limited" => {
            if !spec["exempt"].is_null() {
                causes.forbidden(&SPEC.child("exempt"), "must be nil if the type is Limited");
            }
            if limited.is_null() {
                causes.required(&limited_at, "must not be empty when type is Limited");
            } else {
                validate_limited(limited, &limited_at, causes);
            }
        }
        other => causes.unsupported(&SPEC.child("type"), other, &["Exempt", "Limited"]),
    }
}

fn shares(level: &Value, at: &Path, causes: &mut Causes) {
    if let Some(shares) = int(&level["nominalConcurrencyShares"]).filter(|shares| *shares < 0) {
        causes.invalid(&at.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    if let Some(percent) = int(&level["lendablePercent"]).filter(|percent| !(0..=100).contains(percent)) {
        causes.invalid(&at.child("lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn validate_limited(limited: &Value, at: &Path, causes: &mut Causes) {
    shares(limited, at, causes);
    if let Some(percent) = int(&limited["borrowingLimitPercent"]).filter(|percent| *percent < 0) {
        let why = "if specified, must be a non-negative integer";
        causes.invalid(&at.child("borrowingLimitPercent"), percent, why);
    }
    let at = at.child("limitResponse");
    let (response, queuing_at) = (&limited["limitResponse"], at.child("queuing"));
    let queuing = &response["queuing"];
    match text(&response["type"]) {
        "Reject" if !queuing.is_null() => {
            causes.forbidden(&queuing_at, "must be nil if limited.limitResponse.type is not Limited");
        }
        "Reject" => {}
        "Queue" if queuing.is_null() => {
            causes.required(&queuing_at, "must not be empty if limited.limitResponse.type is Limited");
        }
        "Queue" => validate_queuing(queuing, &queuing_at, causes),
        other => causes.unsupported(&at.child("type"), other, &["Queue", "Reject"]),
    }
}

fn validate_queuing(queuing: &Value, at: &Path, causes: &mut Causes) {
    let number = |field: &str| int(&queuing[field]).unwrap_or(0);
    for field in ["queueLengthLimit", "queues", "handSize"] {
        if number(field) <= 0 {
            causes.invalid(&at.child(field), number(field), "must be positive");
        }
    }
    let (queues, hand) = (number("queues"), number("handSize"));
    if queues > QUEUES_MAX {
        causes.invalid(&at.child("queues"), queues, &format!("must not be greater than {QUEUES_MAX}"));
    }
    if hand > 0 && hand > queues {
        causes.invalid(&at.child("handSize"), hand, &format!("should not be greater than queues ({queues})"));
    } else if hand > 0 && entropy_bits(queues, hand) > ENTROPY_BITS_MAX {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {ENTROPY_BITS_MAX}"
        );
        causes.invalid(&at.child("handSize"), hand, &why);
    }
}

/// The bits that it takes to deal a hand from a deck.
#[expect(clippy::cast_precision_loss, reason = "decks and hands are far below 2^52")]
fn entropy_bits(deck: i64, hand: i64) -> f64 {
    ((deck as f64).log2() * hand as f64).ceil()
}

const SCHEMA: &str = "io.k8s.api.flowcontrol.v1.FlowSchemaSpec";
const SCHEMA_COLUMNS: &[Column] = &[
    NAME,
    column("PriorityLevel", "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationReference", "name"),
    column("MatchingPrecedence", SCHEMA, "matchingPrecedence"),
    column("DistinguisherMethod", SCHEMA, "distinguisherMethod"),
    AGE,
    explained("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
];

fn schema_row(schema: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &schema["spec"];
    let dangling = list(&schema["status"]["conditions"]).iter().find(|condition| condition["type"] == "Dangling");
    vec![
        schema["metadata"]["name"].clone(),
        json!(text(&spec["priorityLevelConfiguration"]["name"])),
        json!(int(&spec["matchingPrecedence"]).unwrap_or(0)),
        json!(spec["distinguisherMethod"]["type"].as_str().unwrap_or("<none>")),
        age(schema, now),
        json!(dangling.map_or("?", |condition| text(&condition["status"]))),
    ]
}

const QUEUING: &str = "io.k8s.api.flowcontrol.v1.QueuingConfiguration";
const LEVEL_COLUMNS: &[Column] = &[
    NAME,
    column("Type", "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec", "type"),
    column(
        "NominalConcurrencyShares",
        "io.k8s.api.flowcontrol.v1.LimitedPriorityLevelConfiguration",
        "nominalConcurrencyShares",
    ),
    column("Queues", QUEUING, "queues"),
    column("HandSize", QUEUING, "handSize"),
    column("QueueLengthLimit", QUEUING, "queueLengthLimit"),
    AGE,
];

fn level_row(level: &Value, now: Timestamp) -> Vec<Value> {
    let limited = &level["spec"]["limited"];
    let queuing = &limited["limitResponse"]["queuing"];
    let shown = |value: &Value| if value.is_null() { json!("<none>") } else { value.clone() };
    vec![
        level["metadata"]["name"].clone(),
        json!(text(&level["spec"]["type"])),
        shown(&limited["nominalConcurrencyShares"]),
        shown(&queuing["queues"]),
        shown(&queuing["handSize"]),
        shown(&queuing["queueLengthLimit"]),
        age(level, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_who_and_what() {
        let user = json!({"kind": "User", "user": {"name": "u"}});
        let pods = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["x"]});
        let with = |field: &str, value: Value| {
            let mut rule = pods.clone();
            rule[field] = value;
            json!({"subjects": [user], "resourceRules": [rule]})
        };
        for (rule, faults) in [
            (with("verbs", json!(["get"])), 0),
            (with("verbs", json!(["*"])), 0),
            (with("verbs", json!(["*", "get"])), 1),
            (with("verbs", json!(["eat"])), 1),
            (with("namespaces", json!([])), 1),
            (with("namespaces", json!(["A_"])), 1),
            (json!({"subjects": [user]}), 1),
            (json!({"subjects": [], "resourceRules": [pods]}), 1),
            (json!({"subjects": [{"kind": "X"}], "resourceRules": [pods]}), 1),
            (json!({"subjects": [{"kind": "Group", "user": {"name": "u"}}], "resourceRules": [pods]}), 2),
            (
                json!({"subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": "*"}}], "resourceRules": [pods]}),
                1,
            ),
            (json!({"subjects": [user], "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": []}]}), 1),
        ] {
            let at = Path::new("rule");
            assert_eq!(Causes::of(|causes| validate_rule(&rule, &at, causes)).len(), faults, "{rule}");
        }
    }

    #[test]
    fn only_one_level_never_waits() {
        for (name, spec, faults) in [
            ("a", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}), 0),
            ("exempt", json!({"type": "Exempt"}), 0),
            ("a", json!({"type": "Exempt"}), 1),
            ("a", json!({}), 1),
            ("a", json!({"type": "Limited"}), 1),
            ("a", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}}), 1),
        ] {
            assert_eq!(Causes::of(|causes| validate_level(name, &spec, causes)).len(), faults, "{name} {spec}");
        }
    }

    #[test]
    fn hands_are_smaller_than_decks_and_not_too_hard_to_deal() {
        for (queues, hand, faults) in [(64, 8, 0), (4, 5, 1), (100_000, 20, 1), (-1, -1, 2), (QUEUES_MAX + 1, 1, 1)] {
            let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 1});
            let at = Path::new("queuing");
            assert_eq!(Causes::of(|causes| validate_queuing(&queuing, &at, causes)).len(), faults, "{queues} {hand}");
        }
    }
}
