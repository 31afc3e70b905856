//! What of which requests an audit log keeps: a policy of `audit.k8s.io/v1`, read and asked.
//!
//! Ursa's own addition: a rule may name `tenants`, those of its callers. What no rule matches is not kept.

use crate::rbac::Attributes;
use api::Identity;
use serde_json::Value;

/// How much is kept of a request. Each keeps what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }

    fn parse(text: &str) -> Option<Level> {
        [Level::None, Level::Metadata, Level::Request, Level::RequestResponse].into_iter().find(|l| l.as_str() == text)
    }
}

/// When in the life of a request a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    RequestReceived,
    /// Of a watch or a stream, when its head is sent.
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }

    fn parse(text: &str) -> Option<Stage> {
        let all = [Stage::RequestReceived, Stage::ResponseStarted, Stage::ResponseComplete, Stage::Panic];
        all.into_iter().find(|stage| stage.as_str() == text)
    }
}

/// Whether records go to one file, or to one for each tenant.
pub const FILES_ANNOTATION: &str = "audit.ursa.dev/files";

/// What an audit log keeps.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: bool,
    /// One file for each tenant.
    pub per_tenant: bool,
}

/// What is kept of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub level: Level,
    omit_stages: Vec<Stage>,
    pub omit_managed_fields: bool,
}

impl Kept {
    pub fn has(&self, stage: Stage) -> bool {
        self.level > Level::None && !self.omit_stages.contains(&stage)
    }
}

#[derive(Debug)]
struct Rule {
    level: Level,
    tenants: Vec<String>,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    paths: Vec<String>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug)]
struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

impl Policy {
    /// Reads a `Policy` object. The error names the field that is wrong.
    pub fn from_value(policy: &Value) -> Result<Policy, String> {
        if policy["apiVersion"] != "audit.k8s.io/v1" || policy["kind"] != "Policy" {
            return Err("the file holds no object of apiVersion audit.k8s.io/v1 and kind Policy".to_owned());
        }
        let rules = policy["rules"].as_array().filter(|rules| !rules.is_empty());
        let rules = rules.ok_or("rules: there must be at least one")?.iter().enumerate();
        let per_tenant = match policy["metadata"]["annotations"][FILES_ANNOTATION].as_str() {
            None | Some("One") => false,
            Some("PerTenant") => true,
            Some(other) => {
                return Err(format!("annotation {FILES_ANNOTATION}: {other:?} is neither One nor PerTenant"));
            }
        };
        Ok(Policy {
            rules: rules
                .map(|(i, rule)| Rule::read(rule).map_err(|why| format!("rules[{i}].{why}")))
                .collect::<Result<_, _>>()?,
            omit_stages: stages(&policy["omitStages"])?,
            omit_managed_fields: policy["omitManagedFields"].as_bool().unwrap_or(false),
            per_tenant,
        })
    }

    /// What is kept of a request: what the first rule that matches says. `who` is nobody where a credential was bad.
    pub fn keeps(&self, who: Option<&Identity>, what: &Attributes) -> Kept {
        match self.rules.iter().find(|rule| rule.matches(who, what)) {
            None => Kept { level: Level::None, omit_stages: Vec::new(), omit_managed_fields: false },
            Some(rule) => Kept {
                level: rule.level,
                omit_stages: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
            },
        }
    }
}

impl Rule {
    fn read(rule: &Value) -> Result<Rule, String> {
        let level = rule["level"].as_str().unwrap_or_default();
        let level = Level::parse(level)
            .ok_or_else(|| format!("level: {level:?} is none of None, Metadata, Request and RequestResponse"))?;
        let resources = rule["resources"].as_array().into_iter().flatten().map(|resources| Resources {
            group: resources["group"].as_str().unwrap_or_default().to_owned(),
            resources: texts(&resources["resources"]),
            names: texts(&resources["resourceNames"]),
        });
        let rule = Rule {
            level,
            tenants: texts(&rule["tenants"]),
            users: texts(&rule["users"]),
            groups: texts(&rule["userGroups"]),
            verbs: texts(&rule["verbs"]),
            resources: resources.collect(),
            namespaces: texts(&rule["namespaces"]),
            paths: texts(&rule["nonResourceURLs"]),
            omit_stages: stages(&rule["omitStages"])?,
            omit_managed_fields: rule["omitManagedFields"].as_bool(),
        };
        if !rule.paths.is_empty() && (!rule.resources.is_empty() || !rule.namespaces.is_empty()) {
            return Err(
                "nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs".to_owned()
            );
        }
        if rule.resources.iter().any(|resources| !resources.names.is_empty() && resources.resources.is_empty()) {
            return Err("resources: using resourceNames requires at least one resource".to_owned());
        }
        Ok(rule)
    }

    fn matches(&self, who: Option<&Identity>, what: &Attributes) -> bool {
        let any = |list: &[String], test: &dyn Fn(&str) -> bool| list.is_empty() || list.iter().any(|item| test(item));
        let about_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        any(&self.tenants, &|tenant| who.is_some_and(|who| who.tenant.as_str() == tenant))
            && any(&self.users, &|user| who.is_some_and(|who| who.user == user))
            && any(&self.groups, &|group| who.is_some_and(|who| who.in_group(group)))
            && any(&self.verbs, &|verb| verb == what.verb)
            && match what.path {
                Some(path) => !about_resources && any(&self.paths, &|url| path_matches(url, path)),
                None => {
                    self.paths.is_empty()
                        && any(&self.namespaces, &|namespace| namespace == what.namespace)
                        && (self.resources.is_empty() || self.resources.iter().any(|resources| resources.matches(what)))
                }
            }
    }
}

impl Resources {
    fn matches(&self, what: &Attributes) -> bool {
        let full = if what.subresource.is_empty() {
            what.resource.to_owned()
        } else {
            format!("{}/{}", what.resource, what.subresource)
        };
        let matches = |wanted: &String| {
            *wanted == full
                || wanted == "*"
                || wanted.strip_prefix("*/").is_some_and(|sub| sub == what.subresource)
                || wanted.strip_suffix("/*").is_some_and(|resource| resource == what.resource)
        };
        self.group == what.group
            && (self.resources.is_empty() || self.resources.iter().any(matches))
            && (self.names.is_empty() || self.names.iter().any(|name| name == what.name))
    }
}

fn path_matches(url: &str, path: &str) -> bool {
    url.strip_suffix('*').map_or(url == path, |prefix| path.starts_with(prefix))
}

fn stages(list: &Value) -> Result<Vec<Stage>, String> {
    texts(list)
        .iter()
        .map(|text| Stage::parse(text).ok_or_else(|| format!("omitStages: {text:?} is no stage")))
        .collect()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::TenantName;
    use serde_json::json;

    fn policy(rules: Value) -> Result<Policy, String> {
        Policy::from_value(&json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules,
            "omitStages": ["RequestReceived"]}))
    }

    #[test]
    fn the_first_rule_that_matches_says_what_is_kept() {
        let rules = json!([
            {"level": "None", "users": ["system:probe"]},
            {"level": "None", "nonResourceURLs": ["/healthz*", "/version"]},
            {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets", "pods/exec"]}]},
            {"level": "RequestResponse", "resources": [{"group": "apps", "resources": ["*"], "resourceNames": ["web"]}],
                "omitStages": ["ResponseStarted"], "omitManagedFields": true},
            {"level": "None", "tenants": ["quiet"]},
            {"level": "Request", "verbs": ["create", "delete"], "namespaces": ["n"]},
            {"level": "Metadata", "userGroups": ["devs"]},
        ]);
        let policy = policy(rules).expect("a policy");
        let who = |tenant: &str, user: &str, groups: &[&str]| {
            Identity::new(TenantName::new(tenant).expect("a tenant"), user, groups)
        };
        let ann = who("t", "ann", &[]);
        let what = |verb, group, resource, name| Attributes {
            verb,
            group,
            resource,
            name,
            namespace: "n",
            ..Attributes::default()
        };
        let path = |path| Attributes { verb: "get", path: Some(path), ..Attributes::default() };
        for (who, what, level) in [
            (&who("t", "system:probe", &[]), what("get", "", "secrets", "s"), Level::None),
            (&ann, path("/healthz/etcd"), Level::None),
            (&ann, path("/apis"), Level::None),
            (&ann, what("get", "", "secrets", "s"), Level::Metadata),
            (&ann, Attributes { subresource: "exec", ..what("create", "", "pods", "p") }, Level::Metadata),
            (&ann, what("create", "", "pods", "p"), Level::Request),
            (&ann, what("get", "apps", "deployments", "web"), Level::RequestResponse),
            (&ann, what("get", "apps", "deployments", "other"), Level::None),
            (&who("quiet", "ann", &["devs"]), what("create", "", "pods", "p"), Level::None),
            (&who("t", "ann", &["devs"]), what("get", "", "pods", "p"), Level::Metadata),
        ] {
            assert_eq!(policy.keeps(Some(who), &what).level, level, "{} {what:?}", who.user);
        }
        let kept = policy.keeps(Some(&ann), &what("get", "apps", "deployments", "web"));
        assert!(kept.omit_managed_fields && kept.has(Stage::ResponseComplete));
        assert!(!kept.has(Stage::RequestReceived) && !kept.has(Stage::ResponseStarted));
        assert_eq!(policy.keeps(None, &what("get", "", "secrets", "s")).level, Level::Metadata);
    }

    #[test]
    fn a_policy_that_says_nothing_or_two_things_is_refused() {
        for (rules, why) in [
            (json!([]), "at least one"),
            (json!([{"level": "Loud"}]), "rules[0].level"),
            (json!([{"level": "None", "omitStages": ["Never"]}]), "no stage"),
            (json!([{"level": "None", "nonResourceURLs": ["/x"], "namespaces": ["n"]}]), "both"),
            (json!([{"level": "None", "resources": [{"group": "", "resourceNames": ["n"]}]}]), "requires at least one"),
        ] {
            let error = policy(rules).expect_err("a bad policy");
            assert!(error.contains(why), "{error}");
        }
        assert!(Policy::from_value(&json!({"kind": "Policy"})).is_err());
    }
}
