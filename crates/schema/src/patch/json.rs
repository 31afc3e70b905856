//! JSON patch (RFC 6902), with the ways of the library that upstream uses: a negative index counts from the end, a
//! missing key can be copied and replaced as `null`, and what stands before the first `/` of a path does not count.
//!
//! Invariant: what a patch makes nests no deeper than what a body may, after every operation.

use crate::FieldValidation;
use crate::json::{self, MAX_DEPTH, Tree, measure};
use crate::messages::{Messages, shown};
use api::{Error, Reason};
use serde_json::Value;
use std::collections::HashSet;

/// As many operations as one patch may have.
const MAX_OPERATIONS: usize = 10_000;

/// How many bytes the copy operations of one patch may add.
const MAX_COPIED: usize = 3 << 20;

/// How many bytes the operations of one patch may move.
const MAX_MOVED: usize = 1 << 30;

/// The operations of a JSON patch.
#[derive(Debug)]
pub struct Operations(Vec<Value>);

impl Operations {
    /// Whether an operation names this place, one around it, or one within it.
    pub fn reach(&self, place: &[&str]) -> bool {
        let reaches = |path: &str| {
            let steps = path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
            steps.zip(place).all(|(step, known)| step == *known)
        };
        let paths = self.0.iter().flat_map(|operation| [&operation["path"], &operation["from"]]);
        paths.filter_map(Value::as_str).any(reaches)
    }
}

/// Reads a JSON patch, and the messages about unknown and duplicate fields of its operations, unless they are ignored:
/// `json patch unknown field "[0].extra"`. 400 for what is no patch.
pub fn decode_json(patch: &[u8], mode: FieldValidation) -> api::Result<(Operations, Vec<String>)> {
    let tree = json::parse(patch).map_err(undecodable)?;
    check_types(&tree)?;
    let told = if mode == FieldValidation::Ignore { Vec::new() } else { messages(&tree) };
    match tree.to_value().map_err(undecodable)? {
        (Value::Array(operations), _) => Ok((Operations(operations), told)),
        _ => Err(undecodable("json: the patch is no array".to_owned())),
    }
}

/// Applies a JSON patch: all of it, or nothing. 413 for one of too many operations, 422 for one that cannot be applied.
pub fn json(target: Value, Operations(operations): &Operations) -> api::Result<Value> {
    if operations.len() > MAX_OPERATIONS {
        let why =
            format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", operations.len());
        return Err(Error::new(Reason::RequestEntityTooLarge, format!("Request entity too large: {why}")));
    }
    let mut patched = Patched { document: target, copied: 0, moved: 0 };
    for operation in operations {
        patched.apply(operation).map_err(inapplicable)?;
    }
    Ok(patched.document)
}

fn messages(patch: &Tree) -> Vec<String> {
    let mut messages = Messages::default();
    let Tree::Array(operations) = patch else { return Vec::new() };
    for (i, operation) in operations.iter().enumerate() {
        let Tree::Object(fields) = operation else { continue };
        let mut seen = HashSet::new();
        for (name, _) in fields {
            if messages.is_full() {
                return messages.into_list();
            }
            if !matches!(&**name, "op" | "path" | "from" | "value") {
                messages.tell(|| format!("json patch unknown field \"[{i}].{}\"", shown(name)));
            } else if !seen.insert(name) {
                messages.tell(|| format!("json patch duplicate field \"[{i}].{name}\""));
            }
        }
    }
    messages.into_list()
}

/// Checks that a patch is a list of operations, and the types of their fields.
fn check_types(patch: &Tree) -> api::Result<()> {
    let wrong =
        |tree: &Tree, of: &str| Err(undecodable(format!("json: cannot unmarshal {} into Go {of}", tree.go_kind())));
    let Tree::Array(operations) = patch else {
        return wrong(patch, "value of type []handlers.jsonPatchOp");
    };
    for operation in operations {
        let Tree::Object(fields) = operation else {
            return wrong(operation, "value of type handlers.jsonPatchOp");
        };
        for (name, value) in fields {
            if matches!(&**name, "op" | "path" | "from") && !matches!(value, Tree::String(_) | Tree::Null) {
                return wrong(value, &format!("struct field jsonPatchOp.{name} of type string"));
            }
        }
    }
    Ok(())
}

fn undecodable(why: String) -> Error {
    Error::bad_request(format!("error decoding patch: {why}"))
}

/// Why an operation cannot be applied is for our log, as upstream.
fn inapplicable(why: String) -> Error {
    Error::new(Reason::Invalid, "the server rejected our request due to an error in our request").with_source(why)
}

struct Patched {
    document: Value,
    /// Bytes that were copied.
    copied: usize,
    /// Bytes that were moved, also to make room.
    moved: usize,
}

impl Patched {
    fn apply(&mut self, operation: &Value) -> Result<(), String> {
        let field = |name: &str| operation[name].as_str().ok_or_else(|| format!("an operation without {name:?}"));
        let path = field("path")?;
        match field("op")? {
            "add" => self.add(path, operation["value"].clone()),
            "remove" => self.remove(path).map(drop),
            "replace" => {
                let value = operation["value"].clone();
                fits(path, measure(&value).0)?;
                self.at(path)?.replace(value)
            }
            "move" => {
                let moved = self.remove(field("from")?)?;
                self.add(path, moved)
            }
            "copy" => {
                let copied = self.at(field("from")?)?.get()?.cloned().unwrap_or_default();
                self.copied += measure(&copied).1;
                if self.copied > MAX_COPIED {
                    return Err(format!("copies add more than {MAX_COPIED} bytes"));
                }
                self.add(path, copied)
            }
            "test" => {
                let found = self.at(path)?.get()?.unwrap_or(&Value::Null) == &operation["value"];
                if found { Ok(()) } else { Err(format!("testing {path:?} failed")) }
            }
            other => Err(format!("{other:?} is no operation")),
        }
    }

    fn add(&mut self, path: &str, value: Value) -> Result<(), String> {
        let (depth, size) = measure(&value);
        fits(path, depth)?;
        self.moves(path, size)?;
        self.at(path)?.add(value)
    }

    fn remove(&mut self, path: &str) -> Result<Value, String> {
        self.moves(path, 0)?;
        self.at(path)?.remove()
    }

    /// Counts what an operation moves: a value, and the elements of the list that makes room.
    fn moves(&mut self, path: &str, size: usize) -> Result<(), String> {
        let shifted = match self.at(path)?.container {
            Value::Array(items) => items.len() * size_of::<Value>(),
            _ => 0,
        };
        self.moved += size + shifted;
        if self.moved > MAX_MOVED { Err(format!("operations move more than {MAX_MOVED} bytes")) } else { Ok(()) }
    }

    /// The place that a path leads to; everything but its last part must be there.
    fn at(&mut self, path: &str) -> Result<Place<'_>, String> {
        let (_, path_parts) = path.split_once('/').ok_or_else(|| format!("{path:?} leads to the whole document"))?;
        let (parents, last) = path_parts.rsplit_once('/').map_or((None, path_parts), |(p, last)| (Some(p), last));
        let mut container = &mut self.document;
        for part in parents.into_iter().flat_map(|parents| parents.split('/')) {
            let place = Place { container, key: unescape(part) };
            container = place.into_value().ok_or_else(|| format!("nothing is at {part:?} of {path:?}"))?;
        }
        match container {
            Value::Object(_) | Value::Array(_) => Ok(Place { container, key: unescape(last) }),
            _ => Err(format!("{path:?} leads into a scalar")),
        }
    }
}

/// Whether a value of some depth may be at a path.
fn fits(path: &str, depth: usize) -> Result<(), String> {
    if path.matches('/').count() + depth > MAX_DEPTH { Err("exceeded max depth".to_owned()) } else { Ok(()) }
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// A key of an object, or an index of an array.
struct Place<'a> {
    container: &'a mut Value,
    key: String,
}

impl<'a> Place<'a> {
    fn index(&self, length: usize) -> Result<usize, String> {
        index(&self.key, length)
    }

    fn into_value(self) -> Option<&'a mut Value> {
        match self.container {
            Value::Object(map) => map.get_mut(&self.key),
            Value::Array(items) => {
                let at = index(&self.key, items.len()).ok()?;
                items.get_mut(at)
            }
            _ => None,
        }
    }

    fn get(&self) -> Result<Option<&Value>, String> {
        match &*self.container {
            Value::Array(items) => Ok(items.get(self.index(items.len())?)),
            container => Ok(container.get(&self.key)),
        }
    }

    fn add(self, value: Value) -> Result<(), String> {
        match self.container {
            Value::Array(items) if self.key == "-" => items.push(value),
            Value::Array(items) => {
                let at = index(&self.key, items.len() + 1)?;
                items.insert(at, value);
            }
            container => container[&*self.key] = value,
        }
        Ok(())
    }

    fn replace(self, value: Value) -> Result<(), String> {
        match self.container {
            Value::Array(items) => {
                let at = index(&self.key, items.len())?;
                items[at] = value;
            }
            container => container[&*self.key] = value,
        }
        Ok(())
    }

    fn remove(self) -> Result<Value, String> {
        match self.container {
            Value::Array(items) => {
                let at = index(&self.key, items.len())?;
                Ok(items.remove(at))
            }
            Value::Object(map) => map.remove(&self.key).ok_or_else(|| format!("there is no {:?} to remove", self.key)),
            _ => Err("a scalar has no fields".to_owned()),
        }
    }
}

/// An index below `length`; a negative one counts from the end.
fn index(key: &str, length: usize) -> Result<usize, String> {
    let number: i64 = key.parse().map_err(|_| format!("{key:?} is no index"))?;
    let index = if number < 0 {
        length.checked_sub(usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX))
    } else {
        usize::try_from(number).ok()
    };
    index.filter(|index| *index < length).ok_or_else(|| format!("index {key} is out of bounds"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::MAX_MESSAGES;
    use serde_json::json;

    fn patched(patch: &Value) -> api::Result<Value> {
        let target = json!({"a": {"b": "1", "c/d": "2", "~": "3"}, "l": ["x", "y", "z"], "n": null});
        apply(target, patch.to_string().as_bytes())
    }

    fn apply(target: Value, patch: &[u8]) -> api::Result<Value> {
        let (operations, _) = decode_json(patch, FieldValidation::Ignore)?;
        super::json(target, &operations)
    }

    fn messages(patch: &str, mode: FieldValidation) -> Vec<String> {
        decode_json(patch.as_bytes(), mode).expect("a patch").1
    }

    /// Checks what one field is after a patch.
    #[track_caller]
    fn check(patch: Value, pointer: &str, expected: Value) {
        let value = patched(&patch).unwrap_or_else(|error| panic!("{patch}: {error}"));
        assert_eq!(value.pointer(pointer).cloned(), (!expected.is_null()).then_some(expected), "{patch}");
    }

    #[track_caller]
    fn check_fails(patch: Value, code: u16) {
        assert_eq!(patched(&patch).expect_err("an error").code(), code, "{patch}");
    }

    #[test]
    fn every_operation_does_what_the_rfc_says() {
        check(json!([{"op": "add", "path": "/a/x", "value": 1}]), "/a/x", json!(1));
        check(json!([{"op": "add", "path": "/a/b", "value": 1}]), "/a/b", json!(1));
        check(json!([{"op": "add", "path": "/l/-", "value": "w"}]), "/l", json!(["x", "y", "z", "w"]));
        check(json!([{"op": "add", "path": "/l/1", "value": "w"}]), "/l", json!(["x", "w", "y", "z"]));
        check(json!([{"op": "add", "path": "/l/3", "value": "w"}]), "/l", json!(["x", "y", "z", "w"]));
        check(json!([{"op": "remove", "path": "/l/0"}]), "/l", json!(["y", "z"]));
        check(json!([{"op": "remove", "path": "/a/c~1d"}]), "/a/c~1d", json!(null));
        check(json!([{"op": "replace", "path": "/a/~0", "value": [1]}]), "/a/~0", json!([1]));
        check(json!([{"op": "move", "from": "/a/b", "path": "/l/0"}]), "/l", json!(["1", "x", "y", "z"]));
        check(json!([{"op": "move", "from": "/l/2", "path": "/l/0"}]), "/l", json!(["z", "x", "y"]));
        check(json!([{"op": "copy", "from": "/a", "path": "/k"}]), "/k/b", json!("1"));
        check(json!([{"op": "test", "path": "/a/b", "value": "1"}, {"op": "remove", "path": "/a"}]), "/a", json!(null));
        check(json!([{"op": "test", "path": "/n", "value": null}]), "/a/b", json!("1"));
        check(json!([]), "/a/b", json!("1"));
    }

    #[test]
    fn upstreams_liberties_are_taken() {
        check(json!([{"op": "replace", "path": "/l/-1", "value": "w"}]), "/l", json!(["x", "y", "w"]));
        check(json!([{"op": "add", "path": "/l/-1", "value": "w"}]), "/l", json!(["x", "y", "z", "w"]));
        check(
            json!([{"op": "copy", "from": "/a/zz", "path": "/a/b"}, {"op": "test", "path": "/a/b"}]),
            "/l/0",
            json!("x"),
        );
        check(json!([{"op": "replace", "path": "/a/zz", "value": 1}]), "/a/zz", json!(1));
        check(json!([{"op": "add", "path": "ignored/k", "value": 1}]), "/k", json!(1));
    }

    #[test]
    fn what_cannot_be_applied_is_422() {
        check_fails(json!([{"op": "add", "path": "/zz/b", "value": 1}]), 422);
        check_fails(json!([{"op": "add", "path": "/a/b/c", "value": 1}]), 422);
        check_fails(json!([{"op": "add", "path": "/l/4", "value": 1}]), 422);
        check_fails(json!([{"op": "add", "path": "/l/x", "value": 1}]), 422);
        check_fails(json!([{"op": "replace", "path": "/l/-4", "value": 1}]), 422);
        check_fails(json!([{"op": "remove", "path": "/a/zz"}]), 422);
        check_fails(json!([{"op": "remove", "path": ""}]), 422);
        check_fails(json!([{"op": "move", "from": "/a", "path": "/a/x"}]), 422);
        check_fails(json!([{"op": "test", "path": "/l", "value": ["y", "x", "z"]}]), 422);
        check_fails(json!([{"op": "test", "path": "/a/b", "value": 1}]), 422);
        check_fails(json!([{"op": "ADD", "path": "/k", "value": 1}]), 422);
        check_fails(json!([{"path": "/k", "value": 1}]), 422);
        check_fails(json!([{"op": "add", "path": "/k", "value": 1}, {"op": "remove", "path": "/zz"}]), 422);
    }

    #[test]
    fn what_is_no_patch_is_400() {
        check_fails(json!({"op": "add"}), 400);
        check_fails(json!(["x"]), 400);
        check_fails(json!([{"op": "add", "path": 1}]), 400);
        let error = apply(json!({}), b"[{").expect_err("no JSON");
        assert_eq!(error.message(), "error decoding patch: unexpected end of JSON input");
    }

    #[test]
    fn growth_is_bounded() {
        let many = vec![json!({"op": "add", "path": "/k", "value": 1}); MAX_OPERATIONS + 1];
        check_fails(json!(many), 413);
        let doubling: Vec<Value> =
            (0..40).map(|i| json!({"op": "copy", "from": "/l", "path": format!("/l/{i}")})).collect();
        check_fails(json!(doubling), 422);
        let mut nesting = vec![json!({"op": "add", "path": "/d", "value": {}})];
        for i in 0..20 {
            nesting.push(json!({"op": "copy", "from": "/d", "path": format!("/d{}", "/d".repeat(1 << i))}));
        }
        check_fails(json!(nesting), 422);
        let long = json!({"l": vec![0; 100_000]});
        let shifts = vec![json!({"op": "add", "path": "/l/0", "value": 0}); MAX_OPERATIONS];
        assert_eq!(apply(long, json!(shifts).to_string().as_bytes()).expect_err("too much").code(), 422);
    }

    #[test]
    fn unknown_and_duplicate_fields_are_told() {
        let patch = r#"[{"op":"add","path":"/a","value":1,"value":2,"extra":{"extra":1,"extra":2}}]"#;
        let expected = ["json patch duplicate field \"[0].value\"", "json patch unknown field \"[0].extra\""];
        assert_eq!(messages(patch, FieldValidation::Warn), expected);
        assert_eq!(messages(patch, FieldValidation::Ignore), Vec::<String>::new());
    }

    #[test]
    fn messages_about_operations_are_few_and_short() {
        let unknown: Vec<String> = (0..200_000).map(|i| format!(r#""k{i}":1"#)).collect();
        let patch = format!(r#"[{{"op":"test","path":"/a",{}}}]"#, unknown.join(","));
        assert_eq!(messages(&patch, FieldValidation::Warn).len(), MAX_MESSAGES);
        let patch = format!(r#"[{{"op":"test","path":"/a"{}}}]"#, r#","value":1"#.repeat(200_000));
        assert_eq!(messages(&patch, FieldValidation::Warn), ["json patch duplicate field \"[0].value\""]);
        let patch = format!(r#"[{{"{}":1}}]"#, "n".repeat(1 << 20));
        assert!(messages(&patch, FieldValidation::Warn)[0].len() < 10_000);
    }
}
