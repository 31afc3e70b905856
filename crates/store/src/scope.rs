//! What a list or a watch covers, and the compact keys that order the objects of one resource.
//!
//! A compact key is `<tenant>\0<namespace>\0<name>`, with an empty tenant for the cluster's own kinds. No segment holds
//! a NUL, so byte order is [`ObjectKey`]'s order, and every scope is a prefix.
//! Invariant: the prefix of a tenant ends in NUL, so that tenants with adjacent names never share a range.

use api::{ObjectKey, ResourceId, Space, TenantName};
use std::ops::Bound;
use std::sync::Arc;

/// Ends a segment of a compact key; sorts below every byte that a segment may hold.
const END: char = '\0';
/// Sorts directly above [`END`].
const AFTER_END: char = '\x01';

/// Which objects of one resource a list or a watch covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The operators' cluster-scoped objects.
    Cluster(ResourceId),
    /// Everything in a tenant, namespaced or not.
    Tenant(ResourceId, TenantName),
    /// One namespace of a tenant; an empty one stands for the tenant's objects without a namespace.
    Namespace(ResourceId, TenantName, Arc<str>),
    /// Everything in every tenant. Only for identities of the system.
    AllTenants(ResourceId),
}

impl Scope {
    /// The resource that is covered.
    pub fn resource(&self) -> &ResourceId {
        match self {
            Scope::Cluster(resource)
            | Scope::Tenant(resource, _)
            | Scope::Namespace(resource, _, _)
            | Scope::AllTenants(resource) => resource,
        }
    }

    /// The one tenant that is covered.
    pub(crate) fn tenant(&self) -> Option<&TenantName> {
        match self {
            Scope::Tenant(_, tenant) | Scope::Namespace(_, tenant, _) => Some(tenant),
            Scope::Cluster(_) | Scope::AllTenants(_) => None,
        }
    }

    /// Whether an object with this key is covered.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        *self.resource() == key.resource
            && match (self, &key.space) {
                (Scope::Cluster(_), Space::Cluster) | (Scope::AllTenants(_), Space::Tenant(_)) => true,
                (Scope::Tenant(_, tenant), Space::Tenant(of)) => tenant == of,
                (Scope::Namespace(_, tenant, namespace), Space::Tenant(of)) => {
                    tenant == of && *namespace == key.namespace
                }
                (Scope::Cluster(_), Space::Tenant(_))
                | (Scope::Tenant(..) | Scope::Namespace(..) | Scope::AllTenants(_), Space::Cluster) => false,
            }
    }

    /// What the compact keys of covered objects start with; empty for all tenants.
    pub(crate) fn prefix(&self) -> String {
        match self {
            Scope::Cluster(_) => END.to_string(),
            Scope::Tenant(_, tenant) => format!("{tenant}{END}"),
            Scope::Namespace(_, tenant, namespace) => format!("{tenant}{END}{namespace}{END}"),
            Scope::AllTenants(_) => String::new(),
        }
    }

    /// The first compact key that may be covered, and the first after it that is not.
    pub(crate) fn range(&self) -> (String, Option<String>) {
        let prefix = self.prefix();
        let Some(body) = prefix.strip_suffix(END) else {
            return (AFTER_END.to_string(), None);
        };
        let end = format!("{body}{AFTER_END}");
        (prefix, Some(end))
    }
}

/// The key of an object among those of its resource.
pub(crate) fn compact(key: &ObjectKey) -> String {
    let tenant = key.tenant().map_or("", TenantName::as_str);
    let mut compact = String::with_capacity(tenant.len() + key.namespace.len() + key.name.len() + 2);
    compact.push_str(tenant);
    compact.push(END);
    compact.push_str(&key.namespace);
    compact.push(END);
    compact.push_str(&key.name);
    compact
}

/// The prefixes under which a watcher of the object with this compact key may be registered, widest first: all tenants,
/// the tenant or the cluster, the namespace, the object itself.
pub(crate) fn prefixes(compact: &str) -> impl Iterator<Item = &str> {
    let all_tenants = (!compact.starts_with(END)).then_some("");
    let ends = compact.match_indices(END).map(|(at, _)| &compact[..=at]);
    all_tenants.into_iter().chain(ends).chain([compact])
}

/// Bounds for keys of a scope, strictly after `after`; `None` when nothing can lie between.
pub(crate) fn bounds<'a>(
    start: &'a str,
    end: Option<&'a str>,
    after: Option<&'a str>,
) -> Option<(Bound<&'a str>, Bound<&'a str>)> {
    let lower = match after {
        Some(after) if after >= start => Bound::Excluded(after),
        Some(_) | None => Bound::Included(start),
    };
    let exhausted = after.zip(end).is_some_and(|(after, end)| after >= end);
    (!exhausted).then_some((lower, end.map_or(Bound::Unbounded, Bound::Excluded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_found_under_each_of_its_scopes_and_no_other() {
        let pods = ResourceId::new("", "pods");
        let tenant = |name: &str| TenantName::new(name).expect("a tenant name");
        let key = ObjectKey::new(pods.clone(), Space::Tenant(tenant("a")), "default", "web").expect("a key");
        let compact = compact(&key);
        let scopes = [
            (Scope::AllTenants(pods.clone()), true),
            (Scope::Tenant(pods.clone(), tenant("a")), true),
            (Scope::Namespace(pods.clone(), tenant("a"), "default".into()), true),
            (Scope::Tenant(pods.clone(), tenant("a-1")), false),
            (Scope::Namespace(pods.clone(), tenant("a"), "defaul".into()), false),
            (Scope::Namespace(pods.clone(), tenant("a"), "".into()), false),
            (Scope::Cluster(pods), false),
        ];
        for (scope, covered) in scopes {
            let (start, end) = scope.range();
            assert_eq!(start <= compact && end.is_none_or(|end| compact < end), covered, "{scope:?} by range");
            assert_eq!(prefixes(&compact).any(|prefix| prefix == scope.prefix()), covered, "{scope:?} by prefix");
            assert_eq!(scope.contains(&key), covered, "{scope:?} by key");
        }
    }
}
