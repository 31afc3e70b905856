//! Requests for resources: from a routed path to an operation of the registry or to a subresource.

use crate::body::{self, Format};
use crate::custom::Custom;
use crate::fence::Fence;
use crate::handler::{method_not_allowed, scope_fits};
use crate::negotiate::{Accepted, Accepting, Form};
use crate::options::{ListOptions, Query, WriteOptions, WriteVerb, parse_version};
use crate::patch::{self, Patch};
use crate::path::ResourcePath;
use crate::registry::{self, Call, DeleteOptions, Managers, Part, Written, object_response, value_response};
use crate::server::Server;
use crate::target::Target;
use crate::{connect, nodes, proxy, respond, reviews, subresources};
use api::{Error, Identity, Kind, Result, Timestamp, Verb};
use axum::body::Body;
use http::{Method, Request, Response};
use kinds::IncludeObject;
use serde_json::Value;
use std::sync::Arc;

/// A request whose tenant is decided and whose right is checked.
pub struct Routed<'a> {
    pub identity: &'a Identity,
    pub target: &'a Target,
    pub kind: &'a Arc<Kind>,
    /// The definition that the kind comes from, if it is the tenant's own.
    pub custom: Option<&'a Custom>,
    pub path: &'a ResourcePath,
    pub query: &'a Query,
    pub verb: &'static str,
    pub accepting: &'a Accepting,
    pub now: Timestamp,
}

/// Carries out a request and writes its answer, with a warning first where the kind has a successor.
pub async fn dispatch(server: &Server, routed: Routed<'_>, request: Request<Body>) -> Result<Response<Body>> {
    let own = routed.custom.and_then(|custom| custom.version.deprecation.clone());
    let deprecated = own.or_else(|| kinds::deprecation(routed.kind).map(str::to_owned));
    let accepting = routed.accepting;
    let answered = carry_out(server, routed, request).await;
    let Some(deprecated) = deprecated else { return answered };
    let mut response = answered.unwrap_or_else(|error| respond::error(&error, accepting.for_status()));
    respond::warn_first(&mut response, &deprecated);
    Ok(response)
}

async fn carry_out(server: &Server, routed: Routed<'_>, request: Request<Body>) -> Result<Response<Body>> {
    let Routed { identity, target, kind, custom, path, query, verb, accepting, now } = routed;
    if let Some(custom) = custom {
        crate::custom::admit(custom, path, verb)?;
    }
    if !scope_fits(kind, path) {
        return Err(Error::no_such_path());
    }
    let fence = if matches!(verb, "get" | "list" | "watch") { None } else { Fence::of(request.headers())? };
    let fence = fence.as_ref();
    let call = Call { server, identity, target, kind, custom, namespace: &path.namespace, fence, now };
    if nodes::STREAMING.contains(&path.subresource.as_str()) && kind.stored_as.to_string() == "pods" {
        subresources::allowed(call, path, verb)?;
        connect::admit(call, path, query).await?;
        return nodes::forward(call, &path.name, &path.subresource, request).await;
    }
    if path.subresource == proxy::PROXY {
        subresources::allowed(call, path, verb)?;
        connect::admit(call, path, query).await?;
        return proxy::forward(call, path, request).await;
    }
    if *request.method() == Method::HEAD {
        return Err(method_not_allowed());
    }
    let accepted = accepting.objects(kind, verb)?;
    let answer = Answer { call, accepted, include: include_object(query, accepted)? };
    if !path.subresource.is_empty() {
        return subresources::dispatch(answer, path, query, verb, request).await;
    }
    if !kind.stored() && !path.name.is_empty() {
        return Err(Error::no_such_path());
    }
    if !path.rest.is_empty() {
        return Err(Error::no_such_path());
    }
    if !Verb::parse(verb).is_some_and(|verb| kind.allows(verb)) {
        return Err(method_not_allowed());
    }
    if kind.namespaced() && path.namespace.is_empty() && !matches!(verb, "list" | "watch" | "deletecollection") {
        return Err(if path.name.is_empty() { method_not_allowed() } else { Error::no_such_path() });
    }
    match verb {
        "get" => {
            let version = parse_version(query.get("resourceVersion").unwrap_or_default())?;
            registry::get(call, &path.name, version, accepted).await
        }
        "list" => registry::list(call, &list_options(call, query, false)?, accepted, answer.include).await,
        "watch" => {
            let mut options = list_options(call, query, true)?;
            if !path.name.is_empty() {
                options.selector.fields.terms.push(("metadata.name".into(), path.name.clone(), true));
            }
            registry::watch(call, &options, accepted, answer.include).await
        }
        "create" if !path.name.is_empty() && custom.is_none() => Err(method_not_allowed()),
        "update" | "patch" if path.name.is_empty() && custom.is_some() => {
            Err(Error::bad_request("name must be provided"))
        }
        "update" | "patch" if path.name.is_empty() => Err(method_not_allowed()),
        "create" => create(answer, query, request).await,
        "update" => update(answer, &path.name, Part::Object, query, request).await,
        "patch" => patch(answer, &path.name, Part::Object, query, request).await,
        "delete" => {
            let options = delete_options(query, request).await?;
            let deleted = registry::delete(call, &path.name, &options).await;
            let answered = deleted.and_then(|deleted| answer.value(deleted.code, &deleted.body));
            answer.warned(answered, &options.warnings(kind))
        }
        "deletecollection" => {
            let selection = list_options(call, query, false)?;
            let options = delete_options(query, request).await?;
            let list = registry::delete_collection(call, &selection, &options).await;
            let answered = list.map(|list| respond::value(200, &list, accepted.encoding));
            answer.warned(answered, &options.warnings(kind))
        }
        _ => Err(method_not_allowed()),
    }
}

/// The options of a list or a watch, with field selectors in terms of the stored objects.
fn list_options(call: Call<'_>, query: &Query, watch: bool) -> Result<ListOptions> {
    let mut options = ListOptions::parse(query, watch)?;
    if call.kind.kind == "Tenant" && call.custom.is_none() && !watch {
        options.search = query.get("search").unwrap_or_default().to_owned();
    }
    options.selector.fields = match call.custom {
        Some(custom) => custom.version.field_selector(&options.selector.fields)?,
        None => kinds::field_selector(call.kind, &options.selector.fields)?,
    };
    options.selector.labels.requirements.extend(call.projection().map(|projection| projection.requirement()));
    Ok(options)
}

fn include_object(query: &Query, accepted: Accepted) -> Result<IncludeObject> {
    match query.get("includeObject").filter(|_| accepted.form == Form::Table) {
        None | Some("" | "Metadata") => Ok(IncludeObject::Metadata),
        Some("None") => Ok(IncludeObject::None),
        Some("Object") => Ok(IncludeObject::Object),
        Some(other) => Err(Error::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
             'Object', 'None', or empty"
        ))),
    }
}

/// How an operation's result is written.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    pub call: Call<'a>,
    pub accepted: Accepted,
    pub include: IncludeObject,
}

impl Answer<'_> {
    /// A value that is no stored object: a Status, a review, a Scale. Only objects of the kind and scales become tables.
    pub fn value(&self, code: u16, value: &Value) -> Result<Response<Body>> {
        if value["kind"] == self.call.kind.kind.as_str() {
            return value_response(self.call, code, value, self.accepted, self.include);
        }
        if value["kind"] == "Scale" && self.accepted.form == Form::Table {
            let scale = Arc::new(subresources::scale_row());
            return value_response(Call { kind: &scale, ..self.call }, code, value, self.accepted, self.include);
        }
        Ok(respond::value(code, value, self.accepted.encoding))
    }

    /// The result of a write or why there is none, with warnings.
    pub fn written(&self, written: Result<Written>, warnings: &[String]) -> Result<Response<Body>> {
        self.warned(written.and_then(|written| self.result(written)), warnings)
    }

    /// An answer with warnings, which a refusal has too.
    pub fn warned(&self, answered: Result<Response<Body>>, warnings: &[String]) -> Result<Response<Body>> {
        if warnings.is_empty() {
            return answered;
        }
        let mut response = answered.unwrap_or_else(|error| respond::error(&error, self.accepted.encoding));
        respond::warn(&mut response, warnings);
        Ok(response)
    }

    fn result(&self, written: Written) -> Result<Response<Body>> {
        let code = |created: bool| if created { 201 } else { 200 };
        match written {
            Written::Stored { object, created } => {
                object_response(self.call, code(created), &object, self.accepted, self.include)
            }
            Written::Unstored { value, created } => self.value(code(created), &value),
        }
    }
}

async fn create(answer: Answer<'_>, query: &Query, request: Request<Body>) -> Result<Response<Body>> {
    let call = answer.call;
    let (head, body) = request.into_parts();
    let options = WriteOptions::parse(query, &head.headers, WriteVerb::Create)?;
    let decoded = body::object_of(call, &body::read(body).await?, Format::of(&head.headers)?, options.validation)?;
    if reviews::answers(call.kind) {
        let answered = reviews::review(call, &options, decoded.value).ok_or_else(Error::no_such_path)??;
        return answer.value(201, &answered);
    }
    if !call.kind.stored() {
        return subresources::create_unstored(answer, decoded.value, &options).await;
    }
    let mut warnings = decoded.warnings;
    let written = registry::create(call, decoded.value, Managers::Tracked, &options, &mut warnings).await;
    answer.written(written, &warnings)
}

/// PUT of an object or of its status.
pub async fn update(
    answer: Answer<'_>,
    name: &str,
    part: Part,
    query: &Query,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let call = answer.call;
    let (head, body) = request.into_parts();
    let options = WriteOptions::parse(query, &head.headers, WriteVerb::Update)?;
    let decoded = body::object_of(call, &body::read(body).await?, Format::of(&head.headers)?, options.validation)?;
    let value = decoded.value;
    check_name(call, name, &value)?;
    let mut warnings = decoded.warnings;
    let written = registry::update(call, name, part, &options, &mut warnings, |live| {
        registry::check_uid(call, name, live.value, &value)?;
        Ok(value.clone().into())
    })
    .await;
    answer.written(written, &warnings)
}

/// The name and the namespace of a body must be those of the path; the namespace may be left out.
pub fn check_name(call: Call<'_>, name: &str, value: &Value) -> Result<()> {
    let metadata = &value["metadata"];
    let given = metadata["name"].as_str().unwrap_or_default();
    if given.is_empty() {
        return Err(Error::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given != name {
        return Err(Error::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    let given = metadata["namespace"].as_str().unwrap_or_default();
    if call.kind.namespaced() && !given.is_empty() && given != call.namespace {
        return Err(Error::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// PATCH of an object or of its status.
pub async fn patch(
    answer: Answer<'_>,
    name: &str,
    part: Part,
    query: &Query,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let call = answer.call;
    let (head, body) = request.into_parts();
    let options = WriteOptions::parse(query, &head.headers, patch::verb(&head.headers)?)?;
    let patch = Patch::parse(&head.headers, body::read(body).await?, options.validation)?;
    let (mut warnings, mut decoding) = (Vec::new(), Vec::new());
    let written = registry::update(call, name, part, &options, &mut warnings, |live| {
        let patched = match &patch {
            Patch::Change(_) if live.value.is_null() => {
                return Err(Error::not_found(&call.kind.group, &call.kind.plural, name));
            }
            Patch::Change(change) => {
                let patched = match call.custom {
                    Some(custom) => change.apply_custom(&custom.version, live)?,
                    None => change.apply(call.kind, live)?,
                };
                check_name(call, name, &patched.value)?;
                decoding = patched.warnings;
                patched.value.into()
            }
            Patch::Apply(config) => {
                let uid = config.value()["metadata"]["uid"].as_str().unwrap_or_default();
                if live.value.is_null() && !uid.is_empty() {
                    let why = format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    );
                    return Err(Error::conflict(&call.kind.group, &call.kind.plural, name, &why));
                }
                let applied = config.apply(call, &options, registry::subresource(part), live)?;
                decoding = config.warnings().to_vec();
                check_name(call, name, &applied.value)?;
                applied
            }
        };
        Ok(patched)
    })
    .await;
    decoding.append(&mut warnings);
    answer.written(written, &decoding)
}

/// The options of a delete, from its body or its query.
pub async fn delete_options(query: &Query, request: Request<Body>) -> Result<DeleteOptions> {
    let (head, body) = request.into_parts();
    let options = body::options(&body::read(body).await?, Format::of(&head.headers)?)?;
    DeleteOptions::parse(query, &options)
}
