//! The Common Expression Language as Kubernetes 1.36 uses it: parsed and type-checked with the messages of cel-go,
//! estimated against declared sizes, and evaluated within a budget over JSON that is not copied. Pure: what an
//! expression may ask of a server comes as values and traits. Everything a source can ask for is bounded.

mod ast;
mod authorizer;
mod check;
mod context;
mod cost;
mod eval;
mod format;
#[cfg(test)]
mod fuzzed;
mod issue;
mod kubernetes;
mod lex;
mod library;
mod literals;
mod macros;
mod parse;
pub mod policy;
mod program;
mod regex;

pub mod rules;
mod schema;
#[cfg(test)]
mod tests;

mod types;
mod unify;
mod value;

pub use authorizer::{Authorizer, Grant, Question, Verdict};
pub use check::Env;
pub use context::{CALL_BUDGET, Context, Fault, FaultKind};
pub use eval::Bindings;
pub use format::parse_duration;
pub use program::Program;
pub use schema::Decl;
pub use types::Type;
pub use value::{Fields, List, Made, Map, Text, Value};
