//! The operations of kinds: which methods which paths have, with which parameters, bodies and answers. Both versions of
//! OpenAPI print these.

use super::path_of;
use super::schemas::Schemas;
use api::{Kind, Subresource, Verb};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The media types of the patches that are taken.
const PATCH_TYPES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Those of custom resources, of which no Go type says how lists merge. Clients choose by these.
const CUSTOM_PATCH_TYPES: &[&str] =
    &["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];

/// The media types of answers.
pub(super) const TYPES: [&str; 2] = ["application/json", "application/yaml"];

/// What a document of some kinds holds, before it is printed.
pub(super) struct Contents {
    pub paths: Vec<Path>,
    /// By name.
    pub definitions: BTreeMap<String, Value>,
}

/// Groups and versions that upstream's clients know, whether served or not: what documents of custom kinds take for all.
static KNOWN_TO_CUSTOM: &str = " v1
admissionregistration.k8s.io v1 v1alpha1 v1beta1
apps v1 v1beta1 v1beta2
authentication.k8s.io v1 v1alpha1 v1beta1
authorization.k8s.io v1 v1beta1
autoscaling v1 v2
batch v1 v1beta1
certificates.k8s.io v1 v1alpha1 v1beta1
coordination.k8s.io v1 v1alpha2 v1beta1
discovery.k8s.io v1 v1beta1
events.k8s.io v1 v1beta1
extensions v1beta1
flowcontrol.apiserver.k8s.io v1 v1beta1 v1beta2 v1beta3
internal.apiserver.k8s.io v1alpha1
networking.k8s.io v1 v1beta1
node.k8s.io v1 v1alpha1 v1beta1
policy v1 v1beta1
rbac.authorization.k8s.io v1 v1alpha1 v1beta1
resource.k8s.io v1 v1alpha3 v1beta1 v1beta2
scheduling.k8s.io v1 v1alpha2 v1beta1
storage.k8s.io v1 v1alpha1 v1beta1
storagemigration.k8s.io v1beta1
";

impl Contents {
    pub fn of(schemas: &Schemas, kinds: &[Arc<Kind>]) -> Contents {
        let watched = kinds.iter().any(|kind| kind.allows(Verb::Watch));
        let roots = if watched { vec![format!("{META}.WatchEvent")] } else { Vec::new() };
        let groups = kinds.iter().map(|kind| (&*kind.group, &*kind.version)).chain([("", "v1")]).collect();
        Contents::with(schemas, &groups, paths(schemas, kinds), roots)
    }

    /// Those of kinds that a tenant defines: without what discovery answers and what a watch sends.
    pub fn of_custom(schemas: &Schemas, kinds: &[Arc<Kind>]) -> Contents {
        let mut paths = paths(schemas, kinds);
        paths.retain(|path| !path.path.ends_with('/'));
        let versions = |line: &'static str| {
            let mut words = line.split(' ');
            let group = words.next().unwrap_or_default();
            words.map(move |version| (group, version))
        };
        Contents::with(schemas, &KNOWN_TO_CUSTOM.lines().flat_map(versions).collect(), paths, Vec::new())
    }

    fn with(schemas: &Schemas, groups: &BTreeSet<(&str, &str)>, paths: Vec<Path>, mut roots: Vec<String>) -> Contents {
        for operation in paths.iter().flat_map(|path| &path.operations) {
            roots.push(operation.answer.clone());
            roots.extend(operation.body.definition());
        }
        Contents { definitions: schemas.closure(roots, groups), paths }
    }

    /// The paths, with operations and parameters printed.
    pub fn print_paths(&self, operation: fn(&Operation) -> Value, parameter: fn(&Parameter) -> Value) -> Value {
        let print = |path: &Path| {
            let operations = path.operations.iter().map(|o| (o.method.to_owned(), operation(o)));
            let mut item: Map<String, Value> = operations.collect();
            if !path.parameters.is_empty() {
                item.insert("parameters".to_owned(), path.parameters.iter().map(|p| parameter(p)).collect());
            }
            Value::Object(item)
        };
        self.paths.iter().map(|path| (path.path.clone(), print(path))).collect::<Map<_, _>>().into()
    }
}

/// A path with its operations.
pub(super) struct Path {
    pub path: String,
    pub parameters: Vec<&'static Parameter>,
    pub operations: Vec<Operation>,
}

/// What one method does.
pub(super) struct Operation {
    pub method: &'static str,
    /// `x-kubernetes-action`; empty for discovery.
    pub action: &'static str,
    pub id: String,
    pub description: String,
    pub tag: String,
    /// Group, version and kind.
    pub kind: Option<[String; 3]>,
    pub parameters: &'static [Parameter],
    pub body: Body,
    /// The definition of the answer, and the codes of success.
    pub answer: String,
    pub codes: &'static [(&'static str, &'static str)],
}

/// What a request carries.
pub(super) enum Body {
    None,
    /// An object of a definition.
    Object(String),
    DeleteOptions,
    /// A patch of one of these media types.
    Patch(&'static [&'static str]),
}

impl Body {
    /// The definition of what is carried.
    pub fn definition(&self) -> Option<String> {
        match self {
            Body::None => None,
            Body::Object(definition) => Some(definition.clone()),
            Body::DeleteOptions => Some(format!("{META}.DeleteOptions")),
            Body::Patch(_) => Some(format!("{META}.Patch")),
        }
    }

    pub fn is_required(&self) -> bool {
        matches!(self, Body::Object(_) | Body::Patch(_))
    }

    /// The media types of what is carried.
    pub fn types(&self) -> &'static [&'static str] {
        if let Body::Patch(types) = self { types } else { &["*/*"] }
    }
}

/// A parameter in the query, or in the path.
pub(super) struct Parameter {
    pub name: &'static str,
    pub kind: &'static str,
    pub in_path: bool,
    pub description: &'static str,
}

const fn query(name: &'static str, kind: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind, in_path: false, description }
}

static NAME: Parameter = Parameter { name: "name", kind: "string", in_path: true, description: "The object's name." };
static NAMESPACE: Parameter =
    Parameter { name: "namespace", kind: "string", in_path: true, description: "The object's namespace." };
static PRETTY: Parameter = query("pretty", "string", "If 'true', the answer is printed for people.");

const DRY_RUN: Parameter = query("dryRun", "string", "`All` runs all stages of the request and persists nothing.");
const FIELD_MANAGER: Parameter = query("fieldManager", "string", "The name of the actor that makes the change.");
const FIELD_VALIDATION: Parameter = query(
    "fieldValidation",
    "string",
    "What happens to unknown and duplicate fields: `Ignore` drops them, `Warn` drops them with a warning, `Strict` refuses the request.",
);
static WRITE: [Parameter; 3] = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
static PATCH: [Parameter; 4] = [
    DRY_RUN,
    FIELD_MANAGER,
    FIELD_VALIDATION,
    query("force", "boolean", "An apply takes over the fields that others own."),
];
static DELETE: [Parameter; 4] = [
    DRY_RUN,
    query("gracePeriodSeconds", "integer", "How long the object has to end; 0 deletes it at once."),
    query("orphanDependents", "boolean", "Deprecated, see propagationPolicy."),
    query("propagationPolicy", "string", "What happens to dependents: `Orphan`, `Background` or `Foreground`."),
];
static LIST: [Parameter; 10] = [
    query("allowWatchBookmarks", "boolean", "Lets a watch tell how far it is without an event."),
    query("continue", "string", "Where a list that was limited goes on."),
    query("fieldSelector", "string", "Restricts the list to objects whose fields match."),
    query("labelSelector", "string", "Restricts the list to objects whose labels match."),
    query("limit", "integer", "The most objects that one answer holds."),
    query("resourceVersion", "string", "The state that the answer is of, or the watch starts from."),
    query("resourceVersionMatch", "string", "How resourceVersion is meant: `Exact` or `NotOlderThan`."),
    query("sendInitialEvents", "boolean", "Begins a watch with the objects that are there."),
    query("timeoutSeconds", "integer", "How long the request may last."),
    query("watch", "boolean", "Answers with a stream of changes."),
];

const OK: &[(&str, &str)] = &[("200", "OK")];
const WRITTEN: &[(&str, &str)] = &[("200", "OK"), ("201", "Created")];
const CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("202", "Accepted")];
const DELETED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted")];

/// The paths of some kinds, sorted.
fn paths(schemas: &Schemas, kinds: &[Arc<Kind>]) -> Vec<Path> {
    let mut paths = Vec::new();
    for kind in kinds {
        let Some(definition) = schemas.of_kind(&kind.group, &kind.version, &kind.kind) else { continue };
        let root = format!("/{}", path_of(&kind.group, &kind.version));
        let discovery = format!("{root}/");
        if !paths.iter().any(|path: &Path| path.path == discovery) {
            paths.push(Path { path: discovery, parameters: Vec::new(), operations: vec![resources(kind)] });
        }
        let is_custom = schemas.is_own(&kind.group, &kind.version, &kind.kind);
        let patch_types = if is_custom { CUSTOM_PATCH_TYPES } else { PATCH_TYPES };
        paths.append(&mut Resource { kind, definition, root, patch_types }.paths(schemas));
    }
    paths.sort_by(|a, b| a.path.cmp(&b.path));
    paths
}

/// Discovery of the kind's group and version.
fn resources(kind: &Kind) -> Operation {
    Operation {
        method: "get",
        action: "",
        id: format!("get{}APIResources", camel(kind)),
        description: "get available resources".to_owned(),
        tag: tag(kind),
        kind: None,
        parameters: &[],
        body: Body::None,
        answer: format!("{META}.APIResourceList"),
        codes: OK,
    }
}

/// A kind whose paths are being told.
struct Resource<'a> {
    kind: &'a Kind,
    definition: &'a str,
    /// `/apis/apps/v1`
    root: String,
    patch_types: &'static [&'static str],
}

impl Resource<'_> {
    fn paths(&self, schemas: &Schemas) -> Vec<Path> {
        let kind = self.kind;
        let (place, parent, mut parameters) = if kind.namespaced() {
            ("Namespaced", format!("{}/namespaces/{{namespace}}/{}", self.root, kind.plural), vec![&NAMESPACE, &PRETTY])
        } else {
            ("", format!("{}/{}", self.root, kind.plural), vec![&PRETTY])
        };
        let mut paths = Vec::new();
        if kind.namespaced() && kind.allows(Verb::List) {
            let id = format!("list{}{}ForAllNamespaces", camel(kind), kind.kind);
            let path = format!("{}/{}", self.root, kind.plural);
            paths.push(Path { path, parameters: vec![&PRETTY], operations: vec![self.list(id)] });
        }
        let all = [Verb::List, Verb::Create, Verb::DeleteCollection];
        let operations =
            all.into_iter().filter(|verb| kind.allows(*verb)).map(|verb| self.on_all(verb, place)).collect();
        paths.push(Path { path: parent.clone(), parameters: parameters.clone(), operations });
        parameters.insert(0, &NAME);
        let one = [Verb::Get, Verb::Update, Verb::Patch, Verb::Delete];
        let operations =
            one.into_iter().filter(|verb| kind.allows(*verb)).map(|verb| self.on_one(verb, place)).collect();
        let path = format!("{parent}/{{name}}");
        for subresource in &kind.subresources {
            let operations = self.of_subresource(schemas, subresource, place);
            let path = format!("{path}/{}", subresource.name);
            paths.push(Path { path, parameters: parameters.clone(), operations });
        }
        paths.push(Path { path, parameters, operations });
        paths.retain(|path| !path.operations.is_empty());
        paths
    }

    fn operation(&self, method: &'static str, action: &'static str, id: String) -> Operation {
        let kind = self.kind;
        Operation {
            method,
            action,
            id,
            description: format!("{action} {}", kind.kind),
            tag: tag(kind),
            kind: Some([kind.group.clone(), kind.version.clone(), kind.kind.clone()]),
            parameters: &[],
            body: Body::None,
            answer: self.definition.to_owned(),
            codes: OK,
        }
    }

    fn list(&self, id: String) -> Operation {
        let answer = format!("{}List", self.definition);
        Operation { parameters: &LIST, answer, ..self.operation("get", "list", id) }
    }

    fn on_all(&self, verb: Verb, place: &str) -> Operation {
        let name = |action: &str| format!("{action}{}{place}{}", camel(self.kind), self.kind.kind);
        match verb {
            Verb::Create => Operation {
                parameters: &WRITE,
                body: Body::Object(self.definition.to_owned()),
                codes: CREATED,
                ..self.operation("post", "post", name("create"))
            },
            Verb::DeleteCollection => Operation {
                parameters: &DELETE,
                body: Body::DeleteOptions,
                answer: format!("{META}.Status"),
                ..self.operation(
                    "delete",
                    "deletecollection",
                    format!("delete{}Collection{place}{}", camel(self.kind), self.kind.kind),
                )
            },
            _ => self.list(name("list")),
        }
    }

    fn on_one(&self, verb: Verb, place: &str) -> Operation {
        let name = |action: &str| format!("{action}{}{place}{}", camel(self.kind), self.kind.kind);
        match verb {
            Verb::Update => Operation {
                parameters: &WRITE,
                body: Body::Object(self.definition.to_owned()),
                codes: WRITTEN,
                ..self.operation("put", "put", name("replace"))
            },
            Verb::Patch => Operation {
                parameters: &PATCH,
                body: Body::Patch(self.patch_types),
                codes: WRITTEN,
                ..self.operation("patch", "patch", name("patch"))
            },
            Verb::Delete => Operation {
                parameters: &DELETE,
                body: Body::DeleteOptions,
                answer: format!("{META}.Status"),
                codes: DELETED,
                ..self.operation("delete", "delete", name("delete"))
            },
            _ => self.operation("get", "get", name("read")),
        }
    }

    /// The operations of a subresource whose objects have a definition; streams have none.
    fn of_subresource(&self, schemas: &Schemas, subresource: &Subresource, place: &str) -> Vec<Operation> {
        let Subresource { name, verbs, group, version, kind } = subresource;
        let Some(definition) = schemas.of_kind(group, version, kind) else { return Vec::new() };
        let suffix: String = name.split('/').map(capitalized).collect();
        let complete = |mut operation: Operation| {
            operation.id.push_str(&suffix);
            operation.description = format!("{} {name} of {}", operation.action, self.kind.kind);
            operation.kind = Some([group.clone(), version.clone(), kind.clone()]);
            operation.answer = definition.to_owned();
            if let Body::Object(body) = &mut operation.body {
                *body = definition.to_owned();
            }
            operation
        };
        let of_verb = |verb: &Verb| match verb {
            Verb::Get | Verb::Update | Verb::Patch => Some(complete(self.on_one(*verb, place))),
            Verb::Create => Some(complete(self.on_all(Verb::Create, place))),
            Verb::Delete | Verb::DeleteCollection | Verb::List | Verb::Watch => None,
        };
        verbs.iter().filter_map(of_verb).collect()
    }
}

/// `rbacAuthorization_v1`
fn tag(kind: &Kind) -> String {
    let camel = group_camel(&kind.group);
    let mut letters = camel.chars();
    let first = letters.next().map(|c| c.to_ascii_lowercase());
    format!("{}{}_{}", first.unwrap_or_default(), letters.as_str(), kind.version)
}

/// `RbacAuthorizationV1`
fn camel(kind: &Kind) -> String {
    format!("{}{}", group_camel(&kind.group), capitalized(&kind.version))
}

fn group_camel(group: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    group.split(['.', '-']).map(capitalized).collect()
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(letters).collect()
}
