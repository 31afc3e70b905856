//! Certificate signing requests of clients: the client keeps its key, the authority signs what it may be called.
//!
//! Invariant: a certificate signed for a tenant names that tenant and no other, whatever the request says.

use super::PkiError;
use super::subject::{Attribute, Subject};
use crate::authn::requested_user;
use crate::rbac::MASTERS;
use api::TenantName;
use rcgen::{CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, KeyPair, PublicKey};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// Makes a key and a signing request for CN=`user`, O=`tenant:TENANT`. Returns the request and the key, both PEM.
pub fn client_request(tenant: &TenantName, user: &str) -> Result<(String, String), PkiError> {
    let key = KeyPair::generate().map_err(PkiError::certificate)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, format!("tenant:{tenant}"));
    name.push(DnType::CommonName, user);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    let request = params.serialize_request(&key).and_then(|request| request.pem()).map_err(PkiError::certificate)?;
    Ok((request, key.serialize_pem()))
}

/// Whether a signing request in PEM asks for the group `system:masters`, in any way that a subject names groups. The
/// error says why it cannot be read.
pub fn names_masters(pem: &[u8]) -> Result<bool, String> {
    let der = CertificateSigningRequestDer::from_pem_slice(pem).map_err(|e| e.to_string())?;
    let (_, request) = X509CertificationRequest::from_der(&der).map_err(|e| e.to_string())?;
    let mut attributes = request.certification_request_info.subject.iter_attributes();
    Ok(attributes.any(|attribute| attribute.as_str().is_ok_and(|value| value == MASTERS)))
}

/// Checks what a signer issued: one certificate or more, and nothing else. The error says what is wrong.
pub fn check_certificates(pem: &[u8]) -> Result<(), String> {
    let mut found = 0;
    for block in x509_parser::pem::Pem::iter_from_buffer(pem) {
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        match x509_parser::parse_x509_certificate(&block.contents) {
            Ok(([], _)) => found += 1,
            _ => return Err("x509: malformed certificate".to_owned()),
        }
    }
    if found == 0 { Err("must contain at least one CERTIFICATE PEM block".to_owned()) } else { Ok(()) }
}

/// The subject of a user's certificate.
pub(super) fn subject(tenant: &TenantName, user: &str, groups: &[&str]) -> Result<Subject, PkiError> {
    let is_name = |text: &&str| !text.is_empty() && !text.chars().any(char::is_control);
    if !is_name(&user) || !groups.iter().all(is_name) {
        return Err(PkiError::Certificate(format!("{user:?} with groups {groups:?} cannot stand in a certificate")));
    }
    let mut subject = vec![(Attribute::Organization, format!("tenant:{tenant}"))];
    subject.extend(groups.iter().map(|&group| (Attribute::OrganizationalUnit, group.to_owned())));
    subject.push((Attribute::CommonName, user.to_owned()));
    Ok(subject)
}

/// Whom a signing request names, whatever may be signed of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requested {
    pub common_name: String,
    pub organizations: Vec<String>,
    /// Whether it asks for alternative names, by their kinds.
    pub dns_names: bool,
    pub email_addresses: bool,
    pub ip_addresses: bool,
    pub uris: bool,
}

/// Reads a signing request (PEM).
pub fn requested(pem: &str) -> Result<Requested, PkiError> {
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(PkiError::certificate)?;
    let (_, request) = X509CertificationRequest::from_der(&der).map_err(PkiError::certificate)?;
    let subject = &request.certification_request_info.subject;
    let text = |value: &x509_parser::x509::AttributeTypeAndValue| value.as_str().unwrap_or_default().to_owned();
    let mut requested = Requested {
        common_name: subject.iter_common_name().next().map(text).unwrap_or_default(),
        organizations: subject.iter_organization().map(text).collect(),
        ..Requested::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(_) => requested.dns_names = true,
                GeneralName::RFC822Name(_) => requested.email_addresses = true,
                GeneralName::IPAddress(_) => requested.ip_addresses = true,
                GeneralName::URI(_) => requested.uris = true,
                _ => {}
            }
        }
    }
    Ok(requested)
}

/// What of a signing request goes into the certificate.
pub(super) struct ClientRequest {
    pub public_key: PublicKey,
    pub subject: Subject,
}

impl ClientRequest {
    /// Reads a request that was made in `tenant`, and checks that the requester holds the private key.
    pub fn read(pem: &str, tenant: &TenantName) -> Result<ClientRequest, PkiError> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(PkiError::certificate)?;
        let public_key = CertificateSigningRequestParams::from_der(&der).map_err(PkiError::certificate)?.public_key;
        let (_, request) = X509CertificationRequest::from_der(&der).map_err(PkiError::certificate)?;
        let name = &request.certification_request_info.subject;
        let (user, groups) = requested_user(name, tenant).map_err(PkiError::certificate)?;
        if groups.contains(&MASTERS) {
            return Err(PkiError::Certificate(format!("a request does not make a member of {MASTERS}")));
        }
        Ok(ClientRequest { public_key, subject: subject(tenant, user, &groups)? })
    }
}
