//! What is wanted of a pod: to run, to finish, to go. Pure.

use super::View;
use crate::admission::Rejection;
use crate::memory::Key;
use crate::observed;
use crate::pod::{Container, Pod, RestartPolicy};
use api::Timestamp;
use std::time::Duration;

/// What is wanted of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    Run,
    /// Stop, and stay to be looked at.
    Finish(Finish),
    Delete,
}

/// Why a pod ends without being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The API already has its last status.
    Terminal,
    /// It cannot run here.
    Rejected {
        reason: String,
        message: String,
    },
    DeadlineExceeded,
    /// Its containers ended and none is to be restarted.
    Completed,
}

/// What is wanted of the pod.
pub fn goal(view: &View<'_>) -> Goal {
    let pod = view.pod;
    if !view.present || pod.is_deleting() {
        return Goal::Delete;
    }
    if pod.is_terminal() {
        return Goal::Finish(Finish::Terminal);
    }
    if let Some((reason, message)) = never_runs(pod) {
        return Goal::Finish(Finish::Rejected { reason: reason.to_owned(), message });
    }
    if let Some(Rejection { reason, message }) = view.rejection.cloned() {
        return Goal::Finish(Finish::Rejected { reason, message });
    }
    if deadline(view).is_some_and(|at| at <= view.now) {
        return Goal::Finish(Finish::DeadlineExceeded);
    }
    if is_completed(view) { Goal::Finish(Finish::Completed) } else { Goal::Run }
}

/// Why a pod can never run here, however much room there is.
pub fn never_runs(pod: &Pod) -> Option<(&'static str, String)> {
    if let Some(why) = &pod.unreadable {
        return Some(("UnexpectedAdmissionError", format!("Pod was rejected: its spec cannot be read: {why}")));
    }
    if pod.spec.virtual_machine.is_some() {
        return Some(("NoVmRuntime", "Pod was rejected: this node runs no virtual machines".to_owned()));
    }
    if !pod.spec.runtime_class_name.is_empty() {
        let message = format!("Pod was rejected: runtime class {:?} is not known here", pod.spec.runtime_class_name);
        return Some(("RuntimeClassUnknown", message));
    }
    let odd = pod.spec.all_containers().find(|c| !api::is_dns_label(&c.name))?;
    Some(("UnexpectedAdmissionError", format!("Pod was rejected: {:?} is not a container's name", odd.name)))
}

/// When a pod has run for as long as it may.
pub fn deadline(view: &View<'_>) -> Option<Timestamp> {
    let secs = view.pod.spec.active_deadline_seconds?;
    Some(view.memory.started.plus(Duration::from_secs(secs.try_into().unwrap_or(0))))
}

/// Whether a container that ended with `code` is started again.
pub fn restarts(policy: RestartPolicy, code: i32) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => code != 0,
        RestartPolicy::Never => false,
    }
}

/// Whether the containers have ended for good.
fn is_completed(view: &View<'_>) -> bool {
    let spec = &view.pod.spec;
    let ended = |name: &str| view.observed.latest(name).and_then(observed::Container::exit).map(|e| e.code);
    let initializers = || spec.init_containers.iter().filter(|c| !c.is_sidecar());
    if spec.restart_policy == RestartPolicy::Never && initializers().any(|c| ended(&c.name).is_some_and(|c| c != 0)) {
        return true;
    }
    let done = |c: &Container| {
        let starting = view.memory.is_in_flight(&Key::Start(c.name.clone()));
        !starting && ended(&c.name).is_some_and(|code| !restarts(spec.restart_policy, code))
    };
    !spec.containers.is_empty() && spec.containers.iter().all(done)
}
