//! Tokens of service accounts: JWTs signed with ES256, bound to a tenant, a service account and often a pod.
//!
//! Invariant: the tenant is inside the signature twice, as a claim and in the issuer. A token of one tenant is nobody
//! in another, and a relying party outside that trusts one tenant's issuer trusts no other's.

use super::{CREDENTIAL_ID, Refusal};
use api::{Identity, TenantName, Timestamp};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The audience of tokens for this API, and the issuer of those of `system`.
pub const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// The issuer of tokens that a secret holds, of every tenant.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// How far the clocks of two API servers may differ.
const SKEW_SECS: i64 = 60;

/// An object by name and uid, to which a token is bound: it ends with the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    pub name: String,
    pub uid: String,
}

/// What a token shall say.
#[derive(Clone, Debug)]
pub struct TokenSpec<'a> {
    pub tenant: &'a TenantName,
    pub namespace: &'a str,
    pub service_account: Bound,
    /// Empty means [`AUDIENCE`].
    pub audiences: &'a [String],
    pub lifetime: Duration,
    /// After this long its use is reported as stale; for tokens that live longer than they should.
    pub warn_after: Option<Duration>,
    pub pod: Option<Bound>,
    pub secret: Option<Bound>,
    /// The node of the pod.
    pub node: Option<Bound>,
    /// Unique: a new UUID.
    pub id: &'a str,
}

/// What a good token says. The caller must still check that service account, pod and secret exist with these uids.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    pub identity: Identity,
    pub tenant: TenantName,
    pub namespace: String,
    pub service_account: String,
    pub service_account_uid: String,
    pub pod: Option<Bound>,
    pub secret: Option<Bound>,
    pub node: Option<Bound>,
    /// The secret that must hold this very token, if it is one of those that do not expire.
    pub legacy_secret: Option<String>,
    /// Those of the asked audiences that the token is for.
    pub audiences: Vec<String>,
    /// `None` of tokens that a secret holds: they end with the secret.
    pub expires: Option<Timestamp>,
    /// Likewise `None`.
    pub issued: Option<Timestamp>,
    /// From here on its use should be reported.
    pub warn_after: Option<Timestamp>,
}

/// Signs and verifies tokens of service accounts.
pub struct ServiceAccountKey {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    id: String,
    /// The public point, base64.
    x: String,
    y: String,
}

impl ServiceAccountKey {
    /// Reads a private key on the curve P-256, PEM in PKCS #8.
    pub fn from_pem(pem: &str) -> Result<ServiceAccountKey, String> {
        let pair = KeyPair::from_pem(pem).map_err(|e| e.to_string())?;
        let point = pair.public_key_raw();
        // 4 says that both coordinates follow, 32 bytes each.
        let [4, coordinates @ ..] = point else { return Err("not a key on the curve P-256".to_owned()) };
        if coordinates.len() != 64 || pair.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err("not a key on the curve P-256".to_owned());
        }
        let (x, y) = coordinates.split_at(32);
        let (x, y) = (BASE64_URL_SAFE_NO_PAD.encode(x), BASE64_URL_SAFE_NO_PAD.encode(y));
        // Times and audience are checked here, against the time that is passed in.
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        Ok(ServiceAccountKey {
            signing: EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|e| e.to_string())?,
            verifying: DecodingKey::from_ec_components(&x, &y).map_err(|e| e.to_string())?,
            validation,
            id: BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(pair.subject_public_key_info())),
            x,
            y,
        })
    }

    pub fn issue(&self, spec: &TokenSpec, now: Timestamp) -> String {
        let account = &spec.service_account;
        let mut private = json!({
            "tenant": spec.tenant.as_str(), "namespace": spec.namespace, "serviceaccount": bound_to_value(account),
        });
        for (kind, bound) in [("pod", &spec.pod), ("secret", &spec.secret), ("node", &spec.node)] {
            if let Some(bound) = bound {
                private[kind] = bound_to_value(bound);
            }
        }
        if let Some(after) = spec.warn_after {
            private["warnafter"] = json!(now.plus(after).unix_secs());
        }
        let default = [AUDIENCE.to_owned()];
        let audiences = if spec.audiences.is_empty() { &default[..] } else { spec.audiences };
        let seconds = now.unix_secs();
        let claims = json!({
            "iss": issuer(spec.tenant), "sub": subject(spec.namespace, &account.name), "aud": audiences,
            "iat": seconds, "nbf": seconds, "exp": now.plus(spec.lifetime).unix_secs(), "jti": spec.id,
            "kubernetes.io": private,
        });
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.signing).expect("the key was read for ES256")
    }

    /// A token that does not expire, for a secret of type `kubernetes.io/service-account-token` to hold. It is good as long
    /// as the secret holds it.
    pub fn issue_legacy(&self, tenant: &TenantName, namespace: &str, account: &Bound, secret: &str) -> String {
        let claims = json!({
            "iss": LEGACY_ISSUER, "sub": subject(namespace, &account.name),
            "kubernetes.io/serviceaccount/tenant": tenant.as_str(),
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": secret,
            "kubernetes.io/serviceaccount/service-account.name": account.name,
            "kubernetes.io/serviceaccount/service-account.uid": account.uid,
        });
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.signing).expect("the key was read for ES256")
    }

    /// Checks signature, issuer, subject, times and audience. Any of `audiences` will do; none means [`AUDIENCE`].
    pub fn verify(&self, token: &str, audiences: &[&str], now: Timestamp) -> Result<VerifiedToken, Refusal> {
        let not_ours = |why: jsonwebtoken::errors::Error| Refusal::NotOurs(why.to_string());
        let header = jsonwebtoken::decode_header(token).map_err(not_ours)?;
        if header.kid.as_deref() != Some(&self.id) {
            return Err(Refusal::NotOurs("signed with another key".to_owned()));
        }
        let claims: Value = jsonwebtoken::decode(token, &self.verifying, &self.validation).map_err(not_ours)?.claims;
        let audiences = if audiences.is_empty() { &[AUDIENCE] } else { audiences };
        if claims["iss"] == LEGACY_ISSUER {
            return read_legacy_claims(&claims, audiences);
        }
        read_claims(&claims, audiences, now)
    }

    /// The document at `/openid/v1/jwks`.
    pub fn jwks(&self) -> Value {
        let key = json!({
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": self.x, "y": self.y,
        });
        json!({"keys": [key]})
    }

    /// The document at `/.well-known/openid-configuration` of a tenant.
    pub fn openid_configuration(&self, tenant: &TenantName) -> Value {
        let issuer = issuer(tenant);
        json!({
            "issuer": issuer, "jwks_uri": format!("{issuer}/openid/v1/jwks"),
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}

/// Whose tokens they are: every tenant is an issuer of its own.
fn issuer(tenant: &TenantName) -> String {
    if tenant.is_system() { AUDIENCE.to_owned() } else { format!("{AUDIENCE}/tenants/{tenant}") }
}

fn subject(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Judges the claims of a token that a secret holds: they name a tenant, and the token is for this API alone.
fn read_legacy_claims(claims: &Value, wanted: &[&str]) -> Result<VerifiedToken, Refusal> {
    let claim = |name: &str| {
        let value = text(&claims[format!("kubernetes.io/serviceaccount/{name}")]);
        value.ok_or_else(|| invalid(&format!("no {name} in a token of a secret")))
    };
    let tenant = TenantName::new(claim("tenant")?).map_err(|_| invalid("no tenant"))?;
    let (namespace, account) = (claim("namespace")?, claim("service-account.name")?);
    if claims["sub"] != subject(namespace, account) {
        return Err(invalid("the subject is not that of the service account"));
    }
    if !wanted.contains(&AUDIENCE) {
        return Err(wrong_audience(&[AUDIENCE.to_owned()], wanted));
    }
    let uid = claim("service-account.uid")?.to_owned();
    let identity = Identity { uid: uid.clone(), ..Identity::service_account(tenant.clone(), namespace, account) };
    Ok(VerifiedToken {
        identity,
        tenant,
        namespace: namespace.to_owned(),
        service_account: account.to_owned(),
        service_account_uid: uid,
        pod: None,
        secret: None,
        node: None,
        legacy_secret: Some(claim("secret.name")?.to_owned()),
        audiences: vec![AUDIENCE.to_owned()],
        expires: None,
        issued: None,
        warn_after: None,
    })
}

fn wrong_audience(given: &[String], wanted: &[&str]) -> Refusal {
    let listed = |list: Vec<String>| list.join(" ");
    let quoted = |text: &dyn std::fmt::Display| format!("{:?}", text.to_string());
    let given = listed(given.iter().map(|audience| quoted(audience)).collect());
    let wanted = listed(wanted.iter().map(|audience| quoted(audience)).collect());
    Refusal::Invalid(format!("token audiences [{given}] is invalid for the target audiences [{wanted}]"))
}

/// Judges claims whose signature is good.
fn read_claims(claims: &Value, wanted: &[&str], now: Timestamp) -> Result<VerifiedToken, Refusal> {
    let private = &claims["kubernetes.io"];
    let tenant =
        text(&private["tenant"]).and_then(|name| TenantName::new(name).ok()).ok_or_else(|| invalid("no tenant"))?;
    let namespace = text(&private["namespace"]).ok_or_else(|| invalid("no namespace"))?;
    let account = bound(&private["serviceaccount"]).ok_or_else(|| invalid("no service account"))?;
    if claims["iss"] != issuer(&tenant) || claims["sub"] != subject(namespace, &account.name) {
        return Err(invalid("issuer or subject are not those of the service account"));
    }
    let time = |claim: &str| claims[claim].as_i64().ok_or_else(|| invalid("a time is missing"));
    let (expires, seconds) = (time("exp")?, now.unix_secs());
    if expires <= seconds {
        return Err(invalid("service account token has expired"));
    }
    if time("nbf")? > seconds + SKEW_SECS {
        return Err(invalid("service account token is not valid yet"));
    }
    let given: Vec<String> =
        claims["aud"].as_array().into_iter().flatten().filter_map(|a| a.as_str().map(str::to_owned)).collect();
    let audiences: Vec<String> = given.iter().filter(|a| wanted.contains(&a.as_str())).cloned().collect();
    if audiences.is_empty() {
        return Err(wrong_audience(&given, wanted));
    }
    let part = |kind: &str| match &private[kind] {
        Value::Null => Ok(None),
        given => bound(given).map(Some).ok_or_else(|| invalid("bound to an object without name or uid")),
    };
    let (pod, secret, node) = (part("pod")?, part("secret")?, part("node")?);
    let mut identity = Identity::service_account(tenant.clone(), namespace, &account.name);
    identity.uid = account.uid.clone();
    let mut extra = |key: &str, value: &str| identity.extra.insert(key.to_owned(), vec![value.to_owned()]);
    if let Some(id) = text(&claims["jti"]) {
        extra(CREDENTIAL_ID, &format!("JTI={id}"));
    }
    for (kind, bound) in [("pod", &pod), ("node", &node)] {
        if let Some(Bound { name, uid }) = bound {
            extra(&format!("authentication.kubernetes.io/{kind}-name"), name);
            extra(&format!("authentication.kubernetes.io/{kind}-uid"), uid);
        }
    }
    Ok(VerifiedToken {
        identity,
        tenant,
        namespace: namespace.to_owned(),
        service_account: account.name,
        service_account_uid: account.uid,
        pod,
        secret,
        node,
        legacy_secret: None,
        audiences,
        expires: Some(Timestamp::from_unix_secs(expires)),
        issued: Some(Timestamp::from_unix_secs(time("iat")?)),
        warn_after: private["warnafter"].as_i64().map(Timestamp::from_unix_secs),
    })
}

fn invalid(why: &str) -> Refusal {
    Refusal::Invalid(why.to_owned())
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn bound(value: &Value) -> Option<Bound> {
    let part = |field: &str| text(&value[field]).map(str::to_owned);
    Some(Bound { name: part("name")?, uid: part("uid")? })
}

fn bound_to_value(bound: &Bound) -> Value {
    json!({"name": bound.name, "uid": bound.uid})
}

#[cfg(test)]
mod tests;
