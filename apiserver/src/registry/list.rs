//! Reads: one object, or a list that is a snapshot at one revision (the truth table of G9 and G10).
//!
//! The stored bytes of the objects go to the client as they are; a list is the bytes with commas between.

use super::Call;
use crate::negotiate::{Accepted, Encoding, Form};
use crate::options::{ListOptions, VersionMatch};
use crate::respond;
use api::{Error, Object, Reason, Result, Revision};
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Response, header};
use kinds::IncludeObject;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a read waits for a revision that this server has not seen yet.
pub const FUTURE_REVISION_WAIT: Duration = Duration::from_secs(3);

/// A list larger than this is sent in chunks of this size, so that its first byte does not wait for its last.
const CHUNK_BYTES: usize = 64 * 1024;

/// Answers with one object.
pub async fn get(call: Call<'_>, name: &str, version: Option<Revision>, accepted: Accepted) -> Result<Response<Body>> {
    if let Some(version) = version {
        reach(call, version).await?;
    }
    let object = call.current(name)?;
    object_response(call, 200, &object, accepted, IncludeObject::default())
}

/// One stored object in the form and encoding that the client accepts.
pub fn object_response(
    call: Call<'_>,
    code: u16,
    object: &Object,
    accepted: Accepted,
    include: IncludeObject,
) -> Result<Response<Body>> {
    if accepted == Accepted::JSON && call.server.storage_kind(call.kind).is_none() {
        return Ok(respond::bytes(code, "application/json", object.bytes.clone()));
    }
    value_response(call, code, &call.view(object)?, accepted, include)
}

/// One value in the form and encoding that the client accepts.
pub fn value_response(
    call: Call<'_>,
    code: u16,
    value: &Value,
    accepted: Accepted,
    include: IncludeObject,
) -> Result<Response<Body>> {
    let shown = match accepted.form {
        Form::Object => return Ok(respond::value(code, value, accepted.encoding)),
        Form::Table => kinds::table(call.kind, std::iter::once(value), include, call.now),
        Form::PartialMetadata => partial(value),
    };
    Ok(respond::value(code, &shown, accepted.encoding))
}

/// `PartialObjectMetadata` of an object.
pub fn partial(value: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]})
}

/// Answers with a list.
pub async fn list(
    call: Call<'_>,
    options: &ListOptions,
    accepted: Accepted,
    include: IncludeObject,
) -> Result<Response<Body>> {
    if let Some(version) = options.resource_version {
        reach(call, version).await?;
    }
    let page = page(call, options, true)?;
    let bytes = page.objects.iter().map(|object| object.bytes.len()).sum();
    call.server.fairness.listed(call.target.tenant(), &call.kind.stored_as, bytes);
    if accepted == Accepted::JSON && call.server.storage_kind(call.kind).is_none() {
        return Ok(stream(call, page));
    }
    let metadata = page.metadata();
    let values = page.objects.iter().map(|object| call.view(object)).collect::<Result<Vec<_>>>()?;
    let body = match accepted.form {
        Form::Table => {
            let mut table = kinds::table(call.kind, values.iter(), include, call.now);
            table["metadata"] = metadata;
            table
        }
        Form::PartialMetadata => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "items": values.iter().map(partial).collect::<Vec<_>>(),
        }),
        Form::Object => json!({
            "kind": call.kind.list_kind(), "apiVersion": call.kind.api_version(), "metadata": metadata,
            "items": values.into_iter().map(item).collect::<Vec<_>>(),
        }),
    };
    Ok(respond::value(200, &body, accepted.encoding))
}

/// An object as an item of a list of its kind: without its type.
pub fn item(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    value
}

/// Every object that a selection covers, and the revision of the snapshot.
pub fn select(call: Call<'_>, options: &ListOptions) -> Result<(Vec<Arc<Object>>, Revision)> {
    let page = page(call, options, false)?;
    Ok((page.objects, page.revision))
}

/// Waits until the store has reached a revision; 504 when it does not in time.
pub async fn reach(call: Call<'_>, version: Revision) -> Result<()> {
    if call.server.store.revision() >= version || call.server.store.wait_for(version, FUTURE_REVISION_WAIT).await {
        return Ok(());
    }
    let current = call.server.store.revision();
    let cause = api::Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    };
    let message = format!("Too large resource version: {version}, current: {current}");
    Err(Error::new(Reason::Timeout, message).with_causes(vec![cause]).retry_after(1))
}

/// One page of a list.
struct Page {
    objects: Vec<Arc<Object>>,
    revision: Revision,
    continue_token: String,
    remaining: Option<usize>,
}

impl Page {
    fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if !self.continue_token.is_empty() {
            metadata["continue"] = json!(self.continue_token);
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        metadata
    }
}

/// Where a paged list goes on: at which revision, after which object. It names a position inside the scope that the
/// request was authorized for, and nothing else: the tenant and the resource come from the request.
#[derive(serde::Serialize, serde::Deserialize)]
struct Token {
    v: String,
    /// -1: at the newest revision, after the snapshot was lost.
    rv: i64,
    /// `tenant/namespace/name` of the last object sent.
    start: String,
}

const TOKEN_VERSION: &str = "ursa/v1";

impl Token {
    fn encode(revision: i64, last: &Object) -> String {
        let tenant = last.tenant().map_or("", |t| t.as_str());
        let start = format!("{tenant}/{}/{}", last.key.namespace, last.key.name);
        let token = Token { v: TOKEN_VERSION.to_owned(), rv: revision, start };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token encodes"))
    }

    fn decode(text: &str) -> Result<Token> {
        let bad = |why: &str| Error::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|e| bad(&e.to_string()))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|e| bad(&e.to_string()))?;
        if token.v != TOKEN_VERSION || token.rv == 0 || token.rv < -1 {
            return Err(bad("it was not made by this server"));
        }
        Ok(token)
    }

    /// The position, which must lie inside what the request covers.
    fn position(&self, call: Call<'_>) -> Result<api::ObjectKey> {
        let bad = || Error::bad_request("invalid continue token: it does not belong to this list");
        let mut parts = self.start.splitn(3, '/');
        let (Some(tenant), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        let space = if call.kind.scope == api::Scope::Cluster {
            api::Space::Cluster
        } else {
            api::Space::Tenant(api::TenantName::new(tenant).map_err(|_| bad())?)
        };
        let foreign_tenant =
            call.target.tenant().is_some_and(|own| call.kind.scope != api::Scope::Cluster && own.as_str() != tenant);
        if foreign_tenant || (!call.namespace.is_empty() && call.namespace != namespace) {
            return Err(bad());
        }
        api::ObjectKey::new(call.kind.stored_as.clone(), space, namespace, name).map_err(|_| bad())
    }
}

/// `with_shared` adds what all tenants share.
fn page(call: Call<'_>, options: &ListOptions, with_shared: bool) -> Result<Page> {
    let scope = call.target.scope(call.kind, call.namespace)?;
    let store = &call.server.store;
    let token = Some(options.continue_token.as_str()).filter(|t| !t.is_empty()).map(Token::decode).transpose()?;
    let start = token.as_ref().map(|t| t.position(call)).transpose()?;
    let exact = match &token {
        Some(token) => u64::try_from(token.rv).ok(),
        None => options.resource_version.filter(|&version| {
            let legacy = options.version_match.is_none() && options.limit > 0;
            version > 0 && (options.version_match == Some(VersionMatch::Exact) || legacy)
        }),
    };
    let snapshot = match exact {
        Some(revision) => store.snapshot_at(&call.kind.stored_as, revision).map_err(|too_old| match (&token, &start) {
            // The client may go on without the snapshot, if it says so with this token.
            (Some(_), Some(start)) => {
                let token = Token {
                    v: TOKEN_VERSION.to_owned(),
                    rv: -1,
                    start: format!("{}/{}/{}", start.tenant().map_or("", |t| t.as_str()), start.namespace, start.name),
                };
                let fresh = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token encodes"));
                Error::expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
                    .with_continue(fresh)
            }
            _ => Error::expired(format!("too old resource version: {revision} ({})", too_old.oldest)),
        })?,
        None => store.snapshot(),
    };
    let unlimited = options.limit == 0
        || (options.resource_version == Some(0) && token.is_none() && options.version_match.is_none());
    let limit = if unlimited { usize::MAX } else { options.limit };
    let mut objects = Vec::new();
    let shared = if with_shared { crate::shared::objects(call, &snapshot) } else { Vec::new() };
    let merged = (!shared.is_empty()).then(|| {
        let mut all: Vec<Arc<Object>> = snapshot.range(&scope, None).cloned().collect();
        crate::shared::merge(&mut all, shared);
        let place = |key: &api::ObjectKey| (key.namespace.clone(), key.name.clone());
        all.retain(|object| start.as_ref().is_none_or(|start| place(&object.key) > place(start)));
        all
    });
    let stored = merged.is_none().then(|| snapshot.range(&scope, start.as_ref()));
    let all = merged.iter().flatten().chain(stored.into_iter().flatten());
    let mut matching = all.filter(|object| options.selector.matches(object));
    objects.extend(matching.by_ref().take(limit).cloned());
    let more = if unlimited { None } else { matching.next() };
    let revision = exact.unwrap_or_else(|| snapshot.revision());
    let remaining = (more.is_some() && options.selector.is_empty()).then(|| matching.count() + 1);
    let continue_token = match (more, objects.last()) {
        (Some(_), Some(last)) => Token::encode(i64::try_from(revision).unwrap_or(i64::MAX), last),
        _ => String::new(),
    };
    Ok(Page { objects, revision, continue_token, remaining })
}

/// Sends the stored bytes, in one piece when they are few.
fn stream(call: Call<'_>, page: Page) -> Response<Body> {
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{},\"items\":[",
        json!(call.kind.list_kind()),
        json!(call.kind.api_version()),
        page.metadata()
    );
    let total: usize = page.objects.iter().map(|o| o.bytes.len() + 1).sum();
    let chunks = Chunks { head: Some(head), objects: page.objects.into_iter(), first: true, done: false };
    if total <= CHUNK_BYTES {
        let mut body = BytesMut::with_capacity(total + 256);
        for chunk in chunks {
            body.put(chunk);
        }
        return respond::bytes(200, Encoding::Json.content_type(), body.freeze());
    }
    let body = Body::from_stream(futures::stream::iter(chunks.map(Ok::<Bytes, std::convert::Infallible>)));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The body of a list, made chunk by chunk as the client takes it.
struct Chunks {
    head: Option<String>,
    objects: std::vec::IntoIter<Arc<Object>>,
    first: bool,
    done: bool,
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES.min(self.objects.as_slice().len() * 4096 + 512));
        if let Some(head) = self.head.take() {
            chunk.put_slice(head.as_bytes());
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(object) = self.objects.next() else {
                chunk.put_slice(b"]}\n");
                self.done = true;
                break;
            };
            if !std::mem::take(&mut self.first) {
                chunk.put_u8(b',');
            }
            chunk.put_u8(b'{');
            chunk.put_slice(object.item_tail());
        }
        Some(chunk.freeze())
    }
}
