//! The client: the verbs of the API on objects as JSON values.
//!
//! A client reaches its identity's own tenant, one named tenant, or all tenants (lists and watches only).

use crate::path::{self, Reach};
use crate::watch::{self, WatchStream};
use crate::{Body, DeleteParams, ListParams, Names, PatchType, Transport, WatchParams};
use api::{Error, Result, TenantName};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{Method, Request, Response, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// The most that an answer other than a stream may hold: a list of 150,000 pods, and room.
const ANSWER_BYTES_MAX: usize = 2 << 30;

/// Reaches the API as one identity. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    reach: Reach,
}

/// One page of a list, or all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List<T = Value> {
    pub items: Vec<T>,
    pub resource_version: String,
    /// Empty on the last page.
    pub continue_token: String,
}

impl Client {
    /// A client for the tenant of the transport's identity.
    pub fn new(transport: Arc<dyn Transport>) -> Client {
        Client { transport, reach: Reach::Own }
    }

    /// The same, with its requests going through something.
    pub fn through(&self, wrap: impl FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport>) -> Client {
        Client { transport: wrap(self.transport.clone()), reach: self.reach.clone() }
    }

    /// The same identity, reaching one tenant.
    pub fn in_tenant(&self, tenant: &TenantName) -> Client {
        Client { transport: self.transport.clone(), reach: Reach::Tenant(tenant.clone()) }
    }

    /// The same identity, reaching all tenants: lists and watches only, for identities of the system.
    pub fn all_tenants(&self) -> Client {
        Client { transport: self.transport.clone(), reach: Reach::All }
    }

    pub async fn get(&self, resource: impl Names, namespace: &str, name: &str) -> Result<Value> {
        let path = path::object(&self.reach, &resource, namespace, name, None)?;
        self.answer(Method::GET, &path, None).await
    }

    /// One page as values; everything when `params.limit` is 0. An empty namespace lists all.
    pub async fn list(&self, resource: impl Names, namespace: &str, params: &ListParams) -> Result<List> {
        self.list_as(resource, namespace, params).await
    }

    /// As [`Client::list`], with items parsed into a view.
    pub async fn list_as<T: DeserializeOwned>(
        &self,
        resource: impl Names,
        namespace: &str,
        params: &ListParams,
    ) -> Result<List<T>> {
        let limit = if params.limit == 0 { String::new() } else { params.limit.to_string() };
        let query = path::query(&[
            ("labelSelector", &params.labels),
            ("fieldSelector", &params.fields),
            ("limit", &limit),
            ("continue", &params.continue_token),
            ("resourceVersion", &params.resource_version),
            ("search", &params.search),
        ]);
        let path = path::collection(&self.reach, &resource, namespace)? + &query;
        let list: WireList<T> = self.answer(Method::GET, &path, None).await?;
        let ListMeta { resource_version, continue_token } = list.metadata;
        Ok(List { items: list.items, resource_version, continue_token })
    }

    pub async fn create(&self, resource: impl Names, namespace: &str, object: &Value) -> Result<Value> {
        self.refuse_all_tenants()?;
        let path = path::collection(&self.reach, &resource, namespace)?;
        self.answer(Method::POST, &path, Some(json_body(object)?)).await
    }

    /// Creates an object, or with `of` a subresource of one, by their names. The answer is not read.
    pub async fn post(
        &self,
        resource: impl Names,
        namespace: &str,
        of: Option<(&str, &str)>,
        object: &Value,
    ) -> Result<()> {
        self.refuse_all_tenants()?;
        let path = match of {
            Some((name, subresource)) => path::object(&self.reach, &resource, namespace, name, Some(subresource))?,
            None => path::collection(&self.reach, &resource, namespace)?,
        };
        self.fetch(Method::POST, &path, Some(json_body(object)?)).await.map(drop)
    }

    /// Creates a subresource of an object: `binding`, `token`, `eviction`.
    pub async fn create_sub(
        &self,
        resource: impl Names,
        namespace: &str,
        name: &str,
        subresource: &str,
        object: &Value,
    ) -> Result<Value> {
        let path = path::object(&self.reach, &resource, namespace, name, Some(subresource))?;
        self.answer(Method::POST, &path, Some(json_body(object)?)).await
    }

    /// Replaces an object; its `metadata.resourceVersion`, where present, is a precondition.
    pub async fn update(&self, resource: impl Names, namespace: &str, object: &Value) -> Result<Value> {
        self.put(resource, namespace, None, object).await
    }

    pub async fn update_status(&self, resource: impl Names, namespace: &str, object: &Value) -> Result<Value> {
        self.put(resource, namespace, Some("status"), object).await
    }

    /// Replaces through a subresource other than `status`: `finalize`, `scale`.
    pub async fn update_sub(
        &self,
        resource: impl Names,
        namespace: &str,
        subresource: &str,
        object: &Value,
    ) -> Result<Value> {
        self.put(resource, namespace, Some(subresource), object).await
    }

    pub async fn patch(
        &self,
        resource: impl Names,
        namespace: &str,
        name: &str,
        kind: PatchType,
        patch: &Value,
        subresource: Option<&str>,
    ) -> Result<Value> {
        let path = path::object(&self.reach, &resource, namespace, name, subresource)?;
        self.answer(Method::PATCH, &path, Some((kind.content_type(), encode(patch)?))).await
    }

    pub async fn delete(&self, resource: impl Names, namespace: &str, name: &str, params: &DeleteParams) -> Result<()> {
        let path = path::object(&self.reach, &resource, namespace, name, None)?;
        self.fetch(Method::DELETE, &path, Some(json_body(&params.to_value())?)).await.map(drop)
    }

    /// Deletes every object of a collection that the selectors of `list` match.
    pub async fn delete_collection(
        &self,
        resource: impl Names,
        namespace: &str,
        params: &DeleteParams,
        list: &ListParams,
    ) -> Result<()> {
        self.refuse_all_tenants()?;
        let query = path::query(&[("labelSelector", &list.labels), ("fieldSelector", &list.fields)]);
        let path = path::collection(&self.reach, &resource, namespace)? + &query;
        self.fetch(Method::DELETE, &path, Some(json_body(&params.to_value())?)).await.map(drop)
    }

    /// Changes after `params.resource_version`, as values, until the server ends the watch.
    pub async fn watch(&self, resource: impl Names, namespace: &str, params: &WatchParams) -> Result<WatchStream> {
        self.watch_as(resource, namespace, params).await
    }

    /// As [`Client::watch`], with objects parsed into a view.
    pub async fn watch_as<T: DeserializeOwned + Send + 'static>(
        &self,
        resource: impl Names,
        namespace: &str,
        params: &WatchParams,
    ) -> Result<WatchStream<T>> {
        let timeout = if params.timeout_secs == 0 { String::new() } else { params.timeout_secs.to_string() };
        let query = path::query(&[
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("labelSelector", &params.labels),
            ("fieldSelector", &params.fields),
            ("resourceVersion", &params.resource_version),
            ("timeoutSeconds", &timeout),
        ]);
        let path = path::collection(&self.reach, &resource, namespace)? + &query;
        let answer = self.request(build(Method::GET, &path, None)?).await?;
        Ok(watch::events(answer.into_body()))
    }

    /// The kinds that the reached tenant's API serves, in their preferred versions, subresources left out.
    pub async fn discover(&self) -> Result<Vec<crate::DiscoveredResource>> {
        crate::discovery::discover(self).await
    }

    /// Sends a request as it is; its path is taken literally. An answer that is an error becomes `Err`.
    pub async fn request(&self, request: Request<Bytes>) -> Result<Response<Body>> {
        let response = self.transport.call(request).await?;
        if response.status().is_success() || response.status().is_informational() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let body = read(response.into_body()).await?;
        let not_a_status = || json!({"message": format!("the server answered {code} without a status")});
        let status = serde_json::from_slice(&body).unwrap_or_else(|_| not_a_status());
        Err(Error::from_status(code, &status))
    }

    /// Reads a path of the reached tenant, e.g. `/apis`, as JSON.
    pub async fn get_path<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let prefix = match &self.reach {
            Reach::Own => String::new(),
            Reach::Tenant(tenant) => format!("/tenants/{tenant}"),
            Reach::All => return Err(Error::bad_request("a path is read in one tenant, not across all tenants")),
        };
        self.answer(Method::GET, &format!("{prefix}{path}"), None).await
    }

    async fn put(
        &self,
        resource: impl Names,
        namespace: &str,
        subresource: Option<&str>,
        object: &Value,
    ) -> Result<Value> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let path = path::object(&self.reach, &resource, namespace, name, subresource)?;
        self.answer(Method::PUT, &path, Some(json_body(object)?)).await
    }

    async fn answer<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<TypedBody>) -> Result<T> {
        let bytes = self.fetch(method, path, body).await?;
        serde_json::from_slice(&bytes).map_err(Error::internal)
    }

    async fn fetch(&self, method: Method, path: &str, body: Option<TypedBody>) -> Result<Bytes> {
        let response = self.request(build(method, path, body)?).await?;
        read(response.into_body()).await
    }

    fn refuse_all_tenants(&self) -> Result<()> {
        match self.reach {
            Reach::All => Err(Error::bad_request("only lists and watches reach all tenants")),
            Reach::Own | Reach::Tenant(_) => Ok(()),
        }
    }
}

/// A body and its content type.
type TypedBody = (&'static str, Bytes);

#[derive(Deserialize)]
struct WireList<T> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    continue_token: String,
}

fn encode(value: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(value).map(Bytes::from).map_err(Error::internal)
}

fn json_body(value: &Value) -> Result<TypedBody> {
    Ok(("application/json", encode(value)?))
}

fn build(method: Method, path: &str, body: Option<TypedBody>) -> Result<Request<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, "application/json");
    let mut bytes = Bytes::new();
    if let Some((content_type, body)) = body {
        request = request.header(header::CONTENT_TYPE, content_type);
        bytes = body;
    }
    request.body(bytes).map_err(Error::internal)
}

/// Reads a body to its end.
async fn read(mut body: Body) -> Result<Bytes> {
    let Some(first) = body.next().await.transpose()? else { return Ok(Bytes::new()) };
    let Some(second) = body.next().await.transpose()? else { return Ok(first) };
    let mut all = BytesMut::from(first);
    all.extend_from_slice(&second);
    while let Some(chunk) = body.next().await.transpose()? {
        if all.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Error::internal("an answer is larger than any that the server may give"));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}
