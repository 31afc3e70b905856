//! What a `clientConfig` names: a URL, or a port of a service of the tenant, and whose certificates it trusts.

use super::Sender;
use super::rest::Rest;
use super::tls::{self, Trust};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use parking_lot::Mutex;
use rustls::ClientConfig;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How many connections of one endpoint wait for more to do.
const IDLE_MAX: usize = 4;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Url { host: String, port: u16 },
    Service { namespace: String, name: String, port: u16 },
}

/// A server of a tenant, and the connections to it that are free.
pub struct Endpoint {
    pub place: Place,
    /// `https://host[:port]`, as it is told.
    origin: String,
    path: String,
    /// What its certificate must say.
    pub server_name: String,
    pub tls: Result<Arc<ClientConfig>, String>,
    idle: Mutex<Vec<Sender>>,
    /// How it has answered of late.
    pub rest: Mutex<Rest>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("place", &self.place).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Reads a `clientConfig` that is valid.
    ///
    /// # Errors
    /// A sentence on a URL that cannot be read.
    pub fn of(config: &Value) -> Result<Endpoint, String> {
        let bundle = config["caBundle"].as_str().unwrap_or_default();
        let bundle = STANDARD.decode(bundle).unwrap_or_default();
        let tls = tls::client_config(&Trust::Authorities(&bundle), None);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(url) = config["url"].as_str() {
            let uri: Uri = url.parse().map_err(|_| format!("parse {url:?}: invalid URI"))?;
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            if host.is_empty() {
                return Err(format!("parse {url:?}: no Host in request URL"));
            }
            let place = Place::Url { host: host.clone(), port: uri.port_u16().unwrap_or(443) };
            let origin = format!("https://{}", uri.authority().map_or(host.as_str(), |authority| authority.as_str()));
            let path = if url.ends_with(uri.path()) { uri.path().to_owned() } else { String::new() };
            return Ok(Endpoint {
                place,
                origin,
                path,
                server_name: host,
                tls,
                idle: Mutex::default(),
                rest: Mutex::default(),
            });
        }
        let service = &config["service"];
        let (name, namespace) = (text(&service["name"]), text(&service["namespace"]));
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
        let path = text(&service["path"]);
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        Ok(Endpoint::service(&namespace, &name, port, path, tls))
    }

    /// A port of a service.
    pub fn service(
        namespace: &str,
        name: &str,
        port: u16,
        path: String,
        tls: Result<Arc<ClientConfig>, String>,
    ) -> Endpoint {
        let server_name = format!("{name}.{namespace}.svc");
        Endpoint {
            place: Place::Service { namespace: namespace.to_owned(), name: name.to_owned(), port },
            origin: format!("https://{server_name}:{port}"),
            path,
            server_name,
            tls,
            idle: Mutex::default(),
            rest: Mutex::default(),
        }
    }

    /// The path of a request that is to be answered in time.
    pub fn target(&self, timeout: Duration) -> String {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        format!("{path}?timeout={}s", timeout.as_secs())
    }

    /// How a request is told of in errors.
    pub fn url(&self, timeout: Duration) -> String {
        format!("{}{}?timeout={}s", self.origin, self.path, timeout.as_secs())
    }

    /// `host[:port]`
    pub fn authority(&self) -> &str {
        self.origin.strip_prefix("https://").unwrap_or(&self.origin)
    }

    /// A connection that was used before.
    pub fn reuse(&self) -> Option<Sender> {
        let mut idle = self.idle.lock();
        while let Some(sender) = idle.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX && !sender.is_closed() {
            idle.push(sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_client_config_says_where_and_what_is_asked() {
        let told = |config: Value| {
            let endpoint = Endpoint::of(&config).unwrap();
            let timeout = Duration::from_secs(7);
            (endpoint.place.clone(), endpoint.url(timeout), endpoint.target(timeout), endpoint.server_name.clone())
        };
        let url = |host: &str, port| Place::Url { host: host.to_owned(), port };
        let (place, asked, target, name) = told(json!({"url": "https://127.0.0.1:1/x"}));
        assert_eq!((place, &*name), (url("127.0.0.1", 1), "127.0.0.1"));
        assert_eq!((&*asked, &*target), ("https://127.0.0.1:1/x?timeout=7s", "/x?timeout=7s"));
        let (place, asked, target, name) = told(json!({"url": "https://[::1]:8443"}));
        assert_eq!((place, &*name), (url("::1", 8443), "::1"));
        assert_eq!((&*asked, &*target), ("https://[::1]:8443?timeout=7s", "/?timeout=7s"));
        let (place, asked, target, name) = told(json!({"service": {"name": "a", "namespace": "b", "path": "/p/q"}}));
        let service = Place::Service { namespace: "b".to_owned(), name: "a".to_owned(), port: 443 };
        assert_eq!((place, &*name), (service, "a.b.svc"));
        assert_eq!((&*asked, &*target), ("https://a.b.svc:443/p/q?timeout=7s", "/p/q?timeout=7s"));
        assert!(Endpoint::of(&json!({"url": "https:///x"})).is_err());
    }
}
