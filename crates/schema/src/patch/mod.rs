//! Patches: JSON patch, JSON merge patch and strategic merge patch, as upstream applies them.
//!
//! A patch never leaves a value half changed: it takes the value, and gives back the whole outcome or an error.

mod json;
mod merge;
mod strategic;

pub use json::{Operations, decode_json, json};
pub use merge::merge;
pub use strategic::strategic;

use crate::{Document, FieldValidation};
use api::{Cause, Error};
use serde_json::{Map, Value};

/// Reads the body of a JSON merge patch.
pub fn decode_merge(bytes: &[u8], mode: FieldValidation) -> api::Result<Document<'_>> {
    decode(bytes, mode).map_err(|why| Error::bad_request(format!("error decoding patch: {why}")))
}

/// Reads the body of a strategic merge patch.
pub fn decode_strategic(bytes: &[u8], mode: FieldValidation) -> api::Result<Document<'_>> {
    decode(bytes, mode).map_err(Error::bad_request)
}

fn decode(bytes: &[u8], mode: FieldValidation) -> Result<Document<'_>, String> {
    let mut document = crate::decode_json(bytes, mode).map_err(|error| error.message().to_owned())?;
    if document.value.is_null() {
        document.value = Value::Object(Map::new());
    }
    if document.value.is_object() {
        return Ok(document);
    }
    let kind = crate::json::Tree::from(&document.value).go_kind();
    Err(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}

/// The error of a patch whose outcome is no object of its kind; `outcome` is shown to the client.
pub fn invalid(outcome: &Value, why: &Error) -> Error {
    invalid_as(&outcome.to_string(), why.message())
}

/// The same of a strategic merge patch: upstream shows the patch, as Go prints it, and what its converter says.
pub fn invalid_strategic(patch: &Value, why: &Error) -> Error {
    let mut shown = String::new();
    print_go(patch, &mut shown);
    invalid_as(&shown, &restoring(why.message()).unwrap_or_else(|| why.message().to_owned()))
}

/// What Go's converter of objects says where its decoder says that a value is of another type.
fn restoring(why: &str) -> Option<String> {
    let (_, mismatch) = why.split_once("json: cannot unmarshal ")?;
    let found = match mismatch.split(' ').next()? {
        "array" => "slice",
        "object" => "map",
        "number" => "int64",
        scalar => scalar,
    };
    let (_, wanted) = mismatch.rsplit_once(" of type ")?;
    Some(match wanted {
        "bool" | "string" | "int32" | "int64" | "float64" => format!("unrecognized type: {wanted}"),
        _ if wanted.starts_with("[]") => format!("cannot restore slice from {found}"),
        _ if wanted.starts_with("map[") => format!("cannot restore map from {found}"),
        _ => format!("cannot restore struct from: {found}"),
    })
}

/// Appends a value as Go's `%+v` prints it.
fn print_go(value: &Value, to: &mut String) {
    match value {
        Value::Null => to.push_str("<nil>"),
        Value::String(text) => to.push_str(text),
        Value::Array(items) => {
            to.push('[');
            for (i, item) in items.iter().enumerate() {
                to.push_str(if i == 0 { "" } else { " " });
                print_go(item, to);
            }
            to.push(']');
        }
        Value::Object(fields) => {
            to.push_str("map[");
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_unstable();
            for (i, name) in names.into_iter().enumerate() {
                to.push_str(if i == 0 { "" } else { " " });
                to.push_str(name);
                to.push(':');
                print_go(&fields[name], to);
            }
            to.push(']');
        }
        scalar => to.push_str(&scalar.to_string()),
    }
}

fn invalid_as(shown: &str, why: &str) -> Error {
    let cause = Cause {
        reason: "FieldValueInvalid".to_owned(),
        message: format!("Invalid value: {shown:?}: {why}"),
        field: "patch".to_owned(),
    };
    Error::invalid("", "", "", vec![cause])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(decoded: api::Result<Document>, expected: &str) {
        let error = decoded.err().expect(expected);
        assert_eq!((error.code(), error.message()), (400, expected));
    }

    #[test]
    fn a_patch_that_does_not_fit_is_shown_as_go_prints_it() {
        let patch = serde_json::json!({"spec": {"replicas": "x", "list": [1, null, true]}});
        let decoder = |found: &str, wanted: &str| {
            Error::bad_request(format!("json: cannot unmarshal {found} into Go struct field A.b of type {wanted}"))
        };
        for (found, wanted, said) in [
            ("string", "int32", "unrecognized type: int32"),
            ("object", "[]v1.Container", "cannot restore slice from map"),
            ("string", "map[string]string", "cannot restore map from string"),
            ("array", "v1.PodSpec", "cannot restore struct from: slice"),
        ] {
            let error = invalid_strategic(&patch, &decoder(found, wanted));
            let shown = "map[spec:map[list:[1 <nil> true] replicas:x]]";
            assert_eq!(error.message(), format!(" \"\" is invalid: patch: Invalid value: {shown:?}: {said}"));
        }
    }

    #[test]
    fn bodies_that_are_no_object_are_refused() {
        let mode = FieldValidation::Warn;
        let map = "Go value of type map[string]interface {}";
        check(decode_merge(b"\"x\"", mode), &format!("error decoding patch: json: cannot unmarshal string into {map}"));
        check(decode_merge(b"{\"a\":", mode), "error decoding patch: unexpected end of JSON input");
        check(decode_strategic(b"[]", mode), &format!("json: cannot unmarshal array into {map}"));
        check(decode_strategic(b"{}x", mode), "invalid character 'x' after top-level value");
        assert!(decode_merge(b"null", mode).is_ok_and(|document| document.value.is_object()));
    }
}
