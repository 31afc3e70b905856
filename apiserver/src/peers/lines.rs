//! Connections to other API servers: HTTP/2, kept and shared by requests; and fresh ones of HTTP/1.1, for streams.
//!
//! Invariant: no slow client holds up another's answer: a connection takes in as much as all of its streams together may.

use super::Member;
use crate::egress::{Trust, client_config};
use crate::nodes::Stream;
use api::Timestamp;
use axum::body::Body;
use dashmap::DashMap;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use policy::pki::Pki;
use runtime::{Stop, Tasks};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a connection may take. It is made before anything is sent: another server can be asked after it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A server that says nothing is asked whether it is there, and given up when it does not answer.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests that share a connection, and how much each may have on its way: 32 MiB together.
const STREAMS_MAX: usize = 250;
pub const STREAM_WINDOW: u32 = 128 << 10;
pub const WINDOW: u32 = 32 << 20;

/// Connections to one server: 64,000 requests and watches.
const LINES_MAX: usize = 256;

/// So long what is under way at shutdown may still take.
const DRAIN: Duration = Duration::from_secs(2);

/// The connections of a server to others.
pub struct Lines {
    http2: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    stop: Stop,
    tasks: Tasks,
    kept: DashMap<SocketAddr, Vec<Line>>,
}

/// A connection, and how many requests are under way on it.
#[derive(Clone)]
struct Line {
    sender: http2::SendRequest<Body>,
    streams: Arc<AtomicUsize>,
}

/// A place for one request on a connection, until it is dropped.
pub struct Place {
    pub sender: http2::SendRequest<Body>,
    streams: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Line {
    fn place(&self) -> Option<Place> {
        if self.sender.is_closed() {
            return None;
        }
        let fits = |streams| (streams < STREAMS_MAX).then_some(streams + 1);
        self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Place { sender: self.sender.clone(), streams: self.streams.clone() })
    }
}

impl Lines {
    /// # Errors
    /// A sentence on certificates that cannot be used.
    pub fn new(pki: &Pki, now: Timestamp, stop: Stop, tasks: Tasks) -> Result<Lines, String> {
        let credential = pki.api_server_credential(now).map_err(|e| e.to_string())?;
        let config = client_config(&Trust::Authorities(pki.ca_pem().as_bytes()), Some(credential))?;
        let speaks = |protocol: &[u8]| {
            let mut config = ClientConfig::clone(&config);
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(Lines { http2: speaks(b"h2"), http1: speaks(b"http/1.1"), stop, tasks, kept: DashMap::new() })
    }

    /// A place on a connection to a server. Nothing has been sent when there is none; the error says why.
    pub async fn place(&self, address: SocketAddr) -> Result<Place, String> {
        if let Some(place) = self.kept.get(&address).and_then(|lines| lines.iter().find_map(Line::place)) {
            return Ok(place);
        }
        if self.kept.get(&address).is_some_and(|lines| lines.len() >= LINES_MAX) {
            return Err(format!("too many requests to {address} are under way"));
        }
        let stream = connect(address, &self.http2).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_TIMEOUT);
        builder.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(WINDOW);
        let handshake = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| format!("{address} does not answer: {error}"))?;
        let stop = self.stop.clone();
        self.tasks.spawn("peer connection", async move {
            tokio::pin!(connection);
            let ended = tokio::select! {
                biased;
                // Shutdown: what is under way has a moment, then it is cut.
                () = stop.stopped() => tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(())),
                // Ends when the other end closes, or does not answer when asked.
                ended = connection.as_mut() => ended,
            };
            if let Err(error) = ended {
                tracing::debug!(%address, %error, "a connection to an API server ended");
            }
        });
        let line = Line { sender, streams: Arc::default() };
        let place = line.place().ok_or_else(|| format!("{address} closes what it has accepted"))?;
        let mut lines = self.kept.entry(address).or_default();
        lines.retain(|line| !line.sender.is_closed());
        lines.push(line);
        Ok(place)
    }

    /// A connection of its own, on which HTTP/1.1 is spoken. The error says why there is none.
    pub async fn fresh(&self, address: SocketAddr) -> Result<Box<dyn Stream>, String> {
        Ok(Box::new(connect(address, &self.http1).await?))
    }

    /// Forgets servers that are gone.
    pub fn keep(&self, members: &[Member]) {
        self.kept.retain(|address, _| members.iter().any(|member| member.address == *address));
    }
}

async fn connect(
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let connected = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(tls.clone()).connect(ServerName::from(address.ip()), stream).await
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connected).await {
        Ok(connected) => connected.map_err(|error| format!("{address} cannot be reached: {error}")),
        Err(_) => Err(format!("{address} cannot be reached: it does not answer")),
    }
}
