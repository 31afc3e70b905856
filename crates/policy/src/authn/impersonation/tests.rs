//! Impersonation: what headers say, which right grants it, and what a refusal names.

use super::*;
use crate::rbac;

fn acme() -> TenantName {
    TenantName::new("acme").expect("a tenant")
}

fn wanted(headers: &[(&str, &str)]) -> Result<Option<Wanted>> {
    Wanted::from_headers(headers.iter().map(|(name, value)| (*name, value.as_bytes())))
}

/// Asks for `headers` with rights written as `verb resource[/sub] [namespace/]name`, `*` for any name. The answer is the
/// verb of the way and the groups, or the message.
fn ask(caller: &Identity, headers: &[(&str, &str)], rights: &[&str]) -> Result<String, String> {
    let wanted = wanted(headers).expect("good headers").expect("somebody");
    let tenant = acme();
    let what =
        Attributes { verb: "list", tenant: Some(&tenant), resource: "pods", namespace: "n", ..Attributes::default() };
    let allows = |what: &Attributes| {
        let resource = if what.subresource.is_empty() {
            what.resource.to_owned()
        } else {
            format!("{}/{}", what.resource, what.subresource)
        };
        let asked = format!("{} {resource} {}", what.verb, what.name);
        let any = format!("{} {resource} *", what.verb);
        let held = rights.iter().any(|&right| right == asked.trim_end() || right == any);
        if held { Ok(()) } else { Err(rbac::denial(caller, what, Some(&tenant))) }
    };
    impersonate(caller, &wanted, &tenant, &what, None, &allows)
        .map(|(identity, mode)| format!("{} {}@{} {:?}", mode.verb(), identity.user, identity.tenant, identity.groups))
        .map_err(|error| error.message().to_owned())
}

#[test]
fn headers_without_a_user_are_refused_and_none_ask_for_nobody() {
    assert_eq!(wanted(&[("accept", "x")]).expect("good"), None);
    assert_eq!(wanted(&[("impersonate-user", "")]).expect("good"), None);
    for (header, shown) in [
        (("impersonate-group", "devs"), r#"Name:"", UID:"", Groups:[]string{"devs"}, Extra:map[string][]string(nil)"#),
        (("impersonate-uid", "x"), r#"Name:"", UID:"x", Groups:[]string(nil), Extra:map[string][]string(nil)"#),
        (
            ("impersonate-extra-a%2fb", "x"),
            r#"Name:"", UID:"", Groups:[]string(nil), Extra:map[string][]string{"a/b":[]string{"x"}}"#,
        ),
    ] {
        let error = wanted(&[header]).expect_err("no user");
        let expected = format!("requested &user.DefaultInfo{{{shown}}} without impersonating a user name");
        assert_eq!((error.code(), error.message()), (400, expected.as_str()));
    }
    let bad = Wanted::from_headers([("impersonate-user", &b"\xff"[..])].into_iter());
    assert_eq!(bad.expect_err("no text").code(), 400);
    let two = wanted(&[("impersonate-user", "a"), ("impersonate-user", "root")]).expect("good").expect("somebody");
    assert_eq!(two.user, "a");
}

#[test]
fn each_part_needs_its_right() {
    let caller = Identity::new(acme(), "eve", &[]);
    let bob = ("impersonate-user", "bob");
    let devs = ("impersonate-group", "devs");
    let refused = |text: &str| Err(text.to_owned());
    let on_request = r#"pods is forbidden: User "eve" cannot impersonate-on:user-info:list resource "pods" in API group "" in the namespace "n""#;
    for (headers, rights, expected) in [
        (&[bob][..], &[][..], refused(on_request)),
        (&[bob], &["impersonate users bob"], Ok(r#"impersonate bob@acme ["system:authenticated"]"#.to_owned())),
        (&[bob, devs], &["impersonate users bob"], refused(on_request)),
        (
            &[bob, devs],
            &["impersonate users *", "impersonate groups devs"],
            Ok(r#"impersonate bob@acme ["devs", "system:authenticated"]"#.to_owned()),
        ),
        (
            &[bob],
            &["impersonate-on:user-info:list pods", "impersonate:user-info users bob"],
            Ok(r#"impersonate:user-info bob@acme ["system:authenticated"]"#.to_owned()),
        ),
        (&[bob], &["impersonate-on:user-info:get pods", "impersonate:user-info users bob"], refused(on_request)),
        (
            &[bob, ("impersonate-group", "system:masters")],
            &[
                "impersonate-on:user-info:list pods",
                "impersonate:user-info users bob",
                "impersonate:user-info groups *",
            ],
            refused(
                r#"groups.authentication.k8s.io "system:masters" is forbidden: impersonating the system:masters group is not allowed"#,
            ),
        ),
        (
            &[("impersonate-user", "system:serviceaccount:n:bot")],
            &["impersonate-on:serviceaccount:list pods", "impersonate:serviceaccount serviceaccounts bot"],
            Ok("impersonate:serviceaccount system:serviceaccount:n:bot@acme \
                [\"system:serviceaccounts\", \"system:serviceaccounts:n\", \"system:authenticated\"]"
                .to_owned()),
        ),
        // A service account is not reached by the right over users, nor a node by the constrained one.
        (
            &[("impersonate-user", "system:serviceaccount:n:bot")],
            &["impersonate users *", "impersonate-on:user-info:list pods", "impersonate:user-info users *"],
            refused(
                r#"pods is forbidden: User "eve" cannot impersonate-on:serviceaccount:list resource "pods" in API group "" in the namespace "n""#,
            ),
        ),
        (
            &[("impersonate-user", "system:node:n1")],
            &["impersonate-on:arbitrary-node:list pods", "impersonate:arbitrary-node nodes n1"],
            Ok(r#"impersonate:arbitrary-node system:node:n1@acme ["system:nodes", "system:authenticated"]"#.to_owned()),
        ),
        (
            &[("impersonate-user", "system:anonymous")],
            &["impersonate users *"],
            Ok(r#"impersonate system:anonymous@acme ["system:unauthenticated"]"#.to_owned()),
        ),
        (
            &[bob, ("impersonate-group", "system:unauthenticated")],
            &["impersonate users *", "impersonate groups *"],
            Ok(r#"impersonate bob@acme ["system:unauthenticated"]"#.to_owned()),
        ),
        (
            &[bob, ("impersonate-extra-scopes", "view")],
            &["impersonate users *", "impersonate userextras/scopes view"],
            Ok(r#"impersonate bob@acme ["system:authenticated"]"#.to_owned()),
        ),
    ] {
        assert_eq!(ask(&caller, headers, rights), expected, "{headers:?} with {rights:?}");
    }
}

#[test]
fn a_service_account_acts_as_its_own_node_and_as_no_other() {
    let mut caller = Identity::service_account(acme(), "kube-system", "agent");
    caller.extra.insert("authentication.kubernetes.io/node-name".to_owned(), vec!["n1".to_owned()]);
    let rights = ["impersonate-on:associated-node:list pods", "impersonate:associated-node nodes *"];
    let own = ask(&caller, &[("impersonate-user", "system:node:n1")], &rights);
    let expected = r#"impersonate:associated-node system:node:n1@acme ["system:nodes", "system:authenticated"]"#;
    assert_eq!(own.as_deref(), Ok(expected));
    assert!(ask(&caller, &[("impersonate-user", "system:node:n2")], &rights).is_err());
    caller.extra.clear();
    assert!(ask(&caller, &[("impersonate-user", "system:node:n1")], &rights).is_err());
}

#[test]
fn the_way_that_was_granted_before_words_the_refusal() {
    let caller = Identity::new(acme(), "eve", &[]);
    let tenant = acme();
    let what = Attributes { verb: "list", resource: "pods", ..Attributes::default() };
    let allows = |what: &Attributes| Err(rbac::denial(&caller, what, None));
    let other = Wanted { user: "other".to_owned(), ..Wanted::default() };
    let refused = impersonate(&caller, &other, &tenant, &what, Some(Mode::Legacy), &allows).expect_err("no right");
    let expected = r#"users "other" is forbidden: User "eve" cannot impersonate resource "users" in API group "" at the cluster scope"#;
    assert_eq!(refused.message(), expected);
}
