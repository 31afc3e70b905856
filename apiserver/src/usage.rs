//! What tenants use: the answer at `/tenants/NAME/usage`, the status of Tenants, and metrics.
//!
//! The store counts the objects and bytes of every tenant with each write; here they are only told. [`run`] keeps them in
//! `Tenant.status.used`, some tenants at a time and only where they changed, and sets right what a quota has counted wrong.
//! Metrics name no more than the largest tenants, so that no number of tenants makes more than that many series.

use crate::admission;
use crate::registry::class_of;
use crate::respond;
use crate::server::Server;
use api::{Error, Object, ObjectKey, ResourceId, Result, Revision, Space, TenantName};
use axum::body::Body;
use futures::future::BoxFuture;
use http::Response;
use runtime::Stop;
use runtime::metrics::IntGaugeVec;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use store::{Change, Expect, Held, Snapshot, Write};

/// Below a tenant's path: what the tenant uses; below `/tenants/all`: what all of them do.
pub const PATH: &str = "/usage";

/// How often uses are looked at, and how many statuses are written each time at most.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const WRITES_AT_ONCE: usize = 100;

/// What has changed by less than this share is told later.
const WORTH_TELLING: f64 = 0.02;

/// Every so many looks, what a quota counts is counted anew.
const RECOUNT_EVERY: u64 = 30;

/// Tenants that have metrics of their own; the others are counted together.
const TENANTS_NAMED: usize = 100;
const OTHERS: &str = "_others";

/// How many tenants an answer about all of them names, unless told otherwise.
const ANSWERED: usize = 500;

struct Metrics {
    objects: IntGaugeVec,
    bytes: IntGaugeVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    objects: runtime::metrics::gauge_vec("ursa_tenant_objects", "Stored objects of the largest tenants.", &["tenant"]),
    bytes: runtime::metrics::gauge_vec(
        "ursa_tenant_bytes",
        "Encoded bytes of the largest tenants' objects.",
        &["tenant"],
    ),
});

/// Answers for one tenant, or for the largest of all of them (`limit` of the query).
pub fn answer(server: &Server, tenant: Option<&TenantName>, query: &str) -> Result<Response<Body>> {
    let value = match tenant {
        Some(tenant) => of_tenant(server, tenant)?,
        None => {
            let limit = query.split('&').find_map(|pair| pair.strip_prefix("limit="));
            let limit = limit.map_or(Ok(ANSWERED), str::parse);
            let limit = limit.map_err(|_| Error::bad_request("limit is no number"))?;
            of_all(server, limit)
        }
    };
    Ok(respond::json(200, &value))
}

fn of_tenant(server: &Server, tenant: &TenantName) -> Result<Value> {
    let snapshot = server.store.snapshot();
    let object = server.tenant(tenant).ok_or_else(|| Error::not_found("", "tenants", tenant.as_str()))?.to_value()?;
    let held = server.store.held(tenant);
    let (watches, connections) = server.fairness.open_of(tenant);
    Ok(json!({
        "tenant": tenant.as_str(),
        "objects": held.objects,
        "bytes": held.bytes,
        "watches": watches,
        "connections": connections,
        "resources": by_resource(&snapshot, tenant),
        "quota": object["spec"]["quota"],
        "used": admission::use_of(&snapshot, tenant, &object["spec"]["quota"], held)?,
        "limits": {
            "objects": server.limits.tenant_objects, "bytes": server.limits.tenant_bytes,
            "watches": server.limits.tenant_watches, "connections": server.limits.tenant_connections,
            "eventsPerSecond": server.limits.tenant_events,
        },
    }))
}

fn of_all(server: &Server, limit: usize) -> Value {
    let all = by_size(server);
    let objects: u64 = all.iter().map(|(_, held)| held.objects).sum();
    let bytes: u64 = all.iter().map(|(_, held)| held.bytes).sum();
    let named = all.iter().take(limit).map(|(tenant, held)| {
        let (watches, connections) = server.fairness.open_of(tenant);
        json!({"tenant": tenant.as_str(), "objects": held.objects, "bytes": held.bytes, "watches": watches, "connections": connections})
    });
    json!({"count": all.len(), "objects": objects, "bytes": bytes, "tenants": named.collect::<Vec<_>>()})
}

/// How many objects of each resource a tenant has, as `plural.group`.
fn by_resource(snapshot: &Snapshot, tenant: &TenantName) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut last: Option<(ResourceId, u64)> = None;
    for object in snapshot.tenant_keys(tenant) {
        match &mut last {
            Some((resource, count)) if *resource == object.key.resource => *count += 1,
            last => {
                let before = last.replace((object.key.resource.clone(), 1));
                counts.extend(before.map(|(resource, count)| (resource.to_string(), count)));
            }
        }
    }
    counts.extend(last.map(|(resource, count)| (resource.to_string(), count)));
    counts
}

/// All tenants, those with the most bytes first.
fn by_size(server: &Server) -> Vec<(TenantName, Held)> {
    let mut all = server.store.held_by_all();
    all.sort_by(|(a, x), (b, y)| y.bytes.cmp(&x.bytes).then_with(|| a.cmp(b)));
    all
}

/// Keeps statuses and metrics until the server stops.
pub fn run(server: Arc<Server>, stop: Stop) -> BoxFuture<'static, std::result::Result<(), String>> {
    Box::pin(keep(server, stop))
}

async fn keep(server: Arc<Server>, stop: Stop) -> std::result::Result<(), String> {
    let mut teller = Teller::default();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.stopped() => return Ok(()),
            _ = ticks.tick() => teller.look(&server).await,
        }
    }
}

/// What was told of late.
#[derive(Default)]
struct Teller {
    looks: u64,
    told: HashMap<TenantName, Held>,
    named: Vec<TenantName>,
}

impl Teller {
    async fn look(&mut self, server: &Server) {
        self.looks += 1;
        let all = by_size(server);
        self.tell_metrics(&all);
        let changed = all.iter().filter(|(tenant, held)| {
            !tenant.is_system() && self.told.get(tenant).is_none_or(|told| is_worth_telling(*told, *held))
        });
        let changed: Vec<(TenantName, Held)> = changed.take(WRITES_AT_ONCE).cloned().collect();
        for (tenant, held) in changed {
            if let Err(error) = tell(server, &tenant, held, false).await {
                tracing::debug!(%tenant, %error, "what a tenant uses cannot be told");
            }
            self.told.insert(tenant, held);
        }
        if self.looks.is_multiple_of(RECOUNT_EVERY) {
            self.recount(server).await;
        }
        let there: HashMap<&TenantName, ()> = all.iter().map(|(tenant, _)| (tenant, ())).collect();
        self.told.retain(|tenant, _| there.contains_key(tenant));
    }

    /// Writes that were admitted before a quota was there are not in what it counts.
    async fn recount(&self, server: &Server) {
        for (tenant, held) in server.store.held_by_all() {
            let limited = server.tenant(&tenant).is_some_and(|object| !object.field("spec.quota").is_empty());
            if limited && let Err(error) = tell(server, &tenant, held, true).await {
                tracing::debug!(%tenant, %error, "what a tenant uses cannot be counted again");
            }
        }
    }

    fn tell_metrics(&mut self, all: &[(TenantName, Held)]) {
        let set = |name: &str, held: Held| {
            let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            METRICS.objects.with_label_values(&[name]).set(number(held.objects));
            METRICS.bytes.with_label_values(&[name]).set(number(held.bytes));
        };
        let (named, others) = all.split_at(all.len().min(TENANTS_NAMED));
        for tenant in self.named.iter().filter(|tenant| !named.iter().any(|(of, _)| of == *tenant)) {
            // A series that is not there cannot be removed.
            drop(METRICS.objects.remove_label_values(&[tenant.as_str()]));
            drop(METRICS.bytes.remove_label_values(&[tenant.as_str()]));
        }
        for (tenant, held) in named {
            set(tenant.as_str(), *held);
        }
        let sum = |of: fn(&Held) -> u64| others.iter().map(|(_, held)| of(held)).sum();
        set(OTHERS, Held { objects: sum(|held| held.objects), bytes: sum(|held| held.bytes) });
        self.named = named.iter().map(|(tenant, _)| tenant.clone()).collect();
    }
}

fn is_worth_telling(told: Held, held: Held) -> bool {
    let moved = |a: u64, b: u64| a.abs_diff(b) as f64 > WORTH_TELLING * a as f64;
    moved(told.objects, held.objects) || moved(told.bytes, held.bytes)
}

/// Writes a tenant's use into its status, unless it says so already.
async fn tell(server: &Server, tenant: &TenantName, held: Held, recount: bool) -> Result<()> {
    let snapshot = server.store.snapshot();
    let key = ObjectKey::new(ResourceId::new("", "tenants"), Space::Cluster, "", tenant.as_str())?;
    let Some(stored) = snapshot.get(&key) else { return Ok(()) };
    let mut value = stored.to_value()?;
    let before = value["status"]["used"].as_object().cloned().unwrap_or_default();
    let used = if recount {
        admission::use_of(&snapshot, tenant, &value["spec"]["quota"], held)?
    } else {
        let mut used = before.clone();
        used.insert("objects".to_owned(), json!(held.objects.to_string()));
        used.insert("bytes".to_owned(), json!(held.bytes.to_string()));
        used
    };
    if used == before {
        return Ok(());
    }
    value["status"]["used"] = Value::Object(used);
    write(server, key, stored.revision, value).await
}

/// Whoever was faster has changed what was counted: the next look tells.
async fn write(server: &Server, key: ObjectKey, revision: Revision, mut value: Value) -> Result<()> {
    let object = Object::encode(key.clone(), &mut value, kinds::Registry::selectable(&key.resource))?;
    let write = Write { class: class_of(&key), key, expect: Expect::Revision(revision), change: Change::Put(object) };
    match server.store.commit(vec![write]).await {
        Ok(_) | Err(store::CommitError::Stale { .. }) => Ok(()),
        Err(error) => Err(Error::internal(error)),
    }
}
