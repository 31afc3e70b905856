//! JSON as Go's decoder takes it.
//!
//! [`read`] makes a value of a text, fast. [`parse`] keeps duplicates and the order of fields, for messages; what `read`
//! refuses it judges, and errors have Go's texts.
//! Invariant: nesting is bounded, so that neither parsing nor dropping a value overflows the stack.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

/// How deep arrays and objects may nest.
pub(crate) const MAX_DEPTH: usize = 500;

/// Parsed text, as it was written.
#[derive(Debug, PartialEq)]
pub(crate) enum Tree<'a> {
    Null,
    Bool(bool),
    /// A number's text.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    Array(Vec<Tree<'a>>),
    Object(Vec<(Cow<'a, str>, Tree<'a>)>),
}

/// What Go calls a value in an error.
pub fn go_kind(value: &Value) -> &'static str {
    Tree::from(value).go_kind()
}

impl Tree<'_> {
    /// The value, with the last of several fields of a name, and whether there were several.
    pub fn to_value(&self) -> Result<(Value, bool), String> {
        let mut duplicates = false;
        let value = self.value(&mut duplicates)?;
        Ok((value, duplicates))
    }

    fn value(&self, duplicates: &mut bool) -> Result<Value, String> {
        Ok(match self {
            Tree::Null => Value::Null,
            Tree::Bool(value) => Value::Bool(*value),
            Tree::Number(text) => Value::Number(number(text)?),
            Tree::String(text) => Value::String(text.clone().into_owned()),
            Tree::Array(items) => {
                Value::Array(items.iter().map(|item| item.value(duplicates)).collect::<Result<_, _>>()?)
            }
            Tree::Object(fields) => {
                let mut map = Map::new();
                for (name, field) in fields {
                    let replaced = map.insert(name.clone().into_owned(), field.value(duplicates)?);
                    *duplicates |= replaced.is_some();
                }
                Value::Object(map)
            }
        })
    }

    /// What Go calls the value in an error.
    pub fn go_kind(&self) -> &'static str {
        match self {
            Tree::Null => "null",
            Tree::Bool(_) => "bool",
            Tree::Number(_) => "number",
            Tree::String(_) => "string",
            Tree::Array(_) => "array",
            Tree::Object(_) => "object",
        }
    }
}

impl<'a> From<&'a Value> for Tree<'a> {
    fn from(value: &'a Value) -> Tree<'a> {
        match value {
            Value::Null => Tree::Null,
            Value::Bool(value) => Tree::Bool(*value),
            Value::Number(number) => Tree::Number(number.to_string().into()),
            Value::String(text) => Tree::String(text.into()),
            Value::Array(items) => Tree::Array(items.iter().map(Tree::from).collect()),
            Value::Object(map) => Tree::Object(map.iter().map(|(k, v)| (k.into(), v.into())).collect()),
        }
    }
}

fn number(text: &str) -> Result<Number, String> {
    if let Ok(number) = text.parse::<i64>() {
        return Ok(number.into());
    }
    if let Ok(number) = text.parse::<u64>() {
        return Ok(number.into());
    }
    let float = text.parse().ok().and_then(Number::from_f64);
    float.ok_or_else(|| format!("json: cannot unmarshal number {text} into Go value of type float64"))
}

/// Reads a whole text: the value, with the last of several fields of a name, and whether there were several.
pub(crate) fn read(text: &[u8]) -> Result<(Value, bool), String> {
    let duplicates = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Reader { duplicates: &duplicates }.deserialize(&mut deserializer);
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok((value, duplicates.get())),
        Err(_) => parse(text)?.to_value(),
    }
}

/// Makes values, and notes duplicate fields.
#[derive(Clone, Copy)]
struct Reader<'a> {
    duplicates: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // `-0` is an integer to Go.
        Ok(if value == 0.0 && value.is_sign_negative() { 0.into() } else { value.into() })
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if map.insert(name, fields.next_value_seed(self)?).is_some() {
                self.duplicates.set(true);
            }
        }
        Ok(Value::Object(map))
    }
}

/// Parses a whole text.
pub(crate) fn parse(text: &[u8]) -> Result<Tree<'_>, String> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let tree = parser.value()?;
    match parser.next_token() {
        None => Ok(tree),
        Some(_) => Err(parser.unexpected("after top-level value")),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Skips white space; the byte after it is not consumed.
    fn next_token(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    fn unexpected(&self, place: &str) -> String {
        match self.peek() {
            Some(byte) => format!("invalid character {} {place}", quoted(byte)),
            None => "unexpected end of JSON input".to_owned(),
        }
    }

    fn value(&mut self) -> Result<Tree<'a>, String> {
        match self.next_token() {
            Some(b'{') => self.nested(Parser::object),
            Some(b'[') => self.nested(Parser::array),
            Some(b'"') => Ok(Tree::String(self.string()?)),
            Some(b't') => self.literal("true", Tree::Bool(true)),
            Some(b'f') => self.literal("false", Tree::Bool(false)),
            Some(b'n') => self.literal("null", Tree::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn nested(&mut self, parse: fn(&mut Self) -> Result<Tree<'a>, String>) -> Result<Tree<'a>, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("exceeded max depth".to_owned());
        }
        self.at += 1;
        let tree = parse(self)?;
        self.depth -= 1;
        Ok(tree)
    }

    fn object(&mut self) -> Result<Tree<'a>, String> {
        let mut fields = Vec::new();
        if self.next_token() == Some(b'}') {
            self.at += 1;
            return Ok(Tree::Object(fields));
        }
        loop {
            if self.next_token() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let name = self.string()?;
            if self.next_token() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            fields.push((name, self.value()?));
            match self.next_token() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Tree::Object(fields));
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    fn array(&mut self) -> Result<Tree<'a>, String> {
        let mut items = Vec::new();
        if self.next_token() == Some(b']') {
            self.at += 1;
            return Ok(Tree::Array(items));
        }
        loop {
            items.push(self.value()?);
            match self.next_token() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Tree::Array(items));
                }
                _ => return Err(self.unexpected("after array element")),
            }
        }
    }

    fn literal(&mut self, word: &str, tree: Tree<'a>) -> Result<Tree<'a>, String> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                let expected = char::from(expected);
                return Err(self.unexpected(&format!("in literal {word} (expecting '{expected}')")));
            }
            self.at += 1;
        }
        Ok(tree)
    }

    fn number(&mut self) -> Result<Tree<'a>, String> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        let text = std::str::from_utf8(&self.text[start..self.at]).expect("a number is of ASCII");
        Ok(Tree::Number(text.into()))
    }

    fn digits(&mut self, place: &str) -> Result<(), String> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.unexpected(place));
        }
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    /// A string from its opening quote on. Borrowed unless it has escapes or is no UTF-8.
    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        self.at += 1;
        let mut start = self.at;
        let mut unescaped = String::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    let rest = String::from_utf8_lossy(&self.text[start..self.at]);
                    self.at += 1;
                    if unescaped.is_empty() {
                        return Ok(rest);
                    }
                    unescaped.push_str(&rest);
                    return Ok(unescaped.into());
                }
                Some(b'\\') => {
                    unescaped.push_str(&String::from_utf8_lossy(&self.text[start..self.at]));
                    self.at += 1;
                    unescaped.push(self.escape()?);
                    start = self.at;
                }
                None | Some(0..0x20) => return Err(self.unexpected("in string literal")),
                Some(_) => self.at += 1,
            }
        }
    }

    /// What follows a backslash. Half a surrogate pair becomes the replacement character.
    fn escape(&mut self) -> Result<char, String> {
        let escaped = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let high = self.hex4()?;
                return self.surrogate(high);
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        Ok(escaped)
    }

    fn surrogate(&mut self, first: u32) -> Result<char, String> {
        if !(0xd800..0xdc00).contains(&first) || !self.text[self.at..].starts_with(b"\\u") {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.at;
        self.at += 2;
        let second = self.hex4()?;
        if (0xdc00..0xe000).contains(&second) {
            let pair = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return Ok(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        self.at = before;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.unexpected("in \\u hexadecimal character escape"))?;
            self.at += 1;
        }
        Ok(code)
    }
}

/// How deep a value nests, and about how many bytes it takes.
pub(crate) fn measure(value: &Value) -> (usize, usize) {
    const NODE: usize = 32;
    let (mut depth, mut size) = (0, NODE);
    let mut add = |child: &Value| {
        let (child_depth, child_size) = measure(child);
        depth = depth.max(child_depth);
        size += child_size;
    };
    match value {
        Value::Array(items) => items.iter().for_each(&mut add),
        Value::Object(map) => {
            map.values().for_each(&mut add);
            size += map.keys().map(String::len).sum::<usize>();
        }
        Value::String(text) => size += text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    (depth + 1, size)
}

/// A byte as Go quotes it in an error.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0..0x20 | 0x7f => format!(r"'\x{byte:02x}'"),
        0x80..0xa0 | 0xad => format!(r"'\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(text: &str, expected: Value) {
        let slow = parse(text.as_bytes()).expect(text).to_value().expect(text);
        assert_eq!(slow.0, expected, "{text}");
        assert_eq!(read(text.as_bytes()).expect(text), slow, "{text}");
    }

    #[test]
    fn values_are_read() {
        check(
            r#" {"a" : [1, -2.5e1, true, false, null, "x"], "b": {}} "#,
            json!({"a": [1, -25.0, true, false, null, "x"], "b": {}}),
        );
        check(r#""é\u00e9\ud83d\ude00\n\/""#, json!("éé😀\n/"));
        check(r#""\ud800""#, json!("\u{fffd}"));
        check(r#""\ud800\u0041""#, json!("\u{fffd}A"));
        check(r#""\ud800\n""#, json!("\u{fffd}\n"));
        check(r#"{"a":1,"a":2}"#, json!({"a": 2}));
        check("[-0, 0, -1]", json!([0, 0, -1]));
        assert_eq!(read(br#"{"b":{"a":1,"a":2}}"#), Ok((json!({"b": {"a": 2}}), true)));
        check("18446744073709551615", json!(u64::MAX));
    }

    #[test]
    fn what_is_no_utf8_is_replaced() {
        let tree = parse(b"\"a\xffb\"").expect("a string");
        assert_eq!(tree, Tree::String("a\u{fffd}b".into()));
    }

    #[test]
    fn errors_have_the_texts_of_go() {
        let cases = [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            (r#"{"a""#, "unexpected end of JSON input"),
            ("{}x", "invalid character 'x' after top-level value"),
            ("{'a':1}", r"invalid character '\'' looking for beginning of object key string"),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 "b":2}"#, "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[01]", "invalid character '1' after array element"),
            ("[1.]", "invalid character ']' after decimal point in numeric literal"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1e", "unexpected end of JSON input"),
            ("tru3", "invalid character '3' in literal true (expecting 'e')"),
            ("\"a\nb\"", r"invalid character '\n' in string literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (r#""\u00g0""#, r"invalid character 'g' in \u hexadecimal character escape"),
            ("\u{feff}{}", "invalid character 'ï' looking for beginning of value"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text.as_bytes()).expect_err(text), expected, "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(read(nested(MAX_DEPTH + 1).as_bytes()), Err("exceeded max depth".to_owned()));
    }

    #[test]
    fn a_number_that_no_float_holds_is_refused() {
        let error = read(b"1e400").expect_err("too large");
        assert_eq!(error, "json: cannot unmarshal number 1e400 into Go value of type float64");
    }
}
