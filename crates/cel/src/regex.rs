//! Patterns of RE2's syntax, with bounded size: what Go means where Rust's syntax means something else, and Go's words
//! for what is no pattern.

use regex::{Regex, RegexBuilder};
use regex_syntax::ast::ErrorKind;

pub(crate) type Pattern = Regex;

const COMPILED_BYTES_MAX: usize = 1 << 20;
const NESTING_MAX: u32 = 100;

/// The compiled pattern.
///
/// # Errors
/// `error parsing regexp: …`
pub(crate) fn compile(pattern: &str) -> Result<Pattern, String> {
    let told = |why: &str, what: &str| format!("error parsing regexp: {why}: `{what}`");
    let translated = translate(pattern);
    if let Err(error) =
        regex_syntax::ast::parse::ParserBuilder::new().nest_limit(NESTING_MAX).build().parse(&translated)
    {
        let span = error.span();
        let at = translated.get(span.start.offset..span.end.offset).unwrap_or_default();
        return Err(match error.kind() {
            ErrorKind::GroupUnclosed => told("missing closing )", pattern),
            ErrorKind::GroupUnopened => told("unexpected )", pattern),
            ErrorKind::ClassUnclosed => told("missing closing ]", &translated[span.start.offset..]),
            ErrorKind::RepetitionMissing => {
                let operator = translated[span.start.offset..].chars().next().unwrap_or('*');
                told("missing argument to repetition operator", &operator.to_string())
            }
            ErrorKind::EscapeUnexpectedEof => told("trailing backslash at end of expression", ""),
            ErrorKind::EscapeUnrecognized | ErrorKind::UnsupportedBackreference => told("invalid escape sequence", at),
            ErrorKind::UnsupportedLookAround => told("invalid or unsupported Perl syntax", at),
            ErrorKind::ClassRangeInvalid | ErrorKind::ClassRangeLiteral => told("invalid character class range", at),
            ErrorKind::RepetitionCountInvalid => told("invalid repeat count", at),
            ErrorKind::NestLimitExceeded(_) => told("expression nests too deeply", pattern),
            ErrorKind::GroupNameDuplicate { .. } => told("duplicate capture group name", at),
            ErrorKind::GroupNameInvalid | ErrorKind::GroupNameEmpty | ErrorKind::GroupNameUnexpectedEof => {
                told("invalid named capture", at)
            }
            _ => told("invalid or unsupported Perl syntax", at),
        });
    }
    RegexBuilder::new(&translated)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => told("expression too large", pattern),
            _ => told("invalid character class range", pattern),
        })
}

/// The same pattern in Rust's syntax: Perl's classes are of ASCII, and classes know no operators but `-` and `^`.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut class: Option<usize> = None;
    while let Some(c) = chars.next() {
        match (c, class) {
            ('\\', _) => {
                let next = chars.next();
                match next {
                    Some('d') => out.push_str("[0-9]"),
                    Some('D') => out.push_str("[^0-9]"),
                    Some('w') => out.push_str("[0-9A-Za-z_]"),
                    Some('W') => out.push_str("[^0-9A-Za-z_]"),
                    Some('s') => out.push_str("[\\t\\n\\f\\r ]"),
                    Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
                    Some('b') if class.is_none() => out.push_str("(?-u:\\b)"),
                    Some('B') if class.is_none() => out.push_str("(?-u:\\B)"),
                    Some('Q') if class.is_none() => {
                        let rest: String = chars.by_ref().collect();
                        let (literal, after) = rest.split_once("\\E").unwrap_or((&rest, ""));
                        out.push_str(&regex_syntax::escape(literal));
                        out.push_str(&translate(after));
                        return out;
                    }
                    // Characters that Rust would not have escaped, but Go does.
                    Some(c) if c.is_ascii_punctuation() => out.push_str(&escaped(c)),
                    Some(c) => out.extend(['\\', c]),
                    None => out.push('\\'),
                }
                class = class.map(|n| n + 1);
            }
            ('[', None) => {
                out.push('[');
                if chars.peek() == Some(&'^') {
                    out.extend(chars.next());
                }
                class = Some(0);
            }
            ('[', Some(n)) => {
                // A named class stays; else it is a bracket like any other.
                if chars.peek() == Some(&':') {
                    out.push('[')
                } else {
                    out.push_str("\\[")
                }
                class = Some(n + 1);
                if out.ends_with('[') && !out.ends_with("\\[") {
                    for c in chars.by_ref() {
                        out.push(c);
                        if c == ']' {
                            break;
                        }
                    }
                }
            }
            (']', Some(n)) => {
                if n == 0 {
                    out.push_str("\\]");
                    class = Some(1);
                } else {
                    out.push(']');
                    class = None;
                }
            }
            ('&' | '~', Some(n)) => {
                out.extend(['\\', c]);
                class = Some(n + 1);
            }
            (c, Some(n)) => {
                out.push(c);
                class = Some(n + 1);
            }
            (c, None) => out.push(c),
        }
    }
    out
}

fn escaped(c: char) -> String {
    if regex_syntax::is_meta_character(c) { format!("\\{c}") } else { c.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_go_means() {
        for (pattern, text, expected) in [
            ("^\\d+$", "12", true),
            ("^\\d+$", "١٢", false),
            ("^[[a]+$", "[a", true),
            ("^[a&&b]+$", "&", true),
            ("^[[:alpha:]]+$", "ab", true),
            ("^[]a]+$", "]", true),
            ("\\Qa.b\\E$", "a.b", true),
            ("\\Qa.b\\E$", "axb", false),
            ("^[\\w-]+$", "a-b", true),
            ("\\bword\\b", "a word", true),
            ("(?i)ABC", "abc", true),
        ] {
            assert_eq!(compile(pattern).map(|regex| regex.is_match(text)), Ok(expected), "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_as_go_tells_it() {
        for (pattern, why) in [
            ("(a", "missing closing ): `(a`"),
            ("a)", "unexpected ): `a)`"),
            ("[a", "missing closing ]: `[a`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("a{2,1}", "invalid repeat count: `{2,1}`"),
            ("(((a{100}){100}){100}){100}", "expression too large: `(((a{100}){100}){100}){100}`"),
        ] {
            assert_eq!(compile(pattern).err(), Some(format!("error parsing regexp: {why}")), "{pattern}");
        }
    }
}
