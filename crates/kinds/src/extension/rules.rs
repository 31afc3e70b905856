//! What requests a webhook or a policy is for.

use crate::causes::{Causes, Path};
use crate::names;
use crate::selectors::label_selector;
use crate::value::{default, is_empty, list, list_mut, repeats, text};
use cel::policy::{Role, Scope};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const CONDITIONS_MAX: usize = 64;

/// Defaults of what a webhook or a policy matches, and of its rules.
pub(super) fn match_defaults(matched: &mut Value, rules: &[&str]) {
    default(matched, "matchPolicy", "Equivalent");
    default(matched, "namespaceSelector", json!({}));
    default(matched, "objectSelector", json!({}));
    for field in rules {
        list_mut(matched, field).for_each(|rule| default(rule, "scope", "*"));
    }
}

/// Selectors and the match policy.
pub(super) fn matching(matched: &Value, at: &Path, causes: &mut Causes) {
    causes.one_of(&at.child("matchPolicy"), &matched["matchPolicy"], &["Equivalent", "Exact"]);
    for field in ["namespaceSelector", "objectSelector"] {
        label_selector(&matched[field], &at.child(field), causes);
    }
}

/// What a policy or a binding matches.
pub(super) fn resources(matched: &Value, at: &Path, causes: &mut Causes) {
    matching(matched, at, causes);
    for field in ["resourceRules", "excludeResourceRules"] {
        let rules = at.child(field);
        for (i, rule) in list(&matched[field]).iter().enumerate() {
            let at = rules.index(i);
            self::rule(rule, &at, causes);
            let (names, at) = (list(&rule["resourceNames"]), at.child("resourceNames"));
            let repeated = repeats(names);
            for (i, name) in names.iter().enumerate() {
                causes.each_invalid(&at.index(i), text(name), names::path_segment(text(name), false));
                if repeated.contains(&i) {
                    causes.duplicate(&at.index(i), name);
                }
            }
        }
    }
}

/// Operations on resources of versions of groups.
pub(super) fn rule(rule: &Value, at: &Path, causes: &mut Causes) {
    let all_or_some = |field: &str, what: &str, causes: &mut Causes| {
        let values = list(&rule[field]);
        if values.is_empty() {
            causes.required(&at.child(field), "");
        }
        if values.len() > 1 && values.iter().any(|value| value == "*") {
            causes.invalid(&at.child(field), values, &format!("if '*' is present, must not specify other {what}"));
        }
    };
    all_or_some("operations", "operations", causes);
    let operations = at.child("operations");
    for (i, operation) in list(&rule["operations"]).iter().enumerate() {
        let supported = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
        causes.one_of(&operations.index(i), operation, &supported);
    }
    all_or_some("apiGroups", "API groups", causes);
    all_or_some("apiVersions", "API versions", causes);
    let versions = at.child("apiVersions");
    for (i, _) in list(&rule["apiVersions"]).iter().enumerate().filter(|(_, version)| is_empty(version)) {
        causes.required(&versions.index(i), "");
    }
    rule_resources(list(&rule["resources"]), &at.child("resources"), causes);
    if !rule["scope"].is_null() {
        causes.one_of(&at.child("scope"), &rule["scope"], &["*", "Cluster", "Namespaced"]);
    }
}

/// Resources and subresources, of which no term may hold another.
fn rule_resources(resources: &[Value], at: &Path, causes: &mut Causes) {
    if resources.is_empty() {
        causes.required(at, "");
    }
    let (mut of_resources, mut of_subresources) = (BTreeSet::new(), BTreeSet::new());
    for (i, term) in resources.iter().map(text).enumerate() {
        if term.is_empty() {
            causes.required(&at.index(i), "");
        }
        let Some((resource, subresource)) = term.split_once('/') else { continue };
        if of_resources.contains(resource) {
            let why = format!("if '{resource}/*' is present, must not specify {term}");
            causes.invalid(&at.index(i), term, &why);
        }
        if of_subresources.contains(subresource) {
            let why = format!("if '*/{subresource}' is present, must not specify {term}");
            causes.invalid(&at.index(i), term, &why);
        }
        if subresource == "*" {
            of_resources.insert(resource);
        }
        if resource == "*" {
            of_subresources.insert(subresource);
        }
    }
    let has = |term: &str| resources.iter().any(|resource| resource == term);
    if resources.len() > 1 && has("*/*") {
        causes.invalid(at, resources, "if '*/*' is present, must not specify other resources");
    }
    if has("*") && resources.iter().map(text).any(|term| !term.is_empty() && term != "*" && !term.contains('/')) {
        let why = "if '*' is present, must not specify other resources without subresources";
        causes.invalid(at, resources, why);
    }
}

/// Conditions that a request must meet, by name.
pub(super) fn conditions(conditions: &Value, scope: &Scope, at: &Path, causes: &mut Causes) {
    let conditions = list(conditions);
    if conditions.len() > CONDITIONS_MAX {
        return causes.too_many(at, conditions.len(), CONDITIONS_MAX);
    }
    let repeated = repeats(conditions.iter().map(|condition| text(&condition["name"])));
    for (i, condition) in conditions.iter().enumerate() {
        let at = at.index(i);
        expression(&condition["expression"], "", scope, Role::Condition, &at.child("expression"), causes);
        match text(&condition["name"]) {
            "" => causes.required(&at.child("name"), ""),
            name => {
                causes.each_invalid(&at.child("name"), name, names::qualified_name(name));
                if repeated.contains(&i) {
                    causes.duplicate(&at.child("name"), name);
                }
            }
        }
    }
}

/// An expression must be there, and be what its role asks for.
pub(super) fn expression(expression: &Value, absent: &str, scope: &Scope, role: Role, at: &Path, causes: &mut Causes) {
    let source = text(expression);
    if source.trim().is_empty() {
        causes.required(at, absent);
    } else if !causes.is_full()
        && let Err(why) = scope.compile(source, role)
    {
        causes.invalid(at, source, &why);
    }
}
