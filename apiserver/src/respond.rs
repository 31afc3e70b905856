//! Answers: values and errors as HTTP responses. The one place where an `Error` becomes bytes.

use crate::negotiate::Encoding;
use api::{Error, Reason};
use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

/// An answer with a body that is already encoded.
pub fn bytes(code: u16, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(code).expect("codes are constants of the API");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub fn json(code: u16, value: &Value) -> Response<Body> {
    bytes(code, "application/json", encode(value, Encoding::Json))
}

pub fn text(code: u16, body: impl Into<String>) -> Response<Body> {
    bytes(code, "text/plain; charset=utf-8", Bytes::from(body.into()))
}

pub fn value(code: u16, value: &Value, encoding: Encoding) -> Response<Body> {
    bytes(code, encoding.content_type(), encode(value, encoding))
}

/// Writes a value; JSON ends with a newline, as upstream's encoder writes it.
pub fn encode(value: &Value, encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Json => {
            let mut out = BytesMut::new().writer();
            serde_json::to_writer(&mut out, value).expect("a Value always encodes");
            let mut out = out.into_inner();
            out.put_u8(b'\n');
            out.freeze()
        }
        Encoding::Yaml => schema::yaml::encode(value).into(),
    }
}

/// The `Status` of an error. What lies under a 500 goes to the log, not to the client.
pub fn error(error: &Error) -> Response<Body> {
    if error.reason() == Reason::InternalError {
        let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(message = error.message(), source, "a request failed");
    }
    if error.is_page_not_found() {
        return text(404, format!("{}\n", error.message()));
    }
    let mut response = json(error.code(), &error.to_status());
    if error.retry_after_secs() > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(error.retry_after_secs()));
    }
    if error.reason() == Reason::Unauthorized {
        let challenge = HeaderValue::from_static("Bearer realm=\"ursa\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Adds `Warning: 299` headers (RFC 7234), one per text.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for text in warnings {
        let quoted: String = text.chars().filter(|c| !c.is_control()).flat_map(escape_quoted).collect();
        if let Ok(header) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, header);
        }
    }
}

/// Adds a warning before those that are there.
pub fn warn_first(response: &mut Response<Body>, warning: &str) {
    let later: Vec<HeaderValue> = response.headers().get_all(header::WARNING).iter().cloned().collect();
    response.headers_mut().remove(header::WARNING);
    warn(response, &[warning.to_owned()]);
    for warning in later {
        response.headers_mut().append(header::WARNING, warning);
    }
}

fn escape_quoted(c: char) -> impl Iterator<Item = char> {
    let escape = matches!(c, '"' | '\\').then_some('\\');
    escape.into_iter().chain([c])
}
