//! Values in messages as upstream shows them: its internal types, with Go's names of fields in Go's order, and what is
//! absent as Go has it.

use serde::{Serialize, Serializer};
use serde_json::ser::PrettyFormatter;
use serde_json::{Value, json};
use similar::TextDiff;
use std::time::Duration;

/// The internal types that messages show, a line each, in the order of the alphabet: the name of the type, then its
/// fields. A field is its name, `:` and its name in JSON where the rule does not give it, what stands for an absent one
/// (`*` null, `#` 0, `!` false, `.` a value without content, nothing the empty text), and the type of a field that has
/// fields.
static TYPES: &str = include_str!("types.txt");

/// What is absent, by the mark behind a field's name.
const MARKS: [char; 4] = ['*', '#', '!', '.'];

/// Fields that stand beside the security context of a pod, and within it in Go.
const IN_SECURITY_CONTEXT: [&str; 5] = ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];

/// Lines around a change that a difference shows.
const CONTEXT_LINES: usize = 3;

/// How long the shortest difference is searched for: of two large values that have nothing in common, any will do.
const SEARCH_FOR: Duration = Duration::from_millis(20);

/// A value that is written with its fields in this order.
pub(crate) enum Shown {
    Plain(Value),
    List(Vec<Shown>),
    Fields(Vec<(String, Shown)>),
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Shown::Plain(value) => value.serialize(serializer),
            Shown::List(items) => serializer.collect_seq(items),
            Shown::Fields(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
        }
    }
}

/// A value of a type, or the values of a list of them. A type that is not known is a mistake of ours.
pub(crate) fn shown(name: &str, value: &Value) -> Shown {
    if let Value::Array(items) = value {
        return Shown::List(items.iter().map(|item| shown(name, item)).collect());
    }
    if !value.is_object() {
        return Shown::Plain(value.clone());
    }
    let inward;
    let value = if name == "PodSpec" {
        inward = with_inner_security_context(value);
        &inward
    } else {
        value
    };
    let fields = TYPES.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("a known type");
    Shown::Fields(fields.split(' ').map(|field| shown_field(field, value)).collect())
}

/// A field as [`TYPES`] has it, of an object.
fn shown_field(field: &str, object: &Value) -> (String, Shown) {
    let (names, mark, inner) = match field.find(MARKS) {
        Some(at) => (&field[..at], field.as_bytes()[at], &field[at + 1..]),
        None => (field, b' ', ""),
    };
    let (name, value) = match names.split_once(':') {
        Some((name, in_json)) => (name, &object[in_json]),
        None => (names, &object[in_json(names)]),
    };
    let shown = match (value, mark) {
        (Value::Null, b'*') => Shown::Plain(Value::Null),
        (Value::Null, b'#') => Shown::Plain(json!(0)),
        (Value::Null, b'!') => Shown::Plain(json!(false)),
        (Value::Null, b'.') => shown(inner, &json!({})),
        (Value::Null, _) => Shown::Plain(json!("")),
        (given, _) if inner.is_empty() => Shown::Plain(given.clone()),
        (given, _) => shown(inner, given),
    };
    (name.to_owned(), shown)
}

/// The name in JSON of a field with a name of Go: the capitals that it begins with are small, but one that begins a word.
fn in_json(field: &str) -> String {
    let capitals = field.bytes().take_while(u8::is_ascii_uppercase).count();
    let small = if capitals > 1 && capitals < field.len() { capitals - 1 } else { capitals };
    field[..small].to_ascii_lowercase() + &field[small..]
}

fn with_inner_security_context(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for field in IN_SECURITY_CONTEXT.into_iter().filter(|field| !spec[*field].is_null()).collect::<Vec<_>>() {
        spec["securityContext"][field] = spec[field].take();
    }
    spec
}

/// An object within another, such as the template of a workload's pods: its metadata stands beside its spec of a type.
pub(crate) fn template(spec_type: &str, template: &Value) -> Shown {
    let metadata = ["name", "generateName", "labels", "annotations", "finalizers"].into_iter();
    let of_metadata = |field: &str| Some((field.to_owned(), Shown::Plain(template["metadata"].get(field)?.clone())));
    let spec = ("Spec".to_owned(), shown(spec_type, &template["spec"]));
    Shown::Fields(metadata.filter_map(of_metadata).chain([spec]).collect())
}

/// Where two values of a type differ: the changed lines of both with the lines around them, after a new line.
pub(crate) fn difference(name: &str, old: &Value, new: &Value) -> String {
    let lines = |value: &Value| {
        let mut lines = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut lines, PrettyFormatter::with_indent(b" "));
        shown(name, value).serialize(&mut serializer).expect("values are JSON");
        String::from_utf8(lines).expect("JSON is text") + "\n"
    };
    let (old, new) = (lines(old), lines(new));
    let difference = TextDiff::configure().timeout(SEARCH_FOR).diff_lines(&old, &new);
    format!("\n{}", difference.unified_diff().context_radius(CONTEXT_LINES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_with_go_names_in_go_order() {
        for (name, value, expected) in [
            ("DeploymentStrategy", json!({"type": "Blue"}), r#"{"Type":"Blue","RollingUpdate":null}"#),
            (
                "Taint",
                json!({"effect": "NoSchedule", "key": "k"}),
                r#"{"Key":"k","Value":"","Effect":"NoSchedule","TimeAdded":null}"#,
            ),
            (
                "SuccessPolicy",
                json!({"rules": [{"succeededCount": 1}]}),
                r#"{"Rules":[{"SucceededIndexes":null,"SucceededCount":1}]}"#,
            ),
            (
                "ServicePort",
                json!({"port": 80, "protocol": "TCP"}),
                r#"{"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}"#,
            ),
            (
                "DeviceAttribute",
                json!({"int": 1}),
                r#"{"IntValue":1,"BoolValue":null,"StringValue":null,"VersionValue":null,"IntValues":null,"BoolValues":null,"StringValues":null,"VersionValues":null}"#,
            ),
            (
                "PreferredSchedulingTerm",
                json!({"weight": 1}),
                r#"{"Weight":1,"Preference":{"MatchExpressions":null,"MatchFields":null}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&shown(name, &value)).expect("JSON"), expected, "{name}");
        }
    }

    #[test]
    fn names_of_json_follow_from_those_of_go() {
        for (go, json) in [
            ("Name", "name"),
            ("DNSPolicy", "dnsPolicy"),
            ("HostPID", "hostPID"),
            ("SELinuxOptions", "seLinuxOptions"),
            ("FSGroup", "fsGroup"),
            ("OS", "os"),
            ("APIGroup", "apiGroup"),
            ("GMSACredentialSpec", "gmsaCredentialSpec"),
        ] {
            assert_eq!(in_json(go), json, "{go}");
        }
    }

    /// A misspelt name of a type would be a panic while a message is written, one of a field a value that is never shown.
    #[test]
    fn every_type_that_is_named_is_there_once_and_in_order() {
        let names: Vec<&str> = TYPES.lines().filter_map(|line| line.split(' ').next()).collect();
        for field in TYPES.lines().flat_map(|line| line.split(' ').skip(1)) {
            let inner = field.find(MARKS).map_or("", |at| &field[at + 1..]);
            assert!(inner.is_empty() || names.contains(&inner), "{field}");
        }
        assert!(names.iter().collect::<std::collections::HashSet<_>>().len() == names.len());
    }

    #[test]
    fn what_differs_is_shown_with_three_lines_around_it() {
        let (old, new) = (json!({"restartPolicy": "Always", "hostNetwork": true}), json!({"restartPolicy": "Never"}));
        let shown = difference("PodSpec", &old, &new);
        let expected = "\n@@ -3,7 +3,7 @@\n  \"InitContainers\": null,\n  \"Containers\": null,\n  \"EphemeralContainers\": \
                        null,\n- \"RestartPolicy\": \"Always\",\n+ \"RestartPolicy\": \"Never\",\n  \
                        \"TerminationGracePeriodSeconds\": null,\n  \"ActiveDeadlineSeconds\": null,\n  \"DNSPolicy\": \
                        \"\",\n@@ -12,7 +12,7 @@\n";
        assert!(shown.starts_with(expected), "{shown}");
        assert!(shown.contains("\n-  \"HostNetwork\": true,\n+  \"HostNetwork\": false,\n"), "{shown}");
    }
}
