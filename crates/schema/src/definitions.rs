//! Definitions: the schemas of all types, compact, referring to each other by index.
//!
//! Invariant: a reference between definitions always leads to a definition of the same set.

use crate::overlay::{self, DefinitionFacts, FieldFacts};
use crate::sources;
use serde_json::{Map, Value};
use std::sync::OnceLock;

/// A set of definitions that refer to each other.
pub struct Definitions {
    /// Sorted by name.
    all: Vec<Definition>,
    /// Sorted.
    kinds: Vec<([&'static str; 3], DefinitionId)>,
    /// Kinds of every group and version.
    everywhere: Vec<(&'static str, DefinitionId)>,
}

/// The place of a definition in its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DefinitionId(u32);

impl DefinitionId {
    /// A number of its own.
    pub fn index(self) -> u32 {
        self.0
    }
}

/// The schema of one type: an object's fields, or nothing for a type whose values are no objects with known fields.
pub struct Definition {
    name: Box<str>,
    /// Sorted by name.
    pub(crate) fields: Box<[Field]>,
    /// Places of the fields that are printed also when they are absent.
    printed: Box<[u16]>,
    /// Places of the fields that are filled in by defaults, the printed ones among them.
    filled: Box<[u16]>,
}

/// One field of an object.
pub(crate) struct Field {
    pub name: Box<str>,
    pub schema: Schema,
    pub absent: Absent,
    /// Whether an empty value says something other than none.
    pub pointer: bool,
    pub default: Option<Value>,
    pub merge: Merge,
}

impl Field {
    /// The default, unless it is the empty value that the field then leaves out.
    pub fn declared_default(&self) -> Option<&Value> {
        let is_empty = |default: &Value| *default == "" || *default == 0 || *default == false;
        self.default.as_ref().filter(|default| self.pointer || !is_empty(default))
    }
}

/// How Go prints a field that has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    Omitted,
    Null,
    /// As the empty value of its type.
    Zero,
}

/// What a strategic merge patch does to a list or an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Merge {
    /// Lists are merged by this key; the empty key is for lists of scalars.
    pub list_key: Option<&'static str>,
    /// Objects are replaced.
    pub replace: bool,
}

/// What a value may be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Schema {
    Any,
    Bool,
    Int32,
    Int64,
    Number,
    String,
    /// Base64 on the wire.
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    Object(DefinitionId),
    List(Box<Schema>),
    Map(Box<Schema>),
    /// A boolean, or the alternative.
    OrBool(Box<Schema>),
    /// A list of the first, or the second alone.
    OrList(Box<Schema>, Box<Schema>),
}

/// The definitions of the built-in kinds.
pub fn builtin() -> &'static Definitions {
    static BUILTIN: OnceLock<Definitions> = OnceLock::new();
    BUILTIN.get_or_init(Definitions::build)
}

impl Definitions {
    /// The definition of that name, e.g. `io.k8s.api.core.v1.Pod`.
    pub fn get(&self, name: &str) -> Option<&Definition> {
        let at = self.all.binary_search_by(|definition| definition.name().cmp(name)).ok()?;
        self.all.get(at)
    }

    /// The definition of a kind.
    pub fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Definition> {
        let id = match self.kinds.binary_search_by(|(known, _)| known.as_slice().cmp([group, version, kind].as_slice()))
        {
            Ok(at) => self.kinds[at].1,
            Err(_) => self.everywhere.iter().find(|(known, _)| *known == kind)?.1,
        };
        Some(self.at(id))
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = DefinitionId> + use<> {
        (0..u32::try_from(self.all.len()).unwrap_or(u32::MAX)).map(DefinitionId)
    }

    pub(crate) fn at(&self, id: DefinitionId) -> &Definition {
        &self.all[id.0 as usize]
    }

    fn build() -> Definitions {
        let facts = overlay::facts();
        let sources = sources::definitions(&facts);
        let mut names: Vec<&str> = sources.keys().map(String::as_str).collect();
        names.sort_unstable();
        let no_facts = DefinitionFacts::default();
        let compiler = Compiler { names };
        let facts_of = |name: &str| facts.get(name).unwrap_or(&no_facts);
        let all =
            compiler.names.iter().map(|name| compiler.definition(name, &sources[*name], facts_of(name))).collect();
        let (mut kinds, mut everywhere) = (Vec::new(), Vec::new());
        for (name, facts) in &facts {
            for kind in &facts.kinds {
                match kind {
                    ["*", _, kind] => everywhere.push((*kind, compiler.id(name))),
                    _ => kinds.push((*kind, compiler.id(name))),
                }
            }
        }
        kinds.sort_unstable_by_key(|(kind, _)| *kind);
        Definitions { all, kinds, everywhere }
    }
}

impl Definition {
    /// `io.k8s.api.core.v1.Pod`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fields that are printed also when they are absent.
    pub(crate) fn printed(&self) -> impl Iterator<Item = &Field> {
        self.printed.iter().map(|at| &self.fields[usize::from(*at)])
    }

    /// The fields that are filled in by defaults, the printed ones among them.
    pub(crate) fn filled(&self) -> impl Iterator<Item = &Field> {
        self.filled.iter().map(|at| &self.fields[usize::from(*at)])
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()?;
        self.fields.get(at)
    }
}

/// Turns OpenAPI into definitions.
struct Compiler<'a> {
    /// Sorted; a definition's id is its place here.
    names: Vec<&'a str>,
}

impl Compiler<'_> {
    fn id(&self, name: &str) -> DefinitionId {
        let at = self.names.binary_search(&name).unwrap_or_else(|_| panic!("no schema defines {name}"));
        DefinitionId(u32::try_from(at).expect("there are fewer than 2^32 definitions"))
    }

    fn definition(&self, name: &str, schema: &Value, facts: &DefinitionFacts) -> Definition {
        let no_facts = FieldFacts::default();
        let empty = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&empty);
        let mut fields: Vec<Field> = properties
            .iter()
            .map(|(field, schema)| self.field(field, schema, facts.fields.get(field.as_str()).unwrap_or(&no_facts)))
            .collect();
        fields.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let places =
            |wanted: fn(&Field) -> bool| (0..).zip(&fields).filter(|(_, f)| wanted(f)).map(|(at, _)| at).collect();
        let printed = places(|field| field.absent != Absent::Omitted);
        let filled = places(|field| field.absent != Absent::Omitted || field.declared_default().is_some());
        Definition { name: name.into(), fields: fields.into(), printed, filled }
    }

    fn field(&self, name: &str, schema: &Value, facts: &FieldFacts) -> Field {
        let patch = facts.patch.unwrap_or_default();
        let merge = Merge {
            list_key: patch.contains("merge").then_some(facts.merge.unwrap_or_default()),
            replace: patch.contains("replace"),
        };
        let absent = match (facts.null, facts.zero) {
            (true, _) => Absent::Null,
            (_, true) => Absent::Zero,
            _ => Absent::Omitted,
        };
        Field {
            name: name.into(),
            schema: self.schema(schema),
            absent,
            pointer: facts.pointer,
            default: facts.default.clone(),
            merge,
        }
    }

    fn schema(&self, schema: &Value) -> Schema {
        if let Some(name) = sources::reference(schema) {
            return self.reference(name);
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("boolean"), _) => Schema::Bool,
            (Some("integer"), Some("int32")) => Schema::Int32,
            (Some("integer"), _) => Schema::Int64,
            (Some("number"), _) => Schema::Number,
            (Some("string"), Some("byte")) => Schema::Bytes,
            (Some("string"), _) => Schema::String,
            (Some("array"), _) => Schema::List(Box::new(self.schema(&schema["items"]))),
            (Some("object"), _) if schema["additionalProperties"].is_object() => {
                Schema::Map(Box::new(self.schema(&schema["additionalProperties"])))
            }
            (Some("object"), _) => Schema::Any,
            (None, _) if schema["$ref"].is_null() && schema["allOf"].is_null() => Schema::Any,
            _ => panic!("a schema is in no form that is known: {schema}"),
        }
    }

    fn reference(&self, name: &str) -> Schema {
        let json_schema = || {
            let props = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
            Box::new(Schema::Object(self.id(props)))
        };
        match name.rsplit('.').next().unwrap_or(name) {
            "Time" => Schema::Time,
            "MicroTime" => Schema::MicroTime,
            "Quantity" => Schema::Quantity,
            "IntOrString" => Schema::IntOrString,
            "FieldsV1" | "JSON" | "Patch" | "RawExtension" => Schema::Any,
            "JSONSchemaPropsOrBool" => Schema::OrBool(json_schema()),
            "JSONSchemaPropsOrArray" => Schema::OrList(json_schema(), json_schema()),
            "JSONSchemaPropsOrStringArray" => Schema::OrList(Box::new(Schema::String), json_schema()),
            _ => Schema::Object(self.id(name)),
        }
    }
}
