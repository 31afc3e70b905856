//! From a connection and a request's headers to an identity with a tenant.

use crate::server::Server;
use api::{Error, Identity, Object, ObjectKey, ResourceId, Result, Space, TenantName, Timestamp};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use dashmap::DashMap;
use http::header::HeaderName;
use http::{HeaderMap, header};
use policy::authn::impersonation::{self, Mode, Wanted};
use policy::authn::{CertifiedIdentity, Issuers, Refusal, VerifiedToken, anonymous};
use policy::rbac::Attributes;
use policy::tenancy::{Decision, Requested};
use std::borrow::Cow;
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
    /// Another API server, which says with each request who asks. It has no identity of its own.
    ApiServer,
}

/// The caller's identity, or 401. Credentials: client certificate, static token, token of a service account. Who shows
/// none is anonymous in the tenant that the path names; a bad one is never taken for none.
pub fn authenticate(
    server: &Server,
    peer: &Peer,
    headers: &HeaderMap,
    requested: &Requested,
    now: Timestamp,
) -> Result<Identity> {
    let mut refused = false;
    match peer {
        Peer::InProcess(identity) => return Ok(Identity::clone(identity)),
        Peer::Certificate(Ok(certified)) => match in_its_tenant(server, certified)? {
            Ok(identity) => return Ok(identity.clone()),
            Err(refusal) => {
                tracing::debug!(%refusal, "a client certificate was refused");
                refused = true;
            }
        },
        Peer::Certificate(Err(refusal)) => {
            tracing::debug!(%refusal, "a client certificate was refused");
            refused = true;
        }
        Peer::ApiServer => refused = true,
        Peer::Unknown => {}
    }
    match bearer_token(headers) {
        Some(given) => {
            token(server, &given, &[], requested.named(), now).map(|verified| verified.identity).map_err(|refusals| {
                tracing::debug!(?refusals, "a bearer token was refused");
                Error::unauthorized()
            })
        }
        None if refused => Err(Error::unauthorized()),
        None => Ok(anonymous(match requested {
            Requested::Named(tenant) => tenant.clone(),
            Requested::Own | Requested::All => TenantName::system(),
        })),
    }
}

/// Who a request says it is from, as far as its credential alone tells: by whom that was signed is checked, and nothing of
/// what it names is looked up. It is for another server to authenticate.
pub fn claimed(server: &Server, peer: &Peer, headers: &HeaderMap, now: Timestamp) -> Identity {
    match peer {
        Peer::InProcess(identity) => return Identity::clone(identity),
        Peer::Certificate(Ok(certified)) => return certified.identity.clone(),
        Peer::Certificate(Err(_)) | Peer::ApiServer | Peer::Unknown => {}
    }
    let of_token = bearer_token(headers).and_then(|token| {
        let issued = || server.issuers.verify(&token, now).map(|(identity, _)| identity);
        let signed = || server.service_account_key().verify(&token, &[], now).map(|verified| verified.identity);
        server.token_file.find(&token).or_else(|| signed().or_else(|_| issued()).ok())
    });
    of_token.unwrap_or_else(|| anonymous(TenantName::system()))
}

/// A token that was found good.
pub struct Verified {
    pub identity: Identity,
    /// Those of the asked audiences that the token is for.
    pub audiences: Vec<String>,
}

/// Asks everyone who knows tokens, in order; the issuers of a tenant where it is the one that is addressed. The error is
/// what each of them said.
pub fn token(
    server: &Server,
    token: &str,
    audiences: &[&str],
    addressed: Option<&TenantName>,
    now: Timestamp,
) -> Result<Verified, Vec<String>> {
    if let Some(identity) = server.token_file.find_in(token, |tenant| server.tenant_uid(tenant)) {
        let asked = if audiences.is_empty() { &[policy::authn::AUDIENCE][..] } else { audiences };
        return Ok(Verified { identity, audiences: asked.iter().map(|&audience| audience.to_owned()).collect() });
    }
    let mut said = vec![INVALID_TOKEN.to_owned()];
    match service_account(server, token, audiences, now) {
        Ok(VerifiedToken { identity, audiences, .. }) => return Ok(Verified { identity, audiences }),
        Err(Refusal::NotOurs(why)) => tracing::trace!(why, "a token is not from here"),
        Err(Refusal::Invalid(why)) => said.push(why),
    }
    // Tokens of people are for this API alone.
    let asked = audiences.is_empty() || audiences.contains(&policy::authn::AUDIENCE);
    let of_tenant = addressed.and_then(|tenant| issuers_of(server, tenant));
    for issuers in [Some(&server.issuers), of_tenant.as_deref()].into_iter().flatten() {
        match issuers.verify(token, now) {
            Ok((identity, issued)) if asked => {
                if is_of_tenant(server, &identity.tenant, issued) {
                    return Ok(Verified { identity, audiences: vec![policy::authn::AUDIENCE.to_owned()] });
                }
                said.push("oidc: verify token: the token is older than its tenant".to_owned());
            }
            Ok(_) | Err(Refusal::NotOurs(_)) => {}
            Err(Refusal::Invalid(why)) => said.push(why),
        }
    }
    Err(said)
}

/// The issuers that operators gave a tenant, compiled again when the tenant has changed.
fn issuers_of(server: &Server, tenant: &TenantName) -> Option<Arc<Issuers>> {
    let stored = server.tenant(tenant).filter(|_| !tenant.is_system())?;
    if let Some(known) = server.tenant_issuers.get(tenant).filter(|known| known.0 == stored.revision) {
        return Some(known.1.clone());
    }
    let issuers = Arc::new(Issuers::of_tenant(&stored.to_value().ok()?["spec"]["issuers"], tenant));
    if server.tenant_issuers.len() >= TENANT_ISSUERS_MAX {
        server.tenant_issuers.clear();
    }
    server.tenant_issuers.insert(tenant.clone(), (stored.revision, issuers.clone()));
    Some(issuers)
}

/// The issuers of tenants, by the revision that names them. A full one is forgotten as a whole.
pub type TenantIssuers = DashMap<TenantName, (api::Revision, Arc<Issuers>)>;

const TENANT_ISSUERS_MAX: usize = 10_000;

/// The tenant of a service account's token that was signed here, whether or not it is still good.
pub fn tenant_of(server: &Server, token: &str, audiences: &[&str], now: Timestamp) -> Option<TenantName> {
    let verified = server.service_account_key().verify(token, audiences, now);
    verified.ok().map(|verified| verified.identity.tenant)
}

/// Whether what was issued at a time was issued for the tenant as it is now: a name can be given to somebody else. Of a
/// tenant that is not there, what follows decides.
fn is_of_tenant(server: &Server, tenant: &TenantName, issued: Option<Timestamp>) -> bool {
    let Some(stored) = server.tenant(tenant).filter(|_| !tenant.is_system()) else { return true };
    let created = Timestamp::parse(stored.field("metadata.creationTimestamp"));
    created.zip(issued).is_some_and(|(created, issued)| issued >= created)
}

/// What is said of a token that nobody knows.
pub const INVALID_TOKEN: &str = "invalid bearer token";

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

/// The token of an `Authorization: Bearer` header, or the one that browsers put among the protocols of a websocket.
/// What is not of that form is no credential.
fn bearer_token(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    if let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        let mut parts = value.trim().splitn(3, ' ');
        let (scheme, token) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() {
            return Some(Cow::Borrowed(token));
        }
    }
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim);
    let encoded = offered.find_map(|protocol| protocol.strip_prefix(WEBSOCKET_TOKEN))?;
    let token = BASE64_URL_SAFE_NO_PAD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    // One that cannot be read is a bad credential, not none.
    Some(Cow::Owned(token.unwrap_or_default()))
}

/// What precedes a token among the protocols of a websocket.
const WEBSOCKET_TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// So long after what it is bound to was to be gone, a token is refused, even if a finalizer keeps the object.
const DELETED_GRACE_SECS: i64 = 5;

/// Verifies a service account's token: its signature and claims, then that what it is bound to still exists.
pub fn service_account(
    server: &Server,
    token: &str,
    audiences: &[&str],
    now: Timestamp,
) -> Result<VerifiedToken, Refusal> {
    let verified = server.service_account_key().verify(token, audiences, now)?;
    let tenant = &verified.identity.tenant;
    let invalid = |why: String| Err(Refusal::Invalid(why));
    let Some(stored_tenant) = server.tenant(tenant) else {
        return invalid(format!("tenants {:?} not found", tenant.as_str()));
    };
    // As with certificates: a tenant's name can be given to somebody else once the tenant is deleted.
    let created = Timestamp::parse(stored_tenant.field("metadata.creationTimestamp"));
    if !tenant.is_system() && created.zip(verified.issued).is_none_or(|(created, issued)| issued < created) {
        let legacy = created.is_some() && verified.legacy_secret.is_some();
        if !legacy {
            return invalid("the token is older than its tenant".to_owned());
        }
    }
    let (namespace, name) = (&verified.namespace, &verified.service_account);
    let of_tenant = || Space::Tenant(tenant.clone());
    let Some(account) = stored(server, "serviceaccounts", of_tenant(), namespace, name) else {
        return invalid(format!("serviceaccounts {name:?} not found"));
    };
    if account.header.uid() != &*verified.service_account_uid {
        let (is, claimed) = (account.header.uid(), &verified.service_account_uid);
        return invalid(format!("service account UID ({is}) does not match claim ({claimed})"));
    }
    if is_gone(&account, now) {
        return invalid(format!("service account {namespace}/{name} has been deleted"));
    }
    let node = verified.node.as_ref().filter(|_| verified.pod.is_none());
    for (plural, bound, space, namespace) in [
        ("pods", verified.pod.as_ref(), of_tenant(), namespace.as_str()),
        ("secrets", verified.secret.as_ref(), of_tenant(), namespace.as_str()),
        ("nodes", node, Space::Cluster, ""),
    ] {
        let Some(bound) = bound else { continue };
        let object = stored(server, plural, space, namespace, &bound.name).filter(|object| !is_gone(object, now));
        if object.is_none_or(|object| object.header.uid() != &*bound.uid) {
            return invalid("service account token has been invalidated".to_owned());
        }
    }
    if let Some(secret) = &verified.legacy_secret {
        let secret = stored(server, "secrets", of_tenant(), namespace, secret).filter(|secret| !is_gone(secret, now));
        if !secret.is_some_and(|secret| holds_token(&secret, token)) {
            return invalid("token does not match server's copy".to_owned());
        }
    }
    Ok(verified)
}

/// Whether an object was to be gone some time ago. Pods keep their rights while they stop.
fn is_gone(object: &Object, now: Timestamp) -> bool {
    if !object.header.deleting {
        return false;
    }
    let at = object.to_value().ok().and_then(|o| Timestamp::parse(o["metadata"]["deletionTimestamp"].as_str()?));
    at.is_none_or(|at| at.unix_secs() + DELETED_GRACE_SECS < now.unix_secs())
}

/// Whether a secret holds this very token, and it was not given up.
fn holds_token(secret: &Object, token: &str) -> bool {
    let Ok(value) = secret.to_value() else { return false };
    let held = value["data"]["token"].as_str().and_then(|held| BASE64_STANDARD.decode(held).ok());
    held.is_some_and(|held| held == token.as_bytes())
        && secret.header.label("kubernetes.io/legacy-token-invalid-since").is_none()
}

fn stored(server: &Server, plural: &str, space: Space, namespace: &str, name: &str) -> Option<Arc<Object>> {
    let key = ObjectKey::new(ResourceId::new("", plural), space, namespace, name).ok()?;
    server.store.snapshot().get(&key).cloned()
}

/// The identity that the request asks to act as, with the caller's right to do so checked; `None` when it asks for
/// none. It is of the tenant that the request addresses, so that only identities of `system` act as somebody elsewhere.
pub fn impersonate(
    server: &Server,
    caller: &Identity,
    headers: &HeaderMap,
    what: &Attributes,
    decision: &Decision,
) -> Result<Option<(Identity, Mode)>> {
    if !headers.keys().any(is_impersonation) {
        return Ok(None);
    }
    let named = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let Some(wanted) = Wanted::from_headers(named)? else { return Ok(None) };
    let tenant = decision.tenant().unwrap_or(&caller.tenant);
    let key = (caller.tenant.clone(), caller.user.clone());
    let last = server.impersonations.get(&key).map(|mode| *mode);
    let allows = |what: &Attributes| {
        let what = Attributes { tenant: decision.tenant().filter(|_| !what.cluster_scoped), ..*what };
        crate::authz::authorize(server, caller, &what, decision)
    };
    let (identity, mode) = impersonation::impersonate(caller, &wanted, tenant, what, last, &allows)?;
    if last != Some(mode) {
        if server.impersonations.len() >= IMPERSONATIONS_MAX {
            server.impersonations.clear();
        }
        server.impersonations.insert(key, mode);
    }
    Ok(Some((identity, mode)))
}

/// Whether a header says as whom the caller acts.
pub fn is_impersonation(name: &HeaderName) -> bool {
    name.as_str().starts_with("impersonate-")
}

/// By which way callers were granted impersonation last: it is tried first. A full one is forgotten as a whole.
pub type Impersonations = DashMap<(TenantName, String), Mode>;

const IMPERSONATIONS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, NoNodes, in_process};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use serde_json::{Value, json};
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A server with some tenants, each of this spec besides its partition.
    async fn server(tenants: &[(&str, Value)]) -> (Arc<Server>, tempfile::TempDir) {
        let dir = tempfile::TempDir::new().expect("a folder");
        let store =
            store::Store::open(&dir.path().join("store"), kinds::Registry::selectable, store::Limits::default());
        let config = Config {
            store: store.expect("a store"),
            pki: Arc::new(policy::pki::Pki::open(dir.path(), &[], Timestamp::now()).expect("keys")),
            token_file: policy::authn::TokenFile::default(),
            dial: Arc::new(NoNodes),
            advertise: None,
            stop: runtime::Stop::new(),
            limits: crate::Limits::default(),
            audit: None,
            issuers: policy::authn::Issuers::default(),
            tenant_networks: crate::egress::Networks::default(),
            peering: crate::Peering::default(),
        };
        let server = Server::new(config).await.expect("a server");
        let root = Arc::new(Identity::new(TenantName::system(), "root", &[policy::rbac::MASTERS]));
        for (name, spec) in tenants {
            let mut tenant = json!({"metadata": {"name": name}, "spec": spec});
            tenant["spec"]["storageClusterId"] = json!("0");
            let request = http::Request::post("/api/v1/tenants").header("content-type", "application/json");
            let request = request.body(tenant.to_string().into()).expect("a request");
            assert_eq!(in_process(server.clone(), root.clone(), request).await.status(), 201);
        }
        (server, dir)
    }

    #[tokio::test]
    async fn an_issuer_of_a_tenant_speaks_where_the_path_names_that_tenant() {
        const URL: &str = "https://login.example.com";
        let pem = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        let jwks = policy::authn::ServiceAccountKey::from_pem(&pem).expect("a key").jwks();
        let issuer = json!({"url": URL, "audiences": ["ursa"], "jwks": jwks.to_string()});
        let (server, _dir) = server(&[("acme", json!({"issuers": [issuer]})), ("umbrella", json!({}))]).await;
        let now = Timestamp::now();
        let claims =
            json!({"iss": URL, "sub": "ann", "aud": "ursa", "iat": now.unix_secs(), "exp": now.unix_secs() + 60});
        let kid = jwks["keys"][0]["kid"].as_str().map(str::to_owned);
        let header = jsonwebtoken::Header { kid, ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256) };
        let key = jsonwebtoken::EncodingKey::from_ec_pem(pem.as_bytes()).expect("a key");
        let token = jsonwebtoken::encode(&header, &claims, &key).expect("a token");
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"));
        let enters = |requested: &Requested| {
            let who = authenticate(&server, &Peer::Unknown, &headers, requested, now);
            who.map(|who| format!("{} of {}", who.user, who.tenant)).map_err(|error| error.code())
        };
        let named = |name: &str| Requested::Named(TenantName::new(name).expect("a name"));
        assert_eq!(enters(&named("acme")), Ok("ann of acme".to_owned()));
        for elsewhere in [named("umbrella"), named("system"), named("absent"), Requested::Own, Requested::All] {
            assert_eq!(enters(&elsewhere), Err(401), "{elsewhere:?}");
        }
    }

    #[tokio::test]
    async fn a_certificate_of_a_deleted_tenant_opens_nothing_in_the_next_one_of_its_name() {
        let (server, _dir) = server(&[("acme", json!({}))]).await;
        let now = Timestamp::now();
        let enters = |tenant: &str, issued: Timestamp| {
            let tenant = TenantName::new(tenant).expect("a tenant");
            let issued = server.pki.client_certificate(&tenant, "admin", &[policy::rbac::MASTERS], HOUR, issued);
            let der = CertificateDer::from_pem_slice(issued.expect("a certificate").cert_pem.as_bytes()).expect("PEM");
            let peer = Peer::Certificate(policy::authn::identity_of_certificate(&der));
            authenticate(&server, &peer, &HeaderMap::new(), &Requested::Own, now).map_err(|error| error.code())
        };
        let earlier = Timestamp::from_unix_secs(now.unix_secs() - 60);
        assert_eq!(enters("acme", earlier), Err(401));
        assert_eq!(enters("acme", Timestamp::now()).map(|who| who.user), Ok("admin".to_owned()));
        assert_eq!(enters("system", earlier).map(|who| who.user), Ok("admin".to_owned()));
    }
}
