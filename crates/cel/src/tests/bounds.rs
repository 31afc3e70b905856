//! Nothing that a source asks for takes more than its budget, and no source brings the evaluator down.

use super::{env, refused, run, run_with};
use crate::{CALL_BUDGET, Context, FaultKind, Program, Value};
use proptest::prelude::*;
use serde_json::json;

#[test]
fn bombs_end_within_the_budget() {
    let long = json!("a".repeat(100_000));
    let items = json!((0..20_000).collect::<Vec<u32>>());
    for (source, x) in [
        ("x.all(a, x.all(b, x.all(c, true)))", &items),
        ("lists.range(1000000000).size() > 0", &items),
        ("x.map(a, x).size() > 0", &items),
        ("x.map(a, x.map(b, b)).size() > 0", &items),
        ("x.filter(a, a in x).size() > 0", &items),
        ("x.replace('a', x).replace('a', x).size() > 0", &long),
        ("x.split('').map(c, x).join(x).size() > 0", &long),
        ("lists.range(1000).map(n, x + x).size() > 0", &long),
        (
            "lists.range(100000).map(n, string(n).matches('(a{100}){' + string(n % 10) + '}' + string(n))).size() > 0",
            &long,
        ),
        ("x.matches('(a*)*b' + x)", &long),
        ("x.sortBy(v, x.size() - v).distinct().size() > 0", &items),
        ("sets.equivalent(x, x.reverse())", &items),
        (
            "'%s%s%s%s%s%s%s%s'.format([x, x, x, x, x, x, x, x]).format([x]).size() > 0 && x.map(a, x.map(b, 1)).size() > 0",
            &items,
        ),
        ("x.transformMap(k, v, x).size() > 0 && x.map(a, x.transformMap(k, v, v)).size() > 0", &items),
    ] {
        let context = Context::new(CALL_BUDGET);
        if let Err(fault) = run_with(source, x, &context) {
            assert!(fault.kind() == FaultKind::Budget || fault.message().contains("regexp"), "{source}: {fault:?}");
        }
    }
}

#[test]
fn what_is_spent_ends_the_evaluation_whatever_could_absorb_it() {
    for source in [
        "x.all(a, x.all(b, x.all(c, true))) || true",
        "true || x.exists(a, false)",
        "x.all(a, x.all(b, a >= b || true)) ? true : true",
    ] {
        let context = Context::new(10_000);
        let outcome = run_with(source, &json!((0..1000).collect::<Vec<u32>>()), &context);
        match outcome {
            Ok(value) => assert!(source.starts_with("true"), "{source} is {value}"),
            Err(fault) => assert_eq!(fault.message(), "operation cancelled: actual cost limit exceeded"),
        }
    }
}

#[test]
fn depth_and_length_of_a_source_are_bounded() {
    for source in [
        format!("{}1{}", "(".repeat(1000), ")".repeat(1000)),
        format!("{}1{}", "[".repeat(1000), "]".repeat(1000)),
        vec!["1"; 5000].join(" + "),
        format!("x{}", ".a".repeat(5000)),
        format!("x{} == 1", "[0]".repeat(1000)),
        format!("{}l{}", "l.map(v, ".repeat(300), ")".repeat(300)),
        "true ? 1 : ".repeat(500) + "1",
    ] {
        assert!(refused(&source).contains("expression recursion limit exceeded: "), "{}", &source[..20]);
    }
    assert!(
        refused(&" ".repeat(100_001)).contains("expression code point size exceeds limit: size: 100001, limit 100000")
    );
    // Chains of logic are balanced, and what is as deep as may be is evaluated.
    assert_eq!(run(&vec!["true"; 5000].join(" && ")), Ok(json!(true)));
    assert!(run(&format!("{}true{}", "(".repeat(95), ")".repeat(95))).is_ok());
    assert_eq!(run(&format!("{}1{}.size() == 1", "[".repeat(95), "]".repeat(95))), Ok(json!(true)));
    assert_eq!(run(&format!("{}1{}.size() == 1", "[1].map(v, ".repeat(60), ")".repeat(60))), Ok(json!(true)));
    assert_eq!(run(&(vec!["1"; 240].join(" + ") + " == 240")), Ok(json!(true)));
}

#[test]
fn types_do_not_grow_with_the_power_of_their_nesting() {
    let mut source = "x".to_owned();
    for n in 0..60 {
        source = format!("[{source}].map(v{n}, {{'a': [v{n}], 'b': [v{n}]}})");
    }
    // Either is fine, as long as it ends.
    let _ = Program::compile(&format!("({source}).size() > 0 && {source} == 1"), &env());
}

fn source() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("x".to_owned()),
        Just("i".to_owned()),
        Just("s".to_owned()),
        Just("l".to_owned()),
        Just("v".to_owned()),
        Just("null".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("optional.none()".to_owned()),
        Just("duration('1s')".to_owned()),
        Just("timestamp('2024-01-01T00:00:00Z')".to_owned()),
        Just("quantity('1k')".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u8>().prop_map(|n| format!("{n}u")),
        (-1000..1000i32).prop_map(|n| format!("{}.5", n)),
        "[a-z%.\\[(é]{0,6}".prop_map(|text| format!("'{text}'")),
    ];
    leaf.prop_recursive(4, 40, 3, |inner| {
        let operators = ["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "&&", "||", "in"];
        let members = [
            "size",
            "contains",
            "startsWith",
            "matches",
            "find",
            "findAll",
            "indexOf",
            "lastIndexOf",
            "split",
            "join",
            "replace",
            "substring",
            "charAt",
            "format",
            "sum",
            "min",
            "sort",
            "flatten",
            "slice",
            "distinct",
            "first",
            "orValue",
            "value",
            "add",
            "compareTo",
            "getHours",
            "reverse",
        ];
        let functions = [
            "string",
            "int",
            "uint",
            "double",
            "bytes",
            "type",
            "dyn",
            "size",
            "ip",
            "cidr",
            "url",
            "semver",
            "lists.range",
        ];
        let macros = ["all", "exists", "exists_one", "map", "filter"];
        prop_oneof![
            (inner.clone(), proptest::sample::select(operators.to_vec()), inner.clone())
                .prop_map(|(a, op, b)| format!("(dyn({a}) {op} dyn({b}))")),
            (inner.clone(), proptest::sample::select(members.to_vec()), proptest::collection::vec(inner.clone(), 0..3))
                .prop_map(|(a, name, args)| format!("dyn({a}).{name}({})", args.join(", "))),
            (proptest::sample::select(functions.to_vec()), inner.clone())
                .prop_map(|(name, a)| format!("{name}(dyn({a}))")),
            (inner.clone(), proptest::sample::select(macros.to_vec()), inner.clone())
                .prop_map(|(a, name, b)| format!("dyn({a}).{name}(v, {b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("dyn({a})[dyn({b})]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            inner.clone().prop_map(|a| format!("dyn({a}).?b")),
            inner.prop_map(|a| format!("-dyn({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_expression_brings_the_evaluator_down(source in source()) {
        let env = env().with("v", crate::Type::Dyn);
        if let Ok(program) = Program::compile(&source, &env) {
            let (x, l) = (json!({"a": 1, "b": [1, {"c": null}]}), json!([3, 1, 2]));
            let bindings = [("x", Value::of(&x)), ("i", Value::Int(7)), ("s", Value::text("häl%s")), ("l", Value::of(&l)), ("v", Value::Null)];
            let context = Context::new(CALL_BUDGET);
            let _ = program.evaluate(&bindings, &context).and_then(|value| value.to_json());
            let _ = program.estimated_cost(&[]);
        }
    }

    #[test]
    fn no_text_brings_the_parser_down(source in "[a-z0-9 .,(){}\\[\\]?:'\"\\\\+*/<>=!&|é%-]{0,60}") {
        let _ = Program::compile(&source, &env());
    }
}

#[test]
fn of_many_faults_the_first_are_told_and_how_many_more_there_are() {
    let why = refused(&"= ".repeat(30_000));
    assert!(why.ends_with("more errors were truncated"), "{}", &why[why.len() - 200..]);
    assert_eq!(why.matches("ERROR: ").count(), 100);
}
