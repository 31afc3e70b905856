//! What identifies a kind of object on the wire. The rows of the built-in kinds are in `crates/kinds`.

use crate::ResourceId;
use std::fmt;

/// A group and a version, `apps/v1`, or `v1` for the core group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersion {
    pub group: String,
    pub version: String,
}

impl GroupVersion {
    /// Reads an `apiVersion`.
    pub fn parse(api_version: &str) -> GroupVersion {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        GroupVersion { group: group.to_owned(), version: version.to_owned() }
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.version) } else { write!(f, "{}/{}", self.group, self.version) }
    }
}

/// Where the objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The operators' own kinds: tenants, nodes.
    Cluster,
    /// What is cluster-scoped in Kubernetes: each tenant has its own.
    Tenant,
    Namespaced,
}

/// A verb of the API, as authorization and discovery name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
}

impl Verb {
    pub const ALL: [Verb; 8] = [
        Verb::Create,
        Verb::Delete,
        Verb::DeleteCollection,
        Verb::Get,
        Verb::List,
        Verb::Patch,
        Verb::Update,
        Verb::Watch,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }

    pub fn parse(text: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|v| v.as_str() == text)
    }
}

/// A part of an object with verbs of its own: `status`, `scale`, `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    pub name: String,
    pub verbs: Vec<Verb>,
    /// What is sent and answered there; the kind itself for `status`.
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// One row of the table of kinds: everything about a kind that no code depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub list_kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub scope: Scope,
    pub verbs: Vec<Verb>,
    pub subresources: Vec<Subresource>,
    /// What its objects are stored as; two kinds with the same are two views of the same objects.
    pub stored_as: ResourceId,
    /// Fields beyond name and namespace that a field selector may name.
    pub selectable: &'static [&'static str],
}

impl Kind {
    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        GroupVersion { group: self.group.clone(), version: self.version.clone() }.to_string()
    }

    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    pub fn allows(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether objects of this kind are kept; reviews, for one, are only answered.
    pub fn stored(&self) -> bool {
        self.allows(Verb::Get)
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
}
