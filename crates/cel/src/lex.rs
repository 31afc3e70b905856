//! From characters to tokens, with the words of the reference implementation for what is none.

use crate::ast::Const;
use crate::issue::Issue;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// Operators, brackets, and `true`, `false`, `null`, `in`.
    Sign(&'static str),
    Ident(Arc<str>),
    /// Between backticks: a field's name only.
    Quoted(Arc<str>),
    Const(Const),
    /// A literal that is not one, for the parser to report: what the source says, and why.
    Bad(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    pub token: Token,
    pub at: u32,
    /// As the source writes it.
    pub text: Arc<str>,
}

const SIGNS: [&str; 29] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%", "in", "true", "false", "null", "=",
];

/// The tokens of a source; what is no token is in `issues`.
pub(crate) fn lex(source: &[char], issues: &mut Vec<Issue>) -> Vec<Lexeme> {
    let mut lexer = Lexer { source, at: 0 };
    let mut out = Vec::new();
    loop {
        lexer.skip();
        let start = lexer.at;
        let Some(token) = lexer.next(issues) else {
            if lexer.at >= source.len() && start >= source.len() {
                let text = "<EOF>".into();
                out.push(Lexeme { token: Token::End, at: place(source.len()), text });
                return out;
            }
            continue;
        };
        let text: String = source[start..lexer.at].iter().collect();
        out.push(Lexeme { token, at: place(start), text: text.into() });
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

struct Lexer<'a> {
    source: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.source.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip(&mut self) {
        loop {
            match self.peek(0) {
                ' ' | '\t' | '\r' | '\n' | '\x0c' if self.at < self.source.len() => self.at += 1,
                '/' if self.peek(1) == '/' => {
                    while self.at < self.source.len() && self.peek(0) != '\n' {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    /// `None` at the end, or where a character was skipped.
    fn next(&mut self, issues: &mut Vec<Issue>) -> Option<Token> {
        let c = *self.source.get(self.at)?;
        if let Some(token) = self.literal(c, issues) {
            return token;
        }
        if c.is_ascii_alphabetic() || c == '_' {
            let start = self.at;
            while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == '_' {
                self.at += 1;
            }
            let word: String = self.source[start..self.at].iter().collect();
            return Some(match SIGNS.into_iter().find(|sign| **sign == word) {
                Some(sign) => Token::Sign(sign),
                None => Token::Ident(word.into()),
            });
        }
        if c == '`' {
            let name: String = self.source[self.at + 1..].iter().take_while(|c| **c != '`').collect();
            let length = name.chars().count();
            let plain = |c: char| c.is_ascii_alphanumeric() || "_.-/ ".contains(c);
            if length > 0 && name.chars().all(plain) && self.peek(length + 1) == '`' {
                self.at += length + 2;
                return Some(Token::Quoted(name.into()));
            }
        }
        let rest: String = self.source[self.at..].iter().take(2).collect();
        if let Some(sign) = SIGNS.into_iter().find(|sign| *sign != "=" && rest.starts_with(sign)) {
            self.at += sign.len();
            return Some(Token::Sign(sign));
        }
        // The start of an operator takes the character with it that shows it is none.
        let bad: String = if rest.starts_with(['&', '|', '=']) { rest } else { c.to_string() };
        issues.push(Issue::new(place(self.at), format!("Syntax error: token recognition error at: '{}'", shown(&bad))));
        self.at += bad.chars().count();
        None
    }

    /// Numbers, strings and bytes; `None` if no such thing starts here.
    fn literal(&mut self, c: char, issues: &mut Vec<Issue>) -> Option<Option<Token>> {
        if c.is_ascii_digit() || (c == '.' && self.peek(1).is_ascii_digit()) {
            return Some(Some(self.number()));
        }
        let mut prefix = 0;
        let (mut raw, mut bytes) = (false, false);
        while prefix < 2 {
            match self.peek(prefix) {
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes => bytes = true,
                _ => break,
            }
            prefix += 1;
        }
        let quote = self.peek(prefix);
        if quote != '\'' && quote != '"' {
            return None;
        }
        let start = self.at;
        self.at += prefix;
        let triple = self.peek(1) == quote && self.peek(2) == quote;
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let body = self.at;
        loop {
            let c = self.peek(0);
            if self.at >= self.source.len() || (!triple && (c == '\n' || c == '\r')) {
                let text: String = self.source[start..self.at].iter().collect();
                let why = format!("Syntax error: token recognition error at: '{}'", shown(&text));
                issues.push(Issue::new(place(start), why));
                return Some(None);
            }
            if c == quote && (!triple || (self.peek(1) == quote && self.peek(2) == quote)) {
                break;
            }
            self.at = (self.at + if c == '\\' && !raw { 2 } else { 1 }).min(self.source.len());
        }
        let text = &self.source[body..self.at];
        let unescaped = if raw { Some(plain(text)) } else { unescape(text, bytes) };
        self.at += width;
        Some(Some(match (unescaped, bytes) {
            (None, false) => Token::Bad("unable to unescape string"),
            (None, true) => Token::Bad("unable to unescape string"),
            (Some(bytes), true) => Token::Const(Const::Bytes(bytes.into())),
            (Some(text), false) => match String::from_utf8(text) {
                Ok(text) => Token::Const(Const::String(text.into())),
                Err(_) => Token::Bad("unable to unescape string"),
            },
        }))
    }

    fn number(&mut self) -> Token {
        let start = self.at;
        let digits = |lexer: &mut Self| {
            while lexer.peek(0).is_ascii_digit() {
                lexer.at += 1;
            }
        };
        let mut double = false;
        let hex = self.peek(0) == '0' && self.peek(1) == 'x' && self.peek(2).is_ascii_hexdigit();
        if hex {
            self.at += 2;
            while self.peek(0).is_ascii_hexdigit() {
                self.at += 1;
            }
        } else {
            digits(self);
            if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
                double = true;
                self.at += 1;
                digits(self);
            }
            let sign = usize::from(matches!(self.peek(1), '+' | '-'));
            if matches!(self.peek(0), 'e' | 'E') && self.peek(1 + sign).is_ascii_digit() {
                double = true;
                self.at += 1 + sign;
                digits(self);
            }
        }
        let text: String = self.source[start..self.at].iter().collect();
        let (digits, radix) = if hex { (&text[2..], 16) } else { (text.as_str(), 10) };
        if double {
            return match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Token::Const(Const::Double(value)),
                _ => Token::Bad("invalid double literal"),
            };
        }
        if matches!(self.peek(0), 'u' | 'U') {
            self.at += 1;
            return match u64::from_str_radix(digits, radix) {
                Ok(value) => Token::Const(Const::Uint(value)),
                Err(_) => Token::Bad("invalid uint literal"),
            };
        }
        match u64::from_str_radix(digits, radix) {
            Ok(value) if value <= i64::MAX.unsigned_abs() => Token::Const(Const::Int(value.cast_signed())),
            // Only with a minus in front, which the parser joins.
            Ok(value) if value == i64::MIN.unsigned_abs() => Token::Bad("9223372036854775808"),
            _ => Token::Bad("invalid int literal"),
        }
    }
}

fn shown(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
}

fn plain(text: &[char]) -> Vec<u8> {
    text.iter().collect::<String>().into_bytes()
}

fn unescape(text: &[char], bytes: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let put = |out: &mut Vec<u8>, c: char| out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    let mut i = 0;
    while i < text.len() {
        if text[i] != '\\' {
            put(&mut out, text[i]);
            i += 1;
            continue;
        }
        let c = *text.get(i + 1)?;
        i += 2;
        let simple = match c {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\\' | '\'' | '"' | '`' | '?' => c,
            'x' | 'X' | 'u' | 'U' | '0'..='3' => {
                let (length, radix, skip) = match c {
                    'x' | 'X' => (2, 16, 0),
                    'u' => (4, 16, 0),
                    'U' => (8, 16, 0),
                    _ => (3, 8, 1),
                };
                if bytes && matches!(c, 'u' | 'U') {
                    return None;
                }
                let digits: String = text.get(i - skip..i - skip + length)?.iter().collect();
                i += length - skip;
                let value = u32::from_str_radix(&digits, radix).ok()?;
                if bytes {
                    out.push(u8::try_from(value).ok()?);
                } else {
                    put(&mut out, char::from_u32(value)?);
                }
                continue;
            }
            _ => return None,
        };
        put(&mut out, simple);
    }
    Some(out)
}
