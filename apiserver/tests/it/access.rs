//! Who reaches what: the tenant decision and authorization, through every form of a path.

use crate::{Api, User, config_map, names};
use serde_json::{Value, json};

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
    let all = operator.get("/api/v1/tenants/all/configmaps?fieldSelector=metadata.namespace=default").await.1;
    assert_eq!(names(&all), ["acme", "umbrella"]);
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

/// A user of `acme` who holds these rules in the whole tenant.
async fn holder<'a>(api: &'a Api, admin: &User<'_>, name: &str, rules: Value) -> User<'a> {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": name}, "rules": rules});
    assert_eq!(admin.post(&format!("{rbac}/clusterroles"), role).await.0, 201);
    let binding = json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}]});
    assert_eq!(admin.post(&format!("{rbac}/clusterrolebindings"), binding).await.0, 201);
    api.user("acme", name, &[])
}

#[tokio::test]
async fn a_field_selector_does_not_name_what_is_created() {
    let api = Api::start().await;
    let admin = api.tenant("acme").await;
    let rule = json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"],
        "verbs": ["create", "get", "list"]}]);
    let bob = holder(&api, &admin, "bob", rule).await;
    let path = "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Dmine";
    assert_eq!(bob.get(path).await.0, 200, "a list of the one name is allowed by it");
    assert_eq!(bob.post(path, config_map("another")).await.0, 403);
}

#[tokio::test]
async fn a_header_of_impersonation_that_cannot_be_read_is_refused() {
    let api = Api::start().await;
    let admin = api.tenant("acme").await;
    let reviews = "/api/v1/namespaces/default/configmaps";
    assert_eq!(admin.get_with(reviews, "impersonate-user", "jos\u{e9}".as_bytes()).await.0, 403, "as that user");
    for header in ["impersonate-user", "impersonate-group", "impersonate-uid"] {
        assert_eq!(admin.get_with(reviews, header, b"jos\xe9").await.0, 400, "{header}");
    }
}

#[tokio::test]
async fn who_may_only_read_gets_no_stream_into_a_pod() {
    let api = Api::start().await;
    let admin = api.tenant("acme").await;
    let node = json!({"metadata": {"name": "n"}});
    assert_eq!(api.admin("system").post("/api/v1/nodes", node).await.0, 201);
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(admin.post("/api/v1/namespaces/default/pods", pod).await.0, 201);
    let all = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]);
    let reader = holder(&api, &admin, "reader", all).await;
    let pod = "/api/v1/namespaces/default/pods/p";
    for stream in ["exec", "attach", "portforward"] {
        let (code, answer) = reader.get(&format!("{pod}/{stream}?command=sh")).await;
        assert_eq!(code, 403, "{answer}");
        assert!(answer["message"].as_str().is_some_and(|text| text.contains("cannot create resource")), "{answer}");
        // The administrator gets as far as the node, which nothing here can reach.
        assert_eq!(admin.get(&format!("{pod}/{stream}?command=sh")).await.0, 503);
    }
    assert_eq!(reader.get(&format!("{pod}/log")).await.0, 503);
    assert_eq!(admin.get("/api/v1/watch/namespaces/default/pods/p/exec").await.0, 405);
}

#[tokio::test]
async fn a_request_for_a_certificate_says_who_asks_and_is_approved_by_who_may() {
    let api = Api::start().await;
    let admin = api.tenant("acme").await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let group = "certificates.k8s.io";
    let rule = json!([
        {"apiGroups": [group], "resources": ["certificatesigningrequests"], "verbs": ["create", "get"]},
        {"apiGroups": [group], "resources": ["certificatesigningrequests/approval", "certificatesigningrequests/status"], "verbs": ["update"]}]);
    let bob = holder(&api, &admin, "bob", rule).await;
    let tenant = api::TenantName::new("acme").expect("a tenant");
    let (pem, _) = policy::pki::client_request(&tenant, "bob").expect("a request");
    let pem = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    let request = json!({"metadata": {"name": "r"}, "spec": {"request": pem, "usages": ["client auth"],
        "signerName": "kubernetes.io/kube-apiserver-client", "username": "root", "groups": ["system:masters"]}});
    let (code, mut made) = bob.post(requests, request).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["username"], "bob");
    assert_eq!(made["spec"]["groups"], json!(["system:authenticated"]));
    made["status"] = json!({"conditions": [{"type": "Approved", "status": "True", "reason": "r", "message": "m"}]});
    let (code, answer) = bob.put(&format!("{requests}/r/approval"), &made).await;
    assert_eq!(code, 403, "{answer}");
    assert!(answer.to_string().contains("user not permitted to approve requests with signerName"), "{answer}");
    let approver = json!([{"apiGroups": [group], "resources": ["signers"], "resourceNames": ["kubernetes.io/*"], "verbs": ["approve"]}]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    assert_eq!(
        admin
            .post(&format!("{rbac}/clusterroles"), json!({"metadata": {"name": "approver"}, "rules": approver}))
            .await
            .0,
        201
    );
    let binding = json!({"metadata": {"name": "approver"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "approver"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}]});
    assert_eq!(admin.post(&format!("{rbac}/clusterrolebindings"), binding).await.0, 201);
    let (code, mut approved) = bob.put(&format!("{requests}/r/approval"), &made).await;
    assert_eq!(code, 200, "{approved}");
    approved["status"]["certificate"] = json!("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==");
    let (code, answer) = bob.put(&format!("{requests}/r/status"), &approved).await;
    assert_eq!(code, 422, "{answer}");
    assert!(answer.to_string().contains("must contain at least one CERTIFICATE PEM block"), "{answer}");
    approved["status"].as_object_mut().expect("a status").remove("certificate");
    let failed = json!({"type": "Failed", "status": "True", "reason": "r", "message": "m"});
    approved["status"]["conditions"].as_array_mut().expect("conditions").push(failed);
    let (code, answer) = bob.put(&format!("{requests}/r/status"), &approved).await;
    assert_eq!(code, 403, "{answer}");
    assert!(answer.to_string().contains("user not permitted to sign requests with signerName"), "{answer}");
}
