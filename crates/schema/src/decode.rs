//! Bodies: parsed JSON and YAML, with what is needed to tell the client of unknown and duplicate fields.

use crate::FieldValidation;
use crate::json::{self, Tree};
use crate::yaml;
use serde_json::Value;

/// A parsed body or a patched value.
pub struct Document<'a> {
    pub value: Value,
    pub(crate) origin: Origin<'a>,
}

/// Where a value comes from.
pub(crate) enum Origin<'a> {
    /// From JSON, whose order of fields messages follow.
    Text { text: &'a [u8], duplicates: bool },
    /// From elsewhere, with messages about duplicate fields there.
    Elsewhere(Vec<String>),
}

impl Document<'_> {
    /// A value that was made from a body, as by a patch, with the messages about duplicate fields of that body.
    pub fn derived(value: Value, duplicates: Vec<String>) -> Document<'static> {
        Document { value, origin: Origin::Elsewhere(duplicates) }
    }

    /// Messages about the fields that are given twice: `duplicate field "spec.replicas"`.
    pub fn duplicates(&self) -> Vec<String> {
        match &self.origin {
            Origin::Text { text, duplicates: true } => {
                let mut messages = Vec::new();
                if let Ok(tree) = json::parse(text) {
                    duplicates(&tree, &mut String::new(), &mut messages);
                }
                messages
            }
            Origin::Text { .. } => Vec::new(),
            Origin::Elsewhere(messages) => messages.clone(),
        }
    }
}

impl From<Value> for Document<'_> {
    fn from(value: Value) -> Self {
        Document { value, origin: Origin::Elsewhere(Vec::new()) }
    }
}

/// Parses JSON. Of several fields of one name the last one counts; the others are remembered unless they are ignored.
pub fn decode_json(bytes: &[u8], mode: FieldValidation) -> api::Result<Document<'_>> {
    let (value, duplicates) = json::read(bytes).map_err(api::Error::bad_request)?;
    let duplicates = duplicates && mode != FieldValidation::Ignore;
    Ok(Document { value, origin: Origin::Text { text: bytes, duplicates } })
}

/// Parses the first document of a YAML stream.
pub fn decode_yaml(bytes: &[u8], mode: FieldValidation) -> api::Result<Document<'static>> {
    let parsed = yaml::read(bytes).map_err(api::Error::bad_request)?;
    let told = parsed.duplicates.filter(|_| mode != FieldValidation::Ignore);
    Ok(Document::derived(parsed.value, told.into_iter().collect()))
}

fn duplicates(tree: &Tree, path: &mut String, messages: &mut Vec<String>) {
    let length = path.len();
    match tree {
        Tree::Object(fields) => {
            let mut seen = std::collections::HashSet::new();
            for (name, value) in fields {
                push_field(path, name);
                if !seen.insert(name) {
                    messages.push(format!("duplicate field {path:?}"));
                }
                duplicates(value, path, messages);
                path.truncate(length);
            }
        }
        Tree::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                path.push_str(&format!("[{i}]"));
                duplicates(item, path, messages);
                path.truncate(length);
            }
        }
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::String(_) => {}
    }
}

/// Appends a field's name to a path.
pub(crate) fn push_field(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}
