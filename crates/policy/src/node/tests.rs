//! Node agents: what their pods need and nothing more.

use super::*;
use api::selector::FieldSelector;
use serde_json::json;

/// Node `n1` runs pod `default/web` of tenant `acme`, which refers to one object of each kind, all called `x`. Its empty
/// references are no names.
struct OnePod;

impl NodeGraph for OnePod {
    fn serves(&self, node: &str, tenant: &TenantName) -> bool {
        node == "n1" && tenant.as_str() == "acme"
    }

    fn has_pod(&self, node: &str, tenant: &TenantName, namespace: &str, pod: &str) -> bool {
        self.serves(node, tenant) && (namespace, pod) == ("default", "web")
    }

    fn references(&self, node: &str, tenant: &TenantName, namespace: &str, kind: Reference, name: &str) -> bool {
        let expected = if kind == Reference::PersistentVolume { "" } else { "default" };
        self.serves(node, tenant) && namespace == expected && matches!(name, "x" | "")
    }
}

/// `place` is `tenant/namespace`, `*/` for all tenants, or empty for cluster-scoped kinds.
fn allowed(node: &str, verb: &str, resource: &str, place: &str, name: &str, fields: &str) -> bool {
    let (group, resource) = resource.rsplit_once(':').unwrap_or(("", resource));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (tenant, namespace) = place.split_once('/').unwrap_or((place, ""));
    let tenant = TenantName::new(tenant).ok();
    let fields = FieldSelector::parse(fields).expect("a selector");
    let what = Attributes {
        verb,
        tenant: tenant.as_ref(),
        group,
        resource,
        subresource,
        namespace,
        name,
        cluster_scoped: place.is_empty(),
        fields: Some(&fields),
        ..Attributes::default()
    };
    node_allows(node, &what, &OnePod).is_ok()
}

#[track_caller]
fn check(verb: &str, resource: &str, place: &str, name: &str, expected: bool) {
    assert_eq!(allowed("n1", verb, resource, place, name, ""), expected, "{verb} {resource} {place} {name}");
}

const ALL_VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

#[test]
fn an_object_opens_in_the_tenant_of_the_pod_that_refers_to_it_alone() {
    for resource in ["secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts"] {
        check("get", resource, "acme/default", "x", true);
        for (place, name) in [
            ("umbrella/default", "x"),
            ("system/default", "x"),
            ("*/default", "x"),
            ("acme/other", "x"),
            ("acme/default", "y"),
            ("acme/default", ""),
            ("acme/", ""),
            ("*/", ""),
        ] {
            for verb in ALL_VERBS {
                check(verb, resource, place, name, false);
            }
        }
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            check(verb, resource, "acme/default", "x", false);
        }
    }
    check("watch", "secrets", "acme/default", "x", true);
    check("watch", "persistentvolumeclaims", "acme/default", "x", false);
    check("get", "persistentvolumes", "acme/", "x", true);
    check("get", "persistentvolumes", "umbrella/", "x", false);
    assert!(!allowed("n2", "get", "secrets", "acme/default", "x", ""));
}

#[test]
fn pods_are_listed_by_the_own_name_over_all_tenants() {
    for place in ["*/", "acme/", "umbrella/default"] {
        for verb in ["list", "watch"] {
            assert!(allowed("n1", verb, "pods", place, "", "spec.nodeName=n1"), "{verb} {place}");
            for fields in ["", "spec.nodeName=n2", "spec.nodeName!=n1", "status.phase=Running"] {
                assert!(!allowed("n1", verb, "pods", place, "", fields), "{verb} {place} {fields}");
            }
        }
        assert!(!allowed("n1", "deletecollection", "pods", place, "", "spec.nodeName=n1"));
    }
}

#[test]
fn only_own_pods_are_read_reported_on_and_deleted() {
    for (verb, resource) in [("get", "pods"), ("delete", "pods"), ("update", "pods/status"), ("patch", "pods/status")] {
        check(verb, resource, "acme/default", "web", true);
        check(verb, resource, "umbrella/default", "web", false);
        check(verb, resource, "acme/other", "web", false);
        check(verb, resource, "acme/default", "db", false);
        check(verb, resource, "*/default", "web", false);
    }
    for (verb, resource) in [
        ("create", "pods"),
        ("update", "pods"),
        ("patch", "pods"),
        ("create", "pods/exec"),
        ("create", "pods/binding"),
        ("patch", "pods/ephemeralcontainers"),
    ] {
        check(verb, resource, "acme/default", "web", false);
    }
}

#[test]
fn only_the_own_node_and_lease_are_written() {
    for verb in ["get", "create", "update", "patch"] {
        check(verb, "nodes", "", "n1", true);
        check(verb, "nodes", "", "n2", false);
        check(verb, "coordination.k8s.io:leases", "system/kube-node-lease", "n1", true);
        for (place, name) in [
            ("system/kube-node-lease", "n2"),
            ("system/kube-system", "n1"),
            ("acme/kube-node-lease", "n1"),
            ("*/kube-node-lease", "n1"),
        ] {
            check(verb, "coordination.k8s.io:leases", place, name, false);
        }
    }
    check("create", "nodes", "", "", true);
    check("patch", "nodes/status", "", "n1", true);
    check("patch", "nodes/status", "", "n2", false);
    check("delete", "nodes", "", "n1", false);
    check("list", "nodes", "", "", false);
    assert!(allowed("n1", "watch", "nodes", "", "", "metadata.name=n1"));
    assert!(!allowed("n1", "watch", "nodes", "", "", "metadata.name=n2"));
    check("get", "nodes/proxy", "", "n1", false);
    check("list", "coordination.k8s.io:leases", "system/kube-node-lease", "", false);
    check("update", "metrics.k8s.io:nodes", "system", "n1", true);
    check("update", "metrics.k8s.io:nodes", "system", "n2", false);
    check("update", "metrics.k8s.io:nodes", "acme", "n1", false);
    check("get", "metrics.k8s.io:nodes", "system", "n1", false);
    check("patch", "storage.k8s.io:csinodes", "", "n1", true);
    check("get", "storage.k8s.io:csinodes", "", "n2", false);
}

#[test]
fn what_a_tenant_shares_with_its_pods_is_read_where_pods_run() {
    for resource in ["services", "discovery.k8s.io:endpointslices", "node.k8s.io:runtimeclasses"] {
        check("watch", resource, "acme/", "", true);
        check("list", resource, "system/", "", true);
        check("watch", resource, "umbrella/", "", false);
        check("watch", resource, "*/", "", false);
        check("update", resource, "acme/default", "s", false);
    }
    for resource in ["events", "events.k8s.io:events"] {
        check("create", resource, "acme/default", "", true);
        check("patch", resource, "acme/default", "e", true);
        check("create", resource, "umbrella/default", "", false);
        check("create", resource, "*/default", "", false);
        check("list", resource, "acme/default", "", false);
    }
}

#[test]
fn everything_else_is_closed() {
    for resource in
        ["namespaces", "tenants", "apps:deployments", "rbac.authorization.k8s.io:clusterroles", "apps:secrets"]
    {
        for verb in ALL_VERBS {
            check(verb, resource, "acme/default", "x", false);
        }
    }
    let path = Attributes { verb: "get", path: Some("/metrics"), ..Attributes::default() };
    assert!(node_allows("n1", &path, &OnePod).is_err());
}

#[test]
fn tokens_are_for_accounts_of_own_pods_and_bound_to_one_of_them() {
    check("create", "serviceaccounts/token", "acme/default", "x", true);
    check("create", "serviceaccounts/token", "umbrella/default", "x", false);
    check("create", "serviceaccounts/token", "acme/default", "y", false);
    check("get", "serviceaccounts/token", "acme/default", "x", false);

    let admitted = |tenant: &str, reference: Value| {
        let tenant = TenantName::new(tenant).expect("a tenant");
        let what = Attributes {
            verb: "create",
            tenant: Some(&tenant),
            resource: "serviceaccounts",
            subresource: "token",
            namespace: "default",
            name: "x",
            ..Attributes::default()
        };
        admits("n1", &what, &json!({"spec": {"boundObjectRef": reference}}), None, &OnePod).is_ok()
    };
    assert!(admitted("acme", json!({"kind": "Pod", "name": "web", "uid": "u"})));
    assert!(!admitted("umbrella", json!({"kind": "Pod", "name": "web", "uid": "u"})));
    for bad in [
        json!(null),
        json!({"kind": "Pod", "name": "web"}),
        json!({"kind": "Pod", "name": "db", "uid": "u"}),
        json!({"kind": "Secret", "name": "web", "uid": "u"}),
    ] {
        assert!(!admitted("acme", bad.clone()), "{bad}");
    }
}

#[test]
fn a_node_writes_nothing_that_reaches_beyond_itself() {
    let stored = json!({"metadata": {"name": "n1", "labels": {"zone": "a"}}, "spec": {"taints": [{"key": "t"}]}});
    let admitted = |resource: &str, object: &Value, stored: Option<&Value>| {
        let group = if resource == "leases" { "coordination.k8s.io" } else { "" };
        let what = Attributes { verb: "update", group, resource, ..Attributes::default() };
        admits("n1", &what, object, stored, &OnePod).is_ok()
    };
    let changed = |pointer: &str, value: Value| {
        let mut object = stored.clone();
        *object.pointer_mut(pointer).expect("a field") = value;
        object
    };
    assert!(admitted("nodes", &stored, None));
    assert!(admitted("nodes", &stored, Some(&stored)));
    assert!(admitted("nodes", &changed("/metadata/labels", json!({"zone": "b"})), Some(&stored)));
    for object in [
        changed("/metadata/name", json!("n2")),
        changed("/metadata", json!({"name": "n1", "ownerReferences": [{"kind": "Node"}]})),
        changed("/metadata/labels", json!({"node-restriction.kubernetes.io/team": "a"})),
        changed("/metadata/labels", json!({"node-role.kubernetes.io/control-plane": ""})),
        changed("/metadata/labels", json!({"team.k8s.io/a": ""})),
        changed("/metadata/labels", json!({"node.ursa.dev/tenant": "acme"})),
    ] {
        assert!(!admitted("nodes", &object, None), "{object}");
        assert!(!admitted("nodes", &object, Some(&stored)), "{object}");
    }
    assert!(!admitted("nodes", &changed("/spec", json!({})), Some(&stored)));
    let own = json!({"kubernetes.io/os": "linux", "x.node.kubernetes.io/a": "b", "example.com/notkubernetes.io": ""});
    assert!(admitted("nodes", &changed("/metadata/labels", own), Some(&stored)));
    let role = changed("/metadata/labels", json!({"node-role.kubernetes.io/edge": ""}));
    assert!(!admitted("nodes", &stored, Some(&role)), "what the operators said stays");
    assert!(admitted(
        "pods",
        &json!({"metadata": {"name": "web"}, "status": {"phase": "Running"}}),
        Some(&json!({"metadata": {"name": "web"}}))
    ));
    assert!(!admitted("pods", &stored, Some(&changed("/metadata/labels", json!({"app": "other"})))));
    assert!(admitted("leases", &json!({"metadata": {"name": "n1"}}), None));
    assert!(!admitted("leases", &json!({"metadata": {"name": "n2"}}), None));
    let owned = json!({"metadata": {"name": "n1", "ownerReferences": [{"kind": "Pod"}]}});
    assert!(!admitted("leases", &owned, None));
}

#[test]
fn a_node_is_an_identity_of_system() {
    let identity = |tenant: &str, user: &str, group: &str| {
        Identity::new(TenantName::new(tenant).expect("a tenant"), user, &[group])
    };
    assert_eq!(node_name(&Identity::node("n1")), Some("n1"));
    for (tenant, user, group) in [
        ("acme", "system:node:n1", "system:nodes"),
        ("system", "system:node:n1", "devs"),
        ("system", "system:node:", "system:nodes"),
        ("system", "n1", "system:nodes"),
    ] {
        assert_eq!(node_name(&identity(tenant, user, group)), None, "{tenant} {user} {group}");
    }
    assert!(is_node(&identity("system", "system:node:", "system:nodes")));
    assert!(!is_node(&identity("acme", "system:node:n1", "system:nodes")));
}
