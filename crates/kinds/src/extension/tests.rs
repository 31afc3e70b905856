//! Extensions of the API, kind by kind.

use super::*;
use crate::Strategy;
use crate::value::list;
use serde_json::{Value, json};

#[track_caller]
fn check(strategy: &Strategy, mut object: Value, expected: usize) {
    (strategy.defaults)(&mut object);
    let causes = (strategy.validate)(&object);
    assert_eq!(causes.len(), expected, "{object}: {causes:?}");
}

fn rule(field: &str, value: Value) -> Value {
    let mut rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
    rule[field] = value;
    rule
}

#[test]
fn a_webhook_says_what_it_is_for_and_where_it_is() {
    let with = |field: &str, value: Value| {
        let mut webhook = json!({
            "name": "a.b.example.com",
            "rules": [rule("resources", json!(["pods"]))],
            "clientConfig": {"url": "https://example.com/x"},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        });
        webhook[field] = value;
        json!({"webhooks": [webhook]})
    };
    for (field, value, faults) in [
        ("name", json!("a.b.example.com"), 0),
        ("name", json!("a"), 1),
        ("sideEffects", Value::Null, 1),
        ("sideEffects", json!("Some"), 1),
        ("admissionReviewVersions", json!([]), 1),
        ("admissionReviewVersions", json!(["v9"]), 1),
        ("admissionReviewVersions", json!(["v1", "v9"]), 0),
        ("timeoutSeconds", json!(31), 1),
        ("failurePolicy", json!("X"), 1),
        ("matchPolicy", json!("X"), 1),
        ("clientConfig", json!({}), 1),
        ("clientConfig", json!({"url": "http://x"}), 1),
        ("clientConfig", json!({"url": "https://u@x/?q#f"}), 3),
        ("clientConfig", json!({"service": {"name": "s", "namespace": "n"}}), 0),
        ("clientConfig", json!({"service": {"name": "s", "namespace": "n", "path": "x//y"}}), 3),
        ("clientConfig", json!({"service": {"name": "s", "namespace": "n", "port": 0}}), 1),
        ("matchConditions", json!([{"name": "c", "expression": "true"}]), 0),
        ("matchConditions", json!([{"name": "c", "expression": "true"}, {"name": "c", "expression": " "}]), 2),
        ("rules", json!([{}]), 4),
        ("rules", json!([rule("operations", json!(["*", "CREATE"]))]), 1),
        ("rules", json!([rule("operations", json!(["X"]))]), 1),
        ("rules", json!([rule("resources", json!(["*", "pods"]))]), 1),
        ("rules", json!([rule("resources", json!(["pods/*", "pods/log"]))]), 1),
        ("rules", json!([rule("resources", json!(["*", "pods/log"]))]), 0),
        ("rules", json!([rule("scope", json!("X"))]), 1),
    ] {
        check(&VALIDATING_WEBHOOKS, with(field, value.clone()), faults);
        check(&MUTATING_WEBHOOKS, with(field, value), faults);
    }
    check(&MUTATING_WEBHOOKS, with("reinvocationPolicy", json!("X")), 1);
}

#[test]
fn webhooks_get_what_they_leave_out() {
    let mut configuration = json!({"webhooks": [{"clientConfig": {"service": {}}, "rules": [{}]}]});
    (MUTATING_WEBHOOKS.defaults)(&mut configuration);
    assert_eq!(
        configuration["webhooks"][0],
        json!({
            "clientConfig": {"service": {"port": 443}},
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "reinvocationPolicy": "Never",
            "rules": [{"scope": "*"}],
            "timeoutSeconds": 10,
        })
    );
}

#[test]
fn a_policy_matches_resources_and_says_what_must_hold() {
    let with = |field: &str, value: Value| {
        let mut spec = json!({
            "matchConstraints": {"resourceRules": [rule("resources", json!(["pods"]))]},
            "validations": [{"expression": "true"}],
        });
        spec[field] = value;
        json!({"metadata": {"name": "a"}, "spec": spec})
    };
    for (field, value, faults) in [
        ("failurePolicy", json!("Ignore"), 0),
        ("matchConstraints", Value::Null, 1),
        ("matchConstraints", json!({"resourceRules": []}), 1),
        ("validations", json!([]), 2),
        ("validations", json!([{"expression": "true", "message": "a\nb"}]), 1),
        ("validations", json!([{"expression": "true", "reason": "X"}]), 1),
        ("validations", json!([{"expression": " "}]), 1),
        ("variables", json!([{"name": "a-b", "expression": ""}]), 2),
        ("auditAnnotations", json!([{"key": "a b", "valueExpression": "'x'"}]), 1),
        ("paramKind", json!({"apiVersion": "v1", "kind": "ConfigMap"}), 0),
        ("paramKind", json!({"apiVersion": "a/b/c", "kind": ""}), 2),
    ] {
        check(&VALIDATING_POLICIES, with(field, value), faults);
    }
}

#[test]
fn a_mutation_is_written_in_the_form_it_names() {
    let policy = |mutation: Value, again: &str| {
        json!({"spec": {
            "matchConstraints": {"resourceRules": [rule("resources", json!(["pods"]))]},
            "mutations": [mutation],
            "reinvocationPolicy": again,
        }})
    };
    let (apply, patch) = (json!({"expression": "Object{}"}), json!({"expression": "[]"}));
    for (mutation, again, faults) in [
        (json!({"patchType": "ApplyConfiguration", "applyConfiguration": apply}), "Never", 0),
        (json!({"patchType": "JSONPatch", "jsonPatch": patch}), "IfNeeded", 0),
        (json!({"patchType": "JSONPatch", "applyConfiguration": apply}), "Never", 2),
        (json!({"patchType": "X"}), "Never", 1),
        (json!({"patchType": "JSONPatch", "jsonPatch": {}}), "", 2),
    ] {
        check(&MUTATING_POLICIES, policy(mutation, again), faults);
    }
}

#[test]
fn a_binding_names_a_policy_and_what_follows() {
    for (spec, faults) in [
        (json!({"policyName": "p", "validationActions": ["Deny"]}), 0),
        (json!({}), 2),
        (json!({"policyName": "p", "validationActions": ["Deny", "Deny"]}), 1),
        (json!({"policyName": "p", "validationActions": ["Deny", "Warn"]}), 1),
        (json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "p"}}), 1),
        (
            json!({"policyName": "p", "validationActions": ["Audit"], "paramRef": {"parameterNotFoundAction": "Deny"}}),
            1,
        ),
    ] {
        check(&VALIDATING_POLICY_BINDINGS, json!({"spec": spec}), faults);
    }
    check(&MUTATING_POLICY_BINDINGS, json!({"spec": {"policyName": "p"}}), 0);
}

#[test]
fn an_api_service_is_named_by_version_and_group() {
    let service = |name: &str, more: Value| {
        let mut spec =
            json!({"group": "example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1});
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        json!({"metadata": {"name": name}, "spec": spec})
    };
    for (name, more, faults) in [
        ("v1.example.com", json!({}), 0),
        ("x.example.com", json!({}), 1),
        ("v1.example.com", json!({"groupPriorityMinimum": 0, "versionPriority": 1001}), 2),
        ("v1.example.com", json!({"insecureSkipTLSVerify": true}), 1),
        ("v1.example.com", json!({"service": {"name": "s", "namespace": "n"}, "insecureSkipTLSVerify": true}), 0),
        ("v1.example.com", json!({"service": {"name": "", "namespace": "n", "port": 0}}), 2),
    ] {
        check(&API_SERVICES, service(name, more), faults);
    }
}

#[test]
fn what_is_served_here_is_available() {
    let mut local = json!({"metadata": {"creationTimestamp": "2026-01-02T03:04:05Z"}, "spec": {}, "status": {}});
    (API_SERVICES.prepare_create)(&mut local);
    assert_eq!(local["status"]["conditions"][0]["reason"], "Local");
    assert_eq!((API_SERVICES.row)(&local, api::Timestamp::default())[1..3], [json!("Local"), json!("True")]);
}

fn definition(field: &str, value: Value) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let mut spec = json!({
        "group": "example.com",
        "names": {"kind": "Thing", "plural": "things"},
        "scope": "Namespaced",
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
    });
    spec[field] = value;
    let mut definition = json!({"metadata": {"name": "things.example.com"}, "spec": spec, "status": {}});
    (CUSTOM_RESOURCE_DEFINITIONS.prepare_create)(&mut definition);
    definition
}

#[test]
fn a_definition_has_names_a_scope_and_one_version_that_is_stored() {
    for (field, value, faults) in [
        ("scope", json!("Cluster"), 0),
        ("scope", json!("X"), 1),
        ("scope", Value::Null, 1),
        ("group", json!("other.com"), 1),
        ("names", json!({"plural": "things"}), 3),
        ("names", json!({"plural": "Things", "kind": "Thing"}), 2),
        ("versions", json!([]), 2),
        ("versions", json!([{"name": "V_1", "storage": true, "schema": {"openAPIV3Schema": {}}}]), 3),
    ] {
        let mut definition = definition(field, value);
        (CUSTOM_RESOURCE_DEFINITIONS.defaults)(&mut definition);
        let causes = (CUSTOM_RESOURCE_DEFINITIONS.validate_create)(&definition);
        assert_eq!(causes.len(), faults, "{definition}: {causes:?}");
    }
}

#[test]
fn a_definition_remembers_the_versions_it_stored() {
    let mut two = definition("scope", json!("Cluster"));
    two["spec"]["versions"] = json!([{"name": "v1", "storage": false}, {"name": "v2", "storage": true}]);
    (CUSTOM_RESOURCE_DEFINITIONS.prepare_update)(&mut two, &Value::Null);
    assert_eq!(list(&two["status"]["storedVersions"]), [json!("v1"), json!("v2")]);
}

#[test]
fn an_established_definition_keeps_its_names() {
    let complete = |scope: &str| {
        let mut definition = definition("scope", json!(scope));
        (CUSTOM_RESOURCE_DEFINITIONS.defaults)(&mut definition);
        definition
    };
    let (mut old, new) = (complete("Cluster"), complete("Namespaced"));
    assert_eq!((CUSTOM_RESOURCE_DEFINITIONS.validate_update)(&new, &old).len(), 0);
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    assert_eq!((CUSTOM_RESOURCE_DEFINITIONS.validate_update)(&new, &old).len(), 1);
    old["spec"]["scope"] = json!("Namespaced");
    assert_eq!((CUSTOM_RESOURCE_DEFINITIONS.validate_update)(&new, &old).len(), 0);
}
