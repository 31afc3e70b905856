//! Arithmetic, comparison, membership and indexes. Logic and choice are the evaluator's own: it does not evaluate what
//! need not be.

use super::Row;
use crate::context::{Context, Fault};
use crate::schema::ListKind;
use crate::value::{Entries, List, Map, Value, no_such_key};
use std::cmp::Ordering;
use std::rc::Rc;

const ORDERED: &[&str] = &[
    "(bool, bool) bool",
    "(int, int) bool",
    "(int, double) bool",
    "(int, uint) bool",
    "(uint, uint) bool",
    "(uint, double) bool",
    "(uint, int) bool",
    "(double, double) bool",
    "(double, int) bool",
    "(double, uint) bool",
    "(string, string) bool",
    "(bytes, bytes) bool",
    "(timestamp, timestamp) bool",
    "(duration, duration) bool",
];

const NUMBERS: &[&str] = &["(double, double) double", "(int, int) int", "(uint, uint) uint"];

pub(super) const ROWS: &[Row] = &[
    ("_&&_", |_, _| Err(Fault::no_overload()), &["(bool, bool) bool"]),
    ("_||_", |_, _| Err(Fault::no_overload()), &["(bool, bool) bool"]),
    ("_?_:_", |_, _| Err(Fault::no_overload()), &["(bool, A, A) A"]),
    ("@not_strictly_false", |_, _| Err(Fault::no_overload()), &["(bool) bool"]),
    ("!_", not, &["(bool) bool"]),
    ("_==_", |args, context| Ok(Value::Bool(args[0].equals(&args[1], context)?)), &["(A, A) bool"]),
    ("_!=_", |args, context| Ok(Value::Bool(!args[0].equals(&args[1], context)?)), &["(A, A) bool"]),
    ("_<_", |args, _| ordered(args, Ordering::is_lt), ORDERED),
    ("_<=_", |args, _| ordered(args, Ordering::is_le), ORDERED),
    ("_>_", |args, _| ordered(args, Ordering::is_gt), ORDERED),
    ("_>=_", |args, _| ordered(args, Ordering::is_ge), ORDERED),
    (
        "_+_",
        add,
        &[
            "(bytes, bytes) bytes",
            "(double, double) double",
            "(duration, duration) duration",
            "(duration, timestamp) timestamp",
            "(timestamp, duration) timestamp",
            "(int, int) int",
            "(list(A), list(A)) list(A)",
            "(string, string) string",
            "(uint, uint) uint",
        ],
    ),
    (
        "_-_",
        subtract,
        &[
            "(double, double) double",
            "(duration, duration) duration",
            "(int, int) int",
            "(timestamp, duration) timestamp",
            "(timestamp, timestamp) duration",
            "(uint, uint) uint",
        ],
    ),
    ("_*_", |args, _| arithmetic(args, |a, b| a * b, i64::checked_mul, u64::checked_mul), NUMBERS),
    ("_/_", |args, _| divide(args, |a, b| a / b, i64::checked_div, u64::checked_div, "division by zero"), NUMBERS),
    ("_%_", modulo, &["(int, int) int", "(uint, uint) uint"]),
    ("-_", negate, &["(double) double", "(int) int"]),
    (
        "_[_]",
        |args, _| index(args),
        &["(list(A), int) A", "(map(A, B), A) B", "(opt(list(A)), int) opt(A)", "(opt(map(A, B)), A) opt(B)"],
    ),
    (
        "_[?_]",
        optional_index,
        &["(list(A), int) opt(A)", "(opt(list(A)), int) opt(A)", "(map(A, B), A) opt(B)", "(opt(map(A, B)), A) opt(B)"],
    ),
    ("@in", contained, &["(A, list(A)) bool", "(A, map(A, B)) bool"]),
    ("cel.@mapInsert", map_insert, &["(map(A, B), A, B) map(A, B)", "(map(A, B), map(A, B)) map(A, B)"]),
    ("dyn", |args, _| Ok(args[0].clone()), &["(A) dyn"]),
    ("type", |args, _| Ok(Value::Type(args[0].type_of())), &["(A) type(A)"]),
    (
        "size",
        size,
        &[
            "(bytes) int",
            "(list(A)) int",
            "(map(A, B)) int",
            "(string) int",
            "bytes.() int",
            "list(A).() int",
            "map(A, B).() int",
            "string.() int",
        ],
    ),
];

fn not<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    match &args[0] {
        Value::Bool(value) => Ok(Value::Bool(!value)),
        _ => Err(Fault::no_overload()),
    }
}

fn ordered<'a>(args: &[Value<'a>], test: fn(Ordering) -> bool) -> Result<Value<'a>, Fault> {
    if let [Value::Double(a), b] | [b, Value::Double(a)] = args
        && (a.is_nan() || matches!(b, Value::Double(b) if b.is_nan()))
    {
        return Ok(Value::Bool(false));
    }
    args[0].order(&args[1]).map(|order| Value::Bool(test(order))).ok_or_else(Fault::no_overload)
}

fn overflow(what: &str) -> Fault {
    Fault::new(format!("{what} overflow"))
}

fn arithmetic<'a>(
    args: &[Value<'a>],
    double: fn(f64, f64) -> f64,
    int: fn(i64, i64) -> Option<i64>,
    uint: fn(u64, u64) -> Option<u64>,
) -> Result<Value<'a>, Fault> {
    match args {
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(double(*a, *b))),
        [Value::Int(a), Value::Int(b)] => int(*a, *b).map(Value::Int).ok_or_else(|| overflow("integer")),
        [Value::Uint(a), Value::Uint(b)] => uint(*a, *b).map(Value::Uint).ok_or_else(|| overflow("unsigned integer")),
        _ => Err(Fault::no_overload()),
    }
}

fn divide<'a>(
    args: &[Value<'a>],
    double: fn(f64, f64) -> f64,
    int: fn(i64, i64) -> Option<i64>,
    uint: fn(u64, u64) -> Option<u64>,
    by_zero: &str,
) -> Result<Value<'a>, Fault> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => Err(Fault::new(by_zero)),
        _ => arithmetic(args, double, int, uint),
    }
}

fn modulo<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    match args {
        [Value::Double(_), _] => Err(Fault::no_overload()),
        _ => divide(args, |a, _| a, i64::checked_rem, u64::checked_rem, "modulus by zero"),
    }
}

fn negate<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    match &args[0] {
        Value::Double(value) => Ok(Value::Double(-value)),
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(|| overflow("integer")),
        _ => Err(Fault::no_overload()),
    }
}

fn add<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    match args {
        [Value::String(a), Value::String(b)] => {
            context.allocate(a.len() + b.len())?;
            Ok(Value::text([&**a, &**b].concat()))
        }
        [Value::Bytes(a), Value::Bytes(b)] => {
            context.allocate(a.len() + b.len())?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        [Value::Duration(a), Value::Duration(b)] => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(|| overflow("duration"))
        }
        [Value::Timestamp(time), Value::Duration(by)] | [Value::Duration(by), Value::Timestamp(time)] => {
            shift(*time, i128::from(*by))
        }
        [Value::List(a), Value::List(b)] => join(a, b, context),
        _ => arithmetic(args, |a, b| a + b, i64::checked_add, u64::checked_add),
    }
}

/// Lists one after the other; sets without repeats, and of lists that are maps the later item of a key.
fn join<'a>(a: &List<'a>, b: &List<'a>, context: &Context) -> Result<Value<'a>, Fault> {
    context.allocate((a.len() + b.len()) * size_of::<Value<'_>>())?;
    let mut items = a.to_vec()?;
    match a.kind() {
        ListKind::Atomic => items.extend(b.to_vec()?),
        ListKind::Set => {
            for item in b.iter() {
                let item = item?;
                if !a.contains(&item, context)? {
                    items.push(item);
                }
            }
        }
        ListKind::Map(keys) => {
            for item in b.iter() {
                let item = item?;
                let mut place = None;
                for (i, held) in items.iter().enumerate() {
                    context.tick()?;
                    if same_keys(held, &item, keys, context)? {
                        place = Some(i);
                        break;
                    }
                }
                match place {
                    Some(i) => items[i] = item,
                    None => items.push(item),
                }
            }
        }
    }
    Ok(Value::list(items))
}

fn same_keys<'a>(a: &Value<'a>, b: &Value<'a>, keys: &[String], context: &Context) -> Result<bool, Fault> {
    let (Value::Map(a), Value::Map(b)) = (a, b) else { return Ok(false) };
    for key in keys {
        let key = Value::text(key.as_str());
        let same = match (a.get(&key), b.get(&key)) {
            (None, None) => true,
            (Some(a), Some(b)) => a?.equals(&b?, context)?,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn shift<'a>(time: jiff::Timestamp, nanos: i128) -> Result<Value<'a>, Fault> {
    jiff::Timestamp::from_nanosecond(time.as_nanosecond() + nanos)
        .ok()
        .filter(|time| (-62_135_596_800..=253_402_300_799).contains(&time.as_second()))
        .map(Value::Timestamp)
        .ok_or_else(|| overflow("timestamp"))
}

fn subtract<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    match args {
        [Value::Duration(a), Value::Duration(b)] => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(|| overflow("duration"))
        }
        [Value::Timestamp(time), Value::Duration(by)] => shift(*time, -i128::from(*by)),
        [Value::Timestamp(a), Value::Timestamp(b)] => {
            i64::try_from(a.as_nanosecond() - b.as_nanosecond()).map(Value::Duration).map_err(|_| overflow("duration"))
        }
        _ => arithmetic(args, |a, b| a - b, i64::checked_sub, u64::checked_sub),
    }
}

/// A position in a list.
pub(crate) fn position(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        Value::Uint(n) => i64::try_from(*n).ok(),
        #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
        Value::Double(n) if n.fract() == 0.0 && n.abs() < 1e15 => Some(*n as i64),
        _ => None,
    }
}

fn index<'a>(args: &[Value<'a>]) -> Result<Value<'a>, Fault> {
    match &args[0] {
        Value::List(list) => {
            let at = position(&args[1]).ok_or_else(|| Fault::new("unsupported index type"))?;
            let found = usize::try_from(at).ok().and_then(|at| list.get(at));
            found.unwrap_or_else(|| Err(Fault::new(format!("index out of bounds: {at}"))))
        }
        Value::Map(map) => map.get(&args[1]).unwrap_or_else(|| Err(no_such_key(&args[1]))),
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(value)) => index(&[(**value).clone(), args[1].clone()]).map(Value::some),
        _ => Err(Fault::no_overload()),
    }
}

fn optional_index<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    let found = match &args[0] {
        Value::List(list) => {
            let at = position(&args[1]).ok_or_else(|| Fault::new("unsupported index type"))?;
            usize::try_from(at).ok().and_then(|at| list.get(at))
        }
        Value::Map(map) => map.get(&args[1]),
        Value::Optional(None) => None,
        Value::Optional(Some(value)) => return optional_index(&[(**value).clone(), args[1].clone()], &Context::new(0)),
        _ => return Err(Fault::no_overload()),
    };
    Ok(Value::Optional(found.transpose()?.map(Rc::new)))
}

fn contained<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    match &args[1] {
        Value::List(list) => Ok(Value::Bool(list.contains(&args[0], context)?)),
        Value::Map(map) => Ok(Value::Bool(map.get(&args[0]).is_some())),
        _ => Err(Fault::no_overload()),
    }
}

fn map_insert<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let Value::Map(map) = &args[0] else { return Err(Fault::no_overload()) };
    let mut entries = Entries::default();
    for key in map.keys() {
        let value = map.get(&key).ok_or_else(Fault::no_overload)??;
        entries.insert(key, value)?;
    }
    insert(&mut entries, &args[1..], context)?;
    Ok(Value::Map(Map::Made(Rc::new(entries))))
}

/// Adds a key and its value, or all entries of a map.
pub(crate) fn insert<'a>(into: &mut Entries<'a>, what: &[Value<'a>], context: &Context) -> Result<(), Fault> {
    context.allocate(2 * size_of::<Value<'_>>())?;
    match what {
        [key, value] => into.insert(key.clone(), value.clone()),
        [Value::Map(map)] => {
            for key in map.keys() {
                context.tick()?;
                let value = map.get(&key).ok_or_else(Fault::no_overload)??;
                into.insert(key, value)?;
            }
            Ok(())
        }
        _ => Err(Fault::no_overload()),
    }
}

fn size<'a>(args: &[Value<'a>], _: &Context) -> Result<Value<'a>, Fault> {
    let size = match &args[0] {
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => return Err(Fault::no_overload()),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}
