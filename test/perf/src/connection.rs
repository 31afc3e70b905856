//! One HTTPS connection and what is sent on it. Requests are made of bytes, answers are counted, nothing is parsed.

use bytes::Bytes;
use client::Kubeconfig;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt::Display;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

pub type Error = String;

/// A server and the identity that is used there.
pub struct Target {
    tls: TlsConnector,
    name: ServerName<'static>,
    host: String,
    port: u16,
    /// In front of every path.
    prefix: String,
    authorization: Option<HeaderValue>,
    http1: bool,
}

/// A connection. Clones share it, with HTTP/2.
pub enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Target {
    pub fn new(kubeconfig: &Kubeconfig, http1: bool) -> Result<Target, Error> {
        let rest = kubeconfig.server.strip_prefix("https://").ok_or("the kubeconfig's server is not https://…")?;
        let (authority, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = kubeconfig.tls_server_name.clone().unwrap_or_else(|| host.clone());
        let authorization = kubeconfig.token.as_ref().map(|token| format!("Bearer {token}").parse());
        Ok(Target {
            tls: TlsConnector::from(Arc::new(tls(kubeconfig, http1)?)),
            name: ServerName::try_from(name).map_err(text)?,
            host,
            port: port.parse().map_err(text)?,
            prefix: prefix.trim_end_matches('/').to_owned(),
            authorization: authorization.transpose().map_err(text)?,
            http1,
        })
    }

    /// Opens a connection; `drivers` owns what moves its bytes.
    pub async fn connect(&self, drivers: &mut JoinSet<()>) -> Result<Connection, Error> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        let io = TokioIo::new(self.tls.connect(self.name.clone(), stream).await.map_err(text)?);
        // A connection that breaks shows in the requests on it.
        if self.http1 {
            let (sender, driver) = http1::handshake(io).await.map_err(text)?;
            drivers.spawn(async { drop(driver.await) });
            return Ok(Connection::Http1(sender));
        }
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(4 << 20).initial_connection_window_size(16 << 20);
        let (sender, driver) = builder.handshake(io).await.map_err(text)?;
        drivers.spawn(async { drop(driver.await) });
        Ok(Connection::Http2(sender))
    }

    /// A request for a path with its query.
    pub fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Error> {
        let address = format!("{}:{}", self.host, self.port);
        let path = format!("{}{path}", self.prefix);
        let uri = if self.http1 { path } else { format!("https://{address}{path}") };
        let mut request = Request::builder().method(method).uri(uri).header(header::ACCEPT, "application/json");
        if self.http1 {
            request = request.header(header::HOST, address);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(body)).map_err(text)
    }
}

impl Connection {
    /// More handles on the same connection, as many as may be used at a time.
    pub fn handles(self, wanted: usize) -> Vec<Connection> {
        match self {
            Connection::Http1(_) => vec![self],
            Connection::Http2(sender) => (0..wanted.max(1)).map(|_| Connection::Http2(sender.clone())).collect(),
        }
    }

    /// Sends a request and returns the answer once its head is there. One that is no success is an error.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let what = format!("{} {}", request.method(), request.uri().path());
        let sent = match self {
            Connection::Http1(sender) => {
                sender.ready().await.map_err(text)?;
                sender.send_request(request).await
            }
            Connection::Http2(sender) => {
                sender.ready().await.map_err(text)?;
                sender.send_request(request).await
            }
        };
        let answer = sent.map_err(|e| format!("{what}: {e}"))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(text)?.to_bytes();
        Err(format!("{what}: {status}: {}", String::from_utf8_lossy(&body)))
    }

    /// Sends a request and reads the whole answer.
    pub async fn fetch(&mut self, request: Request<Full<Bytes>>) -> Result<Bytes, Error> {
        let answer = self.send(request).await?;
        Ok(answer.into_body().collect().await.map_err(text)?.to_bytes())
    }
}

fn tls(kubeconfig: &Kubeconfig, http1: bool) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&kubeconfig.certificate_authority) {
        roots.add(certificate.map_err(text)?).map_err(text)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(text)?.with_root_certificates(roots);
    let mut config = match &kubeconfig.client_certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
            let key = PrivateKeyDer::from_pem_slice(key).map_err(text)?;
            builder.with_client_auth_cert(chain.map_err(text)?, key).map_err(text)?
        }
    };
    config.alpn_protocols = vec![if http1 { b"http/1.1".to_vec() } else { b"h2".to_vec() }];
    Ok(config)
}

pub fn text(error: impl Display) -> Error {
    error.to_string()
}
