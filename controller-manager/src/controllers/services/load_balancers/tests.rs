//! Which addresses are of a pool, and what a service gets.

use super::*;
use serde_json::from_value;

fn pool(text: &str) -> Pool {
    text.parse().expect("a pool")
}

#[test]
fn a_pool_is_a_network_without_its_edges() {
    let all = |text: &str| -> Vec<String> {
        let pool = pool(text);
        (0..pool.size).map(|i| pool.at(i).to_string()).collect()
    };
    assert_eq!(all("192.0.2.4/30"), ["192.0.2.5", "192.0.2.6"]);
    assert_eq!(all("192.0.2.4/31"), ["192.0.2.4", "192.0.2.5"]);
    assert_eq!(all("192.0.2.9/32"), ["192.0.2.9"]);
    assert_eq!(all("2001:db8::/127"), ["2001:db8::", "2001:db8::1"]);
    for wrong in ["", "192.0.2.0", "192.0.2.0/33", "192.0.2.1/24", "x/8", "0.0.0.0/0"] {
        assert!(wrong.parse::<Pool>().is_err(), "{wrong}");
    }
}

#[test]
fn the_wanted_address_is_given_or_none_and_else_one_that_is_free() {
    let pool = pool("192.0.2.0/29");
    let taken = ["192.0.2.1", "192.0.2.2"];
    let choose = |wanted: Option<&str>, start: u64| {
        let wanted = wanted.map(|w| w.parse().expect("an address"));
        pool.choose(wanted, start, |ip| !taken.contains(&ip)).map(|a| a.to_string())
    };
    assert_eq!(choose(None, 0).as_deref(), Some("192.0.2.3"));
    assert_eq!(choose(None, 5).as_deref(), Some("192.0.2.6"));
    assert_eq!(choose(Some("192.0.2.5"), 0).as_deref(), Some("192.0.2.5"));
    for refused in ["192.0.2.1", "198.51.100.1", "192.0.2.7"] {
        assert_eq!(choose(Some(refused), 0), None, "{refused}");
    }
    assert_eq!(pool.choose(None, 3, |_| false), None);
}

#[test]
fn a_service_keeps_what_it_has_and_gives_back_what_it_no_longer_needs() {
    let held = json!({"finalizers": [FINALIZER]});
    let has = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.3"}]}});
    let of = |metadata: &Value, spec: Value, status: &Value| {
        let service: Service =
            from_value(json!({"metadata": metadata, "spec": spec, "status": status})).expect("a service");
        plan(&service, |ip| ip == "192.0.2.3")
    };
    let balanced = json!({"type": "LoadBalancer"});
    let none = json!({});
    assert_eq!(of(&none, balanced.clone(), &none), Plan::Give(None));
    assert_eq!(of(&none, balanced.clone(), &has), Plan::Hold);
    assert_eq!(of(&held, balanced.clone(), &has), Plan::Nothing);
    let other = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.4"}]}});
    assert_eq!(of(&held, balanced.clone(), &other), Plan::Give(None));
    let wants = json!({"type": "LoadBalancer", "loadBalancerIP": "192.0.2.5"});
    assert_eq!(of(&held, wants, &has), Plan::Give("192.0.2.5".parse().ok()));
    assert_eq!(of(&held, json!({"type": "ClusterIP"}), &has), Plan::Release);
    assert_eq!(of(&none, json!({"type": "ClusterIP"}), &none), Plan::Nothing);
    let foreign = json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/x"});
    assert_eq!(of(&none, foreign, &none), Plan::Nothing);
    let going = json!({"finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"});
    assert_eq!(of(&going, balanced, &has), Plan::Release);
}
