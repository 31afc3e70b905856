//! The versions of a definition: names, flags, and what may differ from version to version.
//!
//! What is the same in all versions is checked once, as a part of `spec`.

use super::{SPEC, field_path, schemas};
use crate::causes::{Causes, Path};
use crate::names;
use crate::value::{is_empty, is_true, list, repeats, text};
use serde::Serialize;
use serde_json::Value;

/// The most fields of one version that selectors may name.
const SELECTABLE_MAX: usize = 8;

/// The most versions of a definition.
const VERSIONS_MAX: usize = 100;

/// What a version may have of its own, and as it is named in `spec` when all have the same.
const PARTS: [(&str, &str); 4] = [
    ("schema", "validation"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// Whether all versions have the same of a part.
fn is_common(versions: &[Value], part: &str) -> bool {
    versions.windows(2).all(|pair| pair[0][part] == pair[1][part])
}

fn has_status(version: &Value) -> bool {
    version["subresources"]["status"].is_object()
}

pub fn validate(spec: &Value, causes: &mut Causes) {
    let at = SPEC.child("versions");
    let versions = list(&spec["versions"]);
    if versions.len() > VERSIONS_MAX {
        return causes.too_many(&at, versions.len(), VERSIONS_MAX);
    }
    let lacks_schema = |version: &Value| !version["schema"]["openAPIV3Schema"].is_object();
    // That unknown fields are kept is told once, of the whole.
    if !is_true(&spec["preserveUnknownFields"]) {
        for (i, _) in versions.iter().enumerate().filter(|(_, version)| lacks_schema(version)) {
            let at = at.index(i);
            let at = at.child("schema");
            causes.required(&at.child("openAPIV3Schema"), "");
        }
    }
    for (i, version) in versions.iter().enumerate() {
        let (at, name) = (at.index(i), text(&version["name"]));
        let problems = names::dns_1035_label(name);
        if !problems.is_empty() {
            causes.invalid(&at.child("name"), name, &problems.join(","));
        }
        deprecation(version, &at.child("deprecationWarning"), causes);
        for (part, _) in PARTS.iter().filter(|(part, _)| !is_common(versions, part)) {
            self::part(version, part, has_status(version), &at.child(part), causes);
        }
    }
    let shown = || -> Vec<Internal> { versions.iter().map(|version| internal(version, versions)).collect() };
    if !repeats(versions.iter().map(|version| text(&version["name"]))).is_empty() {
        causes.invalid(&at, shown(), "must contain unique version names");
    }
    if versions.iter().filter(|version| is_true(&version["storage"])).count() != 1 {
        causes.invalid(&at, shown(), "must have exactly one version marked as storage version");
    }
    if let Some(first) = versions.first() {
        let name = text(&first["name"]);
        let problems = names::dns_1035_label(name);
        if !problems.is_empty() && !name.is_empty() {
            causes.invalid(&SPEC.child("version"), name, &problems.join(","));
        }
    }
}

/// What all versions have in common.
pub fn common(spec: &Value, causes: &mut Causes) {
    let versions = list(&spec["versions"]);
    let Some(first) = versions.first().filter(|_| versions.len() <= VERSIONS_MAX) else { return };
    let any_status = versions.iter().any(has_status);
    for (part, place) in PARTS.iter().filter(|(part, _)| is_common(versions, part)) {
        self::part(first, part, any_status, &SPEC.child(place), causes);
    }
}

fn part(version: &Value, part: &str, has_status: bool, at: &Path, causes: &mut Causes) {
    let schema = &version["schema"]["openAPIV3Schema"];
    match part {
        "schema" if schema.is_object() => schemas::validate(schema, has_status, at, causes),
        "subresources" if version[part].is_object() => subresources(&version[part], at, causes),
        "additionalPrinterColumns" => {
            list(&version[part]).iter().enumerate().for_each(|(i, c)| column(c, &at.index(i), causes));
        }
        "selectableFields" => selectable(list(&version[part]), schema, at, causes),
        _ => {}
    }
}

/// A version as upstream's internal form shows it, without what all versions have in common.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Internal<'a> {
    name: &'a Value,
    served: bool,
    storage: bool,
    deprecated: bool,
    deprecation_warning: &'a Value,
    schema: &'a Value,
    subresources: &'a Value,
    additional_printer_columns: &'a Value,
    selectable_fields: &'a Value,
}

fn internal<'a>(version: &'a Value, versions: &[Value]) -> Internal<'a> {
    let own = |part: &str| if is_common(versions, part) { &Value::Null } else { &version[part] };
    Internal {
        name: &version["name"],
        served: is_true(&version["served"]),
        storage: is_true(&version["storage"]),
        deprecated: is_true(&version["deprecated"]),
        deprecation_warning: &version["deprecationWarning"],
        schema: own("schema"),
        subresources: own("subresources"),
        additional_printer_columns: own("additionalPrinterColumns"),
        selectable_fields: own("selectableFields"),
    }
}

fn deprecation(version: &Value, at: &Path, causes: &mut Causes) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    if !is_true(&version["deprecated"]) {
        causes.invalid(at, warning, "can only be set for deprecated versions");
    }
    if warning.len() > 256 {
        causes.invalid(at, warning, "must be <= 256 characters long");
    }
    if warning.is_empty() {
        causes.invalid(at, warning, "must not be an empty string");
    }
    if let Some((i, _)) = warning.char_indices().find(|(_, c)| c.is_control() || (c.is_whitespace() && *c != ' ')) {
        let why = format!("must only contain printable UTF-8 characters; non-printable character found at index {i}");
        causes.invalid(at, warning, &why);
    }
}

fn subresources(subresources: &Value, at: &Path, causes: &mut Causes) {
    let scale = &subresources["scale"];
    if !scale.is_object() {
        return;
    }
    let at = at.child("scale");
    let mut path = |field: &str, below: &[&str], required: bool, why: &str| {
        let at = at.child(field);
        let path = text(&scale[field]);
        match path {
            "" if required => causes.required(&at, ""),
            "" => {}
            _ if !path.starts_with('.') => causes.invalid(&at, path, "must be a simple json path starting with ."),
            _ if !below.iter().any(|root| path.starts_with(root)) => causes.invalid(&at, path, why),
            _ => {}
        }
    };
    path("specReplicasPath", &[".spec."], true, "should be a json path under .spec");
    path("statusReplicasPath", &[".status."], true, "should be a json path under .status");
    let either = "should be a json path under either .spec or .status";
    path("labelSelectorPath", &[".spec.", ".status."], false, either);
}

fn column(column: &Value, at: &Path, causes: &mut Causes) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    if is_empty(&column["name"]) {
        causes.required(&at.child("name"), "");
    }
    let one_of = |list: &[&str]| format!("must be one of {}", list.join(","));
    match text(&column["type"]) {
        "" => causes.required(&at.child("type"), &one_of(&TYPES)),
        kind if !TYPES.contains(&kind) => causes.invalid(&at.child("type"), kind, &one_of(&TYPES)),
        _ => {}
    }
    match text(&column["format"]) {
        "" => {}
        format if !FORMATS.contains(&format) => causes.invalid(&at.child("format"), format, &one_of(&FORMATS)),
        _ => {}
    }
    match text(&column["jsonPath"]) {
        "" => causes.required(&at.child("JSONPath"), ""),
        path if !path.starts_with('.') => {
            causes.invalid(&at.child("JSONPath"), path, "must be a simple json path starting with .");
        }
        _ => {}
    }
}

fn selectable(fields: &[Value], schema: &Value, at: &Path, causes: &mut Causes) {
    const KINDS: &str = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                         formats are allowed.";
    let mut known = std::collections::HashSet::new();
    for (i, field) in fields.iter().enumerate() {
        let at = at.index(i);
        let at = at.child("jsonPath");
        let path = text(&field["jsonPath"]);
        if path.is_empty() {
            causes.required(&at, "");
            continue;
        }
        match field_path::resolve(path, schema) {
            Err(why) => causes.invalid(&at, path, &format!("is an invalid path: {why}")),
            Ok((_, name)) if name == "metadata" || name.starts_with("metadata.") => {
                causes.invalid(&at, path, "must not point to fields in metadata");
            }
            Ok((schema, _)) if !matches!(text(&schema["type"]), "string" | "boolean" | "integer") => {
                causes.invalid(&at, path, KINDS);
            }
            Ok((_, name)) => {
                if !known.insert(name) {
                    causes.duplicate(&at, path);
                }
            }
        }
    }
    if known.len() > SELECTABLE_MAX {
        causes.too_many(at, known.len(), SELECTABLE_MAX);
    }
}
