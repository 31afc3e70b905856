//! Flow schemas, compiled: which schema, level and flow a request belongs to.

use crate::rbac::Attributes;
use api::Identity;
use serde_json::Value;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The schemas and levels of one tenant.
pub struct Flows {
    /// By precedence, then by name.
    schemas: Vec<Schema>,
    /// What nothing else matches.
    rest: Schema,
}

/// Where a request belongs.
#[derive(Clone)]
pub struct Classified {
    pub schema: Arc<str>,
    pub schema_uid: Arc<str>,
    pub level: Arc<Level>,
    /// What tells the requests of one user, or of one namespace, from others of the same schema.
    pub flow: u64,
}

/// A priority level.
#[derive(Debug, PartialEq, Eq)]
pub struct Level {
    pub name: String,
    pub uid: String,
    /// Its share of the seats, relative to other levels; `None` never waits.
    pub shares: Option<u32>,
    pub queuing: Queuing,
}

/// What becomes of requests that find no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queuing {
    Reject,
    /// So many may wait in each flow.
    Queue(usize),
}

struct Schema {
    name: Arc<str>,
    uid: Arc<str>,
    precedence: i64,
    level: Arc<Level>,
    distinguisher: Distinguisher,
    rules: Vec<Rule>,
}

#[derive(Clone, Copy)]
enum Distinguisher {
    None,
    User,
    Namespace,
}

struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

enum Subject {
    User(String),
    Group(String),
    /// `*` for every name.
    ServiceAccount {
        namespace: String,
        name: String,
    },
}

struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster_scope: bool,
}

struct PathRule {
    verbs: Vec<String>,
    urls: Vec<String>,
}

/// So many requests of one flow wait where a level says nothing.
const QUEUE_LENGTH: usize = 50;

impl Flows {
    /// Compiles stored schemas and levels. A schema whose level is not there does not count.
    pub fn compile<'a>(
        schemas: impl IntoIterator<Item = &'a Value>,
        levels: impl IntoIterator<Item = &'a Value>,
    ) -> Flows {
        let levels: HashMap<String, Arc<Level>> = levels
            .into_iter()
            .map(|level| (text(&level["metadata"]["name"]).to_owned(), Arc::new(read_level(level))))
            .collect();
        let mut compiled: Vec<Schema> =
            schemas.into_iter().filter_map(|schema| Schema::read(schema, &levels)).collect();
        compiled.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        let fallback =
            Level { name: "catch-all".to_owned(), uid: String::new(), shares: Some(5), queuing: Queuing::Reject };
        let rest = Schema {
            name: "catch-all".into(),
            uid: "".into(),
            precedence: i64::MAX,
            level: levels.get("catch-all").cloned().unwrap_or_else(|| Arc::new(fallback)),
            distinguisher: Distinguisher::User,
            rules: Vec::new(),
        };
        Flows { schemas: compiled, rest }
    }

    /// The schema of a request, with its level and flow.
    pub fn classify(&self, who: &Identity, what: &Attributes) -> Classified {
        let schema = self.schemas.iter().find(|schema| schema.matches(who, what)).unwrap_or(&self.rest);
        let mut hasher = DefaultHasher::new();
        match schema.distinguisher {
            Distinguisher::None => {}
            Distinguisher::User => who.user.hash(&mut hasher),
            Distinguisher::Namespace => what.namespace.hash(&mut hasher),
        }
        Classified {
            schema: schema.name.clone(),
            schema_uid: schema.uid.clone(),
            level: schema.level.clone(),
            flow: hasher.finish(),
        }
    }
}

impl Schema {
    fn read(schema: &Value, levels: &HashMap<String, Arc<Level>>) -> Option<Schema> {
        let spec = &schema["spec"];
        let level = levels.get(text(&spec["priorityLevelConfiguration"]["name"]))?.clone();
        Some(Schema {
            name: text(&schema["metadata"]["name"]).into(),
            uid: text(&schema["metadata"]["uid"]).into(),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
            level,
            distinguisher: match text(&spec["distinguisherMethod"]["type"]) {
                "ByUser" => Distinguisher::User,
                "ByNamespace" => Distinguisher::Namespace,
                _ => Distinguisher::None,
            },
            rules: list(&spec["rules"]).map(Rule::read).collect(),
        })
    }

    fn matches(&self, who: &Identity, what: &Attributes) -> bool {
        self.rules.iter().any(|rule| {
            rule.subjects.iter().any(|subject| subject.matches(who))
                && match what.path {
                    Some(path) => rule.paths.iter().any(|rule| rule.matches(what.verb, path)),
                    None => rule.resources.iter().any(|rule| rule.matches(what)),
                }
        })
    }
}

impl Rule {
    fn read(rule: &Value) -> Rule {
        Rule {
            subjects: list(&rule["subjects"]).filter_map(Subject::read).collect(),
            resources: list(&rule["resourceRules"])
                .map(|rule| ResourceRule {
                    verbs: texts(&rule["verbs"]),
                    groups: texts(&rule["apiGroups"]),
                    resources: texts(&rule["resources"]),
                    namespaces: texts(&rule["namespaces"]),
                    cluster_scope: rule["clusterScope"].as_bool().unwrap_or(false),
                })
                .collect(),
            paths: list(&rule["nonResourceRules"])
                .map(|rule| PathRule { verbs: texts(&rule["verbs"]), urls: texts(&rule["nonResourceURLs"]) })
                .collect(),
        }
    }
}

impl Subject {
    fn read(subject: &Value) -> Option<Subject> {
        let name = |part: &str| text(&subject[part]["name"]).to_owned();
        Some(match text(&subject["kind"]) {
            "User" => Subject::User(name("user")),
            "Group" => Subject::Group(name("group")),
            "ServiceAccount" => Subject::ServiceAccount {
                namespace: text(&subject["serviceAccount"]["namespace"]).to_owned(),
                name: name("serviceAccount"),
            },
            _ => return None,
        })
    }

    fn matches(&self, who: &Identity) -> bool {
        match self {
            Subject::User(name) => name == "*" || *name == who.user,
            Subject::Group(name) => name == "*" || who.in_group(name),
            Subject::ServiceAccount { namespace, name } => {
                let account = who.user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                account.is_some_and(|(n, account)| n == namespace && (name == "*" || name == account))
            }
        }
    }
}

impl ResourceRule {
    fn matches(&self, what: &Attributes) -> bool {
        let in_scope = if what.namespace.is_empty() || what.resource == "namespaces" {
            self.cluster_scope
        } else {
            has(&self.namespaces, what.namespace)
        };
        in_scope && has(&self.verbs, what.verb) && has(&self.groups, what.group) && self.has_resource(what)
    }

    fn has_resource(&self, what: &Attributes) -> bool {
        self.resources.iter().any(|rule| {
            rule == "*"
                || match rule.split_once('/') {
                    None => what.subresource.is_empty() && rule == what.resource,
                    Some((resource, subresource)) => resource == what.resource && subresource == what.subresource,
                }
        })
    }
}

impl PathRule {
    fn matches(&self, verb: &str, path: &str) -> bool {
        has(&self.verbs, verb)
            && self.urls.iter().any(|url| match url.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => url == path,
            })
    }
}

fn read_level(level: &Value) -> Level {
    let (metadata, spec) = (&level["metadata"], &level["spec"]);
    let limited = &spec["limited"];
    let shares = limited["nominalConcurrencyShares"].as_u64().and_then(|shares| u32::try_from(shares).ok());
    let response = &limited["limitResponse"];
    let length = response["queuing"]["queueLengthLimit"].as_u64().and_then(|length| usize::try_from(length).ok());
    Level {
        name: text(&metadata["name"]).to_owned(),
        uid: text(&metadata["uid"]).to_owned(),
        shares: (spec["type"] != "Exempt").then(|| shares.unwrap_or(30)),
        queuing: match text(&response["type"]) {
            "Queue" => Queuing::Queue(length.unwrap_or(QUEUE_LENGTH)),
            _ => Queuing::Reject,
        },
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fairness::default_flows;
    use api::TenantName;

    #[test]
    fn a_request_finds_its_schema_by_who_asks_and_for_what() {
        let defaults = default_flows();
        assert_eq!((defaults.flow_schemas.len(), defaults.priority_levels.len()), (11, 8));
        let flows = Flows::compile(&defaults.flow_schemas, &defaults.priority_levels);
        let tenant = TenantName::new("acme").expect("a tenant");
        let who = |user: &str, groups: &[&str]| Identity::new(tenant.clone(), user, groups);
        let account = |namespace: &str| Identity::service_account(tenant.clone(), namespace, "bot");
        let pods = Attributes { verb: "list", resource: "pods", namespace: "n", ..Attributes::default() };
        let lease = Attributes {
            verb: "update",
            group: "coordination.k8s.io",
            resource: "leases",
            namespace: "n",
            ..Attributes::default()
        };
        let node = Attributes { verb: "patch", resource: "nodes", subresource: "status", ..Attributes::default() };
        let health = Attributes { verb: "get", path: Some("/healthz"), ..Attributes::default() };
        for (who, what, schema, level) in [
            (who("root", &["system:masters"]), pods, "exempt", "exempt"),
            (who("ann", &[]), health, "probes", "exempt"),
            (who("ann", &[]), pods, "global-default", "global-default"),
            (who("system:kube-scheduler", &[]), lease, "system-leader-election", "leader-election"),
            (who("system:kube-scheduler", &[]), pods, "kube-scheduler", "workload-high"),
            (account("kube-system"), lease, "system-leader-election", "leader-election"),
            (account("kube-system"), pods, "kube-system-service-accounts", "workload-high"),
            (account("n"), lease, "service-accounts", "workload-low"),
            (who("system:node:a", &["system:nodes"]), node, "system-node-high", "node-high"),
            (who("system:node:a", &["system:nodes"]), pods, "system-nodes", "system"),
        ] {
            let found = flows.classify(&who, &what);
            assert_eq!((&*found.schema, found.level.name.as_str()), (schema, level), "{} {:?}", who.user, what);
        }
        let of = |user: &str| flows.classify(&who(user, &[]), &pods).flow;
        assert_eq!(of("ann"), of("ann"));
        assert_ne!(of("ann"), of("bob"));
    }
}
