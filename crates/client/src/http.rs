//! The transport over HTTPS.

use crate::{Body, Client, Connect, Transport};
use api::Result;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use std::sync::Arc;

/// Sends requests to one server, over connections that are kept.
pub struct HttpTransport {}

impl Transport for HttpTransport {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>>> {
        drop(request);
        Box::pin(async { Err(api::Error::new(api::Reason::ServiceUnavailable, "not connected")) })
    }
}

/// Makes clients that act as others: each request of theirs impersonates.
pub struct HttpConnect {
    transport: Arc<HttpTransport>,
}

impl HttpConnect {
    /// Impersonation needs the right to do so on the server.
    pub fn new(transport: Arc<HttpTransport>) -> HttpConnect {
        HttpConnect { transport }
    }
}

impl Connect for HttpConnect {
    fn connect(&self, identity: api::Identity) -> Client {
        drop(identity);
        Client::new(self.transport.clone())
    }
}
