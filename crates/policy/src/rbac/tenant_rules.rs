//! The rules of one tenant, compiled for look-up.
//!
//! A tenant that replaces none of the default objects shares their compiled form with all others like it, so that it
//! holds no more than what it stores itself.
//! Invariant: an aggregated role holds the rules of the roles it selects, whatever its own `rules` say.

use super::aggregation::{Aggregation, Role};
use super::bindings::{Binding, Grant, Grants, Grounds, RoleRef};
use super::escalation::{self, NotHeld};
use super::{Attributes, MASTERS, Rule, defaults};
use api::Identity;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock};

/// The compiled defaults, and the objects they are made of.
static DEFAULTS: LazyLock<Defaults> = LazyLock::new(|| {
    let roles = defaults::default_roles();
    let objects = Objects::read(&roles.roles, &roles.cluster_roles, &roles.role_bindings, &roles.cluster_role_bindings);
    Defaults { compiled: Arc::new(Compiled::build(&objects, &objects.bindings)), objects }
});

/// So many bindings without a role are told of in one refusal.
const TOLD_MAX: usize = 64;

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

    /// What a cluster role of a tenant holds, given all that the tenant stores; `None` if neither it nor the defaults have
    /// one of this name.
    pub fn of_cluster_role<'a>(
        cluster_roles: impl IntoIterator<Item = &'a Value>,
        name: &str,
    ) -> Option<Arc<[Arc<Rule>]>> {
        let all = Objects::read([], cluster_roles, [], []).over(&DEFAULTS.objects);
        let role = all.roles.get(&(String::new(), name.to_owned()))?;
        Some(all.aggregation().rules(role))
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
        let mut rules = BTreeMap::new();
        for grant in self.grants_of(who, namespace) {
            rules.insert((&grant.binding.namespace, &grant.binding.name), &grant.rules);
        }
        rules.into_values().flat_map(|rules| rules.iter().map(|rule| Rule::clone(rule))).collect()
    }

    /// Whether `who` holds all that `rules` would give, so that it may write a role with them or bind one.
    pub fn covers(&self, who: &Identity, rules: &[Arc<Rule>], namespace: &str) -> Result<(), NotHeld> {
        if who.in_group(MASTERS) {
            return Ok(());
        }
        // Many bindings of one role give no more than one.
        let roles: HashMap<_, _> =
            self.grants_of(who, namespace).map(|grant| (Arc::as_ptr(&grant.rules), &grant.rules)).collect();
        let held: HashSet<&Rule> = roles.into_values().flat_map(|rules| rules.iter().map(|rule| &**rule)).collect();
        escalation::covered(&Vec::from_iter(held), rules)
    }

    /// What went wrong while a request was judged: the bindings that would count for it and whose roles are not there.
    /// Empty when nothing did.
    pub fn evaluation_error(&self, who: &Identity, what: &Attributes) -> String {
        let namespace = if what.path.is_some() { "" } else { what.namespace };
        let places = [""].into_iter().chain((!namespace.is_empty()).then_some(namespace));
        let layers = self.layers();
        let broken = places.flat_map(|place| layers.iter().filter_map(move |layer| layer.broken.get(place)));
        let mut missing: Vec<String> = broken
            .flat_map(|grants| grants.of(who))
            .take(TOLD_MAX)
            .map(|grant| grant.binding.role.not_found())
            .collect();
        missing.sort_unstable();
        missing.dedup();
        match missing.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        }
    }

    /// Whether aggregated roles of this tenant hold less than they should, since together they cost too much.
    pub fn are_incomplete(&self) -> bool {
        self.own.incomplete
    }

    fn grants_of<'a>(&'a self, who: &'a Identity, namespace: &str) -> impl Iterator<Item = &'a Grant> {
        let everywhere = self.layers().into_iter().map(|layer| &layer.everywhere);
        let here = self.layers().into_iter().filter_map(|layer| layer.namespaces.get(namespace));
        let here: Vec<&Grants> = here.collect();
        everywhere.chain(here).flat_map(|grants| grants.of(who))
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
    /// Bindings to roles that are not there, by namespace: they grant nothing, and refusals tell of them.
    broken: HashMap<String, Grants>,
    incomplete: bool,
}

impl Compiled {
    /// Compiles `bindings` with the roles in `objects`. A binding to a role that is not there grants nothing.
    fn build(objects: &Objects, bindings: &BTreeMap<Name, Arc<Binding>>) -> Compiled {
        let mut compiled = Compiled::default();
        let mut aggregation = objects.aggregation();
        let mut rules_of_role: HashMap<Name, Option<Arc<[Arc<Rule>]>>> = HashMap::new();
        for binding in bindings.values() {
            let role: Name = match &binding.role {
                RoleRef::ClusterRole(name) => (String::new(), name.clone()),
                RoleRef::Role(name) => (binding.namespace.clone(), name.clone()),
            };
            let rules = rules_of_role.entry(role).or_insert_with_key(|name| {
                let role = objects.roles.get(name)?;
                Some(aggregation.rules(role))
            });
            let Some(rules) = rules else {
                compiled.broken.entry(binding.namespace.clone()).or_default().add(binding, &Arc::default());
                continue;
            };
            let grants = match binding.namespace.as_str() {
                "" => &mut compiled.everywhere,
                namespace => compiled.namespaces.entry(namespace.to_owned()).or_default(),
            };
            grants.add(binding, rules);
        }
        compiled.incomplete = aggregation.is_exhausted();
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

    fn aggregation(&self) -> Aggregation<'_> {
        let cluster_roles = self.roles.iter().take_while(|((namespace, _), _)| namespace.is_empty());
        Aggregation::new(cluster_roles.map(|(_, role)| &**role))
    }
}

fn name_of(object: &Value) -> Option<Name> {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    Some((namespace.to_owned(), metadata["name"].as_str()?.to_owned()))
}

#[cfg(test)]
mod tests;
