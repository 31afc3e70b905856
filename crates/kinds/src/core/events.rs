//! Events: of the core group, which are stored, and of `events.k8s.io`, another view of the same.

use crate::causes::{Causes, Path};
use crate::names;
use crate::table::{Column, NAME, column, since};
use crate::value::{int, is_empty, set, text};
use crate::{NameRule, Strategy};
use api::Timestamp;
use serde_json::{Value, json};

const TEXT_MAX: usize = 128;
const NOTE_MAX: usize = 1024;

/// What the two views call the same things: in the core group, and in `events.k8s.io`.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// A field, and what stands there when it is absent.
type Absent = (&'static str, fn() -> Value);

/// How the core group's view shows what is not there.
const CORE_ABSENT: [Absent; 7] = [
    ("involvedObject", || json!({})),
    ("source", || json!({})),
    ("firstTimestamp", || Value::Null),
    ("lastTimestamp", || Value::Null),
    ("eventTime", || Value::Null),
    ("reportingComponent", || json!("")),
    ("reportingInstance", || json!("")),
];

/// How the other view does.
const EVENTS_ABSENT: [Absent; 5] = [
    ("regarding", || json!({})),
    ("deprecatedSource", || json!({})),
    ("deprecatedFirstTimestamp", || Value::Null),
    ("deprecatedLastTimestamp", || Value::Null),
    ("eventTime", || Value::Null),
];

/// What a view calls a field of the core group.
type View = fn(&'static str) -> &'static str;

const CORE: View = |field| field;
const OTHER: View = |field| NAMES.iter().find(|(core, _)| *core == field).map_or(field, |(_, other)| other);

const SHARED: Strategy = Strategy { create_on_update: true, columns: COLUMNS, ..Strategy::PLAIN };

pub(crate) static CORE_EVENTS: Strategy = Strategy {
    validate: |event| Causes::of(|causes| validate(event, CORE, causes)),
    name_rule: NameRule::PathSegment,
    known_finalizers: false,
    row: |event, now| row(event, CORE, now),
    ..SHARED
};

pub(crate) static EVENTS: Strategy = Strategy {
    validate: |event| Causes::of(|causes| validate(event, OTHER, causes)),
    validate_create: |event| Causes::of(|causes| validate_new(event, causes)),
    validate_update: |new, old| Causes::of(|causes| stays(new, old, causes)),
    row: |event, now| row(event, OTHER, now),
    ..SHARED
};

/// An event of `events.k8s.io` as the core group shows it.
pub(crate) fn to_core(event: Value) -> Value {
    renamed(event, |(core, events)| (events, core), &CORE_ABSENT, "v1")
}

/// An event of the core group as `events.k8s.io` shows it.
pub(crate) fn to_events(event: Value) -> Value {
    let mut event = renamed(event, |names| names, &EVENTS_ABSENT, "events.k8s.io/v1");
    for field in ["reportingController", "reportingInstance"] {
        if event[field] == "" {
            crate::value::remove(&mut event, field);
        }
    }
    event
}

fn renamed(
    mut event: Value,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
    absent: &[Absent],
    api_version: &str,
) -> Value {
    if let Some(fields) = event.as_object_mut() {
        for (from, to) in NAMES.map(direction) {
            if let Some(value) = fields.remove(from) {
                fields.insert(to.to_owned(), value);
            }
        }
        for (field, value) in absent {
            fields.entry(*field).or_insert_with(value);
        }
    }
    set(&mut event, "apiVersion", api_version);
    event
}

/// Checks of either view. Causes say the core group's names, but for that of who reports.
fn validate(event: &Value, view: View, causes: &mut Causes) {
    let involved = Path::new("involvedObject");
    let at = involved.child("namespace");
    let (namespace, of_object) =
        (text(&event["metadata"]["namespace"]), text(&event[view("involvedObject")]["namespace"]));
    let why = "does not match event.namespace";
    if event["eventTime"].is_null() {
        let fits = if of_object.is_empty() { matches!(namespace, "" | "default") } else { of_object == namespace };
        if !fits {
            causes.invalid(&at, of_object, why);
        }
        return;
    }
    if of_object.is_empty() && !matches!(namespace, "default" | "kube-system") {
        causes.invalid(&at, of_object, why);
    }
    let controller = view("reportingComponent");
    let (name, at) = (text(&event[controller]), Path::new(controller));
    if name.is_empty() {
        causes.required(&at, "");
    }
    causes.each_invalid(&at, name, names::qualified_name(name));
    for field in ["reportingInstance", "action", "reason"] {
        if is_empty(&event[field]) {
            causes.required(&Path::new(field), "");
        }
        at_most(&event[field], field, TEXT_MAX, causes);
    }
    at_most(&event[view("message")], "message", NOTE_MAX, causes);
}

fn at_most(value: &Value, field: &str, max: usize, causes: &mut Causes) {
    if text(value).len() > max {
        causes.invalid(&Path::new(field), "", &format!("can have at most {max} characters"));
    }
}

/// What `events.k8s.io` asks of new events.
fn validate_new(event: &Value, causes: &mut Causes) {
    series(event, causes);
    if event["eventTime"].is_null() {
        causes.required(&Path::new("eventTime"), "");
    }
    if !matches!(text(&event["type"]), "Normal" | "Warning") {
        causes.invalid(&Path::new("type"), "", &format!("has invalid value: {}", text(&event["type"])));
    }
    for field in ["firstTimestamp", "lastTimestamp"] {
        if !event[OTHER(field)].is_null() {
            causes.invalid(&Path::new(field), "", "needs to be unset");
        }
    }
    if int(&event[OTHER("count")]).unwrap_or(0) != 0 {
        causes.invalid(&Path::new("count"), "", "needs to be unset");
    }
    if ["component", "host"].iter().any(|field| !is_empty(&event[OTHER("source")][*field])) {
        causes.invalid(&Path::new("source"), "", "needs to be unset");
    }
}

fn series(event: &Value, causes: &mut Causes) {
    let (series, at) = (&event["series"], Path::new("series"));
    if series.is_null() {
        return;
    }
    if int(&series["count"]).unwrap_or(0) < 2 {
        causes.invalid(&at.child("count"), "", "should be at least 2");
    }
    if series["lastObservedTime"].is_null() {
        causes.required(&at.child("lastObservedTime"), "");
    }
}

/// What `events.k8s.io` does not let change: all but the series and metadata.
fn stays(new: &Value, old: &Value, causes: &mut Causes) {
    if new["series"] != old["series"] {
        series(new, causes);
    }
    let fields = [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "eventTime",
        "action",
        "related",
        "type",
        "reportingComponent",
        "reportingInstance",
    ];
    for field in fields {
        let absent = CORE_ABSENT.iter().find(|(core, _)| *core == field).map_or(Value::Null, |(_, absent)| absent());
        let [new, old] = [new, old].map(|event| event.get(OTHER(field)).unwrap_or(&absent));
        if new != old {
            let shown = if field == "reportingComponent" { OTHER(field) } else { field };
            causes.immutable(&Path::new(shown), new);
        }
    }
}

const EVENT: &str = "io.k8s.api.core.v1.Event";
const COLUMNS: &[Column] = &[
    column("Last Seen", EVENT, "lastTimestamp"),
    column("Type", EVENT, "type"),
    column("Reason", EVENT, "reason"),
    column("Object", EVENT, "involvedObject"),
    column("Subobject", "io.k8s.api.core.v1.ObjectReference", "fieldPath").wide(),
    column("Source", EVENT, "source").wide(),
    column("Message", EVENT, "message"),
    column("First Seen", EVENT, "firstTimestamp").wide(),
    column("Count", EVENT, "count").wide(),
    NAME.wide(),
];

fn row(event: &Value, view: View, now: Timestamp) -> Vec<Value> {
    let of = |field: &'static str| &event[view(field)];
    let first = if of("firstTimestamp").is_null() { &event["eventTime"] } else { of("firstTimestamp") };
    let series = &event["series"];
    let last = match (of("lastTimestamp"), series.is_null()) {
        (_, false) => &series["lastObservedTime"],
        (Value::Null, true) => first,
        (last, true) => last,
    };
    let count = match int(of("count")) {
        _ if !series.is_null() => int(&series["count"]).unwrap_or(0),
        None | Some(0) => 1,
        Some(count) => count,
    };
    let involved = of("involvedObject");
    let kind = text(&involved["kind"]).to_lowercase();
    let name = text(&involved["name"]);
    vec![
        json!(since(last, now)),
        json!(text(&event["type"])),
        json!(text(&event["reason"])),
        json!(if kind.is_empty() { name.to_owned() } else { format!("{kind}/{name}") }),
        json!(text(&involved["fieldPath"])),
        json!(source(event, view)),
        json!(text(of("message")).trim()),
        json!(since(first, now)),
        json!(count),
        event["metadata"]["name"].clone(),
    ]
}

fn source(event: &Value, view: View) -> String {
    let source = &event[view("source")];
    let (mut component, mut host) = (text(&source["component"]), text(&source["host"]));
    if component.is_empty() {
        component = text(&event[view("reportingComponent")]);
    }
    if host.is_empty() {
        host = text(&event["reportingInstance"]);
    }
    if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_views_show_the_same_event() {
        let core = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"},
            "message": "m", "reason": "R", "source": {"component": "c"}, "count": 2, "firstTimestamp": "t", "lastTimestamp": "u",
            "eventTime": null, "reportingComponent": "", "reportingInstance": "",
        });
        let events = to_events(core.clone());
        assert_eq!(events["regarding"]["name"], "p");
        assert_eq!(events["note"], "m");
        assert_eq!(events["deprecatedCount"], 2);
        assert!(events.get("reportingController").is_none());
        assert_eq!(to_core(events), core);
    }

    #[test]
    fn an_event_lives_where_its_object_does() {
        let count = |namespace: &str, of_object: &str| {
            let event = json!({"metadata": {"namespace": namespace}, "involvedObject": {"namespace": of_object}});
            (CORE_EVENTS.validate)(&event).len()
        };
        assert_eq!((count("a", "a"), count("default", "")), (0, 0));
        assert_eq!((count("a", "b"), count("a", "")), (1, 1));
    }

    #[test]
    fn new_events_say_who_reports_what() {
        let event = json!({"metadata": {"namespace": "a"}, "regarding": {"namespace": "a"}, "eventTime": "t", "note": "n".repeat(NOTE_MAX + 1)});
        let fields: Vec<String> = (EVENTS.validate)(&event).into_iter().map(|cause| cause.field).collect();
        let expected =
            ["reportingController"; 3].into_iter().chain(["reportingInstance", "action", "reason", "message"]);
        assert_eq!(fields, expected.collect::<Vec<_>>());
    }

    #[test]
    fn both_views_print_the_same_row() {
        let now = Timestamp::parse("2026-01-02T03:04:05Z").expect("a time");
        let core = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "m", "reason": "R", "type": "Normal",
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "f"}, "source": {"host": "h"}, "count": 2,
            "firstTimestamp": "2026-01-02T03:03:05Z", "lastTimestamp": "2026-01-02T03:03:35Z", "reportingComponent": "c",
        });
        let cells = (EVENTS.row)(&to_events(core.clone()), now);
        assert_eq!(cells, (CORE_EVENTS.row)(&core, now));
        let shown = ["30s", "Normal", "R", "pod/p", "f", "c, h", "m", "60s"].map(Value::from);
        assert_eq!(cells[..8], shown);
        assert_eq!(cells[8..], [json!(2), json!("e")]);
    }

    #[test]
    fn a_new_event_has_no_fields_of_the_old_form() {
        let faults = |field: &str, value: Value| -> Vec<String> {
            let mut event = json!({"eventTime": "t", "type": "Normal"});
            event[field] = value;
            (EVENTS.validate_create)(&event).into_iter().map(|cause| cause.field).collect()
        };
        assert_eq!(faults("note", json!("n")), [""; 0]);
        assert_eq!(faults("deprecatedFirstTimestamp", json!("t")), ["firstTimestamp"]);
        assert_eq!(faults("deprecatedLastTimestamp", json!("t")), ["lastTimestamp"]);
        assert_eq!(faults("deprecatedCount", json!(1)), ["count"]);
        assert_eq!(faults("deprecatedSource", json!({"host": "h"})), ["source"]);
    }

    #[test]
    fn of_an_event_only_the_series_changes() {
        let old = json!({"metadata": {"name": "e"}, "eventTime": "t", "note": "n", "reportingController": "c"});
        let causes = |field: &str, value: Value| -> Vec<(String, String)> {
            let mut new = old.clone();
            new[field] = value;
            (EVENTS.validate_update)(&new, &old).into_iter().map(|cause| (cause.field, cause.message)).collect()
        };
        let stays =
            |field: &str, shown: &str| vec![(field.to_owned(), format!("Invalid value: {shown}: field is immutable"))];
        assert_eq!(causes("note", json!("m")), stays("message", "\"m\""));
        assert_eq!(causes("reportingController", json!("d")), stays("reportingController", "\"d\""));
        assert_eq!(causes("regarding", json!({"name": "p"})), stays("involvedObject", "{\"name\":\"p\"}"));
        assert_eq!(causes("regarding", json!({})), [], "what is absent shows as an empty object");
        assert_eq!(causes("deprecatedFirstTimestamp", Value::Null), []);
        assert_eq!(causes("series", json!({"count": 2, "lastObservedTime": "t"})), []);
        assert_eq!(causes("series", json!({"count": 1, "lastObservedTime": "t"}))[0].0, "series.count");
    }
}
