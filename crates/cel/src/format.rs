//! How values are written: numbers, durations, and the clauses of `format`.

use crate::context::{Context, Fault};
use crate::value::{List, Map, Value};
use std::fmt::Write;

/// What a precision may be.
const PRECISION_MAX: usize = 1000;

/// A double as Go's `%g` with the shortest digits writes it.
pub(crate) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{value}"),
    }
}

/// Seconds, with nine places at most and no zeros at the end.
pub(crate) fn duration(nanos: i64) -> String {
    let (seconds, rest) = (nanos / 1_000_000_000, (nanos % 1_000_000_000).abs());
    let sign = if nanos < 0 && seconds == 0 { "-" } else { "" };
    let fraction = format!(".{rest:09}");
    format!("{sign}{seconds}{}s", fraction.trim_end_matches('0').trim_end_matches('.'))
}

/// A duration as Go reads it, `1h30m` or `-1.5s`, in nanoseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        if !whole.is_empty() {
            total = total.checked_add(whole.parse::<i128>().ok()?.checked_mul(unit)?)?;
        }
        let fraction = &fraction[..fraction.len().min(15)];
        if !fraction.is_empty() {
            let scale = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            total = total.checked_add(fraction.parse::<i128>().ok()?.checked_mul(unit)? / scale)?;
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// A time as RFC 3339 writes it.
pub(crate) fn parse_time(text: &str) -> Option<jiff::Timestamp> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && !text.contains('[');
    let zoned = text.ends_with('Z') || bytes.len() > 6 && matches!(bytes[bytes.len() - 6], b'+' | b'-');
    (shaped && zoned).then(|| text.parse().ok()).flatten()
}

/// Fills the clauses of a pattern.
///
/// # Errors
/// Clauses that are none, that lack a value, or whose value has another type.
pub(crate) fn apply<'a>(pattern: &str, values: &[Value<'a>], context: &Context) -> Result<Value<'a>, Fault> {
    let mut out = String::new();
    let mut rest = pattern;
    let mut used = 0;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let value = values.get(used).ok_or_else(|| Fault::new(format!("index {used} out of range")))?;
        used += 1;
        let (clause, after) = clause(rest)?;
        let before = out.len();
        clause.write(value, &mut out, context)?;
        context.allocate(out.len() - before)?;
        rest = after;
    }
    out.push_str(rest);
    context.allocate(out.len())?;
    Ok(Value::text(out))
}

/// One clause: its letter and its precision.
pub(crate) struct Clause {
    letter: char,
    precision: Option<usize>,
}

/// The clauses of a pattern in their order.
pub(crate) fn clauses(pattern: &str) -> Result<Vec<Clause>, Fault> {
    let (mut rest, mut found) = (pattern, Vec::new());
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            rest = after;
            continue;
        }
        let (clause, after) = clause(rest)?;
        found.push(clause);
        rest = after;
    }
    Ok(found)
}

fn clause(text: &str) -> Result<(Clause, &str), Fault> {
    let wrong = |why: &str| Fault::new(format!("could not parse formatting clause: {why}"));
    let (mut rest, mut precision) = (text, None);
    if let Some(after) = text.strip_prefix('.') {
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let parsed = after[..end].parse::<usize>().unwrap_or(usize::MAX);
        if end == 0 {
            return Err(wrong("error while parsing precision: could not find end of precision specifier"));
        }
        if parsed > PRECISION_MAX {
            return Err(wrong("error while parsing precision: precision is too large"));
        }
        precision = Some(parsed);
        rest = &after[end..];
    }
    let letter = rest.chars().next().ok_or_else(|| wrong("unexpected end of string"))?;
    if !"sdfebxXo".contains(letter) {
        return Err(wrong(&format!("unrecognized formatting clause \"{letter}\"")));
    }
    Ok((Clause { letter, precision }, &rest[letter.len_utf8()..]))
}

impl Clause {
    /// What is wrong with a value of a type in this clause.
    pub(crate) fn refuses(&self, ty: &crate::types::Type) -> Option<String> {
        use crate::types::Type;
        let (name, wanted, fits): (_, _, fn(&Type) -> bool) = match self.letter {
            'd' => ("decimal", "integers", |ty| matches!(ty, Type::Int | Type::Uint)),
            'f' => ("fixed-point", "doubles", |ty| matches!(ty, Type::Double)),
            'e' => ("scientific", "doubles", |ty| matches!(ty, Type::Double)),
            'b' => ("only integers and bools", "", |ty| matches!(ty, Type::Int | Type::Uint | Type::Bool)),
            'o' => ("octal", "integers", |ty| matches!(ty, Type::Int | Type::Uint)),
            'x' | 'X' => ("only integers, byte buffers, and strings", "", |ty| {
                matches!(ty, Type::Int | Type::Uint | Type::String | Type::Bytes)
            }),
            _ => return None,
        };
        if fits(ty) || matches!(ty, Type::Dyn | Type::Error | Type::Var(_) | Type::Param(_)) {
            return None;
        }
        let given = ty.runtime_name();
        Some(match (name, wanted) {
            ("only integers and bools", _) => {
                format!("only integers and bools can be formatted as binary, was given {given}")
            }
            ("only integers, byte buffers, and strings", _) => {
                format!("only integers, byte buffers, and strings can be formatted as hex, was given {given}")
            }
            _ => format!("{name} clause can only be used on {wanted}, was given {given}"),
        })
    }

    fn write(&self, value: &Value<'_>, out: &mut String, context: &Context) -> Result<(), Fault> {
        if let Some(why) = self.refuses(&value.type_of()) {
            return Err(Fault::new(format!("error during formatting: {why}")));
        }
        let precision = self.precision.unwrap_or(6);
        let written = match (self.letter, value) {
            ('s', value) => return plain(value, out, true, context),
            ('d', Value::Int(n)) => write!(out, "{n}"),
            ('d', Value::Uint(n)) => write!(out, "{n}"),
            ('f' | 'e', Value::Double(n)) if !n.is_finite() => {
                write!(
                    out,
                    "{}",
                    if n.is_nan() {
                        "NaN"
                    } else if *n > 0.0 {
                        "∞"
                    } else {
                        "-∞"
                    }
                )
            }
            ('f', Value::Double(n)) => write!(out, "{n:.precision$}"),
            ('e', Value::Double(n)) => {
                let text = format!("{n:.precision$e}");
                let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let (sign, exponent) = match exponent.strip_prefix('-') {
                    Some(exponent) => ('-', exponent),
                    None => ('+', exponent),
                };
                write!(out, "{digits}e{sign}{exponent:0>2}")
            }
            ('b', Value::Bool(b)) => write!(out, "{}", u8::from(*b)),
            ('b' | 'o' | 'x' | 'X', Value::Int(n)) => {
                let (sign, n) = (if *n < 0 { "-" } else { "" }, n.unsigned_abs());
                write!(out, "{sign}{}", self.radix(n))
            }
            ('b' | 'o' | 'x' | 'X', Value::Uint(n)) => write!(out, "{}", self.radix(*n)),
            ('x' | 'X', Value::String(_) | Value::Bytes(_)) => {
                let bytes = match value {
                    Value::String(text) => text.as_bytes(),
                    Value::Bytes(bytes) => bytes,
                    _ => &[],
                };
                context.allocate(bytes.len() * 2)?;
                for byte in bytes {
                    let _ = if self.letter == 'x' { write!(out, "{byte:02x}") } else { write!(out, "{byte:02X}") };
                }
                Ok(())
            }
            _ => return Err(Fault::no_overload()),
        };
        written.map_err(Fault::new)
    }

    fn radix(&self, n: u64) -> String {
        match self.letter {
            'b' => format!("{n:b}"),
            'o' => format!("{n:o}"),
            'x' => format!("{n:x}"),
            _ => format!("{n:X}"),
        }
    }
}

/// As `%s` writes it; texts within lists and maps are quoted.
fn plain(value: &Value<'_>, out: &mut String, top: bool, context: &Context) -> Result<(), Fault> {
    context.tick()?;
    match value {
        Value::String(text) if top => out.push_str(text),
        Value::String(text) => {
            let _ = write!(out, "{}", serde_json::Value::from(&**text));
        }
        Value::Null => out.push_str("null"),
        Value::Bool(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Int(n) => {
            let _ = write!(out, "{n}");
        }
        Value::Uint(n) => {
            let _ = write!(out, "{n}");
        }
        Value::Double(n) if top => out.push_str(&double(*n)),
        Value::Double(n) => {
            let _ = write!(out, "{n:.6}");
        }
        Value::Bytes(bytes) => out.push_str(&String::from_utf8_lossy(bytes)),
        Value::Duration(nanos) if top => out.push_str(&duration(*nanos)),
        Value::Duration(nanos) => {
            let _ = write!(out, "duration(\"{}\")", duration(*nanos));
        }
        Value::Timestamp(time) if top => {
            let _ = write!(out, "{time}");
        }
        Value::Timestamp(time) => {
            let _ = write!(out, "timestamp(\"{time}\")");
        }
        Value::Type(ty) => out.push_str(ty.runtime_name()),
        Value::List(list) => {
            out.push('[');
            for (i, item) in List::iter(list).enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                plain(&item?, out, false, context)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            let mut entries = Vec::new();
            for key in Map::keys(map) {
                let Some(value) = map.get(&key) else { continue };
                let (mut shown, value) = (String::new(), value?);
                plain(&key, &mut shown, false, context)?;
                shown.push(':');
                plain(&value, &mut shown, false, context)?;
                context.allocate(shown.len())?;
                entries.push(shown);
            }
            entries.sort();
            let _ = write!(out, "{{{}}}", entries.join(", "));
        }
        other => {
            let why = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps";
            return Err(Fault::new(format!(
                "error during formatting: {why}, was given {}",
                other.type_of().runtime_name()
            )));
        }
    }
    context.allocate(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_go_writes_them() {
        let cases = [
            (1.0, "1"),
            (1e21, "1e+21"),
            (1e-7, "1e-07"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-0.0, "-0"),
            (1e20, "1e+20"),
            (2.5, "2.5"),
            (123_456_789.0, "1.23456789e+08"),
            (100_000.0, "100000"),
            (1_000_000.0, "1e+06"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
        ];
        for (value, expected) in cases {
            assert_eq!(double(value), expected);
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanos) in [("1h30m", 5_400_000_000_000), ("-1.5s", -1_500_000_000), ("0", 0), (".5s", 500_000_000)] {
            assert_eq!(parse_duration(text), Some(nanos), "{text}");
        }
        for text in ["", "1", "1x", "-", "1..2s", "9999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(duration(1_500_000_000), "1.5s");
        assert_eq!(duration(-500_000_000), "-0.5s");
    }
}
