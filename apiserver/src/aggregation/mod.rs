//! API aggregation: versions of groups that a service of the tenant serves. Requests for them are authorized here and passed
//! on with who asks, over a connection that proves to come from here.
//!
//! Invariant: who asks is said by this server alone: what a client sent in those headers is taken away. A service is one of the
//! request's own tenant. What is built in is never another's to serve.

mod availability;
mod discovery;
mod forward;

pub use availability::keep;
pub use discovery::{Document, documents};
pub use forward::forward;

use crate::compiled::PerTenant;
use crate::egress::{Place, Trust, client_config};
use crate::server::Server;
use api::{Object, ResourceId, Result, TenantName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dashmap::DashMap;
use rustls::ClientConfig;
use serde_json::Value;
use std::sync::Arc;

/// Group and plural of what says who serves a version of a group.
pub const RESOURCE: (&str, &str) = ("apiregistration.k8s.io", "apiservices");

/// How many services of a tenant are asked.
const SERVICES_MAX: usize = 100;

/// What of a request's path, as it came, the service is asked for: without what names the tenant.
pub fn below(raw: &str) -> String {
    let own = match raw.strip_prefix("/tenants/") {
        Some(rest) => &rest[rest.find('/').unwrap_or(rest.len())..],
        None => raw,
    };
    let segments: Vec<&str> = own.split('/').collect();
    match segments[..] {
        ["", "apis", group, version, "tenants", _, ref rest @ ..] if !rest.is_empty() => {
            format!("/apis/{group}/{version}/{}", rest.join("/"))
        }
        _ => own.to_owned(),
    }
}

fn resource() -> ResourceId {
    ResourceId::new(RESOURCE.0, RESOURCE.1)
}

/// What is served by services of tenants.
pub struct Aggregation {
    services: PerTenant<Vec<Arc<Remote>>, 1>,
    /// What services said of their resources when they were asked last, by tenant and name.
    told: DashMap<(TenantName, String), Arc<Value>>,
}

impl Default for Aggregation {
    fn default() -> Aggregation {
        Aggregation { services: PerTenant::new([resource()]), told: DashMap::new() }
    }
}

/// A version of a group that a service serves.
pub struct Remote {
    /// Of the APIService.
    pub name: String,
    pub group: String,
    pub version: String,
    pub place: Place,
    pub server_name: String,
    /// Whether the last check passed.
    pub is_available: bool,
    /// Of the group, and of the version within it.
    pub priorities: (i64, i64),
    tls: std::result::Result<Arc<ClientConfig>, String>,
}

impl Remote {
    /// Reads an APIService; `None` for one that names no service.
    fn of(server: &Server, object: &Value) -> Option<Remote> {
        let spec = &object["spec"];
        let service = spec["service"].as_object()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text(service.get("namespace")?), text(service.get("name")?));
        let port = service.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
        let bundle = STANDARD.decode(spec["caBundle"].as_str().unwrap_or_default()).unwrap_or_default();
        let trust =
            if spec["insecureSkipTLSVerify"] == true { Trust::Anyone } else { Trust::Authorities(bundle.as_slice()) };
        let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        Some(Remote {
            name: text(&object["metadata"]["name"]),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            server_name: format!("{name}.{namespace}.svc"),
            place: Place::Service { namespace, name, port },
            is_available: conditions.any(|c| c["type"] == "Available" && c["status"] == "True"),
            priorities: (
                spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
                spec["versionPriority"].as_i64().unwrap_or(0),
            ),
            tls: client_config(&trust, Some(server.pki.front_proxy_credential())),
        })
    }

    /// Where it says what it serves.
    fn root(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }
}

impl Aggregation {
    /// What services of a tenant serve.
    pub fn of(&self, server: &Server, tenant: &TenantName) -> Result<Option<Arc<Vec<Arc<Remote>>>>> {
        let found = self.services.of(server, tenant, |[services]| {
            let values = services.iter().map(|service: &Arc<Object>| service.to_value()).collect::<Result<Vec<_>>>()?;
            let built_in = |remote: &Remote| {
                server.kinds.kinds().iter().any(|kind| kind.group == remote.group && kind.version == remote.version)
            };
            let remotes = values.iter().filter_map(|service| Remote::of(server, service));
            Ok(remotes.filter(|remote| !built_in(remote)).take(SERVICES_MAX).map(Arc::new).collect())
        });
        Ok(found?.filter(|remotes| !remotes.is_empty()))
    }

    /// Who serves a version of a group, if that is a service of the tenant.
    pub fn find(
        &self,
        server: &Server,
        tenant: &TenantName,
        group: &str,
        version: &str,
    ) -> Result<Option<Arc<Remote>>> {
        let Some(remotes) = self.of(server, tenant)? else { return Ok(None) };
        Ok(remotes.iter().find(|remote| remote.group == group && remote.version == version).cloned())
    }

    /// Who answers a path that is no resource's: what a version serves, or its OpenAPI.
    pub fn find_document(&self, server: &Server, tenant: &TenantName, below: &str) -> Result<Option<Arc<Remote>>> {
        let path = below.strip_prefix("/openapi/v3").unwrap_or(below);
        match path.split('/').collect::<Vec<_>>()[..] {
            ["", "apis", group, version] => self.find(server, tenant, group, version),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_for_a_path_without_the_tenant() {
        for (raw, expected) in [
            ("/apis/e.com/v1/things", "/apis/e.com/v1/things"),
            ("/tenants/acme/apis/e.com/v1/namespaces/n/things/a%20b", "/apis/e.com/v1/namespaces/n/things/a%20b"),
            ("/apis/e.com/v1/tenants/acme/namespaces/n/things", "/apis/e.com/v1/namespaces/n/things"),
            ("/tenants/acme/apis/e.com/v1/tenants/acme/things/x/log", "/apis/e.com/v1/things/x/log"),
        ] {
            assert_eq!(below(raw), expected);
        }
    }
}
