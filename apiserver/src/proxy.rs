//! Proxies: a request to a node's agent, or to a port of a pod or of a service, passed on with its method, path and body.
//!
//! Invariant: a pod is reached through the agent of its node, which knows the pod's address from its runtime. No address that
//! a tenant can write, in a status or in an endpoint, is ever dialled, and no redirect is followed.

use crate::nodes::{self, Dial, Stream};
use crate::path::ResourcePath;
use crate::registry::Call;
use api::{Error, Object, ObjectKey, Reason, ResourceId, Result, TenantName};
use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use runtime::{Stop, Tasks};
use serde_json::Value;
use std::sync::Arc;

/// What concerns only the connection of the client.
const OF_CONNECTION: [HeaderName; 5] = [
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The subresource that is answered here.
pub const PROXY: &str = "proxy";

/// Where a request goes.
enum Place {
    Agent { node: String },
    Pod { node: String, pod: String, port: String },
}

/// Passes a request on, and the answer back.
pub async fn forward(call: Call<'_>, path: &ResourcePath, mut request: Request<Body>) -> Result<Response<Body>> {
    let target = Target::parse(&path.name)
        .ok_or_else(|| Error::bad_request(format!("invalid {} request {:?}", call.kind.singular, path.name)))?;
    if target.scheme == "https" {
        return Err(Error::bad_request("a proxy over TLS is not supported: name the port without a scheme"));
    }
    let place = match call.kind.plural.as_str() {
        "nodes" => Place::Agent { node: call.current(target.name).map(|_| target.name.to_owned())? },
        "pods" => pod_place(&call.current(target.name)?.to_value()?, target.port)?,
        _ => service_place(call, &target)?,
    };
    let uri = request.uri().clone();
    let (prefix, rest) = split(uri.path(), path.rest.len());
    if rest.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
        return redirect_below(&uri);
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let upgrade = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    let outgoing = outgoing(request, &format!("/{}{query}", rest_of(rest)), prefix)?;
    let stream = connect(call, &place).await?;
    let mut answer = nodes::exchange((&call.server.stop, &call.server.tasks), stream, outgoing, upgrade).await?;
    keep_below(answer.headers_mut(), prefix);
    Ok(answer)
}

/// `[SCHEME:]NAME[:PORT]`
struct Target<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

impl<'a> Target<'a> {
    fn parse(text: &'a str) -> Option<Target<'a>> {
        let parts: Vec<&str> = text.split(':').collect();
        let target = match parts[..] {
            [name] => Target { scheme: "", name, port: "" },
            [name, port] => Target { scheme: "", name, port },
            [scheme @ ("" | "http" | "https"), name, port] => Target { scheme, name, port },
            _ => return None,
        };
        (!target.name.is_empty()).then_some(target)
    }
}

fn unavailable(why: String) -> Error {
    Error::new(Reason::ServiceUnavailable, why)
}

/// The port of a pod: a number, the name of a port of a container, or else the first one's.
fn pod_place(pod: &Value, port: &str) -> Result<Place> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(Error::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let ports = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = ports.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let number = if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() {
        let number: u16 = port.parse().map_err(|_| unavailable(format!("dial tcp: {port}: invalid port")))?;
        number.to_string()
    } else if port.is_empty() {
        ports.next().map_or_else(|| "80".to_owned(), |port| port["containerPort"].to_string())
    } else {
        let named = ports.find(|known| known["name"] == port);
        let named = named.ok_or_else(|| unavailable(format!("no port {port:?} found for pod {name:?}")))?;
        named["containerPort"].to_string()
    };
    Ok(Place::Pod { node: node.to_owned(), pod: name.to_owned(), port: number })
}

/// A ready pod behind a service. Endpoints that are no pods of this namespace are not reached.
fn service_place(call: Call<'_>, target: &Target) -> Result<Place> {
    let service = call.current(target.name)?.to_value()?;
    let ports: Vec<&Value> = service["spec"]["ports"].as_array().into_iter().flatten().collect();
    let chosen = match (target.port, ports.as_slice()) {
        ("", [only]) => Some(*only),
        ("", _) => ports.iter().copied().find(|port| port["name"].as_str().unwrap_or_default().is_empty()),
        (wanted, _) => {
            ports.iter().copied().find(|port| port["name"] == wanted || port["port"].as_u64() == wanted.parse().ok())
        }
    };
    // Upstream says of a service that it cannot reach that it does not exist.
    let port = chosen.ok_or_else(|| Error::not_found("", "services", target.name))?;
    let port_name = port["name"].as_str().unwrap_or_default();
    let slices = slices(call, target.name)?;
    if slices.is_empty() {
        return Err(Error::not_found("", "services", target.name));
    }
    let none = || unavailable(format!("no endpoints available for service {:?}", target.name));
    for slice in slices {
        let slice = slice.to_value()?;
        let number = slice["ports"].as_array().into_iter().flatten();
        let number = number.filter(|port| port["name"].as_str().unwrap_or_default() == port_name);
        let Some(number) = number.filter_map(|port| port["port"].as_u64()).next() else { continue };
        let ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
        let pods = slice["endpoints"].as_array().into_iter().flatten().filter(ready).filter_map(pod_of);
        for pod in pods {
            let key = call.target.key_of(ResourceId::new("", "pods"), call.namespace, pod)?;
            let Some(pod) = call.server.store.snapshot().get(&key).cloned() else { continue };
            return pod_place(&pod.to_value()?, &number.to_string());
        }
    }
    Err(none())
}

fn pod_of(endpoint: &Value) -> Option<&str> {
    let target = &endpoint["targetRef"];
    target["name"].as_str().filter(|_| target["kind"] == "Pod")
}

fn slices(call: Call<'_>, service: &str) -> Result<Vec<Arc<Object>>> {
    let resource = ResourceId::new("discovery.k8s.io", "endpointslices");
    let tenant = call.target.tenant().cloned().ok_or_else(|| Error::bad_request("this request needs one tenant"))?;
    let scope = store::Scope::Namespace(resource, tenant, call.namespace.into());
    let of_service = |object: &&Arc<Object>| object.header.label("kubernetes.io/service-name") == Some(service);
    Ok(call.server.store.snapshot().range(&scope, None::<&ObjectKey>).filter(of_service).cloned().collect())
}

/// The path up to the proxy, and what follows it, with its slash.
fn split(path: &str, segments_below: usize) -> (&str, &str) {
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let mut at = trimmed.len();
    for _ in 0..segments_below {
        at = trimmed[..at].rfind('/').unwrap_or(0);
    }
    path.split_at(at)
}

fn rest_of(below: &str) -> &str {
    below.strip_prefix('/').unwrap_or(below)
}

/// Relative links work only below a path that ends with a slash.
fn redirect_below(uri: &Uri) -> Result<Response<Body>> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("{}/{query}", uri.path())).map_err(Error::internal)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// The request that is passed on, without who asks and what concerns only the client's connection.
pub fn outgoing(request: Request<Body>, target: &str, prefix: &str) -> Result<Request<Body>> {
    let mut outgoing = passed_on(request, target)?;
    let headers = outgoing.headers_mut();
    #[cfg(test)]
    let told = crate::planted::is(crate::planted::Fault::CredentialsPassedOn);
    #[cfg(not(test))]
    let told = false;
    if !told {
        headers.remove(header::AUTHORIZATION);
    }
    let impersonation: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonation {
        headers.remove(name);
    }
    if !prefix.is_empty()
        && let Ok(uri) = HeaderValue::from_str(&format!("{prefix}{target}"))
    {
        headers.insert("x-forwarded-uri", uri);
    }
    Ok(outgoing)
}

/// The request as it came, to another target, without what concerns only the client's connection.
pub fn passed_on(request: Request<Body>, target: &str) -> Result<Request<Body>> {
    let (head, body) = request.into_parts();
    let mut outgoing = Request::builder().method(head.method).uri(target).body(body).map_err(Error::internal)?;
    let authority = head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let headers = outgoing.headers_mut();
    *headers = head.headers;
    for name in OF_CONNECTION {
        headers.remove(name);
    }
    if !headers.contains_key(header::UPGRADE) {
        headers.remove(header::CONNECTION);
    }
    if let Some(authority) = authority {
        headers.entry(header::HOST).or_insert(authority);
    }
    headers.entry(header::HOST).or_insert(HeaderValue::from_static("proxied"));
    Ok(outgoing)
}

/// A connection to the place, on which HTTP/1.1 is spoken.
async fn connect(call: Call<'_>, place: &Place) -> Result<Box<dyn Stream>> {
    let (node, pod, port) = match place {
        Place::Agent { node } => return call.server.dial.dial(node).await,
        Place::Pod { node, pod, port } => (node, pod, port),
    };
    let tenant = call.target.tenant().ok_or_else(|| Error::bad_request("this request needs one tenant"))?;
    let lines = (&call.server.stop, &call.server.tasks);
    tunnel(lines, &*call.server.dial, node, tenant, call.namespace, pod, port).await
}

/// A connection to a port of a pod, through the agent of its node. What it runs in ends with `stop`.
pub async fn tunnel(
    (stop, tasks): (&Stop, &Tasks),
    dial: &dyn Dial,
    node: &str,
    tenant: &TenantName,
    namespace: &str,
    pod: &str,
    port: &str,
) -> Result<Box<dyn Stream>> {
    let path = format!("/proxy/{tenant}/{namespace}/{pod}/{port}");
    let request = Request::get(path).header(header::HOST, "node").header(header::CONNECTION, "Upgrade");
    let request = request.header(header::UPGRADE, "tcp").body(Body::empty()).map_err(Error::internal)?;
    let stream = dial.dial(node).await?;
    let mut answer = nodes::send((stop, tasks), stream, request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let code = answer.status().as_u16();
        if code < 400 {
            return Err(unavailable("the node's agent does not switch protocols".to_owned()));
        }
        let body = crate::body::read(Body::new(answer.into_body())).await?;
        return Err(Error::from_status(code, &serde_json::from_slice(&body).unwrap_or_default()));
    }
    let upgraded = hyper::upgrade::on(&mut answer).await;
    let upgraded = upgraded.map_err(|e| unavailable("the node's agent hung up".to_owned()).with_source(e))?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

/// A redirect within the target stays below the proxy.
fn keep_below(headers: &mut HeaderMap, prefix: &str) {
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let Some(location) = location.filter(|location| location.starts_with('/') && !location.starts_with("//")) else {
        return;
    };
    if let Ok(below) = HeaderValue::from_str(&format!("{prefix}{location}")) {
        headers.insert(header::LOCATION, below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_target_is_a_name_with_a_scheme_and_a_port() {
        let parts = |text| Target::parse(text).map(|target| (target.scheme, target.name, target.port));
        assert_eq!(parts("a"), Some(("", "a", "")));
        assert_eq!(parts("a:80"), Some(("", "a", "80")));
        assert_eq!(parts("https:a:web"), Some(("https", "a", "web")));
        assert_eq!(parts("ftp:a:1"), None);
        assert_eq!(parts("a:b:c:d"), None);
        assert_eq!(parts(":80"), None);
    }

    #[test]
    fn the_path_below_the_proxy_is_kept_as_it_is() {
        assert_eq!(split("/api/v1/nodes/n/proxy", 0), ("/api/v1/nodes/n/proxy", ""));
        assert_eq!(split("/api/v1/nodes/n/proxy/", 0), ("/api/v1/nodes/n/proxy", "/"));
        assert_eq!(split("/api/v1/nodes/n/proxy/a/b%20c", 2), ("/api/v1/nodes/n/proxy", "/a/b%20c"));
        assert_eq!(split("/api/v1/nodes/n/proxy/a/", 1), ("/api/v1/nodes/n/proxy", "/a/"));
    }

    #[test]
    fn a_pods_port_has_a_number_or_a_name() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n",
            "containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]}});
        let port = |text: &str| match pod_place(&pod, text) {
            Ok(Place::Pod { port, .. }) => port,
            Ok(Place::Agent { .. }) => panic!("a pod is no node"),
            Err(error) => error.message().to_owned(),
        };
        assert_eq!([port("81"), port("web"), port("")], ["81", "8080", "8080"]);
        assert!(port("nope").starts_with("no port"));
    }

    #[test]
    fn who_asks_is_not_told_and_redirects_stay_below() {
        let request = Request::get("/x").header("authorization", "Bearer t").header("impersonate-user", "u");
        let request =
            request.header("cookie", "c").header("connection", "close").body(Body::empty()).expect("a request");
        let sent = outgoing(request, "/y", "/api/v1/nodes/n/proxy").expect("a request");
        let names: Vec<&str> = sent.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names.iter().filter(|name| **name == "cookie").count(), 1);
        assert!(
            !names.iter().any(|name| ["authorization", "impersonate-user", "connection"].contains(name)),
            "{names:?}"
        );
        let mut headers = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static("/login"))]);
        keep_below(&mut headers, "/api/v1/nodes/n/proxy");
        assert_eq!(headers[header::LOCATION], "/api/v1/nodes/n/proxy/login");
    }
}
