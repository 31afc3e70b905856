//! The OpenAPI documents of kinds that tenants define: their schemas as definitions beside the built-in ones.
//!
//! Version 3 has a document of each group and version. Version 2 is one document of all kinds, to which a tenant's own add
//! members, so that what is everyone's is made and kept once.

use super::schemas::Schemas;
use super::{Hashed, REFERENCE, protobuf, v2, v3};
use api::Kind;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const CONVENTIONS: &str = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

/// A version of a kind that a tenant defines, and its `openAPIV3Schema`.
pub struct CustomKind {
    pub kind: Arc<Kind>,
    pub schema: Value,
    /// Fields that selectors may name, as `spec.color`.
    pub selectable: Vec<String>,
}

/// The OpenAPI v3 document of the kinds of one group and version. Builds all schemas: a cost of milliseconds.
pub fn custom_document(kinds: Vec<CustomKind>) -> Hashed {
    let mut schemas = Schemas::version_3();
    let rows = add(&mut schemas, kinds, definition);
    Hashed::of_json(&v3::custom_document(&schemas, &rows))
}

/// What kinds of a tenant add to the OpenAPI v2 document.
#[derive(Clone, Debug)]
pub struct Addition {
    /// Members of the document's definitions and paths in JSON, each with a comma before it.
    pub(super) definitions: String,
    pub(super) paths: String,
    /// A message that says nothing else: a reader of messages takes one after the other for one.
    pub(super) protobuf: Bytes,
}

impl Addition {
    /// Of kinds of any group and version. Builds all schemas: a cost of milliseconds.
    pub fn of(kinds: Vec<CustomKind>) -> Addition {
        let mut schemas = Schemas::published();
        let rows = add(&mut schemas, kinds, second_definition);
        let document = v2::custom_document(&schemas, &rows);
        let members = |map: &Value| {
            let text = map.to_string();
            let members = text.get(1..text.len() - 1).unwrap_or_default();
            if members.is_empty() { String::new() } else { format!(",{members}") }
        };
        Addition {
            definitions: members(&document["definitions"]),
            paths: members(&document["paths"]),
            protobuf: protobuf::encode(&document).into(),
        }
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.definitions.len() + self.paths.len() + self.protobuf.len()
    }
}

/// Adds the definitions of kinds and of their lists.
fn add(
    schemas: &mut Schemas,
    kinds: Vec<CustomKind>,
    definition: fn(&Kind, Value, &[String]) -> Value,
) -> Vec<Arc<Kind>> {
    let add = |CustomKind { kind, schema, selectable }: CustomKind| {
        let name = definition_name(&kind);
        let list = format!("{name}List");
        schemas.add(&kind.group, &kind.version, &kind.kind, name.clone(), definition(&kind, schema, &selectable));
        schemas.add(&kind.group, &kind.version, &kind.list_kind, list, list_definition(&kind, &name, &selectable));
        kind
    };
    kinds.into_iter().map(add).collect()
}

/// `com.example.v1.Thing`
fn definition_name(kind: &Kind) -> String {
    let group: Vec<&str> = kind.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), kind.version, kind.kind)
}

fn group_version_kind(kind: &Kind, name: &str) -> Value {
    json!([{"group": kind.group, "kind": name, "version": kind.version}])
}

fn api_version(start: &str) -> Value {
    let text = format!(
        "{start} defines the versioned schema of this representation of an object. Servers should convert recognized schemas \
         to the latest internal value, and may reject unrecognized values. More info: {CONVENTIONS}#resources"
    );
    json!({"description": text, "type": "string"})
}

fn kind_field() -> Value {
    let text = format!(
        "Kind is a string value representing the REST resource this object represents. Servers may infer this from the \
         endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: {CONVENTIONS}#types-kinds"
    );
    json!({"description": text, "type": "string"})
}

fn reference(name: &str, description: String) -> Value {
    json!({"allOf": [{"$ref": format!("{REFERENCE}{META}.{name}")}], "description": description})
}

fn metadata() -> Value {
    reference("ObjectMeta", format!("Standard object's metadata. More info: {CONVENTIONS}#metadata"))
}

fn definition(kind: &Kind, mut schema: Value, selectable: &[String]) -> Value {
    complete(&mut schema);
    if !schema["properties"].is_object() {
        schema["properties"] = Value::Object(Map::new());
    }
    schema["properties"]["apiVersion"] = api_version("APIVersion");
    schema["properties"]["kind"] = kind_field();
    schema["properties"]["metadata"] = metadata();
    schema["x-kubernetes-group-version-kind"] = group_version_kind(kind, &kind.kind);
    select(&mut schema, selectable);
    schema
}

/// The definition for version 2. A reader of it takes a kind with any field for one with no other.
fn second_definition(kind: &Kind, mut schema: Value, selectable: &[String]) -> Value {
    if !schema.is_object() || schema[ANY_FIELDS] == true {
        return json!({"type": "object", "x-kubernetes-group-version-kind": group_version_kind(kind, &kind.kind)});
    }
    simplify(&mut schema);
    definition(kind, schema, selectable)
}

const ANY_FIELDS: &str = "x-kubernetes-preserve-unknown-fields";

/// Takes out what version 2 has no words for, and what old clients misread: they refuse null where there is a type, and
/// unlisted fields where some are listed.
fn simplify(schema: &mut Value) {
    let is_nullable = |schema: &Value| schema["nullable"] == true;
    let open: Vec<&str> = match schema["properties"].as_object() {
        Some(properties) => {
            properties.iter().filter(|(_, below)| is_nullable(below)).map(|(name, _)| &**name).collect()
        }
        None => Vec::new(),
    };
    let required = schema["required"].as_array().map(|required| {
        let stays = |name: &&Value| !name.as_str().is_some_and(|name| open.contains(&name));
        required.iter().filter(stays).cloned().collect::<Vec<_>>()
    });
    let mut gone = vec!["allOf", "oneOf", "anyOf", "not"];
    if is_nullable(schema) {
        gone.extend(["type", "nullable", "items", "properties"]);
    }
    if schema[ANY_FIELDS] == true {
        gone.extend(["items", "properties"]);
    }
    if schema["type"] == "array" && (!schema["items"].is_object() || gone.contains(&"items")) {
        gone.push("type");
    }
    if required.as_ref().is_some_and(Vec::is_empty) || is_nullable(&schema["additionalProperties"]) {
        gone.push("required");
    }
    let Some(fields) = schema.as_object_mut() else { return };
    if let Some(required) = required {
        fields.insert("required".to_owned(), required.into());
    }
    fields.retain(|name, _| !gone.contains(&name.as_str()));
    below(schema).for_each(simplify);
}

/// The schemas right below one.
fn below(schema: &mut Value) -> impl Iterator<Item = &mut Value> {
    let parts = schema.as_object_mut().into_iter().flatten();
    parts.flat_map(|(name, part)| -> Box<dyn Iterator<Item = &mut Value>> {
        match name.as_str() {
            "items" | "additionalProperties" if part.is_object() => Box::new(std::iter::once(part)),
            "properties" => Box::new(part.as_object_mut().into_iter().flatten().map(|(_, part)| part)),
            _ => Box::new(std::iter::empty()),
        }
    })
}

/// Says what Kubernetes' extensions of a schema mean in words that other readers know.
fn complete(schema: &mut Value) {
    if schema["x-kubernetes-int-or-string"] == true && schema["anyOf"].is_null() {
        schema["anyOf"] = json!([{"type": "integer"}, {"type": "string"}]);
    }
    if schema["x-kubernetes-embedded-resource"] == true {
        let fields = [
            (
                "apiVersion",
                json!({"description": format!("apiVersion defines the versioned schema of this representation of an object. More info: {CONVENTIONS}#resources"), "type": "string"}),
            ),
            (
                "kind",
                json!({"description": format!("kind is a string value representing the type of this object. In CamelCase. More info: {CONVENTIONS}#types-kinds"), "type": "string"}),
            ),
            ("metadata", metadata()),
        ];
        if !schema["properties"].is_object() {
            schema["properties"] = Value::Object(Map::new());
        }
        for (field, value) in fields {
            schema["properties"][field] = value;
        }
        let mut required = schema["required"].as_array().cloned().unwrap_or_default();
        for field in ["kind", "apiVersion"] {
            if !required.iter().any(|known| known == field) {
                required.push(field.into());
            }
        }
        schema["required"] = required.into();
    }
    for field in ["items", "additionalProperties"] {
        if schema[field].is_object() {
            complete(&mut schema[field]);
        }
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.iter_mut().filter(|(name, _)| *name != "metadata").for_each(|(_, below)| complete(below));
    }
}

fn list_definition(kind: &Kind, item: &str, selectable: &[String]) -> Value {
    let mut list = json!({
        "description": format!("{} is a list of {}", kind.list_kind, kind.kind),
        "properties": {
            "apiVersion": api_version("APIVersion"),
            "items": {
                "description": format!("List of {}. More info: {CONVENTIONS}", kind.plural),
                "items": {"$ref": format!("{REFERENCE}{item}")},
                "type": "array",
            },
            "kind": kind_field(),
            "metadata": reference("ListMeta", format!("Standard list metadata. More info: {CONVENTIONS}#types-kinds")),
        },
        "required": ["items"],
        "type": "object",
        "x-kubernetes-group-version-kind": group_version_kind(kind, &kind.list_kind),
    });
    select(&mut list, selectable);
    list
}

/// Names the fields by which objects can be selected.
fn select(schema: &mut Value, selectable: &[String]) {
    if !selectable.is_empty() {
        schema["x-kubernetes-selectable-fields"] = selectable.iter().map(|path| json!({"fieldPath": path})).collect();
    }
}
