//! The certificate authority and the keys of a server, kept in the folder `pki` of its data folder.
//!
//! `ca.crt` and `ca.key` are the authority, `server.crt` and `server.key` what the server presents, `sa.key` signs the
//! tokens of service accounts. What is missing is made; the server's certificate is also made anew when its names, its
//! issuer or its time no longer fit. An authority is never replaced: clients trust it.
//! Invariant: files are for their owner only and are replaced in one step, so that a crash leaves them old or new.

mod der;
mod file;
mod request;
mod shared;
mod subject;

pub use request::{Requested, check_certificates, client_request, names_masters, requested};
pub use shared::{SharedKeys, TOKEN_BYTES_MIN};

use crate::authn::{API_SERVERS, ServiceAccountKey};
use api::{TenantName, Timestamp};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use subject::{Attribute, Subject};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const SERVER_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The server's certificate is made anew when it has less than this left.
const SERVER_RENEWAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const SIGNED_LIFETIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Certificates start this early, for clients whose clock is behind.
pub(crate) const BACKDATED_SECS: i64 = 5 * 60;

/// Why keys or certificates could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{path}: {why}")]
    File { path: String, why: String },
    #[error("{0}")]
    Certificate(String),
}

impl PkiError {
    fn file(path: &Path, why: impl std::fmt::Display) -> PkiError {
        PkiError::File { path: path.display().to_string(), why: why.to_string() }
    }

    fn certificate(why: impl std::fmt::Display) -> PkiError {
        PkiError::Certificate(why.to_string())
    }
}

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct Credential {
    pub cert_pem: String,
    pub key_pem: String,
}

impl std::fmt::Debug for Credential {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

/// What vouches for servers and clients: a certificate and its key.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads an authority that is there already.
    pub fn read(certificate: &Path, key: &Path, now: Timestamp) -> Result<Authority, PkiError> {
        let text = |path: &Path| file::read(path)?.ok_or_else(|| PkiError::file(path, "there is no such file"));
        let pair = KeyPair::from_pem(&text(key)?).map_err(|e| PkiError::file(key, e))?;
        Authority::of(certificate, text(certificate)?, pair, now)
    }

    fn of(path: &Path, pem: String, key: KeyPair, now: Timestamp) -> Result<Authority, PkiError> {
        let der = read_certificate(&pem).map_err(|why| PkiError::file(path, why))?;
        let (_, parsed) = parse_x509_certificate(&der).map_err(|e| PkiError::file(path, e))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(PkiError::file(path, "this is not the certificate of the authority's key"));
        }
        if !parsed.is_ca() || parsed.validity().not_after.timestamp() <= now.unix_secs() {
            return Err(PkiError::file(path, "not the certificate of an authority, or expired"));
        }
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|e| PkiError::file(path, e))?;
        Ok(Authority { pem, issuer })
    }

    /// Signs a client's request (PEM) made in `tenant`. Of its subject, user and groups are taken over; the certificate
    /// names `tenant` and no other, serves clients only, and lives for a year at most, since it cannot be taken back.
    pub fn sign_client(
        &self,
        tenant: &TenantName,
        request_pem: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let request = request::ClientRequest::read(request_pem, tenant)?;
        self.issue_client(&request.public_key, &request.subject, lifetime.min(SIGNED_LIFETIME_MAX), now)
    }

    fn issue_client(
        &self,
        public_key: &impl PublicKeyData,
        subject: &Subject,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let mut params = params("client", lifetime, now)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let unnamed = params.signed_by(public_key, &self.issuer).map_err(PkiError::certificate)?;
        let der = subject::with_subject(unnamed.der(), subject, self.issuer.key())?;
        Ok(pem("CERTIFICATE", &der))
    }
}

/// The authority of a server, its serving certificate and the key that signs service account tokens.
pub struct Pki {
    authority: Authority,
    server: (CertificateDer<'static>, PrivateKeyDer<'static>),
    service_account_key: ServiceAccountKey,
    front_proxy: Authority,
    front_proxy_credential: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

impl Pki {
    /// Reads `dir/pki`, and makes what is not there. `server_names` are all DNS names and IP addresses that clients use.
    pub fn open(dir: &Path, server_names: &[String], now: Timestamp) -> Result<Pki, PkiError> {
        let dir = dir.join("pki");
        file::create_folder(&dir)?;
        let authority = open_authority(&dir, ("ca", "ursa-ca"), now)?;
        let front_proxy = open_authority(&dir, ("front-proxy-ca", "ursa-front-proxy-ca"), now)?;
        let front_proxy_credential = front_proxy_client(&front_proxy, now)?;
        let server = open_server(&dir, &authority, server_names, now)?;
        let service_account_key = open_service_account_key(&dir)?;
        Ok(Pki { authority, server, service_account_key, front_proxy, front_proxy_credential })
    }

    /// The certificate of the authority, for clients to trust and for the server to check clients with.
    pub fn ca_pem(&self) -> &str {
        &self.authority.pem
    }

    /// What signs clients' certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The certificate of the authority by which servers of aggregated APIs know this server. It signs nothing else.
    pub fn front_proxy_ca_pem(&self) -> &str {
        &self.front_proxy.pem
    }

    /// What this server presents to servers of aggregated APIs.
    pub fn front_proxy_credential(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.front_proxy_credential.0.clone()], self.front_proxy_credential.1.clone_key())
    }

    /// What this server presents to other API servers: valid for a year, or until it ends.
    pub fn api_server_credential(
        &self,
        now: Timestamp,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PkiError> {
        let key = KeyPair::generate().map_err(PkiError::certificate)?;
        let subject =
            vec![(Attribute::Organization, API_SERVERS.to_owned()), (Attribute::CommonName, "apiserver".to_owned())];
        let pem = self.authority.issue_client(&key, &subject, SERVER_LIFETIME, now)?;
        let der = read_certificate(&pem).map_err(PkiError::certificate)?;
        Ok((vec![der], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))))
    }

    /// What the server presents.
    pub fn server_chain_and_key(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.server.0.clone()], self.server.1.clone_key())
    }

    /// A new certificate with CN=`user`, O=`tenant:TENANT` and one OU per group.
    pub fn client_certificate(
        &self,
        tenant: &TenantName,
        user: &str,
        groups: &[&str],
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Credential, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::certificate)?;
        let cert_pem = self.authority.issue_client(&key, &request::subject(tenant, user, groups)?, lifetime, now)?;
        Ok(Credential { cert_pem, key_pem: key.serialize_pem() })
    }

    pub fn service_account_key(&self) -> &ServiceAccountKey {
        &self.service_account_key
    }
}

/// The name of the client that servers of aggregated APIs believe.
pub const FRONT_PROXY_CLIENT: &str = "front-proxy-client";

fn front_proxy_client(
    authority: &Authority,
    now: Timestamp,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), PkiError> {
    let key = KeyPair::generate().map_err(PkiError::certificate)?;
    let mut params = params(FRONT_PROXY_CLIENT, SERVER_LIFETIME, now)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &authority.issuer).map_err(PkiError::certificate)?;
    Ok((certificate.der().clone(), PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))))
}

fn open_authority(dir: &Path, (stem, name): (&str, &str), now: Timestamp) -> Result<Authority, PkiError> {
    let (cert_path, key_path) = (dir.join(format!("{stem}.crt")), dir.join(format!("{stem}.key")));
    let (cert, key) = (file::read(&cert_path)?, file::read(&key_path)?);
    if cert.is_some() && key.is_none() {
        return Err(PkiError::file(&key_path, "the key of the authority is missing; its certificate is there"));
    }
    let key = open_key(&key_path, key)?;
    let cert = match cert {
        Some(cert) => cert,
        None => {
            let mut params = params(name, CA_LIFETIME, now)?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
            params.use_authority_key_identifier_extension = false;
            let cert = params.self_signed(&key).map_err(PkiError::certificate)?.pem();
            file::write(&cert_path, &cert)?;
            cert
        }
    };
    Authority::of(&cert_path, cert, key, now)
}

fn open_server(
    dir: &Path,
    authority: &Authority,
    names: &[String],
    now: Timestamp,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), PkiError> {
    let (cert_path, key_path) = (dir.join("server.crt"), dir.join("server.key"));
    let mut wanted = names.to_vec();
    wanted.sort();
    wanted.dedup();
    let key = open_key(&key_path, file::read(&key_path)?)?;
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    if let Some(Ok(der)) = file::read(&cert_path)?.map(|pem| read_certificate(&pem))
        && fits(&der, &authority.pem, &key, &wanted, now)
    {
        return Ok((der, private));
    }
    let mut params = params("ursa-apiserver", SERVER_LIFETIME, now)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = CertificateParams::new(wanted).map_err(PkiError::certificate)?.subject_alt_names;
    let cert = params.signed_by(&key, &authority.issuer).map_err(PkiError::certificate)?;
    file::write(&cert_path, &cert.pem())?;
    Ok((cert.der().clone(), private))
}

/// Whether a certificate of the server can stay: of this authority, for this key, for these names, and not near its end.
fn fits(der: &[u8], ca_pem: &str, key: &KeyPair, names: &[String], now: Timestamp) -> bool {
    let Ok(ca) = read_certificate(ca_pem) else { return false };
    let (Ok((_, cert)), Ok((_, ca))) = (parse_x509_certificate(der), parse_x509_certificate(&ca)) else { return false };
    let issuer = cert.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    });
    let authority = ca.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    });
    let mut present = alternative_names(&cert);
    present.sort();
    let remaining = cert.validity().not_after.timestamp() - now.unix_secs();
    issuer.is_some()
        && issuer == authority
        && cert.public_key().raw == key.subject_public_key_info()
        && present == names
        && remaining > SERVER_RENEWAL.as_secs().cast_signed()
}

fn alternative_names(cert: &x509_parser::certificate::X509Certificate) -> Vec<String> {
    let Ok(Some(extension)) = cert.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(IpAddr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|v6| IpAddr::from(v6).to_string()),
        },
        _ => None,
    };
    extension.value.general_names.iter().filter_map(text).collect()
}

fn open_service_account_key(dir: &Path) -> Result<ServiceAccountKey, PkiError> {
    let path = dir.join("sa.key");
    let key = open_key(&path, file::read(&path)?)?;
    ServiceAccountKey::from_pem(&key.serialize_pem()).map_err(|why| PkiError::file(&path, why))
}

/// The key in `pem`, or a new one, which is written before it is used.
fn open_key(path: &Path, pem: Option<String>) -> Result<KeyPair, PkiError> {
    if let Some(pem) = pem {
        return KeyPair::from_pem(&pem).map_err(|e| PkiError::file(path, e));
    }
    let key = KeyPair::generate().map_err(PkiError::certificate)?;
    file::write(path, &key.serialize_pem())?;
    Ok(key)
}

fn params(common_name: &str, lifetime: Duration, now: Timestamp) -> Result<CertificateParams, PkiError> {
    let time = |seconds: i64| ASN1Time::from_timestamp(seconds).map(|t| t.to_datetime()).map_err(PkiError::certificate);
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = time(now.unix_secs() - BACKDATED_SECS)?;
    params.not_after = time(now.plus(lifetime).unix_secs())?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn read_certificate(pem: &str) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| e.to_string())
}

/// Base64 in lines of 64 between the two marks.
fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
pub(crate) mod tests;
