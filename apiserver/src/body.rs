//! Request bodies: read within a limit, and made into an object that conforms to what was to be sent.

use crate::handler::header_text;
use crate::registry::Call;
use api::{Error, Reason, Result};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kinds::custom::Version;
use schema::{Decoded, Expected, FieldValidation};
use serde_json::Value;
use std::time::Duration;

/// What a request's body may hold at most.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// How long a client may take to send it: what is not complete holds memory.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
    Protobuf,
}

impl Format {
    /// JSON when the client does not say. 415 for what is not served.
    pub fn of(headers: &HeaderMap) -> Result<Format> {
        let content_type = header_text(headers, &header::CONTENT_TYPE).unwrap_or_default();
        match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "application/json" => Ok(Format::Json),
            "application/yaml" => Ok(Format::Yaml),
            "application/vnd.kubernetes.protobuf" => Ok(Format::Protobuf),
            _ => Err(unsupported("application/json, application/yaml, application/vnd.kubernetes.protobuf")),
        }
    }
}

/// 415, naming what would be accepted.
pub fn unsupported(accepted: &str) -> Error {
    let text = format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
    Error::new(Reason::UnsupportedMediaType, text)
}

/// [`unsupported`], of a kind that a tenant defines: upstream says it in another place, without details.
pub fn unsupported_custom(accepted: &str) -> Error {
    let text = format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
    Error::new(Reason::UnsupportedMediaType, text)
}

/// Reads a body; 413 past the limit, 504 when it does not come in time.
pub async fn read(body: Body) -> Result<Bytes> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    match collected.map_err(|_| Error::new(Reason::Timeout, "the request's body did not come in time"))? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let text = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
            Err(Error::new(Reason::RequestEntityTooLarge, text))
        }
        Err(error) => Err(Error::bad_request("the request's body could not be read").with_source(error)),
    }
}

/// Reads an object of the given type: 400 for another, and for what does not conform to its schema.
pub fn object(
    group: &str,
    version: &str,
    kind: &str,
    bytes: &[u8],
    format: Format,
    validation: FieldValidation,
) -> Result<Decoded> {
    let definitions = schema::builtin();
    let expected = Expected { group, version, kind };
    match format {
        Format::Json => schema::decode_object(definitions, expected, bytes, schema::Format::Json, validation),
        Format::Yaml => schema::decode_object(definitions, expected, bytes, schema::Format::Yaml, validation),
        Format::Protobuf => {
            // From here on the same way as JSON, which also checks the type.
            let value = schema::protobuf::decode(definitions, bytes)?;
            schema::decode_value(definitions, expected, value, validation)
        }
    }
}

/// [`object`] of the kind of a request.
pub fn object_of(call: Call<'_>, bytes: &[u8], format: Format, validation: FieldValidation) -> Result<Decoded> {
    let kind = call.kind;
    if let Some(custom) = call.custom {
        return custom_object(&custom.version, bytes, format, validation);
    }
    object(&kind.group, &kind.version, &kind.kind, bytes, format, validation)
}

/// Reads an object of a kind that a tenant defines.
fn custom_object(version: &Version, bytes: &[u8], format: Format, validation: FieldValidation) -> Result<Decoded> {
    let format = match format {
        Format::Json => schema::Format::Json,
        Format::Yaml => schema::Format::Yaml,
        Format::Protobuf => return Err(unsupported("application/json, application/yaml")),
    };
    let api::Kind { group, version: own, kind, .. } = &*version.kind;
    let expected = Expected { group, version: own, kind };
    let Decoded { mut value, mut warnings } = schema::decode_untyped(expected, bytes, format, validation)?;
    let refuse =
        |why: &str| Error::bad_request(format!("{kind} in version {own:?} cannot be handled as a {kind}: {why}"));
    let told = version.decode(&mut value, validation).map_err(|error| match error.reason() {
        Reason::BadRequest => refuse(error.message()),
        _ => error,
    })?;
    warnings.extend(told);
    if validation == FieldValidation::Strict && !warnings.is_empty() {
        return Err(refuse(&format!("strict decoding error: {}", warnings.join(", "))));
    }
    Ok(Decoded { value, warnings: if validation == FieldValidation::Ignore { Vec::new() } else { warnings } })
}

/// The options of a delete: as they are, since every version of them is taken. Null for an empty body.
pub fn options(bytes: &[u8], format: Format) -> Result<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    object("", "v1", "DeleteOptions", bytes, format, FieldValidation::Ignore).map(|decoded| decoded.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up() {
        let begun = futures::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
        let never = futures::StreamExt::chain(begun, futures::stream::pending());
        let began = tokio::time::Instant::now();
        assert_eq!(read(Body::from_stream(never)).await.expect_err("an error").code(), 504);
        assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    }
}
