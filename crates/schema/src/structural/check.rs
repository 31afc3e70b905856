//! Validation of a value against a structural schema: upstream's checks in upstream's order and words.
//!
//! With an old value, a fault in a part that did not change is forgiven (ratcheting): fields are compared with the field
//! of the same name, items of lists of type map with the item of the same keys, and items of other lists with nothing.
//!
//! Invariant: no more than `STEPS_MAX` pairs of a value and a schema are looked at, whatever the two are.

use super::formats;
use super::numbers::{Go, is_multiple, shown};
use super::{Additional, Constraints, JsonType, ListType, Structural};
use api::Cause;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt::Write;

/// How many pairs of a value and a schema one validation looks at.
const STEPS_MAX: u64 = 2_000_000;

/// What the texts of all causes may weigh; more are left out.
const CAUSES_BYTES_MAX: usize = 1 << 20;

/// What is wrong with a value. `at` is the field that holds it, empty for a whole object.
pub fn check(schema: &Structural, value: &Value, old: Option<&Value>, at: &str) -> Vec<Cause> {
    let mut walk = Walk { at, path: String::new(), found: Found::default(), steps: 0 };
    walk.value(schema, value, old);
    if walk.steps > STEPS_MAX {
        let message = "Invalid value: the object is too large to be validated against its schema".to_owned();
        let field = if at.is_empty() { "<nil>" } else { at };
        return vec![Cause { reason: "FieldValueInvalid".to_owned(), message, field: field.to_owned() }];
    }
    walk.found.causes
}

#[derive(Default)]
struct Found {
    causes: Vec<Cause>,
    bytes: usize,
    /// How many there are, those left out among them.
    count: usize,
}

impl Found {
    fn push(&mut self, cause: Cause) {
        self.count += 1;
        if self.bytes <= CAUSES_BYTES_MAX {
            self.bytes += cause.reason.len() + cause.message.len() + cause.field.len();
            self.causes.push(cause);
        }
    }

    fn append(&mut self, other: Found) {
        self.count += other.count - other.causes.len();
        other.causes.into_iter().for_each(|cause| self.push(cause));
    }
}

struct Walk<'a> {
    at: &'a str,
    path: String,
    found: Found,
    steps: u64,
}

impl Walk<'_> {
    /// Adds what is wrong with a value. Returns how many checks held, by which the best of several alternatives is told.
    fn value(&mut self, schema: &Structural, value: &Value, old: Option<&Value>) -> usize {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return 0;
        }
        let before = (self.found.count, self.found.causes.len(), self.found.bytes);
        let held = self.checks(schema, value, old);
        if self.found.count > before.0 && old == Some(value) {
            self.found.count = before.0;
            self.found.causes.truncate(before.1);
            self.found.bytes = before.2;
        }
        held
    }

    fn checks(&mut self, schema: &Structural, value: &Value, old: Option<&Value>) -> usize {
        let none = Constraints::default();
        let constraints = schema.constraints.as_deref().unwrap_or(&none);
        let mut held = self.kind(schema, value);
        if value.is_null() {
            self.one_of_values(constraints, value);
            return held;
        }
        held += 1 + self.alternatives(constraints, value, old);
        match value {
            Value::String(text) => held += self.text(schema, constraints, text, value),
            Value::Number(number) => held += self.number(schema, constraints, Go::of(number), value),
            Value::Array(items) => held += self.items(schema, constraints, items, old),
            Value::Object(_) | Value::Bool(_) | Value::Null => {}
        }
        held += self.one_of_values(constraints, value);
        if let Value::Object(fields) = value {
            held += self.fields(schema, constraints, fields, old);
        }
        held
    }

    fn kind(&mut self, schema: &Structural, value: &Value) -> usize {
        let named;
        let types: &[JsonType] = match schema.kind {
            Some(kind) => {
                named = [kind];
                &named
            }
            None if schema.int_or_string => &[JsonType::Integer, JsonType::String],
            None => &[],
        };
        let format = &*schema.format;
        if types.is_empty() && format.is_empty() {
            return 1;
        }
        let contains = |kind: JsonType| types.contains(&kind);
        let expected = || types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(",");
        let (kind, own_format, whole) = match value {
            Value::Null => {
                if types.is_empty() || schema.nullable {
                    return 1;
                }
                self.wrong_type(&expected(), "null");
                return 0;
            }
            Value::Bool(_) => (JsonType::Boolean, "", false),
            Value::String(_) => (JsonType::String, "", false),
            Value::Array(_) => (JsonType::Array, "", false),
            Value::Object(_) => (JsonType::Object, "", false),
            Value::Number(number) => match Go::of(number) {
                Go::Int(_) => (JsonType::Integer, "int64", true),
                float @ Go::Float(_) => (JsonType::Number, "double", float.is_whole()),
            },
        };
        let whole_float = kind == JsonType::Number && whole && contains(JsonType::Integer);
        let int_as_number = kind == JsonType::Integer && contains(JsonType::Number);
        let is_text = matches!(kind, JsonType::String | JsonType::Array);
        let fits = contains(kind) || own_format == format || whole_float || int_as_number;
        if !(is_text || format.is_empty() || fits) {
            self.wrong_type(format, own_format);
            return 0;
        }
        let numeric = contains(JsonType::Number) || contains(JsonType::Integer);
        if !numeric && !format.is_empty() && is_text {
            return 1;
        }
        if !(types.is_empty() || contains(kind) || whole_float || int_as_number) {
            self.wrong_type(&expected(), kind.as_str());
            return 0;
        }
        1
    }

    fn wrong_type(&mut self, expected: &str, found: &str) {
        let message = format!("{} in body must be of type {expected}: {found:?}", self.path);
        self.add("FieldValueTypeInvalid", || format!("Invalid value: {found:?}: {message}"));
    }

    /// `allOf`, `anyOf`, `oneOf` and `not`.
    fn alternatives(&mut self, constraints: &Constraints, value: &Value, old: Option<&Value>) -> usize {
        let mut held = 0;
        if !constraints.any_of.is_empty() {
            let mut best: Option<(usize, Found)> = None;
            let mut valid = false;
            for schema in &constraints.any_of {
                let (count, found) = self.apart(schema, value, old);
                if found.count == 0 {
                    held += count;
                    valid = true;
                    break;
                }
                if best.as_ref().is_none_or(|(most, _)| count > *most) {
                    best = Some((count, found));
                }
            }
            if !valid {
                let path = self.path.clone();
                self.whole(|| format!("{path:?} must validate at least one schema (anyOf)"));
                held += self.take(best);
            }
        }
        if !constraints.one_of.is_empty() {
            let mut best: Option<(usize, Found)> = None;
            let (mut valid, mut first) = (0, 0);
            for schema in &constraints.one_of {
                let (count, found) = self.apart(schema, value, old);
                if found.count == 0 {
                    valid += 1;
                    best = None;
                    first = if valid == 1 { count } else { first };
                } else if valid == 0 && best.as_ref().is_none_or(|(most, _)| count > *most) {
                    best = Some((count, found));
                }
            }
            if valid == 1 {
                held += first;
            } else {
                let found = if valid == 0 {
                    "Found none valid".to_owned()
                } else {
                    format!("Found {valid} valid alternatives")
                };
                let path = self.path.clone();
                self.whole(|| format!("{path:?} must validate one and only one schema (oneOf). {found}"));
                held += self.take(best);
            }
        }
        if !constraints.all_of.is_empty() {
            let mut valid = 0;
            for schema in &constraints.all_of {
                let (count, found) = self.apart(schema, value, old);
                valid += usize::from(found.count == 0);
                held += count;
                self.found.append(found);
            }
            if valid != constraints.all_of.len() {
                let none = if valid == 0 { ". None validated" } else { "" };
                let path = self.path.clone();
                self.whole(|| format!("{path:?} must validate all the schemas (allOf){none}"));
            }
        }
        if let Some(not) = &constraints.not {
            let (_, found) = self.apart(not, value, old);
            if found.count == 0 {
                let path = self.path.clone();
                self.whole(|| format!("{path:?} must not validate the schema (not)"));
            }
        }
        held + 1
    }

    /// What is wrong with a value by another schema, on its own.
    fn apart(&mut self, schema: &Structural, value: &Value, old: Option<&Value>) -> (usize, Found) {
        let outer = std::mem::take(&mut self.found);
        let count = self.value(schema, value, old);
        (count, std::mem::replace(&mut self.found, outer))
    }

    fn take(&mut self, best: Option<(usize, Found)>) -> usize {
        let Some((count, found)) = best else { return 0 };
        self.found.append(found);
        count
    }

    fn text(&mut self, schema: &Structural, constraints: &Constraints, text: &str, value: &Value) -> usize {
        let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(max) = constraints.max_length.filter(|max| length() > *max) {
            self.add("FieldValueTooLong", || format!("Too long: may not be more than {max} bytes"));
        } else if let Some(min) = constraints.min_length.filter(|min| length() < *min) {
            self.invalid(value, &format!("should be at least {min} chars long"));
        } else if let Some(pattern) = constraints.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            self.invalid(value, &format!("should match '{}'", pattern.text()));
        }
        let mut held = 1;
        if formats::is_known(&schema.format) {
            if !formats::holds(&schema.format, text) {
                let message = format!("{} in body must be of type {}: {text:?}", self.path, schema.format);
                self.add("FieldValueTypeInvalid", || format!("Invalid value: {value}: {message}"));
            }
            held += 1;
        }
        held
    }

    fn number(&mut self, schema: &Structural, constraints: &Constraints, number: Go, value: &Value) -> usize {
        self.in_range(schema, number, "Checked");
        let float = number.as_f64();
        if let Some(of) = constraints.multiple_of {
            if of <= 0.0 {
                let path = &self.path;
                let message = format!("factor MultipleOf declared for {path} must be positive: {}", shown(of));
                self.add("FieldValueInvalid", || format!("Invalid value: {}: {message}", shown(of)));
            } else if !is_multiple(float, of) {
                self.invalid(value, &format!("should be a multiple of {}", shown(of)));
            }
        }
        let (max, exclusive) = (constraints.maximum, constraints.exclusive_maximum);
        if let Some(max) = max.filter(|max| if exclusive { float >= *max } else { float > *max }) {
            let than = if exclusive { "less than" } else { "less than or equal to" };
            self.invalid(value, &format!("should be {than} {}", shown(max)));
        }
        let (min, exclusive) = (constraints.minimum, constraints.exclusive_minimum);
        if let Some(min) = min.filter(|min| if exclusive { float <= *min } else { float < *min }) {
            let than = if exclusive { "greater than" } else { "greater than or equal to" };
            self.invalid(value, &format!("should be {than} {}", shown(min)));
        }
        1
    }

    /// Whether a number fits the type and the format.
    fn in_range(&mut self, schema: &Structural, number: Go, what: &str) {
        let kind = schema.kind.map_or("", JsonType::as_str);
        let fits = match (schema.kind, &*schema.format) {
            (Some(JsonType::Integer), "int32") => number.fits_i32(),
            (Some(JsonType::Integer), _) => number.fits_i64(),
            (_, "float" | "float32") => number.fits_f32(),
            _ => true,
        };
        if fits {
            return;
        }
        let format = match &*schema.format {
            "" => "(default format)".to_owned(),
            format => format!("with format {format}"),
        };
        let path = self.path.clone();
        self.whole(|| format!("{what} value must be of type {kind} {format} in {path}"));
    }

    fn items(&mut self, schema: &Structural, constraints: &Constraints, items: &[Value], old: Option<&Value>) -> usize {
        let mut held = 1;
        if let Some(each) = schema.items.as_deref() {
            let before = Correlated::new(schema, old);
            let length = self.path.len();
            for (i, item) in items.iter().enumerate() {
                write!(self.path, "[{i}]").expect("a String takes all that is written");
                held += self.value(each, item, before.of(schema, item));
                self.path.truncate(length);
            }
        }
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(min) = constraints.min_items.filter(|min| count < *min) {
            self.invalid(&count.into(), &format!("should have at least {min} items"));
        }
        if let Some(max) = constraints.max_items.filter(|max| count > *max) {
            self.too_many(count, max);
        }
        held
    }

    fn one_of_values(&mut self, constraints: &Constraints, value: &Value) -> usize {
        let allowed = &constraints.one_of_values;
        if !allowed.is_empty() && !allowed.iter().any(|one| is_same(one, value)) {
            let shown = |one: &Value| format!("{:?}", one.as_str().map_or_else(|| one.to_string(), str::to_owned));
            let list: Vec<String> = allowed.iter().map(shown).collect();
            self.add("FieldValueNotSupported", || {
                format!("Unsupported value: {value}: supported values: {}", list.join(", "))
            });
        }
        1
    }

    fn fields(
        &mut self,
        schema: &Structural,
        constraints: &Constraints,
        fields: &Map<String, Value>,
        old: Option<&Value>,
    ) -> usize {
        let count = i64::try_from(fields.len()).unwrap_or(i64::MAX);
        if let Some(min) = constraints.min_properties.filter(|min| count < *min) {
            self.invalid(&count.into(), &format!("should have at least {min} properties"));
            return 0;
        }
        if let Some(max) = constraints.max_properties.filter(|max| count > *max) {
            self.too_many(count, max);
            return 0;
        }
        let mut held = 1;
        let length = self.path.len();
        let old_of = |name: &str| old.and_then(|old| old.get(name));
        if !matches!(schema.additional, Additional::Unsaid | Additional::Any) {
            for (name, value) in fields.iter().filter(|(name, _)| schema.property(name).is_none()) {
                self.path.push('.');
                self.path.push_str(name);
                match &schema.additional {
                    Additional::Each(each) => held += self.value(each, value, old_of(name)),
                    Additional::Forbidden | Additional::Unsaid | Additional::Any => {
                        let path = self.path.clone();
                        self.add("FieldValueInvalid", || {
                            format!("Invalid value: \"\": {path} in body is a forbidden property")
                        });
                    }
                }
                self.path.truncate(length);
            }
        }
        for (name, below) in &schema.properties {
            let Some(value) = fields.get(&**name) else { continue };
            self.enter(name);
            held += self.value(below, value, old_of(name));
            self.path.truncate(length);
        }
        for name in constraints.required.iter().filter(|name| !fields.contains_key(&***name)) {
            self.enter(name);
            self.add("FieldValueRequired", || "Required value".to_owned());
            self.path.truncate(length);
        }
        held
    }

    fn enter(&mut self, name: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
    }

    fn invalid(&mut self, value: &Value, why: &str) {
        let message = format!("{} in body {why}", self.path);
        self.add("FieldValueInvalid", || format!("Invalid value: {value}: {message}"));
    }

    fn too_many(&mut self, actual: i64, max: i64) {
        let items = if max == 1 { "item" } else { "items" };
        self.add("FieldValueTooMany", || format!("Too many: {actual}: must have at most {max} {items}"));
    }

    /// A fault that upstream tells of the value as a whole.
    fn whole(&mut self, message: impl FnOnce() -> String) {
        let field = if self.at.is_empty() { "<nil>".to_owned() } else { self.at.to_owned() };
        let message = format!("Invalid value: \"\": {}", message());
        self.found.push(Cause { reason: "FieldValueInvalid".to_owned(), message, field });
    }

    /// A fault at the current place. The words are made only if there is room for them.
    fn add(&mut self, reason: &str, message: impl FnOnce() -> String) {
        if self.found.bytes > CAUSES_BYTES_MAX {
            self.found.count += 1;
            return;
        }
        let path = self.path.strip_prefix('.').unwrap_or(&self.path);
        let field = match (self.at, path) {
            ("", "") => "<nil>".to_owned(),
            ("", path) => path.to_owned(),
            (at, "") => at.to_owned(),
            (at, path) => format!("{at}.{path}"),
        };
        self.found.push(Cause { reason: reason.to_owned(), message: message(), field });
    }
}

/// Whether a value is one of an enumeration: numbers by what they are worth, and null never.
fn is_same(one: &Value, value: &Value) -> bool {
    match (one, value) {
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (one, value) => one == value,
    }
}

/// The old items of a list of type map, by their keys.
struct Correlated<'a> {
    by_keys: HashMap<Vec<&'a Value>, &'a Value>,
}

impl<'a> Correlated<'a> {
    fn new(schema: &Structural, old: Option<&'a Value>) -> Correlated<'a> {
        let items = old.and_then(Value::as_array).filter(|_| schema.list_type == ListType::Map);
        let keyed = items.into_iter().flatten().map(|item| (keys(schema, item), item));
        Correlated { by_keys: keyed.collect() }
    }

    fn of(&self, schema: &Structural, item: &Value) -> Option<&'a Value> {
        if self.by_keys.is_empty() {
            return None;
        }
        self.by_keys.get(&keys(schema, item)).copied()
    }
}

fn keys<'a>(schema: &Structural, item: &'a Value) -> Vec<&'a Value> {
    schema.list_map_keys.iter().map(|key| &item[&**key]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn causes(schema: Value, value: Value, old: Option<Value>) -> Vec<String> {
        let schema = Structural::compile(&schema);
        let found = check(&schema, &value, old.as_ref(), "");
        found.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[track_caller]
    fn tell(schema: Value, value: Value, expected: &[&str]) {
        let schema = json!({"type": "object", "properties": {"f": schema}});
        assert_eq!(causes(schema, json!({ "f": value }), None), expected);
    }

    #[test]
    fn faults_are_told_in_upstreams_words() {
        let of_type = |expected: &str, found: &str| {
            format!("f: Invalid value: {found:?}: f in body must be of type {expected}: {found:?}")
        };
        tell(json!({"type": "string"}), json!(1), &[&of_type("string", "integer")]);
        tell(json!({"x-kubernetes-int-or-string": true}), json!([1]), &[&of_type("integer,string", "array")]);
        tell(
            json!({"type": "integer"}),
            json!(1.5),
            &[
                &of_type("integer", "number"),
                "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in f",
            ],
        );
        tell(json!({"type": "integer"}), json!(3.0), &[]);
        tell(json!({"type": "number"}), json!(3), &[]);
        tell(
            json!({"type": "integer", "format": "int32"}),
            json!(2_147_483_648_i64),
            &["<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in f"],
        );
        tell(json!({"type": "string", "maxLength": 2}), json!("abc"), &["f: Too long: may not be more than 2 bytes"]);
        tell(json!({"type": "string", "maxLength": 2}), json!("é世"), &[]);
        tell(
            json!({"type": "number", "maximum": 3, "exclusiveMaximum": true}),
            json!(3),
            &["f: Invalid value: 3: f in body should be less than 3"],
        );
        tell(
            json!({"type": "number", "multipleOf": 0.5}),
            json!(1.3),
            &["f: Invalid value: 1.3: f in body should be a multiple of 0.5"],
        );
        tell(
            json!({"type": "string", "enum": ["a", null], "nullable": true}),
            Value::Null,
            &["f: Unsupported value: null: supported values: \"a\", \"null\""],
        );
        tell(
            json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}}),
            json!({"b.c": -1}),
            &["f.b.c: Invalid value: -1: f.b.c in body should be greater than or equal to 1"],
        );
        tell(
            json!({"type": "array", "items": {"type": "object", "required": ["x"]}, "maxItems": 1}),
            json!([{"x": 1}, {}]),
            &["f[1].x: Required value", "f: Too many: 2: must have at most 1 item"],
        );
        tell(
            json!({"type": "string", "oneOf": [{"pattern": "^a"}, {"pattern": "z$"}]}),
            json!("mm"),
            &[
                "<nil>: Invalid value: \"\": \"f\" must validate one and only one schema (oneOf). Found none valid",
                "f: Invalid value: \"mm\": f in body should match '^a'",
            ],
        );
        tell(
            json!({"type": "string", "not": {"pattern": "^a"}}),
            json!("a"),
            &["<nil>: Invalid value: \"\": \"f\" must not validate the schema (not)"],
        );
    }

    #[test]
    fn the_best_alternative_tells_what_is_wrong() {
        let schema = json!({
            "type": "object",
            "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
            "anyOf": [{"properties": {"k": {"enum": ["a"]}, "v": {"maximum": 1}}}, {"properties": {"k": {"enum": ["b"]}}}],
        });
        tell(
            schema,
            json!({"k": "a", "v": 5}),
            &[
                "<nil>: Invalid value: \"\": \"f\" must validate at least one schema (anyOf)",
                "f.v: Invalid value: 5: f.v in body should be less than or equal to 1",
            ],
        );
    }

    #[test]
    fn what_did_not_change_is_forgiven() {
        let item =
            json!({"type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "string", "maxLength": 2}}});
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "maxLength": 2},
            "l": {"type": "array", "items": {"type": "string", "maxLength": 2}},
            "m": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": item},
        }});
        let long = "long";
        for (old, new, faults) in [
            (json!({"a": long}), json!({"a": long, "b": 1}), 0),
            (json!({"a": long}), json!({"a": "other"}), 1),
            (json!({"l": [long, "x"]}), json!({"l": [long, "x"], "b": 1}), 0),
            (json!({"l": [long, "x"]}), json!({"l": [long, "y"]}), 1),
            (json!({"m": [{"n": "1", "v": long}]}), json!({"m": [{"n": "0"}, {"n": "1", "v": long}]}), 0),
            (json!({"m": [{"n": "1", "v": long}]}), json!({"m": [{"n": "2", "v": long}]}), 1),
        ] {
            assert_eq!(causes(schema.clone(), new.clone(), Some(old)).len(), faults, "{new}");
        }
    }

    #[test]
    fn large_objects_and_large_schemas_do_not_take_forever() {
        let alternatives = vec![json!({"minimum": 0}); 5_000];
        let schema = json!({"type": "object", "properties": {
            "l": {"type": "array", "items": {"type": "integer", "allOf": alternatives}},
        }});
        let found = causes(schema, json!({"l": vec![1; 10_000]}), None);
        let expected = "<nil>: Invalid value: the object is too large to be validated against its schema";
        assert_eq!(found, [expected]);
        let schema = json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "string"}}}});
        let found = causes(schema, json!({"l": vec![1; 100_000]}), None);
        assert!(found.iter().map(String::len).sum::<usize>() < 2 << 20);
    }
}
