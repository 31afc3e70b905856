//! Answers: values and errors as HTTP responses. The one place where an `Error` becomes bytes.

use crate::compress::{COMPRESSED_BYTES_MIN, Large};
use crate::negotiate::Encoding;
use crate::order::Ordered;
use api::{Error, Reason};
use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

/// An answer with a body that is already encoded.
pub fn bytes(code: u16, content_type: &'static str, body: Bytes) -> Response<Body> {
    let is_large = body.len() >= COMPRESSED_BYTES_MIN;
    let mut response = Response::new(Body::from(body));
    if is_large {
        response.extensions_mut().insert(Large);
    }
    *response.status_mut() = StatusCode::from_u16(code).expect("codes are constants of the API");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub fn json(code: u16, value: &Value) -> Response<Body> {
    bytes(code, "application/json", encode_json(value))
}

pub fn text(code: u16, body: impl Into<String>) -> Response<Body> {
    let mut response = bytes(code, "text/plain; charset=utf-8", Bytes::from(body.into()));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A value, in JSON where it has no such encoding.
pub fn value(code: u16, value: &Value, encoding: Encoding) -> Response<Body> {
    match encode(value, encoding) {
        Some(body) => bytes(code, encoding.content_type(), body),
        None => json(code, value),
    }
}

/// Writes a value; JSON ends with a newline, as upstream's encoder writes it. `None` for what has no such encoding.
pub fn encode(value: &Value, encoding: Encoding) -> Option<Bytes> {
    match encoding {
        Encoding::Json => Some(encode_json(value)),
        Encoding::PrettyJson => {
            Some(serde_json::to_vec_pretty(&Ordered::new(value)).expect("a Value always encodes").into())
        }
        Encoding::Yaml => Some(schema::yaml::encode(value).into()),
        Encoding::Protobuf => schema::protobuf::encode(schema::builtin(), value).ok().map(Bytes::from),
    }
}

/// Writes a value as a line of JSON.
pub fn encode_json(value: &Value) -> Bytes {
    let mut out = BytesMut::new().writer();
    serde_json::to_writer(&mut out, &Ordered::new(value)).expect("a Value always encodes");
    let mut out = out.into_inner();
    out.put_u8(b'\n');
    out.freeze()
}

/// The `Status` of an error. What lies under a 500 goes to the log, not to the client.
pub fn error(error: &Error, encoding: Encoding) -> Response<Body> {
    if error.reason() == Reason::InternalError {
        let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(message = error.message(), source, "a request failed");
    }
    if error.is_page_not_found() {
        return text(404, format!("{}\n", error.message()));
    }
    let mut response = value(error.code(), &error.to_status(), encoding);
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
