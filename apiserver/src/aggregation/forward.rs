//! A request passed on to the service that serves it, with who asks.

use super::Remote;
use crate::server::Server;
use crate::{nodes, proxy, respond};
use api::{Error, Identity, Result, TenantName};
use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use std::fmt::Write;
use std::time::Duration;

/// How long a connection to a service may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What says who asks. Clients' own are taken away, under every name that starts so.
const REMOTE: &str = "x-remote-";

/// Passes a request on, to a path of the service, and the answer back. What cannot be reached is 503, in plain words.
pub async fn forward(
    server: &Server,
    (tenant, identity): (&TenantName, &Identity),
    remote: &Remote,
    path: &str,
    mut request: Request<Body>,
) -> Result<Response<Body>> {
    if !remote.is_available {
        return Ok(respond::text(503, "service unavailable\n"));
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let upgrade = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    let mut outgoing = proxy::outgoing(request, &format!("{path}{query}"), "")?;
    tell(outgoing.headers_mut(), identity)?;
    if let Ok(host) = HeaderValue::from_str(&remote.server_name) {
        outgoing.headers_mut().insert(header::HOST, host);
    }
    let connected = async {
        let tls = remote.tls.clone()?;
        server.egress.connect(tenant, &remote.place, &remote.server_name, tls).await
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connected).await;
    let stream = match connected.unwrap_or_else(|_| Err("context deadline exceeded".to_owned())) {
        Ok(stream) => stream,
        Err(why) => return Ok(respond::text(503, format!("error trying to reach service: {why}\n"))),
    };
    nodes::exchange((&server.stop, &server.tasks), stream, outgoing, upgrade).await
}

/// Says who asks.
fn tell(headers: &mut HeaderMap, identity: &Identity) -> Result<()> {
    let claimed: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(REMOTE)).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).map_err(Error::internal);
    headers.insert("x-remote-user", value(&identity.user)?);
    if !identity.uid.is_empty() {
        headers.insert("x-remote-uid", value(&identity.uid)?);
    }
    for group in &identity.groups {
        headers.append("x-remote-group", value(group)?);
    }
    for (key, values) in &identity.extra {
        let name =
            HeaderName::from_bytes(format!("{REMOTE}extra-{}", escaped(key)).as_bytes()).map_err(Error::internal)?;
        for text in values {
            headers.append(&name, value(text)?);
        }
    }
    Ok(())
}

/// A key as a part of a header's name: what cannot be there, in percents.
fn escaped(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for byte in key.to_ascii_lowercase().bytes() {
        match byte {
            b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'.'
            | b'!'
            | b'#'
            | b'$'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'^'
            | b'`'
            | b'|'
            | b'~' => name.push(char::from(byte)),
            other => drop(write!(name, "%{other:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn who_asks_is_said_by_the_server_alone() {
        let mut headers = HeaderMap::new();
        for name in ["x-remote-user", "X-Remote-Group", "x-remote-extra-scopes", "x-remote-anything"] {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("forged"));
        }
        headers.insert("accept", HeaderValue::from_static("application/json"));
        let mut identity = Identity::new(TenantName::new("acme").unwrap(), "ann", &["a", "b"]);
        identity.extra = BTreeMap::from([("Example.com/Key".to_owned(), vec!["é".to_owned()])]);
        tell(&mut headers, &identity).unwrap();
        let told: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value.as_bytes())))
            .filter(|told| told.starts_with(REMOTE))
            .collect();
        let mut expected = vec!["x-remote-user=ann".to_owned()];
        expected.extend(identity.groups.iter().map(|group| format!("x-remote-group={group}")));
        expected.push("x-remote-extra-example.com%2fkey=é".to_owned());
        assert_eq!(told, expected);
        assert!(headers.contains_key("accept"));
    }
}
