//! Tokens of service accounts: what is accepted, and every way to be refused.

use super::*;

fn key() -> (ServiceAccountKey, String) {
    let pem = KeyPair::generate().expect("a key").serialize_pem();
    (ServiceAccountKey::from_pem(&pem).expect("a key"), pem)
}

fn now() -> Timestamp {
    Timestamp::from_unix_secs(1_800_000_000)
}

fn tenant(name: &str) -> TenantName {
    TenantName::new(name).expect("a tenant")
}

fn object(name: &str) -> Bound {
    Bound { name: name.to_owned(), uid: format!("uid-of-{name}") }
}

fn spec(tenant: &TenantName) -> TokenSpec<'_> {
    TokenSpec {
        tenant,
        namespace: "default",
        service_account: object("bot"),
        audiences: &[],
        lifetime: Duration::from_secs(3600),
        warn_after: None,
        pod: None,
        secret: None,
        node: None,
        id: "id-1",
    }
}

/// The claims of a token, unverified.
fn claims_of(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

/// A token of `key`, signed once more with its key after its claims were changed.
fn with_claims(key: &ServiceAccountKey, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims_of(&key.issue(&spec(&tenant("acme")), now()));
    change(&mut claims);
    let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, &claims, &key.signing).expect("a token")
}

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

#[test]
fn a_token_says_who_and_where() {
    let (key, _) = key();
    let acme = tenant("acme");
    let spec = TokenSpec {
        pod: Some(object("web-1")),
        node: Some(object("n1")),
        warn_after: Some(Duration::from_secs(60)),
        ..spec(&acme)
    };
    let verified = key.verify(&key.issue(&spec, now()), &[], now()).expect("a good token");
    assert_eq!((verified.tenant, verified.namespace.as_str()), (acme.clone(), "default"));
    assert_eq!((verified.service_account.as_str(), verified.service_account_uid.as_str()), ("bot", "uid-of-bot"));
    assert_eq!((verified.pod, verified.secret, verified.node), (spec.pod, None, spec.node));
    assert_eq!(verified.audiences, [AUDIENCE]);
    assert_eq!(verified.expires, Some(now().plus(Duration::from_secs(3600))));
    assert_eq!(verified.warn_after, Some(now().plus(Duration::from_secs(60))));
    let identity = verified.identity;
    assert_eq!((identity.tenant, identity.user.as_str()), (acme, "system:serviceaccount:default:bot"));
    assert_eq!(identity.uid, "uid-of-bot");
    assert_eq!(identity.groups, ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    let extra: Vec<(&str, &str)> = identity.extra.iter().map(|(k, v)| (k.as_str(), v[0].as_str())).collect();
    assert_eq!(
        extra,
        [
            ("authentication.kubernetes.io/credential-id", "JTI=id-1"),
            ("authentication.kubernetes.io/node-name", "n1"),
            ("authentication.kubernetes.io/node-uid", "uid-of-n1"),
            ("authentication.kubernetes.io/pod-name", "web-1"),
            ("authentication.kubernetes.io/pod-uid", "uid-of-web-1"),
        ]
    );
}

#[test]
fn a_token_holds_the_claims_that_clients_know() {
    let (key, _) = key();
    let acme = tenant("acme");
    let claims = claims_of(&key.issue(&TokenSpec { secret: Some(object("s")), ..spec(&acme) }, now()));
    assert_eq!(
        claims,
        json!({
            "iss": "https://kubernetes.default.svc.cluster.local/tenants/acme",
            "sub": "system:serviceaccount:default:bot", "aud": ["https://kubernetes.default.svc.cluster.local"],
            "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_003_600, "jti": "id-1",
            "kubernetes.io": {
                "tenant": "acme", "namespace": "default", "serviceaccount": {"name": "bot", "uid": "uid-of-bot"},
                "secret": {"name": "s", "uid": "uid-of-s"},
            },
        })
    );
}

#[test]
fn same_named_accounts_of_two_tenants_are_two() {
    let (key, _) = key();
    let identity = |name: &str| key.verify(&key.issue(&spec(&tenant(name)), now()), &[], now()).expect("good").identity;
    let (acme, umbrella) = (identity("acme"), identity("umbrella"));
    assert_eq!(acme.user, umbrella.user);
    assert_ne!(acme.tenant, umbrella.tenant);
    let issuers = ["acme", "umbrella", "system"].map(|name| key.openid_configuration(&tenant(name))["issuer"].clone());
    assert!(issuers[0] != issuers[1] && issuers[1] != issuers[2], "{issuers:?}");
}

#[test]
fn a_token_is_good_in_its_time_only() {
    let (key, _) = key();
    let token = key.issue(&spec(&tenant("acme")), now());
    let good = |seconds: i64| key.verify(&token, &[], Timestamp::from_unix_secs(now().unix_secs() + seconds)).is_ok();
    assert!(good(0) && good(3599) && good(-SKEW_SECS));
    assert!(!good(3600) && !good(100_000) && !good(-SKEW_SECS - 1));
}

#[test]
fn a_token_is_good_for_its_audiences_only() {
    let (key, _) = key();
    let acme = tenant("acme");
    let audiences = ["x".to_owned(), "y".to_owned()];
    let token = key.issue(&TokenSpec { audiences: &audiences, ..spec(&acme) }, now());
    assert_eq!(key.verify(&token, &["y", "z"], now()).expect("for y").audiences, ["y"]);
    for wanted in [&[][..], &["z"], &[""]] {
        assert!(matches!(key.verify(&token, wanted, now()), Err(Refusal::Invalid(_))), "{wanted:?}");
    }
    let refusal = key.verify(&key.issue(&TokenSpec { audiences: &audiences[..1], ..spec(&acme) }, now()), &[], now());
    assert_eq!(
        refusal.expect_err("for x alone").to_string(),
        r#"token audiences ["x"] is invalid for the target audiences ["https://kubernetes.default.svc.cluster.local"]"#
    );
    let own = key.issue(&spec(&acme), now());
    assert!(key.verify(&own, &["vault"], now()).is_err());
}

#[test]
fn a_signed_token_whose_claims_do_not_fit_together_is_refused() {
    let (key, _) = key();
    assert!(key.verify(&with_claims(&key, |_| {}), &[], now()).is_ok());
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 14] = [
        ("another tenant", |c| c["kubernetes.io"]["tenant"] = json!("umbrella")),
        ("no tenant", |c| c["kubernetes.io"]["tenant"] = json!(null)),
        ("an empty tenant", |c| c["kubernetes.io"]["tenant"] = json!("")),
        ("all tenants", |c| c["kubernetes.io"]["tenant"] = json!("all")),
        ("another issuer", |c| c["iss"] = json!(AUDIENCE)),
        ("no issuer", |c| c["iss"] = json!(null)),
        ("another subject", |c| c["sub"] = json!("system:serviceaccount:kube-system:bot")),
        ("another namespace", |c| c["kubernetes.io"]["namespace"] = json!("kube-system")),
        ("no uid", |c| c["kubernetes.io"]["serviceaccount"]["uid"] = json!("")),
        ("a pod without uid", |c| c["kubernetes.io"]["pod"] = json!({"name": "p"})),
        ("no private claims", |c| c["kubernetes.io"] = json!("x")),
        ("no end", |c| c["exp"] = json!(null)),
        ("a text for an end", |c| c["exp"] = json!("2000000000")),
        ("no audience", |c| c["aud"] = json!([])),
    ];
    for (name, change) in changes {
        assert!(key.verify(&with_claims(&key, change), &[], now()).is_err(), "{name}");
    }
}

#[test]
fn a_token_that_this_key_did_not_sign_is_not_ours() {
    let (key, _) = key();
    let token = key.issue(&spec(&tenant("acme")), now());
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let mut other_claims = claims_of(&token);
    other_claims["kubernetes.io"]["tenant"] = json!("system");
    other_claims["iss"] = json!(AUDIENCE);
    let none = part(&json!({"alg": "none", "kid": key.id}));
    let symmetric = {
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::HS256) };
        let public = BASE64_URL_SAFE_NO_PAD.decode(&key.x).expect("base64");
        jsonwebtoken::encode(&header, &claims_of(&token), &EncodingKey::from_secret(&public)).expect("a token")
    };
    let (another, _) = self::key();
    let with_our_id = {
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims_of(&token), &another.signing).expect("a token")
    };
    let under_another_id = {
        let header = Header { kid: Some("another".to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims_of(&token), &key.signing).expect("a token")
    };
    let path_as_id = part(&json!({"alg": "ES256", "kid": "../../sa.key"}));
    for (name, bad) in [
        ("another tenant", format!("{header}.{}.{signature}", part(&other_claims))),
        ("alg none", format!("{none}.{claims}.")),
        ("alg none with a signature", format!("{none}.{claims}.{signature}")),
        ("HS256 with the public key", symmetric),
        ("another key", another.issue(&spec(&tenant("acme")), now())),
        ("another key under our id", with_our_id),
        ("our key under another id", under_another_id),
        ("a path for a key", format!("{path_as_id}.{claims}.{signature}")),
        ("a longer signature", format!("{token}x")),
        ("no signature", format!("{header}.{claims}.")),
        ("two parts", format!("{header}.{claims}")),
        ("four parts", format!("{token}.{signature}")),
        ("garbage", "aaa.bbb.ccc".to_owned()),
        ("nothing", String::new()),
    ] {
        assert!(matches!(key.verify(&bad, &[], now()), Err(Refusal::NotOurs(_))), "{name}");
    }
}

#[test]
fn the_published_key_verifies_tokens() {
    let (key, pem) = key();
    let jwks: jsonwebtoken::jwk::JwkSet = serde_json::from_value(key.jwks()).expect("a key set");
    let token = key.issue(&spec(&TenantName::system()), now());
    let id = jsonwebtoken::decode_header(&token).expect("a header").kid.expect("an id");
    let public = DecodingKey::from_jwk(jwks.find(&id).expect("the key")).expect("a key");
    let claims: Value = jsonwebtoken::decode(&token, &public, &key.validation).expect("a good token").claims;
    let document = key.openid_configuration(&TenantName::system());
    assert_eq!(claims["iss"], document["issuer"]);
    assert_eq!(ServiceAccountKey::from_pem(&pem).expect("a key").id, id, "the id is that of the key");
}

#[test]
fn only_keys_for_es256_are_taken() {
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key").serialize_pem();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key").serialize_pem();
    for bad in [p384.as_str(), &ed25519, "", "garbage"] {
        assert!(ServiceAccountKey::from_pem(bad).is_err());
    }
}
