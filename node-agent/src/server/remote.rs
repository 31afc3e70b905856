//! Exec and attach. Old clients speak SPDY, which the runtime speaks too: their bytes are passed on untouched. New ones
//! speak WebSocket, which is translated here, because runtimes know no way to close stdin alone there.
//!
//! ```text
//!   WebSocket message: channel byte, data        SPDY stream, header streamtype
//!     0 stdin   1 stdout   2 stderr                 the same
//!     3 error: a Status, once                       error
//!     4 resize: {"Width":…,"Height":…}              resize
//!   255 (v5) close the channel named by the data    stream is finished
//! ```

use super::Body;
use super::dial::{self, Streaming};
use super::query::Query;
use super::spdy::{Frame, Reader, Writer};
use super::tunnel::{self, Upgrade, WebSocket};
use crate::cri::Runtime;
use crate::observed::Container;
use api::{Error, Result};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use k8s_cri::v1::{AttachRequest, ExecRequest};
use runtime::Tasks;
use serde_json::json;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// WebSocket protocols that are translated, the best first.
const WEBSOCKET_PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// What is spoken to the runtime for them.
const RUNTIME_PROTOCOL: &str = "v4.channel.k8s.io";

/// Pings of the runtime that wait for their answer.
const PINGS_MAX: usize = 8;

/// Which streams of a process are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Streams {
    /// With a terminal there is no stderr of its own.
    fn of(query: &Query) -> Result<Streams> {
        let tty = query.flag(&["tty"])?;
        let streams = Streams {
            stdin: query.flag(&["stdin", "input"])?,
            stdout: query.flag(&["stdout", "output"])?,
            stderr: query.flag(&["stderr", "error"])? && !tty,
            tty,
        };
        if !(streams.stdin || streams.stdout || streams.stderr) {
            return Err(Error::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        Ok(streams)
    }
}

/// Runs a command in a container, its streams at the client's end.
pub async fn exec(
    runtime: &Runtime,
    tasks: &Tasks,
    container: Container,
    query: &Query,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>> {
    let cmd: Vec<String> = query.all("command").map(str::to_owned).collect();
    if cmd.is_empty() {
        return Err(Error::bad_request("you must specify at least 1 command to execute"));
    }
    let streams = Streams::of(query)?;
    let Streams { stdin, stdout, stderr, tty } = streams;
    let upgrade = Upgrade::of(request, &WEBSOCKET_PROTOCOLS)?;
    let asked = ExecRequest { container_id: container.id, cmd, tty, stdin, stdout, stderr };
    let url = runtime.exec(asked).await.map_err(Error::internal)?;
    connect(tasks, url, streams, upgrade, request).await
}

/// Attaches the client to a container's first process.
pub async fn attach(
    runtime: &Runtime,
    tasks: &Tasks,
    container: Container,
    query: &Query,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>> {
    let streams = Streams::of(query)?;
    let Streams { stdin, stdout, stderr, tty } = streams;
    let upgrade = Upgrade::of(request, &WEBSOCKET_PROTOCOLS)?;
    let asked = AttachRequest { container_id: container.id, tty, stdin, stdout, stderr };
    let url = runtime.attach(asked).await.map_err(Error::internal)?;
    connect(tasks, url, streams, upgrade, request).await
}

async fn connect(
    tasks: &Tasks,
    url: String,
    streams: Streams,
    upgrade: Upgrade,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>> {
    match upgrade {
        Upgrade::Spdy { protocols } => {
            let streaming = dial::dial(tasks, &url, &protocols).await?;
            tunnel::relay(tasks, streaming, request)
        }
        Upgrade::WebSocket { key, protocol } => {
            let Streaming { connection, .. } = dial::dial(tasks, &url, &[RUNTIME_PROTOCOL.to_owned()]).await?;
            let can_close = protocol == WEBSOCKET_PROTOCOLS[0];
            tunnel::accept(tasks, &key, protocol, request, move |client| async move {
                translate(client, connection, streams, can_close).await;
            })
        }
    }
}

/// Carries a WebSocket client's streams to and from the runtime until either end is done.
async fn translate(client: WebSocket, connection: TokioIo<Upgraded>, streams: Streams, can_close: bool) {
    let (read, write) = tokio::io::split(connection);
    let (to_client, from_client) = client.split();
    let mut to_runtime = Writer::new(write);
    let opened = match Opened::open(&mut to_runtime, streams).await {
        Ok(opened) => opened,
        Err(error) => {
            tracing::debug!(%error, "the runtime's streaming server hung up");
            return;
        }
    };
    let (pings, pinged) = mpsc::channel(PINGS_MAX);
    let down = Down { to_client, from_runtime: Reader::new(read), opened: &opened, pings };
    let up = up(from_client, to_runtime, &opened, can_close, pinged);
    tokio::select! {
        biased;
        // Cancelled when the client is gone: nobody wants the rest.
        () = down.run(streams) => {}
        // Cancelled when the process has ended.
        error = up => tracing::debug!(?error, "a client hung up"),
    }
}

/// The numbers of the SPDY streams.
struct Opened {
    error: u32,
    stdin: Option<u32>,
    stdout: Option<u32>,
    stderr: Option<u32>,
    resize: Option<u32>,
}

impl Opened {
    async fn open(writer: &mut Writer<WriteHalf<TokioIo<Upgraded>>>, streams: Streams) -> std::io::Result<Opened> {
        let mut open = async |wanted: bool, kind: &str| {
            if wanted { writer.open("streamtype", kind).await.map(Some) } else { Ok(None) }
        };
        let error = open(true, "error").await?.expect("it was wanted");
        Ok(Opened {
            error,
            stdin: open(streams.stdin, "stdin").await?,
            stdout: open(streams.stdout, "stdout").await?,
            stderr: open(streams.stderr, "stderr").await?,
            resize: open(streams.tty, "resize").await?,
        })
    }

    fn channel(&self, stream: u32) -> Option<u8> {
        let stream = Some(stream);
        if stream == Some(self.error) {
            Some(ERROR)
        } else if stream == self.stdout {
            Some(STDOUT)
        } else if stream == self.stderr {
            Some(STDERR)
        } else {
            None
        }
    }
}

/// From the client to the runtime, until the client hangs up.
async fn up(
    mut from_client: SplitStream<WebSocket>,
    mut to_runtime: Writer<WriteHalf<TokioIo<Upgraded>>>,
    opened: &Opened,
    can_close: bool,
    mut pinged: mpsc::Receiver<u32>,
) -> std::io::Result<()> {
    loop {
        let message = tokio::select! {
            biased;
            // Cancel-safe.
            Some(number) = pinged.recv() => {
                to_runtime.pong(number).await?;
                continue;
            }
            // Cancel-safe: a stream.
            message = from_client.next() => message,
        };
        let bytes = match message {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Text(text))) => Bytes::from(text),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Close(_))) | None => return Ok(()),
            Some(Err(error)) => return Err(std::io::Error::other(error)),
        };
        match (bytes.first(), opened.stdin, opened.resize) {
            (Some(&STDIN), Some(stdin), _) => to_runtime.send(stdin, &bytes[1..]).await?,
            (Some(&RESIZE), _, Some(resize)) => to_runtime.send(resize, &bytes[1..]).await?,
            (Some(&CLOSE), Some(stdin), _) if can_close && bytes.get(1) == Some(&STDIN) => {
                to_runtime.finish(stdin).await?
            }
            // Nothing else is the client's to send.
            _ => {}
        }
    }
}

/// From the runtime to the client.
struct Down<'a> {
    to_client: SplitSink<WebSocket, Message>,
    from_runtime: Reader<ReadHalf<TokioIo<Upgraded>>>,
    opened: &'a Opened,
    pings: mpsc::Sender<u32>,
}

impl Down<'_> {
    /// Runs until the process has ended and everything that it wrote was told.
    async fn run(mut self, streams: Streams) {
        // An empty message tells the client that the process is there.
        let first = if streams.stdout {
            STDOUT
        } else if streams.stderr {
            STDERR
        } else {
            ERROR
        };
        let mut has_status = false;
        let mut is_open = self.tell(first, &[]).await;
        let mut unfinished = 1 + usize::from(streams.stdout) + usize::from(streams.stderr);
        while is_open && unfinished > 0 {
            let (stream, bytes, is_last) = match self.from_runtime.next().await {
                Ok(Some(Frame::Data { stream, bytes, is_last })) => (stream, bytes, is_last),
                Ok(Some(Frame::Reset { stream })) => (stream, Bytes::new(), true),
                Ok(Some(Frame::Ping(number))) => {
                    // One that finds no room is one of too many.
                    let _ = self.pings.try_send(number);
                    continue;
                }
                Ok(Some(Frame::GoAway) | None) | Err(_) => break,
            };
            let Some(channel) = self.opened.channel(stream) else { continue };
            if !bytes.is_empty() {
                has_status |= channel == ERROR;
                is_open = self.tell(channel, &bytes).await;
            }
            unfinished -= usize::from(is_last);
        }
        if is_open && !has_status {
            let lost = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "the connection to the container was lost", "reason": "InternalError", "code": 500,
            });
            self.tell(ERROR, lost.to_string().as_bytes()).await;
        }
        tunnel::hang_up(&mut self.to_client).await;
    }

    /// False when the client is gone.
    async fn tell(&mut self, channel: u8, bytes: &[u8]) -> bool {
        let mut message = Vec::with_capacity(1 + bytes.len());
        message.push(channel);
        message.extend_from_slice(bytes);
        self.to_client.send(Message::Binary(message.into())).await.is_ok()
    }
}
