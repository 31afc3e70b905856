//! TLS to what tenants name: whose certificates are trusted, and how its faults are told, in the words that Kubernetes' users
//! know.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::{Arc, LazyLock};

/// Whose certificates are trusted.
pub enum Trust<'a> {
    /// Authorities in PEM; those of the system when there are none.
    Authorities(&'a [u8]),
    /// Anybody's.
    Anyone,
}

/// A client's certificate and its key.
pub type Credential = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What a connection is made with.
///
/// # Errors
/// A sentence on authorities that cannot be read.
pub fn client_config(trust: &Trust<'_>, credential: Option<Credential>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Authorities(pem) => {
            let (roots, trusted) = if pem.is_empty() { SYSTEM.clone() } else { roots(pem)? };
            let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
            Arc::new(Verifier { inner: Some(inner.map_err(|e| e.to_string())?), trusted, provider: provider.clone() })
        }
        Trust::Anyone => Arc::new(Verifier { inner: None, trusted: Vec::new(), provider: provider.clone() }),
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| e.to_string())?.dangerous().with_custom_certificate_verifier(verifier);
    let config = match credential {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|e| e.to_string())?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// The authorities, and their certificates as they are.
type Roots = (Arc<RootCertStore>, Vec<CertificateDer<'static>>);

fn roots(pem: &[u8]) -> Result<Roots, String> {
    let unreadable = || "unable to load root certificates: unable to parse bytes as PEM block".to_owned();
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| unreadable())?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|_| unreadable())?;
    }
    if roots.is_empty() { Err(unreadable()) } else { Ok((Arc::new(roots), certificates)) }
}

/// Where systems keep the authorities that they trust.
const SYSTEM_FILES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

static SYSTEM: LazyLock<Roots> = LazyLock::new(|| {
    let found = SYSTEM_FILES.iter().find_map(|path| std::fs::read(path).ok());
    let certificates = found.iter().flat_map(|pem| CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    (Arc::new(roots), Vec::new())
});

/// As the library verifies, and besides a certificate that is itself in the list of authorities: a server that signed for
/// itself is trusted by naming its certificate.
#[derive(Debug)]
struct Verifier {
    /// `None` to trust anyone.
    inner: Option<Arc<WebPkiServerVerifier>>,
    trusted: Vec<CertificateDer<'static>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        let verified = inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if verified.is_err() && self.trusted.iter().any(|trusted| trusted == end_entity) {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            rustls::client::verify_server_name(&parsed, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a failed handshake is called.
pub fn told(error: &std::io::Error, name: &str) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => {
            let why = match why {
                // A foreign authority of the same name is as unknown as one of another.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    "certificate signed by unknown authority".to_owned()
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "certificate has expired or is not yet valid".to_owned()
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    format!("certificate is not valid for any names, but wanted to match {name}")
                }
                other => other.to_string(),
            };
            format!("tls: failed to verify certificate: x509: {why}")
        }
        Some(other) => format!("tls: {other}"),
        None => "EOF".to_owned(),
    }
}
