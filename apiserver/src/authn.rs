//! From a connection and a request's headers to an identity with a tenant.

use crate::server::Server;
use api::{Error, Identity, ObjectKey, ResourceId, Result, Space, TenantName, Timestamp};
use http::{HeaderMap, HeaderValue, header};
use policy::authn::{CertifiedIdentity, Refusal, VerifiedToken};
use policy::rbac::Attributes;
use std::sync::Arc;

/// What is known of who is at the other end before a request is read.
#[derive(Clone, Debug)]
pub enum Peer {
    /// Over TLS, without a client certificate.
    Unknown,
    /// Over TLS, with a certificate that the server's authority signed; what its subject says.
    Certificate(Result<CertifiedIdentity, Refusal>),
    /// A component in this process, which was given its identity at the start.
    InProcess(Arc<Identity>),
}

/// The caller's identity, or 401. Credentials: client certificate, static token, service account token.
pub fn authenticate(server: &Server, peer: &Peer, headers: &HeaderMap, now: Timestamp) -> Result<Identity> {
    match peer {
        Peer::InProcess(identity) => return Ok(Identity::clone(identity)),
        Peer::Certificate(Ok(certified)) => match in_its_tenant(server, certified)? {
            Ok(identity) => return Ok(identity.clone()),
            Err(refusal) => tracing::debug!(%refusal, "a client certificate was refused"),
        },
        Peer::Certificate(Err(refusal)) => tracing::debug!(%refusal, "a client certificate was refused"),
        Peer::Unknown => {}
    }
    let token = bearer_token(headers).ok_or_else(Error::unauthorized)?;
    if let Some(identity) = server.token_file.find(token) {
        return Ok(identity);
    }
    service_account(server, token, &[], now).map(|verified| verified.identity)
}

/// Whether a certificate was issued for its tenant as it is now, not for an earlier one of the name. Of a tenant that is
/// not there, what follows decides.
fn in_its_tenant<'a>(server: &Server, certified: &'a CertifiedIdentity) -> Result<Result<&'a Identity, Refusal>> {
    let tenant = &certified.identity.tenant;
    let Some(stored) = server.tenant(tenant).filter(|_| !tenant.is_system()) else {
        return Ok(Ok(&certified.identity));
    };
    let created = Timestamp::parse(stored.field("metadata.creationTimestamp"));
    let created = created.ok_or_else(|| Error::internal(format!("tenant {tenant} has no creationTimestamp")))?;
    Ok(certified.in_tenant_of(created))
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Verifies a service account's token: its signature and claims, then that what it is bound to still exists.
pub fn service_account(server: &Server, token: &str, audiences: &[&str], now: Timestamp) -> Result<VerifiedToken> {
    let verified = server.service_account_key().verify(token, audiences, now)?;
    let tenant = &verified.identity.tenant;
    let gone = |what: &str| Error::from(Refusal::Invalid(format!("the token's {what} no longer exists")));
    if server.tenant(tenant).is_none() {
        return Err(gone("tenant"));
    }
    let namespace = &verified.namespace;
    if !exists(server, tenant, "serviceaccounts", namespace, &verified.service_account, &verified.service_account_uid) {
        return Err(gone("service account"));
    }
    for (plural, bound) in [("pods", &verified.pod), ("secrets", &verified.secret)] {
        if bound.as_ref().is_some_and(|bound| !exists(server, tenant, plural, namespace, &bound.name, &bound.uid)) {
            return Err(gone(plural));
        }
    }
    Ok(verified)
}

fn exists(server: &Server, tenant: &TenantName, plural: &str, namespace: &str, name: &str, uid: &str) -> bool {
    let key = ObjectKey::new(ResourceId::new("", plural), Space::Tenant(tenant.clone()), namespace, name);
    key.is_ok_and(|key| server.store.snapshot().get(&key).is_some_and(|object| &*object.header.uid == uid))
}

/// The identity that the request asks to act as, with the caller's right to do so checked. It stays in the tenant of
/// the caller: impersonation never crosses tenants.
pub fn impersonate(server: &Server, caller: Identity, headers: &HeaderMap) -> Result<Identity> {
    let text = |name: &str| headers.get(name).map(impersonated).transpose();
    let groups = headers.get_all("impersonate-group").iter().map(impersonated).collect::<Result<Vec<&str>>>()?;
    let extra = headers.keys().any(|name| name.as_str().starts_with("impersonate-extra-"));
    let uid = text("impersonate-uid")?;
    let Some(user) = text("impersonate-user")? else {
        if groups.is_empty() && !extra && uid.is_none() {
            return Ok(caller);
        }
        return Err(Error::bad_request("requested to impersonate without impersonating a user"));
    };
    if extra {
        return Err(Error::bad_request("impersonation of extra fields is not supported"));
    }
    let tenant = caller.tenant.clone();
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let mut identity = match account {
        Some((namespace, name)) => {
            allow(server, &caller, "serviceaccounts", namespace, name)?;
            Identity::service_account(tenant, namespace, name)
        }
        None => {
            allow(server, &caller, "users", "", user)?;
            Identity::new(tenant, user, &[])
        }
    };
    for group in groups {
        allow(server, &caller, "groups", "", group)?;
        if !identity.in_group(group) {
            identity.groups.push(group.to_owned());
        }
    }
    if let Some(uid) = uid {
        allow(server, &caller, "uids", "", uid)?;
        identity.uid = uid.to_owned();
    }
    Ok(identity)
}

/// What a header of impersonation says. One that cannot be read is refused: to pass it over would let the request run
/// with the rights of the caller.
fn impersonated(value: &HeaderValue) -> Result<&str> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| Error::bad_request("an Impersonate header is not valid UTF-8"))
}

fn allow(server: &Server, caller: &Identity, resource: &str, namespace: &str, name: &str) -> Result<()> {
    let group = if resource == "uids" { "authentication.k8s.io" } else { "" };
    let what = Attributes {
        verb: "impersonate",
        tenant: Some(&caller.tenant),
        group,
        version: "v1",
        resource,
        namespace,
        name,
        ..Attributes::default()
    };
    let decision = policy::tenancy::decide(caller, &policy::tenancy::Requested::Own, &what)?;
    crate::authz::authorize(server, caller, &what, &decision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, NoNodes, in_process};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_certificate_of_a_deleted_tenant_opens_nothing_in_the_next_one_of_its_name() {
        let dir = tempfile::TempDir::new().expect("a folder");
        let store =
            store::Store::open(&dir.path().join("store"), kinds::Registry::selectable, store::Limits::default());
        let now = Timestamp::now();
        let config = Config {
            store: store.expect("a store"),
            pki: Arc::new(policy::pki::Pki::open(dir.path(), &[], now).expect("keys")),
            token_file: policy::authn::TokenFile::default(),
            dial: Arc::new(NoNodes),
            stop: runtime::Stop::new(),
        };
        let server = Server::new(config).await.expect("a server");
        let root = Arc::new(Identity::new(TenantName::system(), "root", &[policy::rbac::MASTERS]));
        let tenant = serde_json::json!({"metadata": {"name": "acme"}, "spec": {"storageClusterId": "0"}});
        let request = http::Request::post("/api/v1/tenants").header("content-type", "application/json");
        let request = request.body(tenant.to_string().into()).expect("a request");
        assert_eq!(in_process(server.clone(), root, request).await.status(), 201);
        let enters = |tenant: &str, issued: Timestamp| {
            let tenant = TenantName::new(tenant).expect("a tenant");
            let issued = server.pki.client_certificate(&tenant, "admin", &[policy::rbac::MASTERS], HOUR, issued);
            let der = CertificateDer::from_pem_slice(issued.expect("a certificate").cert_pem.as_bytes()).expect("PEM");
            let peer = Peer::Certificate(policy::authn::identity_of_certificate(&der));
            authenticate(&server, &peer, &HeaderMap::new(), now).map_err(|error| error.code())
        };
        let earlier = Timestamp::from_unix_secs(now.unix_secs() - 60);
        assert_eq!(enters("acme", earlier), Err(401));
        assert_eq!(enters("acme", Timestamp::now()).map(|who| who.user), Ok("admin".to_owned()));
        assert_eq!(enters("system", earlier).map(|who| who.user), Ok("admin".to_owned()));
    }
}
