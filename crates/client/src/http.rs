//! The transport over HTTPS: HTTP/2 where the server offers it, else HTTP/1.1, over connections that are kept.

use crate::connector::Connector;
use crate::{Body, Client, Kubeconfig, Transport};
use api::{Error, Reason, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::rt::Executor;
use hyper_util::client::legacy;
use hyper_util::rt::TokioTimer;
use runtime::Tasks;
use std::sync::Arc;
use std::time::Duration;

/// A connection over which nothing comes is asked whether it lives after this long, and given up after as long again.
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// Sends requests to one server as one user.
pub struct HttpTransport {
    connections: legacy::Client<Connector, Full<Bytes>>,
    authority: Authority,
    /// Put in front of every path; without a `/` at its end.
    prefix: String,
    /// Sent with every request.
    headers: HeaderMap,
}

impl HttpTransport {
    /// A transport to the server and as the user of a kubeconfig. Connects when the first request is sent.
    pub fn new(config: &Kubeconfig) -> Result<HttpTransport> {
        let server: Uri = config.server.parse().map_err(|e| bad_server(&config.server, e))?;
        if server.scheme() != Some(&Scheme::HTTPS) {
            return Err(Error::bad_request(format!("the server {:?} is not an https address", config.server)));
        }
        let authority = server.authority().ok_or_else(|| bad_server(&config.server, "it names no host"))?.clone();
        let mut headers = HeaderMap::new();
        if let Some(token) = &config.token {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| Error::bad_request("the kubeconfig's token holds characters that no header may hold"))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let connections = legacy::Client::builder(Spawner(Tasks::new()))
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(PROBE_AFTER)
            .http2_keep_alive_timeout(PROBE_AFTER)
            .http2_adaptive_window(true)
            .build(Connector::new(config)?);
        let prefix = server.path().trim_end_matches('/').to_owned();
        Ok(HttpTransport { connections, authority, prefix, headers })
    }

    fn address(&self, path: &Uri) -> Result<Uri> {
        let path = path.path_and_query().map_or("/", PathAndQuery::as_str);
        let builder = Uri::builder().scheme(Scheme::HTTPS).authority(self.authority.clone());
        builder.path_and_query(format!("{}{path}", self.prefix)).build().map_err(Error::internal)
    }
}

impl Transport for HttpTransport {
    fn call(&self, mut request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>>> {
        let address = match self.address(request.uri()) {
            Ok(address) => address,
            Err(error) => return std::future::ready(Err(error)).boxed(),
        };
        *request.uri_mut() = address;
        request.headers_mut().extend(self.headers.clone());
        let authority = self.authority.clone();
        let answer = self.connections.request(request.map(Full::new));
        async move {
            let response = answer.await.map_err(|e| unreachable_server(&authority, e))?;
            Ok(response.map(|body| body.into_data_stream().map_err(broken_answer).boxed()))
        }
        .boxed()
    }
}

impl Client {
    /// A client of the server and the user that a kubeconfig's current context names.
    pub fn from_kubeconfig(path: &std::path::Path) -> Result<Client> {
        Client::of_kubeconfig(&Kubeconfig::read(path)?)
    }

    /// A client with the server and the credentials of a kubeconfig's context.
    pub fn of_kubeconfig(kubeconfig: &Kubeconfig) -> Result<Client> {
        Ok(Client::new(Arc::new(HttpTransport::new(kubeconfig)?)))
    }
}

/// Runs the connections' tasks as tasks with an owner.
#[derive(Clone)]
struct Spawner(Tasks);

impl<F> Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn("connection", task.map(drop));
    }
}

fn bad_server(server: &str, why: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("the server {server:?} is not an address: {why}"))
}

fn unreachable_server(authority: &Authority, error: legacy::Error) -> Error {
    let why = innermost(&error);
    Error::new(Reason::ServiceUnavailable, format!("no answer from https://{authority}: {why}")).with_source(error)
}

fn broken_answer(error: hyper::Error) -> Error {
    let why = innermost(&error);
    Error::new(Reason::ServiceUnavailable, format!("the answer broke off: {why}")).with_source(error)
}

/// The text of the error at the bottom, which names the cause.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests;
