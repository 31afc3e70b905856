//! Who waits for whom when the server is busy: tenants share first, then the flows of each tenant.
//!
//! A request takes seats while it is carried out, more of them when its list was long the last time. As long as there are
//! free seats, a request costs two counters. Otherwise it waits in the queue of its tenant; a seat that becomes free goes
//! to the waiting tenant that holds the fewest, and there to the flow that had the least for its level's shares.
//! Watches take no seats, and are counted; so are connections. While several tenants ask, each has fewer seats, and who asks
//! often gives way: what is carried out without waiting would else give its seat back before it is missed.
//!
//! Invariant: no tenant takes the last seats from others: each has a limit, and waits behind those that hold less.
//! Invariant: every queue has a limit; past it the answer is 429 with a time to come again.

mod pace;
mod place;
mod queue;

use crate::authn::Peer;
use crate::server::Server;
use crate::shared;
use api::{Error, Identity, Reason, ResourceId, Result, TenantName};
use axum::body::Body;
use bytes::Bytes;
use dashmap::DashMap;
use http::Response;
use http_body::{Frame, SizeHint};
use pace::{Pace, Turn};
use parking_lot::Mutex;
pub use place::Place;
use policy::fairness::{Classified, Flows, GROUP, Queuing};
use policy::rbac::Attributes;
use queue::{Queue, Ticket};
use runtime::metrics::{IntCounterVec, IntGauge};
use serde_json::Value;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What a server gives out at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Seats of all requests together.
    pub seats: usize,
    /// Seats of one tenant other than `system`.
    pub tenant_seats: usize,
    /// Seats of one tenant while others ask, too.
    pub tenant_seats_shared: usize,
    /// Requests of one tenant that may wait.
    pub tenant_waiting: usize,
    /// Open watches of one tenant.
    pub tenant_watches: usize,
    /// Open connections of one tenant.
    pub tenant_connections: usize,
    /// Objects of one tenant, and their encoded bytes.
    pub tenant_objects: u64,
    pub tenant_bytes: u64,
    /// Events of one tenant that are kept in a second, and how many at once after a quiet time.
    pub tenant_events: u32,
    pub tenant_events_burst: u32,
    /// Who asks for more than a few things within so short a time gives way to other tenants.
    pub pace_window: Duration,
    /// So long a request waits for a seat.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            seats: 600,
            tenant_seats: 200,
            tenant_seats_shared: 32,
            tenant_waiting: 500,
            tenant_watches: 20_000,
            tenant_connections: 5_000,
            tenant_objects: 2_000_000,
            tenant_bytes: 8 << 30,
            tenant_events: 500,
            tenant_events_burst: 10_000,
            pace_window: Duration::from_millis(8),
            patience: Duration::from_secs(15),
        }
    }
}

/// A list of so many bytes takes one seat more.
const SEAT_BYTES: usize = 1 << 20;
const SEATS_MAX: usize = 10;

/// Idle tenants are forgotten once so many are known.
const FORGET_AFTER: usize = 4096;

/// Who shares: a tenant's identities, or everyone without one, whom no tenant should pay for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Sharer {
    Tenant(TenantName),
    Anonymous,
}

/// What one tenant holds.
#[derive(Default)]
pub(crate) struct Load {
    /// Nodes and components, on whom all tenants wait: they give way to nobody.
    is_system: bool,
    seats: AtomicUsize,
    watches: AtomicUsize,
    connections: AtomicUsize,
    pace: pace::Recent,
    spent: pace::Spent,
    events: Mutex<Bucket>,
}

/// How many events a tenant may still make, by when it was last asked.
#[derive(Default)]
struct Bucket {
    left: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, now: Instant, per_second: f64, burst: f64) -> bool {
        let grown =
            self.at.map_or(burst, |at| self.left + now.saturating_duration_since(at).as_secs_f64() * per_second);
        (self.left, self.at) = (grown.min(burst), Some(now));
        let takes = self.left >= 1.0;
        if takes {
            self.left -= 1.0;
        }
        takes
    }
}

/// The seats of a server.
pub struct Fairness {
    limits: Limits,
    taken: AtomicUsize,
    waiting: AtomicUsize,
    pace: Pace,
    queue: Mutex<Queue>,
    loads: DashMap<Sharer, Arc<Load>>,
    flows: DashMap<TenantName, ([u64; 2], Arc<Flows>)>,
    /// Seats that the last list of a tenant was worth, where that was more than one.
    lists: DashMap<(TenantName, ResourceId), usize>,
}

struct Metrics {
    rejected: IntCounterVec,
    waiting: IntGauge,
    seats: IntGauge,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    use runtime::metrics::{counter_vec, gauge};
    Metrics {
        rejected: counter_vec(
            "apiserver_flowcontrol_rejected_requests_total",
            "Requests that were told to come again, by priority level and reason.",
            &["priority_level", "reason"],
        ),
        waiting: gauge("apiserver_flowcontrol_current_inqueue_requests", "Requests that wait for a seat."),
        seats: gauge("apiserver_flowcontrol_current_executing_seats", "Seats that are taken."),
    }
});

/// Seats, until dropped. `None` of those who need none.
pub struct Permit {
    held: Option<(Arc<Fairness>, Arc<Load>, usize)>,
}

/// One open watch or connection, until dropped.
pub struct Counted {
    load: Arc<Load>,
    of: fn(&Load) -> &AtomicUsize,
}

/// A connection, counted for the tenant of its first caller.
#[derive(Default)]
pub struct Connection(OnceLock<Counted>);

impl Connection {
    pub fn is_counted(&self) -> bool {
        self.0.get().is_some()
    }

    /// Counts it, unless that was done; 429 when the tenant has too many.
    pub fn count(&self, fairness: &Fairness, caller: &Identity) -> Result<()> {
        if self.0.get().is_none() {
            // Of two requests that come first at a time, one counts twice for a moment.
            drop(self.0.set(fairness.connection(caller)?));
        }
        Ok(())
    }
}

/// A body that keeps `guard` until it is sent or dropped.
pub fn guarded<T: Send + Unpin + 'static>(response: Response<Body>, guard: T) -> Response<Body> {
    response.map(|body| Body::new(Guarded { body, _guard: guard }))
}

struct Guarded<T> {
    body: Body,
    _guard: T,
}

impl<T: Unpin> http_body::Body for Guarded<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.of)(&self.load).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Fairness {
    pub fn new(limits: Limits) -> Arc<Fairness> {
        Arc::new(Fairness {
            limits,
            taken: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            pace: Pace::new(limits.pace_window),
            queue: Mutex::default(),
            loads: DashMap::new(),
            flows: DashMap::new(),
            lists: DashMap::new(),
        })
    }

    /// The flow of a request, by the schemas of its own tenant.
    pub fn classify(&self, server: &Server, who: &Identity, what: &Attributes) -> Result<Classified> {
        let resources = ["flowschemas", "prioritylevelconfigurations"].map(|plural| ResourceId::new(GROUP, plural));
        let now = resources.each_ref().map(|resource| server.store.resource_revision(resource));
        if let Some(found) = self.flows.get(&who.tenant).filter(|found| found.0 == now) {
            return Ok(found.1.classify(who, what));
        }
        let snapshot = server.store.snapshot();
        let mut values = Vec::with_capacity(2);
        for resource in resources {
            let stored = snapshot.range(&store::Scope::Tenant(resource.clone(), who.tenant.clone()), None);
            let stored = stored.map(|object| object.to_value()).collect::<Result<Vec<Value>>>()?;
            values.push((resource, stored));
        }
        let flows = match &mut values[..] {
            // As almost every tenant has them.
            [(_, schemas), (_, levels)] if schemas.is_empty() && levels.is_empty() => shared::flows(),
            [(schema, schemas), (level, levels)] => {
                shared::complete(schema, schemas);
                shared::complete(level, levels);
                Arc::new(Flows::compile(&*schemas, &*levels))
            }
            _ => return Err(Error::internal("there are two kinds of flow control")),
        };
        let classified = flows.classify(who, what);
        if server.tenant(&who.tenant).is_some() {
            if self.flows.len() > FORGET_AFTER {
                self.flows.retain(|tenant, _| server.tenant(tenant).is_some());
            }
            self.flows.insert(who.tenant.clone(), (now, flows));
        }
        Ok(classified)
    }

    /// Takes seats for a request, or waits for them; 429 when too many wait already.
    pub async fn admit(
        self: &Arc<Fairness>,
        peer: &Peer,
        caller: &Identity,
        class: &Classified,
        seats: usize,
    ) -> Result<Permit> {
        // What the components of this process do is theirs to limit; operators in need are never turned away.
        let exempt = class.level.shares.is_none();
        if matches!(peer, Peer::InProcess(_)) {
            return Ok(Permit { held: None });
        }
        let sharer = sharer(caller);
        let load = self.load(&sharer);
        let Turn { is_shared, gives_way } = self.pace.turn(&load);
        if exempt && caller.tenant.is_system() {
            return Ok(Permit { held: None });
        }
        let mut limit = self.limit_of(&sharer);
        if is_shared && !caller.tenant.is_system() {
            limit = limit.min(self.limits.tenant_seats_shared);
        }
        if self.waiting.load(Ordering::Acquire) == 0 && self.take(&load, limit, seats) {
            let permit = Permit { held: Some((self.clone(), load.clone(), seats)) };
            if gives_way {
                tokio::task::yield_now().await;
            }
            return Ok(permit);
        }
        if class.level.queuing == Queuing::Reject && !exempt {
            return Err(too_many(&class.level.name, "concurrency-limit"));
        }
        let in_flow = match class.level.queuing {
            Queuing::Queue(length) => length,
            Queuing::Reject => self.limits.tenant_waiting,
        };
        let ticket = Ticket {
            sharer: sharer.clone(),
            flow: (class.schema.clone(), class.flow),
            shares: class.level.shares.unwrap_or(u32::MAX),
            seats,
            load: load.clone(),
            limit,
        };
        let Some(seated) = self.queue.lock().push(ticket, in_flow, self.limits.tenant_waiting) else {
            return Err(too_many(&class.level.name, "queue-full"));
        };
        self.waiting.fetch_add(1, Ordering::AcqRel);
        METRICS.waiting.inc();
        let waits = Waits(self);
        // A seat may have become free meanwhile.
        self.dispatch();
        let granted = tokio::time::timeout(self.limits.patience, seated).await;
        drop(waits);
        match granted {
            Ok(Ok(permit)) => Ok(permit),
            // What is granted to one that has left falls back at once.
            Ok(Err(_)) | Err(_) => Err(too_many(&class.level.name, "time-out")),
        }
    }

    /// How many seats a request is worth.
    pub fn seats(&self, tenant: Option<&TenantName>, resource: &ResourceId, verb: &str) -> usize {
        if verb != "list" || self.lists.is_empty() {
            return 1;
        }
        let key = tenant.map(|tenant| (tenant.clone(), resource.clone()));
        key.and_then(|key| self.lists.get(&key).map(|seats| *seats)).unwrap_or(1)
    }

    /// Remembers how long a list was.
    pub fn listed(&self, tenant: Option<&TenantName>, resource: &ResourceId, bytes: usize) {
        let Some(tenant) = tenant else { return };
        let seats = (1 + bytes / SEAT_BYTES).min(SEATS_MAX);
        if seats > 1 {
            if self.lists.len() > FORGET_AFTER {
                self.lists.clear();
            }
            self.lists.insert((tenant.clone(), resource.clone()), seats);
        } else if !self.lists.is_empty() {
            self.lists.remove(&(tenant.clone(), resource.clone()));
        }
    }

    /// Counts a watch of a tenant, or says 429.
    pub fn watch(&self, caller: &Identity) -> Result<Counted> {
        let counted = self.count(caller, |load| &load.watches, self.limits.tenant_watches);
        counted.ok_or_else(|| too_many("watches", "tenant-limit"))
    }

    /// Counts a connection of a tenant, or says 429.
    pub fn connection(&self, caller: &Identity) -> Result<Counted> {
        let counted = self.count(caller, |load| &load.connections, self.limits.tenant_connections);
        counted.ok_or_else(|| too_many("connections", "tenant-limit"))
    }

    /// Counts an event that a tenant makes, or says 429.
    pub fn event(&self, tenant: &TenantName) -> Result<()> {
        let (rate, burst) = (f64::from(self.limits.tenant_events), f64::from(self.limits.tenant_events_burst));
        let load = self.load(&Sharer::Tenant(tenant.clone()));
        if tenant.is_system() || load.events.lock().take(Instant::now(), rate, burst) {
            return Ok(());
        }
        METRICS.rejected.with_label_values(&["events", "tenant-limit"]).inc();
        Err(Error::new(Reason::TooManyRequests, format!("limit reached on type Tenant for key {tenant}"))
            .retry_after(1))
    }

    /// What a tenant's callers have open: watches and connections.
    pub fn open_of(&self, tenant: &TenantName) -> (usize, usize) {
        let load = self.loads.get(&Sharer::Tenant(tenant.clone())).map(|load| load.clone());
        let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        load.map_or((0, 0), |load| (count(&load.watches), count(&load.connections)))
    }

    fn count(&self, caller: &Identity, of: fn(&Load) -> &AtomicUsize, limit: usize) -> Option<Counted> {
        let load = self.load(&sharer(caller));
        let counted = Counted { load, of };
        let before = of(&counted.load).fetch_add(1, Ordering::Relaxed);
        (before < limit || caller.tenant.is_system()).then_some(counted)
    }

    fn load(&self, sharer: &Sharer) -> Arc<Load> {
        if let Some(load) = self.loads.get(sharer) {
            return load.clone();
        }
        if self.loads.len() > FORGET_AFTER {
            // Nobody holds what only the map knows.
            self.loads.retain(|_, load| Arc::strong_count(load) > 1);
        }
        let is_system = matches!(sharer, Sharer::Tenant(tenant) if tenant.is_system());
        self.loads.entry(sharer.clone()).or_insert_with(|| Arc::new(Load { is_system, ..Load::default() })).clone()
    }

    fn limit_of(&self, sharer: &Sharer) -> usize {
        match sharer {
            Sharer::Tenant(tenant) if tenant.is_system() => self.limits.seats,
            Sharer::Tenant(_) => self.limits.tenant_seats,
            Sharer::Anonymous => self.limits.tenant_seats / 4 + 1,
        }
    }

    /// Takes seats if they are free. A request that is worth more than there are takes all.
    fn take(&self, load: &Load, limit: usize, seats: usize) -> bool {
        let fits = |limit: usize| move |taken: usize| (taken == 0 || taken + seats <= limit).then_some(taken + seats);
        if load.seats.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits(limit)).is_err() {
            return false;
        }
        if self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits(self.limits.seats)).is_err() {
            load.seats.fetch_sub(seats, Ordering::AcqRel);
            return false;
        }
        METRICS.seats.add(i64::try_from(seats).unwrap_or(i64::MAX));
        true
    }

    /// Gives free seats to those who wait.
    fn dispatch(self: &Arc<Fairness>) {
        loop {
            let mut queue = self.queue.lock();
            let held = |load: &Load| load.seats.load(Ordering::Acquire);
            let Some((ticket, seat)) = queue.next(held, |ticket| self.take(&ticket.load, ticket.limit, ticket.seats))
            else {
                return;
            };
            drop(queue);
            // One that has left drops the permit, which looks for the next.
            drop(seat.send(Permit { held: Some((self.clone(), ticket.load, ticket.seats)) }));
        }
    }
}

/// Counts one that waits, until dropped.
struct Waits<'a>(&'a Fairness);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        METRICS.waiting.dec();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some((fairness, load, seats)) = self.held.take() else { return };
        load.seats.fetch_sub(seats, Ordering::AcqRel);
        fairness.taken.fetch_sub(seats, Ordering::AcqRel);
        METRICS.seats.sub(i64::try_from(seats).unwrap_or(i64::MAX));
        if fairness.waiting.load(Ordering::Acquire) > 0 {
            fairness.dispatch();
        }
    }
}

fn sharer(caller: &Identity) -> Sharer {
    if caller.user == policy::authn::ANONYMOUS { Sharer::Anonymous } else { Sharer::Tenant(caller.tenant.clone()) }
}

fn too_many(level: &str, reason: &str) -> Error {
    METRICS.rejected.with_label_values(&[known(level), reason]).inc();
    Error::new(Reason::TooManyRequests, "Too many requests, please try again later.").retry_after(1)
}

/// Names of levels that tenants make are counted as one: they cannot make new series.
fn known(level: &str) -> &str {
    const KNOWN: [&str; 10] = [
        "catch-all",
        "exempt",
        "global-default",
        "leader-election",
        "node-high",
        "system",
        "workload-high",
        "workload-low",
        "watches",
        "connections",
    ];
    if KNOWN.contains(&level) { level } else { "other" }
}

#[cfg(test)]
mod tests;
