//! The definitions as they are published, as OpenAPI v3: with descriptions, extensions and defaults.

use super::{REFERENCE, enums};
use crate::overlay::{self, DefinitionFacts, FieldFacts};
use crate::sources;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Fields in the metadata of everything that the server sets and no client has to know. Version 2 tells of them, as kubectl
/// checks what was edited by it; without them in version 3, what kubectl explains is the same as with upstream's.
const UNTOLD: [(&str, &str); 4] = [
    ("io.k8s.api.core.v1.ObjectReference", "tenant"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "hashKey"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "tenant"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference", "hashKey"),
];

/// All published definitions. Large: it lives as long as documents are made from it.
pub(super) struct Schemas {
    definitions: Map<String, Value>,
    kinds: Vec<([&'static str; 3], &'static str)>,
    /// What was added: group, version and kind, and the name of the definition.
    own: Vec<([String; 3], String)>,
}

impl Schemas {
    pub fn published() -> Schemas {
        let facts = overlay::facts();
        let mut definitions = sources::definitions(&facts);
        for (name, facts) in &facts {
            let definition = definitions.get_mut(*name).expect("the overlay's definitions exist");
            add_facts(definition, facts);
        }
        enums::add(&mut definitions);
        let published = facts.iter().filter(|(_, facts)| !facts.unpublished);
        let kinds = published.flat_map(|(name, facts)| facts.kinds.iter().map(|kind| (*kind, *name))).collect();
        Schemas { definitions, kinds, own: Vec::new() }
    }

    /// What version 3 publishes.
    pub fn version_3() -> Schemas {
        let mut schemas = Schemas::published();
        for (definition, field) in UNTOLD {
            let fields =
                schemas.definitions[definition]["properties"].as_object_mut().expect("a definition with fields");
            fields.remove(field).expect("a field that is served");
        }
        schemas
    }

    /// Adds the definition of a kind that is not built in.
    pub fn add(&mut self, group: &str, version: &str, kind: &str, name: String, definition: Value) {
        self.definitions.insert(name.clone(), definition);
        self.own.push(([group.to_owned(), version.to_owned(), kind.to_owned()], name));
    }

    /// Whether a definition was added.
    pub fn is_added(&self, name: &str) -> bool {
        self.own.iter().any(|(_, own)| own == name)
    }

    /// Whether a kind was added.
    pub fn is_own(&self, group: &str, version: &str, kind: &str) -> bool {
        self.own.iter().any(|(own, _)| *own == [group, version, kind])
    }

    /// The definition of a kind.
    pub fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<&str> {
        let built_in = self.kinds.iter().find(|(known, _)| *known == [group, version, kind]).map(|(_, name)| *name);
        built_in.or_else(|| {
            let own = self.own.iter().find(|(known, _)| *known == [group, version, kind]);
            own.map(|(_, name)| name.as_str())
        })
    }

    /// What is reachable from some definitions, sorted by name. Kinds of every group and version are named as kinds of
    /// the given ones.
    pub fn closure(&self, mut open: Vec<String>, groups: &BTreeSet<(&str, &str)>) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        while let Some(name) = open.pop() {
            if found.contains_key(&name) {
                continue;
            }
            if let Some(definition) = self.definitions.get(&name) {
                references(definition, &mut open);
                let mut definition = definition.clone();
                name_kinds_everywhere(&mut definition, groups);
                found.insert(name, definition);
            }
        }
        found
    }
}

fn name_kinds_everywhere(definition: &mut Value, groups: &BTreeSet<(&str, &str)>) {
    let Some(kinds) = definition["x-kubernetes-group-version-kind"].as_array() else { return };
    let Some(everywhere) = kinds.iter().find(|kind| kind["group"] == "*") else { return };
    let kind = everywhere["kind"].clone();
    let named = groups.iter().map(|(group, version)| json!({"group": group, "kind": kind, "version": version}));
    definition["x-kubernetes-group-version-kind"] = named.collect();
}

fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(REFERENCE)) {
                found.push(name.to_owned());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn add_facts(definition: &mut Value, facts: &DefinitionFacts) {
    for (name, facts) in &facts.fields {
        let field = &mut definition["properties"][*name];
        assert!(field.is_object(), "the overlay knows a field {name} that does not exist");
        add_field_facts(field, facts);
    }
    if let Some(map) = facts.map {
        definition["x-kubernetes-map-type"] = json!(map);
    }
    if let Some(unions) = &facts.unions {
        definition["x-kubernetes-unions"] = unions.clone();
    }
    if !facts.kinds.is_empty() {
        let kinds =
            facts.kinds.iter().map(|[group, version, kind]| json!({"group": group, "kind": kind, "version": version}));
        definition["x-kubernetes-group-version-kind"] = kinds.collect();
    }
}

fn add_field_facts(field: &mut Value, facts: &FieldFacts) {
    let extensions = [
        ("x-kubernetes-list-type", facts.list),
        ("x-kubernetes-map-type", facts.map),
        ("x-kubernetes-patch-strategy", facts.patch),
        ("x-kubernetes-patch-merge-key", facts.merge),
    ];
    for (name, value) in extensions {
        if let Some(value) = value {
            field[name] = json!(value);
        }
    }
    if !facts.keys.is_empty() {
        field["x-kubernetes-list-map-keys"] = json!(facts.keys);
    }
    let default = match &facts.default {
        Some(default) => Some(default.clone()),
        None if facts.zero => published_zero(field),
        None => None,
    };
    if let Some(default) = default {
        if let Some(reference) = field.as_object_mut().and_then(|field| field.remove("$ref")) {
            field["allOf"] = json!([{"$ref": reference}]);
        }
        field["default"] = default;
    }
}

/// The default that is published for a field that is always printed.
fn published_zero(field: &Value) -> Option<Value> {
    if let Some(name) = sources::reference(field) {
        let is_scalar = name.ends_with(".IntOrString") || name.ends_with(".Quantity");
        return (!is_scalar).then(|| json!({}));
    }
    match field["type"].as_str() {
        Some("string") => Some(json!("")),
        Some("integer" | "number") => Some(json!(0)),
        Some("boolean") => Some(json!(false)),
        _ => None,
    }
}
