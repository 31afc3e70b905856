//! T68: what answers for a node or a pod may be the attacker's. No answer of it makes the server go elsewhere, use a connection
//! twice, or pass on the credentials of who asked.

use super::node::Agents;
use super::{HELD, World};
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde_json::json;

/// Answers of an evil agent, by the first word of the path that it is asked for.
fn evil(path: &str) -> Response<Full<Bytes>> {
    let answer = |code: u16, headers: &[(&str, &str)]| {
        let mut response = Response::builder().status(code);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(Full::new(Bytes::from_static(b"{}"))).expect("an answer")
    };
    match path {
        path if path.starts_with("/containerLogs") => {
            answer(302, &[("location", "http://169.254.169.254/latest/meta-data")])
        }
        path if path.starts_with("/exec") => answer(200, &[("connection", "keep-alive"), ("upgrade", "SPDY/3.1")]),
        path if path.starts_with("/attach") => {
            answer(307, &[("location", "https://127.0.0.1:6443/tenants/umbrella/api/v1/secrets")])
        }
        path if path.starts_with("/portForward") => answer(426, &[]),
        path if path.starts_with("/proxy") => answer(200, &[("upgrade", "tcp")]),
        _ => answer(301, &[("location", "//evil.example.com/")]),
    }
}

#[tokio::test]
async fn an_evil_node_is_followed_nowhere_and_told_nothing() {
    let world = World::with(Agents::new(evil)).await;
    world.make("op", "/api/v1/nodes", json!({"metadata": {"name": "n9"}})).await;
    world.make("admin", "/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    let pod =
        json!({"metadata": {"name": HELD}, "spec": {"nodeName": "n9", "containers": [{"name": "c", "image": "i"}]}});
    world.make("admin", "/api/v1/namespaces/default/pods", pod).await;
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "SPDY/3.1"),
        ("cookie", "c"),
        ("impersonate-user", "root"),
        ("impersonate-group", "system:masters"),
    ];
    for round in 0..3 {
        for (method, part) in [
            ("GET", "log"),
            ("POST", "exec?command=id&stdout=true"),
            ("POST", "attach?stdout=true"),
            ("POST", "portforward"),
            ("GET", "proxy/x"),
            ("DELETE", "proxy/x"),
            ("GET", "proxy/..%2f..%2fumbrella/default/p/80"),
        ] {
            let before = *world.agents.dialled.lock();
            let path = format!("/api/v1/namespaces/default/pods/{HELD}/{part}");
            let answer = world.send("admin", method, &path, &upgrade, &json!({})).await;
            let dialled = *world.agents.dialled.lock() - before;
            assert!(answer.code >= 200 && answer.code != 101, "{path}: {}", answer.code);
            assert!(dialled <= 1, "{path}: {dialled} connections");
            // A redirect goes to the client, which is somewhere else, or nowhere; its target is never asked here.
            assert!(!answer.has_canary(), "{path}");
            let asked = std::mem::take(&mut *world.agents.asked.lock());
            assert!(asked.len() <= dialled, "{path}: a connection was used twice: {asked:?}");
            for (node, head, headers) in asked {
                assert_eq!(node, "n9", "{round}");
                let told =
                    |name: &&String| *name == "authorization" || *name == "cookie" || name.starts_with("impersonate-");
                assert!(!headers.iter().any(|name| told(&name)), "{head}: {headers:?}");
                assert!(head.contains("/acme/default/"), "{head}");
            }
        }
    }
    // Where a tenant writes an address, no connection goes there.
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    world.make("admin", "/api/v1/namespaces/default/services", service).await;
    for (i, address) in ["127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.0.1"].into_iter().enumerate() {
        let slice = json!({"metadata": {"name": format!("e{i}"), "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4", "ports": [{"port": 6443}], "endpoints": [{"addresses": [address],
            "targetRef": {"kind": "Pod", "namespace": "kube-system", "name": "p", "uid": "u"}}]});
        let made = world
            .send("admin", "POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &[], &slice)
            .await;
        assert!(matches!(made.code, 201 | 422), "{address}: {}", made.json());
        let before = *world.agents.dialled.lock();
        let answer = world.get("admin", "/api/v1/namespaces/default/services/s/proxy/x").await;
        assert!(answer.code >= 400, "{address}: {}", answer.code);
        assert_eq!(*world.agents.dialled.lock(), before, "{address}");
    }
    // The status of a pod is its tenant's to write: its addresses and its node's are not where anyone goes.
    let mut pod = world.get("admin", &format!("/api/v1/namespaces/default/pods/{HELD}")).await.json();
    pod["status"]["podIP"] = json!("169.254.169.254");
    pod["status"]["podIPs"] = json!([{"ip": "169.254.169.254"}]);
    pod["status"]["hostIP"] = json!("127.0.0.1");
    let written =
        world.send("admin", "PUT", &format!("/api/v1/namespaces/default/pods/{HELD}/status"), &[], &pod).await;
    assert!(matches!(written.code, 200 | 422), "{}", written.json());
    world.get("admin", &format!("/api/v1/namespaces/default/pods/{HELD}/proxy/x")).await;
    assert!(world.agents.asked.lock().iter().all(|(node, head, _)| node == "n9" && !head.contains("169.254")));
}

#[tokio::test]
async fn a_proxied_name_cannot_name_another_place() {
    let world = World::planted().await;
    for name in [
        "name-held:80@evil",
        "name-held:80%2f..",
        "http:name-held:80:1",
        "ftp:name-held:80",
        ":name-held",
        "http::80",
        "..",
        "name-held:-1",
        "name-held:99999999",
        "name-held:0x50",
        "name-held:80%23",
        "name-held:80%3fx",
        "http:127.0.0.1:80",
        "umbrella%2fname-held",
    ] {
        for plural in ["pods", "services", "nodes"] {
            let inner = if plural == "nodes" { "" } else { "/namespaces/default" };
            let answer = world.get("admin", &format!("/api/v1{inner}/{plural}/{name}/proxy/x")).await;
            assert!(answer.code >= 400 && answer.code != 500, "{plural} {name}: {}", answer.code);
            assert!(!answer.has_canary(), "{plural} {name}");
        }
    }
    let asked = world.agents.asked.lock().clone();
    let own = |head: &str| head.contains("/proxy/acme/default/name-held/");
    assert!(asked.iter().all(|(place, head, _)| own(head) || own(place)), "{asked:?}");
}
