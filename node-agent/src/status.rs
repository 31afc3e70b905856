//! What the API is told of a pod, as upstream words it. Pure.
//!
//! Conditions keep the time of their last transition; conditions of others are left alone, because the patch merges them
//! by type. What the runtime has forgotten of a container is told as the API last knew it.

use crate::memory::{Key, Memory};
use crate::observed::{Container as Instance, Exit, State};
use crate::plan::{self, Finish, Goal, PULL_ERROR_SHOWN, View};
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
    let describe = |container: &Container, is_init: bool| describe(view, host, &goal, container, is_init, initialized);
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
    if let Some(ip) = ips.first() {
        set("podIP", json!(ip));
        set("podIPs", ips.iter().map(|ip| json!({"ip": ip})).collect());
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

/// One entry of `containerStatuses`.
fn describe(
    view: &View<'_>,
    host: &Host,
    goal: &Goal,
    container: &Container,
    is_init: bool,
    initialized: bool,
) -> Value {
    let View { pod, observed, memory, .. } = *view;
    let known = pod.known_status(&container.name);
    let Some(latest) = observed.latest(&container.name) else {
        return describe_unseen(view, goal, container, known, initialized);
    };
    let previous = observed.previous(&container.name).and_then(|p| p.exit().map(|e| terminated(host, p, e)));
    let mut last_state = previous.unwrap_or_else(|| kept_last_state(known, latest));
    let restarts = is_init && container.is_sidecar()
        || latest.exit().is_some_and(|e| match pod.spec.restart_policy {
            RestartPolicy::Always if is_init => e.code != 0,
            policy => plan::restarts(policy, e.code),
        });
    let state = match &latest.state {
        State::Running { .. } if memory.hooks.contains_key(&latest.id) => waiting("ContainerCreating", None),
        State::Running { started } => json!({"running": {"startedAt": started.to_string()}}),
        State::Created => waiting("ContainerCreating", None),
        State::Unknown => waiting("ContainerStatusUnknown", None),
        State::Exited(exit) => {
            match waits(view, container, Some((latest, exit))).filter(|_| restarts && *goal == Goal::Run) {
                Some(waiting) => {
                    last_state = terminated(host, latest, exit);
                    waiting
                }
                None => terminated(host, latest, exit),
            }
        }
    };
    let is_running = latest.running_since().is_some();
    let completed = is_init && !container.is_sidecar() && latest.exit().is_some_and(|e| e.code == 0);
    let started = is_running && memory.has_started(container, &latest.id);
    json!({
        "name": container.name,
        "state": state,
        "lastState": last_state,
        "ready": completed || is_running && memory.is_ready(container, &latest.id),
        "restartCount": latest.restart_count,
        "image": if latest.image.is_empty() { &container.image } else { &latest.image },
        "imageID": latest.image_ref,
        "containerID": format!("{}://{}", host.runtime, latest.id),
        "started": started,
    })
}

/// A container that the runtime knows nothing of: not made yet, or forgotten.
fn describe_unseen(view: &View<'_>, goal: &Goal, container: &Container, known: &Value, initialized: bool) -> Value {
    let ran = known["containerID"].as_str().is_some_and(|id| !id.is_empty());
    let lost = json!({
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
    });
    let creating = if initialized { "ContainerCreating" } else { "PodInitializing" };
    let creating = if view.pod.spec.init_containers.is_empty() { "ContainerCreating" } else { creating };
    let state = if !known["state"]["terminated"].is_null() {
        known["state"].clone()
    } else if ran && *goal != Goal::Run {
        json!({"terminated": lost})
    } else {
        waits(view, container, None).unwrap_or_else(|| waiting(creating, None))
    };
    let mut status = json!({
        "name": container.name,
        "state": state,
        "lastState": known.get("lastState").cloned().unwrap_or_else(|| json!({})),
        "ready": false,
        "restartCount": known["restartCount"].as_u64().unwrap_or(0),
        "image": container.image,
        "imageID": known["imageID"].as_str().unwrap_or_default(),
        "started": false,
    });
    if ran {
        status["containerID"] = known["containerID"].clone();
    }
    status
}

/// Why a container does not start at once: its image, its configuration, or its exits.
fn waits(view: &View<'_>, container: &Container, exited: Option<(&Instance, &Exit)>) -> Option<Value> {
    let View { pod, memory, now, .. } = *view;
    let name = &container.name;
    if memory.is_in_flight(&Key::Start(name.clone())) {
        return None;
    }
    if let Some((_, exit)) = exited
        && let Some((due, delay)) = memory.crashes.get(name).map(|c| c.due(exit.finished))
        && due > now
    {
        let whose = pod.reference().map(|p| p.words()).unwrap_or_default();
        let message = format!("back-off {} restarting failed container={name} pod={whose}", go_duration(delay));
        return Some(waiting("CrashLoopBackOff", Some(&message)));
    }
    if let Some(failure) = memory.failures.get(&Key::Image(name.clone())) {
        let back_off =
            format!("Back-off pulling image \"{}\": {}: {}", container.image, failure.reason, failure.message);
        let shown_as_error = failure.reason != "ErrImagePull" || now < failure.at.plus(PULL_ERROR_SHOWN);
        return Some(match shown_as_error {
            true => waiting(&failure.reason, Some(&failure.message)),
            false => waiting("ImagePullBackOff", Some(&back_off)),
        });
    }
    let failure = memory.failures.get(&Key::Start(name.clone()))?;
    Some(waiting(&failure.reason, Some(&failure.message)))
}

fn waiting(reason: &str, message: Option<&str>) -> Value {
    let mut waiting = json!({"reason": reason});
    if let Some(message) = message {
        waiting["message"] = json!(message);
    }
    json!({"waiting": waiting})
}

fn terminated(host: &Host, container: &Instance, exit: &Exit) -> Value {
    let default_reason = if exit.code == 0 { "Completed" } else { "Error" };
    let mut terminated = json!({
        "exitCode": exit.code,
        "reason": if exit.reason.is_empty() { default_reason } else { &exit.reason },
        "startedAt": exit.started.unwrap_or(exit.finished).to_string(),
        "finishedAt": exit.finished.to_string(),
        "containerID": format!("{}://{}", host.runtime, container.id),
    });
    if !exit.message.is_empty() {
        terminated["message"] = json!(exit.message);
    }
    json!({"terminated": terminated})
}

/// The last state as the API knows it, where it is of an earlier container than the latest.
fn kept_last_state(known: &Value, latest: &Instance) -> Value {
    let is_same = known["containerID"].as_str().is_some_and(|id| id.ends_with(&latest.id));
    let of_known =
        if is_same { known.get("lastState") } else { known.get("state").filter(|s| s.get("terminated").is_some()) };
    of_known.cloned().unwrap_or_else(|| json!({}))
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

/// As Go prints a duration of whole seconds.
fn go_duration(duration: std::time::Duration) -> String {
    let secs = duration.as_secs();
    if secs < 60 { format!("{secs}s") } else { format!("{}m{}s", secs / 60, secs % 60) }
}

/// The version of a pod as a number; a tenant's versions grow.
pub fn version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests;
