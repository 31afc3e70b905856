//! Requests to servers that tenants name: webhooks of admission and of conversion, and aggregated APIs.
//!
//! Invariant: a tenant's URL reaches public addresses and what the operators opened, whatever its name resolves to: the
//! address that was checked is the one that is dialled. A service's pods are reached through the agents of their nodes,
//! within the tenant. No redirect is followed, and nothing of an answer that is not understood is told.
//! What a tenant has under way at a time, how long it takes and how much is read are bounded.

mod endpoint;
mod networks;
mod rest;
mod services;
mod tls;

pub use endpoint::{Endpoint, Place};
pub use networks::Networks;
use services::Backend;
pub use services::endpoints;
pub use tls::{Trust, client_config};

use crate::nodes::{Dial, Stream};
use crate::proxy;
use api::TenantName;
use bytes::Bytes;
use dashmap::DashMap;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use runtime::{Stop, Tasks};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// How many requests to its servers a tenant has under way; more wait, within their timeouts.
const UNDER_WAY_MAX: usize = 32;

/// What an answer may hold: the patch of the largest object, in base64, and its envelope.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Tenants that have nothing under way are forgotten past this many.
const TENANTS_MAX: usize = 1024;

/// A connection on which requests are sent.
pub type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

/// The way out.
pub struct Egress {
    store: Store,
    dial: Arc<dyn Dial>,
    stop: Stop,
    tasks: Tasks,
    networks: Networks,
    under_way: DashMap<TenantName, Arc<Semaphore>>,
}

impl Egress {
    pub fn new(store: Store, dial: Arc<dyn Dial>, networks: Networks, stop: Stop, tasks: Tasks) -> Egress {
        Egress { store, dial, stop, tasks, networks, under_way: DashMap::new() }
    }

    /// Posts JSON and reads the JSON of the answer, within a timeout that the other end is told, and what is left of one that
    /// it is not.
    ///
    /// # Errors
    /// Why there is none, in upstream's words, with the URL.
    pub async fn post(
        &self,
        tenant: &TenantName,
        endpoint: &Endpoint,
        body: Bytes,
        timeout: Duration,
        left: Duration,
    ) -> Result<Value, String> {
        let told = |why: &str| format!("Post {:?}: {why}", endpoint.url(timeout));
        if endpoint.rest.lock().is_resting(Instant::now()) {
            return Err(told(
                "context deadline exceeded: it did not answer of late, and is asked again in some seconds",
            ));
        }
        let mut is_asked = false;
        let exchanged = tokio::time::timeout(timeout.min(left), async {
            let seats = self.seats(tenant);
            let _seat = seats.acquire().await.map_err(|_| told("the server is shutting down"))?;
            is_asked = true;
            self.exchange(tenant, endpoint, body, timeout).await
        });
        let exchanged = exchanged.await;
        match exchanged {
            Err(_) if is_asked => endpoint.rest.lock().missed(Instant::now()),
            // It waited for others of its tenant.
            Err(_) => {}
            Ok(_) => endpoint.rest.lock().answered(),
        }
        match exchanged {
            Err(_) => Err(told("context deadline exceeded")),
            Ok(Err(Fault::Unreached(why))) => Err(told(&why)),
            Ok(Err(Fault::Answered(why))) => Err(why),
            Ok(Ok(answer)) => serde_json::from_slice(&answer)
                .map_err(|why| format!("couldn't get version/kind; json parse error: {why}")),
        }
    }

    fn seats(&self, tenant: &TenantName) -> Arc<Semaphore> {
        if self.under_way.len() > TENANTS_MAX {
            self.under_way.retain(|_, seats| seats.available_permits() < UNDER_WAY_MAX);
        }
        let seats = self.under_way.entry(tenant.clone());
        seats.or_insert_with(|| Arc::new(Semaphore::new(UNDER_WAY_MAX))).clone()
    }

    async fn exchange(
        &self,
        tenant: &TenantName,
        endpoint: &Endpoint,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, Fault> {
        loop {
            let kept = endpoint.reuse();
            let is_fresh = kept.is_none();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.open(tenant, endpoint).await?,
            };
            let request = Request::post(endpoint.target(timeout))
                .header(header::HOST, endpoint.authority())
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json, */*")
                .header(header::USER_AGENT, "kube-apiserver-admission")
                .body(Full::new(body.clone()));
            let request = request.map_err(|error| Fault::Unreached(error.to_string()))?;
            let answer = match sender.send_request(request).await {
                Ok(answer) => answer,
                // The other end closed what it had left open.
                Err(_) if !is_fresh => continue,
                Err(_) => return Err(Fault::Unreached("EOF".into())),
            };
            let code = answer.status();
            let read = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let read = read.map_err(|_| Fault::Unreached("unexpected EOF".into()))?.to_bytes();
            if sender.ready().await.is_ok() {
                endpoint.keep(sender);
            }
            return if code.is_success() { Ok(read) } else { Err(Fault::Answered(refused(code))) };
        }
    }

    /// A new connection on which requests of a webhook are sent.
    async fn open(&self, tenant: &TenantName, endpoint: &Endpoint) -> Result<Sender, Fault> {
        let tls = endpoint.tls.clone().map_err(Fault::Unreached)?;
        let stream =
            self.connect(tenant, &endpoint.place, &endpoint.server_name, tls).await.map_err(Fault::Unreached)?;
        self.speak(stream).await.map_err(Fault::Unreached)
    }

    /// HTTP/1.1 on a connection.
    async fn speak(&self, stream: Box<dyn Stream>) -> Result<Sender, String> {
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|_| "EOF".to_owned())?;
        let stop = self.stop.clone();
        self.tasks.spawn("webhook connection", async move {
            tokio::select! {
                biased;
                // At shutdown the stream is cut: its user sees the connection end.
                () = stop.stopped() => {}
                // Ends when its sender is dropped or the other end closes.
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to a tenant's server ended");
                }
            }
        });
        Ok(sender)
    }

    /// A connection with TLS to what a place names.
    ///
    /// # Errors
    /// Why there is none, in upstream's words.
    pub async fn connect(
        &self,
        tenant: &TenantName,
        place: &Place,
        server_name: &str,
        tls: Arc<ClientConfig>,
    ) -> Result<Box<dyn Stream>, String> {
        let stream: Box<dyn Stream> = match place {
            Place::Url { host, port } => Box::new(self.dial_host(tenant, host, *port).await?),
            Place::Service { namespace, name, port } => {
                match services::backend(&self.store.snapshot(), tenant, namespace, name, *port)? {
                    Backend::Pod { node, pod, port } => {
                        let (lines, port) = ((&self.stop, &self.tasks), port.to_string());
                        let tunnel = proxy::tunnel(lines, &*self.dial, &node, tenant, namespace, &pod, &port);
                        tunnel.await.map_err(|error| error.message().to_owned())?
                    }
                    Backend::Address(address) => Box::new(self.dial_address(tenant, address).await?),
                    Backend::Host(host, port) => Box::new(self.dial_host(tenant, &host, port).await?),
                }
            }
        };
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| format!("tls: {server_name:?} cannot be a server's name"))?;
        let stream = TlsConnector::from(tls).connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| tls::told(&error, server_name))?))
    }

    async fn dial_host(&self, tenant: &TenantName, host: &str, port: u16) -> Result<TcpStream, String> {
        let found = tokio::net::lookup_host((host, port)).await;
        let found = found.map_err(|_| format!("dial tcp: lookup {host}: no such host"))?;
        let mut last = format!("dial tcp: lookup {host}: no such host");
        for address in found {
            match self.dial_address(tenant, address).await {
                Ok(stream) => return Ok(stream),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    /// The one place where an address is dialled.
    async fn dial_address(&self, tenant: &TenantName, address: SocketAddr) -> Result<TcpStream, String> {
        if !self.networks.permit(tenant, address.ip()) {
            return Err(format!("dial tcp {address}: this address is not open to tenants"));
        }
        let dialled = TcpStream::connect(address).await;
        dialled.map_err(|error| format!("dial tcp {address}: connect: {}", io_text(&error)))
    }
}

/// Why an answer could not be had.
enum Fault {
    /// Told after the URL.
    Unreached(String),
    Answered(String),
}

impl From<String> for Fault {
    fn from(why: String) -> Fault {
        Fault::Answered(why)
    }
}

fn io_text(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "connection reset by peer",
        ErrorKind::HostUnreachable => "no route to host",
        ErrorKind::NetworkUnreachable => "network is unreachable",
        ErrorKind::TimedOut => "connection timed out",
        _ => "failed",
    }
}

/// What an answer that is no success is called. Its body may be anybody's: it is not told.
fn refused(code: StatusCode) -> String {
    match code.as_u16() {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => "forbidden".to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        410 => "the requested resource is no longer available".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned()
        }
        500.. => "an error on the server (\"unknown\") has prevented the request from succeeding".to_owned(),
        code => format!("the server responded with the status code {code} but did not return more details"),
    }
}
