//! The annotation in which kubectl keeps what it applied on its own side: server-side apply takes over from it.

use super::set::FieldSet;
use super::types::Typed;
use serde_json::{Value, json};

/// The manager that takes over.
pub(crate) const KUBECTL: &str = "kubectl";

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
const ANNOTATION_BYTES_MAX: usize = 256 << 10;

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][ANNOTATION].as_str().filter(|text| !text.is_empty())
}

/// The fields that were applied on the client's side and are still as they were applied.
pub(crate) fn applied_fields(typed: Typed<'_>, api_version: &str, live: &Value) -> Option<FieldSet> {
    let applied: Value = serde_json::from_str(annotation(live)?).ok()?;
    if applied["apiVersion"] != api_version || typed.check(&applied, false).is_err() {
        return None;
    }
    let change = typed.compare(&applied, live);
    let fields = typed.fields(&applied);
    Some(fields.difference(&change.modified).difference(&change.added).difference(&change.removed))
}

/// Keeps an annotation that is there current with what is applied now.
pub(crate) fn keep_current(object: &mut Value, config: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let Some(annotations) = object["metadata"]["annotations"].as_object_mut() else { return };
    annotations.insert(ANNOTATION.to_owned(), json!(format!("{config}\n")));
    let bytes: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if bytes > ANNOTATION_BYTES_MAX {
        annotations.remove(ANNOTATION);
    }
}
