//! `metadata.managedFields`: who manages which fields of an object, read as far as it is needed, and written.
//!
//! Invariant: what is written is the same for the same managers, fields and times, so that texts can be compared.

use super::set::FieldSet;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write;

/// The managers of an object.
#[derive(Clone, Debug, Default)]
pub struct Managed<'a>(pub(crate) Vec<Manager<'a>>);

/// One manager and the fields that it manages.
#[derive(Clone, Debug)]
pub(crate) struct Manager<'a> {
    pub id: Id<'a>,
    /// The version that the fields are named in.
    pub api_version: Cow<'a, str>,
    pub time: Option<Cow<'a, str>>,
    pub fields: Fields<'a>,
}

/// What makes two entries the same manager.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id<'a> {
    pub name: Cow<'a, str>,
    pub applies: bool,
    /// Empty for one that applies: it is the same whatever version it uses.
    pub updates_version: Cow<'a, str>,
    pub subresource: Cow<'a, str>,
}

#[derive(Clone, Debug)]
pub(crate) enum Fields<'a> {
    /// As it is stored.
    Text(&'a str),
    Set(FieldSet),
}

impl Fields<'_> {
    pub fn set(&self) -> FieldSet {
        match self {
            // Text was read before it was stored.
            Fields::Text(text) => FieldSet::parse(text).unwrap_or_default(),
            Fields::Set(set) => set.clone(),
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Fields::Text(text) => out.push_str(text),
            Fields::Set(set) => set.write(out),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry<'a> {
    #[serde(borrow)]
    manager: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    fields_type: Cow<'a, str>,
    #[serde(borrow, rename = "fieldsV1")]
    fields_v1: Option<&'a RawValue>,
    #[serde(borrow)]
    subresource: Cow<'a, str>,
}

impl Default for Entry<'_> {
    fn default() -> Self {
        let empty = || Cow::Borrowed("");
        Entry {
            manager: empty(),
            operation: empty(),
            api_version: empty(),
            time: None,
            fields_type: empty(),
            fields_v1: None,
            subresource: empty(),
        }
    }
}

impl<'a> Managed<'a> {
    /// Reads what [`Managed::write`] wrote. Empty text stands for no managers.
    pub fn stored(text: &'a str) -> Managed<'a> {
        Managed::read(text, Fields::Text).unwrap_or_default()
    }

    /// Reads what a client sent; `None` for what cannot be used.
    pub fn sent(text: &'a str) -> Option<Managed<'a>> {
        let managed = Managed::read(text, Fields::Text)?;
        // What clients write may be in any form.
        let form = |manager: Manager<'a>| {
            let Fields::Text(text) = manager.fields else { return Some(manager) };
            Some(Manager { fields: Fields::Set(FieldSet::parse(text).ok()?), ..manager })
        };
        Some(Managed(managed.0.into_iter().map(form).collect::<Option<_>>()?))
    }

    fn read(text: &'a str, fields: impl Fn(&'a str) -> Fields<'a>) -> Option<Managed<'a>> {
        if text.is_empty() {
            return Some(Managed::default());
        }
        let entries: Vec<Entry<'a>> = serde_json::from_str(text).ok()?;
        let mut managers: Vec<Manager<'a>> = Vec::with_capacity(entries.len());
        for entry in entries {
            let applies = match &*entry.operation {
                "Apply" => true,
                "Update" => false,
                _ => return None,
            };
            if entry.api_version.is_empty() || entry.fields_type != "FieldsV1" {
                return None;
            }
            let updates_version = if applies { Cow::Borrowed("") } else { entry.api_version.clone() };
            let id = Id { name: entry.manager, applies, updates_version, subresource: entry.subresource };
            let fields = fields(entry.fields_v1.map_or("{}", RawValue::get));
            let manager = Manager { id, api_version: entry.api_version, time: entry.time, fields };
            managers.push(manager);
        }
        // Of several entries of one manager the last one counts. There may be as many as a client likes.
        let mut seen = std::collections::HashSet::new();
        let mut last: Vec<bool> = managers.iter().rev().map(|manager| seen.insert(manager.id.sort_key())).collect();
        last.reverse();
        if last.contains(&false) {
            let mut last = last.into_iter();
            managers.retain(|_| last.next().unwrap_or(true));
        }
        Some(Managed(managers))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get_mut(&mut self, id: &Id<'_>) -> Option<&mut Manager<'a>> {
        self.0.iter_mut().find(|manager| manager.id == *id)
    }

    pub(crate) fn take(&mut self, id: &Id<'_>) -> Option<Manager<'a>> {
        let at = self.0.iter().position(|manager| manager.id == *id)?;
        Some(self.0.swap_remove(at))
    }

    /// Writes the list, in upstream's order. Empty text for no managers.
    pub fn write(mut self) -> String {
        self.0.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut out = String::new();
        for manager in &self.0 {
            out.push(if out.is_empty() { '[' } else { ',' });
            manager.write(&mut out);
        }
        if !out.is_empty() {
            out.push(']');
        }
        out
    }
}

impl Id<'_> {
    fn sort_key(&self) -> (String, bool, String, String) {
        (self.name.to_string(), self.applies, self.updates_version.to_string(), self.subresource.to_string())
    }

    /// The manager as messages about conflicts name it.
    pub fn shown(&self) -> String {
        let mut shown = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            write!(shown, " with subresource {:?}", self.subresource).expect("a String takes all that is written");
        }
        if !self.applies {
            write!(shown, " using {}", self.updates_version).expect("a String takes all that is written");
        }
        shown
    }
}

impl Manager<'_> {
    fn order(&self) -> impl Ord {
        // Times are all written in one form, which sorts as they do.
        (
            !self.id.applies,
            self.time.clone(),
            self.id.name.clone(),
            self.api_version.clone(),
            self.id.subresource.clone(),
        )
    }

    fn write(&self, out: &mut String) {
        let member = |out: &mut String, name: &str, value: &str| {
            if !out.ends_with('{') {
                out.push(',');
            }
            out.push('"');
            out.push_str(name);
            out.push_str("\":");
            super::set::write_name(value, out);
        };
        out.push('{');
        if !self.id.name.is_empty() {
            member(out, "manager", &self.id.name);
        }
        member(out, "operation", if self.id.applies { "Apply" } else { "Update" });
        member(out, "apiVersion", &self.api_version);
        if let Some(time) = &self.time {
            member(out, "time", time);
        }
        member(out, "fieldsType", "FieldsV1");
        out.push_str(",\"fieldsV1\":");
        self.fields.write(out);
        if !self.id.subresource.is_empty() {
            member(out, "subresource", &self.id.subresource);
        }
        out.push('}');
    }
}

/// What a client sent as `metadata.managedFields`.
pub enum Sent {
    /// Nothing that is of use: the managers stay as they are.
    Nothing,
    /// An empty list, or one of an empty entry: nobody manages anything.
    Reset,
    /// A list, as text.
    Text(String),
}

impl Sent {
    /// Takes the list out of an object.
    pub fn take(object: &mut Value) -> Sent {
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
        match metadata.and_then(|metadata| metadata.remove("managedFields")) {
            Some(Value::Array(entries)) => match entries.as_slice() {
                [] => Sent::Reset,
                [Value::Object(entry)] if entry.values().all(is_nothing) => Sent::Reset,
                [Value::Null] => Sent::Reset,
                _ => Sent::Text(Value::Array(entries).to_string()),
            },
            _ => Sent::Nothing,
        }
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || *value == ""
}

/// Whether two lists are the same apart from their times.
pub fn same_but_times(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let timeless = |text| {
        let mut managed = Managed::stored(text);
        managed.0.sort_by(|a, b| a.id.cmp(&b.id));
        for manager in &mut managed.0 {
            manager.time = None;
        }
        managed.write()
    };
    a.len() == b.len() && timeless(a) == timeless(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn managers_are_written_as_they_were_read() {
        let text = concat!(
            r#"[{"manager":"b","operation":"Apply","apiVersion":"v1","time":"2026-01-01T00:00:01Z","fieldsType":"FieldsV1","fieldsV1":{"f:a":{}}},"#,
            r#"{"manager":"c\"","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:b":{}}},"#,
            r#"{"manager":"a","operation":"Update","apiVersion":"v1","time":"2026-01-01T00:00:02Z","fieldsType":"FieldsV1","fieldsV1":{},"subresource":"status"}]"#,
        );
        assert_eq!(Managed::stored(text).write(), text);
        assert_eq!(Managed::sent(text).expect("managers").write(), text);
        assert_eq!(Managed::stored("").write(), "");
    }

    #[test]
    fn what_is_sent_is_a_reset_a_list_or_nothing() {
        let sent = |list: Value| {
            let mut object = json!({"metadata": {"managedFields": list}});
            let sent = Sent::take(&mut object);
            assert!(object["metadata"].get("managedFields").is_none());
            sent
        };
        assert!(matches!(sent(json!([])), Sent::Reset));
        assert!(matches!(sent(json!([{}])), Sent::Reset));
        assert!(matches!(sent(Value::Null), Sent::Nothing));
        assert!(matches!(sent(json!([{"manager": "a"}])), Sent::Text(_)));
        for unusable in [
            r#"[{"manager":"a"}]"#,
            r#"[{"operation":"Nope","apiVersion":"v1","fieldsType":"FieldsV1"}]"#,
            r#"[{"operation":"Update","apiVersion":"","fieldsType":"FieldsV1"}]"#,
            r#"[{"operation":"Update","apiVersion":"v1","fieldsType":"FieldsV2"}]"#,
            r#"[{"operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:a":1}}]"#,
        ] {
            assert!(Managed::sent(unusable).is_none(), "{unusable}");
        }
    }

    #[test]
    fn of_two_entries_of_a_manager_the_last_one_counts() {
        let entry = |name: &str, field: &str| {
            format!(
                r#"{{"manager":"{name}","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{{"f:{field}":{{}}}}}}"#
            )
        };
        let text = format!("[{},{},{}]", entry("a", "x"), entry("b", "y"), entry("a", "z"));
        let expected = format!("[{},{}]", entry("a", "z"), entry("b", "y"));
        assert_eq!(Managed::sent(&text).expect("managers").write(), expected);
    }
}
