//! One rule of a role: what it allows, which other rules it covers, and the smallest parts it is made of.

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

/// So many bytes weigh as much as one more text.
const LONG_TEXT: usize = 64;

/// One verb on one thing: the smallest part of what a rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Atom<'a> {
    pub verb: &'a str,
    pub on: On<'a>,
}

/// What a verb is allowed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum On<'a> {
    /// `None` is every name.
    Resource {
        group: &'a str,
        resource: &'a str,
        name: Option<&'a str>,
    },
    Path(&'a str),
}

impl Atom<'_> {
    /// The rule that allows nothing else.
    pub fn to_rule(self) -> Rule {
        let one = |text: &str| vec![text.to_owned()];
        let verbs = one(self.verb);
        match self.on {
            On::Path(path) => Rule { verbs, non_resource_urls: one(path), ..Rule::default() },
            On::Resource { group, resource, name } => Rule {
                verbs,
                api_groups: one(group),
                resources: one(resource),
                resource_names: name.map(one).unwrap_or_default(),
                non_resource_urls: Vec::new(),
            },
        }
    }
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

    /// Whether this rule alone allows everything that `other` allows.
    pub(super) fn covers(&self, other: &Rule) -> bool {
        other.verbs.iter().all(|verb| has(&self.verbs, verb))
            && other.api_groups.iter().all(|group| has(&self.api_groups, group))
            && other.resources.iter().all(|resource| self.has_resource(resource))
            && other.non_resource_urls.iter().all(|path| self.has_path(path))
            && (self.resource_names.is_empty()
                || (!other.resource_names.is_empty()
                    && other.resource_names.iter().all(|name| self.has_name(Some(name)))))
    }

    /// Whether this rule alone allows one verb on one thing.
    pub(super) fn covers_atom(&self, atom: &Atom) -> bool {
        has(&self.verbs, atom.verb)
            && match atom.on {
                On::Resource { group, resource, name } => {
                    has(&self.api_groups, group) && self.has_resource(resource) && self.has_name(name)
                }
                On::Path(path) => self.has_path(path),
            }
    }

    fn has_resource(&self, wanted: &str) -> bool {
        let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
        self.resources.iter().any(|rule| resource_matches(rule, resource, subresource))
    }

    fn has_name(&self, wanted: Option<&str>) -> bool {
        self.resource_names.is_empty() || wanted.is_some_and(|wanted| self.resource_names.iter().any(|n| n == wanted))
    }

    fn has_path(&self, wanted: &str) -> bool {
        self.non_resource_urls.iter().any(|url| url_matches(url, wanted))
    }

    /// What this rule allows, one verb on one thing at a time. There may be very many: ask [`Rule::count`] before.
    pub(super) fn atoms(&self) -> impl Iterator<Item = Atom<'_>> {
        // Without a verb or a group there is nothing to go through, however long the other lists are.
        let groups = if self.verbs.is_empty() { &[] } else { self.api_groups.as_slice() };
        let on_resources =
            groups.iter().flat_map(move |group| self.resources.iter().map(move |resource| (group, resource))).flat_map(
                move |(group, resource)| self.verbs.iter().flat_map(move |verb| self.named(verb, group, resource)),
            );
        let on_paths = self
            .non_resource_urls
            .iter()
            .flat_map(move |path| self.verbs.iter().map(move |verb| Atom { verb, on: On::Path(path) }));
        on_resources.chain(on_paths)
    }

    /// One verb on one resource, by each name or whatever its name.
    fn named<'a>(&'a self, verb: &'a str, group: &'a str, resource: &'a str) -> impl Iterator<Item = Atom<'a>> {
        let any = self.resource_names.is_empty().then_some(None);
        let names = any.into_iter().chain(self.resource_names.iter().map(|name| Some(name.as_str())));
        names.map(move |name| Atom { verb, on: On::Resource { group, resource, name } })
    }

    /// How many [`Rule::atoms`] there are; `None` for more than can be counted.
    pub(super) fn count(&self) -> Option<usize> {
        let on_resources = self
            .verbs
            .len()
            .checked_mul(self.api_groups.len())?
            .checked_mul(self.resources.len())?
            .checked_mul(self.resource_names.len().max(1))?;
        on_resources.checked_add(self.verbs.len().checked_mul(self.non_resource_urls.len())?)
    }

    /// How much there is to look at in this rule: its texts, and a long one counts for more.
    pub(super) fn weight(&self) -> usize {
        let rest = self.lists().into_iter().flat_map(|(_, list)| list);
        1 + self.verbs.iter().chain(rest).map(|text| 1 + text.len() / LONG_TEXT).sum::<usize>()
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
