//! `x-kubernetes-validations`: what is to be said of rules without understanding them, and the seam where they are compiled.

use super::field_path;
use crate::causes::{Causes, Path};
use crate::value::{list, text};
use serde_json::Value;

const REASONS: [&str; 4] = ["FieldValueRequired", "FieldValueInvalid", "FieldValueForbidden", "FieldValueDuplicate"];

/// What is wrong with the rules of one schema, `at` its `x-kubernetes-validations`.
pub fn validate(schema: &Value, at: &Path, causes: &mut Causes) {
    let broken = |text: &str| text.contains(['\n', '\r']);
    for (i, rule) in list(&schema["x-kubernetes-validations"]).iter().enumerate() {
        let at = at.index(i);
        let (rule_text, message) = (text(&rule["rule"]), text(&rule["message"]));
        if rule_text.trim().is_empty() {
            causes.required(&at.child("rule"), "rule is not specified");
        } else if !message.is_empty() && message.trim().is_empty() {
            causes.invalid(&at.child("message"), message, "message must be non-empty if specified");
        } else if broken(message.trim()) {
            causes.invalid(&at.child("message"), message, "message must not contain line breaks");
        } else if broken(rule_text.trim()) && message.trim().is_empty() {
            causes.required(&at.child("message"), "message must be specified if rule contains line breaks");
        }
        let expression = text(&rule["messageExpression"]);
        if !expression.is_empty() && expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            causes.required(&at.child("messageExpression"), why);
        }
        if !rule["reason"].is_null() {
            causes.one_of(&at.child("reason"), &rule["reason"], &REASONS);
        }
        let path = text(&rule["fieldPath"]);
        let at = at.child("fieldPath");
        if path.is_empty() {
            continue;
        }
        if path.trim().is_empty() {
            causes.invalid(&at, path, "fieldPath must be non-empty if specified");
        }
        if broken(path) {
            causes.invalid(&at, path, "fieldPath must not contain line breaks");
        } else if let Err(why) = field_path::resolve(path, schema) {
            causes.invalid(&at, path, &format!("fieldPath must be a valid path: {why}"));
        }
    }
}

/// Compiles the rules of a whole schema that nothing else is wrong with: the seam of the engine that understands them.
pub fn compile(_schema: &Value, _at: &Path, _causes: &mut Causes) {}
