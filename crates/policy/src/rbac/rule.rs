//! One rule of a role: what it allows, and which other rules it covers.

use super::Attributes;
use serde_json::{Value, json};

/// What a rule of a role allows: verbs on resources of groups, perhaps on some names only, or on paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    /// Empty means all names.
    pub resource_names: Vec<String>,
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    /// Reads a `PolicyRule`. What is not a list of texts reads as empty, and an empty rule allows nothing.
    pub fn from_value(rule: &Value) -> Rule {
        Rule {
            verbs: texts(&rule["verbs"]),
            api_groups: texts(&rule["apiGroups"]),
            resources: texts(&rule["resources"]),
            resource_names: texts(&rule["resourceNames"]),
            non_resource_urls: texts(&rule["nonResourceURLs"]),
        }
    }

    /// The `PolicyRule`, without its empty lists.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"verbs": self.verbs});
        for (field, list) in self.lists() {
            if !list.is_empty() {
                value[field] = json!(list);
            }
        }
        value
    }

    /// Whether this rule alone allows the request.
    pub fn allows(&self, what: &Attributes) -> bool {
        if !has(&self.verbs, what.verb) {
            return false;
        }
        match what.path {
            Some(path) => self.non_resource_urls.iter().any(|url| url_matches(url, path)),
            None => {
                has(&self.api_groups, what.group)
                    && self.resources.iter().any(|r| resource_matches(r, what.resource, what.subresource))
                    && (self.resource_names.is_empty() || self.resource_names.iter().any(|n| n == what.name))
            }
        }
    }

    /// Whether this rule alone allows everything that `other` allows. `other` holds at most one of each.
    pub(super) fn covers(&self, other: &Rule) -> bool {
        let resource_covered = |wanted: &String| {
            let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
            self.resources.iter().any(|r| resource_matches(r, resource, subresource))
        };
        let names_covered = || match other.resource_names.as_slice() {
            _ if self.resource_names.is_empty() => true,
            [] => false,
            names => names.iter().all(|n| self.resource_names.contains(n)),
        };
        let url_covered = |wanted: &String| self.non_resource_urls.iter().any(|url| url_matches(url, wanted));
        other.verbs.iter().all(|v| has(&self.verbs, v))
            && other.api_groups.iter().all(|g| has(&self.api_groups, g))
            && other.resources.iter().all(resource_covered)
            && names_covered()
            && other.non_resource_urls.iter().all(url_covered)
    }

    /// Rules of one verb, group, resource and name each, which together allow the same.
    pub(super) fn atoms(&self) -> Vec<Rule> {
        let one = |text: &String| vec![text.clone()];
        let mut atoms = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let atom =
                        Rule { verbs: one(verb), api_groups: one(group), resources: one(resource), ..Rule::default() };
                    let named = self.resource_names.iter().map(|n| Rule { resource_names: one(n), ..atom.clone() });
                    atoms.extend(named);
                    if self.resource_names.is_empty() {
                        atoms.push(atom);
                    }
                }
            }
        }
        for url in &self.non_resource_urls {
            let of_verb = |verb| Rule { verbs: one(verb), non_resource_urls: one(url), ..Rule::default() };
            atoms.extend(self.verbs.iter().map(of_verb));
        }
        atoms
    }

    /// The lists besides the verbs, by their names on the wire.
    pub(super) fn lists(&self) -> [(&'static str, &[String]); 4] {
        [
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("nonResourceURLs", &self.non_resource_urls),
            ("resourceNames", &self.resource_names),
        ]
    }
}

/// Whether a list names `wanted` or everything.
fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

/// `*` is every resource with every subresource, `*/scale` the subresource of every resource.
fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    match rule.split_once('/') {
        None => rule == "*" || (subresource.is_empty() && rule == resource),
        Some((of, sub)) => !subresource.is_empty() && sub == subresource && (of == "*" || of == resource),
    }
}

/// A trailing `*` stands for any rest of the path.
fn url_matches(rule: &str, path: &str) -> bool {
    rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix.trim_end_matches('*')))
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|t| t.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: Value, verb: &str, resource: &str, name: &str, expected: bool) {
        let (group, resource) = resource.split_once(':').unwrap_or(("", resource));
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let what = Attributes { verb, group, resource, subresource, name, ..Attributes::default() };
        assert_eq!(Rule::from_value(&rule).allows(&what), expected, "{rule} {what:?}");
    }

    #[test]
    fn rules_match_resources_as_upstream() {
        let rule = |resources: &[&str]| json!({"verbs": ["get"], "apiGroups": [""], "resources": resources});
        for (resources, wanted, expected) in [
            (["pods"], "pods", true),
            (["pods"], "pods/log", false),
            (["pods/log"], "pods/log", true),
            (["pods/log"], "pods", false),
            (["*"], "pods/log", true),
            (["*/log"], "pods/log", true),
            (["*/log"], "pods/exec", false),
            (["*/log"], "pods", false),
            (["pods/*"], "pods/log", false),
            (["pods"], "apps:pods", false),
        ] {
            check(rule(&resources), "get", wanted, "", expected);
        }
    }

    #[test]
    fn names_and_verbs_limit_a_rule() {
        let rule = json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["pods"], "resourceNames": ["a"]});
        check(rule.clone(), "get", "x:pods", "a", true);
        check(rule.clone(), "get", "pods", "b", false);
        check(rule.clone(), "get", "pods", "", false);
        check(rule, "list", "pods", "a", false);
    }

    #[test]
    fn malformed_rules_allow_nothing() {
        for bad in [json!(null), json!("*"), json!({"verbs": "*"}), json!({"verbs": [1], "apiGroups": null})] {
            check(bad, "get", "pods", "a", false);
        }
        check(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}), "get", "pods", "a", false);
    }

    #[test]
    fn paths_match_exactly_or_by_prefix() {
        let rule = Rule::from_value(&json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}));
        for (path, expected) in [("/healthz", true), ("/healthz/x", false), ("/api/v1", true), ("/apis", false)] {
            let what = Attributes { verb: "get", path: Some(path), ..Attributes::default() };
            assert_eq!(rule.allows(&what), expected, "{path}");
        }
        let all = Rule::from_value(&json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        assert!(!all.allows(&Attributes { verb: "get", path: Some("/healthz"), ..Attributes::default() }));
    }
}
