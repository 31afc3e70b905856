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

/// Every recorded kind survives both ways, where the recordings are beside the checkout.
#[test]
fn recorded_objects_are_the_same_in_both_encodings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/kubernetes-1.36/roundtrip");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("skipped: {} is not there", folder.display());
        return;
    };
    let files = files.map(|file| file.expect("a file").path());
    let (mut compared, mut wrong) = (0, Vec::new());
    for file in files.filter(|path| path.extension().is_some_and(|e| e == "pb")) {
        compared += 1;
        if let Err(why) = survives_both_ways(&file) {
            wrong.push(format!("{}: {why}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 0, "{} holds no recordings", folder.display());
}

fn survives_both_ways(file: &Path) -> Result<(), String> {
    let bytes = std::fs::read(file).expect("a file");
    let json = std::fs::read(file.with_extension("json")).expect("a file");
    let mut json: Value = serde_json::from_slice(&json).expect("JSON");
    // A WatchEvent does not name its type.
    let untyped = json["kind"].is_null();
    let name = file.file_stem().expect("a name").to_string_lossy();
    let kind = name.rsplit('.').next().unwrap_or_default();
    let api_version = json["apiVersion"].as_str().unwrap_or("v1").to_owned();
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let bytes = if untyped {
        let raw = Fields(&bytes[MAGIC.len()..]).find_map(|field| match field {
            Ok((2, Wire::Bytes(raw))) => Some(raw),
            _ => None,
        });
        super::envelope("v1", kind, raw.expect("an object"))
    } else {
        bytes
    };
    let definition = builtin().of_kind(group, version, kind).ok_or("no definition")?;
    let shape = |value: Value| conform(builtin(), definition, value, FieldValidation::Ignore).expect("conforms").value;
    let (mut decoded, expected) = (decode(builtin(), &bytes).map_err(|error| error.to_string())?, shape(json.clone()));
    if untyped {
        decoded = shape(decoded);
        json["apiVersion"] = json!(api_version);
        json["kind"] = json!(kind);
    }
    let decoded = shape(decoded);
    if decoded != expected {
        return Err(difference("", &expected, &decoded));
    }
    let encoded = encode(builtin(), &json).map_err(|error| error.to_string())?;
    if encoded == bytes { Ok(()) } else { Err(first_difference(&bytes, &encoded)) }
}

fn first_difference(theirs: &[u8], ours: &[u8]) -> String {
    let at = theirs.iter().zip(ours).take_while(|(a, b)| a == b).count();
    let near =
        |bytes: &[u8]| String::from_utf8_lossy(&bytes[at.saturating_sub(40)..(at + 60).min(bytes.len())]).into_owned();
    format!("theirs {:?}\nours   {:?}", near(theirs), near(ours))
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
