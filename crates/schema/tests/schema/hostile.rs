//! What a tenant may send, made to hurt: bombs of each decoder, and many small changes to what is valid. Each ends soon, as a
//! value or as a refusal, and none panics.

use api::selector::{FieldSelector, LabelSelector};
use schema::managed::{FieldSet, Managed};
use schema::{Expected, FieldValidation, Format, builtin, decode_object, patch, protobuf};
use serde_json::{Value, json};
use std::time::Duration;

/// What one input may take of the processor: a second of the program that users run, which is several times as fast as a debug build.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 1 });

/// What a body may hold at most.
const BODY_BYTES: usize = 3 << 20;

const POD: Expected = Expected { group: "", version: "v1", kind: "Pod" };

/// Reads bytes with a decoder; only that it ends counts.
type Decoder = fn(&[u8]);

fn json(bytes: &[u8]) {
    let _ = decode_object(builtin(), POD, bytes, Format::Json, FieldValidation::Warn);
}

fn strict_json(bytes: &[u8]) {
    let _ = decode_object(builtin(), POD, bytes, Format::Json, FieldValidation::Strict);
}

fn yaml(bytes: &[u8]) {
    let _ = decode_object(builtin(), POD, bytes, Format::Yaml, FieldValidation::Warn);
}

fn protobuf_object(bytes: &[u8]) {
    if let Ok(value) = protobuf::decode(builtin(), bytes) {
        let _ = protobuf::encode(builtin(), &value);
    }
}

fn selectors(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = LabelSelector::parse(&text);
    let _ = FieldSelector::parse(&text);
}

fn patches(bytes: &[u8]) {
    let target = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
    let pod = builtin().of_kind("", "v1", "Pod").expect("pods have a schema");
    if let Ok((operations, _)) = patch::decode_json(bytes, FieldValidation::Warn) {
        let _ = patch::json(target.clone(), &operations);
    }
    if let Ok(document) = patch::decode_merge(bytes, FieldValidation::Warn) {
        let _ = patch::merge(target.clone(), &document.value);
    }
    if let Ok(document) = patch::decode_strategic(bytes, FieldValidation::Warn) {
        let _ = patch::strategic(builtin(), pod, target, &document.value);
    }
}

/// What this thread has had of a processor: other tests run beside this one.
fn processor_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel tells of its threads");
    let nanos = told.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanos.expect("the first number is the time on a processor"))
}

#[track_caller]
fn ends_soon(what: &str, decoder: Decoder, bytes: &[u8]) {
    let began = processor_time();
    decoder(bytes);
    let took = processor_time() - began;
    assert!(took < LIMIT, "{what} of {} bytes took {took:?}", bytes.len());
}

#[test]
fn bombs_end_soon() {
    let repeated = |unit: &str| unit.repeat(BODY_BYTES / unit.len()).into_bytes();
    let wrapped = |start: &str, unit: &str, end: &str| {
        let count = (BODY_BYTES - start.len() - end.len()) / unit.len();
        format!("{start}{}{end}", unit.repeat(count)).into_bytes()
    };
    let members = |count: usize| (0..count).map(|i| format!("\"k{i}\":1,")).collect::<String>();
    for (what, bytes) in [
        ("nested lists", repeated("[")),
        ("nested objects", repeated("{\"a\":")),
        ("a field given often", wrapped("{", "\"a\":1,", "\"a\":1}")),
        ("unknown fields", format!("{{{}\"kind\":\"Pod\"}}", members(200_000)).into_bytes()),
        ("a long number", wrapped("{\"a\":1", "0", "}")),
        ("an exponent", b"{\"a\":1e999999999}".to_vec()),
        ("a string without end", wrapped("{\"a\":\"", "\\u0000", "")),
        ("bytes that are no text", vec![0xff; BODY_BYTES]),
        ("containers without names", wrapped("{\"spec\":{\"containers\":[", "{},", "{}]}}")),
    ] {
        ends_soon(what, json, &bytes);
        ends_soon(what, strict_json, &bytes);
        ends_soon(what, patches, &bytes);
    }
    let doubling: String = (1..40).map(|i| format!("a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1)).collect();
    for (what, bytes) in [
        ("aliases that double", format!("a0: &a0 [x]\n{doubling}").into_bytes()),
        ("nested flow lists", repeated("[")),
        ("nested dashes", repeated("- ")),
        ("nested keys", repeated("? ")),
        ("anchors", wrapped("", "- &a x\n", "")),
        ("tags", wrapped("", "!!str ", "x")),
        ("a block without end", wrapped("a: |\n", " x\n", "")),
        ("documents", repeated("---\n")),
    ] {
        ends_soon(what, yaml, &bytes);
    }
    let operations = |operation: &str, count: usize| format!("[{}]", vec![operation; count].join(",")).into_bytes();
    let copy = r#"{"op":"copy","from":"/spec","path":"/spec/a"}"#;
    let add = r#"{"op":"add","path":"/spec/containers/0","value":{}}"#;
    ends_soon("copies that double", patches, &operations(copy, 10_000));
    ends_soon("insertions at the front", patches, &operations(add, 50_000));
    for (what, bytes) in [
        ("a selector of commas", repeated(",")),
        ("a selector of parentheses", repeated("a in (")),
        ("a selector of terms", repeated("a=b,")),
        ("a selector of escapes", repeated("a=\\,")),
        ("a selector of bangs", repeated("!")),
    ] {
        ends_soon(what, selectors, &bytes);
    }
    let mut nested = Vec::new();
    for _ in 0..50_000 {
        let length = u8::try_from(nested.len() % 128).expect("seven bits");
        nested.extend([0x12, length]);
    }
    let magic: &[u8] = b"k8s\0";
    for (what, body) in [
        ("nested messages", nested),
        ("lengths beyond the end", b"\x12\xff\xff\xff\xff\x0f".repeat(BODY_BYTES / 6)),
        ("empty fields", b"\x12\x00".repeat(BODY_BYTES / 2)),
    ] {
        ends_soon(what, protobuf_object, &[magic, &body].concat());
        let pod = protobuf::envelope("v1", "Pod", &body);
        ends_soon(what, protobuf_object, &pod);
    }
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"a": "b"}, "finalizers": ["x/y"]},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "100m"}}, "livenessProbe": {"httpGet": {"port": "web", "path": "/é"}}}]},
    })
}

#[test]
fn damaged_json_is_read_or_refused() {
    fuzz::fuzz(&[pod().to_string()], json);
    fuzz::fuzz(&[pod().to_string()], strict_json);
}

#[test]
fn damaged_yaml_is_read_or_refused() {
    let aliased = "a: &a [x, \"y\"]\nb: *a\nc: |\n  text\nd: {e: 0x1f, f: 1.5e3, g: ~}\n".to_owned();
    fuzz::fuzz(&[schema::yaml::encode(&pod()), aliased], yaml);
}

#[test]
fn damaged_protobuf_is_read_or_refused() {
    fuzz::fuzz(&[protobuf::encode(builtin(), &pod()).expect("an encoding")], protobuf_object);
}

#[test]
fn damaged_patches_are_applied_or_refused() {
    let operations =
        r#"[{"op":"add","path":"/metadata/labels/x~1y","value":"z"},{"op":"move","from":"/spec","path":"/s"}]"#;
    let strategic =
        r#"{"spec":{"containers":[{"name":"a","$patch":"delete"},{"$setElementOrder/x":[]}],"$retainKeys":["a"]}}"#;
    fuzz::fuzz(&[operations, strategic], patches);
}

#[test]
fn damaged_managed_fields_are_read_or_refused() {
    let fields = r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"k:{\"name\":\"c\"}":{"v:1":{},"i:0":{}}}}"#;
    let entries = format!(
        r#"[{{"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{fields},"manager":"m","operation":"Apply"}}]"#
    );
    fuzz::fuzz(&[fields, &entries], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(set) = FieldSet::parse(&text) {
            let mut written = String::new();
            set.write(&mut written);
            assert_eq!(FieldSet::parse(&written).ok(), Some(set), "what is written reads back: {written}");
        }
        let _ = Managed::sent(&text);
    });
}
