//! What the scheduler's decisions become at the API: bindings, statuses, events, evictions.
//!
//! Invariant: what is asked for one pod is done in the order in which it was decided.

use crate::follow::{CLAIMS, VOLUMES};
use crate::placement::{BOUND_BY_CONTROLLER, PREEMPTED_REASON, Pod, PodKey, SELECTED_NODE};
use crate::state::{Action, Failure, Report, UNSCHEDULABLE, VolumeWrite};
use api::{Result, Timestamp};
use client::{Client, DeleteParams, EVENTS, PODS, PatchType};
use runtime::{Stop, Tasks};
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// So many pods are worked on at a time, each pod always by the same worker: with a commit of 2 ms, 32,000 a second.
const WORKERS: usize = 64;

/// Decisions whose effects are not done yet. Beyond, deciding waits.
const IN_FLIGHT_MAX: usize = 1024;

/// Annotation of a binding: which scheduler asks. With the version up to which it has seen pods, the API refuses the
/// binding when another one was quicker on the node.
const INSTANCE: &str = "scheduler.ursa.dev/instance";

/// What the API says then.
const OUTRUN: &str = "that were not seen yet";

/// The right to decide once more. It is back when the decision's effects are done.
pub type Permit = Arc<OwnedSemaphorePermit>;

/// Does what is decided.
pub struct Effects {
    workers: Vec<mpsc::UnboundedSender<(Action, Option<Permit>)>>,
    in_flight: Arc<Semaphore>,
}

impl Effects {
    /// Starts the workers, which end when they are told to stop. Failures come back through the channel.
    pub fn start(client: &Client, tasks: &Tasks, stop: &Stop) -> (Effects, mpsc::UnboundedReceiver<Failure>) {
        let (failures, failed) = mpsc::unbounded_channel();
        let mut workers = Vec::new();
        let event_numbers = Arc::new(AtomicU64::new(Timestamp::now().unix_micros().unsigned_abs()));
        let instance: Arc<str> = format!("{}-{}", std::process::id(), Timestamp::now().unix_micros()).into();
        for _ in 0..WORKERS {
            let (sender, jobs) = mpsc::unbounded_channel();
            let worker = Worker {
                client: client.clone(),
                instance: instance.clone(),
                failures: failures.clone(),
                event_numbers: event_numbers.clone(),
            };
            tasks.spawn("scheduler-effects", worker.run(jobs, stop.clone()));
            workers.push(sender);
        }
        (Effects { workers, in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)) }, failed)
    }

    /// `None` while too much is under way.
    pub fn permit(&self) -> Option<Permit> {
        self.in_flight.clone().try_acquire_owned().ok().map(Arc::new)
    }

    /// Completes when less is under way. Cancel-safe.
    pub async fn ready(&self) {
        // What is acquired goes back at once: it is asked for again, together with a pod.
        drop(self.in_flight.acquire().await);
    }

    /// Hands over what is to be done; without a permit where it is little and cannot be put off.
    pub fn submit(&self, actions: Vec<Action>, permit: Option<Permit>) {
        for action in actions {
            let mut hasher = DefaultHasher::new();
            action.pod().hash(&mut hasher);
            let worker = &self.workers[(hasher.finish() % WORKERS as u64) as usize];
            // A worker ends only at shutdown, when nothing is to be done any more.
            drop(worker.send((action, permit.clone())));
        }
    }
}

/// One worker's way to the API.
struct Worker {
    client: Client,
    instance: Arc<str>,
    failures: mpsc::UnboundedSender<Failure>,
    event_numbers: Arc<AtomicU64>,
}

impl Worker {
    async fn run(self, mut jobs: mpsc::UnboundedReceiver<(Action, Option<Permit>)>, stop: Stop) {
        let work = async {
            while let Some((action, permit)) = jobs.recv().await {
                self.perform(action).await;
                drop(permit);
            }
        };
        tokio::select! {
            biased;
            // Cancelled when the scheduler itself has ended.
            () = stop.stopped() => {}
            // Cancelled at shutdown: what was not asked for yet is decided again after the next start.
            () = work => {}
        }
    }

    async fn perform(&self, action: Action) {
        let outcome = match &action {
            Action::Bind { key, pod, node, seen } => self.bind(key, pod, node, *seen).await,
            Action::Prepare { key, writes, .. } => self.prepare(key, writes).await,
            Action::Report { key, pod, report } => self.report(key, pod, report).await,
            Action::Evict { pod, node, victims, .. } => self.evict(pod, node, victims).await,
        };
        let Err(error) = outcome else { return };
        let (key, uid) = (action.pod().clone(), action.uid().into());
        tracing::warn!(pod = %key, what = action.name(), %error, "a decision could not be carried out");
        let failure = match action {
            Action::Bind { .. } => {
                let outrun = error.message().contains(OUTRUN);
                Failure::Bind { key, uid, why: error.message().to_owned(), outrun }
            }
            Action::Prepare { .. } => Failure::Prepare { key, uid, why: error.message().to_owned() },
            Action::Report { .. } => Failure::Report { key, uid },
            Action::Evict { .. } => Failure::Evict { preemptor: key, uid },
        };
        // The scheduler's loop ends only at shutdown.
        drop(self.failures.send(failure));
    }

    async fn bind(&self, key: &PodKey, pod: &Pod, node: &str, seen: u64) -> Result<()> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {
                "namespace": &*key.namespace, "name": &*key.name, "uid": &*pod.uid,
                "annotations": {INSTANCE: &*self.instance},
            },
            "target": {"apiVersion": "v1", "kind": "Node", "name": node, "resourceVersion": seen.to_string()},
        });
        self.tenant(key).post(PODS, &key.namespace, Some((&*key.name, "binding")), &binding).await?;
        let message = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
        self.tell(key, pod, ("Normal", "Scheduled", "Binding"), &message).await;
        Ok(())
    }

    /// Keeps volumes for claims, or selects the node of claims whose volume is to be made.
    async fn prepare(&self, key: &PodKey, writes: &[VolumeWrite]) -> Result<()> {
        let client = self.tenant(key);
        for write in writes {
            let (claim, patch) = (&write.claim, volume_patch(write));
            match &write.volume {
                Some(volume) => client.patch(VOLUMES, "", volume, PatchType::Merge, &patch, None).await?,
                None => client.patch(CLAIMS, &claim.namespace, &claim.name, PatchType::Merge, &patch, None).await?,
            };
        }
        Ok(())
    }

    async fn report(&self, key: &PodKey, pod: &Pod, report: &Report) -> Result<()> {
        let patch = status_patch(pod, report, Timestamp::now());
        self.patch_status(key, &patch).await?;
        if let Some((reason, message)) = &report.condition {
            let reason = if *reason == UNSCHEDULABLE { "FailedScheduling" } else { reason };
            self.tell(key, pod, ("Warning", reason, "Scheduling"), message).await;
        }
        Ok(())
    }

    async fn evict(&self, pod: &Pod, node: &str, victims: &[(PodKey, Arc<Pod>)]) -> Result<()> {
        for (key, victim) in victims.iter().filter(|(_, victim)| !victim.deleting) {
            let mut condition = disruption(&pod.scheduler);
            condition["lastTransitionTime"] = json!(Timestamp::now().to_string());
            let patch = json!({"metadata": {"uid": &*victim.uid}, "status": {"conditions": [condition]}});
            let patched = self.patch_status(key, &patch).await;
            let deleted = match patched {
                Ok(()) => {
                    let exactly = DeleteParams::of_uid(&*victim.uid);
                    self.tenant(key).delete(PODS, &key.namespace, &key.name, &exactly).await
                }
                Err(error) => Err(error),
            };
            match deleted {
                Err(error) if error.is_not_found() => continue,
                other => other?,
            }
            let message = format!("Preempted by pod {} on node {node}", pod.uid);
            self.tell_as(&pod.scheduler, key, victim, ("Normal", "Preempted", "Preempting"), &message).await;
        }
        Ok(())
    }

    async fn patch_status(&self, key: &PodKey, patch: &Value) -> Result<()> {
        let client = self.tenant(key);
        client.patch(PODS, &key.namespace, &key.name, PatchType::Strategic, patch, Some("status")).await.map(drop)
    }

    /// Makes an event about a pod. One that cannot be made is lost: nothing depends on events.
    async fn tell(&self, key: &PodKey, pod: &Pod, about: (&str, &str, &str), message: &str) {
        self.tell_as(&pod.scheduler, key, pod, about, message).await;
    }

    async fn tell_as(
        &self,
        scheduler: &str,
        key: &PodKey,
        pod: &Pod,
        (kind, reason, action): (&str, &str, &str),
        message: &str,
    ) {
        let now = Timestamp::now();
        let number = self.event_numbers.fetch_add(1, Ordering::Relaxed);
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"namespace": &*key.namespace, "name": format!("{}.{number:x}", key.name)},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": &*key.namespace, "name": &*key.name,
                "uid": &*pod.uid, "resourceVersion": &*pod.resource_version,
            },
            "type": kind, "reason": reason, "action": action, "message": message,
            "source": {"component": scheduler},
            "reportingComponent": scheduler, "reportingInstance": scheduler,
            "eventTime": now.to_micro_string(), "firstTimestamp": now.to_string(), "lastTimestamp": now.to_string(),
            "count": 1,
        });
        if let Err(error) = self.tenant(key).post(EVENTS, &key.namespace, None, &event).await {
            tracing::debug!(pod = %key, reason, %error, "an event is lost");
        }
    }

    fn tenant(&self, key: &PodKey) -> Client {
        self.client.in_tenant(&key.tenant)
    }
}

impl Action {
    /// The pod for which it is done.
    fn pod(&self) -> &PodKey {
        match self {
            Action::Bind { key, .. }
            | Action::Prepare { key, .. }
            | Action::Report { key, .. }
            | Action::Evict { preemptor: key, .. } => key,
        }
    }

    fn uid(&self) -> &str {
        match self {
            Action::Bind { pod, .. }
            | Action::Prepare { pod, .. }
            | Action::Report { pod, .. }
            | Action::Evict { pod, .. } => &pod.uid,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Action::Bind { .. } => "bind",
            Action::Prepare { .. } => "prepare",
            Action::Report { .. } => "report",
            Action::Evict { .. } => "evict",
        }
    }
}

/// The condition of a pod that a scheduler makes leave its node.
pub fn disruption(scheduler: &str) -> Value {
    json!({
        "type": "DisruptionTarget", "status": "True", "reason": PREEMPTED_REASON,
        "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
    })
}

/// A patch that keeps a volume for a claim, or selects a claim's node, unless somebody changed it meanwhile.
fn volume_patch(write: &VolumeWrite) -> Value {
    let VolumeWrite { volume, claim, claim_uid, claim_version, version, is_new, node } = write;
    let mut patch = json!({"metadata": {"resourceVersion": &**version}});
    if volume.is_none() {
        patch["metadata"]["annotations"] = json!({SELECTED_NODE: &**node});
        return patch;
    }
    patch["spec"]["claimRef"] = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": &*claim.namespace, "name": &*claim.name,
        "uid": &**claim_uid, "resourceVersion": &**claim_version,
    });
    if *is_new {
        patch["metadata"]["annotations"] = json!({BOUND_BY_CONTROLLER: "yes"});
    }
    patch
}

/// A patch that says why a pod has no node, and for which it is nominated, and nothing else.
fn status_patch(pod: &Pod, report: &Report, now: Timestamp) -> Value {
    let mut patch = json!({"metadata": {"uid": &*pod.uid}, "status": {}});
    if let Some((reason, message)) = &report.condition {
        let mut condition = json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message, "lastProbeTime": null,
        });
        // The time of the transition stays where there is none.
        if pod.condition.as_ref().is_none_or(|told| &*told.status != "False") {
            condition["lastTransitionTime"] = json!(now.to_string());
        }
        patch["status"]["conditions"] = json!([condition]);
    }
    if let Some(nominated) = &report.nominated {
        patch["status"]["nominatedNodeName"] = if nominated.is_empty() { Value::Null } else { json!(&**nominated) };
    }
    patch
}
