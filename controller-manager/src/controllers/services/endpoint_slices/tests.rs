//! Which endpoints a service's pods make, and which hints they carry.

use super::*;
use serde_json::{from_value, json};

fn service(spec: Value) -> Service {
    from_value(json!({"metadata": {"namespace": "ns", "name": "svc"}, "spec": spec})).expect("a service")
}

fn pod(name: &str, ready: bool, deleting: bool) -> Pod {
    let (status, deletion) = (if ready { "True" } else { "False" }, deleting.then_some("2026-01-01T00:00:00Z"));
    from_value(json!({
        "metadata": {"namespace": "ns", "name": name, "deletionTimestamp": deletion},
        "spec": {"nodeName": "n1", "hostname": name, "subdomain": "svc"},
        "status": {
            "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "conditions": [{"type": "Ready", "status": status}],
        },
    }))
    .expect("a pod")
}

fn node(name: &str) -> Option<Arc<Node>> {
    let node = json!({"metadata": {"name": name, "labels": {ZONE: "za"}}});
    (name == "n1").then(|| Arc::new(from_value(node).expect("a node")))
}

#[test]
fn conditions_say_whether_a_pod_is_ready_serves_and_goes() {
    let port = json!([{"port": 80, "protocol": "TCP"}]);
    for (ready, deleting, published, expected) in [
        (true, false, false, [true, true, false]),
        (false, false, false, [false, false, false]),
        (true, true, false, [false, true, true]),
        (false, true, true, [true, false, true]),
    ] {
        let service = service(json!({"ports": port, "publishNotReadyAddresses": published}));
        let pod = pod("a", ready, deleting);
        let (by_ports, missing) = endpoints(&service, &[&pod], &node, "IPv6");
        let endpoint = &by_ports.values().next().expect("endpoints")[0];
        let EndpointConditions { ready, serving, terminating } = &endpoint.conditions;
        assert_eq!([*ready, *serving, *terminating], expected.map(Some));
        assert_eq!((endpoint.addresses.as_slice(), missing), (&["fd00::1".to_owned()][..], false));
        assert_eq!((endpoint.hostname.as_deref(), endpoint.zone.as_deref()), (Some("a"), Some("za")));
    }
}

#[test]
fn a_pod_of_an_unknown_node_waits_unless_all_are_published() {
    let mut lost = pod("a", true, false);
    lost.spec.node_name = "n2".to_owned();
    for (published, count) in [(false, 0), (true, 1)] {
        let service = service(json!({"publishNotReadyAddresses": published, "ports": [{"port": 1}]}));
        let (by_ports, missing) = endpoints(&service, &[&lost], &node, "IPv4");
        assert_eq!((by_ports.values().flatten().count(), missing), (count, !published));
    }
}

#[test]
fn addresses_are_of_the_families_of_the_service() {
    for (spec, expected) in [
        (json!({"ipFamilies": ["IPv6", "IPv4"], "clusterIP": "None"}), vec!["IPv6", "IPv4"]),
        (json!({"clusterIP": "10.1.0.1"}), vec!["IPv4"]),
        (json!({"clusterIP": "fd00::1"}), vec!["IPv6"]),
        (json!({"clusterIP": "None"}), vec!["IPv4", "IPv6"]),
    ] {
        assert_eq!(address_types(&service(spec.clone())), expected, "{spec}");
    }
}

#[test]
fn hints_keep_traffic_near() {
    let endpoint = Endpoint { zone: Some("za".into()), node_name: Some("n1".into()), ..Endpoint::default() };
    let nowhere = Endpoint::default();
    let named = |name: &str| vec![Named { name: name.to_owned() }];
    for (distribution, zones, nodes) in [
        (Some("PreferClose"), named("za"), vec![]),
        (Some("PreferSameZone"), named("za"), vec![]),
        (Some("PreferSameNode"), named("za"), named("n1")),
    ] {
        assert_eq!(hints(distribution, &endpoint), Some(Hints { for_zones: zones, for_nodes: nodes }));
        assert_eq!(hints(distribution, &nowhere), None);
    }
    assert_eq!((hints(None, &endpoint), hints(Some("Other"), &endpoint)), (None, None));
}
