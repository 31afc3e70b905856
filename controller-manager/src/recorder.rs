//! Events: what users read under `kubectl describe`.
//!
//! Invariant: an event is a courtesy. It is written behind the controllers' backs, one after another, and dropped rather
//! than waited for. Similar ones are told together, and a tenant has a limit.

mod correlate;

use self::correlate::{Correlator, Told};
use crate::context::{Account, Clients, unless_gone};
use api::Timestamp;
use client::{EVENTS, ObjectRef};
use runtime::Stop;
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio::sync::mpsc;

/// Events that wait to be written: some hundred milliseconds of writing.
const WAITING_EVENTS_MAX: usize = 4096;

/// Events that are remembered, to count repetitions instead of writing them again.
const REMEMBERED_EVENTS_MAX: usize = 4096;

/// What an event says about its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    Normal,
    Warning,
}

/// An event that has not been written yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    pub about: Involved,
    pub severity: Severity,
    pub reason: &'static str,
    pub message: String,
}

/// The object that an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Involved {
    pub key: ObjectRef,
    pub api_version: String,
    pub kind: String,
    pub uid: String,
}

/// Takes events of one controller. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    account: Account,
    waiting: mpsc::Sender<(Account, Event)>,
}

impl Recorder {
    pub fn record(&self, event: Event) {
        if let Err(refused) = self.waiting.try_send((self.account, event)) {
            tracing::debug!(%refused, "an event is dropped");
        }
    }
}

/// Makes recorders. Cheap to clone.
#[derive(Clone)]
pub struct Recorders(mpsc::Sender<(Account, Event)>);

impl Recorders {
    pub fn of(&self, account: Account) -> Recorder {
        Recorder { account, waiting: self.0.clone() }
    }
}

/// Writes what recorders take.
pub struct Writer {
    clients: Clients,
    now: fn() -> Timestamp,
    waiting: mpsc::Receiver<(Account, Event)>,
    sender: mpsc::Sender<(Account, Event)>,
    /// What the last event's name was made unique by.
    stamp: i64,
    correlator: Correlator,
    /// The name and the count of what was written.
    written: HashMap<Event, (String, u64)>,
}

impl Writer {
    pub fn new(clients: Clients, now: fn() -> Timestamp) -> Writer {
        let (sender, waiting) = mpsc::channel(WAITING_EVENTS_MAX);
        Writer { clients, now, waiting, sender, stamp: 0, correlator: Correlator::default(), written: HashMap::new() }
    }

    pub fn recorders(&self) -> Recorders {
        Recorders(self.sender.clone())
    }

    /// Writes until it is told to stop.
    pub async fn run(mut self, stop: Stop) -> api::Result<()> {
        loop {
            let next = tokio::select! {
                biased;
                // What still waits is dropped.
                () = stop.stopped() => return Ok(()),
                // Cancel-safe: nothing is taken until it is returned. Never `None`: `sender` is held here.
                next = self.waiting.recv() => next,
            };
            let Some((account, event)) = next else { return Ok(()) };
            if let Err(error) = self.write(account, &event).await {
                tracing::debug!(object = %event.about.key, reason = event.reason, %error, "an event is lost");
            }
        }
    }

    async fn write(&mut self, account: Account, event: &Event) -> api::Result<()> {
        let now = (self.now)();
        let Some(Told { same, message }) = self.correlator.correlate(account.name(), event, now) else { return Ok(()) };
        // Events about the operators' own kinds are kept in their tenant.
        let tenant = event.about.key.tenant.clone().unwrap_or_else(api::TenantName::system);
        let client = self.clients.of(&tenant, account);
        let namespace = if event.about.key.namespace.is_empty() { "default" } else { &event.about.key.namespace };
        if let Some((name, count)) = self.written.get_mut(&same) {
            *count += 1;
            let again = json!({"count": *count, "lastTimestamp": now.to_string(), "message": message});
            let patch = client::PatchType::Strategic;
            if unless_gone(client.patch(EVENTS, namespace, name, patch, &again, None).await)?.is_some() {
                return Ok(());
            }
        }
        self.stamp = now.unix_micros().max(self.stamp + 1);
        let name = format!("{}.{:x}", event.about.key.name, self.stamp);
        let told = Event { message, ..event.clone() };
        client.post(EVENTS, namespace, None, &first(account.name(), &told, &name, namespace, now)).await?;
        if self.written.len() >= REMEMBERED_EVENTS_MAX {
            self.written.clear();
        }
        self.written.insert(same, (name, 1));
        Ok(())
    }
}

fn first(component: &str, event: &Event, name: &str, namespace: &str, now: Timestamp) -> Value {
    let about = &event.about;
    let mut involved = json!({
        "apiVersion": about.api_version, "kind": about.kind, "name": about.key.name, "uid": about.uid,
    });
    if !about.key.namespace.is_empty() {
        involved["namespace"] = json!(about.key.namespace);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "type": match event.severity { Severity::Normal => "Normal", Severity::Warning => "Warning" },
        "reason": event.reason,
        "message": event.message,
        "count": 1,
        "firstTimestamp": now.to_string(),
        "lastTimestamp": now.to_string(),
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
    })
}
