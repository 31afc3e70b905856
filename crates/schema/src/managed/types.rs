//! Types as field management sees them: what is one value, what is merged field by field, and what tells the items of a
//! list apart. Made of definitions for built-in kinds, and of OpenAPI schemas for custom ones.

use crate::definitions::{DefinitionId, Definitions, Schema, builtin};
use crate::overlay::{self, DefinitionFacts, FieldFacts};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

/// A set of types that refer to each other, and perhaps to the built-in ones.
#[derive(Debug)]
pub struct Types {
    base: Option<&'static Types>,
    nodes: Vec<Type>,
    /// The types of definitions, by their names.
    named: HashMap<Box<str>, TypeId>,
}

/// The place of a type in its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypeId(u32);

/// What a value of the type may be; several, where the value tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Type {
    pub scalar: Option<Scalar>,
    pub list: Option<List>,
    pub map: Option<Fields>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Numeric,
    String,
    Boolean,
    Any,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct List {
    pub items: Items,
    pub element: TypeId,
}

/// What tells the items of a list apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Items {
    /// Nothing: the list is one value.
    Atomic,
    /// They themselves do.
    Set,
    /// These of their fields, sorted, with the values that stand for absent ones.
    Map(Box<[(Box<str>, Option<Value>)]>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fields {
    /// Whether it is one value.
    pub atomic: bool,
    /// Sorted by name.
    pub fields: Box<[(Box<str>, TypeId)]>,
    /// The type of every other field, if there may be others.
    pub others: Option<TypeId>,
}

impl Fields {
    pub fn declared(&self, name: &str) -> Option<TypeId> {
        let at = self.fields.binary_search_by(|(field, _)| (**field).cmp(name)).ok()?;
        Some(self.fields[at].1)
    }

    /// The type of a field, `None` for one that the type does not have.
    pub fn field(&self, name: &str) -> Option<TypeId> {
        self.declared(name).or(self.others)
    }
}

/// Any value; lists are one value each.
pub(crate) const DEDUCED: TypeId = TypeId(0);
const ATOMIC: TypeId = TypeId(1);
const SCALARS: [(Scalar, TypeId); 4] =
    [(Scalar::Numeric, TypeId(2)), (Scalar::String, TypeId(3)), (Scalar::Boolean, TypeId(4)), (Scalar::Any, TypeId(5))];

/// A type of a set.
#[derive(Clone, Copy)]
pub struct Typed<'a> {
    pub(crate) types: &'a Types,
    pub(crate) root: TypeId,
}

/// The type of a built-in kind, or of any other type that a definition describes.
pub fn builtin_type(group: &str, version: &str, kind: &str) -> Option<Typed<'static>> {
    let name = builtin().of_kind(group, version, kind)?.name();
    let types = Types::builtin();
    Some(Typed { types, root: *types.named.get(name)? })
}

/// A new object of a built-in kind, before anything is set: what Go prints of it.
pub fn empty_object(group: &str, version: &str, kind: &str) -> &'static Value {
    static NOTHING: OnceLock<Value> = OnceLock::new();
    static EMPTY: OnceLock<HashMap<&'static str, OnceLock<Value>>> = OnceLock::new();
    let nothing = || NOTHING.get_or_init(|| Value::Object(serde_json::Map::new()));
    let Some(def) = builtin().of_kind(group, version, kind) else { return nothing() };
    let empty = EMPTY.get_or_init(|| builtin().ids().map(|id| (builtin().at(id).name(), OnceLock::new())).collect());
    match empty.get(def.name()) {
        Some(empty) => empty.get_or_init(|| crate::conform::zero_object(builtin(), def)),
        None => nothing(),
    }
}

/// The type of objects without a schema: field by field, as far as they are objects.
pub fn deduced_type() -> Typed<'static> {
    Typed { types: Types::builtin(), root: DEDUCED }
}

impl Types {
    pub(crate) fn get(&self, id: TypeId) -> &Type {
        match self.base {
            Some(base) if (id.0 as usize) < base.nodes.len() => &base.nodes[id.0 as usize],
            Some(base) => &self.nodes[id.0 as usize - base.nodes.len()],
            None => &self.nodes[id.0 as usize],
        }
    }

    fn builtin() -> &'static Types {
        static TYPES: OnceLock<Types> = OnceLock::new();
        TYPES.get_or_init(|| FromDefinitions::build(builtin()))
    }

    /// The types of a custom resource's schema: OpenAPI v3 with Kubernetes' extensions. Metadata is as everywhere.
    pub fn of_schema(schema: &Value) -> Types {
        let base = Types::builtin();
        let mut types = Types { base: Some(base), nodes: Vec::new(), named: HashMap::new() };
        let mut root = types.of_object(schema, false);
        let metadata = base.named.get(OBJECT_META).copied().unwrap_or(DEDUCED);
        if let Some(map) = &mut root.map {
            let mut fields: BTreeMap<Box<str>, TypeId> = std::mem::take(&mut map.fields).into_iter().collect();
            fields.insert("apiVersion".into(), scalar(Scalar::String));
            fields.insert("kind".into(), scalar(Scalar::String));
            fields.insert("metadata".into(), metadata);
            map.fields = fields.into_iter().collect();
        }
        let root = types.push(root);
        types.named.insert("".into(), root);
        types
    }

    /// The type that [`Types::of_schema`] was made for.
    pub fn root(&self) -> Typed<'_> {
        Typed { types: self, root: self.named.get("").copied().unwrap_or(DEDUCED) }
    }

    fn push(&mut self, node: Type) -> TypeId {
        let at = self.nodes.len() + self.base.map_or(0, |base| base.nodes.len());
        self.nodes.push(node);
        TypeId(u32::try_from(at).expect("a schema has fewer than 2^32 types"))
    }

    fn of_schema_at(&mut self, schema: &Value, preserve: bool) -> TypeId {
        let preserve = preserve || schema["x-kubernetes-preserve-unknown-fields"] == true;
        if schema["x-kubernetes-int-or-string"] == true {
            return scalar(Scalar::Any);
        }
        match schema["type"].as_str() {
            Some("object") => {
                let node = self.of_object(schema, preserve);
                self.push(node)
            }
            Some("array") => {
                let element = match &schema["items"] {
                    Value::Null => DEDUCED,
                    items => self.of_schema_at(items, preserve),
                };
                let items = match schema["x-kubernetes-list-type"].as_str() {
                    Some("set") => Items::Set,
                    Some("map") => Items::Map(keys(
                        schema["x-kubernetes-list-map-keys"]
                            .as_array()
                            .into_iter()
                            .flatten()
                            .filter_map(|k| k.as_str()),
                        |key| Some(&schema["items"]["properties"][key]["default"]).filter(|d| !d.is_null()).cloned(),
                    )),
                    _ => Items::Atomic,
                };
                self.push(Type { list: Some(List { items, element }), ..Type::default() })
            }
            Some("integer" | "number") => scalar(Scalar::Numeric),
            Some("boolean") => scalar(Scalar::Boolean),
            Some("string") => match schema["format"].as_str() {
                None | Some("" | "byte") => scalar(Scalar::String),
                Some(_) => scalar(Scalar::Any),
            },
            _ => DEDUCED,
        }
    }

    fn of_object(&mut self, schema: &Value, preserve: bool) -> Type {
        let preserve = preserve || schema["x-kubernetes-preserve-unknown-fields"] == true;
        let properties = schema["properties"].as_object();
        let mut fields: BTreeMap<Box<str>, TypeId> = BTreeMap::new();
        for (name, property) in properties.into_iter().flatten() {
            fields.insert(name.as_str().into(), self.of_schema_at(property, preserve));
        }
        if schema["x-kubernetes-embedded-resource"] == true {
            let metadata = Types::builtin().named.get(OBJECT_META).copied().unwrap_or(DEDUCED);
            fields.insert("apiVersion".into(), scalar(Scalar::String));
            fields.insert("kind".into(), scalar(Scalar::String));
            fields.insert("metadata".into(), metadata);
        }
        let others = match &schema["additionalProperties"] {
            Value::Null if preserve || properties.is_none_or(serde_json::Map::is_empty) => Some(DEDUCED),
            Value::Null | Value::Bool(false) => None,
            Value::Bool(true) => Some(DEDUCED),
            others => Some(self.of_schema_at(others, preserve)),
        };
        let atomic = schema["x-kubernetes-map-type"] == "atomic";
        let map = Fields { atomic, fields: fields.into_iter().collect(), others };
        Type { map: Some(map), ..Type::default() }
    }
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn scalar(kind: Scalar) -> TypeId {
    SCALARS.iter().find(|(known, _)| *known == kind).map_or(DEDUCED, |(_, id)| *id)
}

fn keys<'k>(
    names: impl Iterator<Item = &'k str>,
    default: impl Fn(&str) -> Option<Value>,
) -> Box<[(Box<str>, Option<Value>)]> {
    let mut keys: Vec<(Box<str>, Option<Value>)> = names.map(|name| (name.into(), default(name))).collect();
    keys.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    keys.into()
}

/// The nodes that [`DEDUCED`], [`ATOMIC`] and [`SCALARS`] name.
fn common() -> Vec<Type> {
    let deduced = |atomic: bool, below: TypeId| Type {
        scalar: Some(Scalar::Any),
        list: Some(List { items: Items::Atomic, element: ATOMIC }),
        map: Some(Fields { atomic, fields: Box::default(), others: Some(below) }),
    };
    let mut nodes = vec![deduced(false, DEDUCED), deduced(true, ATOMIC)];
    nodes.extend(SCALARS.iter().map(|(kind, _)| Type { scalar: Some(*kind), ..Type::default() }));
    nodes
}

/// Turns definitions and the facts about them into types.
struct FromDefinitions {
    defs: &'static Definitions,
    facts: BTreeMap<&'static str, DefinitionFacts>,
    types: Types,
    made: HashMap<u32, TypeId>,
}

impl FromDefinitions {
    fn build(defs: &'static Definitions) -> Types {
        let types = Types { base: None, nodes: common(), named: HashMap::new() };
        let mut from = FromDefinitions { defs, facts: overlay::facts(), types, made: HashMap::new() };
        for id in defs.ids() {
            let made = from.definition(id);
            from.types.named.insert(defs.at(id).name().into(), made);
        }
        from.types
    }

    fn definition(&mut self, id: DefinitionId) -> TypeId {
        if let Some(made) = self.made.get(&id.index()) {
            return *made;
        }
        // Types may hold themselves: the place is taken before it is filled.
        let made = self.types.push(Type::default());
        self.made.insert(id.index(), made);
        let def = self.defs.at(id);
        let no_facts = FieldFacts::default();
        let mut fields: Vec<(Box<str>, TypeId)> = Vec::with_capacity(def.fields.len());
        for field in &def.fields {
            let at = self.facts.get(def.name()).and_then(|facts| facts.fields.get(&*field.name));
            let (list, map, keys) = at.map_or((no_facts.list, no_facts.map, &[][..]), |f| (f.list, f.map, &f.keys[..]));
            let keys = keys.to_vec();
            fields.push((field.name.clone(), self.schema(&field.schema, list, map, &keys)));
        }
        let atomic = self.facts.get(def.name()).is_some_and(|facts| facts.map == Some("atomic"));
        // An object of which nothing is known may hold anything.
        let others = fields.is_empty().then_some(DEDUCED);
        let map = Fields { atomic, fields: fields.into(), others };
        self.types.nodes[made.0 as usize].map = Some(map);
        made
    }

    fn schema(&mut self, schema: &Schema, list: Option<&str>, map: Option<&str>, keyed_by: &[&str]) -> TypeId {
        match schema {
            Schema::Bool => scalar(Scalar::Boolean),
            Schema::Int32 | Schema::Int64 | Schema::Number => scalar(Scalar::Numeric),
            Schema::String | Schema::Bytes => scalar(Scalar::String),
            Schema::Time | Schema::MicroTime | Schema::Quantity | Schema::IntOrString => scalar(Scalar::Any),
            // Of what may be anything, nothing is looked into.
            Schema::Any => ATOMIC,
            Schema::OrBool(_) | Schema::OrList(..) => DEDUCED,
            Schema::Object(id) => {
                let made = self.definition(*id);
                match (map, self.types.nodes[made.0 as usize].map.clone()) {
                    (Some(relation), Some(fields)) if fields.atomic != (relation == "atomic") => {
                        let map = Fields { atomic: relation == "atomic", ..fields };
                        self.types.push(Type { map: Some(map), ..Type::default() })
                    }
                    _ => made,
                }
            }
            Schema::List(item) => {
                let element = self.schema(item, None, None, &[]);
                let items = match list {
                    Some("set") => Items::Set,
                    Some("map") => {
                        let item = match &**item {
                            Schema::Object(id) => Some(self.defs.at(*id)),
                            _ => None,
                        };
                        // A field that is always printed has a default: the empty value.
                        let default = |key: &str| {
                            let field = item?.field(key)?;
                            field.default.clone().or_else(|| crate::conform::printed(self.defs, field))
                        };
                        Items::Map(keys(keyed_by.iter().copied(), default))
                    }
                    _ => Items::Atomic,
                };
                self.types.push(Type { list: Some(List { items, element }), ..Type::default() })
            }
            Schema::Map(item) => {
                let others = Some(self.schema(item, None, None, &[]));
                let map = Fields { atomic: map == Some("atomic"), fields: Box::default(), others };
                self.types.push(Type { map: Some(map), ..Type::default() })
            }
        }
    }
}
