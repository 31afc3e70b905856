//! The seam between a client and whatever answers it.

use crate::Client;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// The body of an answer, as it arrives.
pub type Body = BoxStream<'static, api::Result<bytes::Bytes>>;

/// Where requests go: in process, or over HTTPS. The identity is fixed in the transport.
///
/// The request's URI is a path with its query, without scheme and authority. An answer is any that the server gave, errors
/// included; `Err` means that there was none.
pub trait Transport: Send + Sync + 'static {
    fn call(&self, request: http::Request<bytes::Bytes>) -> BoxFuture<'static, api::Result<http::Response<Body>>>;
}

/// Makes clients that act as a given identity: in process, where it is trusted.
pub trait Connect: Send + Sync + 'static {
    fn connect(&self, identity: api::Identity) -> Client;
}
