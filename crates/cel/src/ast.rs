//! Expressions as trees of bounded depth.

use crate::library::Overload;
use crate::types::Type;
use regex::Regex;
use std::sync::Arc;

/// How deep a tree may be, after macros are expanded. What walks a tree may therefore recurse.
pub(crate) const DEPTH_MAX: u16 = 250;

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    /// Position in the source, in characters.
    pub at: u32,
    pub depth: u16,
    /// What the checker found.
    pub ty: Type,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Const {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Const(Const),
    Ident(Arc<str>),
    Select(Box<Select>),
    Call(Box<Call>),
    List(List),
    Map(Vec<Entry>),
    Object(Object),
    Fold(Box<Fold>),
}

#[derive(Clone, Debug)]
pub(crate) struct Select {
    pub operand: Expr,
    pub field: Arc<str>,
    /// `has(a.b)`
    pub test: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub function: Arc<str>,
    pub target: Option<Expr>,
    pub args: Vec<Expr>,
    /// What the checker found to match.
    pub overloads: Vec<&'static Overload>,
    /// The compiled pattern of `matches`, `find` and `findAll` if it is a literal.
    pub regex: Option<Arc<Regex>>,
}

#[derive(Clone, Debug)]
pub(crate) struct List {
    pub items: Vec<Expr>,
    /// Indexes of the items with `?` in front.
    pub optional: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub name: Arc<str>,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub at: u32,
    pub name: Arc<str>,
    pub value: Expr,
    pub optional: bool,
}

/// What macros over lists and maps become.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub range: Expr,
    pub var: Arc<str>,
    pub var2: Option<Arc<str>>,
    /// What the result is gathered in while the fold runs.
    pub accumulator: Arc<str>,
    pub init: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}

/// The variable that a fold gathers its result in. No source can name it.
pub(crate) const ACCUMULATOR: &str = "@result";

impl Expr {
    pub fn new(at: u32, kind: Kind) -> Expr {
        let below = match &kind {
            Kind::Const(_) | Kind::Ident(_) => 0,
            Kind::Select(select) => select.operand.depth,
            Kind::Call(call) => call.args.iter().chain(&call.target).map(|arg| arg.depth).max().unwrap_or(0),
            Kind::List(list) => list.items.iter().map(|item| item.depth).max().unwrap_or(0),
            Kind::Map(entries) => entries.iter().map(|e| e.key.depth.max(e.value.depth)).max().unwrap_or(0),
            Kind::Object(object) => object.fields.iter().map(|field| field.value.depth).max().unwrap_or(0),
            Kind::Fold(fold) => [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result]
                .into_iter()
                .map(|part| part.depth)
                .max()
                .unwrap_or(0),
        };
        Expr { at, depth: below.saturating_add(1), ty: Type::Dyn, kind }
    }

    pub fn constant(at: u32, value: Const) -> Expr {
        Expr::new(at, Kind::Const(value))
    }

    pub fn ident(at: u32, name: &str) -> Expr {
        Expr::new(at, Kind::Ident(name.into()))
    }

    pub fn call(at: u32, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        let call = Call { function: function.into(), target, args, overloads: Vec::new(), regex: None };
        Expr::new(at, Kind::Call(Box::new(call)))
    }

    pub fn list(at: u32, items: Vec<Expr>) -> Expr {
        Expr::new(at, Kind::List(List { items, optional: Vec::new() }))
    }

    /// The expressions directly below, in the order of the source where it matters.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Const(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select(select) => vec![&select.operand],
            Kind::Call(call) => call.target.iter().chain(&call.args).collect(),
            Kind::List(list) => list.items.iter().collect(),
            Kind::Map(entries) => entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect(),
            Kind::Object(object) => object.fields.iter().map(|field| &field.value).collect(),
            Kind::Fold(fold) => vec![&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result],
        }
    }
}
