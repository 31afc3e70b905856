//! Decides what a pod needs next. Pure: no clock, no runtime, no client.
//!
//! ```text
//!                 volumes, sandbox            init containers, containers, probes
//!   bound ──▶ Starting ──────────────▶ Running ◀──────┐
//!                │  ▲                   │  │          │ restart policy, back-off
//!                │  └── sandbox died ───┘  └──────────┘
//!                │                      │
//!                │   all done, past its deadline, rejected, or deleted
//!                └──────────┬───────────┘
//!                           ▼        pod stays
//!                       Stopping ────────────────▶ Finished   (containers are kept for their logs)
//!                           │ pod is deleted           │
//!                           │ and its last status told │ deleted
//!                           ▼                          │
//!                       Removing ◀─────────────────────┘
//!                           │ sandbox, containers, directories, the object in the API
//!                           ▼
//!                         Gone
//! ```
//!
//! Invariant: planning twice on the same view yields the same actions, and none whose key is under way.
//! Invariant: a container that runs, healthy and as its spec says, is never acted on while its pod is to run.

mod goal;

pub use goal::{Finish, Goal, goal, never_runs, restarts};

use crate::admission::Rejection;
use crate::memory::{Hook, Key, Memory};
use crate::observed::{self, Observed, State};
use crate::pod::{Container, Pod, ProbeKind};
use api::Timestamp;
use goal::deadline;
use std::time::Duration;

/// What a pod that is gone from the API gets to stop: whoever deleted it so did not want to wait.
const GONE_GRACE_SECS: i64 = 2;

/// How long a failed pull is told as an error before it is told as a back-off.
pub const PULL_ERROR_SHOWN: Duration = Duration::from_secs(5);

/// Everything that decides what a pod needs next.
pub struct View<'a> {
    /// As the API has it, or had it last.
    pub pod: &'a Pod,
    /// Whether the API still has it.
    pub present: bool,
    /// Why the node did not take the pod.
    pub rejection: Option<&'a Rejection>,
    pub observed: &'a Observed,
    pub memory: &'a Memory,
    /// Whether the API has the pod's current status.
    pub settled: bool,
    pub now: Timestamp,
}

/// Where a pod is in its life here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Starting,
    Running,
    Stopping,
    Finished,
    Removing,
    Gone,
}

/// One step towards what the pod should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    SetUpVolumes,
    RunSandbox {
        attempt: u32,
    },
    StopSandbox {
        id: String,
    },
    RemoveSandbox {
        id: String,
    },
    EnsureImage {
        container: String,
    },
    Start {
        container: String,
        sandbox: String,
        restart_count: u32,
    },
    PostStart {
        container: String,
        id: String,
    },
    Kill {
        container: String,
        id: String,
        grace_secs: i64,
        pre_stop: bool,
        why: Why,
    },
    RemoveContainer {
        id: String,
    },
    Probe {
        container: String,
        id: String,
        kind: ProbeKind,
    },
    /// Tells users that a container waits before it is restarted.
    AnnounceBackOff {
        container: String,
        id: String,
    },
    Cancel(Key),
    CleanUp,
    Delete,
}

/// Why a container is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    PodStops,
    Unhealthy(ProbeKind),
    HookFailed,
    SpecChanged,
}

impl Action {
    /// What the action is about; `None` for what is done at once.
    pub fn key(&self) -> Option<Key> {
        Some(match self {
            Action::SetUpVolumes => Key::Volumes,
            Action::RunSandbox { .. } | Action::StopSandbox { .. } | Action::RemoveSandbox { .. } => Key::Sandbox,
            Action::EnsureImage { container } => Key::Image(container.clone()),
            Action::Start { container, .. } => Key::Start(container.clone()),
            Action::PostStart { id, .. } => Key::PostStart(id.clone()),
            Action::Kill { id, .. } => Key::Kill(id.clone()),
            Action::RemoveContainer { id } => Key::RemoveContainer(id.clone()),
            Action::Probe { id, kind, .. } => Key::Probe(id.clone(), *kind),
            Action::CleanUp => Key::CleanUp,
            Action::Delete => Key::Delete,
            Action::AnnounceBackOff { .. } | Action::Cancel(_) => return None,
        })
    }
}

/// What to do now, and when to look again if nothing else happens.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    pub phase: Phase,
    pub actions: Vec<Action>,
    pub wake_at: Option<Timestamp>,
}

/// Decides what the pod needs next.
pub fn plan(view: &View<'_>) -> Plan {
    let mut planner = Planner { view, actions: Vec::new(), wake_at: None };
    let phase = match goal(view) {
        Goal::Run => planner.run(),
        Goal::Finish(_) => planner.finish(),
        Goal::Delete => planner.delete(),
    };
    Plan { phase, actions: planner.actions, wake_at: planner.wake_at }
}

/// Whether a container's start makes the ones after it wait.
#[derive(PartialEq, Eq)]
enum Turn {
    /// It waits for time to pass: others go on.
    Blocked,
    /// It is being started: containers of a pod start one after another.
    Taken,
}

struct Planner<'a> {
    view: &'a View<'a>,
    actions: Vec<Action>,
    wake_at: Option<Timestamp>,
}

impl<'a> Planner<'a> {
    fn run(&mut self) -> Phase {
        let View { pod, observed, memory, now, .. } = *self.view;
        if let Some(at) = deadline(self.view) {
            self.wake(at);
        }
        match memory.volumes {
            Some(refresh_at) if refresh_at > now => self.wake(refresh_at),
            Some(_) | None => {
                self.act(Action::SetUpVolumes);
            }
        }
        let usable = |s: &&observed::Sandbox| pod.spec.host_network || !s.ips.is_empty();
        let Some(sandbox) = observed.ready_sandbox().filter(usable) else {
            self.replace_sandbox();
            return Phase::Starting;
        };
        self.collect_garbage(&sandbox.id);
        self.keep_running(&sandbox.id);
        if self.initialize(&sandbox.id) {
            self.start_containers(&sandbox.id);
        }
        Phase::Running
    }

    /// Makes a sandbox once nothing of an earlier one runs.
    fn replace_sandbox(&mut self) {
        let View { observed, memory, .. } = *self.view;
        for leftover in observed.containers.iter().filter(|c| c.may_run()) {
            self.kill(leftover, self.view.pod.grace_secs(), self.view.now, Why::PodStops);
        }
        if observed.containers.iter().any(observed::Container::may_run) {
            return;
        }
        if let Some(old) = observed.sandboxes.iter().find(|s| s.ready) {
            self.act(Action::StopSandbox { id: old.id.clone() });
        } else if memory.volumes.is_some() {
            let attempt = observed.sandboxes.first().map_or(0, |s| s.attempt + 1);
            self.act(Action::RunSandbox { attempt });
        }
    }

    /// Removes sandboxes that were replaced, and containers older than the last but one of their name.
    fn collect_garbage(&mut self, current: &str) {
        let observed = self.view.observed;
        for (i, container) in observed.containers.iter().enumerate() {
            let newer = observed.containers[..i].iter().filter(|c| c.name == container.name).count();
            if !container.may_run() && newer >= 2 {
                self.act(Action::RemoveContainer { id: container.id.clone() });
            }
        }
        if let Some(stale) = observed.sandboxes.iter().find(|s| s.id != current) {
            let mut inside = observed.containers.iter().filter(|c| c.sandbox == stale.id).peekable();
            if inside.peek().is_none() && !stale.ready {
                self.act(Action::RemoveSandbox { id: stale.id.clone() });
            } else if stale.ready && !inside.any(observed::Container::may_run) {
                self.act(Action::StopSandbox { id: stale.id.clone() });
            }
        }
    }

    /// Probes what runs, finishes its start, and kills what is not as it should be.
    fn keep_running(&mut self, sandbox: &str) {
        let View { pod, observed, memory, now, .. } = *self.view;
        for container in pod.spec.all_containers() {
            let Some(running) = observed.latest(&container.name).filter(|c| c.may_run()) else { continue };
            let verdict = |kind| memory.verdict(&running.id, kind) == Some(false);
            let failed = [ProbeKind::Startup, ProbeKind::Liveness].into_iter().find(|&kind| verdict(kind));
            if running.sandbox != sandbox || matches!(running.state, State::Unknown) {
                self.kill(running, pod.grace_secs(), now, Why::PodStops);
            } else if let Some(kind) = failed {
                let own = container.probe(kind).and_then(|p| p.termination_grace_period_seconds);
                self.kill(running, own.unwrap_or(pod.grace_secs()), now, Why::Unhealthy(kind));
            } else if !running.spec_image.is_empty() && running.spec_image != container.image {
                self.kill(running, pod.grace_secs(), now, Why::SpecChanged);
            } else if memory.hooks.get(&running.id) == Some(&Hook::Failed) {
                self.kill(running, pod.grace_secs(), now, Why::HookFailed);
            } else if memory.hooks.get(&running.id) == Some(&Hook::Pending) {
                self.act(Action::PostStart { container: container.name.clone(), id: running.id.clone() });
            } else if let Some(since) = running.running_since()
                && !memory.is_in_flight(&Key::Start(container.name.clone()))
            {
                self.probe(container, &running.id, since);
            }
        }
    }

    fn probe(&mut self, container: &Container, id: &str, since: Timestamp) {
        let View { memory, now, .. } = *self.view;
        let started = memory.has_started(container, id);
        for kind in ProbeKind::ALL {
            let Some(probe) = container.probe(kind) else { continue };
            if started == (kind == ProbeKind::Startup) {
                continue;
            }
            let first = since.min(now).plus(Duration::from_secs(probe.initial_delay_seconds.into()));
            let due = memory.probes.get(&(id.to_owned(), kind)).and_then(|p| p.next).unwrap_or(first);
            if due <= now {
                self.act(Action::Probe { container: container.name.clone(), id: id.to_owned(), kind });
            } else {
                self.wake(due);
            }
        }
    }

    /// Runs init containers one after another; true once the last of them is through.
    fn initialize(&mut self, sandbox: &str) -> bool {
        let View { pod, observed, memory, .. } = *self.view;
        let here = |name: &str| observed.latest(name).filter(|c| c.sandbox == sandbox);
        // Init containers that ran before a container was made need not be there any more.
        let initialized = pod.spec.containers.iter().any(|c| here(&c.name).is_some());
        for container in &pod.spec.init_containers {
            let passed = match here(&container.name) {
                Some(found) if container.is_sidecar() => {
                    found.running_since().is_some() && memory.has_started(container, &found.id)
                }
                Some(found) => found.exit().is_some_and(|e| e.code == 0),
                None => false,
            };
            if passed || (initialized && !container.is_sidecar()) {
                continue;
            }
            if !here(&container.name).is_some_and(observed::Container::may_run) {
                self.start(container, sandbox);
            }
            if !initialized {
                return false;
            }
        }
        true
    }

    fn start_containers(&mut self, sandbox: &str) {
        let View { pod, observed, memory, .. } = *self.view;
        for container in &pod.spec.containers {
            let latest = observed.latest(&container.name);
            let turn = match latest {
                Some(c) if c.may_run() && memory.is_starting(&container.name, &c.id) => Turn::Taken,
                Some(c) if c.may_run() => Turn::Blocked,
                Some(c) if c.exit().is_some_and(|e| !restarts(pod.spec.restart_policy, e.code)) => Turn::Blocked,
                Some(_) | None => self.start(container, sandbox),
            };
            if turn == Turn::Taken {
                return;
            }
        }
    }

    /// Takes a container that does not run one step further towards running.
    fn start(&mut self, container: &Container, sandbox: &str) -> Turn {
        let View { pod, observed, memory, now, .. } = *self.view;
        let name = &container.name;
        if memory.is_in_flight(&Key::Image(name.clone())) || memory.is_in_flight(&Key::Start(name.clone())) {
            return Turn::Taken;
        }
        let latest = observed.latest(name);
        if let Some(created) = latest.filter(|c| c.state == State::Created) {
            // An agent died between making and starting it.
            self.act(Action::RemoveContainer { id: created.id.clone() });
            return Turn::Taken;
        }
        if let (Some(exited), Some(crashes)) = (latest.filter(|c| c.exit().is_some()), memory.crashes.get(name))
            && let Some(exit) = exited.exit()
        {
            let (due, _) = crashes.due(exit.finished);
            if due > now {
                self.wake(due);
                if !memory.announced.contains(&exited.id) {
                    self.actions.push(Action::AnnounceBackOff { container: name.clone(), id: exited.id.clone() });
                }
                return Turn::Blocked;
            }
        }
        if memory.volumes.is_none() {
            return Turn::Blocked;
        }
        let action = if memory.images.contains_key(name) {
            let known = pod.known_status(name);
            let ran = known["containerID"].as_str().is_some_and(|id| !id.is_empty());
            let before = known["restartCount"].as_u64().filter(|_| ran).and_then(|n| u32::try_from(n).ok());
            let restart_count = latest.map(|c| c.restart_count).max(before).map_or(0, |n| n.saturating_add(1));
            Action::Start { container: name.clone(), sandbox: sandbox.to_owned(), restart_count }
        } else {
            if let Some(failure) = memory.failures.get(&Key::Image(name.clone())) {
                self.wake(failure.at.plus(PULL_ERROR_SHOWN));
            }
            Action::EnsureImage { container: name.clone() }
        };
        let blocked = action.key().is_some_and(|key| self.waits_for_retry(&key));
        self.act(action);
        if blocked { Turn::Blocked } else { Turn::Taken }
    }

    fn finish(&mut self) -> Phase {
        if !self.stop_all() {
            return Phase::Stopping;
        }
        match self.view.observed.sandboxes.iter().find(|s| s.ready) {
            Some(sandbox) => {
                self.act(Action::StopSandbox { id: sandbox.id.clone() });
                Phase::Stopping
            }
            None => Phase::Finished,
        }
    }

    fn delete(&mut self) -> Phase {
        let View { observed, memory, present, settled, .. } = *self.view;
        if memory.deleted {
            return Phase::Gone;
        }
        if !memory.removing && (!self.stop_all() || (present && !settled)) {
            return Phase::Stopping;
        }
        if let Some(sandbox) = observed.sandboxes.first() {
            let id = sandbox.id.clone();
            self.act(if sandbox.ready { Action::StopSandbox { id } } else { Action::RemoveSandbox { id } });
        } else if !observed.containers.is_empty() {
            for container in &observed.containers {
                self.act(Action::RemoveContainer { id: container.id.clone() });
            }
        } else if !memory.cleaned {
            self.act(Action::CleanUp);
        } else if present {
            self.act(Action::Delete);
        } else {
            return Phase::Gone;
        }
        Phase::Removing
    }

    /// Stops containers, then sidecars, the last one first. True once nothing runs or is being started.
    fn stop_all(&mut self) -> bool {
        let View { pod, observed, memory, now, present, .. } = *self.view;
        for key in memory.in_flight.keys() {
            match key {
                Key::Volumes | Key::Image(_) | Key::PostStart(_) | Key::Probe(..) => {
                    self.actions.push(Action::Cancel(key.clone()));
                }
                Key::Sandbox
                | Key::Start(_)
                | Key::Kill(_)
                | Key::RemoveContainer(_)
                | Key::Status
                | Key::CleanUp
                | Key::Delete => {}
            }
        }
        let grace = if present { pod.grace_secs() } else { pod.grace_secs().min(GONE_GRACE_SECS) };
        let began = memory.stop_began.unwrap_or(now);
        let sidecars: Vec<&str> =
            pod.spec.init_containers.iter().filter(|c| c.is_sidecar()).map(|c| c.name.as_str()).collect();
        let running = || observed.containers.iter().filter(|c| c.may_run());
        let mut killed = 0;
        for container in running().filter(|c| !sidecars.contains(&c.name.as_str())) {
            self.kill(container, grace, began, Why::PodStops);
            killed += 1;
        }
        let last = sidecars.iter().rev().find_map(|&name| running().find(|c| c.name == name));
        if let Some(sidecar) = last.filter(|_| killed == 0) {
            self.kill(sidecar, grace, began, Why::PodStops);
            killed += 1;
        }
        let busy =
            memory.in_flight.keys().any(|k| matches!(k, Key::Volumes | Key::Sandbox | Key::Start(_) | Key::Kill(_)));
        killed == 0 && !busy
    }

    /// Kills a container by `began` plus grace in whole seconds, one at the least; sooner than before if asked to.
    fn kill(&mut self, container: &observed::Container, grace_secs: i64, began: Timestamp, why: Why) {
        let View { memory, now, .. } = *self.view;
        let secs = |n: i64| Duration::from_secs(n.try_into().unwrap_or(0));
        let deadline = began.plus(secs(grace_secs)).max(now.plus(secs(1)));
        let key = Key::Kill(container.id.clone());
        let before = memory.kills.get(&container.id);
        let soon_enough = before.is_some_and(|&by| by <= deadline.plus(secs(1)));
        if memory.is_in_flight(&key) && soon_enough || self.waits_for_retry(&key) {
            return;
        }
        let grace_secs = i64::try_from(deadline.since(now).as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let (id, name) = (container.id.clone(), container.name.clone());
        self.actions.push(Action::Kill { container: name, id, grace_secs, pre_stop: before.is_none(), why });
    }

    /// Adds an action, unless one of its key is under way or failed too recently.
    fn act(&mut self, action: Action) {
        let Some(key) = action.key() else { return };
        if !self.view.memory.is_in_flight(&key) && !self.waits_for_retry(&key) {
            self.actions.push(action);
        }
    }

    fn waits_for_retry(&mut self, key: &Key) -> bool {
        let retry_at = self.view.memory.failures.get(key).map(crate::backoff::Failure::retry_at);
        let waits = retry_at.filter(|&at| at > self.view.now);
        if let Some(at) = waits {
            self.wake(at);
        }
        waits.is_some()
    }

    fn wake(&mut self, at: Timestamp) {
        if at > self.view.now {
            self.wake_at = Some(self.wake_at.map_or(at, |w| w.min(at)));
        }
    }
}

#[cfg(test)]
mod tests;
