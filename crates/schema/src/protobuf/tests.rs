//! The protobuf encoding: small objects by hand, and every recorded kind.

use super::*;
use crate::{FieldValidation, builtin, conform};
use std::path::Path;

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let field =
        |number: u8, bytes: &[u8]| [&[number << 3 | 2, u8::try_from(bytes.len()).expect("short")], bytes].concat();
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.as_slice(), &field(1, &meta), &field(2, raw)].concat()
}

#[test]
fn a_small_object_is_read() {
    // metadata { name: "a" }, data { "k": "v" }
    let raw = [0x0a, 3, 0x0a, 1, b'a', 0x12, 6, 0x0a, 1, b'k', 0x12, 1, b'v'];
    let value = decode(builtin(), &envelope("v1", "ConfigMap", &raw)).expect("an object");
    let expected = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    assert_eq!(value, expected);
}

#[test]
fn what_is_malformed_is_refused() {
    let raw = [0x0a, 3, 0x0a, 1, b'a'];
    let good = envelope("v1", "ConfigMap", &raw);
    // The one cut that leaves something whole: the type, and no fields.
    let without_fields = good.len() - raw.len() - 2;
    for cut in 0..good.len() {
        let decoded = decode(builtin(), &good[..cut]);
        assert_eq!(decoded.is_err(), cut != without_fields, "cut at {cut}: {decoded:?}");
    }
    assert!(decode(builtin(), b"{}").is_err());
    assert!(decode(builtin(), &envelope("v1", "Nothing", &[])).is_err());
    assert!(decode(builtin(), &envelope("v1", "ConfigMap", &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])).is_err());
    assert!(decode(builtin(), &envelope("v1", "ConfigMap", &[0xff; 20])).is_err());
}

#[test]
fn raw_json_nests_no_deeper_than_a_body() {
    // A ControllerRevision: data { raw: "[[…]]" }.
    let nested = |depth: usize| {
        let json = format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
        let field = |number: u8, bytes: &[u8]| {
            let length = [
                0x80 | u8::try_from(bytes.len() % 128).expect("low bits"),
                u8::try_from(bytes.len() / 128).expect("short"),
            ];
            [&[number << 3 | 2], length.as_slice(), bytes].concat()
        };
        let meta = [&[0x0a, 7], b"apps/v1".as_slice(), &[0x12, 18], b"ControllerRevision"].concat();
        let object = [MAGIC.as_slice(), &field(1, &meta), &field(2, &field(2, &field(1, &json)))].concat();
        decode(builtin(), &object)
    };
    assert!(nested(MAX_DEPTH - 1).is_ok());
    let error = nested(MAX_DEPTH).expect_err("an object around the deepest JSON");
    assert_eq!(error.message(), "the protobuf object is malformed: exceeded max depth");
}

/// Every kind in both encodings, where the recordings are beside the checkout.
#[test]
fn recorded_objects_are_the_same_in_both_encodings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/kubernetes-1.36/roundtrip");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("skipped: {} is not there", folder.display());
        return;
    };
    let (mut compared, mut wrong) = (0, Vec::new());
    for file in
        files.map(|file| file.expect("a file").path()).filter(|path| path.extension().is_some_and(|e| e == "pb"))
    {
        let bytes = std::fs::read(&file).expect("a file");
        let json: Value =
            serde_json::from_slice(&std::fs::read(file.with_extension("json")).expect("a file")).expect("JSON");
        let api_version = json["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let Some(definition) = builtin().of_kind(group, version, json["kind"].as_str().unwrap_or_default()) else {
            continue;
        };
        let shape =
            |value: Value| conform(builtin(), definition, value, FieldValidation::Ignore).expect("conforms").value;
        let decoded = match decode(builtin(), &bytes) {
            Ok(decoded) => shape(decoded),
            Err(error) => {
                wrong.push(format!("{}: {error}", file.display()));
                continue;
            }
        };
        let expected = shape(json);
        compared += 1;
        if decoded != expected {
            wrong.push(format!("{}: {}", file.display(), difference("", &expected, &decoded)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 0, "{} holds no recordings", folder.display());
}

fn difference(path: &str, expected: &Value, found: &Value) -> String {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let different = keys.into_iter().filter(|key| a.get(*key) != b.get(*key));
            let null = Value::Null;
            let parts = different.map(|key| {
                difference(&format!("{path}.{key}"), a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null))
            });
            parts.collect::<Vec<_>>().join("; ")
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let parts = a.iter().zip(b).enumerate().filter(|(_, (a, b))| a != b);
            parts.map(|(i, (a, b))| difference(&format!("{path}[{i}]"), a, b)).collect::<Vec<_>>().join("; ")
        }
        _ => format!("{path}: expected {expected}, found {found}"),
    }
}
