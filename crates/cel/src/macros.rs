//! What calls of macros become: folds over lists and maps.

use crate::ast::{ACCUMULATOR, Const, Expr, Fold, Kind};
use crate::issue::Issue;
use std::sync::Arc;

/// A call, or what it stands for if it calls a macro. Wrong arguments are in `issues`.
pub(crate) fn expand(at: u32, target: Option<Expr>, name: &str, mut args: Vec<Expr>, issues: &mut Vec<Issue>) -> Expr {
    let Some(range) = target else {
        if name == "has" && args.len() == 1 {
            return match args.pop() {
                Some(Expr { kind: Kind::Select(mut select), .. }) => {
                    select.test = true;
                    Expr::new(at, Kind::Select(select))
                }
                other => {
                    let place = other.map_or(at, |arg| arg.at);
                    issues.push(Issue::new(place, "invalid argument to has() macro"));
                    Expr::constant(at, Const::Null)
                }
            };
        }
        return Expr::call(at, name, None, args);
    };
    let variables = match (name, args.len()) {
        ("all" | "exists" | "exists_one" | "map" | "filter" | "optMap" | "optFlatMap" | "sortBy", 2) | ("map", 3) => 1,
        ("all" | "exists" | "exists_one" | "existsOne", 3) => 2,
        ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => 2,
        _ => return Expr::call(at, name, Some(range), args),
    };
    let mut names = Vec::new();
    for arg in args.drain(..variables) {
        match arg.kind {
            Kind::Ident(name) => names.push(name),
            _ => {
                issues.push(Issue::new(arg.at, "argument must be a simple name"));
                return Expr::constant(at, Const::Null);
            }
        }
    }
    if names.len() == 2 && names[0] == names[1] {
        issues.push(Issue::new(at, format!("duplicate variable name: {}", names[0])));
    }
    let var = names.remove(0);
    let var2 = names.pop();
    let last = args.pop().expect("macros have an argument after their variables");
    let filter = args.pop();
    fold(at, name, range, var, var2, filter, last)
}

fn fold(
    at: u32,
    name: &str,
    range: Expr,
    var: Arc<str>,
    var2: Option<Arc<str>>,
    filter: Option<Expr>,
    last: Expr,
) -> Expr {
    let accumulator = || Expr::ident(at, ACCUMULATOR);
    let constant = |value: Const| Expr::constant(at, value);
    let call = |function: &str, args: Vec<Expr>| Expr::call(at, function, None, args);
    let filtered = |filter: Option<Expr>, step: Expr| match filter {
        Some(filter) => call("_?_:_", vec![filter, step, accumulator()]),
        None => step,
    };
    let going = |on: Expr| call("@not_strictly_false", vec![on]);
    let empty_list = || Expr::list(at, Vec::new());
    let (init, condition, step, result) = match name {
        "all" => {
            let step = call("_&&_", vec![accumulator(), last]);
            (constant(Const::Bool(true)), going(accumulator()), step, accumulator())
        }
        "exists" => {
            let step = call("_||_", vec![accumulator(), last]);
            let on = going(call("!_", vec![accumulator()]));
            (constant(Const::Bool(false)), on, step, accumulator())
        }
        "exists_one" | "existsOne" => {
            let more = call("_+_", vec![accumulator(), constant(Const::Int(1))]);
            let step = call("_?_:_", vec![last, more, accumulator()]);
            let result = call("_==_", vec![accumulator(), constant(Const::Int(1))]);
            (constant(Const::Int(0)), constant(Const::Bool(true)), step, result)
        }
        "map" | "transformList" => {
            let step = call("_+_", vec![accumulator(), Expr::list(at, vec![last])]);
            (empty_list(), constant(Const::Bool(true)), filtered(filter, step), accumulator())
        }
        "filter" => {
            let step = call("_+_", vec![accumulator(), Expr::list(at, vec![Expr::ident(at, &var)])]);
            (empty_list(), constant(Const::Bool(true)), filtered(Some(last), step), accumulator())
        }
        "transformMap" => {
            let step = call("cel.@mapInsert", vec![accumulator(), Expr::ident(at, &var), last]);
            let init = Expr::new(at, Kind::Map(Vec::new()));
            (init, constant(Const::Bool(true)), filtered(filter, step), accumulator())
        }
        "transformMapEntry" => {
            let step = call("cel.@mapInsert", vec![accumulator(), last]);
            let init = Expr::new(at, Kind::Map(Vec::new()));
            (init, constant(Const::Bool(true)), filtered(filter, step), accumulator())
        }
        // The list is named, so that it is evaluated once.
        "sortBy" => {
            let input = || Expr::ident(at, "@input");
            let keys = fold(at, "map", input(), var, None, None, last);
            let sorted = Expr::call(at, "@sortByAssociatedKeys", Some(input()), vec![keys]);
            return bind(at, "@input".into(), range, sorted);
        }
        // optMap and optFlatMap: the target is named so that it is evaluated once.
        _ => {
            let target = || Expr::ident(at, "@optional");
            let value = Expr::call(at, "value", Some(target()), Vec::new());
            let mapped = bind(at, var, value, last);
            let mapped = if name == "optMap" { call("optional.of", vec![mapped]) } else { mapped };
            let has = Expr::call(at, "hasValue", Some(target()), Vec::new());
            let chosen = call("_?_:_", vec![has, mapped, call("optional.none", Vec::new())]);
            return bind(at, "@optional".into(), range, chosen);
        }
    };
    let accumulator = ACCUMULATOR.into();
    Expr::new(at, Kind::Fold(Box::new(Fold { range, var, var2, accumulator, init, condition, step, result })))
}

/// A fold that runs over nothing: its result sees a name for a value.
fn bind(at: u32, name: Arc<str>, value: Expr, result: Expr) -> Expr {
    let step = Expr::ident(at, &name);
    Expr::new(
        at,
        Kind::Fold(Box::new(Fold {
            range: Expr::list(at, Vec::new()),
            var: "@unused".into(),
            var2: None,
            accumulator: name,
            init: value,
            condition: Expr::constant(at, Const::Bool(false)),
            step,
            result,
        })),
    )
}
