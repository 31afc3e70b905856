//! Opens a connection to the runtime's streaming server and switches it to SPDY.
//!
//! Invariant: only loopback addresses that the runtime itself named are dialled, and no redirect is followed.

use super::UPGRADE_DEADLINE;
use api::{Error, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use runtime::Tasks;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;

pub const PROTOCOL_HEADER: &str = "x-stream-protocol-version";
pub const SPDY: &str = "SPDY/3.1";

/// As much of a refusal as is told on.
const REFUSAL_BYTES_MAX: usize = 4096;

/// A connection that speaks SPDY, and the protocol on top of it that both ends know.
pub struct Streaming {
    pub connection: TokioIo<Upgraded>,
    pub protocol: String,
}

/// Dials `url`, offering `protocols` in order of preference.
pub async fn dial(tasks: &Tasks, url: &str, protocols: &[String]) -> Result<Streaming> {
    let (address, path) = target(url)?;
    let stream = TcpStream::connect(address).await.map_err(Error::internal)?;
    // Keystrokes are small and wanted at once.
    stream.set_nodelay(true).map_err(Error::internal)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Error::internal)?;
    tasks.spawn("streaming", async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to the runtime's streaming server broke");
        }
    });
    let mut request = Request::post(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, SPDY);
    for protocol in protocols {
        request = request.header(PROTOCOL_HEADER, protocol);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(Error::internal)?;
    let late = |_| Error::internal("the runtime's streaming server did not answer");
    let answer = tokio::time::timeout(UPGRADE_DEADLINE, sender.send_request(request)).await.map_err(late)?;
    let answer = answer.map_err(Error::internal)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), REFUSAL_BYTES_MAX).collect().await;
        let body = body.map(|b| b.to_bytes()).unwrap_or_default();
        let why = String::from_utf8_lossy(&body).trim().to_owned();
        return Err(Error::internal(format!("the runtime's streaming server answered {status}: {why}")));
    }
    let protocol = answer.headers().get(PROTOCOL_HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let upgraded = hyper::upgrade::on(answer).await.map_err(Error::internal)?;
    Ok(Streaming { connection: TokioIo::new(upgraded), protocol })
}

/// The address and the path of a URL that may be dialled.
fn target(url: &str) -> Result<(SocketAddr, String)> {
    let refuse = || Error::internal(format!("the runtime named {url:?}, which is no streaming server on this node"));
    let uri: Uri = url.parse().map_err(|_| refuse())?;
    let host = uri.host().map(|h| h.trim_start_matches('[').trim_end_matches(']'));
    let ip: Option<IpAddr> = host.and_then(|h| h.parse().ok());
    match (uri.scheme_str(), ip, uri.port_u16(), uri.path_and_query()) {
        (Some("http"), Some(ip), Some(port), Some(path)) if ip.is_loopback() => {
            Ok((SocketAddr::new(ip, port), path.to_string()))
        }
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_node_is_dialled() {
        let (address, path) = target("http://127.0.0.1:4000/exec/abc").expect("a target");
        assert_eq!((address.to_string().as_str(), path.as_str()), ("127.0.0.1:4000", "/exec/abc"));
        assert!(target("http://[::1]:4000/x").is_ok());
        for bad in [
            "http://192.0.2.1:80/x",
            "http://localhost:80/x",
            "http://127.0.0.1/x",
            "https://127.0.0.1:80/x",
            "/exec/x",
            "",
            "http://127.0.0.1@192.0.2.1:80/x",
            "http://127.0.0.1.example.org:80/",
        ] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
