//! Moves tenants to the storage clusters in which their objects say that they shall be.
//!
//! ```text
//!   spec.storageClusterId   where it shall be          status.storageClusterId   where it is; as the spec if it says nothing
//!   status.move             from, to, who does it, and when that was last said
//! ```
//!
//! Every API server follows all tenants; who claims a move first does it, and who does not say for a while that it goes on is
//! relieved. A move that is begun ends before its tenant does.
//! Invariant: a move writes its tenant before each attempt, so that what an earlier one has still under way is refused.

use crate::registry::class_of;
use crate::server::Server;
use api::selector::Selector;
use api::{Object, ObjectKey, ResourceId, Space, TenantName, Timestamp};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use runtime::Stop;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Change, CommitError, EventKind, Expect, MOVE_FINALIZER, PartitionId, Revise, Scope, Version, Write};

/// Where a Tenant object says that it shall be, that it is, and between what it is moved.
pub const WANTED: &str = "spec.storageClusterId";
pub const PLACED: &str = "status.storageClusterId";
pub const FROM: &str = "status.move.from";
pub const TO: &str = "status.move.to";

/// How often the one who moves a tenant says so, and others look.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// Who has said nothing for so long is relieved.
const TAKE_OVER_AFTER: Duration = Duration::from_secs(5);

/// What is left where a tenant was is kept for those who were reading it.
const CLEAR_AFTER: Duration = Duration::from_secs(30);

/// Moves that one server does at once.
const AT_ONCE: usize = 4;

/// Where a tenant is kept, as its object says.
pub fn place_of(tenant: &Object) -> PartitionId {
    let placed = Some(tenant.field(PLACED)).filter(|id| !id.is_empty());
    placed.unwrap_or_else(|| tenant.field(WANTED)).parse().unwrap_or(0)
}

/// Whether a tenant is being moved, or shall be.
pub fn is_moving(tenant: &Object) -> bool {
    !tenant.field(FROM).is_empty() || tenant.field(WANTED).parse() != Ok(place_of(tenant))
}

/// What an object says of its tenant's move.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    at: PartitionId,
    wanted: PartitionId,
    under_way: Option<UnderWay>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct UnderWay {
    from: PartitionId,
    to: PartitionId,
    holder: String,
    renewed: String,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Rest,
    Move {
        from: PartitionId,
        to: PartitionId,
    },
    /// Something is left of the tenant where it is not, or not any more.
    Clear {
        at: PartitionId,
        left: PartitionId,
    },
}

impl Told {
    fn of(tenant: &Value) -> Told {
        let id = |value: &Value| value.as_str().and_then(|id| id.parse().ok());
        let wanted = id(&tenant["spec"]["storageClusterId"]).unwrap_or(0);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let under_way = &tenant["status"]["move"];
        let under_way = id(&under_way["from"]).zip(id(&under_way["to"])).map(|(from, to)| {
            let (holder, renewed) = (text(&under_way["holder"]), text(&under_way["renewTime"]));
            UnderWay { from, to, holder, renewed }
        });
        Told { at: id(&tenant["status"]["storageClusterId"]).unwrap_or(wanted), wanted, under_way }
    }

    fn step(&self) -> Step {
        let (at, wanted) = (self.at, self.wanted);
        let elsewhere = self.under_way.as_ref().map(|way| if way.from == at { way.to } else { way.from });
        match elsewhere {
            None if wanted == at => Step::Rest,
            Some(left) if left != wanted => Step::Clear { at, left },
            None | Some(_) => Step::Move { from: at, to: wanted },
        }
    }
}

/// Moves tenants until it is told to stop. The error is a sentence.
pub fn follow(server: Arc<Server>, stop: Stop) -> BoxFuture<'static, Result<(), String>> {
    Box::pin(keep(server, stop))
}

/// What of a tenant's move was seen last, and since when it is so.
type Seen = BTreeMap<TenantName, (Option<UnderWay>, Instant)>;

async fn keep(server: Arc<Server>, stop: Stop) -> Result<(), String> {
    let mover = Arc::new(Mover { server, holder: format!("{:016x}", rand::random::<u64>()) });
    let store = &mover.server.store;
    let scope = Scope::Cluster(ResourceId::new("", "tenants"));
    let mut running: FuturesUnordered<BoxFuture<'static, Option<TenantName>>> = FuturesUnordered::new();
    let mut busy: BTreeSet<TenantName> = BTreeSet::new();
    loop {
        let snapshot = store.snapshot();
        let after = Version::At(snapshot.revision());
        let mut watch = store.watch(&scope, &Selector::default(), &after).map_err(|error| error.to_string())?;
        let mut seen = Seen::new();
        snapshot.range(&scope, None).for_each(|tenant| look(&mut seen, tenant));
        for tenant in store.fenced() {
            running.push(mover.clone().unfence(tenant));
        }
        loop {
            for (tenant, (under_way, since)) in &seen {
                let is_free = under_way
                    .as_ref()
                    .is_none_or(|way| way.holder == mover.holder || since.elapsed() >= TAKE_OVER_AFTER);
                if is_free && busy.len() < AT_ONCE && busy.insert(tenant.clone()) {
                    running.push(mover.clone().go_on(tenant.clone(), under_way.clone()));
                }
            }
            tokio::select! {
                biased;
                () = stop.stopped() => return Ok(()),
                changed = watch.next() => match changed {
                    Ok(change) => {
                        let Ok(tenant) = TenantName::new(&change.object.key.name) else { continue };
                        seen.remove(&tenant);
                        match change.kind {
                            EventKind::Modified => look(&mut seen, &change.object),
                            EventKind::Added | EventKind::Deleted if store.is_fenced(&tenant) => {
                                running.push(mover.clone().unfence(tenant));
                            }
                            EventKind::Added | EventKind::Deleted => {}
                        }
                    }
                    Err(_) if stop.is_stopped() => return Ok(()),
                    Err(_) => break,
                },
                Some(moved) = running.next() => {
                    moved.map(|tenant| busy.remove(&tenant));
                }
                () = tokio::time::sleep(RENEW_EVERY), if !seen.is_empty() => {}
            }
        }
    }
}

/// Keeps in mind what there is to be done for a tenant.
fn look(seen: &mut Seen, tenant: &Object) {
    if is_moving(tenant)
        && let (Ok(name), Ok(value)) = (TenantName::new(&tenant.key.name), tenant.to_value())
    {
        seen.insert(name, (Told::of(&value).under_way, Instant::now()));
    }
}

/// One server as a mover of tenants.
struct Mover {
    server: Arc<Server>,
    /// Its name in what it moves; another after each start.
    holder: String,
}

impl Mover {
    /// Goes on with a tenant's move, if nobody has since it was seen so, to its end or a failure.
    fn go_on(self: Arc<Mover>, tenant: TenantName, seen: Option<UnderWay>) -> BoxFuture<'static, Option<TenantName>> {
        Box::pin(async move {
            let moved = tokio::select! {
                biased;
                // Whatever is under way is guarded against whoever comes next.
                moved = self.move_tenant(&tenant, seen) => moved,
                relieved = self.renew(&tenant) => Err(relieved),
            };
            if let Err(error) = moved {
                tracing::warn!(%tenant, %error, "the move of a tenant does not go on; it is tried again");
                tokio::time::sleep(RENEW_EVERY).await;
            }
            Some(tenant)
        })
    }

    /// Says again and again that the move goes on; the error says that it is another's.
    async fn renew(&self, tenant: &TenantName) -> CommitError {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            let holder = self.holder.clone();
            let renewed = revise(tenant, move |value, told| {
                let way = told.under_way.filter(|way| way.holder == holder);
                Ok(way.is_some_and(|_| {
                    value["status"]["move"]["renewTime"] = json!(Timestamp::now().to_string());
                    true
                }))
            });
            if let Err(error @ CommitError::Absent) = self.server.store.commit(vec![renewed]).await {
                return error;
            }
        }
    }

    async fn move_tenant(&self, tenant: &TenantName, mut seen: Option<UnderWay>) -> Result<(), CommitError> {
        let store = &self.server.store;
        loop {
            let Some(told) = self.claim(tenant, seen.take()).await? else { return Ok(()) };
            match told.step() {
                Step::Rest => return Ok(()),
                Step::Move { from, to } => match store.move_tenant(tenant, (from, to), self.switch(tenant, to)).await {
                    Ok(()) => tracing::info!(%tenant, from, to, "a tenant was moved"),
                    // It shall be elsewhere by now.
                    Err(CommitError::Refused(_)) => {}
                    Err(error) => return Err(error),
                },
                step @ Step::Clear { at, left } => {
                    store.shut(tenant, at, left).await?;
                    if !self.stays(tenant, step, CLEAR_AFTER).await {
                        continue;
                    }
                    store.clear(tenant, left).await?;
                    self.end(tenant).await?;
                    tracing::info!(%tenant, left, "what was left of a tenant was removed");
                    return Ok(());
                }
            }
        }
    }

    /// Whether this is what there is to be done for so long.
    async fn stays(&self, tenant: &TenantName, step: Step, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until {
            tokio::time::sleep(RENEW_EVERY).await;
            let told = self.server.tenant(tenant).and_then(|object| object.to_value().ok());
            if told.is_none_or(|value| Told::of(&value).step() != step) {
                return false;
            }
        }
        true
    }

    /// Makes the move this server's, if it is as it was seen or this server's already; what there is to be done, or `None`
    /// when it is another's.
    async fn claim(&self, tenant: &TenantName, seen: Option<UnderWay>) -> Result<Option<Told>, CommitError> {
        let holder = self.holder.clone();
        let claimed = revise(tenant, move |value, told| {
            let is_free = told.under_way == seen || told.under_way.as_ref().is_some_and(|way| way.holder == holder);
            let (from, to) = match (told.step(), &told.under_way) {
                (Step::Move { from, to }, _) if is_free => (from, to),
                (Step::Clear { .. }, Some(way)) if is_free => (way.from, way.to),
                _ => return Ok(false),
            };
            let status = &mut value["status"];
            status["storageClusterId"] = json!(told.at.to_string());
            status["move"] = json!({"from": from.to_string(), "to": to.to_string(), "holder": holder,
                "renewTime": Timestamp::now().to_string()});
            let mut finalizers = finalizers(value);
            finalizers.insert(MOVE_FINALIZER.to_owned());
            value["metadata"]["finalizers"] = json!(finalizers);
            Ok(true)
        });
        let written = self.server.store.commit(vec![claimed]).await?;
        Ok(written.first().and_then(|object| object.to_value().ok()).map(|value| Told::of(&value)))
    }

    /// Says that the tenant is where it shall be.
    fn switch(&self, tenant: &TenantName, to: PartitionId) -> Write {
        let holder = self.holder.clone();
        revise(tenant, move |value, told| {
            let is_ours = told.under_way.is_some_and(|way| way.holder == holder && way.to == to);
            if !is_ours || told.wanted != to {
                return Err("it is moved elsewhere, or by somebody else".to_owned());
            }
            value["status"]["storageClusterId"] = json!(to.to_string());
            Ok(true)
        })
    }

    /// Says that there is nothing more to be done; with it goes a tenant that only waited for that.
    async fn end(&self, tenant: &TenantName) -> Result<(), CommitError> {
        loop {
            let Some(object) = self.server.tenant(tenant) else { return Ok(()) };
            let mut value = object.to_value().unwrap_or_default();
            if Told::of(&value).under_way.is_none_or(|way| way.holder != self.holder) {
                return Ok(());
            }
            let mut finalizers = finalizers(&value);
            finalizers.remove(MOVE_FINALIZER);
            let in_spec = value["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
            let is_last = object.header.deleting && finalizers.is_empty() && !in_spec;
            value["metadata"]["finalizers"] = json!(finalizers);
            if let Some(status) = value["status"].as_object_mut() {
                status.remove("move");
            }
            let fields = kinds::Registry::selectable(&object.key.resource);
            let Ok(ended) = Object::encode(object.key.clone(), &mut value, fields) else { return Ok(()) };
            let (class, key) = (class_of(&object.key), object.key.clone());
            let change = if is_last { Change::DeleteAs(ended) } else { Change::Put(ended) };
            match self
                .server
                .store
                .commit(vec![Write { key, expect: Expect::Revision(object.revision), change, class }])
                .await
            {
                Err(CommitError::Stale { .. }) => {}
                done => return done.map(drop),
            }
        }
    }

    /// Takes away what hinders a tenant of the name of an earlier one.
    fn unfence(self: Arc<Mover>, tenant: TenantName) -> BoxFuture<'static, Option<TenantName>> {
        Box::pin(async move {
            if let Err(error) = self.server.store.unfence(&tenant, is_moving).await {
                tracing::debug!(%tenant, %error, "fences of an earlier tenant are still there");
            }
            None
        })
    }
}

fn finalizers(tenant: &Value) -> BTreeSet<String> {
    let finalizers = tenant["metadata"]["finalizers"].as_array().into_iter().flatten();
    finalizers.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A write that changes a Tenant object, as `change` says by true, or leaves it.
fn revise(
    tenant: &TenantName,
    change: impl Fn(&mut Value, Told) -> Result<bool, String> + Send + Sync + 'static,
) -> Write {
    let key = ObjectKey::new(ResourceId::new("", "tenants"), Space::Cluster, "", tenant.as_str());
    let key = key.expect("a tenant's name is a valid name");
    let revise = Revise::new(move |tenant| {
        let unreadable = |_| "its tenant cannot be read".to_owned();
        let mut value = tenant.to_value().map_err(unreadable)?;
        let told = Told::of(&value);
        if !change(&mut value, told)? {
            return Ok(None);
        }
        let fields = kinds::Registry::selectable(&tenant.key.resource);
        Object::encode(tenant.key.clone(), &mut value, fields).map(Some).map_err(unreadable)
    });
    Write { class: class_of(&key), key, expect: Expect::Present, change: Change::Revise(revise) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_follows_from_where_a_tenant_is_and_shall_be() {
        let told = |at, wanted, way: Option<(u8, u8)>| {
            let under_way = way.map(|(from, to)| UnderWay { from, to, holder: String::new(), renewed: String::new() });
            Told { at, wanted, under_way }.step()
        };
        assert_eq!(told(0, 0, None), Step::Rest);
        assert_eq!(told(0, 1, None), Step::Move { from: 0, to: 1 });
        assert_eq!(told(0, 1, Some((0, 1))), Step::Move { from: 0, to: 1 });
        assert_eq!(told(1, 1, Some((0, 1))), Step::Clear { at: 1, left: 0 }, "it is there");
        assert_eq!(told(0, 0, Some((0, 1))), Step::Clear { at: 0, left: 1 }, "it stays after all");
        assert_eq!(told(0, 2, Some((0, 1))), Step::Clear { at: 0, left: 1 }, "it goes elsewhere");
        assert_eq!(told(1, 2, Some((0, 1))), Step::Clear { at: 1, left: 0 }, "it goes on from there");
        assert_eq!(told(1, 0, Some((0, 1))), Step::Move { from: 1, to: 0 }, "it goes back");
    }
}
