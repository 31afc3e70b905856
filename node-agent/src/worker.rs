//! The task of one pod: looks, plans, acts, reports, until nothing of the pod is left.
//!
//! Everything that waits (pulls, hooks, stops, probes) is an operation beside the loop, so that a deletion is noticed at
//! once. The runtime is looked at again after every operation that changed it and whenever the node's poll saw a change;
//! a plan is never made from what was seen before the last operation ended.

mod operations;

use crate::admission::Rejection;
use crate::agent::Node;
use crate::dirs::PodDirs;
use crate::events::Kind;
use crate::memory::{Hook, Key, Memory};
use crate::observed::Observed;
use crate::plan::{self, Action, Phase, View};
use crate::pod::{Pod, PodRef};
use crate::volumes::Tokens;
use crate::{backoff::Crashes, observed, status};
use api::Timestamp;
use futures::future::{AbortHandle, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use operations::{Done, Failure};
use runtime::Stop;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How long to wait before a runtime that did not answer is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A clock that goes back by less is only being adjusted.
const CLOCK_JITTER: Duration = Duration::from_secs(1);

/// What is to become of a pod.
#[derive(Clone, Default)]
pub struct Desired {
    /// `None` for one that the API does not have (any more).
    pub pod: Option<Arc<Pod>>,
    /// Why the node did not take it.
    pub rejection: Option<Arc<Rejection>>,
}

/// What the agent tells a worker. Ends when dropped.
pub struct Handle {
    desired: watch::Sender<Desired>,
    changed: Arc<Notify>,
}

/// The task of one pod.
pub struct Worker {
    node: Arc<Node>,
    reference: PodRef,
    dirs: PodDirs,
    desired: watch::Receiver<Desired>,
    changed: Arc<Notify>,
    /// As the API has it, or had it last.
    pod: Arc<Pod>,
    present: bool,
    rejection: Option<Arc<Rejection>>,
    observed: Observed,
    /// The runtime may have more to tell than `observed`.
    stale: bool,
    memory: Memory,
    /// When the last plan was made.
    planned: Timestamp,
    tokens: Tokens,
    /// What containers wrote before they ended, by id.
    last_words: HashMap<String, String>,
    operations: FuturesUnordered<BoxFuture<'static, Ended>>,
    aborts: BTreeMap<Key, AbortHandle>,
}

struct Ended {
    key: Key,
    /// `None` when it was cancelled.
    outcome: Option<Result<Done, Failure>>,
}

impl Handle {
    /// A worker for a pod, and what tells it.
    pub fn new(node: Arc<Node>, reference: PodRef, first: Desired) -> (Handle, Worker) {
        let present = first.pod.is_some();
        let (known, rejection) = (first.pod.clone().unwrap_or_default(), first.rejection.clone());
        let (sender, desired) = watch::channel(first);
        let changed = Arc::new(Notify::new());
        let dirs = node.dirs.pod(&reference.uid);
        let worker = Worker {
            node,
            reference,
            dirs,
            desired,
            changed: changed.clone(),
            pod: known,
            present,
            rejection,
            observed: Observed::default(),
            stale: true,
            memory: Memory::default(),
            planned: Timestamp::default(),
            tokens: Tokens::default(),
            last_words: HashMap::new(),
            operations: FuturesUnordered::new(),
            aborts: BTreeMap::new(),
        };
        (Handle { desired: sender, changed }, worker)
    }

    /// The API has another version of the pod, or has it no more.
    pub fn desire(&self, desired: Desired) {
        self.desired.send_replace(desired);
    }

    /// The runtime has something new of the pod.
    pub fn look(&self) {
        self.changed.notify_one();
    }

    /// Whether the worker has ended: nothing of the pod is left.
    pub fn is_over(&self) -> bool {
        self.desired.is_closed()
    }
}

impl Worker {
    /// Runs until nothing of the pod is left, or until `stop`: then the pod is left as it is.
    pub async fn run(mut self, stop: Stop) {
        tokio::select! {
            biased;
            // Operations that are under way end with this task; the runtime keeps what it has.
            () = stop.stopped() => {}
            // Cancelled at shutdown: the next agent starts from what it finds.
            () = self.live() => {
                tracing::debug!(tenant = %self.reference.tenant, pod = %self.reference.words(), "nothing is left of a pod");
            }
        }
    }

    async fn live(&mut self) {
        let mut is_first = true;
        loop {
            if self.stale && !self.observe().await {
                self.wait(Some(Timestamp::now().plus(LOOK_AGAIN))).await;
                continue;
            }
            if std::mem::take(&mut is_first) {
                self.memory = Memory::adopt(&self.pod, &self.observed, Timestamp::now());
            }
            let (phase, wake_at) = self.step();
            if phase == Phase::Gone && !self.present && self.operations.is_empty() {
                return;
            }
            self.wait(wake_at).await;
        }
    }

    /// Looks at the runtime. False when it does not answer.
    async fn observe(&mut self) -> bool {
        // Cleared first: what changes while looking is looked at again.
        self.stale = false;
        match Observed::of(&self.node.runtime, &self.reference, &self.node.config.node_name).await {
            Ok(mut observed) => {
                self.hear_last_words(&mut observed).await;
                self.memory.retain(&observed);
                self.observed = observed;
                true
            }
            Err(error) => {
                tracing::debug!(pod = %self.reference.words(), %error, "the runtime cannot be asked about a pod");
                self.stale = true;
                false
            }
        }
    }

    /// Fills in what containers wrote before they ended.
    async fn hear_last_words(&mut self, observed: &mut Observed) {
        for container in &mut observed.containers {
            let (name, restarts, log) = (container.name.clone(), container.restart_count, container.log_path.clone());
            let observed::State::Exited(exit) = &mut container.state else { continue };
            if !exit.message.is_empty() {
                continue;
            }
            if let Some(known) = self.last_words.get(&container.id) {
                exit.message.clone_from(known);
                continue;
            }
            let file = self.dirs.termination_log(&name, restarts);
            let spec = self.pod.spec.container(&name);
            let to_logs =
                spec.is_some_and(|c| c.termination_message_policy == "FallbackToLogsOnError") && exit.code != 0;
            let log = to_logs.then(|| std::path::PathBuf::from(log));
            exit.message = operations::last_words(file, log).await;
            self.last_words.insert(container.id.clone(), exit.message.clone());
        }
        self.last_words.retain(|id, _| observed.containers.iter().any(|c| c.id == *id));
    }

    /// Plans, starts what the plan asks for, and reports. The phase, and when to look again.
    fn step(&mut self) -> (Phase, Option<Timestamp>) {
        let now = Timestamp::now();
        if self.planned.since(now) > CLOCK_JITTER {
            tracing::warn!(pod = %self.reference.words(), "the clock was set back");
            self.memory.rewind(now);
        }
        self.planned = now;
        let status = status::status(&self.view(now, false), &self.node.host);
        let settled = !self.present || status::is_reported(self.known_status(), &status);
        let plan = plan::plan(&self.view(now, settled));
        if plan.phase >= Phase::Stopping {
            self.memory.stop_began.get_or_insert(now);
        }
        self.memory.removing |= plan.phase == Phase::Removing;
        for action in plan.actions {
            self.begin(action, now);
        }
        let mut wake_at = plan.wake_at;
        if !settled && plan.phase < Phase::Removing && !self.memory.is_in_flight(&Key::Status) {
            match self.memory.failures.get(&Key::Status).map(crate::backoff::Failure::retry_at).filter(|&at| at > now) {
                Some(at) => wake_at = Some(wake_at.map_or(at, |w| w.min(at))),
                None => self.report(status),
            }
        }
        (plan.phase, wake_at)
    }

    fn view(&self, now: Timestamp, settled: bool) -> View<'_> {
        let Worker { pod, present, rejection, observed, memory, .. } = self;
        View { pod, present: *present, rejection: rejection.as_deref(), observed, memory, settled, now }
    }

    /// The pod's status as the API has it, as far as is known.
    fn known_status(&self) -> &Value {
        self.memory.reported.as_ref().map_or(&self.pod.status, |(status, _)| status)
    }

    /// Sleeps until something happens: the pod changed, the runtime did, an operation ended, or it is time.
    async fn wait(&mut self, wake_at: Option<Timestamp>) {
        let time = async {
            match wake_at {
                Some(at) => tokio::time::sleep(at.since(Timestamp::now()).max(Duration::from_millis(1))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // Cancel-safe. The agent keeps the other end for as long as this runs.
            changed = self.desired.changed() => match changed {
                Ok(()) => self.desired_changed(),
                Err(_) => std::future::pending().await,
            },
            // Cancel-safe.
            Some(ended) = self.operations.next(), if !self.operations.is_empty() => self.ended(ended),
            // Cancel-safe: a notification is kept.
            () = self.changed.notified() => self.stale = true,
            () = time => {}
        }
    }

    fn desired_changed(&mut self) {
        let Desired { pod, rejection } = self.desired.borrow_and_update().clone();
        self.present = pod.is_some();
        self.rejection = rejection;
        let Some(pod) = pod else { return };
        if let Some((reported, version)) = &self.memory.reported
            && status::version(&pod.metadata.resource_version) > *version
            && !status::is_reported(&pod.status, reported)
        {
            // Somebody else wrote the status after us.
            self.memory.reported = None;
        }
        self.pod = pod;
    }

    /// Starts an action.
    fn begin(&mut self, action: Action, now: Timestamp) {
        match &action {
            Action::Cancel(key) => {
                if let Some(abort) = self.aborts.remove(key) {
                    abort.abort();
                }
                return;
            }
            Action::AnnounceBackOff { container, id } => {
                self.memory.announced.insert(id.clone());
                let message =
                    format!("Back-off restarting failed container {container} in pod {}", self.reference.words());
                self.tell(container, Kind::Warning, "BackOff", message);
                return;
            }
            Action::Kill { id, grace_secs, .. } => {
                let by = now.plus(Duration::from_secs((*grace_secs).try_into().unwrap_or(0)));
                self.memory.kills.insert(id.clone(), by);
            }
            Action::Start { container, .. } => {
                if let Some(exit) = self.observed.latest(container).and_then(observed::Container::exit) {
                    let crashes = Crashes::restarted(self.memory.crashes.get(container), exit.finished, now);
                    self.memory.crashes.insert(container.clone(), crashes);
                }
            }
            Action::SetUpVolumes
            | Action::RunSandbox { .. }
            | Action::StopSandbox { .. }
            | Action::RemoveSandbox { .. }
            | Action::EnsureImage { .. }
            | Action::PostStart { .. }
            | Action::RemoveContainer { .. }
            | Action::Probe { .. }
            | Action::CleanUp
            | Action::Delete => {}
        }
        let Some(key) = action.key() else { return };
        tracing::debug!(tenant = %self.reference.tenant, pod = %self.reference.words(), ?action, "acting");
        let operation = self.operation(action);
        self.launch(key, operation);
    }

    fn report(&mut self, status: Value) {
        let operation = self.report_status(status);
        self.launch(Key::Status, operation);
    }

    fn launch(&mut self, key: Key, operation: BoxFuture<'static, Result<Done, Failure>>) {
        self.memory.began(key.clone());
        let (operation, abort) = futures::future::abortable(operation);
        self.aborts.insert(key.clone(), abort);
        self.operations.push(operation.map(|outcome| Ended { key, outcome: outcome.ok() }).boxed());
    }

    /// Takes note of what an operation came to.
    fn ended(&mut self, Ended { key, outcome }: Ended) {
        let now = Timestamp::now();
        self.aborts.remove(&key);
        self.stale |= !matches!(key, Key::Probe(..) | Key::Status | Key::Image(_) | Key::Volumes);
        let outcome = match outcome {
            None => Ok(()),
            Some(Ok(done)) => {
                self.take_note(done, now);
                Ok(())
            }
            Some(Err(failure)) => {
                let (reason, message) = &failure;
                tracing::debug!(pod = %self.reference.words(), ?key, reason, message, "an operation failed");
                Err(failure)
            }
        };
        self.memory.ended(&key, outcome, now);
    }

    fn take_note(&mut self, done: Done, now: Timestamp) {
        match done {
            Done::Nothing => {}
            Done::Volumes { tokens, refresh_at } => {
                self.tokens = tokens;
                self.memory.volumes = Some(refresh_at);
            }
            Done::Image { container, image } => {
                self.memory.images.insert(container, image);
            }
            Done::Started { container, id } => {
                self.memory.images.remove(&container);
                if self.pod.spec.container(&container).is_some_and(|c| c.lifecycle.post_start.is_some()) {
                    self.memory.hooks.insert(id, Hook::Pending);
                }
            }
            Done::Hook { id, succeeded: true } => {
                self.memory.hooks.remove(&id);
            }
            Done::Hook { id, succeeded: false } => {
                self.memory.hooks.insert(id, Hook::Failed);
            }
            Done::Probed { container, id, kind, result } => {
                if let Err(why) = &result {
                    let message = format!("{} probe failed: {why}", kind.as_str());
                    self.tell(&container, Kind::Warning, "Unhealthy", message);
                }
                if let Some(probe) = self.pod.spec.container(&container).and_then(|c| c.probe(kind)) {
                    self.memory.probed(&id, kind, probe, result.is_ok(), now);
                }
            }
            Done::Reported { status, version } => self.memory.reported = Some((status, version)),
            Done::CleanedUp => self.memory.cleaned = true,
            Done::Deleted => self.memory.deleted = true,
        }
    }

    /// Records an event about a container of the pod.
    fn tell(&self, container: &str, kind: Kind, reason: &'static str, message: String) {
        let part = operations::part(&self.pod, container);
        self.node.recorder.pod(&self.reference, &part, kind, reason, message);
    }
}
