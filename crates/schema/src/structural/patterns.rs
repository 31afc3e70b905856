//! Regular expressions as Go writes them, within limits.
//!
//! Rust's engine takes nearly the same syntax; [`translate`] writes out what it reads in another way: classes like `\d` are
//! of ASCII in Go, brackets and signs of set operations mean themselves inside a class, and a brace that repeats nothing
//! means itself. What a pattern may weigh is counted before it is built, since `(a{1000}){1000}` is short and is not small.

use regex::{Regex, RegexBuilder};
use regex_syntax::ast::{self, ErrorKind};
use regex_syntax::hir::{Class, Hir, HirKind};
use std::sync::OnceLock;

/// How many states the automaton of one pattern may have, roughly.
pub const PATTERN_WEIGHT_MAX: u64 = 100_000;

/// What the compiled form of one pattern may hold, bytes. Larger than what a pattern of the greatest weight makes.
const COMPILED_BYTES_MAX: usize = 16 << 20;

/// How much memory the search with a pattern may use for its cache, bytes.
const CACHE_BYTES_MAX: usize = 256 << 10;

/// A pattern, built when it is first used.
#[derive(Debug)]
pub struct Pattern {
    text: Box<str>,
    built: OnceLock<Option<Box<Regex>>>,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        Pattern { text: text.into(), built: OnceLock::new() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether any part of a text matches. A pattern that cannot be built matches nothing.
    pub fn is_match(&self, text: &str) -> bool {
        let built = self.built.get_or_init(|| {
            let regex = RegexBuilder::new(&translate(&self.text))
                .size_limit(COMPILED_BYTES_MAX)
                .dfa_size_limit(CACHE_BYTES_MAX)
                .build();
            (pattern_error(&self.text).is_none() && pattern_weight(&self.text) <= PATTERN_WEIGHT_MAX)
                .then(|| regex.ok().map(Box::new))
                .flatten()
        });
        built.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// What Go says of a pattern that it does not take: `error parsing regexp: …`.
pub fn pattern_error(text: &str) -> Option<String> {
    let translated = translate(text);
    let failed = |what: &str, shown: &str| Some(format!("error parsing regexp: {what}: `{shown}`"));
    let parsed = ast::parse::Parser::new().parse(&translated);
    let error = match parsed {
        Ok(ast) => {
            if let Some(nested) = doubled_repetition(text) {
                return failed("invalid nested repetition operator", nested);
            }
            return match regex_syntax::hir::translate::Translator::new().translate(&translated, &ast) {
                Ok(_) if pattern_weight(text) > PATTERN_WEIGHT_MAX => Some("expression too large".to_owned()),
                Ok(_) => None,
                Err(error) => failed("invalid character class range", &error.span().start.offset.to_string()),
            };
        }
        Err(error) => error,
    };
    let span = error.span();
    let at = translated.get(span.start.offset..span.end.offset).unwrap_or_default();
    let from = translated.get(span.start.offset..).unwrap_or_default();
    match error.kind() {
        ErrorKind::GroupUnclosed => failed("missing closing )", text),
        ErrorKind::GroupUnopened => failed("unexpected )", text),
        ErrorKind::ClassUnclosed => failed("missing closing ]", from),
        ErrorKind::ClassRangeInvalid => failed("invalid character class range", at),
        ErrorKind::RepetitionMissing => {
            let sign = from.chars().next().map_or(1, char::len_utf8);
            failed("missing argument to repetition operator", from.get(..sign).unwrap_or_default())
        }
        ErrorKind::RepetitionCountInvalid | ErrorKind::DecimalInvalid => failed("invalid repeat count", at),
        ErrorKind::EscapeUnexpectedEof => failed("trailing backslash at end of expression", ""),
        ErrorKind::EscapeUnrecognized => failed("invalid escape sequence", at),
        ErrorKind::UnsupportedLookAround
        | ErrorKind::FlagUnrecognized
        | ErrorKind::RepetitionCountUnclosed
        | ErrorKind::FlagUnexpectedEof => failed("invalid or unsupported Perl syntax", at),
        ErrorKind::UnsupportedBackreference => failed("invalid escape sequence", at),
        ErrorKind::GroupNameDuplicate { .. } => failed("duplicate capture group name", at),
        ErrorKind::NestLimitExceeded(_) => Some("error parsing regexp: expression nests too deeply".to_owned()),
        _ => failed("invalid syntax", at),
    }
}

/// How many states the automaton of a pattern has, roughly; 0 for what is no pattern.
pub fn pattern_weight(text: &str) -> u64 {
    let translated = translate(text);
    let Ok(ast) = ast::parse::Parser::new().parse(&translated) else { return 0 };
    let hir = regex_syntax::hir::translate::Translator::new().translate(&translated, &ast);
    hir.map_or(0, |hir| weight(&hir))
}

fn weight(hir: &Hir) -> u64 {
    let sum = |parts: &[Hir]| parts.iter().fold(1_u64, |total, part| total.saturating_add(weight(part)));
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => 1 + 4 * class.ranges().len() as u64,
        HirKind::Class(Class::Bytes(class)) => 1 + class.ranges().len() as u64,
        HirKind::Repetition(repetition) => {
            let times = u64::from(repetition.max.unwrap_or(repetition.min).max(1));
            weight(&repetition.sub).saturating_add(1).saturating_mul(times)
        }
        HirKind::Capture(capture) => weight(&capture.sub).saturating_add(2),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => sum(parts),
    }
}

/// The signs of a repetition of a repetition, as in `a**`, which Go refuses. (`a*?` is one repetition.)
fn doubled_repetition(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let (mut i, mut class, mut previous) = (0, false, None);
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => {
                i += 1;
                previous = None;
            }
            b'[' if !class => class = true,
            b']' if class => {
                class = false;
                previous = None;
            }
            _ if class => {}
            b'*' | b'+' => {
                if let Some(start) = previous {
                    return text.get(start..=i);
                }
                previous = Some(i);
                if bytes.get(i + 1) == Some(&b'?') {
                    i += 1;
                }
            }
            _ => previous = None,
        }
        i += 1;
    }
    None
}

/// A pattern of Go's in Rust's syntax.
pub fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let chars: Vec<char> = pattern.chars().collect();
    let mut i = 0;
    let mut class_start: Option<usize> = None;
    while let Some(&c) = chars.get(i) {
        let next = chars.get(i + 1).copied();
        match (c, class_start) {
            ('\\', inside) => {
                i += escape(&chars, i, inside.is_some(), &mut out);
                continue;
            }
            ('[', None) => {
                class_start = Some(out.len());
                out.push('[');
                if next == Some('^') {
                    out.push('^');
                    i += 1;
                }
                // A bracket that comes first means itself.
                if chars.get(i + 1) == Some(&']') {
                    out.push_str("\\]");
                    i += 1;
                }
            }
            ('[', Some(_)) => {
                let named = chars[i..].iter().take(14).collect::<String>();
                match named.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) {
                    Some((name, _)) => {
                        out.push_str(&format!("[:{name}:]"));
                        i += name.chars().count() + 3;
                    }
                    None => out.push_str("\\["),
                }
            }
            (']', Some(_)) => {
                class_start = None;
                out.push(']');
            }
            ('&' | '~', Some(_)) => {
                out.push('\\');
                out.push(c);
            }
            ('-', Some(_)) if next == Some('-') => out.push_str("\\-"),
            ('{', None) if !is_count(&chars[i..]) => out.push_str("\\{"),
            (c, _) => out.push(c),
        }
        i += 1;
    }
    out
}

/// Writes an escape sequence and returns how many characters it took.
fn escape(chars: &[char], at: usize, inside: bool, out: &mut String) -> usize {
    let Some(&c) = chars.get(at + 1) else {
        out.push('\\');
        return 1;
    };
    let (plain, negated) = match c.to_ascii_lowercase() {
        'd' => ("0-9", true),
        'w' => ("0-9A-Za-z_", true),
        's' => ("\\t\\n\\f\\r ", true),
        _ => ("", false),
    };
    if negated {
        let upper = c.is_ascii_uppercase();
        match (inside, upper) {
            (true, false) => out.push_str(plain),
            (_, true) => out.push_str(&format!("[^{plain}]")),
            (false, false) => out.push_str(&format!("[{plain}]")),
        }
        return 2;
    }
    match c {
        'b' if !inside => out.push_str("(?-u:\\b)"),
        'Q' if !inside => {
            let rest = &chars[at + 2..];
            let end = rest.windows(2).position(|pair| pair == ['\\', 'E']);
            let literal: String = rest[..end.unwrap_or(rest.len())].iter().collect();
            out.push_str(&regex_syntax::escape(&literal));
            return 2 + end.map_or(rest.len(), |end| end + 2);
        }
        '<' | '>' => out.push(c),
        'C' => out.push('.'),
        c if c.is_ascii_punctuation() && !regex_syntax::is_escapeable_character(c) => out.push(c),
        c => {
            out.push('\\');
            out.push(c);
        }
    }
    2
}

/// Whether a brace opens a count: `{2}`, `{2,}`, `{2,3}`.
fn is_count(chars: &[char]) -> bool {
    let text: String = chars.iter().skip(1).take(24).collect();
    let Some((inner, _)) = text.split_once('}') else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match inner.split_once(',') {
        None => is_number(inner),
        Some((low, high)) => is_number(low) && (high.is_empty() || is_number(high)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_go_matches_them() {
        for (pattern, text, matches) in [
            ("^a", "ab", true),
            ("b", "abc", true),
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^\w+$", "é", false),
            (r"^[\w.-]+$", "a.b-c", true),
            (r"^[^\d]+$", "ab", true),
            (r"^[[:alpha:]]+$", "ab", true),
            ("^[[]$", "[", true),
            ("^[]a]+$", "]a", true),
            ("^[a&&b]+$", "&a", true),
            ("^{a}$", "{a}", true),
            (r"^a{2,3}$", "aaa", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            ("^.$", "世", true),
        ] {
            assert_eq!(pattern_error(pattern), None, "{pattern}");
            assert_eq!(Pattern::new(pattern).is_match(text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_in_gos_words() {
        for (pattern, words) in [
            ("(", "missing closing ): `(`"),
            ("a)", "unexpected ): `a)`"),
            ("[a", "missing closing ]: `[a`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("[z-a]", "invalid character class range: `z-a`"),
        ] {
            assert_eq!(pattern_error(pattern), Some(format!("error parsing regexp: {words}")), "{pattern}");
        }
        assert!(pattern_error("(?=a)").is_some());
    }

    #[test]
    fn a_pattern_that_grows_without_end_is_refused() {
        for bomb in ["((a{1000}){1000}){1000}", "((([0-9]{1,999}){1,999}){1,999}){1,999}", "(x{65535}){65535}"] {
            assert!(pattern_error(bomb).is_some(), "{bomb}");
            assert!(!Pattern::new(bomb).is_match("a"), "{bomb}");
        }
        assert_eq!(pattern_error(r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.){0,20}$"), None);
    }
}
