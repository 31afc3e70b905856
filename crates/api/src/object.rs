//! A stored object: its JSON, encoded once, and a small header of what is needed without parsing.
//!
//! Invariant: `bytes` is the object as a client receives it, `metadata.resourceVersion` included. GET, LIST and WATCH
//! send these bytes. [`Object::at_revision`] is the only way to change the version, by splicing its digits.

use crate::scan::{self, scan};
use crate::{Error, Header, ObjectKey, Result, TenantName};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::ops::Range;

/// A point in a partition's sequence of changes; the number behind `resourceVersion`. 0 is before the first change.
pub type Revision = u64;

/// The digits that stand for a revision until the store assigns one.
const UNASSIGNED: &str = "0";

/// How managed fields start in an encoding where they are not the first member.
const MANAGED: &[u8] = b",\"managedFields\":";

/// How deep what is stored may nest. serde_json, with which everyone reads objects, refuses more than 127 levels; the
/// rest is for the lists and the events of watches around an object.
const NESTING_MAX: usize = 100;

/// An owner reference, as far as the collector and the watches need it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerRef {
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub uid: String,
    #[serde(default)]
    pub controller: bool,
    #[serde(default)]
    pub block_owner_deletion: bool,
}

/// One version of one object. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Object {
    pub key: ObjectKey,
    /// 0 until the store has assigned one.
    pub revision: Revision,
    pub header: Header,
    pub bytes: Bytes,
    /// Where in `bytes` the digits of the revision start.
    revision_at: u32,
    /// Where in `bytes` the fields after `apiVersion` and `kind` start, which come first.
    body_at: u32,
}

impl Object {
    /// Encodes `value` for storage; the store assigns the revision. `fields` are the kind's selectable fields.
    /// Sets `metadata.resourceVersion` in the encoding, whatever it was. 400 for what nests deeper than `NESTING_MAX`.
    pub fn encode(key: ObjectKey, value: &mut Value, fields: &'static [&'static str]) -> Result<Object> {
        Object::encode_managed(key, value, "", fields)
    }

    /// [`Object::encode`] with this JSON as `metadata.managedFields`, which `value` is without. Empty for none.
    pub fn encode_managed(
        key: ObjectKey,
        value: &mut Value,
        managed: &str,
        fields: &'static [&'static str],
    ) -> Result<Object> {
        if !nests_within(value, NESTING_MAX) {
            return Err(Error::bad_request(format!("the object nests deeper than {NESTING_MAX} levels")));
        }
        let header = Header::of(value, fields);
        let metadata = value["metadata"].as_object_mut().ok_or_else(|| Error::bad_request("metadata is missing"))?;
        metadata.insert("resourceVersion".to_owned(), Value::from(UNASSIGNED));
        let (bytes, body_at) = encode_type_first(value, managed)?;
        let revision_at = find_revision(&bytes).ok_or_else(|| Error::internal("an encoded object has no version"))?;
        Ok(Object { key, revision: 0, header, bytes: bytes.into(), revision_at, body_at })
    }

    /// Takes stored bytes back as an object, after a restart.
    pub fn decode(key: ObjectKey, revision: Revision, bytes: Bytes, fields: &'static [&'static str]) -> Result<Object> {
        let (header, version) = scan(&bytes, fields).map_err(Error::internal)?;
        let revision_at = find_revision(&bytes).ok_or_else(|| Error::internal("a stored object has no version"))?;
        let body_at = find_body(&bytes);
        let object = Object { key, revision, header, bytes, revision_at, body_at };
        if version != revision.to_string() {
            return Err(Error::internal(format!(
                "stored object {} is not at revision {revision}",
                object.key.durable()
            )));
        }
        Ok(object)
    }

    /// The same object with another revision in header and bytes.
    pub fn at_revision(&self, revision: Revision) -> Object {
        let start = self.revision_at as usize;
        let digits = self.bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
        let text = revision.to_string();
        let mut bytes = BytesMut::with_capacity(self.bytes.len() - digits + text.len());
        bytes.extend_from_slice(&self.bytes[..start]);
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(&self.bytes[start + digits..]);
        Object { revision, bytes: bytes.freeze(), ..self.clone() }
    }

    /// The object as an item of a list of its kind, without its type: `{` and then these bytes.
    pub fn item_tail(&self) -> &[u8] {
        &self.bytes[self.body_at as usize..]
    }

    /// Parses the JSON. A cost of microseconds per kilobyte: for writes and for code that reasons, not for reads.
    pub fn to_value(&self) -> Result<Value> {
        serde_json::from_slice(&self.bytes).map_err(Error::internal)
    }

    /// Parses the JSON without `metadata.managedFields`, and gives that as it is encoded; empty if there is none.
    pub fn to_managed_value(&self) -> Result<(Value, &str)> {
        let Some((member, list)) = find_managed(&self.bytes) else { return Ok((self.to_value()?, "")) };
        let rest = [&self.bytes[..member.start], &self.bytes[member.end..]].concat();
        let value = serde_json::from_slice(&rest).map_err(Error::internal)?;
        Ok((value, std::str::from_utf8(&self.bytes[list]).map_err(Error::internal)?))
    }

    pub fn tenant(&self) -> Option<&TenantName> {
        self.key.tenant()
    }

    /// The value of a field that selectors may name; empty when the object lacks it.
    pub fn field(&self, path: &str) -> &str {
        match path {
            "metadata.name" => &self.key.name,
            "metadata.namespace" => &self.key.namespace,
            "metadata.tenant" => self.tenant().map_or("", TenantName::as_str),
            _ => self.header.field(path),
        }
    }
}

impl Object {
    /// The value that a selector's path leads to. A path that starts with a dot is of a kind whose header does not hold it:
    /// the object is read for it.
    pub(crate) fn selected(&self, path: &str) -> Cow<'_, str> {
        match path.strip_prefix('.') {
            Some(path) => scan::field(&self.bytes, path).into(),
            None => self.field(path).into(),
        }
    }
}

fn nests_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| nests_within(item, levels - 1)),
        Value::Object(map) => levels > 0 && map.values().all(|value| nests_within(value, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// A value as selectors compare it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Encodes an object with its type in front, so that items of lists can leave it out, as upstream does.
/// Returns where the other fields start. `managed` becomes the last field of the metadata, as it is.
fn encode_type_first(value: &Value, managed: &str) -> Result<(Vec<u8>, u32)> {
    let fields = value.as_object().ok_or_else(|| Error::bad_request("an object is expected"))?;
    let mut out = b"{".to_vec();
    let mut body_at = 1;
    let is_type = |name: &str| matches!(name, "apiVersion" | "kind");
    let (types, others): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| is_type(name));
    let types_count = types.len();
    for (i, (name, value)) in types.into_iter().chain(others).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        if i == types_count {
            body_at = u32::try_from(out.len()).map_err(Error::internal)?;
        }
        serde_json::to_writer(&mut out, name).map_err(Error::internal)?;
        out.push(b':');
        serde_json::to_writer(&mut out, value).map_err(Error::internal)?;
        if name == "metadata" && !managed.is_empty() && out.pop() == Some(b'}') {
            // Never the first one: there is always a version.
            out.extend_from_slice(MANAGED);
            out.extend_from_slice(managed.as_bytes());
            out.push(b'}');
        }
    }
    out.push(b'}');
    Ok((out, body_at))
}

/// Where the fields after the type start in bytes that [`encode_type_first`] wrote.
fn find_body(bytes: &[u8]) -> u32 {
    let mut at = 1;
    while bytes[at..].starts_with(b"\"apiVersion\":\"") || bytes[at..].starts_with(b"\"kind\":\"") {
        let end = string_end(bytes, at).and_then(|key| string_end(bytes, key + 2));
        match end {
            Some(end) if bytes.get(end + 1) == Some(&b',') => at = end + 2,
            _ => break,
        }
    }
    u32::try_from(at).unwrap_or(1)
}

/// Finds the digits of `metadata.resourceVersion` in encoded JSON: walks to the top-level `metadata`, then to its
/// own `resourceVersion`, so that the same words in labels, annotations or data are not mistaken for it.
fn find_revision(bytes: &[u8]) -> Option<u32> {
    let metadata = find_member(bytes, 0, b"metadata")?;
    let version = find_member(bytes, metadata, b"resourceVersion")?;
    (bytes.get(version) == Some(&b'"')).then_some(u32::try_from(version + 1).ok()?)
}

/// Where `metadata.managedFields` stands, with one of the commas around it, and where its value does.
fn find_managed(bytes: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    let metadata = find_member(bytes, 0, b"metadata")?;
    let start = find_member(bytes, metadata, b"managedFields")?;
    let end = value_end(bytes, start)?;
    let name_at = start - MANAGED.len() + 1;
    let member = match (bytes[name_at - 1], bytes.get(end)) {
        (b',', _) => name_at - 1..end,
        (_, Some(b',')) => name_at..end + 1,
        _ => name_at..end,
    };
    Some((member, start..end))
}

/// Where the compact JSON value that starts at `at`, a list or an object or `null`, ends.
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes[at..].starts_with(b"null") {
        return Some(at + 4);
    }
    let (mut depth, mut i) = (0usize, at);
    loop {
        match *bytes.get(i)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return Some(i + 1),
            b'}' | b']' => depth -= 1,
            b'"' => i = string_end(bytes, i)?,
            _ => {}
        }
        i += 1;
    }
}

/// Where the value of the member `name` starts in the compact JSON object that starts at `at`.
fn find_member(bytes: &[u8], at: usize, name: &[u8]) -> Option<usize> {
    let (mut depth, mut i) = (0usize, at);
    while let Some(&byte) = bytes.get(i) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1).filter(|&d| d > 0)?,
            b'"' => {
                let end = string_end(bytes, i)?;
                if depth == 1 && bytes.get(end + 1) == Some(&b':') && &bytes[i + 1..end] == name {
                    return Some(end + 2);
                }
                i = end;
            }
            _ => {}
        }
        i += 1;
    }
    None
}

/// The index of the quote that closes the string that opens at `open`.
fn string_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut i = open + 1;
    loop {
        i += memchr::memchr2(b'\\', b'"', bytes.get(i..)?)?;
        if bytes[i] == b'"' {
            return Some(i);
        }
        i += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ResourceId, Space};
    use serde_json::json;

    fn object(mut value: Value) -> Object {
        let key = ObjectKey::new(ResourceId::new("", "pods"), Space::Tenant(TenantName::system()), "default", "a");
        Object::encode(key.expect("a key"), &mut value, &["spec.nodeName"]).expect("an object")
    }

    #[test]
    fn a_revision_is_spliced_into_its_own_place_only() {
        let trap =
            json!({"resourceVersion": "0", "metadata": {"resourceVersion": "0"}, "q": "\\\"resourceVersion\":\"0\""});
        let value =
            json!({"data": trap, "metadata": {"annotations": trap["metadata"], "labels": {"a": "b"}, "uid": "u"}});
        let spliced = object(value.clone()).at_revision(1234);
        let mut expected = value;
        expected["metadata"]["resourceVersion"] = json!("1234");
        assert_eq!(spliced.to_value().expect("JSON"), expected);
        assert_eq!(spliced.at_revision(5).at_revision(1234).bytes, spliced.bytes);
    }

    #[test]
    fn an_item_of_a_list_leaves_its_type_out() {
        let value = json!({"apiVersion": "v1", "data": {"kind": "x"}, "kind": "Pod", "metadata": {"name": "a"}});
        let stored = object(value).at_revision(77);
        let item = |object: &Object| {
            let text = [b"{", object.item_tail()].concat();
            serde_json::from_slice::<Value>(&text).expect("JSON")
        };
        let expected = json!({"data": {"kind": "x"}, "metadata": {"name": "a", "resourceVersion": "77"}});
        assert_eq!(item(&stored), expected);
        let loaded = Object::decode(stored.key.clone(), 77, stored.bytes.clone(), &[]).expect("an object");
        assert_eq!(item(&loaded), expected);
    }

    #[test]
    fn managed_fields_are_taken_apart_without_being_parsed() {
        let managed = r#"[{"manager":"a\"]","fieldsV1":{"f:metadata":{".":{}}}}]"#;
        let value = json!({"kind": "X", "metadata": {"name": "a", "labels": {"managedFields": "x"}}, "spec": {"metadata": {"managedFields": []}}});
        let key = object(json!({"metadata": {}})).key;
        let encoded =
            Object::encode_managed(key.clone(), &mut value.clone(), managed, &[]).expect("an object").at_revision(7);
        let mut whole = value.clone();
        whole["metadata"]["resourceVersion"] = json!("7");
        assert_eq!(encoded.to_managed_value().expect("JSON"), (whole.clone(), managed));
        let loaded = Object::decode(key, 7, encoded.bytes.clone(), &[]).expect("an object");
        assert_eq!(loaded.to_managed_value().expect("JSON"), (whole.clone(), managed));
        let list: Value = serde_json::from_str(managed).expect("JSON");
        // Wherever they stand.
        for metadata in [
            json!({"managedFields": list}),
            json!({"managedFields": list, "name": "a"}),
            json!({"a": 1, "managedFields": null}),
        ] {
            let mut without = object(json!({"metadata": metadata})).to_value().expect("JSON");
            let encoded = object(without.clone());
            let list = without["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
            assert_eq!(encoded.to_managed_value().expect("JSON"), (without, &*list.expect("a list").to_string()));
        }
        let none = object(json!({"metadata": {}}));
        assert_eq!(none.to_managed_value().expect("JSON"), (none.to_value().expect("JSON"), ""));
    }

    #[test]
    fn the_header_holds_what_selectors_need() {
        let object = object(json!({"metadata": {"labels": {"a": "b"}, "uid": "u"}, "spec": {"nodeName": "n1"}}));
        assert_eq!(object.field("spec.nodeName"), "n1");
        assert_eq!(object.field("metadata.namespace"), "default");
        assert_eq!(object.field("status.phase"), "");
        assert_eq!((object.selected(".spec.nodeName"), object.selected(".spec.none")), ("n1".into(), "".into()));
        assert_eq!(object.header.label("a"), Some("b"));
    }

    #[test]
    fn whatever_is_encoded_reads_back() {
        // As deep as it may be, the object itself included, and then too deep.
        let nested = |levels: usize| {
            (1..levels).fold(json!({}), |value, i| if i % 2 == 0 { json!([value]) } else { json!({ "a": value }) })
        };
        let key = object(json!({"metadata": {}})).key;
        let encode = |levels: usize| {
            let mut value = json!({"metadata": {"labels": {"a": "b"}}, "spec": nested(levels - 1)});
            Object::encode(key.clone(), &mut value, &["metadata.name"]).map(|object| (object, value))
        };
        for levels in [2, 50, NESTING_MAX] {
            let (stored, value) = encode(levels).expect("an object");
            assert_eq!(stored.to_value().expect("JSON"), value, "{levels} levels");
            let event = [br#"{"type":"ADDED","object":{"items":["#, &*stored.bytes, b"]}}"].concat();
            assert!(serde_json::from_slice::<Value>(&event).is_ok(), "{levels} levels");
            assert!(Object::decode(key.clone(), 0, stored.bytes, &["metadata.name"]).is_ok(), "{levels} levels");
        }
        for levels in [NESTING_MAX + 1, 128, 499] {
            assert_eq!(encode(levels).expect_err("too deep").code(), 400, "{levels} levels");
        }
    }

    #[test]
    fn a_stored_object_at_another_revision_is_refused() {
        let stored = object(json!({"metadata": {}})).at_revision(7);
        assert!(Object::decode(stored.key.clone(), 7, stored.bytes.clone(), &[]).is_ok());
        assert!(Object::decode(stored.key.clone(), 8, stored.bytes, &[]).is_err());
    }
}
