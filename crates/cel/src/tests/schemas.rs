//! Rules of schemas: what they see, what they cost, and what they say of objects.

use crate::rules::Rules;
use serde_json::{Value as Json, json};

fn causes(schema: &Json) -> Vec<String> {
    let (_, written, found) = Rules::compile(schema, "schema");
    written.into_iter().chain(found).map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

fn found(schema: &Json, new: &Json, old: Option<&Json>) -> Vec<String> {
    let (rules, written, bad) = Rules::compile(schema, "schema");
    assert!(written.is_empty() && bad.is_empty(), "{written:?} {bad:?}");
    rules.validate(new, old).into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

fn spec(properties: Json, rule: &str) -> Json {
    let rules = json!([{"rule": rule, "message": "m"}]);
    let spec = json!({"type": "object", "properties": properties, "x-kubernetes-validations": rules});
    json!({"type": "object", "properties": {"spec": spec}})
}

#[test]
fn fields_are_seen_as_their_schemas_say() {
    let properties = json!({
        "a-b": {"type": "string"},
        "namespace": {"type": "string"},
        "n": {"type": "number"},
        "t": {"type": "string", "format": "date-time"},
        "d": {"type": "string", "format": "duration"},
        "b": {"type": "string", "format": "byte"},
        "x": {"x-kubernetes-int-or-string": true},
        "set": {"type": "array", "items": {"type": "integer"}, "x-kubernetes-list-type": "set", "maxItems": 5},
        "nil": {"type": "string", "nullable": true},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 5},
    });
    let object = json!({"spec": {
        "a-b": "v", "namespace": "w", "n": 3, "t": "2024-01-02T03:04:05Z", "d": "1h", "b": "aGk=", "x": 5,
        "set": [1, 2], "nil": null, "m": {"k": 1},
    }});
    for rule in [
        "self.a__dash__b == 'v' && self.__namespace__ == 'w' && self.namespace == 'w'",
        "self.n == 3.0",
        "self.t.getFullYear() == 2024 && self.d == duration('1h') && self.b == b'hi'",
        "type(self.x) == int && self.x == 5",
        "self.set == [2, 1] && (self.set + [2, 3]).size() == 3",
        "!has(self.nil) && self.?nil.orValue('none') == 'none'",
        "self.m.all(k, k == 'k' && self.m[k] == 1) && self.m.k == 1",
    ] {
        let schema = spec(properties.clone(), rule);
        assert_eq!(found(&schema, &object, None), Vec::<String>::new(), "{rule}");
        assert_eq!(found(&spec(properties.clone(), &format!("!({rule})")), &object, None), ["spec: Invalid value: m"]);
    }
}

#[test]
fn costs_follow_what_schemas_bound() {
    let list = |most: Option<u64>| {
        let items = json!({"type": "string", "maxLength": 100});
        match most {
            Some(most) => json!({"l": {"type": "array", "items": items, "maxItems": most}}),
            None => json!({"l": {"type": "array", "items": items}}),
        }
    };
    let rule = "self.l.all(a, self.l.all(b, a == b || a.contains(b)))";
    assert_eq!(causes(&spec(list(Some(50)), rule)), Vec::<String>::new());
    assert!(causes(&spec(list(Some(200)), rule))[0].contains("estimated rule cost exceeds budget by factor of 6"));
    assert!(causes(&spec(list(None), rule))[0].contains("more than 100x"));
}

#[test]
fn what_did_not_change_is_let_be_and_changes_are_looked_at() {
    let schema = spec(json!({"a": {"type": "string", "maxLength": 9}}), "self.a == 'x'");
    let (bad, other) = (json!({"spec": {"a": "y"}}), json!({"spec": {"a": "z"}}));
    assert_eq!(found(&schema, &bad, Some(&bad)), Vec::<String>::new());
    assert_eq!(found(&schema, &other, Some(&bad)), ["spec: Invalid value: m"]);
    let schema = spec(json!({"a": {"type": "string", "maxLength": 9}}), "self.a == oldSelf.a");
    assert_eq!(found(&schema, &other, None), Vec::<String>::new());
    assert_eq!(found(&schema, &other, Some(&bad)), ["spec: Invalid value: m"]);
}

#[test]
fn an_object_s_rules_share_a_budget() {
    let rules: Vec<Json> =
        (0..30).map(|n| json!({"rule": format!("self.l.all(a, self.l.all(b, a + b > {n} - 1))")})).collect();
    let list = json!({"type": "array", "items": {"type": "integer"}, "maxItems": 10});
    let spec = json!({"type": "object", "properties": {"l": list}, "x-kubernetes-validations": rules});
    let (rules, ..) = Rules::compile(&json!({"type": "object", "properties": {"spec": spec}}), "schema");
    // More items than the schema allows: what validates schemas would have refused them.
    let object = json!({"spec": {"l": (0..400).collect::<Vec<u32>>()}});
    let causes = rules.validate(&object, None);
    assert!(causes.len() <= 11, "{}", causes.len());
    assert!(causes.last().is_some_and(|cause| cause.message.contains("no further validation rules will be run")));
}
