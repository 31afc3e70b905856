//! Bodies: parsed JSON and YAML, with what is needed to tell the client of unknown and duplicate fields.

use crate::FieldValidation;
use crate::json::{self, Tree};
use crate::messages::{Messages, push_field, push_index};
use crate::yaml;
use serde_json::Value;
use std::collections::HashSet;

/// A parsed body or a patched value.
pub struct Document<'a> {
    pub value: Value,
    pub(crate) origin: Origin<'a>,
}

/// Where a value comes from.
pub(crate) enum Origin<'a> {
    /// From JSON, whose order of fields messages follow.
    Text { text: &'a [u8], duplicates: bool },
    /// From elsewhere, with messages about duplicate fields there, and the value as it is before it conforms, if the
    /// caller keeps it.
    Elsewhere { messages: Vec<String>, unconformed: Option<&'a Value> },
}

impl<'a> Document<'a> {
    /// A copy of a value that was made from a body, as by a patch, with the messages about duplicate fields of that body.
    pub fn derived(value: &'a Value, duplicates: Vec<String>) -> Document<'a> {
        let origin = Origin::Elsewhere { messages: duplicates, unconformed: Some(value) };
        Document { value: value.clone(), origin }
    }

    /// Messages about the fields that are given twice: `duplicate field "spec.replicas"`.
    pub fn duplicates(&self) -> Vec<String> {
        match &self.origin {
            Origin::Text { text, duplicates: true } => {
                let mut messages = Messages::default();
                if let Ok(tree) = json::parse(text) {
                    duplicates(&tree, &mut String::new(), &mut messages);
                }
                messages.into_list()
            }
            Origin::Text { .. } => Vec::new(),
            Origin::Elsewhere { messages, .. } => messages.clone(),
        }
    }
}

impl From<Value> for Document<'_> {
    fn from(value: Value) -> Self {
        Document { value, origin: Origin::Elsewhere { messages: Vec::new(), unconformed: None } }
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
    let origin = Origin::Elsewhere { messages: told.into_iter().collect(), unconformed: None };
    Ok(Document { value: parsed.value, origin })
}

fn duplicates(tree: &Tree, path: &mut String, messages: &mut Messages) {
    let length = path.len();
    match tree {
        Tree::Object(fields) => {
            let mut seen = HashSet::new();
            for (name, value) in fields {
                if messages.is_full() {
                    return;
                }
                push_field(path, name);
                if !seen.insert(name) {
                    messages.tell(|| format!("duplicate field {path:?}"));
                }
                duplicates(value, path, messages);
                path.truncate(length);
            }
        }
        Tree::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                if messages.is_full() {
                    return;
                }
                push_index(path, i);
                duplicates(item, path, messages);
                path.truncate(length);
            }
        }
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::MAX_MESSAGES;

    fn duplicates_of(text: &str) -> Vec<String> {
        decode_json(text.as_bytes(), FieldValidation::Warn).expect("JSON").duplicates()
    }

    #[test]
    fn fields_given_twice_are_told_with_their_paths() {
        let expected = ["duplicate field \"l[1].b\"", "duplicate field \"a\""];
        assert_eq!(duplicates_of(r#"{"a":1,"l":[{"b":1},{"b":1,"b":2,"b":3}],"a":2}"#), expected);
    }

    #[test]
    fn messages_about_duplicates_are_few_and_short() {
        let twice: Vec<String> = (0..2 * MAX_MESSAGES).map(|i| format!(r#""k{i}":1,"k{i}":2"#)).collect();
        assert_eq!(duplicates_of(&format!("{{{}}}", twice.join(","))).len(), MAX_MESSAGES);
        let name = "n".repeat(1 << 20);
        let messages = duplicates_of(&format!(r#"{{"{name}":{{{}}}}}"#, twice.join(",")));
        assert!(!messages.is_empty() && messages.iter().all(|message| message.len() < 10_000));
    }
}
