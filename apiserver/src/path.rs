//! Request paths, parsed once from the raw bytes. What is parsed here is what is authorized and what is stored under.
//!
//! Three forms name the tenant (decision D3): `/tenants/T/api/v1/…`, `/api/v1/tenants/T/namespaces/…` (Arktos), or
//! neither. Refused: empty segments, `.` and `..`, and segments that decode to a separator or a control character.

use api::{Error, Result, TenantName};
use policy::tenancy::Requested;

/// A parsed path: whose tenant it names and what it asks for there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub tenant: Requested,
    pub route: Route,
}

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/version`, `/apis`, `/openapi/v3/…`: authorized by path.
    NonResource(String),
    Resource(ResourcePath),
}

/// A path below `/api/VERSION` or `/apis/GROUP/VERSION`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourcePath {
    pub group: String,
    pub version: String,
    pub resource: String,
    /// Empty when the path names none.
    pub namespace: String,
    /// Empty for the collection.
    pub name: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// What follows the subresource: the path of a proxied request.
    pub rest: Vec<String>,
    /// The legacy `/watch/` prefix.
    pub watch: bool,
}

impl Path {
    /// Parses the path of a request target, still percent-encoded.
    pub fn parse(raw: &str) -> Result<Path> {
        let segments = segments(raw)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (tenant, segments) = match segments.as_slice() {
            ["tenants", tenant, rest @ ..] => (requested(tenant)?, rest),
            all => (Requested::Own, all),
        };
        let below = match segments {
            ["api", version, rest @ ..] => Some(("", *version, rest)),
            ["apis", group, version, rest @ ..] => Some((*group, *version, rest)),
            _ => None,
        };
        match below {
            Some((group, version, rest)) if !rest.is_empty() => parse_resource(tenant, group, version, rest),
            _ => Ok(Path { tenant, route: Route::NonResource(format!("/{}", segments.join("/"))) }),
        }
    }
}

fn parse_resource(tenant: Requested, group: &str, version: &str, rest: &[&str]) -> Result<Path> {
    let (watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let (tenant, rest) = arktos_tenant(tenant, rest)?;
    let mut path =
        ResourcePath { group: group.to_owned(), version: version.to_owned(), watch, ..ResourcePath::default() };
    let object = match rest {
        // `namespaces/N` and its own subresources are the Namespace object; anything longer is inside it.
        ["namespaces", namespace, resource, below @ ..] if !is_namespace_part(resource, below) => {
            path.namespace = (*namespace).to_owned();
            path.resource = (*resource).to_owned();
            below
        }
        [resource, below @ ..] => {
            path.resource = (*resource).to_owned();
            below
        }
        [] => return Err(Error::no_such_path()),
    };
    if let [name, below @ ..] = object {
        path.name = (*name).to_owned();
        if let [subresource, rest @ ..] = below {
            path.subresource = (*subresource).to_owned();
            path.rest = rest.iter().map(|&s| s.to_owned()).collect();
        }
    }
    // Authorization of the Namespace object and of what is in it names the same namespace.
    if path.resource == "namespaces" && path.group.is_empty() {
        path.namespace = String::new();
    }
    Ok(Path { tenant, route: Route::Resource(path) })
}

fn is_namespace_part(resource: &str, below: &[&str]) -> bool {
    below.is_empty() && matches!(resource, "status" | "finalize")
}

/// Arktos's form: `tenants/X` is the Tenant object when at most two segments remain or the third is one of its parts;
/// otherwise X is the tenant of what follows.
fn arktos_tenant<'a, 'b>(tenant: Requested, rest: &'a [&'b str]) -> Result<(Requested, &'a [&'b str])> {
    match rest {
        ["tenants", _, "status" | "finalize"] => Ok((tenant, rest)),
        ["tenants", name, below @ ..] if !below.is_empty() => {
            let inner = requested(name)?;
            if tenant != Requested::Own && tenant != inner {
                return Err(Error::bad_request("the path names two tenants"));
            }
            if below.first() == Some(&"tenants") {
                return Err(Error::bad_request("the path names two tenants"));
            }
            Ok((inner, below))
        }
        _ => Ok((tenant, rest)),
    }
}

fn requested(name: &str) -> Result<Requested> {
    if name == api::ALL_TENANTS { Ok(Requested::All) } else { TenantName::new(name).map(Requested::Named) }
}

/// Splits and decodes. A trailing slash is ignored, as upstream ignores it on known paths.
fn segments(raw: &str) -> Result<Vec<String>> {
    let refused = || Error::bad_request("the request's path is malformed");
    let inner = raw.strip_prefix('/').ok_or_else(refused)?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    if inner.split('/').any(str::is_empty) {
        return Err(if inner.starts_with('/') { Error::page_not_found() } else { Error::no_such_path() });
    }
    inner.split('/').map(|segment| decode(segment).filter(|s| is_clean(s)).ok_or_else(refused)).collect()
}

fn is_clean(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && !segment.chars().any(|c| matches!(c, '/' | '\\' | '%' | ';') || c.is_control())
}

/// Percent-decodes; `None` for a broken escape or for what is no UTF-8.
pub fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(raw: &str) -> (Requested, ResourcePath) {
        match Path::parse(raw).expect(raw) {
            Path { tenant, route: Route::Resource(path) } => (tenant, path),
            other => panic!("{raw} is {other:?}"),
        }
    }

    #[track_caller]
    fn check(raw: &str, tenant: &str, expected: [&str; 6]) {
        let (requested, path) = resource(raw);
        let named = match requested {
            Requested::Own => "",
            Requested::All => "all",
            Requested::Named(ref tenant) => tenant.as_str(),
        };
        assert_eq!(named, tenant, "{raw}");
        let found = [&path.group, &path.resource, &path.namespace, &path.name, &path.subresource, &path.rest.join("/")];
        assert_eq!(found.map(String::as_str), expected, "{raw}");
    }

    #[test]
    fn the_three_forms_of_a_tenants_path_are_one() {
        check("/api/v1/pods", "", ["", "pods", "", "", "", ""]);
        check("/tenants/acme/api/v1/namespaces/d/pods/p/log", "acme", ["", "pods", "d", "p", "log", ""]);
        check("/api/v1/tenants/acme/namespaces/d/pods/p", "acme", ["", "pods", "d", "p", "", ""]);
        check("/apis/apps/v1/tenants/all/deployments", "all", ["apps", "deployments", "", "", "", ""]);
        check("/tenants/acme/api/v1/tenants/acme/pods", "acme", ["", "pods", "", "", "", ""]);
    }

    #[test]
    fn a_tenant_object_is_told_from_a_tenants_objects() {
        check("/api/v1/tenants", "", ["", "tenants", "", "", "", ""]);
        check("/api/v1/tenants/acme", "", ["", "tenants", "", "acme", "", ""]);
        check("/api/v1/tenants/acme/status", "", ["", "tenants", "", "acme", "status", ""]);
        check("/api/v1/tenants/acme/namespaces", "acme", ["", "namespaces", "", "", "", ""]);
        check("/api/v1/watch/tenants/acme/namespaces/d/pods", "acme", ["", "pods", "d", "", "", ""]);
    }

    #[test]
    fn a_namespace_object_is_told_from_what_is_in_it() {
        check("/api/v1/namespaces/d", "", ["", "namespaces", "", "d", "", ""]);
        check("/api/v1/namespaces/d/status", "", ["", "namespaces", "", "d", "status", ""]);
        check("/api/v1/namespaces/d/finalize", "", ["", "namespaces", "", "d", "finalize", ""]);
        check("/api/v1/namespaces/d/services/s/proxy/a/b", "", ["", "services", "d", "s", "proxy", "a/b"]);
    }

    #[test]
    fn names_are_decoded_once_and_separators_are_refused() {
        check(
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode/",
            "",
            ["rbac.authorization.k8s.io", "clusterroles", "", "system:node", "", ""],
        );
        for bad in [
            "/api/v1/namespaces/a%2fb/pods",
            "/api/v1//pods",
            "/api/v1/../pods",
            "/api/v1/pods/%2e%2e",
            "/api/v1/pods/%",
            "/api/v1/pods/a%252fb",
            "/api/v1/pods/a%00",
            "/tenants/A/api/v1/pods",
            "/api/v1/pods;x",
            "x",
            "/tenants/a/api/v1/tenants/b/pods",
            "/api/v1/tenants/a/tenants/b/pods",
            "/api/v1/pods/a%5cb",
        ] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_resource_is_authorized_by_its_path() {
        for (raw, tenant, path) in [
            ("/", Requested::Own, "/"),
            ("/apis", Requested::Own, "/apis"),
            ("/api/v1", Requested::Own, "/api/v1"),
            ("/tenants/all", Requested::All, "/"),
            ("/openapi/v3/apis/apps/v1", Requested::Own, "/openapi/v3/apis/apps/v1"),
        ] {
            assert_eq!(Path::parse(raw).expect(raw), Path { tenant, route: Route::NonResource(path.into()) }, "{raw}");
        }
    }
}
