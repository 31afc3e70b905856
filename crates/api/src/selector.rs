//! Label and field selectors: parsed from query strings and from `LabelSelector` objects, matched against headers.

mod parse;
mod share;

pub use share::{HashTerm, hash_key, orphans, ranges};

use crate::{Error, Header, Object, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// How a requirement compares a label's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
    /// Absent, or one of the values. No text says it: servers alone ask so.
    AbsentOrIn,
}

/// One term of a label selector. `values` holds one number for `GreaterThan` and `LessThan`, none for existence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

impl Requirement {
    /// Whether a set of labels fulfils the term.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.holds(labels.get(&self.key).map(String::as_str))
    }

    /// Whether the labels of an object fulfil the term.
    pub fn selects(&self, header: &Header) -> bool {
        self.holds(header.label(&self.key))
    }

    /// As upstream, `NotIn` is true where there is no such label.
    fn holds(&self, value: Option<&str>) -> bool {
        let is_listed = |value: &str| self.values.iter().any(|listed| listed == value);
        let number = |text: &str| text.parse::<i64>().ok();
        let bound = || self.values.first().and_then(|v| number(v));
        match self.operator {
            Operator::In => value.is_some_and(is_listed),
            Operator::NotIn => !value.is_some_and(is_listed),
            Operator::AbsentOrIn => value.is_none_or(is_listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => value.and_then(number).zip(bound()).is_some_and(|(v, b)| v > b),
            Operator::LessThan => value.and_then(number).zip(bound()).is_some_and(|(v, b)| v < b),
        }
    }
}

/// All terms must hold. No term selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Reads the query form: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    pub fn parse(text: &str) -> Result<LabelSelector> {
        let requirements = parse::requirements(text).map_err(Error::bad_request)?;
        Ok(LabelSelector { requirements })
    }

    /// Reads a `metav1.LabelSelector` object (`matchLabels`, `matchExpressions`). An empty one selects everything.
    pub fn from_value(selector: &Value) -> Result<LabelSelector> {
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement { key: key.clone(), operator: Operator::In, values: vec![value] });
        }
        for term in selector["matchExpressions"].as_array().into_iter().flatten() {
            let operator = match term["operator"].as_str() {
                Some("In") => Operator::In,
                Some("NotIn") => Operator::NotIn,
                Some("Exists") => Operator::Exists,
                Some("DoesNotExist") => Operator::DoesNotExist,
                Some("Gt") => Operator::GreaterThan,
                Some("Lt") => Operator::LessThan,
                other => {
                    let name = other.unwrap_or_default();
                    return Err(Error::bad_request(format!("{name:?} is not a valid label selector operator")));
                }
            };
            let values = term["values"].as_array().into_iter().flatten();
            requirements.push(Requirement {
                key: term["key"].as_str().unwrap_or_default().to_owned(),
                operator,
                values: values.filter_map(|v| v.as_str().map(str::to_owned)).collect(),
            });
        }
        Ok(LabelSelector { requirements })
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }

    /// Whether the labels of an object match.
    pub fn selects(&self, header: &Header) -> bool {
        self.requirements.iter().all(|term| term.selects(header))
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

/// A field selector: every term is `path = value` or `path != value`. Where hashes are asked for, there may be several
/// such groups, of which one must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// (path, value, whether it must be equal)
    pub terms: Vec<(String, String, bool)>,
    /// What is asked of the hashes of the object and of its owners.
    pub hashes: Vec<HashTerm>,
    /// Other groups.
    pub or: Vec<FieldSelector>,
}

/// The most groups of one selector: what every slot of the work takes apart, for some kinds of owners.
const GROUPS_MAX: usize = 256;

impl FieldSelector {
    /// One group of terms.
    pub fn of(terms: Vec<(String, String, bool)>) -> FieldSelector {
        FieldSelector { terms, ..FieldSelector::default() }
    }

    /// Reads `a=b,c==d,e!=f`, with `\` before a `,`, `=` or `\` that belongs to a value. Where hashes are asked for, a `;`
    /// begins another group.
    pub fn parse(text: &str) -> Result<FieldSelector> {
        if !share::asks(text) {
            return FieldSelector::group(text);
        }
        let mut groups = text.split(';').filter(|group| !group.is_empty());
        let mut selector = FieldSelector::group(groups.next().unwrap_or_default())?;
        for group in groups {
            if selector.or.len() + 1 == GROUPS_MAX {
                return Err(Error::bad_request(format!("invalid selector: more than {GROUPS_MAX} alternatives")));
            }
            selector.or.push(FieldSelector::group(group)?);
        }
        Ok(selector)
    }

    fn group(text: &str) -> Result<FieldSelector> {
        let (mut terms, mut hashes) = (Vec::new(), Vec::new());
        for term in split_escaped(text) {
            if term.is_empty() {
                continue;
            }
            let bad = || Error::bad_request(format!("invalid selector: '{text}'; can't understand '{term}'"));
            let at = sign_in(term).ok_or_else(bad)?;
            let (path, rest) = term.split_at(at);
            let (equal, value) = if let Some(value) = rest.strip_prefix("!=") {
                (false, value)
            } else if let Some(value) = rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')) {
                (true, value)
            } else {
                return Err(bad());
            };
            let value = unescape(value).map_err(|escape| {
                Error::bad_request(format!("invalid field selector: invalid escape sequence: {escape}"))
            })?;
            match HashTerm::parse(path, &value, equal)? {
                Some(hash) => hashes.push(hash),
                None => terms.push((path.to_owned(), value, equal)),
            }
        }
        Ok(FieldSelector { terms, hashes, or: Vec::new() })
    }

    /// The same selector in other words: each term as `translated` says it.
    pub fn translate(
        &self,
        translated: impl Fn(&(String, String, bool)) -> Result<(String, String, bool)>,
    ) -> Result<FieldSelector> {
        let group = |group: &FieldSelector| {
            let terms = group.terms.iter().map(&translated).collect::<Result<_>>()?;
            Ok(FieldSelector { terms, hashes: group.hashes.clone(), or: Vec::new() })
        };
        Ok(FieldSelector { or: self.or.iter().map(group).collect::<Result<_>>()?, ..group(self)? })
    }

    pub fn matches(&self, object: &Object) -> bool {
        let group = self.terms.iter().all(|(path, value, equal)| (object.selected(path) == **value) == *equal)
            && HashTerm::all_match(&self.hashes, &object.header);
        group || self.or.iter().any(|group| group.matches(object))
    }

    /// The value that `path` must have, if the selector fixes one.
    pub fn required(&self, path: &str) -> Option<&str> {
        if !self.or.is_empty() {
            return None;
        }
        self.terms.iter().find(|(p, _, equal)| p == path && *equal).map(|(_, value, _)| value.as_str())
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty() && self.hashes.is_empty() && self.or.is_empty()
    }
}

/// What a list or a watch asks for: both selectors must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

impl Selector {
    pub fn matches(&self, object: &Object) -> bool {
        self.labels.selects(&object.header) && self.fields.matches(object)
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}

/// An optional DNS subdomain and `/`, then a name of at most 63 bytes: a label's or an annotation's key.
pub fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(p, n)| (Some(p), n));
    prefix.is_none_or(crate::is_dns_subdomain) && !name.is_empty() && is_label_value(name)
}

/// Empty, or at most 63 bytes of `A-Za-z0-9-_.` that start and end with a letter or digit.
pub fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    match bytes {
        [] => true,
        [first, .., last] if !(first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric()) => false,
        [only] => only.is_ascii_alphanumeric(),
        _ => bytes.len() <= 63 && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b)),
    }
}

fn split_escaped(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Where the sign that compares is.
fn sign_in(term: &str) -> Option<usize> {
    let mut escaped = false;
    term.char_indices()
        .find(|&(at, c)| {
            let found = !escaped && (c == '=' || term[at..].starts_with("!="));
            escaped = !escaped && c == '\\';
            found
        })
        .map(|(at, _)| at)
}

/// The value without its escapes; an escape of anything else is told.
fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                other => return Err(format!("\\{}", other.map(String::from).unwrap_or_default())),
            },
            (',' | '=', _) => return Err(String::from(c)),
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(selector: &str, labels: &[(&str, &str)], expected: bool) {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(LabelSelector::parse(selector).expect(selector).matches(&labels), expected, "{selector}");
    }

    #[test]
    fn every_form_of_a_label_term_matches_as_upstream() {
        let labels = [("app", "web"), ("tier", "3")];
        for selector in [
            "",
            "app=web",
            "app==web",
            "app",
            "!x",
            "x!=y",
            "app in (web, db)",
            "x notin (y)",
            "app notin ()",
            "tier>2,tier<4",
        ] {
            check(selector, &labels, true);
        }
        for selector in ["app=db", "app!=web", "x", "!app", "app notin (web)", "tier>3", "app=web,x=y", "app in(db)"] {
            check(selector, &labels, false);
        }
    }

    #[test]
    fn malformed_label_selectors_are_refused() {
        for bad in ["a=b,,c", "a in b", "=b", "a>b", "-a=b", "a=b c", "a in (b", "a=-"] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn refusals_say_what_was_found_in_upstreams_words() {
        let message = |text: &str| LabelSelector::parse(text).expect_err(text).message().to_owned();
        let operators = "expected: in, notin, =, ==, !=, gt, lt";
        assert_eq!(message("a b"), format!("unable to parse requirement: found 'b', {operators}"));
        assert_eq!(message("a=b,,"), "found ',', expected: identifier after ','");
        assert_eq!(message("a in x"), "unable to parse requirement: found 'x' expected: '('");
        assert_eq!(message("a=b c"), "found 'c', expected: ',' or 'end of string'");
        assert!(message("/a=b").ends_with("<nil>: Invalid value: \"/a\": prefix part must be non-empty"));
        assert!(message("a>x").contains("values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators"));
        let field = |text: &str| FieldSelector::parse(text).expect_err(text).message().to_owned();
        assert_eq!(field(r"a=b\"), r"invalid field selector: invalid escape sequence: \");
        assert_eq!(field(r"a=b\x"), r"invalid field selector: invalid escape sequence: \x");
    }

    #[test]
    fn field_selectors_unescape_their_values() {
        let selector = FieldSelector::parse(r"metadata.name=a\,b,spec.nodeName!=n").expect("a selector");
        assert_eq!(selector.required("metadata.name"), Some("a,b"));
        assert_eq!(selector.required("spec.nodeName"), None);
        assert!(FieldSelector::parse("metadata.name").is_err());
    }
}
