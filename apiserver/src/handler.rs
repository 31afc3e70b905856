//! The way of a request: parse the path, authenticate, decide the tenant, authorize, dispatch, answer.
//!
//! Invariant: nothing but health checks is answered before authentication, and nothing is read or written before the
//! tenant decision and authorization have passed on the same parsed path that names the object.

use crate::audit::Record;
use crate::authn::{self, Peer};
use crate::fairness::{self, Connection, Permit};
use crate::negotiate::Accepting;
use crate::path::{Path, ResourcePath, Route};
use crate::reauthorize::Opened;
use crate::server::Server;
use crate::target::Target;
use crate::{
    aggregation, authz, compress, discovery, negotiate, objects, openapi, peers, registry, resource_metrics, respond,
    usage,
};
use api::selector::FieldSelector;
use api::{Error, Identity, Kind, Reason, Result, Scope, TenantName, Timestamp};
use axum::body::Body;
use futures::FutureExt;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use policy::fairness::Classified;
use policy::rbac::Attributes;
use policy::tenancy::{Decision, Requested, decide};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;
use store::Whose;

/// What is there beside resources, discovery and health checks.
const FIXED_PATHS: [&str; 8] = [
    "/",
    usage::PATH,
    "/metrics",
    "/version",
    "/openid/v1/jwks",
    "/.well-known/openid-configuration",
    "/openapi/v2",
    "/openapi/v3",
];

/// What the media type of aggregated discovery says beside its encoding.
const AGGREGATED_DISCOVERY: &str = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// What clients are told that this server is.
const KUBERNETES_VERSION: &str = "v1.36.2+ursa";

/// Answers one request. Never fails: every error is an answer, and a panic is a 500 of this request alone.
pub async fn handle(server: Arc<Server>, peer: Peer, mut request: Request<Body>) -> Response<Body> {
    let started = Instant::now();
    let peer = peers::take(peer, &mut request);
    let head_only = request.method() == Method::HEAD;
    let (head, body) = request.into_parts();
    let accepting = Accepting::of(&head);
    let compress = compress::is_accepted(&head.headers);
    let request = Request::from_parts(head, body);
    let mut label = Label { verb: "unknown", resource: String::new(), class: None, record: None };
    let answered = AssertUnwindSafe(async { answer(&server, &peer?, request, &accepting, &mut label).await });
    let answered = answered.catch_unwind().await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => respond::error(&error, accepting.for_status()),
        Err(_) => {
            tracing::error!(verb = label.verb, resource = label.resource, "a request panicked");
            if let Some(record) = label.record.take() {
                record.panicked();
            }
            let error = Error::new(Reason::InternalError, "this request caused a failure inside the server");
            respond::error(&error, accepting.for_status())
        }
    };
    if let Some(record) = label.record.take() {
        if let Ok(id) = HeaderValue::from_str(record.id()) {
            response.headers_mut().insert(AUDIT_ID, id);
        }
        response = record.complete(response, label.verb == "watch").await;
    }
    if compress {
        response = compress::gzip(response);
    }
    if head_only {
        *response.body_mut() = Body::empty();
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if let Some(class) = &label.class {
        for (name, uid) in [(FLOW_SCHEMA, &*class.schema_uid), (PRIORITY_LEVEL, class.level.uid.as_str())] {
            if let Ok(uid) = HeaderValue::from_str(uid) {
                response.headers_mut().insert(name, uid);
            }
        }
    }
    server.metrics.answered(label.verb, &label.resource, response.status().as_u16(), started.elapsed());
    response
}

/// What a request is counted as.
struct Label {
    verb: &'static str,
    resource: String,
    /// Its flow, once it is known.
    class: Option<Classified>,
    /// Where the audit log keeps something of it.
    record: Option<Record>,
}

/// How clients find a request in the audit log.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// By which schema and level a request was admitted.
const FLOW_SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const PRIORITY_LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

async fn answer(
    server: &Arc<Server>,
    peer: &Peer,
    request: Request<Body>,
    accepting: &Accepting,
    label: &mut Label,
) -> Result<Response<Body>> {
    if let Some(response) = health(server, request.uri()) {
        label.verb = "health";
        return Ok(response);
    }
    if matches!(request.uri().path(), "/version" | "/version/") && *request.method() == Method::GET {
        label.verb = "get";
        return Ok(respond::json(200, &version()));
    }
    let now = Timestamp::now();
    let path = Path::parse(request.uri().path())?;
    let asked = (request.headers(), request.extensions());
    if let Some(place) = peers::elsewhere(server, peer, &path, asked, now).await? {
        label.verb = "forward";
        return peers::forward(server, peer, &place, request).await;
    }
    let fresh = matches!(path.route, Route::Resource(_)) && !allows_older(&request);
    if fresh {
        up_to_date(server, &path.tenant).await?;
    }
    let begin = |who: Option<&Identity>, what: &Attributes, request: &Request<Body>| {
        let audit = server.audit.as_ref()?;
        Record::begin(audit, who, what, &path, (request.uri(), request.headers()), now)
    };
    let caller = match authn::authenticate(server, peer, request.headers(), &path.tenant, now) {
        Ok(caller) => caller,
        Err(error) => {
            let verb = request.method().as_str().to_ascii_lowercase();
            let what = Attributes { verb: &verb, path: Some(request.uri().path()), ..Attributes::default() };
            label.record = begin(None, &what, &request);
            return Err(error);
        }
    };
    #[cfg(test)]
    let caller = crate::planted::identity(request.headers(), &path.tenant, caller);
    if let Some(connection) = request.extensions().get::<Arc<Connection>>() {
        connection.count(&server.fairness, &caller)?;
    }
    if matches!(path.route, Route::Resource(_)) {
        let whose = match &path.tenant {
            Requested::Named(tenant) => Whose::Tenant(tenant),
            Requested::Own => Whose::Tenant(&caller.tenant),
            Requested::All => Whose::AllTenants,
        };
        let waits = fresh && !matches!(path.tenant, Requested::Named(_));
        let known = if waits { server.store.current_in(whose).await } else { server.store.holds(whose) };
        known.map_err(registry::commit_error)?;
    }
    match &path.route {
        Route::NonResource(below) => {
            // Other verbs are counted as one: a client cannot make new series.
            label.verb = if *request.method() == Method::GET { "get" } else { "unknown" };
            let verb = request.method().as_str().to_ascii_lowercase();
            let cluster_scoped = policy::rbac::is_operators_path(below);
            #[cfg(test)]
            let cluster_scoped = cluster_scoped && !crate::planted::is(crate::planted::Fault::MetricsForEverybody);
            let what = Attributes { verb: &verb, path: Some(below), cluster_scoped, ..Attributes::default() };
            label.record = begin(Some(&caller), &what, &request);
            let asked = Asked { peer, caller, path: &path, what: &what, headers: request.headers(), seats: 1 };
            let admitted = admit(server, asked, label).await?;
            if below == crate::backup::PATH {
                return crate::backup::answer(server, &admitted.identity, request).await;
            }
            if let Some(tenant) = admitted.decision.tenant()
                && let Some(remote) = server.aggregation.find_document(server, tenant, below)?
            {
                return aggregation::forward(server, (tenant, &admitted.identity), &remote, below, request).await;
            }
            non_resource(server, &admitted, below, accepting, &request)
        }
        Route::Resource(resource) => {
            let query = crate::options::Query::parse(request.uri().query());
            let verb = verb_of(request.method(), resource, &query)?;
            query.check_timeout()?;
            let kind = server.kinds.find(&resource.group, &resource.version, &resource.resource);
            // Only what exists is counted by name: a client cannot make new series.
            (label.verb, label.resource) = (verb, kind.map_or("unknown", |kind| &kind.plural).to_owned());
            let selected = match verb {
                "list" | "watch" | "deletecollection" => query.get("fieldSelector"),
                _ => None, // of what names one object, it would say nothing about which
            };
            let selected = selected.map(FieldSelector::parse).transpose()?;
            let what = Attributes {
                verb,
                tenant: None,
                group: &resource.group,
                version: &resource.version,
                resource: &resource.resource,
                subresource: &resource.subresource,
                namespace: namespace_attribute(resource),
                name: name_attribute(resource, verb, selected.as_ref()),
                path: None,
                cluster_scoped: kind.is_some_and(|kind| kind.scope == Scope::Cluster),
                fields: selected.as_ref(),
            };
            label.record = begin(Some(&caller), &what, &request);
            let seats = kind.map_or(1, |kind| {
                let tenant = if let Requested::Named(tenant) = &path.tenant { tenant } else { &caller.tenant };
                server.fairness.seats(Some(tenant), &kind.stored_as, verb)
            });
            let watch = (verb == "watch").then(|| server.fairness.watch(&caller)).transpose()?;
            let headers = request.headers();
            let opened = watch.as_ref().and_then(|_| Opened::new(server, peer, headers, &path.tenant, &caller, &what));
            let asked = Asked { peer, caller, path: &path, what: &what, headers: request.headers(), seats };
            #[cfg(test)]
            crate::planted::absence(
                server,
                if let Requested::Named(t) = &path.tenant { Some(t) } else { None },
                kind,
                &what,
            )?;
            let admitted = admit(server, asked, label).await?;
            let target = Target::new(admitted.decision);
            if let (None, Some(tenant)) = (kind, target.tenant()) {
                let (group, version) = (&resource.group, &resource.version);
                if let Some(remote) = server.aggregation.find(server, tenant, group, version)? {
                    label.resource = "apiservices".to_owned();
                    let path = aggregation::below(request.uri().path());
                    let asks = (tenant, &admitted.identity);
                    let answered = aggregation::forward(server, asks, &remote, &path, request).await;
                    return watched(answered, watch, opened);
                }
            }
            if resource_metrics::is_asked(resource) {
                label.resource = "metrics".to_owned();
                let identity = &admitted.identity;
                let asked = resource_metrics::Asked {
                    identity,
                    target: &target,
                    path: resource,
                    query: &query,
                    verb,
                    accepting,
                    now,
                };
                return resource_metrics::answer(server, asked, request).await;
            }
            let custom = match (kind, target.tenant()) {
                (None, Some(tenant)) => {
                    let found = server.catalogue.find(
                        server,
                        tenant,
                        &resource.group,
                        &resource.version,
                        &resource.resource,
                    )?;
                    // All kinds of all tenants are counted as one.
                    found.inspect(|_| label.resource = "customresources".to_owned())
                }
                _ => None,
            };
            let kind = kind.or(custom.as_ref().map(|custom| &custom.version.kind));
            let kind = kind.ok_or_else(|| no_such_kind(server, &resource.group))?;
            let routed = objects::Routed {
                identity: &admitted.identity,
                target: &target,
                kind,
                custom: custom.as_ref(),
                path: resource,
                query: &query,
                verb,
                accepting,
                now,
            };
            let mut request = request;
            if let Some(record) = label.record.as_mut().filter(|record| record.wants_request()) {
                let (head, body) = request.into_parts();
                let body = crate::body::read(body).await?;
                record.request(&head, &body);
                request = Request::from_parts(head, Body::from(body));
            }
            let answered = objects::dispatch(server, routed, request).await;
            watched(answered, watch, opened)
        }
    }
}

/// An answer that counts as a watch as long as it lasts, and ends with the caller's right.
fn watched(
    answered: Result<Response<Body>>,
    watch: Option<fairness::Counted>,
    opened: Option<Opened>,
) -> Result<Response<Body>> {
    let Some(watch) = watch else { return answered };
    let response = answered?;
    let response = fairness::guarded(response, watch);
    Ok(match opened.filter(|_| response.status().is_success()) {
        Some(opened) => opened.guard(response),
        None => response,
    })
}

/// What a group serves, it says in its own words; of others there is no page.
fn no_such_kind(server: &Server, group: &str) -> Error {
    let known = server.kinds.groups().iter().any(|known| known.name == group);
    if known { Error::no_such_path() } else { Error::page_not_found() }
}

/// Waits for everything that was committed before, as far as the path says where; at least for what operators keep, and
/// with it who there is.
async fn up_to_date(server: &Server, requested: &Requested) -> Result<()> {
    server.store.current().await.map_err(registry::commit_error)?;
    match requested {
        Requested::Named(tenant) => {
            server.store.current_in(Whose::Tenant(tenant)).await.map_err(registry::commit_error)
        }
        Requested::Own | Requested::All => Ok(()),
    }
}

/// Whether a request is content with what this server has seen: a read that says at which version, 0 for any. All others
/// rest on everything that was answered before them, by whichever server, their identities and rights too.
fn allows_older(request: &Request<Body>) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    reads
        && request.uri().query().is_some_and(|query| {
            query
                .split('&')
                .any(|pair| pair.strip_prefix("resourceVersion=").is_some_and(|version| !version.is_empty()))
        })
}

/// Who a request is for, and where it goes, once both are authorized.
struct Admitted {
    identity: Identity,
    decision: Decision,
    /// Held until the answer's head is known.
    _seats: Permit,
}

/// A request that is to be admitted. `what` has no tenant yet.
struct Asked<'a> {
    peer: &'a Peer,
    caller: Identity,
    path: &'a Path,
    what: &'a Attributes<'a>,
    headers: &'a HeaderMap,
    seats: usize,
}

/// Decides the tenant, turns the caller into whom it acts as, waits for seats, and authorizes the request.
async fn admit(server: &Server, asked: Asked<'_>, label: &mut Label) -> Result<Admitted> {
    let Asked { peer, caller, path, what, headers, seats } = asked;
    let reached = decide(&caller, &path.tenant, what);
    #[cfg(test)]
    let reached = crate::planted::decision(&caller, &path.tenant, what).map_or(reached, Ok);
    let reached = reached?;
    let tenant = reached.tenant().filter(|_| !what.cluster_scoped);
    let what = Attributes { tenant, ..*what };
    let other = authn::impersonate(server, &caller, headers, &what, &reached)?;
    if let (Some((identity, mode)), Some(record)) = (&other, &mut label.record) {
        record.impersonates(identity, mode.verb());
    }
    let other = other.map(|(identity, _)| identity);
    let identity = other.as_ref().unwrap_or(&caller);
    let class = label.class.insert(server.fairness.classify(server, identity, &what)?);
    let permit = server.fairness.admit(peer, &caller, class, seats).await?;
    let decision = decide(identity, &path.tenant, &what);
    #[cfg(test)]
    let decision = crate::planted::decision(identity, &path.tenant, &what).map_or(decision, Ok);
    let decision = decision?;
    let allowed = authz::authorize(server, identity, &what, &decision);
    #[cfg(test)]
    let allowed = if crate::planted::is(crate::planted::Fault::DecisionForEverybody) { Ok(()) } else { allowed };
    if let Some(record) = &mut label.record {
        let (decided, reason) = match &allowed {
            Ok(()) => {
                ("allow", authz::review(server, identity, &what, &decision)?["reason"].as_str().map(str::to_owned))
            }
            Err(_) => ("forbid", None),
        };
        record.annotate("authorization.k8s.io/decision", decided);
        record.annotate("authorization.k8s.io/reason", &reason.unwrap_or_default());
    }
    allowed?;
    takes_requests(server, peer, &caller, &reached, &what)?;
    Ok(Admitted { identity: other.unwrap_or(caller), decision, _seats: permit })
}

/// Upstream authorizes a Namespace object as being in itself, so that a role in it can grant it.
fn namespace_attribute(path: &ResourcePath) -> &str {
    if path.group.is_empty() && path.resource == "namespaces" { &path.name } else { &path.namespace }
}

/// A list or watch that a field selector narrows to one name is authorized by that name. Nothing else is: the body of a
/// create says its name, whatever the query selects.
fn name_attribute<'a>(path: &'a ResourcePath, verb: &str, selected: Option<&'a FieldSelector>) -> &'a str {
    if !path.name.is_empty() || !matches!(verb, "list" | "watch") {
        return &path.name;
    }
    selected.and_then(|fields| fields.required("metadata.name")).unwrap_or_default()
}

/// A tenant that does not exist has nothing: 404 for operators, 401 for those who claim to be of it. What is open to
/// everyone says the same in every tenant, so that nobody learns from it which there are.
///
/// In a tenant that is suspended only operators write, and the components of the control plane, which put it to rest.
fn takes_requests(
    server: &Server,
    peer: &Peer,
    identity: &Identity,
    decision: &Decision,
    what: &Attributes,
) -> Result<()> {
    let Some(tenant) = decision.tenant() else { return Ok(()) };
    if let Some(stored) = server.tenant(tenant) {
        let inside = !identity.tenant.is_system() && !matches!(peer, Peer::InProcess(_));
        return if inside && stored.field("spec.suspended") == "true" && changes_something(what) {
            Err(suspended(tenant, what))
        } else {
            Ok(())
        };
    }
    if identity.user == policy::authn::ANONYMOUS {
        return Ok(());
    }
    Err(if *tenant == identity.tenant {
        Error::unauthorized()
    } else {
        Error::not_found("", "tenants", tenant.as_str())
    })
}

/// Whether a request writes, or reaches into what runs. A review asks, and writes nothing.
fn changes_something(what: &Attributes) -> bool {
    const REVIEWS: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];
    let reads = matches!(what.verb, "get" | "list" | "watch");
    let reaches_in = matches!(what.subresource, "exec" | "attach" | "portforward" | "proxy");
    what.path.is_none() && !REVIEWS.contains(&what.group) && (!reads || reaches_in)
}

fn suspended(tenant: &TenantName, what: &Attributes) -> Error {
    let why = format!("tenant {tenant} is suspended: only its operators write in it");
    Error::forbidden(what.group, what.resource, what.name, &why)
}

/// The verb that authorization sees.
fn verb_of(method: &Method, path: &ResourcePath, query: &crate::options::Query) -> Result<&'static str> {
    let collection = path.name.is_empty();
    Ok(match *method {
        Method::GET | Method::HEAD if path.watch || (collection && query.flag("watch")) => "watch",
        Method::GET | Method::HEAD if collection => "list",
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if collection => "deletecollection",
        Method::DELETE => "delete",
        _ => return Err(method_not_allowed()),
    })
}

pub fn method_not_allowed() -> Error {
    Error::new(Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
        .with_details()
}

/// Health checks: answered to everyone, and telling nothing else.
fn health(server: &Server, uri: &http::Uri) -> Option<Response<Body>> {
    let (endpoint, check) = uri
        .path()
        .strip_prefix('/')?
        .split_once('/')
        .map_or((&uri.path()[1..], None), |(endpoint, check)| (endpoint, Some(check)));
    let checks: &[&str] = match endpoint {
        "healthz" | "livez" => &["ping", "log", "etcd"],
        "readyz" => &["ping", "log", "etcd-readiness", "shutdown"],
        _ => return None,
    };
    let passes = |check: &str| !matches!(check, "etcd-readiness" | "shutdown") || server.is_ready();
    if let Some(check) = check {
        let known = checks.contains(&check);
        return Some(match () {
            () if known && passes(check) => respond::text(200, "ok"),
            () if known => respond::text(503, "not ready"),
            () => respond::error(&Error::page_not_found(), negotiate::Encoding::Json),
        });
    }
    let failed = checks.iter().find(|check| !passes(check));
    let verbose =
        uri.query().is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("verbose")));
    let told = checks
        .iter()
        .map(|check| if passes(check) { format!("[+]{check} ok\n") } else { format!("[-]{check} failed\n") });
    Some(match failed {
        None if verbose => respond::text(200, format!("{}{endpoint} check passed\n", told.collect::<String>())),
        None => respond::text(200, "ok"),
        Some(_) if verbose => respond::text(503, format!("{}{endpoint} check failed\n", told.collect::<String>())),
        Some(_) => respond::text(503, "not ready"),
    })
}

fn version() -> serde_json::Value {
    serde_json::json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35", "gitVersion": KUBERNETES_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn non_resource(
    server: &Server,
    admitted: &Admitted,
    below: &str,
    accepting: &Accepting,
    request: &Request<Body>,
) -> Result<Response<Body>> {
    let tenant = admitted.decision.tenant();
    // Below a tenant's path; the shorter form was answered to everyone.
    if let Some(response) = below.parse().ok().and_then(|uri| health(server, &uri)) {
        return Ok(response);
    }
    // Of the list of groups upstream does not mind the method.
    if *request.method() != Method::GET && below != "/apis" {
        let known = FIXED_PATHS.contains(&below) || discovery::document(server, tenant, below, "")?.is_some();
        return Err(if known { method_not_allowed() } else { Error::page_not_found() });
    }
    match below {
        "/version" => Ok(respond::json(200, &version())),
        "/metrics" => Ok(respond::text(200, runtime::metrics::render())),
        "/" => Ok(respond::json(
            200,
            &serde_json::json!({"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]}),
        )),
        usage::PATH => usage::answer(server, admitted.decision.tenant(), request.uri().query().unwrap_or_default()),
        "/openid/v1/jwks" => {
            Ok(respond::bytes(200, "application/jwk-set+json", server.service_account_key().jwks().to_string().into()))
        }
        "/.well-known/openid-configuration" => {
            let tenant = tenant.ok_or_else(Error::no_such_path)?;
            Ok(respond::json(200, &server.service_account_key().openid_configuration(tenant)))
        }
        _ if below == "/openapi/v2" => openapi::version_2(server, tenant, request.headers()),
        _ if below.starts_with("/openapi/v3") => openapi::version_3(server, tenant, below, request.headers()),
        "/api" | "/apis" if let Some(encoding) = negotiate::aggregated_discovery(accepting) => {
            let document = discovery::aggregated(server, tenant, below == "/api")?;
            let mut response = respond::value(200, &document, encoding);
            let content_type = format!("{};{AGGREGATED_DISCOVERY}", encoding.content_type());
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::try_from(content_type).map_err(Error::internal)?);
            Ok(response)
        }
        _ => {
            let authority = request.uri().authority().map(http::uri::Authority::as_str);
            let host = header_text(request.headers(), &header::HOST).or(authority).unwrap_or_default();
            let document = discovery::document(server, tenant, below, host)?.ok_or_else(|| {
                let mut segments = below.trim_start_matches('/').split('/');
                match (segments.next(), segments.next(), segments.next()) {
                    (Some("api"), Some(_), None) => Error::no_such_path(),
                    (Some("apis"), Some(group), Some(_)) => no_such_kind(server, group),
                    _ => Error::page_not_found(),
                }
            })?;
            Ok(respond::value(200, &document, accepting.document()?))
        }
    }
}

pub fn header_text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether the kind's objects are in namespaces exactly when the path names one.
pub fn scope_fits(kind: &Kind, path: &ResourcePath) -> bool {
    path.namespace.is_empty() || kind.namespaced()
}
