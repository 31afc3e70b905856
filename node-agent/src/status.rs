//! What the API is told of a pod, as upstream words it. Pure.
//!
//! Conditions keep the time of their last transition; conditions of others are left alone, because the patch merges them
//! by type. What the runtime has forgotten of a container is told as the API last knew it.

mod containers;

use crate::memory::{Key, Memory};
use crate::observed::Container as Instance;
use crate::plan::{self, Finish, Goal, View};
use crate::pod::{Container, Pod, RestartPolicy};
use crate::resources;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// What a pod's status says of where it runs.
pub struct Host {
    pub ip: IpAddr,
    /// The scheme of container ids, e.g. `containerd`.
    pub runtime: String,
}

/// The members of a pod's status that the agent writes; others are not its own.
const OWN: [&str; 13] = [
    "observedGeneration",
    "phase",
    "reason",
    "message",
    "conditions",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "initContainerStatuses",
    "containerStatuses",
    "qosClass",
];

/// The status of a pod that is seen as `view`.
pub fn status(view: &View<'_>, host: &Host) -> Value {
    let goal = plan::goal(view);
    let spec = &view.pod.spec;
    let initialized = is_initialized(view);
    let describe =
        |container: &Container, is_init: bool| containers::describe(view, host, &goal, container, is_init, initialized);
    let inits: Vec<Value> = spec.init_containers.iter().map(|c| describe(c, true)).collect();
    let containers: Vec<Value> = spec.containers.iter().map(|c| describe(c, false)).collect();
    let phase = phase(view, &goal, &inits, &containers);
    let mut status = Map::new();
    let mut set = |name: &str, value: Value| status.insert(name.to_owned(), value);
    if view.pod.metadata.generation > 0 {
        set("observedGeneration", json!(view.pod.metadata.generation));
    }
    match &goal {
        Goal::Finish(Finish::Rejected { reason, message }) => {
            set("reason", json!(reason));
            set("message", json!(message));
        }
        Goal::Finish(Finish::DeadlineExceeded) => {
            set("reason", json!("DeadlineExceeded"));
            set("message", json!("Pod was active on the node longer than the specified deadline"));
        }
        Goal::Run | Goal::Delete | Goal::Finish(Finish::Terminal | Finish::Completed) => {
            for member in ["reason", "message"] {
                if let Some(kept) = view.pod.status.get(member).filter(|_| view.pod.is_terminal()) {
                    set(member, kept.clone());
                }
            }
        }
    }
    set("hostIP", json!(host.ip));
    set("hostIPs", json!([{"ip": host.ip}]));
    let ips = pod_ips(view, host);
    match ips.first() {
        Some(ip) => {
            set("podIP", json!(ip));
            set("podIPs", ips.iter().map(|ip| json!({"ip": ip})).collect());
        }
        // A pod keeps the address that it had after its network is gone.
        None => {
            for member in ["podIP", "podIPs"] {
                if let Some(kept) = view.pod.status.get(member) {
                    set(member, kept.clone());
                }
            }
        }
    }
    set("startTime", json!(view.memory.started.to_string()));
    set("qosClass", json!(resources::qos_class(spec).as_str()));
    set("conditions", conditions(view, phase, initialized, &inits, &containers));
    set("phase", json!(phase));
    if !inits.is_empty() {
        set("initContainerStatuses", json!(inits));
    }
    set("containerStatuses", json!(containers));
    Value::Object(status)
}

/// Whether the API has what `status` says. Others' conditions do not count.
pub fn is_reported(known: &Value, status: &Value) -> bool {
    OWN.iter().filter(|&&member| member != "conditions").all(|&member| known.get(member) == status.get(member))
        && status["conditions"].as_array().into_iter().flatten().all(|c| {
            let known = condition(known, c["type"].as_str().unwrap_or_default());
            ["status", "reason", "message"].iter().all(|&member| known.get(member) == c.get(member))
        })
}

/// The strategic merge patch that makes the API's status of this very pod `status`.
pub fn patch(pod: &Pod, status: &Value) -> Value {
    let mut members = Map::new();
    for member in OWN {
        match (pod.status.get(member), status.get(member)) {
            (Some(_), None) => members.insert(member.to_owned(), Value::Null),
            // Merged by address, which would keep old ones.
            (Some(known), Some(ips)) if member.ends_with("IPs") && known != ips => {
                let replace = std::iter::once(json!({"$patch": "replace"}));
                let list = replace.chain(ips.as_array().into_iter().flatten().cloned()).collect();
                members.insert(member.to_owned(), list)
            }
            (_, Some(conditions)) if member == "conditions" => {
                members.insert(member.to_owned(), conditions.as_array().into_iter().flatten().map(whole).collect())
            }
            (_, Some(value)) => members.insert(member.to_owned(), value.clone()),
            (None, None) => None,
        };
    }
    json!({"metadata": {"uid": pod.metadata.uid}, "status": members})
}

/// A condition that takes the place of a known one: merged by type, it would keep what it does not name.
fn whole(condition: &Value) -> Value {
    let mut condition = condition.clone();
    for member in ["reason", "message"] {
        if condition.get(member).is_none() {
            condition[member] = Value::Null;
        }
    }
    condition
}

/// A pod's own addresses, or the node's for pods in its network.
pub fn pod_ips(view: &View<'_>, host: &Host) -> Vec<IpAddr> {
    match view.observed.sandboxes.first() {
        Some(_) if view.pod.spec.host_network => vec![host.ip],
        Some(sandbox) => sandbox.ips.clone(),
        None => Vec::new(),
    }
}

fn is_initialized(view: &View<'_>) -> bool {
    let observed = view.observed;
    let spec = &view.pod.spec;
    let passed = |c: &Container| match observed.latest(&c.name) {
        Some(found) if c.is_sidecar() => view.memory.has_started(c, &found.id),
        Some(found) => found.exit().is_some_and(|e| e.code == 0),
        None => false,
    };
    spec.containers.iter().any(|c| observed.latest(&c.name).is_some()) || spec.init_containers.iter().all(passed)
}

fn phase(view: &View<'_>, goal: &Goal, inits: &[Value], containers: &[Value]) -> &'static str {
    let spec = &view.pod.spec;
    if view.pod.is_terminal() {
        return if view.pod.status["phase"] == "Succeeded" { "Succeeded" } else { "Failed" };
    }
    if matches!(goal, Goal::Finish(Finish::Rejected { .. } | Finish::DeadlineExceeded)) {
        return "Failed";
    }
    let runs = |s: &&Value| !s["state"]["running"].is_null();
    let exit =
        |s: &Value| [&s["state"], &s["lastState"]].into_iter().find_map(|s| s["terminated"]["exitCode"].as_i64());
    let running = containers.iter().filter(runs).count();
    let stopped = containers.iter().filter(|s| !runs(s) && exit(s).is_some()).count();
    let succeeded = containers.iter().filter(|s| s["state"]["terminated"]["exitCode"] == 0).count();
    let plain = || spec.init_containers.iter().zip(inits).filter(|(c, _)| !c.is_sidecar()).map(|(_, status)| status);
    let init_failed = plain().any(|s| exit(s).is_some_and(|code| code != 0));
    let init_pending = plain().any(|s| exit(s).is_none());
    let anything_runs = view.observed.containers.iter().any(Instance::may_run);
    let over = !anything_runs && view.memory.in_flight.keys().all(|k| !matches!(k, Key::Start(_)));
    let terminal = *goal != Goal::Run && over;
    match spec.restart_policy {
        _ if terminal && succeeded == containers.len() => "Succeeded",
        _ if terminal => "Failed",
        RestartPolicy::Never if init_failed => "Failed",
        _ if init_pending || running + stopped < containers.len() => "Pending",
        RestartPolicy::Always | RestartPolicy::OnFailure | RestartPolicy::Never => "Running",
    }
}

fn conditions(view: &View<'_>, phase: &str, initialized: bool, inits: &[Value], containers: &[Value]) -> Value {
    let completed = phase == "Succeeded";
    let failed = phase == "Failed";
    let names = |list: &[Value], wanted: fn(&Value) -> bool| {
        let names: Vec<&str> = list.iter().filter(|s| wanted(s)).filter_map(|s| s["name"].as_str()).collect();
        names.join(" ")
    };
    let unready = names(containers, |s| s["ready"] != true);
    let is_initialized = if initialized || completed {
        verdict(true, if completed { "PodCompleted" } else { "" }, String::new())
    } else {
        let incomplete = names(inits, |s| s["ready"] != true);
        verdict(false, "ContainersNotInitialized", format!("containers with incomplete status: [{incomplete}]"))
    };
    let containers_ready = if completed {
        verdict(false, "PodCompleted", String::new())
    } else if failed {
        verdict(false, "PodFailed", String::new())
    } else if unready.is_empty() {
        verdict(true, "", String::new())
    } else {
        verdict(false, "ContainersNotReady", format!("containers with unready status: [{unready}]"))
    };
    let gate = view.pod.spec.readiness_gates.iter().map(|g| g.condition_type.as_str());
    let closed = gate.filter(|g| condition(&view.pod.status, g)["status"] != "True").collect::<Vec<_>>();
    let ready = match closed.first() {
        Some(gate) if containers_ready["status"] == "True" => {
            let message =
                format!("corresponding condition of pod readiness gate \"{gate}\" does not exist or is not True.");
            verdict(false, "ReadinessGatesNotReady", message)
        }
        Some(_) | None => containers_ready.clone(),
    };
    let has_network = view.observed.ready_sandbox().is_some_and(|s| view.pod.spec.host_network || !s.ips.is_empty());
    let wanted = [
        ("PodReadyToStartContainers", verdict(has_network, "", String::new())),
        ("Initialized", is_initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", verdict(true, "", String::new())),
    ];
    wanted.into_iter().map(|(kind, verdict)| dated(view, kind, verdict)).collect()
}

fn verdict(is_true: bool, reason: &str, message: String) -> Value {
    let mut verdict = json!({"status": if is_true { "True" } else { "False" }});
    if !reason.is_empty() {
        verdict["reason"] = json!(reason);
    }
    if !message.is_empty() {
        verdict["message"] = json!(message);
    }
    verdict
}

/// A condition with the time at which its status last changed.
fn dated(view: &View<'_>, kind: &str, mut verdict: Value) -> Value {
    let Memory { reported, .. } = view.memory;
    let before = reported.as_ref().map_or(&view.pod.status, |(status, _)| status);
    let before = condition(before, kind);
    let kept = before.get("lastTransitionTime").filter(|_| before["status"] == verdict["status"]);
    verdict["lastTransitionTime"] = kept.cloned().unwrap_or_else(|| json!(view.now.to_string()));
    verdict["type"] = json!(kind);
    if view.pod.metadata.generation > 0 {
        verdict["observedGeneration"] = json!(view.pod.metadata.generation);
    }
    verdict
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

/// The version of a pod as a number; a tenant's versions grow.
pub fn version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests;
