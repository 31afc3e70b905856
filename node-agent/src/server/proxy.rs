//! A way to a port of a pod: bytes between the API server and the address that the runtime gave to the pod's sandbox.
//!
//! Invariant: the address comes from the runtime, never from what a tenant can write; loopback and link-local addresses are
//! not dialled, so that a pod in the node's own network is no way to what listens on the node alone.

use super::{Body, UPGRADE_DEADLINE, full};
use api::{Error, Reason, Result};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use runtime::Tasks;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// What the API server asks to switch to.
const TCP: &str = "tcp";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to a port of a pod, and switches to the bytes of that connection.
pub async fn connect(
    tasks: &Tasks,
    addresses: &[IpAddr],
    port: &str,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>> {
    let port: u16 = port.parse().map_err(|_| Error::bad_request(format!("{port:?} is no port")))?;
    let address = addresses.iter().find(|address| is_proxyable(address));
    let address = address.ok_or_else(|| Error::bad_request("address not allowed"))?;
    let wanted = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if wanted != TCP {
        return Err(Error::bad_request("Upgrade request required"));
    }
    let target = SocketAddr::new(*address, port);
    let unreachable = |why: String| {
        Error::new(Reason::ServiceUnavailable, format!("error trying to reach service: dial tcp {target}: {why}"))
    };
    let dialled = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await;
    let mut pod = match dialled {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable("i/o timeout".to_owned())),
    };
    let upgrade = hyper::upgrade::on(request);
    tasks.spawn("proxied connection", async move {
        let Ok(Ok(upgraded)) = tokio::time::timeout(UPGRADE_DEADLINE, upgrade).await else { return };
        if let Err(error) = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut pod).await {
            tracing::debug!(%error, "a proxied connection broke");
        }
    });
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(TCP));
    Ok(response)
}

/// Whether an address may be dialled on behalf of a client.
fn is_proxyable(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_node_should_reach_is_not_dialled() {
        let allowed = |text: &str| is_proxyable(&text.parse().expect("an address"));
        assert!(allowed("10.88.0.5") && allowed("2001:db8::1"));
        for bad in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }
}
