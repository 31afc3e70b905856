//! Sets of fields: paths through an object, as a tree, and their encoding as `FieldsV1`.
//!
//! A step of a path is kept as its encoding has it: `f:NAME` is a field, `k:{…}` the keys of a list's item, `v:…` the
//! item itself, `i:N` a place. The keys of `k:` stand in the order of their names, so that equal steps are equal texts.
//! Invariant: steps are sorted; a step that is no member leads to one.

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write};

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(Vec<Step>);

/// A step, whether the path that ends with it is in the set, and what is in the set beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub name: Box<str>,
    pub member: bool,
    pub below: FieldSet,
}

impl FieldSet {
    /// The set of these paths, each a list of the names of fields.
    pub fn of_fields(paths: &[&[&str]]) -> FieldSet {
        let mut set = FieldSet::default();
        for path in paths {
            let steps: Vec<String> = path.iter().map(|name| format!("f:{name}")).collect();
            set.insert(&steps.iter().map(String::as_str).collect::<Vec<_>>());
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many paths are in it.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|step| usize::from(step.member) + step.below.len()).sum()
    }

    pub(crate) fn step(&self, name: &str) -> Option<&Step> {
        let at = self.0.binary_search_by(|step| (*step.name).cmp(name)).ok()?;
        self.0.get(at)
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Adds a path, in steps.
    pub(crate) fn insert(&mut self, path: &[&str]) {
        let [first, rest @ ..] = path else { return };
        let step = self.entry(first);
        if rest.is_empty() { step.member = true } else { step.below.insert(rest) }
    }

    /// Adds what is at and below one step. Nothing is added for a step that leads nowhere.
    pub(crate) fn add(&mut self, name: &str, member: bool, below: FieldSet) {
        if !member && below.is_empty() {
            return;
        }
        let step = self.entry(name);
        step.member |= member;
        step.below = if step.below.is_empty() { below } else { std::mem::take(&mut step.below).union(below) };
    }

    fn entry(&mut self, name: &str) -> &mut Step {
        let new = || Step { name: name.into(), member: false, below: FieldSet::default() };
        // Most come in their order.
        let at = match self.0.last().map(|last| (*last.name).cmp(name)) {
            None | Some(Ordering::Less) => {
                self.0.push(new());
                self.0.len() - 1
            }
            Some(Ordering::Equal) => self.0.len() - 1,
            Some(Ordering::Greater) => match self.0.binary_search_by(|step| (*step.name).cmp(name)) {
                Ok(at) => at,
                Err(at) => {
                    self.0.insert(at, new());
                    at
                }
            },
        };
        &mut self.0[at]
    }

    /// What is in either.
    pub(crate) fn union(self, other: FieldSet) -> FieldSet {
        if self.is_empty() {
            return other;
        }
        let mut union = Vec::with_capacity(self.0.len().max(other.0.len()));
        let (mut left, mut right) = (self.0.into_iter().peekable(), other.0.into_iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) => a.name.cmp(&b.name),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return FieldSet(union),
            };
            match order {
                Ordering::Less => union.extend(left.next()),
                Ordering::Greater => union.extend(right.next()),
                Ordering::Equal => {
                    if let (Some(a), Some(b)) = (left.next(), right.next()) {
                        let member = a.member || b.member;
                        union.push(Step { name: a.name, member, below: a.below.union(b.below) });
                    }
                }
            }
        }
    }

    /// What is in both.
    pub(crate) fn intersection(&self, other: &FieldSet) -> FieldSet {
        let shared = self.0.iter().filter_map(|step| {
            let same = other.step(&step.name)?;
            let (member, below) = (step.member && same.member, step.below.intersection(&same.below));
            (member || !below.is_empty()).then(|| Step { name: step.name.clone(), member, below })
        });
        FieldSet(shared.collect())
    }

    /// What is here and not there. What is below a member of the other stays unless it is a member itself.
    pub(crate) fn difference(mut self, other: &FieldSet) -> FieldSet {
        if !other.is_empty() {
            self.0.retain_mut(|step| {
                let Some(same) = other.step(&step.name) else { return true };
                step.member &= !same.member;
                step.below = std::mem::take(&mut step.below).difference(&same.below);
                step.member || !step.below.is_empty()
            });
        }
        self
    }

    /// What is here and neither there nor below anything there.
    pub(crate) fn without(mut self, other: &FieldSet) -> FieldSet {
        if !other.is_empty() {
            self.0.retain_mut(|step| match other.step(&step.name) {
                None => true,
                Some(same) if same.member => false,
                Some(same) => {
                    step.below = std::mem::take(&mut step.below).without(&same.below);
                    step.member || !step.below.is_empty()
                }
            });
        }
        self
    }

    /// Calls `each` with every path, as messages write it: members of a level before what is below.
    pub(crate) fn for_each_path(&self, each: &mut impl FnMut(&str)) {
        self.paths(&mut String::new(), each);
    }

    fn paths(&self, prefix: &mut String, each: &mut impl FnMut(&str)) {
        let length = prefix.len();
        for step in self.0.iter().filter(|step| step.member) {
            push_step(prefix, &step.name);
            each(prefix);
            prefix.truncate(length);
        }
        for step in self.0.iter().filter(|step| !step.below.is_empty()) {
            push_step(prefix, &step.name);
            step.below.paths(prefix, each);
            prefix.truncate(length);
        }
    }

    /// Reads `FieldsV1`. Steps of unknown form are dropped.
    pub fn parse(json: &str) -> Result<FieldSet, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Writes `FieldsV1`, the same text for equal sets.
    pub fn write(&self, out: &mut String) {
        self.write_level(false, out);
    }

    fn write_level(&self, member: bool, out: &mut String) {
        out.push('{');
        if member && !self.is_empty() {
            out.push_str("\".\":{}");
        }
        for (i, step) in self.0.iter().enumerate() {
            if i > 0 || member {
                out.push(',');
            }
            write_name(&step.name, out);
            out.push(':');
            step.below.write_level(step.member, out);
        }
        out.push('}');
    }
}

impl fmt::Display for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

/// Writes a step as the name of a JSON member.
pub(crate) fn write_name(name: &str, out: &mut String) {
    out.push('"');
    let mut rest = name;
    while let Some(at) = rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ') {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            byte @ (b'"' | b'\\') => {
                out.push('\\');
                out.push(char::from(byte));
            }
            byte => write!(out, "\\u{byte:04x}").expect("a String takes all that is written"),
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// The keys of a list's item as a step.
pub(crate) fn key_step(keys: &[(&str, &Value)]) -> String {
    let mut step = "k:{".to_owned();
    for (i, (name, value)) in keys.iter().enumerate() {
        if i > 0 {
            step.push(',');
        }
        write!(step, "{}:{value}", Value::from(*name)).expect("a String takes all that is written");
    }
    step.push('}');
    step
}

/// A step as messages write it.
pub(crate) fn push_step(path: &mut String, step: &str) {
    match step.split_once(':') {
        Some(("f", name)) => {
            path.push('.');
            path.push_str(name);
        }
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let shown: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            path.push('[');
            path.push_str(&shown.join(","));
            path.push(']');
        }
        Some(("v", value)) => {
            path.push_str("[=");
            path.push_str(value);
            path.push(']');
        }
        _ => {
            path.push('[');
            path.push_str(step.strip_prefix("i:").unwrap_or(step));
            path.push(']');
        }
    }
}

/// The one way to write a step, `None` for what is no step.
fn canonical(step: Cow<'_, str>) -> Result<Option<Cow<'_, str>>, serde_json::Error> {
    Ok(match step.split_once(':') {
        Some(("f", _)) => Some(step),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys)?;
            Some(format!("k:{}", Value::Object(keys)).into())
        }
        Some(("v", value)) => {
            let value: Value = serde_json::from_str(value)?;
            Some(format!("v:{value}").into())
        }
        Some(("i", place)) => place.parse::<i64>().is_ok().then_some(step),
        _ => None,
    })
}

impl<'de> Deserialize<'de> for FieldSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FieldSet, D::Error> {
        Ok(deserializer.deserialize_map(Level)?.1)
    }
}

/// One level of `FieldsV1`: whether it is a member itself, and what is below.
struct Level;

impl<'de> Visitor<'de> for Level {
    type Value = (bool, FieldSet);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(bool, FieldSet), A::Error> {
        let (mut member, mut set) = (false, FieldSet::default());
        while let Some(Name(name)) = map.next_key()? {
            if name == "." {
                map.next_value::<IgnoredAny>()?;
                member = true;
                continue;
            }
            let Some(name) = canonical(name).map_err(A::Error::custom)? else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let Below(own, below) = map.next_value()?;
            set.add(&name, own || below.is_empty(), below);
        }
        Ok((member, set))
    }
}

struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name<'de>, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text).map(Name)
    }
}

struct Below(bool, FieldSet);

impl<'de> Deserialize<'de> for Below {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Below, D::Error> {
        deserializer.deserialize_map(Level).map(|(member, set)| Below(member, set))
    }
}

/// How many paths of the set are members of `FieldsV1`, found without building it; `None` where it cannot be read.
pub(crate) fn count_members(json: &str, set: &FieldSet) -> Option<usize> {
    let mut found = 0;
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let seek = Seek { set, member: false, found: &mut found };
    serde::de::DeserializeSeed::deserialize(seek, &mut deserializer).ok()?;
    Some(found)
}

struct Seek<'a> {
    set: &'a FieldSet,
    /// Whether the place itself is in the set that is looked for.
    member: bool,
    found: &'a mut usize,
}

impl<'de> serde::de::DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // A place with nothing below it is a member itself.
        let (mut empty, mut itself) = (true, false);
        while let Some(Name(name)) = map.next_key()? {
            empty = false;
            itself |= name == ".";
            match self.set.step(&name) {
                Some(step) => {
                    map.next_value_seed(Seek { set: &step.below, member: step.member, found: self.found })?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        *self.found += usize::from(self.member && (itself || empty));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(json: &str) -> FieldSet {
        FieldSet::parse(json).expect(json)
    }

    #[test]
    fn a_set_is_written_as_it_was_read() {
        for text in [
            "{}",
            r#"{"f:a":{}}"#,
            r#"{"f:a":{".":{},"f:b":{}},"f:c":{"k:{\"name\":\"x\",\"port\":80}":{".":{},"f:name":{}},"v:\"q\\\"\"":{}}}"#,
            r#"{"f:list":{"i:0":{},"v:1":{},"v:true":{}}}"#,
        ] {
            assert_eq!(set(text).to_string(), text);
        }
        let canonical = set(r#"{"f:b":{},"k:{\"b\":2, \"a\":1}":{},"f:a":{},"x:unknown":{"f:c":{}}}"#);
        assert_eq!(canonical.to_string(), r#"{"f:a":{},"f:b":{},"k:{\"a\":1,\"b\":2}":{}}"#);
        for bad in ["[]", "{\"f:a\":1}", "{\"k:x\":{}}", "", "null"] {
            assert!(FieldSet::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sets_are_combined_path_by_path() {
        let a = set(r#"{"f:a":{".":{},"f:b":{}},"f:c":{}}"#);
        let b = set(r#"{"f:a":{},"f:c":{"f:d":{}}}"#);
        assert_eq!(a.clone().union(b.clone()).to_string(), r#"{"f:a":{".":{},"f:b":{}},"f:c":{".":{},"f:d":{}}}"#);
        assert_eq!(a.intersection(&b).to_string(), r#"{"f:a":{}}"#);
        assert_eq!(a.clone().difference(&b).to_string(), r#"{"f:a":{"f:b":{}},"f:c":{}}"#);
        assert_eq!(a.without(&b).to_string(), r#"{"f:c":{}}"#);
        assert_eq!(b.without(&set(r#"{"f:c":{"f:d":{}}}"#)).to_string(), r#"{"f:a":{}}"#);
    }

    #[test]
    fn paths_are_told_members_first() {
        let mut paths = Vec::new();
        set(r#"{"f:a":{".":{},"f:b":{}},"f:l":{"k:{\"n\":\"x\",\"p\":1}":{"f:z":{}},"v:\"w\"":{}},"f:z":{}}"#)
            .for_each_path(&mut |path| paths.push(path.to_owned()));
        assert_eq!(paths, [".a", ".z", ".a.b", ".l[=\"w\"]", ".l[n=\"x\",p=1].z"]);
    }

    #[test]
    fn what_a_set_shares_with_an_encoding_is_counted_without_building_it() {
        let json = r#"{"f:a":{".":{},"f:b":{}},"f:c":{"f:d":{}}}"#;
        for (wanted, shared) in [
            (r#"{"f:a":{}}"#, 1),
            (r#"{"f:a":{"f:b":{}}}"#, 1),
            (r#"{"f:a":{".":{},"f:b":{}},"f:c":{"f:d":{}}}"#, 3),
            (r#"{"f:c":{}}"#, 0),
            (r#"{"f:c":{"f:d":{"f:e":{}}}}"#, 0),
            (r#"{"f:c":{"f:d":{}},"f:x":{}}"#, 1),
            (r#"{"f:x":{}}"#, 0),
            ("{}", 0),
        ] {
            assert_eq!(count_members(json, &set(wanted)), Some(shared), "{wanted}");
            assert_eq!(set(json).intersection(&set(wanted)).len(), shared, "{wanted}");
        }
        assert_eq!(count_members("[]", &set("{}")), None);
    }
}
