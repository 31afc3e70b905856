//! The path of a request in the three forms that name a tenant, or name none.

use crate::Names;
use api::{ALL_TENANTS, Error, Result, TenantName};
use std::fmt::Write as _;

/// Whose objects a client reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The tenant of the client's identity.
    Own,
    Tenant(TenantName),
    /// Every tenant: for lists and watches by system identities.
    All,
}

/// The path of a collection; of its part in `namespace` unless that is empty.
pub(crate) fn collection(reach: &Reach, resource: &impl Names, namespace: &str) -> Result<String> {
    if !namespace.is_empty() && !api::is_dns_label(namespace) {
        return Err(Error::bad_request(format!("{namespace:?} is not a valid namespace")));
    }
    let (group, version, plural) = (resource.group(), resource.version(), resource.plural());
    let mut path = match reach {
        Reach::Tenant(tenant) => format!("/tenants/{tenant}"),
        Reach::Own | Reach::All => String::new(),
    };
    match group {
        "" => write!(path, "/api/{version}"),
        _ => write!(path, "/apis/{group}/{version}"),
    }
    .expect("writing to a String cannot fail");
    if *reach == Reach::All {
        if !namespace.is_empty() {
            return Err(Error::bad_request("a namespace cannot be listed across all tenants"));
        }
        path = format!("{path}/tenants/{ALL_TENANTS}");
    }
    if resource.namespaced() && !namespace.is_empty() {
        path = format!("{path}/namespaces/{namespace}");
    }
    Ok(format!("{path}/{plural}"))
}

/// The path of one object, or of a subresource of it.
pub(crate) fn object(
    reach: &Reach,
    resource: &impl Names,
    namespace: &str,
    name: &str,
    subresource: Option<&str>,
) -> Result<String> {
    if *reach == Reach::All {
        return Err(Error::bad_request("one object is reached in its own tenant, not across all tenants"));
    }
    if resource.namespaced() && namespace.is_empty() {
        return Err(Error::bad_request(format!("{} have a namespace, and none is given", resource.plural())));
    }
    if !api::is_path_segment(name) {
        return Err(Error::bad_request(format!("{name:?} is not a valid name")));
    }
    let mut path = collection(reach, resource, namespace)?;
    path.push('/');
    path.push_str(&escape(name));
    if let Some(subresource) = subresource {
        path.push('/');
        path.push_str(subresource);
    }
    Ok(path)
}

/// Joins the pairs whose value is not empty into a query, with its `?`; empty when there is none.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    let given = pairs.iter().filter(|(_, value)| !value.is_empty());
    let joined: Vec<String> = given.map(|(name, value)| format!("{name}={}", escape(value))).collect();
    if joined.is_empty() { String::new() } else { format!("?{}", joined.join("&")) }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").expect("writing to a String cannot fail"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CLUSTER_ROLES, DEPLOYMENTS, NODES, PODS};

    #[test]
    fn a_path_names_its_tenant_in_the_form_of_its_reach() {
        let acme = Reach::Tenant(TenantName::new("acme").expect("a name"));
        let path = |reach: &Reach, namespace| collection(reach, &DEPLOYMENTS, namespace).expect("a path");
        assert_eq!(path(&Reach::Own, "ns"), "/apis/apps/v1/namespaces/ns/deployments");
        assert_eq!(path(&acme, "ns"), "/tenants/acme/apis/apps/v1/namespaces/ns/deployments");
        assert_eq!(path(&acme, ""), "/tenants/acme/apis/apps/v1/deployments");
        assert_eq!(path(&Reach::All, ""), "/apis/apps/v1/tenants/all/deployments");
        assert_eq!(collection(&Reach::All, &PODS, "").expect("a path"), "/api/v1/tenants/all/pods");
        assert_eq!(object(&Reach::Own, &NODES, "", "n1", Some("status")).expect("a path"), "/api/v1/nodes/n1/status");
        let role = object(&acme, &CLUSTER_ROLES, "", "system:node", None).expect("a path");
        assert_eq!(role, "/tenants/acme/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode");
    }

    #[test]
    fn what_could_leave_its_place_is_refused() {
        let own = Reach::Own;
        assert!(collection(&own, &PODS, "a/b").is_err());
        assert!(collection(&Reach::All, &PODS, "default").is_err());
        for name in ["", "..", "a/b"] {
            assert!(object(&own, &PODS, "default", name, None).is_err(), "{name}");
        }
        assert!(object(&own, &PODS, "", "a", None).is_err());
        assert!(object(&Reach::All, &PODS, "default", "a", None).is_err());
    }

    #[test]
    fn a_query_holds_what_is_given_escaped() {
        assert_eq!(query(&[("labelSelector", "a in (b,c)"), ("limit", "")]), "?labelSelector=a%20in%20%28b%2Cc%29");
        assert_eq!(query(&[("limit", "")]), "");
    }
}
