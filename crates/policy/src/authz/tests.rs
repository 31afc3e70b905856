//! The matrix: every kind of identity against every target.

use super::*;
use crate::tenancy::{Access, Requested, decide};
use api::{Identity, Reason, TenantName};
use serde_json::json;

fn tenant(name: &str) -> TenantName {
    TenantName::new(name).expect("a tenant")
}

/// Rules of one tenant: an `everywhere` user and a `local` user, who may get pods everywhere or in namespace `n`.
fn rules() -> TenantRules {
    let role = json!({"metadata": {"name": "r"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "nodes", "tenants"]}]});
    let bind = |namespace: &str, user: &str| {
        json!({"metadata": {"namespace": namespace, "name": user}, "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "User", "name": user}]})
    };
    TenantRules::compile(&[], &[role], &[bind("n", "local")], &[bind("", "everywhere")])
}

fn what<'a>(resource: &'a str, namespace: &'a str) -> Attributes<'a> {
    let cluster_scoped = matches!(resource, "nodes" | "tenants");
    Attributes { verb: "get", resource, namespace, cluster_scoped, ..Attributes::default() }
}

/// `who` is `user@tenant`, with `root` a member of `system:masters`.
fn identity(who: &str) -> Identity {
    let (user, of) = who.split_once('@').expect("user@tenant");
    let groups: &[&str] = if user == "root" { &[rbac::MASTERS] } else { &[] };
    Identity::new(tenant(of), user, groups)
}

fn requested(target: &str) -> Requested {
    match target {
        "own" => Requested::Own,
        "all" => Requested::All,
        name => Requested::Named(tenant(name)),
    }
}

fn decide_and_authorize(who: &str, target: &str, what: &Attributes) -> Result<()> {
    let identity = identity(who);
    let decision = decide(&identity, &requested(target), what)?;
    // Every tenant has the same rules: what differs is whose count.
    authorize(&identity, what, &decision, &rules(), &rules())
}

#[test]
fn only_the_own_tenant_or_a_grant_of_system_opens_anything() {
    let targets = ["own", "acme", "umbrella", "absent", "system", "all"];
    // Of a pod in namespace n: own, acme, umbrella, absent, system, all.
    for (who, allowed) in [
        ("root@acme", [true, true, false, false, false, false]),
        ("everywhere@acme", [true, true, false, false, false, false]),
        ("local@acme", [true, true, false, false, false, false]),
        ("nobody@acme", [false; 6]),
        ("root@umbrella", [true, false, true, false, false, false]),
        ("root@system", [true; 6]),
        ("everywhere@system", [true; 6]),
        // A role binding in namespace n of system is none in namespace n of other tenants.
        ("local@system", [true, false, false, false, true, false]),
        ("nobody@system", [false; 6]),
    ] {
        for (target, expected) in targets.into_iter().zip(allowed) {
            let outcome = decide_and_authorize(who, target, &what("pods", "n"));
            assert_eq!(outcome.is_ok(), expected, "{who} to {target}");
            if let Err(error) = outcome {
                assert_eq!(error.reason(), Reason::Forbidden, "{who} to {target}");
            }
        }
    }
}

#[test]
fn the_operators_kinds_are_closed_to_tenants() {
    for (who, target, expected) in [
        ("root@acme", "own", false),
        ("root@acme", "acme", false),
        ("everywhere@acme", "own", false),
        ("root@acme", "umbrella", false),
        ("root@acme", "all", false),
        ("root@system", "own", true),
        ("root@system", "acme", true),
        ("everywhere@system", "own", true),
        ("local@system", "own", false),
        ("nobody@system", "own", false),
    ] {
        let outcome = decide_and_authorize(who, target, &what("tenants", ""));
        assert_eq!(outcome.is_ok(), expected, "{who} in {target}");
    }
    let metrics = Attributes { verb: "get", path: Some("/metrics"), cluster_scoped: true, ..Attributes::default() };
    assert!(decide_and_authorize("root@acme", "own", &metrics).is_err());
    assert!(decide_and_authorize("root@system", "own", &metrics).is_ok());
}

#[test]
fn a_tenant_reads_nodes_by_its_own_rules_and_writes_none() {
    for (who, target, verb, expected) in [
        ("root@acme", "own", "get", true),
        ("root@acme", "acme", "watch", true),
        ("everywhere@acme", "own", "get", true),
        ("everywhere@acme", "own", "list", false),
        ("local@acme", "own", "get", false),
        ("nobody@acme", "own", "get", false),
        ("root@acme", "umbrella", "get", false),
        ("root@acme", "all", "list", false),
        ("root@acme", "own", "update", false),
        ("root@acme", "own", "deletecollection", false),
        ("root@system", "own", "update", true),
        ("everywhere@system", "own", "get", true),
        ("local@system", "own", "get", false),
    ] {
        let outcome = decide_and_authorize(who, target, &Attributes { verb, ..what("nodes", "") });
        assert_eq!(outcome.is_ok(), expected, "{who} {verb} in {target}");
    }
    let status = Attributes { subresource: "status", ..what("nodes", "") };
    assert!(decide_and_authorize("root@acme", "own", &status).is_err());
}

#[test]
fn a_decision_for_somebody_else_opens_nothing() {
    let what = what("pods", "n");
    let of_acme = decide(&identity("root@acme"), &Requested::Own, &what).expect("its own tenant");
    let of_system = decide(&identity("root@system"), &Requested::Named(tenant("acme")), &what).expect("a grant");
    assert_eq!((of_acme.access(), of_system.access()), (Access::Own, Access::Granted));
    for decision in [&of_acme, &of_system] {
        let outcome = authorize(&identity("root@umbrella"), &what, decision, &rules(), &rules());
        assert!(outcome.is_err(), "{decision:?}");
    }
}

#[test]
fn refusals_do_not_tell_whether_a_tenant_exists() {
    let text = |target: &str| {
        let error = decide_and_authorize("root@acme", target, &what("pods", "n")).expect_err("another tenant");
        error.to_status().to_string().replace(target, "T")
    };
    assert_eq!(text("umbrella"), text("absent"));
}

#[track_caller]
fn check_text(who: &str, target: &str, what: Attributes, expected: &str) {
    let error = decide_and_authorize(who, target, &what).expect_err(expected);
    assert_eq!(error.message(), expected);
}

#[test]
fn refusals_are_worded_as_upstream_and_name_foreign_tenants() {
    let pods = Attributes { verb: "list", ..what("pods", "d") };
    check_text(
        "x@acme",
        "own",
        pods,
        r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "d""#,
    );
    check_text(
        "x@acme",
        "acme",
        Attributes { namespace: "", ..pods },
        r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" at the cluster scope"#,
    );
    let scale =
        Attributes { verb: "get", group: "apps", resource: "deployments", subresource: "scale", name: "w", ..pods };
    check_text(
        "x@acme",
        "own",
        scale,
        r#"deployments.apps "w" is forbidden: User "x" cannot get resource "deployments/scale" in API group "apps" in the namespace "d""#,
    );
    check_text(
        "x@acme",
        "other",
        pods,
        r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "d" in the tenant "other""#,
    );
    let namespaces = Attributes { verb: "list", ..what("namespaces", "") };
    check_text(
        "x@system",
        "t",
        namespaces,
        r#"namespaces is forbidden: User "x" cannot list resource "namespaces" in API group "" in the tenant "t""#,
    );
    check_text(
        "x@acme",
        "all",
        namespaces,
        r#"namespaces is forbidden: User "x" cannot list resource "namespaces" in API group "" in all tenants"#,
    );
    check_text(
        "root@acme",
        "own",
        Attributes { verb: "update", ..what("nodes", "") },
        r#"nodes is forbidden: User "root" cannot update resource "nodes" in API group "" at the cluster scope"#,
    );
    let metrics = Attributes { verb: "get", path: Some("/metrics"), ..Attributes::default() };
    check_text("x@acme", "own", metrics, r#"forbidden: User "x" cannot get path "/metrics""#);
}

#[test]
fn the_status_of_a_refusal_names_the_resource() {
    let scale = Attributes { group: "apps", subresource: "scale", name: "w", ..what("deployments", "d") };
    let status = decide_and_authorize("x@acme", "own", &scale).expect_err("no rights").to_status();
    assert_eq!(status["details"], json!({"group": "apps", "kind": "deployments", "name": "w"}));
    assert_eq!((&status["code"], &status["reason"]), (&json!(403), &json!("Forbidden")));
}

#[test]
fn roles_are_granted_out_of_what_counts_in_the_target() {
    let pods = [Arc::new(Rule::from_value(&json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})))];
    let may = |who: &str, target: &str| {
        let who = identity(who);
        let decision = decide(&who, &requested(target), &what("pods", "n")).expect("a target");
        may_grant(&who, &pods, "n", &decision, &rules(), &rules()).is_ok()
    };
    assert!(may("local@acme", "own") && may("everywhere@acme", "own") && !may("nobody@acme", "own"));
    assert!(may("local@system", "own") && !may("local@system", "acme"));
    assert!(may("everywhere@system", "acme") && may("root@system", "acme"));
}

struct NoPods;

impl NodeGraph for NoPods {
    fn serves(&self, _: &str, _: &TenantName) -> bool {
        false
    }
    fn has_pod(&self, _: &str, _: &TenantName, _: &str, _: &str) -> bool {
        false
    }
    fn references(&self, _: &str, _: &TenantName, _: &str, _: node::Reference, _: &str) -> bool {
        false
    }
}

#[track_caller]
fn check_node(target: &str, what: Attributes, expected: Option<&str>) {
    let node = Identity::node("n1");
    let decision = decide(&node, &requested(target), &what).expect("system may ask");
    let decided = what.tenant.is_none() && !what.cluster_scoped;
    let what = Attributes { tenant: decision.tenant().filter(|_| decided), ..what };
    let outcome = authorize_node(&node, &what, &decision, &NoPods, &rules());
    assert_eq!(outcome.err().map(|e| e.message().to_owned()).as_deref(), expected);
}

#[test]
fn a_node_is_refused_with_the_reason() {
    check_node("own", Attributes { name: "n1", ..what("nodes", "") }, None);
    check_node(
        "own",
        Attributes { name: "n2", ..what("nodes", "") },
        Some(
            r#"nodes "n2" is forbidden: User "system:node:n1" cannot get resource "nodes" in API group "" at the cluster scope: node 'n1' cannot read 'n2', only its own Node object"#,
        ),
    );
    check_node(
        "acme",
        Attributes { name: "s", ..what("secrets", "d") },
        Some(
            r#"secrets "s" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the namespace "d" in the tenant "acme""#,
        ),
    );
    check_node(
        "own",
        Attributes { name: "s", ..what("secrets", "d") },
        Some(
            r#"secrets "s" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the namespace "d": no relationship found between node 'n1' and this object"#,
        ),
    );
    check_node("own", Attributes { verb: "get", path: Some("/version"), ..Attributes::default() }, None);
    let metrics = Attributes { verb: "get", path: Some("/metrics"), ..Attributes::default() };
    check_node("own", metrics, Some(r#"forbidden: User "system:node:n1" cannot get path "/metrics""#));
}

#[test]
fn an_agent_without_a_name_is_no_node() {
    let nameless = Identity::new(TenantName::system(), "system:node:", &["system:nodes"]);
    let what = Attributes { name: "x", ..what("nodes", "") };
    let decision = decide(&nameless, &Requested::Own, &what).expect("its own tenant");
    let error = authorize_node(&nameless, &what, &decision, &NoPods, &rules()).expect_err("no node");
    assert!(error.message().ends_with(r#"at the cluster scope: unknown node for user "system:node:""#), "{error}");
}
