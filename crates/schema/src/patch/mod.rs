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
    let cause = Cause {
        reason: "FieldValueInvalid".to_owned(),
        message: format!("Invalid value: {:?}: {}", outcome.to_string(), why.message()),
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
