//! Opens TLS connections to the one server of a kubeconfig.

use crate::Kubeconfig;
use api::{Error, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a connection may take to be made, TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Makes connections on which the server has proved to be the one that the kubeconfig's authority vouches for.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: TlsConnector,
    /// The name to expect in the server's certificate, where it is not the address's own.
    server_name: Option<String>,
}

impl Connector {
    pub(crate) fn new(config: &Kubeconfig) -> Result<Connector> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&config.certificate_authority, "certificate authority")? {
            roots.add(certificate).map_err(|e| bad("certificate authority", e))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = versions.map_err(Error::internal)?.with_root_certificates(roots);
        let mut tls = match &config.client_certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate, "client certificate")?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| bad("client key", e))?;
                builder.with_client_auth_cert(chain, key).map_err(|e| bad("client certificate", e))?
            }
        };
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Connector { tls: TlsConnector::from(Arc::new(tls)), server_name: config.tls_server_name.clone() })
    }

    async fn open(self, server: Uri) -> io::Result<TlsConnection> {
        let host = server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = self.server_name.unwrap_or_else(|| host.clone());
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let stream = TcpStream::connect((host, server.port_u16().unwrap_or(443))).await?;
        stream.set_nodelay(true)?;
        Ok(TlsConnection(TokioIo::new(self.tls.connect(name, stream).await?)))
    }
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| bad(what, e))?;
    if found.is_empty() { Err(bad(what, "it holds no certificate")) } else { Ok(found) }
}

fn bad(what: &str, why: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("the kubeconfig's {what} cannot be used: {why}"))
}

impl tower::Service<Uri> for Connector {
    type Response = TlsConnection;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TlsConnection>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let open = self.clone().open(server);
        async { tokio::time::timeout(CONNECT_WITHIN, open).await? }.boxed()
    }
}

/// A connection after its handshake.
pub(crate) struct TlsConnection(TokioIo<TlsStream<TcpStream>>);

impl Connection for TlsConnection {
    fn connected(&self) -> Connected {
        let (_, tls) = self.0.inner().get_ref();
        let connected = Connected::new();
        if tls.alpn_protocol() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

impl Read for TlsConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }
}
