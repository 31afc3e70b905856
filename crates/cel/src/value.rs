//! Values: JSON is borrowed and read as it is looked at; what expressions make is shared, never copied deeply.

use crate::authorizer::Grant;
use crate::context::{Context, Fault};
use crate::kubernetes::Foreign;
use crate::schema::{Decl, ListKind, Shape};
use crate::types::Type;
use base64::Engine;
use serde_json::Value as Json;
use std::cmp::Ordering;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// A value of the language.
#[derive(Clone)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    Timestamp(jiff::Timestamp),
    List(List<'a>),
    Map(Map<'a>),
    Type(Type),
    Optional(Option<Rc<Value<'a>>>),
    /// What `Object{…}` makes.
    Object(Rc<Made<'a>>),
    Foreign(Foreign),
    Grant(Rc<Grant<'a>>),
    /// Fields that are evaluated when asked for.
    Lazy(Rc<dyn Fields<'a> + 'a>),
}

/// Fields whose values are found when an expression asks for them.
pub trait Fields<'a> {
    /// The value of a field; `this` is the value that these fields are of.
    ///
    /// # Errors
    /// What the evaluation of the field met.
    fn field(&self, this: &Value<'a>, name: &str, context: &Context) -> Result<Value<'a>, Fault>;
}

/// An object that an expression made.
pub struct Made<'a> {
    pub name: Arc<str>,
    pub fields: Vec<(Arc<str>, Value<'a>)>,
}

#[derive(Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

#[derive(Clone)]
pub enum List<'a> {
    Json(&'a [Json], Option<&'a Decl>),
    Made(Rc<Vec<Value<'a>>>),
}

#[derive(Clone)]
pub enum Map<'a> {
    /// With the declaration of the map or object itself.
    Json(&'a serde_json::Map<String, Json>, Option<&'a Decl>),
    Made(Rc<Entries<'a>>),
}

/// The entries of a map in their order, and where a key is among them.
#[derive(Clone, Default)]
pub struct Entries<'a> {
    entries: Vec<(Value<'a>, Value<'a>)>,
    places: std::collections::HashMap<Key, usize>,
}

/// What a key is: numbers of all types are one kind.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Bool(bool),
    Number(i128),
    Text(Arc<str>),
}

impl<'a> Entries<'a> {
    /// Adds an entry; `Err` for keys that cannot be, and for a second of the same key.
    pub(crate) fn insert(&mut self, key: Value<'a>, value: Value<'a>) -> Result<(), Fault> {
        let Some(place) = Key::of(&key) else {
            return Err(Fault::new(format!("unsupported key type: {}", key.type_of())));
        };
        if self.places.contains_key(&place) {
            return Err(Fault::new(format!("insert failed: key {} already exists", plain(&key))));
        }
        self.places.insert(place, self.entries.len());
        self.entries.push((key, value));
        Ok(())
    }

    pub(crate) fn get(&self, key: &Value<'_>) -> Option<&Value<'a>> {
        Some(&self.entries[*self.places.get(&Key::of(key)?)?].1)
    }
}

impl Key {
    fn of(value: &Value<'_>) -> Option<Key> {
        Some(match value {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Number(i128::from(*value)),
            Value::Uint(value) => Key::Number(i128::from(*value)),
            #[expect(clippy::cast_possible_truncation, reason = "only whole numbers within the range pass")]
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e19 => Key::Number(*value as i128),
            Value::String(text) => Key::Text(Arc::from(&**text)),
            _ => return None,
        })
    }
}

/// A text for a message.
fn plain(value: &Value<'_>) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Double(n) => crate::format::double(*n),
        other => other.type_of().to_string(),
    }
}

pub(crate) fn no_such_key(key: &Value<'_>) -> Fault {
    Fault::new(format!("no such key: {}", plain(key)))
}

impl<'a> Value<'a> {
    /// Reads JSON, by a declaration if there is one.
    ///
    /// # Errors
    /// JSON that is not what was declared.
    pub fn read(json: &'a Json, decl: Option<&'a Decl>) -> Result<Value<'a>, Fault> {
        let Some(decl) = decl else { return Ok(Value::of(json)) };
        let wrong = |want: &str| Err(Fault::new(format!("invalid data, expected {want}")));
        match (&decl.shape, json) {
            (_, Json::Null) if decl.nullable => Ok(Value::Null),
            (_, Json::Null) => Err(Fault::new("invalid data, got null for schema with nullable=false")),
            (Shape::IntOrString, Json::String(_) | Json::Number(_)) | (Shape::Bool, Json::Bool(_)) => {
                Ok(Value::of(json))
            }
            (Shape::Int, Json::Number(number)) => match number.as_i64() {
                Some(value) => Ok(Value::Int(value)),
                None => number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9e18).map_or_else(
                    || wrong("an integer"),
                    #[expect(clippy::cast_possible_truncation, reason = "whole and within the range")]
                    |value| Ok(Value::Int(value as i64)),
                ),
            },
            (Shape::Double, Json::Number(number)) => Ok(Value::Double(number.as_f64().unwrap_or(f64::NAN))),
            (Shape::String, Json::String(text)) => Ok(Value::String(Text::Borrowed(text))),
            (Shape::Bytes, Json::String(text)) => match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(bytes) => Ok(Value::Bytes(bytes.into())),
                Err(_) => wrong("base64"),
            },
            (Shape::Date, Json::String(text)) => match text.parse::<jiff::civil::Date>() {
                Ok(date) => {
                    Ok(Value::Timestamp(date.to_zoned(jiff::tz::TimeZone::UTC).map_err(Fault::new)?.timestamp()))
                }
                Err(_) => wrong("a date"),
            },
            (Shape::Time, Json::String(text)) => match text.parse() {
                Ok(time) => Ok(Value::Timestamp(time)),
                Err(_) => wrong("a date-time"),
            },
            (Shape::Duration, Json::String(text)) => match crate::format::parse_duration(text) {
                Some(nanos) => Ok(Value::Duration(nanos)),
                None => wrong("a duration"),
            },
            (Shape::List(..), Json::Array(items)) => Ok(Value::List(List::Json(items, Some(decl)))),
            (Shape::Map(_) | Shape::Object { .. }, Json::Object(map)) => Ok(Value::Map(Map::Json(map, Some(decl)))),
            _ => wrong("another type"),
        }
    }

    /// Reads JSON that nobody declared.
    pub fn of(json: &'a Json) -> Value<'a> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Value::Int(value),
                (None, Some(value)) => Value::Uint(value),
                (None, None) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::String(Text::Borrowed(text)),
            Json::Array(items) => Value::List(List::Json(items, None)),
            Json::Object(map) => Value::Map(Map::Json(map, None)),
        }
    }

    pub fn text(text: impl Into<Arc<str>>) -> Value<'a> {
        Value::String(Text::Shared(text.into()))
    }

    pub(crate) fn list(items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(List::Made(Rc::new(items)))
    }

    pub(crate) fn some(value: Value<'a>) -> Value<'a> {
        Value::Optional(Some(Rc::new(value)))
    }

    /// As `type(x)` says.
    pub(crate) fn type_of(&self) -> Type {
        match self {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Uint(_) => Type::Uint,
            Value::Double(_) => Type::Double,
            Value::String(_) => Type::String,
            Value::Bytes(_) => Type::Bytes,
            Value::Duration(_) => Type::Duration,
            Value::Timestamp(_) => Type::Timestamp,
            Value::List(_) => Type::list(Type::Dyn),
            Value::Map(Map::Json(_, Some(Decl { shape: Shape::Object { name, .. }, .. }))) => Type::open_object(name),
            Value::Map(_) | Value::Lazy(_) => Type::map(Type::Dyn, Type::Dyn),
            Value::Type(_) => Type::Type(Arc::new(Type::Dyn)),
            Value::Optional(_) => Type::optional(Type::Dyn),
            Value::Object(made) => Type::open_object(&made.name),
            Value::Foreign(foreign) => Type::Opaque(foreign.type_name()),
            Value::Grant(grant) => Type::Opaque(grant.type_name()),
        }
    }

    /// The size that costs are made of: characters, items, entries; 1 for what has no size.
    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            Value::String(text) => text.chars().count() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
            Value::List(list) => list.len() as u64,
            Value::Map(map) => map.len() as u64,
            Value::Foreign(foreign) => foreign.cost_size(),
            _ => 1,
        }
    }

    /// Whether two values are the same, numbers of all types compared as numbers.
    ///
    /// # Errors
    /// An exceeded budget, or JSON that is not what was declared.
    pub(crate) fn equals(&self, other: &Value<'a>, context: &Context) -> Result<bool, Fault> {
        Ok(match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::String(a), Value::String(b)) => **a == **b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Type(a), Value::Type(b)) => a.runtime_name() == b.runtime_name(),
            (Value::Foreign(a), Value::Foreign(b)) => a == b,
            (Value::Optional(None), Value::Optional(None)) => true,
            (Value::Optional(Some(a)), Value::Optional(Some(b))) => a.equals(b, context)?,
            (Value::List(a), Value::List(b)) => return a.equals(b, context),
            (Value::Map(a), Value::Map(b)) => return a.equals(b, context),
            (Value::Object(a), Value::Object(b)) => {
                if a.name != b.name || a.fields.len() != b.fields.len() {
                    return Ok(false);
                }
                for (name, value) in &a.fields {
                    let Some((_, with)) = b.fields.iter().find(|(n, _)| n == name) else { return Ok(false) };
                    if !value.equals(with, context)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => compare_numbers(self, other) == Some(Ordering::Equal),
        })
    }

    /// Which comes first; `None` for what has no order among them.
    pub(crate) fn order(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::String(a), Value::String(b)) => Some((**a).cmp(&**b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            _ => compare_numbers(self, other),
        }
    }

    /// JSON again, as mutations need it.
    ///
    /// # Errors
    /// Values that JSON does not have.
    pub fn to_json(&self) -> Result<Json, Fault> {
        Ok(match self {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Uint(value) => Json::from(*value),
            Value::Double(value) => Json::from(*value),
            Value::String(text) => Json::from(&**text),
            Value::Bytes(bytes) => Json::from(base64::engine::general_purpose::STANDARD.encode(bytes)),
            Value::Duration(nanos) => Json::from(crate::format::duration(*nanos)),
            Value::Timestamp(time) => Json::from(time.to_string()),
            Value::List(List::Json(items, _)) => Json::Array(items.to_vec()),
            Value::List(List::Made(items)) => Json::Array(items.iter().map(Value::to_json).collect::<Result<_, _>>()?),
            Value::Map(Map::Json(map, _)) => Json::Object((*map).clone()),
            Value::Map(Map::Made(entries)) => {
                let entry = |(key, value): &(Value<'_>, Value<'_>)| match key {
                    Value::String(key) => Ok((key.to_string(), value.to_json()?)),
                    _ => Err(Fault::new("expected map key of type string")),
                };
                Json::Object(entries.entries.iter().map(entry).collect::<Result<_, Fault>>()?)
            }
            Value::Object(made) => {
                let fields = made.fields.iter().map(|(name, value)| Ok((name.to_string(), value.to_json()?)));
                Json::Object(fields.collect::<Result<_, Fault>>()?)
            }
            Value::Optional(Some(value)) => value.to_json()?,
            Value::Foreign(foreign) => Json::from(foreign.to_string()),
            Value::Type(_) | Value::Optional(None) | Value::Grant(_) | Value::Lazy(_) => {
                return Err(Fault::new(format!(
                    "unsupported type conversion from '{}'",
                    self.type_of().runtime_name()
                )));
            }
        })
    }
}

fn compare_numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(n) => Some(i128::from(*n)),
        Value::Uint(n) => Some(i128::from(*n)),
        _ => None,
    };
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), b) => compare_mixed(*a, whole(b)?),
        (a, Value::Double(b)) => compare_mixed(*b, whole(a)?).map(Ordering::reverse),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

fn compare_mixed(double: f64, whole: i128) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double.abs() >= 1e20 {
        return Some(if double > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    #[expect(clippy::cast_possible_truncation, reason = "within the range")]
    let floor = double.floor() as i128;
    Some(floor.cmp(&whole).then(if double.fract() == 0.0 { Ordering::Equal } else { Ordering::Greater }))
}

impl<'a> List<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            List::Json(items, _) => items.len(),
            List::Made(items) => items.len(),
        }
    }

    fn item_decl(&self) -> Option<&'a Decl> {
        match self {
            List::Json(_, Some(Decl { shape: Shape::List(of, _), .. })) => Some(of),
            _ => None,
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<Result<Value<'a>, Fault>> {
        match self {
            List::Json(items, _) => items.get(index).map(|item| Value::read(item, self.item_decl())),
            List::Made(items) => items.get(index).cloned().map(Ok),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<Value<'a>, Fault>> + '_ {
        (0..self.len()).map_while(|i| self.get(i))
    }

    pub(crate) fn to_vec(&self) -> Result<Vec<Value<'a>>, Fault> {
        self.iter().collect()
    }

    pub(crate) fn kind(&self) -> &'a ListKind {
        match self {
            List::Json(_, Some(Decl { shape: Shape::List(_, kind), .. })) => kind,
            _ => &ListKind::Atomic,
        }
    }

    pub(crate) fn contains(&self, value: &Value<'a>, context: &Context) -> Result<bool, Fault> {
        for item in self.iter() {
            context.tick()?;
            if item?.equals(value, context)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn equals(&self, other: &List<'a>, context: &Context) -> Result<bool, Fault> {
        if self.len() != other.len() {
            return Ok(false);
        }
        let unordered = [self.kind(), other.kind()].into_iter().find(|kind| **kind != ListKind::Atomic);
        for (i, item) in self.iter().enumerate() {
            context.tick()?;
            let item = item?;
            let same = match unordered {
                None => match other.get(i) {
                    Some(with) => item.equals(&with?, context)?,
                    None => false,
                },
                Some(_) => other.contains(&item, context)?,
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<'a> Map<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Map::Json(map, _) => map.len(),
            Map::Made(entries) => entries.entries.len(),
        }
    }

    /// The value of a key, or of a field.
    pub(crate) fn get(&self, key: &Value<'_>) -> Option<Result<Value<'a>, Fault>> {
        match (self, key) {
            (Map::Json(map, decl), Value::String(name)) => match decl {
                None => map.get(&**name).map(|value| Ok(Value::of(value))),
                Some(Decl { shape: Shape::Map(of), .. }) => map.get(&**name).map(|value| Value::read(value, Some(of))),
                Some(decl) => {
                    let property = decl.field(name)?;
                    let value = map.get(&property.raw).filter(|value| !value.is_null())?;
                    Some(Value::read(value, Some(&property.decl)))
                }
            },
            (Map::Json(..), _) => None,
            (Map::Made(entries), key) => entries.get(key).cloned().map(Ok),
        }
    }

    pub(crate) fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Map::Json(map, _) => map.keys().map(|key| Value::String(Text::Borrowed(key))).collect(),
            Map::Made(entries) => entries.entries.iter().map(|(key, _)| key.clone()).collect(),
        }
    }

    fn equals(&self, other: &Map<'a>, context: &Context) -> Result<bool, Fault> {
        if let (Map::Json(a, Some(decl)), Map::Json(b, Some(_))) = (self, other)
            && let Shape::Object { fields, .. } = &decl.shape
        {
            for name in fields.keys() {
                context.tick()?;
                let key = Value::text(name.as_str());
                let same = match (Map::Json(a, Some(decl)).get(&key), other.get(&key)) {
                    (None, None) => true,
                    (Some(a), Some(b)) => a?.equals(&b?, context)?,
                    _ => false,
                };
                if !same {
                    return Ok(false);
                }
            }
            return Ok(a.keys().filter(|key| !b.contains_key(*key)).count() == 0 || !fields.is_empty());
        }
        if self.len() != other.len() {
            return Ok(false);
        }
        for key in self.keys() {
            context.tick()?;
            let (Some(value), Some(with)) = (self.get(&key), other.get(&key)) else { return Ok(false) };
            if !value?.equals(&with?, context)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<'a> FromIterator<(Value<'a>, Value<'a>)> for Entries<'a> {
    fn from_iter<T: IntoIterator<Item = (Value<'a>, Value<'a>)>>(entries: T) -> Entries<'a> {
        let mut out = Entries::default();
        for (key, value) in entries {
            // A second of the same key, or one that cannot be, is left out.
            let _ = out.insert(key, value);
        }
        out
    }
}
