//! Every function: what it takes and gives, as the checker reads it, and how it runs.

mod authz;
mod convert;
mod extensions;
mod kubernetes;
mod lists;
mod operators;
pub(crate) use operators::insert as operators_insert;
mod strings;
mod times;

use crate::context::{Context, Fault};
use crate::types::Type;
use crate::value::Value;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// How a function runs, whichever of its overloads was meant. The target of a member call is the first argument.
pub(crate) type Run = for<'a> fn(&[Value<'a>], &Context) -> Result<Value<'a>, Fault>;

/// A row of a table of functions: the name, how it runs, and its overloads as `string.(int) bool` for a member and
/// `(string, int) bool` for others.
pub(crate) type Row = (&'static str, Run, &'static [&'static str]);

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub member: bool,
    pub params: Vec<Type>,
    pub result: Type,
    pub type_params: u8,
}

pub(crate) struct Function {
    pub overloads: Vec<Overload>,
    pub run: Run,
}

/// A function by its full name.
pub(crate) fn function(name: &str) -> Option<&'static Function> {
    static FUNCTIONS: OnceLock<HashMap<&'static str, Function>> = OnceLock::new();
    let functions = FUNCTIONS.get_or_init(|| {
        let mut functions: HashMap<&'static str, Function> = HashMap::new();
        let tables = [
            operators::ROWS,
            convert::ROWS,
            strings::ROWS,
            times::ROWS,
            lists::ROWS,
            extensions::ROWS,
            kubernetes::ROWS,
            authz::ROWS,
        ];
        for (name, run, signatures) in tables.into_iter().flatten() {
            let overloads = signatures.iter().map(|text| signature(text));
            functions.entry(name).or_insert(Function { overloads: Vec::new(), run: *run }).overloads.extend(overloads);
        }
        functions
    });
    functions.get(name)
}

/// The type that an identifier names, if it names one.
pub(crate) fn named_type(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        _ => Type::Opaque(OPAQUE.into_iter().find(|opaque| *opaque == name)?),
    })
}

const OPAQUE: [&str; 11] = [
    "kubernetes.Quantity",
    "kubernetes.URL",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
    "net.IP",
    "net.CIDR",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

fn signature(text: &str) -> Overload {
    let mut reader = Reader { rest: text, type_params: 0 };
    let mut params = Vec::new();
    let member = !text.starts_with('(');
    if member {
        params.push(reader.ty());
        reader.eat(".");
    }
    reader.eat("(");
    while !reader.eat(")") {
        params.push(reader.ty());
        reader.eat(",");
    }
    let result = reader.ty();
    Overload { member, params, result, type_params: reader.type_params }
}

struct Reader<'a> {
    rest: &'a str,
    type_params: u8,
}

impl Reader<'_> {
    fn eat(&mut self, sign: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn ty(&mut self) -> Type {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "list" | "map" | "opt" | "type" => {
                self.eat("(");
                let first = self.ty();
                let made = if word == "map" {
                    self.eat(",");
                    Type::map(first, self.ty())
                } else if word == "list" {
                    Type::list(first)
                } else if word == "opt" {
                    Type::optional(first)
                } else {
                    Type::Type(Arc::new(first))
                };
                self.eat(")");
                made
            }
            "dyn" => Type::Dyn,
            "duration" => Type::Duration,
            "timestamp" => Type::Timestamp,
            "A" | "B" => {
                let n = word.as_bytes()[0] - b'A';
                self.type_params = self.type_params.max(n + 1);
                Type::Param(n)
            }
            word => {
                let opaque = OPAQUE.into_iter().find(|name| name.rsplit('.').next() == Some(word));
                opaque.map(Type::Opaque).or_else(|| named_type(word)).expect("the tables name known types")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_read_as_they_are_written() {
        let read = signature("map(A, list(B)).(A, opt(Quantity)) bool");
        assert!(read.member);
        let shown: Vec<String> = read.params.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["map(A, list(B))", "A", "optional_type(kubernetes.Quantity)"]);
        assert_eq!((read.result, read.type_params), (Type::Bool, 2));
        assert!(function("_+_").is_some_and(|function| function.overloads.len() == 9));
    }
}
