//! Writes JSON as YAML, in the style of Go's writer, since people compare: block style, keys in order, text in blocks, strings
//! plain where a reader takes them for themselves, otherwise in single quotes or with escapes, long lines folded.

use super::resolve::resolve;
use serde_json::{Map, Value};

/// An indent from which on every line counts, since indents would make an answer many times as long as its value.
const DEEP: usize = 64;

/// How many bytes the indents of all deep lines may take. What comes after is written on one line, as in JSON.
const MAX_DEEP_INDENTS: usize = 64 << 10;

/// A space behind this column is where a line ends.
const WIDTH: usize = 80;

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
            Scalar::of(key).write(&mut self.out, None);
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
            Value::String(text) => {
                let scalar = Scalar::of(text);
                if scalar.block && self.has_room(text.matches('\n').count() + 1, indent) {
                    return self.block(text, indent);
                }
                let folds = self.has_room(text.len() / WIDTH, indent);
                scalar.write(&mut self.out, folds.then_some(indent));
            }
            value => flow(&mut self.out, value),
        }
        self.out.push('\n');
    }

    fn pad(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    fn block(&mut self, text: &str, indent: usize) {
        self.out.push('|');
        if text.starts_with([' ', '\n']) {
            self.out.push('2');
        }
        match text.strip_suffix('\n') {
            None => self.out.push('-'),
            Some(rest) if rest.is_empty() || rest.ends_with('\n') => self.out.push('+'),
            Some(_) => {}
        }
        self.out.push('\n');
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
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
                quoted(out, key, None);
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
        Value::String(text) => quoted(out, text, None),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// A text, and how it may be written.
struct Scalar<'a> {
    text: &'a str,
    plain: bool,
    single_quoted: bool,
    block: bool,
}

impl Scalar<'_> {
    fn of(text: &str) -> Scalar<'_> {
        let special = text.chars().any(|c| c != '\n' && !is_printable(c));
        let breaks = text.contains('\n');
        let own_line = !breaks && !special && resolves_to_itself(text);
        Scalar {
            text,
            plain: own_line && is_plain(text),
            single_quoted: own_line,
            block: breaks && !special && !text.contains(" \n") && !text.ends_with(' '),
        }
    }

    /// Writes it in one piece, folded at an indent where that is given.
    fn write(&self, out: &mut String, fold: Option<usize>) {
        if self.plain {
            folded(out, self.text, fold, false);
        } else if self.single_quoted {
            out.push('\'');
            folded(out, &self.text.replace('\'', "''"), fold, true);
            out.push('\'');
        } else {
            quoted(out, self.text, fold);
        }
    }
}

fn column(out: &str) -> usize {
    out[out.rfind('\n').map_or(0, |at| at + 1)..].chars().count()
}

/// Ends a line; the next one goes on at the indent. Returns the column.
fn break_line(out: &mut String, indent: usize) -> usize {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
    indent
}

/// Writes text whose long lines end at single spaces.
fn folded(out: &mut String, text: &str, fold: Option<usize>, in_quotes: bool) {
    let mut column = column(out);
    let mut letters = text.chars().peekable();
    let (mut at_start, mut after_space) = (true, false);
    while let Some(c) = letters.next() {
        let between = !(in_quotes && (at_start || letters.peek().is_none()));
        match fold {
            Some(indent) if c == ' ' && between && !after_space && column > WIDTH && letters.peek() != Some(&' ') => {
                column = break_line(out, indent);
            }
            _ => {
                out.push(c);
                column += 1;
            }
        }
        after_space = c == ' ';
        at_start = false;
    }
}

/// Writes text with escapes.
fn quoted(out: &mut String, text: &str, fold: Option<usize>) {
    out.push('"');
    let mut column = column(out);
    let mut letters = text.chars().peekable();
    let (mut at_start, mut after_space) = (true, false);
    while let Some(c) = letters.next() {
        let next = letters.peek().copied();
        let written = out.len();
        match fold {
            Some(indent) if c == ' ' && column > WIDTH && !after_space && !at_start && next.is_some() => {
                column = break_line(out, indent);
                if next == Some(' ') {
                    out.push('\\');
                    column += 1;
                }
            }
            _ => {
                escaped(out, c);
                column += out[written..].chars().count();
            }
        }
        after_space = c == ' ';
        at_start = false;
    }
    out.push('"');
}

fn escaped(out: &mut String, c: char) {
    let short = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' | '\\' => c,
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        c if is_printable(c) => return out.push(c),
        c => {
            let code = u32::from(c);
            let written = match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            };
            return out.push_str(&written);
        }
    };
    out.push('\\');
    out.push(short);
}

/// Whether a reader that sees the bare text takes it for a string. What it takes for something else is written with escapes,
/// as Go does.
fn resolves_to_itself(text: &str) -> bool {
    resolve(text) == text && !is_a_date(text) && !is_base_60(text)
}

/// Whether nothing in the text is taken for YAML's own signs.
fn is_plain(text: &str) -> bool {
    let starts_as_indicator = text.starts_with(|c| "#,[]{}&*!|>'\"%@`".contains(c));
    let mut letters = text.chars();
    let starts_as_key = matches!(letters.next(), Some('?' | ':' | '-')) && matches!(letters.next(), None | Some(' '));
    !(text.is_empty()
        || starts_as_indicator
        || starts_as_key
        || text.starts_with("---")
        || text.starts_with("...")
        || text.starts_with(' ')
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #"))
}

/// Readers of YAML 1.1 make points in time of such text.
fn is_a_date(text: &str) -> bool {
    let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
    };
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let day = rest.split(['T', 't', ' ']).next().unwrap_or_default();
    digits(year, 4..=4) && digits(month, 1..=2) && digits(day, 1..=2)
}

/// And numbers of such.
fn is_base_60(text: &str) -> bool {
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'_' | b'.'));
    text.contains(':') && text.strip_prefix(['+', '-']).unwrap_or(text).split(':').all(numeric)
}
