//! Says in Go's words what is wrong with a body, in the order of its text: the first value of a wrong type, fields that
//! the schema does not know, fields that are given twice.

use crate::decode::push_field;
use crate::definitions::{Definition, Definitions, Schema};
use crate::json::Tree;
use crate::scalars::{self, Canonical};
use std::collections::HashSet;

/// As many messages as upstream tells at most.
const MAX_MESSAGES: usize = 100;

/// What is to be told about a body.
pub(crate) struct Explained {
    pub mismatch: Option<String>,
    /// Unknown and duplicate fields.
    pub unusual: Vec<String>,
}

/// Walks a body along its definition.
pub(crate) fn explain(defs: &Definitions, def: &Definition, tree: &Tree) -> Explained {
    let mut walk = Walk {
        defs,
        path: String::new(),
        go_path: String::new(),
        found: Explained { mismatch: None, unusual: Vec::new() },
    };
    walk.object(def, tree, &|| format!("Go value of type {}", go_name(def)));
    walk.found
}

struct Walk<'a> {
    defs: &'a Definitions,
    /// `spec.containers[0].image`
    path: String,
    /// `spec.containers.image`
    go_path: String,
    found: Explained,
}

/// Says where a value was expected, for an error.
type Place<'a> = &'a dyn Fn() -> String;

impl Walk<'_> {
    fn unusual(&mut self, what: &str) {
        let message = format!("{what} field {:?}", self.path);
        if self.found.unusual.len() < MAX_MESSAGES && !self.found.unusual.contains(&message) {
            self.found.unusual.push(message);
        }
    }

    fn mismatch(&mut self, message: impl FnOnce() -> String) {
        self.found.mismatch.get_or_insert_with(message);
    }

    fn object(&mut self, def: &Definition, tree: &Tree, place: Place) {
        let Tree::Object(fields) = tree else {
            return self.mismatch(|| format!("json: cannot unmarshal {} into {}", tree.go_kind(), place()));
        };
        let mut seen = HashSet::new();
        let (length, go_length) = (self.path.len(), self.go_path.len());
        for (name, value) in fields {
            push_field(&mut self.path, name);
            push_field(&mut self.go_path, name);
            match def.field(name) {
                Some(field) => {
                    if !seen.insert(name) {
                        self.unusual("duplicate");
                    }
                    let owner = def.name().rsplit('.').next().unwrap_or_default();
                    let go_path = self.go_path.clone();
                    self.value(&field.schema, value, &format!("Go struct field {owner}.{go_path}"));
                }
                None => self.unusual("unknown"),
            }
            self.path.truncate(length);
            self.go_path.truncate(go_length);
        }
    }

    /// `field` is how Go names the innermost field of a struct.
    fn value(&mut self, schema: &Schema, tree: &Tree, field: &str) {
        let wrong = |expected: &str| {
            let kind = tree.go_kind();
            match (tree, expected) {
                (Tree::Number(text), "int32" | "int64") => {
                    format!("json: cannot unmarshal number {text} into {field} of type {expected}")
                }
                _ => format!("json: cannot unmarshal {kind} into {field} of type {expected}"),
            }
        };
        match (schema, tree) {
            (_, Tree::Null) | (Schema::Any, _) => {}
            (Schema::Bool, Tree::Bool(_)) | (Schema::String, Tree::String(_)) | (Schema::Number, Tree::Number(_)) => {}
            (Schema::Int32, Tree::Number(text)) if text.parse::<i32>().is_ok() => {}
            (Schema::Int64, Tree::Number(text)) if text.parse::<i64>().is_ok() => {}
            (Schema::IntOrString, Tree::String(_)) | (Schema::OrBool(_), Tree::Bool(_)) => {}
            (Schema::IntOrString, tree) => self.value(&Schema::Int32, tree, field),
            (Schema::Bytes, Tree::String(text)) => self.scalar(scalars::bytes, text),
            (Schema::Time, Tree::String(text)) => self.scalar(scalars::time, text),
            (Schema::MicroTime, Tree::String(text)) => self.scalar(scalars::micro_time, text),
            (Schema::Quantity, Tree::String(text) | Tree::Number(text)) => self.scalar(scalars::quantity, text),
            (Schema::Quantity, _) => self.scalar(scalars::quantity, ""),
            (Schema::Time | Schema::MicroTime, _) => {
                self.mismatch(|| format!("json: cannot unmarshal {} into Go value of type string", tree.go_kind()));
            }
            (Schema::Object(id), tree) => {
                let def = self.defs.at(*id);
                self.object(def, tree, &|| format!("{field} of type {}", go_name(def)));
            }
            (Schema::List(item), Tree::Array(items)) => self.items(item, items, field),
            (Schema::Map(item), Tree::Object(fields)) => self.entries(item, fields, field),
            (Schema::OrList(item, _), Tree::Array(items)) => self.items(item, items, field),
            (Schema::OrList(_, other) | Schema::OrBool(other), tree) => self.value(other, tree, field),
            _ => {
                let expected = go_type(self.defs, schema);
                self.mismatch(|| wrong(&expected));
            }
        }
    }

    fn scalar(&mut self, form: fn(&str) -> Canonical, text: &str) {
        if let Err(message) = form(text) {
            self.mismatch(|| message);
        }
    }

    fn items(&mut self, item: &Schema, items: &[Tree], field: &str) {
        let length = self.path.len();
        for (i, tree) in items.iter().enumerate() {
            self.path.push_str(&format!("[{i}]"));
            self.value(item, tree, field);
            self.path.truncate(length);
        }
    }

    fn entries(&mut self, item: &Schema, fields: &[(std::borrow::Cow<str>, Tree)], field: &str) {
        let mut seen = HashSet::new();
        let (length, go_length) = (self.path.len(), self.go_path.len());
        for (name, tree) in fields {
            push_field(&mut self.path, name);
            push_field(&mut self.go_path, name);
            if !seen.insert(name) {
                self.unusual("duplicate");
            }
            self.value(item, tree, field);
            self.path.truncate(length);
            self.go_path.truncate(go_length);
        }
    }
}

/// `v1.PodSpec`
fn go_name(def: &Definition) -> String {
    let mut parts = def.name().rsplit('.');
    let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{package}.{name}")
}

fn go_type(defs: &Definitions, schema: &Schema) -> String {
    match schema {
        Schema::Any => "interface {}".to_owned(),
        Schema::Bool => "bool".to_owned(),
        Schema::Int32 | Schema::IntOrString => "int32".to_owned(),
        Schema::Int64 => "int64".to_owned(),
        Schema::Number => "float64".to_owned(),
        Schema::String => "string".to_owned(),
        Schema::Bytes => "[]uint8".to_owned(),
        Schema::Time => "v1.Time".to_owned(),
        Schema::MicroTime => "v1.MicroTime".to_owned(),
        Schema::Quantity => "resource.Quantity".to_owned(),
        Schema::Object(id) => go_name(defs.at(*id)),
        Schema::List(item) => format!("[]{}", go_type(defs, item)),
        Schema::Map(item) => format!("map[string]{}", go_type(defs, item)),
        Schema::OrBool(other) | Schema::OrList(_, other) => go_type(defs, other),
    }
}
