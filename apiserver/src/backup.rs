//! `/backup`, for operators: a backup of everything or of one tenant, and a tenant brought back from one.
//!
//! Invariant: a restore is one transaction, so that controllers see all of a tenant or nothing of it, and it touches nothing
//! that is there.

use crate::handler::method_not_allowed;
use crate::options::Query;
use crate::respond;
use crate::server::Server;
use api::{Error, Identity, Object, Reason, Result, TenantName};
use axum::body::Body;
use futures::StreamExt;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::json;
use std::convert::Infallible;
use std::time::Duration;
use store::{Backup, Change, Class, CommitError, Expect, Restore, Whose, Write};

pub const PATH: &str = "/backup";

/// What a tenant's backup may have: it is held in memory, and written at once.
const RESTORE_BYTES_MAX: usize = 512 << 20;

/// How long it may take to come.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(600);

/// How many records are read before other work gets its turn.
const RECORDS_AT_ONCE: usize = 200;

/// Answers a request that is authorized.
pub async fn answer(server: &Server, identity: &Identity, request: Request<Body>) -> Result<Response<Body>> {
    if !identity.tenant.is_system() {
        return Err(Error::page_not_found());
    }
    let query = Query::parse(request.uri().query());
    let tenant = query.get("tenant").map(TenantName::new).transpose()?;
    match (request.method(), tenant) {
        (&Method::GET, tenant) => backup(server, tenant.as_ref()).await,
        (&Method::POST, Some(tenant)) => restore(server, &tenant, request.into_body()).await,
        (&Method::POST, None) => {
            Err(Error::bad_request("a running server takes one tenant: say which, as ?tenant=NAME"))
        }
        _ => Err(method_not_allowed()),
    }
}

async fn backup(server: &Server, tenant: Option<&TenantName>) -> Result<Response<Body>> {
    server.store.current().await.map_err(crate::registry::commit_error)?;
    if let Some(tenant) = tenant.filter(|tenant| server.tenant(tenant).is_none()) {
        return Err(Error::not_found("", "tenants", tenant.as_str()));
    }
    let whose = tenant.map_or(Whose::AllTenants, Whose::Tenant);
    server.store.current_in(whose).await.map_err(crate::registry::commit_error)?;
    // The snapshot is held as long as the client reads: what changes meanwhile is kept beside it.
    let pieces = futures::stream::iter(Backup::new(server.store.snapshot(), tenant)).map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(pieces));
    let content_type = http::HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

async fn restore(server: &Server, tenant: &TenantName, body: Body) -> Result<Response<Body>> {
    let there = |what: &str| Error::new(Reason::AlreadyExists, format!("tenant {tenant} {what}"));
    let is_there = || {
        let snapshot = server.store.snapshot();
        snapshot.tenant_keys(tenant).next().map(|object| object.key.durable())
    };
    if server.tenant(tenant).is_some() {
        return Err(there("exists; delete it first"));
    }
    let bytes = read(body).await?;
    let refused = |why: &dyn std::fmt::Display| Error::bad_request(format!("the backup cannot be used: {why}"));
    let mut backup = Restore::open(&bytes[..]).map_err(|why| refused(&why))?;
    if backup.tenant() != Some(tenant) {
        return Err(refused(&format!("it is not of tenant {tenant} alone")));
    }
    let mut writes = Vec::new();
    while let Some(record) = backup.record().map_err(|why| refused(&why))? {
        let fields = kinds::Registry::selectable(&record.key.resource);
        let object = Object::decode(record.key.clone(), record.revision, record.body, fields)
            .map_err(|_| refused(&format!("record {} holds no object", record.key.durable())))?;
        let change = Change::Put(object);
        writes.push(Write { key: record.key, expect: Expect::Absent, change, class: Class::Durable });
        if writes.len() % RECORDS_AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
    if let Some(key) = is_there() {
        return Err(there(&format!("is not all gone yet: {key} is there; try again later")));
    }
    let objects = writes.len();
    let stored = server.store.commit(writes).await.map_err(|error| match error {
        CommitError::Exists(_) => there("exists; delete it first"),
        other => crate::registry::commit_error(other),
    })?;
    let revision = stored.first().map_or(0, |object| object.revision);
    tracing::info!(%tenant, objects, revision, "a tenant was restored");
    Ok(respond::json(200, &json!({"objects": objects, "resourceVersion": revision.to_string()})))
}

async fn read(body: Body) -> Result<bytes::Bytes> {
    let collected = tokio::time::timeout(RESTORE_TIMEOUT, Limited::new(body, RESTORE_BYTES_MAX).collect()).await;
    match collected.map_err(|_| Error::new(Reason::Timeout, "the backup did not come in time"))? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let text = format!("the backup is too large: the limit is {RESTORE_BYTES_MAX} bytes");
            Err(Error::new(Reason::RequestEntityTooLarge, text))
        }
        Err(error) => Err(Error::bad_request("the backup could not be read").with_source(error)),
    }
}
