//! Reads: one object, or a list that is a snapshot at one revision (the truth table of G9 and G10).
//!
//! The stored bytes of the objects go to the client as they are; a list is the bytes with commas between.

use super::Call;
use crate::compress::{COMPRESSED_BYTES_MIN, Large};
use crate::custom::Custom;
use crate::encodings;
use crate::negotiate::{Accepted, Encoding, Form};
use crate::options::{ListOptions, VersionMatch};
use crate::respond;
use api::{Error, Kind, Object, ObjectKey, Reason, Result, Revision};
use axum::body::Body;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine, alphabet};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Response, header};
use kinds::IncludeObject;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::Version;

/// How long a read waits for a revision that this server has not seen yet.
pub const FUTURE_REVISION_WAIT: Duration = Duration::from_secs(3);

/// A list larger than this is sent in chunks of this size, so that its first byte does not wait for its last.
const CHUNK_BYTES: usize = 64 * 1024;

/// As Go reads it: what the last letter says beyond the last byte does not matter.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Answers with one object.
pub async fn get(call: Call<'_>, name: &str, version: Option<Revision>, accepted: Accepted) -> Result<Response<Body>> {
    if let Some(version) = version {
        reach(call, &Version::At(version)).await?;
    }
    let object = call.current(name)?;
    call.ready(std::slice::from_ref(&object)).await?;
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
    if accepted == Accepted::JSON && call.shows_stored(object) {
        return Ok(respond::bytes(code, "application/json", object.bytes.clone()));
    }
    if accepted.form == Form::Object && accepted.encoding == Encoding::Protobuf {
        let message = message(call, object)?;
        let body = schema::protobuf::envelope(&call.kind.api_version(), &call.kind.kind, &message);
        return Ok(respond::bytes(code, Encoding::Protobuf.content_type(), body.into()));
    }
    value_response(call, code, &call.view(object)?, accepted, include)
}

/// The protobuf encoding of a stored object as this request's kind.
fn message(call: Call<'_>, object: &Object) -> Result<Bytes> {
    if call.shows_stored(object) {
        return call.server.encodings.message(call.kind, object);
    }
    encodings::message(call.kind, &call.view(object)?).map(Bytes::from)
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
        Form::Table => {
            let mut table = table(call.kind, call.custom, std::iter::once(value), accepted, include, call.now);
            table["metadata"]["resourceVersion"] = value["metadata"]["resourceVersion"].clone();
            table
        }
        Form::PartialMetadata => partial(call.kind, value, accepted),
        Form::PartialMetadataList => {
            let why = format!("but the requested object is not a list (*{})", go_type(call.kind));
            return Err(Error::new(Reason::NotAcceptable, format!("you requested PartialObjectMetadataList, {why}")));
        }
    };
    Ok(respond::value(code, &shown, accepted.encoding))
}

/// What upstream calls a kind in its messages: `core.ConfigMap`.
fn go_type(kind: &Kind) -> String {
    let package = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    format!("{package}.{}", kind.kind)
}

/// The table of some objects, in the version that the client accepts.
pub fn table<'a>(
    kind: &Kind,
    custom: Option<&Custom>,
    objects: impl Iterator<Item = &'a Value>,
    accepted: Accepted,
    include: IncludeObject,
    now: api::Timestamp,
) -> Value {
    let mut table = match custom {
        Some(custom) => custom.version.table(objects, include, now),
        None => kinds::table(kind, objects, include, now),
    };
    if accepted.beta {
        table["apiVersion"] = json!(accepted.meta_version());
        for row in table["rows"].as_array_mut().into_iter().flatten() {
            if row["object"]["kind"] == "PartialObjectMetadata" {
                row["object"]["apiVersion"] = json!(accepted.meta_version());
            }
        }
    }
    table
}

/// `PartialObjectMetadata` of an object.
pub fn partial(kind: &Kind, value: &Value, accepted: Accepted) -> Value {
    let metadata = kinds::shown_metadata(kind, value);
    json!({"kind": "PartialObjectMetadata", "apiVersion": accepted.meta_version(), "metadata": metadata})
}

/// Answers with a list.
pub async fn list(
    call: Call<'_>,
    options: &ListOptions,
    accepted: Accepted,
    include: IncludeObject,
) -> Result<Response<Body>> {
    if let Some(version) = &options.resource_version {
        reach(call, version).await?;
    }
    if let Some(version) = continued_at(options)? {
        reach(call, &version).await?;
    }
    let page = page(call, options, true)?;
    let bytes = page.objects.iter().map(|object| object.bytes.len()).sum();
    call.server.fairness.listed(call.target.tenant(), &call.kind.stored_as, bytes);
    if accepted == Accepted::JSON && call.shows_all_stored(&page.objects) {
        return Ok(stream(call, page));
    }
    let metadata = page.metadata(call, accepted.form);
    if accepted.form == Form::Object && accepted.encoding == Encoding::Protobuf {
        let items = page.objects.iter().map(|object| message(call, object)).collect::<Result<Vec<_>>>()?;
        let (version, kind) = (call.kind.api_version(), &call.kind.list_kind);
        let body = schema::protobuf::list(schema::builtin(), &version, kind, &metadata, &items)?;
        return Ok(respond::bytes(200, Encoding::Protobuf.content_type(), body.into()));
    }
    call.ready(&page.objects).await?;
    let values = page.objects.iter().map(|object| call.view(object)).collect::<Result<Vec<_>>>()?;
    let body = match accepted.form {
        Form::Table => {
            let mut table = table(call.kind, call.custom, values.iter(), accepted, include, call.now);
            table["metadata"] = metadata;
            table
        }
        Form::PartialMetadata => {
            let why = format!("but the requested object is a list (*{}List)", go_type(call.kind));
            return Err(Error::new(Reason::NotAcceptable, format!("you requested PartialObjectMetadata, {why}")));
        }
        Form::PartialMetadataList => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": accepted.meta_version(), "metadata": metadata,
            "items": values.iter().map(|value| partial(call.kind, value, accepted)).collect::<Vec<_>>(),
        }),
        Form::Object => json!({
            "kind": call.kind.list_kind, "apiVersion": call.kind.api_version(), "metadata": metadata,
            "items": values.into_iter().map(|value| item(call, value)).collect::<Vec<_>>(),
        }),
    };
    Ok(respond::value(200, &body, accepted.encoding))
}

/// An object as an item of a list of its kind: without its type, which only items of kinds that tenants define name.
pub fn item(call: Call<'_>, mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut().filter(|_| call.custom.is_none()) {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    value
}

/// Every object that a selection covers, and the version of the snapshot.
pub fn select(call: Call<'_>, options: &ListOptions) -> Result<(Vec<Arc<Object>>, Version)> {
    let page = page(call, options, false)?;
    Ok((page.objects, page.version))
}

/// Waits until the store has reached a version; 504 when it does not in time.
pub async fn reach(call: Call<'_>, version: &Version) -> Result<()> {
    let scope = call.target.scope(call.kind, call.namespace)?;
    if call.server.store.wait_for(&scope, version, FUTURE_REVISION_WAIT).await {
        return Ok(());
    }
    let current = call.server.store.snapshot().version(&scope);
    let cause = api::Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    };
    let message = format!("Timeout: Too large resource version: {version}, current: {current}");
    Err(Error::new(Reason::Timeout, message).with_causes(vec![cause]).retry_after(1))
}

/// One page of a list.
struct Page {
    objects: Vec<Arc<Object>>,
    version: Version,
    continue_token: String,
    remaining: Option<usize>,
}

impl Page {
    /// Lists of kinds that tenants define say it also when nothing follows.
    fn metadata(&self, call: Call<'_>, form: Form) -> Value {
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if (call.custom.is_some() && form == Form::Object) || !self.continue_token.is_empty() {
            metadata["continue"] = json!(self.continue_token);
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        metadata
    }
}

/// Where a paged list goes on, as upstream writes it: at which revision, and from which key on. The key is relative to what
/// the request covers, so that it can name nothing outside: the tenant and the resource come from the request.
struct Token {
    /// -1: at the newest revision, after the snapshot was lost.
    revision: i64,
    /// The whole version of a list over several partitions.
    each: Option<Version>,
    /// `[[TENANT/]NAMESPACE/]NAME`, and a NUL where the object itself was the last one sent.
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// Where a list starts.
struct Start {
    key: ObjectKey,
    /// Whether an object with the key is part of the list.
    inclusive: bool,
}

impl Start {
    /// Whether an object is still to come.
    fn covers(&self, key: &ObjectKey) -> bool {
        let place = |key: &ObjectKey| (key.namespace.clone(), key.name.clone());
        place(key) > place(&self.key) || (self.inclusive && place(key) == place(&self.key))
    }
}

impl Token {
    fn encode(&self) -> String {
        let mut token = json!({"v": TOKEN_VERSION, "rv": self.revision, "start": self.start});
        if let Some(each) = &self.each {
            token["each"] = json!(each.to_string());
        }
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    /// The position after an object.
    fn after(call: Call<'_>, version: &Version, last: &Object) -> Token {
        let mut start = last.key.name.to_string();
        if call.kind.namespaced() && call.namespace.is_empty() {
            start = format!("{}/{start}", last.key.namespace);
        }
        if let (None, Some(tenant)) = (call.target.tenant(), last.tenant()) {
            start = format!("{tenant}/{start}");
        }
        let each = matches!(version, Version::Each(_)).then(|| version.clone());
        Token { revision: i64::try_from(version.newest()).unwrap_or(i64::MAX), each, start: format!("{start}\0") }
    }

    fn decode(text: &str) -> Result<Token> {
        let bad = |why: &str| Error::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = BASE64.decode(text).map_err(|error| {
            let at = match error {
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
                DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len() / 4 * 4,
            };
            bad(&format!("illegal base64 data at input byte {at}"))
        })?;
        let document = schema::decode_json(&bytes, schema::FieldValidation::Ignore);
        let token = document.map_err(|error| bad(error.message()))?.value;
        let mismatch = |kind: &Value, what: &str| {
            let kind = match kind {
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) | Value::Null => "object",
            };
            bad(&format!("json: cannot unmarshal {kind} into Go {what}"))
        };
        if !token.is_object() {
            return Err(mismatch(&token, "value of type storage.continueToken"));
        }
        let text = |field: &str| match &token[field] {
            Value::Null => Ok(""),
            Value::String(text) => Ok(text.as_str()),
            other => Err(mismatch(other, &format!("struct field continueToken.{field} of type string"))),
        };
        let revision = match &token["rv"] {
            Value::Null => 0,
            value => value.as_i64().ok_or_else(|| mismatch(value, "struct field continueToken.rv of type int64"))?,
        };
        match (text("v")?, text("start")?) {
            (TOKEN_VERSION, _) if revision == 0 => {
                Err(bad(&format!("incorrect encoded start resourceVersion (version {TOKEN_VERSION})")))
            }
            (TOKEN_VERSION, "") => Err(bad(&format!("encoded start key empty (version {TOKEN_VERSION})"))),
            (TOKEN_VERSION, start) => {
                Ok(Token { revision, each: Version::parse_each(text("each")?), start: start.to_owned() })
            }
            (other, _) => Err(bad(&format!("server does not recognize this encoded version {other}"))),
        }
    }

    /// The version of the list, unless its snapshot was lost.
    fn version(&self) -> Option<Version> {
        let revision = Revision::try_from(self.revision).ok()?;
        Some(self.each.clone().unwrap_or(Version::At(revision)))
    }

    /// The position inside what the request covers.
    fn start(&self, call: Call<'_>) -> Result<Start> {
        let bad = || {
            let start = &self.start;
            Error::bad_request(format!("invalid continue token: continue key is not valid: {start}"))
        };
        let path = self.start.strip_prefix('/').unwrap_or(&self.start);
        let (path, inclusive) = path.strip_suffix('\0').map_or((path, true), |path| (path, false));
        let mut parts: Vec<&str> = path.split('/').collect();
        if parts.iter().any(|part| matches!(*part, "" | "." | "..") || part.contains('\0')) {
            return Err(bad());
        }
        let space = match call.target.tenant() {
            _ if call.kind.scope == api::Scope::Cluster => api::Space::Cluster,
            Some(tenant) => api::Space::Tenant(tenant.clone()),
            None => api::Space::Tenant(api::TenantName::new(parts.remove(0)).map_err(|_| bad())?),
        };
        let (namespace, name) = match (call.kind.namespaced(), call.namespace, parts.as_slice()) {
            (false, _, [name]) => ("", *name),
            (true, "", [namespace, name]) => (*namespace, *name),
            (true, namespace, [name]) if !namespace.is_empty() => (namespace, *name),
            _ => return Err(bad()),
        };
        let key = ObjectKey::new(call.kind.stored_as.clone(), space, namespace, name).map_err(|_| bad())?;
        Ok(Start { key, inclusive })
    }
}

/// The version of the list that a request continues.
fn continued_at(options: &ListOptions) -> Result<Option<Version>> {
    let token = Some(options.continue_token.as_str()).filter(|token| !token.is_empty()).map(Token::decode);
    Ok(token.transpose()?.and_then(|token| token.version()))
}

/// `with_shared` adds what all tenants share.
fn page(call: Call<'_>, options: &ListOptions, with_shared: bool) -> Result<Page> {
    let scope = call.target.scope(call.kind, call.namespace)?;
    #[cfg(test)]
    let scope = crate::planted::scope(crate::planted::Fault::ListWithoutTenant, scope);
    let store = &call.server.store;
    let token = Some(options.continue_token.as_str()).filter(|t| !t.is_empty()).map(Token::decode).transpose()?;
    let start = token.as_ref().map(|token| token.start(call)).transpose()?;
    let exact = match &token {
        Some(token) => token.version(),
        None => options.resource_version.clone().filter(|version| {
            let legacy = options.version_match.is_none() && options.limit > 0;
            version.newest() > 0 && (options.version_match == Some(VersionMatch::Exact) || legacy)
        }),
    };
    let snapshot = match &exact {
        Some(version) => store.snapshot_at(&scope, version).map_err(|too_old| match &token {
            // The client may go on without the snapshot, if it says so with this token.
            Some(token) => {
                let fresh = Token { revision: -1, each: None, start: token.start.clone() }.encode();
                Error::expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
                    .with_continue(fresh)
            }
            None => Error::expired(format!("too old resource version: {version} ({})", too_old.oldest)),
        })?,
        None => store.snapshot(),
    };
    let unlimited =
        options.limit == 0 || (options.resource_version == Some(Version::At(0)) && options.version_match.is_none());
    let limit = if unlimited { usize::MAX } else { options.limit };
    let mut objects = Vec::new();
    let shared = if with_shared { crate::shared::objects(call, &snapshot) } else { Vec::new() };
    let merged = (!shared.is_empty()).then(|| {
        let mut all: Vec<Arc<Object>> = snapshot.range(&scope, None).cloned().collect();
        crate::shared::merge(&mut all, shared);
        all.retain(|object| start.as_ref().is_none_or(|start| start.covers(&object.key)));
        all
    });
    let first = start.as_ref().filter(|start| start.inclusive && merged.is_none());
    let first = first.and_then(|start| snapshot.get(&start.key));
    let stored = merged.is_none().then(|| snapshot.range(&scope, start.as_ref().map(|start| &start.key)));
    let all = merged.iter().flatten().chain(first).chain(stored.into_iter().flatten());
    let mut matching = all.filter(|object| options.covers(object));
    objects.extend(matching.by_ref().take(limit).cloned());
    let more = if unlimited { None } else { matching.next() };
    let version = exact.unwrap_or_else(|| snapshot.version(&scope));
    let remaining =
        (more.is_some() && options.selector.is_empty() && options.search.is_empty()).then(|| matching.count() + 1);
    let continue_token = match (more, objects.last()) {
        (Some(_), Some(last)) => Token::after(call, &version, last).encode(),
        _ => String::new(),
    };
    Ok(Page { objects, version, continue_token, remaining })
}

/// Sends the stored bytes, in one piece when they are few.
fn stream(call: Call<'_>, page: Page) -> Response<Body> {
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{},\"items\":[",
        json!(call.kind.list_kind),
        json!(call.kind.api_version()),
        page.metadata(call, Form::Object)
    );
    let total: usize = page.objects.iter().map(|o| o.bytes.len() + 1).sum();
    let typed = call.custom.is_some();
    let chunks = Chunks { head: Some(head), objects: page.objects.into_iter(), typed, first: true, done: false };
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
    if total >= COMPRESSED_BYTES_MIN {
        response.extensions_mut().insert(Large);
    }
    response
}

/// The body of a list, made chunk by chunk as the client takes it.
struct Chunks {
    head: Option<String>,
    objects: std::vec::IntoIter<Arc<Object>>,
    /// Items name their type.
    typed: bool,
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
            if self.typed {
                chunk.put_slice(&object.bytes);
            } else {
                chunk.put_u8(b'{');
                chunk.put_slice(object.item_tail());
            }
        }
        Some(chunk.freeze())
    }
}
