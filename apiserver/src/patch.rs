//! Patches: which type a request sends, and what it makes of an object.

use crate::body;
use crate::handler::header_text;
use api::{Error, Kind, Result};
use bytes::Bytes;
use http::{HeaderMap, header};
use schema::{FieldValidation, patch};
use serde_json::Value;

/// A patch, parsed as far as it can be without the object.
pub enum Patch {
    Json(Bytes),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Reads the type from the header, and the body. 415 for other types.
    pub fn parse(headers: &HeaderMap, bytes: Bytes) -> Result<Patch> {
        let content_type = header_text(headers, &header::CONTENT_TYPE).unwrap_or_default();
        let value = |bytes: &[u8]| {
            serde_json::from_slice::<Value>(bytes)
                .map_err(|e| Error::bad_request(format!("error decoding patch: {e}")))
                .and_then(|value| if value.is_object() { Ok(value) } else { Err(Error::bad_request("the patch is no object")) })
        };
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(Patch::Json(bytes)),
            "application/merge-patch+json" => value(&bytes).map(Patch::Merge),
            "application/strategic-merge-patch+json" => value(&bytes).map(Patch::Strategic),
            _ => Err(body::unsupported(
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json",
            )),
        }
    }

    /// The patched object, conforming to its schema.
    pub fn apply(&self, kind: &Kind, target: &Value, validation: FieldValidation) -> Result<schema::Decoded> {
        let definitions = schema::builtin();
        let definition = definitions.of_kind(&kind.group, &kind.version, &kind.kind);
        let mut patched = match self {
            // What cannot be applied is a generic error upstream, with empty details.
            Patch::Json(patch) => patch::json(target, patch).map_err(Error::with_details)?,
            Patch::Merge(patch) => patch::merge(target, patch),
            Patch::Strategic(patch) => match definition {
                Some(definition) => patch::strategic(definitions, definition, target, patch)?,
                None => return Err(body::unsupported("application/json-patch+json, application/merge-patch+json")),
            },
        };
        body::complete_type(&mut patched, &kind.api_version(), &kind.kind)?;
        body::conform(&kind.group, &kind.version, &kind.kind, patched, validation)
    }
}
