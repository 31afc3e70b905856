//! The way to a node's agent: logs, exec, attach and port-forward of a pod are asked of the agent of its node.
//!
//! Invariant: which node that is comes from the stored pod alone, which was found with the request's own tenant.
//! Nothing of the caller's headers but what names the streaming protocol is passed on.

use crate::registry::Call;
use api::{Error, Reason, Result};
use axum::body::Body;
use futures::future::BoxFuture;
use http::{HeaderName, Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use policy::rbac::Attributes;
use runtime::{Stop, Tasks};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection to a node's agent.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the agents of nodes.
pub trait Dial: Send + Sync + 'static {
    /// A fresh connection that speaks HTTP/1.1 with the agent of `node`.
    fn dial<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Box<dyn Stream>>>;
}

/// The subresources of a pod that its node answers.
pub const STREAMING: [&str; 4] = ["log", "exec", "attach", "portforward"];

const FORWARDED: [HeaderName; 9] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    HeaderName::from_static("x-stream-protocol-version"),
    header::CONTENT_LENGTH,
    header::ACCEPT_ENCODING,
];

/// Passes a request for a pod's streams to its node, and the answer back; after a 101 also the bytes of both sides.
pub async fn forward(
    call: Call<'_>,
    name: &str,
    subresource: &str,
    mut request: Request<Body>,
) -> Result<Response<Body>> {
    may_stream(call, name, subresource, request.method())?;
    let pod = call.current(name)?.to_value()?;
    let container = match subresource {
        "portforward" => String::new(),
        _ => container_of(&pod, request.uri().query(), name)?,
    };
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() && subresource == "log" {
        return Ok(crate::respond::text(200, "")); // nothing has run yet
    }
    if node.is_empty() {
        let why = format!("pod {name} does not have a host assigned");
        return Err(Error::bad_request(why));
    }
    if !node_exists(call, node)? {
        return Err(Error::not_found("", "pods", node)); // upstream's words
    }
    let tenant = call.target.tenant().ok_or_else(|| Error::bad_request("this request needs one tenant"))?;
    #[cfg(test)]
    let tenant = &crate::planted::stream_of(tenant);
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let namespace = call.namespace;
    let path = match subresource {
        "portforward" => format!("/portForward/{tenant}/{namespace}/{name}{query}"),
        _ => {
            let route = if subresource == "log" { "containerLogs" } else { subresource };
            format!("/{route}/{tenant}/{namespace}/{name}/{container}{query}")
        }
    };
    let mut outgoing = Request::builder().method(request.method().clone()).uri(path).header(header::HOST, "node");
    for name in FORWARDED {
        for value in request.headers().get_all(&name) {
            outgoing = outgoing.header(&name, value);
        }
    }
    let upgrade = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    let outgoing = outgoing.body(Body::empty()).map_err(Error::internal)?;
    let stream = call.server.dial.dial(node).await?;
    exchange((&call.server.stop, &call.server.tasks), stream, outgoing, upgrade).await
}

fn node_exists(call: Call<'_>, node: &str) -> Result<bool> {
    let key = api::ObjectKey::new(api::ResourceId::new("", "nodes"), api::Space::Cluster, "", node)?;
    Ok(call.server.store.snapshot().get(&key).is_some())
}

/// A stream into a pod is a create, even where a WebSocket makes it a GET: who may only read does not get a shell.
fn may_stream(call: Call<'_>, name: &str, subresource: &str, method: &Method) -> Result<()> {
    if subresource == "log" || *method != Method::GET {
        return Ok(());
    }
    let what = Attributes {
        verb: "create",
        tenant: call.target.tenant(),
        group: &call.kind.group,
        version: &call.kind.version,
        resource: &call.kind.plural,
        subresource,
        namespace: call.namespace,
        name,
        ..Attributes::default()
    };
    crate::authz::authorize(call.server, call.identity, &what, call.target.decision())
}

/// Sends a request over a fresh connection, and reads the head of its answer.
pub async fn send(
    (stop, tasks): (&Stop, &Tasks),
    stream: Box<dyn Stream>,
    outgoing: Request<Body>,
) -> Result<Response<hyper::body::Incoming>> {
    let unreachable =
        |e: hyper::Error| Error::new(Reason::ServiceUnavailable, "the other end did not answer").with_source(e);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    let stop = stop.clone();
    tasks.spawn("node connection", async move {
        tokio::select! {
            biased;
            // At shutdown the stream is cut: its client sees the connection end.
            () = stop.stopped() => {}
            // Ends when the answer has been read or was upgraded.
            ended = connection.with_upgrades() => if let Err(error) = ended {
                tracing::debug!(%error, "a connection to a node ended");
            }
        }
    });
    sender.send_request(outgoing).await.map_err(unreachable)
}

/// Sends a request over a fresh connection, and passes its answer on; after a 101 also the bytes of both sides.
pub async fn exchange(
    (stop, tasks): (&Stop, &Tasks),
    stream: Box<dyn Stream>,
    outgoing: Request<Body>,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Result<Response<Body>> {
    let mut answer = send((stop, tasks), stream, outgoing).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = upgrade else {
            return Err(Error::bad_request("the request asks for a stream without an upgrade"));
        };
        let node = hyper::upgrade::on(&mut answer);
        let stop = stop.clone();
        tasks.spawn("stream", async move {
            let Ok((client, node)) = tokio::try_join!(client, node) else { return };
            let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
            tokio::select! {
                biased;
                // At shutdown the stream is cut: its client sees the connection end.
                () = stop.stopped() => {}
                // Ends when either side closes.
                _ = tokio::io::copy_bidirectional(&mut client, &mut node) => {}
            }
        });
        let (head, _) = answer.into_parts();
        return Ok(Response::from_parts(head, Body::empty()));
    }
    let (mut head, body) = answer.into_parts();
    head.headers.remove(header::CONNECTION);
    head.headers.remove(header::TRANSFER_ENCODING);
    Ok(Response::from_parts(head, Body::new(body)))
}

/// The container that the query names, which must be the pod's, or its only one, or its default one.
fn container_of(pod: &Value, query: Option<&str>, name: &str) -> Result<String> {
    let query = crate::options::Query::parse(query);
    let containers = ["containers", "initContainers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .filter_map(|container| container["name"].as_str());
    let all: Vec<&str> = containers.collect();
    let asked = query.get("container").filter(|c| !c.is_empty());
    let annotated = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    match (asked, all.as_slice()) {
        (Some(asked), all) if all.contains(&asked) => Ok(asked.to_owned()),
        (Some(asked), _) => Err(Error::bad_request(format!("container {asked} is not valid for pod {name}"))),
        (None, [only]) => Ok((*only).to_owned()),
        (None, all) => match annotated.filter(|c| all.contains(c)) {
            Some(container) => Ok(container.to_owned()),
            None => Err(Error::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                all.join(" ")
            ))),
        },
    }
}

/// A `Dial` of a server that has no nodes to reach.
pub struct NoNodes;

impl Dial for NoNodes {
    fn dial<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Box<dyn Stream>>> {
        let error = Error::new(Reason::ServiceUnavailable, format!("the agent of node {node} cannot be reached"));
        Box::pin(std::future::ready(Err(error)))
    }
}
