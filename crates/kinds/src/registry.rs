//! The registry of built-in kinds: the rows as `Kind`s, looked up by plural or by kind.

use crate::{fields, rows};
use api::{Kind, ResourceId, Subresource};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// A group as discovery lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Empty for the core group.
    pub name: &'static str,
    /// Preferred first.
    pub versions: Vec<&'static str>,
}

/// All built-in kinds. Built once: see [`registry`].
pub struct Registry {
    kinds: Vec<Arc<Kind>>,
    groups: Vec<Group>,
    by_plural: HashMap<(&'static str, &'static str, &'static str), usize>,
    by_kind: HashMap<(&'static str, &'static str, &'static str), usize>,
}

/// The built-in kinds.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::new)
}

impl Registry {
    fn new() -> Registry {
        let mut registry =
            Registry { kinds: Vec::new(), groups: Vec::new(), by_plural: HashMap::new(), by_kind: HashMap::new() };
        for &(group, versions) in rows::GROUPS {
            registry
                .groups
                .push(Group { name: group, versions: versions.iter().map(|(version, _)| *version).collect() });
            for &(version, rows) in versions {
                for row in rows {
                    registry.by_plural.insert((group, version, row.plural), registry.kinds.len());
                    registry.by_kind.insert((group, version, row.kind), registry.kinds.len());
                    registry.kinds.push(Arc::new(kind_of(group, version, row)));
                }
            }
        }
        registry
    }

    /// The kind that a path names.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.by_plural.get(&(group, version, plural)).map(|&i| &self.kinds[i])
    }

    /// The kind that an object names.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.by_kind.get(&(group, version, kind)).map(|&i| &self.kinds[i])
    }

    /// Every kind, in the order of discovery.
    pub fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// The groups in the order of discovery, core first.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The paths that headers of a resource's objects hold, so that field selectors match without parsing.
    pub fn selectable(resource: &ResourceId) -> &'static [&'static str] {
        fields::stored(resource)
    }
}

fn kind_of(group: &str, version: &str, row: &rows::Row) -> Kind {
    let strings = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect();
    let subresource = |sub: &rows::Sub| {
        let (group, version, kind) =
            sub.response.map_or((group, version, row.kind), |(group, kind)| (group, "v1", kind));
        Subresource {
            name: sub.name.to_owned(),
            verbs: sub.verbs.to_vec(),
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        }
    };
    Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: row.kind.to_owned(),
        list_kind: format!("{}List", row.kind),
        plural: row.plural.to_owned(),
        singular: row.kind.to_lowercase(),
        short_names: strings(row.short_names),
        categories: strings(row.categories),
        scope: row.scope,
        verbs: row.verbs.to_vec(),
        subresources: row.subresources.iter().map(subresource).collect(),
        stored_as: stored_as(group, row.plural),
        selectable: fields::of_kind(group, row.plural),
    }
}

/// Events of `events.k8s.io` are another view of the core group's.
fn stored_as(group: &str, plural: &str) -> ResourceId {
    if group == "events.k8s.io" { ResourceId::new("", plural) } else { ResourceId::new(group, plural) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Scope, Verb};

    #[test]
    fn rows_are_found_by_path_and_by_kind() {
        let pods = registry().find("", "v1", "pods").expect("pods");
        assert_eq!((pods.kind.as_str(), pods.singular.as_str(), pods.scope), ("Pod", "pod", Scope::Namespaced));
        assert_eq!(pods.subresource("eviction").expect("eviction").group, "policy");
        let scale = registry().by_kind("apps", "v1", "Deployment").expect("deployments").subresource("scale").cloned();
        assert_eq!(scale.map(|s| (s.group, s.kind)), Some(("autoscaling".to_owned(), "Scale".to_owned())));
        assert!(registry().find("apps", "v1", "pods").is_none());
    }

    #[test]
    fn only_operators_kinds_belong_to_the_cluster() {
        let cluster: Vec<&str> =
            registry().kinds().iter().filter(|k| k.scope == Scope::Cluster).map(|k| k.plural.as_str()).collect();
        let core =
            ["componentstatuses", "controllerinstances", "datapartitionconfigs", "nodes", "storageclusters", "tenants"];
        assert_eq!(cluster, [&core[..], &["csidrivers", "csinodes"]].concat());
    }

    #[test]
    fn two_views_share_their_objects() {
        let stored = |group: &str, version: &str, plural: &str| {
            registry().find(group, version, plural).expect("a kind").stored_as.to_string()
        };
        assert_eq!(stored("events.k8s.io", "v1", "events"), "events");
        assert_eq!(
            stored("autoscaling", "v1", "horizontalpodautoscalers"),
            stored("autoscaling", "v2", "horizontalpodautoscalers")
        );
    }

    #[test]
    fn a_group_prefers_its_first_version() {
        let groups = registry().groups();
        assert_eq!((groups[0].name, groups[0].versions.as_slice()), ("", &["v1"][..]));
        let autoscaling = groups.iter().find(|g| g.name == "autoscaling").expect("autoscaling");
        assert_eq!(autoscaling.versions, ["v2", "v1"]);
        assert!(!registry().find("", "v1", "tenants").expect("tenants").allows(Verb::DeleteCollection));
    }
}
