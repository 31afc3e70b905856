//! What is left of a request's body when the answer is known.
//!
//! A request that is refused early leaves its body on the connection. HTTP/1 has no way around it: it is read off, or the
//! connection is closed, which clients see as a failure of their next request. Small rests are read off.

use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// More than this is not worth reading: the connection is closed.
const REST_BYTES_MAX: usize = 256 * 1024;

/// A client that sends slower than this is not worth waiting for.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes the rest of a request's body off the connection.
pub struct Rest(Option<Shared>);

/// Gives the request a body that can be dropped early, and keeps a hold on what is left of it then.
pub fn keep(request: Request<Incoming>) -> (Request<Body>, Rest) {
    if request.body().is_end_stream() {
        return (request.map(Body::new), Rest(None));
    }
    let (head, incoming) = request.into_parts();
    let shared = Shared(Arc::new(Mutex::new(incoming)));
    (Request::from_parts(head, Body::new(shared.clone())), Rest(Some(shared)))
}

impl Rest {
    /// Reads what is left, within limits. To be called before the answer is sent.
    pub async fn read(self) {
        let Some(mut body) = self.0 else { return };
        let mut left = REST_BYTES_MAX;
        let all = async {
            while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(less) => left = less,
                    None => return,
                }
            }
        };
        // Past its time the connection is closed, as it is past the limit.
        drop(tokio::time::timeout(REST_TIMEOUT, all).await);
    }
}

/// A body with two holders, of which one reads at a time: first the handler, then [`Rest`].
#[derive(Clone)]
struct Shared(Arc<Mutex<Incoming>>);

impl Shared {
    fn with<T>(&self, look: impl FnOnce(&mut Incoming) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl http_body::Body for Shared {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.with(|body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.with(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|body| body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_request_that_is_refused_unread_does_not_end_its_connection() {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let refuse = service_fn(|request: Request<Incoming>| async {
            let (request, rest) = keep(request);
            drop(request);
            rest.read().await;
            Ok::<_, std::convert::Infallible>(
                Response::builder().status(404).body(Body::empty()).expect("a plain answer"),
            )
        });
        let serve = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), refuse);
        let talk = async {
            for _ in 0..2 {
                client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").await.expect("it is open");
                // The head has been handled when the server has nothing more to do.
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                client.write_all(b"hello").await.expect("it is open");
                let mut answer = [0; 256];
                let length = client.read(&mut answer).await.expect("it is open");
                assert!(answer[..length].starts_with(b"HTTP/1.1 404"), "{:?}", &answer[..length]);
            }
        };
        tokio::select! {
            // Ends only if the server closes the connection.
            ended = serve => panic!("the connection was closed: {ended:?}"),
            // Cancelled with it.
            () = talk => {}
        }
    }
}
