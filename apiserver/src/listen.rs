//! The listener: TLS connections, HTTP/1.1 and HTTP/2, until told to stop; then open requests are drained.

use crate::authn::Peer;
use crate::fairness::{Connection, Place};
use crate::server::Server;
use crate::{handler, peers, rest};
use api::Identity;
use axum::body::Body;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use policy::authn::{identity_of_certificate, is_api_server};
use runtime::{Background, Stop};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// A connection that has not finished its TLS handshake by then is closed.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// So is one that is idle for so long, or does not get a request's head sent.
const HEADER_TIMEOUT: Duration = Duration::from_secs(180);

/// A client that says nothing on HTTP/2 is asked whether it is there, and left when it does not answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long to wait when no connection can be accepted, as when the process is out of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// HTTP/2 streams that one connection may have open: each may be a watch.
const STREAMS_MAX: u32 = 1000;

/// What the handshake calls HTTP/2.
const HTTP2: &[u8] = b"h2";

/// TLS with the server's certificate, and client certificates of its authority accepted but not demanded.
pub fn tls_config(pki: &policy::pki::Pki) -> Result<ServerConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pki.ca_pem().as_bytes()) {
        roots.add(certificate.map_err(|e| rustls::Error::General(e.to_string()))?)?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .allow_unauthenticated()
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))?;
    let (chain, key) = pki.server_chain_and_key();
    let mut config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts connections until `stop`, then waits until the requests under way are answered.
///
/// Boxed, as whatever leads to all of the server: its code is then compiled in this crate, once, and not in each that calls.
pub fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    tls: ServerConfig,
    stop: Stop,
) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(accept(server, listener, tls, stop))
}

async fn accept(server: Arc<Server>, listener: TcpListener, tls: ServerConfig, stop: Stop) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let connections = runtime::Tasks::new();
    let background = Arc::new(Background::start()?);
    loop {
        let accepted = tokio::select! {
            biased;
            // Shutdown: no new connections.
            () = stop.stopped() => break,
            // Cancel-safe: a connection that is not accepted waits in the backlog.
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or a client that left at once: neither ends the server.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let (server, acceptor, stop) = (server.clone(), acceptor.clone(), stop.clone());
        let background = background.clone();
        connections.spawn("connection", async move {
            let _open = server.metrics.connections.open();
            if let Err(error) = connection(server, acceptor, stream, stop, background).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    connections.ended().await;
    server.tasks.ended().await;
    Ok(())
}

async fn connection(
    server: Arc<Server>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    stop: Stop,
    background: Arc<Background>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    // Whoever it is, and however many they open.
    let handshake = background.spawn(tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)));
    let stream = handshake.await???;
    let session = stream.get_ref().1;
    let is_http2 = session.alpn_protocol() == Some(HTTP2);
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    let peer = match certificate {
        Some(der) if is_api_server(der) => Peer::ApiServer,
        Some(der) => Peer::Certificate(identity_of_certificate(der)),
        None => Peer::Unknown,
    };
    let asked = Arc::new(AtomicBool::new(false));
    let of_tenant = Arc::new(Connection::default());
    let has_asked = asked.clone();
    let is_peer = matches!(peer, Peer::ApiServer);
    let place = Place::new(of_tenant.clone(), server.fairness.clone(), background);
    let streams = Streams(place.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, peer, of_tenant) = (server.clone(), peer.clone(), of_tenant.clone());
        asked.store(true, Ordering::Relaxed);
        async move {
            let (mut request, rest) = rest::keep(request);
            if !is_peer {
                request.extensions_mut().insert(of_tenant); // what API servers forward is of many tenants
            }
            // Apart, so that it goes with the answer: the connection keeps this future as long as the body, which may be
            // a watch.
            let response = Box::pin(handler::handle(server, peer, request)).await;
            rest.read().await;
            Ok::<Response<Body>, Infallible>(response)
        }
    });
    let (tell, told) = oneshot::channel();
    place.start(Box::pin(async move {
        // The handshake has settled the protocol, so that nothing waits for a first byte to tell it.
        let builder = auto::Builder::new(streams);
        let mut builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let mut http2 = builder.http2();
        http2.timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
        if is_peer {
            // One request that waits must not hold up those of others on the same connection.
            http2.initial_stream_window_size(peers::STREAM_WINDOW).initial_connection_window_size(peers::WINDOW);
        }
        http2.keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_TIMEOUT);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            biased;
            // Shutdown: the requests under way are answered, then the connection is closed.
            () = stop.stopped() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            // Ends when the client leaves.
            ended = connection.as_mut() => ended,
            // A client that has sent nothing: there is nothing to drain.
            () = stays_silent(&has_asked) => Ok(()),
        };
        drop(tell.send(ended));
    }));
    told.await?
}

/// Starts the HTTP/2 streams of a connection.
#[derive(Clone)]
struct Streams(Place);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.start(Box::pin(stream));
    }
}

/// Returns when a client has not asked for anything in time; never for one that has.
async fn stays_silent(has_asked: &AtomicBool) {
    tokio::time::sleep(HEADER_TIMEOUT).await;
    if has_asked.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

/// Answers a request of a component in this process, with the identity that it was given.
pub fn in_process(
    server: Arc<Server>,
    identity: Arc<Identity>,
    request: Request<Body>,
) -> BoxFuture<'static, Response<Body>> {
    Box::pin(handler::handle(server, Peer::InProcess(identity), request))
}
