//! Clients whose writes name the instance that makes them, and that write nothing once others may have its work.

use super::share::Share;
use api::{Error, Identity, Reason, Result};
use bytes::Bytes;
use client::{Body, Client, Connect, Transport};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderName, Method, Request, Response};
use std::sync::Arc;

/// `NAME/EPOCH` of the instance.
const HEADER: HeaderName = HeaderName::from_static("ursa-controller-instance");

/// Makes such clients.
pub struct Fenced {
    pub connect: Arc<dyn Connect>,
    pub share: Share,
}

impl Connect for Fenced {
    fn connect(&self, identity: Identity) -> Client {
        let share = self.share.clone();
        self.connect.connect(identity).through(|inner| Arc::new(Guarded { inner, share }))
    }
}

struct Guarded {
    inner: Arc<dyn Transport>,
    share: Share,
}

impl Transport for Guarded {
    fn call(&self, mut request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>>> {
        if *request.method() != Method::GET {
            if !self.share.is_valid() {
                let why = "this instance was silent for so long that others may do its work";
                return std::future::ready(Err(Error::new(Reason::Conflict, why))).boxed();
            }
            if let Some(fence) = self.share.fence() {
                request.headers_mut().insert(HEADER, fence);
            }
        }
        self.inner.call(request)
    }
}
