//! The schema of a definition: what OpenAPI allows and Kubernetes does not, and the extensions for lists and maps.

use super::structure;
use crate::causes::{Causes, Path};
use crate::value::{is_empty, is_true, list, members, text};
use api::Cause;
use schema::structural::pattern_weight;
use serde_json::{Value, json};

/// What the automata of all patterns of one schema may have of states together.
const PATTERNS_WEIGHT_MAX: u64 = 2_000_000;

/// How many schemas one schema may hold, itself and all below: several times what the largest of real ones do.
const SCHEMAS_MAX: usize = 200_000;

/// How deep schemas may nest.
const DEPTH_MAX: usize = 60;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What a schema may have at its root when there is a status subresource.
const AT_ROOT: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// What is wrong with a version's schema; `at` is the place that holds `openAPIV3Schema`.
pub fn validate(schema: &Value, has_status: bool, at: &Path, causes: &mut Causes) {
    let at = at.child("openAPIV3Schema");
    if let Err(why) = within_limits(schema) {
        return causes.wrong(&at, &why);
    }
    let mut found = Causes::new();
    if has_status && members(schema).any(|(field, value)| !AT_ROOT.contains(&field) && !is_empty(value)) {
        let fields: Vec<String> = AT_ROOT.iter().map(|field| internal_name(field)).collect();
        let why = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            fields.join(" ")
        );
        found.invalid(&at, schema, &why);
    }
    if is_true(&schema["nullable"]) {
        found.forbidden(&at.child("nullable"), "nullable cannot be true at the root");
    }
    let unsupported = structure::unsupported(schema);
    if unsupported.is_none() {
        let broken = structure::validate(schema, &at);
        if broken.is_empty() {
            structure::defaults(schema, true, &at, &mut found);
        }
        found.extend(broken);
    }
    open_api(schema, Place { root: true, ..Place::default() }, &at, &mut found);
    let (_, written, meant) = cel::rules::Rules::compile(schema, &at.to_string());
    found.extend(written);
    if let Some(why) = unsupported.filter(|_| found.is_empty()) {
        found.invalid(&at, "", &why);
    }
    // What a rule means is only asked where its schema is one.
    if found.is_empty() {
        found.extend(meant);
    }
    causes.extend(found.into_vec());
}

/// Refuses what would take too long to use.
fn within_limits(schema: &Value) -> Result<(), String> {
    let (mut schemas, mut weight) = (0, 0_u64);
    count(schema, 0, &mut schemas, &mut weight)?;
    if schemas > SCHEMAS_MAX {
        return Err(format!("must not hold more than {SCHEMAS_MAX} schemas"));
    }
    if weight > PATTERNS_WEIGHT_MAX {
        return Err("the patterns are too large together".to_owned());
    }
    Ok(())
}

fn count(schema: &Value, depth: usize, schemas: &mut usize, weight: &mut u64) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("must not nest deeper than {DEPTH_MAX} levels"));
    }
    *schemas += 1;
    if *schemas > SCHEMAS_MAX {
        return Ok(());
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        // Building one costs more than its states.
        *weight = weight.saturating_add(100 + pattern_weight(pattern));
    }
    for below in children(schema) {
        count(below, depth + 1, schemas, weight)?;
    }
    Ok(())
}

/// Every schema directly below a schema.
pub fn children(schema: &Value) -> impl Iterator<Item = &Value> {
    let maps = ["properties", "patternProperties", "definitions", "dependencies"];
    let lists = ["allOf", "anyOf", "oneOf", "items"];
    let ones = ["not", "items", "additionalProperties", "additionalItems"];
    let in_maps = maps.into_iter().flat_map(move |field| members(&schema[field]).map(|(_, below)| below));
    let in_lists = lists.into_iter().flat_map(move |field| list(&schema[field]));
    let alone = ones.into_iter().map(move |field| &schema[field]);
    in_maps.chain(in_lists).chain(alone).filter(|below| below.is_object())
}

/// The name of a field in upstream's internal form.
fn internal_name(field: &str) -> String {
    match field {
        "x-kubernetes-preserve-unknown-fields" => "XPreserveUnknownFields".to_owned(),
        "x-kubernetes-validations" => "XValidations".to_owned(),
        _ => {
            let mut letters = field.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
        }
    }
}

/// Where in a whole schema a schema stands.
#[derive(Clone, Copy, Default)]
struct Place {
    root: bool,
    inside_metadata: bool,
    /// Why no default may be set here.
    no_defaults: Option<&'static str>,
}

fn open_api(schema: &Value, place: Place, at: &Path, causes: &mut Causes) {
    if causes.is_full() {
        return;
    }
    unsupported(schema, place, at, causes);
    if is_true(&schema["uniqueItems"]) {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.forbidden(&at.child("uniqueItems"), why);
    }
    let below = Place { root: false, ..place };
    let additional = &schema["additionalProperties"];
    if !additional.is_null() {
        if !is_empty(&schema["properties"]) && additional != true {
            let why = "additionalProperties and properties are mutual exclusive";
            causes.forbidden(&at.child("additionalProperties"), why);
        }
        if additional.is_object() {
            let reason = place.inside_metadata.then_some("inside additionalProperties applying to object metadata");
            let below = Place { no_defaults: reason.or(place.no_defaults), ..below };
            open_api(additional, below, &at.child("additionalProperties"), causes);
        }
    }
    let properties = at.child("properties");
    for (name, property) in members(&schema["properties"]) {
        let meta = matches!(name, "apiVersion" | "kind" | "metadata");
        let resource = place.root || is_true(&schema["x-kubernetes-embedded-resource"]);
        let below = if meta && resource {
            let top = match name {
                "apiVersion" => "in top-level apiVersion",
                "kind" => "in top-level kind",
                _ => "in top-level metadata",
            };
            Place { inside_metadata: true, no_defaults: place.root.then_some(top).or(place.no_defaults), ..below }
        } else {
            below
        };
        open_api(property, below, &properties.key(name), causes);
    }
    if schema["not"].is_object() {
        open_api(&schema["not"], below, &at.child("not"), causes);
    }
    for field in ["allOf", "oneOf", "anyOf"] {
        let at = at.child(field);
        for (i, one) in list(&schema[field]).iter().enumerate() {
            open_api(one, below, &at.index(i), causes);
        }
    }
    let definitions = at.child("definitions");
    for (name, one) in members(&schema["definitions"]) {
        open_api(one, below, &definitions.key(name), causes);
    }
    let items = at.child("items");
    match &schema["items"] {
        one @ Value::Object(_) => open_api(one, below, &items, causes),
        Value::Array(several) => {
            several.iter().enumerate().for_each(|(i, one)| open_api(one, below, &items.index(i), causes));
        }
        _ => {}
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let at = at.child("x-kubernetes-preserve-unknown-fields");
        causes.invalid(&at, false, "must be true or undefined");
    }
    extensions(schema, at, causes);
}

/// What is no part of these schemas.
fn unsupported(schema: &Value, place: Place, at: &Path, causes: &mut Causes) {
    if let Some(reason) = place.no_defaults.filter(|_| !schema["default"].is_null()) {
        causes.forbidden(&at.child("default"), &format!("must not be set {reason}"));
    }
    for field in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let empty = matches!(field, "id" | "patternProperties" | "definitions") && is_empty(&schema[field]);
        if !schema[field].is_null() && !empty {
            causes.forbidden(&at.child(field), &format!("{field} is not supported"));
        }
    }
    match text(&schema["type"]) {
        "" => {}
        "null" => {
            causes.forbidden(&at.child("type"), "type cannot be set to null, use nullable as an alternative");
        }
        _ => causes.one_of(&at.child("type"), &schema["type"], &TYPES),
    }
    if schema["items"].is_array() {
        causes.forbidden(&at.child("items"), "items must be a schema object and not an array");
    }
    if place.inside_metadata && is_true(&schema["x-kubernetes-embedded-resource"]) {
        let at = at.child("x-kubernetes-embedded-resource");
        causes.forbidden(&at, "must not be used inside of resource meta");
    }
}

/// The extensions that say how lists and maps are merged.
fn extensions(schema: &Value, at: &Path, causes: &mut Causes) {
    let must_be = |kind: &str, extension: &str, causes: &mut Causes| {
        let why = format!("must be {kind} if {extension} is specified");
        match text(&schema["type"]) {
            "" => causes.required(&at.child("type"), &why),
            other => causes.invalid(&at.child("type"), other, &why),
        }
    };
    let map_type = &schema["x-kubernetes-map-type"];
    if !map_type.is_null() {
        if schema["type"] != "object" {
            must_be("object", "x-kubernetes-map-type", causes);
        }
        causes.one_of(&at.child("x-kubernetes-map-type"), map_type, &["atomic", "granular"]);
    }
    let list_type = &schema["x-kubernetes-list-type"];
    let list_type_at = at.child("x-kubernetes-list-type");
    if !list_type.is_null() {
        if schema["type"] == "array" {
            causes.one_of(&list_type_at, list_type, &["atomic", "set", "map"]);
        } else {
            must_be("array", "x-kubernetes-list-type", causes);
        }
    }
    let keys = &schema["x-kubernetes-list-map-keys"];
    if !is_empty(keys) {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        match text(list_type) {
            "" => causes.required(&list_type_at, why),
            "map" => {}
            other => causes.invalid(&list_type_at, other, why),
        }
    }
    match text(list_type) {
        "map" => list_map(schema, at, causes),
        "set" => list_set(schema, at, causes),
        _ => {}
    }
}

fn list_map(schema: &Value, at: &Path, causes: &mut Causes) {
    let keys = list(&schema["x-kubernetes-list-map-keys"]);
    let keys_at = at.child("x-kubernetes-list-map-keys");
    if keys.is_empty() {
        causes.required(&keys_at, "must not be empty if x-kubernetes-list-type is map");
    }
    let (item, items_at) = (&schema["items"], at.child("items"));
    match item {
        Value::Object(_) => {}
        Value::Null => return causes.required(&items_at, "must have a schema if x-kubernetes-list-type is map"),
        other => {
            let why = "must only have a single schema if x-kubernetes-list-type is map";
            return causes.invalid(&items_at, other, why);
        }
    }
    let properties = items_at.child("properties");
    if item["type"] == "object" {
        let mut known = std::collections::HashSet::new();
        for key in keys {
            let property = &item["properties"][text(key)];
            if property.is_null() {
                causes.invalid(&keys_at, keys, "entries must all be names of item properties");
            } else if matches!(text(&property["type"]), "array" | "object") {
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let at = properties.key(text(key));
                causes.invalid(&at.child("type"), &item["type"], why);
            }
            if !known.insert(text(key)) {
                causes.invalid(&keys_at, keys, "must not contain duplicate entries");
            }
        }
    } else {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        causes.invalid(&items_at.child("type"), text(&item["type"]), why);
    }
    if is_true(&item["nullable"]) {
        causes.forbidden(&items_at.child("nullable"), "cannot be nullable when x-kubernetes-list-type is map");
    }
    for key in keys {
        let property = &item["properties"][text(key)];
        if property.is_null() {
            continue;
        }
        let at = properties.key(text(key));
        if !list(&item["required"]).contains(key) && property["default"].is_null() {
            let why =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            causes.required(&at.child("default"), why);
        }
        if is_true(&property["nullable"]) {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            causes.forbidden(&at.child("nullable"), why);
        }
    }
}

fn list_set(schema: &Value, at: &Path, causes: &mut Causes) {
    let (item, at) = (&schema["items"], at.child("items"));
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    match text(&item["type"]) {
        "array" if !matches!(text(&item["x-kubernetes-list-type"]), "" | "atomic") => {
            causes.invalid(&at.child("x-kubernetes-list-type"), &item["x-kubernetes-list-type"], why);
        }
        "object" if item["x-kubernetes-map-type"] != "atomic" => {
            causes.invalid(&at.child("x-kubernetes-map-type"), &item["x-kubernetes-map-type"], why);
        }
        _ => {}
    }
    if is_true(&item["nullable"]) {
        causes.forbidden(&at.child("nullable"), "cannot be nullable when x-kubernetes-list-type is set");
    }
}

/// A cause as one line of text, by which upstream sorts them.
pub fn line(cause: &Cause) -> String {
    json!(format!("{}: {}", cause.field, cause.message)).to_string()
}
