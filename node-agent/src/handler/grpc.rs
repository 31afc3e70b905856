//! The gRPC health check: one message of one field each way.

use http::uri::PathAndQuery;
use std::net::{IpAddr, SocketAddr};
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: i32 = 1;

/// Asks whether a service of the pod serves.
pub async fn check(ip: IpAddr, port: u16, service: &str) -> Result<(), String> {
    let address = SocketAddr::new(ip, port);
    let endpoint = Endpoint::try_from(format!("http://{address}")).map_err(|e| e.to_string())?;
    let unreachable = |_| format!("failed to connect service {address}");
    let mut client = Grpc::new(endpoint.connect().await.map_err(unreachable)?);
    client.ready().await.map_err(|e| e.to_string())?;
    let request = tonic::Request::new(HealthCheckRequest { service: service.to_owned() });
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec: ProstCodec<HealthCheckRequest, HealthCheckResponse> = ProstCodec::default();
    let answer = client.unary(request, path, codec).await;
    let answer = answer.map_err(|status| format!("health check failed: {}", status.message()))?;
    match answer.into_inner().status {
        SERVING => Ok(()),
        other => {
            let name = usize::try_from(other).ok().and_then(|i| STATUSES.get(i)).unwrap_or(&"UNKNOWN");
            Err(format!("service unhealthy (responded with {name:?})"))
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use bytes::{BufMut, Bytes, BytesMut};
    use http_body_util::{BodyExt, StreamBody};
    use hyper::body::Frame;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use prost::Message;
    use std::sync::Arc;
    use std::sync::Mutex;

    /// Answers one health check with a status; the port, and the service that was asked for.
    pub async fn serve_one(status: i32) -> (u16, impl Future<Output = String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let served = async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let asked = Arc::new(Mutex::new(String::new()));
            let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| {
                let asked = asked.clone();
                async move {
                    let body = request.into_body().collect().await.expect("a body").to_bytes();
                    let request = HealthCheckRequest::decode(&body[5..]).expect("a request");
                    *asked.lock().expect("no panic") = request.service;
                    let answer = HealthCheckResponse { status }.encode_to_vec();
                    let mut message = BytesMut::new();
                    message.put_u8(0);
                    message.put_u32(u32::try_from(answer.len()).expect("short"));
                    message.put_slice(&answer);
                    let trailers = http::HeaderMap::from_iter([(
                        "grpc-status".parse().expect("a name"),
                        "0".parse().expect("a value"),
                    )]);
                    let frames: [Result<_, std::io::Error>; 2] =
                        [Ok(Frame::data(message.freeze())), Ok(Frame::trailers(trailers))];
                    let body = StreamBody::new(futures::stream::iter(frames)).boxed();
                    let _: &http_body_util::combinators::BoxBody<Bytes, _> = &body;
                    http::Response::builder().header("content-type", "application/grpc").body(body)
                }
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // Ends when the client, which asks once, is gone.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            asked.lock().expect("no panic").clone()
        };
        (port, served)
    }
}
