//! Tokens of OpenID Connect issuers, which people bring from elsewhere: who they name, and in which tenant.
//!
//! The keys of an issuer are given, as a JSON Web Key Set: nothing is fetched on behalf of a token. The operators name
//! issuers in a file, and in a tenant those that speak for it.
//! Invariant: an issuer speaks for one tenant, or for the tenant that a claim names; never for `system` by a claim, and
//! never for users or groups whose names start with `system:`.

use super::Refusal;
use api::{Identity, TenantName, Timestamp};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use std::collections::HashMap;

/// Signatures that an issuer may use: with keys that it alone holds.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Longer tokens are nobody's.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// How far the clock of an issuer may be ahead, in seconds.
const SKEW_SECS: i64 = 60;

const RESERVED: &str = "system:";

/// The issuers that a server trusts, by their URLs.
#[derive(Default)]
pub struct Issuers(HashMap<String, Issuer>);

struct Issuer {
    audiences: Vec<String>,
    keys: JwkSet,
    username: Mapping,
    groups: Option<Mapping>,
    uid: Option<String>,
    required: Vec<(String, String)>,
    tenant: Tenant,
}

struct Mapping {
    claim: String,
    prefix: String,
}

enum Tenant {
    Fixed(TenantName),
    Claim(String),
}

impl Issuers {
    /// Reads an `AuthenticationConfiguration` of `apiserver.config.k8s.io`, with Ursa's additions to each issuer: its keys
    /// (`issuer.jwksFile`, read with `read`) and its `tenant`, by `name` or by `claim`. The error names what is wrong.
    pub fn from_value(config: &Value, read: impl Fn(&str) -> Result<Vec<u8>, String>) -> Result<Issuers, String> {
        if config["kind"] != "AuthenticationConfiguration" {
            return Err("the file holds no object of kind AuthenticationConfiguration".to_owned());
        }
        let mut issuers = HashMap::new();
        for (i, jwt) in config["jwt"].as_array().into_iter().flatten().enumerate() {
            let at = |why: String| format!("jwt[{i}].{why}");
            let issuer = Issuer::read(jwt, &read).map_err(at)?;
            let url = text(&jwt["issuer"]["url"]).filter(|url| url.starts_with("https://"));
            let url = url.ok_or_else(|| at("issuer.url: it must start with https://".to_owned()))?;
            if issuers.insert(url.to_owned(), issuer).is_some() {
                return Err(at(format!("issuer.url: {url:?} is there twice")));
            }
        }
        Ok(Issuers(issuers))
    }

    /// Those of `Tenant.spec.issuers`, which speak for that tenant alone. One that cannot be read speaks for nobody.
    pub fn of_tenant(list: &Value, tenant: &TenantName) -> Issuers {
        let mut issuers = HashMap::new();
        for given in list.as_array().into_iter().flatten() {
            if let (Some(url), Ok(issuer)) = (text(&given["url"]), Issuer::of_tenant(given, tenant)) {
                issuers.insert(url.to_owned(), issuer);
            }
        }
        Issuers(issuers)
    }

    /// Whom a token names, if it is good, and when it says that it was issued.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<(Identity, Option<Timestamp>), Refusal> {
        let not_ours = |why: &str| Refusal::NotOurs(why.to_owned());
        if token.len() > TOKEN_BYTES_MAX {
            return Err(not_ours("too long"));
        }
        // Not to be trusted before the signature is checked: it only says whose keys to check it with.
        let claims = token.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
        let claims: Option<Value> = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let claims = claims.ok_or_else(|| not_ours("no token of this kind"))?;
        let issuer = text(&claims["iss"]).and_then(|url| self.0.get(url));
        let issuer = issuer.ok_or_else(|| not_ours("of another issuer"))?;
        let bad = |why: &dyn std::fmt::Display| Refusal::Invalid(format!("oidc: verify token: {why}"));
        let header = jsonwebtoken::decode_header(token).map_err(|e| bad(&e))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(bad(&format_args!("algorithm {:?} is not accepted", header.alg)));
        }
        let key = match (&header.kid, issuer.keys.keys.as_slice()) {
            (Some(id), _) => issuer.keys.find(id),
            (None, [one]) => Some(one),
            (None, _) => None,
        };
        let key = key.ok_or_else(|| bad(&"signed with an unknown key"))?;
        let key = DecodingKey::from_jwk(key).map_err(|e| bad(&e))?;
        let mut validation = Validation::new(header.alg);
        // Times and audience are checked here, against the time that is passed in.
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let claims: Value = jsonwebtoken::decode(token, &key, &validation).map_err(|e| bad(&e))?.claims;
        let issued = claims["iat"].as_i64().map(Timestamp::from_unix_secs);
        Ok((issuer.identity(&claims, now).map_err(|why| bad(&why))?, issued))
    }
}

impl Issuer {
    fn read(jwt: &Value, read: &impl Fn(&str) -> Result<Vec<u8>, String>) -> Result<Issuer, String> {
        let (issuer, mappings) = (&jwt["issuer"], &jwt["claimMappings"]);
        let audiences = texts(&issuer["audiences"]);
        if audiences.is_empty() {
            return Err("issuer.audiences: at least one is required".to_owned());
        }
        let file = text(&issuer["jwksFile"]).ok_or("issuer.jwksFile: the file of the issuer's keys is required")?;
        let keys = read(file).map_err(|why| format!("issuer.jwksFile: {file}: {why}"))?;
        let keys = serde_json::from_slice(&keys).map_err(|why| format!("issuer.jwksFile: {file}: {why}"))?;
        let tenant = &jwt["tenant"];
        let tenant = match (text(&tenant["name"]), text(&tenant["claim"])) {
            (Some(name), None) => {
                Tenant::Fixed(TenantName::new(name).map_err(|e| format!("tenant.name: {}", e.message()))?)
            }
            (None, Some(claim)) => Tenant::Claim(claim.to_owned()),
            _ => return Err("tenant: exactly one of name and claim is required".to_owned()),
        };
        let rules = jwt["claimValidationRules"].as_array().into_iter().flatten();
        let required = rules.map(|rule| match (text(&rule["claim"]), text(&rule["requiredValue"])) {
            (Some(claim), Some(value)) => Ok((claim.to_owned(), value.to_owned())),
            _ => Err("claimValidationRules: claim and requiredValue are required".to_owned()),
        });
        Ok(Issuer {
            audiences,
            keys,
            username: Mapping::read(&mappings["username"]).ok_or("claimMappings.username.claim: it is required")?,
            groups: Mapping::read(&mappings["groups"]),
            uid: text(&mappings["uid"]["claim"]).map(str::to_owned),
            required: required.collect::<Result<_, _>>()?,
            tenant,
        })
    }

    fn of_tenant(issuer: &Value, tenant: &TenantName) -> Result<Issuer, String> {
        let mapping = |name: &str| {
            let prefix = issuer[format!("{name}Prefix")].as_str().unwrap_or_default().to_owned();
            text(&issuer[format!("{name}Claim")]).map(|claim| Mapping { claim: claim.to_owned(), prefix })
        };
        let required = issuer["requiredClaims"].as_object().into_iter().flatten();
        let prefix = issuer["usernamePrefix"].as_str().unwrap_or_default().to_owned();
        Ok(Issuer {
            audiences: texts(&issuer["audiences"]),
            keys: serde_json::from_str(text(&issuer["jwks"]).unwrap_or_default()).map_err(|why| why.to_string())?,
            username: mapping("username").unwrap_or(Mapping { claim: "sub".to_owned(), prefix }),
            groups: mapping("groups"),
            uid: None,
            required: required.map(|(claim, v)| (claim.clone(), v.as_str().unwrap_or_default().to_owned())).collect(),
            tenant: Tenant::Fixed(tenant.clone()),
        })
    }

    /// Judges claims whose signature is good.
    fn identity(&self, claims: &Value, now: Timestamp) -> Result<Identity, String> {
        let seconds = now.unix_secs();
        let expires = claims["exp"].as_i64().ok_or("no time of expiry")?;
        if expires <= seconds {
            return Err("token is expired".to_owned());
        }
        if claims["nbf"].as_i64().is_some_and(|from| from > seconds + SKEW_SECS) {
            return Err("token is not valid yet".to_owned());
        }
        let given = match &claims["aud"] {
            Value::String(one) => vec![one.clone()],
            list => texts(list),
        };
        if !given.iter().any(|audience| self.audiences.contains(audience)) {
            return Err(format!("expected audience in {:?} got {given:?}", self.audiences));
        }
        for (claim, value) in &self.required {
            if text(&claims[claim]) != Some(value) {
                return Err(format!("required claim {claim} does not have its value"));
            }
        }
        let name = &self.username.claim;
        if name == "email" && claims["email_verified"] == false {
            return Err("email not verified".to_owned());
        }
        let user = text(&claims[name]).ok_or_else(|| format!("claim {name:?} names nobody"))?;
        let user = format!("{}{user}", self.username.prefix);
        if user.starts_with(RESERVED) {
            return Err(format!("user names that start with {RESERVED} are not an issuer's to give"));
        }
        let tenant = match &self.tenant {
            Tenant::Fixed(tenant) => tenant.clone(),
            Tenant::Claim(claim) => {
                let name = text(&claims[claim]).ok_or_else(|| format!("claim {claim:?} names no tenant"))?;
                let tenant = TenantName::new(name).map_err(|e| e.message().to_owned())?;
                if tenant.is_system() {
                    return Err("a claim makes nobody an operator".to_owned());
                }
                tenant
            }
        };
        let groups: Vec<String> = self.groups.iter().flat_map(|mapping| mapping.of(claims)).collect();
        let groups: Vec<&str> =
            groups.iter().map(String::as_str).filter(|group| !group.starts_with(RESERVED)).collect();
        let uid = self.uid.as_ref().and_then(|claim| text(&claims[claim])).unwrap_or_default().to_owned();
        Ok(Identity { uid, ..Identity::new(tenant, &user, &groups) })
    }
}

impl Mapping {
    fn read(mapping: &Value) -> Option<Mapping> {
        let prefix = mapping["prefix"].as_str().unwrap_or_default().to_owned();
        Some(Mapping { claim: text(&mapping["claim"])?.to_owned(), prefix })
    }

    /// Groups are a list of texts, or one.
    fn of(&self, claims: &Value) -> Vec<String> {
        let given = match &claims[&self.claim] {
            Value::String(one) => vec![one.clone()],
            list => texts(list),
        };
        given.into_iter().filter(|group| !group.is_empty()).map(|group| format!("{}{group}", self.prefix)).collect()
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::ServiceAccountKey;
    use jsonwebtoken::{EncodingKey, Header};
    use rcgen::KeyPair;
    use serde_json::json;

    const URL: &str = "https://login.example.com";

    fn now() -> Timestamp {
        Timestamp::from_unix_secs(1_800_000_000)
    }

    struct Login {
        pem: String,
        jwks: Value,
    }

    impl Login {
        fn new() -> Login {
            let pem = KeyPair::generate().expect("a key").serialize_pem();
            let jwks = ServiceAccountKey::from_pem(&pem).expect("a key").jwks();
            Login { pem, jwks }
        }

        fn issuers(&self, tenant: &Value) -> Issuers {
            let config = json!({"kind": "AuthenticationConfiguration", "jwt": [{
                "issuer": {"url": URL, "audiences": ["ursa"], "jwksFile": "keys"},
                "claimMappings": {"username": {"claim": "sub", "prefix": "login:"}, "groups": {"claim": "roles", "prefix": ""}},
                "claimValidationRules": [{"claim": "hd", "requiredValue": "example.com"}],
                "tenant": tenant,
            }]});
            Issuers::from_value(&config, |_| Ok(self.jwks.to_string().into_bytes())).expect("a configuration")
        }

        fn sign(&self, claims: &Value) -> String {
            let kid = self.jwks["keys"][0]["kid"].as_str().map(str::to_owned);
            let header = Header { kid, ..Header::new(Algorithm::ES256) };
            let key = EncodingKey::from_ec_pem(self.pem.as_bytes()).expect("a key");
            jsonwebtoken::encode(&header, claims, &key).expect("a token")
        }
    }

    fn claims() -> Value {
        let seconds = now().unix_secs();
        json!({"iss": URL, "sub": "ann", "aud": "ursa", "exp": seconds + 60, "hd": "example.com", "org": "acme",
            "roles": ["devs", "system:masters"]})
    }

    #[test]
    fn a_good_token_names_a_user_of_a_tenant() {
        let login = Login::new();
        for tenant in [json!({"name": "acme"}), json!({"claim": "org"})] {
            let (who, _) = login.issuers(&tenant).verify(&login.sign(&claims()), now()).expect("an identity");
            assert_eq!((who.user.as_str(), who.tenant.as_str()), ("login:ann", "acme"));
            assert_eq!(who.groups, ["devs", "system:authenticated"]);
        }
    }

    #[test]
    fn a_tenants_own_issuer_speaks_for_that_tenant_alone() {
        let login = Login::new();
        let issuer = json!({"url": URL, "audiences": ["ursa"], "jwks": login.jwks.to_string(), "usernamePrefix": "login:",
            "groupsClaim": "roles", "requiredClaims": {"hd": "example.com"}});
        let umbrella = TenantName::new("umbrella").expect("a name");
        let issuers = Issuers::of_tenant(&json!([{"url": "https://x", "jwks": "{"}, issuer]), &umbrella);
        let (who, _) = issuers.verify(&login.sign(&claims()), now()).expect("an identity");
        assert_eq!((who.user.as_str(), who.tenant.as_str()), ("login:ann", "umbrella"));
        assert_eq!(who.groups, ["devs", "system:authenticated"]);
        let mut elsewhere = claims();
        elsewhere["hd"] = json!("evil.com");
        assert!(issuers.verify(&login.sign(&elsewhere), now()).is_err());
        assert!(issuers.verify(&Login::new().sign(&claims()), now()).is_err());
    }

    #[test]
    fn every_other_token_is_nobody() {
        let (login, other) = (Login::new(), Login::new());
        let issuers = login.issuers(&json!({"claim": "org"}));
        let changed = |field: &str, value: Value| {
            let mut claims = claims();
            claims[field] = value;
            login.sign(&claims)
        };
        let seconds = now().unix_secs();
        for (field, value) in [
            ("iss", json!("https://evil.example.com")),
            ("aud", json!(["other"])),
            ("aud", Value::Null),
            ("exp", json!(seconds)),
            ("exp", Value::Null),
            ("nbf", json!(seconds + 3600)),
            ("hd", json!("evil.com")),
            ("sub", json!("")),
            ("sub", Value::Null),
            ("org", json!("system")),
            ("org", json!("all")),
            ("org", json!("A/B")),
            ("org", Value::Null),
        ] {
            assert!(issuers.verify(&changed(field, value.clone()), now()).is_err(), "{field} {value}");
        }
        assert!(issuers.verify(&other.sign(&claims()), now()).is_err());
        let good = login.sign(&claims());
        let parts: Vec<&str> = good.split('.').collect();
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        for header in [json!({"alg": "none"}), json!({"alg": "HS256"}), json!({"alg": "RS256"}), json!({})] {
            let forged = format!("{}.{}.{}", part(header.clone()), parts[1], parts[2]);
            assert!(issuers.verify(&forged, now()).is_err(), "{header}");
            assert!(issuers.verify(&format!("{}.{}.", part(header), parts[1]), now()).is_err());
        }
        for garbage in ["", "a", "a.b", "a.b.c", "..", &"x".repeat(100_000)] {
            assert!(issuers.verify(garbage, now()).is_err());
        }
    }

    #[test]
    fn a_configuration_says_whose_tenant_it_is() {
        let check = |jwt: Value, why: &str| {
            let config = json!({"kind": "AuthenticationConfiguration", "jwt": [jwt]});
            let error = Issuers::from_value(&config, |_| Ok(b"{\"keys\": []}".to_vec())).err().expect("it is refused");
            assert!(error.contains(why), "{error}");
        };
        let issuer = json!({"url": URL, "audiences": ["a"], "jwksFile": "f"});
        let mappings = json!({"username": {"claim": "sub"}});
        check(json!({"issuer": issuer, "claimMappings": mappings}), "tenant");
        check(json!({"issuer": issuer, "claimMappings": mappings, "tenant": {"name": "a", "claim": "b"}}), "tenant");
        check(json!({"issuer": issuer, "tenant": {"name": "acme"}}), "username");
        check(json!({"issuer": {"url": URL}, "claimMappings": mappings, "tenant": {"name": "acme"}}), "audiences");
        let plain = json!({"url": "http://x", "audiences": ["a"], "jwksFile": "f"});
        check(json!({"issuer": plain, "claimMappings": mappings, "tenant": {"name": "acme"}}), "https://");
    }
}
