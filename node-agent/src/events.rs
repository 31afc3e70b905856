//! Events: what happened to a pod or the node, told to whoever asks why. Best effort: what cannot be written is dropped.
//!
//! The same thing happening again raises the count of its event instead of making another.

use crate::cluster::Cluster;
use crate::pod::{PodRef, Uid};
use api::{SYSTEM_TENANT, TenantName, Timestamp};
use runtime::Stop;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;
use tokio::sync::mpsc;

/// Events that wait to be written; more are dropped.
const WAITING_MAX: usize = 1024;
/// Events that are known again. Forgetting one makes a second event where a count would do.
const KNOWN_MAX: usize = 4096;
/// As upstream: after so many events about one thing at once, one more every five minutes.
const BURST: u32 = 25;
const REFILL_EVERY: Duration = Duration::from_secs(300);

/// As upstream limits a message.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Whether an event tells of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Normal,
    Warning,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    /// A pod, and a part of it such as `spec.containers{web}`.
    Pod(PodRef, String),
    Node,
}

impl Subject {
    /// The thing itself, without the part.
    fn whole(&self) -> Subject {
        match self {
            Subject::Pod(pod, _) => Subject::Pod(pod.clone(), String::new()),
            Subject::Node => Subject::Node,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Happening {
    subject: Subject,
    kind: Kind,
    reason: Cow<'static, str>,
    message: String,
}

/// Where things that happened are told. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(mpsc::Sender<(Happening, Timestamp)>);

/// Writes what a recorder is told.
pub struct Writer {
    node: String,
    cluster: Cluster,
    happened: mpsc::Receiver<(Happening, Timestamp)>,
    known: HashMap<Happening, Known>,
    budgets: HashMap<Subject, Budget>,
}

/// How many more events one thing may have.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: u32,
    refilled: Timestamp,
}

impl Budget {
    fn new(now: Timestamp) -> Budget {
        Budget { left: BURST, refilled: now }
    }

    /// Takes one, if there is one.
    fn take(&mut self, now: Timestamp) -> bool {
        let refills = u32::try_from(now.since(self.refilled).as_secs() / REFILL_EVERY.as_secs()).unwrap_or(BURST);
        if refills > 0 {
            self.left = self.left.saturating_add(refills).min(BURST);
            self.refilled = now;
        }
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

struct Known {
    name: String,
    count: u64,
}

/// A recorder, and the writer behind it.
pub fn recorder(node: &str, cluster: Cluster) -> (Recorder, Writer) {
    let (sender, happened) = mpsc::channel(WAITING_MAX);
    (
        Recorder(sender),
        Writer { node: node.to_owned(), cluster, happened, known: HashMap::new(), budgets: HashMap::new() },
    )
}

impl Recorder {
    /// Something happened to a pod; `part` is empty or names a part of its spec.
    pub fn pod(
        &self,
        pod: &PodRef,
        part: &str,
        kind: Kind,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) {
        self.record(Subject::Pod(pod.clone(), part.to_owned()), kind, reason.into(), message.into());
    }

    /// Something happened to the node.
    pub fn node(&self, kind: Kind, reason: &'static str, message: impl Into<String>) {
        self.record(Subject::Node, kind, reason.into(), message.into());
    }

    fn record(&self, subject: Subject, kind: Kind, reason: Cow<'static, str>, mut message: String) {
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        }
        let happening = Happening { subject, kind, reason, message };
        if let Err(unsent) = self.0.try_send((happening, Timestamp::now())) {
            tracing::debug!(reason = %unsent.into_inner().0.reason, "an event is dropped");
        }
    }
}

impl Writer {
    /// Writes until `stop`.
    pub async fn run(mut self, stop: Stop) {
        loop {
            let (happening, at) = tokio::select! {
                biased;
                // Events are best effort at shutdown too.
                () = stop.stopped() => return,
                // Cancel-safe.
                next = self.happened.recv() => match next {
                    Some(next) => next,
                    None => return,
                },
            };
            if let Err(error) = self.write(happening, at).await {
                tracing::debug!(%error, "an event could not be written");
            }
        }
    }

    async fn write(&mut self, happening: Happening, at: Timestamp) -> api::Result<()> {
        if self.known.len() >= KNOWN_MAX || self.budgets.len() >= KNOWN_MAX {
            self.known.clear();
            self.budgets.clear();
        }
        let budget = self.budgets.entry(happening.subject.whole()).or_insert_with(|| Budget::new(at));
        if !budget.take(at) {
            return Ok(());
        }
        let system = TenantName::new(SYSTEM_TENANT)?;
        let (tenant, namespace) = match &happening.subject {
            Subject::Pod(pod, _) => (&pod.tenant, pod.namespace.as_str()),
            Subject::Node => (&system, "default"),
        };
        let (tenant, namespace) = (tenant.clone(), namespace.to_owned());
        match self.known.entry(happening) {
            Entry::Occupied(mut known) => {
                let Known { name, count } = known.get_mut();
                *count += 1;
                let patch = json!({"count": *count, "lastTimestamp": at.to_string()});
                let written = self.cluster.patch_event(&tenant, &namespace, name, &patch).await;
                if written.is_err() {
                    // It has expired; the next one is new.
                    known.remove();
                }
                written.map(drop)
            }
            Entry::Vacant(vacant) => {
                let event = event(&self.node, vacant.key(), &namespace, at);
                let name = event["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                self.cluster.create_event(&tenant, &namespace, &event).await?;
                vacant.insert(Known { name, count: 1 });
                Ok(())
            }
        }
    }
}

fn event(node: &str, happening: &Happening, namespace: &str, at: Timestamp) -> Value {
    let Happening { subject, kind, reason, message } = happening;
    let (name, involved) = match subject {
        Subject::Pod(PodRef { name, namespace, uid, .. }, part) => {
            (name.as_str(), pod_reference(namespace, name, uid, part))
        }
        Subject::Node => (node, json!({"kind": "Node", "name": node, "uid": node})),
    };
    let kind = match kind {
        Kind::Normal => "Normal",
        Kind::Warning => "Warning",
    };
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": format!("{name}.{:x}", rand::random::<u64>()), "namespace": namespace},
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "type": kind,
        "count": 1,
        "firstTimestamp": at.to_string(),
        "lastTimestamp": at.to_string(),
        "source": {"component": "kubelet", "host": node},
        "reportingComponent": "kubelet",
        "reportingInstance": node,
    })
}

fn pod_reference(namespace: &str, name: &str, uid: &Uid, part: &str) -> Value {
    let mut reference =
        json!({"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid.as_str()});
    if !part.is_empty() {
        reference["fieldPath"] = json!(part);
    }
    reference
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_that_never_rests_gets_one_event_in_five_minutes() {
        let start = Timestamp::from_unix_secs(1000);
        let mut budget = Budget::new(start);
        let told = (0..3000).filter(|secs| budget.take(start.plus(Duration::from_secs(*secs)))).count();
        assert_eq!(told, 25 + 9);
    }
}
