//! Switching protocols with the client, and carrying bytes between it and the runtime.

use super::dial::{self, PROTOCOL_HEADER, SPDY, Streaming};
use super::{Body, UPGRADE_DEADLINE, full};
use crate::cri::Runtime;
use api::{Error, Result};
use bytes::Bytes;
use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use runtime::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

pub type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// SPDY inside WebSocket messages: how newer clients forward ports.
const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
const PORT_FORWARD_PROTOCOL: &str = "portforward.k8s.io";

/// A message of a client is a keystroke or a piece of a file, not a file.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
const RELAY_BYTES: usize = 32 << 10;

/// What a client asks to switch to.
pub enum Upgrade {
    Spdy { protocols: Vec<String> },
    WebSocket { key: String, protocol: String },
}

impl Upgrade {
    /// Reads the request's headers; `websocket` are the protocols that are known, the best first.
    pub fn of(request: &Request<Incoming>, websocket: &[&str]) -> Result<Upgrade> {
        let headers = request.headers();
        let upgrade = values(headers, header::UPGRADE.as_str()).next().unwrap_or_default();
        if upgrade.eq_ignore_ascii_case(SPDY) {
            return Ok(Upgrade::Spdy { protocols: values(headers, PROTOCOL_HEADER).collect() });
        }
        if !upgrade.eq_ignore_ascii_case("websocket") {
            return Err(Error::bad_request("Upgrade request required"));
        }
        let offered: Vec<String> = values(headers, header::SEC_WEBSOCKET_PROTOCOL.as_str()).collect();
        let known = websocket.iter().find(|&&known| offered.iter().any(|o| o == known));
        let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|k| k.to_str().ok());
        match (known, key) {
            (Some(protocol), Some(key)) => {
                Ok(Upgrade::WebSocket { key: key.to_owned(), protocol: (*protocol).to_owned() })
            }
            (None, _) => Err(Error::bad_request(format!(
                "unable to negotiate a protocol: client supports {offered:?}, server accepts {websocket:?}"
            ))),
            (_, None) => Err(Error::bad_request("Sec-WebSocket-Key is missing")),
        }
    }
}

/// The values of a header, which may come more than once and hold several.
fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let all = headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
    all.flat_map(|v| v.split(',')).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}

/// Forwards ports of a sandbox.
pub async fn port_forward(
    runtime: &Runtime,
    tasks: &Tasks,
    sandbox: &str,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>> {
    let upgrade = Upgrade::of(request, &[TUNNEL_PROTOCOL])?;
    let url = runtime.port_forward(sandbox).await.map_err(Error::internal)?;
    match upgrade {
        Upgrade::Spdy { protocols } => {
            let streaming = dial::dial(tasks, &url, &protocols).await?;
            relay(tasks, streaming, request)
        }
        Upgrade::WebSocket { key, protocol } => {
            let Streaming { connection, .. } = dial::dial(tasks, &url, &[PORT_FORWARD_PROTOCOL.to_owned()]).await?;
            accept(tasks, &key, protocol, request, move |client| async move {
                tunnel(client, connection).await;
            })
        }
    }
}

/// Switches the client to SPDY and passes bytes on, untouched.
pub fn relay(tasks: &Tasks, streaming: Streaming, request: &mut Request<Incoming>) -> Result<Response<Body>> {
    let Streaming { mut connection, protocol } = streaming;
    let upgraded = hyper::upgrade::on(request);
    tasks.spawn("relay", async move {
        let Ok(Ok(client)) = tokio::time::timeout(UPGRADE_DEADLINE, upgraded).await else { return };
        let mut client = TokioIo::new(client);
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut connection).await {
            tracing::debug!(%error, "a relayed connection broke");
        }
    });
    let mut response = switching(SPDY);
    if !protocol.is_empty() {
        response.headers_mut().insert(PROTOCOL_HEADER, value(&protocol)?);
    }
    Ok(response)
}

/// Switches the client to WebSocket and serves it.
pub fn accept<F: Future<Output = ()> + Send + 'static>(
    tasks: &Tasks,
    key: &str,
    protocol: String,
    request: &mut Request<Incoming>,
    serve: impl FnOnce(WebSocket) -> F + Send + 'static,
) -> Result<Response<Body>> {
    let upgraded = hyper::upgrade::on(request);
    tasks.spawn("websocket", async move {
        let Ok(Ok(client)) = tokio::time::timeout(UPGRADE_DEADLINE, upgraded).await else { return };
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        serve(WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, Some(limits)).await).await;
    });
    let mut response = switching("websocket");
    response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, value(&derive_accept_key(key.as_bytes()))?);
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, value(&protocol)?);
    Ok(response)
}

fn switching(to: &'static str) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(to));
    response
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(Error::internal)
}

/// Ends a WebSocket as meant: clients take an end without a code for an error.
pub async fn hang_up(to_client: &mut SplitSink<WebSocket, Message>) {
    let normal = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
    // Best effort: the client may be gone.
    let _ = to_client.send(Message::Close(Some(normal))).await;
}

/// Takes SPDY out of a client's WebSocket messages and puts the runtime's in.
async fn tunnel(client: WebSocket, connection: TokioIo<Upgraded>) {
    let (mut read, mut write) = tokio::io::split(connection);
    let (mut to_client, mut from_client) = client.split();
    let up = async {
        while let Some(Ok(message)) = from_client.next().await {
            match message {
                Message::Binary(bytes) => {
                    if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                        return;
                    }
                }
                Message::Close(_) => return,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; RELAY_BYTES];
        while let Ok(n @ 1..) = read.read(&mut buffer).await {
            if to_client.send(Message::Binary(Bytes::copy_from_slice(&buffer[..n]))).await.is_err() {
                return;
            }
        }
        hang_up(&mut to_client).await;
    };
    tokio::select! {
        biased;
        // Cancelled when the runtime hung up, and the other way round: half a tunnel is none.
        () = up => {}
        () = down => {}
    }
}
