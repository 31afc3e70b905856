//! The statuses of a pod's containers. Pure.

use super::Host;
use crate::memory::Key;
use crate::observed::{Container as Instance, Exit, State};
use crate::plan::{self, Goal, PULL_ERROR_SHOWN, View};
use crate::pod::{Container, RestartPolicy};
use serde_json::{Value, json};

/// One entry of `containerStatuses`.
pub fn describe(
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
        State::Running { .. } if memory.is_starting(&container.name, &latest.id) => waiting("ContainerCreating", None),
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

/// As Go prints a duration of whole seconds.
fn go_duration(duration: std::time::Duration) -> String {
    let secs = duration.as_secs();
    if secs < 60 { format!("{secs}s") } else { format!("{}m{}s", secs / 60, secs % 60) }
}
