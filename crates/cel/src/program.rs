//! Compiled expressions.

use crate::ast::{Expr, Kind};
use crate::check::{self, Env};
use crate::context::{Context, Fault};
use crate::cost;
use crate::eval::{Bindings, Evaluator};
use crate::issue;
use crate::literals;
use crate::parse;
use crate::schema::Decl;
use crate::types::Type;
use crate::value::Value;

/// A checked expression, to be evaluated any number of times.
#[derive(Debug)]
pub struct Program {
    expr: Expr,
}

impl Program {
    /// Parses and checks an expression.
    ///
    /// # Errors
    /// All that is wrong with it, as `ERROR: <input>:1:6: …` with the line and a caret.
    pub fn compile(source: &str, env: &Env) -> Result<Program, String> {
        let characters: Vec<char> = source.chars().collect();
        let compiled = parse::parse(&characters).and_then(|mut expr| {
            check::check(&mut expr, env)?;
            literals::validate(&mut expr)?;
            Ok(Program { expr })
        });
        compiled.map_err(|issues| issue::print(&characters, issues))
    }

    /// The type of what it evaluates to.
    pub fn output(&self) -> &Type {
        &self.expr.ty
    }

    /// What it costs at most, if the variables have these declarations.
    pub fn estimated_cost(&self, roots: &[(&str, &Decl)]) -> u64 {
        cost::estimate(&self.expr, roots)
    }

    /// Whether it names a variable.
    pub fn uses(&self, variable: &str) -> bool {
        fn walk(expr: &Expr, variable: &str) -> bool {
            matches!(&expr.kind, Kind::Ident(name) if **name == *variable)
                || expr.children().into_iter().any(|child| walk(child, variable))
        }
        walk(&self.expr, variable)
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// A step that failed, or a budget that is spent.
    pub fn evaluate<'a>(&self, bindings: &Bindings<'a>, context: &Context) -> Result<Value<'a>, Fault> {
        Evaluator::new(context, bindings).eval(&self.expr)
    }
}
