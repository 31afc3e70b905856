//! Optional values, and keys of JSON patches.

use super::Row;
use crate::context::{Context, Fault};
use crate::value::Value;
use std::rc::Rc;

pub(super) const ROWS: &[Row] = &[
    ("optional.of", |args, _| Ok(Value::some(args[0].clone())), &["(A) opt(A)"]),
    ("optional.ofNonZeroValue", of_non_zero, &["(A) opt(A)"]),
    ("optional.none", |_, _| Ok(Value::Optional(None)), &["() opt(A)"]),
    ("optional.unwrap", unwrap, &["(list(opt(A))) list(A)"]),
    ("unwrapOpt", unwrap, &["list(opt(A)).() list(A)"]),
    ("hasValue", |args, _| Ok(Value::Bool(optional(&args[0])?.is_some())), &["opt(A).() bool"]),
    ("value", value, &["opt(A).() A"]),
    ("or", or, &["opt(A).(opt(A)) opt(A)"]),
    ("orValue", or, &["opt(A).(A) A"]),
    ("_?._", |_, _| Err(Fault::no_overload()), &["(dyn, string) opt(A)"]),
    ("jsonpatch.escapeKey", escape_key, &["(string) string"]),
];

fn optional<'b, 'a>(value: &'b Value<'a>) -> Result<&'b Option<Rc<Value<'a>>>, Fault> {
    match value {
        Value::Optional(held) => Ok(held),
        _ => Err(Fault::no_overload()),
    }
}

fn value<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    match optional(&args[0])? {
        Some(value) => Ok((**value).clone()),
        None => Err(Fault::new("optional.none() dereference")),
    }
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) | Value::Duration(0) => true,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.len() == 0,
        Value::Map(map) => map.len() == 0,
        Value::Optional(held) => held.is_none(),
        _ => false,
    }
}

fn of_non_zero<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    Ok(if is_zero(&args[0]) { Value::Optional(None) } else { Value::some(args[0].clone()) })
}

/// `or` and `orValue` differ only in what they fall back to; the evaluator asks for the second argument when it must.
fn or<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    match (optional(&args[0])?, &args[1]) {
        (Some(_), Value::Optional(_)) => Ok(args[0].clone()),
        (Some(value), _) => Ok((**value).clone()),
        (None, other) => Ok(other.clone()),
    }
}

fn unwrap<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let Value::List(list) = &args[0] else { return Err(Fault::no_overload()) };
    let mut kept = Vec::new();
    for item in list.iter() {
        context.allocate(size_of::<Value<'_>>())?;
        if let Some(value) = optional(&item?)? {
            kept.push((**value).clone());
        }
    }
    Ok(Value::list(kept))
}

fn escape_key<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let Value::String(text) = &args[0] else { return Err(Fault::no_overload()) };
    let escaped = text.replace('~', "~0").replace('/', "~1");
    context.allocate(escaped.len())?;
    Ok(Value::text(escaped))
}
