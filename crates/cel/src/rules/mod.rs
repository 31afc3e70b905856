//! `x-kubernetes-validations`: the rules of a structural schema, compiled once, and evaluated against objects.

mod compile;
mod validate;

use crate::program::Program;
use crate::schema::{Decl, ListKind};
use api::Cause;
use serde_json::Value as Json;
use std::fmt;
use std::sync::Arc;

/// What the rules of one schema may cost for one object.
const OBJECT_BUDGET: u64 = 10_000_000;

/// The compiled rules of a schema.
#[derive(Debug)]
pub struct Rules {
    root: Option<Node>,
}

/// A part of a schema with rules in or below it.
#[derive(Debug)]
struct Node {
    ty: String,
    nullable: bool,
    decl: Option<Arc<Decl>>,
    rules: Vec<Rule>,
    properties: Vec<(String, Node)>,
    additional: Option<Box<Node>>,
    items: Option<(Box<Node>, ListKind)>,
}

#[derive(Debug)]
struct Rule {
    program: Program,
    message_program: Option<Program>,
    source: String,
    message: String,
    reason: String,
    field_path: Vec<String>,
    uses_old: bool,
    optional_old: bool,
}

/// Where in a schema or an object.
#[derive(Clone, Copy)]
enum Path<'a> {
    /// The text of a path, which may be empty.
    Root(&'a str),
    Field(&'a Path<'a>, &'a str),
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn is_empty(&self) -> bool {
        matches!(self, Path::Root(""))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root(text) => f.write_str(text),
            Path::Field(parent, field) if parent.is_empty() => f.write_str(field),
            Path::Field(parent, field) => write!(f, "{parent}.{field}"),
            Path::Key(parent, key) => write!(f, "{parent}[{key}]"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

fn cause(at: &Path<'_>, reason: &str, message: String) -> Cause {
    let field = if at.is_empty() { "<nil>".to_owned() } else { at.to_string() };
    Cause { reason: reason.to_owned(), message, field }
}

fn invalid(at: &Path<'_>, value: &str, why: &str) -> Cause {
    cause(at, "FieldValueInvalid", format!("Invalid value: {value}: {why}"))
}

impl Rules {
    /// Compiles the rules of the structural schema of a custom resource.
    ///
    /// The causes are what is wrong with them, at places below `at`. They come in two parts, which upstream reports
    /// apart: what is wrong with how rules are written, and what is wrong with their expressions and costs.
    pub fn compile(schema: &Json, at: &str) -> (Rules, Vec<Cause>, Vec<Cause>) {
        compile::compile(schema, at)
    }

    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// What the rules find wrong with an object, or with its change.
    pub fn validate(&self, new: &Json, old: Option<&Json>) -> Vec<Cause> {
        self.root.as_ref().map_or(Vec::new(), |root| validate::validate(root, new, old))
    }
}
