//! `ursa explain pod`: what a scheduler would say of a pod now, from what it follows and without doing anything.

use crate::config::Config;
use crate::follow::{self, Followed};
use crate::placement::{Explanation, Pod, PodKey};
use crate::state::State;
use api::{Error, Result, Timestamp};
use client::Client;
use futures::{FutureExt, StreamExt};
use runtime::Supervisor;
use std::sync::Arc;
use std::time::Duration;

/// How long the lists may take that an answer is made of.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nodes are shown up to this number; the rest is counted.
const NODES_SHOWN_MAX: usize = 200;

/// What there is to say of a pod.
pub struct Explained {
    pub pod: Arc<Pod>,
    pub nodes: Explanation,
    /// What the tenant has of the cluster at most, of any resource, from 0 to 1.
    pub share: f64,
    pub weight: i64,
    /// How many tenants with waiting pods are served first, and how many pods of this one.
    pub before: Option<(usize, usize)>,
}

/// Reads what is there and explains a pod, as text. The client is an operator's.
pub async fn explain(client: &Client, config: Config, key: &PodKey) -> Result<String> {
    let mut supervisor = Supervisor::new();
    let Followed { mut events, synced } = follow::follow(client, &mut supervisor);
    let mut state = State::new(config.profiles);
    let read = async {
        tokio::time::timeout(PATIENCE, synced).await.map_err(|_| Error::internal("the lists did not come in time"))?;
        while let Some(Some(event)) = events.next().now_or_never() {
            // What it would do about the event is not done.
            drop(state.apply(event, Timestamp::now()));
        }
        Ok(())
    };
    let outcome: Result<()> = tokio::select! {
        read = read => read,
        // Cancelled as soon as everything is read.
        ended = supervisor.run(std::future::pending(), Duration::ZERO) => ended.map_err(Error::internal),
    };
    outcome?;
    let explained = state.explain(key).ok_or_else(|| Error::not_found("", "pods", &key.name))?;
    Ok(text(key, &explained))
}

fn text(key: &PodKey, explained: &Explained) -> String {
    let Explained { pod, nodes, share, weight, before } = explained;
    let mut out = String::new();
    let mut line = |text: String| {
        out += &text;
        out.push('\n');
    };
    line(format!("pod {}/{} of tenant {}", key.namespace, key.name, key.tenant));
    match (&*pod.node, &pod.condition) {
        (node, _) if !node.is_empty() => line(format!("runs on {node}; the nodes are looked at as if it did not")),
        _ if pod.gated => line("waits: it has scheduling gates".to_owned()),
        (_, Some(condition)) if !condition.message.is_empty() => line(format!("waits: {}", condition.message)),
        _ => line("waits".to_owned()),
    }
    line(format!("tenant: has {:.1} % of the resource that it has most of; weight {weight}", share * 100.0));
    if let Some((tenants, pods)) = before {
        line(format!("queue: {tenants} tenants with waiting pods come first, and {pods} pods of this tenant"));
    }
    if let Some(why) = &nodes.nowhere {
        line(format!("no node: {why}"));
        return out;
    }
    let mut sorted: Vec<_> = nodes.nodes.iter().collect();
    sorted.sort_by_key(|node| (!node.reasons.is_empty(), std::cmp::Reverse(node.total())));
    let width = sorted.iter().map(|node| node.name.len()).max().unwrap_or(0).max("NODE".len());
    line(format!("{:<width$}  {:>6}  WHY", "NODE", "SCORE"));
    for node in sorted.iter().take(NODES_SHOWN_MAX) {
        let scores = node.scores.iter().map(|(plugin, weight, score)| match weight {
            1 => format!("{plugin} {score}"),
            _ => format!("{plugin} {weight}×{score}"),
        });
        let (score, why) = match node.reasons.is_empty() {
            true => (node.total().to_string(), scores.collect::<Vec<_>>().join(", ")),
            false => ("-".to_owned(), node.reasons.join(", ")),
        };
        line(format!("{:<width$}  {score:>6}  {why}", node.name));
    }
    if sorted.len() > NODES_SHOWN_MAX {
        line(format!("and {} more", sorted.len() - NODES_SHOWN_MAX));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{Node, Profile};
    use crate::state::Event;
    use api::TenantName;
    use serde_json::{Value, json};

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> Option<Arc<T>> {
        Some(Arc::new(serde_json::from_value(value).expect("an object")))
    }

    #[test]
    fn a_waiting_pod_is_explained_by_node_and_by_its_tenants_turn() {
        let mut state = State::new(vec![Profile::default()]);
        let now = Timestamp::from_unix_secs(1_000_000);
        for (name, cpu) in [("small", "1"), ("large", "4")] {
            let node = read::<Node>(json!({"status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "9"}}}));
            state.apply(Event::Node { name: name.to_owned(), node }, now);
        }
        let tenant = TenantName::new("acme").expect("a tenant's name");
        for (name, node) in [("runs", "large"), ("first", ""), ("web", "")] {
            let resources = json!({"requests": {"cpu": "2"}});
            let pod = json!({
                "metadata": {"uid": name},
                "spec": {"nodeName": node, "schedulerName": "default-scheduler", "containers": [{"resources": resources}]},
            });
            let key = PodKey::new(&tenant, "default", name);
            state.apply(Event::Pod { key, pod: read(pod) }, now);
        }
        let key = PodKey::new(&tenant, "default", "web");
        let told = text(&key, &state.explain(&key).expect("it is there"));
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "pod default/web of tenant acme", "{told}");
        assert!(told.contains("has 40.0 % of the resource that it has most of; weight 1"), "{told}");
        assert!(told.contains("queue: 0 tenants with waiting pods come first, and 1 pods of this tenant"), "{told}");
        assert!(lines[5].starts_with("large") && lines[5].contains("NodeResources"), "{told}");
        assert!(lines[6].starts_with("small") && lines[6].ends_with("Insufficient cpu"), "{told}");
        let running = PodKey::new(&tenant, "default", "runs");
        let told = text(&running, &state.explain(&running).expect("it is there"));
        assert!(told.contains("runs on large") && told.contains("has 40.0 %"), "{told}");
    }
}
