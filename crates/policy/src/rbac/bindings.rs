//! Bindings, indexed by the subjects they name, each with the rules of its role at hand.

use super::{Attributes, GROUP, Rule};
use api::Identity;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Whom a binding names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

impl Subject {
    /// Reads a subject of a binding in `namespace` (empty for cluster role bindings).
    fn from_value(subject: &Value, namespace: &str) -> Option<Subject> {
        let name = subject["name"].as_str().filter(|n| !n.is_empty())?.to_owned();
        match subject["kind"].as_str()? {
            "User" => Some(Subject::User(name)),
            "Group" => Some(Subject::Group(name)),
            "ServiceAccount" => {
                let own = subject["namespace"].as_str().filter(|n| !n.is_empty());
                let namespace = own.unwrap_or(namespace).to_owned();
                (!namespace.is_empty()).then_some(Subject::ServiceAccount { namespace, name })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::User(name) => write!(f, "User {name:?}"),
            Subject::Group(name) => write!(f, "Group {name:?}"),
            Subject::ServiceAccount { namespace, name } => {
                write!(f, "ServiceAccount {:?}", format!("{name}/{namespace}"))
            }
        }
    }
}

/// The role that a binding refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RoleRef {
    ClusterRole(String),
    /// In the binding's own namespace.
    Role(String),
}

impl fmt::Display for RoleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoleRef::ClusterRole(name) => write!(f, "ClusterRole {name:?}"),
            RoleRef::Role(name) => write!(f, "Role {name:?}"),
        }
    }
}

/// A RoleBinding, or, with an empty namespace, a ClusterRoleBinding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub namespace: String,
    pub name: String,
    pub role: RoleRef,
    pub subjects: Vec<Subject>,
}

impl Binding {
    /// Reads a stored binding. `None` for one that can grant nothing: a RoleBinding without namespace, a
    /// ClusterRoleBinding to a Role, a binding without role.
    pub fn from_value(binding: &Value, cluster: bool) -> Option<Binding> {
        let metadata = &binding["metadata"];
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        let role = &binding["roleRef"];
        let role_name = role["name"].as_str().filter(|n| !n.is_empty())?.to_owned();
        let role = match role["kind"].as_str()? {
            "ClusterRole" => RoleRef::ClusterRole(role_name),
            "Role" if !cluster => RoleRef::Role(role_name),
            _ => return None,
        };
        if cluster != namespace.is_empty() {
            return None;
        }
        let subjects = binding["subjects"].as_array().into_iter().flatten();
        Some(Binding {
            namespace: namespace.to_owned(),
            name: metadata["name"].as_str()?.to_owned(),
            role,
            subjects: subjects.filter_map(|s| Subject::from_value(s, namespace)).collect(),
        })
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "ClusterRoleBinding {:?}", self.name)
        } else {
            write!(f, "RoleBinding {:?}", format!("{}/{}", self.name, self.namespace))
        }
    }
}

/// What one binding gives to one of its subjects.
#[derive(Debug)]
pub(super) struct Grant {
    pub binding: Arc<Binding>,
    pub subject: usize,
    pub rules: Arc<[Arc<Rule>]>,
}

impl RoleRef {
    /// As an evaluation error says that it is not there.
    pub fn not_found(&self) -> String {
        match self {
            RoleRef::ClusterRole(name) => format!("clusterrole.{GROUP} {name:?} not found"),
            RoleRef::Role(name) => format!("role.{GROUP} {name:?} not found"),
        }
    }
}

/// The grants of one namespace, or those that hold everywhere in the tenant.
#[derive(Debug, Default)]
pub(super) struct Grants {
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

impl Grants {
    pub fn add(&mut self, binding: &Arc<Binding>, rules: &Arc<[Arc<Rule>]>) {
        for (index, subject) in binding.subjects.iter().enumerate() {
            let grants = match subject {
                Subject::User(name) => self.users.entry(name.clone()),
                Subject::Group(name) => self.groups.entry(name.clone()),
                Subject::ServiceAccount { namespace, name } => {
                    self.users.entry(format!("system:serviceaccount:{namespace}:{name}"))
                }
            };
            grants.or_default().push(Grant { binding: binding.clone(), subject: index, rules: rules.clone() });
        }
    }

    /// What this identity is given.
    pub fn of<'a>(&'a self, who: &'a Identity) -> impl Iterator<Item = &'a Grant> {
        let by_group = who.groups.iter().filter_map(|g| self.groups.get(g));
        self.users.get(&who.user).into_iter().chain(by_group).flatten()
    }

    pub fn allowing<'a>(&'a self, who: &'a Identity, what: &Attributes) -> Option<Grounds<'a>> {
        let grant = self.of(who).find(|grant| grant.rules.iter().any(|rule| rule.allows(what)))?;
        Some(Grounds(Some(grant)))
    }
}

/// Why a request is allowed. As text it is the `reason` of an access review.
#[derive(Debug)]
pub struct Grounds<'a>(pub(super) Option<&'a Grant>);

impl fmt::Display for Grounds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of a member of `system:masters` there is nothing to say.
        let Some(Grant { binding, subject, .. }) = self.0 else { return Ok(()) };
        write!(f, "RBAC: allowed by {binding} of {} to {}", binding.role, binding.subjects[*subject])
    }
}
