//! Names of tenants, resources and objects, and the durable key of an object.
//!
//! Durable keys (decision D5): `/ursa/t/<tenant>/<group>/<resource>/[<namespace>/]<name>` and
//! `/ursa/c/<group>/<resource>/<name>`. A tenant is one contiguous range whose end is its prefix's successor.
//! Invariant: every segment is validated when its type is made, so none holds a `/` and no two keys run together.

use crate::{Error, Result};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The group of a core resource in a durable key, where a segment may not be empty. No API group has this name.
const CORE_GROUP_SEGMENT: &str = "core";

/// A valid tenant name: a DNS label other than `all`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantName(Arc<str>);

impl TenantName {
    /// Refuses with 400 what is not a DNS label, and `all`, which stands for every tenant in URLs.
    pub fn new(name: &str) -> Result<TenantName> {
        if !is_dns_label(name) || name == crate::ALL_TENANTS {
            return Err(Error::bad_request(format!("{name:?} is not a valid tenant name")));
        }
        Ok(TenantName(name.into()))
    }

    /// The operators' tenant.
    pub fn system() -> TenantName {
        TenantName(crate::SYSTEM_TENANT.into())
    }

    pub fn is_system(&self) -> bool {
        &*self.0 == crate::SYSTEM_TENANT
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Where an object lives: in a tenant, or in the space of the operators' cluster-scoped kinds (tenants, nodes).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    Cluster,
    Tenant(TenantName),
}

/// A resource across its versions: group (empty for core) and plural name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ResourceId(Arc<Names>);

/// Behind one pointer: every object has it.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Names {
    group: Box<str>,
    resource: Box<str>,
}

impl ResourceId {
    /// Both parts come from a row of the table of kinds or from a validated CustomResourceDefinition.
    pub fn new(group: &str, resource: &str) -> ResourceId {
        assert!(group.is_empty() || is_dns_subdomain(group), "group {group:?} is validated before it names a resource");
        assert!(is_dns_label(resource), "plural {resource:?} is validated before it names a resource");
        ResourceId(Arc::new(Names { group: group.into(), resource: resource.into() }))
    }

    pub fn group(&self) -> &str {
        &self.0.group
    }

    pub fn resource(&self) -> &str {
        &self.0.resource
    }
}

impl Ord for ResourceId {
    /// As its names are. Most keys that are compared are of one resource, which is seen without reading its names.
    fn cmp(&self, other: &ResourceId) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for ResourceId {
    fn partial_cmp(&self, other: &ResourceId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ResourceId {
    /// `deployments.apps`, or `pods` for the core group.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.resource())?;
        if self.group().is_empty() { Ok(()) } else { write!(f, ".{}", self.group()) }
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one stored object. Ordered by resource, space, namespace, name: the order of lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    pub resource: ResourceId,
    pub space: Space,
    /// Empty for objects without a namespace.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectKey {
    /// Refuses with 400 names that are no path segment (empty, `.`, `..`, with `/` or `%`) and bad namespaces.
    pub fn new(resource: ResourceId, space: Space, namespace: &str, name: &str) -> Result<ObjectKey> {
        if !namespace.is_empty() && !is_dns_label(namespace) {
            return Err(Error::bad_request(format!("{namespace:?} is not a valid namespace")));
        }
        if !is_path_segment(name) {
            return Err(Error::bad_request(format!("{name:?} is not a valid name")));
        }
        Ok(ObjectKey { resource, space, namespace: namespace.into(), name: name.into() })
    }

    /// The tenant that the object belongs to; `None` only for the operators' cluster-scoped kinds.
    pub fn tenant(&self) -> Option<&TenantName> {
        match &self.space {
            Space::Cluster => None,
            Space::Tenant(tenant) => Some(tenant),
        }
    }

    /// The key under which the object is stored.
    pub fn durable(&self) -> String {
        let mut key = match &self.space {
            Space::Cluster => "/ursa/c/".to_owned(),
            Space::Tenant(tenant) => tenant_prefix(tenant),
        };
        key.push_str(if self.resource.group().is_empty() { CORE_GROUP_SEGMENT } else { self.resource.group() });
        for segment in [self.resource.resource(), &self.namespace, &self.name] {
            if !segment.is_empty() {
                key.push('/');
                key.push_str(segment);
            }
        }
        key
    }

    /// Reads a durable key back. `None` for what [`ObjectKey::durable`] cannot have written.
    pub fn parse_durable(key: &str) -> Option<ObjectKey> {
        let (space, rest) = match key.strip_prefix("/ursa/c/") {
            Some(rest) => (Space::Cluster, rest),
            None => {
                let (tenant, rest) = key.strip_prefix("/ursa/t/")?.split_once('/')?;
                (Space::Tenant(TenantName::new(tenant).ok()?), rest)
            }
        };
        let mut segments = rest.split('/');
        let group = segments.next()?;
        let group = if group == CORE_GROUP_SEGMENT { "" } else { group };
        let resource = segments.next()?;
        let (first, second) = (segments.next()?, segments.next());
        let (namespace, name) = second.map_or(("", first), |name| (first, name));
        if segments.next().is_some() || !is_dns_label(resource) || !(group.is_empty() || is_dns_subdomain(group)) {
            return None;
        }
        ObjectKey::new(ResourceId::new(group, resource), space, namespace, name).ok()
    }
}

/// Everything of a tenant has a durable key that starts with this, and nothing else has.
fn tenant_prefix(tenant: &TenantName) -> String {
    format!("/ursa/t/{tenant}/")
}

/// RFC 1123 label: 1 to 63 of `a-z 0-9 -`, not starting or ending with `-`.
pub fn is_dns_label(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    matches!(bytes.len(), 1..=63)
        && edge(bytes[0])
        && edge(bytes[bytes.len() - 1])
        && bytes.iter().all(|&b| edge(b) || b == b'-')
}

/// RFC 1123 subdomain: up to 253 bytes of labels joined by dots. (A label here may exceed 63 bytes, as upstream allows.)
pub fn is_dns_subdomain(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    matches!(text.len(), 1..=253)
        && text.split('.').all(|label| {
            let bytes = label.as_bytes();
            !bytes.is_empty()
                && edge(bytes[0])
                && edge(bytes[bytes.len() - 1])
                && bytes.iter().all(|&b| edge(b) || b == b'-')
        })
}

/// What may stand as a name in a path: not empty, `.` or `..`, without `/` and `%`, at most 253 bytes.
pub fn is_path_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && text.len() <= 253 && !text.contains(['/', '%', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant: &str, namespace: &str, name: &str) -> ObjectKey {
        let tenant = TenantName::new(tenant).expect("a tenant name");
        ObjectKey::new(ResourceId::new("", "pods"), Space::Tenant(tenant), namespace, name).expect("a key")
    }

    #[test]
    fn durable_keys_read_back() {
        for key in [key("acme", "default", "web-1"), key("a", "", "system:node")] {
            assert_eq!(ObjectKey::parse_durable(&key.durable()), Some(key));
        }
        let node = ObjectKey::new(ResourceId::new("", "nodes"), Space::Cluster, "", "n1").expect("a key");
        assert_eq!(node.durable(), "/ursa/c/core/nodes/n1");
        assert_eq!(ObjectKey::parse_durable(&node.durable()), Some(node));
    }

    #[test]
    fn neighbouring_tenants_share_no_prefix() {
        let tenant = TenantName::new("a").expect("a tenant name");
        for other in ["a1", "a-1", "ab"] {
            assert!(!key(other, "default", "x").durable().starts_with(&tenant_prefix(&tenant)), "{other}");
        }
    }

    #[test]
    fn names_that_would_leave_their_segment_are_refused() {
        for bad in ["", ".", "..", "a/b", "a%2fb"] {
            assert!(ObjectKey::new(ResourceId::new("", "pods"), Space::Cluster, "", bad).is_err(), "{bad}");
        }
        for bad in ["", "all", "A", "a/b", "-a", "a_b"] {
            assert!(TenantName::new(bad).is_err(), "{bad}");
        }
    }
}
