//! The laws of managed fields, over objects that applies and updates of several managers make in any order.

use super::entries::Fields;
use super::set::FieldSet;
use super::types::{Typed, Types};
use super::update::{Conflict, Refused, Versions, Writer};
use super::{Managed, Sent, same_but_times};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

pub(super) struct Thing(pub(super) Types);

impl Versions for Thing {
    fn typed(&self, api_version: &str) -> Option<Typed<'_>> {
        (api_version == "example.com/v1").then(|| self.0.root())
    }

    fn convert(&self, object: &Value, _: &str, _: &str) -> Option<Value> {
        Some(object.clone())
    }
}

fn thing() -> Thing {
    let text = json!({"type": "string"});
    let item = json!({"type": "object", "properties": {
        "name": text, "port": {"type": "integer", "default": 80}, "v": text, "w": {"type": "object", "properties": {"x": text, "y": text}},
    }});
    Thing(Types::of_schema(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": text,
        "struct": {"type": "object", "properties": {"a": text, "b": text}},
        "map": {"type": "object", "additionalProperties": text},
        "atomic": {"type": "object", "additionalProperties": text, "x-kubernetes-map-type": "atomic"},
        "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "list": {"type": "array", "items": text},
        "items": {
            "type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "port"],
        },
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}, "status": {"type": "object", "additionalProperties": text}}})))
}

/// An object and its managers, and what is done to them.
pub(super) struct Story {
    thing: Thing,
    pub(super) object: Option<Value>,
    managed: String,
    now: usize,
}

impl Story {
    fn new() -> Story {
        Story::of(thing())
    }

    pub(super) fn of(thing: Thing) -> Story {
        Story { thing, object: None, managed: String::new(), now: 0 }
    }

    fn write<T>(&mut self, manager: &str, run: impl FnOnce(Writer<'_>, Option<&Value>, Managed<'_>) -> T) -> T {
        self.now += 1;
        let now = format!("2026-01-01T00:{:02}:{:02}Z", self.now / 60, self.now % 60);
        let writer = Writer {
            manager,
            subresource: "",
            api_version: "example.com/v1",
            now: &now,
            versions: &self.thing,
            ignored: &FieldSet::of_fields(&[&["status"]]),
            empty: &json!({}),
        };
        run(writer, self.object.as_ref(), Managed::stored(&self.managed))
    }

    pub(super) fn apply(&mut self, manager: &str, spec: &Value, force: bool) -> Result<(), Vec<Conflict>> {
        let config = config(spec);
        let applied = self.write(manager, |writer, live, managed| {
            writer.apply(managed, live, &config, force).map(|(object, managed)| (object, managed.write()))
        });
        match applied {
            Ok((object, managed)) => {
                (self.object, self.managed) = (Some(object), managed);
                Ok(())
            }
            Err(Refused::Conflicts(conflicts)) => Err(conflicts),
            Err(Refused::Invalid(why)) => panic!("{config} is refused: {why}"),
        }
    }

    pub(super) fn update(&mut self, manager: &str, spec: &Value) {
        let new = config(spec);
        self.managed = self.write(manager, |writer, live, managed| match live {
            Some(live) => {
                // Sets that are built already take the long way.
                let mut built = managed.clone();
                built.0.iter_mut().for_each(|manager| manager.fields = Fields::Set(manager.fields.set()));
                let text = writer.update(managed, live, &new).write();
                assert_eq!(text, writer.update(built, live, &new).write());
                text
            }
            None => writer.create(managed, &new),
        });
        self.object = Some(new);
    }

    fn typed(&self) -> Typed<'_> {
        self.thing.0.root()
    }

    /// The fields of every manager, by name and operation.
    pub(super) fn sets(&self) -> Vec<(String, bool, FieldSet)> {
        let managed = Managed::stored(&self.managed);
        managed.0.iter().map(|m| (m.id.name.to_string(), m.id.applies, m.fields.set())).collect()
    }

    fn set(&self, manager: &str, applies: bool) -> String {
        let found = self.sets().into_iter().find(|(name, a, _)| name == manager && *a == applies);
        found.map(|(_, _, set)| set.to_string()).unwrap_or_default()
    }

    pub(super) fn spec(&self) -> &Value {
        self.object.as_ref().map_or(&Value::Null, |object| &object["spec"])
    }
}

fn config(spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec})
}

fn text() -> impl Strategy<Value = Value> {
    "[xyz]".prop_map(Value::from)
}

fn texts(names: &'static str) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(names, text(), 1..3).prop_map(|map| map.into_iter().collect::<Map<_, _>>().into())
}

fn item() -> impl Strategy<Value = Value> {
    ("[ab]", prop::option::of(80..82), prop::option::of(text()), prop::option::of(texts("[xy]"))).prop_map(
        |(name, port, v, w)| {
            let mut item = json!({ "name": name });
            let optional = [("port", port.map(Value::from)), ("v", v), ("w", w)];
            for (field, value) in optional.into_iter().filter_map(|(f, v)| Some((f, v?))) {
                item[field] = value;
            }
            item
        },
    )
}

/// A list whose items differ by these of their fields.
fn unlike(items: Vec<Value>, key: impl Fn(&Value) -> String) -> Value {
    let mut seen = std::collections::HashSet::new();
    items.into_iter().filter(|item| seen.insert(key(item))).collect()
}

fn spec() -> impl Strategy<Value = Value> {
    let list = || prop::collection::vec(text(), 1..4);
    (
        prop::option::of(text()),
        prop::option::of(texts("[ab]")),
        prop::option::of(texts("[klm]")),
        prop::option::of(texts("[kl]")),
        prop::option::of(list().prop_map(|items| unlike(items, Value::to_string))),
        prop::option::of(list().prop_map(Value::Array)),
        prop::option::of(prop::collection::vec(item(), 1..4).prop_map(|items| {
            unlike(items, |item| format!("{} {}", item["name"], item["port"].as_i64().unwrap_or(80)))
        })),
        prop::option::of(texts("[pq]")),
    )
        .prop_map(|(a, fields, map, atomic, set, list, items, any)| {
            let mut spec = Map::new();
            let fields = [
                ("a", a),
                ("struct", fields),
                ("map", map),
                ("atomic", atomic),
                ("set", set),
                ("list", list),
                ("items", items),
                ("any", any),
            ];
            spec.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
            Value::Object(spec)
        })
}

fn steps() -> impl Strategy<Value = Vec<(usize, bool, Value)>> {
    prop::collection::vec((0..3_usize, prop::bool::weighted(0.8), spec()), 1..7)
}

const MANAGERS: [&str; 3] = ["m0", "m1", "m2"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_applied_is_there_and_is_its_managers_alone_and_applying_it_again_changes_nothing(
        steps in steps(), last in spec(),
    ) {
        let mut story = Story::new();
        for (manager, applies, spec) in &steps {
            if *applies { drop(story.apply(MANAGERS[*manager], spec, true)) } else { story.update(MANAGERS[*manager], spec) }
        }
        prop_assert!(story.apply("m0", &last, true).is_ok());
        let wanted = config(&last);
        let typed = story.typed();
        let object = story.object.clone().expect("an object");
        prop_assert_eq!(&typed.merge(&object, &wanted).expect("a merge"), &object);
        // Its set is what it applied, and says so of nothing else.
        let own = typed.fields(&wanted).difference(&typed.fields(&json!({"apiVersion": 1, "kind": 1, "metadata": {"name": 1}})));
        let shown = if own.is_empty() { String::new() } else { own.to_string() };
        prop_assert_eq!(story.set("m0", true), shown);
        // Nobody manages what is not there.
        let there = typed.with_parents(&typed.fields(&object));
        for (name, _, set) in story.sets() {
            prop_assert!(set.clone().difference(&there).is_empty(), "{} has {} of {}", name, set, object);
        }
        let managed = story.managed.clone();
        prop_assert!(story.apply("m0", &last, false).is_ok());
        prop_assert_eq!(story.object.as_ref(), Some(&object));
        prop_assert_eq!(&story.managed, &managed);
    }

    #[test]
    fn an_apply_that_is_not_forced_takes_nothing_from_anybody(steps in steps(), last in spec()) {
        let mut story = Story::new();
        for (manager, applies, spec) in &steps {
            if *applies { drop(story.apply(MANAGERS[*manager], spec, true)) } else { story.update(MANAGERS[*manager], spec) }
        }
        // Where nobody manages the object, somebody has to before it is applied.
        if story.managed.is_empty() {
            return Ok(());
        }
        let others = |story: &Story| -> Vec<_> {
            story.sets().into_iter().filter(|(name, applies, _)| !(name == "m0" && *applies)).collect()
        };
        let (before, object, managed) = (others(&story), story.object.clone(), story.managed.clone());
        match story.apply("m0", &last, false) {
            Ok(()) => {
                // Only what went with an item that is no longer applied is nobody's.
                let typed = story.typed();
                let there = typed.fields(story.object.as_ref().expect("an object"));
                let after = others(&story);
                for (name, applies, set) in before {
                    let left = after.iter().find(|(n, a, _)| *n == name && *a == applies);
                    let lost = left.map_or(set.clone(), |(_, _, left)| set.difference(left));
                    prop_assert!(lost.intersection(&there).is_empty(), "{} loses {}", name, lost);
                }
            }
            Err(conflicts) => {
                prop_assert!(!conflicts.is_empty());
                prop_assert_eq!((&story.object, &story.managed), (&object, &managed));
                // Forced, it takes just what was in conflict.
                prop_assert!(story.apply("m0", &last, true).is_ok());
                prop_assert_ne!(others(&story), before);
            }
        }
    }

    #[test]
    fn what_nobody_applies_any_more_is_gone(steps in steps()) {
        let mut story = Story::new();
        for (manager, _, spec) in &steps {
            prop_assert!(story.apply(MANAGERS[*manager], spec, true).is_ok());
        }
        for manager in MANAGERS {
            let applied = story.apply(manager, &json!({}), true);
            prop_assert!(applied.is_ok());
        }
        let left = story.spec();
        prop_assert!(left.is_null() || *left == json!({}), "{} is left, of {}", left, story.managed);
    }

    #[test]
    fn an_update_takes_what_it_changes(steps in steps(), last in spec()) {
        let mut story = Story::new();
        for (manager, applies, spec) in &steps {
            if *applies { drop(story.apply(MANAGERS[*manager], spec, true)) } else { story.update(MANAGERS[*manager], spec) }
        }
        let before = story.object.clone().expect("an object");
        let (was, managed) = (story.sets(), story.managed.clone());
        story.update("up", &last);
        let typed = story.typed();
        let change = typed.compare(&before, &config(&last));
        if was.is_empty() || change.is_empty() {
            prop_assert!(was.is_empty() || same_but_times(&story.managed, &managed));
            return Ok(());
        }
        let touched = change.added.clone().union(change.modified.clone()).union(change.removed.clone());
        for (name, applies, set) in story.sets() {
            if name == "up" {
                prop_assert_eq!(set, change.added.clone().union(change.modified.clone()));
            } else {
                let old = was.iter().find(|(n, a, _)| *n == name && *a == applies).map(|(_, _, set)| set.clone());
                prop_assert_eq!(Some(set), old.map(|old| old.difference(&touched)));
            }
        }
    }
}

#[test]
fn items_that_two_managers_share_keep_the_order_of_the_one_that_applies() {
    let named = |names: &[&str]| json!({"items": names.iter().map(|name| json!({ "name": name })).collect::<Value>()});
    let order = |story: &Story| {
        let items = story.spec()["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect::<String>()
    };
    for (live, applied, merged) in
        [("ab", "ba", "ba"), ("abc", "cd", "abcd"), ("abcd", "db", "acdb"), ("a", "b", "ab"), ("ab", "xby", "axby")]
    {
        let split = |text: &'static str| text.split("").filter(|name| !name.is_empty()).collect::<Vec<_>>();
        let mut story = Story::new();
        story.apply("m0", &named(&split(live)), true).expect("no conflict");
        story.apply("m1", &named(&split(applied)), true).expect("no conflict");
        assert_eq!(order(&story), merged, "{live} and {applied}");
    }
}

#[test]
fn updates_of_many_managers_become_one_entry() {
    let mut story = Story::new();
    for i in 0..13 {
        let map: Map<String, Value> = (0..=i).map(|k| (format!("k{k:02}"), json!("v"))).collect();
        story.update(&format!("m{i:02}"), &json!({ "map": map }));
    }
    let names: Vec<String> = story.sets().into_iter().map(|(name, ..)| name).collect();
    let expected: Vec<String> =
        ["ancient-changes".to_owned()].into_iter().chain((4..13).map(|i| format!("m{i:02}"))).collect();
    assert_eq!(names, expected);
    let old = r#"{"f:spec":{".":{},"f:map":{".":{},"f:k00":{},"f:k01":{},"f:k02":{},"f:k03":{}}}}"#;
    assert_eq!(story.set("ancient-changes", false), old);
    // Managers that apply are not counted.
    for i in 0..12 {
        story.apply(&format!("a{i:02}"), &json!({"map": {"k00": "v"}}), false).expect("no conflict");
    }
    assert_eq!(story.sets().len(), 22);
}

#[test]
fn objects_of_nobody_get_a_manager_when_they_are_applied() {
    let mut story = Story { object: Some(config(&json!({"a": "x", "map": {"k": "v"}}))), ..Story::new() };
    let conflicts = story.apply("m", &json!({"a": "y"}), false).expect_err("a conflict");
    let conflict =
        |path: &str| Conflict { manager: "\"before-first-apply\" using example.com/v1".into(), path: path.into() };
    assert_eq!(conflicts, [conflict(".spec.a")]);
    story.apply("m", &json!({"a": "x"}), false).expect("no conflict");
    let before = r#"{"f:spec":{".":{},"f:a":{},"f:map":{".":{},"f:k":{}}}}"#;
    assert_eq!(
        (story.set("before-first-apply", false).as_str(), story.set("m", true).as_str()),
        (before, r#"{"f:spec":{"f:a":{}}}"#)
    );
    // Without a manager, nobody becomes one by an update.
    let mut story = Story { object: Some(config(&json!({}))), ..Story::new() };
    story.update("m", &json!({"a": "x"}));
    assert_eq!(story.managed, "");
}

#[test]
fn a_configuration_that_does_not_fit_its_type_is_told_in_upstreams_words() {
    let mut story = Story::new();
    let mut why = |spec: Value| {
        let config = config(&spec);
        let refused = story.write("m", |writer, live, managed| writer.apply(managed, live, &config, false).err());
        match refused {
            Some(Refused::Invalid(why)) => why,
            other => panic!("{spec}: {other:?}"),
        }
    };
    let head = "failed to create typed patch object (/t; example.com/v1, Kind=Thing): ";
    for (spec, expected) in [
        (json!({"nope": 1}), ".spec.nope: field not declared in schema"),
        (json!({"set": ["a", "a"]}), ".spec.set: duplicate entries for key [=\"a\"]"),
        (
            json!({"items": [{"name": "a", "port": 80}, {"name": "a"}]}),
            ".spec.items: duplicate entries for key [name=\"a\",port=80]",
        ),
        (
            json!({"items": [{"v": "x"}]}),
            ".spec.items: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have \
             default value)",
        ),
        (json!({"map": ["a"]}), ".spec.map: expected map, got &{[a]}"),
        (json!({"list": {"a": "b"}}), ".spec.list: expected list, got &{map[a:b]}"),
        (json!({"a": 1}), ".spec.a: expected string, got &value.valueUnstructured{Value:1}"),
        (
            json!({"a": 1, "items": [{"name": "a", "port": "x"}]}),
            "errors:\n  .spec.a: expected string, got &value.valueUnstructured{Value:1}\n  \
             .spec.items[name=\"a\",port=\"x\"].port: expected numeric (int or float), got string",
        ),
    ] {
        assert_eq!(why(spec), format!("{head}{expected}"));
    }
}

#[test]
fn what_kubectl_applied_on_its_own_side_it_takes_over() {
    const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut object = config(&json!({"a": "x", "map": {"k": "v"}}));
    object["metadata"]["annotations"][ANNOTATION] = json!(config(&json!({"a": "x", "map": {"k": "old"}})).to_string());
    let mut story = Story { object: Some(object), ..Story::new() };
    assert!(story.apply("other", &json!({"a": "y"}), false).is_err());
    let conflicts = story.apply("kubectl", &json!({"a": "y", "map": {"k": "new"}}), false).expect_err("a conflict");
    assert_eq!(conflicts.iter().map(|c| c.path.as_str()).collect::<Vec<_>>(), [".spec.map.k"]);
    story.apply("kubectl", &json!({"a": "y"}), false).expect("its own field");
    let kept = story.object.as_ref().map(|object| object["metadata"]["annotations"][ANNOTATION].clone());
    assert_eq!(kept, Some(json!(format!("{}\n", config(&json!({"a": "y"}))))));
}

#[test]
fn a_status_that_is_sent_is_not_managed_and_a_list_that_is_sent_is_taken() {
    let mut story = Story::new();
    let mut new = config(&json!({"a": "x"}));
    new["status"] = json!({"s": "t"});
    story.managed = story.write("m", |writer, _, managed| writer.create(managed, &new));
    assert_eq!(story.set("m", false), r#"{"f:spec":{".":{},"f:a":{}}}"#);
    let mut sent = json!({"metadata": {"managedFields": [{
        "manager": "x", "operation": "Update", "apiVersion": "v9", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:a": {}}},
    }]}});
    let Sent::Text(text) = Sent::take(&mut sent) else { panic!("a list") };
    // Of a version that is not served: dropped with the first write.
    let list = Managed::sent(&text).expect("a list");
    let after = story.write("m", |writer, _, _| writer.update(list, &new, &new).write());
    assert_eq!(after, "");
}
