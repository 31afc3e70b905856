//! Writes JSON as YAML: block style, keys in order, text in blocks, strings quoted where a reader could take them for
//! something else.

use super::resolve::resolve;
use serde_json::{Map, Value};

/// Writes a value as one YAML document.
pub fn encode(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => fields(&mut out, map, 0, true),
        Value::Array(list) if !list.is_empty() => items(&mut out, list, 0, true),
        scalar => inline(&mut out, scalar, 0),
    }
    out
}

/// Writes fields, each on its own line; the first one is indented unless it continues a line.
fn fields(out: &mut String, map: &Map<String, Value>, indent: usize, own_line: bool) {
    for (i, (key, value)) in map.iter().enumerate() {
        if i > 0 || own_line {
            pad(out, indent);
        }
        string(out, key);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                fields(out, map, indent + 2, true);
            }
            // As people write it, a list is not deeper than its key.
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                items(out, list, indent, true);
            }
            value => {
                out.push(' ');
                inline(out, value, indent + 2);
            }
        }
    }
}

fn items(out: &mut String, list: &[Value], indent: usize, own_line: bool) {
    for (i, value) in list.iter().enumerate() {
        if i > 0 || own_line {
            pad(out, indent);
        }
        out.push_str("- ");
        match value {
            Value::Object(map) if !map.is_empty() => fields(out, map, indent + 2, false),
            Value::Array(list) if !list.is_empty() => items(out, list, indent + 2, false),
            value => inline(out, value, indent + 2),
        }
    }
}

/// Writes what fits behind a key, or a block of text, and ends the line.
fn inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(text) if is_block(text) => return block(out, text, indent),
        Value::String(text) => string(out, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
    out.push('\n');
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Text of several lines that reads back from a literal block.
fn is_block(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\t', '\n'])
        && !text.ends_with("\n\n")
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
}

fn block(out: &mut String, text: &str, indent: usize) {
    out.push_str(if text.ends_with('\n') { "|\n" } else { "|-\n" });
    for line in text.trim_end_matches('\n').split('\n') {
        if !line.is_empty() {
            pad(out, indent);
        }
        out.push_str(line);
        out.push('\n');
    }
}

fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn string(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    out.push('"');
}

/// Whether a reader takes the bare text for the same string.
fn is_plain(text: &str) -> bool {
    let starts = |c: char| c.is_alphanumeric() || matches!(c, '_' | '/' | '.' | '$' | '(' | '+' | '-');
    let goes_on = |c: char| is_printable(c) && !matches!(c, '#' | '"' | '\'' | '[' | ']' | '{' | '}' | ',');
    let dashes = matches!(text.as_bytes(), [b'-'] | [b'-', b' ' | b'-', ..]);
    let points = text.starts_with("...");
    text.starts_with(starts)
        && text.chars().all(goes_on)
        && !(dashes || points || text.ends_with([' ', ':']) || text.contains(": "))
        && resolve(text) == text
        && !looks_like_a_date(text)
}

/// Other readers of YAML 1.1 make points in time of such text.
fn looks_like_a_date(text: &str) -> bool {
    text.len() >= 8 && text.as_bytes()[..4].iter().all(u8::is_ascii_digit) && text.as_bytes()[4] == b'-'
}
