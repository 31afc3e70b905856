//! Parts of objects with verbs of their own: status, scale, finalize, binding, token, eviction, ephemeral containers.

use crate::actions;
use crate::admission::{self, Attempt};
use crate::body::{self, Format};
use crate::eviction;
use crate::handler::method_not_allowed;
use crate::objects::{Answer, check_name, patch, update};
use crate::options::{Query, WriteOptions, WriteVerb};
use crate::patch::{self, Patch};
use crate::path::ResourcePath;
use crate::placements::{BINDER, Reserved};
use crate::registry::{self, Call, Changed, Live, Part, Written};
use crate::{proxy, respond, reviews};
use api::{Error, ObjectKey, ResourceId, Result, Space, TenantName, Verb};
use axum::body::Body;
use http::{Request, Response};
use serde_json::{Value, json};

/// Carries out a request for a subresource.
pub async fn dispatch(
    answer: Answer<'_>,
    path: &ResourcePath,
    query: &Query,
    verb: &'static str,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let call = answer.call;
    let name = path.name.as_str();
    allowed(call, path, verb)?;
    match (path.subresource.as_str(), verb) {
        ("scale", "get") => {
            let current = call.current(name)?;
            call.ready(std::slice::from_ref(&current)).await?;
            let object = call.view(&current)?;
            let scale = call.scale(&object)?;
            answer.value(200, &scale)
        }
        ("scale", _) => scale(answer, name, query, verb, request).await,
        ("finalize", "update") => finalize(answer, name, query, request).await,
        ("binding", "create") => {
            let (options, value) = decode(answer, name, query, request, ("", "v1", "Binding")).await?;
            bind(answer, name, value, &options).await
        }
        ("token", "create") => {
            let (options, value) =
                decode(answer, name, query, request, ("authentication.k8s.io", "v1", "TokenRequest")).await?;
            admission::ask(Attempt::create_in(call, name, "token", &options), &value).await?;
            answer.value(201, &reviews::issue_token(call, name, &value, &options)?)
        }
        ("eviction", "create") => {
            let (options, value) = decode(answer, name, query, request, ("policy", "v1", "Eviction")).await?;
            admission::ask(Attempt::create_in(call, name, "eviction", &options), &value).await?;
            eviction::evict(answer.call, name, &value, &options).await?;
            answer.value(
                201,
                &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
            )
        }
        ("action", "create") => {
            let (options, value) = decode(answer, name, query, request, ("", "v1", "CustomAction")).await?;
            admission::ask(Attempt::create_in(call, name, "action", &options), &value).await?;
            actions::act(answer, name, &value, &options).await
        }
        (_, "get") => {
            let object = call.current(name)?;
            call.ready(std::slice::from_ref(&object)).await?;
            registry::object_response(call, 200, &object, answer.accepted, answer.include)
        }
        ("status", "update") => update(answer, name, Part::Status, query, request).await,
        ("status", "patch") => patch(answer, name, Part::Status, query, request).await,
        (named, "update" | "patch") => {
            let listed = kinds::strategy(call.kind).subresources;
            let (named, _) = listed.iter().find(|(known, _)| *known == named).ok_or_else(method_not_allowed)?;
            if verb == "update" {
                return update(answer, name, Part::Subresource(named), query, request).await;
            }
            patch(answer, name, Part::Subresource(named), query, request).await
        }
        _ => Err(method_not_allowed()),
    }
}

/// Whether the kind has such a subresource with such a verb.
pub fn allowed(call: Call<'_>, path: &ResourcePath, verb: &str) -> Result<()> {
    let subresource = call.kind.subresource(&path.subresource).ok_or_else(Error::no_such_path)?;
    if call.kind.namespaced() && path.namespace.is_empty() {
        return Err(Error::no_such_path());
    }
    if !path.rest.is_empty() && path.subresource != proxy::PROXY {
        return Err(Error::no_such_path());
    }
    if !Verb::parse(verb).is_some_and(|verb| subresource.verbs.contains(&verb)) {
        return Err(method_not_allowed());
    }
    Ok(())
}

/// A create of a kind that is not stored and is no review: a Binding posted to the collection.
pub async fn create_unstored(answer: Answer<'_>, value: Value, options: &WriteOptions) -> Result<Response<Body>> {
    if answer.call.kind.kind != "Binding" {
        return Err(method_not_allowed());
    }
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let pods = answer.call.server.kinds.find("", "v1", "pods").ok_or_else(Error::no_such_path)?;
    let answer = Answer { call: Call { kind: pods, ..answer.call }, ..answer };
    bind(answer, &name, value, options).await
}

async fn decode(
    answer: Answer<'_>,
    name: &str,
    query: &Query,
    request: Request<Body>,
    (group, version, kind): (&str, &str, &str),
) -> Result<(WriteOptions, Value)> {
    let (head, body) = request.into_parts();
    let options = WriteOptions::parse(query, &head.headers, WriteVerb::Create)?;
    let bytes = body::read(body).await?;
    let decoded = body::object(group, version, kind, &bytes, Format::of(&head.headers)?, options.validation)?;
    let named = decoded.value["metadata"]["name"].as_str().unwrap_or_default();
    if matches!(kind, "Binding" | "Eviction") && !named.is_empty() && named != name {
        return Err(Error::bad_request(format!("name in URL does not match name in {kind} object")));
    }
    if !matches!(kind, "TokenRequest" | "CustomAction") && !named.is_empty() && named != name {
        return Err(Error::bad_request(format!(
            "the name of the object ({named}) does not match the name on the URL ({name})"
        )));
    }
    let given = decoded.value["metadata"]["namespace"].as_str().unwrap_or_default();
    if !given.is_empty() && given != answer.call.namespace {
        return Err(Error::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok((options, decoded.value))
}

/// PUT or PATCH of a Scale: the number of replicas, with the version as a precondition.
async fn scale(
    answer: Answer<'_>,
    name: &str,
    query: &Query,
    verb: &str,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let call = answer.call;
    let (head, body) = request.into_parts();
    let verb = if verb == "patch" { patch::verb(&head.headers)? } else { WriteVerb::Update };
    // What is absent has no scale.
    let options = WriteOptions { creates: false, ..WriteOptions::parse(query, &head.headers, verb)? };
    let bytes = body::read(body).await?;
    let mut warnings = Vec::new();
    let sent = if verb != WriteVerb::Update {
        Sent::Patch(Patch::parse(&head.headers, bytes, options.validation)?)
    } else {
        let decoded =
            body::object("autoscaling", "v1", "Scale", &bytes, Format::of(&head.headers)?, options.validation)?;
        check_name(call, name, &decoded.value)?;
        warnings = decoded.warnings;
        Sent::Whole(decoded.value)
    };
    let scale_kind = call.server.kinds.by_kind("autoscaling", "v1", "Scale").cloned();
    let written = registry::update(call, name, Part::Scale, &options, &mut Vec::new(), |live| {
        let current = live.value;
        let scale = call.scale_to_change(current)?;
        let wanted = match &sent {
            Sent::Whole(value) => value.clone(),
            Sent::Patch(Patch::Change(change)) => {
                let kind = scale_kind.as_deref().map_or_else(scale_row, Clone::clone);
                let patched = change.apply(&kind, Live { value: &scale, managed: "" })?;
                warnings = patched.warnings;
                patched.value
            }
            Sent::Patch(Patch::Apply(config)) => {
                check_name(call, name, config.value())?;
                return config.apply_scale(call, &options, live);
            }
        };
        let wanted_uid = wanted["metadata"]["uid"].as_str().unwrap_or_default();
        let held_uid = current["metadata"]["uid"].as_str().unwrap_or_default();
        if !wanted_uid.is_empty() && wanted_uid != held_uid {
            let why = format!("Precondition failed: UID in precondition: {wanted_uid}, UID in object meta: {held_uid}");
            // As recorded, a patch alone is told of the subresource.
            let below = if matches!(sent, Sent::Whole(_)) { "" } else { "/scale" };
            return Err(Error::conflict(&call.kind.group, &format!("{}{below}", call.kind.plural), name, &why));
        }
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
        // Of a kind that a tenant defines, validation finds it.
        if replicas < 0 && call.custom.is_none() {
            let cause = api::Cause {
                reason: "FieldValueInvalid".into(),
                message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
                field: "spec.replicas".into(),
            };
            return Err(Error::invalid("autoscaling", "Scale", name, vec![cause]));
        }
        let mut new = current.clone();
        // Without a version the number is set whatever else was changed.
        if wanted["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
            new["metadata"]["resourceVersion"] = wanted["metadata"]["resourceVersion"].clone();
        }
        call.set_scale(&mut new, &wanted)?;
        Ok(new.into())
    })
    .await?;
    let object = match written {
        Written::Stored { object, .. } => call.view(&object)?,
        Written::Unstored { value, .. } => value,
    };
    let mut response = answer.value(200, &call.scale(&object)?)?;
    respond::warn(&mut response, &warnings);
    Ok(response)
}

enum Sent {
    Whole(Value),
    Patch(Patch),
}

/// The type of a Scale, which has no objects and so no row of its own.
pub fn scale_row() -> api::Kind {
    api::Kind {
        group: "autoscaling".into(),
        version: "v1".into(),
        kind: "Scale".into(),
        list_kind: "ScaleList".into(),
        plural: "scales".into(),
        singular: "scale".into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: api::Scope::Namespaced,
        verbs: Vec::new(),
        subresources: Vec::new(),
        stored_as: api::ResourceId::new("autoscaling", "scales"),
        selectable: &[],
    }
}

/// PUT of `finalize`: replaces `spec.finalizers` of a namespace or a tenant. The last one to go takes the object along.
async fn finalize(answer: Answer<'_>, name: &str, query: &Query, request: Request<Body>) -> Result<Response<Body>> {
    let call = answer.call;
    let (head, body) = request.into_parts();
    let options = WriteOptions::parse(query, &head.headers, WriteVerb::Update)?;
    let decoded = body::object_of(call, &body::read(body).await?, Format::of(&head.headers)?, options.validation)?;
    let sent = decoded.value;
    check_name(call, name, &sent)?;
    let written = registry::update(call, name, Part::Own("finalize"), &options, &mut Vec::new(), |live| {
        let current = live.value;
        registry::check_uid(call, name, current, &sent)?;
        if call.kind.kind == "Namespace" {
            let causes = kinds::generic::namespace_finalizer_causes(&sent["spec"]["finalizers"]);
            if !causes.is_empty() {
                return Err(Error::invalid("", "Namespace", name, causes));
            }
        }
        nothing_left(call, name, current, &sent)?;
        let mut new = current.clone();
        new["metadata"]["resourceVersion"] = sent["metadata"]["resourceVersion"].clone();
        match sent["spec"]["finalizers"].as_array() {
            Some(finalizers) if !finalizers.is_empty() => new["spec"]["finalizers"] = json!(finalizers),
            _ => {
                if let Some(spec) = new["spec"].as_object_mut() {
                    spec.remove("finalizers");
                }
            }
        }
        Ok(new.into())
    })
    .await;
    answer.written(written, &decoded.warnings)
}

/// A deleted tenant does not lose its last finalizer, and so its name, while anything of it is stored.
fn nothing_left(call: Call<'_>, name: &str, current: &Value, sent: &Value) -> Result<()> {
    let last = sent["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    let deleting = !current["metadata"]["deletionTimestamp"].is_null();
    if call.kind.kind != "Tenant" || !last || !deleting {
        return Ok(());
    }
    let tenant = TenantName::new(name)?;
    match call.server.store.snapshot().tenant_keys(&tenant).next() {
        None => Ok(()),
        Some(object) => {
            let why = format!("{} {:?} is still there", object.key.resource, object.key.name);
            Err(Error::conflict("", "tenants", name, &why))
        }
    }
}

/// Binds a pod to a node, once.
async fn bind(answer: Answer<'_>, name: &str, binding: Value, options: &WriteOptions) -> Result<Response<Body>> {
    let call = answer.call;
    let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
    let kind = binding["target"]["kind"].as_str().unwrap_or_default();
    let invalid = |reason: &str, message: String, field: &str| {
        let cause = api::Cause { reason: reason.into(), message, field: field.into() };
        Error::invalid("", "Binding", name, vec![cause])
    };
    if !matches!(kind, "" | "Node") {
        let message = format!("Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\"");
        return Err(invalid("FieldValueNotSupported", message, "target.kind"));
    }
    if node.is_empty() {
        return Err(invalid("FieldValueRequired", "Required value".into(), "target.name"));
    }
    let mut warnings = admission::ask(Attempt::create_in(call, name, "binding", options), &binding).await?;
    let conflict = |why: String| Error::conflict("", "pods/binding", name, &why);
    // Dropped when the pod is bound or is not.
    let mut reserved = reserve(call, &binding, &node).map_err(conflict)?;
    let written = registry::update(call, name, Part::Own("binding"), options, &mut warnings, |live| {
        let pod = live.value;
        registry::check_uid(call, name, pod, &binding)?;
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
        }
        let bound = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if !bound.is_empty() {
            return Err(conflict(format!("pod {name} is already assigned to node {bound:?}")));
        }
        if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
            return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
        }
        let mut new = pod.clone();
        let version = &binding["metadata"]["resourceVersion"];
        let given = version.as_str().is_some_and(|text| !text.is_empty());
        new["metadata"]["resourceVersion"] = if given { version.clone() } else { Value::Null };
        new["spec"]["nodeName"] = json!(node);
        let annotations = binding["metadata"]["annotations"].as_object().into_iter().flatten();
        for (key, value) in annotations.filter(|(key, _)| *key != BINDER) {
            new["metadata"]["annotations"][key] = value.clone();
        }
        for (key, value) in binding["metadata"]["labels"].as_object().into_iter().flatten() {
            if new["metadata"]["labels"][key].is_null() {
                new["metadata"]["labels"][key] = value.clone();
            }
        }
        set_scheduled(&mut new, call);
        Ok(Changed::untracked(new))
    })
    .await?;
    if let (Some(reserved), Written::Stored { object, .. }) = (&mut reserved, &written) {
        reserved.bound_at(object.revision);
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    let mut response = answer.value(201, &status)?;
    respond::warn(&mut response, &warnings);
    Ok(response)
}

/// Keeps other schedulers off the node until the pod is bound; nothing for a node that does not exist. `Err` says why it
/// has to be decided anew.
fn reserve<'a>(call: Call<'a>, binding: &Value, node: &str) -> std::result::Result<Option<Reserved<'a>>, String> {
    let exists = ObjectKey::new(ResourceId::new("", "nodes"), Space::Cluster, "", node)
        .is_ok_and(|key| call.server.store.snapshot().get(&key).is_some());
    if !exists {
        return Ok(None);
    }
    let binder = binding["metadata"]["annotations"][BINDER].as_str().unwrap_or_default();
    let seen = binding["target"]["resourceVersion"].as_str().and_then(|version| version.parse().ok());
    call.server.placements.reserve(node, binder, seen.filter(|_| !binder.is_empty())).map(Some)
}

fn set_scheduled(pod: &mut Value, call: Call<'_>) {
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": call.now.to_string(),
    });
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
        conditions.retain(|c| c["type"] != "PodScheduled");
        conditions.push(condition);
    }
}
