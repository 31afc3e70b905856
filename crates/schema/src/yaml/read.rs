//! Reads the first document of a YAML stream as JSON.
//!
//! Invariant: depth is bounded, and so is what anchors keep and aliases expand to.

use super::resolve::resolve;
use crate::json::{MAX_DEPTH, measure};
use crate::messages::{Messages, shown};
use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// What all anchors and aliases of a document may add up to, in bytes.
const MAX_EXPANSION: usize = 8 << 20;

const EXCESSIVE: &str = "yaml: document contains excessive aliasing";

/// A document.
pub(crate) struct Parsed {
    pub value: Value,
    /// What a strict reader refuses: fields given twice.
    pub duplicates: Option<String>,
}

/// Reads a document; errors have the form of Go's YAML reader.
pub(crate) fn read(text: &[u8]) -> Result<Parsed, String> {
    let text = std::str::from_utf8(text).map_err(|_| "yaml: invalid UTF-8".to_owned())?;
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        expanded: 0,
        depth: 0,
        duplicates: Messages::default(),
    };
    let mut value = Value::Null;
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            (Event::StreamEnd | Event::DocumentEnd, _) => break,
            (event, at) => {
                value = reader.node(event, at)?;
                break;
            }
        }
    }
    // What follows the first node may be another document, but not rubbish.
    reader.next()?;
    let duplicates = reader.duplicates.into_list();
    let duplicates =
        (!duplicates.is_empty()).then(|| format!("yaml: unmarshal errors:\n  {}", duplicates.join("\n  ")));
    Ok(Parsed { value, duplicates })
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Anchored>,
    expanded: usize,
    depth: usize,
    duplicates: Messages,
}

struct Anchored {
    value: Value,
    depth: usize,
    size: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Marker), String> {
        loop {
            let (event, span) = match self.parser.next_event() {
                Some(event) => event.map_err(|error| scan_error(&error))?,
                None => return Ok((Event::StreamEnd, Marker::new(0, 1, 0))),
            };
            if event.is_node()
                || matches!(
                    event,
                    Event::StreamStart
                        | Event::StreamEnd
                        | Event::DocumentStart(..)
                        | Event::DocumentEnd
                        | Event::SequenceEnd
                        | Event::MappingEnd
                )
            {
                return Ok((event, span.start));
            }
        }
    }

    fn node(&mut self, event: Event<'a>, at: Marker) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("yaml: line {}: exceeded max depth", at.line()));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let explicit = tag.as_ref().map(|tag| tag.core_suffix().unwrap_or("str"));
                let value = match (explicit, style) {
                    (Some("str" | "binary"), _) => Value::String(text.into_owned()),
                    (None, ScalarStyle::Plain) | (Some(_), _) => resolve(&text),
                    (None, _) => Value::String(text.into_owned()),
                };
                (value, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.sequence()?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping()?, anchor),
            Event::Alias(id) => (self.alias(id, at)?, 0),
            _ => return Err(format!("yaml: line {}: did not find expected node content", at.line())),
        };
        if anchor != 0 {
            let (depth, size) = measure(&value);
            charge(&mut self.expanded, size)?;
            self.anchors.insert(anchor, Anchored { value: value.clone(), depth, size });
        }
        self.depth -= 1;
        Ok(value)
    }

    fn alias(&mut self, id: usize, at: Marker) -> Result<Value, String> {
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(format!("yaml: line {}: an anchor's value contains itself", at.line()));
        };
        if self.depth + anchored.depth > MAX_DEPTH {
            return Err(EXCESSIVE.to_owned());
        }
        charge(&mut self.expanded, anchored.size)?;
        Ok(anchored.value.clone())
    }

    fn sequence(&mut self) -> Result<Value, String> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, at) => items.push(self.node(event, at)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Value, String> {
        let (mut map, mut merged) = (Map::new(), Vec::new());
        loop {
            let (event, at) = match self.next()? {
                (Event::MappingEnd, _) => break,
                key => key,
            };
            let merges = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.node(event, at)?;
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at)?;
            if merges {
                merged.push(value);
                continue;
            }
            let key = key_text(key).ok_or_else(|| format!("yaml: line {}: unsupported map key", at.line()))?;
            if map.insert(key.clone(), value).is_some() {
                self.duplicates.tell(|| format!("line {}: key {:?} already set in map", at.line(), shown(&key)));
            }
        }
        for source in merged {
            merge_into(&mut map, source)?;
        }
        Ok(Value::Object(map))
    }
}

/// Adds what a merge key names, without replacing what is there.
fn merge_into(map: &mut Map<String, Value>, source: Value) -> Result<(), String> {
    match source {
        Value::Object(fields) => {
            for (key, value) in fields {
                map.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(sources) => sources.into_iter().try_for_each(|source| merge_into(map, source)),
        _ => Err("yaml: map merge requires map or sequence of maps as the value".to_owned()),
    }
}

/// Keys of JSON are strings.
fn key_text(key: Value) -> Option<String> {
    match key {
        Value::String(text) => Some(text),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Counts a copy that is about to be made.
fn charge(expanded: &mut usize, size: usize) -> Result<(), String> {
    *expanded += size;
    if *expanded > MAX_EXPANSION { Err(EXCESSIVE.to_owned()) } else { Ok(()) }
}

fn scan_error(error: &ScanError) -> String {
    format!("yaml: line {}: {}", error.marker().line(), error.info())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::MAX_MESSAGES;
    use serde_json::json;

    #[track_caller]
    fn check(text: &str, expected: Value) {
        assert_eq!(read(text.as_bytes()).expect(text).value, expected, "{text}");
    }

    #[track_caller]
    fn check_fails(text: &str, part: &str) {
        let error = read(text.as_bytes()).err().expect(text);
        assert!(error.starts_with("yaml: ") && error.contains(part), "{text}: {error}");
    }

    #[test]
    fn a_document_becomes_json() {
        check(
            "a: 1\nb:\n- x\n- {c: 'd'}\ne: >-\n  one\n  two\nf: |\n  l\n",
            json!({"a": 1, "b": ["x", {"c": "d"}], "e": "one two", "f": "l\n"}),
        );
        check("{\"a\": \"\\u00e9\"}", json!({"a": "é"}));
        check("", Value::Null);
        check("# nothing\n", Value::Null);
        check("a: 1\n---\nb: 2\n", json!({"a": 1}));
        check("1: x\ntrue: z\n", json!({"1": "x", "true": "z"}));
        check("a: !!str 1\nb: '1'\nc: !!int \"2\"\n", json!({"a": "1", "b": "1", "c": 2}));
        check("# a comment\na: b # and another\n", json!({"a": "b"}));
    }

    #[test]
    fn aliases_and_merge_keys_are_expanded() {
        check("a: &x {k: v}\nb: *x\n", json!({"a": {"k": "v"}, "b": {"k": "v"}}));
        check("a: &x {k: v, l: 1}\nb:\n  <<: *x\n  l: 2\n", json!({"a": {"k": "v", "l": 1}, "b": {"k": "v", "l": 2}}));
    }

    #[test]
    fn expansion_is_bounded() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let alias = format!("*a{}, ", i - 1).repeat(10);
            bomb += &format!("a{i}: &a{i} [{}]\n", alias.trim_end_matches(", "));
        }
        check_fails(&bomb, "excessive aliasing");
        check_fails(&format!("a: &a {:?}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(20)), "excessive aliasing");
        let nested: String = (0..100).map(|i| format!("&a{i} [")).collect();
        let ones = "1,".repeat(10_000);
        check_fails(&format!("{nested}{ones}{}", "]".repeat(100)), "excessive aliasing");
        check_fails("a: &a [*a]\n", "itself");
        check_fails(&"[".repeat(10_000), "");
    }

    #[test]
    fn fields_given_twice_are_told() {
        let parsed = read(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n").expect("YAML");
        assert_eq!(parsed.value, json!({"a": 3, "b": {"c": 2}}));
        let expected =
            "yaml: unmarshal errors:\n  line 4: key \"c\" already set in map\n  line 5: key \"a\" already set in map";
        assert_eq!(parsed.duplicates.as_deref(), Some(expected));
    }

    #[test]
    fn messages_about_fields_given_twice_are_few_and_short() {
        let twice = "a: 1\n".repeat(10 * MAX_MESSAGES);
        let told = read(twice.as_bytes()).expect("YAML").duplicates.expect("messages");
        assert_eq!(told.lines().count(), 1 + MAX_MESSAGES);
        let name = "n".repeat(100_000);
        let told = read(format!("? {name}\n: 1\n? {name}\n: 2\n").as_bytes()).expect("YAML").duplicates;
        assert!(told.expect("a message").len() < 10_000);
    }

    #[test]
    fn what_is_no_yaml_is_refused() {
        check_fails("a: [1\n", "line");
        check_fails("a: b: c\n", "line 1");
        check_fails("a:\n\tb: 1\n", "line 2");
        check_fails("*nope\n", "");
        check_fails("? [a]\n: 1\n", "unsupported map key");
        check_fails("a: 1\n}", "");
        assert!(read(b"a: \xff").is_err());
    }
}
