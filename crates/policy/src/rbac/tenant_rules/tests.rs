//! The rules of a tenant: look-up, aggregation, replacement of defaults.

use super::*;
use api::TenantName;
use serde_json::json;

/// What one tenant stores.
#[derive(Default)]
struct Stored {
    roles: Vec<Value>,
    cluster_roles: Vec<Value>,
    bindings: Vec<Value>,
    cluster_bindings: Vec<Value>,
}

impl Stored {
    fn rules(&self) -> TenantRules {
        TenantRules::compile(&self.roles, &self.cluster_roles, &self.bindings, &self.cluster_bindings)
    }

    fn role(mut self, namespace: &str, name: &str, rules: Value) -> Stored {
        self.roles.push(json!({"metadata": {"namespace": namespace, "name": name}, "rules": rules}));
        self
    }

    fn cluster_role(mut self, name: &str, labels: Value, rules: Value) -> Stored {
        self.cluster_roles.push(json!({"metadata": {"name": name, "labels": labels}, "rules": rules}));
        self
    }

    fn aggregated(mut self, name: &str, labels: Value, selector: Value) -> Stored {
        let rule = json!({"clusterRoleSelectors": [{"matchLabels": selector}]});
        let metadata = json!({"name": name, "labels": labels});
        self.cluster_roles.push(json!({"metadata": metadata, "aggregationRule": rule, "rules": [all()]}));
        self
    }

    /// `role` is `Role/name` or `ClusterRole/name`, `subject` as `User/name`.
    fn bind(mut self, namespace: &str, name: &str, role: &str, subject: &str) -> Stored {
        let (kind, role) = role.split_once('/').expect("a kind and a name");
        let (subject_kind, subject) = subject.split_once('/').expect("a kind and a name");
        let binding = json!({
            "metadata": {"namespace": namespace, "name": name}, "roleRef": {"kind": kind, "name": role},
            "subjects": [{"kind": subject_kind, "name": subject}],
        });
        let list = if namespace.is_empty() { &mut self.cluster_bindings } else { &mut self.bindings };
        list.push(binding);
        self
    }
}

fn all() -> Value {
    json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
}

fn on(resource: &str, verbs: &[&str]) -> Value {
    json!([{"verbs": verbs, "apiGroups": [""], "resources": [resource]}])
}

fn rules_of(rules: &[Value]) -> Vec<Arc<Rule>> {
    rules.iter().map(|rule| Arc::new(Rule::from_value(rule))).collect()
}

fn user(name: &str) -> Identity {
    Identity::new(TenantName::new("acme").expect("a tenant"), name, &["devs"])
}

fn what<'a>(verb: &'a str, resource: &'a str, namespace: &'a str) -> Attributes<'a> {
    Attributes { verb, resource, namespace, ..Attributes::default() }
}

#[track_caller]
fn check(stored: &Stored, who: &Identity, verb: &str, resource: &str, namespace: &str, expected: bool) {
    let allowed = stored.rules().allows(who, &what(verb, resource, namespace));
    assert_eq!(allowed, expected, "{} {verb} {resource} in {namespace:?}", who.user);
}

#[test]
fn a_role_binding_counts_in_its_namespace_only() {
    let stored = Stored::default().role("a", "r", on("pods", &["get"])).bind("a", "b", "Role/r", "User/eve");
    check(&stored, &user("eve"), "get", "pods", "a", true);
    for (who, verb, resource, namespace) in [
        ("eve", "get", "pods", "b"),
        ("eve", "get", "pods", ""),
        ("eve", "list", "pods", "a"),
        ("eve", "get", "secrets", "a"),
        ("bob", "get", "pods", "a"),
    ] {
        check(&stored, &user(who), verb, resource, namespace, false);
    }
}

#[test]
fn a_cluster_role_is_bound_everywhere_or_in_one_namespace() {
    let stored = Stored::default()
        .cluster_role("r", json!({}), on("pods", &["get"]))
        .bind("a", "b", "ClusterRole/r", "Group/devs")
        .bind("", "b", "ClusterRole/r", "User/eve");
    check(&stored, &user("bob"), "get", "pods", "a", true);
    check(&stored, &user("bob"), "get", "pods", "b", false);
    check(&stored, &user("eve"), "get", "pods", "b", true);
    check(&stored, &user("eve"), "get", "pods", "", true);
    let everywhere = |name: &str| stored.rules().allowing_everywhere(&user(name), &what("get", "pods", "a")).is_some();
    assert!(everywhere("eve") && !everywhere("bob"));
}

#[test]
fn a_service_account_is_named_by_its_namespace_too() {
    let stored = Stored::default().role("a", "r", on("pods", &["get"])).bind("a", "b", "Role/r", "ServiceAccount/bot");
    let bot = |namespace| Identity::service_account(TenantName::new("acme").expect("a tenant"), namespace, "bot");
    check(&stored, &bot("a"), "get", "pods", "a", true);
    check(&stored, &bot("b"), "get", "pods", "a", false);
    check(&stored, &user("bot"), "get", "pods", "a", false);
}

#[test]
fn bindings_that_refer_to_nothing_grant_nothing() {
    let stored = Stored::default()
        .role("a", "r", on("pods", &["get"]))
        .role("", "rootless", json!([all()]))
        .cluster_role("c", json!({}), json!([all()]))
        .bind("", "w", "Role/c", "User/eve")
        .bind("b", "x", "Role/r", "User/eve")
        .bind("", "x", "Role/r", "User/eve")
        .bind("", "y", "ClusterRole/rootless", "User/eve")
        .bind("", "z", "ClusterRole/absent", "User/eve");
    for namespace in ["", "a", "b"] {
        check(&stored, &user("eve"), "get", "pods", namespace, false);
    }
    let malformed = [json!(null), json!({}), json!({"metadata": {"name": 1}, "roleRef": [], "subjects": "*"})];
    let rules = TenantRules::compile(&malformed, &malformed, &malformed, &malformed);
    assert!(!rules.allows(&user("eve"), &what("get", "pods", "a")));
}

#[test]
fn the_grounds_name_binding_role_and_subject() {
    let stored = Stored::default()
        .role("n", "r", on("pods", &["get"]))
        .bind("n", "b", "Role/r", "Group/devs")
        .bind("n", "s", "ClusterRole/view", "ServiceAccount/bot")
        .bind("", "c", "ClusterRole/view", "User/eve");
    let rules = stored.rules();
    let grounds = |who: &Identity| rules.allowing(who, &what("get", "pods", "n")).map(|g| g.to_string());
    assert_eq!(
        grounds(&user("bob")).as_deref(),
        Some(r#"RBAC: allowed by RoleBinding "b/n" of Role "r" to Group "devs""#)
    );
    assert_eq!(
        grounds(&user("eve")).as_deref(),
        Some(r#"RBAC: allowed by ClusterRoleBinding "c" of ClusterRole "view" to User "eve""#)
    );
    let bot = Identity::service_account(TenantName::new("acme").expect("a tenant"), "n", "bot");
    assert_eq!(
        grounds(&bot).as_deref(),
        Some(r#"RBAC: allowed by RoleBinding "s/n" of ClusterRole "view" to ServiceAccount "bot/n""#)
    );
}

#[test]
fn every_tenant_has_the_default_roles() {
    let none = Stored::default();
    let admin = Identity::new(TenantName::new("acme").expect("a tenant"), "root", &[MASTERS]);
    check(&none, &admin, "delete", "secrets", "a", true);
    check(&none, &user("eve"), "get", "pods", "a", false);
    let review = Attributes { group: "authorization.k8s.io", ..what("create", "selfsubjectaccessreviews", "") };
    assert!(none.rules().allows(&user("eve"), &review));
    let path = |path| Attributes { verb: "get", path: Some(path), ..Attributes::default() };
    assert!(none.rules().allows(&user("eve"), &path("/api/v1")));
    assert!(!none.rules().allows(&user("eve"), &path("/metrics")));
    let anonymous = crate::authn::anonymous(TenantName::new("acme").expect("a tenant"));
    assert!(none.rules().allows(&anonymous, &path("/version")));
    assert!(!none.rules().allows(&anonymous, &path("/api")));
}

#[test]
fn controllers_have_their_rights_in_every_tenant() {
    let rules = Stored::default().rules();
    for (controller, verb, group, resource) in [
        ("deployment-controller", "create", "apps", "replicasets"),
        ("replicaset-controller", "create", "", "pods"),
        ("endpointslice-controller", "create", "discovery.k8s.io", "endpointslices"),
        ("namespace-controller", "deletecollection", "example.org", "anything"),
        ("generic-garbage-collector", "delete", "example.org", "anything"),
        ("root-ca-cert-publisher", "create", "", "configmaps"),
        ("service-account-controller", "create", "", "serviceaccounts"),
        ("statefulset-controller", "create", "", "persistentvolumeclaims"),
    ] {
        let tenant = TenantName::new("acme").expect("a tenant");
        let who = Identity::service_account(tenant.clone(), "kube-system", controller);
        let what = Attributes { group, ..what(verb, resource, "a") };
        assert!(rules.allows(&who, &what), "{controller}");
        assert!(!rules.allows(&Identity::service_account(tenant, "default", controller), &what), "{controller}");
    }
}

#[test]
fn a_stored_default_replaces_the_built_in_one() {
    let stored = Stored::default()
        .cluster_role("view", json!({}), on("gizmos", &["get"]))
        .bind("", "v", "ClusterRole/view", "User/eve")
        .bind("", "system:basic-user", "ClusterRole/view", "User/nobody");
    check(&stored, &user("eve"), "get", "gizmos", "a", true);
    check(&stored, &user("eve"), "get", "pods", "a", false);
    let review = Attributes { group: "authorization.k8s.io", ..what("create", "selfsubjectaccessreviews", "") };
    assert!(!stored.rules().allows(&user("eve"), &review));
    let path = Attributes { verb: "get", path: Some("/api"), ..Attributes::default() };
    assert!(stored.rules().allows(&user("eve"), &path), "other defaults stay");
}

#[test]
fn tenants_that_change_no_default_share_them() {
    let defaults = defaults::default_roles();
    let stores_all = TenantRules::compile(
        &defaults.roles,
        &defaults.cluster_roles,
        &defaults.role_bindings,
        &defaults.cluster_role_bindings,
    );
    let stores_own = Stored::default().bind("a", "b", "ClusterRole/view", "User/eve").rules();
    let changes = Stored::default().cluster_role("edit", json!({}), json!([])).rules();
    assert!(Arc::ptr_eq(&stores_all.defaults, &stores_own.defaults));
    assert!(!Arc::ptr_eq(&stores_all.defaults, &changes.defaults));
    assert!(stores_own.allows(&user("eve"), &what("get", "pods", "a")));
    let admin = Identity::new(TenantName::new("acme").expect("a tenant"), "x", &["system:monitoring"]);
    let metrics = Attributes { verb: "get", path: Some("/metrics"), ..Attributes::default() };
    assert!(stores_all.allows(&admin, &metrics) && changes.allows(&admin, &metrics));
}

#[test]
fn no_default_binding_binds_an_aggregated_role() {
    let Defaults { objects, .. } = &*DEFAULTS;
    for binding in objects.bindings.values() {
        let aggregated = |name: &String| objects.roles[&(String::new(), name.clone())].is_aggregated();
        assert!(!matches!(&binding.role, RoleRef::ClusterRole(name) if aggregated(name)), "{binding}");
    }
}

#[test]
fn a_role_that_is_labelled_for_view_widens_view_edit_and_admin() {
    let stored = Stored::default()
        .cluster_role("gizmos", json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"}), on("gizmos", &["get"]))
        .bind("", "v", "ClusterRole/view", "User/v")
        .bind("", "e", "ClusterRole/edit", "User/e")
        .bind("", "a", "ClusterRole/admin", "User/a");
    for name in ["v", "e", "a"] {
        check(&stored, &user(name), "get", "gizmos", "n", true);
        check(&stored, &user(name), "get", "pods", "n", true);
    }
    check(&stored, &user("v"), "create", "pods", "n", false);
}

#[test]
fn aggregation_ignores_written_rules_and_ends_in_a_cycle() {
    let stored = Stored::default()
        .aggregated("one", json!({"part": "two"}), json!({"part": "one"}))
        .aggregated("two", json!({"part": "one"}), json!({"part": "two"}))
        .cluster_role("leaf", json!({"part": "two"}), on("pods", &["get"]))
        .bind("", "b", "ClusterRole/one", "User/eve");
    check(&stored, &user("eve"), "get", "pods", "a", true);
    check(&stored, &user("eve"), "get", "secrets", "a", false);
    assert_eq!(stored.rules().rules_for(&user("eve"), "a").iter().filter(|r| r.resources == ["pods"]).count(), 1);
}

/// Aggregated roles `0000`, `0001`, … of which each selects the next, and the last one `leaf`, which may get pods.
/// User `eve` is bound to the first.
fn chain(length: usize) -> Stored {
    let label = |i: usize| json!({"link": format!("{i:04}")});
    let links = Stored::default().cluster_role("leaf", label(length), on("pods", &["get"]));
    let links = (0..length).fold(links, |links, i| links.aggregated(&format!("{i:04}"), label(i), label(i + 1)));
    links.bind("", "b", "ClusterRole/0000", "User/eve")
}

#[test]
fn a_chain_of_aggregated_roles_may_be_long() {
    let rules = chain(500).rules();
    assert!(rules.allows(&user("eve"), &what("get", "pods", "a")) && !rules.are_incomplete());
}

#[test]
fn a_chain_without_end_costs_no_more_than_a_tenant_may() {
    let rules = chain(10_000).bind("", "p", "ClusterRole/leaf", "User/bob").rules();
    assert!(rules.are_incomplete());
    assert!(!rules.allows(&user("eve"), &what("get", "pods", "a")));
    assert!(rules.allows(&user("bob"), &what("get", "pods", "a")), "what is not aggregated is not touched");
}

#[test]
fn aggregated_roles_gather_no_more_rules_than_a_tenant_may() {
    let verbs: Vec<String> = (0..10).map(|i| format!("v{i}")).collect();
    let many: Vec<Value> =
        (0..1000).map(|i| json!({"verbs": verbs, "apiGroups": [""], "resources": [format!("r{i}")]})).collect();
    let leaf = || Stored::default().cluster_role("leaf", json!({"part": "leaf"}), json!(many));
    let bound = |count: usize| {
        let all = (0..count).map(|i| format!("all{i:03}"));
        let stored = all.fold(leaf(), |stored, name| {
            let stored = stored.aggregated(&name, json!({}), json!({"part": "leaf"}));
            stored.bind("", &name, &format!("ClusterRole/{name}"), &format!("User/{name}"))
        });
        stored.rules()
    };
    let asked = what("v9", "r999", "");
    let few = bound(100);
    assert!(!few.are_incomplete() && few.allows(&user("all099"), &asked));
    let many = bound(400);
    assert!(many.are_incomplete() && many.allows(&user("all000"), &asked) && !many.allows(&user("all399"), &asked));
}

#[test]
fn aggregated_rules_come_in_the_order_of_the_names_of_roles() {
    let part = |of: &str| json!({"part": of});
    let stored = Stored::default()
        .cluster_role("a", part("top"), on("a", &["get"]))
        .aggregated("b", part("top"), part("b"))
        .cluster_role("c", part("b"), on("c", &["get"]))
        .cluster_role("d", part("top"), on("d", &["get"]))
        .cluster_role("e", part("b"), on("e", &["get"]))
        .aggregated("top", json!({}), part("top"))
        .bind("", "b", "ClusterRole/top", "User/eve");
    let rules = stored.rules().rules_for(&user("eve"), "");
    let resources = rules.iter().flat_map(|rule| &rule.resources).filter(|resource| resource.len() == 1);
    assert_eq!(resources.collect::<Vec<_>>(), ["a", "c", "e", "d"]);
}

#[test]
fn what_a_cluster_role_holds_does_not_depend_on_who_is_bound() {
    let to_view = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let stored = Stored::default().cluster_role("gizmos", to_view, on("gizmos", &["get"])).aggregated(
        "empty",
        json!({}),
        json!({"part": "none"}),
    );
    let of = |name| TenantRules::of_cluster_role(&stored.cluster_roles, name);
    let on = |name, resource: &str| {
        of(name).is_some_and(|rules| rules.iter().any(|rule| rule.resources.iter().any(|r| r == resource)))
    };
    assert!(on("view", "gizmos") && on("view", "pods") && on("admin", "gizmos") && on("gizmos", "gizmos"));
    assert!(!on("gizmos", "pods"));
    assert_eq!(of("empty").map(|rules| rules.len()), Some(0));
    assert!(of("absent").is_none());
}

#[test]
fn the_rules_of_a_user_are_those_of_the_namespace_and_those_of_everywhere() {
    let none = Stored::default().rules().rules_for(&user("alice"), "n");
    let resources: Vec<_> = none.iter().filter(|r| !r.resources.is_empty()).map(|r| r.resources.join(",")).collect();
    assert_eq!(resources, ["selfsubjectaccessreviews,selfsubjectrulesreviews", "selfsubjectreviews"]);
    let stored = Stored::default().role("n", "r", on("pods", &["get"])).bind("n", "b", "Role/r", "User/alice").bind(
        "n",
        "b2",
        "Role/r",
        "Group/devs",
    );
    let here = stored.rules().rules_for(&user("alice"), "n");
    assert_eq!(here.len(), none.len() + 2);
    assert_eq!(stored.rules().rules_for(&user("alice"), "m"), none);
}

#[test]
fn nobody_grants_more_than_they_hold() {
    let held = json!([
        {"verbs": ["create", "update"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets", "*/log"]},
        {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]},
    ]);
    let stored = Stored::default().role("n", "r", held).bind("n", "b", "Role/r", "User/alice");
    let rules = stored.rules();
    let check = |wanted: Value, expected: &str| {
        let wanted = [wanted];
        let refused = rules.covers(&user("alice"), &rules_of(&wanted), "n").err();
        let missing = refused.unwrap_or(NotHeld::Missing { rules: Vec::new(), more: false });
        let text = escalation::escalation(&user("alice"), &missing);
        let (intro, list) = text.split_once('\n').expect("an intro");
        assert_eq!(
            intro,
            r#"user "alice" (groups=["devs" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:"#
        );
        assert_eq!(list, expected, "{wanted:?}");
    };
    check(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets", "pods/log"]}), "");
    check(json!({"verbs": ["get", "*"], "apiGroups": ["apps"], "resources": ["deployments", "*"]}), "");
    check(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]}), "");
    check(json!({}), "");
    check(
        json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets", "pods"]}),
        "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"list\"]}",
    );
    check(all(), r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#);
    check(
        json!({"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a", "b"]}),
        r#"{APIGroups:[""], Resources:["configmaps"], ResourceNames:["b"], Verbs:["get"]}"#,
    );
    check(
        json!({"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]}),
        r#"{APIGroups:[""], Resources:["configmaps"], Verbs:["get"]}"#,
    );
    check(json!({"verbs": ["get"], "nonResourceURLs": ["/x"]}), r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#);
    assert!(rules.covers(&user("alice"), &rules_of(&[on("secrets", &["get"])[0].clone()]), "other").is_err());
    let root = Identity::new(TenantName::new("acme").expect("a tenant"), "root", &[MASTERS]);
    assert!(rules.covers(&root, &rules_of(&[all()]), "n").is_ok());
}
