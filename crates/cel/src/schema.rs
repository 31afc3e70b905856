//! Structural schemas as declared types: what the checker knows of an object, how its JSON is read, and how large each
//! part of it may be.

use crate::types::{Members, ObjectRef, Type};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a request may weigh; the bound of what no schema bounds.
pub(crate) const REQUEST_BYTES_MAX: u64 = 3 << 20;

/// Whether a field can only be named with underscores around, or after a dot.
fn is_reserved(name: &str) -> bool {
    matches!(name, "true" | "false" | "null" | "in") || crate::parse::RESERVED.contains(&name)
}

/// A declared type.
#[derive(Debug)]
pub struct Decl {
    pub(crate) shape: Shape,
    /// The largest length of a text, list or map; 0 for what has none.
    pub(crate) max_elements: u64,
    /// The fewest bytes that a value takes in a request.
    pub(crate) min_size: u64,
    pub(crate) nullable: bool,
}

/// How JSON is read.
#[derive(Debug)]
pub(crate) enum Shape {
    IntOrString,
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Date,
    Time,
    Duration,
    List(Arc<Decl>, ListKind),
    Map(Arc<Decl>),
    Object { name: Arc<str>, fields: BTreeMap<String, Property> },
}

/// Which lists are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    Atomic,
    Set,
    Map(Vec<String>),
}

#[derive(Debug)]
pub(crate) struct Property {
    /// The name in JSON.
    pub raw: String,
    pub decl: Arc<Decl>,
}

impl Decl {
    /// The declared type of a structural schema; `None` for what expressions cannot see. `root` objects and embedded
    /// ones have type and object metadata.
    pub fn of(schema: &Json, root: bool) -> Option<Arc<Decl>> {
        declare(schema, root, "selfType").map(Arc::new)
    }

    pub(crate) fn ty(self: &Arc<Decl>) -> Type {
        match &self.shape {
            Shape::IntOrString => Type::Dyn,
            Shape::Bool => Type::Bool,
            Shape::Int => Type::Int,
            Shape::Double => Type::Double,
            Shape::String => Type::String,
            Shape::Bytes => Type::Bytes,
            Shape::Date | Shape::Time => Type::Timestamp,
            Shape::Duration => Type::Duration,
            Shape::List(of, _) => Type::list(of.ty()),
            Shape::Map(of) => Type::map(Type::String, of.ty()),
            Shape::Object { name, .. } => {
                Type::Object(ObjectRef { name: name.clone(), members: Members::Declared(self.clone()) })
            }
        }
    }

    /// A field by the name that an expression uses.
    pub(crate) fn field(&self, name: &str) -> Option<&Property> {
        let Shape::Object { fields, .. } = &self.shape else { return None };
        fields.get(name).or_else(|| is_reserved(name).then(|| fields.get(&format!("__{name}__")))?)
    }

    /// What is at the end of a path from here: fields, `@items`, `@values`.
    pub(crate) fn follow(&self, path: &[Arc<str>]) -> Option<&Decl> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match (&**first, &self.shape) {
            ("@items" | "@values", Shape::List(of, _) | Shape::Map(of)) => of.follow(rest),
            (name, Shape::Object { .. }) => self.field(name)?.decl.follow(rest),
            _ => None,
        }
    }
}

/// The name that expressions use for a field; `None` if they cannot name it.
pub(crate) fn escape(name: &str) -> Option<String> {
    if is_reserved(name) {
        return Some(format!("__{name}__"));
    }
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c)) {
        return None;
    }
    let escaped = name.replace("__", "__underscores__").replace('.', "__dot__");
    Some(escaped.replace('-', "__dash__").replace('/', "__slash__"))
}

fn simple(shape: Shape, max_elements: u64, min_size: u64) -> Decl {
    Decl { shape, max_elements, min_size, nullable: false }
}

fn declare(schema: &Json, root: bool, name: &str) -> Option<Decl> {
    let mut decl = declare_type(schema, root, name)?;
    decl.nullable = schema["nullable"].as_bool().unwrap_or(false);
    Some(decl)
}

fn declare_type(schema: &Json, root: bool, name: &str) -> Option<Decl> {
    if schema["x-kubernetes-int-or-string"].as_bool() == Some(true) {
        return Some(simple(Shape::IntOrString, REQUEST_BYTES_MAX - 2, 1));
    }
    let declared = |field: &str| schema[field].as_i64().map(|n| u64::try_from(n).unwrap_or(0));
    Some(match schema["type"].as_str()? {
        "boolean" => simple(Shape::Bool, 0, 4),
        "integer" => simple(Shape::Int, 0, 1),
        "number" => simple(Shape::Double, 0, 1),
        "string" => declare_string(schema, declared("maxLength")),
        "array" => {
            let items = &schema["items"];
            let embedded = items["x-kubernetes-embedded-resource"].as_bool() == Some(true);
            let of = declare(items, embedded, &format!("{name}.@idx"))?;
            let most = declared("maxItems").unwrap_or((REQUEST_BYTES_MAX - 2) / (of.min_size + 1));
            simple(Shape::List(Arc::new(of), list_kind(schema)), most, 2)
        }
        "object" if schema["additionalProperties"].is_object() => {
            let of = &schema["additionalProperties"];
            let embedded = of["x-kubernetes-embedded-resource"].as_bool() == Some(true);
            let of = declare(of, embedded, &format!("{name}.@elem"))?;
            let most = declared("maxProperties").unwrap_or((REQUEST_BYTES_MAX - 2) / (of.min_size + 6));
            simple(Shape::Map(Arc::new(of)), most, 2)
        }
        "object" => declare_object(schema, root, name),
        _ => return None,
    })
}

fn list_kind(schema: &Json) -> ListKind {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array();
            ListKind::Map(keys.into_iter().flatten().filter_map(|key| key.as_str().map(str::to_owned)).collect())
        }
        _ => ListKind::Atomic,
    }
}

fn declare_string(schema: &Json, max_length: Option<u64>) -> Decl {
    let unbounded = REQUEST_BYTES_MAX - 2;
    match schema["format"].as_str() {
        Some("byte") => simple(Shape::Bytes, max_length.unwrap_or(unbounded), 2),
        Some("duration") => simple(Shape::Duration, 32, 4),
        Some("date") => simple(Shape::Date, 12, 12),
        Some("date-time") => simple(Shape::Time, 32, 21),
        _ => {
            let of_enum = || {
                let values = schema["enum"].as_array()?;
                values.iter().map(|value| value.as_str().map_or(0, str::len) as u64).max()
            };
            // A character may take four bytes.
            let most = max_length.map(|n| n.saturating_mul(4)).or_else(of_enum).unwrap_or(unbounded);
            simple(Shape::String, most, 2)
        }
    }
}

fn declare_object(schema: &Json, root: bool, name: &str) -> Decl {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let (mut fields, mut min_size) = (BTreeMap::new(), 2u64);
    for (raw, property) in schema["properties"].as_object().into_iter().flatten() {
        if root && matches!(raw.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let Some(escaped) = escape(raw) else { continue };
        let embedded = property["x-kubernetes-embedded-resource"].as_bool() == Some(true);
        let Some(decl) = declare(property, embedded, &format!("{name}.{escaped}")) else { continue };
        if required.contains(&raw.as_str()) && property["default"].is_null() {
            min_size = min_size.saturating_add(raw.len() as u64 + decl.min_size + 4);
        }
        fields.insert(escaped, Property { raw: raw.clone(), decl: Arc::new(decl) });
    }
    if root {
        let text = || Arc::new(simple(Shape::String, REQUEST_BYTES_MAX - 2, 2));
        let field = |raw: &str| (raw.to_owned(), Property { raw: raw.to_owned(), decl: text() });
        let metadata = BTreeMap::from([field("name"), field("generateName")]);
        let metadata = Shape::Object { name: format!("{name}.metadata").into(), fields: metadata };
        let metadata = Property { raw: "metadata".into(), decl: Arc::new(simple(metadata, 0, 2)) };
        fields.extend([field("apiVersion"), field("kind"), ("metadata".to_owned(), metadata)]);
    }
    simple(Shape::Object { name: name.into(), fields }, 0, min_size)
}
