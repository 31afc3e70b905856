//! Types as the checker knows them, and their names as cel-go prints them.

use crate::schema::Decl;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A type of the language. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Dyn,
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    /// `optional_type(T)`
    Optional(Arc<Type>),
    /// The type of a type.
    Type(Arc<Type>),
    /// Types of libraries, by name.
    Opaque(&'static str),
    /// An object with declared fields.
    Object(ObjectRef),
    /// A parameter of a declared function.
    Param(u8),
    /// A type that the checker has yet to find.
    Var(u32),
}

/// An object type: one is another if their names are the same.
#[derive(Clone, Debug)]
pub struct ObjectRef {
    pub name: Arc<str>,
    pub(crate) members: Members,
}

/// The fields of an object type.
#[derive(Clone, Debug)]
pub(crate) enum Members {
    /// Any: of objects that mutations write.
    Any,
    Declared(Arc<Decl>),
    Typed(Arc<BTreeMap<String, Type>>),
}

impl PartialEq for ObjectRef {
    fn eq(&self, other: &ObjectRef) -> bool {
        self.name == other.name
    }
}

impl Type {
    pub fn list(of: Type) -> Type {
        Type::List(Arc::new(of))
    }

    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value))
    }

    pub fn optional(of: Type) -> Type {
        Type::Optional(Arc::new(of))
    }

    /// Kubernetes' quantities.
    pub fn quantity() -> Type {
        Type::Opaque("kubernetes.Quantity")
    }

    /// An object type without declared fields.
    pub fn open_object(name: &str) -> Type {
        Type::Object(ObjectRef { name: name.into(), members: Members::Any })
    }

    /// An object type with these fields and no other.
    pub fn object(name: &str, fields: impl IntoIterator<Item = (String, Type)>) -> Type {
        let members = Members::Typed(Arc::new(fields.into_iter().collect()));
        Type::Object(ObjectRef { name: name.into(), members })
    }

    /// The name as messages about results have it: well-known types in full.
    pub(crate) fn full_name(&self) -> String {
        match self {
            Type::List(of) => format!("list({})", of.full_name()),
            Type::Map(key, value) => format!("map({}, {})", key.full_name(), value.full_name()),
            Type::Optional(of) => format!("optional_type({})", of.full_name()),
            Type::Null | Type::Duration | Type::Timestamp => self.runtime_name().to_owned(),
            other => other.to_string(),
        }
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }

    /// The name that `type(x)` prints: without parameters.
    pub(crate) fn runtime_name(&self) -> &str {
        match self {
            Type::Dyn => "dyn",
            Type::Error => "error",
            Type::Null => "null_type",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Duration => "google.protobuf.Duration",
            Type::Timestamp => "google.protobuf.Timestamp",
            Type::List(_) => "list",
            Type::Map(..) => "map",
            Type::Optional(_) => "optional_type",
            Type::Type(_) => "type",
            Type::Opaque(name) => name,
            Type::Object(object) => &object.name,
            Type::Param(_) | Type::Var(_) => "type_param",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Error => f.write_str("!error!"),
            Type::Null => f.write_str("null"),
            Type::Duration => f.write_str("duration"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::List(of) => write!(f, "list({of})"),
            Type::Map(key, value) => write!(f, "map({key}, {value})"),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Type(of) => write!(f, "type({of})"),
            Type::Param(n) => write!(f, "{}", char::from(b'A' + n % 26)),
            Type::Var(n) => write!(f, "_var{n}"),
            Type::Dyn
            | Type::Bool
            | Type::Int
            | Type::Uint
            | Type::Double
            | Type::String
            | Type::Bytes
            | Type::Opaque(_)
            | Type::Object(_) => f.write_str(self.runtime_name()),
        }
    }
}
