//! Built-in admission, as clients meet it.

use crate::{Api, User, config_map};
use serde_json::{Value, json};

/// A quota of namespace `default` that was counted.
async fn quota(user: &User<'_>, name: &str, hard: Value) {
    let quota = json!({"metadata": {"name": name}, "spec": {"hard": hard}});
    let (code, answer) = user.post("/api/v1/namespaces/default/resourcequotas", quota).await;
    assert_eq!(code, 201, "{answer}");
    let used: Value = hard.as_object().expect("amounts").keys().map(|name| (name.clone(), json!("0"))).collect();
    let path = format!("/api/v1/namespaces/default/resourcequotas/{name}/status");
    let (code, answer) = user.patch("merge", &path, json!({"status": {"hard": hard, "used": used}})).await;
    assert_eq!(code, 200, "{answer}");
}

async fn used(user: &User<'_>, name: &str) -> Value {
    user.get(&format!("/api/v1/namespaces/default/resourcequotas/{name}")).await.1["status"]["used"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creates_at_once_as_many_succeed_as_the_quota_has_room_for() {
    let api = Api::start().await;
    let user = api.tenant("acme").await;
    quota(&user, "q", json!({"configmaps": "10", "count/configmaps": "40"})).await;
    let creates = (0..64).map(|i| {
        let user = &user;
        async move { user.post("/api/v1/namespaces/default/configmaps", config_map(&format!("c{i}"))).await }
    });
    let answers = futures::future::join_all(creates).await;
    let codes = |code: u16| answers.iter().filter(|(answered, _)| *answered == code).count();
    assert_eq!((codes(201), codes(403)), (10, 54));
    assert_eq!(used(&user, "q").await, json!({"configmaps": "10", "count/configmaps": "10"}));
    let refused = answers.iter().find(|(code, _)| *code == 403).expect("some were refused");
    let why = "exceeded quota: q, requested: configmaps=1, used: configmaps=10, limited: configmaps=10";
    assert!(refused.1["message"].as_str().is_some_and(|message| message.ends_with(why)), "{}", refused.1);
}

#[tokio::test]
async fn what_is_not_stored_charges_no_quota() {
    let api = Api::start().await;
    let user = api.tenant("acme").await;
    quota(&user, "a", json!({"configmaps": "5"})).await;
    let path = "/api/v1/namespaces/default/configmaps";
    assert_eq!(user.post(&format!("{path}?dryRun=All"), config_map("x")).await.0, 201);
    assert_eq!(used(&user, "a").await, json!({"configmaps": "0"}));
    assert_eq!(user.post(path, config_map("x")).await.0, 201);
    assert_eq!(user.post(path, config_map("x")).await.0, 409);
    assert_eq!(used(&user, "a").await, json!({"configmaps": "1"}));
    quota(&user, "b", json!({"configmaps": "0"})).await;
    assert_eq!(user.post(path, config_map("y")).await.0, 403);
    assert_eq!(used(&user, "a").await, json!({"configmaps": "1"}));
}

#[tokio::test]
async fn a_quota_of_one_tenant_says_nothing_to_another() {
    let api = Api::start().await;
    let (acme, other) = (api.tenant("acme").await, api.tenant("other").await);
    quota(&acme, "q", json!({"configmaps": "0"})).await;
    let path = "/api/v1/namespaces/default/configmaps";
    assert_eq!(acme.post(path, config_map("x")).await.0, 403);
    assert_eq!(other.post(path, config_map("x")).await.0, 201);
}
