//! T75: addresses that a tenant writes into URLs. No connection goes to the machine itself or to addresses of its links.

use super::World;
use serde_json::{Value, json};
use std::net::TcpListener;

/// Ways to write this machine, where a listener waits on the port.
fn places(port: u16) -> Vec<String> {
    [
        "127.0.0.1",
        "localhost",
        "127.0.0.2",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "LOCALHOST",
        "localhost.",
        "127.0.0.1.",
        "user@127.0.0.1",
        "example.com@127.0.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
    ]
    .into_iter()
    .map(|host| format!("https://{host}:{port}/hook"))
    .collect()
}

#[tokio::test]
async fn no_url_of_a_tenant_leads_back_to_the_machine() {
    let world = World::new().await;
    let listeners: Vec<TcpListener> =
        ["127.0.0.1:0", "[::1]:0"].iter().filter_map(|at| TcpListener::bind(at).ok()).collect();
    assert!(!listeners.is_empty());
    let mut written = 0;
    for listener in &listeners {
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        for (i, url) in places(port).into_iter().enumerate() {
            let rules =
                json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}]);
            let client = json!({"url": url});
            let hook = json!({"name": "h.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "rules": rules,
                "clientConfig": client, "failurePolicy": "Ignore", "timeoutSeconds": 1});
            for plural in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
                let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
                let object = json!({"metadata": {"name": format!("h{i}")}, "webhooks": [hook]});
                written += usize::from(world.send("admin", "POST", &path, &[], &object).await.code == 201);
            }
            let versions = ["v1", "v2"].map(|name| {
                json!({"name": name, "served": true, "storage": name == "v1",
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
            });
            let definition = json!({"metadata": {"name": format!("things.g{i}.example.com")}, "spec": {"group": format!("g{i}.example.com"),
                "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": versions,
                "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": client}}}});
            let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
            let made = world.send("admin", "POST", definitions, &[], &definition).await;
            if made.code == 201 {
                written += 1;
                let mut made = made.json();
                made["status"]["acceptedNames"] = made["spec"]["names"].clone();
                made["status"]["conditions"] = json!([{"type": "Established", "status": "True", "reason": "r", "message": "",
                    "lastTransitionTime": "2026-01-02T03:04:05Z"}]);
                let name = made["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                world.send("admin", "PUT", &format!("{definitions}/{name}/status"), &[], &made).await;
                let things = format!("/apis/g{i}.example.com/v1/namespaces/default/things");
                let thing =
                    json!({"apiVersion": format!("g{i}.example.com/v1"), "kind": "Thing", "metadata": {"name": "t"}});
                world.send("admin", "POST", &things, &[], &thing).await;
                world.get("admin", &things.replace("/v1/", "/v2/")).await;
            }
            let map = json!({"metadata": {"name": format!("m{port}-{i}")}});
            let answer = world.send("admin", "POST", "/api/v1/namespaces/default/configmaps", &[], &map).await;
            assert!(!String::from_utf8_lossy(&answer.body).contains("SSH-"), "{}", answer.json());
            for plural in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
                let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}/h{i}");
                world.send("admin", "DELETE", &path, &[], &Value::Null).await;
            }
            let reached = listener.accept();
            assert!(reached.is_err(), "{url} was connected to: {reached:?}");
        }
    }
    assert!(written > 30, "{written}");
}
