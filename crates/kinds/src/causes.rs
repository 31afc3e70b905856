//! What is wrong with an object: field paths that cost nothing until a cause is written, and the causes themselves in
//! upstream's words.

use api::Cause;
use serde::Serialize;
use std::fmt;

/// Where in an object: a chain on the stack, printed only when a cause needs it.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// A field at the top of an object.
    pub const fn new(field: &'a str) -> Path<'a> {
        Path { parent: None, part: Part::Field(field) }
    }

    /// `self.field`
    pub const fn child(&'a self, field: &'a str) -> Path<'a> {
        Path { parent: Some(self), part: Part::Field(field) }
    }

    /// `self[3]`
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), part: Part::Index(index) }
    }

    /// `self[key]`
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), part: Part::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.part {
            Part::Field(field) if self.parent.is_some() => write!(f, ".{field}"),
            Part::Field(field) => f.write_str(field),
            Part::Index(index) => write!(f, "[{index}]"),
            Part::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// What the texts of an object's causes may weigh. A cause may show all of a list, and there may be one for each of its
/// items: what is past this is left out, as the causes before it refuse the object already.
const BYTES_MAX: usize = 1 << 20;

/// A growing list of causes, up to a weight. The first cause is always kept, however much it shows.
#[derive(Default)]
pub(crate) struct Causes {
    found: Vec<Cause>,
    bytes: usize,
}

impl Causes {
    pub fn new() -> Causes {
        Causes::default()
    }

    /// Runs a check that adds its causes, and answers with them.
    pub fn of(check: impl FnOnce(&mut Causes)) -> Vec<Cause> {
        let mut causes = Causes::new();
        check(&mut causes);
        causes.found
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether further causes are left out. For checks whose words take long to make.
    pub fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    pub fn into_vec(self) -> Vec<Cause> {
        self.found
    }

    pub fn extend(&mut self, causes: impl IntoIterator<Item = Cause>) {
        for cause in causes {
            if self.is_full() {
                return;
            }
            self.push(cause);
        }
    }

    /// A field must be there. `why` may be empty.
    pub fn required(&mut self, at: &Path, why: &str) {
        self.add("FieldValueRequired", at, || with("Required value", why));
    }

    /// A value that does not meet a rule.
    pub fn invalid(&mut self, at: &Path, value: impl Serialize, why: &str) {
        self.add("FieldValueInvalid", at, || with(&format!("Invalid value: {}", shown(value)), why));
    }

    /// Something that does not meet a rule and is too large to be shown.
    pub fn wrong(&mut self, at: &Path, why: &str) {
        self.add("FieldValueInvalid", at, || with("Invalid value", why));
    }

    /// One cause for each problem of a value.
    pub fn each_invalid(&mut self, at: &Path, value: &str, problems: impl IntoIterator<Item = String>) {
        for problem in problems {
            self.invalid(at, value, &problem);
        }
    }

    /// A value outside a closed set.
    pub fn unsupported(&mut self, at: &Path, value: impl Serialize, supported: &[&str]) {
        self.add("FieldValueNotSupported", at, || {
            let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
            let message = format!("Unsupported value: {}", shown(value));
            if list.is_empty() { message } else { format!("{message}: supported values: {}", list.join(", ")) }
        });
    }

    /// A field that may not be there, or may not change. `why` may be empty.
    pub fn forbidden(&mut self, at: &Path, why: &str) {
        self.add("FieldValueForbidden", at, || with("Forbidden", why));
    }

    /// A value that an earlier item has.
    pub fn duplicate(&mut self, at: &Path, value: impl Serialize) {
        self.duplicate_because(at, value, "");
    }

    /// A value that an earlier item has, with what makes it the same.
    pub fn duplicate_because(&mut self, at: &Path, value: impl Serialize, why: &str) {
        self.add("FieldValueDuplicate", at, || with(&format!("Duplicate value: {}", shown(value)), why));
    }

    /// A reference to something that is not there.
    pub fn not_found(&mut self, at: &Path, value: impl Serialize) {
        self.not_found_because(at, value, "");
    }

    /// A reference to something that is not there, with what could be.
    pub fn not_found_because(&mut self, at: &Path, value: impl Serialize, why: &str) {
        self.add("FieldValueNotFound", at, || with(&format!("Not found: {}", shown(value)), why));
    }

    /// A text of more than `max` bytes.
    pub fn too_long(&mut self, at: &Path, max: usize) {
        self.add("FieldValueTooLong", at, || format!("Too long: may not be more than {max} bytes"));
    }

    /// A list of more than `max` items.
    pub fn too_many(&mut self, at: &Path, actual: usize, max: usize) {
        let items = if max == 1 { "item" } else { "items" };
        self.add("FieldValueTooMany", at, || format!("Too many: {actual}: must have at most {max} {items}"));
    }

    /// A field that may not change once it is there.
    pub fn immutable(&mut self, at: &Path, value: impl Serialize) {
        self.invalid(at, value, "field is immutable");
    }

    /// A number below zero.
    pub fn not_negative(&mut self, at: &Path, value: &serde_json::Value) {
        if let Some(number) = value.as_i64().filter(|n| *n < 0) {
            self.invalid(at, number, "must be greater than or equal to 0");
        }
    }

    /// One of a closed set of texts; `required` tells whether nothing is a fault of its own.
    pub fn one_of(&mut self, at: &Path, value: &serde_json::Value, supported: &[&str]) {
        let text = value.as_str().unwrap_or_default();
        if !supported.contains(&text) {
            self.unsupported(at, text, supported);
        }
    }

    /// The message is made only if there is room for it.
    fn add(&mut self, reason: &str, at: &Path, message: impl FnOnce() -> String) {
        if !self.is_full() {
            self.push(Cause { reason: reason.to_owned(), message: message(), field: at.to_string() });
        }
    }

    fn push(&mut self, cause: Cause) {
        self.bytes += cause.reason.len() + cause.message.len() + cause.field.len();
        self.found.push(cause);
    }
}

fn with(what: &str, why: &str) -> String {
    if why.is_empty() { what.to_owned() } else { format!("{what}: {why}") }
}

fn shown(value: impl Serialize) -> String {
    serde_json::to_string(&value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_print_as_upstream_prints_them() {
        let spec = Path::new("spec");
        let containers = spec.child("containers");
        let limits = containers.index(2);
        let limits = limits.child("limits");
        assert_eq!(limits.key("cpu").to_string(), "spec.containers[2].limits[cpu]");
    }

    #[test]
    fn causes_that_show_a_long_list_for_each_item_stay_within_a_weight() {
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true});
        let scopes = vec![json!("Unheard"); 2000];
        let meta = json!({"name": "a", "namespace": "n", "ownerReferences": vec![owner; 1000], "resourceVersion": "1"});
        let hostile = json!({"metadata": meta, "spec": {"scopes": scopes}});
        let quotas = crate::registry().find("", "v1", "resourcequotas").expect("a kind");
        let bytes =
            |causes: &[Cause]| causes.iter().map(|cause| cause.message.len() + cause.field.len()).sum::<usize>();
        for causes in [
            crate::generic::validate_create(quotas, &hostile),
            crate::generic::validate_update(quotas, &hostile, &hostile),
        ] {
            assert_eq!(causes[0].field, "metadata.ownerReferences");
            assert!(bytes(&causes) < BYTES_MAX + hostile.to_string().len(), "{} bytes", bytes(&causes));
        }
    }

    #[test]
    fn a_value_is_not_written_out_once_there_is_no_room() {
        struct Counted<'a>(&'a std::cell::Cell<usize>);
        impl Serialize for Counted<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.set(self.0.get() + 1);
                serializer.serialize_str(&"x".repeat(BYTES_MAX / 2))
            }
        }
        let written = std::cell::Cell::new(0);
        let at = Path::new("a");
        let causes = Causes::of(|causes| (0..100).for_each(|_| causes.invalid(&at, Counted(&written), "")));
        assert_eq!((causes.len(), written.get()), (2, 2));
    }

    #[test]
    fn causes_of_parts_share_the_weight_of_the_whole() {
        let at = Path::new("a");
        let large = "x".repeat(BYTES_MAX);
        let part = || Causes::of(|causes| causes.invalid(&at, &large, ""));
        assert_eq!(part().len(), 1, "the first is kept whatever it weighs");
        let whole = Causes::of(|causes| (0..10).for_each(|_| causes.extend(part())));
        assert_eq!(whole.len(), 1);
    }

    #[test]
    fn causes_are_worded_as_upstream_words_them() {
        let at = Path::new("a");
        let causes = Causes::of(|causes| {
            causes.required(&at, "");
            causes.invalid(&at, "x", "must be y");
            causes.invalid(&at, -1, "");
            causes.unsupported(&at, "x", &["A", "B"]);
            causes.too_many(&at, 3, 2);
        });
        let messages: Vec<&str> = causes.iter().map(|c| c.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "Required value",
                "Invalid value: \"x\": must be y",
                "Invalid value: -1",
                "Unsupported value: \"x\": supported values: \"A\", \"B\"",
                "Too many: 3: must have at most 2 items",
            ]
        );
    }
}
