//! The order in which Go prints the fields of what the server itself makes: statuses, tables, discovery. It does not matter
//! to programs, but people compare what they see. Stored objects come in the order of their bytes.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

/// The fields of a type in Go's order, each with the type of its value where that is ordered too.
struct Shape(&'static [(&'static str, Option<&'static Shape>)]);

static STATUS: Shape = Shape(&[
    ("kind", None),
    ("apiVersion", None),
    ("metadata", None),
    ("status", None),
    ("message", None),
    ("reason", None),
    ("details", Some(&DETAILS)),
    ("code", None),
]);
static DETAILS: Shape = Shape(&[
    ("name", None),
    ("group", None),
    ("kind", None),
    ("uid", None),
    ("causes", Some(&CAUSE)),
    ("retryAfterSeconds", None),
]);
static CAUSE: Shape = Shape(&[("reason", None), ("message", None), ("field", None)]);

static API_VERSIONS: Shape =
    Shape(&[("kind", None), ("apiVersion", None), ("versions", None), ("serverAddressByClientCIDRs", None)]);
static GROUP_LIST: Shape = Shape(&[("kind", None), ("apiVersion", None), ("groups", Some(&GROUP))]);
static GROUP: Shape = Shape(&[
    ("kind", None),
    ("apiVersion", None),
    ("name", None),
    ("versions", Some(&GROUP_VERSION)),
    ("preferredVersion", Some(&GROUP_VERSION)),
]);
static GROUP_VERSION: Shape = Shape(&[("groupVersion", None), ("version", None)]);
static RESOURCE_LIST: Shape =
    Shape(&[("kind", None), ("apiVersion", None), ("groupVersion", None), ("resources", Some(&RESOURCE))]);
static RESOURCE: Shape = Shape(&[
    ("name", None),
    ("singularName", None),
    ("namespaced", None),
    ("group", None),
    ("version", None),
    ("kind", None),
    ("verbs", None),
    ("shortNames", None),
    ("categories", None),
    ("storageVersionHash", None),
]);

static TABLE: Shape = Shape(&[
    ("kind", None),
    ("apiVersion", None),
    ("metadata", None),
    ("columnDefinitions", Some(&COLUMN)),
    ("rows", Some(&ROW)),
]);
static COLUMN: Shape =
    Shape(&[("name", None), ("type", None), ("format", None), ("description", None), ("priority", None)]);
static ROW: Shape = Shape(&[("cells", None), ("conditions", None), ("object", None)]);

static OTHER: Shape = Shape(&[("kind", None), ("apiVersion", None), ("metadata", None)]);

/// A value that prints its fields in Go's order.
pub struct Ordered<'a> {
    value: &'a Value,
    shape: &'static Shape,
}

impl<'a> Ordered<'a> {
    pub fn new(value: &'a Value) -> Ordered<'a> {
        let shape = match value["kind"].as_str().unwrap_or_default() {
            "Status" => &STATUS,
            "Table" => &TABLE,
            "APIVersions" => &API_VERSIONS,
            "APIGroupList" => &GROUP_LIST,
            "APIGroup" => &GROUP,
            "APIResourceList" => &RESOURCE_LIST,
            _ => &OTHER,
        };
        Ordered { value, shape }
    }
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(fields) => {
                let known = self.shape.0;
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, shape) in known {
                    match (fields.get(*name), shape) {
                        (Some(value), Some(shape)) => map.serialize_entry(name, &Ordered { value, shape })?,
                        (Some(value), None) => map.serialize_entry(name, value)?,
                        (None, _) => {}
                    }
                }
                let others = fields.iter().filter(|(name, _)| !known.iter().any(|(known, _)| known == name));
                for (name, value) in others {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for value in items {
                    list.serialize_element(&Ordered { value, shape: self.shape })?;
                }
                list.end()
            }
            scalar => scalar.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_is_printed_as_go_prints_it() {
        let status = json!({
            "apiVersion": "v1", "code": 404, "kind": "Status", "metadata": {}, "zzz": 1, "status": "Failure",
            "details": {"kind": "configmaps", "name": "a", "causes": [{"field": "f", "message": "m", "reason": "r"}]},
        });
        let printed = serde_json::to_string(&Ordered::new(&status)).expect("JSON");
        let expected = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","details":{"name":"a","kind":"configmaps","causes":[{"reason":"r","message":"m","field":"f"}]},"code":404,"zzz":1}"#;
        assert_eq!(printed, expected);
    }
}
