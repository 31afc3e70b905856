//! Whether a schema is structural: what every value is stands in it once, outside of `allOf` and its like; and whether its
//! defaults are what it asks for.

use super::schemas::{children, line};
use crate::causes::{Causes, Path};
use crate::custom;
use crate::value::{is_empty, is_true, list, members, text};
use api::Cause;
use schema::structural::{self, Structural, pattern_error};
use serde_json::{Value, json};

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// What a structural schema cannot hold at all.
pub fn unsupported(schema: &Value) -> Option<String> {
    const FIELDS: [(&str, &str); 7] = [
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("definitions", "definitions"),
        ("additionalItems", "additionalItems"),
        ("dependencies", "dependencies"),
        ("patternProperties", "patternProperties"),
    ];
    let empty = |field: &str| is_empty(&schema[field]);
    if let Some((_, name)) = FIELDS.iter().find(|(field, _)| !empty(field)) {
        return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
    }
    if schema["items"].is_array() {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    children(schema).find_map(unsupported)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What keeps a schema from being structural, sorted.
pub fn validate(schema: &Value, at: &Path) -> Vec<Cause> {
    let mut causes = Causes::of(|causes| invariants(schema, Level::Root, at, causes));
    causes.sort_by_cached_key(line);
    causes
}

fn invariants(schema: &Value, level: Level, at: &Path, causes: &mut Causes) {
    if causes.is_full() {
        return;
    }
    if schema["items"].is_object() {
        invariants(&schema["items"], Level::Item, &at.child("items"), causes);
    }
    let properties = at.child("properties");
    for (name, property) in members(&schema["properties"]) {
        invariants(property, Level::Field, &properties.key(name), causes);
    }
    let additional = &schema["additionalProperties"];
    if !additional.is_null() {
        let at = at.child("additionalProperties");
        if level == Level::Root {
            causes.forbidden(&at, "must not be used at the root");
        }
        if additional.is_object() {
            invariants(additional, Level::Field, &at, causes);
        }
    }
    let (embedded, int_or_string) = (is_true(&schema[EMBEDDED]), is_true(&schema[INT_OR_STRING]));
    let preserve = is_true(&schema[PRESERVE]);
    for (extension, set) in [(PRESERVE, preserve), (EMBEDDED, embedded)] {
        if int_or_string && set {
            causes.invalid(&at.child(extension), true, "must be false if x-kubernetes-int-or-string is true");
        }
    }
    let (skip_any_of, skip_first_all_of) = (is_int_or_string_any_of(schema), is_int_or_string_all_of(schema));
    value_validation(schema, skip_any_of, skip_first_all_of, at, causes);

    let kind = text(&schema["type"]);
    let type_at = at.child("type");
    if embedded && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        match kind {
            "" => causes.required(&type_at, why),
            other => causes.invalid(&type_at, other, why),
        }
    } else if kind.is_empty() && !int_or_string && !preserve {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        causes.required(&type_at, why);
    }
    if embedded && !additional.is_null() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        causes.forbidden(&at.child("additionalProperties"), why);
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        causes.invalid(&type_at, kind, "must be object at the root");
    }
    if kind == "array" && schema["items"].is_null() {
        causes.required(&at.child("items"), "must be specified");
    }
    if embedded && !preserve && is_empty(&schema["properties"]) {
        let why =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        causes.required(&properties, why);
    }
    if level == Level::Root || embedded {
        metadata(&schema["properties"], &properties, causes);
    }
}

/// The type and the metadata of an object are given: a schema may say little of them.
fn metadata(properties: &Value, at: &Path, causes: &mut Causes) {
    for field in ["apiVersion", "kind"] {
        let given = &properties[field];
        if !given.is_null() && given["type"] != "string" {
            let at = at.key(field);
            causes.invalid(&at.child("type"), text(&given["type"]), "must be string");
        }
    }
    let metadata = &properties["metadata"];
    if metadata.is_null() {
        return;
    }
    let at = at.key("metadata");
    if metadata["type"] != "object" {
        causes.invalid(&at.child("type"), text(&metadata["type"]), "must be object");
    }
    let is_restricted = members(metadata).all(|(field, value)| match field {
        "type" | "default" => true,
        "properties" => members(value).all(|(name, _)| matches!(name, "name" | "generateName")),
        // What a value must hold may be said.
        "maxProperties" | "minProperties" | "required" | "enum" | "pattern" | "format" | "maxLength" | "minLength" => {
            is_empty(value)
        }
        _ => false,
    });
    if !is_restricted {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        causes.forbidden(&at, why);
    }
}

/// `anyOf: [{type: integer}, {type: string}]`, in this order.
fn is_int_or_string_pair(any_of: &Value) -> bool {
    *any_of == json!([{"type": "integer"}, {"type": "string"}])
}

fn is_int_or_string_any_of(schema: &Value) -> bool {
    is_true(&schema[INT_OR_STRING]) && is_int_or_string_pair(&schema["anyOf"])
}

fn is_int_or_string_all_of(schema: &Value) -> bool {
    is_true(&schema[INT_OR_STRING])
        && list(&schema["allOf"]).first().is_some_and(|first| is_int_or_string_pair(&first["anyOf"]))
}

fn value_validation(schema: &Value, skip_any_of: bool, skip_first_all_of: bool, at: &Path, causes: &mut Causes) {
    for field in ["anyOf", "allOf", "oneOf"] {
        if field == "anyOf" && skip_any_of {
            continue;
        }
        let at = at.child(field);
        for (i, one) in list(&schema[field]).iter().enumerate() {
            let skip = field == "allOf" && i == 0 && skip_first_all_of;
            nested(one, skip, &at.index(i), causes);
        }
    }
    if schema["not"].is_object() {
        nested(&schema["not"], false, &at.child("not"), causes);
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && let Some(error) = pattern_error(pattern)
    {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        causes.invalid(&at.child("pattern"), pattern, &why);
    }
}

/// What stands in `allOf` and its like says what values must hold, and not what they are.
fn nested(schema: &Value, skip_any_of: bool, at: &Path, causes: &mut Causes) {
    if causes.is_full() {
        return;
    }
    value_validation(schema, skip_any_of, false, at, causes);
    if schema["items"].is_object() {
        nested(&schema["items"], false, &at.child("items"), causes);
    }
    let properties = at.child("properties");
    for (name, property) in members(&schema["properties"]) {
        nested(property, false, &properties.key(name), causes);
    }
    for field in ["type", "title", "description"] {
        if !is_empty(&schema[field]) {
            causes.forbidden(&at.child(field), "must be empty to be structural");
        }
    }
    for field in ["additionalProperties", "default", "x-kubernetes-list-type", "x-kubernetes-map-type"] {
        if !schema[field].is_null() {
            causes.forbidden(&at.child(field), "must be undefined to be structural");
        }
    }
    for field in ["nullable", PRESERVE, EMBEDDED, INT_OR_STRING] {
        if is_true(&schema[field]) {
            causes.forbidden(&at.child(field), "must be false to be structural");
        }
    }
    for field in ["x-kubernetes-list-map-keys", "x-kubernetes-validations"] {
        if !is_empty(&schema[field]) {
            causes.forbidden(&at.child(field), "must be empty to be structural");
        }
    }
}

/// What is wrong with the defaults of a structural schema.
pub fn defaults(schema: &Value, root: bool, at: &Path, causes: &mut Causes) {
    if causes.is_full() {
        return;
    }
    let default = &schema["default"];
    if !default.is_null() {
        default_value(schema, default, root, &at.child("default"), causes);
    }
    if schema["items"].is_object() {
        defaults(&schema["items"], false, &at.child("items"), causes);
    }
    let properties = at.child("properties");
    let resource = root || is_true(&schema[EMBEDDED]);
    // What is below metadata is checked elsewhere.
    let own = members(&schema["properties"]).filter(|(name, _)| !(resource && *name == "metadata"));
    for (name, property) in own {
        defaults(property, false, &properties.key(name), causes);
    }
    if schema["additionalProperties"].is_object() {
        defaults(&schema["additionalProperties"], false, &at.child("additionalProperties"), causes);
    }
}

fn default_value(schema: &Value, default: &Value, root: bool, at: &Path, causes: &mut Causes) {
    let compiled = Structural::compile(schema);
    let mut pruned = json!({ "default": default });
    let holder = Structural::compile(&json!({"type": "object", "properties": {"default": schema}}));
    if root {
        pruned = default.clone();
        structural::prune(&compiled, &mut pruned, structural::Pruned::Forgotten);
    } else {
        structural::prune(&holder, &mut pruned, structural::Pruned::Forgotten);
        pruned = pruned["default"].take();
    }
    if pruned != *default {
        return causes.invalid(at, default, "must not have unknown fields");
    }
    let place = at.to_string();
    let mut found = Vec::new();
    if root {
        custom::validate_resource(default, &place, &mut found);
    }
    custom::validate_embedded(&compiled, default, &place, &mut found);
    if found.is_empty() {
        found = structural::check(&compiled, default, None, &place);
    }
    causes.extend(found);
}
