//! One HTTP request of a probe or a hook. Redirects are not followed: they would lead elsewhere.

use crate::pod::HttpGet;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use tokio::io::{AsyncRead, AsyncWrite};

/// As much of an answer or an output as a message to users holds.
pub const BODY_BYTES_SHOWN: usize = 10 << 10;

const USER_AGENT: &str = "kube-probe/1.36";

/// Asks once. An answer from 200 to 399 is a success.
pub async fn get(ip: IpAddr, port: u16, get: &HttpGet) -> Result<(), String> {
    let request = request(ip, port, get)?;
    let stream = super::dial(ip, port).await?;
    let status = if get.scheme.eq_ignore_ascii_case("https") {
        let tls = tokio_rustls::TlsConnector::from(ANYONE.clone()?);
        let stream = tls.connect(ServerName::IpAddress(ip.into()), stream).await.map_err(|e| e.to_string())?;
        exchange(stream, request).await?
    } else {
        exchange(stream, request).await?
    };
    let is_success = (200..400).contains(&status.as_u16());
    if is_success { Ok(()) } else { Err(format!("HTTP probe failed with statuscode: {}", status.as_u16())) }
}

fn request(ip: IpAddr, port: u16, get: &HttpGet) -> Result<Request<Empty<Bytes>>, String> {
    let path = if get.path.starts_with('/') { get.path.clone() } else { format!("/{}", get.path) };
    let named = |name: &str| get.http_headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
    let host = named("host").map_or_else(|| SocketAddr::new(ip, port).to_string(), |h| h.value.clone());
    let mut request = Request::builder().method(Method::GET).uri(path).header(header::HOST, host);
    for (name, value) in [("user-agent", USER_AGENT), ("accept", "*/*")] {
        if named(name).is_none() {
            request = request.header(name, value);
        }
    }
    for other in get.http_headers.iter().filter(|h| !h.name.eq_ignore_ascii_case("host")) {
        request = request.header(&other.name, &other.value);
    }
    request.header(header::CONNECTION, "close").body(Empty::new()).map_err(|e| e.to_string())
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Empty<Bytes>>,
) -> Result<StatusCode, String> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| e.to_string())?;
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    let answered = tokio::select! {
        biased;
        // Cancelled when the connection ends first; it is asked once more then.
        answered = &mut answer => answered,
        // Cancelled when the answer is in: only its status counts.
        _ = &mut connection => answer.await,
    };
    answered.map(|response| response.status()).map_err(|e| e.to_string())
}

/// TLS with whoever answers: a probe asks whether a pod is well, not who it is. Made once, for probes are many.
static ANYONE: LazyLock<Result<Arc<ClientConfig>, String>> = LazyLock::new(|| {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)));
    Ok(Arc::new(builder.with_no_client_auth()))
});

#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
