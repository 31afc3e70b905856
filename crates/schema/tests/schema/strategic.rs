//! Strategic merge patches.

use schema::{builtin, patch};
use serde_json::{Value, json};

fn pod() -> Value {
    json!({
        "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x.io/a", "x.io/b"]},
        "spec": {
            "containers": [
                {"name": "one", "image": "i1", "args": ["a", "b"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                 "ports": [{"containerPort": 80, "name": "http"}], "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}},
                {"name": "two", "image": "i2"},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "tolerations": [{"key": "k"}],
        },
    })
}

fn patched(patch: &Value) -> api::Result<Value> {
    let def = builtin().of_kind("", "v1", "Pod").expect("pods");
    patch::strategic(builtin(), def, pod(), patch)
}

/// Checks one place of the pod after a patch; `null` for a field that is gone.
#[track_caller]
fn check(patch: Value, pointer: &str, expected: Value) {
    let value = patched(&patch).unwrap_or_else(|error| panic!("{patch}: {error}"));
    assert_eq!(value.pointer(pointer).unwrap_or(&Value::Null), &expected, "{patch}");
}

#[track_caller]
fn check_fails(patch: Value, part: &str) {
    let error = patched(&patch).expect_err("an error");
    assert!(error.code() == 400 && error.message().contains(part), "{patch}: {error}");
}

fn spec(spec: Value) -> Value {
    json!({"spec": spec})
}

fn names(value: &Value) -> Vec<&str> {
    value["spec"]["containers"].as_array().expect("containers").iter().filter_map(|c| c["name"].as_str()).collect()
}

#[track_caller]
fn check_order(patch: Value, expected: &[&str]) {
    let value = patched(&patch).unwrap_or_else(|error| panic!("{patch}: {error}"));
    assert_eq!(names(&value), expected, "{patch}");
}

#[test]
fn objects_merge_and_null_removes() {
    check(
        json!({"metadata": {"labels": {"b": "3", "c": "4"}}}),
        "/metadata/labels",
        json!({"a": "1", "b": "3", "c": "4"}),
    );
    check(json!({"metadata": {"labels": {"a": null, "z": null}}}), "/metadata/labels", json!({"b": "2"}));
    check(json!({"metadata": {"labels": null}}), "/metadata/labels", json!(null));
    check(json!({"metadata": {"annotations": {"a": null, "b": "1"}}}), "/metadata/annotations", json!({"b": "1"}));
    check(spec(json!({"containers": "x"})), "/spec/containers", json!("x"));
    check(json!({}), "/spec", pod()["spec"].clone());
}

#[test]
fn lists_of_objects_merge_by_their_key() {
    check(spec(json!({"containers": [{"name": "two", "image": "new"}]})), "/spec/containers/1/image", json!("new"));
    check(
        spec(json!({"containers": [{"name": "two", "image": "new"}]})),
        "/spec/containers/0",
        pod()["spec"]["containers"][0].clone(),
    );
    let port = json!({"containers": [{"name": "one", "ports": [{"containerPort": 80, "name": "web"}]}]});
    check(spec(port), "/spec/containers/0/ports", json!([{"containerPort": 80, "name": "web"}]));
    let limits = json!({"containers": [{"name": "one", "resources": {"limits": {"cpu": "2"}}}]});
    check(spec(limits), "/spec/containers/0/resources/limits", json!({"cpu": "2", "memory": "1Gi"}));
    let gone = json!({"containers": [{"name": "one", "env": [{"$patch": "delete", "name": "A"}], "args": null}]});
    check(spec(gone.clone()), "/spec/containers/0/env", json!([{"name": "B", "value": "2"}]));
    check(spec(gone), "/spec/containers/0/args", json!(null));
}

#[test]
fn elements_of_the_patch_stand_before_those_that_only_the_server_has() {
    check_order(spec(json!({"containers": [{"name": "three"}]})), &["three", "one", "two"]);
    check_order(spec(json!({"containers": [{"name": "two"}, {"name": "one"}]})), &["two", "one"]);
    check_order(spec(json!({"containers": [{"name": "two"}, {"name": "three"}]})), &["one", "two", "three"]);
    check_order(spec(json!({"containers": [{"$patch": "delete", "name": "one"}, {"name": "zero"}]})), &["zero", "two"]);
    check_order(spec(json!({"containers": [{"$patch": "delete", "name": "none"}]})), &["one", "two"]);
}

#[test]
fn the_order_of_elements_can_be_set() {
    let order = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Value>();
    check_order(spec(json!({"$setElementOrder/containers": order(&["two", "one"])})), &["two", "one"]);
    let with_new = json!({"$setElementOrder/containers": order(&["two", "three"]), "containers": [{"name": "three"}]});
    check_order(spec(with_new), &["one", "two", "three"]);
    let contradiction = json!({"$setElementOrder/containers": order(&["one"]), "containers": [{"name": "three"}]});
    check_fails(spec(contradiction), "does not match $setElementOrder");
    check_fails(spec(json!({"$setElementOrder/containers": {}})), "setElementOrder");
    let finalizers = json!({"$setElementOrder/finalizers": ["x.io/b", "x.io/a"]});
    check(json!({"metadata": finalizers}), "/metadata/finalizers", json!(["x.io/b", "x.io/a"]));
    let added = json!({"$setElementOrder/volumeMounts": [{"mountPath": "/m"}], "volumeMounts": [{"mountPath": "/m", "name": "v"}]});
    let mut expected = added.clone();
    expected.as_object_mut().expect("an object").remove("$setElementOrder/volumeMounts");
    let mut container = added;
    container["name"] = json!("two");
    check(
        spec(json!({"containers": [container]})),
        "/spec/containers/1/volumeMounts",
        expected["volumeMounts"].clone(),
    );
}

#[test]
fn lists_are_replaced_where_the_schema_or_the_patch_says_so() {
    check(
        spec(json!({"containers": [{"$patch": "replace"}, {"name": "three"}]})),
        "/spec/containers",
        json!([{"name": "three"}]),
    );
    check(spec(json!({"containers": [{"$patch": "replace", "name": "one"}]})), "/spec/containers", json!([]));
    check(spec(json!({"tolerations": [{"key": "z"}]})), "/spec/tolerations", json!([{"key": "z"}]));
    check(spec(json!({"containers": [{"name": "one", "args": ["z"]}]})), "/spec/containers/0/args", json!(["z"]));
}

#[test]
fn lists_of_scalars_are_sets() {
    let with = |patch: Value| json!({"metadata": patch});
    check(with(json!({"finalizers": ["x.io/c"]})), "/metadata/finalizers", json!(["x.io/c", "x.io/a", "x.io/b"]));
    check(with(json!({"finalizers": ["x.io/a"]})), "/metadata/finalizers", json!(["x.io/a", "x.io/b"]));
    check(with(json!({"finalizers": []})), "/metadata/finalizers", json!(["x.io/a", "x.io/b"]));
    let delete = |list: Value| with(json!({"$deleteFromPrimitiveList/finalizers": list}));
    check(delete(json!(["x.io/a", "x.io/z"])), "/metadata/finalizers", json!(["x.io/b"]));
    check_fails(delete(json!("x.io/a")), "primitive list");
    let both = json!({"$deleteFromPrimitiveList/finalizers": ["x.io/a"], "finalizers": ["x.io/d"]});
    check(with(both), "/metadata/finalizers", json!(["x.io/d", "x.io/b"]));
}

#[test]
fn objects_are_replaced_deleted_and_reduced_by_directives() {
    check(json!({"metadata": {"labels": {"$patch": "replace", "z": "1"}}}), "/metadata/labels", json!({"z": "1"}));
    check(json!({"metadata": {"labels": {"$patch": "delete"}}}), "/metadata/labels", json!({}));
    check(
        json!({"metadata": {"labels": {"$patch": "merge", "a": "9"}}}),
        "/metadata/labels",
        json!({"a": "9", "b": "2"}),
    );
    check(json!({"$patch": "delete"}), "/spec", json!(null));
    check_fails(json!({"metadata": {"labels": {"$patch": "mix"}}}), "unknown patch type");
    let volume =
        |keys: Value| spec(json!({"volumes": [{"name": "v", "$retainKeys": keys, "configMap": {"name": "c"}}]}));
    check(volume(json!(["name", "configMap"])), "/spec/volumes", json!([{"name": "v", "configMap": {"name": "c"}}]));
    check_fails(volume(json!(["name"])), "invalid patch format of retainKeys");
    check_fails(volume(json!("name")), "invalid patch format of retainKeys");
}

#[test]
fn directives_do_not_end_up_in_new_objects() {
    let affinity = json!({"affinity": {"$patch": "replace", "nodeAffinity": {"$retainKeys": ["a"], "x": null}}});
    check(spec(affinity), "/spec/affinity", json!({"nodeAffinity": {}}));
    let volumes = json!({"containers": [{"name": "new", "env": [{"$patch": "delete", "name": "A"}, {"name": "B"}]}]});
    check(spec(volumes), "/spec/containers/0", json!({"name": "new", "env": [{"name": "B"}]}));
}

#[test]
fn malformed_patches_are_refused() {
    check_fails(spec(json!({"containers": [{"image": "x"}]})), "does not contain declared merge key: name");
    check_fails(spec(json!({"containers": [{"$patch": "delete"}]})), "does not contain declared merge key: name");
    check_fails(spec(json!({"containers": ["x"]})), "list of objects with a list of scalars");
    check_fails(spec(json!({"containers": [["x"]]})), "lists of lists");
    check_fails(json!([]), "invalid JSON document");
}

#[test]
fn a_selector_that_is_to_be_replaced_is_not_merged() {
    let def = builtin().of_kind("policy", "v1", "PodDisruptionBudget").expect("budgets");
    let target = json!({"spec": {"selector": {"matchLabels": {"a": "1"}}}});
    let patch = json!({"spec": {"selector": {"matchLabels": {"b": "2"}}}});
    let patched = patch::strategic(builtin(), def, target, &patch).expect("a patch");
    assert_eq!(patched, patch);
}
