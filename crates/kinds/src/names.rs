//! What names, keys and addresses must be: each function says what is wrong with a text, in upstream's words.

use crate::NameRule;
use crate::causes::{Causes, Path};

/// What is wrong with a text; empty when nothing is.
pub(crate) type Problems = Vec<String>;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const SUBDOMAIN_RULE: &str = "must consist of lower case alphanumeric characters, '-' or '.', and must start and end with \
                              an alphanumeric character";
const QUALIFIED_RULE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// The problems of a name under a rule. For a prefix (`generateName`) a dash at the end is fine.
pub(crate) fn by_rule(rule: NameRule, name: &str, prefix: bool) -> Problems {
    let masked = |name: &str| match name.strip_suffix('-') {
        Some(rest) if prefix && rest.ends_with(|c: char| c.is_ascii()) => format!("{}a", &rest[..rest.len() - 1]),
        _ => name.to_owned(),
    };
    match rule {
        NameRule::DnsSubdomain => dns_subdomain(&masked(name)),
        NameRule::DnsLabel => dns_label(&masked(name)),
        NameRule::Dns1035Label => dns_1035_label(&masked(name)),
        NameRule::PathSegment => path_segment(name, prefix),
        NameRule::Any => Problems::new(),
    }
}

/// 63 bytes of lower-case letters, digits and inner dashes.
pub(crate) fn dns_label(text: &str) -> Problems {
    let mut problems = longer_than(text, 63);
    if !is_label(text) {
        problems.push(if api::is_dns_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            pattern(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
                 end with an alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    problems
}

/// Labels joined by dots, 253 bytes.
pub(crate) fn dns_subdomain(text: &str) -> Problems {
    let mut problems = longer_than(text, 253);
    if !(text.split('.').all(is_label)) {
        let rule = format!("a lowercase RFC 1123 subdomain {SUBDOMAIN_RULE}");
        problems.push(pattern(&rule, SUBDOMAIN, &["example.com"]));
    }
    problems
}

/// A label that starts with a letter.
pub(crate) fn dns_1035_label(text: &str) -> Problems {
    let mut problems = longer_than(text, 63);
    if !(is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())) {
        problems.push(pattern(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    problems
}

/// A domain to search in: a subdomain whose labels may start or hold underscores.
pub(crate) fn dns_search(text: &str) -> Problems {
    let mut problems = longer_than(text, 253);
    let plain = |label: &str| is_label(&label.strip_prefix('_').unwrap_or(label).replace('_', "-"));
    if !text.split('.').all(plain) {
        problems.push(pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must \
             start and end with an alphanumeric character",
            r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    problems
}

/// `*.` and a subdomain.
pub(crate) fn wildcard_dns_subdomain(text: &str) -> Problems {
    let mut problems = longer_than(text, 253);
    if !text.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_label)) {
        problems.push(pattern(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist \
             of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!(r"\*\.{SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    problems
}

/// Anything that can be one segment of a path; a prefix may be `.` or `..`.
pub(crate) fn path_segment(name: &str, prefix: bool) -> Problems {
    let mut problems = Problems::new();
    if !prefix && matches!(name, "." | "..") {
        problems.push(format!("may not be '{name}'"));
        return problems;
    }
    for bad in ['/', '%'] {
        if name.contains(bad) {
            problems.push(format!("may not contain '{bad}'"));
        }
    }
    problems
}

/// The key of a label or an annotation: an optional subdomain and `/`, then a name.
pub(crate) fn qualified_name(text: &str) -> Problems {
    qualified(text, "a qualified name ")
}

/// As [`qualified_name`], worded for labels.
pub(crate) fn label_key(text: &str) -> Problems {
    qualified(text, "a valid label key ")
}

fn qualified(text: &str, what: &str) -> Problems {
    let mut problems = Problems::new();
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    if name.contains('/') {
        let rule = pattern(&format!("{what}{QUALIFIED_RULE}"), QUALIFIED, &["MyName", "my.name", "123-abc"]);
        problems.push(format!("{rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"));
        return problems;
    }
    match prefix {
        Some("") => problems.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => problems.extend(dns_subdomain(prefix).into_iter().map(|p| format!("prefix part {p}"))),
        None => {}
    }
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        problems.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_qualified_part(name) {
        let rule = pattern(QUALIFIED_RULE, QUALIFIED, &["MyName", "my.name", "123-abc"]);
        problems.push(format!("name part {rule}"));
    }
    problems
}

/// A label's value.
pub(crate) fn label_value(text: &str) -> Problems {
    let mut problems = Problems::new();
    if text.len() > 63 {
        problems.push("must be no more than 63 bytes".to_owned());
    }
    if !text.is_empty() && !is_qualified_part(text) {
        problems.push(pattern(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    problems
}

/// A key of a config map or a secret.
pub(crate) fn config_map_key(text: &str) -> Problems {
    let mut problems = longer_than(text, 253);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        problems.push(pattern(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match text {
        "." => problems.push("must not be '.'".to_owned()),
        ".." => problems.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => problems.push("must not start with '..'".to_owned()),
        _ => {}
    }
    problems
}

/// The name of an environment variable: printable ASCII without `=`.
pub(crate) fn env_var_name(text: &str) -> Problems {
    let mut problems = Problems::new();
    if text.is_empty() || !text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        let why = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        problems.push(why.to_owned());
    }
    problems
}

/// A C identifier.
pub(crate) fn c_identifier(text: &str) -> Problems {
    let start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if start && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Problems::new();
    }
    vec![pattern(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
         characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// The reason of a condition.
pub(crate) fn condition_reason(text: &str) -> Problems {
    let start = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_,:".contains(&b);
    if start && text.bytes().all(inner) && !text.ends_with([',', ':']) {
        return Problems::new();
    }
    vec![pattern(
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
         characters or '_,:', and must end with an alphanumeric character or '_'",
        "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
        &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
    )]
}

/// The name of a header of HTTP.
pub(crate) fn http_header(text: &str) -> Problems {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Problems::new();
    }
    vec![pattern(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// The name of a port: at most 15 bytes.
pub(crate) fn port_name(text: &str) -> Problems {
    let mut problems = longer_than(text, 15);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// The number of a port must be one.
pub(crate) fn port(number: i64, at: &Path, causes: &mut Causes) {
    for problem in port_number(number) {
        causes.invalid(at, number, &problem);
    }
}

/// The number of a port.
pub(crate) fn port_number(port: i64) -> Problems {
    if (1..=65535).contains(&port) {
        return Problems::new();
    }
    vec!["must be between 1 and 65535, inclusive".to_owned()]
}

fn longer_than(text: &str, max: usize) -> Problems {
    if text.len() > max { vec![format!("must be no more than {max} characters")] } else { Problems::new() }
}

/// A label of any length.
fn is_label(text: &str) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(edge) && bytes.last().is_some_and(edge) && bytes.iter().all(|b| edge(b) || *b == b'-')
}

fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// A rule with examples and the pattern that holds it.
fn pattern(rule: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{rule} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(problems: Problems, expected: usize) {
        assert_eq!(problems.len(), expected, "{problems:?}");
    }

    #[test]
    fn names_follow_the_rule_of_their_kind() {
        for (rule, good, bad) in [
            (NameRule::DnsSubdomain, &["a", "a.b", "1-a"][..], &["", "A", "a_b", "-a", "a..b", "a."][..]),
            (NameRule::DnsLabel, &["a", "1a"], &["a.b", "", "é"]),
            (NameRule::Dns1035Label, &["a", "a1"], &["1a", "a.b"]),
            (NameRule::PathSegment, &["system:node", "A b"], &[".", "..", "a/b", "a%"]),
        ] {
            good.iter().for_each(|name| check(by_rule(rule, name, false), 0));
            bad.iter().for_each(|name| check(by_rule(rule, name, false), 1));
        }
    }

    #[test]
    fn a_prefix_may_end_with_a_dash() {
        check(by_rule(NameRule::DnsLabel, "a-", true), 0);
        check(by_rule(NameRule::DnsLabel, "a-", false), 1);
        check(by_rule(NameRule::DnsLabel, "-", true), 1);
        check(by_rule(NameRule::DnsLabel, "é-", true), 1);
    }

    #[test]
    fn keys_and_values_of_labels() {
        for good in ["a", "a.io/b", "A_b"] {
            check(label_key(good), 0);
        }
        check(label_key(""), 2);
        check(label_key("/b"), 1);
        check(label_key("a/b/c"), 1);
        check(label_key("A.io/b"), 1);
        check(label_value(""), 0);
        check(label_value("a b"), 1);
        check(label_value(&"v".repeat(64)), 1);
    }

    #[test]
    fn ports_and_keys() {
        check(port_name("http"), 0);
        check(port_name("80"), 1);
        check(port_name("-a--b-"), 2);
        check(port_number(0), 1);
        check(config_map_key("..a"), 1);
        check(env_var_name("a=b"), 1);
        check(http_header("X-A"), 0);
        check(c_identifier("1a"), 1);
        check(wildcard_dns_subdomain("*.a.b"), 0);
    }
}
