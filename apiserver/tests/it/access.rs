//! Who reaches what: the tenant decision and authorization, through every form of a path.

use crate::{Api, config_map, names};
use serde_json::json;

#[tokio::test]
async fn a_tenant_reaches_nothing_of_another() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let umbrella = api.tenant("umbrella").await;
    assert_eq!(umbrella.post("/api/v1/namespaces/default/configmaps", config_map("secret-plan")).await.0, 201);
    let forms = [
        "/tenants/umbrella/api/v1/namespaces/default/configmaps",
        "/api/v1/tenants/umbrella/namespaces/default/configmaps",
        "/tenants/umbrella/api/v1/namespaces/default/configmaps/secret-plan",
        "/tenants/umbrella/api/v1/namespaces/default/configmaps/absent",
        "/api/v1/tenants/all/configmaps",
        "/tenants/system/api/v1/namespaces",
        "/tenants/nobody/api/v1/namespaces",
        "/tenants/umbrella/apis",
        "/api/v1/tenants",
        "/api/v1/tenants/umbrella",
        "/api/v1/tenants/acme",
        "/api/v1/nodes",
        "/metrics",
    ];
    for path in forms {
        let (code, answer) = acme.get(path).await;
        assert_eq!((code, &answer["reason"]), (403, &json!("Forbidden")), "{path}: {answer}");
        assert!(!answer.to_string().contains("umbrella/"), "{answer}");
    }
    let (code, _) = acme.post("/tenants/umbrella/api/v1/namespaces/default/configmaps", config_map("x")).await;
    assert_eq!(code, 403);
    let (_, own) = acme.get("/api/v1/configmaps").await;
    assert!(names(&own).is_empty());
}

#[tokio::test]
async fn operators_reach_one_tenant_or_all() {
    let api = Api::start().await;
    for tenant in ["acme", "umbrella"] {
        let admin = api.tenant(tenant).await;
        assert_eq!(admin.post("/api/v1/namespaces/default/configmaps", config_map(tenant)).await.0, 201);
    }
    let operator = api.admin("system");
    for path in ["/tenants/acme/api/v1/configmaps", "/api/v1/tenants/acme/configmaps"] {
        assert_eq!(names(&operator.get(path).await.1), ["acme"], "{path}");
    }
    assert_eq!(names(&operator.get("/api/v1/tenants/all/configmaps").await.1), ["acme", "umbrella"]);
    assert_eq!(operator.get("/tenants/nobody/api/v1/configmaps").await.0, 404);
    let (code, _) = operator.post("/api/v1/tenants/all/namespaces/default/configmaps", config_map("x")).await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn a_user_has_the_rights_that_roles_give() {
    let api = Api::start().await;
    let admin = api.tenant("acme").await;
    let bob = api.user("acme", "bob", &[]);
    let path = "/api/v1/namespaces/default/configmaps";
    assert_eq!(bob.get(path).await.0, 403);
    let role = json!({"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    assert_eq!(admin.post(&format!("{rbac}/roles"), role).await.0, 201);
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}]});
    assert_eq!(admin.post(&format!("{rbac}/rolebindings"), binding).await.0, 201);
    assert_eq!(bob.get(path).await.0, 200);
    assert_eq!(bob.post(path, config_map("x")).await.0, 403);
    assert_eq!(bob.get("/api/v1/namespaces/other/configmaps").await.0, 403);
    let review =
        json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": "default"}}});
    let (_, answer) = bob.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review).await;
    assert_eq!(answer["status"]["allowed"], true, "{answer}");
    // The same user name in another tenant is another user.
    api.tenant("umbrella").await;
    assert_eq!(api.user("umbrella", "bob", &[]).get(path).await.0, 403);
}

#[tokio::test]
async fn nobody_gives_away_more_rights_than_they_have() {
    let api = Api::start().await;
    let admin = api.tenant("acme").await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let manager = json!({"metadata": {"name": "rbac"}, "rules": [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"],
        "verbs": ["create", "update", "get"]}]});
    assert_eq!(admin.post(&format!("{rbac}/clusterroles"), manager).await.0, 201);
    let subjects = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}]);
    let binding = |role: &str| {
        json!({"metadata": {"name": format!("eve-{role}")}, "subjects": subjects.clone(),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
    };
    assert_eq!(admin.post(&format!("{rbac}/clusterrolebindings"), binding("rbac")).await.0, 201);
    let eve = api.user("acme", "eve", &[]);
    let all = json!({"metadata": {"name": "all"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    assert_eq!(eve.post(&format!("{rbac}/clusterroles"), all).await.0, 403);
    assert_eq!(eve.post(&format!("{rbac}/clusterrolebindings"), binding("cluster-admin")).await.0, 403);
    let harmless = json!({"metadata": {"name": "less"}, "rules": [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["get"]}]});
    assert_eq!(eve.post(&format!("{rbac}/clusterroles"), harmless).await.0, 201);
}

#[tokio::test]
async fn a_service_accounts_token_lives_as_long_as_its_account() {
    let api = Api::start().await;
    let admin = api.tenant("acme").await;
    let request = json!({"spec": {"expirationSeconds": 600}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default";
    let (code, issued) = admin.post(&format!("{path}/token"), request).await;
    assert_eq!(code, 201, "{issued}");
    let review = json!({"spec": {"token": issued["status"]["token"]}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let (_, answer) = admin.post(reviews, review.clone()).await;
    assert_eq!(answer["status"]["user"]["username"], "system:serviceaccount:default:default", "{answer}");
    // Another tenant is told nothing of it.
    let umbrella = api.tenant("umbrella").await;
    assert_eq!(umbrella.post(reviews, review.clone()).await.1["status"]["authenticated"], json!(null));
    assert_eq!(admin.delete(path, json!({})).await.0, 200);
    assert_eq!(
        admin.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await.0,
        201
    );
    assert_eq!(admin.post(reviews, review).await.1["status"]["authenticated"], json!(null));
}

#[tokio::test]
async fn a_tenants_pods_do_not_reach_for_the_node() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let pod = json!({"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "c", "image": "x"}],
        "volumes": [{"name": "host", "hostPath": {"path": "/"}}]}});
    let (code, refused) = acme.post("/api/v1/namespaces/default/pods", pod.clone()).await;
    assert_eq!(code, 403, "{refused}");
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("hostPath")), "{refused}");
    // The tenant cannot lift it; the operators can.
    let lift = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    assert_eq!(acme.patch("merge", "/api/v1/tenants/acme", lift.clone()).await.0, 403);
    assert_eq!(api.admin("system").patch("merge", "/api/v1/tenants/acme", lift).await.0, 200);
    assert_eq!(acme.post("/api/v1/namespaces/default/pods", pod).await.0, 201);
}
