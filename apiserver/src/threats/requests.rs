//! T67: requests for certificates: who asks is not what the request says, and approving is a right of its own. What may be
//! signed of a request has its test where the authority is.

use super::World;
use api::TenantName;
use serde_json::json;

#[tokio::test]
async fn who_asks_is_the_servers_to_say_and_who_approves_needs_the_right() {
    let world = World::new().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let (request, _) =
        policy::pki::client_request(&TenantName::new("acme").expect("a tenant"), "ann").expect("a request");
    let pem = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, request);
    let spec = json!({"request": pem, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
        "username": "system:admin", "groups": ["system:masters"], "uid": "u"});
    let made = world.make("admin", path, json!({"metadata": {"name": "r"}, "spec": spec})).await;
    assert_eq!((&made["spec"]["username"], &made["spec"]["uid"]), (&json!("root"), &json!("u1")));
    // Who may change requests, and nothing else, approves and signs none.
    let rules = json!([{"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests",
        "certificatesigningrequests/approval", "certificatesigningrequests/status"], "verbs": ["*"]}]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    world.make("admin", &format!("{rbac}/clusterroles"), json!({"metadata": {"name": "r"}, "rules": rules})).await;
    let bound = json!({"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}]});
    world.make("admin", &format!("{rbac}/clusterrolebindings"), bound).await;
    let mut approved = made.clone();
    approved["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "r", "message": "m"}]);
    let answer = world.send("user", "PUT", &format!("{path}/r/approval"), &[], &approved).await;
    assert_eq!(answer.code, 403, "{}", answer.json());
    let mut signed = made.clone();
    signed["status"]["certificate"] =
        json!(base64::Engine::encode(&base64::prelude::BASE64_STANDARD, world.server.pki.ca_pem()));
    let answer = world.send("user", "PUT", &format!("{path}/r/status"), &[], &signed).await;
    assert_eq!(answer.code, 403, "{}", answer.json());
    let foreign = world.send("neighbour", "PUT", &format!("/tenants/acme{path}/r/approval"), &[], &approved).await;
    assert_eq!(foreign.code, 403, "{}", foreign.json());
}
