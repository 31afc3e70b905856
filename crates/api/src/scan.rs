//! Reads the header of an encoded object without building the rest: a store reads millions of them when it starts.

use crate::Header;
use crate::header::Parts;
use crate::object::text;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The header of the object in `json` and its `metadata.resourceVersion`. The same as by way of a [`Value`].
pub(crate) fn scan(json: &[u8], fields: &'static [&'static str]) -> serde_json::Result<(Header, String)> {
    if fields.iter().any(|path| path.starts_with("metadata.")) {
        let value: Value = serde_json::from_slice(json)?;
        return Ok((Header::of(&value, fields), text(&value["metadata"]["resourceVersion"])));
    }
    let mut metadata = Metadata::default();
    let mut found = vec![String::new(); fields.len()];
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let paths = fields.iter().enumerate().map(|(index, &path)| (index, path)).collect();
    Scan { paths, found: &mut found, metadata: Some(&mut metadata) }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    let labels = metadata.labels.unwrap_or_default();
    let parts = Parts {
        uid: &metadata.uid.unwrap_or_default(),
        fields: &found,
        labels: &labels.into_iter().map(|(key, value)| (key, text(&value))).collect::<Vec<_>>(),
        owners: &metadata.owner_references,
        deleting: metadata.deletion_timestamp.is_some(),
    };
    let header = Header::pack(&parts, fields);
    Ok((header, metadata.resource_version.unwrap_or_default()))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    uid: Option<String>,
    labels: Option<BTreeMap<String, Value>>,
    deletion_timestamp: Option<IgnoredAny>,
    resource_version: Option<String>,
    owner_references: Value,
}

/// The value of one field of an object, as selectors compare it; empty when the object lacks it.
pub(crate) fn field(json: &[u8], path: &str) -> String {
    let mut found = [String::new()];
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let scan = Scan { paths: vec![(0, path)], found: &mut found, metadata: None };
    // What is stored is JSON; of what is not, no field is known.
    let scanned = scan.deserialize(&mut deserializer);
    let [value] = found;
    if scanned.is_ok() { value } else { String::new() }
}

/// Finds values by path in one JSON value; skips everything else.
struct Scan<'a> {
    /// The index of a field, and the path that is left to it from here.
    paths: Vec<(usize, &'a str)>,
    found: &'a mut [String],
    /// Read at the top only.
    metadata: Option<&'a mut Metadata>,
}

impl<'de> DeserializeSeed<'de> for Scan<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, 'de> Visitor<'de> for Scan<'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "metadata"
                && let Some(metadata) = self.metadata.take()
            {
                *metadata = map.next_value()?;
                continue;
            }
            let below = |&(index, path): &(usize, &'a str)| {
                let rest = path.strip_prefix(&*key)?;
                if rest.is_empty() { Some((index, rest)) } else { Some((index, rest.strip_prefix('.')?)) }
            };
            let paths: Vec<_> = self.paths.iter().filter_map(below).collect();
            if paths.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else if paths.iter().any(|(_, rest)| rest.is_empty()) {
                let value: Value = map.next_value()?;
                for (index, rest) in paths {
                    let names = rest.split('.').filter(|name| !name.is_empty());
                    self.found[index] = text(names.fold(&value, |value, name| &value[name]));
                }
            } else {
                map.next_value_seed(Scan { paths, found: self.found, metadata: None })?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_header_is_scanned_as_it_is_parsed() {
        let fields = &["spec.nodeName", "spec.a.b", "spec.a", "status.phase", "type", "spec.nodeName.x", "spec.nope"];
        let metadata = json!({
            "labels": {"a": "b", "n": 1}, "uid": "u", "deletionTimestamp": "now", "resourceVersion": "7",
            "annotations": {"metadata": {"uid": "not this"}},
            "ownerReferences": [{"kind": "A", "uid": "x", "controller": true}, {"kind": "B", "uid": 1}, 7],
        });
        let spec = json!({"nodeName": "n1", "a": {"b": 2.5, "c": [1]}, "metadata": {"uid": "nor this"}});
        for value in [
            json!({"metadata": metadata, "spec": spec, "status": {"phase": "Running"}, "type": true}),
            json!({"type": null, "status": "text", "spec": [spec], "metadata": {"labels": null, "uid": null}}),
            json!({"metadata": {"deletionTimestamp": null, "labels": {}}, "spec": {"a": 1, "nodeName": ""}, "status": 7}),
            json!({}),
        ] {
            let (header, version) = scan(value.to_string().as_bytes(), fields).expect("JSON");
            assert_eq!(header, Header::of(&value, fields), "{value}");
            assert_eq!(version, text(&value["metadata"]["resourceVersion"]), "{value}");
            let (by_value, _) = scan(value.to_string().as_bytes(), &["metadata.uid", "type"]).expect("JSON");
            assert_eq!(by_value, Header::of(&value, &["metadata.uid", "type"]), "{value}");
        }
        for bad in ["{} {}", "{\"metadata\":3}", "{\"a\":}", "{", ""] {
            assert!(scan(bad.as_bytes(), fields).is_err(), "{bad}");
        }
    }
}
