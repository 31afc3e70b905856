//! Shares of work: selections by the hash of objects and of their owners, and writes that only happen while the instance
//! that makes them still has its share.

use crate::{Api, User, answer_of, config_map, names};
use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const INSTANCES: &str = "/api/v1/controllerinstances";

fn hash(uid: &Value) -> u64 {
    api::selector::hash_key(uid.as_str().expect("a uid"))
}

fn owned_by(name: &str, uid: &str) -> Value {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": uid, "controller": true});
    json!({"metadata": {"name": name, "ownerReferences": [owner]}})
}

#[tokio::test]
async fn lists_and_watches_follow_a_range_of_hashes() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    for name in ["a", "b", "c", "d", "e", "f"] {
        acme.post(MAPS, config_map(name)).await;
    }
    let (_, all) = acme.get(MAPS).await;
    let items = all["items"].as_array().expect("items");
    let mut hashes: Vec<u64> = items.iter().map(|item| hash(&item["metadata"]["uid"])).collect();
    hashes.sort_unstable();
    let expected = |inside: &dyn Fn(u64) -> bool| -> Vec<&str> {
        let chosen = items.iter().filter(|item| inside(hash(&item["metadata"]["uid"])));
        chosen.map(|item| item["metadata"]["name"].as_str().expect("a name")).collect()
    };
    let (low, high) = (hashes[1], hashes[3]);
    let (code, some) =
        acme.get(&format!("{MAPS}?fieldSelector=metadata.hashkey%3Dgt:{low},metadata.hashkey%3Dlte:{high}")).await;
    assert_eq!((code, names(&some)), (200, expected(&|hash| hash > low && hash <= high)));
    let ends = format!("metadata.hashkey%3Dlte:{low}%3Bmetadata.hashkey%3Dgt:{high}");
    let (_, ends) = acme.get(&format!("{MAPS}?fieldSelector={ends}")).await;
    assert_eq!(names(&ends), expected(&|hash| hash <= low || hash > high));
    assert_eq!(acme.get(&format!("{MAPS}?fieldSelector=metadata.hashkey%3Dgt:x")).await.0, 400);

    let middle = hash(&json!("mine"));
    let range = format!(
        "metadata.ownerReferences.hashkey.ReplicaSet%3Dgte:{middle},metadata.ownerReferences.hashkey.ReplicaSet%3Dlte:{middle}"
    );
    let mut watch = acme.watch(&format!("{MAPS}?watch=1&fieldSelector={range}")).await;
    acme.post(MAPS, owned_by("theirs", "theirs")).await;
    acme.post(MAPS, owned_by("mine", "mine")).await;
    assert_eq!(watch.next_brief().await, "ADDED mine");
    acme.patch("merge", &format!("{MAPS}/mine"), json!({"metadata": {"ownerReferences": null}})).await;
    assert_eq!(watch.next_brief().await, "DELETED mine");
    let (_, orphans) = acme.get(&format!("{MAPS}?fieldSelector=metadata.ownerReferences.hashkey%3D")).await;
    assert!(names(&orphans).contains(&"mine") && !names(&orphans).contains(&"theirs"));
}

async fn as_instance(user: &User<'_>, method: Method, path: &str, instance: &str, body: Value) -> (u16, Value) {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    let request = request.header("ursa-controller-instance", instance).body(Body::from(body.to_string()));
    answer_of(user.request(request.expect("a request")).await).await
}

#[tokio::test]
async fn an_instance_writes_only_in_its_own_epoch() {
    let api = Api::start().await;
    let (system, acme) = (api.admin("system"), api.tenant("acme").await);
    let instance = json!({"metadata": {"name": "workers-1"}, "controllerType": "workers"});
    let (code, mut instance) = system.post(INSTANCES, instance).await;
    assert_eq!((code, &instance["epoch"]), (201, &json!(1)));
    let map = format!("{MAPS}/a");
    let write = async |epoch: &str| {
        let created = as_instance(&acme, Method::POST, MAPS, epoch, config_map("a")).await.0;
        let patched = as_instance(&acme, Method::PATCH, &map, epoch, json!({"data": {"x": "y"}})).await.0;
        let deleted = as_instance(&acme, Method::DELETE, &map, epoch, json!({})).await.0;
        [created, patched, deleted]
    };
    assert_eq!(write("workers-1/1").await, [201, 200, 200]);
    assert_eq!(write("workers-1/2").await[0], 409);
    assert_eq!(write("workers-2/1").await[0], 409);
    assert_eq!(write("workers-1").await, [400, 400, 400]);

    acme.post(MAPS, config_map("a")).await;
    instance["epoch"] = json!(2);
    assert_eq!(system.put(&format!("{INSTANCES}/workers-1"), &instance).await.0, 200);
    assert_eq!(write("workers-1/1").await, [409, 409, 409]);
    let (_, untouched) = acme.get(&map).await;
    assert_eq!(untouched["data"], config_map("a")["data"], "{untouched}");
    system.delete(&format!("{INSTANCES}/workers-1"), json!({})).await;
    assert_eq!(write("workers-1/2").await, [409, 409, 409]);
    // Without an instance nothing is asked.
    assert_eq!(acme.delete(&map, json!({})).await.0, 200);
}

#[tokio::test]
async fn instances_are_the_operators_and_show_arktos_columns() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    assert_ne!(acme.get(INSTANCES).await.0, 200);
    let system = api.admin("system");
    let instance = json!({"metadata": {"name": "replicaset-1"}, "controllerType": "replicaset", "controllerKey": 7});
    system.post(INSTANCES, instance).await;
    let accept = b"application/json;as=Table;v=v1;g=meta.k8s.io";
    let (_, table) = system.get_with(INSTANCES, "accept", accept).await;
    let columns = table["columnDefinitions"].as_array().expect("columns").iter().map(|c| c["name"].clone());
    let expected = ["Name", "ControllerType", "UID", "ControllerKey", "WorkloadNum", "IsLocked"];
    assert_eq!(columns.collect::<Vec<_>>(), expected);
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[1], &cells[3], &cells[5]), (&json!("replicaset"), &json!(7), &json!(false)));
}
