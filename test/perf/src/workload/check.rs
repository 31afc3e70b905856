//! Looks at all placements after a run: a fast scheduler that is wrong has won nothing.

mod rules;

use crate::connection::{Error, text};
use client::{ListParams, NODES, PODS};
use kit::Server;
use serde_json::Value;
use std::collections::BTreeMap;

/// What one pod asks for or one node offers, in thousandths of a unit.
type Amounts = BTreeMap<String, i128>;

/// A sentence per node that holds more than it offers, and per pod that is where it must not be.
pub async fn misplaced(server: &Server) -> Result<Vec<String>, Error> {
    let client = server.client();
    let nodes = client.list(NODES, "", &ListParams::default()).await.map_err(text)?.items;
    let pods = client.all_tenants().list(PODS, "", &ListParams::default()).await.map_err(text)?.items;
    let mut found = overcommitted(&nodes, &pods);
    found.extend(rules::broken(&nodes, &pods));
    Ok(found)
}

fn overcommitted(nodes: &[Value], pods: &[Value]) -> Vec<String> {
    let mut held: BTreeMap<&str, Amounts> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))) {
        let Some(node) = pod["spec"]["nodeName"].as_str() else { continue };
        let held = held.entry(node).or_default();
        *held.entry("pods".to_owned()).or_default() += 1000;
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            for (resource, amount) in amounts(&container["resources"]["requests"]) {
                *held.entry(resource).or_default() += amount;
            }
        }
    }
    let offers: BTreeMap<&str, Amounts> = nodes
        .iter()
        .filter_map(|node| Some((node["metadata"]["name"].as_str()?, amounts(&node["status"]["allocatable"]))))
        .collect();
    let mut found = Vec::new();
    for (node, held) in held {
        let Some(offered) = offers.get(node) else {
            found.push(format!("pods are bound to {node}, which does not exist"));
            continue;
        };
        for (resource, amount) in held {
            let offered = offered.get(&resource).copied().unwrap_or(0);
            if amount > offered {
                found.push(format!("{node} holds {amount} thousandths of {resource} and offers {offered}"));
            }
        }
    }
    found
}

fn amounts(quantities: &Value) -> Amounts {
    let quantities = quantities.as_object().into_iter().flatten();
    quantities.filter_map(|(name, text)| Some((name.clone(), thousandths(text.as_str()?)?))).collect()
}

/// A quantity in thousandths, read by rules of this file's own: the check is to share nothing with what it checks.
fn thousandths(text: &str) -> Option<i128> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor: i128 = match suffix {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        _ => return None,
    };
    Some(number.parse::<i128>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_that_holds_too_much_is_named() {
        let nodes =
            [json!({"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "2"}}})];
        let pod = |cpu: &str| {
            json!({"spec": {"nodeName": "a", "containers": [{"resources": {"requests": {"cpu": cpu}}}]},
                "status": {"phase": "Running"}})
        };
        assert_eq!(overcommitted(&nodes, &[pod("500m"), pod("500m")]), Vec::<String>::new());
        let found = overcommitted(&nodes, &[pod("500m"), pod("501m")]);
        assert!(found.len() == 1 && found[0].contains("a holds 1001 thousandths of cpu"), "{found:?}");
        let found = overcommitted(&nodes, &[pod("1m"), pod("1m"), pod("1m")]);
        assert!(found.len() == 1 && found[0].contains("pods"), "{found:?}");
        let mut lost = pod("1m");
        lost["spec"]["nodeName"] = json!("b");
        assert_eq!(overcommitted(&nodes, &[lost]).len(), 1);
        let mut done = pod("2");
        done["status"]["phase"] = json!("Succeeded");
        assert_eq!(overcommitted(&nodes, &[done]), Vec::<String>::new());
    }
}
