//! Signatures being filled in.
use crate::{Definition, Definitions, Document};
use serde_json::Value;

/// What happens to fields that the schema does not know and to fields that are given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter `fieldValidation`; empty is `Warn`.
    pub fn parse(text: &str) -> api::Result<FieldValidation> {
        match text {
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Ignore" => Ok(FieldValidation::Ignore),
            "Strict" => Ok(FieldValidation::Strict),
            _ => Err(api::Error::bad_request("unsupported")),
        }
    }
}

/// A value as Go's typed decoding leaves it, and the warnings for the client.
#[derive(Debug)]
pub struct Decoded {
    pub value: Value,
    pub warnings: Vec<String>,
}

/// Makes a value conform to its definition. Takes a `Document` or a `Value`.
pub fn conform<'a>(
    _defs: &Definitions,
    _def: &Definition,
    document: impl Into<Document<'a>>,
    _mode: FieldValidation,
) -> api::Result<Decoded> {
    let document = document.into();
    let _ = document.source;
    Ok(Decoded { value: document.value, warnings: Vec::new() })
}
