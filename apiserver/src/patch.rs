//! Patches: which type a request sends, and what it makes of an object.

use crate::body;
use crate::handler::header_text;
use api::{Error, Kind, Result};
use bytes::Bytes;
use http::{HeaderMap, header};
use schema::patch::{self, Operations};
use schema::{Decoded, Document, FieldValidation};
use serde_json::Value;

/// A patch, parsed as far as it can be without the object.
pub struct Patch {
    change: Change,
    /// What the client is to be told about the patch's own fields.
    messages: Vec<String>,
    validation: FieldValidation,
}

enum Change {
    Json(Operations),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Reads the type from the header, and the body. 415 for other types.
    pub fn parse(headers: &HeaderMap, bytes: Bytes, validation: FieldValidation) -> Result<Patch> {
        let content_type = header_text(headers, &header::CONTENT_TYPE).unwrap_or_default();
        let (change, messages) = match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => {
                let (operations, messages) = patch::decode_json(&bytes, validation)?;
                (Change::Json(operations), messages)
            }
            "application/merge-patch+json" => {
                let document = patch::decode_merge(&bytes, validation)?;
                let messages = document.duplicates();
                (Change::Merge(document.value), messages)
            }
            "application/strategic-merge-patch+json" => {
                let document = patch::decode_strategic(&bytes, validation)?;
                let messages = document.duplicates();
                (Change::Strategic(document.value), messages)
            }
            _ => {
                return Err(body::unsupported(
                    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json",
                ));
            }
        };
        Ok(Patch { change, messages, validation })
    }

    /// The patched object, conforming to its schema.
    pub fn apply(&self, kind: &Kind, target: &Value) -> Result<Decoded> {
        let definitions = schema::builtin();
        let definition = definitions.of_kind(&kind.group, &kind.version, &kind.kind);
        let patched = match &self.change {
            // What cannot be applied is a generic error upstream, with empty details.
            Change::Json(operations) => patch::json(target.clone(), operations).map_err(Error::with_details)?,
            Change::Merge(patch) => patch::merge(target.clone(), patch),
            Change::Strategic(patch) => match definition {
                Some(definition) => patch::strategic(definitions, definition, target.clone(), patch)?,
                None => return Err(body::unsupported("application/json-patch+json, application/merge-patch+json")),
            },
        };
        let Some(definition) = definition else { return Ok(Decoded { value: patched, warnings: Vec::new() }) };
        let retyped = |field: &str| patched[field] != target[field];
        if retyped("kind") || retyped("apiVersion") {
            let why = Error::bad_request("the type of an object cannot be changed");
            return Err(patch::invalid(&patched, &why));
        }
        let document = Document::derived(&patched, self.messages.clone());
        schema::conform(definitions, definition, document, self.validation).map_err(|why| match self.validation {
            FieldValidation::Strict if why.message().starts_with("strict decoding error") => why,
            _ => patch::invalid(&patched, &why),
        })
    }
}
