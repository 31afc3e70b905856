//! Structural schemas: what a CustomResourceDefinition says of its objects, compiled once and then used by every request.
//!
//! Pruning, defaulting and validation follow upstream, with its texts. A schema is a tree, so that what a request costs is
//! bounded by the size of the schema times the size of the object; what is larger than that is refused by `STEPS_MAX`.
//!
//! Rules in CEL (`x-kubernetes-validations`) are not known here: `cel` compiles them from the schema itself.
//!
//! For server-side apply: [`Structural::list_type`], [`Structural::list_map_keys`] and [`Structural::atomic_map`].

mod check;
mod defaults;
mod formats;
mod lists;
mod numbers;
mod patterns;
mod prune;

pub use check::check;
pub use defaults::{default, drop_nulls};
pub use lists::repeated_items;
pub use patterns::{Pattern, pattern_error, pattern_weight, translate as translate_pattern};
pub use prune::{Pruned, prune};

use serde_json::Value;

/// The schema of one value.
#[derive(Debug, Default)]
pub struct Structural {
    pub kind: Option<JsonType>,
    /// `int32`, `date-time`; empty for none.
    pub format: Box<str>,
    pub nullable: bool,
    pub default: Option<Value>,
    /// Sorted by name.
    pub properties: Box<[(Box<str>, Structural)]>,
    pub additional: Additional,
    pub items: Option<Box<Structural>>,
    pub preserve_unknown: bool,
    pub embedded: bool,
    pub int_or_string: bool,
    pub list_type: ListType,
    pub list_map_keys: Box<[Box<str>]>,
    /// The object is replaced as a whole.
    pub atomic_map: bool,
    /// What the value must hold beside its type; nothing for most.
    pub(crate) constraints: Option<Box<Constraints>>,
    /// Whether anything below has a default.
    pub(crate) has_defaults: bool,
    /// Whether this or anything below is a list whose items differ from each other.
    pub(crate) has_unique_lists: bool,
    /// Whether this or anything below is an embedded resource.
    pub has_embedded: bool,
}

/// A type of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonType {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

impl JsonType {
    fn parse(text: &str) -> Option<JsonType> {
        Some(match text {
            "array" => JsonType::Array,
            "boolean" => JsonType::Boolean,
            "integer" => JsonType::Integer,
            "number" => JsonType::Number,
            "object" => JsonType::Object,
            "string" => JsonType::String,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            JsonType::Array => "array",
            JsonType::Boolean => "boolean",
            JsonType::Integer => "integer",
            JsonType::Number => "number",
            JsonType::Object => "object",
            JsonType::String => "string",
        }
    }
}

/// What fields beside the properties may hold.
#[derive(Debug, Default)]
pub enum Additional {
    /// The schema does not say: such fields are pruned.
    #[default]
    Unsaid,
    Any,
    Forbidden,
    Each(Box<Structural>),
}

/// How the items of a list are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ListType {
    /// Not at all; the list is replaced as a whole.
    #[default]
    Atomic,
    Set,
    Map,
}

/// What a value must hold beside its type.
#[derive(Debug, Default)]
pub(crate) struct Constraints {
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub pattern: Option<Pattern>,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub required: Box<[Box<str>]>,
    pub one_of_values: Box<[Value]>,
    pub all_of: Box<[Structural]>,
    pub any_of: Box<[Structural]>,
    pub one_of: Box<[Structural]>,
    pub not: Option<Box<Structural>>,
}

impl Structural {
    /// Compiles a schema that is valid: an `openAPIV3Schema`. What is not understood is left out.
    pub fn compile(schema: &Value) -> Structural {
        let children = |field: &str| -> Box<[Structural]> {
            schema[field].as_array().into_iter().flatten().map(Structural::compile).collect()
        };
        let mut properties: Vec<(Box<str>, Structural)> = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.as_str().into(), Structural::compile(schema)))
            .collect();
        properties.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let additional = match &schema["additionalProperties"] {
            Value::Bool(true) => Additional::Any,
            Value::Bool(false) => Additional::Forbidden,
            schema @ Value::Object(_) => Additional::Each(Box::new(Structural::compile(schema))),
            _ => Additional::Unsaid,
        };
        let items = schema["items"].is_object().then(|| Box::new(Structural::compile(&schema["items"])));
        let flag = |field: &str| schema[field] == true;
        let texts = |field: &str| -> Box<[Box<str>]> {
            schema[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
        };
        let number = |field: &str| schema[field].as_f64();
        let length = |field: &str| schema[field].as_i64();
        let constraints = Constraints {
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            max_length: length("maxLength"),
            min_length: length("minLength"),
            pattern: schema["pattern"].as_str().filter(|text| !text.is_empty()).map(Pattern::new),
            max_items: length("maxItems"),
            min_items: length("minItems"),
            max_properties: length("maxProperties"),
            min_properties: length("minProperties"),
            required: texts("required"),
            one_of_values: schema["enum"].as_array().into_iter().flatten().cloned().collect(),
            all_of: children("allOf"),
            any_of: children("anyOf"),
            one_of: children("oneOf"),
            not: schema["not"].is_object().then(|| Box::new(Structural::compile(&schema["not"]))),
        };
        let mut compiled = Structural {
            kind: schema["type"].as_str().and_then(JsonType::parse),
            format: schema["format"].as_str().unwrap_or_default().into(),
            nullable: flag("nullable"),
            default: schema.get("default").filter(|default| !default.is_null()).cloned(),
            properties: properties.into(),
            additional,
            items,
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            list_type: match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map,
                _ => ListType::Atomic,
            },
            list_map_keys: texts("x-kubernetes-list-map-keys"),
            atomic_map: schema["x-kubernetes-map-type"] == "atomic",
            constraints: (!constraints.is_none()).then(|| Box::new(constraints)),
            ..Structural::default()
        };
        compiled.summarize();
        compiled
    }

    /// The schema of a field; `None` where the schema says nothing of it.
    pub fn property(&self, name: &str) -> Option<&Structural> {
        let at = self.properties.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.properties[at].1)
    }

    /// The schema of a field of that name, be it named or one of any name.
    pub fn field(&self, name: &str) -> Option<&Structural> {
        self.property(name).or(match &self.additional {
            Additional::Each(schema) => Some(schema),
            Additional::Unsaid | Additional::Any | Additional::Forbidden => None,
        })
    }

    /// Whether `null` is no value of it.
    fn refuses_null(&self) -> bool {
        !self.nullable
    }

    /// Notes what is below, so that walks end where there is nothing for them.
    fn summarize(&mut self) {
        self.has_unique_lists = self.list_type != ListType::Atomic;
        self.has_embedded = self.embedded;
        self.has_defaults = false;
        let (mut defaults, mut lists, mut embedded) = (false, false, false);
        for below in self.below() {
            defaults |= below.has_defaults || below.default.is_some();
            lists |= below.has_unique_lists;
            embedded |= below.has_embedded;
        }
        self.has_defaults |= defaults;
        self.has_unique_lists |= lists;
        self.has_embedded |= embedded;
    }

    fn below(&self) -> impl Iterator<Item = &Structural> {
        let each = match &self.additional {
            Additional::Each(schema) => Some(&**schema),
            Additional::Unsaid | Additional::Any | Additional::Forbidden => None,
        };
        self.properties.iter().map(|(_, schema)| schema).chain(each).chain(self.items.as_deref())
    }
}

impl Constraints {
    fn is_none(&self) -> bool {
        let numbers = [self.maximum, self.minimum, self.multiple_of].iter().all(Option::is_none);
        let lengths = [
            self.max_length,
            self.min_length,
            self.max_items,
            self.min_items,
            self.max_properties,
            self.min_properties,
        ];
        let lists = [self.all_of.len(), self.any_of.len(), self.one_of.len(), self.one_of_values.len()];
        numbers
            && lengths.iter().all(Option::is_none)
            && lists.iter().all(|length| *length == 0)
            && self.required.is_empty()
            && self.pattern.is_none()
            && self.not.is_none()
    }
}
