//! The query form of label selectors, read as upstream reads it: tokens first, then terms. Refusals have upstream's texts.
//!
//! Invariant: the work is linear in the text.

use super::{Operator, Requirement, is_label_value};
use crate::is_dns_subdomain;
use std::collections::BTreeSet;

const NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
                    character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const PREFIX: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                      must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                      '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
                     start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
                     for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Reads all terms, or says what is wrong with the first one that is.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut found = Vec::new();
    loop {
        let first = parser.peek();
        match first.kind {
            Kind::End => return Ok(found),
            Kind::Word | Kind::Not => {
                let requirement = parser.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
                found.push(requirement);
            }
            _ => return Err(format!("found '{}', expected: !, identifier, or 'end of string'", first.text)),
        }
        let next = parser.next();
        match next.kind {
            Kind::End => return Ok(found),
            Kind::Comma => {
                let after = parser.peek();
                if !matches!(after.kind, Kind::Word | Kind::Not) {
                    return Err(format!("found '{}', expected: identifier after ','", after.text));
                }
            }
            _ => return Err(format!("found '{}', expected: ',' or 'end of string'", next.text)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    End,
    Error,
    Word,
    Not,
    Open,
    Close,
    Comma,
    /// A sign that compares.
    Sign(Operator),
}

#[derive(Clone, Copy)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
}

fn sign(text: &str) -> Option<Kind> {
    Some(match text {
        "!" => Kind::Not,
        "(" => Kind::Open,
        ")" => Kind::Close,
        "," => Kind::Comma,
        "=" | "==" => Kind::Sign(Operator::In),
        "!=" => Kind::Sign(Operator::NotIn),
        ">" => Kind::Sign(Operator::GreaterThan),
        "<" => Kind::Sign(Operator::LessThan),
        _ => return None,
    })
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let is_sign = |c: char| "=!(),><".contains(c);
    let (mut found, mut rest) = (Vec::new(), text.trim_start_matches(is_space));
    while let Some(first) = rest.chars().next() {
        let (kind, length) = if is_sign(first) {
            // The longest sign: `==` and `!=` are the only ones of two letters.
            match rest.get(..2).and_then(sign) {
                Some(kind) => (kind, 2),
                None => (sign(&rest[..1]).unwrap_or(Kind::Error), 1),
            }
        } else {
            (Kind::Word, rest.find(|c| is_space(c) || is_sign(c)).unwrap_or(rest.len()))
        };
        found.push(Token { kind, text: &rest[..length] });
        rest = rest[length..].trim_start_matches(is_space);
    }
    found
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token { kind: Kind::End, text: "" })
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut key = self.next();
        let negated = key.kind == Kind::Not;
        if negated {
            key = self.next();
        }
        if key.kind != Kind::Word {
            return Err(format!("found '{}', expected: identifier", key.text));
        }
        let wrong = key_errors(key.text);
        if !wrong.is_empty() {
            return Err(format!("<nil>: Invalid value: {:?}: {}", key.text, wrong.join("; ")));
        }
        let key = key.text.to_owned();
        let ends = matches!(self.peek().kind, Kind::End | Kind::Comma);
        if negated || ends {
            let operator = if negated { Operator::DoesNotExist } else { Operator::Exists };
            return Ok(Requirement { key, operator, values: Vec::new() });
        }
        let operator = self.operator()?;
        let values = match operator {
            Compare::Set(_) => self.values()?,
            Compare::Sign(_) => BTreeSet::from([self.value()?]),
        };
        let (Compare::Set(operator) | Compare::Sign(operator)) = operator;
        let wrong = value_errors(&key, operator, &values);
        match wrong.as_slice() {
            [] => Ok(Requirement { key, operator, values: values.into_iter().map(str::to_owned).collect() }),
            [one] => Err(one.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    fn operator(&mut self) -> Result<Compare, String> {
        let token = self.next();
        match (token.kind, token.text) {
            (Kind::Sign(operator), _) => Ok(Compare::Sign(operator)),
            (Kind::Word, "in") => Ok(Compare::Set(Operator::In)),
            (Kind::Word, "notin") => Ok(Compare::Set(Operator::NotIn)),
            _ => Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", token.text)),
        }
    }

    /// The value after a sign, which may be missing.
    fn value(&mut self) -> Result<&'a str, String> {
        if matches!(self.peek().kind, Kind::End | Kind::Comma) {
            return Ok("");
        }
        let token = self.next();
        if token.kind == Kind::Word {
            Ok(token.text)
        } else {
            Err(format!("found '{}', expected: identifier", token.text))
        }
    }

    /// A list in parentheses; what is missing between commas is empty.
    fn values(&mut self) -> Result<BTreeSet<&'a str>, String> {
        let open = self.next();
        if open.kind != Kind::Open {
            return Err(format!("found '{}' expected: '('", open.text));
        }
        let mut values = BTreeSet::new();
        let first = self.peek();
        match first.kind {
            Kind::Close => {
                self.at += 1;
                return Ok(BTreeSet::from([""]));
            }
            Kind::Word | Kind::Comma => {}
            _ => return Err(format!("found '{}', expected: ',', ')' or identifier", first.text)),
        }
        loop {
            let token = self.next();
            match token.kind {
                Kind::Word => {
                    values.insert(token.text);
                    let after = self.peek();
                    if !matches!(after.kind, Kind::Comma | Kind::Close) {
                        return Err(format!("found '{}', expected: ',' or ')'", after.text));
                    }
                }
                Kind::Comma => {
                    let after = self.peek().kind;
                    if values.is_empty() || matches!(after, Kind::Close | Kind::Comma) {
                        values.insert("");
                    }
                    if after == Kind::Comma {
                        self.at += 1;
                    }
                }
                Kind::Close => return Ok(values),
                _ => return Err(format!("found '{}', expected: ',', or identifier", token.text)),
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Compare {
    Set(Operator),
    Sign(Operator),
}

fn key_errors(key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let parts: Vec<&str> = key.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else if prefix.len() > 253 {
                errors.push("prefix part must be no more than 253 bytes".to_owned());
            } else if !is_dns_subdomain(prefix) {
                errors.push(format!("prefix part {PREFIX}"));
            }
            *name
        }
        _ => {
            let with_prefix = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {NAME} {with_prefix}")];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        errors.push("name part must be no more than 63 bytes".to_owned());
    }
    if name.is_empty() || !has_letters_of_a_name(name) {
        errors.push(format!("name part {NAME}"));
    }
    errors
}

fn has_letters_of_a_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn value_errors(key: &str, operator: Operator, values: &BTreeSet<&str>) -> Vec<String> {
    let mut errors = Vec::new();
    for (i, value) in values.iter().enumerate() {
        let is_number = matches!(operator, Operator::GreaterThan | Operator::LessThan);
        if is_number && value.parse::<i64>().is_err() {
            let why = "for 'Gt', 'Lt' operators, the value must be an integer";
            errors.push(format!("values[{i}]: Invalid value: {value:?}: {why}"));
        }
    }
    for (i, value) in values.iter().enumerate().filter(|(_, value)| !is_label_value(value)) {
        let mut why = Vec::new();
        if value.len() > 63 {
            why.push("must be no more than 63 bytes");
        }
        if !has_letters_of_a_name(value) {
            why.push(VALUE);
        }
        errors.push(format!("values[{i}][{key}]: Invalid value: {value:?}: {}", why.join("; ")));
    }
    errors
}
