//! Acts as many identities with one kubeconfig, over the same connections: how a component of the control plane that runs
//! alone does what it does in one process with the server.
//!
//! The kubeconfig is of an identity of `system`. As that, the component acts itself; as a service account, or as anybody
//! in another tenant, by impersonation, which the server grants or refuses.

use crate::{Body, Client, Connect, HttpTransport, Kubeconfig, Transport};
use api::{Identity, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use std::sync::Arc;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");

/// Connects to the server of a kubeconfig.
pub struct Remote {
    transport: Arc<HttpTransport>,
    program: HeaderValue,
}

impl Remote {
    /// `program` is the name by which the server knows who manages fields.
    pub fn new(config: &Kubeconfig, program: &'static str) -> Result<Remote> {
        Ok(Remote { transport: Arc::new(HttpTransport::new(config)?), program: HeaderValue::from_static(program) })
    }
}

impl Connect for Remote {
    fn connect(&self, identity: Identity) -> Client {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, self.program.clone());
        let own = identity.tenant.is_system() && !identity.in_group("system:serviceaccounts");
        if !own {
            let value = |text: &str| HeaderValue::try_from(text).expect("names of users and groups are plain text");
            headers.insert(USER, value(&identity.user));
            for group in &identity.groups {
                headers.append(GROUP, value(group));
            }
        }
        let client = Client::new(Arc::new(As { transport: self.transport.clone(), headers }));
        if identity.tenant.is_system() { client } else { client.in_tenant(&identity.tenant) }
    }
}

/// The transport with an identity's headers.
struct As {
    transport: Arc<HttpTransport>,
    headers: HeaderMap,
}

impl Transport for As {
    fn call(&self, mut request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>>> {
        request.headers_mut().extend(self.headers.clone());
        self.transport.call(request)
    }
}
