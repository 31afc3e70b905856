//! Writes of roles and bindings: nobody gives away more rights than they have, in whatever shape.

use crate::{Api, User};
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A user `eve` of tenant `acme` who may write roles and bindings and get config maps, and nothing more.
struct Acme<'a> {
    admin: User<'a>,
    eve: User<'a>,
}

impl<'a> Acme<'a> {
    async fn new(api: &'a Api) -> Acme<'a> {
        let acme = Acme { admin: api.tenant("acme").await, eve: api.user("acme", "eve", &[]) };
        let all = json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"],
            "verbs": ["get", "list", "watch", "create", "update", "patch"]});
        acme.role("writer", json!({}), json!([all, on("configmaps")])).await;
        acme.bind("writer", "eve").await;
        acme
    }

    async fn role(&self, name: &str, labels: Value, rules: Value) {
        let (code, answer) = self.admin.post(&format!("{RBAC}/clusterroles"), role(name, labels, rules)).await;
        assert_eq!(code, 201, "{answer}");
    }

    async fn aggregated(&self, name: &str, selector: Value) {
        let (code, answer) = self.admin.post(&format!("{RBAC}/clusterroles"), aggregated(name, selector)).await;
        assert_eq!(code, 201, "{answer}");
    }

    async fn bind(&self, role: &str, user: &str) {
        let (code, answer) = self.admin.post(&format!("{RBAC}/clusterrolebindings"), binding(role, user)).await;
        assert_eq!(code, 201, "{answer}");
    }
}

fn on(resource: &str) -> Value {
    json!({"verbs": ["get"], "apiGroups": [""], "resources": [resource]})
}

fn role(name: &str, labels: Value, rules: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "rules": rules})
}

fn aggregated(name: &str, selector: Value) -> Value {
    json!({"metadata": {"name": name}, "rules": [], "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": selector}]}})
}

fn binding(role: &str, user: &str) -> Value {
    json!({"metadata": {"name": format!("{role}-{user}")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]})
}

fn not_held(kind: &str, name: &str, missing: &str) -> Value {
    json!(format!(
        "{kind}.rbac.authorization.k8s.io \"{name}\" is forbidden: user \"eve\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n{missing}"
    ))
}

const CLUSTER_ADMIN: &str = "must have cluster-admin privileges to use the aggregationRule";

#[tokio::test]
async fn binding_an_aggregated_role_needs_what_it_gathers() {
    let api = Api::start().await;
    let acme = Acme::new(&api).await;
    acme.role("secrets", json!({"into": "all"}), json!([on("secrets")])).await;
    acme.aggregated("all", json!({"into": "all"})).await;
    let path = format!("{RBAC}/clusterrolebindings");
    let (code, answer) = acme.eve.post(&path, binding("all", "eve")).await;
    assert_eq!(code, 403, "{answer}");
    let missing = r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#;
    assert_eq!(answer["message"], not_held("clusterrolebindings", "all-eve", missing));
    acme.role("maps", json!({"into": "maps"}), json!([on("configmaps")])).await;
    acme.aggregated("only-maps", json!({"into": "maps"})).await;
    let (code, answer) = acme.eve.post(&path, binding("only-maps", "bob")).await;
    assert_eq!(code, 201, "{answer}");
    // A default role gathers what the tenant adds to it.
    let to_view = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    acme.bind("view", "eve").await;
    let (code, answer) = acme.eve.post(&path, binding("view", "bob")).await;
    assert_eq!(code, 201, "{answer}");
    acme.role("hidden", to_view, json!([{"verbs": ["delete"], "apiGroups": [""], "resources": ["secrets"]}])).await;
    let (code, answer) = acme.eve.post(&path, binding("view", "carol")).await;
    assert_eq!(code, 201, "eve holds it by view: {answer}");
    let (code, answer) = acme.eve.post(&path, binding("edit", "bob")).await;
    assert_eq!(code, 403, "{answer}");
}

#[tokio::test]
async fn an_aggregation_rule_is_for_those_who_may_do_everything() {
    let api = Api::start().await;
    let acme = Acme::new(&api).await;
    let path = format!("{RBAC}/clusterroles");
    let (code, answer) = acme.eve.post(&path, aggregated("mine", json!({"x": "y"}))).await;
    let expected = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden",
        "code": 403, "details": {"name": "mine", "group": "rbac.authorization.k8s.io", "kind": "clusterroles"},
        "message": format!("clusterroles.rbac.authorization.k8s.io \"mine\" is forbidden: {CLUSTER_ADMIN}")});
    assert_eq!((code, answer), (403, expected));
    acme.aggregated("theirs", json!({"x": "y"})).await;
    let theirs = format!("{path}/theirs");
    for change in [
        json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"x": "z"}}]}}),
        json!({"aggregationRule": null}),
        json!({"metadata": {"labels": {"x": "y"}}}),
    ] {
        let (code, answer) = acme.eve.patch("merge", &theirs, change.clone()).await;
        assert_eq!(code, 403, "{change}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|text| text.ends_with(CLUSTER_ADMIN)), "{change}: {answer}");
    }
    acme.bind("cluster-admin", "root").await;
    let root = api.user("acme", "root", &[]);
    let (code, answer) = root.post(&path, aggregated("more", json!({"x": "y"}))).await;
    assert_eq!(code, 201, "{answer}");
    let escalate =
        json!([{"verbs": ["escalate"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]}]);
    acme.role("escalate", json!({}), escalate).await;
    acme.bind("escalate", "eve").await;
    let (code, answer) = acme.eve.post(&path, aggregated("mine", json!({"x": "y"}))).await;
    assert_eq!(code, 201, "{answer}");
}

#[tokio::test]
async fn a_label_on_a_role_needs_the_rights_of_the_role() {
    let api = Api::start().await;
    let acme = Acme::new(&api).await;
    acme.role("secrets", json!({}), json!([on("secrets")])).await;
    let path = format!("{RBAC}/clusterroles/secrets");
    let label = json!({"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}});
    let (code, answer) = acme.eve.patch("merge", &path, label.clone()).await;
    assert_eq!(code, 403, "{answer}");
    let missing = r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#;
    assert_eq!(answer["message"], not_held("clusterroles", "secrets", missing));
    // What the garbage collector changes gives nobody a right.
    let owner = json!({"metadata": {"finalizers": ["example.org/f"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u"}]}});
    let (code, answer) = acme.eve.patch("merge", &path, owner).await;
    assert_eq!(code, 200, "{answer}");
    acme.bind("secrets", "bob").await;
    let bindings = format!("{RBAC}/clusterrolebindings/secrets-bob");
    assert_eq!(acme.eve.patch("merge", &bindings, label).await.0, 403);
}

#[tokio::test]
async fn a_small_role_that_allows_a_thousand_million_things_is_refused() {
    let api = Api::start().await;
    let acme = Acme::new(&api).await;
    let texts = |prefix: &str| (0..1000).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
    let rules = json!([{"verbs": texts("v"), "apiGroups": texts("g"), "resources": texts("r")}]);
    let path = format!("{RBAC}/clusterroles");
    let (code, answer) = acme.eve.post(&path, role("huge", json!({}), rules.clone())).await;
    assert_eq!((code, &answer["reason"]), (403, &json!("Forbidden")));
    assert!(answer["message"].as_str().is_some_and(|text| text.contains("are too many to check")));
    assert_eq!(
        acme.admin.post(&path, role("huge", json!({}), rules)).await.0,
        201,
        "who may do everything may write it"
    );
}
