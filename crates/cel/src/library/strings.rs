//! Texts: what the standard has, the strings extension, and patterns. Positions are in characters.

use super::Row;
use super::operators::position;
use crate::context::{Context, Fault};
use crate::format;
use crate::value::{List, Value};

pub(super) const ROWS: &[Row] = &[
    ("contains", |args, _| two(args, |a, b| a.contains(b)), &["string.(string) bool"]),
    ("startsWith", |args, _| two(args, |a, b| a.starts_with(b)), &["string.(string) bool"]),
    ("endsWith", |args, _| two(args, |a, b| a.ends_with(b)), &["string.(string) bool"]),
    ("matches", matches, &["(string, string) bool", "string.(string) bool"]),
    ("find", find, &["string.(string) string"]),
    ("findAll", find_all, &["string.(string) list(string)", "string.(string, int) list(string)"]),
    ("charAt", char_at, &["string.(int) string"]),
    ("indexOf", index_of, &["string.(string) int", "string.(string, int) int"]),
    ("lastIndexOf", last_index_of, &["string.(string) int", "string.(string, int) int"]),
    ("join", join, &["list(string).() string", "list(string).(string) string"]),
    ("lowerAscii", |args, context| one(args, context, str::to_ascii_lowercase), &["string.() string"]),
    ("upperAscii", |args, context| one(args, context, str::to_ascii_uppercase), &["string.() string"]),
    ("replace", replace, &["string.(string, string) string", "string.(string, string, int) string"]),
    ("split", split, &["string.(string) list(string)", "string.(string, int) list(string)"]),
    ("substring", substring, &["string.(int) string", "string.(int, int) string"]),
    ("trim", |args, context| one(args, context, |text| trimmed(text).to_owned()), &["string.() string"]),
    ("format", formatted, &["string.(list(dyn)) string"]),
    ("strings.quote", |args, context| one(args, context, quoted), &["(string) string"]),
];

fn text<'b>(value: &'b Value<'_>) -> Result<&'b str, Fault> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Fault::no_overload()),
    }
}

fn two<'a>(args: &[Value<'a>], test: fn(&str, &str) -> bool) -> Result<Value<'a>, Fault> {
    Ok(Value::Bool(test(text(&args[0])?, text(&args[1])?)))
}

fn one<'a>(args: &[Value<'a>], context: &Context, change: fn(&str) -> String) -> Result<Value<'a>, Fault> {
    made(change(text(&args[0])?), context)
}

fn made<'a>(text: String, context: &Context) -> Result<Value<'a>, Fault> {
    context.allocate(text.len())?;
    Ok(Value::text(text))
}

fn number(value: &Value<'_>) -> Result<i64, Fault> {
    position(value).ok_or_else(Fault::no_overload)
}

fn whole<'a>(n: usize) -> Value<'a> {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// What counts as space for `trim`.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{180e}')
}

fn matches<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let (subject, pattern) = (text(&args[0])?, text(&args[1])?);
    Ok(Value::Bool(context.pattern(pattern)?.is_match(subject)))
}

fn find<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let (subject, pattern) = (text(&args[0])?, text(&args[1])?);
    let found = context.pattern(pattern)?.find(subject).map_or("", |found| found.as_str()).to_owned();
    made(found, context)
}

fn find_all<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let (subject, pattern) = (text(&args[0])?, text(&args[1])?);
    let most = args.get(2).map(number).transpose()?.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    for part in context.pattern(pattern)?.find_iter(subject).take(most) {
        context.allocate(part.len() + size_of::<Value<'_>>())?;
        found.push(Value::text(part.as_str()));
    }
    Ok(Value::list(found))
}

fn out_of_range(at: i64) -> Fault {
    Fault::new(format!("index out of range: {at}"))
}

/// The byte where a character starts; the end of the text for as many characters as it has.
fn byte_of(subject: &str, at: i64) -> Option<usize> {
    let at = usize::try_from(at).ok()?;
    subject.char_indices().map(|(i, _)| i).chain([subject.len()]).nth(at)
}

fn char_at<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let (subject, at) = (text(&args[0])?, number(&args[1])?);
    let start = byte_of(subject, at).ok_or_else(|| out_of_range(at))?;
    made(subject[start..].chars().next().map(String::from).unwrap_or_default(), context)
}

fn index_of<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    if let Value::List(_) = &args[0] {
        return super::lists::index_of(args, context);
    }
    let (subject, part) = (text(&args[0])?, text(&args[1])?);
    let from = args.get(2).map(number).transpose()?.unwrap_or(0);
    if part.is_empty() {
        return Ok(Value::Int(from));
    }
    let start = match byte_of(subject, from) {
        Some(start) => start,
        None if from < 0 => return Err(out_of_range(from)),
        None => return if args.len() > 2 { Err(out_of_range(from)) } else { Ok(Value::Int(-1)) },
    };
    Ok(match subject[start..].find(part) {
        Some(found) => whole(subject[..start + found].chars().count()),
        None => Value::Int(-1),
    })
}

fn last_index_of<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    if let Value::List(_) = &args[0] {
        return super::lists::last_index_of(args, context);
    }
    let (subject, part) = (text(&args[0])?, text(&args[1])?);
    let Some(until) = args.get(2).map(number).transpose()? else {
        return Ok(match subject.rfind(part) {
            Some(found) => whole(subject[..found].chars().count()),
            None => Value::Int(-1),
        });
    };
    if part.is_empty() {
        return Ok(Value::Int(until));
    }
    let start = byte_of(subject, until).filter(|start| *start < subject.len()).ok_or_else(|| out_of_range(until))?;
    let end = (start + part.len()).min(subject.len());
    let end = (0..=end).rev().find(|i| subject.is_char_boundary(*i)).unwrap_or(0);
    Ok(match subject[..end].rfind(part) {
        Some(found) => whole(subject[..found].chars().count()),
        None => Value::Int(-1),
    })
}

fn join<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let Value::List(list) = &args[0] else { return Err(Fault::no_overload()) };
    let separator = args.get(1).map(text).transpose()?.unwrap_or("");
    let mut out = String::new();
    for (i, item) in list.iter().enumerate() {
        let item = item?;
        let item = text(&item)?;
        context.allocate(item.len() + separator.len())?;
        if i > 0 {
            out.push_str(separator);
        }
        out.push_str(item);
    }
    Ok(Value::text(out))
}

fn replace<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let (subject, old, new) = (text(&args[0])?, text(&args[1])?, text(&args[2])?);
    let most = args.get(3).map(number).transpose()?.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    // What the result weighs is known before it is made.
    let count = if old.is_empty() { subject.chars().count() + 1 } else { subject.matches(old).count() }.min(most);
    context.allocate(subject.len().saturating_add(count.saturating_mul(new.len())))?;
    Ok(Value::text(subject.replacen(old, new, most)))
}

fn split<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let (subject, separator) = (text(&args[0])?, text(&args[1])?);
    let most = match args.get(2).map(number).transpose()? {
        Some(0) => return Ok(Value::list(Vec::new())),
        most => most.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX),
    };
    let mut parts: Vec<Value<'a>> = Vec::new();
    let mut put = |part: &str| -> Result<(), Fault> {
        context.allocate(part.len() + size_of::<Value<'_>>())?;
        parts.push(Value::text(part));
        Ok(())
    };
    if separator.is_empty() {
        let mut rest = subject;
        let mut count = 0;
        while let Some(c) = rest.chars().next() {
            count += 1;
            if count >= most {
                put(rest)?;
                break;
            }
            put(&rest[..c.len_utf8()])?;
            rest = &rest[c.len_utf8()..];
        }
    } else {
        for part in subject.splitn(most, separator) {
            put(part)?;
        }
    }
    Ok(Value::list(parts))
}

fn substring<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let (subject, from) = (text(&args[0])?, number(&args[1])?);
    let until = args.get(2).map(number).transpose()?;
    if let Some(until) = until
        && from > until
    {
        return Err(Fault::new(format!("invalid substring range. start: {from}, end: {until}")));
    }
    let start = byte_of(subject, from).ok_or_else(|| out_of_range(from))?;
    let end = match until {
        Some(until) => byte_of(subject, until).ok_or_else(|| out_of_range(until))?,
        None => subject.len(),
    };
    made(subject[start..end].to_owned(), context)
}

fn formatted<'a>(args: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let (pattern, Value::List(list)) = (text(&args[0])?, &args[1]) else { return Err(Fault::no_overload()) };
    format::apply(pattern, &List::to_vec(list)?, context)
}

/// As a literal, with everything escaped that cannot be seen.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
