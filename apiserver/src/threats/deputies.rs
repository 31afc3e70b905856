//! T66: references that a tenant writes lead to its own things, whatever they name; and what nobody may write is refused.
//!
//! What controllers make of references has its test where the controllers are.

use super::{CANARY, HELD, World, collection, objects, thing_kind};
use api::Kind;
use serde_json::{Value, json};
use std::sync::Arc;

/// Every byte that `umbrella` stores, by key.
fn stored(world: &World) -> Vec<(String, Vec<u8>)> {
    let umbrella = api::TenantName::new("umbrella").expect("a tenant");
    let snapshot = world.server.store.snapshot();
    let object = |object: &Arc<api::Object>| (format!("{:?}", object.key), object.bytes.to_vec());
    snapshot.tenant_keys(&umbrella).map(object).collect()
}

/// The uid of an object of `umbrella`, as one who has learned it somehow would write it.
async fn stolen_uid(world: &World, path: &str) -> String {
    let object = world.get("victim", path).await.json();
    object["metadata"]["uid"].as_str().unwrap_or_else(|| panic!("{path}: {object}")).to_owned()
}

/// Sets every field of an object that is a reference, at any depth, to what `umbrella` has.
fn redirect(value: &mut Value, uid: &str, count: &mut usize) {
    const NAMES: [&str; 16] = [
        "secretName",
        "serviceAccountName",
        "storageClassName",
        "volumeName",
        "claimName",
        "ingressClassName",
        "policyName",
        "runtimeClassName",
        "persistentVolumeName",
        "deviceClassName",
        "serviceName",
        "nodeName",
        "holderIdentity",
        "priorityClassName",
        "roleRef",
        "targetRef",
    ];
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                if NAMES.contains(&name.as_str()) && field.is_string() {
                    *field = json!(CANARY);
                    *count += 1;
                } else if name.ends_with("Ref") || name == "involvedObject" || name == "regarding" {
                    field["tenant"] = json!("umbrella");
                    field["uid"] = json!(uid);
                    *count += 2;
                } else {
                    redirect(field, uid, count);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, uid, count)),
        _ => {}
    }
}

#[tokio::test]
async fn what_a_tenant_refers_to_is_looked_for_in_the_tenant_itself() {
    let world = World::planted().await;
    for (plural, path) in [("priorityclasses", "scheduling.k8s.io/v1"), ("runtimeclasses", "node.k8s.io/v1")] {
        let body = if plural == "runtimeclasses" { json!({"handler": "h"}) } else { json!({"value": 5}) };
        let mut body = body;
        body["metadata"] = json!({"name": "theirs"});
        world.make("victim", &format!("/apis/{path}/{plural}"), body).await;
    }
    world.make("victim", "/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "theirs"}})).await;
    let uid = stolen_uid(&world, &format!("/api/v1/namespaces/default/configmaps/{HELD}")).await;
    let pod = stolen_uid(&world, &format!("/api/v1/namespaces/default/pods/{HELD}")).await;
    let before = stored(&world);
    let (mut written, mut references) = (0, 0);
    // Objects of every kind, owned by an object of `umbrella`, that refer to what it has.
    for kind in world.kinds().iter().filter(|kind| kind.stored() && kind.scope != api::Scope::Cluster) {
        let Some(mut object) = objects::object(kind, "other", CANARY) else { continue };
        object["metadata"]["tenant"] = json!("acme");
        object["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": HELD, "uid": uid,
            "controller": true, "blockOwnerDeletion": true}]);
        references += 1;
        let metadata = object["metadata"].take();
        redirect(&mut object, &uid, &mut references);
        object["metadata"] = metadata;
        let path = collection(kind);
        let answer = world.send("admin", "POST", &path, &[], &object).await;
        assert!(answer.code < 500, "{path}: {}", answer.json());
        // In another's name.
        references += 1;
        object["metadata"]["tenant"] = json!("umbrella");
        object["metadata"]["name"] = json!("others");
        let theirs = world.send("admin", "POST", &path, &[], &object).await;
        assert!(theirs.code >= 400 || theirs.json()["metadata"]["tenant"] == "acme", "{path}: {}", theirs.json());
        written += usize::from(answer.code == 201);
        let name = objects::name(kind, "other").unwrap_or_default();
        for propagation in ["Foreground", "Orphan", "Background"] {
            let options = json!({"propagationPolicy": propagation, "preconditions": {"uid": uid}});
            let deleted = world.send("admin", "DELETE", &format!("{path}/{name}"), &[], &options).await;
            assert!(matches!(deleted.code, 404 | 405 | 409), "{path}/{name}: {}", deleted.code);
        }
    }
    // What admission resolves is not found, though another tenant has it.
    let spec = |field: &str, value: Value| {
        let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
        spec[field] = value;
        json!({"metadata": {"name": format!("p-{}", field.to_lowercase())}, "spec": spec})
    };
    for (field, value) in [
        ("serviceAccountName", json!("theirs")),
        ("priorityClassName", json!("theirs")),
        ("runtimeClassName", json!("theirs")),
    ] {
        let answer = world.send("admin", "POST", "/api/v1/namespaces/default/pods", &[], &spec(field, value)).await;
        assert_eq!(answer.code, 403, "{field}: {}", answer.json());
    }
    // A token bound to another tenant's pod.
    for uid in [pod.as_str(), ""] {
        let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": "only-theirs", "uid": uid});
        let tokens = format!("/api/v1/namespaces/default/serviceaccounts/{HELD}/token");
        let answer = world.send("admin", "POST", &tokens, &[], &json!({"spec": {"boundObjectRef": reference}})).await;
        assert_eq!(answer.code, 404, "{}", answer.json());
    }
    assert!(written > 40 && references > 100, "{written} objects with {references} references");
    assert!(stored(&world) == before, "something of the other tenant has changed");
}

#[tokio::test]
async fn no_definition_takes_the_place_of_a_built_in_resource() {
    let world = World::new().await;
    let built_in: Vec<&Arc<Kind>> = world.server.kinds.kinds().iter().filter(|kind| kind.group.contains('.')).collect();
    assert!(built_in.len() > 30);
    for kind in built_in {
        let mut definition = objects::object(&thing_definition(), HELD, "plain").expect("a definition");
        definition["metadata"]["name"] = json!(format!("{}.{}", kind.plural, kind.group));
        definition["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "https://example.com"});
        definition["spec"]["group"] = json!(kind.group);
        definition["spec"]["names"] =
            json!({"plural": kind.plural, "singular": kind.singular, "kind": kind.kind, "shortNames": []});
        definition["spec"]["versions"][0]["name"] = json!("v9");
        let answer = world.send("admin", "POST", &collection(&thing_definition()), &[], &definition).await;
        let causes = answer.json()["details"]["causes"].clone();
        let causes: Vec<&str> = causes.as_array().into_iter().flatten().filter_map(|c| c["field"].as_str()).collect();
        assert_eq!((answer.code, &causes[..]), (422, &["spec.names.plural"][..]), "{}", answer.json());
    }
    assert!(thing_kind().group.contains('.'));
}

fn thing_definition() -> Kind {
    Kind::clone(kinds::registry().find("apiextensions.k8s.io", "v1", "customresourcedefinitions").expect("a kind"))
}
