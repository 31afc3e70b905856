//! Services as clients see them.

use super::*;
use crate::{generic, registry};
use api::Kind;

fn kind() -> &'static Kind {
    registry().find("", "v1", "services").expect("services")
}

fn created(spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": "a", "namespace": "n", "resourceVersion": "1"}, "spec": spec});
    (SERVICES.defaults)(&mut service);
    generic::prepare_create(kind(), &mut service);
    service
}

#[track_caller]
fn check(spec: Value, expected: &[&str]) {
    crate::testing::check(&generic::validate_create(kind(), &created(spec)), expected);
}

#[test]
fn faults_of_services_name_their_field() {
    let port = json!([{"port": 80}]);
    check(json!({"ports": port}), &[]);
    check(json!({"ports": []}), &["Required spec.ports"]);
    check(json!({"clusterIP": "None"}), &[]);
    check(json!({"ports": [{"port": 0}]}), &["Invalid spec.ports[0].port", "Invalid spec.ports[0].targetPort"]);
    check(
        json!({"ports": [{"port": 80}, {"port": 81}]}),
        &["Required spec.ports[0].name", "Required spec.ports[1].name"],
    );
    check(json!({"ports": port, "clusterIP": "x"}), &["Invalid spec.clusterIPs[0]"]);
    check(json!({"ports": port, "clusterIP": "fd00::1"}), &["Invalid spec.clusterIPs[0]"]);
    check(json!({"ports": port, "ipFamilies": ["IPv6"]}), &["Invalid spec.ipFamilies[0]"]);
    check(json!({"ports": port, "externalIPs": ["127.0.0.1"]}), &["Invalid spec.externalIPs[0]"]);
    check(
        json!({"ports": port, "loadBalancerSourceRanges": ["x"]}),
        &["Forbidden spec.LoadBalancerSourceRanges", "Invalid spec.LoadBalancerSourceRanges[0]"],
    );
    check(json!({"ports": port, "type": "LoadBalancer", "clusterIP": "None"}), &["Invalid spec.clusterIPs[0]"]);
    check(json!({"type": "ExternalName"}), &["Required spec.externalName"]);
    check(json!({"type": "ExternalName", "externalName": "x.y."}), &[]);
}

#[track_caller]
fn check_update(old: Value, new: Value, expected: Value) {
    let old = created(old);
    let mut new = json!({"metadata": old["metadata"], "spec": new});
    (SERVICES.defaults)(&mut new);
    generic::prepare_update(kind(), &mut new, &old);
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(&new["spec"][field], value, "{field}");
    }
}

#[test]
fn an_update_keeps_what_the_server_gave() {
    let given =
        json!({"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"name": "a", "port": 80, "nodePort": 30001}]});
    let asked = json!({"type": "NodePort", "ports": [{"name": "a", "port": 81}]});
    let expected = json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
        "ports": [{"name": "a", "port": 81, "targetPort": 81, "protocol": "TCP", "nodePort": 30001}]});
    check_update(given, asked, expected);
}

#[test]
fn a_change_of_type_drops_what_the_new_one_has_no_use_for() {
    let given = json!({"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30001}]});
    let mut asked = given.clone();
    asked["type"] = json!("ClusterIP");
    asked["externalTrafficPolicy"] = json!("Cluster");
    let ports = json!([{"port": 80, "targetPort": 80, "protocol": "TCP"}]);
    check_update(given.clone(), asked, json!({"ports": ports, "externalTrafficPolicy": null, "clusterIP": "10.0.0.1"}));
    let named =
        json!({"type": "ExternalName", "externalName": "x", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]});
    check_update(given, named, json!({"clusterIP": null, "clusterIPs": null, "externalName": "x"}));
}
