//! What kubectl shows of pods.

use super::machines;
use crate::print::or_none;
use crate::table::{AGE, Column, NAME, age, column, explained, since};
use crate::value::{int, is_empty, is_true, list, text};
use api::Timestamp;
use serde_json::{Value, json};
use std::collections::HashSet;

const SPEC: &str = "io.k8s.api.core.v1.PodSpec";
const STATUS: &str = "io.k8s.api.core.v1.PodStatus";

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    explained("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    explained("Status", "The aggregate status of the containers in this pod."),
    explained(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has \
         restarted.",
    ),
    AGE,
    column("IP", STATUS, "podIP").wide(),
    column("Node", SPEC, "nodeName").wide(),
    column("Nominated Node", STATUS, "nominatedNodeName").wide(),
    column("Readiness Gates", SPEC, "readinessGates").wide(),
];

/// Restarts of containers, and when the last of them ended.
#[derive(Clone, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += int(&container["restartCount"]).unwrap_or(0);
        self.last = self.last.max(Timestamp::parse(text(&container["lastState"]["terminated"]["finishedAt"])));
    }
}

/// What the containers of a pod add up to.
struct Summary {
    status: String,
    ready: usize,
    restarts: Restarts,
}

pub(super) fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let sidecars = list(&spec["initContainers"]).iter().filter(|c| is_sidecar(c)).count();
    let is_machine = machines::is_machine(spec);
    let total = list(&spec["containers"]).len() + sidecars + usize::from(is_machine);
    let mut summary = summary(pod);
    if is_machine {
        summary.ready = usize::from(status["phase"] == "Running");
        summary.restarts.add(&status["virtualMachineStatus"]);
    }
    let restarts = match summary.restarts {
        Restarts { count, last: Some(last) } if count != 0 => {
            format!("{count} ({} ago)", since(&json!(last.to_string()), now))
        }
        Restarts { count, .. } => count.to_string(),
    };
    vec![
        pod["metadata"]["name"].clone(),
        json!(format!("{}/{total}", summary.ready)),
        json!(summary.status),
        json!(restarts),
        age(pod, now),
        or_none(&status["podIPs"][0]["ip"]),
        or_none(&spec["nodeName"]),
        or_none(&status["nominatedNodeName"]),
        json!(gates(spec, status)),
    ]
}

/// How a pod ended, for rows of pods that did.
pub(super) fn ended(pod: &Value) -> Option<Value> {
    let (reason, message) = match text(&pod["status"]["phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

fn gates(spec: &Value, status: &Value) -> String {
    let gates = list(&spec["readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let met = list(&status["conditions"]).iter().filter(|condition| condition["status"] == "True");
    let met: HashSet<&str> = met.map(|condition| text(&condition["type"])).collect();
    let open = gates.iter().filter(|gate| met.contains(text(&gate["conditionType"]))).count();
    format!("{open}/{}", gates.len())
}

fn has_condition(status: &Value, name: &str) -> bool {
    list(&status["conditions"]).iter().any(|c| c["type"] == name && c["status"] == "True")
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn summary(pod: &Value) -> Summary {
    let status = &pod["status"];
    let mut summary = Summary { status: text(&status["phase"]).to_owned(), ready: 0, restarts: Restarts::default() };
    if !is_empty(&status["reason"]) {
        summary.status = text(&status["reason"]).to_owned();
    }
    let gated = |c: &Value| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated";
    if list(&status["conditions"]).iter().any(gated) {
        summary.status = "SchedulingGated".to_owned();
    }
    let mut of_sidecars = Restarts::default();
    let initializing = initialization(pod, &mut summary, &mut of_sidecars);
    if !initializing || has_condition(status, "Initialized") {
        summary.restarts = of_sidecars;
        containers(status, &mut summary);
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        if status["reason"] == "NodeLost" {
            summary.status = "Unknown".to_owned();
        } else if !matches!(text(&status["phase"]), "Failed" | "Succeeded") {
            summary.status = "Terminating".to_owned();
        }
    }
    summary
}

/// The first init container that is not done says how far the pod is. Answers whether there is one.
fn initialization(pod: &Value, summary: &mut Summary, of_sidecars: &mut Restarts) -> bool {
    let init = list(&pod["spec"]["initContainers"]);
    let sidecars: HashSet<&Value> = init.iter().filter(|c| is_sidecar(c)).map(|c| &c["name"]).collect();
    for (i, container) in list(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
        let sidecar = sidecars.contains(&container["name"]);
        summary.restarts.add(container);
        if sidecar {
            of_sidecars.add(container);
        }
        let (terminated, waiting) = (&container["state"]["terminated"], text(&container["state"]["waiting"]["reason"]));
        if !terminated.is_null() && int(&terminated["exitCode"]).unwrap_or(0) == 0 {
            continue;
        }
        if sidecar && is_true(&container["started"]) {
            summary.ready += usize::from(is_true(&container["ready"]));
            continue;
        }
        summary.status = match waiting {
            _ if !terminated.is_null() => format!("Init:{}", how_it_ended(terminated)),
            "" | "PodInitializing" => format!("Init:{i}/{}", init.len()),
            reason => format!("Init:{reason}"),
        };
        return true;
    }
    false
}

fn how_it_ended(terminated: &Value) -> String {
    match (text(&terminated["reason"]), int(&terminated["signal"]).unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", int(&terminated["exitCode"]).unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn containers(status: &Value, summary: &mut Summary) {
    let mut running = false;
    for container in list(&status["containerStatuses"]).iter().rev() {
        summary.restarts.add(container);
        let state = &container["state"];
        if !is_empty(&state["waiting"]["reason"]) {
            summary.status = text(&state["waiting"]["reason"]).to_owned();
        } else if !state["terminated"].is_null() {
            summary.status = how_it_ended(&state["terminated"]);
        } else if is_true(&container["ready"]) && !state["running"].is_null() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.status == "Completed" && running {
        summary.status = if has_condition(status, "Ready") { "Running" } else { "NotReady" }.to_owned();
    }
}
