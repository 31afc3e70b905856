//! A node's agent that answers every request with the canary of the tenant that the path names, and remembers what it was
//! asked; or one that an attacker has made.

use super::CANARY;
use crate::nodes::{Dial, Stream};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use runtime::Tasks;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// What an agent answers to the path that it is asked for.
pub type Answers = fn(&str) -> Response<Full<Bytes>>;

/// The agents of all nodes.
#[derive(Clone)]
pub struct Agents {
    answers: Answers,
    /// Whether they switch to the bytes of a pod where they are asked to; the pod answers requests, too.
    switches: bool,
    /// Who was asked, a node or a pod on it, for what, and with which headers: their names.
    pub asked: Asked,
    /// How many connections were made.
    pub dialled: Arc<Mutex<usize>>,
    tasks: Tasks,
}

type Asked = Arc<Mutex<Vec<(String, String, Vec<String>)>>>;

impl Agents {
    pub fn new(answers: Answers) -> Agents {
        Agents { answers, switches: false, asked: Arc::default(), dialled: Arc::default(), tasks: Tasks::new() }
    }

    /// Logs of tenant `umbrella` hold the canary.
    pub fn with_logs() -> Agents {
        let answers = |path: &str| {
            let text = if path.split('/').any(|part| part == "umbrella") { CANARY } else { "own" };
            Response::new(Full::new(Bytes::from(format!("a line: {text}\n"))))
        };
        Agents { switches: true, ..Agents::new(answers) }
    }

    async fn answer(&self, place: &str, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().to_string();
        let names = request.headers().keys().map(|name| name.as_str().to_owned()).collect();
        self.asked.lock().push((place.to_owned(), format!("{} {path}", request.method()), names));
        if !(self.switches && path.starts_with("/proxy/") && !place.starts_with("pod of ")) {
            return Ok((self.answers)(&path));
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let (agents, place) = (self.clone(), format!("pod of {path}"));
        self.tasks.spawn("pod", async move {
            if let Ok(upgraded) = upgrade.await {
                agents.serve(&place, TokioIo::new(upgraded)).await;
            }
        });
        let switched = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "tcp");
        Ok(switched.body(Full::default()).expect("an answer"))
    }

    fn serve<'a>(
        &'a self,
        place: &'a str,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> BoxFuture<'a, ()> {
        let service = service_fn(move |request| self.answer(place, request));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        Box::pin(async move { drop(connection.with_upgrades().await) })
    }
}

impl Dial for Agents {
    fn dial<'a>(&'a self, node: &'a str) -> BoxFuture<'a, api::Result<Box<dyn Stream>>> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        *self.dialled.lock() += 1;
        let (agents, node) = (self.clone(), node.to_owned());
        self.tasks.spawn("agent", async move { agents.serve(&node, far).await });
        Box::pin(std::future::ready(Ok(Box::new(near) as Box<dyn Stream>)))
    }
}
