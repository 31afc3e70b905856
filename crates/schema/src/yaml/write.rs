//! Writes JSON as YAML: block style, keys in order, text in blocks, strings quoted where a reader could take them for
//! something else.

use super::resolve::resolve;
use serde_json::{Map, Value};

/// An indent from which on every line counts, since indents would make an answer many times as long as its value.
const DEEP: usize = 64;

/// How many bytes the indents of all deep lines may take. What comes after is written on one line, as in JSON.
const MAX_DEEP_INDENTS: usize = 64 << 10;

/// Writes a value as one YAML document.
pub fn encode(value: &Value) -> String {
    let mut writer = Writer { out: String::new(), deep_indents: 0 };
    match value {
        Value::Object(map) if !map.is_empty() => writer.fields(map, 0, true),
        Value::Array(list) if !list.is_empty() => writer.items(list, 0, true),
        scalar => writer.inline(scalar, 0),
    }
    writer.out
}

struct Writer {
    out: String,
    /// The bytes of the indents of deep lines.
    deep_indents: usize,
}

impl Writer {
    /// Whether so many lines at an indent may be written; they are counted then.
    fn has_room(&mut self, lines: usize, indent: usize) -> bool {
        if indent <= DEEP {
            return true;
        }
        let indents = self.deep_indents.saturating_add(lines.saturating_mul(indent));
        let fits = indents <= MAX_DEEP_INDENTS;
        if fits {
            self.deep_indents = indents;
        }
        fits
    }

    /// Writes fields, each on its own line; the first one is indented unless it continues a line.
    fn fields(&mut self, map: &Map<String, Value>, indent: usize, own_line: bool) {
        for (i, (key, value)) in map.iter().enumerate() {
            if i > 0 || own_line {
                self.pad(indent);
            }
            string(&mut self.out, key);
            self.out.push(':');
            match value {
                Value::Object(map) if !map.is_empty() && self.has_room(map.len(), indent + 2) => {
                    self.out.push('\n');
                    self.fields(map, indent + 2, true);
                }
                // As people write it, a list is not deeper than its key.
                Value::Array(list) if !list.is_empty() && self.has_room(list.len(), indent) => {
                    self.out.push('\n');
                    self.items(list, indent, true);
                }
                value => {
                    self.out.push(' ');
                    self.inline(value, indent + 2);
                }
            }
        }
    }

    fn items(&mut self, list: &[Value], indent: usize, own_line: bool) {
        for (i, value) in list.iter().enumerate() {
            if i > 0 || own_line {
                self.pad(indent);
            }
            self.out.push_str("- ");
            match value {
                Value::Object(map) if !map.is_empty() && self.has_room(map.len(), indent + 2) => {
                    self.fields(map, indent + 2, false);
                }
                Value::Array(list) if !list.is_empty() && self.has_room(list.len(), indent + 2) => {
                    self.items(list, indent + 2, false);
                }
                value => self.inline(value, indent + 2),
            }
        }
    }

    /// Writes what fits behind a key, or a block of text, and ends the line.
    fn inline(&mut self, value: &Value, indent: usize) {
        match value {
            Value::String(text) if is_block(text) && self.has_room(text.matches('\n').count() + 1, indent) => {
                return self.block(text, indent);
            }
            Value::String(text) => string(&mut self.out, text),
            value => flow(&mut self.out, value),
        }
        self.out.push('\n');
    }

    fn pad(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    fn block(&mut self, text: &str, indent: usize) {
        self.out.push_str(if text.ends_with('\n') { "|\n" } else { "|-\n" });
        for line in text.trim_end_matches('\n').split('\n') {
            if !line.is_empty() {
                self.pad(indent);
            }
            self.out.push_str(line);
            self.out.push('\n');
        }
    }
}

/// Writes a value on one line, with every text quoted.
fn flow(out: &mut String, value: &Value) {
    match value {
        Value::Object(map) => {
            out.push('{');
            for (i, (key, value)) in map.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                quoted(out, key);
                out.push_str(": ");
                flow(out, value);
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (i, value) in list.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                flow(out, value);
            }
            out.push(']');
        }
        Value::String(text) => quoted(out, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

/// Text of several lines that reads back from a literal block.
fn is_block(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\t', '\n'])
        && !text.ends_with("\n\n")
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
}

fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn string(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else {
        quoted(out, text);
    }
}

fn quoted(out: &mut String, text: &str) {
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
