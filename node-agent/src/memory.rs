//! What the agent remembers of a pod beyond what the API and the runtime can tell: what is under way, what failed and
//! when it is tried again, what probes said. Losing it (a restart of the agent) costs waits and probes, never a container.

use crate::backoff::{Crashes, Failure, Rule};
use crate::observed::Observed;
use crate::pod::{Container, Pod, Probe, ProbeKind};
use api::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What an operation is about. At most one of a key is under way, kills excepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Volumes,
    Sandbox,
    /// By container name.
    Image(String),
    /// By container name.
    Start(String),
    /// By container id.
    PostStart(String),
    /// By container id.
    Kill(String),
    /// By container id.
    RemoveContainer(String),
    /// By container id.
    Probe(String, ProbeKind),
    Status,
    CleanUp,
    Delete,
}

impl Key {
    /// How failures of this operation are spaced.
    fn rule(&self) -> Rule {
        match self {
            Key::Image(_) => Rule::SLOW,
            Key::Volumes
            | Key::Start(_)
            | Key::Sandbox
            | Key::PostStart(_)
            | Key::Kill(_)
            | Key::RemoveContainer(_)
            | Key::Probe(..)
            | Key::Status
            | Key::CleanUp
            | Key::Delete => Rule::QUICK,
        }
    }
}

/// Whether a container's `postStart` has run. A container without an entry needs none, or was adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    Pending,
    Failed,
}

/// The results of one probe of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeState {
    /// The verdict, once a threshold was reached.
    pub verdict: Option<bool>,
    successes: u32,
    failures: u32,
    /// When it is due again; `None` before its first run.
    pub next: Option<Timestamp>,
}

#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Operations under way, and how many of each.
    pub in_flight: BTreeMap<Key, usize>,
    pub failures: BTreeMap<Key, Failure>,
    /// When the volumes are to be refreshed; `None` until they were set up.
    pub volumes: Option<Timestamp>,
    /// References of images that are there for the next start, by container name.
    pub images: BTreeMap<String, String>,
    /// Restarts, by container name.
    pub crashes: BTreeMap<String, Crashes>,
    /// By container id.
    pub hooks: BTreeMap<String, Hook>,
    /// By container id.
    pub probes: BTreeMap<(String, ProbeKind), ProbeState>,
    /// By when a container is dead, for containers whose killing began, by id.
    pub kills: BTreeMap<String, Timestamp>,
    /// Exits whose back-off was announced, by container id.
    pub announced: BTreeSet<String>,
    /// When the pod was first seen here.
    pub started: Timestamp,
    /// When the pod began to stop.
    pub stop_began: Option<Timestamp>,
    /// The last status that the API took, and the version of the pod that it made.
    pub reported: Option<(Value, u64)>,
    /// The pod's last status is reported: containers may be forgotten.
    pub removing: bool,
    /// Nothing of the pod is left on disk.
    pub cleaned: bool,
    /// The API was told to forget the pod.
    pub deleted: bool,
}

impl Memory {
    /// What can be known of a pod when it is first seen: containers that run already are taken to be as the API says.
    pub fn adopt(pod: &Pod, observed: &Observed, now: Timestamp) -> Memory {
        let started = crate::pod::time(&pod.status["startTime"]).unwrap_or(now);
        let mut memory = Memory { started, ..Memory::default() };
        for container in observed.containers.iter().filter(|c| c.may_run()) {
            let known = pod.known_status(&container.name);
            if !known["containerID"].as_str().is_some_and(|id| id.ends_with(&container.id)) {
                continue;
            }
            for (kind, field) in [(ProbeKind::Startup, "started"), (ProbeKind::Readiness, "ready")] {
                let state = ProbeState { verdict: known[field].as_bool().filter(|&yes| yes), ..ProbeState::default() };
                memory.probes.insert((container.id.clone(), kind), state);
            }
        }
        memory
    }

    pub fn is_in_flight(&self, key: &Key) -> bool {
        self.in_flight.contains_key(key)
    }

    pub fn began(&mut self, key: Key) {
        *self.in_flight.entry(key).or_default() += 1;
    }

    /// Forgets that an operation is under way; its failure, if it was one, decides when it is tried again.
    pub fn ended(&mut self, key: &Key, outcome: Result<(), (String, String)>, now: Timestamp) {
        if let Some(count) = self.in_flight.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(key);
            }
        }
        let before = self.failures.remove(key);
        if let Err((reason, message)) = outcome {
            let failure = Failure::after(before.as_ref(), key.rule(), reason, message, now);
            self.failures.insert(key.clone(), failure);
        }
    }

    /// Counts one result of a probe.
    pub fn probed(&mut self, id: &str, kind: ProbeKind, probe: &Probe, success: bool, now: Timestamp) {
        let state = self.probes.entry((id.to_owned(), kind)).or_default();
        (state.successes, state.failures) = match success {
            true => (state.successes.saturating_add(1), 0),
            false => (0, state.failures.saturating_add(1)),
        };
        if state.successes >= probe.success_threshold.max(1) {
            state.verdict = Some(true);
        } else if state.failures >= default_to(probe.failure_threshold, 3) {
            state.verdict = Some(false);
        }
        state.next = Some(now.plus(Duration::from_secs(default_to(probe.period_seconds, 10).into())));
    }

    pub fn verdict(&self, id: &str, kind: ProbeKind) -> Option<bool> {
        self.probes.get(&(id.to_owned(), kind)).and_then(|p| p.verdict)
    }

    /// Whether a running container's start is not over: the runtime may show it before its start, which says whether a
    /// hook is to run, has been noted.
    pub fn is_starting(&self, container: &str, id: &str) -> bool {
        self.hooks.contains_key(id) || self.is_in_flight(&Key::Start(container.to_owned()))
    }

    /// Whether a running container has run its hook and passed its startup probe.
    pub fn has_started(&self, container: &Container, id: &str) -> bool {
        let started_up = container.startup_probe.is_none() || self.verdict(id, ProbeKind::Startup) == Some(true);
        !self.is_starting(&container.name, id) && started_up
    }

    pub fn is_ready(&self, container: &Container, id: &str) -> bool {
        let is_ready = container.readiness_probe.is_none() || self.verdict(id, ProbeKind::Readiness) == Some(true);
        self.has_started(container, id) && is_ready
    }

    /// The clock was set back to `now`: nothing may wait for a time that has become far.
    pub fn rewind(&mut self, now: Timestamp) {
        for failure in self.failures.values_mut() {
            failure.at = failure.at.min(now);
        }
        for probe in self.probes.values_mut() {
            probe.next = probe.next.map(|at| at.min(now));
        }
        self.volumes = self.volumes.map(|at| at.min(now));
        self.stop_began = self.stop_began.map(|at| at.min(now));
    }

    /// Forgets what belongs to containers that are no more.
    pub fn retain(&mut self, observed: &Observed) {
        let exists = |id: &String| observed.containers.iter().any(|c| c.id == *id);
        self.hooks.retain(|id, _| exists(id));
        self.kills.retain(|id, _| exists(id));
        self.announced.retain(exists);
        self.probes.retain(|(id, _), _| exists(id));
        self.failures.retain(|key, _| match key {
            Key::PostStart(id) | Key::Kill(id) | Key::RemoveContainer(id) | Key::Probe(id, _) => exists(id),
            Key::Volumes | Key::Sandbox | Key::Image(_) | Key::Start(_) | Key::Status | Key::CleanUp | Key::Delete => {
                true
            }
        });
    }
}

/// Upstream's default for a field whose zero means that it was left out.
pub fn default_to(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}
