//! Certificates by request: the client keeps its key, the authority signs what the client may be called.
//!
//! Invariant: a certificate signed for a tenant names that tenant and no other, whatever the request says.

use super::{Pki, PkiError, certificate_pem, params};
use api::{TenantName, Timestamp};
use rcgen::{CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

/// A certificate cannot be taken back, so it lives a year at most, whatever is asked for.
const LIFETIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Makes a key and a signing request for CN=`user`, O=`tenant:TENANT`. Returns the request and the key, both PEM.
pub fn client_request(tenant: &TenantName, user: &str) -> Result<(String, String), PkiError> {
    if user.is_empty() || user.chars().any(char::is_control) {
        return Err(PkiError::Certificate(format!("{user:?} is no name for a certificate")));
    }
    let key = KeyPair::generate().map_err(PkiError::certificate)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, format!("tenant:{tenant}"));
    params.distinguished_name.push(DnType::CommonName, user);
    let request = params.serialize_request(&key).map_err(PkiError::certificate)?;
    Ok((request.pem().map_err(PkiError::certificate)?, key.serialize_pem()))
}

impl Pki {
    /// Signs a client's request (PEM) made in `tenant`. Refused: a subject with another or no tenant, without a user, or
    /// with alternative names; a signature that does not fit.
    pub fn sign_client(
        &self,
        tenant: &TenantName,
        request_pem: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let refused = |why: &str| PkiError::Certificate(format!("the signing request is refused: {why}"));
        let der = pem_body(request_pem).ok_or_else(|| refused("it is not PEM"))?;
        let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|_| refused("it cannot be read"))?;
        let subject = &parsed.certification_request_info.subject;
        let organizations: Vec<_> = subject.iter_organization().filter_map(|o| o.as_str().ok()).collect();
        if organizations != [format!("tenant:{tenant}")] {
            return Err(refused(&format!("its subject must have exactly one organization, tenant:{tenant}")));
        }
        if subject.iter_common_name().filter_map(|cn| cn.as_str().ok()).filter(|cn| !cn.is_empty()).count() != 1 {
            return Err(refused("its subject must have exactly one common name, the user"));
        }
        let mut request = CertificateSigningRequestParams::from_pem(request_pem).map_err(PkiError::certificate)?;
        if !request.params.subject_alt_names.is_empty() {
            return Err(refused("a client's certificate has no alternative names"));
        }
        let fresh = params("client", lifetime.min(LIFETIME_MAX), now)?;
        let subject = std::mem::take(&mut request.params.distinguished_name);
        request.params = fresh;
        request.params.distinguished_name = subject;
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed = request.signed_by(&self.ca).map_err(PkiError::certificate)?;
        Ok(certificate_pem(signed.der()))
    }
}

fn pem_body(text: &str) -> Option<Vec<u8>> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).ok()?;
    Some(pem.contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::identity_of_certificate;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    fn check(tenant: &str, signed_for: &str) -> Result<String, String> {
        let now = Timestamp::from_unix_secs(1_800_000_000);
        let dir = std::env::temp_dir().join(format!("ursa-request-{}-{tenant}-{signed_for}", std::process::id()));
        let pki = Pki::open(&dir, &[], now).expect("an authority");
        let name = |text| TenantName::new(text).expect("a tenant");
        let (request, _) = client_request(&name(tenant), "bob").expect("a request");
        let signed = pki.sign_client(&name(signed_for), &request, Duration::from_secs(3600), now);
        std::fs::remove_dir_all(&dir).expect("the folder was made");
        let der = CertificateDer::from_pem_slice(signed.map_err(|e| e.to_string())?.as_bytes()).expect("PEM");
        let identity = identity_of_certificate(&der).map_err(|e| e.to_string())?;
        Ok(format!("{}@{}", identity.user, identity.tenant))
    }

    #[test]
    fn a_request_is_signed_for_its_own_tenant_alone() {
        assert_eq!(check("acme", "acme").as_deref(), Ok("bob@acme"));
        assert!(check("acme", "umbrella").expect_err("another tenant").contains("tenant:umbrella"));
        assert!(check("system", "acme").is_err());
    }
}
