//! The key folder and the certificates that come from it.

use super::subject::{Attribute, Subject, with_subject};
use super::*;
use crate::authn::identity_of_certificate;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_secs(1_800_000_000)
}

fn tenant(name: &str) -> TenantName {
    TenantName::new(name).expect("a tenant")
}

fn open(dir: &TempDir, names: &[&str], now: Timestamp) -> Result<Pki, PkiError> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    Pki::open(dir.path(), &names, now)
}

fn new_pki() -> (TempDir, Pki) {
    let dir = TempDir::new().expect("a folder");
    let pki = open(&dir, &["localhost", "127.0.0.1"], now()).expect("a new authority");
    (dir, pki)
}

/// A client's certificate with any subject: attributes are `CN`, `O` and `OU`.
pub(crate) fn certificate_of(subject: &[(&str, &str)]) -> Vec<u8> {
    let (_dir, pki) = new_pki();
    let attribute = |name: &str| match name {
        "CN" => Attribute::CommonName,
        "O" => Attribute::Organization,
        other => {
            assert_eq!(other, "OU");
            Attribute::OrganizationalUnit
        }
    };
    let subject: Subject = subject.iter().map(|(name, value)| (attribute(name), (*value).to_owned())).collect();
    let key = KeyPair::generate().expect("a key");
    let unnamed =
        params("client", HOUR, now()).expect("a time").signed_by(&key, &pki.authority.issuer).expect("a certificate");
    with_subject(unnamed.der(), &subject, pki.authority.issuer.key()).expect("a certificate")
}

fn roots(pki: &Pki) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca_pem().as_bytes()).expect("PEM")).expect("an authority");
    Arc::new(roots)
}

fn at(time: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.unix_secs().cast_unsigned()))
}

fn client_is_trusted(pki: &Pki, der: &CertificateDer, time: Timestamp) -> bool {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(pki), Arc::new(default_provider()));
    verifier.build().expect("a verifier").verify_client_cert(der, &[], at(time)).is_ok()
}

fn server_is_trusted(pki: &Pki, name: &'static str, time: Timestamp) -> bool {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(pki), Arc::new(default_provider()));
    let (chain, _) = pki.server_chain_and_key();
    let name = ServerName::try_from(name).expect("a name");
    verifier.build().expect("a verifier").verify_server_cert(&chain[0], &[], &name, &[], at(time)).is_ok()
}

#[test]
fn a_client_certificate_is_trusted_and_holds_the_identity() {
    let (_dir, pki) = new_pki();
    for (user, groups) in [
        ("bob", &[][..]),
        ("bob", &["system:masters"]),
        ("Zoë 💡", &["a", "b", "a group of some length, so that lengths need more than one byte of their own", "c"]),
        ("system:node:n1", &["system:nodes"]),
    ] {
        let credential = pki.client_certificate(&tenant("acme"), user, groups, HOUR, now()).expect("a certificate");
        let der = CertificateDer::from_pem_slice(credential.cert_pem.as_bytes()).expect("PEM");
        assert!(client_is_trusted(&pki, &der, now()), "{user}");
        assert!(!client_is_trusted(&pki, &der, now().plus(HOUR * 2)), "{user}: it ends");
        let identity = identity_of_certificate(&der).expect("an identity").identity;
        let mut expected = groups.to_vec();
        expected.push("system:authenticated");
        assert_eq!((identity.tenant, identity.user.as_str()), (tenant("acme"), user));
        assert_eq!(identity.groups, expected);
        KeyPair::from_pem(&credential.key_pem).expect("a key");
    }
}

#[test]
fn names_that_cannot_stand_in_a_certificate_are_refused() {
    let (_dir, pki) = new_pki();
    for (user, groups) in [("", &[][..]), ("a\0b", &[]), ("bob", &[""]), ("bob", &["a\n"])] {
        assert!(pki.client_certificate(&tenant("acme"), user, groups, HOUR, now()).is_err(), "{user:?} {groups:?}");
    }
}

#[test]
fn clients_and_servers_cannot_stand_in_for_each_other() {
    let (_dir, pki) = new_pki();
    let (chain, _) = pki.server_chain_and_key();
    assert!(!client_is_trusted(&pki, &chain[0], now()));
    let own = pki.client_certificate(&tenant("acme"), "bob", &[], HOUR, now()).expect("a certificate");
    let own = CertificateDer::from_pem_slice(own.cert_pem.as_bytes()).expect("PEM");
    let (_, parsed) = parse_x509_certificate(&own).expect("a certificate");
    let usage = parsed.extended_key_usage().expect("readable").expect("a usage").value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any && !parsed.is_ca());
    let (_other_dir, other) = new_pki();
    let credential = other.client_certificate(&tenant("acme"), "bob", &[], HOUR, now()).expect("a certificate");
    let der = CertificateDer::from_pem_slice(credential.cert_pem.as_bytes()).expect("PEM");
    assert!(!client_is_trusted(&pki, &der, now()), "another authority's");
}

#[test]
fn a_restart_changes_nothing() {
    let (dir, first) = new_pki();
    let again = open(&dir, &["127.0.0.1", "localhost"], now().plus(HOUR)).expect("the same authority");
    assert_eq!(first.ca_pem(), again.ca_pem());
    assert_eq!(first.server_chain_and_key().0, again.server_chain_and_key().0);
    assert_eq!(first.service_account_key().jwks(), again.service_account_key().jwks());
}

#[test]
fn the_servers_certificate_follows_names_and_time() {
    let (dir, first) = new_pki();
    assert!(server_is_trusted(&first, "localhost", now()) && server_is_trusted(&first, "127.0.0.1", now()));
    assert!(!server_is_trusted(&first, "example.org", now()));
    let renamed = open(&dir, &["example.org", "::1"], now()).expect("the same authority");
    assert!(server_is_trusted(&renamed, "example.org", now()) && server_is_trusted(&renamed, "::1", now()));
    assert!(!server_is_trusted(&renamed, "localhost", now()));
    let late = now().plus(YEAR - HOUR * 24);
    let renewed = open(&dir, &["example.org", "::1"], late).expect("the same authority");
    assert!(server_is_trusted(&renewed, "example.org", late.plus(HOUR * 48)));
    assert_eq!(renewed.ca_pem(), first.ca_pem());
}

#[test]
fn a_servers_certificate_of_another_authority_or_key_is_replaced() {
    let (dir, _) = new_pki();
    let (other_dir, _) = new_pki();
    for broken in ["server.crt", "server.key"] {
        fs::copy(other_dir.path().join("pki").join(broken), dir.path().join("pki").join(broken)).expect("a copy");
        let pki = open(&dir, &["localhost", "127.0.0.1"], now()).expect("the same authority");
        assert!(server_is_trusted(&pki, "localhost", now()), "{broken}");
        let (chain, key) = pki.server_chain_and_key();
        default_provider().key_provider.load_private_key(key.clone_key()).expect("a key");
        let (_, cert) = parse_x509_certificate(&chain[0]).expect("a certificate");
        let pair = KeyPair::try_from(&key).expect("a key");
        assert_eq!(cert.public_key().raw, pair.subject_public_key_info(), "{broken}");
    }
    for name in ["ca.crt", "ca.key"] {
        fs::copy(other_dir.path().join("pki").join(name), dir.path().join("pki").join(name)).expect("a copy");
    }
    let pki = open(&dir, &["localhost", "127.0.0.1"], now()).expect("the other authority");
    assert!(server_is_trusted(&pki, "localhost", now()), "for the same key, of another authority");
    fs::write(dir.path().join("pki/server.crt"), "garbage").expect("a file");
    let pki = open(&dir, &["localhost", "127.0.0.1"], now()).expect("the same authority");
    assert!(server_is_trusted(&pki, "localhost", now()));
}

#[test]
fn an_authority_is_never_replaced() {
    let (other_dir, _) = new_pki();
    let other = |name: &str| fs::read_to_string(other_dir.path().join("pki").join(name)).expect("a file");
    type Break<'a> = (&'a str, Option<String>);
    let breaks: [Break; 6] = [
        ("ca.key", None),
        ("ca.key", Some("garbage".to_owned())),
        ("ca.key", Some(other("ca.key"))),
        ("ca.crt", Some("garbage".to_owned())),
        ("ca.crt", Some(other("ca.crt"))),
        ("sa.key", Some("garbage".to_owned())),
    ];
    for (name, text) in breaks {
        let (dir, _) = new_pki();
        let path = dir.path().join("pki").join(name);
        match &text {
            None => fs::remove_file(&path).expect("it was there"),
            Some(text) => fs::write(&path, text).expect("a file"),
        }
        let error = open(&dir, &["localhost"], now()).err().expect(name).to_string();
        assert!(error.contains("pki/"), "{name}: {error}");
        assert_eq!(fs::read_to_string(&path).ok(), text, "{name} is left for somebody to repair");
    }
    let (dir, _) = new_pki();
    assert!(open(&dir, &["localhost"], now().plus(CA_LIFETIME)).is_err(), "it is expired");
}

#[test]
fn an_authority_that_was_made_half_before_a_crash_is_completed() {
    let (dir, first) = new_pki();
    fs::remove_file(dir.path().join("pki/ca.crt")).expect("it was there");
    fs::write(dir.path().join("pki/ca.tmp"), "half a certif").expect("a file");
    let pki = open(&dir, &["localhost"], now()).expect("an authority");
    assert_eq!(pki.authority.issuer.key().public_key_raw(), first.authority.issuer.key().public_key_raw());
    assert!(server_is_trusted(&pki, "localhost", now()));
}

#[test]
fn every_file_is_for_its_owner_only() {
    let (dir, _) = new_pki();
    let folder = dir.path().join("pki");
    fs::set_permissions(folder.join("sa.key"), fs::Permissions::from_mode(0o644)).expect("a mode");
    open(&dir, &["localhost"], now()).expect("the same authority");
    let mut files: Vec<String> = Vec::new();
    for entry in fs::read_dir(&folder).expect("a folder") {
        let entry = entry.expect("an entry");
        files.push(entry.file_name().into_string().expect("a name"));
        assert_eq!(entry.metadata().expect("it is there").permissions().mode() & 0o777, 0o600, "{files:?}");
    }
    files.sort();
    assert_eq!(
        files,
        ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "server.crt", "server.key"]
    );
    assert_eq!(fs::metadata(&folder).expect("a folder").permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_request_is_signed_for_its_own_tenant_alone() {
    let (_dir, pki) = new_pki();
    let (request, key) = client_request(&tenant("acme"), "bob").expect("a request");
    KeyPair::from_pem(&key).expect("a key");
    let signed = pki.authority().sign_client(&tenant("acme"), &request, HOUR, now()).expect("a certificate");
    let der = CertificateDer::from_pem_slice(signed.as_bytes()).expect("PEM");
    assert!(client_is_trusted(&pki, &der, now()));
    let identity = identity_of_certificate(&der).expect("an identity").identity;
    assert_eq!((identity.tenant, identity.user), (tenant("acme"), "bob".to_owned()));
    for other in ["umbrella", "system"] {
        let error = pki.authority().sign_client(&tenant(other), &request, HOUR, now()).expect_err(other).to_string();
        assert!(error.contains("\"acme\""), "{error}");
    }
}

#[test]
fn of_a_request_only_user_and_groups_are_taken_over() {
    let (_dir, pki) = new_pki();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "devs");
    name.push(DnType::CommonName, "system:node:n1");
    let mut asked = CertificateParams::new(vec!["example.org".to_owned()]).expect("a name");
    asked.distinguished_name = name;
    asked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    asked.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().expect("a key");
    let request = asked.serialize_request(&key).expect("a request").pem().expect("PEM");
    let signed = pki.authority().sign_client(&tenant("acme"), &request, YEAR * 5, now()).expect("a certificate");
    let der = CertificateDer::from_pem_slice(signed.as_bytes()).expect("PEM");
    let identity = identity_of_certificate(&der).expect("an identity").identity;
    assert_eq!((identity.tenant, identity.user), (tenant("acme"), "system:node:n1".to_owned()));
    assert_eq!(identity.groups, ["devs", "system:authenticated"]);
    let (_, cert) = parse_x509_certificate(&der).expect("a certificate");
    assert!(!cert.is_ca() && cert.subject_alternative_name() == Ok(None));
    assert_eq!(cert.validity().not_after.timestamp(), now().plus(YEAR).unix_secs());
    assert_eq!(cert.public_key().raw, key.subject_public_key_info());
}

#[test]
fn a_request_that_is_broken_or_not_signed_by_its_key_is_refused() {
    let (_dir, pki) = new_pki();
    let (request, _) = client_request(&tenant("acme"), "bob").expect("a request");
    let der = rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).expect("PEM");
    let mut forged = der.to_vec();
    let at = forged.windows(3).position(|w| w == b"bob").expect("the user");
    forged[at..at + 3].copy_from_slice(b"eve");
    for bad in [pem("CERTIFICATE REQUEST", &forged), pem("CERTIFICATE REQUEST", b"x"), "x".to_owned(), String::new()] {
        assert!(pki.authority().sign_client(&tenant("acme"), &bad, HOUR, now()).is_err(), "{bad}");
    }
}

#[test]
fn nobody_becomes_a_master_by_a_request() {
    let (_dir, pki) = new_pki();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "system:masters");
    name.push(DnType::CommonName, "eve");
    let mut asked = CertificateParams::default();
    asked.distinguished_name = name;
    let key = KeyPair::generate().expect("a key");
    let request = asked.serialize_request(&key).expect("a request").pem().expect("PEM");
    let error = pki.authority().sign_client(&tenant("acme"), &request, HOUR, now()).expect_err("a refusal").to_string();
    assert!(error.contains("system:masters"), "{error}");
}

/// T67: whatever a request names, what is signed of it names the tenant that it was made in, no master and no node.
#[test]
fn no_request_is_signed_beyond_its_tenant() {
    const USERS: [&str; 11] = [
        "root",
        "system:admin",
        "system:node:n1",
        "system:apiserver",
        "system:kube-scheduler",
        "system:node:",
        "umbrella:root",
        "system:serviceaccount:default:plain",
        "tenant:system",
        "system",
        "",
    ];
    const GROUPS: [&str; 9] = [
        "system:masters",
        "system:nodes",
        "tenant:system",
        "tenant:umbrella",
        "tenant:acme",
        "tenant:acme,system",
        "tenant:",
        "umbrella",
        "",
    ];
    let (_dir, pki) = new_pki();
    let key = KeyPair::generate().expect("a key");
    let (mut asked, mut signed) = (0, 0);
    for user in USERS {
        for organization in GROUPS {
            for unit in GROUPS {
                let mut name = DistinguishedName::new();
                for (kind, value) in [
                    (DnType::OrganizationName, organization),
                    (DnType::OrganizationalUnitName, unit),
                    (DnType::CommonName, user),
                ] {
                    if !value.is_empty() {
                        name.push(kind, value);
                    }
                }
                let mut params = CertificateParams::default();
                params.distinguished_name = name;
                let request = params.serialize_request(&key).expect("a request").pem().expect("PEM");
                asked += 1;
                let Ok(pem) = pki.authority().sign_client(&tenant("acme"), &request, HOUR, now()) else { continue };
                signed += 1;
                let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
                let who = identity_of_certificate(&der).expect("an identity").identity;
                let named = (user, organization, unit);
                assert_eq!(who.tenant, tenant("acme"), "{named:?}");
                assert!(!who.in_group("system:masters"), "{named:?}: {:?}", who.groups);
                assert_eq!(crate::node::node_name(&who), None, "{named:?}");
            }
        }
    }
    assert!(asked >= 60 && signed > 0, "{signed} of {asked}");
}
