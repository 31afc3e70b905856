//! Policies of admission that are expressions: what they refuse, warn of and change, and for whom.

use crate::custom::{define, definition, thing};
use crate::{Api, User, config_map};
use serde_json::{Value, json};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Constraints that match writes of config maps.
fn config_maps(operations: &[&str]) -> Value {
    json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": operations}]})
}

async fn validating(admin: &User<'_>, name: &str, spec: Value, actions: &[&str]) {
    let mut spec = spec;
    if spec["matchConstraints"].is_null() {
        spec["matchConstraints"] = config_maps(&["*"]);
    }
    let (code, answer) = admin
        .post(&format!("{GROUP}/validatingadmissionpolicies"), json!({"metadata": {"name": name}, "spec": spec}))
        .await;
    assert_eq!(code, 201, "{answer}");
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": actions}});
    let (code, answer) = admin.post(&format!("{GROUP}/validatingadmissionpolicybindings"), binding).await;
    assert_eq!(code, 201, "{answer}");
}

async fn mutating(admin: &User<'_>, name: &str, mutation: Value) {
    let spec =
        json!({"matchConstraints": config_maps(&["CREATE"]), "reinvocationPolicy": "Never", "mutations": [mutation]});
    let policy = json!({"metadata": {"name": name}, "spec": spec});
    let (code, answer) = admin.post(&format!("{GROUP}/mutatingadmissionpolicies"), policy).await;
    assert_eq!(code, 201, "{answer}");
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name}});
    let (code, answer) = admin.post(&format!("{GROUP}/mutatingadmissionpolicybindings"), binding).await;
    assert_eq!(code, 201, "{answer}");
}

fn validation(expression: &str) -> Value {
    json!({"validations": [{"expression": expression}]})
}

#[tokio::test]
async fn a_policy_refuses_what_it_finds_wrong_in_its_own_tenant() {
    let api = Api::start().await;
    let (acme, other) = (api.tenant("acme").await, api.tenant("umbrella").await);
    validating(&acme, "p", validation("object.metadata.name != 'bad'"), &["Deny"]).await;
    let (code, answer) = acme.post(MAPS, config_map("bad")).await;
    assert_eq!(code, 422, "{answer}");
    let told = "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: failed expression: object.metadata.name != 'bad'";
    assert_eq!(answer["message"], format!("configmaps \"bad\" is forbidden: {told}"));
    assert_eq!((&answer["reason"], &answer["details"]["causes"][0]["message"]), (&json!("Invalid"), &json!(told)));
    assert_eq!(acme.post(MAPS, config_map("good")).await.0, 201);
    assert_eq!(other.post(MAPS, config_map("bad")).await.0, 201, "another tenant's policies say nothing");
    let (code, _) = acme.delete(&format!("{GROUP}/validatingadmissionpolicybindings/p"), json!({})).await;
    assert_eq!(code, 200);
    assert_eq!(acme.post(MAPS, config_map("bad")).await.0, 201, "no binding, no effect");
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_refused_unless_the_policy_ignores_it() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let mut ignoring = validation("object.nothing.there == 1");
    ignoring["failurePolicy"] = json!("Ignore");
    validating(&acme, "ignores", ignoring, &["Deny"]).await;
    assert_eq!(acme.post(MAPS, config_map("a")).await.0, 201);
    validating(&acme, "fails", validation("object.nothing == 1"), &["Deny"]).await;
    let (code, answer) = acme.post(MAPS, config_map("b")).await;
    let why = "expression 'object.nothing == 1' resulted in error: no such key: nothing";
    assert!(code == 422 && answer["message"].as_str().is_some_and(|text| text.ends_with(why)), "{answer}");
}

#[tokio::test]
async fn an_expression_that_takes_too_much_ends_and_is_refused() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let bomb = "lists.range(900).all(a, lists.range(900).all(b, lists.range(900).all(c, a + b + c >= 0)))";
    validating(&acme, "p", validation(bomb), &["Deny"]).await;
    let (code, answer) = acme.post(MAPS, config_map("a")).await;
    assert!(code == 422 && answer.to_string().contains("actual cost limit exceeded"), "{answer}");
}

#[tokio::test]
async fn conditions_variables_and_the_caller_are_seen() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let spec = json!({
        "matchConditions": [{"name": "new", "expression": "request.operation == 'CREATE' && request.namespace == 'default'"}],
        "variables": [{"name": "who", "expression": "request.userInfo.username"}],
        "validations": [{
            "expression": "variables.who != 'admin' || !authorizer.group('').resource('secrets').check('get').allowed()",
            "messageExpression": "'not you, ' + variables.who + ' of ' + namespaceObject.metadata.name",
            "reason": "Forbidden",
        }],
    });
    validating(&acme, "p", spec, &["Deny"]).await;
    let (code, answer) = acme.post(MAPS, config_map("a")).await;
    assert!(
        code == 403 && answer["message"].as_str().is_some_and(|text| text.ends_with("not you, admin of default")),
        "{answer}"
    );
}

#[tokio::test]
async fn parameters_come_from_the_namespace_of_the_object() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let mut spec = validation("object.metadata.name.size() <= int(params.data.most)");
    spec["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    spec["matchConditions"] = json!([{"name": "others", "expression": "object.metadata.name != 'limits'"}]);
    validating(&acme, "p", spec, &["Deny"]).await;
    let limits = json!({"metadata": {"name": "limits"}, "data": {"most": "3"}});
    assert_eq!(acme.post(MAPS, limits).await.0, 201);
    let path = format!("{GROUP}/validatingadmissionpolicybindings/p");
    let named = |name: &str| json!({"spec": {"paramRef": {"name": name, "parameterNotFoundAction": "Deny"}}});
    assert_eq!(acme.patch("merge", &path, named("absent")).await.0, 200);
    let (code, answer) = acme.post(MAPS, config_map("a")).await;
    assert!(code == 422 && answer.to_string().contains("no params found for policy binding"), "{answer}");
    assert_eq!(acme.patch("merge", &path, named("limits")).await.0, 200);
    assert_eq!(acme.post(MAPS, config_map("abc")).await.0, 201);
    assert_eq!(acme.post(MAPS, config_map("abcd")).await.0, 422);
}

#[tokio::test]
async fn policies_change_objects_before_they_are_validated() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let apply = json!({"patchType": "ApplyConfiguration", "applyConfiguration":
        {"expression": "Object{metadata: Object.metadata{labels: {'made-by': request.userInfo.username}}, data: {'one': '1'}}"}});
    mutating(&acme, "a", apply).await;
    let patch = json!({"patchType": "JSONPatch", "jsonPatch":
        {"expression": "[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('two'), value: object.data.one + '2'}]"}});
    mutating(&acme, "b", patch).await;
    validating(&acme, "p", validation("object.data.two == '12'"), &["Deny"]).await;
    let (code, answer) = acme.post(MAPS, config_map("m")).await;
    assert_eq!(code, 201, "{answer}");
    assert_eq!((&answer["data"]["two"], &answer["metadata"]["labels"]["made-by"]), (&json!("12"), &json!("admin")));
}

#[tokio::test]
async fn policies_are_not_asked_about_policies() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let mut spec = validation("false");
    spec["matchConstraints"] =
        json!({"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}]});
    validating(&acme, "p", spec, &["Deny"]).await;
    assert_eq!(acme.post(MAPS, config_map("a")).await.0, 422);
    assert_eq!(acme.delete(&format!("{GROUP}/validatingadmissionpolicies/p"), json!({})).await.0, 200);
    assert_eq!(acme.post(MAPS, config_map("a")).await.0, 201);
}

#[tokio::test]
async fn parameters_may_be_of_a_kind_that_the_tenant_defines() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let mut spec = validation("object.metadata.name != params.spec.a");
    spec["paramKind"] = json!({"apiVersion": "example.com/v2", "kind": "Thing"});
    validating(&acme, "p", spec, &["Deny"]).await;
    let reference =
        json!({"spec": {"paramRef": {"name": "x", "namespace": "default", "parameterNotFoundAction": "Deny"}}});
    let path = format!("{GROUP}/validatingadmissionpolicybindings/p");
    assert_eq!(acme.patch("merge", &path, reference).await.0, 200);
    let (code, answer) = acme.post(MAPS, config_map("good")).await;
    assert!(code == 422 && answer.to_string().contains("failed to find resource referenced by paramKind"), "{answer}");
    define(&acme, definition(json!({"a": {"type": "string"}}), &["v1", "v2"])).await;
    let things = "/apis/example.com/v1/namespaces/default/things";
    assert_eq!(acme.post(things, thing("v1", "x", json!({"a": "bad"}))).await.0, 201);
    assert_eq!(acme.post(MAPS, config_map("good")).await.0, 201);
    assert_eq!(acme.post(MAPS, config_map("bad")).await.0, 422);
}
