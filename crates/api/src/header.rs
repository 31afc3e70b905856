//! What selectors, owners and preconditions need of an object, read once and kept in one piece of memory: a store holds
//! millions of them.
//!
//! ```text
//!   uid │ fields: their count, then of each its place in the kind's list and its value
//!       │ labels: their count, then of each its key and its value │ owners, to the end: hash (8), controller (1), kind
//! ```
//!
//! A text is its length, one byte or 255 and four more, and its bytes; counts are written as lengths are.

use crate::object::text;
use crate::selector::hash_key;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// The lengths from which on one byte does not say it.
const LONG: u8 = u8::MAX;

/// What is needed of an object without parsing it. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    pub deleting: bool,
    /// The kind's selectable fields beyond name and namespace, e.g. `spec.nodeName`.
    fields: &'static [&'static str],
    packed: Arc<[u8]>,
}

/// An owner, as selectors by hash see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerHash<'a> {
    pub kind: &'a str,
    /// Of the owner's uid.
    pub hash: u64,
    pub controller: bool,
}

/// What a header is made of.
pub(crate) struct Parts<'a> {
    pub uid: &'a str,
    /// The value of each selectable field; empty where the object lacks it.
    pub fields: &'a [String],
    pub labels: &'a [(String, String)],
    /// As in the metadata; what is no owner counts as one without a name.
    pub owners: &'a Value,
    pub deleting: bool,
}

impl Header {
    pub(crate) fn of(value: &Value, fields: &'static [&'static str]) -> Header {
        let metadata = &value["metadata"];
        let at = |path: &&str| text(path.split('.').fold(value, |v, segment| &v[segment]));
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let parts = Parts {
            uid: metadata["uid"].as_str().unwrap_or_default(),
            fields: &fields.iter().map(at).collect::<Vec<_>>(),
            labels: &labels.map(|(key, value)| (key.clone(), text(value))).collect::<Vec<_>>(),
            owners: &metadata["ownerReferences"],
            deleting: !metadata["deletionTimestamp"].is_null(),
        };
        Header::pack(&parts, fields)
    }

    pub(crate) fn pack(parts: &Parts<'_>, fields: &'static [&'static str]) -> Header {
        let mut packed = Vec::with_capacity(256);
        push_text(&mut packed, parts.uid);
        let present = || parts.fields.iter().enumerate().filter(|(_, value)| !value.is_empty());
        push_length(&mut packed, present().count());
        for (place, value) in present() {
            push_length(&mut packed, place);
            push_text(&mut packed, value);
        }
        push_length(&mut packed, parts.labels.len());
        for (key, value) in parts.labels {
            push_text(&mut packed, key);
            push_text(&mut packed, value);
        }
        for owner in parts.owners.as_array().into_iter().flatten() {
            packed.extend_from_slice(&hash_key(owner["uid"].as_str().unwrap_or_default()).to_le_bytes());
            packed.push(u8::from(owner["controller"] == true));
            push_text(&mut packed, owner["kind"].as_str().unwrap_or_default());
        }
        Header { deleting: parts.deleting, fields, packed: packed.into() }
    }

    pub fn uid(&self) -> &str {
        Unpack(&self.packed).text()
    }

    /// The value of one of the kind's selectable fields; empty where the object lacks it.
    pub fn field(&self, path: &str) -> &str {
        let found = self.fields().find(|(place, _)| self.fields[*place] == path);
        found.map_or("", |(_, value)| value)
    }

    /// In the order of their keys.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.label_pairs()
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// Who owns the object.
    pub fn owners(&self) -> impl Iterator<Item = OwnerHash<'_>> {
        let mut rest = self.label_pairs().end();
        std::iter::from_fn(move || {
            let (hash, more) = rest.0.split_first_chunk()?;
            let (&controller, more) = more.split_first()?;
            rest.0 = more;
            Some(OwnerHash { hash: u64::from_le_bytes(*hash), controller: controller == 1, kind: rest.text() })
        })
    }

    fn fields(&self) -> Pairs<'_, usize> {
        let mut rest = Unpack(&self.packed);
        rest.text();
        Pairs::new(rest, Unpack::length)
    }

    fn label_pairs(&self) -> Pairs<'_, &str> {
        Pairs::new(self.fields().end(), Unpack::text)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<_> = self.fields().map(|(place, value)| (self.fields[place], value)).collect();
        let (labels, owners): (Vec<_>, Vec<_>) = (self.labels().collect(), self.owners().collect());
        let mut shown = f.debug_struct("Header");
        shown.field("uid", &self.uid()).field("deleting", &self.deleting).field("fields", &fields);
        shown.field("labels", &labels).field("owners", &owners).finish()
    }
}

fn push_length(packed: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short != LONG => packed.push(short),
        _ => {
            let length = u32::try_from(length).expect("objects are limited to megabytes on their way in");
            packed.push(LONG);
            packed.extend_from_slice(&length.to_le_bytes());
        }
    }
}

fn push_text(packed: &mut Vec<u8>, text: &str) {
    push_length(packed, text.len());
    packed.extend_from_slice(text.as_bytes());
}

/// What is left to be read of a packed header.
#[derive(Clone, Copy)]
struct Unpack<'a>(&'a [u8]);

impl<'a> Unpack<'a> {
    fn length(&mut self) -> usize {
        let (length, rest) = match self.0 {
            [LONG, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
            [short, rest @ ..] => (usize::from(*short), rest),
            [] => (0, self.0),
        };
        self.0 = rest;
        length
    }

    fn text(&mut self) -> &'a str {
        let length = self.length();
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        std::str::from_utf8(text).expect("a packed header holds whole texts")
    }
}

/// As many pairs as are said in front of them.
struct Pairs<'a, T> {
    rest: Unpack<'a>,
    left: usize,
    first: fn(&mut Unpack<'a>) -> T,
}

impl<'a, T> Pairs<'a, T> {
    fn new(mut rest: Unpack<'a>, first: fn(&mut Unpack<'a>) -> T) -> Pairs<'a, T> {
        Pairs { left: rest.length(), rest, first }
    }

    /// What follows them.
    fn end(mut self) -> Unpack<'a> {
        self.by_ref().for_each(drop);
        self.rest
    }
}

impl<'a, T> Iterator for Pairs<'a, T> {
    type Item = (T, &'a str);

    fn next(&mut self) -> Option<(T, &'a str)> {
        self.left = self.left.checked_sub(1)?;
        Some(((self.first)(&mut self.rest), self.rest.text()))
    }
}
