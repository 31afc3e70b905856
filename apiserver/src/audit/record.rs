//! The records of one request: begun when its caller is known, completed with its answer.

use super::{Audit, Line};
use crate::path::{Path, Route};
use api::{Identity, Timestamp};
use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response, header};
use http_body_util::BodyExt;
use policy::audit::{Kept, Level, Stage};
use policy::rbac::Attributes;
use policy::tenancy::Requested;
use serde_json::{Value, json};
use std::sync::Arc;

/// Of larger answers, and of streams, the record holds no body.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A client's own id of a request is taken up to this length.
const ID_BYTES_MAX: usize = 64;

/// A request's record. Its last stage is written by [`Record::complete`], or when it is dropped.
pub struct Record {
    audit: Arc<Audit>,
    kept: Kept,
    event: Value,
    tenant: Arc<str>,
    /// The stage that is still to be written, with the code of the answer.
    open: Option<(Stage, u16)>,
}

impl Record {
    /// Begins the record of a request, if the policy keeps any of it. `who` is nobody where a credential was bad.
    pub fn begin(
        audit: &Arc<Audit>,
        who: Option<&Identity>,
        what: &Attributes,
        path: &Path,
        head: (&http::Uri, &HeaderMap),
        now: Timestamp,
    ) -> Option<Record> {
        let kept = audit.policy.load().keeps(who, what);
        if kept.level == Level::None {
            return None;
        }
        let (uri, headers) = head;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let given = text("audit-id").filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX).map(str::to_owned);
        let id = given.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let mut event = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": kept.level.as_str(), "auditID": id,
            "requestURI": uri.path_and_query().map_or("/", |path| path.as_str()), "verb": what.verb,
            "user": who.map_or_else(|| json!({}), user), "requestReceivedTimestamp": now.to_micro_string(),
        });
        if let Some(agent) = text("user-agent") {
            event["userAgent"] = json!(agent);
        }
        let tenant = match (&path.tenant, who) {
            (Requested::Named(tenant), _) => tenant.as_str(),
            (Requested::All, _) => api::ALL_TENANTS,
            (Requested::Own, Some(who)) => who.tenant.as_str(),
            (Requested::Own, None) => api::SYSTEM_TENANT,
        };
        if let Route::Resource(resource) = &path.route {
            let fields = [
                ("resource", what.resource),
                ("namespace", &resource.namespace),
                ("name", what.name),
                ("apiGroup", what.group),
                ("apiVersion", what.version),
                ("subresource", what.subresource),
                ("tenant", tenant),
            ];
            event["objectRef"] = fields
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(k, v)| (k.to_owned(), json!(v)))
                .collect();
        }
        // Records are their caller's: who reaches into another tenant answers to the operators.
        let tenant = who.map_or(api::SYSTEM_TENANT, |who| who.tenant.as_str()).into();
        let record = Record { audit: audit.clone(), kept, event, tenant, open: Some((Stage::ResponseComplete, 0)) };
        record.write(Stage::RequestReceived);
        Some(record)
    }

    /// The id that the answer names.
    pub fn id(&self) -> &str {
        self.event["auditID"].as_str().unwrap_or_default()
    }

    pub fn impersonates(&mut self, who: &Identity, constraint: &str) {
        self.event["impersonatedUser"] = user(who);
        if constraint.contains(':') {
            self.annotate("authentication.k8s.io/impersonation-constraint", constraint);
        }
    }

    pub fn annotate(&mut self, key: &str, value: &str) {
        self.event["annotations"][key] = json!(value);
    }

    /// Whether the body of the request is wanted.
    pub fn wants_request(&self) -> bool {
        self.kept.level >= Level::Request
    }

    pub fn request(&mut self, head: &Parts, body: &Bytes) {
        if let Some(value) = self.body(head.headers.get(header::CONTENT_TYPE), body) {
            let name = value["metadata"]["name"].as_str().map(str::to_owned);
            if let (Some(name), true) = (name, self.event["objectRef"]["name"].is_null()) {
                self.event["objectRef"]["name"] = json!(name);
            }
            self.event["requestObject"] = value;
        }
    }

    fn body(&self, content_type: Option<&http::HeaderValue>, body: &Bytes) -> Option<Value> {
        let json = content_type.is_none_or(|kind| kind.to_str().is_ok_and(|kind| kind.contains("json")));
        let mut value: Value = serde_json::from_slice(body).ok().filter(|_| json)?;
        if self.kept.omit_managed_fields {
            let items = value.get_mut("items").and_then(Value::as_array_mut).map(Vec::as_mut_slice);
            for item in items.unwrap_or_default() {
                without_managed_fields(item);
            }
            without_managed_fields(&mut value);
        }
        Some(value)
    }

    /// Completes the record with the answer. One that streams is completed when its body ends.
    pub async fn complete(mut self, response: Response<Body>, streams: bool) -> Response<Body> {
        let code = response.status().as_u16();
        if streams && code < 400 {
            self.event["responseStatus"] = json!({"metadata": {}, "code": code});
            self.write(Stage::ResponseStarted);
            self.open = Some((Stage::ResponseComplete, code));
            return crate::fairness::guarded(response, self);
        }
        let mut status = json!({"metadata": {}, "code": code});
        let size = http_body::Body::size_hint(response.body()).exact().and_then(|size| usize::try_from(size).ok());
        let small = size.is_some_and(|size| size <= BODY_BYTES_MAX);
        let response = if small && (code >= 400 || self.kept.level >= Level::RequestResponse) {
            let (head, body) = response.into_parts();
            let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            if let Some(value) = self.body(head.headers.get(header::CONTENT_TYPE), &bytes) {
                if value["kind"] == "Status" {
                    for field in ["status", "message", "reason", "details"] {
                        if !value[field].is_null() {
                            status[field] = value[field].clone();
                        }
                    }
                }
                if self.kept.level >= Level::RequestResponse {
                    self.event["responseObject"] = value;
                }
            }
            Response::from_parts(head, Body::from(bytes))
        } else {
            response
        };
        self.event["responseStatus"] = status;
        self.open = None;
        if self.kept.has(Stage::ResponseComplete) {
            let line = self.line(Stage::ResponseComplete);
            self.audit.put_last(line).await;
        }
        response
    }

    /// The request ended the handler.
    pub fn panicked(mut self) {
        self.open = None;
        self.event["responseStatus"] = json!({"metadata": {}, "code": 500});
        self.write(Stage::Panic);
    }

    fn write(&self, stage: Stage) {
        if self.kept.has(stage) {
            self.audit.put(self.line(stage));
        }
    }

    fn line(&self, stage: Stage) -> Line {
        let mut event = self.event.clone();
        event["stage"] = json!(stage.as_str());
        event["stageTimestamp"] = json!(Timestamp::now().to_micro_string());
        Line { tenant: self.tenant.clone(), text: event.to_string() }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // A stream that ended, or a client that left before it had its answer.
        if let Some((stage, code)) = self.open.take() {
            if code == 0 {
                self.event["responseStatus"] = json!({"metadata": {}, "code": 499});
            }
            self.write(stage);
        }
    }
}

fn user(who: &Identity) -> Value {
    let mut user = json!({"username": who.user, "groups": who.groups, "tenant": who.tenant.as_str()});
    if !who.uid.is_empty() {
        user["uid"] = json!(who.uid);
    }
    if !who.extra.is_empty() {
        user["extra"] = json!(who.extra);
    }
    user
}

fn without_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}
