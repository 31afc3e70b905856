//! What a service holds of addresses and ports, and which it is to be given. Who else holds what is the caller's to know.

use super::{gives_node_ports, has_health_check_port, has_node_ports, is_external_name, is_headless};
use crate::value::{int, is_empty, list, list_mut, set, text};
use api::Cause;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Addresses and ports of nodes that no other service of the tenant may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub addresses: Vec<String>,
    pub ports: BTreeSet<u16>,
}

/// What a service holds.
pub fn held(service: &Value) -> Held {
    let spec = &service["spec"];
    if is_external_name(spec) {
        return Held::default();
    }
    let addresses = list(&spec["clusterIPs"]).iter().map(text).filter(|ip| !matches!(*ip, "" | "None"));
    let addresses = addresses.map(str::to_owned).collect();
    let given = list(&spec["ports"]).iter().filter(|_| has_node_ports(spec)).map(|port| &port["nodePort"]);
    let health = Some(&spec["healthCheckNodePort"]).filter(|_| has_health_check_port(spec));
    let ports = given.chain(health).filter_map(number).collect();
    Held { addresses, ports }
}

fn number(value: &Value) -> Option<u16> {
    int(value).and_then(|port| port.try_into().ok()).filter(|port| *port != 0)
}

/// Where addresses and ports come from. Each method claims what it answers with.
pub trait Pool {
    /// A certain address, or why not.
    fn address(&mut self, address: &str) -> Result<(), String>;
    /// Any free address.
    fn any_address(&mut self) -> Result<String, String>;
    /// A certain port, or why not.
    fn port(&mut self, port: u16) -> Result<(), String>;
    /// Any free port.
    fn any_port(&mut self) -> Result<u16, String>;
}

/// Why a service is not given what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What it asks for cannot be had.
    Invalid(Cause),
    /// There is nothing left; the server's fault.
    Exhausted(String),
}

/// Gives a service that is otherwise sound what it lacks, and claims what it asks for beyond `before`.
pub fn assign(service: &mut Value, before: &Held, pool: &mut dyn Pool) -> Result<(), Refused> {
    let spec = &mut service["spec"];
    if is_external_name(spec) || !spec.is_object() {
        return Ok(());
    }
    if !is_headless(spec) {
        assign_address(spec, before, pool)?;
    }
    if has_node_ports(spec) {
        assign_ports(spec, before, pool)?;
    }
    if has_health_check_port(spec) {
        match number(&spec["healthCheckNodePort"]) {
            Some(port) if before.ports.contains(&port) => {}
            Some(port) => pool.port(port).map_err(|why| {
                Refused::Exhausted(format!("failed to allocate requested HealthCheck NodePort {port}: {why}"))
            })?,
            None => {
                let given = pool.any_port();
                let port = given
                    .map_err(|why| Refused::Exhausted(format!("failed to allocate a HealthCheck NodePort : {why}")))?;
                set(spec, "healthCheckNodePort", port);
            }
        }
    }
    Ok(())
}

fn assign_address(spec: &mut Value, before: &Held, pool: &mut dyn Pool) -> Result<(), Refused> {
    let asked = list(&spec["clusterIPs"]).first().map(text).unwrap_or_default().to_owned();
    if asked.is_empty() {
        let given = pool.any_address();
        let address = given.map_err(|why| Refused::Exhausted(format!("failed to allocate a serviceIP: {why}")))?;
        set(spec, "clusterIP", address.as_str());
        set(spec, "clusterIPs", json!([address]));
    } else if !before.addresses.contains(&asked) {
        pool.address(&asked).map_err(|why| {
            invalid("spec.clusterIPs".to_owned(), &spec["clusterIPs"], &format!("failed to allocate IP {asked}: {why}"))
        })?;
    }
    Ok(())
}

/// Ports of nodes: those asked for, and a free one for each that is to have one. A port of the service that is there for
/// several protocols has the same one for all.
fn assign_ports(spec: &mut Value, before: &Held, pool: &mut dyn Pool) -> Result<(), Refused> {
    let gives = gives_node_ports(spec);
    let asked: BTreeMap<i64, u16> = list(&spec["ports"])
        .iter()
        .rev()
        .filter_map(|port| Some((int(&port["port"])?, number(&port["nodePort"])?)))
        .collect();
    let new = is_empty(&json!(before.addresses));
    let (mut claimed, mut by_port) = (BTreeSet::new(), BTreeMap::new());
    for (i, port) in list_mut(spec, "ports").enumerate() {
        let place = int(&port["port"]).unwrap_or(0);
        let wanted = number(&port["nodePort"]);
        if wanted.is_none() && !gives {
            continue;
        }
        // Only where all ports are new, what one protocol asks for is given to the others.
        let shared = || by_port.get(&place).or_else(|| asked.get(&place)).copied().filter(|_| new);
        match wanted.or_else(shared) {
            Some(number) => {
                if !before.ports.contains(&number) && claimed.insert(number) {
                    pool.port(number)
                        .map_err(|why| invalid(format!("spec.ports[{i}].nodePort"), &json!(number), &why))?;
                }
                set(port, "nodePort", number);
                by_port.insert(place, number);
            }
            None => {
                let given = pool.any_port();
                let number =
                    given.map_err(|why| Refused::Exhausted(format!("failed to allocate a nodePort: {why}")))?;
                claimed.insert(number);
                set(port, "nodePort", number);
                by_port.insert(place, number);
            }
        }
    }
    Ok(())
}

fn invalid(field: String, value: &Value, why: &str) -> Refused {
    Refused::Invalid(Cause {
        reason: "FieldValueInvalid".to_owned(),
        message: format!("Invalid value: {value}: {why}"),
        field,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives addresses and ports in order, and knows what others hold.
    #[derive(Default)]
    struct Counting {
        next: u16,
        taken: Held,
    }

    impl Pool for Counting {
        fn address(&mut self, address: &str) -> Result<(), String> {
            if self.taken.addresses.iter().any(|taken| taken == address) { Err("taken".to_owned()) } else { Ok(()) }
        }

        fn any_address(&mut self) -> Result<String, String> {
            Ok("10.96.0.9".to_owned())
        }

        fn port(&mut self, port: u16) -> Result<(), String> {
            if self.taken.ports.contains(&port) { Err("taken".to_owned()) } else { Ok(()) }
        }

        fn any_port(&mut self) -> Result<u16, String> {
            self.next += 1;
            Ok(30000 + self.next)
        }
    }

    fn node_ports(service: &Value) -> Vec<i64> {
        list(&service["spec"]["ports"]).iter().map(|port| int(&port["nodePort"]).unwrap_or(0)).collect()
    }

    #[test]
    fn a_service_is_given_what_its_type_needs() {
        let ports = json!([{"port": 80}, {"port": 81}]);
        for (spec, address, expected) in [
            (json!({"type": "ClusterIP", "ports": ports}), Some("10.96.0.9"), vec![0, 0]),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "ports": ports}),
                None,
                vec![0, 0],
            ),
            (json!({"type": "NodePort", "ports": ports}), Some("10.96.0.9"), vec![30001, 30002]),
            (
                json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}),
                Some("10.96.0.9"),
                vec![0, 0],
            ),
            (json!({"type": "ExternalName", "ports": ports}), None, vec![0, 0]),
        ] {
            let mut service = json!({"spec": spec});
            assign(&mut service, &Held::default(), &mut Counting::default()).expect("it is given");
            assert_eq!(node_ports(&service), expected, "{service}");
            let held = held(&service).addresses;
            assert_eq!(held.first().map(String::as_str), address, "{service}");
        }
    }

    #[test]
    fn protocols_of_one_port_share_its_node_port() {
        let ports =
            json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP", "nodePort": 30053}, {"port": 80}]);
        let mut service = json!({"spec": {"type": "NodePort", "ports": ports}});
        assign(&mut service, &Held::default(), &mut Counting::default()).expect("it is given");
        assert_eq!(node_ports(&service), [30053, 30053, 30001]);
    }

    #[test]
    fn what_others_hold_is_refused_and_what_is_held_already_is_kept() {
        let taken = Held { addresses: vec!["10.96.0.1".to_owned()], ports: BTreeSet::from([30001]) };
        let spec = json!({"type": "NodePort", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80, "nodePort": 30001}]});
        let mut service = json!({"spec": spec});
        let mut pool = Counting { next: 0, taken: taken.clone() };
        let field = |refused: Result<(), Refused>| match refused {
            Err(Refused::Invalid(cause)) => cause.field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(assign(&mut service, &Held::default(), &mut pool)), "spec.clusterIPs");
        let own = Held { ports: BTreeSet::new(), ..taken.clone() };
        assert_eq!(field(assign(&mut service, &own, &mut pool)), "spec.ports[0].nodePort");
        assert_eq!(assign(&mut service, &taken, &mut pool), Ok(()));
    }
}
