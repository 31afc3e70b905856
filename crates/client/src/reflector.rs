//! Keeps a cache current by list and watch.
//!
//! ```text
//!            ┌───────────── expired (410) ─────────────┐
//!            ▼                                         │
//!   ──▶  listing ── list, at its version ──▶  watching from a version ──┐
//!         ▲    │                                   ▲         │          │ event: the version moves on
//!         └────┘ error: wait                       │         └──────────┘
//!                                                  └── ended or failed: watch again from the last version
//! ```
//!
//! Invariant: a change is told once, in the order of the server, after the cache holds it. A relist tells only the
//! difference to what the cache held.

use crate::cache::{Identified, Metadata};
use crate::events::{Change, Events, Pending};
use crate::{Cache, Client, ListParams, Names, ObjectRef, WatchEvent, WatchParams};
use api::{Error, Result, TenantName};
use futures::StreamExt;
use runtime::Stop;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Objects per page of a list: the first answer comes soon, and neither side holds more than a page twice.
const PAGE_OBJECTS: u32 = 500;

/// Waits between attempts that brought nothing: doubled up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_LONGEST: Duration = Duration::from_secs(15);

/// How long the server is asked to keep a watch, and after how long one is given up as dead.
const WATCH_SECS: u32 = 300;
const WATCH_DEADLINE: Duration = Duration::from_secs(330);

/// How long the server may take to send a page, or to begin a watch, before it is asked anew: as long as any request of
/// a client, and well beyond what a page of the largest objects takes.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

type Callback<T> = Box<dyn Fn(&Change<T>) + Send + Sync>;

/// A cache of a resource, the driver that keeps it current, and the changes as they happen.
///
/// `client` decides in which tenants. Dropping the events costs nothing.
pub fn reflect<T: DeserializeOwned + Send + Sync + 'static>(
    client: Client,
    resource: impl Names + 'static,
    params: ListParams,
) -> (Cache<T>, Reflector<T>, Events<T>) {
    let (cache, synced) = Cache::new();
    let (pending, events) = Pending::new();
    let resource = Box::new(resource);
    let callbacks = Vec::new();
    let reflector = Reflector { client, resource, params, cache: cache.clone(), synced, pending, callbacks };
    (cache, reflector, events)
}

/// Drives one cache.
pub struct Reflector<T> {
    client: Client,
    resource: Box<dyn Names>,
    params: ListParams,
    cache: Cache<T>,
    synced: watch::Sender<bool>,
    pending: Pending<T>,
    callbacks: Vec<Callback<T>>,
}

impl<T: DeserializeOwned + Send + Sync + 'static> Reflector<T> {
    /// Follows only what a field selector matches.
    pub fn select(&mut self, fields: String) {
        self.params.fields = fields;
    }

    /// Calls `f` for every change, from the driver: it must not wait.
    pub fn on_change(&mut self, f: impl Fn(&Change<T>) + Send + Sync + 'static) {
        self.callbacks.push(Box::new(f));
    }

    /// Follows the resource until it is told to stop. Errors of the server are retried for ever.
    pub async fn run(self, stop: Stop) -> Result<()> {
        tokio::select! {
            biased;
            // Never cancelled: following does not end by itself.
            () = stop.stopped() => Ok(()),
            // Cancelled at shutdown: the cache keeps what it has.
            never = self.follow() => match never {},
        }
    }

    async fn follow(&self) -> Infallible {
        let mut backoff = Backoff::new();
        loop {
            let mut version = match self.list().await {
                Ok(version) => version,
                Err(error) => {
                    self.warn(&error);
                    backoff.wait().await;
                    continue;
                }
            };
            loop {
                let (from, started) = (version.clone(), Instant::now());
                let ended = self.watch(&mut version).await;
                if version != from || started.elapsed() > BACKOFF_LONGEST {
                    backoff = Backoff::new();
                }
                if let Err(error) = &ended {
                    self.warn(error);
                }
                backoff.wait().await;
                if ended.is_err_and(|e| e.is_expired()) {
                    break;
                }
            }
        }
    }

    /// Brings the cache to a fresh list and returns the list's version.
    async fn list(&self) -> Result<String> {
        let mut params = ListParams { limit: PAGE_OBJECTS, ..self.params.clone() };
        let mut seen = HashSet::new();
        let version = loop {
            let page = answered(self.client.list_as::<Box<RawValue>>(&*self.resource, "", &params)).await?;
            for item in &page.items {
                let Some((key, at)) = identify(item) else { continue };
                self.put(&key, &at, item);
                seen.insert(key);
            }
            if page.continue_token.is_empty() {
                break page.resource_version;
            }
            params.continue_token = page.continue_token;
        };
        for key in self.cache.keys() {
            if !seen.contains(&key) {
                self.remove(&key);
            }
        }
        self.synced.send_replace(true);
        Ok(version)
    }

    /// Applies the changes after `version`, which moves along, until the watch ends.
    async fn watch(&self, version: &mut String) -> Result<()> {
        let params = WatchParams {
            labels: self.params.labels.clone(),
            fields: self.params.fields.clone(),
            resource_version: version.clone(),
            timeout_secs: WATCH_SECS,
        };
        let deadline = Instant::now() + WATCH_DEADLINE;
        let mut events = answered(self.client.watch_as::<Box<RawValue>>(&*self.resource, "", &params)).await?;
        loop {
            let dead = |_| Error::new(api::Reason::Timeout, "the watch outlived its time without an end");
            let Some(event) = tokio::time::timeout_at(deadline, events.next()).await.map_err(dead)? else {
                return Ok(());
            };
            let (object, gone) = match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(at) => {
                    *version = at;
                    continue;
                }
            };
            if let Some((key, at)) = identify(&object) {
                if gone {
                    self.remove(&key);
                } else {
                    self.put(&key, &at, &object);
                }
                *version = at;
            }
        }
    }

    /// Takes a version of an object into the cache. One that cannot be read is logged and left out, also if it could be
    /// read before: nobody is to act on what it no longer is.
    fn put(&self, key: &ObjectRef, version: &str, raw: &RawValue) {
        if self.cache.holds(key, version) {
            return;
        }
        match serde_json::from_str::<T>(raw.get()) {
            Ok(object) => {
                let new = Arc::new(object);
                let old = self.cache.put(key, version, new.clone());
                self.tell(Change { key: key.clone(), old, new: Some(new) });
            }
            Err(error) => {
                tracing::warn!(resource = self.resource.plural(), object = %key, %error, "an object is not as expected");
                self.remove(key);
            }
        }
    }

    fn remove(&self, key: &ObjectRef) {
        if let Some(old) = self.cache.remove(key) {
            self.tell(Change { key: key.clone(), old: Some(old), new: None });
        }
    }

    fn tell(&self, change: Change<T>) {
        for callback in &self.callbacks {
            callback(&change);
        }
        self.pending.push(change);
    }

    fn warn(&self, error: &Error) {
        let why = std::error::Error::source(error).map(ToString::to_string);
        let resource = self.resource.plural();
        if error.is_expired() {
            tracing::info!(resource, %error, "the watch expired; listing again");
        } else {
            tracing::warn!(resource, %error, why, "cannot follow a resource; trying again");
        }
    }
}

/// An answer of the server, unless it takes too long.
async fn answered<R>(answer: impl Future<Output = Result<R>>) -> Result<R> {
    let late = |_| Error::new(api::Reason::Timeout, "the server does not answer");
    tokio::time::timeout(ANSWER_DEADLINE, answer).await.map_err(late)?
}

/// The key and the version of an object; `None` (logged) for what is no object.
fn identify(raw: &RawValue) -> Option<(ObjectRef, String)> {
    let parsed = serde_json::from_str::<Identified>(raw.get());
    let Ok(Identified { metadata: Metadata { name, namespace, tenant, resource_version } }) = parsed else {
        tracing::warn!("a list or a watch holds something that is no object");
        return None;
    };
    let tenant = if tenant.is_empty() {
        None
    } else {
        Some(TenantName::new(&tenant).inspect_err(|error| tracing::warn!(%error, "an object is left out")).ok()?)
    };
    Some((ObjectRef { tenant, namespace, name }, resource_version))
}

/// Waits that grow, each shortened by chance so that many clients do not come back together.
struct Backoff(Duration);

impl Backoff {
    fn new() -> Backoff {
        Backoff(Duration::ZERO)
    }

    /// The first wait of a new back-off is none.
    async fn wait(&mut self) {
        if !self.0.is_zero() {
            tokio::time::sleep(self.0.mul_f64(rand::random_range(0.5..1.0))).await;
        }
        self.0 = (self.0 * 2).clamp(BACKOFF_FIRST, BACKOFF_LONGEST);
    }
}

#[cfg(test)]
mod tests;
