//! Request bodies: read within a limit, parsed, and made to conform to the schema of what was to be sent.

use crate::handler::header_text;
use api::{Error, Kind, Reason, Result};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use schema::{Decoded, Document, FieldValidation};
use serde_json::Value;

/// What a request's body may hold at most.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

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
        match content_type.split(';').next().unwrap_or_default().trim() {
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
    Error::new(Reason::UnsupportedMediaType, text).with_details()
}

/// Reads a body; 413 past the limit.
pub async fn read(body: Body) -> Result<Bytes> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let text = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
            Err(Error::new(Reason::RequestEntityTooLarge, text))
        }
        Err(error) => Err(Error::bad_request("the request's body could not be read").with_source(error)),
    }
}

/// Parses without looking at a schema.
pub fn parse(bytes: &[u8], format: Format, validation: FieldValidation) -> Result<Document<'_>> {
    match format {
        Format::Json => schema::decode_json(bytes, validation),
        Format::Yaml => schema::decode_yaml(bytes, validation),
        Format::Protobuf => schema::protobuf::decode(schema::builtin(), bytes).map(Document::from),
    }
}

/// Parses an object of the given type, which the object's own `kind` and `apiVersion` must not contradict.
pub fn object(group: &str, version: &str, kind: &str, bytes: &[u8], format: Format, validation: FieldValidation) -> Result<Decoded> {
    let mut document = parse(bytes, format, validation)?;
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    complete_type(&mut document.value, &api_version, kind)?;
    conform(group, version, kind, document, validation)
}

/// Makes a value conform to the schema of its type. Types without a schema are taken as they are.
pub fn conform<'a>(
    group: &str,
    version: &str,
    kind: &str,
    document: impl Into<Document<'a>>,
    validation: FieldValidation,
) -> Result<Decoded> {
    let definitions = schema::builtin();
    match definitions.of_kind(group, version, kind) {
        Some(definition) => schema::conform(definitions, definition, document, validation),
        None => Ok(Decoded { value: document.into().value, warnings: Vec::new() }),
    }
}

/// Fills in `kind` and `apiVersion` where they are missing; 400 when they name another type.
pub fn complete_type(value: &mut Value, api_version: &str, kind: &str) -> Result<()> {
    let Some(fields) = value.as_object_mut() else {
        return Err(Error::bad_request(format!("the object provided is unrecognized: it is no {kind}")));
    };
    let given = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or_default();
    if !matches!(given("kind"), "" | "null") && given("kind") != kind {
        let (version, given_kind) = (given("apiVersion"), given("kind"));
        return Err(Error::bad_request(format!("{given_kind} in version {version:?} cannot be handled as a {kind}")));
    }
    if !given("apiVersion").is_empty() && given("apiVersion") != api_version {
        let given = given("apiVersion");
        return Err(Error::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({api_version})"
        )));
    }
    fields.insert("kind".into(), kind.into());
    fields.insert("apiVersion".into(), api_version.into());
    Ok(())
}

/// [`object`] of a row of the table.
pub fn object_of(kind: &Kind, bytes: &[u8], format: Format, validation: FieldValidation) -> Result<Decoded> {
    object(&kind.group, &kind.version, &kind.kind, bytes, format, validation)
}
