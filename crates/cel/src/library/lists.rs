//! Lists: Kubernetes' own functions, the lists extension and sets.

use super::Row;
use super::operators::position;
use crate::context::{Context, Fault};
use crate::value::{List, Value};
use std::cmp::Ordering;

const SORTABLE: &[&str] = &[
    "list(int).() bool",
    "list(uint).() bool",
    "list(double).() bool",
    "list(bool).() bool",
    "list(duration).() bool",
    "list(timestamp).() bool",
    "list(string).() bool",
    "list(bytes).() bool",
];

const EXTREME: &[&str] = &[
    "list(int).() int",
    "list(uint).() uint",
    "list(double).() double",
    "list(bool).() bool",
    "list(duration).() duration",
    "list(timestamp).() timestamp",
    "list(string).() string",
    "list(bytes).() bytes",
];

const SORTED: &[&str] = &[
    "list(int).() list(int)",
    "list(uint).() list(uint)",
    "list(double).() list(double)",
    "list(bool).() list(bool)",
    "list(duration).() list(duration)",
    "list(timestamp).() list(timestamp)",
    "list(string).() list(string)",
    "list(bytes).() list(bytes)",
];

const SORTED_BY: &[&str] = &[
    "list(A).(list(int)) list(A)",
    "list(A).(list(uint)) list(A)",
    "list(A).(list(double)) list(A)",
    "list(A).(list(bool)) list(A)",
    "list(A).(list(duration)) list(A)",
    "list(A).(list(timestamp)) list(A)",
    "list(A).(list(string)) list(A)",
    "list(A).(list(bytes)) list(A)",
];

const SET: &[&str] = &["(list(A), list(A)) bool"];

pub(super) const ROWS: &[Row] = &[
    ("isSorted", is_sorted, SORTABLE),
    ("sum", sum, &["list(int).() int", "list(uint).() uint", "list(double).() double", "list(duration).() duration"]),
    ("min", |args, context| extreme(args, context, "min", Ordering::Less), EXTREME),
    ("max", |args, context| extreme(args, context, "max", Ordering::Greater), EXTREME),
    ("indexOf", index_of, &["list(A).(A) int"]),
    ("lastIndexOf", last_index_of, &["list(A).(A) int"]),
    ("slice", slice, &["list(A).(int, int) list(A)"]),
    ("flatten", flatten, &["list(list(A)).() list(A)", "list(dyn).(int) list(dyn)"]),
    ("sort", sort, SORTED),
    ("@sortByAssociatedKeys", sort_by, SORTED_BY),
    ("lists.range", range, &["(int) list(int)"]),
    ("reverse", reverse, &["list(A).() list(A)"]),
    ("distinct", distinct, &["list(A).() list(A)"]),
    ("first", |args, _| end(args, |list| list.get(0)), &["list(A).() opt(A)"]),
    ("last", |args, _| end(args, |list| list.get(list.len().checked_sub(1)?)), &["list(A).() opt(A)"]),
    ("sets.contains", |args, context| Ok(Value::Bool(covers(&args[0], &args[1], context)?)), SET),
    (
        "sets.equivalent",
        |args, context| Ok(Value::Bool(covers(&args[0], &args[1], context)? && covers(&args[1], &args[0], context)?)),
        SET,
    ),
    ("sets.intersects", intersects, SET),
];

fn list<'b, 'a>(value: &'b Value<'a>) -> Result<&'b List<'a>, Fault> {
    match value {
        Value::List(list) => Ok(list),
        _ => Err(Fault::no_overload()),
    }
}

fn items<'a>(value: &Value<'a>, context: &Context) -> Result<Vec<Value<'a>>, Fault> {
    let list = list(value)?;
    context.allocate(list.len() * size_of::<Value<'_>>())?;
    list.to_vec()
}

fn is_sorted<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let items = items(&args[0], context)?;
    for pair in items.windows(2) {
        if pair[0].order(&pair[1]).ok_or_else(Fault::no_overload)?.is_gt() {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let add = super::function("_+_").expect("addition is in the tables").run;
    let mut items = items(&args[0], context)?.into_iter();
    let Some(mut total) = items.next() else { return Ok(Value::Int(0)) };
    if !matches!(total, Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_)) {
        return Err(Fault::no_overload());
    }
    for item in items {
        total = add(&[total, item], context)?;
    }
    Ok(total)
}

fn extreme<'a>(args: &[Value<'a>], context: &Context, name: &str, wanted: Ordering) -> Result<Value<'a>, Fault> {
    let mut items = items(&args[0], context)?.into_iter();
    let mut best = items.next().ok_or_else(|| Fault::new(format!("{name} called on empty list")))?;
    for item in items {
        if item.order(&best).ok_or_else(Fault::no_overload)? == wanted {
            best = item;
        }
    }
    Ok(best)
}

fn place<'a>(found: Option<(usize, Result<bool, Fault>)>) -> Result<Value<'a>, Fault> {
    match found {
        None => Ok(Value::Int(-1)),
        Some((_, Err(fault))) => Err(fault),
        Some((i, Ok(_))) => Ok(Value::Int(i64::try_from(i).unwrap_or(i64::MAX))),
    }
}

pub(super) fn index_of<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let items = items(&args[0], context)?;
    let mut tests = items.iter().enumerate().map(|(i, item)| (i, item.equals(&args[1], context)));
    place(tests.find(|(_, same)| !matches!(same, Ok(false))))
}

pub(super) fn last_index_of<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let items = items(&args[0], context)?;
    let mut tests = items.iter().enumerate().rev().map(|(i, item)| (i, item.equals(&args[1], context)));
    place(tests.find(|(_, same)| !matches!(same, Ok(false))))
}

fn slice<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let items = items(&args[0], context)?;
    let at = |value: &Value<'_>| position(value).ok_or_else(Fault::no_overload);
    let (start, end) = (at(&args[1])?, at(&args[2])?);
    if start < 0 || end < 0 {
        return Err(Fault::new(format!("cannot slice({start}, {end}), negative indexes not supported")));
    }
    if start > end {
        return Err(Fault::new(format!(
            "cannot slice({start}, {end}), start index must be less than or equal to end index"
        )));
    }
    let too_long = || Fault::new(format!("cannot slice({start}, {end}), list is length {}", items.len()));
    let (from, to) = (usize::try_from(start).map_err(|_| too_long())?, usize::try_from(end).map_err(|_| too_long())?);
    items.get(from..to).map(|part| Value::list(part.to_vec())).ok_or_else(too_long)
}

fn flatten<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let depth = match args.get(1) {
        None => 1,
        Some(depth) => position(depth).ok_or_else(Fault::no_overload)?,
    };
    if depth < 0 {
        return Err(Fault::new("level must be non-negative"));
    }
    let mut current = items(&args[0], context)?;
    for _ in 0..depth {
        if !current.iter().any(|item| matches!(item, Value::List(_))) {
            break;
        }
        let mut next = Vec::new();
        for item in current {
            context.tick()?;
            match item {
                Value::List(_) => next.extend(items(&item, context)?),
                other => next.push(other),
            }
        }
        current = next;
    }
    Ok(Value::list(current))
}

/// The order of keys; `Err` for keys that have none.
fn order(keys: &[Value<'_>], context: &Context) -> Result<Vec<usize>, Fault> {
    let mut places: Vec<usize> = (0..keys.len()).collect();
    let mut failed = None;
    places.sort_by(|a, b| {
        if context.tick().is_err() {
            failed = Some(Fault::budget());
        }
        keys[*a].order(&keys[*b]).unwrap_or_else(|| {
            failed = Some(Fault::new("list elements must have the same type"));
            a.cmp(b)
        })
    });
    match failed {
        Some(fault) => Err(fault),
        None => Ok(places),
    }
}

fn sort<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let items = items(&args[0], context)?;
    Ok(Value::list(order(&items, context)?.into_iter().map(|i| items[i].clone()).collect()))
}

fn sort_by<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let (values, keys) = (items(&args[0], context)?, items(&args[1], context)?);
    if values.len() != keys.len() {
        return Err(Fault::new("@sortByAssociatedKeys() expected a list of the same size as the associated keys list"));
    }
    Ok(Value::list(order(&keys, context)?.into_iter().map(|i| values[i].clone()).collect()))
}

fn range<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let Value::Int(end) = args[0] else { return Err(Fault::no_overload()) };
    let count = usize::try_from(end.max(0)).unwrap_or(usize::MAX);
    context.charge(count as u64)?;
    context.allocate(count.saturating_mul(size_of::<Value<'_>>()))?;
    Ok(Value::list((0..end).map(Value::Int).collect()))
}

fn reverse<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let mut items = items(&args[0], context)?;
    items.reverse();
    Ok(Value::list(items))
}

fn distinct<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let mut kept: Vec<Value<'a>> = Vec::new();
    for item in items(&args[0], context)? {
        let mut known = false;
        for held in &kept {
            context.tick()?;
            if held.equals(&item, context)? {
                known = true;
                break;
            }
        }
        if !known {
            kept.push(item);
        }
    }
    Ok(Value::list(kept))
}

fn end<'a>(args: &[Value<'a>], pick: fn(&List<'a>) -> Option<Result<Value<'a>, Fault>>) -> Result<Value<'a>, Fault> {
    let found = pick(list(&args[0])?).transpose()?;
    Ok(found.map_or(Value::Optional(None), Value::some))
}

fn covers<'a>(all: &Value<'a>, some: &Value<'a>, context: &Context) -> Result<bool, Fault> {
    let all = list(all)?;
    for item in list(some)?.iter() {
        if !all.contains(&item?, context)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let all = list(&args[0])?;
    for item in list(&args[1])?.iter() {
        if all.contains(&item?, context)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
