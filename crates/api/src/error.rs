//! The one error that leaves a component: a `Status` in waiting.
//!
//! The message is for the client; the source is for our log and is never serialized.

use serde_json::{Map, Value, json};
use std::fmt;

/// A result whose error can be answered to a client as it is.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The closed set of reasons from apimachinery's `metav1.StatusReason`. Clients branch on these, not on texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
    /// A fault that has no name: code 500, and no reason in its `Status`.
    Unknown,
}

impl Reason {
    /// Every reason that has a name, for look-ups by it.
    pub const ALL: [Reason; 18] = [
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::NotFound,
        Reason::AlreadyExists,
        Reason::Conflict,
        Reason::Gone,
        Reason::Invalid,
        Reason::ServerTimeout,
        Reason::Timeout,
        Reason::TooManyRequests,
        Reason::BadRequest,
        Reason::MethodNotAllowed,
        Reason::NotAcceptable,
        Reason::RequestEntityTooLarge,
        Reason::UnsupportedMediaType,
        Reason::InternalError,
        Reason::Expired,
        Reason::ServiceUnavailable,
    ];

    /// The HTTP code that goes with the reason.
    pub fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::InternalError | Reason::ServerTimeout | Reason::Unknown => 500,
            Reason::ServiceUnavailable => 503,
            Reason::Timeout => 504,
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Unauthorized => "Unauthorized",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "NotFound",
            Reason::AlreadyExists => "AlreadyExists",
            Reason::Conflict => "Conflict",
            Reason::Gone => "Gone",
            Reason::Invalid => "Invalid",
            Reason::ServerTimeout => "ServerTimeout",
            Reason::Timeout => "Timeout",
            Reason::TooManyRequests => "TooManyRequests",
            Reason::BadRequest => "BadRequest",
            Reason::MethodNotAllowed => "MethodNotAllowed",
            Reason::NotAcceptable => "NotAcceptable",
            Reason::RequestEntityTooLarge => "RequestEntityTooLarge",
            Reason::UnsupportedMediaType => "UnsupportedMediaType",
            Reason::InternalError => "InternalError",
            Reason::Expired => "Expired",
            Reason::ServiceUnavailable => "ServiceUnavailable",
            Reason::Unknown => "",
        }
    }
}

/// One entry of `details.causes`: what is wrong (`FieldValueInvalid`, …), in which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The closed set of upstream's `CauseType`, e.g. `FieldValueRequired`, `FieldManagerConflict`.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Path in the object, e.g. `spec.containers[0].image`; empty when the cause has none.
    pub field: String,
}

/// What an API call failed with: everything that a `Status` of kind Failure holds.
///
/// What is said where there is nothing.
const PAGE_NOT_FOUND: &str = "404 page not found";

/// One pointer wide, since every `Result` carries room for it.
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    reason: Reason,
    message: String,
    group: String,
    kind: String,
    name: String,
    uid: String,
    causes: Vec<Cause>,
    retry_after_secs: u32,
    continue_token: String,
    source: Option<Source>,
    /// `details` is there even when it says nothing, as upstream's generic server errors have it.
    details: bool,
    /// Instead of the reason's own.
    code: Option<u16>,
}

impl Error {
    /// An error with a reason and the text that the client sees.
    pub fn new(reason: Reason, message: impl Into<String>) -> Error {
        Error(Box::new(Parts {
            reason,
            message: message.into(),
            group: String::new(),
            kind: String::new(),
            name: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_secs: 0,
            continue_token: String::new(),
            source: None,
            details: false,
            code: None,
        }))
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Error {
        Error::new(Reason::BadRequest, message)
    }

    /// 401. The text is always the same: it must not tell what was wrong with a credential.
    pub fn unauthorized() -> Error {
        Error::new(Reason::Unauthorized, "Unauthorized")
    }

    /// 404 of an object: `pods "x" not found`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Error {
        Error::new(Reason::NotFound, format!("{} \"{name}\" not found", qualified(group, resource)))
            .about(group, resource, name)
    }

    /// 404 of a path that the server does not serve.
    pub fn no_such_path() -> Error {
        Error::new(Reason::NotFound, "the server could not find the requested resource").with_details()
    }

    /// 404 of a path below which nothing is served at all. It is answered as text.
    pub fn page_not_found() -> Error {
        Error::new(Reason::NotFound, PAGE_NOT_FOUND)
    }

    /// Whether this is [`Error::page_not_found`].
    pub fn is_page_not_found(&self) -> bool {
        self.0.message == PAGE_NOT_FOUND
    }

    /// 409 of a create over an existing object.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Error {
        Error::new(Reason::AlreadyExists, format!("{} \"{name}\" already exists", qualified(group, resource)))
            .about(group, resource, name)
    }

    /// 409 of a write whose precondition does not hold: `Operation cannot be fulfilled on …: why`.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Error {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(group, resource));
        Error::new(Reason::Conflict, message).about(group, resource, name)
    }

    /// 403: `pods "x" is forbidden: why`.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Error {
        let subject = qualified(group, resource);
        let message = if name.is_empty() {
            format!("{subject} is forbidden: {why}")
        } else {
            format!("{subject} \"{name}\" is forbidden: {why}")
        };
        Error::new(Reason::Forbidden, message).about(group, resource, name)
    }

    /// 422 with its causes; the message is made of them as upstream's `NewInvalid` does, each once. `kind` is the Kind's name.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Error {
        let mut told = std::collections::HashSet::new();
        let texts = causes.iter().map(|c| format!("{}: {}", c.field, c.message));
        let texts: Vec<String> = texts.filter(|text| told.insert(text.clone())).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} \"{name}\" is invalid: {list}", qualified(group, kind));
        Error::new(Reason::Invalid, message).about(group, kind, name).with_causes(causes)
    }

    /// 410 of a revision that is no longer held.
    pub fn expired(message: impl Into<String>) -> Error {
        Error::new(Reason::Expired, message)
    }

    /// 500. The client learns nothing but that; the source is for the log.
    pub fn internal(source: impl Into<Source>) -> Error {
        Error::new(Reason::InternalError, "Internal error occurred").with_source(source)
    }

    /// Names the object (or, with an empty name, the resource) that the error is about.
    pub fn about(mut self, group: &str, kind: &str, name: &str) -> Error {
        self.0.group = group.to_owned();
        self.0.kind = kind.to_owned();
        self.0.name = name.to_owned();
        self
    }

    /// Adds the uid of the object that the error is about.
    pub fn with_uid(mut self, uid: &str) -> Error {
        self.0.uid = uid.to_owned();
        self
    }

    /// Replaces the reason, and with it the code; what it is about stays.
    pub fn with_reason(mut self, reason: Reason) -> Error {
        self.0.reason = reason;
        self
    }

    /// Answers with another code than the reason's own.
    pub fn with_code(mut self, code: u16) -> Error {
        self.0.code = Some(code);
        self
    }

    /// Replaces the causes.
    pub fn with_causes(mut self, causes: Vec<Cause>) -> Error {
        self.0.causes = causes;
        self
    }

    /// Tells the client when to try again, also as the `Retry-After` header.
    pub fn retry_after(mut self, secs: u32) -> Error {
        self.0.retry_after_secs = secs;
        self
    }

    /// With an expired list: a token that continues the list without its snapshot.
    pub fn with_continue(mut self, token: String) -> Error {
        self.0.continue_token = token;
        self
    }

    /// Answers with `details` even if there are none.
    pub fn with_details(mut self) -> Error {
        self.0.details = true;
        self
    }

    /// Puts a text before the message.
    pub fn with_prefix(mut self, prefix: &str) -> Error {
        self.0.message.insert_str(0, prefix);
        self
    }

    /// Keeps what went wrong underneath, for the log.
    pub fn with_source(mut self, source: impl Into<Source>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn causes(&self) -> &[Cause] {
        &self.0.causes
    }

    /// Seconds, 0 for none.
    pub fn retry_after_secs(&self) -> u32 {
        self.0.retry_after_secs
    }

    pub fn code(&self) -> u16 {
        self.0.code.unwrap_or(self.0.reason.code())
    }

    pub fn is_not_found(&self) -> bool {
        self.0.reason == Reason::NotFound
    }

    pub fn is_conflict(&self) -> bool {
        self.0.reason == Reason::Conflict
    }

    pub fn is_already_exists(&self) -> bool {
        self.0.reason == Reason::AlreadyExists
    }

    /// True for a watch or list that must start over from a fresh list.
    pub fn is_expired(&self) -> bool {
        matches!(self.0.reason, Reason::Expired | Reason::Gone)
    }

    /// Whether the same request can succeed later without a change to it.
    pub fn retryable(&self) -> bool {
        match self.0.reason {
            Reason::ServerTimeout
            | Reason::Timeout
            | Reason::TooManyRequests
            | Reason::InternalError
            | Reason::ServiceUnavailable => true,
            Reason::Unknown
            | Reason::Unauthorized
            | Reason::Forbidden
            | Reason::NotFound
            | Reason::AlreadyExists
            | Reason::Conflict
            | Reason::Gone
            | Reason::Invalid
            | Reason::BadRequest
            | Reason::MethodNotAllowed
            | Reason::NotAcceptable
            | Reason::RequestEntityTooLarge
            | Reason::UnsupportedMediaType
            | Reason::Expired => false,
        }
    }

    /// The `v1.Status` of this error.
    pub fn to_status(&self) -> Value {
        let mut details = Map::new();
        for (field, value) in
            [("name", &self.0.name), ("group", &self.0.group), ("kind", &self.0.kind), ("uid", &self.0.uid)]
        {
            if !value.is_empty() {
                details.insert(field.to_owned(), json!(value));
            }
        }
        if !self.0.causes.is_empty() {
            details.insert("causes".to_owned(), self.0.causes.iter().map(cause_to_value).collect());
        }
        if self.0.retry_after_secs > 0 {
            details.insert("retryAfterSeconds".to_owned(), json!(self.0.retry_after_secs));
        }
        let mut metadata = Map::new();
        if !self.0.continue_token.is_empty() {
            metadata.insert("continue".to_owned(), json!(self.0.continue_token));
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.0.message, "reason": self.0.reason.as_str(), "code": self.code(),
        });
        if self.0.reason == Reason::Unknown {
            status.as_object_mut().expect("it was made one").remove("reason");
        }
        if self.0.details || !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status
    }

    /// Reads a `v1.Status`; `code` is the HTTP code of the answer, for a body that is no Status.
    pub fn from_status(code: u16, body: &Value) -> Error {
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let detail = |field: &str| body["details"][field].as_str().unwrap_or_default().to_owned();
        let by_name = Reason::ALL.into_iter().find(|r| r.as_str() == body["reason"]);
        let by_code = || Reason::ALL.into_iter().find(|r| r.code() == code).unwrap_or(Reason::InternalError);
        let causes = body["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let retry_after = body["details"]["retryAfterSeconds"].as_u64().and_then(|s| s.try_into().ok());
        Error::new(by_name.unwrap_or_else(by_code), text("message"))
            .about(&detail("group"), &detail("kind"), &detail("name"))
            .with_uid(&detail("uid"))
            .with_causes(causes.iter().map(cause_from_value).collect())
            .retry_after(retry_after.unwrap_or(0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| &**s as _)
    }
}

/// `deployments.apps`, or `pods` for the core group.
fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn cause_to_value(cause: &Cause) -> Value {
    let mut value = json!({"message": cause.message});
    if !cause.reason.is_empty() {
        value["reason"] = json!(cause.reason);
    }
    if !cause.field.is_empty() {
        value["field"] = json!(cause.field);
    }
    value
}

fn cause_from_value(value: &Value) -> Cause {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    Cause { reason: text("reason"), message: text("message"), field: text("field") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_the_wire() {
        let cause =
            Cause { reason: "FieldValueRequired".into(), message: "Required value".into(), field: "spec.x".into() };
        let sent = Error::invalid("apps", "Deployment", "d", vec![cause]);
        let received = Error::from_status(422, &sent.to_status());
        assert_eq!(received.to_status(), sent.to_status());
        assert_eq!(received.message(), "Deployment.apps \"d\" is invalid: spec.x: Required value");
    }

    #[test]
    fn the_source_is_never_serialized() {
        let error = Error::internal("disk /dev/x is on fire");
        assert!(!error.to_status().to_string().contains("fire"));
    }

    #[test]
    fn a_body_that_is_no_status_is_judged_by_its_code() {
        assert_eq!(Error::from_status(503, &Value::Null).reason(), Reason::ServiceUnavailable);
    }
}
