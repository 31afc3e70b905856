//! Rights of nodes and of open watches: what a stolen node's certificate reads, when a watch ends, and what of the nodes a
//! tenant reads.

use super::callers::Caller;
use super::matrix::Findings;
use super::{CANARY, HELD, World, has_canary};
use crate::authn::Peer;
use crate::handler;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::Duration;

/// S12: node `n8` runs a pod of `acme` that refers to a secret, a map, an account and a claim which `umbrella` has by the same
/// names. The agent reads those of `acme`, and none of `umbrella`.
pub async fn stolen_node(world: &World) -> Findings {
    let mut found = Findings::default();
    let name = format!("on-n8-{}", world.server.store.revision());
    let pod = json!({"metadata": {"name": name}, "spec": {"nodeName": "n8", "serviceAccountName": HELD,
        "containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": HELD}}, {"configMapRef": {"name": HELD}}]}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": HELD}}]}});
    world.make("admin", "/api/v1/namespaces/default/pods", pod).await;
    let agent = Caller::node("n8");
    for plural in ["secrets", "configmaps", "serviceaccounts", "persistentvolumeclaims"] {
        for (tenant, code) in [("acme", 200), ("umbrella", 403), ("acme1", 403), ("system", 403)] {
            let path = format!("/tenants/{tenant}/api/v1/namespaces/default/{plural}/{HELD}");
            let answer = agent.ask(world, "GET", &path, "").await;
            found.asked += 1;
            if answer.code != code || answer.has_canary() {
                found.fault(format!("n8: GET {path}: {} instead of {code}", answer.code));
            }
        }
    }
    for (tenant, bound, code) in
        [("acme", name.as_str(), 201), ("acme", HELD, 403), ("umbrella", name.as_str(), 403), ("umbrella", HELD, 403)]
    {
        let path = format!("/tenants/{tenant}/api/v1/namespaces/default/pods/{bound}");
        let uid = world.get("op", &path).await.json()["metadata"]["uid"].as_str().unwrap_or("u").to_owned();
        let spec = json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": bound, "uid": uid}}});
        let path = format!("/tenants/{tenant}/api/v1/namespaces/default/serviceaccounts/{HELD}/token");
        let answer = agent.ask(world, "POST", &path, &spec.to_string()).await;
        found.asked += 1;
        if answer.code != code {
            found.fault(format!("n8: POST {path} for {bound}: {} instead of {code}", answer.code));
        }
    }
    found
}

/// S7: a watch that was opened with a right that is gone tells nothing any more.
pub async fn revoked_watch(world: &World) -> Findings {
    let mut found = Findings { asked: 1, ..Findings::default() };
    let mark = world.server.store.revision();
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}]);
    let (role, binding) = (format!("r{mark}"), format!("b{mark}"));
    world.make("admin", &format!("{rbac}/roles"), json!({"metadata": {"name": role}, "rules": rules})).await;
    let bound = json!({"metadata": {"name": binding},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}]});
    world.make("admin", &format!("{rbac}/rolebindings"), bound).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let path = format!("{rbac}/rolebindings/{binding}");
    if let Err(why) = ends_without(world, "user", &[], maps, &path).await {
        found.fault(why);
    }
    found
}

/// Opens a watch of maps, deletes what grants it, and tells if an event of later is sent all the same.
async fn ends_without(
    world: &World,
    token: &str,
    headers: &[(&str, &str)],
    maps: &str,
    grant: &str,
) -> Result<(), String> {
    let mut request = Request::get(format!("{maps}?watch=1")).header("authorization", format!("Bearer {token}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    let watch = handler::handle(world.server.clone(), Peer::Unknown, request).await;
    let status = watch.status();
    let mut events = watch.into_body();
    if status == 200 {
        let first = events.frame().await.expect("an event").expect("a frame");
        assert!(first.is_data());
    }
    assert_eq!(world.send("admin", "DELETE", grant, &[], &json!({})).await.code, 200);
    if status != 200 {
        return Err(format!("the watch was refused: {status}"));
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    let later = format!("later{}", world.server.store.revision());
    world.make("admin", maps, json!({"metadata": {"name": later}})).await;
    match events.frame().await {
        Some(_) => Err("an event was sent after the right was gone".to_owned()),
        None => Ok(()),
    }
}

/// Who acts as another watches no longer than it may act so, whatever the other may do.
#[tokio::test]
async fn a_watch_ends_with_the_right_to_act_as_another() {
    let world = World::new().await;
    let (rbac, maps) = ("/apis/rbac.authorization.k8s.io/v1", "/api/v1/namespaces/default/configmaps");
    let grants = [
        (
            "acts",
            "ann",
            json!([{"apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate"]}]),
        ),
        ("reads", "bob", json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}])),
    ];
    for (name, user, rules) in grants {
        world.make("admin", &format!("{rbac}/clusterroles"), json!({"metadata": {"name": name}, "rules": rules})).await;
        let binding = json!({"metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
        world.make("admin", &format!("{rbac}/clusterrolebindings"), binding).await;
    }
    world.make("admin", maps, json!({"metadata": {"name": "before"}})).await;
    let path = format!("{rbac}/clusterrolebindings/acts");
    assert_eq!(ends_without(&world, "user", &[("impersonate-user", "bob")], maps, &path).await, Ok(()));
}

#[tokio::test]
async fn a_watch_ends_with_its_right() {
    let found = revoked_watch(&World::new().await).await;
    assert!(found.faults.is_empty(), "{:#?}", found.faults);
}

#[tokio::test]
async fn a_stolen_node_reads_what_its_own_pods_need_and_no_other_tenants() {
    let world = World::planted().await;
    let found = stolen_node(&world).await;
    assert!(found.faults.is_empty() && found.asked == 20, "{:#?}", found.faults);
    assert!(has_canary(&world.get("victim", &format!("/api/v1/namespaces/default/secrets/{HELD}")).await.body));
}

/// S5: a token that is good no more in its own tenant is nothing at all in another: what has become of its account is not told.
#[tokio::test]
async fn a_review_says_nothing_of_what_became_of_another_tenants_token() {
    let world = World::new().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    world.make("victim", accounts, json!({"metadata": {"name": "bot"}})).await;
    let token = world.make("victim", &format!("{accounts}/bot/token"), json!({"spec": {}})).await;
    let spec = json!({"spec": {"token": token["status"]["token"]}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    for step in ["it is good", "its account is gone", "its account is another"] {
        let told = world.make("admin", reviews, spec.clone()).await;
        assert_eq!(told["status"], json!({"user": {}, "error": "invalid bearer token"}), "{step}");
        let own = world.make("victim", reviews, spec.clone()).await;
        assert_eq!(own["status"]["authenticated"] == true, step == "it is good", "{step}: {own}");
        match step {
            "it is good" => drop(world.send("victim", "DELETE", &format!("{accounts}/bot"), &[], &json!({})).await),
            _ => drop(world.send("victim", "POST", accounts, &[], &json!({"metadata": {"name": "bot"}})).await),
        }
    }
}

/// Who goes around the scheduler does not get onto a node that is another tenant's.
#[tokio::test]
async fn no_pod_names_or_is_bound_to_another_tenants_node() {
    let world = World::new().await;
    for (name, labels) in [("free", json!({})), ("theirs", json!({"node.ursa.dev/tenant": "umbrella"}))] {
        world.make("op", "/api/v1/nodes", json!({"metadata": {"name": name, "labels": labels}})).await;
    }
    let pods = "/api/v1/namespaces/default/pods";
    for (token, node, code) in
        [("admin", "free", 201), ("admin", "theirs", 403), ("victim", "theirs", 201), ("admin", "absent", 201)]
    {
        let account = json!({"metadata": {"name": "default"}});
        world.send(token, "POST", "/api/v1/namespaces/default/serviceaccounts", &[], &account).await;
        let pod =
            |name: &str| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let mut named = pod(&format!("named-{node}"));
        named["spec"]["nodeName"] = json!(node);
        let answer = world.send(token, "POST", pods, &[], &named).await;
        assert_eq!(answer.code, code, "{token} {node}: {}", answer.json());
        let bound = format!("bound-{node}");
        world.make(token, pods, pod(&bound)).await;
        let binding = json!({"metadata": {"name": bound}, "target": {"kind": "Node", "name": node}});
        let answer = world.send(token, "POST", &format!("{pods}/{bound}/binding"), &[], &binding).await;
        assert_eq!(answer.code, code, "{token} to {node}: {}", answer.json());
    }
}

/// A tenant reads the nodes that may run its pods, and of them what is no other tenant's business. It writes none.
#[tokio::test]
async fn a_tenant_is_shown_its_nodes_without_what_they_tell_of_others() {
    let world = World::new().await;
    let of = |name: &str, labels: Value| {
        json!({"metadata": {"name": name, "labels": labels, "annotations": {"last": CANARY}},
            "spec": {"providerID": CANARY}, "status": {"capacity": {"cpu": "4"}, "images": [{"names": [CANARY]}],
            "volumesInUse": [CANARY], "nodeInfo": {"machineID": CANARY, "kubeletVersion": "v1"}}})
    };
    for (name, labels) in [
        ("free", json!({"zone": "a"})),
        ("own", json!({"node.ursa.dev/tenant": "acme"})),
        (CANARY, json!({"node.ursa.dev/tenant": "umbrella"})),
    ] {
        world.make("op", "/api/v1/nodes", of(name, labels)).await;
    }
    let theirs = format!("/api/v1/nodes/{CANARY}");
    let forms = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/json;as=Table;g=meta.k8s.io;v=v1",
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    ];
    for accept in forms {
        for query in ["", "?watch=1", "?includeObject=Object", "?labelSelector=zone=a"] {
            let path = format!("/api/v1/nodes{query}");
            let answer = world.send("admin", "GET", &path, &[("accept", accept)], &Value::Null).await;
            assert!(!answer.has_canary(), "{accept} {query}");
            // A watch takes no table of a list.
            let shown = String::from_utf8_lossy(&answer.body).contains("free");
            assert!(shown || answer.code == 406, "{accept} {query}: {} without its node", answer.code);
        }
        let answer = world.send("admin", "GET", "/api/v1/nodes/own", &[("accept", accept)], &Value::Null).await;
        assert!(!answer.has_canary(), "{accept}");
    }
    let list = world.get("admin", "/api/v1/nodes").await.json();
    let names: Vec<&Value> = list["items"].as_array().expect("items").iter().map(|n| &n["metadata"]["name"]).collect();
    assert_eq!(names, ["free", "own"]);
    assert_eq!(list["items"][0]["status"]["capacity"], json!({"cpu": "4"}));
    assert_eq!(world.get("admin", "/api/v1/nodes/own").await.code, 200);
    assert_eq!(world.get("admin", &theirs).await.code, 404);
    assert_eq!(world.get("victim", &theirs).await.code, 200);
    for (method, path) in [
        ("PUT", "/api/v1/nodes/own"),
        ("PATCH", "/api/v1/nodes/own"),
        ("DELETE", "/api/v1/nodes/own"),
        ("DELETE", "/api/v1/nodes"),
        ("POST", "/api/v1/nodes"),
        ("GET", "/api/v1/nodes/own/status"),
        ("GET", "/api/v1/nodes/own/proxy/logs"),
    ] {
        let answer = world.send("admin", method, path, &[], &of("own", json!({}))).await;
        assert_eq!(answer.code, 403, "{method} {path}");
    }
    // Operators see everything, wherever they look from.
    assert!(world.get("op", "/tenants/acme/api/v1/nodes").await.has_canary());
    let discovered = world.get("admin", "/api/v1").await.json();
    let listed = discovered["resources"].as_array().expect("resources").iter();
    let told: Vec<_> = listed.filter(|r| r["name"].as_str().is_some_and(|name| name.starts_with("nodes"))).collect();
    assert_eq!((told.len(), &told[0]["verbs"]), (1, &json!(["get", "list", "watch"])), "what discovery tells of nodes");
    let review = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "nodes"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(world.make("admin", path, review).await["status"]["allowed"], true);
}

/// So it is with the drivers of volumes, and of what runs of them on each node it is told nothing.
#[tokio::test]
async fn a_tenant_reads_the_drivers_of_its_volumes() {
    let world = World::new().await;
    let drivers = "/apis/storage.k8s.io/v1/csidrivers";
    for (name, labels) in [("free", json!({})), (CANARY, json!({"node.ursa.dev/tenant": "umbrella"}))] {
        let driver = json!({"metadata": {"name": name, "labels": labels, "annotations": {"last": CANARY}},
            "spec": {"storageCapacity": true}});
        world.make("op", drivers, driver).await;
    }
    let list = world.get("admin", drivers).await;
    assert!(!list.has_canary());
    let shown = list.json();
    assert_eq!(shown["items"].as_array().map(Vec::len), Some(1));
    let spec = &shown["items"][0]["spec"];
    assert_eq!((&spec["storageCapacity"], &spec["podInfoOnMount"]), (&json!(true), &json!(false)));
    assert_eq!(world.send("admin", "DELETE", &format!("{drivers}/free"), &[], &json!({})).await.code, 403);
    assert_eq!(world.get("admin", "/apis/storage.k8s.io/v1/csinodes").await.code, 403);
    let discovered = world.get("admin", "/apis/storage.k8s.io/v1").await.json();
    let names: Vec<_> = discovered["resources"].as_array().expect("resources").iter().map(|r| &r["name"]).collect();
    assert!(names.contains(&&json!("csidrivers")) && !names.contains(&&json!("csinodes")), "{names:?}");
}

/// S13: no pod of a tenant has more of its node than the baseline allows, whatever its namespaces ask for, until the
/// operators lift that.
#[tokio::test]
async fn a_tenants_pods_keep_the_baseline_until_operators_lift_it() {
    let world = World::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let account = json!({"metadata": {"name": "default"}});
    world.send("admin", "POST", "/api/v1/namespaces/default/serviceaccounts", &[], &account).await;
    let pod = |name: &str, spec: &Value, container: &Value| {
        let mut pod = json!({"metadata": {"name": name}, "spec": spec});
        pod["spec"]["containers"] = json!([container]);
        pod["spec"]["containers"][0]["name"] = json!("c");
        pod["spec"]["containers"][0]["image"] = json!("i");
        pod
    };
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    let merge = [("content-type", "application/merge-patch+json")];
    assert_eq!(world.send("admin", "PATCH", "/api/v1/namespaces/default", &merge, &labels).await.code, 200);
    let plain = json!({});
    let asks = [
        (json!({"hostNetwork": true}), plain.clone()),
        (json!({"hostPID": true}), plain.clone()),
        (json!({"hostIPC": true}), plain.clone()),
        (json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), plain.clone()),
        (json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}), plain.clone()),
        (plain.clone(), json!({"securityContext": {"privileged": true}})),
        (plain.clone(), json!({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}})),
        (plain.clone(), json!({"ports": [{"containerPort": 80, "hostPort": 80}]})),
    ];
    for (spec, container) in &asks {
        let answer = world.send("admin", "POST", pods, &[], &pod("more", spec, container)).await;
        assert_eq!(answer.code, 403, "{spec} {container}");
        assert!(String::from_utf8_lossy(&answer.body).contains("violates PodSecurity"), "{spec} {container}");
    }
    world.make("admin", pods, pod("plain", &plain, &plain)).await;
    let debugger = json!({"spec": {"ephemeralContainers": [
        {"name": "e", "image": "i", "securityContext": {"privileged": true}},
    ]}});
    let into = format!("{pods}/plain/ephemeralcontainers");
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    assert_eq!(world.send("admin", "PATCH", &into, &strategic, &debugger).await.code, 403);
    assert_eq!(world.send("admin", "PATCH", "/api/v1/tenants/acme", &merge, &labels).await.code, 403);
    assert_eq!(world.send("op", "PATCH", "/api/v1/tenants/acme", &merge, &labels).await.code, 200);
    for (i, (spec, container)) in asks.iter().enumerate() {
        world.make("admin", pods, pod(&format!("more{i}"), spec, container)).await;
    }
}
