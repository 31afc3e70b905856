//! Answers the API server about this node's pods: logs, exec, attach, port-forward.
//!
//! ```text
//!   GET       /healthz
//!   GET       /containerLogs/TENANT/NAMESPACE/POD/CONTAINER ?follow&tailLines&sinceSeconds&sinceTime&timestamps&limitBytes&previous
//!   GET POST  /exec/TENANT/NAMESPACE/POD/CONTAINER          ?command=…&stdin&stdout&stderr&tty   (or input, output, error)
//!   GET POST  /attach/TENANT/NAMESPACE/POD/CONTAINER        ?stdin&stdout&stderr&tty
//!   GET POST  /portForward/TENANT/NAMESPACE/POD
//!   GET       /proxy/TENANT/NAMESPACE/POD/PORT              a connection to the pod's address
//! ```
//!
//! It trusts whoever is at the other end of a connection to have authorized the request: only the API server can be.
//! Invariant: a pod is found by its tenant, namespace and name together; a container only in that pod.

mod dial;
mod proxy;
mod query;
mod remote;
mod spdy;
mod tunnel;

use crate::cri::Runtime;
use crate::logs;
use crate::observed::{Container, Observed};
use crate::pod::{Pod, PodRef};
use api::{Error, Result, TenantName, Timestamp};
use bytes::Bytes;
use client::{Cache, ObjectRef};
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use query::Query;
use runtime::Tasks;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Chunks of a log that wait for their reader; the file waits for them.
const LOG_CHUNKS_MAX: usize = 4;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Answers the API server about this node's pods: logs, exec, attach, port-forward. Cheap to clone.
#[derive(Clone)]
pub struct NodeServer(Arc<Shared>);

struct Shared {
    runtime: Runtime,
    pods: Cache<Pod>,
    node: String,
    /// What outlives the answer to its request: upgraded connections and logs.
    tasks: Tasks,
}

impl NodeServer {
    pub(crate) fn new(runtime: Runtime, pods: Cache<Pod>, node: String) -> NodeServer {
        NodeServer(Arc::new(Shared { runtime, pods, node, tasks: Tasks::new() }))
    }

    /// Serves one HTTP/1.1 connection until it ends. Only the API server may be at its other end.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(|request| async { Ok::<_, Infallible>(self.answer(request).await) });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection of the API server broke");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match self.route(request).await {
            Ok(response) => response,
            Err(error) => {
                if let Some(why) = std::error::Error::source(&error) {
                    tracing::warn!(%why, "a request about a pod failed");
                }
                refusal(&error)
            }
        }
    }

    async fn route(&self, mut request: Request<Incoming>) -> Result<Response<Body>> {
        let path = request.uri().path().to_owned();
        let query = Query::parse(request.uri().query().unwrap_or_default())?;
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let can_stream = matches!(*request.method(), Method::GET | Method::POST);
        match segments[..] {
            ["healthz"] => Ok(Response::new(full("ok"))),
            ["containerLogs", tenant, namespace, pod, container] if request.method() == Method::GET => {
                self.logs(self.find(tenant, namespace, pod)?, container, &query).await
            }
            ["exec", tenant, namespace, pod, container] if can_stream => {
                let container = self.running(self.find(tenant, namespace, pod)?, container).await?;
                remote::exec(&self.0.runtime, &self.0.tasks, container, &query, &mut request).await
            }
            ["attach", tenant, namespace, pod, container] if can_stream => {
                let container = self.running(self.find(tenant, namespace, pod)?, container).await?;
                remote::attach(&self.0.runtime, &self.0.tasks, container, &query, &mut request).await
            }
            ["portForward", tenant, namespace, pod] if can_stream => {
                let (_, reference) = self.find(tenant, namespace, pod)?;
                let observed = self.observe(&reference).await?;
                let sandbox = observed.ready_sandbox();
                let sandbox = sandbox.ok_or_else(|| Error::bad_request(format!("pod {pod:?} is not running")))?;
                tunnel::port_forward(&self.0.runtime, &self.0.tasks, &sandbox.id, &mut request).await
            }
            ["proxy", tenant, namespace, pod, port] if request.method() == Method::GET => {
                let (_, reference) = self.find(tenant, namespace, pod)?;
                let observed = self.observe(&reference).await?;
                let addresses = observed.ready_sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
                proxy::connect(&self.0.tasks, &addresses, port, &mut request).await
            }
            _ => Err(Error::no_such_path()),
        }
    }

    fn find(&self, tenant: &str, namespace: &str, name: &str) -> Result<(Arc<Pod>, PodRef)> {
        let key = ObjectRef::new(&TenantName::new(tenant)?, namespace, name);
        let pod = self.0.pods.get(&key).ok_or_else(|| Error::not_found("", "pods", name))?;
        let reference = pod.reference().ok_or_else(|| Error::not_found("", "pods", name))?;
        Ok((pod, reference))
    }

    async fn observe(&self, reference: &PodRef) -> Result<Observed> {
        Observed::of(&self.0.runtime, reference, &self.0.node).await.map_err(Error::internal)
    }

    /// The container that runs under a name.
    async fn running(&self, (pod, reference): (Arc<Pod>, PodRef), name: &str) -> Result<Container> {
        if pod.spec.container(name).is_none() {
            return Err(not_in_pod(&reference, name));
        }
        let observed = self.observe(&reference).await?;
        let running = observed.latest(name).filter(|c| c.running_since().is_some());
        running.cloned().ok_or_else(|| Error::new(api::Reason::NotFound, format!("container not found (\"{name}\")")))
    }

    async fn logs(&self, (pod, reference): (Arc<Pod>, PodRef), name: &str, query: &Query) -> Result<Response<Body>> {
        if pod.spec.container(name).is_none() {
            return Err(not_in_pod(&reference, name));
        }
        let options = log_options(query, Timestamp::now())?;
        let observed = self.observe(&reference).await?;
        let container = choose(&pod, &reference, &observed, name, query.flag(&["previous"])?)?;
        let (id, path) = (container.id.clone(), PathBuf::from(&container.log_path));
        let (out, chunks) = mpsc::channel(LOG_CHUNKS_MAX);
        let runtime = self.0.runtime.clone();
        self.0.tasks.spawn("log", async move {
            let is_running = || async {
                let status = runtime.container_status(&id).await;
                status.is_ok_and(|s| s.state == k8s_cri::v1::ContainerState::ContainerRunning as i32)
            };
            if let Err(error) = logs::send(&path, &options, is_running, out.clone()).await
                && error.kind() != io::ErrorKind::NotFound
            {
                // The reader sees the connection break.
                let _ = out.send(Err(error)).await;
            }
        });
        let chunks = stream::unfold(chunks, |mut chunks| async {
            let next = chunks.recv().await?;
            Some((next.map(Frame::data), chunks))
        });
        let body = StreamBody::new(chunks).boxed_unsync();
        let response = Response::builder().header(header::CONTENT_TYPE, "text/plain");
        response.body(body).map_err(Error::internal)
    }
}

/// The container whose log is wanted, in upstream's words where there is none.
fn choose<'a>(
    pod: &Pod,
    reference: &PodRef,
    observed: &'a Observed,
    name: &str,
    previous: bool,
) -> Result<&'a Container> {
    let known = pod.known_status(name);
    let of_pod = &reference.name;
    if previous {
        let id = known["lastState"]["terminated"]["containerID"].as_str();
        let told = observed.containers.iter().find(|c| id.is_some_and(|id| id.ends_with(&c.id)));
        let before =
            || Error::bad_request(format!("previous terminated container {name:?} in pod {of_pod:?} not found"));
        return told.or_else(|| observed.previous(name)).ok_or_else(before);
    }
    observed.latest(name).ok_or_else(|| {
        let reason = known["state"]["waiting"]["reason"].as_str().unwrap_or("ContainerCreating");
        let why = match reason {
            "ErrImagePull" => "image can't be pulled",
            "ImagePullBackOff" => "trying and failing to pull image",
            other => other,
        };
        Error::bad_request(format!("container {name:?} in pod {of_pod:?} is waiting to start: {why}"))
    })
}

fn log_options(query: &Query, now: Timestamp) -> Result<logs::Options> {
    let bad = |name: &str| Error::bad_request(format!("{name} is not valid"));
    let number = |name: &str| query.get(name).map(|text| text.parse::<u64>().map_err(|_| bad(name))).transpose();
    let since_time = query.get("sinceTime").map(|text| Timestamp::parse(text).ok_or_else(|| bad("sinceTime")));
    let since_seconds = number("sinceSeconds")?.map(|secs| {
        let secs = i64::try_from(secs).unwrap_or(i64::MAX);
        Timestamp::from_unix_secs(now.unix_secs().saturating_sub(secs))
    });
    Ok(logs::Options {
        follow: query.flag(&["follow"])?,
        tail_lines: number("tailLines")?,
        since: since_time.transpose()?.or(since_seconds),
        timestamps: query.flag(&["timestamps"])?,
        limit_bytes: number("limitBytes")?,
    })
}

fn not_in_pod(pod: &PodRef, container: &str) -> Error {
    Error::bad_request(format!("container {container} is not valid for pod {}", pod.name))
}

/// An error as its Status.
fn refusal(error: &Error) -> Response<Body> {
    let code = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(full(error.to_status().to_string()));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

/// How long the other end may take to switch protocols after it was told to.
const UPGRADE_DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<logs::Options> {
        log_options(&Query::parse(text)?, Timestamp::from_unix_secs(1000))
    }

    #[test]
    fn log_options_are_read_from_the_query() {
        let all = options("follow=true&tailLines=3&sinceSeconds=10&timestamps=1&limitBytes=5").expect("options");
        let since = Some(Timestamp::from_unix_secs(990));
        let expected =
            logs::Options { follow: true, tail_lines: Some(3), since, timestamps: true, limit_bytes: Some(5) };
        assert_eq!(all, expected);
        assert_eq!(options("").expect("none"), logs::Options::default());
        for bad in ["tailLines=-1", "tailLines=x", "sinceTime=yesterday", "follow=perhaps", "limitBytes="] {
            assert!(options(bad).is_err(), "{bad}");
        }
    }
}
