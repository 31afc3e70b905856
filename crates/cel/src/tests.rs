//! The language through one door: compile, evaluate, and what both refuse.

mod bounds;
mod errors;
mod functions;
mod schemas;

use crate::{CALL_BUDGET, Context, Env, Fault, Program, Type, Value};
use serde_json::{Value as Json, json};

fn env() -> Env {
    Env::new().with("x", Type::Dyn).with("i", Type::Int).with("s", Type::String).with("l", Type::list(Type::Int))
}

fn run_with(source: &str, x: &Json, context: &Context) -> Result<Json, Fault> {
    let program = Program::compile(source, &env()).unwrap_or_else(|why| panic!("{why}"));
    let (s, l) = (json!("hello world"), json!([3, 1, 2]));
    let bindings = [("x", Value::of(x)), ("i", Value::Int(7)), ("s", Value::of(&s)), ("l", Value::of(&l))];
    program.evaluate(&bindings, context).and_then(|value| value.to_json())
}

fn run(source: &str) -> Result<Json, Fault> {
    let x = json!({"a": 1, "b": "two", "c": [1, 2], "d": {"e": null}, "n": 2.5});
    run_with(source, &x, &Context::new(CALL_BUDGET))
}

fn refused(source: &str) -> String {
    Program::compile(source, &env()).err().unwrap_or_else(|| panic!("{source} compiles"))
}

#[test]
fn every_step_has_a_cost() {
    let cost = |source: &str| {
        let context = Context::new(CALL_BUDGET);
        run_with(source, &json!({"a": 1}), &context).unwrap();
        context.spent()
    };
    for (source, expected) in [
        ("1", 0),
        ("i", 1),
        ("x.a", 2),
        ("has(x.a)", 1),
        ("i + 1", 2),
        ("[1, 2]", 10),
        ("{'a': 1}", 30),
        ("s.contains('o')", 3),
        ("s.matches('wor')", 3),
        ("i == 7", 2),
    ] {
        assert_eq!(cost(source), expected, "{source}");
    }
}

#[test]
fn a_program_knows_which_variables_it_names() {
    let program = Program::compile("[1].all(i, i == 1) && x.s == 1", &env()).unwrap();
    assert!(program.uses("x") && !program.uses("s"));
}
