//! The rules of one tenant, compiled for look-up.
//!
//! A tenant that replaces none of the default objects shares their compiled form with all others like it, so that it
//! holds no more than what it stores itself.
//! Invariant: an aggregated role holds the rules of the roles it selects, whatever its own `rules` say; a cycle ends.

use super::bindings::{Binding, Grants, Grounds, RoleRef};
use super::{Attributes, MASTERS, Rule, defaults, escalation};
use api::Identity;
use api::selector::LabelSelector;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock};

/// The compiled defaults, and the objects they are made of.
static DEFAULTS: LazyLock<Defaults> = LazyLock::new(|| {
    let roles = defaults::default_roles();
    let objects = Objects::read(&roles.roles, &roles.cluster_roles, &roles.role_bindings, &roles.cluster_role_bindings);
    Defaults { compiled: Arc::new(Compiled::build(&objects, &objects.bindings)), objects }
});

struct Defaults {
    objects: Objects,
    compiled: Arc<Compiled>,
}

/// Who may do what in one tenant.
#[derive(Clone)]
pub struct TenantRules {
    defaults: Arc<Compiled>,
    own: Arc<Compiled>,
}

impl TenantRules {
    /// Compiles the stored roles and bindings of one tenant over the default ones: an object with the name of a
    /// default one replaces it.
    pub fn compile<'a>(
        roles: impl IntoIterator<Item = &'a Value>,
        cluster_roles: impl IntoIterator<Item = &'a Value>,
        role_bindings: impl IntoIterator<Item = &'a Value>,
        cluster_role_bindings: impl IntoIterator<Item = &'a Value>,
    ) -> TenantRules {
        let Defaults { objects: defaults, compiled } = &*DEFAULTS;
        let mut stored = Objects::read(roles, cluster_roles, role_bindings, cluster_role_bindings);
        stored.remove_equal(defaults);
        let all = stored.over(defaults);
        if stored.replaces(defaults) {
            return TenantRules { defaults: Arc::default(), own: Arc::new(Compiled::build(&all, &all.bindings)) };
        }
        TenantRules { defaults: compiled.clone(), own: Arc::new(Compiled::build(&all, &stored.bindings)) }
    }

    /// Whether an identity of this tenant may.
    pub fn allows(&self, who: &Identity, what: &Attributes) -> bool {
        self.allowing(who, what).is_some()
    }

    /// Why an identity of this tenant may; `None` when it may not.
    pub fn allowing<'a>(&'a self, who: &'a Identity, what: &Attributes) -> Option<Grounds<'a>> {
        self.allowing_everywhere(who, what).or_else(|| {
            let namespace = if what.path.is_some() { "" } else { what.namespace };
            let mut namespaces = self.layers().into_iter().filter_map(|l| l.namespaces.get(namespace));
            namespaces.find_map(|grants| grants.allowing(who, what))
        })
    }

    /// Why cluster role bindings alone allow it: all that counts outside of the tenant.
    pub fn allowing_everywhere<'a>(&'a self, who: &'a Identity, what: &Attributes) -> Option<Grounds<'a>> {
        if who.in_group(MASTERS) {
            return Some(Grounds(None));
        }
        self.layers().into_iter().find_map(|layer| layer.everywhere.allowing(who, what))
    }

    /// The rules that `who` has in a namespace; with an empty one, those that it has everywhere.
    pub fn rules_for(&self, who: &Identity, namespace: &str) -> Vec<Rule> {
        let everywhere = self.layers().into_iter().map(|layer| &layer.everywhere);
        let here = self.layers().into_iter().filter_map(|layer| layer.namespaces.get(namespace));
        let mut rules = BTreeMap::new();
        for grant in everywhere.chain(here).flat_map(|grants| grants.of(who)) {
            rules.insert((&grant.binding.namespace, &grant.binding.name), &grant.rules);
        }
        rules.into_values().flat_map(|rules| rules.iter().cloned()).collect()
    }

    /// Whether `who` holds all that `rules` would give, so that it may write a role with them or bind one. The error
    /// holds what is missing.
    pub fn covers(&self, who: &Identity, rules: &[Value], namespace: &str) -> Result<(), Vec<Rule>> {
        if who.in_group(MASTERS) {
            return Ok(());
        }
        escalation::covered(&self.rules_for(who, namespace), rules)
    }

    fn layers(&self) -> [&Compiled; 2] {
        [&self.defaults, &self.own]
    }
}

/// Grants, ready for look-up.
#[derive(Debug, Default)]
struct Compiled {
    everywhere: Grants,
    namespaces: HashMap<String, Grants>,
}

impl Compiled {
    /// Compiles `bindings` with the roles in `objects`. A binding to a role that is not there grants nothing.
    fn build(objects: &Objects, bindings: &BTreeMap<Name, Arc<Binding>>) -> Compiled {
        let mut compiled = Compiled::default();
        let mut rules_of_role: HashMap<Name, Option<Arc<[Rule]>>> = HashMap::new();
        for binding in bindings.values() {
            let role: Name = match &binding.role {
                RoleRef::ClusterRole(name) => (String::new(), name.clone()),
                RoleRef::Role(name) => (binding.namespace.clone(), name.clone()),
            };
            let rules = rules_of_role.entry(role).or_insert_with_key(|name| objects.rules(name));
            let Some(rules) = rules else { continue };
            let grants = match binding.namespace.as_str() {
                "" => &mut compiled.everywhere,
                namespace => compiled.namespaces.entry(namespace.to_owned()).or_default(),
            };
            grants.add(binding, rules);
        }
        compiled
    }
}

/// A namespace, empty for cluster roles and their bindings, and a name.
type Name = (String, String);

/// Roles and bindings by name.
#[derive(Clone, Default)]
struct Objects {
    roles: BTreeMap<Name, Arc<Role>>,
    bindings: BTreeMap<Name, Arc<Binding>>,
}

/// A Role or ClusterRole.
#[derive(Debug, PartialEq, Eq)]
struct Role {
    labels: BTreeMap<String, String>,
    /// Of an aggregated role: what it selects. `None` for all others.
    selectors: Option<Vec<LabelSelector>>,
    rules: Arc<[Rule]>,
}

impl Role {
    fn from_value(role: &Value) -> Role {
        let labels = role["metadata"]["labels"].as_object().into_iter().flatten();
        let aggregation = role["aggregationRule"].as_object();
        let selectors = aggregation.map(|rule| {
            let selectors = rule.get("clusterRoleSelectors").and_then(Value::as_array).into_iter().flatten();
            selectors.filter_map(|s| LabelSelector::from_value(s).ok()).collect()
        });
        Role {
            labels: labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect(),
            selectors,
            rules: role["rules"].as_array().into_iter().flatten().map(Rule::from_value).collect(),
        }
    }

    fn selects(&self, other: &Role) -> bool {
        self.selectors.iter().flatten().any(|selector| selector.matches(&other.labels))
    }
}

impl Objects {
    fn read<'a>(
        roles: impl IntoIterator<Item = &'a Value>,
        cluster_roles: impl IntoIterator<Item = &'a Value>,
        role_bindings: impl IntoIterator<Item = &'a Value>,
        cluster_role_bindings: impl IntoIterator<Item = &'a Value>,
    ) -> Objects {
        let mut objects = Objects::default();
        for role in roles {
            // A Role without namespace would pass for a ClusterRole.
            if let Some(name) = name_of(role).filter(|(namespace, _)| !namespace.is_empty()) {
                objects.roles.insert(name, Arc::new(Role::from_value(role)));
            }
        }
        for role in cluster_roles {
            if let Some((_, name)) = name_of(role) {
                objects.roles.insert((String::new(), name), Arc::new(Role::from_value(role)));
            }
        }
        let namespaced = role_bindings.into_iter().filter_map(|b| Binding::from_value(b, false));
        let cluster = cluster_role_bindings.into_iter().filter_map(|b| Binding::from_value(b, true));
        for binding in namespaced.chain(cluster) {
            objects.bindings.insert((binding.namespace.clone(), binding.name.clone()), Arc::new(binding));
        }
        objects
    }

    /// Forgets what says the same as its default.
    fn remove_equal(&mut self, defaults: &Objects) {
        self.roles.retain(|name, role| defaults.roles.get(name) != Some(role));
        self.bindings.retain(|name, binding| defaults.bindings.get(name) != Some(binding));
    }

    /// Whether one of these has the name of a default one. Nothing else changes what a default binding grants: none of
    /// them binds an aggregated role.
    fn replaces(&self, defaults: &Objects) -> bool {
        self.roles.keys().any(|name| defaults.roles.contains_key(name))
            || self.bindings.keys().any(|name| defaults.bindings.contains_key(name))
    }

    /// The defaults, with these in place of those of the same name.
    fn over(&self, defaults: &Objects) -> Objects {
        let mut all = defaults.clone();
        all.roles.extend(self.roles.iter().map(|(name, role)| (name.clone(), role.clone())));
        all.bindings.extend(self.bindings.iter().map(|(name, binding)| (name.clone(), binding.clone())));
        all
    }

    fn rules(&self, name: &Name) -> Option<Arc<[Rule]>> {
        let role = self.roles.get(name)?;
        if role.selectors.is_none() {
            return Some(role.rules.clone());
        }
        let mut rules = Vec::new();
        self.aggregate(role, &mut HashSet::from([name]), &mut HashSet::new(), &mut rules);
        Some(rules.into())
    }

    /// Adds the rules of the cluster roles that `role` selects, in the order of their names, each role and rule once.
    fn aggregate<'a>(
        &'a self,
        role: &Role,
        seen: &mut HashSet<&'a Name>,
        present: &mut HashSet<&'a Rule>,
        rules: &mut Vec<Rule>,
    ) {
        let cluster_roles = self.roles.iter().take_while(|((namespace, _), _)| namespace.is_empty());
        for (name, selected) in cluster_roles.filter(|(_, other)| role.selects(other)) {
            if !seen.insert(name) {
                continue;
            }
            if selected.selectors.is_some() {
                self.aggregate(selected, seen, present, rules);
                continue;
            }
            rules.extend(selected.rules.iter().filter(|&rule| present.insert(rule)).cloned());
        }
    }
}

fn name_of(object: &Value) -> Option<Name> {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    Some((namespace.to_owned(), metadata["name"].as_str()?.to_owned()))
}

#[cfg(test)]
mod tests;
