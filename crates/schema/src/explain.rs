//! Says in Go's words what is wrong with a body, in the order of its text: the first value of a wrong type, fields that
//! the schema does not know, fields that are given twice.

use crate::definitions::{Definition, Definitions, Schema};
use crate::json::Tree;
use crate::messages::{Messages, push_field, push_index};
use crate::scalars::{self, Canonical};
use std::collections::HashSet;

/// What is to be told about a body.
pub(crate) struct Explained {
    pub mismatch: Option<String>,
    /// Unknown and duplicate fields; not all of them if there is a mismatch.
    pub unusual: Vec<String>,
}

/// Walks a body along its definition, until the first mismatch.
pub(crate) fn explain(defs: &Definitions, def: &Definition, tree: &Tree) -> Explained {
    let mut walk =
        Walk { defs, path: String::new(), go_path: String::new(), mismatch: None, unusual: Messages::default() };
    walk.object(def, tree, Place::Top);
    Explained { mismatch: walk.mismatch, unusual: walk.unusual.into_list() }
}

struct Walk<'a> {
    defs: &'a Definitions,
    /// `spec.containers[0].image`
    path: String,
    /// `spec.containers.image`
    go_path: String,
    mismatch: Option<String>,
    unusual: Messages,
}

/// Where a value stands, as an error names it.
#[derive(Clone, Copy)]
enum Place<'a> {
    Top,
    /// The innermost field of a struct: the struct, and how much of `go_path` leads to the field.
    Field {
        owner: &'a Definition,
        go_length: usize,
    },
}

impl<'a> Walk<'a> {
    fn unusual(&mut self, what: &str) {
        let path = &self.path;
        self.unusual.tell(|| format!("{what} field {path:?}"));
    }

    /// Notes that a value is not of the type that is expected at its place. `found` is what Go calls it.
    fn mismatch(&mut self, found: &str, place: Place, expected: &str) {
        let place = match place {
            Place::Top => "Go value".to_owned(),
            Place::Field { owner, go_length } => {
                let owner = owner.name().rsplit('.').next().unwrap_or_default();
                format!("Go struct field {owner}.{}", &self.go_path[..go_length])
            }
        };
        self.fail(format!("json: cannot unmarshal {found} into {place} of type {expected}"));
    }

    fn fail(&mut self, message: String) {
        self.mismatch.get_or_insert(message);
    }

    fn object(&mut self, def: &'a Definition, tree: &Tree, place: Place) {
        let Tree::Object(fields) = tree else {
            return self.mismatch(tree.go_kind(), place, &go_name(def));
        };
        let mut seen = HashSet::new();
        let (length, go_length) = (self.path.len(), self.go_path.len());
        for (name, value) in fields {
            if self.mismatch.is_some() {
                return;
            }
            push_field(&mut self.path, name);
            push_field(&mut self.go_path, name);
            match def.field(name) {
                Some(field) => {
                    if !seen.insert(name) {
                        self.unusual("duplicate");
                    }
                    let place = Place::Field { owner: def, go_length: self.go_path.len() };
                    self.value(&field.schema, value, place);
                }
                None => self.unusual("unknown"),
            }
            self.path.truncate(length);
            self.go_path.truncate(go_length);
        }
    }

    fn value(&mut self, schema: &'a Schema, tree: &Tree, place: Place) {
        match (schema, tree) {
            (_, Tree::Null) | (Schema::Any, _) => {}
            (Schema::Bool, Tree::Bool(_)) | (Schema::String, Tree::String(_)) | (Schema::Number, Tree::Number(_)) => {}
            (Schema::Int32, Tree::Number(text)) if text.parse::<i32>().is_ok() => {}
            (Schema::Int64, Tree::Number(text)) if text.parse::<i64>().is_ok() => {}
            (Schema::IntOrString, Tree::String(_)) | (Schema::OrBool(_), Tree::Bool(_)) => {}
            (Schema::IntOrString, tree) => self.value(&Schema::Int32, tree, place),
            (Schema::Bytes, Tree::String(text)) => self.scalar(scalars::bytes, text),
            (Schema::Time, Tree::String(text)) => self.scalar(scalars::time, text),
            (Schema::MicroTime, Tree::String(text)) => self.scalar(scalars::micro_time, text),
            (Schema::Quantity, Tree::String(text) | Tree::Number(text)) => self.scalar(scalars::quantity, text),
            (Schema::Quantity, _) => self.scalar(scalars::quantity, ""),
            (Schema::Time | Schema::MicroTime, _) => self.mismatch(tree.go_kind(), Place::Top, "string"),
            (Schema::Object(id), tree) => self.object(self.defs.at(*id), tree, place),
            (Schema::List(item), Tree::Array(items)) => self.items(item, items, place),
            (Schema::Map(item), Tree::Object(fields)) => self.entries(item, fields, place),
            (Schema::OrList(item, _), Tree::Array(items)) => self.items(item, items, place),
            (Schema::OrList(_, other) | Schema::OrBool(other), tree) => self.value(other, tree, place),
            (Schema::Int32 | Schema::Int64, Tree::Number(text)) => {
                self.mismatch(&format!("number {text}"), place, &go_type(self.defs, schema));
            }
            _ => self.mismatch(tree.go_kind(), place, &go_type(self.defs, schema)),
        }
    }

    fn scalar(&mut self, form: fn(&str) -> Canonical, text: &str) {
        if let Err(message) = form(text) {
            self.fail(message);
        }
    }

    fn items(&mut self, item: &'a Schema, items: &[Tree], place: Place) {
        let length = self.path.len();
        for (i, tree) in items.iter().enumerate() {
            if self.mismatch.is_some() {
                return;
            }
            push_index(&mut self.path, i);
            self.value(item, tree, place);
            self.path.truncate(length);
        }
    }

    fn entries(&mut self, item: &'a Schema, fields: &[(std::borrow::Cow<str>, Tree)], place: Place) {
        let mut seen = HashSet::new();
        let (length, go_length) = (self.path.len(), self.go_path.len());
        for (name, tree) in fields {
            if self.mismatch.is_some() {
                return;
            }
            push_field(&mut self.path, name);
            push_field(&mut self.go_path, name);
            if !seen.insert(name) {
                self.unusual("duplicate");
            }
            self.value(item, tree, place);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::MAX_MESSAGES;
    use crate::{builtin, json};

    fn explained(kind: &str, text: &str) -> Explained {
        let def = builtin().of_kind("", "v1", kind).expect(kind);
        explain(builtin(), def, &json::parse(text.as_bytes()).expect("JSON"))
    }

    #[test]
    fn unusual_fields_are_told_once_and_few_are() {
        let found = explained("ConfigMap", r#"{"odd":1,"data":{"a":"1","a":"2","a":"3"},"odd":2}"#);
        assert_eq!(found.unusual, ["unknown field \"odd\"", "duplicate field \"data.a\""]);
        let unknown: Vec<String> = (0..2 * MAX_MESSAGES).map(|i| format!(r#""k{i}":1"#)).collect();
        assert_eq!(explained("ConfigMap", &format!("{{{}}}", unknown.join(","))).unusual.len(), MAX_MESSAGES);
    }

    #[test]
    fn a_mismatch_behind_many_unusual_fields_is_told() {
        let unknown = r#""odd":1,"#.repeat(200_000);
        let found = explained("Pod", &format!(r#"{{{unknown}"spec":{{"containers":[{{"image":5}}]}}}}"#));
        let expected =
            "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string";
        assert_eq!(found.mismatch.as_deref(), Some(expected));
    }

    #[test]
    fn messages_do_not_grow_with_the_names_of_fields() {
        let name = "n".repeat(1 << 20);
        let found = explained("ConfigMap", &format!(r#"{{"{name}":1,"data":{{"{name}":"1","{name}":"2"}}}}"#));
        assert_eq!(found.unusual.len(), 2);
        assert!(found.unusual.iter().all(|message| message.len() < 10_000));
    }
}
