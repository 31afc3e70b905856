//! Which writes a policy, a binding or a webhook is for: rules of resources, and selectors of namespaces and objects.

use super::Attempt;
use api::selector::LabelSelector;
use api::{Kind, ResourceId, Scope};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A compiled `matchConstraints` or `matchResources`, or what a webhook says of the kind.
pub struct Match {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Whether rules for another version of the same resource count.
    equivalent: bool,
    /// Without rules, nothing is meant instead of everything.
    needs_rule: bool,
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
    /// Of a policy or a binding.
    pub fn of(matched: &Value) -> Match {
        Match::read(matched, "resourceRules", false)
    }

    /// Of a webhook.
    pub fn of_webhook(webhook: &Value) -> Match {
        Match::read(webhook, "rules", true)
    }

    fn read(matched: &Value, field: &str, needs_rule: bool) -> Match {
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
            rules: rules(field),
            excluded: rules("excludeResourceRules"),
            equivalent,
            needs_rule,
            namespaces,
            objects,
            unreadable,
        }
    }

    /// Whether a write is meant, and as which view of its kind.
    ///
    /// # Errors
    /// A selector that cannot be read.
    pub fn matched(&self, attempt: Attempt<'_>, new: Option<&Value>) -> Result<Option<Arc<Kind>>, String> {
        let Some(kind) = self.ruled(attempt, new) else { return Ok(None) };
        if let Some(why) = &self.unreadable {
            return Err(why.clone());
        }
        let selected = self.namespace_matches(attempt, new) && self.object_matches(attempt, new);
        Ok(selected.then_some(kind))
    }

    /// As [`Match::matched`], whatever the view.
    ///
    /// # Errors
    /// A selector that cannot be read.
    pub fn matches(&self, attempt: Attempt<'_>, new: Option<&Value>) -> Result<bool, String> {
        self.matched(attempt, new).map(|kind| kind.is_some())
    }

    fn ruled(&self, attempt: Attempt<'_>, new: Option<&Value>) -> Option<Arc<Kind>> {
        let own = attempt.call.kind;
        let any = |rules: &[Rule], kind: &Kind| rules.iter().any(|rule| rule.matches(attempt, kind, new));
        let others = || if self.equivalent { equivalents(attempt) } else { Vec::new() };
        if !self.excluded.is_empty() && (any(&self.excluded, own) || others().iter().any(|k| any(&self.excluded, k))) {
            return None;
        }
        if any(&self.rules, own) || (self.rules.is_empty() && !self.needs_rule) {
            return Some(own.clone());
        }
        if self.rules.is_empty() {
            return None;
        }
        others().into_iter().find(|kind| any(&self.rules, kind))
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
        stored.is_some_and(|namespace| selector.selects(&namespace.header))
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

/// Other views of the objects that are written: other versions, or the same in another group.
fn equivalents(attempt: Attempt<'_>) -> Vec<Arc<Kind>> {
    let call = attempt.call;
    let other = |kind: &Arc<Kind>| kind.group != call.kind.group || kind.version != call.kind.version;
    let views: Vec<_> = match call.custom {
        Some(custom) => {
            let versions = custom.compiled.definition.versions.iter();
            versions.filter(|version| version.served).map(|version| version.kind.clone()).filter(other).collect()
        }
        None => {
            let kinds = call.server.kinds.kinds().iter();
            kinds.filter(|kind| kind.stored_as == call.kind.stored_as).filter(|kind| other(kind)).cloned().collect()
        }
    };
    views
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

    fn matches(&self, attempt: Attempt<'_>, kind: &Kind, new: Option<&Value>) -> bool {
        let sub = attempt.subresource();
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
            && has(&self.operations, attempt.operation.as_str())
            && has(&self.groups, &kind.group)
            && has(&self.versions, &kind.version)
            && (self.names.is_empty() || self.names.iter().any(|held| held == attempt.name(new)))
    }
}
