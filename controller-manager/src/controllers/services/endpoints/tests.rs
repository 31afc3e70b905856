//! Which subsets a service's pods make.

use super::*;
use serde_json::from_value;

fn service(spec: Value) -> Service {
    let metadata = json!({"namespace": "ns", "name": "svc", "labels": {"l": "1"}});
    from_value(json!({"metadata": metadata, "spec": spec})).expect("a service")
}

/// A pod at an address, with the number of its port `http`.
fn pod(ip: &str, ready: bool, http: i64) -> Pod {
    let status = if ready { "True" } else { "False" };
    from_value(json!({
        "metadata": {"namespace": "ns", "name": ip, "uid": ip},
        "spec": {"nodeName": "n", "containers": [{"ports": [
            {"name": "http", "protocol": "TCP", "containerPort": http},
        ]}]},
        "status": {"podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": status}]},
    }))
    .expect("a pod")
}

fn made(spec: Value, pods: &[Pod]) -> Vec<(Vec<String>, Vec<String>, Vec<i64>)> {
    let ips = |addresses: &[Address]| addresses.iter().map(|a| a.ip.clone()).collect();
    let subsets = subsets(&service(spec), &mut pods.iter());
    let ports = |s: &Subset| s.ports.iter().map(|p| p.port).collect();
    subsets.iter().map(|s| (ips(&s.addresses), ips(&s.not_ready_addresses), ports(s))).collect()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

#[test]
fn addresses_that_offer_the_same_ports_are_one_subset() {
    let pods = [pod("10.0.0.10", true, 80), pod("10.0.0.9", true, 80), pod("10.0.0.8", false, 81)];
    let port = |target: Value| json!({"name": "p", "protocol": "TCP", "port": 1, "targetPort": target});
    let spec = |extra: Value| {
        let mut spec = json!({"clusterIP": "10.1.0.1", "selector": {}});
        spec.as_object_mut().expect("a spec").extend(extra.as_object().expect("fields").clone());
        spec
    };
    let by_number = made(spec(json!({"ports": [port(json!(7))]})), &pods);
    assert_eq!(by_number, [(texts(&["10.0.0.9", "10.0.0.10"]), texts(&["10.0.0.8"]), vec![7])]);
    let by_name = made(spec(json!({"ports": [port(json!("http"))]})), &pods);
    assert_eq!(by_name.len(), 2);
    assert!(made(spec(json!({"ports": [port(json!("none"))]})), &pods).is_empty());
    let unready_too = spec(json!({"ports": [port(json!(7))], "publishNotReadyAddresses": true}));
    assert_eq!(made(unready_too, &pods)[0].0.len(), 3);
    let headless = json!({"clusterIP": "None", "selector": {}});
    assert_eq!(made(headless, &pods)[0].2, Vec::<i64>::new());
    assert!(made(spec(json!({})), &pods).is_empty());
    assert!(made(spec(json!({"ports": [port(json!(7))], "ipFamilies": ["IPv6"]})), &pods).is_empty());
}

#[test]
fn nothing_is_written_when_all_is_as_it_is_to_be() {
    let service = service(json!({"clusterIP": "10.1.0.1", "selector": {}, "ports": [{"port": 1, "protocol": "TCP"}]}));
    let pods = [pod("10.0.0.1", true, 80), pod("10.0.0.2", true, 80)];
    let mut object = plan(&service, &mut pods.iter(), None).expect("an object");
    assert_eq!(object["metadata"]["labels"], json!({"l": "1", MANAGED_BY: "endpoint-controller"}));
    let current = |object: &Value| from_value::<Endpoints>(object.clone()).expect("endpoints");
    assert_eq!(plan(&service, &mut pods.iter(), Some(&current(&object))), None);
    object["subsets"][0]["addresses"].as_array_mut().expect("addresses").reverse();
    assert_eq!(plan(&service, &mut pods.iter(), Some(&current(&object))), None);
    assert!(plan(&service, &mut pods[..1].iter(), Some(&current(&object))).is_some());
    object["metadata"]["labels"]["l"] = json!("2");
    assert!(plan(&service, &mut pods.iter(), Some(&current(&object))).is_some());
}

#[test]
fn an_object_holds_a_thousand_addresses_ready_ones_first() {
    let address = |n: usize| Address { ip: n.to_string(), ..Address::default() };
    let subset = |ready: usize, not_ready: usize| Subset {
        addresses: (0..ready).map(address).collect(),
        not_ready_addresses: (0..not_ready).map(address).collect(),
        ports: Vec::new(),
    };
    let cases = [
        (vec![(500, 500)], vec![(500, 500)], false),
        (vec![(600, 900)], vec![(600, 400)], true),
        (vec![(1500, 10), (500, 10)], vec![(750, 0), (250, 0)], true),
    ];
    for (given, expected, truncated) in cases {
        let mut subsets: Vec<Subset> = given.iter().map(|(ready, not)| subset(*ready, *not)).collect();
        assert_eq!(truncate(&mut subsets), truncated);
        let left: Vec<_> = subsets.iter().map(|s| (s.addresses.len(), s.not_ready_addresses.len())).collect();
        assert_eq!(left, expected);
    }
}
