//! What a node's conditions and taints have to say. Pure.
//!
//! A node that has not been heard of for a while has unknown conditions. Conditions become taints: against new pods at
//! once, against those that are there with care: not while a zone, or everything, seems to be down together.

use crate::view::{Condition, Node, Time};
use api::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// A node that was not heard of for so long is silent.
pub const GRACE: Duration = Duration::from_secs(40);

/// A node that has never said anything is given longer.
pub const STARTUP_GRACE: Duration = Duration::from_secs(60);

/// When to look again at a node that is in trouble.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A zone of more nodes than this is large.
const LARGE_ZONE_NODES: usize = 50;

/// From this share of nodes that are not ready on, a zone is disrupted.
const DISRUPTED_PERCENT: usize = 55;

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A condition, its status, and the taint that follows from it.
const TAINT_OF_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// The conditions that a node itself keeps up.
const HEARTBEAT_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Why a condition is unknown.
const SILENT: (&str, &str) = ("NodeStatusUnknown", "Kubelet stopped posting node status.");
const NEVER_SAID: (&str, &str) = ("NodeStatusNeverUpdated", "Kubelet never posted node status.");

/// What is known of a node.
pub struct Observed<'a> {
    pub node: &'a Node,
    /// When it was last heard of; `None` for never.
    pub heard: Option<Timestamp>,
    pub zone: Zone,
    pub now: Timestamp,
}

/// How the zone of a node fares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Zone {
    pub nodes: usize,
    pub not_ready: usize,
    /// No node of any zone is ready.
    pub nothing_is_ready: bool,
}

/// A taint, by key and effect.
pub type TaintId = (&'static str, &'static str);

/// What to write.
#[derive(Debug, PartialEq)]
pub enum Plan {
    Nothing {
        again: Option<Duration>,
    },
    /// Conditions that change. The taints follow from them.
    Conditions(Vec<Condition>),
    Taints {
        add: Vec<TaintId>,
        remove: Vec<TaintId>,
    },
}

/// Decides. Planning twice on the same view yields the same plan.
pub fn plan(observed: &Observed) -> Plan {
    let Observed { node, heard, zone, now } = *observed;
    let (since, grace) = match heard {
        Some(heard) => (heard, GRACE),
        None => (node.metadata.creation_timestamp.0, STARTUP_GRACE),
    };
    let silent_for = now.since(since);
    if silent_for > grace {
        let unknown = unknown_conditions(node, now);
        if !unknown.is_empty() {
            return Plan::Conditions(unknown);
        }
    }
    let (add, remove) = taints(node, zone);
    if !add.is_empty() || !remove.is_empty() {
        return Plan::Taints { add, remove };
    }
    let until_silent = (silent_for <= grace).then(|| grace - silent_for + Duration::from_secs(1));
    // Whether the pods of a node in trouble may stay depends on other nodes, whose changes do not lead here.
    let others_change = evicting_taint(node).map(|_| LOOK_AGAIN);
    Plan::Nothing { again: [until_silent, others_change].into_iter().flatten().min() }
}

pub fn is_ready(node: &Node) -> bool {
    node.condition("Ready").is_some_and(|c| c.status == "True")
}

/// The node was found silent, as opposed to saying itself that it is not ready.
pub fn is_silent(node: &Node) -> bool {
    node.condition("Ready").is_some_and(|c| c.status == "Unknown" && c.reason == SILENT.0)
}

/// The conditions of a silent node that are not unknown yet.
fn unknown_conditions(node: &Node, now: Timestamp) -> Vec<Condition> {
    let unknown = |kind: &str| match node.condition(kind) {
        Some(known) if known.status == "Unknown" => None,
        Some(known) => Some(Condition {
            status: "Unknown".to_owned(),
            reason: SILENT.0.to_owned(),
            message: SILENT.1.to_owned(),
            last_transition_time: Time(now),
            ..known.clone()
        }),
        None => Some(Condition {
            kind: kind.to_owned(),
            status: "Unknown".to_owned(),
            reason: NEVER_SAID.0.to_owned(),
            message: NEVER_SAID.1.to_owned(),
            last_heartbeat_time: node.metadata.creation_timestamp,
            last_transition_time: Time(now),
            ..Condition::default()
        }),
    };
    HEARTBEAT_CONDITIONS.into_iter().filter_map(unknown).collect()
}

/// Whether a taint makes pods go that are there.
pub fn evicts((_, effect): &TaintId) -> bool {
    *effect == "NoExecute"
}

/// The taint that makes the pods of a node in trouble go, where that is not withheld.
fn evicting_taint(node: &Node) -> Option<TaintId> {
    match node.condition("Ready")?.status.as_str() {
        "False" => Some((NOT_READY, "NoExecute")),
        "Unknown" => Some((UNREACHABLE, "NoExecute")),
        _ => None,
    }
}

/// The taints to add and to remove.
fn taints(node: &Node, zone: Zone) -> (Vec<TaintId>, Vec<TaintId>) {
    let follows = |kind: &str, status: &str| node.condition(kind).is_some_and(|c| c.status == status);
    let mut wanted: Vec<TaintId> = TAINT_OF_CONDITION
        .into_iter()
        .filter(|(kind, status, _)| follows(kind, status))
        .map(|(_, _, key)| (key, "NoSchedule"))
        .collect();
    if node.spec.unschedulable {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let has = |(key, effect): TaintId| node.spec.taints.iter().any(|t| t.key == key && t.effect == effect);
    if let Some(taint) = evicting_taint(node)
        && !zone.nothing_is_ready
        && (has(taint) || zone.may_be_emptied())
    {
        wanted.push(taint);
    }
    let conditions = TAINT_OF_CONDITION.into_iter().map(|(_, _, key)| (key, "NoSchedule"));
    let own = conditions.chain([(UNSCHEDULABLE, "NoSchedule"), (NOT_READY, "NoExecute"), (UNREACHABLE, "NoExecute")]);
    let remove: Vec<TaintId> = own.filter(|t| has(*t) && !wanted.contains(t)).collect();
    wanted.retain(|t| !has(*t));
    (wanted, remove)
}

/// The failure domain of a node: its region and zone.
pub fn zone_of(node: &Node) -> String {
    let label = |key: &str| node.metadata.labels.get(key).map_or("", String::as_str);
    format!("{}/{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

impl Zone {
    pub fn of<'a>(node: &Node, all: impl Iterator<Item = &'a Node>) -> Zone {
        let own = zone_of(node);
        let mut zone = Zone { nothing_is_ready: true, ..Zone::default() };
        for other in all {
            zone.nothing_is_ready &= !is_ready(other);
            if zone_of(other) == own {
                zone.nodes += 1;
                zone.not_ready += usize::from(!is_ready(other));
            }
        }
        zone
    }

    /// In a small zone of which much is down, the fault is rather in what connects it. (One that is down whole, while
    /// others are not, is lost.)
    fn may_be_emptied(self) -> bool {
        let disrupted = self.not_ready > 2 && self.not_ready * 100 >= DISRUPTED_PERCENT * self.nodes;
        !disrupted || self.not_ready == self.nodes || self.nodes > LARGE_ZONE_NODES
    }
}

/// Changes the taints of a node object.
pub fn set_taints(object: &mut Value, add: &[TaintId], remove: &[TaintId], now: Timestamp) {
    let mut taints = object["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints.retain(|t| !remove.iter().any(|(key, effect)| t["key"] == *key && t["effect"] == *effect));
    for (key, effect) in add {
        taints.push(json!({"key": key, "effect": effect, "timeAdded": now.to_string()}));
    }
    object["spec"]["taints"] = if taints.is_empty() { Value::Null } else { taints.into() };
}
