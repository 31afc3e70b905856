//! Signatures being filled in.
use crate::FieldValidation;
use serde_json::Value;

/// A parsed body: its value, and what `conform` needs in order to tell of duplicate fields in the order of the text.
pub struct Document<'a> {
    pub value: Value,
    pub(crate) source: Option<&'a [u8]>,
}

impl From<Value> for Document<'_> {
    fn from(value: Value) -> Self {
        Document { value, source: None }
    }
}

/// Parses JSON.
pub fn decode_json(bytes: &[u8], _mode: FieldValidation) -> api::Result<Document<'_>> {
    Ok(Document { value: Value::Null, source: Some(bytes) })
}

/// Parses YAML (or JSON in YAML).
pub fn decode_yaml(bytes: &[u8], _mode: FieldValidation) -> api::Result<Document<'static>> {
    Ok(Document { value: Value::String(String::from_utf8_lossy(bytes).into_owned()), source: None })
}
