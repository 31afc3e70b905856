//! Expressions, damaged: they are refused, or end within their budget.

use crate::{CALL_BUDGET, Context, Env, Program, Type, Value};
use serde_json::json;

#[test]
fn damaged_expressions_are_refused_or_end_within_their_budget() {
    let env = Env::new().with("x", Type::Dyn).with("l", Type::list(Type::Int)).with("s", Type::String);
    let (x, l, s) = (json!({"a": 1, "b": [1.5, "c"], "d": null}), json!([3, 1, 2]), json!("hello world"));
    let samples = [
        "x.a == 1 && x.b.exists(e, type(e) == string) || has(x.d)",
        "l.map(i, l.filter(j, j > i).size()).sum() < 100 ? s.matches('^h.*d$') : !('z' in s.split(' '))",
        "quantity('1.5Gi').add(quantity('1Mi')).isGreaterThan(quantity('1G')) && url('http://a:1/b?c=d').getHost() == 'a:1'",
        "duration('1h2m').getSeconds() + timestamp('2026-01-02T03:04:05Z').getFullYear() - int(1.5e3) % 7",
        "x.?b[?0].orValue('none') != r'raw' && b'\\x00\\377' == bytes('\\u00e9') && [1, 2u, 'a']['' == '' ? 0 : 1] == 1",
    ];
    fuzz::fuzz(&samples, |bytes| {
        let Ok(program) = Program::compile(&String::from_utf8_lossy(bytes), &env) else { return };
        let bindings = [("x", Value::of(&x)), ("l", Value::of(&l)), ("s", Value::of(&s))];
        let _ = program.evaluate(&bindings, &Context::new(CALL_BUDGET)).map(|value| value.to_json());
    });
}
