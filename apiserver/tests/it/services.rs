//! Addresses and ports of services, as clients meet them.

use crate::{Api, User};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    for (field, value) in spec.as_object().expect("fields") {
        service["spec"][field] = value.clone();
    }
    service
}

/// Creates `count` services at once and answers with the codes.
async fn race(user: &User<'_>, count: usize, spec: &Value) -> Vec<(u16, Value)> {
    let creates = (0..count).map(|i| async move { user.post(SERVICES, service(&format!("s{i}"), spec.clone())).await });
    futures::future::join_all(creates).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_services_that_race_for_an_address_or_a_port_one_wins() {
    let api = Api::start().await;
    for (tenant, spec, why) in [
        ("acme", json!({"clusterIP": "10.96.0.77"}), "provided IP is already allocated"),
        (
            "other",
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30077}]}),
            "provided port is already allocated",
        ),
    ] {
        let user = api.tenant(tenant).await;
        let answers = race(&user, 64, &spec).await;
        let codes = |code: u16| answers.iter().filter(|(answered, _)| *answered == code).count();
        assert_eq!((codes(201), codes(422)), (1, 63), "{tenant}");
        let refused = answers.iter().find(|(code, _)| *code == 422).expect("some are refused");
        assert!(refused.1["message"].as_str().is_some_and(|message| message.ends_with(why)), "{}", refused.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_gets_an_address_and_a_port_of_its_own() {
    let api = Api::start().await;
    let user = api.tenant("acme").await;
    let answers = race(&user, 64, &json!({"type": "NodePort"})).await;
    let given = |pointer: &str| -> BTreeSet<String> {
        answers.iter().filter_map(|(_, answer)| answer.pointer(pointer)).map(Value::to_string).collect()
    };
    assert_eq!((given("/spec/clusterIP").len(), given("/spec/ports/0/nodePort").len()), (64, 64));
}

#[tokio::test]
async fn what_a_service_gives_up_is_free_again() {
    let api = Api::start().await;
    let user = api.tenant("acme").await;
    let spec = json!({"clusterIP": "10.96.0.77", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30077}]});
    let put = |name: &'static str| user.post(SERVICES, service(name, spec.clone()));
    assert_eq!(user.post(&format!("{SERVICES}?dryRun=All"), service("dry", spec.clone())).await.0, 201);
    assert_eq!(put("a").await.0, 201);
    assert_eq!(put("b").await.0, 422);
    assert_eq!(user.delete(&format!("{SERVICES}/a"), json!({})).await.0, 200);
    assert_eq!(put("b").await.0, 201);
    let external = json!({"spec": {"type": "ExternalName", "externalName": "e.example.com"}});
    assert_eq!(user.patch("merge", &format!("{SERVICES}/b"), external).await.0, 200);
    assert_eq!(put("c").await.0, 201);
    let (code, answer) = user
        .patch("merge", &format!("{SERVICES}/b"), json!({"spec": {"type": "ClusterIP", "externalName": null}}))
        .await;
    assert_eq!(code, 200, "{answer}");
    assert_ne!(answer["spec"]["clusterIP"], "10.96.0.77");
    assert!(answer["spec"]["clusterIP"].as_str().is_some_and(|address| address.starts_with("10.96.")), "{answer}");
}

#[tokio::test]
async fn tenants_may_have_the_same_addresses() {
    let api = Api::start().await;
    for tenant in ["acme", "other"] {
        let user = api.tenant(tenant).await;
        assert_eq!(user.post(SERVICES, service("a", json!({"clusterIP": "10.96.0.77"}))).await.0, 201);
        let (_, own) = user.get(&format!("{SERVICES}/kubernetes")).await;
        assert_eq!(own["spec"]["clusterIP"], "10.96.0.1");
        let (code, _) = user.get("/apis/networking.k8s.io/v1/ipaddresses/10.96.0.1").await;
        assert_eq!(code, 200);
    }
}
