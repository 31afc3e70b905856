//! Which writes a policy or a binding is for: rules of resources, and selectors of namespaces and objects.

use crate::admission::Attempt;
use crate::registry::Part;
use api::selector::LabelSelector;
use api::{ResourceId, Scope};
use serde_json::Value;
use std::collections::BTreeMap;

/// A compiled `matchConstraints` or `matchResources`.
pub struct Match {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Whether rules for another version of the same resource count.
    equivalent: bool,
    namespaces: Option<LabelSelector>,
    objects: Option<LabelSelector>,
    /// A selector that cannot be read selects nothing, and says so.
    unreadable: Option<String>,
}

struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    scope: String,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn has(terms: &[String], value: &str) -> bool {
    terms.iter().any(|term| term == "*" || term == value)
}

impl Match {
    pub fn of(matched: &Value) -> Match {
        let rules = |field: &str| matched[field].as_array().into_iter().flatten().map(Rule::of).collect();
        let mut unreadable = None;
        let mut selector = |field: &str| match LabelSelector::from_value(&matched[field]) {
            Ok(selector) => Some(selector).filter(|selector| !selector.is_empty()),
            Err(error) => {
                unreadable = Some(error.to_string());
                None
            }
        };
        let (namespaces, objects) = (selector("namespaceSelector"), selector("objectSelector"));
        let equivalent = matched["matchPolicy"].as_str() != Some("Exact");
        Match {
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            equivalent,
            namespaces,
            objects,
            unreadable,
        }
    }

    /// Whether a write is meant. Without rules every resource is.
    ///
    /// # Errors
    /// A selector that cannot be read.
    pub fn matches(&self, attempt: Attempt<'_>, new: Option<&Value>) -> Result<bool, String> {
        let any = |rules: &[Rule]| rules.iter().any(|rule| rule.matches(attempt, new, self.equivalent));
        if any(&self.excluded) || (!self.rules.is_empty() && !any(&self.rules)) {
            return Ok(false);
        }
        if let Some(why) = &self.unreadable {
            return Err(why.clone());
        }
        Ok(self.namespace_matches(attempt, new) && self.object_matches(attempt, new))
    }

    fn namespace_matches(&self, attempt: Attempt<'_>, new: Option<&Value>) -> bool {
        let Some(selector) = &self.namespaces else { return true };
        if attempt.is("", "namespaces") {
            return new.or(attempt.old).is_some_and(|namespace| selector.matches(&labels(namespace)));
        }
        let namespace = attempt.call.namespace;
        if namespace.is_empty() {
            return true;
        }
        let stored = attempt.stored(ResourceId::new("", "namespaces"), "", namespace);
        stored.is_some_and(|namespace| selector.matches(&namespace.header.labels))
    }

    fn object_matches(&self, attempt: Attempt<'_>, new: Option<&Value>) -> bool {
        let Some(selector) = &self.objects else { return true };
        new.into_iter().chain(attempt.old).any(|object| selector.matches(&labels(object)))
    }
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// The operation of a write.
pub fn operation(attempt: Attempt<'_>, new: Option<&Value>) -> &'static str {
    match (new, attempt.old) {
        (None, _) => "DELETE",
        (Some(_), None) => "CREATE",
        (Some(_), Some(_)) => "UPDATE",
    }
}

/// The subresource that a write goes through.
pub fn subresource(attempt: Attempt<'_>) -> &'static str {
    match attempt.part {
        Part::Status => "status",
        Part::Scale => "scale",
        Part::Subresource(name) => name,
        Part::Object | Part::Own(_) => "",
    }
}

impl Rule {
    fn of(rule: &Value) -> Rule {
        Rule {
            operations: texts(&rule["operations"]),
            groups: texts(&rule["apiGroups"]),
            versions: texts(&rule["apiVersions"]),
            resources: texts(&rule["resources"]),
            names: texts(&rule["resourceNames"]),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
        }
    }

    fn matches(&self, attempt: Attempt<'_>, new: Option<&Value>, equivalent: bool) -> bool {
        let kind = attempt.call.kind;
        let name = || new.or(attempt.old).and_then(|object| object["metadata"]["name"].as_str()).unwrap_or_default();
        let sub = subresource(attempt);
        let resource = self.resources.iter().any(|term| {
            let (resource, subresource) = term.split_once('/').unwrap_or((term, ""));
            (resource == "*" || resource == kind.plural) && (subresource == "*" || subresource == sub)
        });
        // A namespace belongs to no namespace, whatever its requests say.
        let in_namespace = kind.scope == Scope::Namespaced && !attempt.is("", "namespaces");
        let scope = match self.scope.as_str() {
            "Namespaced" => in_namespace,
            "Cluster" => !in_namespace,
            _ => true,
        };
        resource
            && scope
            && has(&self.operations, operation(attempt, new))
            && has(&self.groups, &kind.group)
            && (has(&self.versions, &kind.version) || equivalent && self.serves_other(attempt))
            && (self.names.is_empty() || self.names.iter().any(|held| held == name()))
    }

    /// Whether a version that the rule names serves the same resource.
    fn serves_other(&self, attempt: Attempt<'_>) -> bool {
        let kind = attempt.call.kind;
        let same = |version: &String| attempt.call.server.kinds.find(&kind.group, version, &kind.plural).is_some();
        self.versions.iter().any(same)
    }
}
